//! Why a topic is where it is, and what KEDA is told of its workload.

use axum::Json;
use axum::extract::{Path, State};

use super::document::{Everywhere, NoSuch};
use super::failure::Failure;
use super::known::Known;
use super::reads::no_topic;
use super::views::{self, About};
use super::{Rest, Shown};
use crate::api::{CollectorView, ExplainView, TopicState, TopicView, WorkloadView};
use crate::lead::decisions::Decision;

/// Decisions about one topic that are told.
const DECISIONS: usize = 20;

/// Why a topic is on its collector, what was decided about it, and what KEDA is told, term by term.
#[utoipa::path(get, path = "/api/v1/topics/{topic}/explain", tag = "topics",
    params(("topic" = String, Path, description = "Its name.")),
    responses((status = 200, description = "The explanation.", body = ExplainView), NoSuch, Everywhere))]
pub async fn explain(State(rest): Shown, Path(topic): Path<String>) -> Result<Json<ExplainView>, Failure> {
    let known = Known::now(&rest);
    if !known.has_topic(&topic) {
        return Err(no_topic(&topic));
    }
    let view = About::new(&known, &topic).view(&rest);
    let workload = known.catalogue.of_topic(&topic).map(|entry| views::workload(&rest, entry));
    let all = views::collectors(&rest, &known);
    let collector = view.collector.as_ref().and_then(|id| all.into_iter().find(|one| one.id == *id));
    let decisions: Vec<Decision> =
        rest.decisions.of_topic(&topic, DECISIONS).iter().map(|decision| Decision::clone(decision)).collect();
    let because = sentences(&rest, &view, workload.as_ref(), collector.as_ref());
    Ok(Json(ExplainView { topic: view, because, workload, collector, decisions }))
}

/// The whole story, one thing a sentence.
fn sentences(
    rest: &Rest,
    topic: &TopicView,
    workload: Option<&WorkloadView>,
    collector: Option<&CollectorView>,
) -> Vec<String> {
    let mut said = vec![placed(topic)];
    if let Some(pinned) = &topic.pinned {
        said.push(if topic.collector.as_ref() == Some(pinned) {
            format!("An operator has pinned it to {pinned}.")
        } else {
            format!("An operator has pinned it to {pinned}, where it is not now.")
        });
    }
    if topic.registered {
        said.push("It was registered by hand.".to_owned());
    }
    if topic.state == TopicState::Retired {
        said.push("Its workload is gone: it is deleted when its grace period has passed.".to_owned());
    }
    if let Some(collector) = collector {
        let (id, because) = (&collector.id, collector.because.as_deref().unwrap_or("nothing is known of it"));
        said.push(format!("Collector {id} is {}: {because}.", collector.state));
    }
    if let Some(workload) = workload {
        said.push(views::told_in_words(workload));
    }
    if views::leader(rest).is_none() {
        said.push("No manager leads, so nothing moves.".to_owned());
    }
    said
}

fn placed(topic: &TopicView) -> String {
    let why = topic.reason.as_deref().unwrap_or("nothing was said");
    match (&topic.collector, &topic.incoming) {
        (None, _) => "No collector reads it: none is ready for it.".to_owned(),
        (Some(owner), None) => format!("Collector {owner} answers for it: {why}."),
        (Some(owner), Some(incoming)) => {
            format!("Collector {owner} answers for it until {incoming} has read its window: {why}.")
        }
    }
}
