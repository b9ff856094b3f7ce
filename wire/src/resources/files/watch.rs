//! Route files followed while a program runs.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::folder::{self, Fingerprint};
use super::table::Table;
use super::{Loaded, Problem, Workload};

/// How quickly changes are taken up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cadence {
    /// Files are read when nothing has happened to them for so long: editors and tools write in several steps.
    pub(super) quiet: Duration,
    /// They are read after so long even when something happens all the time.
    pub(super) patience: Duration,
    /// Files are looked at this often even when nothing is heard: network file systems tell nothing, and a link may
    /// lead to a folder that is not watched.
    pub(super) poll: Duration,
}

const CADENCE: Cadence =
    Cadence { quiet: Duration::from_millis(100), patience: Duration::from_secs(1), poll: Duration::from_secs(5) };

/// Names in one log line at most.
const NAMES_SHOWN: usize = 10;

/// The workloads of route files, kept up to date.
///
/// The files are followed until shutdown, or until this and all its receivers are dropped.
#[derive(Debug)]
pub struct Routes {
    workloads: watch::Receiver<Arc<Vec<Workload>>>,
    problems: watch::Receiver<Arc<Vec<Problem>>>,
    following: JoinHandle<()>,
}

impl Routes {
    /// The workloads, in the order of their names. It changes only when a workload does.
    #[must_use]
    pub fn workloads(&self) -> watch::Receiver<Arc<Vec<Workload>>> {
        self.workloads.clone()
    }

    /// What can't be used now. Each is logged once, when it appears.
    #[must_use]
    pub fn problems(&self) -> watch::Receiver<Arc<Vec<Problem>>> {
        self.problems.clone()
    }

    /// Waits until the files are followed no longer.
    pub async fn finished(self) {
        let Self { following, workloads, problems } = self;
        drop((workloads, problems));
        if let Err(error) = following.await {
            tracing::error!(%error, "following the route files ended in a fault");
        }
    }
}

/// Reads a file or a folder as [`load`](super::load) does, and goes on reading it whenever it changes.
///
/// The first reading is done on return; it blocks on the file system. A path that can't be read is a problem, and its
/// routes are there as soon as it is. Must be called inside a Tokio runtime.
#[must_use]
pub fn watch(path: impl AsRef<Path>, shutdown: CancellationToken) -> Routes {
    follow(path.as_ref(), CADENCE, shutdown)
}

pub(super) fn follow(path: &Path, cadence: Cadence, shutdown: CancellationToken) -> Routes {
    let changed = Arc::new(Notify::new());
    // Listening begins before the first reading, so that no change falls between the two.
    let listener = Listener::new(path, &changed);
    let fingerprint = folder::fingerprint(path);
    let table = Arc::new(Table::default().next(folder::read(path), path));
    let loaded = Table::clone(&table).loaded();
    tracing::info!(path = %path.display(), workloads = loaded.workloads.len(), "read the route files");
    let mut told = HashSet::new();
    report(&loaded, &mut told);

    let (workloads_tx, workloads) = watch::channel(Arc::new(loaded.workloads));
    let (problems_tx, problems) = watch::channel(Arc::new(loaded.problems));
    let follower = Follower {
        path: path.to_owned(),
        cadence,
        listener,
        changed,
        fingerprint,
        table,
        told,
        workloads: workloads_tx,
        problems: problems_tx,
    };
    Routes { workloads, problems, following: tokio::spawn(follower.run(shutdown)) }
}

struct Follower {
    path: PathBuf,
    cadence: Cadence,
    listener: Listener,
    changed: Arc<Notify>,
    /// Of the files when they were read last.
    fingerprint: Fingerprint,
    table: Arc<Table>,
    /// Problems and notes that have been logged and are still there.
    told: HashSet<String>,
    workloads: watch::Sender<Arc<Vec<Workload>>>,
    problems: watch::Sender<Arc<Vec<Problem>>>,
}

impl Follower {
    async fn run(mut self, shutdown: CancellationToken) {
        let mut poll = interval(self.cadence.poll);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let heard = tokio::select! {
                () = shutdown.cancelled() => return,
                () = unheeded(&self.workloads, &self.problems) => return,
                () = self.changed.notified() => true,
                _ = poll.tick() => false,
            };
            self.listener.renew();
            let turn = async {
                if heard {
                    self.settle().await;
                } else if !self.differs().await {
                    return;
                }
                self.read().await;
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = turn => {}
            }
        }
    }

    /// Waits until the files are left alone.
    async fn settle(&self) {
        let deadline = Instant::now() + self.cadence.patience;
        loop {
            tokio::select! {
                () = sleep(self.cadence.quiet) => return,
                heard = timeout_at(deadline, self.changed.notified()) => if heard.is_err() { return },
            }
        }
    }

    /// Whether the files are others than those read last.
    async fn differs(&self) -> bool {
        let path = self.path.clone();
        let now = tokio::task::spawn_blocking(move || folder::fingerprint(&path)).await;
        now.is_ok_and(|now| now != self.fingerprint)
    }

    async fn read(&mut self) {
        let (path, previous) = (self.path.clone(), self.table.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let before = folder::fingerprint(&path);
            let read = folder::read(&path);
            let settled = folder::fingerprint(&path) == before;
            settled.then(|| (before, previous.next(read, &path)))
        });
        match reading.await {
            Ok(Some((fingerprint, table))) => {
                self.fingerprint = fingerprint;
                self.publish(table);
            }
            // They were written while they were read: half of each may have been seen. The next turn reads them again.
            Ok(None) => self.changed.notify_one(),
            Err(error) => {
                tracing::error!(%error, "reading the route files ended in a fault; the last good routes stay")
            }
        }
    }

    fn publish(&mut self, table: Table) {
        if table == *self.table {
            return;
        }
        self.table = Arc::new(table.clone());
        let loaded = table.loaded();
        report(&loaded, &mut self.told);
        self.workloads.send_if_modified(|current| {
            let changes = Changes::between(current, &loaded.workloads);
            if changes.none() {
                return false;
            }
            changes.log(loaded.workloads.len());
            *current = Arc::new(loaded.workloads);
            true
        });
        self.problems.send_if_modified(|current| {
            let differ = **current != loaded.problems;
            if differ {
                *current = Arc::new(loaded.problems);
            }
            differ
        });
    }
}

/// Resolves when nobody looks at the routes any more.
async fn unheeded(workloads: &watch::Sender<Arc<Vec<Workload>>>, problems: &watch::Sender<Arc<Vec<Problem>>>) {
    workloads.closed().await;
    problems.closed().await;
}

/// Logs each problem and note that is new, and forgets those that are gone.
pub(in crate::resources) fn report(loaded: &Loaded, told: &mut HashSet<String>) {
    let mut now = HashSet::new();
    for problem in &loaded.problems {
        let line = format!("{}: {}", problem.place, problem.what);
        if !told.contains(&line) {
            let workload = problem.workload.as_ref().map(tracing::field::display);
            tracing::warn!(workload, "{line}");
        }
        now.insert(line);
    }
    for note in &loaded.notes {
        if !told.contains(note) {
            tracing::warn!("{note}");
        }
        now.insert(note.clone());
    }
    *told = now;
}

/// The names that two tables differ in.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::resources) struct Changes {
    added: Vec<String>,
    changed: Vec<String>,
    removed: Vec<String>,
}

impl Changes {
    pub(in crate::resources) fn between(before: &[Workload], after: &[Workload]) -> Self {
        let mut old: BTreeMap<_, _> = before.iter().map(|workload| (&workload.id, workload)).collect();
        let mut changes = Self::default();
        for workload in after {
            match old.remove(&workload.id) {
                None => changes.added.push(workload.id.to_string()),
                Some(was) if was != workload => changes.changed.push(workload.id.to_string()),
                Some(_) => {}
            }
        }
        changes.removed = old.into_keys().map(ToString::to_string).collect();
        changes
    }

    pub(in crate::resources) fn none(&self) -> bool {
        *self == Self::default()
    }

    pub(in crate::resources) fn log(&self, workloads: usize) {
        let (added, changed, removed) = (names(&self.added), names(&self.changed), names(&self.removed));
        tracing::info!(workloads, %added, %changed, %removed, "the routes have changed");
    }
}

/// The first names of a list, and how many more there are.
fn names(all: &[String]) -> String {
    let shown = all[..all.len().min(NAMES_SHOWN)].join(", ");
    match all.len().saturating_sub(NAMES_SHOWN) {
        0 if all.is_empty() => "none".to_owned(),
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Hears from the operating system that something has happened in the folder.
struct Listener {
    folder: PathBuf,
    /// None where the system can't tell; then polling alone remains.
    watcher: Option<RecommendedWatcher>,
}

impl Listener {
    fn new(path: &Path, changed: &Arc<Notify>) -> Self {
        // A file is replaced by renaming another one to its name, which only its folder hears of.
        let (folder, file) = if path.is_dir() {
            (path.to_owned(), None)
        } else {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            (parent.unwrap_or(Path::new(".")).to_owned(), path.file_name().map(OsStr::to_owned))
        };
        let changed = changed.clone();
        let heard = move |event: notify::Result<notify::Event>| {
            // An error may stand for lost events.
            if event.map_or(true, |event| concerns(&event, file.as_deref())) {
                changed.notify_one();
            }
        };
        let watcher = notify::recommended_watcher(heard).inspect_err(|error| {
            tracing::warn!(%error, "the system does not tell of changed route files; they are polled");
        });
        let mut listener = Self { folder, watcher: watcher.ok() };
        listener.renew();
        listener
    }

    /// Listens again: a folder that was removed and made anew is another one, and one that was missing may be there.
    fn renew(&mut self) {
        if let Some(watcher) = &mut self.watcher
            && let Err(error) = watcher.watch(&self.folder, RecursiveMode::NonRecursive)
        {
            tracing::debug!(folder = %self.folder.display(), %error, "the folder can't be watched; it is polled");
        }
    }
}

/// Whether an event can have changed what is read. Reading causes events itself, which must not cause reading.
fn concerns(event: &notify::Event, file: Option<&OsStr>) -> bool {
    if matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write)) {
        return false;
    }
    let Some(file) = file else { return true };
    // A mounted ConfigMap changes by its link `..data` alone.
    let ours = |name: &OsStr| name == file || name.as_encoded_bytes().starts_with(b"..");
    event.paths.is_empty() || event.paths.iter().any(|path| path.file_name().is_none_or(ours))
}

#[cfg(test)]
mod tests;
