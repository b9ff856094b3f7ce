//! Answers as tables.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use plimsoll_manager::api::{
    AssignmentView, CollectorView, CollectorWish, Decision, ExplainView, PolicyKind, PolicyView, TopicView, TrialView,
    What, WorkloadView,
};
use plimsoll_manager::told::ConcurrencyTerm;

/// Stands for what is not known or not there.
const NONE: &str = "-";

/// An empty table with this head; the columns with these numbers are written to the right.
pub fn table<H: Into<comfy_table::Row>>(header: H, numbers: &[usize]) -> Table {
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
    // KEDA gets an error where it would be told a zero while an interceptor is missing.
    let value = |value: f64| {
        if value > 0.0 || !one.zero_is_unknown { format!("{value:.1}") } else { "unknown".to_owned() }
    };
    let mut said = vec![match (told.activity.active, one.zero_is_unknown) {
        (true, _) => "active".to_owned(),
        (false, true) => "unknown whether active: an interceptor is missing".to_owned(),
        (false, false) => "inactive".to_owned(),
    }];
    if let Some(target) = told.concurrency.target {
        let because = match told.concurrency.because {
            ConcurrencyTerm::Mean => "",
            ConcurrencyTerm::Held => ", held",
            ConcurrencyTerm::Burst => ", burst",
        };
        said.push(format!("concurrency {} of {target}{because}", value(told.concurrency.value)));
    }
    if let Some(target) = told.request_rate.target {
        let because = if told.request_rate.raised_for_held { ", held" } else { "" };
        said.push(format!("rate {} of {target}{because}", value(told.request_rate.value)));
    }
    said.join("; ")
}

pub fn topics(all: &[TopicView]) -> String {
    let mut table = table(["TOPIC", "WORKLOAD", "STATE", "COLLECTOR", "MOVING TO", "PINNED TO", "FRAMES/S"], &[6]);
    for one in all {
        table.add_row([
            one.topic.clone(),
            or_none(one.workload.as_ref()),
            one.state.to_string(),
            or_none(one.collector.as_ref()),
            or_none(one.incoming.as_ref()),
            or_none(one.pinned.as_ref()),
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
            state(one),
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

/// What a collector is, and what was asked of it where that is something else.
fn state(one: &CollectorView) -> String {
    match one.wish {
        Some(CollectorWish::Cordon) if one.state != "cordoned" => format!("{},to-be-cordoned", one.state),
        Some(CollectorWish::Drain) if one.state != "draining" => format!("{},to-be-drained", one.state),
        _ => one.state.clone(),
    }
}

pub fn policy(policy: &PolicyView) -> String {
    let mut table = table(["KIND", "MAX PER HOST", "MIN COLLECTORS", "MAX COLLECTORS"], &[1, 2, 3]);
    let kind = match policy.kind {
        PolicyKind::MaxPerHost => "max-per-host",
        PolicyKind::PerProvider => "per-provider",
    };
    table.add_row([
        kind.to_owned(),
        policy.max_per_host.to_string(),
        policy.min_collectors.to_string(),
        policy.max_collectors.to_string(),
    ]);
    table.trim_fmt()
}

pub fn explain(told: &ExplainView) -> String {
    let mut text = format!("{}\n", told.topic.topic);
    for sentence in &told.because {
        text.push_str(&format!("  {sentence}\n"));
    }
    if !told.decisions.is_empty() {
        text.push_str(&format!("\n{}", decisions(told.decisions.iter().rev())));
    }
    text
}

/// Moves by reason, and how it would be in the end.
pub fn summary(trial: &TrialView) -> String {
    let mut reasons = BTreeMap::<&str, usize>::new();
    for planned in &trial.moves {
        *reasons.entry(&planned.reason).or_default() += 1;
    }
    let reasons: Vec<String> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    let of = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    let wanted: usize = trial.wanted_collectors.values().sum();
    let mut text = format!(
        "{} topics would move{of} in {} rounds; load of the fullest over the mean {:.2}, now {:.2}; {wanted} collectors wanted",
        trial.total_moves, trial.rounds, trial.after.max_over_mean, trial.before.max_over_mean
    );
    if !trial.settled {
        text.push_str("; more would move after these");
    }
    if !trial.unassigned.is_empty() {
        text.push_str(&format!("; {} topics would be read by nobody", trial.unassigned.len()));
    }
    text
}

pub fn trial(trial: &TrialView) -> String {
    let mut text = summary(trial);
    if !trial.moves.is_empty() {
        let mut table = table(["TOPIC", "FROM", "TO", "WHY", "FRAMES/S"], &[4]);
        for one in &trial.moves {
            let why = if one.forced { format!("{}, at once", one.reason) } else { one.reason.clone() };
            let (from, to) = (or_none(one.from.as_ref()), or_none(one.to.as_ref()));
            table.add_row([one.topic.clone(), from, to, why, decimal(Some(one.load))]);
        }
        text.push_str(&format!("\n\n{}", table.trim_fmt()));
    }
    if !trial.obstacles.is_empty() {
        let mut table = table(["TOPIC", "IN THE WAY"], &[]);
        for (topic, what) in &trial.obstacles {
            table.add_row([topic.clone(), what.clone()]);
        }
        text.push_str(&format!("\n\n{}", table.trim_fmt()));
    }
    text
}

pub fn decisions<'a>(all: impl Iterator<Item = &'a Decision>) -> String {
    all.map(|one| format!("{}\n", decision(one))).collect()
}

/// One line.
pub fn decision(one: &Decision) -> String {
    let at = i64::try_from(one.unix_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let at = at.map_or_else(|| NONE.to_owned(), |at| format!("{at:.3}"));
    let said = match &one.what {
        What::Move { topic, from, to, reason, because, forced } => {
            let how = if *forced { "at once" } else { "when it is warm" };
            format!("{topic}: {} -> {} {how} ({reason}: {because})", or_none(from.as_ref()), or_none(to.as_ref()))
        }
        What::Arrived { topic, collector, seconds } => format!("{topic}: now on {collector}, after {seconds:.1} s"),
        What::Collector { collector, from, to, because } => {
            format!("collector {collector}: {} -> {} ({because})", or_none(from.as_ref()), or_none(to.as_ref()))
        }
        What::Scale { provider, from, to, because } => {
            let of = if provider.is_empty() { String::new() } else { format!(" of {provider}") };
            format!("collectors{of}: {from} -> {to} ({because})")
        }
        What::Topic { topic, created, because } => {
            format!("{topic}: {} ({because})", if *created { "created" } else { "deleted" })
        }
    };
    format!("{at}  generation {}  {said}", one.generation)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn view(zero_is_unknown: bool, concurrency: f64, active: bool) -> WorkloadView {
        let told = json!({
            "concurrency": { "value": concurrency, "because": "mean", "mean": concurrency, "held": 0, "burst": 0.0, "target": 100 },
            "requestRate": { "value": 0.0, "mean": 0.0, "raisedForHeld": false, "target": Value::Null },
            "activity": { "active": active, "inFlight": 0, "secondsSinceArrival": 1.0, "activityWindowSeconds": 30.0 },
        });
        let view = json!({
            "namespace": "shop", "name": "cart", "kind": "InterceptorRoute", "topic": "plimsoll.shop.cart", "provider": "default",
            "known": true, "windowSeconds": { "concurrency": 15.0, "requestRate": 60.0 }, "zeroIsUnknown": zero_is_unknown, "told": told,
        });
        serde_json::from_value(view).expect("it is a workload")
    }

    #[test]
    fn no_zero_is_said_while_an_interceptor_is_missing() {
        assert_eq!(told(&view(false, 0.0, false)), "inactive; concurrency 0.0 of 100");
        let unknown = "unknown whether active: an interceptor is missing; concurrency unknown of 100";
        assert_eq!(told(&view(true, 0.0, false)), unknown);
        assert_eq!(told(&view(true, 3.0, true)), "active; concurrency 3.0 of 100");
    }
}
