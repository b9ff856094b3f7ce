//! How a collector leaves: it asks for its topics to be taken over, and goes on answering until they are.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_scheduler::plan::CollectorAssignment;
use plimsoll_scheduler::store::Store;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::hub::Hub;

/// After the last handover: managers that do not lead have heard the new owners by then, too.
const LINGER: Duration = Duration::from_millis(500);
/// A store that has not said by then who the others are is not waited for: they are asked all the same.
const UNTOLD: Duration = Duration::from_secs(2);
/// With no manager listening for this long, nobody would notice the handover.
const UNHEARD: Duration = Duration::from_secs(2);
/// Between two looks at who listens.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a leaving collector looks at.
#[derive(Debug)]
pub(crate) struct Farewell {
    pub(crate) hub: Arc<Hub>,
    pub(crate) assignment: watch::Receiver<Arc<CollectorAssignment>>,
    pub(crate) store: Arc<dyn Store>,
    /// How long this may take.
    pub(crate) limit: Duration,
}

impl Farewell {
    /// Asks to be emptied, and waits until that is done, can't be, or has taken too long.
    pub(crate) async fn wait(mut self) {
        if self.limit.is_zero() || self.assignment.borrow().topics.is_empty() {
            return;
        }
        if self.is_alone().await {
            info!("there is no other collector to take over: stopping at once");
            return;
        }
        info!(topics = self.assignment.borrow().topics.len(), "asks the managers for its topics to be taken over");
        self.hub.leave();
        let begun = Instant::now();
        let limit = self.limit;
        match timeout(limit, self.emptied()).await {
            Ok(true) => info!("others answer for all its topics, after {:.1} s", begun.elapsed().as_secs_f64()),
            Ok(false) => info!("no manager listens: stopping"),
            Err(_) => warn!(
                topics = self.assignment.borrow().topics.len(),
                "stopping after {} s (--leave-timeout) with topics that nobody has taken over",
                limit.as_secs()
            ),
        }
    }

    /// Whether the store says that there is no other collector. It is asked only now: that all collectors follow one another all the time
    /// would be a square of news.
    async fn is_alone(&self) -> bool {
        let mut members = self.store.watch_members();
        let told = timeout(UNTOLD, members.wait_for(|members| !members.is_empty())).await;
        // Its own registration may have lapsed: the only one that is there is another one then.
        matches!(told, Ok(Ok(members)) if members.keys().all(|id| id == self.hub.collector()))
    }

    /// True when no topic is left, false when nobody listens.
    async fn emptied(&mut self) -> bool {
        let mut heard = Instant::now();
        loop {
            if self.assignment.borrow().topics.is_empty() {
                sleep(LINGER).await;
                return true;
            }
            if self.hub.subscribers() > 0 {
                heard = Instant::now();
            } else if heard.elapsed() > UNHEARD {
                return false;
            }
            sleep(LOOK_EVERY).await;
        }
    }
}
