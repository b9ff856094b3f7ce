//! The thread that makes tables and frees them, so that no thread that has requests does.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use plimsoll_wire::resources::Workload;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use super::Table;
use super::making::{Change, Tables};

/// How much the thread gives way to those with requests: where all processors are busy it has about a tenth of what each of them
/// has. It must still come to an end there, for requests wait for new routes.
const NICENESS: i32 = 10;
/// Between two looks whether a table that has been replaced is in use somewhere.
const LOOK: Duration = Duration::from_millis(100);
/// One order is given after the other has been carried out; a table to free goes along.
const ORDERS: usize = 2;

/// What the thread is told.
#[derive(Debug)]
enum Order {
    Make(Arc<Vec<Workload>>, oneshot::Sender<Change>),
    Free(Arc<Table>),
}

/// Follows the resources with a thread of its own.
#[derive(Debug)]
pub(crate) struct Maker {
    orders: mpsc::Sender<Order>,
    thread: JoinHandle<()>,
    ended: oneshot::Receiver<()>,
    publishing: Publishing,
    known: watch::Receiver<bool>,
    in_force: watch::Sender<bool>,
}

/// What a new table is published with.
#[derive(Debug)]
struct Publishing {
    current: Arc<ArcSwap<Table>>,
    ledger: crate::ledger::Ledger,
    metrics: Arc<crate::metrics::Metrics>,
}

impl Tables {
    /// Takes over the workloads of now, before anybody serves.
    pub(crate) async fn begin(&mut self, workloads: Arc<Vec<Workload>>) {
        let (ledger, metrics) = self.told();
        let change = self.make(workloads);
        change.publish(&self.current(), &ledger, &metrics).await;
    }

    /// Makes all further tables on a thread of their own. `known` says whether the workloads are all that there are.
    ///
    /// # Errors
    /// Where the system has no thread to give.
    pub(crate) fn start(self, known: watch::Receiver<bool>) -> io::Result<Maker> {
        let (orders, given) = mpsc::channel(ORDERS);
        let (ends, ended) = oneshot::channel();
        let (ledger, metrics) = self.told();
        let publishing = Publishing { current: self.current(), ledger, metrics };
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let run = move || {
            if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
                debug!("the thread that makes routes keeps its priority: {error}");
            }
            runtime.block_on(carry_out(self, given));
            // Whoever waits for it may have gone.
            let _nobody_waits = ends.send(());
        };
        let thread = std::thread::Builder::new().name("routes".to_owned()).spawn(run)?;
        Ok(Maker { orders, thread, ended, publishing, known, in_force: watch::channel(false).0 })
    }
}

impl Maker {
    /// Whether the workloads are known and requests are routed by a table of them. It stays so: a table of later workloads is never
    /// waited for.
    pub(crate) fn in_force(&self) -> watch::Receiver<bool> {
        self.in_force.subscribe()
    }

    /// Follows the resources until `shutdown` is cancelled.
    pub(crate) async fn follow(self, mut resources: watch::Receiver<Arc<Vec<Workload>>>, shutdown: CancellationToken) {
        let mut known = self.known.clone();
        let (mut resources_end, mut known_end) = (false, false);
        loop {
            // Asked first: the workloads that are taken then are those that became known, or later ones.
            let are_known = *known.borrow_and_update();
            let workloads = resources.borrow_and_update().clone();
            let up_to_date = tokio::select! {
                () = shutdown.cancelled() => break,
                up_to_date = self.take_over(workloads) => up_to_date,
            };
            if are_known && up_to_date {
                self.in_force.send_if_modified(|in_force| !std::mem::replace(in_force, true));
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                // Where nobody writes routes any more, the last ones stand.
                changed = resources.changed(), if !resources_end => resources_end = changed.is_err(),
                changed = known.changed(), if !known_end => known_end = changed.is_err(),
            }
        }
        let Self { orders, thread, ended, .. } = self;
        drop(orders);
        // It ends with the table that it is at.
        let _ended_or_panicked = ended.await;
        if thread.join().is_err() {
            error!("the thread that makes routes panicked");
        }
    }

    /// Whether there is a table of these workloads then.
    async fn take_over(&self, workloads: Arc<Vec<Workload>>) -> bool {
        if Arc::ptr_eq(&workloads, &self.publishing.current.load().workloads) {
            return true;
        }
        let count = workloads.len();
        let published = self.replace(workloads).await;
        match published {
            Some(()) => info!(workloads = count, "routes have changed"),
            None => error!("routes stay as they are: making new ones has panicked; the next change is tried again"),
        }
        published.is_some()
    }

    /// None where making it has panicked.
    async fn replace(&self, workloads: Arc<Vec<Workload>>) -> Option<()> {
        let (reply, made) = oneshot::channel();
        self.orders.send(Order::Make(workloads, reply)).await.ok()?;
        let Publishing { current, ledger, metrics } = &self.publishing;
        let before = made.await.ok()?.publish(current, ledger, metrics).await;
        self.orders.send(Order::Free(before)).await.ok()
    }
}

/// The thread's work, until nobody gives orders any more.
async fn carry_out(mut tables: Tables, mut orders: mpsc::Receiver<Order>) {
    let (_, metrics) = tables.told();
    let mut replaced = Replaced::default();
    loop {
        let order = tokio::select! {
            order = orders.recv() => order,
            () = tokio::time::sleep(LOOK), if !replaced.is_empty() => {
                replaced.free_unused();
                continue;
            }
        };
        match order {
            Some(Order::Make(workloads, reply)) => {
                if let Some(change) = unless_it_panics(&metrics, || tables.make(workloads)) {
                    // Whoever wanted it is shutting down.
                    let _nobody_waits = reply.send(change);
                }
            }
            Some(Order::Free(table)) => {
                replaced.keep(table);
                // Where changes follow closely on each other, orders leave no pause to look in.
                replaced.free_unused();
            }
            None => return,
        }
    }
}

/// What has been made; none where that panics, which is counted: routes that can't be made must not keep later ones from being made.
fn unless_it_panics<T>(metrics: &crate::metrics::Metrics, make: impl FnOnce() -> T) -> Option<T> {
    // Tables take over the new routes when all of them are made, so what is left behind is whole.
    let made = catch_unwind(AssertUnwindSafe(make));
    if made.is_err() {
        metrics.panics.inc();
    }
    made.ok()
}

/// Keeps what has been replaced until nobody else has it, so that it is freed here and by nobody else.
#[derive(Debug)]
struct Replaced<T>(Vec<Arc<T>>);

impl<T> Default for Replaced<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Replaced<T> {
    fn keep(&mut self, replaced: Arc<T>) {
        self.0.push(replaced);
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What has been replaced can't be found any more, so who is alone with it stays so.
    fn free_unused(&mut self) {
        self.0.retain(|replaced| Arc::strong_count(replaced) > 1);
    }
}

#[cfg(test)]
mod tests {
    use std::thread::ThreadId;

    use plimsoll_wire::resources::{Backend, Port};
    use plimsoll_wire::topic::WorkloadId;

    use super::*;
    use crate::config::Config;
    use crate::endpoints::Endpoints;
    use crate::ledger::{Clock, Ledger};

    /// Tells which thread drops it.
    struct Told(std::sync::mpsc::Sender<ThreadId>);

    impl Drop for Told {
        fn drop(&mut self) {
            self.0.send(std::thread::current().id()).unwrap();
        }
    }

    fn workloads(names: &[&str]) -> Arc<Vec<Workload>> {
        let target = || Backend { service: "127.0.0.1".to_owned(), port: Port::Number(80) };
        Arc::new(names.iter().map(|name| Workload::new(WorkloadId::new("default", *name), target())).collect())
    }

    fn tables() -> (Arc<ArcSwap<Table>>, Tables) {
        let ledger = Ledger::new(Clock::start());
        let tables = Tables::new(Config::from_environment().unwrap(), ledger, Endpoints::new(), Arc::default());
        (tables.current(), tables)
    }

    #[test]
    fn what_others_still_have_is_freed_by_who_keeps_it_when_they_have_let_go() {
        let (told, dropped) = std::sync::mpsc::channel();
        let (table, mut replaced) = (Arc::new(Told(told)), Replaced::default());
        let at_a_request = table.clone();
        replaced.keep(table);
        replaced.free_unused();
        assert!(!replaced.is_empty());
        std::thread::spawn(move || drop(at_a_request)).join().unwrap();
        assert!(dropped.try_recv().is_err());
        replaced.free_unused();
        assert_eq!(dropped.try_recv().unwrap(), std::thread::current().id());
        assert!(replaced.is_empty());
    }

    #[test]
    fn routes_that_can_not_be_made_are_counted_and_keep_none_from_being_made() {
        let metrics = crate::metrics::Metrics::default();
        let outcome: Option<()> = unless_it_panics(&metrics, || panic!("a test wants this"));
        assert_eq!((outcome, metrics.panics.get()), (None, 1));
        assert_eq!((unless_it_panics(&metrics, || 7), metrics.panics.get()), (Some(7), 1));
    }

    #[tokio::test]
    async fn routes_are_in_force_when_requests_go_by_all_that_became_known() {
        let (current, mut tables) = tables();
        tables.begin(Arc::default()).await;
        let (publish, resources) = watch::channel(Arc::default());
        let (tell, known) = watch::channel(false);
        let shutdown = CancellationToken::new();
        let maker = tables.start(known).unwrap();
        let mut in_force = maker.in_force();
        let following = tokio::spawn(maker.follow(resources, shutdown.clone()));
        let limit = Duration::from_secs(30);
        publish.send_replace(workloads(&["a"]));
        let in_use = async {
            while current.load().workloads.len() != 1 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(limit, in_use).await.unwrap();
        assert!(!*in_force.borrow(), "there may be others");
        let all = workloads(&["a", "b", "c"]);
        publish.send_replace(all.clone());
        tell.send_replace(true);
        assert!(!*in_force.borrow(), "no table of them is made yet");
        tokio::time::timeout(limit, in_force.wait_for(|in_force| *in_force)).await.unwrap().unwrap();
        assert!(Arc::ptr_eq(&current.load().workloads, &all));
        publish.send_replace(workloads(&["a"]));
        assert!(*in_force.borrow(), "a change of routes is no reason to be sent nobody");
        shutdown.cancel();
        following.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn replaced_tables_do_not_pile_up_while_changes_leave_no_pause() {
        let (current, mut tables) = tables();
        tables.begin(workloads(&["a"])).await;
        let (ledger, metrics) = tables.told();
        let (orders, given) = mpsc::channel(ORDERS);
        let making = tokio::spawn(carry_out(tables, given));
        let began = tokio::time::Instant::now();
        let mut replaced = Vec::new();
        for _ in 0..100 {
            let (reply, made) = oneshot::channel();
            orders.send(Order::Make(workloads(&["a"]), reply)).await.unwrap();
            let before = made.await.unwrap().publish(&current, &ledger, &metrics).await;
            replaced.push(Arc::downgrade(&before));
            orders.send(Order::Free(before)).await.unwrap();
        }
        assert_eq!(tokio::time::Instant::now(), began, "there was no pause");
        let there = replaced.iter().filter(|table| table.strong_count() > 0).count();
        assert!(there <= 1, "{there} of them: the last one alone is on its way");
        drop(orders);
        making.await.unwrap();
    }

    #[tokio::test]
    async fn a_table_that_a_thread_still_has_outlives_its_replacement_and_no_longer() {
        let (current, mut tables) = tables();
        tables.begin(workloads(&["a"])).await;
        let (at_a_worker, shutdown) = (current.load_full(), CancellationToken::new());
        let old = Arc::downgrade(&at_a_worker);
        let (replace, resources) = watch::channel(current.load().workloads.clone());
        let (_, known) = watch::channel(true);
        let following = tokio::spawn(tables.start(known).unwrap().follow(resources, shutdown.clone()));
        replace.send(workloads(&["a", "b"])).unwrap();
        let a_moment = || tokio::time::sleep(Duration::from_millis(5));
        let in_time = tokio::time::timeout(Duration::from_secs(30), async {
            while current.load().workloads.len() != 2 {
                a_moment().await;
            }
            // The worker has it still, and so has the thread that made the new one.
            while old.strong_count() != 2 {
                a_moment().await;
            }
            drop(at_a_worker);
            while old.strong_count() != 0 {
                a_moment().await;
            }
        });
        in_time.await.expect("the old table goes when the last worker has left it");
        shutdown.cancel();
        following.await.unwrap();
    }
}
