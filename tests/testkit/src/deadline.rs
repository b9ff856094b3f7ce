//! Waiting for something that somebody else does, without a sleep that hopes.

use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::{Instant, sleep, timeout_at};

/// Short against what servers take to start, long against what a probe costs.
const PAUSE: Duration = Duration::from_millis(20);

/// Calls `probe` until it succeeds, and gives what it gave. After `limit` it fails, saying that `what` did not come
/// about and why the last probe failed. A probe that hangs is cut off at the limit.
///
/// The clock is tokio's: a test that pauses time must not wait for a real server.
pub async fn wait_until<T>(what: &str, limit: Duration, mut probe: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    let mut last = None;
    loop {
        match timeout_at(deadline, probe()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => last = Some(error),
            Err(_) => {}
        }
        if Instant::now() >= deadline {
            return Err(last
                .unwrap_or_else(|| anyhow!("the probe did not answer"))
                .context(format!("{what}: not within {limit:?}")));
        }
        sleep(PAUSE).await;
    }
}
