//! A manager that runs its collectors itself: `plimsoll manager --fleet process`.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use plimsoll_scheduler::policy::Policy;
use plimsoll_testkit::wait_until;

use crate::{
    driver::rest,
    play::{allowed, windows_fill},
    stage::{Placed, Size, Stage},
};

const LIMIT: Duration = Duration::from_secs(90);

/// Grows, heals and shrinks it, and kills its manager.
pub(crate) async fn perform() -> Result<()> {
    let size = Size { workloads: 12, collectors: 0, heap_mib: 512 };
    let flags = ["--fleet=process", "--max-per-host=8", "--scale-in-after=1s", "--replace-after=1h"];
    let mut stage = Stage::set_with(size, 1, &flags).await?;
    let manager = stage.line.managers[0].program.process().id();
    all_have_topics(&stage, 2).await?;
    windows_fill().await;
    stage.watching.findings();

    let before = children(manager)?;
    let victim = before["manager-0-collector-1"];
    kill(Pid::from_raw(victim), Signal::SIGKILL)?;
    started_again(manager, "manager-0-collector-1", victim).await?;
    // Its former run's values stand until the new one speaks; what comes then is looked at, too.
    windows_fill().await;
    all_have_topics(&stage, 2).await?;
    let healed = stage.watching.findings();
    println!("a child killed: worst gap {:?}", healed.gap);
    ensure!(healed.wrong.is_empty(), "{:?}", healed.wrong);
    ensure!(healed.gap <= allowed(healed.blink), "{healed:?}");

    // Who asks a child to stop gets a new one, and no value is missing: it is emptied before it goes.
    let asked = children(manager)?["manager-0-collector-0"];
    kill(Pid::from_raw(asked), Signal::SIGTERM)?;
    started_again(manager, "manager-0-collector-0", asked).await?;
    all_have_topics(&stage, 2).await?;
    let restarted = stage.watching.findings();
    println!("a child restarted: worst gap {:?}", restarted.gap);
    // Nobody was started in its place.
    let scaled = rest::json(&stage.api()?, "/api/v1/decisions?kind=scale").await?;
    ensure!(scaled["items"][0]["to"] == 2, "{scaled}");
    ensure!(restarted.wrong.is_empty() && restarted.missing == 0, "{restarted:?}\n{}", stage.line.logs());

    stage.set_policy(Policy { min_collectors: 3, max_per_host: 8, ..Policy::default() }).await?;
    all_have_topics(&stage, 3).await?;
    stage.set_policy(Policy { min_collectors: 1, max_per_host: 50, ..Policy::default() }).await?;
    wait_until("the one that leaves is shown so", LIMIT, async || {
        let leaving = rest::json(&stage.api()?, "/api/v1/collectors?state=retiring").await?;
        ensure!(leaving["total"] != 0, "{leaving}");
        Ok(())
    })
    .await?;
    wait_until("one collector is left", LIMIT, async || {
        let left = children(manager)?;
        ensure!(left.len() == 1 && left.contains_key("manager-0-collector-0"), "{left:?}");
        Ok(())
    })
    .await
    .with_context(|| stage.line.logs())?;
    all_have_topics(&stage, 1).await?;
    let scaled = stage.watching.findings();
    println!("from 2 to 3 collectors, and to 1: worst gap {:?}", scaled.gap);
    ensure!(scaled.wrong.is_empty() && scaled.missing == 0, "{scaled:?}\n{}", stage.line.logs());

    let last = children(manager)?;
    ensure!(running(&last).len() == 1, "{last:?}");
    stage.watching.excuse(0);
    stage.line.managers[0].program.kill()?;
    wait_until("the children end with their manager", LIMIT, async || {
        let left = running(&last);
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await?;
    stage.end().await?;
    Ok(())
}

async fn started_again(manager: u32, name: &str, before: i32) -> Result<()> {
    wait_until(&format!("{name} is started again"), LIMIT, async || {
        let now = children(manager)?;
        let again = now.get(name).context("it is not there")?;
        ensure!(*again != before, "it is still the same");
        Ok(())
    })
    .await
}

async fn all_have_topics(stage: &Stage, collectors: usize) -> Result<()> {
    let spread = async |placed: &Placed| {
        ensure!(placed.topics.len() == collectors, "{placed:?}");
        Ok(())
    };
    stage.settled(&format!("{collectors} collectors have the topics"), spread).await
}

/// The collectors that are children of this process, by name.
fn children(parent: u32) -> Result<BTreeMap<String, i32>> {
    let mut children = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // What ends meanwhile is no child.
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if !status.lines().any(|line| line.strip_prefix("PPid:").is_some_and(|of| of.trim() == parent.to_string())) {
            continue;
        }
        let arguments = line.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let names = arguments.filter_map(|one| one.strip_prefix("--collector-id=").map(ToOwned::to_owned));
        children.extend(names.map(|name| (name, pid)));
    }
    Ok(children)
}

/// Those of these processes that still run.
fn running(children: &BTreeMap<String, i32>) -> Vec<i32> {
    let runs = |(name, pid): (&String, &i32)| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&format!("--collector-id={name}\0")).then_some(*pid)
    };
    children.iter().filter_map(runs).collect()
}
