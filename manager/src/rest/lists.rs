//! Lists: which part of them, and which of their items.

use axum::Json;
use serde::Deserialize;
use utoipa::IntoParams;

use super::failure::Failure;
use crate::api::{Page, TopicState};
use crate::lead::health::State;

/// Items of a page, unless the caller asks for fewer or more.
const PAGE: usize = 500;
const PAGE_MAX: usize = 10_000;

/// Which part of a list.
#[derive(Debug, Clone, Copy, Default)]
pub struct Part {
    pub limit: Option<usize>,
    pub offset: Option<usize>,
}

impl Part {
    /// This part of a list. The whole list is gone through, since its length is told; only this part is looked at closely.
    pub fn of<T, V>(self, all: impl Iterator<Item = T>, view: impl Fn(T) -> V) -> Json<Page<V>> {
        let offset = self.offset.unwrap_or(0);
        let end = offset.saturating_add(self.limit.unwrap_or(PAGE).min(PAGE_MAX));
        let (mut items, mut total) = (Vec::new(), 0);
        for item in all {
            if (offset..end).contains(&total) {
                items.push(view(item));
            }
            total += 1;
        }
        Json(Page { items, total, offset })
    }
}

/// Which workloads.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WorkloadsAsked {
    /// Items of the page: 500 if unsaid, 10,000 at most.
    pub limit: Option<usize>,
    /// Items before the page.
    pub offset: Option<usize>,
    /// Only those of this namespace.
    pub namespace: Option<String>,
    /// Only those of this provider.
    pub provider: Option<String>,
    /// Only those whose values are known now, or are not.
    pub known: Option<bool>,
    /// Only those with this in their name, written `namespace/name`.
    pub q: Option<String>,
}

/// Which topics.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TopicsAsked {
    /// Items of the page: 500 if unsaid, 10,000 at most.
    pub limit: Option<usize>,
    /// Items before the page.
    pub offset: Option<usize>,
    /// Only those of this provider.
    pub provider: Option<String>,
    /// Only those that this collector answers for, or that are moving to it.
    pub collector: Option<String>,
    /// Only those in this state.
    #[param(value_type = Option<TopicState>, inline)]
    pub state: Option<String>,
    /// Only those with this in their name or their workload's.
    pub q: Option<String>,
}

impl TopicsAsked {
    /// Whether nothing narrows the list.
    pub fn takes_all(&self) -> bool {
        let Self { provider, collector, state, q, limit: _, offset: _ } = self;
        [provider, collector, state, q].into_iter().all(Option::is_none)
    }
}

/// Which collectors.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CollectorsAsked {
    /// Items of the page: 500 if unsaid, 10,000 at most.
    pub limit: Option<usize>,
    /// Items before the page.
    pub offset: Option<usize>,
    /// Only those of this provider.
    pub provider: Option<String>,
    /// Only those in this state.
    pub state: Option<String>,
    /// Only those with this in their name.
    pub q: Option<String>,
}

/// A topic's state by its name.
pub fn topic_state(text: &str) -> Result<TopicState, Failure> {
    by_name("topic", &TopicState::ALL, ToString::to_string, text)
}

/// A collector's state by its name.
pub fn collector_state(text: &str) -> Result<State, Failure> {
    by_name("collector", &State::ALL, |state| state.name().to_owned(), text)
}

fn by_name<S: Copy>(of: &str, all: &[S], name: impl Fn(&S) -> String, text: &str) -> Result<S, Failure> {
    all.iter().copied().find(|state| name(state) == text).ok_or_else(|| {
        let all: Vec<String> = all.iter().map(name).collect();
        Failure::bad_request(format!("no {of} is ever in the state {text:?}: there are {}", all.join(", ")))
    })
}

/// Whether nothing is asked for, or this.
pub fn is(asked: Option<&String>, value: &str) -> bool {
    asked.is_none_or(|asked| asked == value)
}

/// Whether nothing is looked for, or it is in there.
pub fn has(looked_for: Option<&String>, text: &str) -> bool {
    looked_for.is_none_or(|part| text.contains(part.as_str()))
}
