//! Which Kafka topic a workload has, and the inverse.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The topic that all interceptors share, for heartbeats and activations.
pub const INTERCEPTORS: &str = "plimsoll-interceptors";

/// How long topics keep their records: the longest window, and room for a replay to begin before it and for segments to roll in their own time.
pub const RETENTION: Duration = Duration::from_secs(15 * 60);

/// What every workload's topic begins with.
pub const PREFIX: &str = "plimsoll.";

/// Kafka's longest topic name, in bytes.
const MAX_LEN: usize = 249;
/// Hexadecimal digits of the hash that ends a shortened name.
const HASH_DIGITS: usize = 16;

/// What is scaled: `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadId {
    /// The Kubernetes namespace, a DNS label: it has no dot.
    pub namespace: String,
    /// The resource's name, a DNS subdomain: it may have dots.
    pub name: String,
}

/// A text that is no `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given:?} is not a workload: write it as namespace/name, both of lower-case letters, digits, '-' (and '.' in the name)"
)]
pub struct NotAWorkload {
    /// The text as it was given.
    pub given: String,
}

impl WorkloadId {
    /// A workload from its parts, as they stand.
    #[must_use]
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The workload's topic, `plimsoll.<namespace>.<name>`. A name over Kafka's 249 bytes is cut and ends in a hash of the whole.
    #[must_use]
    pub fn topic(&self) -> String {
        let whole = format!("{PREFIX}{}.{}", self.namespace, self.name);
        if whole.len() <= MAX_LEN {
            return whole;
        }
        let hash = fnv1a(whole.as_bytes());
        // Names are ASCII in Kubernetes; for any other text the cut moves left to a character's border.
        let mut cut = MAX_LEN - HASH_DIGITS - 1;
        while !whole.is_char_boundary(cut) {
            cut -= 1;
        }
        format!("{}-{hash:016x}", &whole[..cut])
    }

    /// The workload of a topic, or none where the topic is not a workload's or its name was shortened.
    #[must_use]
    pub fn from_topic(topic: &str) -> Option<Self> {
        if topic.len() >= MAX_LEN {
            // A shortened name has exactly this length, and a whole one of this length can't be told from it.
            return None;
        }
        let (namespace, name) = topic.strip_prefix(PREFIX)?.split_once('.')?;
        (!namespace.is_empty() && !name.is_empty()).then(|| Self::new(namespace, name))
    }
}

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl FromStr for WorkloadId {
    type Err = NotAWorkload;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let legal = |part: &str, dots: bool| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || (dots && b == b'.'))
        };
        match text.split_once('/') {
            Some((namespace, name)) if legal(namespace, false) && legal(name, true) => Ok(Self::new(namespace, name)),
            _ => Err(NotAWorkload { given: text.to_owned() }),
        }
    }
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo): stable across versions and platforms, which std's hasher is not.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_long_name_is_cut_to_kafkas_limit_and_stays_unique() {
        let a = WorkloadId::new("ns", format!("{}a", "x".repeat(250))).topic();
        let b = WorkloadId::new("ns", format!("{}b", "x".repeat(250))).topic();
        assert_eq!(a.len(), MAX_LEN);
        assert_ne!(a, b);
        assert_eq!(WorkloadId::from_topic(&a), None);
    }

    #[test]
    fn what_is_no_workload_is_refused_by_name() {
        for bad in ["", "a", "/", "a/", "/b", "A/b", "a.b/c", "a/b/c"] {
            let error = bad.parse::<WorkloadId>().expect_err(bad);
            assert!(error.to_string().contains(&format!("{bad:?}")));
        }
    }

    #[test]
    fn the_interceptors_topic_is_no_workloads() {
        assert_eq!(WorkloadId::from_topic(INTERCEPTORS), None);
    }

    proptest! {
        #[test]
        fn a_workload_is_found_again_from_its_topic(namespace in "[a-z0-9-]{1,63}", name in "[a-z0-9]([a-z0-9.-]{0,100}[a-z0-9])?") {
            let workload = WorkloadId::new(namespace, name);
            prop_assert_eq!(WorkloadId::from_topic(&workload.topic()), Some(workload.clone()));
            prop_assert_eq!(workload.to_string().parse(), Ok(workload));
        }
    }
}
