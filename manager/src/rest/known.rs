//! All that one answer is made of, as of one moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use plimsoll_scheduler::store::{Member, Stored, StoredDirectives};

use super::Rest;
use crate::catalogue::Catalogue;

/// What this manager knows; taking it copies nothing.
pub struct Known {
    pub catalogue: Arc<Catalogue>,
    pub stored: Arc<Stored>,
    pub members: Arc<BTreeMap<String, Member>>,
    pub directives: Arc<StoredDirectives>,
}

impl Known {
    /// As of now.
    pub fn now(rest: &Rest) -> Self {
        Self {
            catalogue: rest.catalogue.load_full(),
            stored: rest.plan.borrow().clone(),
            members: rest.members.borrow().clone(),
            directives: rest.directives.borrow().clone(),
        }
    }

    /// Whether a workload has the topic, or the plan, or it was registered.
    pub fn has_topic(&self, topic: &str) -> bool {
        self.catalogue.of_topic(topic).is_some()
            || self.stored.plan.topics.contains_key(topic)
            || self.directives.directives.registered.contains_key(topic)
    }

    /// Whether the collector is registered, has been heard, or something is asked of it.
    pub fn has_collector(&self, rest: &Rest, id: &str) -> bool {
        self.members.contains_key(id)
            || self.directives.directives.collectors.contains_key(id)
            || rest.board.links().iter().any(|link| &*link.collector == id)
    }

    /// All topics, sorted, each once. Nothing is sorted or copied for it: a page of a hundred thousand is a walk along lists that are
    /// in order already.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        let workloads = self.catalogue.topics().iter().map(|topic| &**topic);
        let planned = self.stored.plan.topics.keys().map(String::as_str);
        let registered = self.directives.directives.registered.keys().map(String::as_str);
        merged(merged(workloads, planned), registered)
    }
}

/// Two sorted lists as one, each item once.
pub fn merged<'a>(
    one: impl Iterator<Item = &'a str>,
    other: impl Iterator<Item = &'a str>,
) -> impl Iterator<Item = &'a str> {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    std::iter::from_fn(move || {
        let next = match (one.peek(), other.peek()) {
            (Some(a), Some(b)) => *a.min(b),
            (Some(next), None) | (None, Some(next)) => *next,
            (None, None) => return None,
        };
        let _ = one.next_if(|item| *item == next);
        let _ = other.next_if(|item| *item == next);
        Some(next)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lists_in_order_are_one_in_order_and_nothing_comes_twice() {
        let all = |one: &[&'static str], other: &[&'static str]| {
            merged(one.iter().copied(), other.iter().copied()).collect::<Vec<_>>().join("")
        };
        assert_eq!(all(&["a", "c", "d"], &["b", "c", "e"]), "abcde");
        assert_eq!(all(&[], &["a"]), "a");
        assert_eq!(all(&["a"], &[]), "a");
        assert_eq!(all(&["a", "b"], &["a", "b"]), "ab");
        assert_eq!(all(&[], &[]), "");
    }
}
