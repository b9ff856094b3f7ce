//! What lies where in the namespace.
//!
//! ```text
//! ConfigMap PREFIX-plan                  which version of each collector's parts is the current one: commits the plan
//! ConfigMap PREFIX-plan-TAG-NNNN         what one collector reads
//! ConfigMap PREFIX-directives            which version of the directives is the current one: commits them
//! ConfigMap PREFIX-directives-TAG-NNNN   what operators have asked for
//! Lease     PREFIX-leader                who leads; its transitions are the term
//! Lease     PREFIX-collector-ID          who is there
//! ```
//!
//! All of them carry the labels `app.kubernetes.io/managed-by=plimsoll`, `plimsoll.io/store=PREFIX` and `plimsoll.io/kind`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::store::StoreError;

/// Names are 253 characters at most, and a label's value 63.
const PREFIX_MAX: usize = 40;

/// What an object is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    PlanIndex,
    PlanPart,
    DirectivesIndex,
    DirectivesPart,
    Leader,
    Collector,
}

impl Kind {
    fn label(self) -> &'static str {
        match self {
            Self::PlanIndex => "plan",
            Self::PlanPart => "plan-part",
            Self::DirectivesIndex => "directives",
            Self::DirectivesPart => "directives-part",
            Self::Leader => "leader",
            Self::Collector => "collector",
        }
    }
}

/// The names under a prefix.
#[derive(Debug, Clone)]
pub(super) struct Names {
    prefix: String,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Result<Self, StoreError> {
        let begins = prefix.starts_with(|first: char| first.is_ascii_lowercase());
        if begins && prefix.len() <= PREFIX_MAX && is_label(prefix) {
            return Ok(Self { prefix: prefix.to_owned() });
        }
        let reason = format!(
            "the names of objects begin with it: up to {PREFIX_MAX} of a-z, 0-9 and '-', beginning with a letter and not \
             ending in '-'"
        );
        Err(StoreError::BadSetting { setting: format!("prefix {prefix:?}"), reason })
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn plan(&self) -> String {
        format!("{}-plan", self.prefix)
    }

    pub(super) fn plan_part(&self, tag: &str, part: usize) -> String {
        format!("{}-plan-{tag}-{part:04}", self.prefix)
    }

    pub(super) fn directives(&self) -> String {
        format!("{}-directives", self.prefix)
    }

    pub(super) fn directives_part(&self, tag: &str, part: usize) -> String {
        format!("{}-directives-{tag}-{part:04}", self.prefix)
    }

    pub(super) fn leader(&self) -> String {
        format!("{}-leader", self.prefix)
    }

    /// A collector's name may be any text; where it can't be part of an object's name, its bytes are written instead.
    pub(super) fn collector(&self, id: &str) -> String {
        if is_label(id) {
            return format!("{}-collector-{id}", self.prefix);
        }
        let bytes = id.bytes().fold(String::new(), |mut text, byte| {
            // Writing to a string can't fail.
            let _ = write!(text, "{byte:02x}");
            text
        });
        // No label has a dot: this is nobody else's name.
        format!("{}-collector.{bytes}", self.prefix)
    }

    /// The metadata of a new object.
    pub(super) fn metadata(&self, kind: Kind, name: String) -> ObjectMeta {
        let labels = [
            ("app.kubernetes.io/managed-by", "plimsoll"),
            ("plimsoll.io/store", &self.prefix),
            ("plimsoll.io/kind", kind.label()),
        ];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        ObjectMeta { name: Some(name), labels: Some(BTreeMap::from(labels)), ..ObjectMeta::default() }
    }

    /// Selects all objects of a kind.
    pub(super) fn selector(&self, kind: Kind) -> String {
        format!("plimsoll.io/store={},plimsoll.io/kind={}", self.prefix, kind.label())
    }
}

/// Whether it is a label as in RFC 1123.
fn is_label(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.len() <= 63 && text.bytes().all(allowed) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_that_names_can_not_begin_with_is_refused() {
        for good in ["plimsoll", "a", "plimsoll-2"] {
            assert!(Names::new(good).is_ok(), "{good}");
        }
        for bad in ["", "Plimsoll", "2", "plimsoll-", "plim.soll", "-a", "a b", &"a".repeat(41)] {
            assert!(matches!(Names::new(bad), Err(StoreError::BadSetting { .. })), "{bad:?}");
        }
    }

    #[test]
    fn no_two_collectors_share_a_name() {
        let names = Names::new("plimsoll").unwrap();
        assert_eq!(names.collector("collector-0"), "plimsoll-collector-collector-0");
        assert_eq!(names.collector("A.b"), "plimsoll-collector.412e62");
        assert_ne!(names.collector("412e62"), names.collector("A.b"));
    }
}
