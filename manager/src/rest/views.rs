//! What the API shows, put together from what the manager knows.

use plimsoll_scheduler::store::{Leadership, StoreHealth};
use plimsoll_wire::resources::Kind;
use plimsoll_wire::topic::WorkloadId;

use super::Rest;
use crate::api::{AssignmentView, CollectorView, PlaceView, ReadyView, TopicView, Windows, WorkloadView};
use crate::board::{Cell, Link, SILENCE};
use crate::catalogue::Entry;
use crate::told;

/// One workload, live.
pub fn workload(rest: &Rest, entry: &Entry) -> WorkloadView {
    let workload = &entry.workload;
    let cell = rest.board.cell(&entry.topic);
    let best = cell.best();
    let missing = best.as_ref().is_ok_and(|heard| heard.answer.zero_is_unknown);
    let heard = best.as_ref().ok().cloned().or_else(|| cell.newest());
    let answer = heard.as_ref().map(|heard| &heard.answer);
    WorkloadView {
        namespace: workload.id.namespace.clone(),
        name: workload.id.name.clone(),
        kind: match workload.kind {
            Kind::InterceptorRoute => "InterceptorRoute".to_owned(),
            Kind::HttpScaledObject => "HTTPScaledObject".to_owned(),
        },
        topic: entry.topic.to_string(),
        provider: workload.provider.clone(),
        known: best.is_ok(),
        unknown_reason: best.as_ref().err().map(ToString::to_string),
        collector: heard.as_ref().map(|heard| heard.link.collector.to_string()),
        in_flight: answer.map(|answer| answer.in_flight),
        held: answer.map(|answer| answer.held),
        concurrency: answer.map(|answer| answer.concurrency),
        request_rate: answer.map(|answer| answer.request_rate),
        window_seconds: Windows {
            concurrency: workload.scaling.concurrency_window.as_secs_f64(),
            request_rate: workload.scaling.rate_window.as_secs_f64(),
        },
        admitted_total: answer.map(|answer| answer.admitted_total),
        interceptors: answer.map(|answer| answer.interceptors),
        last_arrival_unix_ms: answer.map(|answer| answer.last_arrival_unix_ms).filter(|ms| *ms > 0),
        evidence_unix_ms: answer.map(|answer| answer.evidence_unix_ms).filter(|ms| *ms > 0),
        zero_is_unknown: missing,
        told: best.ok().map(|heard| {
            let mut told = told::tell(&heard.answer, &workload.scaling, rest.activity_window, heard.at.elapsed());
            told.activity.active |= cell.is_active();
            told
        }),
    }
}

/// All topics that a workload has or the plan knows, sorted.
pub fn topic_names(rest: &Rest) -> Vec<String> {
    let catalogue = rest.catalogue.load();
    let stored = rest.plan.borrow().clone();
    let mut names: Vec<String> = catalogue.entries().iter().map(|entry| entry.topic.to_string()).collect();
    names.extend(stored.plan.topics.keys().map(ToString::to_string));
    names.sort_unstable();
    names.dedup();
    names
}

/// One topic.
pub fn topic(rest: &Rest, topic: &str) -> TopicView {
    let catalogue = rest.catalogue.load();
    let entry = catalogue.of_topic(topic);
    let stored = rest.plan.borrow().clone();
    let placed = stored.plan.topics.get(topic);
    let owner = placed.and_then(|placed| placed.placement.owner.clone());
    let incoming = placed.and_then(|placed| placed.placement.incoming.clone());
    let cell = rest.board.cell(&topic.into());
    let state = match (entry, &owner, &incoming) {
        (None, ..) => "retired",
        (_, None, _) => "unassigned",
        (_, _, Some(_)) => "moving",
        (_, Some(owner), None) => settled(&cell, owner),
    };
    let id = entry.map(|entry| entry.workload.id.clone()).or_else(|| WorkloadId::from_topic(topic));
    TopicView {
        topic: topic.to_owned(),
        workload: id.map(|id| id.to_string()),
        provider: entry.map(|entry| entry.workload.provider.clone()),
        collector: owner,
        incoming,
        state: state.to_owned(),
        load: cell.frames_per_second(),
        reason: placed.map(|placed| placed.reason.clone()),
    }
}

fn settled(cell: &Cell, owner: &str) -> &'static str {
    if cell.best().is_ok() {
        "ready"
    } else if cell.warm_on(owner) {
        "unknown"
    } else {
        "warming"
    }
}

/// All collectors, registered or heard, sorted.
pub fn collectors(rest: &Rest) -> Vec<CollectorView> {
    let members = rest.members.borrow().clone();
    let stored = rest.plan.borrow().clone();
    let mut views: Vec<CollectorView> = rest
        .board
        .links()
        .iter()
        .map(|link| {
            let member = members.get(&*link.collector);
            let state = link.state();
            CollectorView {
                id: link.collector.to_string(),
                address: member.map(|member| member.address.clone()),
                provider: member.map(|member| member.provider.clone()),
                state: state_of(link, member.is_some()).to_owned(),
                topics: 0,
                incoming: 0,
                load: 0.0,
                lag_seconds: state.lag.as_secs_f64(),
                silent_seconds: link.silent_for().as_secs_f64(),
                generation: state.generation,
            }
        })
        .collect();
    for (topic, placed) in &stored.plan.topics {
        let at = |views: &[CollectorView], id: &Option<String>| {
            id.as_ref().and_then(|id| views.binary_search_by(|view| view.id.cmp(id)).ok())
        };
        if let Some(at) = at(&views, &placed.placement.owner) {
            views[at].topics += 1;
            views[at].load += rest.board.cell(&topic.as_str().into()).frames_per_second();
        }
        if let Some(at) = at(&views, &placed.placement.incoming) {
            views[at].incoming += 1;
        }
    }
    views
}

fn state_of(link: &Link, registered: bool) -> &'static str {
    let silent = link.silent_for() > SILENCE;
    match (link.ever_heard(), silent, registered) {
        (true, false, _) => "ready",
        (false, _, true) => "joining",
        (_, true, true) => "silent",
        _ => "lost",
    }
}

/// The whole plan.
pub fn assignment(rest: &Rest) -> AssignmentView {
    let stored = rest.plan.borrow().clone();
    let topics = stored.plan.topics.iter().map(|(topic, placed)| {
        let place = PlaceView {
            owner: placed.placement.owner.clone(),
            incoming: placed.placement.incoming.clone(),
            reason: placed.reason.clone(),
        };
        (topic.to_string(), place)
    });
    AssignmentView { generation: stored.plan.generation, leader: leader(rest), topics: topics.collect() }
}

fn leader(rest: &Rest) -> Option<String> {
    match &*rest.leadership.borrow() {
        Leadership::Leader(term) => Some(term.leader.clone()),
        Leadership::Follower { leader } => leader.clone(),
    }
}

/// Readiness, with everything that is amiss.
pub fn ready(rest: &Rest) -> ReadyView {
    let mut reasons = Vec::new();
    if let StoreHealth::Away { reason, .. } = &*rest.health.borrow() {
        reasons.push(format!("the store is away: {reason}; the plan in force stays"));
    }
    if leader(rest).is_none() {
        reasons.push("no manager leads: nothing is planned".to_owned());
    }
    if !rest.board.links().iter().any(|link| link.ever_heard() && link.silent_for() <= SILENCE) {
        reasons.push("no collector answers".to_owned());
    }
    let catalogue = rest.catalogue.load();
    let all = catalogue.entries();
    let unknown = all.iter().filter(|entry| rest.board.cell(&entry.topic).best().is_err()).count();
    if unknown > 0 {
        reasons.push(format!("{unknown} of {} workloads are unknown: GET /api/v1/workloads says why", all.len()));
    }
    // Unknown is an honest answer, and KEDA must reach it: nothing here takes the manager out of its Service.
    ReadyView { ready: true, leading: matches!(*rest.leadership.borrow(), Leadership::Leader(_)), reasons }
}
