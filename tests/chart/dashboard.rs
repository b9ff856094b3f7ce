//! The Grafana dashboard asks for nothing that is not there.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use plimsoll_testkit::{Folder, Port, wait_until};
use serde_json::Value;

use crate::http;
use crate::program::Program;
use crate::rendered::{chart, named, objects};

const LIMIT: Duration = Duration::from_secs(60);

/// The series that an expression names.
fn series(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("interceptor_") || word.starts_with("plimsoll_"))
}

/// The series that a page of metrics has, those of histograms by their three names.
fn given(page: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in page.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) {
            let ends: &[&str] = match kind.trim() {
                "histogram" => &["_bucket", "_sum", "_count"],
                // OpenMetrics leaves the end out of the family's name.
                "counter" if !name.ends_with("_total") => &["_total"],
                _ => &[""],
            };
            names.extend(ends.iter().map(|end| format!("{name}{end}")));
        }
    }
    names
}

#[tokio::test]
async fn every_query_names_series_that_are_there() -> Result<()> {
    let text = std::fs::read_to_string(chart().join("dashboards/plimsoll.json"))?;
    let dashboard: Value = serde_json::from_str(&text)?;
    let mut wanted = BTreeSet::new();
    for panel in dashboard["panels"].as_array().context("no panels")? {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().context("no expression")?;
            let named: Vec<&str> = series(expression).collect();
            ensure!(!named.is_empty(), "{expression} names nothing");
            wanted.extend(named.into_iter().map(str::to_owned));
        }
    }
    ensure!(wanted.len() > 20, "{wanted:?}");
    let there = served().await?;
    let missing: Vec<_> = wanted.difference(&there).collect();
    ensure!(missing.is_empty(), "nobody has {missing:?}; there are {there:?}");
    let rendered = objects("everything").await?;
    let map = named(&rendered, "ConfigMap", "plimsoll-dashboard")?;
    ensure!(serde_json::from_str::<Value>(map["data"]["plimsoll.json"].as_str().context("no file")?)? == dashboard);
    ensure!(map["metadata"]["labels"]["grafana_dashboard"] == "1");
    Ok(())
}

/// All series of an interceptor, a manager and a collector.
async fn served() -> Result<BTreeSet<String>> {
    let folder = Folder::new("chart-dashboard")?;
    let ports = [Port::claim()?, Port::claim()?, Port::claim()?, Port::claim()?, Port::claim()?, Port::claim()?];
    let [proxy, admin, api, scaler, answers, probes] = ports.each_ref().map(Port::address);
    let dev = [
        "dev".to_owned(),
        format!("--proxy-listen={proxy}"),
        format!("--admin-listen={admin}"),
        format!("--api-listen={api}"),
        format!("--scaler-listen={scaler}"),
    ];
    let _dev = Program::start(&folder, "dev", &dev)?;
    // Metrics do not wait for a log or a store.
    let collector = [
        "collector".to_owned(),
        "--kafka=127.0.0.1:9".to_owned(),
        "--etcd=127.0.0.1:9".to_owned(),
        format!("--collector-listen={answers}"),
        format!("--collector-admin-listen={probes}"),
    ];
    let _collector = Program::start(&folder, "collector", &collector)?;
    // Some series begin with the first request.
    wait_until("a request is answered", LIMIT, async || {
        let reply = http::get(&proxy, "hello.localhost", "/").await?;
        ensure!(reply.status == 200, "{reply:?}");
        Ok(())
    })
    .await?;
    let mut all = BTreeSet::new();
    for address in [admin, api, probes] {
        let page = wait_until("metrics are served", LIMIT, async || http::get_ok(&address, "/metrics").await).await?;
        all.extend(given(&page.body));
    }
    Ok(all)
}
