//! The program `plimsoll`, run as a user runs it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use plimsoll_testkit::{Folder, Process, wait_until};

/// What a start may take on a busy machine, servers of its own not included.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(20);

/// Names the program that is run in place of the one that was built with the tests: a release build, where speed matters.
pub(crate) const PROGRAM: &str = "PLIMSOLL_TEST_PROGRAM";

/// What a run to the end may take, one that waits for a collector to be emptied included.
const RUN_LIMIT: Duration = Duration::from_secs(90);

/// A running `plimsoll`. Killed when dropped.
pub(crate) struct Program {
    process: Process,
    log: PathBuf,
}

impl Program {
    /// Starts `plimsoll ARGUMENTS`; what it prints goes to a file of the folder, called after `name`.
    pub(crate) fn start<S: AsRef<str>>(folder: &Folder, name: &str, arguments: &[S]) -> Result<Self> {
        let log = folder.join(&format!("{name}.log"));
        let process = Process::spawn(name, &command(arguments), &log)?;
        Ok(Self { process, log })
    }

    /// As [`start`](Self::start), with what goes to standard output in the file that is given back.
    pub(crate) fn start_apart<S: AsRef<str>>(folder: &Folder, name: &str, arguments: &[S]) -> Result<(Self, PathBuf)> {
        let (stdout, log) = (folder.join(&format!("{name}.stdout")), folder.join(&format!("{name}.log")));
        let process = Process::spawn_writing(name, &command(arguments), &stdout, &log)?;
        Ok((Self { process, log }, stdout))
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// The process.
    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// All that it has printed so far.
    pub(crate) fn printed(&self) -> Result<String> {
        printed(&self.log)
    }

    /// Waits until it has printed something that holds the text; gives all that it has printed.
    pub(crate) async fn prints(&self, text: &str, limit: Duration) -> Result<String> {
        wait_until(&format!("the program prints {text:?}"), limit, async || {
            let printed = self.printed()?;
            ensure!(printed.contains(text), "it printed:\n{printed}");
            Ok(printed)
        })
        .await
    }

    /// Waits until a TCP connection can be made to each address; fails as soon as the program ends.
    pub(crate) async fn listens(&mut self, addresses: &[&str]) -> Result<()> {
        self.process
            .ready(START_LIMIT, async || {
                for address in addresses {
                    tokio::net::TcpStream::connect(address)
                        .await
                        .with_context(|| format!("{address} can't be reached"))?;
                }
                Ok(())
            })
            .await
    }

    /// Whether it has ended; what it started is left alone.
    pub(crate) fn has_ended(&self) -> Result<bool> {
        self.process.has_ended()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        Ok(())
    }
}

/// How a `plimsoll` has ended, and what it printed.
pub(crate) struct Ended {
    pub(crate) success: bool,
    /// Its exit code; none where a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs `plimsoll ARGUMENTS` to its end.
pub(crate) async fn run<S: AsRef<str>>(arguments: &[S]) -> Result<Ended> {
    let output = tokio::process::Command::from(command(arguments)).kill_on_drop(true).output();
    let output = tokio::time::timeout(RUN_LIMIT, output).await.context("plimsoll did not end")??;
    Ok(Ended {
        success: output.status.success(),
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout)?,
        stderr: String::from_utf8(output.stderr)?,
    })
}

/// `plimsoll ARGUMENTS`, to be started.
pub(crate) fn command<S: AsRef<str>>(arguments: &[S]) -> Command {
    let given = std::env::var_os(PROGRAM);
    let mut command = Command::new(given.unwrap_or_else(|| env!("CARGO_BIN_EXE_plimsoll").into()));
    command.args(arguments.iter().map(AsRef::as_ref));
    // What the tests look for must not depend on who runs them.
    command.env_remove("RUST_LOG").env_remove("RUST_BACKTRACE").env("NO_COLOR", "1");
    command
}

fn printed(log: &Path) -> Result<String> {
    let bytes = fs::read(log).with_context(|| format!("{} can't be read", log.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
