//! The interceptor, its workloads and their backends, all of which change.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use plimsoll_interceptor::{Config, Endpoints, Error, Interceptor, Parts};
use plimsoll_wire::frame::Frame;
use plimsoll_wire::log::memory::MemoryLog;
use plimsoll_wire::log::{EventLog as _, Pace, StartAt, Topic, TopicSpec};
use plimsoll_wire::resources::{Backend as Target, Port, Rule, Workload};
use plimsoll_wire::topic::WorkloadId;
use prost::Message as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backend::Backend;
use crate::exchange::Line;

/// Requests admitted, by workload.
pub type Admitted = BTreeMap<WorkloadId, u64>;

/// What a client can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// Its endpoints come and go, but each is good and stays until nobody uses it: not one request may fail.
    Steady,
    /// Its backends break.
    Rough,
    /// It has no endpoint half of the time: requests are held.
    Cold,
    /// Its route comes and goes.
    Flappy,
}

pub const HOSTS: [Host; 4] = [Host::Steady, Host::Rough, Host::Cold, Host::Flappy];

impl Host {
    /// As requests name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Steady => "steady.test",
            Self::Rough => "rough.test",
            Self::Cold => "cold.test",
            Self::Flappy => "flappy.test",
        }
    }

    pub fn workload(self) -> WorkloadId {
        WorkloadId::new("soak", self.name())
    }

    fn resource(self) -> Workload {
        let target = Target { service: "127.0.0.1".to_owned(), port: Port::Number(1) };
        let rule = Rule { hosts: vec![self.name().to_owned()], paths: vec!["/".to_owned()], headers: Vec::new() };
        let mut workload = Workload { rules: vec![rule], ..Workload::new(self.workload(), target) };
        if self == Self::Rough {
            // Its backends stall; a good one on a busy machine does not take so long as to be cut off.
            workload.timeouts.response_header = Some(Duration::from_secs(1));
        }
        workload
    }
}

#[derive(Debug)]
pub struct World {
    proxy: SocketAddr,
    admin: SocketAddr,
    good: Vec<Backend>,
    rough: Vec<Backend>,
    /// Nobody listens there.
    nobody: SocketAddr,
    endpoints: Endpoints,
    routes: watch::Sender<Arc<Vec<Workload>>>,
    log: Arc<MemoryLog>,
    shutdown: CancellationToken,
    served: JoinHandle<Result<(), Error>>,
}

impl World {
    pub async fn start(seed: u64) -> Self {
        let mut config = Config::from_environment().unwrap();
        config.proxy_listen = (Ipv4Addr::LOCALHOST, 0).into();
        config.admin_listen = (Ipv4Addr::LOCALHOST, 0).into();
        config.proxy_threads = Some(2.try_into().unwrap());
        config.shutdown_delay = Duration::ZERO;
        config.tick = Duration::from_millis(100);
        // Short, so that each is met often.
        config.response_header_timeout = Duration::from_secs(30);
        config.readiness_timeout = Duration::from_secs(1);
        config.connect_retry_timeout = Duration::from_millis(500);
        config.upstream_idle_timeout = Duration::from_secs(2);
        config.upstream_max_uses = 50;
        let (routes, routes_rx) = watch::channel(Arc::new(HOSTS.map(Host::resource).to_vec()));
        let (log, endpoints) = (Arc::new(MemoryLog::new()), Endpoints::new());
        let specs = HOSTS.map(|host| TopicSpec { topic: topic(host), retention: Duration::from_secs(3600) });
        log.create_topics(&specs).await;
        let parts = Parts { log: log.clone(), routes: routes_rx, endpoints: endpoints.clone() };
        let interceptor = Interceptor::bind(config, parts).await.unwrap();
        let (proxy, admin) = (interceptor.proxy_addr(), interceptor.admin_addr());
        let shutdown = CancellationToken::new();
        let served = tokio::spawn(interceptor.serve(shutdown.clone()));
        let (mut good, mut rough) = (Vec::new(), Vec::new());
        for number in 0..3 {
            good.push(Backend::start(true, seed.wrapping_add(number)).await);
            rough.push(Backend::start(false, seed.wrapping_add(100 + number)).await);
        }
        let nobody = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let world = Self { proxy, admin, good, rough, nobody, endpoints, routes, log, shutdown, served };
        world.make_whole();
        world
    }

    pub fn proxy(&self) -> SocketAddr {
        self.proxy
    }

    /// Every workload has a route and an endpoint.
    fn make_whole(&self) {
        self.routes.send_replace(Arc::new(HOSTS.map(Host::resource).to_vec()));
        for host in HOSTS {
            let backends = if host == Host::Rough { &self.rough } else { &self.good };
            self.endpoints.set(&host.workload(), vec![backends[0].address]);
        }
    }

    /// Changes endpoints and routes at random until then; at the end all is whole.
    pub async fn change_until(&self, end: Instant, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        while Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(random.random_range(5..60))).await;
            let some = |backends: &[Backend], random: &mut StdRng| {
                let mut addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
                addresses.swap_remove(random.random_range(0..addresses.len()));
                addresses
            };
            match random.random_range(0..6) {
                0 => self.endpoints.set(&Host::Steady.workload(), some(&self.good, &mut random)),
                1 => self.endpoints.set(&Host::Rough.workload(), some(&self.rough, &mut random)),
                2 => self.endpoints.set(&Host::Rough.workload(), vec![self.rough[0].address, self.nobody]),
                3 => {
                    let now = if random.random_bool(0.5) { some(&self.good, &mut random) } else { Vec::new() };
                    self.endpoints.set(&Host::Cold.workload(), now);
                }
                4 => self.endpoints.set(&Host::Flappy.workload(), some(&self.good, &mut random)),
                _ => {
                    let hosts = HOSTS.into_iter().filter(|host| *host != Host::Flappy || random.random_bool(0.5));
                    self.routes.send_replace(Arc::new(hosts.map(Host::resource).collect()));
                }
            }
        }
        self.make_whole();
    }

    /// Waits until nothing is in flight and no client is connected.
    pub async fn settled(&self, within: Duration) {
        let deadline = Instant::now() + within;
        loop {
            let queue = self.queue().await;
            let clients = self.metric("interceptor_client_connections ").await;
            let pooled = self.metric("interceptor_upstream_idle_connections ").await;
            if queue.values().all(|(in_flight, _)| *in_flight == 0) && clients == 0 && pooled == 0 {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "in flight and admitted {queue:?}, {clients} clients and {pooled} idle connections after {within:?}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Requests admitted since the start.
    pub async fn admitted(&self) -> Admitted {
        self.queue().await.into_iter().map(|(workload, (_, admitted))| (workload, admitted)).collect()
    }

    /// Requests in flight and admitted, by workload.
    async fn queue(&self) -> BTreeMap<WorkloadId, (u64, u64)> {
        let page: serde_json::Value = serde_json::from_slice(&self.page("/queue").await).unwrap();
        let number = |of: &serde_json::Value, name: &str| of[name].as_u64().unwrap();
        let of = |host: Host| {
            let queued = &page[host.workload().to_string()];
            (host.workload(), (number(queued, "Concurrency"), number(queued, "RequestCount")))
        };
        HOSTS.into_iter().map(of).collect()
    }

    async fn metric(&self, series: &str) -> u64 {
        let page = String::from_utf8(self.page("/metrics").await).unwrap();
        let value = page.lines().find_map(|line| line.strip_prefix(series)).expect("the series is there");
        value.trim().parse().unwrap()
    }

    async fn page(&self, path: &str) -> Vec<u8> {
        let mut line = Line::new(TcpStream::connect(self.admin).await.unwrap());
        line.write(format!("GET {path} HTTP/1.1\r\nhost: admin\r\n\r\n").as_bytes()).await.unwrap();
        let head = line.head().await.unwrap();
        let mut body = Vec::new();
        let whole = line.body(head.framing(false), |piece| {
            body.extend_from_slice(piece);
            true
        });
        whole.await.unwrap();
        body
    }

    /// Stops all of it. The last that the log was told is that what was admitted has finished.
    pub async fn stop(self, admitted: &Admitted) {
        self.shutdown.cancel();
        self.served.await.unwrap().unwrap();
        for backend in self.good.into_iter().chain(self.rough) {
            backend.stop().await;
        }
        for host in HOSTS {
            let newest = newest_frame(&self.log, topic(host)).await;
            let expected = admitted[&host.workload()];
            assert_eq!((newest.admitted, newest.finished, newest.held), (expected, expected, 0), "{host:?}");
        }
    }
}

fn topic(host: Host) -> Topic {
    Topic::from(host.workload().topic())
}

/// The last frame of a topic: the log says itself when all of it has been read.
async fn newest_frame(log: &MemoryLog, topic: Topic) -> Frame {
    let mut subscription = log.subscribe(Pace::AtOnce).unwrap();
    subscription.add([(topic.clone(), StartAt::Oldest)]);
    let (added, mut newest) = (Instant::now(), None);
    loop {
        let next = tokio::time::timeout(Duration::from_secs(30), subscription.next()).await;
        let batch = next.expect("the log is read to its end").expect("the subscription lives as long as the log");
        for record in batch.records {
            newest = Some(Frame::decode(record.payload).unwrap());
        }
        if batch.read_through.is_some_and(|read| read.as_of >= added && !read.behind.contains(&topic)) {
            return newest.expect("the topic has frames");
        }
    }
}
