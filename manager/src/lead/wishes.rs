//! What operators have asked for, as the leader sees it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_scheduler::directives::Directives;
use plimsoll_scheduler::plan::Topic;
use plimsoll_scheduler::store::{Store, StoreError, StoredDirectives};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::catalogue::Catalogue;

/// After a failure to load.
const RETRY: Duration = Duration::from_millis(500);

/// The directives: never older than they were when the term began. A watch alone says nothing until the store has spoken, and a
/// leader that believed that would fill what was drained.
#[derive(Debug)]
pub struct Wishes {
    store: Arc<dyn Store>,
    watched: watch::Receiver<Arc<StoredDirectives>>,
    loaded: Arc<StoredDirectives>,
}

impl Wishes {
    /// Loads them; tries on while the store is away.
    pub async fn load(store: &Arc<dyn Store>) -> Self {
        let mut complained = false;
        loop {
            match store.load_directives().await {
                Ok(loaded) => {
                    let (store, watched) = (store.clone(), store.watch_directives());
                    return Self { store, watched, loaded: Arc::new(loaded) };
                }
                Err(error) if !complained => {
                    complained = true;
                    warn!("can't read what operators have asked for, so nothing is planned yet; trying on: {error}");
                }
                Err(_) => {}
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// The newest ones.
    pub fn now(&self) -> Arc<StoredDirectives> {
        let watched = self.watched.borrow().clone();
        if watched.revision < self.loaded.revision { self.loaded.clone() } else { watched }
    }

    /// Strikes out topics whose removal is done, and what else was said of them.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where somebody else has changed the directives meanwhile: the next look tries again.
    pub async fn strike(&self, done: &BTreeSet<Topic>) -> Result<(), StoreError> {
        let current = self.now();
        let mut directives = current.directives.clone();
        directives.removed.retain(|topic| !done.contains(topic));
        directives.registered.retain(|topic, _| !done.contains(topic));
        directives.pins.retain(|topic, _| !done.contains(topic));
        if directives == current.directives {
            return Ok(());
        }
        self.store.change_directives(&directives, current.revision).await?;
        info!(topics = done.len(), "struck removed topics from the directives");
        Ok(())
    }
}

/// Whether this topic is to be there: a workload's, or registered by hand and not removed since.
pub fn is_wanted(topic: &str, catalogue: &Catalogue, directives: &Directives) -> bool {
    catalogue.of_topic(topic).is_some()
        || (directives.registered.contains_key(topic) && !directives.removed.contains(topic))
}
