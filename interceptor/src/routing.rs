//! Which workload a request belongs to.
//!
//! The host decides first: exact, then the wildcard with the most labels, then the catch-all. Inside a host the longest
//! path wins, among equals the one with the most header rules, then with the most header rules that ask for a value, then
//! the oldest resource, then the first by namespace and name. Where nothing at one stage matches, the next one is tried.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;

use http::{HeaderMap, HeaderName};
use plimsoll_wire::resources::{HeaderRule, Workload};

/// The host that matches every host.
const CATCH_ALL: &str = "*";

/// An index of routes: a look-up costs one step for each label of the host and each segment of the path.
#[derive(Debug)]
pub struct Index<R> {
    exact: HashMap<Box<str>, Node<R>>,
    /// By what follows `*.`.
    wildcard: HashMap<Box<str>, Node<R>>,
    catch_all: Node<R>,
}

/// One segment of a path; the root is `/`.
#[derive(Debug)]
struct Node<R> {
    /// In the order in which they are tried.
    candidates: Vec<Candidate<R>>,
    children: HashMap<Box<str>, Node<R>>,
}

#[derive(Debug)]
struct Candidate<R> {
    headers: Vec<Demand>,
    rank: Rank,
    route: R,
}

/// A header that a request must have, and its value where that matters.
type Demand = (HeaderName, Option<Box<[u8]>>);

/// Orders the candidates of one host and path. A resource that does not say when it was made comes after those that do.
type Rank = (Reverse<usize>, Reverse<usize>, (bool, Option<String>), (String, String));

impl<R: Clone> Index<R> {
    /// An index of these workloads; the value beside each is what [`Index::find`] gives for it.
    pub fn new<'a>(workloads: impl IntoIterator<Item = (&'a Workload, R)>) -> Self {
        let mut index = Self { exact: HashMap::new(), wildcard: HashMap::new(), catch_all: Node::default() };
        for (workload, route) in workloads {
            for rule in &workload.rules {
                // A header name that HTTP does not allow is in no request.
                let Some(headers) = compile(&rule.headers) else { continue };
                let rank = rank(workload, &rule.headers);
                for (host, path) in rule.hosts.iter().flat_map(|host| rule.paths.iter().map(move |path| (host, path))) {
                    let root = index.root_mut(host);
                    root.insert(path, Candidate { headers: headers.clone(), rank: rank.clone(), route: route.clone() });
                }
            }
        }
        index.exact.values_mut().chain(index.wildcard.values_mut()).for_each(Node::sort);
        index.catch_all.sort();
        index
    }

    fn root_mut(&mut self, host: &str) -> &mut Node<R> {
        if host == CATCH_ALL {
            return &mut self.catch_all;
        }
        match host.strip_prefix("*.") {
            Some(suffix) => self.wildcard.entry(suffix.into()).or_default(),
            None => self.exact.entry(host.into()).or_default(),
        }
    }

    /// The route of a request to this host (see [`host`]) and path (without the query).
    pub fn find(&self, host: &str, path: &str, headers: &HeaderMap) -> Option<&R> {
        let path = path.trim_matches('/');
        if let Some(found) = self.exact.get(host).and_then(|node| node.find(path, headers)) {
            return Some(found);
        }
        if !self.wildcard.is_empty() {
            let mut rest = host;
            while let Some((_, suffix)) = rest.split_once('.') {
                if let Some(found) = self.wildcard.get(suffix).and_then(|node| node.find(path, headers)) {
                    return Some(found);
                }
                rest = suffix;
            }
        }
        self.catch_all.find(path, headers)
    }
}

impl<R> Default for Node<R> {
    fn default() -> Self {
        Self { candidates: Vec::new(), children: HashMap::new() }
    }
}

impl<R> Node<R> {
    fn insert(&mut self, path: &str, candidate: Candidate<R>) {
        let path = path.trim_matches('/');
        let segments = path.split('/').filter(|_| !path.is_empty());
        let node = segments.fold(self, |node, segment| node.children.entry(segment.into()).or_default());
        node.candidates.push(candidate);
    }

    fn sort(&mut self) {
        self.candidates.sort_by(|a, b| a.rank.cmp(&b.rank));
        self.children.values_mut().for_each(Self::sort);
    }

    /// The recursion is as deep as the longest prefix of the table, whatever the request.
    fn find(&self, path: &str, headers: &HeaderMap) -> Option<&R> {
        if !path.is_empty() && !self.children.is_empty() {
            let (segment, rest) = path.split_once('/').unwrap_or((path, ""));
            if let Some(found) = self.children.get(segment).and_then(|child| child.find(rest, headers)) {
                return Some(found);
            }
        }
        self.candidates.iter().find(|candidate| candidate.matches(headers)).map(|candidate| &candidate.route)
    }
}

impl<R> Candidate<R> {
    fn matches(&self, headers: &HeaderMap) -> bool {
        self.headers.iter().all(|(name, value)| match value {
            Some(value) => headers.get_all(name).iter().any(|given| given.as_bytes() == &**value),
            None => headers.contains_key(name),
        })
    }
}

fn compile(rules: &[HeaderRule]) -> Option<Vec<Demand>> {
    rules
        .iter()
        .map(|rule| {
            let name = HeaderName::from_bytes(rule.name.as_bytes()).ok()?;
            Some((name, rule.value.as_ref().map(|value| value.as_bytes().into())))
        })
        .collect()
}

fn rank(workload: &Workload, headers: &[HeaderRule]) -> Rank {
    let with_value = headers.iter().filter(|rule| rule.value.is_some()).count();
    let created = (workload.created.is_none(), workload.created.clone());
    (Reverse(headers.len()), Reverse(with_value), created, (workload.id.namespace.clone(), workload.id.name.clone()))
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
