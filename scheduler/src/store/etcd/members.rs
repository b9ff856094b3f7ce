//! Who is there: one key for each collector, on its lease.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::PutOptions;
use tracing::info;

use super::connection::{Connection, kv};
use super::keys::Keys;
use super::lease::Lease;
use crate::store::follow::Pauses;
use crate::store::{Held, Member, Registration, StoreError};

/// Registers a collector, and keeps it registered.
pub(super) async fn register(
    connection: Arc<Connection>,
    keys: &Keys,
    member: Member,
    ttl: Duration,
) -> Result<Registration, StoreError> {
    let key = keys.member(&member.id);
    let value = serde_json::to_vec(&member)
        .map_err(|error| StoreError::Corrupt { key: key.clone(), reason: error.to_string() })?;
    let mut lease = put(&connection, &key, &value, ttl).await?;
    Ok(Registration::new(Held::spawn(|release| async move {
        while !lease.keep(&release).await {
            info!(collector = %member.id, "the registration was lost; registering anew");
            let mut pauses = Pauses::new();
            lease = loop {
                match release.run_until_cancelled(put(&connection, &key, &value, ttl)).await {
                    Some(Ok(lease)) => break lease,
                    Some(Err(_)) if pauses.wait(&release).await => {}
                    // Released before there was anything to release.
                    _ => return,
                }
            };
        }
        // Else it runs out by itself.
        let _ = lease.revoke().await;
    })))
}

async fn put(connection: &Arc<Connection>, key: &str, value: &[u8], ttl: Duration) -> Result<Lease, StoreError> {
    let lease = Lease::grant(connection, ttl).await?;
    let options = PutOptions::new().with_lease(lease.id);
    let (key, value) = (key.to_owned(), value.to_owned());
    connection.call("a registration", |client| async move { kv(&client).put(key, value, Some(options)).await }).await?;
    Ok(lease)
}
