//! The rule that makes the assignment, as operators write it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How topics are grouped before they are balanced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyKind {
    /// Any collector reads any topic.
    MaxPerHost,
    /// Each provider's topics stay on that provider's collectors; the limits hold inside each.
    PerProvider,
}

/// The rule that makes the assignment. Its JSON form is that of the REST API:
/// `{"kind":"max-per-host","maxPerHost":200,"minCollectors":1,"maxCollectors":50}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// How topics are grouped.
    pub kind: PolicyKind,
    /// Topics a collector, at least one. Exceeded only while all that are ready are full.
    pub max_per_host: u32,
    /// Collectors wanted at least (for each provider that has topics, under `per-provider`), at least one.
    pub min_collectors: u32,
    /// Collectors wanted at most, likewise.
    pub max_collectors: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self { kind: PolicyKind::MaxPerHost, max_per_host: 200, min_collectors: 1, max_collectors: 50 }
    }
}

/// What is wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct BadPolicy {
    /// The field, as in the JSON form.
    pub field: &'static str,
    /// What is wrong with its value, and what would be right.
    pub reason: String,
}

impl fmt::Display for BadPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

impl Policy {
    /// Whether it can be followed.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn check(&self) -> Result<(), BadPolicy> {
        let bad = |field, reason: &str| Err(BadPolicy { field, reason: reason.to_owned() });
        if self.max_per_host == 0 {
            return bad("maxPerHost", "must be at least 1");
        }
        if self.min_collectors == 0 {
            return bad("minCollectors", "must be at least 1: topics that nobody reads have no values");
        }
        if self.max_collectors < self.min_collectors {
            let reason = format!("is {}, less than minCollectors, {}", self.max_collectors, self.min_collectors);
            return bad("maxCollectors", &reason);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_json_form_is_that_of_the_rest_api() {
        let text = r#"{"kind":"max-per-host","maxPerHost":200,"minCollectors":1,"maxCollectors":50}"#;
        assert_eq!(serde_json::from_str::<Policy>(text).unwrap(), Policy::default());
        assert_eq!(serde_json::to_string(&Policy::default()).unwrap(), text);
    }

    #[test]
    fn what_can_not_be_followed_is_named_by_its_field() {
        let field = |policy: Policy| policy.check().unwrap_err().field;
        assert_eq!(field(Policy { max_per_host: 0, ..Policy::default() }), "maxPerHost");
        assert_eq!(field(Policy { min_collectors: 0, ..Policy::default() }), "minCollectors");
        assert_eq!(field(Policy { min_collectors: 9, max_collectors: 8, ..Policy::default() }), "maxCollectors");
        assert_eq!(Policy::default().check(), Ok(()));
    }
}
