//! Keeps the collector known to the managers.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_scheduler::store::{Member, Store};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::admin::Readiness;

/// Between attempts to register, at first and at most.
const RETRY: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Taking the name off may take this long at the end; without it the registration runs out by itself.
const LEAVE_LIMIT: Duration = Duration::from_secs(2);

/// Registers, and stays registered until shutdown. The store being away stops nothing else.
pub(crate) async fn register(
    store: Arc<dyn Store>,
    member: Member,
    readiness: Arc<Readiness>,
    shutdown: CancellationToken,
) {
    let mut pause = RETRY;
    let mut complained = false;
    let registration = loop {
        let outcome = tokio::select! {
            () = shutdown.cancelled() => return,
            outcome = store.register(member.clone()) => outcome,
        };
        match outcome {
            Ok(registration) => break registration,
            Err(error) if !complained => {
                complained = true;
                warn!(collector = %member.id, "can't register: {error}; trying again");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(RETRY_MAX),
        }
    };
    info!(collector = %member.id, address = %member.address, provider = %member.provider, "registered");
    readiness.registered();
    shutdown.cancelled().await;
    if timeout(LEAVE_LIMIT, registration.leave()).await.is_err() {
        warn!(collector = %member.id, "the store did not take the registration back in time; it runs out by itself");
    }
}
