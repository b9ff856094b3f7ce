//! What every test relies on: children end with it, and failures can be understood.

use std::{
    env,
    fs::read_to_string,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use plimsoll_testkit::{Folder, Port, Process, wait_until};

const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn dropping_a_process_ends_it_and_what_it_started() -> Result<()> {
    let folder = Folder::new("process")?;
    let log = folder.join("log");
    let mut parent = Process::spawn("a shell", &sh("sleep 1000 & echo $!; wait"), &log)?;
    let grandchild = parent.ready(SOON, async || first_line(&log)).await?;
    ensure!(runs(&grandchild));
    drop(parent);
    gone(&grandchild).await
}

#[tokio::test]
async fn a_process_ends_when_its_test_is_killed() -> Result<()> {
    let folder = Folder::new("process")?;
    let log = folder.join("log");
    let mut test = Command::new(env::current_exe()?)
        .args(["--exact", "holds_a_process_until_it_is_killed", "--ignored"])
        .env("HELD_LOG", &log)
        .stdout(Stdio::null())
        .spawn()?;
    let child = wait_until("the child says its id", SOON, async || first_line(&log)).await?;
    ensure!(runs(&child));
    test.kill()?;
    test.wait()?;
    gone(&child).await
}

/// Not a test: the process that the test above kills. It starts the child on a thread that ends, as tests do.
#[tokio::test]
#[ignore = "run by a_process_ends_when_its_test_is_killed"]
async fn holds_a_process_until_it_is_killed() -> Result<()> {
    let log = env::var("HELD_LOG")?;
    let held = std::thread::spawn(move || Process::spawn("held", &sh("echo $$; exec sleep 1000"), Path::new(&log)));
    let _held = held.join().map_err(|_| anyhow!("panicked"))??;
    std::future::pending().await
}

#[tokio::test]
async fn a_process_that_ends_before_it_is_ready_fails_at_once_with_its_log() -> Result<()> {
    let folder = Folder::new("process")?;
    let log = folder.join("log");
    let mut process = Process::spawn("a shell", &sh("echo the disk is full; exit 3"), &log)?;
    let never = async || Err::<(), _>(anyhow!("not ready"));
    let failed = process.ready(Duration::from_secs(600), never).await;
    let message = format!("{:?}", failed.err().context("it was ready")?);
    ensure!(message.contains("a shell has ended"), "{message}");
    ensure!(message.contains("the disk is full"), "{message}");
    Ok(())
}

#[tokio::test]
async fn a_terminated_process_may_finish_what_it_does() -> Result<()> {
    let folder = Folder::new("process")?;
    let log = folder.join("log");
    let script = "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.01; done";
    let mut process = Process::spawn("a shell", &sh(script), &log)?;
    process.ready(SOON, async || first_line(&log)).await?;
    let status = process.terminate(SOON).await?;
    ensure!(status.code() == Some(7), "{status}");
    ensure!(process.log_tail().contains("bye"));
    Ok(())
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() -> Result<()> {
    let folder = Folder::new("process")?;
    let mut process = Process::spawn("it", &Command::new("/no/such/program"), &folder.join("log"))?;
    let status = process.wait(SOON).await?;
    ensure!(!status.success());
    ensure!(process.log_tail().contains("/no/such/program"));
    Ok(())
}

#[test]
fn a_claimed_port_is_given_to_one_only() -> Result<()> {
    let ports = (0..200).map(|_| Port::claim()).collect::<Result<Vec<_>>>()?;
    let mut numbers: Vec<_> = ports.iter().map(Port::number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    ensure!(numbers.len() == ports.len());
    Ok(())
}

#[test]
fn a_folder_of_a_living_test_is_not_a_leftover() -> Result<()> {
    let one = Folder::new("one")?;
    let two = Folder::new("two")?;
    ensure!(one.path().is_dir());
    let path = two.path().to_owned();
    drop(two);
    ensure!(!path.exists());
    Ok(())
}

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

fn first_line(log: &Path) -> Result<String> {
    let log = read_to_string(log)?;
    let line = log.lines().next();
    Ok(line.context("nothing printed yet")?.to_owned())
}

/// A zombie does not run.
fn runs(pid: &str) -> bool {
    let stat = read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    !state.is_empty() && !state.starts_with('Z')
}

async fn gone(pid: &str) -> Result<()> {
    wait_until("the process is gone", SOON, async || {
        ensure!(!runs(pid), "{pid} runs");
        Ok(())
    })
    .await
}
