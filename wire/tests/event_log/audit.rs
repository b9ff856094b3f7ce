//! Holds each proof of completeness against what had been acknowledged when it was begun.

use std::collections::HashMap;
use std::time::Duration;

use futures::future::join_all;
use parking_lot::Mutex;
use plimsoll_wire::log::{EventLog, Pace, StartAt, Topic};
use tokio::time::{Instant, sleep};

use crate::reading::{LIMIT, Reading, append_of, create, unique_many};

/// Of each topic, when which number of records had been acknowledged.
type Acknowledged = Mutex<HashMap<Topic, Vec<Instant>>>;

/// Appends to many topics at many paces and reads them meanwhile, for this long.
pub(crate) async fn read_through(log: &dyn EventLog, pace: Pace, duration: Duration) {
    let topics = unique_many("audit", 30);
    create(log, &topics).await;
    let acknowledged = Acknowledged::default();
    let end = Instant::now() + duration;
    let writers = join_all(topics.iter().enumerate().map(async |(number, topic)| {
        while Instant::now() < end {
            let outcome = log.append(vec![append_of(topic, "x"), append_of(topic, "y")]).await;
            let now = Instant::now();
            for outcome in outcome {
                outcome.unwrap();
                acknowledged.lock().entry(topic.clone()).or_default().push(now);
            }
            // Some topics are busy, some are silent for a while.
            sleep(Duration::from_millis(3 * number as u64 * number as u64 / 2 + 1)).await;
        }
    }));
    let reader = async {
        let mut reading = Reading::of(log, pace, &topics, StartAt::Oldest);
        let (mut proofs, mut claims) = (0, 0);
        while Instant::now() < end {
            let batch = reading.next_by(Instant::now() + LIMIT, "a batch").await;
            let Some(proof) = batch.read_through else { continue };
            proofs += 1;
            for topic in topics.iter().filter(|topic| !proof.behind.contains(topic)) {
                claims += 1;
                let acknowledged = acknowledged.lock();
                let before =
                    acknowledged.get(topic).map_or(0, |times| times.partition_point(|time| *time < proof.as_of));
                assert!(
                    reading.count(topic) >= before,
                    "{topic}: {before} records were acknowledged at the proof's time, {} yielded",
                    reading.count(topic)
                );
            }
        }
        (reading, proofs, claims)
    };
    let (_, (mut reading, proofs, claims)) = tokio::join!(writers, reader);
    reading.all().await;
    for topic in &topics {
        assert_eq!(reading.count(topic), acknowledged.lock()[topic].len(), "{topic}");
    }
    eprintln!("figure: {proofs} proofs with {claims} claims held, {pace:?}");
    assert!(claims > 0);
}
