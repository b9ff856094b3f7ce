//! The settings in force as people read them.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

/// What stands for a secret wherever settings are shown.
const BLANK: &str = "***";

/// A setting that is never shown.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// The secret itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(BLANK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(BLANK)
    }
}

/// Settings as `/config` shows them: each under its flag's name, durations as one would write them.
pub(crate) fn shown(settings: &impl Serialize) -> Value {
    match serde_json::to_value(settings) {
        Ok(Value::Object(fields)) => {
            let named = fields.into_iter().map(|(field, value)| (field.replace('_', "-"), readable(value)));
            Value::Object(named.collect::<Map<_, _>>())
        }
        Ok(other) => readable(other),
        Err(error) => Value::String(format!("the settings can't be shown: {error}")),
    }
}

/// serde writes a duration as seconds and nanoseconds.
fn readable(value: Value) -> Value {
    let Value::Object(fields) = value else { return value };
    match (fields.len(), fields.get("secs").and_then(Value::as_u64), fields.get("nanos").and_then(Value::as_u64)) {
        (2, Some(secs), Some(nanos)) => Value::String(go_duration(secs, nanos)),
        _ => Value::Object(fields.into_iter().map(|(name, value)| (name, readable(value))).collect()),
    }
}

/// In the one unit of Go's in which it is a whole number and shortest.
fn go_duration(secs: u64, nanos: u64) -> String {
    match (secs, nanos) {
        (_, 0) if secs > 0 && secs.is_multiple_of(3600) => format!("{}h", secs / 3600),
        (_, 0) if secs > 0 && secs.is_multiple_of(60) => format!("{}m", secs / 60),
        (_, 0) => format!("{secs}s"),
        (_, _) if nanos.is_multiple_of(1_000_000) => format!("{}ms", secs * 1000 + nanos / 1_000_000),
        (_, _) if nanos.is_multiple_of(1000) => format!("{}us", secs * 1_000_000 + nanos / 1000),
        (_, _) => format!("{}ns", u128::from(secs) * 1_000_000_000 + u128::from(nanos)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use plimsoll_wire::go_duration;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_duration_is_shown_as_it_can_be_set(ns in prop_oneof![0..1_000_000_000_000_u64, (0..100_000_u64).prop_map(|s| s * 1_000_000_000)]) {
            let duration = Duration::from_nanos(ns);
            let shown = readable(serde_json::to_value(duration).unwrap());
            prop_assert_eq!(go_duration::parse(shown.as_str().unwrap()).unwrap(), duration);
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        #[derive(Debug, Serialize)]
        struct Settings {
            api_key: Secret,
            other_keys: Vec<Secret>,
        }
        let secret: Secret = "hunter2".parse().unwrap();
        let settings = Settings { api_key: secret.clone(), other_keys: vec![secret] };
        let (text, debug) = (shown(&settings).to_string(), format!("{settings:?}"));
        assert!(!text.contains("hunter2") && !debug.contains("hunter2"), "{text} {debug}");
        assert!(text.contains("\"api-key\""));
        assert_eq!(settings.api_key.reveal(), "hunter2");
    }
}
