//! Endpoints by Kubernetes' API: for routes whose target is a Service.
//!
//! * `objects` takes from Services and EndpointSlices what is needed; `book` knows which addresses each workload has. Both are pure.
//! * [`resolve_by_cluster`] follows the cluster and writes [`Endpoints`].

mod book;
mod objects;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::runtime::watcher::{Config, Event};
use plimsoll_wire::kubernetes::{follow, of_namespace};
use plimsoll_wire::resources::Workload;
use plimsoll_wire::topic::WorkloadId;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::endpoints::Endpoints;
use book::{Book, Reach, Touched};
use objects::SERVICE_NAME_LABEL;

/// At least this long between two tables of workloads that differ in their Services' protocols alone: each is made as a whole.
const PACE: Duration = Duration::from_millis(100);

/// What a cluster's resources are, before it is known where their requests can go.
#[derive(Debug)]
pub struct Resources {
    /// The workloads of now.
    pub workloads: watch::Receiver<Arc<Vec<Workload>>>,
    /// Whether they are known; see `plimsoll_wire::resources::cluster::Routes::known`.
    pub known: watch::Receiver<bool>,
}

/// A cluster that is followed until shutdown.
#[derive(Debug)]
pub struct Cluster {
    /// The workloads of now, with what their Services say of their protocol. Their endpoints have been written before.
    pub routes: watch::Receiver<Arc<Vec<Workload>>>,
    /// Whether the workloads and their endpoints are known: false until all objects have been listed once.
    pub known: watch::Receiver<bool>,
    following: JoinHandle<()>,
}

impl Cluster {
    /// Waits until the cluster is followed no longer.
    pub async fn finished(self) {
        if let Err(error) = self.following.await {
            tracing::error!(%error, "following the cluster's endpoints ended in a fault");
        }
    }
}

/// Keeps `endpoints` filled: each workload's are the addresses of its Service's EndpointSlices, with their states, and so are
/// those of fallback services. A Service that has not the port that is asked for makes its workload unresolvable; one that is
/// not there, or has no endpoint, lets requests wait.
///
/// While the API server is away everything stays as it is last known. Ends when `shutdown` is cancelled.
#[must_use]
pub fn resolve_by_cluster(
    client: Client,
    namespace: Option<&str>,
    resources: Resources,
    endpoints: Endpoints,
    shutdown: CancellationToken,
) -> Cluster {
    let (routes_tx, routes) = watch::channel(Arc::default());
    let (known_tx, known) = watch::channel(false);
    let resolver = Resolver {
        news: news(client, namespace),
        resources,
        book: Book::default(),
        endpoints,
        told: Told::default(),
        routes: routes_tx,
        known: known_tx,
    };
    let following = tokio::spawn(async move {
        shutdown.run_until_cancelled(resolver.run()).await;
    });
    Cluster { routes, known, following }
}

/// What is heard, of whichever kind.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart at once")]
enum News {
    Service(Event<Service>),
    Slice(Event<EndpointSlice>),
}

fn news(client: Client, namespace: Option<&str>) -> BoxStream<'static, News> {
    let services = follow(of_namespace::<Service>(client.clone(), namespace), Config::default(), "Services");
    // Those without the label are no Service's.
    let labelled = Config::default().labels(SERVICE_NAME_LABEL);
    let slices = follow(of_namespace::<EndpointSlice>(client, namespace), labelled, "EndpointSlices");
    futures::stream::select(
        services.filter_map(|heard| async { heard.event().map(News::Service) }).boxed(),
        slices.filter_map(|heard| async { heard.event().map(News::Slice) }).boxed(),
    )
    .boxed()
}

/// What has been logged of each workload and is still so.
#[derive(Debug, Default)]
struct Told(HashMap<WorkloadId, Vec<String>>);

impl Told {
    /// This is all that is wrong with a workload now: what is new is logged.
    fn say(&mut self, workload: &WorkloadId, all: &[String]) {
        let before = match all {
            [] => self.0.remove(workload),
            all => self.0.insert(workload.clone(), all.to_vec()),
        };
        let before = before.unwrap_or_default();
        for what in all.iter().filter(|what| !before.contains(what)) {
            warn!(workload = %workload, "{what}");
        }
    }
}

struct Resolver {
    news: BoxStream<'static, News>,
    resources: Resources,
    book: Book,
    endpoints: Endpoints,
    told: Told,
    routes: watch::Sender<Arc<Vec<Workload>>>,
    known: watch::Sender<bool>,
}

impl Resolver {
    /// Ends when the watches do, which they do not.
    async fn run(mut self) {
        self.take_workloads();
        let (mut known, mut resources_end) = (self.resources.known.clone(), false);
        let (mut due, mut published) = (None, Instant::now());
        loop {
            tokio::select! {
                news = self.news.next() => {
                    let Some(news) = news else { return };
                    let touched = match news {
                        News::Service(event) => self.book.service(event),
                        News::Slice(event) => self.book.slice(event),
                    };
                    self.write(&touched);
                    if touched.protocols {
                        due.get_or_insert_with(|| Instant::now().max(published + PACE));
                    }
                }
                () = sleep_until(due.unwrap_or(published)), if due.is_some() => {
                    (due, published) = (None, Instant::now());
                    self.publish();
                }
                changed = self.resources.workloads.changed(), if !resources_end => {
                    // Nobody tells of workloads any more: the last ones stand.
                    resources_end = changed.is_err();
                    self.take_workloads();
                }
                changed = known.changed(), if !*self.known.borrow() => if changed.is_err() { return },
            }
            self.become_known();
        }
    }

    fn take_workloads(&mut self) {
        let workloads = self.resources.workloads.borrow_and_update().clone();
        let (touched, gone) = self.book.workloads(workloads);
        for key in gone {
            self.endpoints.remove(&key);
            self.told.say(&key, &[]);
        }
        self.write(&touched);
        self.publish();
    }

    /// Where nothing is missing any more, requests are routed; not before, since a workload without endpoints would hold them.
    fn become_known(&mut self) {
        if !*self.known.borrow() && self.book.is_complete() && *self.resources.known.borrow() {
            // It may have become known with workloads that have not been taken over.
            self.take_workloads();
            self.known.send_replace(true);
        }
    }

    fn write(&mut self, touched: &Touched) {
        // Before all is listed, none of it is the whole truth.
        if !self.book.is_complete() {
            return;
        }
        for (key, backend) in self.book.wanting(touched) {
            match self.book.reach(key, backend) {
                Reach::Addresses(addresses) => {
                    self.told.say(key, &self.book.without_ports(key, backend));
                    self.endpoints.set_with_states(key, addresses);
                }
                Reach::NoPort(why) => {
                    self.told.say(key, &[why]);
                    self.endpoints.set_unresolvable(key);
                }
            }
        }
    }

    fn publish(&self) {
        let workloads = self.book.with_protocols();
        self.routes.send_if_modified(|current| {
            let differ = !Arc::ptr_eq(current, &workloads) && **current != *workloads;
            if differ {
                *current = workloads;
            }
            differ
        });
    }
}
