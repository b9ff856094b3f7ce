//! Rules that two resources claim: who wins, and who loses. Pure.

use std::collections::{BTreeMap, HashMap};

use plimsoll_wire::resources::{Rule, Workload};
use plimsoll_wire::topic::WorkloadId;

/// Rules named in one sentence at most.
const SHOWN: usize = 3;

/// What is claimed twice, by who claims it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Claims {
    shared: BTreeMap<WorkloadId, Shared>,
}

/// What one resource shares with others.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Shared {
    /// Rules that another one wins, and who.
    pub(super) lost: Vec<(String, WorkloadId)>,
    /// Rules that this one wins, and of whom.
    pub(super) won: Vec<(String, WorkloadId)>,
}

/// A request that matches the one rule matches the other: same host, same path, same headers.
type Exactly<'a> = (&'a str, &'a str, Vec<(&'a str, Option<&'a str>)>);

impl Claims {
    /// The rules of these workloads that several claim. As in routing the oldest resource wins, then the first by namespace and
    /// name.
    pub(super) fn of(workloads: &[Workload]) -> Self {
        let mut claimants: HashMap<Exactly<'_>, Vec<&Workload>> = HashMap::new();
        for workload in workloads {
            for rule in &workload.rules {
                for claimed in exactly(rule) {
                    let claimants = claimants.entry(claimed).or_default();
                    // The same rule twice in one resource is no quarrel.
                    if claimants.last().is_none_or(|last| last.id != workload.id) {
                        claimants.push(workload);
                    }
                }
            }
        }
        let mut shared: BTreeMap<WorkloadId, Shared> = BTreeMap::new();
        for (claimed, mut claimants) in claimants.into_iter().filter(|(_, claimants)| claimants.len() > 1) {
            claimants.sort_by_key(|workload| (workload.created.is_none(), workload.created.as_deref(), &workload.id));
            let (winner, rule) = (&claimants[0].id, text(&claimed));
            for loser in &claimants[1..] {
                shared.entry(loser.id.clone()).or_default().lost.push((rule.clone(), winner.clone()));
                shared.entry(winner.clone()).or_default().won.push((rule.clone(), loser.id.clone()));
            }
        }
        for shared in shared.values_mut() {
            shared.lost.sort();
            shared.won.sort();
        }
        Self { shared }
    }

    pub(super) fn get(&self, id: &WorkloadId) -> Option<&Shared> {
        self.shared.get(id)
    }

    /// Whose claims are others than they were.
    pub(super) fn differing<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a WorkloadId> {
        let changed = self.shared.iter().filter(|(id, shared)| before.shared.get(*id) != Some(*shared));
        let gone = before.shared.keys().filter(|id| !self.shared.contains_key(*id));
        changed.map(|(id, _)| id).chain(gone)
    }
}

fn exactly(rule: &Rule) -> Vec<Exactly<'_>> {
    let mut headers: Vec<_> = rule.headers.iter().map(|header| (&*header.name, header.value.as_deref())).collect();
    headers.sort_unstable();
    let pairs = rule.hosts.iter().flat_map(|host| rule.paths.iter().map(move |path| (host, path)));
    pairs.map(|(host, path)| (host.as_str(), path.as_str(), headers.clone())).collect()
}

fn text((host, path, headers): &Exactly<'_>) -> String {
    let header =
        |(name, value): &(&str, Option<&str>)| value.map_or((*name).to_owned(), |value| format!("{name}: {value}"));
    let with: Vec<String> = headers.iter().map(header).collect();
    let with = if with.is_empty() { String::new() } else { format!(" with {}", with.join(", ")) };
    format!("{host}{path}{with}")
}

impl Shared {
    /// A sentence on what is lost; none where nothing is.
    pub(super) fn losses(&self) -> Option<String> {
        (!self.lost.is_empty()).then(|| {
            format!("rules that an older resource has get no request here: {}", list(&self.lost, "belongs to"))
        })
    }

    /// A sentence on what is won; none where nothing is.
    pub(super) fn gains(&self) -> Option<String> {
        (!self.won.is_empty()).then(|| format!("it wins rules that others claim: {}", list(&self.won, "over")))
    }
}

fn list(rules: &[(String, WorkloadId)], word: &str) -> String {
    let shown: Vec<String> = rules.iter().take(SHOWN).map(|(rule, other)| format!("{rule} {word} {other}")).collect();
    match rules.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use plimsoll_wire::resources::{Backend, HeaderRule, Port};

    use super::*;

    fn workload(name: &str, created: Option<&str>, hosts: &[&str], headers: &[(&str, Option<&str>)]) -> Workload {
        let target = Backend { service: "s".to_owned(), port: Port::Number(80) };
        let header = |(name, value): &(&str, Option<&str>)| HeaderRule {
            name: (*name).to_owned(),
            value: value.map(str::to_owned),
        };
        let rule = Rule {
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            paths: vec!["/".to_owned()],
            headers: headers.iter().map(header).collect(),
        };
        let created = created.map(str::to_owned);
        Workload { rules: vec![rule.clone(), rule], created, ..Workload::new(WorkloadId::new("n", name), target) }
    }

    #[test]
    fn the_oldest_wins_then_the_first_by_name() {
        let claims = Claims::of(&[
            workload("a", None, &["one.test"], &[]),
            workload("b", Some("2026-01-02T00:00:00Z"), &["one.test", "two.test"], &[]),
            workload("c", Some("2026-01-01T00:00:00Z"), &["one.test", "alone.test"], &[]),
            workload("d", Some("2026-01-02T00:00:00Z"), &["two.test"], &[]),
        ]);
        let of = |name| claims.get(&WorkloadId::new("n", name)).cloned().unwrap_or_default();
        assert_eq!(of("c").losses(), None);
        assert_eq!(of("c").gains().unwrap(), "it wins rules that others claim: one.test/ over n/a, one.test/ over n/b");
        assert_eq!(
            of("a").losses().unwrap(),
            "rules that an older resource has get no request here: one.test/ belongs to n/c"
        );
        assert!(of("b").losses().is_some() && of("b").gains().unwrap().ends_with("two.test/ over n/d"));
        assert!(of("d").losses().unwrap().ends_with("two.test/ belongs to n/b"));
    }

    #[test]
    fn other_headers_are_other_rules_and_their_order_is_none() {
        let claims = Claims::of(&[
            workload("a", None, &["h"], &[("x", None), ("y", Some("1"))]),
            workload("b", None, &["h"], &[("y", Some("1")), ("x", None)]),
            workload("c", None, &["h"], &[("y", Some("1"))]),
        ]);
        let lost = &claims.get(&WorkloadId::new("n", "b")).unwrap().lost;
        assert_eq!(lost[0], ("h/ with x, y: 1".to_owned(), WorkloadId::new("n", "a")));
        assert_eq!(claims.get(&WorkloadId::new("n", "c")), None);
    }

    #[test]
    fn who_is_concerned_by_a_change_is_told() {
        let two = [workload("a", None, &["h"], &[]), workload("b", None, &["h"], &[])];
        let (both, one) = (Claims::of(&two), Claims::of(&two[..1]));
        let names = |now: &Claims, before: &Claims| now.differing(before).map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(&both, &one), ["n/a", "n/b"]);
        assert_eq!(names(&one, &both), ["n/a", "n/b"]);
        assert!(names(&both, &Claims::of(&two)).is_empty());
    }
}
