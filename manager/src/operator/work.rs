//! The operator's work: looks at each resource when something has changed that concerns it, and writes what is to be written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesUnordered, StreamExt as _};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::DynamicObject;
use plimsoll_wire::resources::{Workload, cluster};
use plimsoll_wire::topic::WorkloadId;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::claims::Claims;
use super::cluster::{Cluster, News, Touched, resources, scaled_objects};
use super::plan::{self, Change};
use super::queue::Queue;
use super::scaled_object::{SCALE_TARGET, Wanted, annotation, wanted};
use super::verdict::Verdict;
use super::{Key, Operator, Which};

/// Resources that are written at once.
const AT_ONCE: usize = 8;
/// One call may take this long.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const NOT_FOUND: u16 = 404;

/// Keeps everything right for as long as it is polled.
pub(super) async fn run(operator: &Operator, mut workloads: watch::Receiver<Arc<Vec<Workload>>>) {
    let mut work = Work {
        operator,
        news: super::cluster::news(&operator.client, operator.namespace.as_deref()),
        cluster: Cluster::default(),
        claims: Claims::default(),
        missing: BTreeMap::new(),
        queue: Queue::default(),
        applied: BTreeMap::new(),
        running: FuturesUnordered::new(),
    };
    work.take_workloads(&workloads.borrow_and_update().clone());
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
                work.take_workloads(&workloads.borrow_and_update().clone());
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
    claims: Claims,
    /// What the bodies of answers lack, of the workloads that lack anything.
    missing: BTreeMap<WorkloadId, Vec<String>>,
    queue: Queue<Key>,
    /// What has been applied last, by this manager in this term.
    applied: BTreeMap<Key, Value>,
    running: FuturesUnordered<BoxFuture<'static, Done>>,
}

/// A resource that has been looked at.
struct Done {
    key: Key,
    /// What has been applied to its ScaledObject, where something has.
    applied: Option<Value>,
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
            Touched::Resource(which, id) => self.queue.add((which, id), now),
            Touched::Scaled(id) => {
                for which in [Which::Route, Which::Object] {
                    if self.cluster.of(which).get(&id).is_some() {
                        self.queue.add((which, id.clone()), now);
                    }
                }
            }
            Touched::Service(id) => self.of_service(&id, now),
        }
    }

    fn all(&mut self, now: Instant) {
        for which in [Which::Route, Which::Object] {
            let ids = self.cluster.of(which).iter().map(|(id, _)| id.clone());
            ids.for_each(|id| self.queue.add((which, id), now));
        }
    }

    /// Services change seldom, so all resources are looked through.
    fn of_service(&mut self, service: &WorkloadId, now: Instant) {
        for (which, target) in [(Which::Route, "target"), (Which::Object, "scaleTargetRef")] {
            let named = |object: &DynamicObject| object.data["spec"][target]["service"] == *service.name;
            let concerned = self.cluster.of(which).iter();
            let concerned = concerned.filter(|(id, object)| id.namespace == service.namespace && named(object));
            concerned.for_each(|(id, _)| self.queue.add((which, id.clone()), now));
        }
    }

    fn take_workloads(&mut self, workloads: &[Workload]) {
        let claims = Claims::of(workloads);
        let missing = workloads.iter().map(|workload| (workload.id.clone(), workload.missing_bodies()));
        let missing: BTreeMap<_, _> = missing.filter(|(_, missing)| !missing.is_empty()).collect();
        let now = Instant::now();
        let lacking = missing.keys().chain(self.missing.keys());
        let lacking = lacking.filter(|id| missing.get(*id) != self.missing.get(*id));
        for id in claims.differing(&self.claims).chain(lacking) {
            for which in [Which::Route, Which::Object] {
                if self.cluster.of(which).get(id).is_some() {
                    self.queue.add((which, id.clone()), now);
                }
            }
        }
        (self.claims, self.missing) = (claims, missing);
    }

    /// When the next resource can be looked at.
    fn next_start(&self) -> Option<Instant> {
        self.queue.next_due().filter(|_| self.running.len() < AT_ONCE && self.cluster.is_complete())
    }

    fn start_what_is_due(&mut self) {
        while self.running.len() < AT_ONCE && self.cluster.is_complete() {
            let Some(key) = self.queue.take(Instant::now()) else { return };
            let Some(object) = self.cluster.of(key.0).get(&key.1).cloned() else {
                // It has gone, and its ScaledObject goes with it: it is the owner.
                self.queue.done(&key, true, Instant::now());
                self.queue.forget(&key);
                self.applied.remove(&key);
                continue;
            };
            self.running.push(self.look(key, object));
        }
    }

    fn finish(&mut self, done: Done) {
        let Done { key, applied, failed } = done;
        if let Some(applied) = applied {
            self.applied.insert(key.clone(), applied);
        }
        if let Some(why) = &failed {
            warn!("{} {}: {why}; trying again", key.0.name(), key.1);
        }
        self.queue.done(&key, failed.is_none(), Instant::now());
    }

    /// What is to be done for a resource, as things stand now.
    fn look(&self, key: Key, object: Arc<DynamicObject>) -> BoxFuture<'static, Done> {
        let (which, id) = key.clone();
        let (wanted, verdict) = self.judge(which, &id, &object);
        let there = self.cluster.scaled.get(&id).map(|there| &**there);
        let change = wanted.and_then(|wanted| plan::change(which, &object, &wanted, there, self.applied.get(&key)));
        let calls = Calls { client: self.operator.client.clone(), id };
        Box::pin(async move {
            let mut done = Done { key, applied: None, failed: None };
            if let Err(why) = calls.carry_out(which, &object, change, verdict, &mut done.applied).await {
                done.failed = Some(why);
            }
            done
        })
    }

    /// What its ScaledObject should be, none where that stays as it is; and what is to be said of the resource.
    fn judge(&self, which: Which, id: &WorkloadId, object: &DynamicObject) -> (Option<Wanted>, Verdict) {
        let good = match cluster::read(which.kind(), object) {
            Ok(good) => good,
            Err(what) => return (None, Verdict::invalid(what)),
        };
        let wanted = match wanted(which, object, &self.operator.scaler_address) {
            Ok(wanted) => wanted,
            Err(what) => return (None, Verdict::invalid(what)),
        };
        let route = self.cluster.routes.get(id);
        if which == Which::Object
            && let Some(route) = route
        {
            // The InterceptorRoute of its name is in use; the ScaledObject is that one's where it wants one.
            let wanted = Some(wanted).filter(|_| annotation(route, SCALE_TARGET).is_none());
            let message = "the InterceptorRoute of the same name is used for its requests".to_owned();
            return (wanted, Verdict { ready: true, reason: "Reconciled", message });
        }
        let target = &good.workload.target;
        let service = WorkloadId::new(id.namespace.clone(), target.service.clone());
        let service = self.cluster.services.get(&service);
        let missing = self.missing.get(id).map_or(&[][..], Vec::as_slice);
        let well = match (&wanted, which) {
            (Wanted::So(_), _) => "ScaledObject created and configured",
            (Wanted::Orphan, _) => "its ScaledObject belongs to nobody, as its annotation says",
            (Wanted::None, Which::Object) => "it has no ScaledObject, as its annotation says",
            (Wanted::None, Which::Route) => "it is in use",
        };
        (Some(wanted), Verdict::of_usable(target, service, self.claims.get(id), missing, well))
    }
}

/// Calls for one resource.
struct Calls {
    client: Client,
    id: WorkloadId,
}

impl Calls {
    /// Writes all that is to be written; `applied` is what the ScaledObject got.
    ///
    /// # Errors
    /// The first thing that could not be written, and why.
    async fn carry_out(
        &self,
        which: Which,
        object: &DynamicObject,
        change: Option<Change>,
        verdict: Verdict,
        applied: &mut Option<Value>,
    ) -> Result<(), String> {
        let resource =
            Api::<DynamicObject>::namespaced_with(self.client.clone(), &self.id.namespace, &resources(which));
        if let Some(finalizers) = plan::finalizers(object) {
            let patch = Patch::Merge(&finalizers);
            answered(resource.patch(&self.id.name, &PatchParams::default(), &patch)).await?;
            info!("{} {}: took the add-on's finalizer off", which.name(), self.id);
        }
        if object.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let changed = match &change {
            Some(change) => self.change(change).await,
            None => Ok(()),
        };
        let verdict = match &changed {
            Ok(()) => verdict,
            Err(why) => Verdict::failed(why),
        };
        if let (Ok(()), Some(Change::Apply(value))) = (&changed, change) {
            *applied = Some(value);
        }
        if let Some(status) = plan::status(which, object, &verdict, Timestamp::now()) {
            let patch = Patch::Apply(&status);
            answered(resource.patch_status(&self.id.name, &plan::applying(), &patch)).await?;
            debug!("{} {}: {}: {}", which.name(), self.id, verdict.reason, verdict.message);
        }
        changed
    }

    async fn change(&self, change: &Change) -> Result<(), String> {
        let scaled = Api::<DynamicObject>::namespaced_with(self.client.clone(), &self.id.namespace, &scaled_objects());
        let name = &self.id.name;
        match change {
            Change::Apply(value) => answered(scaled.patch(name, &plan::applying(), &Patch::Apply(value))).await,
            Change::Merge(value) => answered(scaled.patch(name, &PatchParams::default(), &Patch::Merge(value))).await,
            Change::Delete { uid } => {
                let this_one = Preconditions { uid: uid.clone(), resource_version: None };
                answered(scaled.delete(name, &DeleteParams::default().preconditions(this_one))).await
            }
        }
    }
}

/// An answer in time. What is not there any more needs no change; for a definition that is not installed that is said.
async fn answered<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<(), String> {
    match timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(kube::Error::Api(status)))
            if status.code == NOT_FOUND && status.details.as_ref().is_some_and(|details| !details.name.is_empty()) =>
        {
            Ok(())
        }
        Ok(Err(kube::Error::Api(status))) => Err(status.message.clone()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", CALL_TIMEOUT.as_secs())),
    }
}
