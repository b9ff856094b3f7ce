//! The promises.

use std::time::Duration;

use plimsoll_wire::log::{EventLog, LogError, Pace, StartAt, Topic, TopicSpec};
use tokio::time::{Instant, sleep};

use crate::audit;
use crate::figures;
use crate::reading::{LIMIT, PACED, Reading, append, append_of, contents, create, numbers, unique, unique_many};

fn unknown(topic: &Topic) -> LogError {
    LogError::UnknownTopic { topic: topic.to_string() }
}

pub(crate) async fn a_topics_records_come_in_order(log: &dyn EventLog) {
    let topics = unique_many("order", 5);
    create(log, &topics).await;
    let mut early = Reading::of(log, Pace::AtOnce, &topics, StartAt::Oldest);
    for round in 0..10 {
        let records =
            (0..20).flat_map(|n| topics.iter().map(move |topic| append_of(topic, (round * 20 + n).to_string())));
        assert!(log.append(records.collect()).await.iter().all(Result::is_ok));
    }
    let mut late = Reading::of(log, PACED, &topics, StartAt::Oldest);
    for reading in [&mut early, &mut late] {
        reading.all().await;
        for topic in &topics {
            assert_eq!(reading.payloads(topic), numbers(0..200));
            let records = &reading.records[topic];
            assert!(records.is_sorted_by(|a, b| a.offset < b.offset && a.appended <= b.appended));
        }
    }
}

pub(crate) async fn reading_starts_where_it_was_asked_to(log: &dyn EventLog) {
    let (topic, empty) = (unique("start"), unique("start-empty"));
    create(log, &[topic.clone(), empty.clone()]).await;
    for number in numbers(0..5) {
        append(log, &topic, number).await;
        // So that no two records have the same time.
        sleep(Duration::from_millis(20)).await;
    }
    let all = contents(log, &topic, StartAt::Oldest).await;
    assert_eq!(all.payloads(&topic), numbers(0..5));
    let times: Vec<_> = all.records[&topic].iter().map(|record| record.appended).collect();

    let from = async |start| contents(log, &topic, start).await.payloads(&topic);
    let time = |time, back| StartAt::From { time, back };
    assert_eq!(from(time(times[2], Duration::ZERO)).await, numbers(2..5), "a record at the very time counts");
    let just_after = plimsoll_wire::log::LogTime(times[2].0 + 1);
    assert_eq!(from(time(just_after, Duration::ZERO)).await, numbers(3..5));
    let after_all = plimsoll_wire::log::LogTime(times[4].0 + 1);
    assert_eq!(
        from(time(after_all, Duration::ZERO)).await,
        numbers(4..5),
        "the time may be from a clock that is ahead"
    );
    assert_eq!(from(StartAt::End).await, numbers(0..0));
    let window = Duration::from_millis(times[4].0 - times[3].0);
    assert_eq!(from(time(after_all, window)).await, numbers(3..5));
    assert_eq!(from(time(times[1], window)).await, numbers(1..5));
    assert_eq!(from(StartAt::BeforeNewest(window)).await, numbers(3..5));
    assert_eq!(from(StartAt::BeforeNewest(Duration::ZERO)).await, numbers(4..5));
    assert_eq!(from(StartAt::BeforeNewest(Duration::from_secs(3600))).await, numbers(0..5));

    let mut of_empty = contents(log, &empty, StartAt::BeforeNewest(window)).await;
    let mut at_end = contents(log, &topic, StartAt::End).await;
    append(log, &empty, "first").await;
    append(log, &topic, "5").await;
    of_empty.all().await;
    at_end.all().await;
    assert_eq!(of_empty.payloads(&empty), ["first"]);
    assert_eq!(at_end.payloads(&topic), ["5"]);
}

pub(crate) async fn records_are_gone_after_their_retention(log: &dyn EventLog) {
    let topic = unique("retention");
    let spec = TopicSpec { topic: topic.clone(), retention: Duration::from_secs(1) };
    assert_eq!(log.create_topics(&[spec]).await, [Ok(true)]);
    append(log, &topic, "old").await;
    let read_from_the_start = contents(log, &topic, StartAt::Oldest).await;
    assert_eq!(read_from_the_start.payloads(&topic), ["old"], "it is kept at least as long as asked");
    let deadline = Instant::now() + LIMIT;
    while contents(log, &topic, StartAt::Oldest).await.count(&topic) > 0 {
        assert!(Instant::now() < deadline, "the old record is still there");
        sleep(Duration::from_millis(200)).await;
    }
    append(log, &topic, "new").await;
    let after = contents(log, &topic, StartAt::Oldest).await;
    assert_eq!(after.payloads(&topic), ["new"]);
    assert_eq!(after.records[&topic][0].offset, 1, "offsets go on");
}

pub(crate) async fn an_unknown_topic_fails_its_own_records_only(log: &dyn EventLog) {
    let (known, missing) = (unique("known"), unique("missing"));
    create(log, std::slice::from_ref(&known)).await;
    let begun = Instant::now();
    let outcome = log.append(vec![append_of(&missing, "a"), append_of(&known, "b"), append_of(&missing, "c")]).await;
    assert_eq!(outcome, [Err(unknown(&missing)), Ok(()), Err(unknown(&missing))]);
    assert!(begun.elapsed() < Duration::from_secs(5), "it took {:?}", begun.elapsed());

    let begun = Instant::now();
    append(log, &known, "d").await;
    assert!(begun.elapsed() < Duration::from_secs(1), "known topics wait for unknown ones: {:?}", begun.elapsed());

    create(log, std::slice::from_ref(&missing)).await;
    let begun = Instant::now();
    while log.append(vec![append_of(&missing, "e")]).await[0].is_err() {
        assert!(begun.elapsed() < LIMIT, "a topic just made can't be appended to");
        sleep(Duration::from_millis(20)).await;
    }
    eprintln!("figure: a topic that was unknown takes records {:?} after it was made", begun.elapsed());
}

pub(crate) async fn a_topic_subscribed_before_it_is_there_is_read_from_its_start(log: &dyn EventLog) {
    let topics = unique_many("later", 4);
    let starts = [StartAt::Oldest, StartAt::End, StartAt::BeforeNewest(Duration::from_secs(1)), StartAt::Oldest];
    for pace in [Pace::AtOnce, PACED] {
        let mut reading = Reading::open(log, pace);
        reading.subscription.add(topics.iter().cloned().zip(starts));
        reading.until("all are told to be missing", |reading| reading.failures.len() >= topics.len()).await;
        for topic in &topics {
            assert!(reading.failures.contains(&(topic.clone(), unknown(topic))), "{:?}", reading.failures);
        }
        create(log, &topics).await;
        for topic in &topics {
            while log.append(vec![append_of(topic, "first")]).await[0].is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        }
        reading.all().await;
        for topic in &topics {
            assert_eq!(reading.payloads(topic), ["first"]);
        }
        assert_eq!(reading.failures.len(), topics.len(), "each is told once: {:?}", reading.failures);
        for deleted in log.delete_topics(&topics).await {
            assert_eq!(deleted, Ok(true));
        }
    }
}

pub(crate) async fn a_topic_deleted_while_read_is_told_and_the_others_go_on(log: &dyn EventLog) {
    let topics = unique_many("deleted", 3);
    create(log, &topics).await;
    let mut reading = Reading::of(log, PACED, &topics, StartAt::Oldest);
    for topic in &topics {
        append(log, topic, "0").await;
    }
    reading.all().await;
    assert_eq!(log.delete_topics(&topics[..1]).await, [Ok(true)]);
    reading.until("the deletion is told", |reading| !reading.failures.is_empty()).await;
    assert_eq!(reading.failures, [(topics[0].clone(), unknown(&topics[0]))]);
    append(log, &topics[1], "1").await;
    let now = Instant::now();
    let others_proven = |reading: &Reading| {
        reading.read_through.as_ref().is_some_and(|proof| proof.as_of >= now && proof.behind == [topics[0].clone()])
    };
    reading.until("the others are read through, the deleted one is not", others_proven).await;
    assert_eq!(reading.payloads(&topics[1]), numbers(0..2));
    reading.subscription.remove([topics[0].clone()]);
    reading.all().await;
}

pub(crate) async fn a_topic_made_again_is_read_whole(log: &dyn EventLog) {
    let topic = unique("again");
    create(log, std::slice::from_ref(&topic)).await;
    let mut reading = Reading::of(log, PACED, std::slice::from_ref(&topic), StartAt::Oldest);
    for number in numbers(0..3) {
        append(log, &topic, number).await;
    }
    reading.all().await;
    assert_eq!(log.delete_topics(std::slice::from_ref(&topic)).await, [Ok(true)]);
    reading.until("the deletion is told", |reading| !reading.failures.is_empty()).await;
    let deadline = Instant::now() + LIMIT;
    while log.create_topics(&[TopicSpec { topic: topic.clone(), retention: Duration::from_secs(900) }]).await
        != [Ok(true)]
    {
        assert!(Instant::now() < deadline, "it can't be made again");
        sleep(Duration::from_millis(20)).await;
    }
    // More than had been read of the old one: its offsets alone do not tell them apart.
    for number in numbers(3..10) {
        while log.append(vec![append_of(&topic, number.clone())]).await[0].is_err() {
            assert!(Instant::now() < deadline, "it can't be appended to");
            sleep(Duration::from_millis(20)).await;
        }
    }
    reading.all().await;
    assert_eq!(reading.payloads(&topic), numbers(0..10));
}

pub(crate) async fn topics_are_made_once_and_listed_and_deleted_once(log: &dyn EventLog) {
    let topics = unique_many("listed", 3);
    create(log, &topics).await;
    let spec = TopicSpec { topic: topics[0].clone(), retention: Duration::from_secs(900) };
    assert_eq!(log.create_topics(std::slice::from_ref(&spec)).await, [Ok(false)]);
    let listed = log.list_topics().await.unwrap();
    assert!(topics.iter().all(|topic| listed.iter().any(|listed| **listed == **topic)), "{listed:?}");
    assert!(!listed.iter().any(|topic| topic.starts_with("__")), "{listed:?}");
    assert_eq!(log.delete_topics(&topics).await, [Ok(true), Ok(true), Ok(true)]);
    assert_eq!(log.delete_topics(&topics[..1]).await, [Ok(false)]);
}

pub(crate) async fn a_slow_reader_loses_nothing(log: &dyn EventLog) {
    let topics = unique_many("slow", 3);
    create(log, &topics).await;
    let mut readings = [Pace::AtOnce, PACED].map(|pace| Reading::of(log, pace, &topics, StartAt::Oldest));
    for reading in &mut readings {
        reading.all().await;
    }
    // More than the batches that wait for a reader can hold.
    let (rounds, each) = (100, 200);
    for round in 0..rounds {
        let numbers = (round * each..(round + 1) * each).map(|n| format!("{n:01024}"));
        let records = numbers.flat_map(|payload| topics.iter().map(move |topic| append_of(topic, payload.clone())));
        assert!(log.append(records.collect()).await.iter().all(Result::is_ok));
    }
    for reading in &mut readings {
        reading.all().await;
        for topic in &topics {
            let read: Vec<usize> = reading.payloads(topic).iter().map(|payload| payload.parse().unwrap()).collect();
            assert_eq!(read, (0..rounds * each).collect::<Vec<_>>());
        }
    }
}

pub(crate) async fn topics_come_and_go_under_load(log: &dyn EventLog) {
    let topics = unique_many("coming", 40);
    create(log, &topics).await;
    let (steady, moving) = topics.split_at(20);
    let mut reading = Reading::of(log, PACED, &topics, StartAt::Oldest);
    for round in 0..30 {
        let records = topics.iter().map(|topic| append_of(topic, round.to_string()));
        assert!(log.append(records.collect()).await.iter().all(Result::is_ok));
        let batch = reading.next_by(Instant::now() + LIMIT, "a batch").await;
        drop(batch);
        match round % 3 {
            0 => reading.subscription.remove(moving.iter().cloned()),
            1 => reading.subscription.add(moving.iter().map(|topic| (topic.clone(), StartAt::Oldest))),
            // What is there already goes on as it is.
            _ => reading.subscription.add(steady.iter().map(|topic| (topic.clone(), StartAt::Oldest))),
        }
    }
    reading.all().await;
    for topic in steady {
        assert_eq!(reading.payloads(topic), numbers(0..30));
    }
    for topic in moving {
        // Read anew from the start at each return; at the last one, to the end.
        let payloads = reading.payloads(topic);
        let last = payloads.iter().rposition(|payload| payload == "0").unwrap();
        assert_eq!(payloads[last..], numbers(0..30));
    }
}

pub(crate) async fn five_hundred_topics_are_read_from_a_time(log: &dyn EventLog) {
    let topics = unique_many("many", 500);
    create(log, &topics).await;
    let round = async |number: usize| {
        let records = topics.iter().map(|topic| append_of(topic, number.to_string())).collect();
        assert!(log.append(records).await.iter().all(Result::is_ok));
        sleep(Duration::from_millis(20)).await;
    };
    round(0).await;
    round(1).await;
    let newest_of_round_1 = topics_newest(log, &topics).await + 1;
    round(2).await;
    round(3).await;
    let begun = Instant::now();
    let time = plimsoll_wire::log::LogTime(newest_of_round_1);
    let mut reading = Reading::of(log, PACED, &topics, StartAt::From { time, back: Duration::ZERO });
    reading.all().await;
    eprintln!("figure: 500 topics sought by time, read and proven in {:?}", begun.elapsed());
    for topic in &topics {
        assert_eq!(reading.payloads(topic), numbers(2..4));
    }
}

/// The time of the newest record in any of the topics, in milliseconds.
async fn topics_newest(log: &dyn EventLog, topics: &[Topic]) -> u64 {
    let mut reading = Reading::of(log, PACED, topics, StartAt::BeforeNewest(Duration::ZERO));
    reading.all().await;
    reading.records.values().flatten().map(|record| record.appended.0).max().unwrap()
}

pub(crate) async fn a_topic_just_added_is_proven_soon(log: &dyn EventLog) {
    let topics = unique_many("soon", 2);
    create(log, &topics).await;
    append(log, &topics[1], "0").await;
    let mut reading = Reading::of(log, PACED, &topics[..1], StartAt::Oldest);
    reading.all().await;
    let begun = Instant::now();
    reading.subscription.add([(topics[1].clone(), StartAt::Oldest)]);
    reading.all().await;
    assert_eq!(reading.payloads(&topics[1]), ["0"]);
    eprintln!("figure: a topic added is read and proven in {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(5));
}

pub(crate) async fn read_through_claims_nothing_that_was_not_yielded(log: &dyn EventLog) {
    for pace in [Pace::AtOnce, PACED] {
        audit::read_through(log, pace, Duration::from_secs(4)).await;
    }
}

pub(crate) async fn a_topic_added_later_is_behind_in_every_proof_begun_before(log: &dyn EventLog) {
    let topics = unique_many("added", 2);
    create(log, &topics).await;
    append(log, &topics[1], "0").await;
    for _ in 0..20 {
        let mut reading = Reading::of(log, PACED, &topics[..1], StartAt::Oldest);
        reading.all().await;
        let added = Instant::now();
        reading.subscription.add([(topics[1].clone(), StartAt::Oldest)]);
        reading
            .until("the record of the topic added", |reading| {
                let proof = reading.read_through.as_ref().unwrap();
                let claimed = proof.as_of >= added && !proof.behind.contains(&topics[1]);
                assert!(!claimed || reading.count(&topics[1]) == 1, "{proof:?}");
                reading.count(&topics[1]) == 1
            })
            .await;
    }
}

pub(crate) async fn reading_at_once_is_quick_while_hundreds_of_topics_are_read_paced(log: &dyn EventLog) {
    figures::latency_at_once(log).await;
}
