//! Answers of a real broker that come spoilt: nothing panics, memory stays, people are told, and afterwards all is read.

use std::time::Duration;

use plimsoll_wire::log::kafka::{KafkaConfig, KafkaLog};
use plimsoll_wire::log::{EventLog, LogError, StartAt, Topic};
use tokio::time::{Instant, sleep};

use crate::meddler::{Api, Meddler};
use crate::reading::{LIMIT, PACED, Reading, append_of, unique_many};
use crate::{alone, resident_kib};

/// Our own client's requests, which librdkafka sends in other versions: what it makes of rubbish is not our business.
const FETCH: Api = (1, 10);
const OURS: [Api; 4] = [(0, 7), FETCH, (2, 4), (3, 4)];
/// Where the number of topics stands in an answer to Fetch: behind throttle, code and session.
const FETCH_TOPICS_AT: usize = 10;
/// How long answers are spoilt at random.
const NOISE: Duration = Duration::from_secs(6);
/// What an answer may claim is two milliards of topics.
const GROWTH_MAX_KIB: u64 = 150 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spoilt_answers_are_told_and_cost_nothing_that_lasts() {
    let _alone = alone().await;
    let (kafka, meddler) = Meddler::start().await;
    let topics = unique_many("spoilt", 20);
    kafka.create_topics(&topics).await.unwrap();
    let log = KafkaLog::new(KafkaConfig::new(meddler.address.clone())).unwrap();
    let mut round = 0;
    append_to_all(&log, &topics, &mut round).await;
    let mut reading = Reading::of(&log, PACED, &topics, StartAt::Oldest);
    reading.all().await;

    a_changed_record_makes_its_topic_unknown_and_no_other(&meddler, &log, &topics, &mut reading, &mut round).await;
    claims_of_giants_take_no_memory(&meddler, &topics, &mut reading).await;
    an_error_of_the_whole_is_told(&meddler, &topics, &mut reading).await;
    noise_ends_nothing(&meddler, &log, &topics, &mut reading).await;

    append_to_all(&log, &topics, &mut round).await;
    reading.all().await;
    for topic in &topics {
        let payloads = reading.payloads(topic);
        for round in 0..round {
            assert!(payloads.contains(&format!("round {round}")), "{topic}: round {round} is lost");
        }
    }
    log.close().await;
}

/// One record to each topic, which must be taken.
async fn append_to_all(log: &KafkaLog, topics: &[Topic], round: &mut usize) {
    let payload = format!("round {round}");
    let begun = Instant::now();
    let mut left: Vec<&Topic> = topics.iter().collect();
    while !left.is_empty() {
        assert!(begun.elapsed() < LIMIT, "not taken: {left:?}");
        let outcome = log.append(left.iter().map(|topic| append_of(topic, payload.clone())).collect()).await;
        left = left.into_iter().zip(outcome).filter(|(_, outcome)| outcome.is_err()).map(|(topic, _)| topic).collect();
    }
    *round += 1;
}

/// Reads until a failure of this topic is told with these words, in one line, naming the broker.
async fn until_told(reading: &mut Reading, meddler: &Meddler, topic: &Topic, words: &[&str]) {
    let is_told = |(failed, error): &(Topic, LogError)| {
        let text = error.to_string();
        failed == topic && words.iter().all(|word| text.contains(word)) && text.contains(&meddler.address)
    };
    reading.until(&format!("{words:?} is told"), |reading| reading.failures.iter().any(is_told)).await;
    let (_, error) = reading.failures.iter().find(|failure| is_told(failure)).unwrap();
    eprintln!("told: {error}");
    assert!(!error.to_string().contains('\n'), "{error}");
    assert!(matches!(error, LogError::Unavailable { .. }), "{error:?}");
}

async fn a_changed_record_makes_its_topic_unknown_and_no_other(
    meddler: &Meddler,
    log: &KafkaLog,
    topics: &[Topic],
    reading: &mut Reading,
    round: &mut usize,
) {
    // The newest records are of this length; one letter of one topic's becomes another.
    let spoilt = topics[0].clone();
    let name = spoilt.clone();
    let payload = format!("round {round}");
    meddler.change(move |api, mut answer| {
        let find = |answer: &[u8], what: &[u8], from: usize| {
            answer[from..].windows(what.len()).position(|window| window == what).map(|at| at + from)
        };
        if api == FETCH
            && let Some(topic) = find(&answer, name.as_bytes(), 0)
            && let Some(record) = find(&answer, payload.as_bytes(), topic)
            && record - topic < name.len() + 200
        {
            answer[record] = b'R';
        }
        answer
    });
    append_to_all(log, topics, round).await;
    until_told(reading, meddler, &spoilt, &["checksum", &spoilt, "--direct-reading false"]).await;
    let now = Instant::now();
    reading
        .until("the others are proven", |reading| {
            let proof = reading.read_through.as_ref().unwrap();
            proof.as_of >= now && proof.behind == [spoilt.clone()]
        })
        .await;
    assert!(reading.payloads(&spoilt).iter().all(|payload| !payload.starts_with('R')), "what is spoilt is not yielded");
    meddler.leave_alone();
    reading.all().await;
    reading.failures.clear();
}

async fn claims_of_giants_take_no_memory(meddler: &Meddler, topics: &[Topic], reading: &mut Reading) {
    let before = resident_kib();
    meddler.change(|api, mut answer| {
        if api == FETCH {
            answer[FETCH_TOPICS_AT..FETCH_TOPICS_AT + 4].copy_from_slice(&i32::MAX.to_be_bytes());
        }
        answer
    });
    until_told(reading, meddler, &topics[0], &["no Kafka answer", "--direct-reading false"]).await;
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < GROWTH_MAX_KIB, "{grown} KiB");
    meddler.leave_alone();
    reading.all().await;
    reading.failures.clear();
}

async fn an_error_of_the_whole_is_told(meddler: &Meddler, topics: &[Topic], reading: &mut Reading) {
    meddler.change(|api, mut answer| {
        if api == FETCH {
            answer[4..6].copy_from_slice(&56_i16.to_be_bytes());
        }
        answer
    });
    until_told(reading, meddler, &topics[0], &["KAFKA_STORAGE_ERROR"]).await;
    meddler.leave_alone();
    reading.all().await;
    reading.failures.clear();
}

/// Every other answer is cut off, blown up, noise, or has some bytes that are others.
async fn noise_ends_nothing(meddler: &Meddler, log: &KafkaLog, topics: &[Topic], reading: &mut Reading) {
    let (before, changed_before) = (resident_kib(), meddler.changed());
    // A generator by George Marsaglia (xorshift64); the seed is any number but 0.
    let mut state = 0x5eed_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    meddler.change(move |api, mut answer| {
        if !OURS.contains(&api) || next() % 2 == 0 || answer.is_empty() {
            return answer;
        }
        match next() % 4 {
            0 => answer.truncate(next() % answer.len()),
            1 => answer.iter_mut().for_each(|byte| *byte = next() as u8),
            2 => answer.extend((0..next() % 1_000).map(|_| 0xff)),
            _ => {
                for _ in 0..1 + next() % 8 {
                    let at = next() % answer.len();
                    answer[at] = next() as u8;
                }
            }
        }
        answer
    });
    let begun = Instant::now();
    while begun.elapsed() < NOISE {
        // What comes of these nobody can say: their answers are spoilt, too.
        let _ = log.append(topics.iter().map(|topic| append_of(topic, "noise")).collect()).await;
        let _ = tokio::time::timeout(Duration::from_millis(50), reading.subscription.next()).await;
        sleep(Duration::from_millis(20)).await;
    }
    meddler.leave_alone();
    let (changed, grown) = (meddler.changed() - changed_before, resident_kib().saturating_sub(before));
    eprintln!("figure: {changed} answers were spoilt, {grown} KiB more");
    assert!(changed > 20, "only {changed} answers were spoilt");
    assert!(grown < GROWTH_MAX_KIB, "{grown} KiB");
    let now = Instant::now();
    reading
        .until("all is proven again", |reading| {
            reading.read_through.as_ref().is_some_and(|proof| proof.as_of >= now && proof.behind.is_empty())
        })
        .await;
}
