//! Rules of several resources that meet. Pure.

use std::collections::BTreeMap;

use plimsoll_wire::resources::Workload;

use super::judge::id;
use super::report::{Finding, Level};
use super::resource::Read;

/// Names, and values where one is asked for.
type Headers<'a> = [(&'a str, Option<&'a str>)];

/// A rule at one host and one path, and whose it is.
struct Place<'a> {
    one: &'a Read<'a>,
    path: String,
    headers: Vec<(&'a str, Option<&'a str>)>,
}

/// What is otherwise where rules meet.
pub fn findings(all: &[Read<'_>]) -> Vec<Finding> {
    let mut hosts: BTreeMap<String, Vec<Place<'_>>> = BTreeMap::new();
    for one in all {
        let Ok(good) = &one.good else { continue };
        for (host, place) in places(one, &good.workload) {
            hosts.entry(host).or_default().push(place);
        }
    }
    hosts.iter().flat_map(|(host, places)| fallbacks(host, places).into_iter().chain(quarrels(host, places))).collect()
}

fn places<'a>(one: &'a Read<'a>, workload: &'a Workload) -> Vec<(String, Place<'a>)> {
    let mut all = Vec::new();
    for rule in &workload.rules {
        let mut headers: Vec<_> =
            rule.headers.iter().map(|header| (header.name.as_str(), header.value.as_deref())).collect();
        headers.sort_unstable();
        // A rule without a path has all.
        let mut paths: Vec<&str> = rule.paths.iter().map(String::as_str).collect();
        if paths.is_empty() {
            paths.push("/");
        }
        for host in &rule.hosts {
            all.extend(paths.iter().map(|path| {
                let path = path.trim_matches('/').to_owned();
                (host.clone(), Place { one, path, headers: headers.clone() })
            }));
        }
    }
    all
}

/// Rules with headers, over a shorter path that takes the requests which lack them: with the add-on those are lost.
fn fallbacks(host: &str, places: &[Place<'_>]) -> Vec<Finding> {
    let mut all = Vec::new();
    for place in places.iter().filter(|place| !place.headers.is_empty()) {
        // Without headers at the same path there is nobody to miss.
        if places.iter().any(|other| other.path == place.path && other.headers.is_empty()) {
            continue;
        }
        let shorter = places.iter().filter(|other| is_inside(&place.path, &other.path));
        if let Some(other) = shorter.max_by_key(|other| other.path.len()) {
            let add_on = format!("a request to {host}/{} without its headers is answered 404", place.path);
            let (namespace, name) = id(other.one.object);
            let plimsoll = format!("it goes on to {host}/{}, which is {namespace}/{name}'s", other.path);
            let remedy = "where they must not get there, have a rule without headers at this path";
            all.push(place.one.finding(Level::Change, "headers", add_on, plimsoll, remedy));
        }
    }
    all
}

/// Whether a path is another one's, some segments longer.
fn is_inside(path: &str, other: &str) -> bool {
    path != other && (other.is_empty() || path.strip_prefix(other).is_some_and(|rest| rest.starts_with('/')))
}

/// The same rule in two resources. The oldest wins here as there; but where only the case of the host tells them apart there was no
/// quarrel before.
fn quarrels(host: &str, places: &[Place<'_>]) -> Vec<Finding> {
    let mut same: BTreeMap<(&str, &Headers<'_>), Vec<&Read<'_>>> = BTreeMap::new();
    for place in places {
        let claimants = same.entry((place.path.as_str(), place.headers.as_slice())).or_default();
        if !claimants.iter().any(|one| std::ptr::eq(*one, place.one) || id(one.object) == id(place.one.object)) {
            claimants.push(place.one);
        }
    }
    let mut all = Vec::new();
    for ((path, _), mut claimants) in same.into_iter().filter(|(_, claimants)| claimants.len() > 1) {
        claimants.sort_by_key(|one| (created(one).is_none(), created(one), id(one.object)));
        let (winner, losers) = (claimants[0], &claimants[1..]);
        let (namespace, name) = id(winner.object);
        for loser in losers {
            let plimsoll =
                format!("{host}/{path} is {namespace}/{name}'s, the oldest; its Ready condition says RuleConflict");
            let apart = spelled(winner, host) != spelled(loser, host);
            all.push(if apart {
                let add_on = "hosts that differ in case are two";
                loser.finding(Level::Hand, "hosts", add_on, plimsoll, "give each a host of its own, or delete one")
            } else {
                loser.finding(Level::Note, "hosts", format!("{host}/{path} is the oldest's, too"), plimsoll, "")
            });
        }
    }
    all
}

fn created(one: &Read<'_>) -> Option<jiff::Timestamp> {
    one.object.metadata.creation_timestamp.as_ref().and_then(|time| time.0.to_string().parse().ok())
}

/// How a resource writes a host.
fn spelled<'a>(one: &Read<'a>, host: &str) -> Option<&'a str> {
    one.hosts().into_iter().map(|(_, written)| written).find(|written| written.eq_ignore_ascii_case(host))
}
