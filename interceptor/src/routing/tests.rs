#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::cmp::Reverse;

use http::HeaderValue;
use plimsoll_wire::resources::{Backend, HeaderRule, Port, Rule};
use plimsoll_wire::topic::WorkloadId;
use proptest::prelude::*;

use super::build::rank;
use super::*;

fn workload(name: &str, rules: Vec<Rule>, created: Option<&str>) -> Workload {
    let target = Backend { service: "127.0.0.1".to_owned(), port: Port::Number(80) };
    Workload { rules, created: created.map(str::to_owned), ..Workload::new(WorkloadId::new("default", name), target) }
}

fn rule(hosts: &[&str], paths: &[&str], headers: &[(&str, Option<&str>)]) -> Rule {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let header =
        |(name, value): &(&str, Option<&str>)| HeaderRule { name: (*name).to_owned(), value: value.map(str::to_owned) };
    Rule { hosts: owned(hosts), paths: owned(paths), headers: headers.iter().map(header).collect() }
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
    };
    pairs.iter().map(pair).collect()
}

fn found(workloads: &[Workload], host: &str, path: &str, given: &[(&str, &str)]) -> Option<String> {
    let index = Index::new(workloads.iter().map(|workload| (workload, workload.id.name.clone())));
    index.find(&super::host(host), path, &headers(given)).cloned()
}

#[test]
fn the_more_exact_host_wins() {
    let all = [
        workload("any", vec![rule(&["*"], &["/"], &[])], None),
        workload("wide", vec![rule(&["*.example.com"], &["/"], &[])], None),
        workload("narrow", vec![rule(&["*.b.example.com"], &["/"], &[])], None),
        workload("exact", vec![rule(&["a.b.example.com"], &["/"], &[])], None),
    ];
    for (host, expected) in [
        ("a.b.example.com", "exact"),
        ("A.B.Example.COM:8080", "exact"),
        ("a.b.example.com.", "exact"),
        ("c.b.example.com", "narrow"),
        ("b.example.com", "wide"),
        ("x.y.example.com", "wide"),
        ("example.com", "any"),
        ("[::1]:8080", "any"),
        ("", "any"),
    ] {
        assert_eq!(found(&all, host, "/", &[]).as_deref(), Some(expected), "{host}");
    }
}

/// A head has room for 64 KiB of them. Looking up what is left after each of them would read 2 GiB.
#[test]
fn a_host_of_very_many_labels_takes_no_longer_than_its_length() {
    let wild = [workload("wild", vec![rule(&["*.example.com"], &["/"], &[])], None)];
    let index = Index::new(wild.iter().map(|workload| (workload, ())));
    let labels = ".".repeat(65_536);
    let began = tokio::time::Instant::now();
    for _ in 0..5 {
        assert!(index.find(&labels, "/", &HeaderMap::new()).is_none());
        assert!(index.find(&format!("{labels}example.com"), "/", &HeaderMap::new()).is_some());
    }
    let took = began.elapsed();
    assert!(took < std::time::Duration::from_secs(3), "{took:?}");
}

/// Whoever may write routes may write many names: comparing each with all others would hold up everybody's new routes for minutes.
#[test]
fn very_many_names_of_headers_take_no_longer_than_their_number() {
    let names: Vec<String> = (0..60_000).map(|n| format!("x-{n}")).collect();
    let demands: Vec<(&str, Option<&str>)> = names.iter().map(|name| (name.as_str(), None)).collect();
    let all = [workload("all", vec![rule(&["h"], &["/"], &demands)], None)];
    let began = tokio::time::Instant::now();
    assert_eq!(found(&all, "h", "/", &[("x-0", "")]), None);
    let took = began.elapsed();
    assert!(took < std::time::Duration::from_secs(3), "{took:?}");
}

#[test]
fn a_path_matches_whole_segments_and_the_longest_wins() {
    let all = [
        workload("root", vec![rule(&["h"], &["/"], &[])], None),
        workload("api", vec![rule(&["h"], &["/api"], &[])], None),
        workload("deep", vec![rule(&["h"], &["/api/v1/x"], &[])], None),
    ];
    for (path, expected) in [
        ("/", "root"),
        ("/apis", "root"),
        ("/api", "api"),
        ("/api/", "api"),
        ("/api/v1", "api"),
        ("/api/v1/x/y", "deep"),
        ("/api/v1/xy", "api"),
    ] {
        assert_eq!(found(&all, "h", path, &[]).as_deref(), Some(expected), "{path}");
    }
}

/// 512 segments are the most that a path of a resource may have.
#[test]
fn the_deepest_path_there_can_be_is_found() {
    let deep = "/a".repeat(512);
    let all = [workload("deep", vec![rule(&["h"], &[deep.as_str()], &[])], None)];
    assert_eq!(found(&all, "h", &"/a".repeat(32_000), &[]).as_deref(), Some("deep"));
    assert_eq!(found(&all, "h", &"/a".repeat(511), &[]), None);
}

#[test]
fn a_header_missed_on_the_longest_path_falls_back_to_the_shorter() {
    let all = [
        workload("short", vec![rule(&["h"], &["/a"], &[])], None),
        workload("long", vec![rule(&["h"], &["/a/b"], &[("x-canary", Some("yes"))])], None),
    ];
    assert_eq!(found(&all, "h", "/a/b", &[("x-canary", "yes")]).as_deref(), Some("long"));
    assert_eq!(found(&all, "h", "/a/b", &[("x-canary", "no")]).as_deref(), Some("short"));
}

#[test]
fn a_path_missed_on_the_exact_host_falls_back_to_the_wildcard() {
    let all = [
        workload("exact", vec![rule(&["a.h"], &["/only"], &[])], None),
        workload("wild", vec![rule(&["*.h"], &["/"], &[])], None),
    ];
    assert_eq!(found(&all, "a.h", "/other", &[]).as_deref(), Some("wild"));
}

#[test]
fn among_equals_more_headers_then_more_values_then_the_older_then_the_name() {
    let given = [("a", "1"), ("b", "2")];
    let none = workload("none", vec![rule(&["h"], &["/"], &[])], Some("2020-01-01T00:00:00Z"));
    let presence = workload("presence", vec![rule(&["h"], &["/"], &[("a", None), ("b", None)])], None);
    let value = workload("value", vec![rule(&["h"], &["/"], &[("a", Some("1")), ("b", None)])], None);
    assert_eq!(found(&[none.clone(), presence.clone()], "h", "/", &given).as_deref(), Some("presence"));
    assert_eq!(found(&[none, presence, value], "h", "/", &given).as_deref(), Some("value"));

    let plain = || vec![rule(&["h"], &["/"], &[])];
    let old = workload("z-old", plain(), Some("2020-01-01T00:00:00Z"));
    let young = workload("a-young", plain(), Some("2024-01-01T00:00:00Z"));
    let undated = workload("a-undated", plain(), None);
    let undated_later = workload("b-undated", plain(), None);
    assert_eq!(found(&[undated_later.clone(), undated.clone(), young, old], "h", "/", &[]).as_deref(), Some("z-old"));
    assert_eq!(found(&[undated_later, undated], "h", "/", &[]).as_deref(), Some("a-undated"));
}

#[test]
fn a_workload_without_rules_matches_nothing() {
    assert_eq!(found(&[workload("none", Vec::new(), None)], "h", "/", &[]), None);
}

/// What the module's page says, word for word and without an index.
fn naive(workloads: &[Workload], host: &str, path: &str, given: &HeaderMap) -> Option<String> {
    let segments = |path: &str| -> Vec<String> {
        path.trim_matches('/').split('/').filter(|s| !s.is_empty()).map(str::to_owned).collect()
    };
    let asked = segments(path);
    let mut best = None;
    for workload in workloads {
        for rule in &workload.rules {
            let matched = rule.headers.iter().all(|rule| {
                given
                    .get_all(rule.name.as_str())
                    .iter()
                    .any(|v| rule.value.as_ref().is_none_or(|wanted| v.as_bytes() == wanted.as_bytes()))
            });
            for (rule_host, rule_path) in rule.hosts.iter().flat_map(|h| rule.paths.iter().map(move |p| (h, p))) {
                let labels = match rule_host.strip_prefix('*') {
                    Some("") => 0,
                    Some(suffix) if host.len() > suffix.len() && host.ends_with(suffix) => suffix.matches('.').count(),
                    None if rule_host == host => usize::MAX,
                    _ => continue,
                };
                let prefix = segments(rule_path);
                if !matched || !asked.starts_with(&prefix) {
                    continue;
                }
                let key = (Reverse(labels), Reverse(prefix.len()), rank(workload, &rule.headers));
                if best.as_ref().is_none_or(|(other, _)| key < *other) {
                    best = Some((key, workload.id.name.clone()));
                }
            }
        }
    }
    best.map(|(_, name)| name)
}

fn some_rule() -> impl Strategy<Value = Rule> {
    let hosts = prop::collection::vec(prop::sample::select(vec!["*", "*.a", "*.b.a", "b.a", "c.b.a", "a"]), 1..3);
    let paths = prop::collection::vec(prop::sample::select(vec!["/", "/p", "/p/q", "/q", "/p/q/r"]), 1..3);
    let headers = prop::collection::btree_map(
        prop::sample::select(vec!["x", "y"]),
        prop::sample::select(vec![None, Some("1"), Some("2")]),
        0..3,
    );
    (hosts, paths, headers)
        .prop_map(|(hosts, paths, headers)| rule(&hosts, &paths, &headers.into_iter().collect::<Vec<_>>()))
}

fn some_table() -> impl Strategy<Value = Vec<Workload>> {
    let created = prop::sample::select(vec![None, Some("2020-01-01T00:00:00Z"), Some("2021-01-01T00:00:00Z")]);
    prop::collection::vec((prop::collection::vec(some_rule(), 0..3), created), 0..12).prop_map(|all| {
        all.into_iter().enumerate().map(|(i, (rules, created))| workload(&format!("w{i}"), rules, created)).collect()
    })
}

proptest! {
    #[test]
    fn the_index_finds_what_a_naive_matcher_finds(
        table in some_table(),
        host in prop::sample::select(vec!["a", "b.a", "c.b.a", "d.c.b.a", "x.a", "z", ""]),
        path in prop::sample::select(vec!["/", "/p", "/p/", "/pp", "/p/q", "/p/q/r/s", "/q/r", "//p"]),
        given in prop::collection::vec((prop::sample::select(vec!["x", "y"]), prop::sample::select(vec!["1", "2", "3"])), 0..4),
    ) {
        let given = headers(&given);
        let index = Index::new(table.iter().map(|workload| (workload, workload.id.name.clone())));
        prop_assert_eq!(index.find(host, path, &given).cloned(), naive(&table, host, path, &given));
    }

    /// Enough of them that nodes have more children than lie in place, and that keys share slots.
    #[test]
    fn so_it_does_among_many_hosts_and_paths(
        rules in prop::collection::vec((some_host(), some_path(), some_demand()), 1..300),
        asked in prop::collection::vec((some_host(), some_path(), some_path(), 0..4_usize), 1..100),
    ) {
        let table: Vec<Workload> = rules.iter().enumerate().map(|(i, (host, path, demand))| {
            workload(&format!("w{i}"), vec![rule(&[host.as_str()], &[path.as_str()], demand)], None)
        }).collect();
        let index = Index::new(table.iter().map(|workload| (workload, workload.id.name.clone())));
        for (host, path, below, version) in &asked {
            let (host, path) = (host.replace('*', "any"), format!("{path}{below}"));
            let given = headers(&[("x-version", ["0", "1", "2", "3"][*version])]);
            prop_assert_eq!(index.find(&host, &path, &given).cloned(), naive(&table, &host, &path, &given), "{} {}", host, path);
        }
    }
}

fn some_host() -> impl Strategy<Value = String> {
    prop_oneof![
        (0..40).prop_map(|n| format!("h{n}.a.test")),
        (0..12).prop_map(|n| format!("*.h{n}.a.test")),
        (0..12).prop_map(|n| format!("b.h{n}.a.test")),
        Just("*.test".to_owned()),
        Just("*".to_owned()),
    ]
}

fn some_path() -> impl Strategy<Value = String> {
    prop::collection::vec(0..14, 0..4).prop_map(|segments| {
        segments.iter().fold("/".to_owned(), |path, n| format!("{}/s{n}", path.trim_end_matches('/')))
    })
}

fn some_demand() -> impl Strategy<Value = Vec<(&'static str, Option<&'static str>)>> {
    prop::sample::select(vec![
        vec![],
        vec![],
        vec![("X-Version", Some("1"))],
        vec![("x-version", Some("2"))],
        vec![("x-version", None)],
        vec![("x-version", None), ("x-other", Some("1"))],
    ])
}
