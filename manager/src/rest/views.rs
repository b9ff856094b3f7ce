//! What the API shows, put together from what the manager knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use plimsoll_scheduler::directives::RegisteredTopic;
use plimsoll_scheduler::plan::Placed;
use plimsoll_scheduler::store::{Leadership, StoreHealth};
use plimsoll_wire::resources::Kind;
use plimsoll_wire::topic::WorkloadId;

use super::Rest;
use super::known::Known;
use crate::api::{AssignmentView, CollectorView, PlaceView, ReadyView, TopicState, TopicView, Windows, WorkloadView};
use crate::board::{Cell, Link, SILENCE};
use crate::catalogue::Entry;
use crate::metrics;
use crate::told::{self, ConcurrencyTerm};

/// Why a zero can't be told.
const MISSING: &str = "an interceptor is missing and it would be a zero";

/// One workload, live.
pub fn workload(rest: &Rest, entry: &Entry) -> WorkloadView {
    let workload = &entry.workload;
    let cell = rest.board.cell(&entry.topic);
    let best = cell.best();
    let missing = best.as_ref().is_ok_and(|heard| heard.answer.zero_is_unknown);
    let heard = best.as_ref().ok().cloned().or_else(|| cell.newest());
    let answer = heard.as_ref().map(|heard| &heard.answer);
    let zero_is_known = best.is_ok() && !missing;
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
        in_flight: answer.map(|answer| answer.in_flight).filter(|count| *count > 0 || zero_is_known),
        held: answer.map(|answer| answer.held).filter(|count| *count > 0 || zero_is_known),
        concurrency: answer.map(|answer| answer.concurrency).filter(|value| *value > 0.0 || zero_is_known),
        request_rate: answer.map(|answer| answer.request_rate).filter(|value| *value > 0.0 || zero_is_known),
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

/// What KEDA is told of a workload, with the terms, in a sentence.
pub fn told_in_words(workload: &WorkloadView) -> String {
    let Some(told) = &workload.told else {
        let why = workload.unknown_reason.as_deref().unwrap_or("no answer yet");
        return format!("KEDA gets an error: {why}.");
    };
    let (concurrency, rate) = (&told.concurrency, &told.request_rate);
    let because = match concurrency.because {
        ConcurrencyTerm::Mean => "the mean over its window",
        ConcurrencyTerm::Held => "the requests held for a cold start",
        ConcurrencyTerm::Burst => "a burst in the last tenth of its window",
    };
    let mut said = vec![match (told.activity.active, workload.zero_is_unknown) {
        (true, _) => "active".to_owned(),
        (false, true) => format!("an error for its activity, since {MISSING}"),
        (false, false) => "inactive".to_owned(),
    }];
    if let Some(target) = concurrency.target {
        said.push(if concurrency.value > 0.0 || !workload.zero_is_unknown {
            format!(
                "concurrency {:.2} of {target} a replica, {because} (mean {:.2}, held {}, burst {:.2})",
                concurrency.value, concurrency.mean, concurrency.held, concurrency.burst
            )
        } else {
            format!("an error for its concurrency, since {MISSING}")
        });
    }
    if let Some(target) = rate.target {
        let raised = if rate.raised_for_held { ", raised for held requests" } else { "" };
        said.push(if rate.value > 0.0 || !workload.zero_is_unknown {
            format!("{:.2} requests a second of {target} a replica{raised} (mean {:.2})", rate.value, rate.mean)
        } else {
            format!("an error for its request rate, since {MISSING}")
        });
    }
    format!("KEDA is told: {}.", said.join("; "))
}

/// One topic, and what is known about it.
pub struct About<'a> {
    topic: &'a str,
    entry: Option<&'a Arc<Entry>>,
    placed: Option<&'a Placed>,
    registered: Option<&'a RegisteredTopic>,
    pinned: Option<&'a String>,
    removing: bool,
}

impl<'a> About<'a> {
    pub fn new(known: &'a Known, topic: &'a str) -> Self {
        let directives = &known.directives.directives;
        Self {
            topic,
            entry: known.catalogue.of_topic(topic),
            placed: known.stored.plan.topics.get(topic),
            registered: directives.registered.get(topic),
            pinned: directives.pins.get(topic),
            removing: directives.removed.contains(topic),
        }
    }

    /// Whose frames it has; none for a name that was shortened and whose workload is gone.
    pub fn workload(&self) -> Option<WorkloadId> {
        let described = self.entry.map(|entry| entry.workload.id.clone());
        let registered = || self.registered.and_then(|registered| registered.workload.parse().ok());
        described.or_else(registered).or_else(|| WorkloadId::from_topic(self.topic))
    }

    pub fn provider(&self) -> Option<&'a String> {
        let described = self.entry.map(|entry| &entry.workload.provider);
        described
            .or(self.registered.map(|registered| &registered.provider))
            .or(self.placed.map(|placed| &placed.provider))
    }

    fn owner(&self) -> Option<&'a String> {
        self.placed.and_then(|placed| placed.placement.owner.as_ref())
    }

    fn incoming(&self) -> Option<&'a String> {
        self.placed.and_then(|placed| placed.placement.incoming.as_ref())
    }

    /// Whether the collector answers for it, or is about to.
    pub fn is_read_by(&self, collector: &str) -> bool {
        [self.owner(), self.incoming()].into_iter().flatten().any(|reader| reader == collector)
    }

    pub fn state(&self, rest: &Rest) -> TopicState {
        if self.removing {
            return TopicState::Removing;
        }
        let wanted = self.entry.is_some() || self.registered.is_some();
        match (wanted, self.owner(), self.incoming()) {
            (false, ..) => TopicState::Retired,
            (_, None, _) => TopicState::Unassigned,
            (_, _, Some(_)) => TopicState::Moving,
            (_, Some(owner), None) => settled(&rest.board.cell(&self.topic.into()), owner),
        }
    }

    pub fn view(&self, rest: &Rest) -> TopicView {
        TopicView {
            topic: self.topic.to_owned(),
            workload: self.workload().map(|id| id.to_string()),
            provider: self.provider().cloned(),
            collector: self.owner().cloned(),
            incoming: self.incoming().cloned(),
            pinned: self.pinned.cloned(),
            state: self.state(rest),
            registered: self.registered.is_some(),
            dedicated: self.registered.is_some_and(|registered| registered.dedicated),
            load: rest.board.cell(&self.topic.into()).load().weight(),
            reason: self.placed.map(|placed| placed.reason.clone()),
        }
    }
}

fn settled(cell: &Cell, owner: &str) -> TopicState {
    if cell.best().is_ok() {
        TopicState::Ready
    } else if cell.warm_on(owner) {
        TopicState::Unknown
    } else {
        TopicState::Warming
    }
}

/// All collectors that are registered, heard, or that something is asked of; sorted.
pub fn collectors(rest: &Rest, known: &Known) -> Vec<CollectorView> {
    let links = rest.board.links();
    let links: BTreeMap<&str, &Link> = links.iter().map(|link| (&*link.collector, &**link)).collect();
    let asked = known.directives.directives.collectors.keys().map(String::as_str);
    let ids: BTreeSet<&str> =
        links.keys().copied().chain(known.members.keys().map(String::as_str)).chain(asked).collect();
    let verdicts = rest.verdicts.load();
    let mut views: Vec<CollectorView> = ids
        .into_iter()
        .map(|id| {
            let (link, member, verdict) = (links.get(id), known.members.get(id), verdicts.get(id));
            let state = link.map(|link| link.state()).unwrap_or_default();
            CollectorView {
                address: member.map(|member| member.address.clone()),
                provider: member.map(|member| member.provider.clone()).or(state.provider),
                state: verdict
                    .map_or(if member.is_some() { "joining" } else { "lost" }, |verdict| verdict.state.name())
                    .to_owned(),
                because: verdict.map(|verdict| verdict.because.clone()),
                wish: known.directives.directives.collectors.get(id).map(|asked| (*asked).into()),
                lag_seconds: state.lag.as_secs_f64(),
                silent_seconds: link.map_or(0.0, |link| link.silent_for().as_secs_f64()),
                generation: state.generation,
                ..absent(id)
            }
        })
        .collect();
    for (topic, placed) in &known.stored.plan.topics {
        let at = |views: &[CollectorView], id: &Option<String>| {
            id.as_ref().and_then(|id| views.binary_search_by(|view| view.id.cmp(id)).ok())
        };
        if let Some(at) = at(&views, &placed.placement.owner) {
            views[at].topics += 1;
            views[at].load += rest.board.cell(&topic.as_str().into()).load().weight();
        }
        if let Some(at) = at(&views, &placed.placement.incoming) {
            views[at].incoming += 1;
        }
    }
    views
}

/// A collector of which nothing is known.
pub fn absent(id: &str) -> CollectorView {
    CollectorView {
        id: id.to_owned(),
        address: None,
        provider: None,
        state: "lost".to_owned(),
        because: None,
        wish: None,
        topics: 0,
        incoming: 0,
        load: 0.0,
        lag_seconds: 0.0,
        silent_seconds: 0.0,
        generation: 0,
    }
}

/// The whole plan.
pub fn assignment(rest: &Rest, known: &Known) -> AssignmentView {
    let topics = known.stored.plan.topics.iter().map(|(topic, placed)| {
        let place = PlaceView {
            owner: placed.placement.owner.clone(),
            incoming: placed.placement.incoming.clone(),
            reason: placed.reason.clone(),
        };
        (topic.to_string(), place)
    });
    AssignmentView { generation: known.stored.plan.generation, leader: leader(rest), topics: topics.collect() }
}

/// Who leads, where that is known.
pub fn leader(rest: &Rest) -> Option<String> {
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
    if !catalogue.is_known() {
        reasons.push("the resources have not been read yet: which workloads there are is unknown".to_owned());
    }
    let all = catalogue.entries();
    let unknown = all.iter().filter(|entry| rest.board.cell(&entry.topic).best().is_err()).count();
    if unknown > 0 {
        reasons.push(format!("{unknown} of {} workloads are unknown: GET /api/v1/workloads says why", all.len()));
    }
    // An unknown value is an honest answer, and KEDA must reach it: that does not take the manager out of its Service. But another
    // manager may know the resources already.
    ReadyView {
        ready: catalogue.is_known(),
        leading: matches!(*rest.leadership.borrow(), Leadership::Leader(_)),
        reasons,
    }
}

/// Sets the gauges that are known by looking: what every topic weighs is too much to keep count of while nobody asks.
pub fn measure(rest: &Rest) {
    let known = Known::now(rest);
    let measured = &rest.metrics;
    let mut states = BTreeMap::<TopicState, i64>::new();
    for topic in known.topics() {
        *states.entry(About::new(&known, topic).state(rest)).or_default() += 1;
    }
    for state in TopicState::ALL {
        let count = states.get(&state).copied().unwrap_or(0);
        measured.topics.get_or_create(&metrics::state(state)).set(count);
    }
    measured.load.clear();
    measured.lag.clear();
    let (mut most, mut sum, mut ready) = (0.0_f64, 0.0_f64, 0_u32);
    for one in collectors(rest, &known) {
        measured.load.get_or_create(&metrics::collector(&one.id)).set(one.load);
        measured.lag.get_or_create(&metrics::collector(&one.id)).set(one.lag_seconds);
        if one.state == "ready" {
            most = most.max(one.load);
            sum += one.load;
            ready += 1;
        }
    }
    let mean = sum / f64::from(ready.max(1));
    measured.imbalance.set(if mean > 0.0 { most / mean } else { 1.0 });
}
