//! The last hour of workloads, and their cold starts.

use axum::Json;
use axum::extract::State;
use plimsoll_wire::topic::WorkloadId;
use serde::Deserialize;
use utoipa::IntoParams;

use super::body::Asked;
use super::document::{BadQuery, Everywhere};
use super::failure::Failure;
use super::{Rest, Shown};
use crate::api::{ColdStartView, HistoryView, PointView};
use crate::board::ColdStart;
use crate::catalogue::Entry;
use crate::live::history::{SLOT, SLOTS};

/// Workloads asked for at once: as many rows as the highest screen shows.
const WORKLOADS: usize = 200;

/// Whose history, and how much of it.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HistoryAsked {
    /// Workloads, each as `namespace/name`, separated by commas; 200 at most.
    pub workloads: String,
    /// How far back, in minutes: 60 if unsaid, which is the most.
    pub minutes: Option<u32>,
}

/// The last hour of some workloads as this manager has seen it, and their cold starts. Workloads that are not known are left out. Kept in
/// memory: it begins when the manager does.
#[utoipa::path(get, path = "/api/v1/history", tag = "workloads", params(HistoryAsked),
    responses((status = 200, description = "One for each workload, in the order asked for.", body = Vec<HistoryView>), BadQuery, Everywhere))]
pub async fn history(State(rest): Shown, Asked(asked): Asked<HistoryAsked>) -> Result<Json<Vec<HistoryView>>, Failure> {
    let names: Vec<&str> = asked.workloads.split(',').filter(|name| !name.is_empty()).collect();
    if names.len() > WORKLOADS {
        let detail = format!("workloads names {} of them, and {WORKLOADS} is the most", names.len());
        return Err(Failure::bad_request(detail));
    }
    let steps = asked.minutes.map_or(SLOTS, |minutes| minutes.saturating_mul(60) / steps_of(1)).clamp(1, SLOTS);
    let catalogue = rest.catalogue.load();
    let mut told = Vec::with_capacity(names.len());
    for name in names {
        let id: WorkloadId =
            name.parse().map_err(|_| Failure::bad_request(format!("{name:?} is no workload: write namespace/name")))?;
        told.extend(catalogue.get(&id).map(|entry| of(&rest, entry, steps)));
    }
    Ok(Json(told))
}

/// Seconds of so many steps.
fn steps_of(steps: u32) -> u32 {
    u32::try_from(SLOT.as_secs()).unwrap_or(u32::MAX).saturating_mul(steps)
}

fn of(rest: &Rest, entry: &Entry, steps: u32) -> HistoryView {
    let points = rest.live.history(&entry.topic, steps).into_iter().map(|(unix_ms, point)| PointView {
        unix_ms,
        known: point.known(),
        in_flight: point.in_flight,
        held: point.held,
        concurrency: point.concurrency().max(0.0),
        request_rate: point.request_rate(),
    });
    HistoryView {
        workload: entry.workload.id.to_string(),
        step_seconds: SLOT.as_secs(),
        points: points.collect(),
        cold_starts: rest.board.cell(&entry.topic).cold_starts().iter().map(cold_start).collect(),
    }
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds of a cold start are far below 2^52")]
fn cold_start(seen: &ColdStart) -> ColdStartView {
    let ms = seen.ended_unix_ms.map(|ended| ended.saturating_sub(seen.began_unix_ms));
    ColdStartView { began_unix_ms: seen.began_unix_ms, seconds: ms.map(|ms| ms as f64 / 1000.0), held: seen.held }
}
