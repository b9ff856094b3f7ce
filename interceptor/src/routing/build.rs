//! Workloads' rules as an [`Arena`]: sorted so that what belongs together is written together.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;

use http::HeaderName;
use plimsoll_wire::resources::{HeaderRule, Workload};

use super::arena::{ANY, Arena, At, EXACT, MANY, NOWHERE, WILDCARD};

/// The host that matches every host.
const CATCH_ALL: &str = "*";
/// A node with more children than this has them found by their hash; so many are compared faster one after the other.
const MOST_IN_PLACE: usize = 8;

/// What a look-up reads.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) arena: Arena,
    /// The node of the host that matches every host.
    pub(super) catch_all: Option<At>,
    /// In bytes, what the longest wildcard has after its `*.`; none where there is no wildcard.
    pub(super) longest_wildcard: Option<usize>,
    /// The names that routes ask for in requests' headers.
    pub(super) names: Box<[HeaderName]>,
}

/// Orders the candidates of one host and path. A resource that does not say when it was made comes after those that do.
pub(super) type Rank<'a> = (Reverse<usize>, Reverse<usize>, (bool, Option<&'a str>), (&'a str, &'a str));

pub(super) fn rank<'a>(workload: &'a Workload, headers: &[HeaderRule]) -> Rank<'a> {
    let with_value = headers.iter().filter(|rule| rule.value.is_some()).count();
    let created = (workload.created.is_none(), workload.created.as_deref());
    (Reverse(headers.len()), Reverse(with_value), created, (&workload.id.namespace, &workload.id.name))
}

/// A host as the table has it. The order is that of the sections in the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Host<'a> {
    Exact(&'a str),
    /// By what follows `*.`.
    Wildcard(&'a str),
    CatchAll,
}

/// One host and one path of one rule.
#[derive(Debug, Clone, Copy)]
struct Entry<'a> {
    host: Host<'a>,
    /// The segments that are left; none where the path ends here.
    path: Option<&'a str>,
    rank: Rank<'a>,
    route: u32,
    headers: &'a [HeaderRule],
}

impl<'a> Entry<'a> {
    fn segment(&self) -> &'a str {
        self.path.map_or("", |path| path.split_once('/').map_or(path, |(segment, _)| segment))
    }

    /// The same below its next segment.
    fn below(self) -> Self {
        Self { path: self.path.and_then(|path| path.split_once('/')).map(|(_, rest)| rest), ..self }
    }

    fn order(&self, other: &Self) -> Ordering {
        let segments = |entry: &Self| entry.path.map(|path| path.split('/'));
        let paths = || match (segments(self), segments(other)) {
            (Some(ours), Some(theirs)) => ours.cmp(theirs),
            (ours, theirs) => ours.is_some().cmp(&theirs.is_some()),
        };
        self.host.cmp(&other.host).then_with(paths).then_with(|| self.rank.cmp(&other.rank))
    }
}

/// Writes these workloads down. The number of a route is its workload's place among them.
pub(super) fn build<'a>(workloads: impl Iterator<Item = &'a Workload>) -> Built {
    let mut writer = Writer::default();
    let mut entries = Vec::new();
    for (workload, route) in workloads.zip(0..) {
        for rule in &workload.rules {
            // A header name that HTTP does not allow is in no request.
            if !writer.learn(&rule.headers) {
                continue;
            }
            let (rank, headers) = (rank(workload, &rule.headers), &*rule.headers);
            for (host, path) in rule.hosts.iter().flat_map(|host| rule.paths.iter().map(move |path| (host, path))) {
                let host = match host.strip_prefix("*.") {
                    _ if host == CATCH_ALL => Host::CatchAll,
                    Some(suffix) => Host::Wildcard(suffix),
                    None => Host::Exact(host),
                };
                let path = Some(path.trim_matches('/')).filter(|path| !path.is_empty());
                entries.push(Entry { host, path, rank, route, headers });
            }
        }
    }
    // Stable: equal ones stay in the order of their rules.
    entries.sort_by(Entry::order);
    let suffix = |entry: &Entry<'a>| if let Host::Wildcard(suffix) = entry.host { Some(suffix.len()) } else { None };
    let longest_wildcard = entries.iter().filter_map(suffix).max();
    let mut catch_all = None;
    for of_host in entries.chunk_by(|a, b| a.host == b.host) {
        match of_host[0].host {
            Host::Exact(host) => writer.block(EXACT, host, of_host),
            Host::Wildcard(suffix) => writer.block(WILDCARD, suffix, of_host),
            Host::CatchAll => catch_all = Some(writer.node(of_host)),
        }
    }
    writer.built(catch_all, longest_wildcard)
}

#[derive(Debug, Default)]
struct Writer<'a> {
    bytes: Vec<u8>,
    blocks: Vec<At>,
    names: Vec<HeaderName>,
    /// By the name as rules have it, which is in lower case as a rule; none for a name that HTTP does not allow.
    numbers: HashMap<&'a str, Option<u32>>,
}

impl<'a> Writer<'a> {
    /// Knows these rules' names from now on; false where a request can't have one of them.
    fn learn(&mut self, headers: &'a [HeaderRule]) -> bool {
        headers.iter().all(|rule| {
            let names = &mut self.names;
            let number = self.numbers.entry(&rule.name).or_insert_with(|| {
                let name = HeaderName::from_bytes(rule.name.as_bytes()).ok()?;
                names.push(name);
                u32::try_from(names.len() - 1).ok()
            });
            number.is_some()
        })
    }

    fn here(&self) -> At {
        // More than fits would be 4 GiB of hosts and paths; what lies beyond is not found.
        At::try_from(self.bytes.len()).unwrap_or(NOWHERE)
    }

    fn number(&mut self, number: u32) {
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }

    /// Lengths and counts are of what is in memory already, and one of them alone is never 4 GiB.
    fn count(&mut self, count: usize) {
        self.number(u32::try_from(count).unwrap_or(0));
    }

    fn block(&mut self, parent: At, key: &str, entries: &[Entry<'a>]) {
        let block = self.here();
        if block < WILDCARD {
            self.blocks.push(block);
        }
        self.number(parent);
        self.count(key.len());
        self.bytes.extend_from_slice(key.as_bytes());
        self.node(entries);
    }

    /// Writes a node with all that is below it: the entries are sorted, and have the same path so far.
    fn node(&mut self, entries: &[Entry<'a>]) -> At {
        let node = self.here();
        let (candidates, below) = entries.split_at(entries.partition_point(|entry| entry.path.is_none()));
        self.count(candidates.len());
        candidates.iter().for_each(|candidate| self.candidate(candidate));
        let children: Vec<&[Entry<'a>]> = below.chunk_by(|a, b| a.segment() == b.segment()).collect();
        if children.len() > MOST_IN_PLACE {
            self.number(MANY);
            for child in children {
                self.block(node, child[0].segment(), &deeper(child));
            }
            return node;
        }
        self.count(children.len());
        let mut places = Vec::with_capacity(children.len());
        for child in &children {
            let segment = child[0].segment();
            self.count(segment.len());
            places.push(self.bytes.len());
            self.number(NOWHERE);
            self.bytes.extend_from_slice(segment.as_bytes());
        }
        for (child, place) in children.iter().zip(places) {
            let at = self.node(&deeper(child));
            self.bytes[place..place + size_of::<At>()].copy_from_slice(&at.to_le_bytes());
        }
        node
    }

    fn candidate(&mut self, candidate: &Entry<'a>) {
        self.number(candidate.route);
        self.count(candidate.headers.len());
        for rule in candidate.headers {
            let name = self.numbers.get(&*rule.name).copied().flatten();
            self.number(name.unwrap_or(NOWHERE));
            match &rule.value {
                Some(value) => {
                    self.count(value.len());
                    self.bytes.extend_from_slice(value.as_bytes());
                }
                None => self.number(ANY),
            }
        }
    }

    fn built(self, catch_all: Option<At>, longest_wildcard: Option<usize>) -> Built {
        let Self { bytes, blocks, names, .. } = self;
        Built { arena: Arena::new(bytes, &blocks), catch_all, longest_wildcard, names: names.into() }
    }
}

fn deeper<'a>(entries: &[Entry<'a>]) -> Vec<Entry<'a>> {
    entries.iter().map(|entry| entry.below()).collect()
}
