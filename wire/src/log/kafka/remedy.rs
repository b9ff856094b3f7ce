//! What a person can do about what librdkafka says of a connection: it tells what has happened, not which setting is to blame.

use std::collections::BTreeMap;

/// Words of librdkafka or of a broker (lower case), and the remedy. The first that matches counts: TLS errors name several things.
const REMEDIES: [(&str, &str); 13] = [
    ("connecting to a plaintext broker listener", NO_TLS),
    ("wrong version number", NO_TLS),
    ("connecting to a ssl listener", TLS),
    ("incorrect security.protocol", TLS),
    ("certificate verify failed", AUTHORITY),
    ("self-signed certificate", AUTHORITY),
    ("unable to get local issuer", AUTHORITY),
    ("certificate required", CERTIFICATE),
    ("bad certificate", CERTIFICATE),
    ("handshake failure", CERTIFICATE),
    ("unsupported sasl mechanism", MECHANISM),
    ("mechanism handshake failed", MECHANISM),
    ("authentication", LOGIN),
];
const NO_TLS: &str =
    "this listener does not speak TLS: use another port, or security.protocol=PLAINTEXT (SASL_PLAINTEXT with a login)";
const TLS: &str = "this listener may want TLS or a login: set security.protocol to SSL, SASL_PLAINTEXT or SASL_SSL";
const AUTHORITY: &str = "the broker's certificate is not trusted: set ssl.ca.location to the authority that signed it";
const CERTIFICATE: &str =
    "the broker wants a certificate of the client that it trusts: set ssl.certificate.location and ssl.key.location";
const MECHANISM: &str = "set sasl.mechanism to one that the broker has enabled";
const LOGIN: &str = "check sasl.username, sasl.password and sasl.mechanism";

/// What librdkafka said, in one line, with the remedy where one is known.
pub(super) fn with_remedy(said: &str) -> String {
    let line = said.lines().collect::<Vec<_>>().join(" ");
    match remedy(&line) {
        Some(remedy) => format!("{line}; {remedy}"),
        None => line,
    }
}

/// The remedy, if these words of librdkafka's tell.
pub(super) fn remedy(said: &str) -> Option<&'static str> {
    let lower = said.to_lowercase();
    REMEDIES.iter().find(|(words, _)| lower.contains(words)).map(|(_, remedy)| *remedy)
}

/// The setting that librdkafka means when it makes no client because of the login's mechanism, and what may be given.
pub(super) fn mechanism(said: &str, client: &BTreeMap<String, String>) -> Option<(String, String)> {
    let (key, value) = ["sasl.mechanism", "sasl.mechanisms"].iter().find_map(|key| Some((*key, client.get(*key)?)))?;
    said.contains(value.as_str())
        .then(|| (format!("{key}={value}"), format!("{said}; give PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_librdkafka_says_leads_to_the_setting_concerned() {
        // Lines of librdkafka 2.12, shortened.
        for (said, setting) in [
            (
                "ssl://b:1/bootstrap: SSL handshake failed: certificate verify failed: broker certificate",
                "ssl.ca.location",
            ),
            (
                "SSL handshake failed: wrong version number: connecting to a PLAINTEXT broker listener?",
                "security.protocol",
            ),
            (
                "b:1/bootstrap: Disconnected while requesting ApiVersion: might be caused by incorrect security.protocol",
                "security.protocol",
            ),
            (
                "SASL authentication error: Authentication failed during authentication due to invalid credentials",
                "sasl.password",
            ),
            ("SASL SCRAM-SHA-256 mechanism handshake failed: Broker: Unsupported SASL mechanism", "sasl.mechanism"),
            ("SSL alert number 116: certificate required", "ssl.key.location"),
        ] {
            assert!(with_remedy(said).contains(setting), "{}", with_remedy(said));
        }
        assert_eq!(with_remedy("Connection\nrefused"), "Connection refused");
    }
}
