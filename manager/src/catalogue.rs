//! The workloads that the manager knows, and their topics.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use plimsoll_wire::log::Topic;
use plimsoll_wire::resources::Workload;
use plimsoll_wire::topic::WorkloadId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::metrics::ControlMetrics;

/// A workload with its topic.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What its resource says.
    pub workload: Workload,
    /// Where its frames are.
    pub topic: Topic,
}

/// All workloads at one moment; replaced whole when the resources change. The default is that none is known yet.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// Sorted by namespace, then name.
    entries: Vec<Arc<Entry>>,
    /// Sorted: not the order of the entries, as a dot comes after a dash.
    topics: Vec<Topic>,
    by_id: HashMap<WorkloadId, usize>,
    by_topic: HashMap<Topic, usize>,
    known: bool,
}

impl Catalogue {
    /// The catalogue of these workloads. Of two with one name the first counts (whoever reads resources has reported the other).
    #[must_use]
    pub fn new(workloads: &[Workload]) -> Self {
        let mut sorted: Vec<&Workload> = workloads.iter().collect();
        sorted.sort_by(|a, b| a.id.cmp(&b.id));
        sorted.dedup_by(|later, earlier| later.id == earlier.id);
        let entries: Vec<Arc<Entry>> = sorted
            .into_iter()
            .map(|workload| Arc::new(Entry { workload: workload.clone(), topic: Topic::from(workload.id.topic()) }))
            .collect();
        let by_id = entries.iter().enumerate().map(|(at, entry)| (entry.workload.id.clone(), at)).collect();
        let by_topic = entries.iter().enumerate().map(|(at, entry)| (entry.topic.clone(), at)).collect();
        let mut topics: Vec<Topic> = entries.iter().map(|entry| entry.topic.clone()).collect();
        topics.sort_unstable();
        Self { entries, topics, by_id, by_topic, known: true }
    }

    /// Whether it says what there is. Until the resources have been read it is empty, which means nothing.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// All workloads, sorted by namespace, then name.
    #[must_use]
    pub fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }

    /// All their topics, sorted.
    #[must_use]
    pub fn topics(&self) -> &[Topic] {
        &self.topics
    }

    /// The workload of this name.
    #[must_use]
    pub fn get(&self, id: &WorkloadId) -> Option<&Arc<Entry>> {
        self.by_id.get(id).map(|at| &self.entries[*at])
    }

    /// The workload that has this topic.
    #[must_use]
    pub fn of_topic(&self, topic: &str) -> Option<&Arc<Entry>> {
        self.by_topic.get(topic).map(|at| &self.entries[*at])
    }
}

/// Keeps the catalogue as the resources are, and the board to their topics, until shutdown.
pub(crate) async fn follow(
    mut workloads: watch::Receiver<Arc<Vec<Workload>>>,
    mut known: watch::Receiver<bool>,
    catalogue: Arc<ArcSwap<Catalogue>>,
    board: Arc<Board>,
    metrics: Arc<ControlMetrics>,
    shutdown: CancellationToken,
) {
    tokio::select! {
        () = shutdown.cancelled() => return,
        known = known.wait_for(|known| *known) => if known.is_err() { return },
    }
    loop {
        let current = workloads.borrow_and_update().clone();
        metrics.workloads.set(i64::try_from(current.len()).unwrap_or(i64::MAX));
        let new = Arc::new(Catalogue::new(&current));
        catalogue.store(new.clone());
        board.keep_topics(|topic| new.of_topic(topic).is_some());
        board.changed.notify_one();
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = workloads.changed() => if changed.is_err() { return },
        }
    }
}
