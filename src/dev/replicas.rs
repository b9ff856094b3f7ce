//! The replicas of one workload: started, made known to the interceptor when they answer, stopped without losing a request.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use async_trait::async_trait;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use plimsoll_interceptor::Endpoints;
use plimsoll_wire::topic::WorkloadId;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio_util::task::TaskTracker;

use crate::autoscaler;
use crate::demo;
use crate::signals::Groups;

/// A replica that does not listen within this is a failure.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two looks at whether it listens.
const READY_POLL: Duration = Duration::from_millis(10);
/// After SIGTERM a program has this long to finish.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// What a replica runs.
#[derive(Debug, Clone)]
pub enum Program {
    /// The demo's server, as tasks of this process.
    Demo,
    /// A shell command, as a child process, in a group that ends with us.
    Command(String, Groups),
}

/// One replica.
enum Replica {
    Demo(demo::Replica),
    Process(Process),
}

/// A program of the user's, with all that it started: nothing of its group outlives this.
struct Process {
    address: SocketAddr,
    child: Child,
    group: Option<Pid>,
    groups: Groups,
}

/// All replicas of one workload.
pub struct Replicas {
    workload: WorkloadId,
    program: Program,
    endpoints: Endpoints,
    running: Vec<Replica>,
    started: u64,
    /// Replicas on their way out, which still finish requests.
    leaving: TaskTracker,
}

impl Replicas {
    /// No replica yet.
    pub fn new(workload: WorkloadId, program: Program, endpoints: Endpoints) -> Self {
        endpoints.set(&workload, Vec::new());
        Self { workload, program, endpoints, running: Vec::new(), started: 0, leaving: TaskTracker::new() }
    }

    fn publish(&self) {
        self.endpoints.set(&self.workload, self.running.iter().map(Replica::address).collect());
    }
}

#[async_trait]
impl autoscaler::Replicas for Replicas {
    fn count(&self) -> usize {
        self.running.len()
    }

    async fn scale_to(&mut self, wanted: usize) -> Result<()> {
        while self.running.len() > wanted {
            let Some(replica) = self.running.pop() else { break };
            // First no new requests, then the end.
            self.publish();
            self.leaving.spawn(replica.stop());
        }
        while self.running.len() < wanted {
            self.started += 1;
            let replica = Replica::start(&self.program, &format!("{}-{}", self.workload.name, self.started)).await?;
            self.running.push(replica);
            self.publish();
        }
        Ok(())
    }

    /// Drops replicas whose process has ended by itself.
    async fn look(&mut self) -> Result<Vec<String>> {
        let mut ended = Vec::new();
        self.running.retain_mut(|replica| match replica {
            Replica::Demo(_) => true,
            Replica::Process(process) => match process.child.try_wait() {
                Ok(Some(status)) => {
                    ended.push(format!("the replica on port {} ended by itself: {status}", process.address.port()));
                    false
                }
                _ => true,
            },
        });
        if !ended.is_empty() {
            self.publish();
        }
        Ok(ended)
    }

    /// Stops all, and waits for them.
    async fn end(mut self: Box<Self>) {
        // Stopping can't fail: only starting does.
        let _ = autoscaler::Replicas::scale_to(self.as_mut(), 0).await;
        self.leaving.close();
        self.leaving.wait().await;
    }
}

impl Replica {
    async fn start(program: &Program, name: &str) -> Result<Self> {
        match program {
            Program::Demo => Ok(Self::Demo(demo::Replica::start(name.to_owned(), demo::ANY_PORT).await?)),
            Program::Command(command, groups) => Process::start(command, groups).await.map(Self::Process),
        }
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Demo(replica) => replica.address,
            Self::Process(process) => process.address,
        }
    }

    async fn stop(self) {
        match self {
            Self::Demo(replica) => replica.stop().await,
            Self::Process(process) => process.stop().await,
        }
    }
}

impl Process {
    /// Returns when it listens. Dropping the call on the way stops what it has started.
    async fn start(command: &str, groups: &Groups) -> Result<Self> {
        let address = free_address().await?;
        let port = address.port().to_string();
        let line = command.replace("{port}", &port);
        let child = Command::new("sh")
            .args(["-c", &line])
            .env("PORT", &port)
            .stdin(Stdio::null())
            // A group of its own, so that what the shell started is stopped with it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("can't run {line:?}"))?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        if let Some(group) = group {
            groups.add(group);
        }
        let mut process = Self { address, child, group, groups: groups.clone() };
        let ready = async {
            while TcpStream::connect(address).await.is_err() {
                if let Some(status) = process.child.try_wait()? {
                    bail!("{line:?} ended before it listened on port {port}: {status}");
                }
                tokio::time::sleep(READY_POLL).await;
            }
            Ok(())
        };
        match tokio::time::timeout(READY_TIMEOUT, ready).await {
            Ok(outcome) => outcome.map(|()| process),
            Err(_) => {
                process.stop().await;
                let seconds = READY_TIMEOUT.as_secs();
                Err(anyhow!(
                    "{line:?} did not listen on port {port} within {seconds} s: does it use {{port}} or $PORT?"
                ))
            }
        }
    }

    /// Asks it to end, waits, and kills what is left. The shell may end before what it has started, which has as long to finish.
    async fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        let ended = async {
            let _ = self.child.wait().await;
            while self.is_anyone_left() {
                tokio::time::sleep(READY_POLL).await;
            }
        };
        if tokio::time::timeout(STOP_TIMEOUT, ended).await.is_err() {
            self.signal(Signal::SIGKILL);
            let _ = self.child.wait().await;
        }
    }

    /// Whether any process of the group is left.
    fn is_anyone_left(&self) -> bool {
        self.group.is_some_and(|group| killpg(group, None).is_ok())
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // It fails only when the whole group has ended already.
            let _ = killpg(group, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // What the shell has left behind, or all of it where nobody could wait.
        self.signal(Signal::SIGKILL);
        if let Some(group) = self.group {
            self.groups.remove(group);
        }
    }
}

/// A port that is free now: the replica has to take it before another program does.
async fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no free port on loopback")?;
    Ok(listener.local_addr()?)
}
