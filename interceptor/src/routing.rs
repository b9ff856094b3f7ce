//! Which workload a request belongs to.
//!
//! The host decides first: exact, then the wildcard with the most labels, then the catch-all. Inside a host the longest
//! path wins, among equals the one with the most header rules, then with the most header rules that ask for a value, then
//! the oldest resource, then the first by namespace and name. Where nothing at one stage matches, the next one is tried.

mod arena;
mod build;

use std::borrow::Cow;

use arena::{ANY, Arena, At, Cursor, EXACT, MANY, WILDCARD};
use http::{HeaderMap, HeaderName};
use plimsoll_wire::resources::Workload;

/// An index of routes: a look-up costs one step for each label of the host and each segment of the path.
///
/// It is a few large pieces of memory, however many routes there are, so it is quickly freed too.
#[derive(Debug)]
pub struct Index<R> {
    arena: Arena,
    /// The node of the host that matches every host.
    catch_all: Option<At>,
    /// In bytes, what the longest wildcard has after its `*.`; none where there is no wildcard.
    longest_wildcard: Option<usize>,
    /// The names that routes ask for in requests' headers.
    names: Box<[HeaderName]>,
    routes: Box<[R]>,
}

impl<R> Index<R> {
    /// An index of these workloads; the value beside each is what [`Index::find`] gives for it.
    pub fn new<'a>(workloads: impl IntoIterator<Item = (&'a Workload, R)>) -> Self {
        let (workloads, routes): (Vec<&Workload>, Vec<R>) = workloads.into_iter().unzip();
        let build::Built { arena, catch_all, longest_wildcard, names } = build::build(workloads.into_iter());
        Self { arena, catch_all, longest_wildcard, names, routes: routes.into() }
    }

    /// The route of a request to this host (see [`host`]) and path (without the query).
    pub fn find(&self, host: &str, path: &str, headers: &HeaderMap) -> Option<&R> {
        let path = path.trim_matches('/');
        let of_key = |parent, key| self.arena.find(parent, key).and_then(|node| self.below(node, path, headers));
        if let Some(found) = of_key(EXACT, host) {
            return Some(found);
        }
        if let Some(longest) = self.longest_wildcard {
            let mut rest = host;
            while let Some((_, suffix)) = rest.split_once('.') {
                // A client may send as many labels as a head has room for, and each look-up reads all that is left of them.
                if suffix.len() <= longest
                    && let Some(found) = of_key(WILDCARD, suffix)
                {
                    return Some(found);
                }
                rest = suffix;
            }
        }
        self.catch_all.and_then(|node| self.below(self.arena.at(node), path, headers))
    }

    /// All routes of a node and of those below it that this path leads to, the longest first. The recursion is as deep as the longest
    /// prefix of the table, whatever the request.
    fn below(&self, node: Cursor<'_>, path: &str, headers: &HeaderMap) -> Option<&R> {
        let mut children = node;
        let candidates = children.number();
        if path.is_empty() {
            return self.candidate(node, headers);
        }
        for _ in 0..candidates {
            skip_candidate(&mut children);
        }
        let (segment, rest) = path.split_once('/').unwrap_or((path, ""));
        let child = match children.number() {
            MANY => self.arena.find(node.place(), segment),
            count => (0..count).find_map(|_| {
                let (length, at) = (children.number(), children.number());
                (children.take(length) == segment.as_bytes()).then(|| self.arena.at(at))
            }),
        };
        child.and_then(|child| self.below(child, rest, headers)).or_else(|| self.candidate(node, headers))
    }

    /// The first route of this node whose demands a request meets.
    fn candidate(&self, mut node: Cursor<'_>, headers: &HeaderMap) -> Option<&R> {
        for _ in 0..node.number() {
            let (route, demands) = (node.number(), node.number());
            let mut met = true;
            for _ in 0..demands {
                let (name, value) = demand(&mut node);
                met = met && self.names.get(name as usize).is_some_and(|name| has(headers, name, value));
            }
            if met {
                return self.routes.get(route as usize);
            }
        }
        None
    }
}

fn skip_candidate(cursor: &mut Cursor<'_>) {
    let _route = cursor.number();
    for _ in 0..cursor.number() {
        demand(cursor);
    }
}

/// The number of a header's name, and its value where that matters.
fn demand<'a>(cursor: &mut Cursor<'a>) -> (u32, Option<&'a [u8]>) {
    let (name, length) = (cursor.number(), cursor.number());
    (name, (length != ANY).then(|| cursor.take(length)))
}

fn has(headers: &HeaderMap, name: &HeaderName, value: Option<&[u8]>) -> bool {
    match value {
        Some(value) => headers.get_all(name).iter().any(|given| given.as_bytes() == value),
        None => headers.contains_key(name),
    }
}

/// The host of an authority as the index has it: without port and final dot, in lower case.
#[must_use]
pub fn host(authority: &str) -> Cow<'_, str> {
    let host = match authority.rfind(':') {
        // The colons inside an IPv6 address in brackets begin no port.
        Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
        _ => authority,
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

#[cfg(test)]
mod tests;
