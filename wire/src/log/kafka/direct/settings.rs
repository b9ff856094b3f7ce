//! What the operator has set, out of librdkafka's keys.

use std::net::SocketAddr;
use std::time::Duration;

use tracing::debug;

use super::super::KafkaConfig;
use super::super::clients::{ACKS, APPEND_TIMEOUT, check_acks};
use super::address::{self, Address};
use super::keys::Keys;
use super::messages::Acks;
use super::sasl::Credentials;
use super::tls::Tls;
use crate::log::LogError;

/// How the brokers are reached and what is asked of them.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) brokers: Vec<Address>,
    pub(super) client_id: String,
    pub(super) acks: Acks,
    /// How long a call may take.
    pub(super) append_timeout: Duration,
    /// How long a broker may be silent before its connection is given up.
    pub(super) silence: Duration,
    /// How long a connection may take to be made, log-in included.
    pub(super) setup_timeout: Duration,
    /// The pauses between attempts to connect.
    pub(super) back_off_min: Duration,
    pub(super) back_off_max: Duration,
    /// The pause after an attempt that only a person can mend.
    pub(super) back_off_refused: Duration,
    /// The largest batch of one topic, in bytes.
    pub(super) batch_max: usize,
    pub(super) family: Family,
    pub(super) tls: Option<Tls>,
    pub(super) sasl: Option<Credentials>,
}

/// Which addresses of a name are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Any,
    V4,
    V6,
}

impl Family {
    pub(super) fn allows(self, address: &SocketAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

/// Keys that decide what is sent or who is trusted, and that only librdkafka follows. One that ends in a dot stands for all that
/// begin so.
const ONLY_LIBRDKAFKA: [&str; 16] = [
    "sasl.kerberos.",
    "sasl.oauthbearer.client.",
    "sasl.oauthbearer.token.",
    "sasl.oauthbearer.assertion.",
    "sasl.oauthbearer.metadata.",
    "sasl.oauthbearer.scope",
    "sasl.oauthbearer.extensions",
    "ssl.cipher.suites",
    "ssl.curves.list",
    "ssl.sigalgs.list",
    "ssl.crl.location",
    "ssl.keystore.",
    "ssl.providers",
    "ssl.engine.",
    "plugin.library.paths",
    "transactional.id",
];

impl Settings {
    /// Reads the settings; librdkafka has found before that there are no others than its own.
    ///
    /// # Errors
    /// [`LogError::BadSetting`] naming the key, and the remedy.
    pub(super) fn read(config: &KafkaConfig) -> Result<Self, LogError> {
        let mut keys = Keys::new(&config.client);
        let brokers = keys.text(&["bootstrap.servers", "metadata.broker.list"]).unwrap_or(&config.brokers);
        let (tls, sasl) = security(&mut keys)?;
        let settings = Self {
            brokers: address::brokers(brokers)?,
            client_id: keys.text(&["client.id"]).unwrap_or("plimsoll").to_owned(),
            acks: Acks { wanted: all_replicas(config, &mut keys)?, timeout_ms: request_timeout_ms(&mut keys)? },
            append_timeout: keys.duration(&["message.timeout.ms", "delivery.timeout.ms"], APPEND_TIMEOUT)?,
            silence: keys.duration(&["socket.timeout.ms"], Duration::from_secs(10))?,
            setup_timeout: keys.duration(&["socket.connection.setup.timeout.ms"], Duration::from_secs(5))?,
            back_off_min: keys.duration(&["reconnect.backoff.ms"], Duration::from_millis(50))?,
            back_off_max: keys.duration(&["reconnect.backoff.max.ms"], Duration::from_millis(500))?,
            back_off_refused: Duration::from_secs(2),
            batch_max: keys.number(&["message.max.bytes"], 1_000, 1_000_000_000, 1_000_000)? as usize,
            family: family(&mut keys)?,
            tls,
            sasl,
        };
        if keys.flag("enable.idempotence", false)? {
            return Err(keys.only_librdkafka("enable.idempotence"));
        }
        for key in keys.unread() {
            if ONLY_LIBRDKAFKA.iter().any(|only| key == *only || (only.ends_with('.') && key.starts_with(only))) {
                return Err(keys.only_librdkafka(key));
            }
            debug!("the Kafka setting {key} is for librdkafka, which reads; what appends does not need it");
        }
        Ok(settings)
    }
}

/// TLS and the login, as `security.protocol` wants them.
fn security(keys: &mut Keys<'_>) -> Result<(Option<Tls>, Option<Credentials>), LogError> {
    let key = "security.protocol";
    let protocol = keys.text(&[key]).unwrap_or("plaintext").to_ascii_lowercase();
    let (tls, sasl) = match &*protocol {
        "plaintext" => (false, false),
        "ssl" => (true, false),
        "sasl_plaintext" => (false, true),
        "sasl_ssl" => (true, true),
        _ => return Err(keys.bad(key, "write plaintext, ssl, sasl_plaintext or sasl_ssl")),
    };
    // What is set is read in any case, so that a mistake does not come out later.
    let with_tls = Tls::read(keys, tls)?;
    let credentials = Credentials::read(keys, sasl)?;
    Ok((with_tls, credentials))
}

/// As the protocol says it.
fn all_replicas(config: &KafkaConfig, keys: &mut Keys<'_>) -> Result<i16, LogError> {
    // What is set says nothing else then.
    let _all = keys.text(&ACKS);
    check_acks(config).map(|()| -1)
}

fn request_timeout_ms(keys: &mut Keys<'_>) -> Result<i32, LogError> {
    // By then nobody waits any more.
    let default = APPEND_TIMEOUT.as_millis() as u64;
    let timeout = keys.number(&["request.timeout.ms"], 1, 900_000, default)?;
    Ok(i32::try_from(timeout).unwrap_or(i32::MAX))
}

fn family(keys: &mut Keys<'_>) -> Result<Family, LogError> {
    let key = "broker.address.family";
    match keys.text(&[key]) {
        None | Some("any") => Ok(Family::Any),
        Some("v4") => Ok(Family::V4),
        Some("v6") => Ok(Family::V6),
        Some(_) => Err(keys.bad(key, "write any, v4 or v6")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(client: &[(&str, &str)]) -> Result<Settings, String> {
        let mut config = KafkaConfig::new("broker:9092");
        config.client = client.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Settings::read(&config).map_err(|error| error.to_string())
    }

    #[test]
    fn librdkafkas_keys_are_followed() {
        let settings = read(&[
            ("acks", "-1"),
            ("client.id", "me"),
            ("message.timeout.ms", "1500"),
            ("broker.address.family", "v4"),
            ("metadata.broker.list", "other:1"),
            ("linger.ms", "5"),
        ])
        .expect("they are right");
        assert_eq!((settings.acks.wanted, &*settings.client_id, settings.family), (-1, "me", Family::V4));
        assert_eq!(settings.append_timeout, Duration::from_millis(1500));
        assert_eq!(settings.brokers[0].to_string(), "other:1");
        assert_eq!(read(&[]).expect("all has a default").acks.wanted, -1);
    }

    #[test]
    fn what_only_librdkafka_can_do_is_named_with_the_way_out() {
        for (key, value) in [
            ("sasl.kerberos.keytab", "x"),
            ("ssl.cipher.suites", "x"),
            ("enable.idempotence", "true"),
            ("ssl.key.password", "secret"),
            ("sasl.oauthbearer.client.secret", "secret"),
        ] {
            let error = read(&[(key, value)]).expect_err(key);
            assert!(error.contains(key) && error.contains("--log-client rdkafka"), "{error}");
            assert!(!error.contains("secret;") && !error.contains("=secret"), "{error}");
        }
        let error = read(&[("security.protocol", "sasl_ssl")]).expect_err("the default mechanism is Kerberos");
        assert!(error.contains("sasl.mechanisms") && error.contains("--log-client rdkafka"), "{error}");
    }

    #[test]
    fn a_wrong_value_is_named_with_its_key() {
        for (key, value) in [
            ("acks", "0"),
            ("acks", "1"),
            ("security.protocol", "tls"),
            ("message.timeout.ms", "soon"),
            ("message.timeout.ms", "0"),
            ("broker.address.family", "v5"),
            ("ssl.ca.location", "/nowhere/ca.pem"),
            ("enable.ssl.certificate.verification", "perhaps"),
        ] {
            let error = read(&[(key, value)]).expect_err(key);
            assert!(error.contains(key), "{key}={value}: {error}");
        }
    }
}
