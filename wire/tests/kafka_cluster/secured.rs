//! Listeners that want TLS, a client's certificate, a user's word; and what a person is told who got it wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use plimsoll_testkit::{Kafka, KafkaSettings, Listener, PASSWORD, USER, wait_until};
use plimsoll_wire::log::kafka::{KafkaConfig, KafkaLog};
use plimsoll_wire::log::{EventLog as _, LogError, StartAt};
use tokio::sync::OnceCell;

use crate::clients;
use crate::reading::{LIMIT, append_of, contents, create, unique};

const EVERY: [Listener; 4] = [Listener::Tls, Listener::MutualTls, Listener::Sasl, Listener::SaslTls];
const MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];

/// Settings by which a client gets in.
type Settings = BTreeMap<String, String>;

/// A broker with every listener, for all tests; it ends with the program.
async fn broker() -> &'static Kafka {
    static BROKER: OnceCell<Kafka> = OnceCell::const_new();
    let settings = KafkaSettings { listeners: EVERY.into(), ..KafkaSettings::default() };
    BROKER.get_or_init(|| async { Kafka::start_with(settings).await.unwrap() }).await
}

/// What any client of this listener needs, but for a login.
fn reaching(kafka: &Kafka, listener: Listener) -> Settings {
    let mut settings = Settings::from([("security.protocol".into(), listener.security_protocol().into())]);
    let certificates = kafka.certificates().unwrap();
    if listener != Listener::Sasl {
        settings.insert("ssl.ca.location".into(), certificates.authority().display().to_string());
    }
    if listener == Listener::MutualTls {
        settings.insert("ssl.certificate.location".into(), certificates.client_certificate().display().to_string());
        settings.insert("ssl.key.location".into(), certificates.client_key().display().to_string());
    }
    settings
}

fn with(mut settings: Settings, more: &[(&str, &str)]) -> Settings {
    settings.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    settings
}

fn login(mechanism: &str, password: &str) -> Vec<(&'static str, String)> {
    vec![
        ("sasl.mechanism", mechanism.to_owned()),
        ("sasl.username", USER.to_owned()),
        ("sasl.password", password.to_owned()),
    ]
}

fn logged_in(settings: Settings, mechanism: &str, password: &str) -> Settings {
    let login = login(mechanism, password);
    with(settings, &login.iter().map(|(key, value)| (*key, value.as_str())).collect::<Vec<_>>())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_and_each_login_of_the_real_broker_work_for_writing_reading_and_asking() {
    let kafka = broker().await;
    let mut ways = vec![
        (Listener::Tls, reaching(kafka, Listener::Tls)),
        (Listener::MutualTls, reaching(kafka, Listener::MutualTls)),
    ];
    for listener in [Listener::Sasl, Listener::SaslTls] {
        for mechanism in MECHANISMS {
            ways.push((listener, logged_in(reaching(kafka, listener), mechanism, PASSWORD)));
        }
    }
    let token = [
        ("sasl.mechanism", "OAUTHBEARER"),
        ("enable.sasl.oauthbearer.unsecure.jwt", "true"),
        ("sasl.oauthbearer.config", "principal=plimsoll lifeSeconds=600"),
    ];
    ways.push((Listener::SaslTls, with(reaching(kafka, Listener::SaslTls), &token)));
    for (listener, settings) in ways {
        for (name, config) in clients(&kafka.bootstrap_of(listener).unwrap()) {
            eprintln!("{name}: {listener:?} {:?}", settings.get("sasl.mechanism"));
            let log = KafkaLog::new(KafkaConfig { client: settings.clone(), ..config }).unwrap();
            log.check(Duration::from_secs(20)).await.unwrap();
            let topic = unique("secured");
            create(&log, std::slice::from_ref(&topic)).await;
            // A busy machine may take longer for a first handshake than an append waits, and what was not acknowledged may be there.
            wait_until("a record is taken", LIMIT, async || {
                Ok(log.append(vec![append_of(&topic, "0")]).await.remove(0)?)
            })
            .await
            .unwrap();
            let payloads = contents(&log, &topic, StartAt::Oldest).await.payloads(&topic);
            assert!(!payloads.is_empty() && payloads.iter().all(|payload| payload == "0"), "{payloads:?}");
            log.close().await;
        }
    }
}

/// A mistake in the settings, and what the one line about it must name.
struct Mistake {
    what: &'static str,
    listener: Listener,
    settings: Settings,
    named: &'static [&'static str],
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mistake_in_the_settings_is_told_with_the_broker_the_setting_and_the_remedy() {
    let kafka = broker().await;
    let certificates = kafka.certificates().unwrap();
    let stranger = certificates.stranger().display().to_string();
    let mut no_certificate = reaching(kafka, Listener::MutualTls);
    no_certificate.retain(|key, _| !key.contains("certificate") && !key.contains("key"));
    let mistakes = [
        Mistake {
            what: "a wrong password",
            listener: Listener::SaslTls,
            settings: logged_in(reaching(kafka, Listener::SaslTls), "SCRAM-SHA-512", "a-wrong-secret"),
            named: &["sasl.username", "sasl.password"],
        },
        Mistake {
            what: "a wrong password, PLAIN",
            listener: Listener::Sasl,
            settings: logged_in(reaching(kafka, Listener::Sasl), "PLAIN", "a-wrong-secret"),
            named: &["sasl.username", "sasl.password"],
        },
        Mistake {
            what: "a certificate of an unknown authority",
            listener: Listener::Tls,
            settings: with(reaching(kafka, Listener::Tls), &[("ssl.ca.location", &stranger)]),
            named: &["ssl.ca.location"],
        },
        Mistake {
            what: "no certificate where one is wanted",
            listener: Listener::MutualTls,
            settings: no_certificate,
            named: &["ssl.certificate.location", "ssl.key.location"],
        },
        Mistake {
            what: "TLS where there is none",
            listener: Listener::Sasl,
            settings: logged_in(reaching(kafka, Listener::SaslTls), "PLAIN", PASSWORD),
            named: &["security.protocol"],
        },
    ];
    for Mistake { what, listener, settings, named } in mistakes {
        let brokers = kafka.bootstrap_of(listener).unwrap();
        for (name, config) in clients(&brokers) {
            let log = KafkaLog::new(KafkaConfig { client: settings.clone(), ..config }).unwrap();
            // Some causes show only when a broker or the client has waited for the other in vain.
            let told = async || {
                let error = log.check(Duration::from_secs(3)).await.err().context("it got in")?;
                let text = error.to_string();
                ensure!(matches!(error, LogError::Unavailable { .. } | LogError::Refused { .. }), "{error:?}");
                ensure!(text.contains(&brokers), "the broker is not named: {text}");
                ensure!(named.iter().all(|setting| text.contains(setting)), "{named:?} is not named: {text}");
                Ok(text)
            };
            let text = wait_until(&format!("{what} is told"), LIMIT, told).await.unwrap();
            eprintln!("{name}: {what}: {text}");
            assert!(!text.contains('\n') && !text.contains("a-wrong-secret"), "{what}: {text}");
            log.close().await;
        }
    }
}

#[test]
fn a_mechanism_that_nobody_knows_is_named_at_once() {
    for (name, config) in clients("127.0.0.1:1") {
        let settings = [
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "SCRAM-SHA-1024"),
            ("sasl.username", "u"),
            ("sasl.password", "p"),
        ];
        let error = KafkaLog::new(KafkaConfig { client: with(Settings::new(), &settings), ..config }).unwrap_err();
        let text = error.to_string();
        eprintln!("{name}: {text}");
        assert!(matches!(error, LogError::BadSetting { .. }), "{error:?}");
        assert!(text.contains("sasl.mechanism") && text.contains("SCRAM-SHA-1024"), "{text}");
        assert!(text.contains("SCRAM-SHA-512"), "what may be given instead: {text}");
    }
}
