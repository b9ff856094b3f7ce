//! What runs in the pods: kwok says that they are ready, and this answers at their addresses.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::objects::Namespace;

/// Where they listen: no other test's servers do.
pub(crate) const PORT: u16 = 8081;
/// What a request takes.
const WORK: Duration = Duration::from_millis(100);
/// Between two looks at the pods.
const PAUSE: Duration = Duration::from_millis(50);
/// A pod serves so long after it has been deleted: a real one would have as long to end.
const GRACE: Duration = Duration::from_secs(10);
/// A pod that kwok has just made is seen here within this time.
const SEEN: Duration = Duration::from_secs(5);

/// When each pod was last there, by address.
type Living = BTreeMap<IpAddr, Instant>;

/// The pods' servers.
pub(crate) struct Pods {
    served: Arc<Mutex<BTreeMap<IpAddr, u64>>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Pods {
    /// Plays the pods of a namespace with the label `app: web`.
    pub(crate) async fn start(space: &Namespace) -> Result<Self> {
        // One listener is that of all pods: it tells by the address for whom a connection is.
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (living, known) = watch::channel(Living::new());
        let served = Arc::<Mutex<BTreeMap<IpAddr, u64>>>::default();
        let pods = Api::namespaced(space.client.clone(), &space.name);
        tasks.spawn(look(pods, living, stop.clone()));
        let (ended, connections, counted) = (stop.clone(), tasks.clone(), served.clone());
        tasks.spawn(async move {
            while let Some(Ok((socket, _))) = ended.run_until_cancelled(listener.accept()).await {
                let (known, counted, ended) = (known.clone(), counted.clone(), ended.clone());
                connections.spawn(async move {
                    ended.run_until_cancelled(serve(socket, known, counted)).await;
                });
            }
        });
        Ok(Self { served, stop, tasks })
    }

    /// Requests that each pod has answered.
    pub(crate) fn served(&self) -> BTreeMap<IpAddr, u64> {
        self.served.lock().clone()
    }

    /// Ends them all.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Keeps what is known of the pods.
async fn look(pods: Api<Pod>, living: watch::Sender<Living>, stop: CancellationToken) {
    let selected = ListParams::default().labels("app=web");
    while !stop.is_cancelled() {
        if let Ok(list) = pods.list(&selected).await {
            let now = Instant::now();
            let here = list.items.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
            let here = here.filter_map(|pod| pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok());
            living.send_modify(|living| {
                living.extend(here.map(|address: IpAddr| (address, now)));
                living.retain(|_, seen| now - *seen < GRACE);
            });
        }
        sleep(PAUSE).await;
    }
}

async fn serve(socket: TcpStream, known: watch::Receiver<Living>, counted: Arc<Mutex<BTreeMap<IpAddr, u64>>>) {
    let Ok(pod) = socket.local_addr() else { return };
    let _ = socket.set_nodelay(true);
    let answer = service_fn(move |_: Request<_>| {
        let (mut known, counted) = (known.clone(), counted.clone());
        async move {
            let seen = known.wait_for(|living| living.contains_key(&pod.ip()));
            let is_there = timeout(SEEN, seen).await.is_ok_and(|seen| seen.is_ok());
            sleep(WORK).await;
            let mut response = Response::new(Full::<Bytes>::from(pod.ip().to_string()));
            if is_there {
                *counted.lock().entry(pod.ip()).or_default() += 1;
            } else {
                *response.status_mut() = StatusCode::GONE;
            }
            Ok::<_, Infallible>(response)
        }
    });
    let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), answer).await;
}
