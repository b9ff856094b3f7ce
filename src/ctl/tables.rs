//! Answers as tables.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use plimsoll_manager::api::{AssignmentView, CollectorView, TopicView, WorkloadView};
use plimsoll_manager::told::ConcurrencyTerm;

/// Stands for what is not known or not there.
const NONE: &str = "-";

fn table<const N: usize>(header: [&str; N], numbers: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(header);
    for at in numbers {
        if let Some(column) = table.column_mut(*at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn or_none<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| value.to_string())
}

fn decimal(value: Option<f64>) -> String {
    or_none(value.map(|value| format!("{value:.2}")))
}

pub fn workloads(all: &[WorkloadView]) -> String {
    let mut table =
        table(["WORKLOAD", "IN FLIGHT", "HELD", "CONCURRENCY", "RATE/S", "KEDA IS TOLD", "COLLECTOR"], &[1, 2, 3, 4]);
    for one in all {
        table.add_row([
            format!("{}/{}", one.namespace, one.name),
            or_none(one.in_flight),
            or_none(one.held),
            decimal(one.concurrency),
            decimal(one.request_rate),
            told(one),
            or_none(one.collector.as_ref()),
        ]);
    }
    table.trim_fmt()
}

/// In a few words what KEDA gets, and why.
fn told(one: &WorkloadView) -> String {
    let Some(told) = &one.told else {
        return format!("unknown: {}", one.unknown_reason.as_deref().unwrap_or("no answer yet"));
    };
    let mut said = vec![if told.activity.active { "active".to_owned() } else { "inactive".to_owned() }];
    if let Some(target) = told.concurrency.target {
        let because = match told.concurrency.because {
            ConcurrencyTerm::Mean => "",
            ConcurrencyTerm::Held => ", held",
            ConcurrencyTerm::Burst => ", burst",
        };
        said.push(format!("concurrency {:.1} of {target}{because}", told.concurrency.value));
    }
    if let Some(target) = told.request_rate.target {
        let because = if told.request_rate.raised_for_held { ", held" } else { "" };
        said.push(format!("rate {:.1} of {target}{because}", told.request_rate.value));
    }
    said.join("; ")
}

pub fn topics(all: &[TopicView]) -> String {
    let mut table = table(["TOPIC", "WORKLOAD", "STATE", "COLLECTOR", "MOVING TO", "FRAMES/S"], &[5]);
    for one in all {
        table.add_row([
            one.topic.clone(),
            or_none(one.workload.as_ref()),
            one.state.clone(),
            or_none(one.collector.as_ref()),
            or_none(one.incoming.as_ref()),
            decimal(Some(one.load)),
        ]);
    }
    table.trim_fmt()
}

pub fn collectors(all: &[CollectorView]) -> String {
    let mut table = table(
        ["COLLECTOR", "STATE", "PROVIDER", "TOPICS", "INCOMING", "FRAMES/S", "LAG S", "SILENT S", "ADDRESS"],
        &[3, 4, 5, 6, 7],
    );
    for one in all {
        table.add_row([
            one.id.clone(),
            one.state.clone(),
            or_none(one.provider.as_ref()),
            one.topics.to_string(),
            one.incoming.to_string(),
            decimal(Some(one.load)),
            decimal(Some(one.lag_seconds)),
            decimal(Some(one.silent_seconds)),
            or_none(one.address.as_ref()),
        ]);
    }
    table.trim_fmt()
}

pub fn assignment(plan: &AssignmentView) -> String {
    let mut table = table(["TOPIC", "OWNER", "MOVING TO", "WHY"], &[]);
    for (topic, place) in &plan.topics {
        table.add_row([
            topic.clone(),
            or_none(place.owner.as_ref()),
            or_none(place.incoming.as_ref()),
            place.reason.clone(),
        ]);
    }
    format!("generation {}, leader {}\n{}", plan.generation, plan.leader.as_deref().unwrap_or(NONE), table.trim_fmt())
}
