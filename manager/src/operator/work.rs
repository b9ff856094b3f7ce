//! The operator's work: looks at each resource when something has changed that concerns it, and has written what is to be written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesUnordered, StreamExt as _};
use kube::core::DynamicObject;
use plimsoll_wire::resources::{Kind, Workload, cluster};
use plimsoll_wire::topic::WorkloadId;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::calls::{Calls, Written};
use super::claims::Claims;
use super::cluster::{Cluster, News, Touched};
use super::plan;
use super::queue::{Outcome, Queue};
use super::scaled_object::{SCALE_TARGET, Wanted, annotation, wanted};
use super::uses::Uses;
use super::verdict::{Found, Verdict};
use super::writers::others;
use super::{Key, Operator, Which};

/// Resources that are written at once.
const AT_ONCE: usize = 8;
const BOTH: [Which; 2] = [Which::Route, Which::Object];

/// Keeps everything right for as long as it is polled.
pub(super) async fn run(operator: &Operator, mut workloads: watch::Receiver<Arc<Vec<Workload>>>) {
    let mut work = Work {
        operator,
        news: super::cluster::news(&operator.client, operator.namespace.as_deref()),
        cluster: Cluster::default(),
        uses: Uses::default(),
        workloads: Arc::default(),
        claims: Claims::default(),
        missing: BTreeMap::new(),
        queue: Queue::default(),
        remembered: BTreeMap::new(),
        running: FuturesUnordered::new(),
    };
    work.take_workloads(workloads.borrow_and_update().clone());
    let mut workloads_end = false;
    loop {
        work.start_what_is_due();
        let due = work.next_start();
        tokio::select! {
            news = work.news.next() => match news {
                Some(news) => work.hear(news),
                None => return,
            },
            changed = workloads.changed(), if !workloads_end => {
                workloads_end = changed.is_err();
                work.take_workloads(workloads.borrow_and_update().clone());
            }
            Some(done) = work.running.next(), if !work.running.is_empty() => work.finish(done),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
        }
    }
}

struct Work<'a> {
    operator: &'a Operator,
    news: BoxStream<'static, News>,
    cluster: Cluster,
    uses: Uses,
    /// Those in use, in the order of their names.
    workloads: Arc<Vec<Workload>>,
    claims: Claims,
    /// What the bodies of answers lack, of the workloads that lack anything.
    missing: BTreeMap<WorkloadId, Vec<String>>,
    queue: Queue<Key>,
    /// Of the resources that are there, and that something has been done for.
    remembered: BTreeMap<Key, Remembered>,
    running: FuturesUnordered<BoxFuture<'static, Done>>,
}

/// What is remembered of a resource, by this manager in this term.
#[derive(Debug, Default)]
struct Remembered {
    /// What was wanted of its ScaledObject when that was applied last.
    applied: Option<Value>,
    /// The generation of which its status was made to tell last, and what.
    said: Option<(Option<i64>, Verdict)>,
    /// Why it could not be written, where that has been logged and is still so.
    failed: Option<String>,
    /// Who else writes it, while somebody undoes what is written.
    against: BTreeSet<String>,
}

/// A resource that has been looked at.
struct Done {
    key: Key,
    /// What was wanted of its ScaledObject.
    asked: Option<Value>,
    written: Written,
    /// What could not be written, and why.
    failed: Option<String>,
}

impl Work<'_> {
    fn hear(&mut self, news: News) {
        let was_complete = self.cluster.is_complete();
        let touched = self.cluster.apply(news);
        if !self.cluster.is_complete() {
            return;
        }
        let now = Instant::now();
        match touched {
            // A condition said of half of what there is would be wrong.
            _ if !was_complete => {
                info!("the operator knows all resources");
                self.all(now);
            }
            Touched::Nothing => {}
            Touched::All => self.all(now),
            Touched::Resource(which, id) => {
                let key = (which, id.clone());
                self.uses.set(&key, self.cluster.of(which).get(&id).map(|object| &**object));
                self.queue.add(key, now);
                if which == Which::Route {
                    // Whether the HTTPScaledObject of its name is in use depends on it.
                    self.of_name(&id, now);
                }
            }
            Touched::Scaled(id) => self.of_name(&id, now),
            Touched::Service(id) => {
                let users: Vec<Key> = self.uses.of(&id).cloned().collect();
                users.into_iter().for_each(|key| self.queue.add(key, now));
            }
        }
    }

    /// Everything may be different, and what is not there any more may have gone without a word.
    fn all(&mut self, now: Instant) {
        let cluster = &self.cluster;
        let is_there = |(which, id): &Key| cluster.of(*which).get(id).is_some();
        self.queue.retain(is_there);
        self.remembered.retain(|key, _| is_there(key));
        self.uses = Uses::default();
        for which in BOTH {
            for (id, object) in self.cluster.of(which).iter() {
                let key = (which, id.clone());
                self.uses.set(&key, Some(object));
                self.queue.add(key, now);
            }
        }
    }

    /// The resources of this name are to be looked at.
    fn of_name(&mut self, id: &WorkloadId, now: Instant) {
        for which in BOTH {
            if self.cluster.of(which).get(id).is_some() {
                self.queue.add((which, id.clone()), now);
            }
        }
    }

    fn take_workloads(&mut self, workloads: Arc<Vec<Workload>>) {
        let claims = Claims::of(&workloads);
        let missing = workloads.iter().map(|workload| (workload.id.clone(), workload.missing_bodies()));
        let missing: BTreeMap<_, _> = missing.filter(|(_, missing)| !missing.is_empty()).collect();
        let lacking = missing.keys().chain(self.missing.keys());
        let lacking = lacking.filter(|id| missing.get(*id) != self.missing.get(*id));
        let two = self.cluster.objects.iter().map(|(id, _)| id);
        let turned = two.filter(|id| {
            self.cluster.routes.get(id).is_some() && is_of_route(&workloads, id) != is_of_route(&self.workloads, id)
        });
        let concerned: BTreeSet<WorkloadId> =
            claims.differing(&self.claims).chain(lacking).chain(turned).cloned().collect();
        (self.workloads, self.claims, self.missing) = (workloads, claims, missing);
        let now = Instant::now();
        concerned.iter().for_each(|id| self.of_name(id, now));
    }

    /// When the next resource can be looked at.
    fn next_start(&self) -> Option<Instant> {
        self.queue.next_due().filter(|_| self.running.len() < AT_ONCE && self.cluster.is_complete())
    }

    fn start_what_is_due(&mut self) {
        while self.running.len() < AT_ONCE && self.cluster.is_complete() {
            let now = Instant::now();
            let Some(key) = self.queue.take(now) else { return };
            let Some(object) = self.cluster.of(key.0).get(&key.1).cloned() else {
                // It has gone, and its ScaledObject goes with it: it is the owner.
                self.queue.done(&key, Outcome::Well, now);
                self.forget(&key);
                continue;
            };
            let looking = self.look(key, object, now);
            self.running.push(looking);
        }
    }

    fn forget(&mut self, key: &Key) {
        self.queue.forget(key);
        self.remembered.remove(key);
    }

    fn finish(&mut self, done: Done) {
        let Done { key, asked, written, failed } = done;
        let remembered = self.remembered.entry(key.clone()).or_default();
        let mut outcome = Outcome::Well;
        if written.applied {
            if remembered.applied == asked {
                outcome = Outcome::Repeated;
            }
            remembered.applied = asked;
        }
        if written.said.is_some() {
            if remembered.said == written.said {
                outcome = Outcome::Repeated;
            }
            remembered.said = written.said;
        }
        if let Some(why) = &failed {
            outcome = Outcome::Failed;
            if remembered.failed.as_ref() == Some(why) {
                debug!("{} {}: still: {why}", key.0.name(), key.1);
            } else {
                warn!("{} {}: {why}; trying again", key.0.name(), key.1);
            }
        }
        remembered.failed = failed;
        self.queue.done(&key, outcome, Instant::now());
        if self.cluster.of(key.0).get(&key.1).is_none() {
            self.forget(&key);
        }
    }

    /// What is to be done for a resource, as things stand now.
    fn look(&mut self, key: Key, object: Arc<DynamicObject>, now: Instant) -> BoxFuture<'static, Done> {
        let (which, id) = key.clone();
        let (wanted, mut verdict) = self.judge(which, &id, &object);
        let there = self.cluster.scaled.get(&id);
        let remembered = self.remembered.entry(key.clone()).or_default();
        if self.queue.is_contested(&key, now) {
            for written in there.map(|there| &there.object).into_iter().chain([&object]) {
                remembered.against.extend(others(written).map(str::to_owned));
            }
            verdict = verdict.contested(&remembered.against);
            // Each contest once.
            if remembered.said.as_ref().is_none_or(|(_, said)| said.reason != verdict.reason) {
                warn!("{} {id}: {}", which.name(), verdict.message);
            }
        } else {
            remembered.against.clear();
        }
        let mut change = None;
        if let Some(wanted) = &wanted {
            if !self.cluster.no_scaled_objects {
                change = plan::change(which, &object, wanted, there, remembered.applied.as_ref());
            } else if matches!(wanted, Wanted::So(_)) {
                verdict = Verdict::without_keda();
            }
        }
        let asked = wanted.and_then(Wanted::so);
        let calls = Calls { client: self.operator.client.clone(), id };
        Box::pin(async move {
            let mut written = Written::default();
            let failed = calls.carry_out(which, &object, change, verdict, &mut written).await.err();
            Done { key, asked, written, failed }
        })
    }

    /// What its ScaledObject should be, none where that stays as it is; and what is to be said of the resource.
    fn judge(&self, which: Which, id: &WorkloadId, object: &DynamicObject) -> (Option<Wanted>, Verdict) {
        let good = match cluster::read(which.kind(), object) {
            Ok(good) => good,
            Err(what) => return (None, Verdict::invalid(what)),
        };
        let wanted = match wanted(which, object, &self.operator.scaler) {
            Ok(wanted) => wanted,
            Err(what) => return (None, Verdict::invalid(what)),
        };
        if which == Which::Object
            && let Some(route) = self.route_in_use(id)
        {
            // The ScaledObject is the InterceptorRoute's where that wants one.
            let wanted = Some(wanted).filter(|_| annotation(route, SCALE_TARGET).is_none());
            let message = "the InterceptorRoute of the same name is used for its requests".to_owned();
            return (wanted, Verdict { ready: true, reason: "Reconciled", message });
        }
        let service = |name: &str| self.cluster.services.get(&WorkloadId::new(id.namespace.clone(), name));
        let workload = &good.workload;
        let target = Found { backend: &workload.target, service: service(&workload.target.service) };
        let fallback = workload.cold_start.fallback.as_ref();
        let fallback = fallback.map(|backend| Found { backend, service: service(&backend.service) });
        let missing = self.missing.get(id).map_or(&[][..], Vec::as_slice);
        let well = match (&wanted, which) {
            (Wanted::So(_), _) => "ScaledObject created and configured",
            (Wanted::Orphan, _) => "its ScaledObject belongs to nobody, as its annotation says",
            (Wanted::None, Which::Object) => "it has no ScaledObject, as its annotation says",
            (Wanted::None, Which::Route) => "it is in use",
        };
        (Some(wanted), Verdict::of_usable(target, fallback, self.claims.get(id), missing, well))
    }

    /// The InterceptorRoute of this name where it is the one in use: a good one, or one whose last good version still is.
    fn route_in_use(&self, id: &WorkloadId) -> Option<&DynamicObject> {
        let route = self.cluster.routes.get(id)?;
        let in_use = cluster::read(Kind::InterceptorRoute, route).is_ok() || is_of_route(&self.workloads, id);
        in_use.then_some(&**route)
    }
}

/// Whether the workload of this name comes from an InterceptorRoute; they are in the order of their names.
fn is_of_route(workloads: &[Workload], id: &WorkloadId) -> bool {
    let found = workloads.binary_search_by(|workload| workload.id.cmp(id));
    found.is_ok_and(|at| workloads[at].kind == Kind::InterceptorRoute)
}
