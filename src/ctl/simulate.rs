//! `plimsoll ctl simulate`: a day of a fleet in seconds.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use plimsoll_scheduler::policy::Policy;
use plimsoll_scheduler::simulate::{self, NamedPolicy, Report, Scenario, Spread};
use serde::de::DeserializeOwned;

use super::output::Output;

/// Settings of `plimsoll ctl simulate`.
#[derive(Debug, Args)]
pub struct Config {
    /// The day to play: YAML (docs/scheduling.md has its fields).
    #[arg(long, value_name = "FILE")]
    scenario: PathBuf,
    /// A policy in place of the scenario's: YAML or JSON, as `PUT /api/v1/policy` takes it. Repeat to compare several.
    #[arg(long, value_name = "FILE")]
    policy: Vec<PathBuf>,
    /// Draw the day into this file, as SVG.
    #[arg(long, value_name = "FILE.svg")]
    chart: Option<PathBuf>,
}

/// Plays the day; what came of it as a table, or as JSON or YAML with a sample a minute.
pub fn run(config: &Config, output: &Output) -> Result<String> {
    let mut scenario: Scenario = read(&config.scenario)?;
    if !config.policy.is_empty() {
        scenario.policies = config.policy.iter().map(|path| named(path)).collect::<Result<_>>()?;
    }
    let reports = simulate::run(&scenario).with_context(|| config.scenario.display().to_string())?;
    if let Some(path) = &config.chart {
        fs::write(path, simulate::chart(&reports)).with_context(|| format!("can't write {}", path.display()))?;
    }
    output.shown(&reports, |reports| table(reports))
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
    serde_saphyr::from_str(&text).with_context(|| path.display().to_string())
}

/// The policy of a file, called after it.
fn named(path: &Path) -> Result<NamedPolicy> {
    let policy: Policy = read(path)?;
    policy.check().with_context(|| path.display().to_string())?;
    let name = path.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    Ok(NamedPolicy { name, policy })
}

/// A column for each policy.
fn table(reports: &[Report]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(std::iter::once(String::new()).chain(reports.iter().map(|report| report.policy.clone())));
    let mut row = |title: &str, value: &dyn Fn(&Report) -> String| {
        table.add_row(std::iter::once(title.to_owned()).chain(reports.iter().map(value)));
    };
    row("collectors: mean, most", &|report| format!("{:.1}, {:.0}", report.collectors.mean, report.collectors.max));
    row("collector hours", &|report| format!("{:.1}", report.collector_hours));
    row("hottest over mean: mean, p95, most", &|report| {
        let Spread { mean, p95, max } = report.hottest;
        format!("{mean:.2}, {p95:.2}, {max:.2}")
    });
    row("moves", &|report| report.moves.values().sum::<usize>().to_string());
    let reasons: BTreeSet<&String> = reports.iter().flat_map(|report| report.moves.keys()).collect();
    for reason in reasons {
        row(&format!("  {reason}"), &|report| report.moves.get(reason).copied().unwrap_or(0).to_string());
    }
    row("moves without waiting", &|report| report.forced_moves.to_string());
    row("minutes without an answer, all topics", &|report| format!("{:.1}", report.unanswered_minutes));
    row("topics without one at a time, most", &|report| report.unanswered_most.to_string());
    row("minutes without a collector, all topics", &|report| format!("{:.1}", report.unassigned_minutes));
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::output::Format;
    use super::*;

    /// The guide's example, an hour of it.
    fn an_hour(folder: &Path) -> PathBuf {
        let example = include_str!("../../docs/examples/fleet-day.yaml");
        assert!(example.contains("hours: 24\n"));
        let path = folder.join("day.yaml");
        fs::write(
            &path,
            example.replace("hours: 24\n", "hours: 1\n").replace("stepSeconds: 10\n", "stepSeconds: 60\n"),
        )
        .unwrap();
        path
    }

    #[test]
    fn the_guides_example_is_played_under_the_policies_of_files_and_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let policy = folder.path().join("small.json");
        fs::write(&policy, r#"{"kind":"max-per-host","maxPerHost":50,"minCollectors":1,"maxCollectors":50}"#).unwrap();
        let chart = folder.path().join("day.svg");
        let scenario = an_hour(folder.path());
        let both = Config { scenario: scenario.clone(), policy: vec![], chart: Some(chart.clone()) };
        let told = run(&both, &Output::new(Format::Table, false)).unwrap();
        assert!(told.contains("one fleet") && told.contains("a fleet for each provider"), "{told}");
        assert!(fs::read_to_string(chart).unwrap().starts_with("<svg"));
        let told =
            run(&Config { scenario, policy: vec![policy], chart: None }, &Output::new(Format::Json, false)).unwrap();
        let reports: serde_json::Value = serde_json::from_str(&told).unwrap();
        assert_eq!((reports[0]["policy"].as_str(), reports.as_array().unwrap().len()), (Some("small"), 1));
        assert_eq!(reports[0]["samples"].as_array().unwrap().len(), 60);
    }

    #[test]
    fn a_bad_file_is_named_with_the_field() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.yaml");
        let told = |text: &str| {
            fs::write(&path, text).unwrap();
            let output = Output::new(Format::Table, false);
            format!("{:#}", run(&Config { scenario: path.clone(), policy: vec![], chart: None }, &output).unwrap_err())
        };
        let unknown = told("providers: []\nhour: 3\n");
        assert!(unknown.contains("bad.yaml") && unknown.contains("`hour`"), "{unknown}");
        let wrong = told("providers: [{name: aws, workloads: 5, daily: 2}]\n");
        assert!(wrong.contains("bad.yaml") && wrong.contains("providers[0].daily: is 2"), "{wrong}");
    }
}
