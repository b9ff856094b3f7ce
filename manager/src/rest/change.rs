//! Changes what operators ask for: read, changed and written back, and again where somebody else was quicker.
//!
//! Any manager takes a change; it is kept in the store, so it survives whatever ends before the leader has acted on it.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_scheduler::directives::Directives;
use plimsoll_scheduler::store::{StoreError, StoredDirectives};

use super::Rest;
use super::failure::Failure;
use super::known::Known;

/// So often a change is tried while others are quicker: with as many writers at once as this, the last one still gets through.
const ATTEMPTS: u32 = 20;
/// Before the first repetition; each further one waits longer, up to eight times this.
const PAUSE: Duration = Duration::from_millis(5);
/// Topics registered, pins, and collectors asked something of, each: what is kept is small, and read whole by everyone.
pub const DIRECTIVES_MAX: usize = 5_000;

/// Makes a change, and gives what is known with it made, and what the change says itself.
///
/// # Errors
/// Whatever the change refuses, after which nothing is changed; 503 while the store is away.
pub async fn change<T>(
    rest: &Rest,
    change: impl Fn(&Known, &mut Directives) -> Result<T, Failure>,
) -> Result<(Known, T), Failure> {
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            tokio::time::sleep(PAUSE * 2_u32.pow(attempt.min(3))).await;
        }
        let stored = rest.store.load_directives().await.map_err(|error| Failure::store_away(&error))?;
        let mut known = Known { directives: Arc::new(stored), ..Known::now(rest) };
        let mut wanted = known.directives.directives.clone();
        let said = change(&known, &mut wanted)?;
        if wanted == known.directives.directives {
            return Ok((known, said));
        }
        within_bounds(&wanted)?;
        match rest.store.change_directives(&wanted, known.directives.revision).await {
            Ok(revision) => {
                known.directives = Arc::new(StoredDirectives { directives: wanted, revision });
                return Ok((known, said));
            }
            Err(StoreError::Conflict) => {}
            Err(error) => return Err(Failure::store_broke_off(&error)),
        }
    }
    let detail = "nothing was changed: others change things at the same time, again and again; try again";
    Err(Failure {
        retry_after: Some(Duration::from_secs(1)),
        ..Failure::new(axum::http::StatusCode::SERVICE_UNAVAILABLE, detail)
    })
}

fn within_bounds(wanted: &Directives) -> Result<(), Failure> {
    for (what, count) in [
        ("topics registered by hand", wanted.registered.len()),
        ("pins", wanted.pins.len()),
        ("collectors that something is asked of", wanted.collectors.len()),
        ("topics to be deleted", wanted.removed.len()),
    ] {
        if count > DIRECTIVES_MAX {
            return Err(Failure::conflict(format!(
                "there would be {count} {what}, and {DIRECTIVES_MAX} is the most; nothing was changed"
            )));
        }
    }
    Ok(())
}
