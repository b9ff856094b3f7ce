//! What serves one subscription: finds out where topics start, has them read, proves how far they have been.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::select;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::KafkaConfig;
use super::clients::Reach;
use super::consumers::{ConsumerId, Consumers, Room};
use super::lookup::{Lookup, PerTopic};
use super::places::{Places, Proof, Question};
use super::starts::{self, Search};
use super::waiting::{Job, finish};
use crate::log::{Batch, Change, Delivery, Feed, LogError, Pace, Topic};

/// How often the brokers are asked where the topics end.
const PROOF_INTERVAL: Duration = Duration::from_millis(500);
/// How often topics that are not there are looked for.
const SEEK_INTERVAL: Duration = Duration::from_millis(500);
/// What one batch holds at most; with it a slow reader's waiting batches are bounded.
const BATCH: Room = Room { records: 4096, bytes: 1024 * 1024 };

pub(super) struct Reader {
    feed: Feed,
    pace: Pace,
    lookup: Lookup,
    consumers: Consumers,
    places: Places,
    /// What the next batch will hold.
    batch: Batch,
    proof: Option<Proof>,
    proven_after: u64,
    seeking: Job<Search>,
    seek_at: Instant,
    /// Topics came after the search under way had begun.
    seek_again: bool,
    checking: Job<Answers>,
    check_at: Instant,
}

/// What came of a check.
struct Answers {
    as_of: Instant,
    proven_after: u64,
    question: Question,
    outcome: Result<Ends, LogError>,
}

struct Ends {
    ends: PerTopic<u64>,
    oldest: PerTopic<u64>,
}

impl Reader {
    pub(super) fn new(feed: Feed, pace: Pace, config: Arc<KafkaConfig>, reach: Arc<Reach>, lookup: Lookup) -> Self {
        let now = Instant::now();
        Self {
            feed,
            pace,
            lookup,
            consumers: Consumers::new(config, reach, pace),
            places: Places::default(),
            batch: Batch::default(),
            proof: None,
            proven_after: 0,
            seeking: None,
            seek_at: now,
            seek_again: false,
            checking: None,
            check_at: now,
        }
    }

    /// Ends when the subscription has been dropped, or with the log.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        select! {
            () = stop.cancelled() => {}
            () = self.serve() => {}
        }
        self.consumers.close().await;
    }

    async fn serve(&mut self) {
        let batches = self.feed.batches();
        let at_once = self.pace == Pace::AtOnce;
        let mut tick = self.tick();
        // The last drain left something for want of room.
        let mut more = false;
        loop {
            let has_room = self.room().is_left();
            let has_news =
                !self.batch.records.is_empty() || !self.batch.failures.is_empty() || self.batch.read_through.is_some();
            select! {
                permit = batches.reserve(), if has_news => {
                    let Ok(permit) = permit else { return };
                    permit.send(Delivery { batch: std::mem::take(&mut self.batch), proven_after: self.proven_after });
                }
                record = self.consumers.next(&mut self.places), if at_once && has_room => {
                    self.batch.records.extend(record);
                    more = self.drain();
                }
                _ = tick.tick(), if !at_once && has_room => more = self.drain(),
                () = std::future::ready(()), if more && has_room => more = self.drain(),
                changes = self.feed.changed() => match changes {
                    Some(changes) => self.apply(changes).await,
                    None => return,
                },
                search = finish(&mut self.seeking) => {
                    self.seeking = None;
                    self.settle(search).await;
                }
                () = sleep_until(self.seek_at), if self.seeking.is_none() => self.seek(),
                answers = finish(&mut self.checking) => {
                    self.checking = None;
                    self.conclude(answers).await;
                }
                () = sleep_until(self.check_at), if self.checking.is_none() => self.check(),
            }
        }
    }

    fn tick(&self) -> Interval {
        let every = match self.pace {
            Pace::Every(every) => every.max(Duration::from_millis(1)),
            // Not awaited.
            Pace::AtOnce => PROOF_INTERVAL,
        };
        let mut tick = interval(every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick
    }

    fn room(&self) -> Room {
        let bytes = self.batch.records.iter().map(|record| record.payload.len()).sum::<usize>();
        Room {
            records: BATCH.records.saturating_sub(self.batch.records.len()),
            bytes: BATCH.bytes.saturating_sub(bytes),
        }
    }

    /// Takes in what has been read; whether there is more than fits.
    fn drain(&mut self) -> bool {
        let room = self.room();
        let more = room.is_left() && self.consumers.drain(&mut self.places, &mut self.batch.records, room);
        if self.proof.as_mut().is_some_and(|proof| proof.advance(&self.places)) {
            self.show_proof();
        }
        more
    }

    fn show_proof(&mut self) {
        if let Some(proof) = &self.proof {
            self.batch.read_through = Some(proof.read_through());
            self.proven_after = proof.proven_after;
        }
    }

    async fn apply(&mut self, changes: Vec<Change>) {
        let mut removed = Vec::new();
        for change in changes {
            match change {
                Change::Add(topic, start) => self.places.add(topic, start),
                Change::Remove(topic) => {
                    self.batch.failures.retain(|(failed, _)| *failed != topic);
                    removed.extend(self.places.remove(&topic).map(|consumer| (topic, consumer)));
                }
            }
        }
        self.drop_topics(removed).await;
        // What is new is sought at once, or as soon as the search under way is over.
        self.seek_at = Instant::now();
        self.seek_again = true;
    }

    fn seek(&mut self) {
        self.seek_again = false;
        let sought = self.places.sought();
        if sought.is_empty() {
            self.seek_at = Instant::now() + SEEK_INTERVAL;
            return;
        }
        self.seeking = Some(Box::pin(starts::search(self.lookup.clone(), sought)));
    }

    async fn settle(&mut self, Search { sought, outcome }: Search) {
        self.seek_at = Instant::now() + if self.seek_again { Duration::ZERO } else { SEEK_INTERVAL };
        let mut outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => return self.batch.failures.extend(self.places.fail_all(&error)),
        };
        let mut starts = HashMap::new();
        for sought in sought {
            // Else it has been removed meanwhile, or added anew with another start.
            if !self.places.is_sought(&sought) {
                continue;
            }
            match outcome.remove(&sought.topic) {
                Some(Ok(settled)) => {
                    starts.insert(sought.topic, settled);
                }
                Some(Err(error)) => self.batch.failures.extend(self.places.fail(&sought.topic, error)),
                None => {}
            }
        }
        if starts.is_empty() {
            return;
        }
        let offsets = starts.iter().map(|(topic, settled)| (topic.clone(), settled.next)).collect();
        match self.consumers.assign(offsets).await {
            Ok(assigned) => {
                for (topic, consumer) in assigned {
                    if let Some(settled) = starts.get(&topic) {
                        self.places.settle(&topic, *settled, consumer);
                    }
                }
                // What is new is proven at once.
                self.check_at = Instant::now();
            }
            Err(error) => {
                warn!("topics are not read yet: {error}");
                for topic in starts.keys() {
                    self.batch.failures.extend(self.places.fail(topic, error.clone()));
                }
            }
        }
    }

    fn check(&mut self) {
        let question = self.places.question(self.room().is_left());
        let topics = question.topics();
        // Before the question: what had been appended by now is below the ends that it brings.
        let as_of = Instant::now();
        self.check_at = as_of + PROOF_INTERVAL;
        if topics.is_empty() {
            return;
        }
        let (lookup, proven_after) = (self.lookup.clone(), self.feed.taken());
        self.checking = Some(Box::pin(async move {
            let ends = lookup.ends(topics).await;
            let outcome = match ends {
                Ok(ends) => lookup.oldest(question.stuck.clone()).await.map(|oldest| Ends { ends, oldest }),
                Err(error) => Err(error),
            };
            Answers { as_of, proven_after, question, outcome }
        }));
    }

    async fn conclude(&mut self, Answers { as_of, proven_after, question, outcome }: Answers) {
        let Ends { ends, oldest } = match outcome {
            Ok(ends) => ends,
            Err(error) => return self.batch.failures.extend(self.places.fail_all(&error)),
        };
        let checked = self.places.check(&question, &ends, &oldest);
        self.batch.failures.extend(checked.failures);
        if let Some(behind) = checked.behind {
            self.proof = Some(Proof { as_of, proven_after, behind });
            self.show_proof();
        }
        if !checked.dropped.is_empty() {
            self.drop_topics(checked.dropped).await;
            self.seek_at = Instant::now();
        }
        for consumer in checked.sick {
            warn!("a Kafka consumer brings no records, though there are some; it is replaced");
            self.places.lose(consumer);
            self.consumers.discard(consumer);
            self.seek_at = Instant::now();
        }
    }

    async fn drop_topics(&mut self, topics: Vec<(Topic, ConsumerId)>) {
        if topics.is_empty() {
            return;
        }
        if let Err(error) = self.consumers.unassign(topics).await {
            warn!("{error}");
        }
    }
}
