//! Brokers that are killed, moved away from, frozen, and away altogether.

use std::time::Duration;

use plimsoll_testkit::{Kafka, KafkaCluster, KafkaSettings};
use plimsoll_wire::log::kafka::{KafkaConfig, KafkaLog, LogClient};
use plimsoll_wire::log::{EventLog, Topic, TopicSpec};
use tokio::time::{Instant, sleep};

use crate::clients;
use crate::lines::Lines;
use crate::reading::unique_many;
use crate::trial::Trial;
use crate::verdict::{longest_silence, nothing_is_lost_or_repeated, oldest_proof};

/// The longest that a cluster may take to go on after a change, on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);
/// How long a broker hangs.
const FROZEN: Duration = Duration::from_secs(10);
/// What other brokers lead may get so much older than it was before: without a proof for 3 s a workload is unknown. On an idle machine
/// it is some 1.5 s.
const OTHERS_WAIT: Duration = Duration::from_secs(3);
/// How long that is looked at before, since the machine may be slow by itself.
const QUIET: Duration = Duration::from_secs(5);
/// If others had to wait for it, they would wait for all of its time: with librdkafka they do for some of it.
const NOT_FOR_ALL: Duration = Duration::from_secs(9);
/// How long all brokers are away.
const AWAY: Duration = Duration::from_secs(30);

/// All clients at once on one cluster, and one trouble after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_in_trouble_loses_and_repeats_nothing() {
    let lines = Lines::hear();
    let properties = [
        // A record is acknowledged when all replicas that keep up have it.
        ("min.insync.replicas", "1"),
        // Less than a broker hangs, so that others lead what it led; and more than the others are late with their heartbeats on a busy
        // machine, while another controller takes over.
        ("broker.session.timeout.ms", "7000"),
        ("broker.heartbeat.interval.ms", "500"),
    ];
    let properties = properties.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let mut cluster = KafkaCluster::start_with(KafkaSettings { heap_mib: 256, properties, ..KafkaSettings::default() })
        .await
        .unwrap();
    let mut trials = Vec::new();
    for (name, config) in clients(&cluster.bootstrap()) {
        // A broker answers a connection in order, and a record that waits for a replica holds up those behind it. So the topics
        // without other replicas have clients of their own.
        for (kind, count, replication) in [("kept", 12, 3), ("lone", 6, 1)] {
            let topics = topics(&config, &format!("{kind}-{name}"), count, replication).await;
            trials.push(Trial::start(name, config.clone(), &topics));
        }
    }
    go_on("the beginning", &trials).await;

    a_leader_is_killed_and_comes_back(&mut cluster, &trials).await;
    a_topic_is_moved(&cluster, &trials).await;
    a_broker_hangs(&cluster, &trials, &lines).await;
    all_brokers_are_away(&mut cluster, &trials).await;
    let replaced = lines.with(&["has failed for", "is replaced"]);
    eprintln!("figure: {} clients were replaced", replaced.len());
    assert!(!replaced.is_empty(), "no client was replaced, though the brokers were away for {AWAY:?}");

    for trial in trials {
        let (written, seen) = trial.finish(LIMIT).await;
        nothing_is_lost_or_repeated(&written, &seen);
    }
}

/// New topics with so many replicas.
pub(crate) async fn topics(config: &KafkaConfig, name: &str, count: usize, replication: u16) -> Vec<Topic> {
    let log = KafkaLog::new(KafkaConfig { replication: Some(replication), ..config.clone() }).unwrap();
    let topics = unique_many(name, count);
    let spec = |topic: &Topic| TopicSpec { topic: topic.clone(), retention: Duration::from_secs(900) };
    let specs: Vec<_> = topics.iter().map(spec).collect();
    assert!(log.create_topics(&specs).await.iter().all(|created| *created == Ok(true)));
    log.close().await;
    topics
}

fn is_kept(topic: &&Topic) -> bool {
    topic.contains("kept")
}

async fn go_on(what: &str, trials: &[Trial]) {
    for trial in trials {
        trial.goes_on(what, &trial.topics, LIMIT).await;
    }
}

async fn a_leader_is_killed_and_comes_back(cluster: &mut KafkaCluster, trials: &[Trial]) {
    let leader = cluster.leader_of(&trials[0].topics[0]).await.unwrap();
    cluster.kill(leader).unwrap();
    for trial in trials {
        let kept: Vec<_> = trial.topics.iter().filter(is_kept).cloned().collect();
        trial.goes_on("a leader killed", &kept, LIMIT).await;
    }
    cluster.restart(leader).await.unwrap();
    go_on("the killed leader back", trials).await;
}

async fn a_topic_is_moved(cluster: &KafkaCluster, trials: &[Trial]) {
    for trial in trials {
        for topic in [trial.topics.first().unwrap(), trial.topics.last().unwrap()] {
            let leader = cluster.leader_of(topic).await.unwrap();
            cluster.move_topic(topic, &[leader % 3 + 1]).await.unwrap();
        }
    }
    go_on("topics moved to another broker", trials).await;
}

/// What the other brokers lead goes on as if nothing were: neither appends nor proofs wait for the one that hangs.
async fn a_broker_hangs(cluster: &KafkaCluster, trials: &[Trial], lines: &Lines) {
    let hanging = 1;
    let leaders = cluster.leaders().await.unwrap();
    let quiet = Instant::now();
    sleep(QUIET).await;
    let frozen = Instant::now();
    cluster.freeze(hanging).unwrap();
    sleep(FROZEN).await;
    cluster.thaw(hanging).unwrap();
    let thawed = Instant::now();
    for line in lines.with(&["member of the cluster"]) {
        eprintln!("told: {line}");
    }
    let mut looked_at = 0;
    for trial in trials {
        // Those with replicas wait for the one that hangs until it is left behind.
        let elsewhere: Vec<_> =
            trial.topics.iter().filter(|topic| !is_kept(topic) && leaders[&***topic] != hanging).collect();
        looked_at += elsewhere.len();
        for topic in elsewhere {
            let silence = longest_silence(&trial.written(topic), frozen, thawed);
            let ages = |from, to| {
                let oldest = |reader: &crate::trial::Reader| oldest_proof(&reader.seen.lock(), topic, from, to);
                trial.readers.iter().map(oldest).collect::<Vec<_>>()
            };
            let (before, during) = (ages(quiet, frozen), ages(frozen, thawed));
            eprintln!(
                "figure: a broker hangs: {} at another: silent {silence:.1?}, proofs as old as {during:.1?}, before {before:.1?}",
                trial.name
            );
            let (written, own) = (trial.written(topic), trial.name == LogClient::Direct.name());
            let usual = longest_silence(&written, quiet, frozen);
            let limit = if own { usual + OTHERS_WAIT } else { NOT_FOR_ALL };
            assert!(
                silence < limit,
                "{topic} waits for another's broker: {silence:?}, {usual:?}, {:?}",
                written.failed
            );
            // What librdkafka's paced consumers bring is theirs to say: a figure only.
            let asserted = if own { trial.readers.len() } else { 1 };
            for (before, during) in before.iter().zip(&during).take(asserted) {
                let limit = if own { *before + OTHERS_WAIT } else { NOT_FOR_ALL };
                assert!(*during < limit, "{topic} is not proven meanwhile: {during:?}, before {before:?}");
            }
        }
    }
    assert!(looked_at > 0, "the broker that hangs leads all topics");
    go_on("the hanging broker back", trials).await;
}

async fn all_brokers_are_away(cluster: &mut KafkaCluster, trials: &[Trial]) {
    let away = Instant::now();
    cluster.kill_all().unwrap();
    let killed = Instant::now();
    sleep(AWAY).await;
    for trial in trials {
        for topic in &trial.topics {
            let written = trial.written(topic);
            assert!(written.acknowledged.iter().all(|(_, at)| *at < killed + Duration::from_secs(1)));
            for reader in &trial.readers {
                let last = reader.seen.lock().proofs[topic].last().copied();
                assert!(last.is_none_or(|(as_of, _)| as_of <= killed), "{topic} proven while no broker was there");
            }
        }
    }
    cluster.restart_all().await.unwrap();
    eprintln!("figure: all brokers were away for {:.1?}", away.elapsed());
    go_on("all brokers back", trials).await;
}

/// A broker that hangs for longer than its session is fenced, and tells its clients at its return, for a moment, that there are no
/// brokers (confluentinc/librdkafka#5301). Whoever takes that for the truth must not stay away for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_was_told_of_no_broker_comes_back() {
    let mut kafka = Kafka::start().await.unwrap();
    // From here on its session is short.
    kafka.restart().await.unwrap();
    let mut trials = Vec::new();
    for (name, config) in clients(&kafka.bootstrap()) {
        let topics = unique_many(&format!("fenced-{name}"), 3);
        kafka.create_topics(&topics).await.unwrap();
        trials.push(Trial::start(name, config, &topics));
    }
    go_on("the beginning", &trials).await;
    for _ in 0..2 {
        kafka.freeze().unwrap();
        sleep(Duration::from_secs(6)).await;
        kafka.thaw().unwrap();
        go_on("a broker fenced and back", &trials).await;
    }
    for trial in trials {
        let (written, seen) = trial.finish(LIMIT).await;
        nothing_is_lost_or_repeated(&written, &seen);
    }
}
