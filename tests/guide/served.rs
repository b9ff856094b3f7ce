//! What running parts serve is in the reference, with the same types and labels.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};

use crate::http;
use crate::parts::Parts;
use crate::reference::{families, paths};

/// Families of a page of metrics: name as Prometheus has it, type, labels.
fn served(page: &str) -> Vec<(String, String, BTreeSet<String>)> {
    let mut found: Vec<(String, String, BTreeSet<String>)> = Vec::new();
    for line in page.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) {
            let short = kind == "counter" && !name.ends_with("_total");
            found.push((format!("{name}{}", if short { "_total" } else { "" }), kind.to_owned(), BTreeSet::new()));
        } else if let (Some((.., labels)), Some((_, series))) = (found.last_mut(), line.split_once('{')) {
            let series = &series[..series.find('}').unwrap_or(series.len())];
            let names = series.split("\",").filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
            labels.extend(names.filter(|name| name != "le"));
        }
    }
    found
}

#[tokio::test]
async fn what_is_served_is_in_the_reference() -> Result<()> {
    let parts = Parts::start("guide").await?;
    let reference = families()?;
    let mut seen = 0;
    for (page, least) in parts.metrics().await?.iter().zip([30, 15, 8]) {
        let families = served(page);
        ensure!(families.len() >= least, "{families:?}");
        for (name, kind, labels) in families {
            let told = reference.get(&name).with_context(|| format!("{name} is not in docs/reference/metrics.md"))?;
            ensure!(told.kind == kind, "{name} is served as a {kind}, and told to be a {}", told.kind);
            // A family without a series as yet shows no labels.
            ensure!(labels.is_empty() || told.labels == labels, "{name} is served with {labels:?}, told with {told:?}");
            seen += usize::from(!labels.is_empty());
        }
    }
    ensure!(seen > 10, "only {seen} families had labels, so little is shown");

    let document = http::get_ok(&parts.api, "/openapi.json").await?;
    let document: serde_json::Value = serde_json::from_str(&document.body)?;
    let served: BTreeSet<String> = document["paths"].as_object().context("no paths")?.keys().cloned().collect();
    ensure!(served == paths()?, "the reference has other calls than the API: {served:?}");
    Ok(())
}
