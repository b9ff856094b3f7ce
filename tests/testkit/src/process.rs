//! Child processes that a test cannot lose.

use std::{
    fs::{File, read},
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{OnceLock, mpsc},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use nix::{
    sys::{
        signal::{Signal, kill, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::Pid,
};

use crate::wait_until;

/// A child process, killed when this is dropped, and by the kernel when the test process dies. What it starts in turn is
/// in its process group and is killed with it on drop.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    /// Set once it has been waited for; before that its process id cannot be given to anybody else.
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` with its output appended to the file `log`. `name` is for error messages.
    pub fn spawn(name: &str, command: &Command, log: &Path) -> Result<Self> {
        Self::spawn_writing(name, command, log, log)
    }

    /// As [`spawn`](Self::spawn), with its standard output in a file of its own.
    pub fn spawn_writing(name: &str, command: &Command, stdout: &Path, log: &Path) -> Result<Self> {
        let open = |path: &Path| {
            let file = File::options().create(true).append(true).open(path);
            file.with_context(|| format!("{name}: the log {} cannot be written", path.display()))
        };
        let mut bound = bound_to_parent(command);
        bound.stdin(Stdio::null()).stdout(open(stdout)?).stderr(open(log)?).process_group(0);
        let child = spawn_on_lasting_thread(bound)?
            .with_context(|| format!("{name}: setpriv cannot be run; install util-linux (2.33 or newer)"))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned(), ended: None })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `probe` succeeds; fails after `limit`, or as soon as the process ends, with the tail of its log.
    pub async fn ready<T>(&mut self, limit: Duration, mut probe: impl AsyncFnMut() -> Result<T>) -> Result<T> {
        let what = format!("{} is ready", self.name);
        let ready = wait_until(&what, limit, async || {
            let probed = probe().await;
            match &probed {
                // Leaves the waiting, with the reason in the value.
                Err(_) if self.has_ended()? => Ok(Err(anyhow!("{} has ended", self.name))),
                _ => probed.map(Ok),
            }
        });
        ready.await.flatten().with_context(|| self.log_tail())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if self.ended.is_some() {
            return Err(anyhow!("{} has ended and takes no {signal}", self.name));
        }
        kill(self.pid(), signal).with_context(|| format!("{} takes no {signal}", self.name))
    }

    /// SIGSTOP: it holds its connections and answers nothing, like a machine that hangs. It has stopped when this returns: on a
    /// busy machine its threads run on for a while after the signal, and answer.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)?;
        waitid(Id::Pid(self.pid()), WaitPidFlag::WEXITED | WaitPidFlag::WSTOPPED | WaitPidFlag::WNOWAIT)?;
        Ok(())
    }

    /// SIGCONT: ends a freeze.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// SIGTERM, then waits for the end; fails after `limit` with the tail of the log, leaving it running.
    pub async fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(limit).await
    }

    /// Waits for it to end by itself; fails after `limit` with the tail of the log.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("{} ends", self.name);
        wait_until(&what, limit, async || {
            anyhow::ensure!(self.has_ended()?, "it still runs");
            Ok(())
        })
        .await
        .with_context(|| self.log_tail())?;
        self.kill()
    }

    /// SIGKILL to it and what it started; returns when it is gone.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        if let Some(ended) = self.ended {
            return Ok(ended);
        }
        // Before waiting: as long as it is not waited for, the id of its group is its own. An error means that nothing is
        // left in the group.
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let ended = self.child.wait()?;
        self.ended = Some(ended);
        Ok(ended)
    }

    /// Whether it has ended, of its own or killed by anybody.
    pub fn has_ended(&self) -> Result<bool> {
        if self.ended.is_some() {
            return Ok(true);
        }
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        Ok(waitid(Id::Pid(self.pid()), look)? != WaitStatus::StillAlive)
    }

    /// The last lines of what it printed.
    pub fn log_tail(&self) -> String {
        let log = read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(30)..].join("\n");
        format!("the log of {} ends:\n{tail}\n", self.name)
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// The same command, to be killed when the thread that starts it ends. setpriv becomes the command, so the process id is
/// the command's own; the alternative is unsafe code between fork and exec.
fn bound_to_parent(command: &Command) -> Command {
    let mut bound = Command::new("setpriv");
    bound.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bound.env(name, value),
            None => bound.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        bound.current_dir(folder);
    }
    bound
}

type Job = (Command, mpsc::Sender<io::Result<Child>>);

/// Linux sends the parent's death signal when the *thread* that started the child ends, and threads of tests and of tokio
/// end before the process does. So one thread that never ends starts all children.
fn spawn_on_lasting_thread(command: Command) -> Result<io::Result<Child>> {
    static SPAWNER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, inbox) = mpsc::channel::<Job>();
        thread::spawn(move || {
            for (mut command, answer) in inbox {
                // Who asked always waits for the answer.
                let _ = answer.send(command.spawn());
            }
        });
        jobs
    });
    let (answer, child) = mpsc::channel();
    spawner.send((command, answer))?;
    Ok(child.recv()?)
}
