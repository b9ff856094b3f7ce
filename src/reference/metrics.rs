//! Every family of metrics, as the parts register them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use super::{cell, code};

const HEAD: &str = "\
# Metrics

All parts serve `/metrics` for Prometheus. A histogram NAME has the series `NAME_bucket`, `NAME_sum` and `NAME_count`. What to watch, and
from when on to worry, is in [Operate](../operate.md#what-to-watch).

";

/// The page.
///
/// # Errors
/// Where a part's metrics can't be written.
pub fn page() -> Result<String> {
    let parts = [
        ("Interceptor", "port 9091 (`--admin-listen`)", plimsoll_interceptor::described_metrics()),
        ("Collector", "port 9096 (`--collector-admin-listen`)", plimsoll_collector::described_metrics()),
        ("Manager", "port 8088 (`--api-listen`)", plimsoll_manager::described_metrics()),
    ];
    let mut page = HEAD.to_owned();
    for (name, place, described) in parts {
        let described =
            described.with_context(|| format!("the metrics of the {} can't be written", name.to_lowercase()))?;
        let _ =
            write!(page, "## {name}\n\nOn {place}.\n\n| series | type | labels | what it says |\n|---|---|---|---|\n");
        let mut families = families(&described);
        families.sort_by(|a, b| a.name.cmp(&b.name));
        for family in families {
            let labels: Vec<String> = family.labels.iter().map(|label| code(label)).collect();
            let (name, kind, help) = (code(&family.name), &family.kind, cell(&family.help));
            let _ = writeln!(page, "| {name} | {kind} | {} | {help} |", labels.join(", "));
        }
        page.push('\n');
    }
    Ok(page)
}

/// A family, as Prometheus names it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Family {
    name: String,
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

/// All families of a page in OpenMetrics, in its order.
fn families(page: &str) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    for line in page.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|line| line.split_once(' ')) {
            families.push(Family { name: name.to_owned(), help: help.to_owned(), ..Family::default() });
        } else if let Some((_, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) {
            let Some(family) = families.last_mut() else { continue };
            family.kind = kind.to_owned();
            // OpenMetrics leaves the end out of a counter's family.
            if kind == "counter" {
                family.name.push_str("_total");
            }
        } else if let (Some(family), Some((_, labels))) = (families.last_mut(), line.split_once('{')) {
            family.labels.extend(labels_of(labels).filter(|label| *label != "le").map(str::to_owned));
        }
    }
    families
}

/// The names of a series' labels. Their values, here, have no quotation marks in them.
fn labels_of(series: &str) -> impl Iterator<Item = &str> {
    let end = series.rfind('}').unwrap_or(series.len());
    series[..end].split("\",").filter_map(|label| Some(label.split_once('=')?.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_understood() {
        let page = "# HELP a_moves Moves begun.\n# TYPE a_moves counter\na_moves_total{reason=\"x, y=z\",to=\"b\"} 1\n\
                    # HELP a_lag_seconds Lag.\n# TYPE a_lag_seconds histogram\n# UNIT a_lag_seconds seconds\n\
                    a_lag_seconds_bucket{le=\"1.0\",route=\"b\"} 1\n# EOF\n";
        let found = families(page);
        let told = |at: usize| (found[at].name.as_str(), found[at].kind.as_str(), found[at].labels.clone());
        assert_eq!(told(0), ("a_moves_total", "counter", ["reason".to_owned(), "to".to_owned()].into()));
        assert_eq!(told(1), ("a_lag_seconds", "histogram", ["route".to_owned()].into()));
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn every_family_of_every_part_is_shown_with_its_labels() {
        let page = page().unwrap();
        for row in [
            "| `interceptor_request_count_total` | counter | `code`, `method`, `route_name`, `route_namespace` |",
            "| `interceptor_tls_certificate_end_timestamp_seconds` | gauge | `path` |",
            "| `plimsoll_collector_interceptors` | gauge | `state` |",
            "| `plimsoll_manager_moves_total` | counter | `reason` |",
            "| `plimsoll_api_requests_total` | counter | `method`, `route`, `status` |",
        ] {
            assert!(page.contains(row), "{row} is not in {page}");
        }
    }
}
