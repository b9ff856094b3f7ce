//! Reading settings by their keys, and knowing which have not been read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::log::LogError;

/// The settings as they were given.
#[derive(Debug)]
pub(super) struct Keys<'a> {
    given: &'a BTreeMap<String, String>,
    read: BTreeSet<String>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(given: &'a BTreeMap<String, String>) -> Self {
        Self { given, read: BTreeSet::new() }
    }

    /// All of them.
    pub(super) fn given(&self) -> &'a BTreeMap<String, String> {
        self.given
    }

    /// The value of the first of these keys that is set; they are names of one setting.
    pub(super) fn text(&mut self, names: &[&str]) -> Option<&'a str> {
        self.read.extend(names.iter().map(|name| (*name).to_owned()));
        names.iter().find_map(|name| self.given.get(*name)).map(String::as_str)
    }

    /// A whole number between these two.
    pub(super) fn number(&mut self, names: &[&str], min: u64, max: u64, default: u64) -> Result<u64, LogError> {
        let Some(text) = self.text(names) else { return Ok(default) };
        let number = text.trim().parse().ok().filter(|number| (min..=max).contains(number));
        number.ok_or_else(|| self.bad(names[0], &format!("{text:?} is no whole number from {min} to {max}")))
    }

    /// A time in milliseconds, more than none and a day at most.
    pub(super) fn duration(&mut self, names: &[&str], default: Duration) -> Result<Duration, LogError> {
        let default = u64::try_from(default.as_millis()).unwrap_or(u64::MAX);
        self.number(names, 1, 86_400_000, default).map(Duration::from_millis)
    }

    /// True or false.
    pub(super) fn flag(&mut self, name: &str, default: bool) -> Result<bool, LogError> {
        match self.text(&[name]).map(str::to_ascii_lowercase).as_deref() {
            None => Ok(default),
            Some("true" | "t" | "1") => Ok(true),
            Some("false" | "f" | "0") => Ok(false),
            Some(_) => Err(self.bad(name, "write true or false")),
        }
    }

    /// The keys that nobody has asked for.
    pub(super) fn unread(&self) -> impl Iterator<Item = &'a str> {
        self.given.keys().filter(|key| !self.read.contains(*key)).map(String::as_str)
    }

    /// The error for a wrong value. The value is not shown: it may be a secret.
    pub(super) fn bad(&self, key: &str, reason: &str) -> LogError {
        LogError::BadSetting { setting: key.to_owned(), reason: reason.to_owned() }
    }

    /// The error for a setting that only the other client follows.
    pub(super) fn only_librdkafka(&self, key: &str) -> LogError {
        self.bad(key, "only librdkafka follows it; leave it out, or append with --log-client rdkafka")
    }
}
