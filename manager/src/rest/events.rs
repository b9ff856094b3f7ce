//! What happens, as it happens, and what has happened of late.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::stream::{self, Stream, StreamExt as _};
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use utoipa::IntoParams;

use super::Shown;
use super::body::Asked;
use super::document::{BadQuery, Everywhere};
use super::failure::Failure;
use super::lists::{Part, is};
use crate::api::Page;
use crate::lead::decisions::{Decision, What};

/// A line that says nothing is sent this often, so that who is between does not take the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// What can be listened to. Further kinds (live values, say) get names of their own.
const SUBJECTS: [&str; 1] = ["decisions"];

/// What to listen to.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventsAsked {
    /// Subjects, separated by commas: `decisions`, which is what comes if unsaid.
    pub topics: Option<String>,
    /// Only what is about this topic.
    pub topic: Option<String>,
    /// Only what is about this collector.
    pub collector: Option<String>,
    /// Only what is of this kind: `move`, `arrived`, `collector`, `scale`, `topic`.
    pub kind: Option<String>,
    /// Without `Last-Event-ID`: so many of the last ones come first, and none between them and what comes then is left out.
    pub last: Option<usize>,
}

/// Which decisions are told.
struct Wanted {
    topic: Option<String>,
    collector: Option<String>,
    kind: Option<String>,
}

impl Wanted {
    fn has(&self, decision: &Decision) -> bool {
        is(self.kind.as_ref(), kind(&decision.what))
            && is_about(&decision.what, self.topic.as_ref(), self.collector.as_ref())
    }
}

/// Which decisions.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DecisionsAsked {
    /// Items of the page: 500 if unsaid, 10,000 at most.
    pub limit: Option<usize>,
    /// Items before the page.
    pub offset: Option<usize>,
    /// Only those about this topic.
    pub topic: Option<String>,
    /// Only those about this collector.
    pub collector: Option<String>,
    /// Only those of this kind: `move`, `arrived`, `collector`, `scale`, `topic`.
    pub kind: Option<String>,
}

/// What happens, as server-sent events: moves of topics and why, collectors' states, the size of the fleet. Each has an `id`; with
/// `Last-Event-ID` those come first that were missed, as far as they are remembered (10,000). Where that is not known here, as after
/// a restart or from another manager, an event `reset` says so, and all that is remembered follows. An event `missed` says how many were
/// dropped for a client that reads too slowly.
#[utoipa::path(get, path = "/api/v1/events", tag = "events",
    params(EventsAsked, ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the newest event that is known.")),
    responses((status = 200, description = "`event` is the kind of the decision, `data` the decision as JSON.", body = Decision, content_type = "text/event-stream"), BadQuery, Everywhere))]
pub async fn events(
    State(rest): Shown,
    headers: HeaderMap,
    Asked(asked): Asked<EventsAsked>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    for subject in asked.topics.iter().flat_map(|topics| topics.split(',')) {
        if !SUBJECTS.contains(&subject) {
            let all = SUBJECTS.join(", ");
            return Err(Failure::bad_request(format!("nothing is told about {subject:?}: topics can be {all}")));
        }
    }
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let run = rest.run.clone();
    // Without an id a listener wants what comes; one that this run has not given means everything.
    let (after, reset) = match last.map(|last| sequence_of(last, &run)) {
        None => (asked.last.map_or(u64::MAX, |_| 0), false),
        Some(Some(sequence)) => (sequence, false),
        Some(None) => (0, true),
    };
    let most = asked.last.filter(|_| last.is_none());
    let (mut known, coming) = rest.decisions.listen(after);
    let wanted = Wanted { topic: asked.topic, collector: asked.collector, kind: asked.kind };
    known.retain(|decision| wanted.has(decision));
    known.drain(..most.map_or(0, |most| known.len().saturating_sub(most)));
    let wanted = Arc::new(wanted);
    let reset = reset.then(|| Event::default().event("reset").data("{}"));
    let (of_known, of_coming) = (run.clone(), run);
    let known = stream::iter(known).map(move |decision| event(&of_known, &decision));
    let coming = stream::unfold(coming, move |mut coming| {
        let (run, wanted) = (of_coming.clone(), wanted.clone());
        async move {
            loop {
                let event = match coming.recv().await {
                    Ok(decision) if wanted.has(&decision) => event(&run, &decision),
                    Ok(_) => continue,
                    Err(RecvError::Lagged(missed)) => {
                        Event::default().event("missed").data(format!("{{\"missed\":{missed}}}"))
                    }
                    Err(RecvError::Closed) => return None,
                };
                return Some((event, coming));
            }
        }
    });
    let all = stream::iter(reset).chain(known).chain(coming).map(Ok);
    // A stream never ends by itself, and a manager that stops must not wait for its listeners.
    let all = all.take_until(rest.shutdown.clone().cancelled_owned());
    Ok(Sse::new(all).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// An id is this run of the manager and the decision's number in it.
fn event(run: &str, decision: &Arc<Decision>) -> Event {
    // A struct of strings and numbers can always be written.
    let data = serde_json::to_string(&**decision).unwrap_or_default();
    Event::default().id(format!("{run}-{}", decision.sequence)).event(kind(&decision.what)).data(data)
}

fn sequence_of(id: &str, run: &str) -> Option<u64> {
    let (of, sequence) = id.rsplit_once('-')?;
    (of == run).then(|| sequence.parse().ok()).flatten()
}

fn kind(what: &What) -> &'static str {
    match what {
        What::Move { .. } => "move",
        What::Arrived { .. } => "arrived",
        What::Collector { .. } => "collector",
        What::Scale { .. } => "scale",
        What::Topic { .. } => "topic",
    }
}

/// Whether it is about this topic, this collector.
fn is_about(what: &What, topic: Option<&String>, collector: Option<&String>) -> bool {
    let same = |a: &Option<String>, b: &String| a.as_ref() == Some(b);
    let of_topic = topic.is_none_or(|topic| match what {
        What::Move { topic: about, .. } | What::Arrived { topic: about, .. } | What::Topic { topic: about, .. } => {
            about == topic
        }
        What::Collector { .. } | What::Scale { .. } => false,
    });
    let of_collector = collector.is_none_or(|collector| match what {
        What::Move { from, to, .. } => same(from, collector) || same(to, collector),
        What::Arrived { collector: about, .. } | What::Collector { collector: about, .. } => about == collector,
        What::Scale { .. } | What::Topic { .. } => false,
    });
    of_topic && of_collector
}

/// What has happened of late, the newest first.
#[utoipa::path(get, path = "/api/v1/decisions", tag = "events", params(DecisionsAsked),
    responses((status = 200, description = "A page of them.", body = Page<Decision>), BadQuery, Everywhere))]
pub async fn decisions(State(rest): Shown, Asked(asked): Asked<DecisionsAsked>) -> Json<Page<Decision>> {
    let part = Part { limit: asked.limit, offset: asked.offset };
    let wanted = Wanted { topic: asked.topic, collector: asked.collector, kind: asked.kind };
    let last = rest.decisions.last(usize::MAX, |decision| wanted.has(decision));
    part.of(last.into_iter(), |decision| Decision::clone(&decision))
}
