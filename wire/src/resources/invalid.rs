//! Why a resource can't be used.

/// A field whose value can't be used, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {what}; {remedy}")]
pub struct Invalid {
    /// The field's path in the resource, such as `spec.scalingMetric.requestRate.window`.
    pub field: String,
    /// What is wrong with it, with its value.
    pub what: String,
    /// What to write instead.
    pub remedy: String,
}

impl Invalid {
    /// A field that holds a value of no use.
    pub(super) fn value(
        field: impl Into<String>,
        value: &(impl std::fmt::Debug + ?Sized),
        remedy: impl Into<String>,
    ) -> Self {
        Self { field: field.into(), what: format!("{value:?} can't be used"), remedy: remedy.into() }
    }

    /// A field that is not there.
    pub(super) fn missing(field: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { field: field.into(), what: "it is missing".to_owned(), remedy: remedy.into() }
    }

    /// Fields that exclude each other.
    pub(super) fn both(field: impl Into<String>, ours: &str, other: &str) -> Self {
        Self {
            field: field.into(),
            what: format!("both {ours} and {other} are there"),
            remedy: format!("keep exactly one of {ours} and {other}"),
        }
    }
}
