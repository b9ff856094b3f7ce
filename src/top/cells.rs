//! How values are written. What is not known is `-`, and what was known last has a question mark.

use std::time::Duration;

use plimsoll_manager::api::{CollectorView, FleetView, MovingView};

use super::model::{Model, Row};
use super::order::{CollectorColumn, WorkloadColumn, lag};

/// Stands for what is not known or not there.
pub const NONE: &str = "-";

/// Heads of the table of moves.
pub const MOVE_HEADS: [&str; 4] = ["TOPIC", "FROM", "TO", "STATE"];

/// One value of a workload.
pub fn workload(row: &Row, column: WorkloadColumn) -> String {
    let old = if row.is_known() { "" } else { "?" };
    let count = |value| row.count(value).map_or_else(|| NONE.to_owned(), |value| format!("{value}{old}"));
    let per = |value, target: Option<u32>| match (row.mean(value), target) {
        (None, _) => NONE.to_owned(),
        (Some(value), Some(target)) => format!("{value:.2}{old}/{target}"),
        (Some(value), None) => format!("{value:.2}{old}"),
    };
    match column {
        WorkloadColumn::Name => row.name.clone(),
        WorkloadColumn::State => row.how().word().to_owned(),
        WorkloadColumn::InFlight => count(row.in_flight),
        WorkloadColumn::Held => count(row.held),
        WorkloadColumn::Mean => per(row.concurrency, row.concurrency_target),
        WorkloadColumn::Rate => per(row.request_rate, row.rate_target),
        WorkloadColumn::Wanted => row.wanted().map_or_else(|| NONE.to_owned(), |wanted| wanted.to_string()),
        WorkloadColumn::Collector => row.collector.clone().unwrap_or_else(|| NONE.to_owned()),
    }
}

/// One value of a collector.
pub fn collector(one: &CollectorView, column: CollectorColumn, fleet: &FleetView) -> String {
    match column {
        CollectorColumn::Name => one.id.clone(),
        CollectorColumn::State => one.state.clone(),
        CollectorColumn::Provider => one.provider.clone().unwrap_or_else(|| NONE.to_owned()),
        CollectorColumn::Topics => {
            let coming = if one.incoming > 0 { format!(" +{}", one.incoming) } else { String::new() };
            format!("{}{coming}/{}", one.topics, fleet.policy.max_per_host)
        }
        CollectorColumn::Load => format!("{:.1}", one.load),
        CollectorColumn::Lag => lag(one).map_or_else(|| NONE.to_owned(), |seconds| format!("{seconds:.1} s")),
        CollectorColumn::Why => one.because.clone().unwrap_or_default(),
    }
}

/// A move under way.
pub fn moving(one: &MovingView) -> [String; 4] {
    let from = one.from.clone().unwrap_or_else(|| "nobody".to_owned());
    let state = if one.warm { "warm: about to take over" } else { "reads its window" };
    [one.topic.clone(), from, one.to.clone(), state.to_owned()]
}

/// How the fleet is, in a few words.
pub fn fleet(fleet: &FleetView) -> String {
    let leader = match &fleet.leader {
        Some(leader) => format!("{leader} leads"),
        None => "nobody leads: nothing is planned".to_owned(),
    };
    format!("generation {}, {leader}", fleet.generation)
}

/// What the fleet lacks; nothing where all is well.
pub fn faults(fleet: &FleetView) -> Vec<String> {
    let mut faults = Vec::new();
    if let Some(why) = &fleet.store_away {
        faults.push(format!("the store is away: {why}"));
    }
    if fleet.unassigned > 0 {
        faults.push(format!("{} topics are read by nobody", fleet.unassigned));
    }
    let missing = fleet.interceptors.iter().filter(|one| !one.live).count();
    if missing > 0 {
        faults.push(format!("{missing} interceptors are missing"));
    }
    faults
}

/// Sums over all workloads, but for how many are unknown, and that.
pub fn sums(model: &Model) -> (String, usize) {
    let sums = model.sums();
    let all = match model.total {
        None => return ("no workloads told yet".to_owned(), 0),
        Some(total) if model.here() < total => format!("{} of {total} workloads so far", model.here()),
        Some(total) => format!("{total} workloads"),
    };
    if sums.known == 0 && sums.unknown > 0 {
        return (all, sums.unknown);
    }
    // What is unknown may have more.
    let least = if sums.unknown > 0 { "at least " } else { "" };
    let text = format!(
        "{all}  {} active  {least}{} in flight  {} held  {:.1} requests/s",
        sums.active, sums.in_flight, sums.held, sums.request_rate
    );
    (text, sums.unknown)
}

/// How long, as one says it.
pub fn time(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}
