//! The custom resources of a cluster followed while a program runs.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::core::{ApiResource, DynamicObject};
use kube::runtime::watcher::Config;
use kube::{Api, Client, CustomResourceExt as _};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::table::{News, Table};
use crate::kubernetes::{Heard, follow, of_namespace};
use crate::resources::files::{Changes, Loaded, report};
use crate::resources::http_scaled_object::StoredHttpScaledObject;
use crate::resources::interceptor_route::StoredInterceptorRoute;
use crate::resources::{Kind, Problem, RESPONSE_BODY_LABEL, Workload};

/// Changes that come together are published together: so long after the first of them.
const GATHER: Duration = Duration::from_millis(10);
/// At least this long between two tables of workloads: each is made as a whole.
const PACE: Duration = Duration::from_millis(100);

/// The workloads of a cluster, kept up to date until shutdown.
#[derive(Debug)]
pub struct Routes {
    workloads: watch::Receiver<Arc<Vec<Workload>>>,
    problems: watch::Receiver<Arc<Vec<Problem>>>,
    known: watch::Receiver<bool>,
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

    /// Whether the workloads are known: false until all resources have been listed once, true for ever then. Until it is true
    /// the workloads are empty, which means nothing.
    #[must_use]
    pub fn known(&self) -> watch::Receiver<bool> {
        self.known.clone()
    }

    /// Waits until the cluster is followed no longer.
    pub async fn finished(self) {
        if let Err(error) = self.following.await {
            tracing::error!(%error, "following the cluster's resources ended in a fault");
        }
    }
}

/// Follows the resources of a namespace, or of all. Must be called inside a Tokio runtime.
#[must_use]
pub fn watch(client: Client, namespace: Option<&str>, shutdown: CancellationToken) -> Routes {
    let (workloads_tx, workloads) = watch::channel(Arc::default());
    let (problems_tx, problems) = watch::channel(Arc::default());
    let (known_tx, known) = watch::channel(false);
    let follower = Follower {
        news: news(client, namespace),
        table: Table::default(),
        told: HashSet::new(),
        workloads: workloads_tx,
        problems: problems_tx,
        known: known_tx,
    };
    let following = tokio::spawn(async move {
        shutdown.run_until_cancelled(follower.run()).await;
    });
    Routes { workloads, problems, known, following }
}

/// All that is heard of the three kinds.
fn news(client: Client, namespace: Option<&str>) -> BoxStream<'static, News> {
    let custom = |resource: ApiResource| -> Api<DynamicObject> {
        match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        }
    };
    let routes = follow(custom(StoredInterceptorRoute::api_resource()), Config::default(), "InterceptorRoutes");
    let objects = follow(custom(StoredHttpScaledObject::api_resource()), Config::default(), "HTTPScaledObjects");
    let labelled = Config::default().labels(&format!("{RESPONSE_BODY_LABEL}=true"));
    let bodies = follow(of_namespace::<ConfigMap>(client, namespace), labelled, "ConfigMaps with bodies of answers");
    let routes = routes.map(|heard| match heard {
        Heard::Event(event) => News::Route(event),
        Heard::NoSuchKind => News::NoKind(Kind::InterceptorRoute),
    });
    let objects = objects.map(|heard| match heard {
        Heard::Event(event) => News::Object(event),
        Heard::NoSuchKind => News::NoKind(Kind::HttpScaledObject),
    });
    let bodies = bodies.filter_map(|heard| async { heard.event().map(News::Body) });
    futures::stream::select_all([routes.boxed(), objects.boxed(), bodies.boxed()]).boxed()
}

struct Follower {
    news: BoxStream<'static, News>,
    table: Table,
    /// Problems and notes that have been logged and are still there.
    told: HashSet<String>,
    workloads: watch::Sender<Arc<Vec<Workload>>>,
    problems: watch::Sender<Arc<Vec<Problem>>>,
    known: watch::Sender<bool>,
}

impl Follower {
    /// Ends when the watches do, which they do not.
    async fn run(mut self) {
        let mut due: Option<Instant> = None;
        let mut published = Instant::now();
        loop {
            tokio::select! {
                news = self.news.next() => {
                    let Some(news) = news else { return };
                    if self.table.apply(news) && self.table.is_complete() {
                        due.get_or_insert_with(|| (Instant::now() + GATHER).max(published + PACE));
                    }
                }
                () = sleep_until(due.unwrap_or(published)), if due.is_some() => {
                    (due, published) = (None, Instant::now());
                    self.publish();
                }
            }
        }
    }

    fn publish(&mut self) {
        let loaded = self.table.loaded();
        report(&loaded, &mut self.told);
        let Loaded { workloads, problems, notes: _ } = loaded;
        self.workloads.send_if_modified(|current| {
            let changes = Changes::between(current, &workloads);
            if changes.none() {
                return false;
            }
            changes.log(workloads.len());
            *current = Arc::new(workloads);
            true
        });
        self.problems.send_if_modified(|current| {
            let differ = **current != problems;
            if differ {
                *current = Arc::new(problems);
            }
            differ
        });
        self.known.send_if_modified(|known| !std::mem::replace(known, true));
    }
}
