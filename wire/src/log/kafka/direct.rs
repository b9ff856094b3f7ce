//! Appending and reading without librdkafka: many topics that one broker leads go into one request.
//!
//! librdkafka sends a request for each topic. With thousands of small topics that is most of what appending costs, here and in
//! the broker (`docs/decisions/004-an-appender-of-our-own.md`). Appending asks for leaders,
//! puts batches into requests, and tries again within the call's time. Frames carry totals, so one that arrives twice does no harm, and
//! there is no need for producer ids or sequences.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{join, join_all};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use self::address::Address;
use self::call::{Call, Fate, Share, Trouble};
use self::codes::Remedy;
use self::connection::BackOff;
use self::failure::Failure;
use self::leaders::{Found, Leaders};
use self::link::{Links, Purpose};
use self::settings::Settings;
use super::KafkaConfig;
use super::append::FEW;
use super::clients::Reach;
use crate::log::{Append, LogError, Topic};

mod address;
mod batch;
mod call;
mod codec;
mod codes;
mod compression;
mod connection;
mod failure;
#[cfg(test)]
mod hostile;
mod keys;
mod leaders;
mod link;
mod messages;
mod oauth;
pub(super) mod reading;
mod records;
mod sasl;
mod scram;
mod settings;
mod setup;
mod tls;

/// Bytes of all requests on their way at most. A call waits for room until its time is up.
const ROOM_BYTES: usize = 64 * 1024 * 1024;

/// The client.
#[derive(Debug)]
pub(super) struct Direct {
    settings: Arc<Settings>,
    reach: Arc<Reach>,
    links: Arc<Links>,
    leaders: Arc<Leaders>,
    room: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl Direct {
    /// A client that connects when it is needed.
    ///
    /// # Errors
    /// [`LogError::BadSetting`] for a setting that is wrong, or that only librdkafka can follow.
    pub(super) fn new(config: &KafkaConfig, reach: &Arc<Reach>) -> Result<Self, LogError> {
        let settings = Arc::new(Settings::read(config)?);
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let links = Arc::new(Links::new(settings.clone(), reach.clone(), tasks.clone(), stop.clone()));
        Ok(Self {
            leaders: Arc::new(Leaders::new(settings.clone(), links.clone(), tasks.clone(), stop.clone())),
            links,
            settings,
            reach: reach.clone(),
            room: Arc::new(Semaphore::new(ROOM_BYTES)),
            tasks,
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
        })
    }

    /// Appends all records and waits for the brokers' word on each, within the call's time.
    pub(super) async fn append(&self, records: Vec<Append>) -> Vec<Result<(), LogError>> {
        let purpose = if records.len() <= FEW { Purpose::Few } else { Purpose::Many };
        let deadline = Instant::now() + self.settings.append_timeout;
        let mut call = Call::new(records, self.settings.batch_max);
        let mut back_off = BackOff::new(self.settings.back_off_min, self.settings.back_off_max);
        loop {
            let open = call.open();
            if open.is_empty() {
                break;
            }
            self.attempt(&mut call, &open, purpose, deadline).await;
            if call.is_troubled() {
                sleep(back_off.pause().min(deadline.saturating_duration_since(Instant::now()))).await;
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        self.explain(call)
    }

    /// Whether a broker answers within `limit` when it is asked about this topic, which need not be there.
    pub(super) async fn check(&self, topic: Topic, limit: Duration) -> Result<(), LogError> {
        let deadline = Instant::now() + limit;
        let mut back_off = BackOff::new(self.settings.back_off_min, self.settings.back_off_max);
        loop {
            let failure = match self.leaders.learn(vec![topic.clone()], deadline).await {
                Ok(_) => return Ok(()),
                Err(failure) => failure,
            };
            let again = Instant::now() + back_off.pause();
            match failure {
                // One that is slow gets all the time that there is.
                Failure::Lost(_) if again < deadline => sleep_until(again).await,
                Failure::Lost(reason) => return Err(self.reach.lost("asking for a topic's leader", &reason)),
                Failure::Refused { what, reason } => {
                    return Err(LogError::Refused { what: what.to_string(), reason: reason.to_string() });
                }
            }
        }
    }

    /// Waits, within bounds, for what is on its way, and ends all tasks.
    pub(super) async fn close(&self) {
        let everything = self.room.acquire_many(ROOM_BYTES as u32);
        if timeout(self.settings.append_timeout, everything).await.is_err() {
            tracing::debug!("records were left unacknowledged at the end");
        }
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Sends the next batch of every open topic whose leader is known, and asks for the others' leaders meanwhile: one that is hard to
    /// find out holds up no other topic.
    async fn attempt(&self, call: &mut Call, open: &[Topic], purpose: Purpose, deadline: Instant) {
        let (known, unknown) = self.leaders.known(open);
        let requests = requests(call, &known);
        let sending = requests.iter().map(|(to, request)| self.send(call, to, request, purpose, deadline));
        let (answers, learnt) = join(join_all(sending), self.leaders.learn(unknown.clone(), deadline)).await;
        for ((to, request), answer) in requests.iter().zip(answers) {
            let moved = match answer.and_then(|answer| note(call, to, request, &answer)) {
                Ok(moved) => {
                    // One that does not lead, or whose followers follow another, is not who to ask for the leader.
                    if moved.is_empty() {
                        self.leaders.trust(to)
                    } else {
                        self.leaders.suspect(to)
                    }
                    moved
                }
                Err(failure) => {
                    self.leaders.suspect(to);
                    call.unanswered(request, &failure)
                }
            };
            self.leaders.forget(moved.iter());
        }
        let unknown: HashSet<Topic> = unknown.into_iter().collect();
        match learnt {
            Ok(found) => call.placed(&unknown, |topic| match found.get(topic) {
                Some(Found::Led) => None,
                Some(Found::Unknown) => Some(Fate::UnknownTopic),
                Some(Found::Code(code)) => Some(Fate::Code(*code)),
                None => Some(Fate::Code(codes::LEADER_NOT_AVAILABLE)),
            }),
            Err(failure) => call.unreachable(&unknown, &failure),
        }
    }

    async fn send(
        &self,
        call: &Call,
        to: &Address,
        request: &[Share],
        purpose: Purpose,
        deadline: Instant,
    ) -> Result<Bytes, Failure> {
        let size = request.iter().map(|share| share.bytes).sum();
        let room = self.room(size, deadline).await?;
        let parts = call.parts(request);
        let request = messages::produce(&self.settings.client_id, self.settings.acks, &parts, now_ms(), size);
        self.links.ask(to, purpose, request, Some(room), deadline).await
    }

    /// Waits until there is room for so many bytes.
    async fn room(&self, bytes: usize, deadline: Instant) -> Result<OwnedSemaphorePermit, Failure> {
        let bytes = bytes.min(ROOM_BYTES) as u32;
        match timeout_at(deadline, self.room.clone().acquire_many_owned(bytes)).await {
            Ok(Ok(room)) => Ok(room),
            _ => Err(Failure::Lost("too many records wait for the brokers already".into())),
        }
    }

    fn explain(&self, call: Call) -> Vec<Result<(), LogError>> {
        let ended = call.end();
        let any_taken = ended.iter().any(|(_, fate)| *fate == Fate::Taken);
        if any_taken {
            self.reach.found();
        }
        ended.into_iter().map(|(record, fate)| self.outcome(&record, fate, any_taken)).collect()
    }

    fn outcome(&self, record: &Append, fate: Fate, any_taken: bool) -> Result<(), LogError> {
        let what = || format!("appending {} bytes to topic {}", record.payload.len(), record.topic);
        let in_time = self.settings.append_timeout;
        Err(match fate {
            Fate::Taken => return Ok(()),
            Fate::UnknownTopic | Fate::Given(Trouble::Code(codes::UNKNOWN_TOPIC_OR_PARTITION)) => {
                LogError::UnknownTopic { topic: record.topic.to_string() }
            }
            Fate::TooLarge => LogError::Refused {
                what: what(),
                reason: "it is larger than the topic's max.message.bytes or the client's message.max.bytes".into(),
            },
            Fate::Given(Trouble::Failed(Failure::Refused { what: tried, reason })) => {
                LogError::Refused { what: tried.to_string(), reason: reason.to_string() }
            }
            Fate::Given(Trouble::Failed(Failure::Lost(reason))) if any_taken => {
                self.reach.unavailable(&what(), &format!("not acknowledged within {in_time:?}: {reason}"))
            }
            Fate::Given(Trouble::Failed(Failure::Lost(reason))) => {
                self.reach.lost(&what(), &format!("not acknowledged within {in_time:?}: {reason}"))
            }
            Fate::Given(Trouble::NotTried) => {
                self.reach.unavailable(&what(), &format!("not acknowledged within {in_time:?}"))
            }
            Fate::Given(Trouble::Code(code)) | Fate::Code(code) => match codes::meaning(code) {
                (name, Remedy::Person(remedy)) => {
                    LogError::Refused { what: what(), reason: format!("{remedy} (Kafka's error {code}, {name})") }
                }
                (name, _) => self.reach.unavailable(&what(), &format!("Kafka's error {code}, {name}")),
            },
        })
    }
}

/// The next requests, each with the broker that it goes to.
fn requests<'a>(call: &Call, leaders: &'a HashMap<Topic, Address>) -> Vec<(&'a Address, Vec<Share>)> {
    let brokers: BTreeSet<&Address> = leaders.values().collect();
    let of_broker = |broker| {
        let requests = call.requests(|topic| leaders.get(topic) == Some(broker));
        requests.into_iter().map(move |request| (broker, request))
    };
    brokers.into_iter().flat_map(of_broker).collect()
}

/// Notes a broker's answer; the topics whose leader may be another one now.
fn note(call: &mut Call, to: &Address, request: &[Share], answer: &[u8]) -> Result<Vec<Topic>, Failure> {
    let codes = messages::read_produce(answer).map_err(|garbled| Failure::lost(to, garbled))?;
    let codes: HashMap<&str, i16> = codes.into_iter().collect();
    Ok(call.answered(request, &codes))
}

/// What records claim as their time: milliseconds since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "a record's time is a wall clock's; nothing here depends on it")]
fn now_ms() -> i64 {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
