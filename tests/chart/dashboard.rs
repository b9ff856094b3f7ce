//! The Grafana dashboard asks for nothing that is not there.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::parts::Parts;
use crate::rendered::{chart, named, objects};

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
    let served = Parts::start("chart-dashboard").await?.metrics().await?;
    let there: BTreeSet<String> = served.iter().flat_map(|page| given(page)).collect();
    let missing: Vec<_> = wanted.difference(&there).collect();
    ensure!(missing.is_empty(), "nobody has {missing:?}; there are {there:?}");
    let rendered = objects("everything").await?;
    let map = named(&rendered, "ConfigMap", "plimsoll-dashboard")?;
    ensure!(serde_json::from_str::<Value>(map["data"]["plimsoll.json"].as_str().context("no file")?)? == dashboard);
    ensure!(map["metadata"]["labels"]["grafana_dashboard"] == "1");
    Ok(())
}
