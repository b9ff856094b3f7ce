//! What only the client of our own has to show: that it finds the topics' leaders, and gets past every kind of door.

use std::path::Path;
use std::time::Duration;

use plimsoll_testkit::{Kafka, KafkaCluster, KafkaSettings, Listener, PASSWORD, USER, wait_until};
use plimsoll_wire::log::kafka::{KafkaConfig, KafkaLog, LogClient};
use plimsoll_wire::log::{EventLog, LogError, StartAt, Topic};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::reading::{LIMIT, append_of, contents, unique, unique_many};

fn log_at(brokers: String, client: &[(&str, &str)]) -> KafkaLog {
    let client = client.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    KafkaLog::new(KafkaConfig { client, log_client: LogClient::Direct, ..KafkaConfig::new(brokers) }).unwrap()
}

async fn append_until_taken(log: &KafkaLog, topics: &[Topic], payload: &str) {
    wait_until("the records are taken", LIMIT, async || {
        let outcome = log.append(topics.iter().map(|topic| append_of(topic, payload)).collect()).await;
        anyhow::ensure!(outcome.iter().all(Result::is_ok), "{outcome:?}");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_of_three_brokers_are_appended_to_while_their_leaders_change() {
    let mut cluster = KafkaCluster::start().await.unwrap();
    let topics = unique_many("led", 30);
    cluster.create_topics(&topics).await.unwrap();
    let log = log_at(cluster.bootstrap(), &[]);
    append_until_taken(&log, &topics, "0").await;

    let leader = cluster.leader_of(&topics[0]).await.unwrap();
    let other = leader % 3 + 1;
    cluster.move_topic(&topics[0], &[other]).await.unwrap();
    let outcome = log.append(vec![append_of(&topics[0], "1")]).await;
    assert_eq!(outcome, [Ok(())], "a leader that has changed is found within the call");

    cluster.kill(leader).unwrap();
    let killed = Instant::now();
    append_until_taken(&log, &topics, "2").await;
    eprintln!("figure: all topics take records again {:?} after a leader's death", killed.elapsed());
    for topic in &topics {
        let payloads = contents(&log, topic, StartAt::Oldest).await.payloads(topic);
        assert_eq!(payloads.first().map(String::as_str), Some("0"), "{topic}");
        assert_eq!(payloads.last().map(String::as_str), Some("2"), "{topic}");
        assert!(payloads.is_sorted(), "{topic}: {payloads:?}");
    }
    log.close().await;
}

/// Settings of a client.
type Keys<'a> = Vec<(&'a str, &'a str)>;

/// A broker with every kind of door, for all tests; it ends with the program.
async fn doors() -> &'static Kafka {
    static DOORS: OnceCell<Kafka> = OnceCell::const_new();
    let listeners = vec![Listener::Tls, Listener::MutualTls, Listener::Sasl, Listener::SaslTls];
    let settings = KafkaSettings { listeners, ..KafkaSettings::default() };
    DOORS.get_or_init(|| async { Kafka::start_with(settings).await.unwrap() }).await
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_login_and_certificate_gets_in() {
    let kafka = doors().await;
    let topic = unique("doors");
    kafka.create_topics([&topic]).await.unwrap();
    let certificates = kafka.certificates().unwrap();
    let (authority, folder) = (certificates.authority(), certificates.folder());
    let (certificate, key) = (certificates.client_certificate(), certificates.client_key());
    let pem = std::fs::read_to_string(&authority).unwrap();
    let tls = [("security.protocol", "ssl"), ("ssl.ca.location", text(&authority))];
    let sasl = [("security.protocol", "sasl_plaintext"), ("sasl.username", USER), ("sasl.password", PASSWORD)];
    let sasl_tls = [("security.protocol", "SASL_SSL"), ("ssl.ca.location", text(&authority))];
    let user = [("sasl.username", USER), ("sasl.password", PASSWORD)];
    let mechanism = |name| [("sasl.mechanisms", name)];
    let identity = [("ssl.certificate.location", text(&certificate)), ("ssl.key.location", text(&key))];
    let token = [
        ("enable.sasl.oauthbearer.unsecure.jwt", "true"),
        ("sasl.oauthbearer.config", "principal=plimsoll lifeSeconds=600"),
    ];
    let cases: Vec<(&str, Listener, Keys<'_>)> = vec![
        ("TLS", Listener::Tls, tls.to_vec()),
        ("authority inline", Listener::Tls, vec![("security.protocol", "ssl"), ("ssl.ca.pem", &pem)]),
        (
            "no check",
            Listener::Tls,
            vec![("security.protocol", "ssl"), ("enable.ssl.certificate.verification", "false")],
        ),
        ("no name", Listener::Tls, [&tls[..], &[("ssl.endpoint.identification.algorithm", "none")]].concat()),
        ("mutual TLS", Listener::MutualTls, [&tls[..], &identity].concat()),
        ("PLAIN", Listener::Sasl, [&sasl[..], &mechanism("PLAIN")].concat()),
        ("SCRAM-SHA-256", Listener::Sasl, [&sasl[..], &mechanism("SCRAM-SHA-256")].concat()),
        ("SCRAM-SHA-512 in TLS", Listener::SaslTls, [&sasl_tls[..], &user, &mechanism("SCRAM-SHA-512")].concat()),
        ("OAUTHBEARER in TLS", Listener::SaslTls, [&sasl_tls[..], &token, &mechanism("OAUTHBEARER")].concat()),
    ];
    assert!(folder.is_dir());
    for (name, listener, client) in &cases {
        let log = log_at(kafka.bootstrap_of(*listener).unwrap(), client);
        let outcome = log.append(vec![append_of(&topic, *name)]).await;
        assert_eq!(outcome, [Ok(())], "{name}");
        log.close().await;
    }
    let read = contents(&log_at(kafka.bootstrap(), &[]), &topic, StartAt::Oldest).await.payloads(&topic);
    assert_eq!(read, cases.iter().map(|(name, ..)| *name).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_door_that_stays_shut_is_named_with_its_key() {
    let kafka = doors().await;
    let topic = unique("shut");
    kafka.create_topics([&topic]).await.unwrap();
    let certificates = kafka.certificates().unwrap();
    let (authority, stranger) = (certificates.authority(), certificates.stranger());
    let tls = |authority| vec![("security.protocol", "ssl"), ("ssl.ca.location", authority)];
    let sasl = |mechanism, password| {
        vec![
            ("security.protocol", "sasl_plaintext"),
            ("sasl.mechanisms", mechanism),
            ("sasl.username", USER),
            ("sasl.password", password),
        ]
    };
    let cases: Vec<(&str, Listener, Keys<'_>, &[&str])> = vec![
        ("a stranger", Listener::Tls, tls(text(&stranger)), &["ssl.ca.location"]),
        ("no certificate", Listener::MutualTls, tls(text(&authority)), &["ssl.certificate.location"]),
        ("a wrong password", Listener::Sasl, sasl("PLAIN", "wrong"), &["sasl.password", USER]),
        ("a wrong SCRAM password", Listener::Sasl, sasl("SCRAM-SHA-256", "wrong"), &["sasl.password", USER]),
        ("plain to TLS", Listener::Tls, vec![], &["security.protocol"]),
        ("TLS to plain", Listener::Sasl, tls(text(&authority)), &["security.protocol"]),
    ];
    for (name, listener, client, told) in cases {
        let brokers = kafka.bootstrap_of(listener).unwrap();
        let log = log_at(brokers.clone(), &client);
        let begun = Instant::now();
        let outcome = log.append(vec![append_of(&topic, name)]).await.remove(0);
        let error = outcome.expect_err(name);
        eprintln!("{name}: {error}");
        assert!(begun.elapsed() < Duration::from_secs(15), "{name}: {:?}", begun.elapsed());
        assert!(!matches!(error, LogError::UnknownTopic { .. }), "{name}: {error}");
        let error = error.to_string();
        assert!(error.contains(&brokers), "{name}: {error}");
        assert!(told.iter().all(|told| error.contains(told)), "{name}: {error}");
        assert!(!error.contains("wrong") || name.contains("wrong"), "{name}: {error}");
        log.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_that_nobody_waits_for_disturbs_no_other() {
    let kafka = crate::kafka::shared().await;
    let topics = unique_many("dropped", 300);
    kafka.create_topics(&topics).await.unwrap();
    let log = log_at(kafka.bootstrap(), &[]);
    append_until_taken(&log, &topics, "0").await;
    for round in 0..200u64 {
        let records = topics.iter().map(|topic| append_of(topic, "dropped")).collect();
        // Given up at another moment in each round.
        let _ = tokio::time::timeout(Duration::from_micros(round * 50), log.append(records)).await;
        let few = log.append(vec![append_of(&topics[0], "few")]).await;
        assert_eq!(few, [Ok(())], "round {round}");
    }
    append_until_taken(&log, &topics, "last").await;
    for topic in [&topics[0], &topics[299]] {
        let payloads = contents(&log, topic, StartAt::Oldest).await.payloads(topic);
        assert_eq!(payloads.last().map(String::as_str), Some("last"));
    }
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_beyond_a_topics_largest_batch_go_in_smaller_ones_in_order() {
    let properties = vec![("message.max.bytes".to_owned(), "20000".to_owned())];
    let kafka = Kafka::start_with(KafkaSettings { properties, ..KafkaSettings::default() }).await.unwrap();
    let (many, giant) = (unique("many"), unique("giant"));
    kafka.create_topics([&many, &giant]).await.unwrap();
    let log = log_at(kafka.bootstrap(), &[]);
    let payload = |number: usize| format!("{number:04}{}", "x".repeat(1_000));
    let mut records: Vec<_> = (0..60).map(|number| append_of(&many, payload(number))).collect();
    records.push(append_of(&giant, "x".repeat(30_000)));
    records.push(append_of(&giant, "small"));
    let outcome = log.append(records).await;
    assert!(outcome[..60].iter().all(Result::is_ok), "{outcome:?}");
    let Err(LogError::Refused { reason, .. }) = &outcome[60] else { panic!("{:?}", outcome[60]) };
    assert!(reason.contains("max.message.bytes"), "{reason}");
    assert_eq!(outcome[61], Ok(()));
    let read = contents(&log, &many, StartAt::Oldest).await.payloads(&many);
    assert_eq!(read, (0..60).map(payload).collect::<Vec<_>>());
    log.close().await;
}

/// The bytes of a batch that differ from one to the next: the checksum and the times.
fn without_times(mut batch: Vec<u8>) -> Vec<u8> {
    for place in (17..21).chain(27..43) {
        batch[place] = 0;
    }
    batch
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_keeps_the_same_bytes_as_of_librdkafka() {
    let kafka = crate::kafka::shared().await;
    let topics = [unique("by-us"), unique("by-librdkafka")];
    kafka.create_topics(&topics).await.unwrap();
    let mut kept = Vec::new();
    for (topic, log_client) in topics.iter().zip(LogClient::ALL) {
        let log = KafkaLog::new(KafkaConfig { log_client, ..KafkaConfig::new(kafka.bootstrap()) }).unwrap();
        append_until_taken(&log, std::slice::from_ref(topic), "a frame").await;
        log.close().await;
        let segment = kafka.data().join("data").join(format!("{topic}-0")).join("00000000000000000000.log");
        kept.push(without_times(std::fs::read(segment).unwrap()));
    }
    assert_eq!(kept[0], kept[1]);
}
