//! `plimsoll ctl` against a running system.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod driver;

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use driver::{
    exclusively,
    load::{Load, Pattern, Running, Traffic},
    program::{Program, run},
    rest,
    routes::{self, Route},
};
use plimsoll_testkit::{Folder, Port, wait_until};
use serde_json::Value;

/// `plimsoll dev` with two workloads, one of which has three requests in flight.
struct System {
    _program: Program,
    _folder: Folder,
    _ports: [Port; 4],
    _load: Load,
    _traffic: Running,
    server: String,
}

impl System {
    async fn start() -> Result<Self> {
        let load = Load::new()?;
        let backend = load.backend().await?.address();
        let routes = ["busy", "idle"].map(|name| Route::new(name, backend));
        let folder = Folder::new("ctl")?;
        let file = folder.join("routes.yaml");
        fs::write(&file, routes::file(&routes))?;
        let ports = [Port::claim()?, Port::claim()?, Port::claim()?, Port::claim()?];
        let [proxy, admin, api, scaler] = &ports;
        let arguments = [
            "dev".to_owned(),
            format!("--routes={}", file.display()),
            format!("--proxy-listen={}", proxy.address()),
            format!("--admin-listen={}", admin.address()),
            format!("--api-listen={}", api.address()),
            format!("--scaler-listen={}", scaler.address()),
        ];
        let mut program = Program::start(&folder, "dev", &arguments)?;
        let (proxy, api) = (proxy.address(), api.address());
        program.listens(&[&proxy, &api]).await?;
        let traffic =
            Traffic { host: routes[0].host(), pattern: Pattern::Steady { open: 3, length: Duration::from_secs(2) } };
        let traffic = load.start(&[traffic], &[proxy]);
        let settled = wait_until("the window of the busy workload is full", Duration::from_secs(40), async || {
            let view = rest::workload(&api, "default/busy").await?;
            let concurrency = view["concurrency"].as_f64().unwrap_or(0.0);
            ensure!((2.9..=3.1).contains(&concurrency), "{view:#}");
            let idle = rest::workload(&api, "default/idle").await?;
            ensure!(idle["known"] == true, "{idle:#}");
            Ok(())
        });
        settled.await.with_context(|| program.printed().unwrap_or_default())?;
        Ok(Self {
            _program: program,
            _folder: folder,
            _ports: ports,
            _load: load,
            _traffic: traffic,
            server: format!("http://{api}"),
        })
    }

    async fn table(&self, what: &str) -> Result<String> {
        let ended = run(&["ctl", "--server", &self.server, what]).await?;
        ensure!(ended.success, "{}", ended.stderr);
        Ok(ended.stdout)
    }

    async fn json(&self, what: &str) -> Result<Value> {
        let ended = run(&["ctl", what, "--server", &self.server, "--output=json"]).await?;
        ensure!(ended.success, "{}", ended.stderr);
        serde_json::from_str(&ended.stdout).with_context(|| ended.stdout)
    }
}

/// The line of a table that has this cell.
fn row<'a>(table: &'a str, cell: &str) -> Result<Vec<&'a str>> {
    let cells = |line: &'a str| line.split_whitespace().collect::<Vec<_>>();
    let mut rows = table.lines().map(cells);
    rows.find(|row| row.contains(&cell)).with_context(|| format!("no {cell} in:\n{table}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_list_tells_what_is_going_on_as_a_table_and_as_json() -> Result<()> {
    let _alone = exclusively().await;
    let system = System::start().await?;

    let table = system.table("workloads").await?;
    println!("{table}");
    let busy = row(&table, "default/busy")?;
    ensure!(busy.contains(&"3"), "three are in flight: {busy:?}");
    ensure!(busy.iter().any(|cell| cell.starts_with("active")), "{busy:?}");
    ensure!(row(&table, "default/idle")?.iter().any(|cell| cell.starts_with("inactive")), "{table}");
    let workloads = system.json("workloads").await?;
    let items = workloads["items"].as_array().context("items")?;
    let busy = items.iter().find(|item| item["name"] == "busy").context("busy")?;
    let close = |value: &Value, truth: f64| value.as_f64().is_some_and(|value| (value / truth - 1.0).abs() < 0.05);
    ensure!(busy["inFlight"] == 3 && busy["held"] == 0 && busy["known"] == true, "{busy:#}");
    ensure!(close(&busy["concurrency"], 3.0) && close(&busy["told"]["concurrency"]["value"], 3.0), "{busy:#}");
    ensure!(busy["told"]["activity"]["active"] == true, "{busy:#}");
    ensure!(busy["windowSeconds"]["concurrency"] == 10.0, "{busy:#}");

    let table = system.table("topics").await?;
    println!("{table}");
    row(&table, "plimsoll.default.busy")?;
    let topics = system.json("topics").await?;
    ensure!(topics["items"].as_array().is_some_and(|items| items.len() == 2), "{topics:#}");
    ensure!(topics["items"][0]["state"] == "ready", "{topics:#}");

    let table = system.table("collectors").await?;
    println!("{table}");
    let collectors = system.json("collectors").await?;
    let items = collectors["items"].as_array().context("items")?;
    ensure!(!items.is_empty() && items.iter().all(|item| item["state"] == "ready"), "{collectors:#}");
    let owned: u64 = items.iter().filter_map(|item| item["topics"].as_u64()).sum();
    ensure!(owned == 2, "two topics have owners: {collectors:#}");
    for item in items {
        row(&table, item["id"].as_str().context("id")?)?;
    }

    let table = system.table("assignment").await?;
    println!("{table}");
    let owner = row(&table, "plimsoll.default.busy")?;
    let assignment = system.json("assignment").await?;
    let place = &assignment["topics"]["plimsoll.default.busy"];
    let name = place["owner"].as_str().context("an owner")?;
    ensure!(owner.contains(&name), "{owner:?} does not name {name}");
    ensure!(place["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{assignment:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watching_tells_again_and_outlives_a_manager() -> Result<()> {
    let _alone = exclusively().await;
    let system = System::start().await?;
    let folder = Folder::new("watch")?;
    let watching = ["ctl", "workloads", "--watch", "--output=json", "--server", &system.server];
    let mut program = Program::start(&folder, "ctl", &watching)?;
    wait_until("three documents", Duration::from_secs(10), async || {
        let printed = program.printed()?;
        ensure!(printed.lines().count() >= 3, "{printed}");
        for line in printed.lines().take(3) {
            let _: Value = serde_json::from_str(line).context("one document a line")?;
        }
        Ok(())
    })
    .await?;
    drop(system);
    program.prints("can't reach", Duration::from_secs(10)).await?;
    ensure!(!program.process().has_ended()?, "it gave up");
    Ok(())
}

#[tokio::test]
async fn a_manager_out_of_reach_is_one_clear_line() -> Result<()> {
    let _alone = exclusively().await;
    let nobody = Port::claim()?;
    let server = format!("http://{}", nobody.address());
    let ended = run(&["ctl", "--server", &server, "workloads"]).await?;
    ensure!(!ended.success && ended.stdout.is_empty(), "{}", ended.stdout);
    let lines: Vec<&str> = ended.stderr.lines().collect();
    ensure!(lines.len() == 1 && lines[0].contains(&nobody.address()), "{lines:?}");
    Ok(())
}
