//! Runs a scenario in a browser, and does what the scenario asks for meanwhile.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use plimsoll_testkit::{Folder, Process, browser_tools};
use tokio::time::{Instant, sleep};

/// A scenario takes a minute or two; a busy machine takes several times that.
const SCENARIO_LIMIT: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A scenario and what it needs to know.
pub(crate) struct Scenario<'a> {
    /// Which of `page/`.
    pub(crate) script: &'a str,
    /// Where the manager's API is: `HOST:PORT`.
    pub(crate) api: &'a str,
    /// Further things to know, by name.
    pub(crate) further: &'a [(&'a str, &'a str)],
}

/// Plays a scenario to its end; `act` does what it asks for.
pub(crate) async fn play(scenario: Scenario<'_>, mut act: impl AsyncFnMut(&str) -> Result<()>) -> Result<()> {
    let tools = browser_tools().await?;
    let talk = Folder::new("dashboard")?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shots = pictures()?;
    let mut node = Command::new("node");
    node.arg(root.join("tests/dashboard/page").join(scenario.script))
        .env("BROWSER_TOOLS", tools)
        .env("DASHBOARD", format!("http://{}", scenario.api))
        .env("SHOTS", &shots)
        .env("TALK", talk.path())
        .envs(scenario.further.iter().copied());
    let log = talk.join("scenario.log");
    let mut process = Process::spawn("the scenario", &node, &log)?;
    let deadline = Instant::now() + SCENARIO_LIMIT;
    let mut next = 1;
    while !process.has_ended()? {
        ensure!(Instant::now() < deadline, "the scenario does not end:\n{}", read(&log));
        let question = talk.join(&format!("ask-{next}"));
        if let Ok(what) = fs::read_to_string(&question) {
            act(&what).await.with_context(|| format!("{what}, asked for by:\n{}", read(&log)))?;
            fs::write(talk.join(&format!("answer-{next}")), "done")?;
            next += 1;
        }
        sleep(LOOK_EVERY).await;
    }
    let ended = process.wait(SCENARIO_LIMIT).await?;
    let told = read(&log);
    println!("{told}");
    ensure!(
        ended.success() && told.contains("all steps ok"),
        "the scenario failed; pictures are in {}:\n{told}",
        shots.display()
    );
    Ok(())
}

fn read(log: &Path) -> String {
    fs::read_to_string(log).unwrap_or_default()
}

/// Where pictures are kept: beside what cargo builds.
fn pictures() -> Result<PathBuf> {
    let program = Path::new(env!("CARGO_BIN_EXE_plimsoll"));
    let target = program.parent().and_then(Path::parent).context("the program is in no target folder")?;
    let folder = target.join("dashboard");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}
