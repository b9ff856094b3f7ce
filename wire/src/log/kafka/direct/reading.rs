//! Reading without librdkafka: many topics in one request, at a pace of our own (`docs/decisions/012-reading-of-our-own.md`).
//!
//! Each answer brings, with a topic's records, where the topic ends for those who read it. So what has been read up to there has been
//! read through as of the asking, and completeness needs no further question.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::select;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::super::clients::Reach;
use super::super::lookup::Lookup;
use super::super::starts::{self, Search, Sought};
use super::super::waiting::{Job, finish, until};
use super::Direct;
use super::address::Address;
use super::failure::Failure;
use super::leaders::{Answer, Found, Leaders};
use super::link::{Links, Purpose};
use super::settings::Settings;
use crate::log::{Batch, Change, Delivery, Feed, Pace, Topic};

use self::lanes::{LaneId, Lanes};
use self::places::{Asked, Places};
use self::trust::Trust;
use self::vouching::Vouching;
use self::witnesses::{Round, Witnesses};

mod claims;
mod fetching;
mod lanes;
mod places;
mod trust;
mod vouching;
mod witnesses;

/// How long the brokers have to tell who leads some topics.
const LEARN_TIMEOUT: Duration = Duration::from_secs(3);
/// How often topics that are not there are looked for.
const SEEK_INTERVAL: Duration = Duration::from_millis(500);
/// What one batch holds at most, before no more is asked for.
const BATCH_RECORDS: usize = 4_096;
const BATCH_BYTES: usize = 1024 * 1024;

/// Reads for one subscription.
pub(in super::super) struct Reader {
    feed: Feed,
    pace: Pace,
    /// Finds out where topics start.
    lookup: Lookup,
    /// Its connections are its own: one that long-polls answers nothing else.
    purpose: Purpose,
    settings: Arc<Settings>,
    reach: Arc<Reach>,
    links: Arc<Links>,
    leaders: Arc<Leaders>,
    places: Places,
    lanes: Lanes,
    fetching: FuturesUnordered<Pin<Box<dyn Future<Output = Fetched> + Send>>>,
    /// Topics that are to be read and whose leader is not known.
    unled: HashSet<Topic>,
    learning: Job<(Vec<Topic>, Answer)>,
    learn_at: Instant,
    /// Topics have leaders whose answers prove nothing yet.
    has_doubts: bool,
    vouching: Job<Vouching>,
    vouch_at: Instant,
    /// Requests to each broker that have failed since its last answer.
    failures: HashMap<Address, u32>,
    trust: Trust,
    /// What brokers say of each other, and those that others do not know any more.
    witnesses: Witnesses,
    accused: HashSet<Address>,
    witnessing: Job<Round>,
    witness_at: Instant,
    seeking: Job<Search>,
    seek_at: Instant,
    /// Topics came after the search under way had begun.
    seek_again: bool,
    /// What the next batch will hold.
    batch: Batch,
    batch_bytes: usize,
    proof_at: Instant,
}

/// What came of a request.
struct Fetched {
    lane: LaneId,
    leader: Address,
    asked: Vec<(Topic, Asked)>,
    as_of: Instant,
    answer: Result<Bytes, Failure>,
}

impl Reader {
    pub(in super::super) fn new(direct: &Direct, feed: Feed, pace: Pace, lookup: Lookup) -> Self {
        let now = Instant::now();
        Self {
            feed,
            pace,
            lookup,
            purpose: Purpose::reading(),
            settings: direct.settings.clone(),
            reach: direct.reach.clone(),
            links: direct.links.clone(),
            leaders: direct.leaders.clone(),
            places: Places::default(),
            lanes: Lanes::new(pace),
            fetching: FuturesUnordered::new(),
            unled: HashSet::new(),
            learning: None,
            learn_at: now,
            has_doubts: false,
            vouching: None,
            vouch_at: now,
            failures: HashMap::new(),
            trust: Trust::default(),
            witnesses: Witnesses::default(),
            accused: HashSet::new(),
            witnessing: None,
            witness_at: now,
            seeking: None,
            seek_at: now,
            seek_again: false,
            batch: Batch::default(),
            batch_bytes: 0,
            proof_at: now,
        }
    }

    /// Ends when the subscription has been dropped, or with the log.
    pub(in super::super) async fn run(mut self, stop: CancellationToken) {
        select! {
            () = stop.cancelled() => {}
            () = self.serve() => {}
        }
        self.links.close(self.purpose);
    }

    async fn serve(&mut self) {
        let batches = self.feed.batches();
        loop {
            let has_room = self.batch.records.len() < BATCH_RECORDS && self.batch_bytes < BATCH_BYTES;
            let has_news =
                !self.batch.records.is_empty() || !self.batch.failures.is_empty() || self.batch.read_through.is_some();
            let due = self.lanes.next_due().filter(|_| has_room);
            select! {
                permit = batches.reserve(), if has_news => {
                    let Ok(permit) = permit else { return };
                    self.batch_bytes = 0;
                    // Every topic that is known now is either proven or named as behind.
                    permit.send(Delivery { batch: std::mem::take(&mut self.batch), proven_after: self.feed.taken() });
                }
                Some(fetched) = self.fetching.next(), if !self.fetching.is_empty() => self.take(fetched),
                () = until(due) => self.fetch(),
                changes = self.feed.changed() => match changes {
                    Some(changes) => self.apply(changes),
                    None => return,
                },
                search = finish(&mut self.seeking) => {
                    self.seeking = None;
                    self.settle(search);
                }
                () = sleep_until(self.seek_at), if self.seeking.is_none() => self.seek(),
                (topics, learnt) = finish(&mut self.learning) => {
                    self.learning = None;
                    self.learnt(topics, learnt);
                }
                () = sleep_until(self.learn_at), if self.learning.is_none() && !self.unled.is_empty() => self.learn(),
                vouched = finish(&mut self.vouching) => {
                    self.vouching = None;
                    self.vouched(vouched);
                }
                () = sleep_until(self.vouch_at), if self.vouching.is_none() && self.has_doubts => self.vouch(),
                round = finish(&mut self.witnessing) => {
                    self.witnessing = None;
                    self.witnessed(round);
                }
                () = sleep_until(self.witness_at), if self.witnessing.is_none() && self.places.has_claims() => {
                    self.ask_witnesses();
                }
            }
        }
    }

    fn apply(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Add(topic, start) => self.places.add(topic, start),
                Change::Remove(topic) => {
                    self.batch.failures.retain(|(failed, _)| *failed != topic);
                    self.places.remove(&topic);
                    self.lanes.remove(&topic);
                    self.unled.remove(&topic);
                }
            }
        }
        // A proof made before does not know of what has been added.
        if self.batch.read_through.is_some() {
            self.batch.read_through = self.places.proof();
        }
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

    fn settle(&mut self, Search { sought, outcome }: Search) {
        self.seek_at = Instant::now() + if self.seek_again { Duration::ZERO } else { SEEK_INTERVAL };
        // What was removed meanwhile, or added anew with another start, is of no concern.
        let current = sought.into_iter().filter(|sought| self.places.is_sought(sought)).collect::<Vec<_>>();
        let mut found = Vec::new();
        for Sought { topic, .. } in current {
            let settled = match &outcome {
                Ok(outcome) => outcome.get(&topic).cloned(),
                Err(error) => Some(Err(error.clone())),
            };
            match settled {
                Some(Ok(settled)) => {
                    self.places.settle(&topic, settled);
                    found.push(topic);
                }
                Some(Err(error)) => self.batch.failures.extend(self.places.fail(&topic, error)),
                None => {}
            }
        }
        self.place(found);
    }

    /// Has these topics fetched from their leaders, or asks for the leader first.
    fn place(&mut self, topics: Vec<Topic>) {
        let (led, unled) = self.leaders.known(&topics);
        for (topic, leader) in led {
            self.unled.remove(&topic);
            self.places.led_anew(&topic, &leader);
            self.has_doubts = true;
            self.lanes.place(topic, &leader);
        }
        self.unled.extend(unled);
    }

    fn learn(&mut self) {
        let topics: Vec<Topic> = self.unled.iter().cloned().collect();
        let leaders = self.leaders.clone();
        self.learning = Some(Box::pin(async move {
            let learnt = leaders.learn(topics.clone(), Instant::now() + LEARN_TIMEOUT).await;
            (topics, learnt)
        }));
    }

    fn learnt(&mut self, mut topics: Vec<Topic>, learnt: Answer) {
        topics.retain(|topic| self.unled.contains(topic));
        self.learn_at = Instant::now() + lanes::pause(3);
        let found = match learnt {
            Ok(found) => found,
            Err(failure) => {
                let error = self.failed("asking for topics' leaders", &failure, true);
                return self.hinder(&topics, Duration::ZERO, &error);
            }
        };
        let mut led = Vec::new();
        for topic in topics {
            match found.get(&topic) {
                Some(Found::Led) => led.push(topic),
                Some(Found::Unknown) => self.lose(&topic),
                Some(Found::Code(code)) => self.explain(&topic, *code),
                None => {}
            }
        }
        self.place(led);
    }
}
