//! What is done to the managers, and what must come of it.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use plimsoll_testkit::{Folder, Process, wait_until};
use tokio::time::Instant;

/// Nothing here should take this long; the machine may be busy.
const LIMIT: Duration = Duration::from_secs(60);
/// The promises. They are generous where the machine is quick, and hold where it is not.
const FAILOVER_LIMIT: Duration = Duration::from_secs(10);
const HAND_OVER_LIMIT: Duration = Duration::from_secs(2);

/// A manager's process.
struct Manager {
    process: Process,
    log: PathBuf,
}

impl Manager {
    fn start(folder: &Folder, name: &str, store: &[String]) -> Result<Self> {
        let log = folder.join(&format!("{name}.log"));
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["lead", name]).args(store);
        Ok(Self { process: Process::spawn(name, &command, &log)?, log })
    }

    fn lines(&self) -> Result<Vec<String>> {
        Ok(std::fs::read_to_string(&self.log).unwrap_or_default().lines().map(str::to_owned).collect())
    }

    /// Waits until there is such a line after the first `seen`; gives all after those.
    async fn says(&self, what: &str, seen: usize) -> Result<Vec<String>> {
        wait_until(&format!("{what:?} is said"), LIMIT, async || {
            let news: Vec<String> = self.lines()?.into_iter().skip(seen).collect();
            ensure!(news.iter().any(|line| line.starts_with(what)), "it said {news:?}");
            Ok(news)
        })
        .await
    }
}

/// The generation that a line tells of.
fn generation(lines: &[String]) -> Option<u64> {
    lines.iter().rev().find_map(|line| line.strip_prefix("wrote ")?.parse().ok())
}

/// SIGSTOP, SIGKILL and SIGTERM, each to the one that leads.
pub async fn play(place: &str, store: &[String]) -> Result<()> {
    let folder = Folder::new("leadership")?;
    let a = Manager::start(&folder, "manager-a", store)?;
    a.says("wrote", 0).await?;
    let mut b = Manager::start(&folder, "manager-b", store)?;

    a.process.freeze()?;
    let frozen = Instant::now();
    let last_of_a = generation(&a.lines()?).context("it has written")?;
    let of_b = b.says("wrote", 0).await?;
    println!("{place}: another leads {:?} after the leader was frozen", frozen.elapsed());
    ensure!(frozen.elapsed() < FAILOVER_LIMIT, "{:?}", frozen.elapsed());
    ensure!(generation(&of_b) > Some(last_of_a), "it goes on from {last_of_a}: {of_b:?}");

    // It sleeps until the other has written a good deal, wakes, and does what it was about to do.
    let written = b.lines()?.len();
    wait_until("the other writes on", LIMIT, async || {
        let more = b.lines()?.len() - written;
        ensure!(more >= 10, "{more} plans more");
        Ok(())
    })
    .await?;
    let said = a.lines()?.len();
    a.process.thaw()?;
    let news = a.says("refused", said).await?;
    let first = &news[0];
    ensure!(first.starts_with("refused"), "what it wrote after waking was taken: {news:?}");
    ensure!(first.contains("does not lead any more") || first.contains("has changed"), "{first}");
    println!("{place}: the leader that slept was told {first:?}");
    let before = generation(&b.lines()?);
    let written = b.lines()?.len();
    let more = b.says("wrote", written).await?;
    ensure!(generation(&more) > before, "the leader goes on undisturbed: {more:?}");

    b.process.kill()?;
    let killed = Instant::now();
    let said = a.lines()?.len();
    a.says("wrote", said).await?;
    println!("{place}: another leads {:?} after the leader was killed", killed.elapsed());
    ensure!(killed.elapsed() < FAILOVER_LIMIT, "{:?}", killed.elapsed());

    let c = Manager::start(&folder, "manager-c", store)?;
    c.says("follows manager-a", 0).await?;
    a.process.signal(Signal::SIGTERM)?;
    let stopped = Instant::now();
    c.says("leads", 0).await?;
    println!("{place}: another leads {:?} after the leader was asked to stop", stopped.elapsed());
    ensure!(stopped.elapsed() < HAND_OVER_LIMIT, "{:?}", stopped.elapsed());
    ensure!(!c.lines()?.iter().any(|line| line.starts_with("refused")));
    Ok(())
}
