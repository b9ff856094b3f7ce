//! What reading costs in time.

use std::time::Duration;

use futures::future::{Either, select};
use plimsoll_wire::log::{EventLog, Pace, StartAt};
use tokio::time::{Instant, sleep, timeout};

use crate::reading::{LIMIT, Reading, append, append_of, create, unique, unique_many};

/// From append to read of one topic, while 300 others are written to and read paced: the way of an activation.
pub(crate) async fn latency_at_once(log: &dyn EventLog) {
    let urgent = unique("urgent");
    let others = unique_many("other", 300);
    create(log, std::slice::from_ref(&urgent)).await;
    create(log, &others).await;
    let mut paced = Reading::of(log, Pace::Every(Duration::from_millis(250)), &others, StartAt::Oldest);
    paced.all().await;
    let mut at_once = contents_at_once(log, &urgent).await;
    let load = async {
        loop {
            let round = async {
                let records = others.iter().map(|topic| append_of(topic, "frame")).collect();
                assert!(log.append(records).await.iter().all(Result::is_ok));
                sleep(Duration::from_millis(500)).await;
            };
            tokio::pin!(round);
            loop {
                match select(&mut round, Box::pin(paced.subscription.next())).await {
                    Either::Left(_) => break,
                    Either::Right((batch, _)) => drop(batch.unwrap()),
                }
            }
        }
    };
    let measure = async {
        let mut latencies = Vec::new();
        for number in 0..200 {
            sleep(Duration::from_millis(5)).await;
            let begun = Instant::now();
            append(log, &urgent, number.to_string()).await;
            while at_once.count(&urgent) <= number {
                at_once.next_by(Instant::now() + LIMIT, "an urgent record").await;
            }
            latencies.push(begun.elapsed());
        }
        latencies
    };
    let mut latencies = tokio::select! {
        latencies = measure => latencies,
        () = load => unreachable!("it has no end"),
    };
    latencies.sort_unstable();
    let (p50, p99) = (latencies[100], latencies[198]);
    eprintln!("figure: append to read at once, 300 topics read paced beside it: p50 {p50:?}, p99 {p99:?}");
    // Whoever is read paced waits for 125 ms of its 250 in the mean; a slow machine needs some of that for nothing but the append.
    assert!(p50 < Duration::from_millis(100), "{p50:?}");
}

async fn contents_at_once(log: &dyn EventLog, topic: &plimsoll_wire::log::Topic) -> Reading {
    let mut reading = Reading::of(log, Pace::AtOnce, std::slice::from_ref(topic), StartAt::Oldest);
    timeout(LIMIT, reading.all()).await.unwrap();
    reading
}
