//! Which collectors may have which topics, as the policy says.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::draft::{Draft, Group};
use crate::policy::{Policy, PolicyKind};

/// Groups topics and collectors: all in one, or by provider.
pub(super) fn group(draft: &mut Draft<'_>, kind: PolicyKind, dedicated: &[usize]) {
    let mut groups = Groups::default();
    if kind == PolicyKind::MaxPerHost {
        groups.number("");
        groups.all[0].topics = draft.entries.len();
    }
    for (index, collector) in draft.collectors.iter_mut().enumerate() {
        if kind == PolicyKind::PerProvider {
            collector.group = groups.number(&collector.info.provider);
        }
        groups.all[collector.group as usize].collectors.push(index);
    }
    if kind == PolicyKind::PerProvider {
        for entry in &mut draft.entries {
            entry.group = groups.number(&entry.wanted.provider);
            groups.all[entry.group as usize].topics += 1;
        }
    }
    for &topic in dedicated {
        groups.all[draft.entries[topic].group as usize].dedicated.push(topic);
    }
    draft.groups = groups.all;
}

/// How many collectors each group should have: for its dedicated topics one each, and for the others as many as the limit takes. A
/// provider without topics needs none.
pub(super) fn wanted(draft: &Draft<'_>, policy: &Policy, capacity: usize) -> BTreeMap<String, usize> {
    let wanted = |group: &Group<'_>| {
        if group.topics == 0 && policy.kind == PolicyKind::PerProvider {
            return 0;
        }
        let dedicated = group.dedicated.len();
        let all = (group.topics - dedicated).div_ceil(capacity) + dedicated;
        all.max(policy.min_collectors as usize).min(policy.max_collectors as usize)
    };
    draft.groups.iter().map(|group| (group.name.to_owned(), wanted(group))).collect()
}

/// Groups by the order in which they come, which is that of names of collectors and topics.
#[derive(Default)]
struct Groups<'a> {
    all: Vec<Group<'a>>,
    numbers: FxHashMap<&'a str, u32>,
}

impl<'a> Groups<'a> {
    fn number(&mut self, name: &'a str) -> u32 {
        let all = &mut self.all;
        *self.numbers.entry(name).or_insert_with(|| {
            all.push(Group { name, topics: 0, dedicated: Vec::new(), collectors: Vec::new() });
            // There are no more groups than topics and collectors, and of those fewer than this fit into memory.
            u32::try_from(all.len() - 1).unwrap_or(u32::MAX)
        })
    }
}
