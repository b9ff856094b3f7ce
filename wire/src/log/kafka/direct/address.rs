//! Where brokers listen.

use std::fmt;
use std::sync::Arc;

use crate::log::LogError;

/// Kafka's port where none is given.
const PORT: u16 = 9092;

/// A broker's host and port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Address {
    /// A name, or an address without brackets.
    pub(super) host: Arc<str>,
    pub(super) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Address {
    /// The address that a broker tells of another one; none where that is nonsense.
    pub(super) fn told(host: &str, port: i32) -> Option<Self> {
        let port = u16::try_from(port).ok().filter(|port| *port > 0)?;
        (!host.is_empty()).then(|| Self { host: host.into(), port })
    }

    fn parse(text: &str) -> Option<Self> {
        // As librdkafka takes it: `SSL://host:port` and a host alone.
        let text = text.split_once("://").map_or(text, |(_, rest)| rest);
        let (host, port) = match text.strip_prefix('[') {
            Some(bracketed) => {
                let (host, rest) = bracketed.split_once(']')?;
                (host, rest.strip_prefix(':').or(rest.is_empty().then_some(""))?)
            }
            None => match text.split_once(':') {
                // An IPv6 address without brackets.
                Some((_, rest)) if rest.contains(':') => (text, ""),
                Some((host, port)) => (host, port),
                None => (text, ""),
            },
        };
        let port = if port.is_empty() { PORT } else { port.parse().ok().filter(|port| *port > 0)? };
        (!host.is_empty()).then(|| Self { host: host.into(), port })
    }
}

/// The brokers of a `bootstrap.servers` text.
///
/// # Errors
/// [`LogError::BadSetting`] naming the one that is no address.
pub(super) fn brokers(text: &str) -> Result<Vec<Address>, LogError> {
    let named = text.split(',').map(str::trim).filter(|broker| !broker.is_empty());
    named
        .map(|broker| {
            Address::parse(broker).ok_or_else(|| LogError::BadSetting {
                setting: format!("broker {broker}"),
                reason: "it is no address; write host:port, several separated by commas".into(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_read_as_librdkafka_reads_them() {
        let read = |text| brokers(text).map(|read| read.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
        assert_eq!(
            read("a:1, b , ,[::1]:3,SSL://c.d:4,::1,[fe80::2]"),
            Ok("a:1 b:9092 [::1]:3 c.d:4 [::1]:9092 [fe80::2]:9092".into())
        );
        for wrong in ["a:b", "a:0", "a:70000", ":1", "[::1", "[::1]x"] {
            let error = brokers(wrong).expect_err(wrong).to_string();
            assert!(error.contains(wrong), "{error}");
        }
    }
}
