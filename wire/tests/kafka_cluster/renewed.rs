//! What is replaced while the program runs: certificates, and logins that end.

use std::fs;
use std::time::Duration;

use anyhow::ensure;
use plimsoll_testkit::{Kafka, KafkaSettings, Listener, PASSWORD, USER, wait_until};
use plimsoll_wire::log::kafka::{KafkaConfig, KafkaLog, LogClient};
use plimsoll_wire::log::{EventLog, StartAt, TopicSpec};
use tokio::time::{Instant, sleep};

use crate::reading::{LIMIT, PACED, Reading, append_of, contents, unique};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_are_replaced_are_used_without_a_restart() {
    let listeners = vec![Listener::MutualTls];
    let kafka = Kafka::start_with(KafkaSettings { listeners, ..KafkaSettings::default() }).await.unwrap();
    let topic = unique("rotated");
    kafka.create_topics([&topic]).await.unwrap();
    let (certificates, folder) = (kafka.certificates().unwrap(), tempfile::tempdir().unwrap());
    let [authority, certificate, key] = ["authority.pem", "client.pem", "key.pem"].map(|name| folder.path().join(name));
    let own = rcgen::generate_simple_self_signed(vec!["plimsoll".to_owned()]).unwrap();
    // An authority that signed nothing here, and a certificate that nobody signed.
    fs::copy(certificates.stranger(), &authority).unwrap();
    fs::write(&certificate, own.cert.pem()).unwrap();
    fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    let client = [
        ("security.protocol", "ssl".to_owned()),
        ("ssl.ca.location", authority.display().to_string()),
        ("ssl.certificate.location", certificate.display().to_string()),
        ("ssl.key.location", key.display().to_string()),
    ];
    let client = client.map(|(key, value)| (key.to_owned(), value)).into();
    let brokers = kafka.bootstrap_of(Listener::MutualTls).unwrap();
    let log = KafkaLog::new(KafkaConfig { client, ..KafkaConfig::new(brokers) }).unwrap();
    let until_told = async |setting: &str| {
        wait_until(&format!("{setting} is told"), LIMIT, async || {
            let outcome = log.append(vec![append_of(&topic, "too soon")]).await.remove(0);
            let told = outcome.expect_err("it got in").to_string();
            ensure!(told.contains(setting), "{told}");
            Ok(())
        })
        .await
        .unwrap();
    };
    until_told("ssl.ca.location").await;
    fs::copy(certificates.authority(), &authority).unwrap();
    until_told("ssl.certificate.location").await;
    // In the middle of being replaced: what was read before stands, and nothing ends.
    fs::copy(certificates.client_certificate(), &certificate).unwrap();
    until_told("ssl.certificate.location").await;
    fs::copy(certificates.client_key(), &key).unwrap();
    wait_until("it gets in", LIMIT, async || {
        let outcome = log.append(vec![append_of(&topic, "in")]).await.remove(0);
        Ok(outcome?)
    })
    .await
    .unwrap();
    // librdkafka, which finds where reading starts and makes topics, reads files once for each client.
    assert_eq!(contents(&log, &topic, StartAt::Oldest).await.payloads(&topic), ["in"]);
    let spec = TopicSpec { topic: unique("made-after"), retention: Duration::from_secs(900) };
    wait_until("a topic is made", LIMIT, async || {
        let made = log.create_topics(std::slice::from_ref(&spec)).await.remove(0);
        Ok(made?)
    })
    .await
    .unwrap();
    log.close().await;
}

/// How long a login is good for, and how many of them the test outlasts.
const SESSION: Duration = Duration::from_secs(3);
const SESSIONS: u32 = 4;

/// A broker closes a connection that goes on after its login has ended (KIP-368).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_that_end_are_renewed_and_nobody_notices() {
    let properties = vec![("connections.max.reauth.ms".to_owned(), SESSION.as_millis().to_string())];
    let listeners = vec![Listener::Sasl];
    let kafka = Kafka::start_with(KafkaSettings { listeners, properties, ..KafkaSettings::default() }).await.unwrap();
    let topic = unique("relogged");
    kafka.create_topics([&topic]).await.unwrap();
    let client = [
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanisms", "SCRAM-SHA-256"),
        ("sasl.username", USER),
        ("sasl.password", PASSWORD),
    ];
    let client = client.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let brokers = kafka.bootstrap_of(Listener::Sasl).unwrap();
    let config = KafkaConfig { client, log_client: LogClient::Direct, ..KafkaConfig::new(brokers) };
    let log = KafkaLog::new(config).unwrap();
    let mut reading = Reading::of(&log, PACED, std::slice::from_ref(&topic), StartAt::Oldest);
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < SESSION * SESSIONS {
        let outcome = log.append(vec![append_of(&topic, count.to_string())]).await;
        assert_eq!(outcome, [Ok(())], "after {:?}", begun.elapsed());
        count += 1;
        reading.all().await;
        assert_eq!(reading.count(&topic), count, "after {:?}", begun.elapsed());
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(reading.failures, [], "reading went on");
    eprintln!("figure: {count} records over {SESSIONS} logins");
    log.close().await;
}
