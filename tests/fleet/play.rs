//! What happens to the fleet, and what must be said meanwhile.

use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};

use crate::{
    stage::{Size, Stage},
    watching::{Findings, summary},
    wishes,
};

/// The promise for what was lost. It is held to where the machine lets the test itself run on time, and printed where it is broken all the same.
const PROMISED: Duration = Duration::from_secs(10);
/// Looks are 50 ms apart. Where two were further apart than this, the machine does other things besides: collectors that it does not let
/// run are silent, and silence is what they are judged by.
const ON_TIME: Duration = Duration::from_millis(500);
/// What no machine may take.
const ANSWERED_AGAIN_WITHIN: Duration = Duration::from_secs(20);
/// A frozen part is frozen for longer than it takes to be replaced.
const FROZEN: Duration = Duration::from_secs(9);
/// A collector that is asked to stop has this long, and a busy machine as much again.
const LEAVES_WITHIN: Duration = Duration::from_secs(60);

/// One thing that happened, and what was seen meanwhile.
struct Act {
    name: &'static str,
    planned: bool,
    took: Duration,
    findings: Findings,
}

/// Plays it all, prints what was seen, and judges it.
pub(crate) async fn perform(size: Size) -> Result<()> {
    let began = Instant::now();
    let mut stage = Stage::set(size).await?;
    println!("{size:?}: all values are known after {:.0} s", began.elapsed().as_secs_f64());
    windows_fill().await;
    stage.watching.findings();
    println!("{size:?}: settled after {:.0} s", began.elapsed().as_secs_f64());
    let mut acts = Vec::new();
    for (name, planned, act) in [
        ("a collector joins", true, 0),
        ("a collector is drained, and taken back", true, 1),
        ("a collector is restarted (SIGTERM)", true, 2),
        ("a collector is killed (SIGKILL), and restarted", false, 3),
        ("a collector is frozen (SIGSTOP), and thaws", false, 4),
        ("the leading manager is killed, and restarted", true, 5),
        ("the leading manager is frozen, and thaws", true, 6),
        ("the leading manager and a collector are killed at once", false, 7),
        ("the leading manager and a collector are frozen at once, and thaw", false, 8),
        ("a topic is pinned, and unpinned", true, 9),
        ("a collector is cordoned while another is drained; then all is rebalanced", true, 10),
        ("a topic gets a collector of its own, and is deleted", true, 11),
    ] {
        let begun = Instant::now();
        play(&mut stage, act).await.map_err(|error| error.context(name))?;
        let act = Act { name, planned, took: begun.elapsed(), findings: stage.watching.findings() };
        act.print();
        acts.push(act);
    }
    let slowest_tick = stage.end().await?;
    println!("all took {:.0} s; the slowest tick of frames took {slowest_tick:?}", began.elapsed().as_secs_f64());
    let complaints: Vec<String> = acts.iter().filter_map(Act::complaint).collect();
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
    Ok(())
}

/// Waits until values are those of full windows.
pub(crate) async fn windows_fill() {
    sleep(Duration::from_secs(12)).await;
}

async fn play(stage: &mut Stage, act: usize) -> Result<()> {
    let fair = stage.size.workloads / (stage.size.collectors + 1);
    let has_its_share = async |stage: &Stage, name: &str| {
        let name = name.to_owned();
        stage
            .settled(&format!("{name} has its share"), async |placed| {
                ensure!(placed.of(&name) >= fair / 2, "{name} has {} of {placed:?}", placed.of(&name));
                Ok(())
            })
            .await
    };
    match act {
        0 => {
            let joined = stage.line.add_collector().await?;
            has_its_share(stage, &joined).await
        }
        1 => {
            stage.drain("collector-0", true).await?;
            let emptied = async |placed: &crate::stage::Placed| {
                ensure!(placed.of("collector-0") == 0, "{placed:?}");
                Ok(())
            };
            stage.settled("collector-0 is empty", emptied).await?;
            stage.drain("collector-0", false).await?;
            has_its_share(stage, "collector-0").await
        }
        2 => {
            let process = stage.line.collector_named("collector-1")?.program.process();
            process.signal(Signal::SIGTERM)?;
            let ended = process.wait(LEAVES_WITHIN).await?;
            ensure!(ended.success(), "it ended with {ended}: {}", stage.line.logs());
            stage.line.restart_collector("collector-1").await?;
            has_its_share(stage, "collector-1").await
        }
        3 => {
            stage.line.collector_named("collector-2")?.program.kill()?;
            without(stage, "collector-2").await?;
            stage.line.restart_collector("collector-2").await?;
            has_its_share(stage, "collector-2").await
        }
        4 => {
            stage.line.collector_named("collector-0")?.program.process().freeze()?;
            without(stage, "collector-0").await?;
            stage.line.collector_named("collector-0")?.program.process().thaw()?;
            has_its_share(stage, "collector-0").await
        }
        5 => {
            let leader = stage.leader().await?;
            stage.watching.excuse(leader);
            stage.line.managers[leader].program.kill()?;
            led_by_another_than(stage, leader).await?;
            stage.line.restart_manager(leader).await?;
            stage.watching.count_again(leader);
            stage.settled("the restarted manager knows all", async |_| Ok(())).await
        }
        6 => {
            let leader = stage.leader().await?;
            stage.watching.excuse(leader);
            stage.line.managers[leader].program.process().freeze()?;
            led_by_another_than(stage, leader).await?;
            sleep(FROZEN).await;
            stage.line.managers[leader].program.process().thaw()?;
            // It reads what has come meanwhile.
            sleep(Duration::from_secs(3)).await;
            stage.watching.count_again(leader);
            stage.settled("the thawed manager knows all", async |_| Ok(())).await
        }
        7 => {
            let leader = stage.leader().await?;
            stage.watching.excuse(leader);
            stage.line.managers[leader].program.kill()?;
            stage.line.collector_named("collector-1")?.program.kill()?;
            led_by_another_than(stage, leader).await?;
            without(stage, "collector-1").await?;
            stage.line.restart_manager(leader).await?;
            stage.line.restart_collector("collector-1").await?;
            stage.watching.count_again(leader);
            has_its_share(stage, "collector-1").await
        }
        9 => wishes::pin(stage).await,
        10 => wishes::cordon(stage).await,
        11 => wishes::dedicate(stage).await,
        _ => {
            let leader = stage.leader().await?;
            stage.watching.excuse(leader);
            stage.line.managers[leader].program.process().freeze()?;
            stage.line.collector_named("collector-2")?.program.process().freeze()?;
            led_by_another_than(stage, leader).await?;
            without(stage, "collector-2").await?;
            stage.line.managers[leader].program.process().thaw()?;
            stage.line.collector_named("collector-2")?.program.process().thaw()?;
            sleep(Duration::from_secs(3)).await;
            stage.watching.count_again(leader);
            has_its_share(stage, "collector-2").await
        }
    }
}

/// Waits until the others have all topics.
async fn without(stage: &Stage, lost: &str) -> Result<()> {
    stage
        .settled(&format!("the others have the topics of {lost}"), async |placed| {
            ensure!(placed.of(lost) == 0, "{placed:?}");
            Ok(())
        })
        .await
}

async fn led_by_another_than(stage: &Stage, former: usize) -> Result<()> {
    plimsoll_testkit::wait_until("another manager leads", Duration::from_secs(60), async || {
        let leader = stage.leader().await?;
        ensure!(leader != former, "manager {former} still leads");
        Ok(())
    })
    .await
}

/// How long a value may be missing on a machine that let the test look so often. What nobody could see is not held against the fleet.
pub(crate) fn allowed(blink: Duration) -> Duration {
    blink + if blink <= ON_TIME { PROMISED } else { ANSWERED_AGAIN_WITHIN }
}

impl Act {
    fn print(&self) {
        let Findings { gap, missing, wrong, values, looks, blink, gap_of } = &self.findings;
        let (name, took) = (self.name, self.took.as_secs_f64());
        println!(
            "{name}: {took:.1} s; worst gap {gap:.2?} ({missing} workloads missing; {gap_of}); {} of {values} values wrong; \
             {looks} looks, {blink:.2?} apart at most{}",
            wrong.len(),
            if *gap > PROMISED { "; OVER THE PROMISED 10 s" } else { "" }
        );
    }

    fn complaint(&self) -> Option<String> {
        let Findings { gap, missing, wrong, values, blink, gap_of, .. } = &self.findings;
        if *values == 0 {
            return Some(format!("{}: no value was looked at", self.name));
        }
        if !wrong.is_empty() {
            return Some(format!("{}: {} wrong values:\n{}", self.name, wrong.len(), summary(wrong)));
        }
        if self.planned && *missing > 0 {
            return Some(format!("{}: {missing} values were missing, for {gap:?} at worst: {gap_of}", self.name));
        }
        (*gap > allowed(*blink)).then(|| format!("{}: a value was missing for {gap:?}: {gap_of}", self.name))
    }
}
