//! librdkafka clients: their settings, and what they say.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::{KafkaConfig, remedy};
use crate::log::{LogError, Pace};

/// What a client is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Role {
    /// Appends records.
    Producer,
    /// Asks questions, gives orders; never long-polls, so that it is answered at once.
    Asker,
    /// Reads topics.
    Reader(Pace),
}

/// How long an appended record may wait for its acknowledgement.
pub(super) const APPEND_TIMEOUT: Duration = Duration::from_secs(3);

/// The names of the setting for how many replicas acknowledge a record.
pub(super) const ACKS: [&str; 2] = ["acks", "request.required.acks"];

/// Whether records are acknowledged by all replicas in sync, as they must be: a heartbeat says that all frames before it can be read. What the
/// leader alone has is kept from readers until the others have it, for half a minute if one is slow, and is gone if the leader is lost.
///
/// # Errors
/// [`LogError::BadSetting`] for any other acknowledgement.
pub(super) fn check_acks(config: &KafkaConfig) -> Result<(), LogError> {
    for key in ACKS {
        match config.client.get(key).map(String::as_str) {
            None | Some("all" | "-1") => {}
            Some(given) => {
                return Err(LogError::BadSetting {
                    setting: format!("{key}={given}"),
                    reason:
                        "write all, or leave it out: what fewer replicas have acknowledged is kept from readers, and a \
                             busy workload would look idle"
                            .into(),
                });
            }
        }
    }
    Ok(())
}

/// Makes a client. Blocks for some milliseconds.
///
/// # Errors
/// [`LogError::BadSetting`] when librdkafka does not take one of the settings.
pub(super) fn create<T>(config: &KafkaConfig, role: Role, reach: &Arc<Reach>) -> Result<T, LogError>
where
    T: FromClientConfigAndContext<Context>,
{
    settings(config, role).create_with_context(Context { reach: reach.clone() }).map_err(|error| match error {
        KafkaError::ClientConfig(_, reason, key, value) => {
            // The one value that may be a secret is not repeated.
            let shown = if config.client.contains_key(&key) { "..." } else { &value };
            LogError::BadSetting {
                setting: format!("{key}={shown}"),
                reason: format!("{reason}; see librdkafka's CONFIGURATION.md for what it takes"),
            }
        }
        other => match remedy::mechanism(&other.to_string(), &config.client) {
            Some((setting, reason)) => LogError::BadSetting { setting, reason },
            None => LogError::BadSetting {
                setting: "the Kafka client's settings".into(),
                reason: format!("{other}; check --kafka-config"),
            },
        },
    })
}

/// The longest pause between two attempts to connect; librdkafka refuses a first pause that is longer.
const BACKOFF_MAX: &str = "reconnect.backoff.max.ms";

fn settings(config: &KafkaConfig, role: Role) -> ClientConfig {
    let mut settings = ClientConfig::new();
    let append_timeout_ms = APPEND_TIMEOUT.as_millis().to_string();
    let mut set = |pairs: &[(&str, &str)]| {
        for (key, value) in pairs {
            settings.set(*key, *value);
        }
    };
    set(&[
        ("bootstrap.servers", &config.brokers),
        ("client.id", "plimsoll"),
        // A broker that is back is found within half a second.
        ("reconnect.backoff.ms", "50"),
        (BACKOFF_MAX, "500"),
        // A peer that has vanished without a word is given up after this.
        ("socket.timeout.ms", "10000"),
        ("socket.keepalive.enable", "true"),
        ("socket.nagle.disable", "true"),
        ("log.connection.close", "false"),
        // Metadata of our topics only: the cluster may have many others.
        ("topic.metadata.refresh.sparse", "true"),
        ("topic.metadata.refresh.fast.interval.ms", "100"),
        // What is unknown is so at once; by default it is waited for half a minute.
        ("topic.metadata.propagation.max.ms", "0"),
    ]);
    // Its own OpenSSL looks for the system's authorities where no system has them, but for these variables.
    let are_named = config.client.keys().any(|key| key.starts_with("ssl.ca."))
        || ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|variable| std::env::var_os(variable).is_some());
    if !are_named {
        set(&[("ssl.ca.location", "probe")]);
    }
    match role {
        Role::Producer => set(&[
            ("acks", "all"),
            ("linger.ms", "0"),
            ("message.timeout.ms", &append_timeout_ms),
            // A retried request may overtake the one after it, or repeat itself; the frames' writer has newer totals by then.
            ("retries", "0"),
            // What waits at most while no broker is there.
            ("queue.buffering.max.messages", "100000"),
            ("queue.buffering.max.kbytes", "65536"),
        ]),
        // While it waits for any broker, librdkafka connects anew each half of this, whatever came of the attempt before: to a broker that
        // speaks something else, say, forty times a second by what suits the others.
        Role::Asker if !config.client.contains_key(BACKOFF_MAX) => set(&[("reconnect.backoff.ms", "500")]),
        Role::Asker => {}
        Role::Reader(pace) => {
            set(&[
                // librdkafka wants a group even though partitions are assigned by hand; nothing is committed to it.
                ("group.id", "plimsoll"),
                ("enable.auto.commit", "false"),
                ("enable.auto.offset.store", "false"),
                // Where the offset asked for is gone: retention was faster than the reader, or the topic is a new one.
                ("auto.offset.reset", "earliest"),
                ("allow.auto.create.topics", "false"),
                ("fetch.min.bytes", "1"),
                ("fetch.wait.max.ms", "500"),
                ("fetch.error.backoff.ms", "100"),
                ("check.crcs", "false"),
            ]);
            match pace {
                Pace::AtOnce => set(&[("queued.max.messages.kbytes", "16384"), ("fetch.queue.backoff.ms", "20")]),
                // A topic with a record waiting is not asked for again until the next round, so that requests are few.
                Pace::Every(_) => set(&[
                    ("queued.min.messages", "1"),
                    ("queued.max.messages.kbytes", "8192"),
                    ("fetch.queue.backoff.ms", "250"),
                ]),
            }
        }
    }
    for (key, value) in &config.client {
        settings.set(key, value);
    }
    if matches!(role, Role::Asker) {
        // What it has learnt it must not forget by itself; see `Leaders`. A day is the most that librdkafka takes.
        settings.set("metadata.max.age.ms", "86400000");
    }
    settings.set_log_level(match role {
        // Nobody polls this client's own queue, where the lines would pile up. What it can't reach, the others can't either.
        Role::Asker => RDKafkaLogLevel::Emerg,
        Role::Producer | Role::Reader(_) => RDKafkaLogLevel::Info,
    });
    settings
}

/// Hears what a client says of itself.
#[derive(Debug)]
pub(super) struct Context {
    reach: Arc<Reach>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        match (level, facility) {
            // Each client repeats these with every attempt while a broker is away; `Reach` says it once.
            (_, "FAIL" | "ERROR") => {
                debug!(target: "librdkafka", facility, "{line}");
                // Not all of these come as errors, too.
                if remedy::remedy(line).is_some() {
                    self.reach.heard(&remedy::with_remedy(line), false);
                }
            }
            (
                RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error,
                _,
            ) => {
                warn!(target: "librdkafka", facility, "{line}");
            }
            _ => debug!(target: "librdkafka", facility, "{line}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::Authentication
                | RDKafkaErrorCode::SSL
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::SaslAuthenticationFailed,
            ) => self.reach.heard(&remedy::with_remedy(reason), true),
            // Says less than the broker's own line, which has been heard before it.
            Some(RDKafkaErrorCode::AllBrokersDown) => {}
            _ => self.reach.heard(&remedy::with_remedy(reason), false),
        }
    }
}

impl ConsumerContext for Context {}

/// Whether the brokers can be reached, told to people once when it changes.
#[derive(Debug)]
pub(super) struct Reach {
    brokers: String,
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    away: bool,
    /// What a client last said about its connections.
    cause: Option<(Instant, String)>,
    complained: Option<Instant>,
}

/// What a client said is a likely cause of what fails this long after.
const CAUSE_HOLDS: Duration = Duration::from_secs(30);
/// A refusal that needs a person is repeated this often.
const COMPLAIN_AGAIN: Duration = Duration::from_secs(60);

impl Reach {
    pub(super) fn new(brokers: &str) -> Self {
        Self { brokers: brokers.to_owned(), heard: Mutex::default() }
    }

    /// An answer came.
    pub(super) fn found(&self) {
        let mut heard = self.heard.lock();
        if std::mem::take(&mut heard.away) {
            info!(brokers = %self.brokers, "Kafka answers again");
        }
        heard.cause = None;
    }

    /// No answer came; the error to hand on.
    pub(super) fn lost(&self, tried: &str, outcome: &str) -> LogError {
        let mut heard = self.heard.lock();
        let cause = match &heard.cause {
            Some((at, cause)) if at.elapsed() < CAUSE_HOLDS => format!(" ({cause})"),
            _ => String::new(),
        };
        let reason = format!("{tried}: {outcome}{cause}");
        if !std::mem::replace(&mut heard.away, true) {
            warn!(brokers = %self.brokers, "Kafka does not answer: {reason}; trying on");
        }
        drop(heard);
        LogError::Unavailable { log: self.brokers.clone(), reason }
    }

    /// The error of a request that failed, when the brokers as such may be well.
    pub(super) fn unavailable(&self, tried: &str, outcome: &str) -> LogError {
        LogError::Unavailable { log: self.brokers.clone(), reason: format!("{tried}: {outcome}") }
    }

    /// A client has said why it fails; once in a while that is told to people, if only they can help.
    pub(super) fn heard(&self, reason: &str, needs_a_person: bool) {
        let mut heard = self.heard.lock();
        heard.cause = Some((Instant::now(), reason.to_owned()));
        if needs_a_person && heard.complained.is_none_or(|at| at.elapsed() >= COMPLAIN_AGAIN) {
            heard.complained = Some(Instant::now());
            warn!(brokers = %self.brokers, "{reason}; check --kafka and --kafka-config");
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::consumer::BaseConsumer;

    use super::*;

    #[test]
    fn who_asks_does_not_overrun_a_broker_that_never_answers() {
        let mut config = KafkaConfig::new("127.0.0.1:1");
        let pause = |config: &KafkaConfig, role| {
            settings(config, role).get("reconnect.backoff.ms").and_then(|pause| pause.parse::<u32>().ok())
        };
        assert_eq!(pause(&config, Role::Asker), Some(500), "four attempts a second");
        assert_eq!(pause(&config, Role::Producer), Some(50), "a record does not wait for long");
        // An operator's own bound may be shorter, and must be taken.
        config.client.insert(BACKOFF_MAX.to_owned(), "100".to_owned());
        let reach = Arc::new(Reach::new("127.0.0.1:1"));
        assert!(create::<BaseConsumer<Context>>(&config, Role::Asker, &reach).is_ok());
        config.client.insert("reconnect.backoff.ms".to_owned(), "80".to_owned());
        assert_eq!(pause(&config, Role::Asker), Some(80));
    }

    #[test]
    fn where_no_authority_is_named_the_systems_are_looked_for() {
        let mut config = KafkaConfig::new("127.0.0.1:1");
        let location = |config: &KafkaConfig| settings(config, Role::Asker).get("ssl.ca.location").map(str::to_owned);
        let variables = ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(std::env::var_os);
        if variables.iter().all(Option::is_none) {
            assert_eq!(location(&config).as_deref(), Some("probe"));
        }
        config.client.insert("ssl.ca.pem".to_owned(), "a private one".to_owned());
        assert_eq!(location(&config), None, "no other is trusted then");
        config.client.insert("ssl.ca.location".to_owned(), "/ca.pem".to_owned());
        assert_eq!(location(&config).as_deref(), Some("/ca.pem"));
    }
}
