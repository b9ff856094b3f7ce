//! Prometheus' own parsers read what `/metrics` says, in both formats.

use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::client::Client;
use crate::scene::Scene;
use crate::upstream::Upstream;

/// Reads a page with the Python client's strict parser of that format, and prints each family with its type, and how many
/// samples and exemplars it has.
const PARSE: &str = r"
import sys
from importlib import import_module
parser = import_module(sys.argv[1])
for family in parser.text_string_to_metric_families(sys.stdin.read()):
    exemplars = [sample.exemplar for sample in family.samples if getattr(sample, 'exemplar', None)]
    print(family.name, family.type, len(family.samples), len(exemplars))
";

/// The families of a page, as lines of `NAME TYPE SAMPLES EXEMPLARS`.
pub async fn parsed(page: &str, parser: &str) -> String {
    // Debian's own interpreter has Debian's modules.
    let python = Command::new("/usr/bin/python3")
        .args(["-c", PARSE, parser])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut python = python.expect("/usr/bin/python3 runs: `make tools` installs it");
    python.stdin.take().unwrap().write_all(page.as_bytes()).await.unwrap();
    let output = python.wait_with_output().await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{parser} can't read the page (is python3-prometheus-client missing? `make tools` installs it): {errors}\n{page}"
    );
    String::from_utf8(output.stdout).unwrap()
}

pub async fn scraped(scene: &Scene, accept: &str) -> (String, String) {
    let mut client = Client::connect(scene.admin).await;
    client.send(&format!("GET /metrics HTTP/1.1\r\nhost: admin\r\naccept: {accept}\r\n\r\n")).await;
    let response = client.response().await;
    (response.header("content-type").unwrap().to_owned(), response.text().to_owned())
}

#[tokio::test]
async fn both_formats_are_read_by_prometheus_parsers() {
    let scene = Scene::start().await;
    scene.ready(&[Upstream::start().await.address]);
    scene.get("/").await;
    scene.get("/204").await;
    scene.until_queue(0, 2).await;

    let (kind, page) = scraped(&scene, "text/html, */*").await;
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    let text = parsed(&page, "prometheus_client.parser").await;
    let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3";
    let (kind, page) = scraped(&scene, accept).await;
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let open_metrics = parsed(&page, "prometheus_client.openmetrics.parser").await;

    for families in [&text, &open_metrics] {
        for family in [
            "interceptor_request_count counter 2 0",
            // Fifteen buckets, the sum and the count, for each of the two codes.
            "interceptor_request_duration_seconds histogram 34 0",
            "interceptor_request_concurrency gauge 1 0",
            "interceptor_upstream_connects counter 1 0",
        ] {
            assert!(families.lines().any(|line| line == family), "{family} is not in\n{families}");
        }
    }
    let names = |families: &str| families.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(names(&text), names(&open_metrics), "the formats tell the same");
}
