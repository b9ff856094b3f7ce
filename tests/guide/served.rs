//! What running parts serve is in the reference, with the same types and labels.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use plimsoll_testkit::{Folder, Port, wait_until};

use crate::http;
use crate::program::Program;
use crate::reference::{families, paths};

const LIMIT: Duration = Duration::from_secs(60);

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
    let folder = Folder::new("guide")?;
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
    wait_until("a request wakes the demo", LIMIT, async || {
        let reply = http::get(&proxy, "hello.localhost", "/").await?;
        ensure!(reply.status == 200, "{reply:?}");
        Ok(())
    })
    .await?;

    let reference = families()?;
    let mut seen = 0;
    for (address, least) in [(&admin, 30), (&api, 15), (&probes, 8)] {
        let page = wait_until("metrics are served", LIMIT, async || http::get_ok(address, "/metrics").await).await?;
        let families = served(&page.body);
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

    let document = http::get_ok(&api, "/openapi.json").await?;
    let document: serde_json::Value = serde_json::from_str(&document.body)?;
    let served: BTreeSet<String> = document["paths"].as_object().context("no paths")?.keys().cloned().collect();
    ensure!(served == paths()?, "the reference has other calls than the API: {served:?}");
    Ok(())
}
