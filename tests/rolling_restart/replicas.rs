//! Interceptors that stand for each other, and what sends clients to those that are ready.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use parking_lot::Mutex;
use plimsoll_testkit::{Folder, Port};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::driver::{
    http::{self, Connection},
    program::Program,
};

/// How often a Service looks who is ready.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// One interceptor as a program of its own.
pub(crate) struct Replica {
    pub(crate) name: String,
    pub(crate) program: Program,
    pub(crate) proxy: Port,
    pub(crate) admin: Port,
    access_log: PathBuf,
}

impl Replica {
    /// Starts one that reads the folder's `routes.yaml`; it listens when this returns.
    pub(crate) async fn start(folder: &Folder, name: &str, kafka: &str) -> Result<Self> {
        let (proxy, admin) = (Port::claim()?, Port::claim()?);
        let arguments = [
            "interceptor".to_owned(),
            format!("--routes={}", folder.join("routes.yaml").display()),
            format!("--kafka={kafka}"),
            format!("--interceptor-name={name}"),
            format!("--proxy-listen={}", proxy.address()),
            format!("--admin-listen={}", admin.address()),
            "--shutdown-delay=2s".to_owned(),
            "--drain-timeout=30s".to_owned(),
            "--access-log=json".to_owned(),
        ];
        let (mut program, access_log) = Program::start_apart(folder, name, &arguments)?;
        program.listens(&[&proxy.address(), &admin.address()]).await?;
        Ok(Self { name: name.to_owned(), program, proxy, admin, access_log })
    }

    /// How many requests of a workload its access log has; standard output has nothing else, and none of them broke.
    pub(crate) fn logged(&self, workload: &str) -> Result<u64> {
        let mut count = 0;
        for line in fs::read_to_string(&self.access_log)?.lines() {
            let line: Value =
                serde_json::from_str(line).with_context(|| format!("no line of an access log: {line}"))?;
            ensure!(line["end"] == "finished", "{line}");
            count += u64::from(line["workload"] == workload);
        }
        Ok(count)
    }
}

/// Sends new connections to those that are ready, as a Service does.
#[derive(Clone)]
pub(crate) struct Service(Arc<Mutex<Vec<Member>>>);

#[derive(Clone)]
struct Member {
    proxy: String,
    admin: String,
    ready: bool,
}

impl Service {
    /// Looks after these as long as the test goes on.
    pub(crate) fn of(replicas: &[Replica]) -> Self {
        let service = Self(Arc::default());
        replicas.iter().for_each(|replica| service.add(replica));
        tokio::spawn(service.clone().look());
        service
    }

    /// One more, which is known not to be stopping.
    pub(crate) fn add(&self, replica: &Replica) {
        self.0.lock().push(Member { proxy: replica.proxy.address(), admin: replica.admin.address(), ready: true });
    }

    async fn look(self) {
        loop {
            let members = self.0.lock().clone();
            for member in members {
                let ready = http::get(&member.admin, "admin", "/readyz").await.is_ok_and(|reply| reply.status == 200);
                let mut known = self.0.lock();
                known.iter_mut().filter(|it| it.admin == member.admin).for_each(|it| it.ready = ready);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// A connection to one of those that are ready. One that refuses has seen no request: the next is tried.
    pub(crate) async fn connect(&self, number: usize) -> Result<Connection> {
        let deadline = Instant::now() + Duration::from_secs(20);
        for attempt in number.. {
            let ready: Vec<String> = self.0.lock().iter().filter(|it| it.ready).map(|it| it.proxy.clone()).collect();
            if let Some(address) = ready.get(attempt % ready.len().max(1))
                && let Ok(connection) = Connection::open(address).await
            {
                return Ok(connection);
            }
            ensure!(Instant::now() < deadline, "nobody accepts a connection; ready are {ready:?}");
            sleep(Duration::from_millis(10)).await;
        }
        bail!("there are not so many attempts")
    }
}
