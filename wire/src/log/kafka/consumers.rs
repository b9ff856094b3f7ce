//! The consumers of one subscription.
//!
//! librdkafka's cost of reading grows with the number of topics of one client, so paced reading spreads them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use tokio::task::{JoinHandle, spawn_blocking};
use tracing::warn;

use super::KafkaConfig;
use super::clients::{self, Context, Reach, Role};
use super::native;
use super::places::Places;
use crate::log::{LogError, LogTime, Pace, Record, Topic};

/// Topics of one consumer at most, when reading is paced.
const TOPICS_A_CONSUMER: usize = 200;

/// How long to wait for the leaders of topics before reading them.
const LEADERS_TIMEOUT: Duration = Duration::from_millis(500);

/// Which consumer of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ConsumerId(u64);

impl ConsumerId {
    #[cfg(test)]
    pub(super) const fn of(number: u64) -> Self {
        Self(number)
    }
}

type Client = StreamConsumer<Context>;

/// All consumers of one subscription. Calls that may block run on threads for that; each ends with the call.
pub(super) struct Consumers {
    config: Arc<KafkaConfig>,
    reach: Arc<Reach>,
    pace: Pace,
    consumers: Vec<One>,
    made: u64,
    /// Where the next drain begins, so that none starves when there is too much for a batch.
    turn: usize,
    /// Consumers given up that have not ended yet.
    ending: Vec<JoinHandle<()>>,
}

struct One {
    id: ConsumerId,
    client: Arc<Client>,
    topics: usize,
}

/// Room in a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

impl Room {
    pub(super) fn is_left(self) -> bool {
        self.records > 0 && self.bytes > 0
    }

    fn take(&mut self, record: &Record) {
        self.records = self.records.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(record.payload.len());
    }
}

impl Consumers {
    pub(super) fn new(config: Arc<KafkaConfig>, reach: Arc<Reach>, pace: Pace) -> Self {
        Self { config, reach, pace, consumers: Vec::new(), made: 0, turn: 0, ending: Vec::new() }
    }

    /// Starts reading these topics, each at its offset; which consumer reads which. Where that fails none of them is read.
    pub(super) async fn assign(&mut self, topics: Vec<(Topic, u64)>) -> Result<Vec<(Topic, ConsumerId)>, LogError> {
        let mut assigned = Vec::with_capacity(topics.len());
        let Err(error) = self.assign_each(topics, &mut assigned).await else { return Ok(assigned) };
        // They will be tried again, and would be read twice, or refused for being read already.
        if let Err(error) = self.unassign(assigned).await {
            warn!("{error}");
        }
        Err(error)
    }

    async fn assign_each(
        &mut self,
        mut topics: Vec<(Topic, u64)>,
        assigned: &mut Vec<(Topic, ConsumerId)>,
    ) -> Result<(), LogError> {
        while !topics.is_empty() {
            let at = self.with_room().await?;
            let room = match self.pace {
                Pace::AtOnce => topics.len(),
                Pace::Every(_) => TOPICS_A_CONSUMER.saturating_sub(self.consumers[at].topics),
            };
            let part = topics.split_off(topics.len() - room.min(topics.len()));
            let names: Vec<Topic> = part.iter().map(|(topic, _)| topic.clone()).collect();
            let (client, asked) = (self.consumers[at].client.clone(), names.clone());
            blocking("starting to read topics", move || {
                // With the leaders known beforehand reading starts a second sooner. Whatever fails here, librdkafka asks again.
                let _ = native::describe(client.client(), &asked, LEADERS_TIMEOUT);
                client.incremental_assign(&list(&part, Offset::Offset))
            })
            .await?;
            let one = &mut self.consumers[at];
            one.topics += names.len();
            assigned.extend(names.into_iter().map(|topic| (topic, one.id)));
        }
        Ok(())
    }

    /// Stops reading these topics. Nothing of them comes any more.
    pub(super) async fn unassign(&mut self, topics: Vec<(Topic, ConsumerId)>) -> Result<(), LogError> {
        let mut by_consumer: HashMap<ConsumerId, Vec<(Topic, u64)>> = HashMap::new();
        for (topic, consumer) in topics {
            by_consumer.entry(consumer).or_default().push((topic, 0));
        }
        for (id, part) in by_consumer {
            let Some(at) = self.consumers.iter().position(|one| one.id == id) else { continue };
            let one = &mut self.consumers[at];
            one.topics = one.topics.saturating_sub(part.len());
            if one.topics == 0 {
                let One { client, .. } = self.consumers.swap_remove(at);
                close(client).await;
                continue;
            }
            let client = one.client.clone();
            blocking("ceasing to read topics", move || client.incremental_unassign(&list(&part, |_| Offset::Invalid)))
                .await?;
        }
        Ok(())
    }

    /// The next record of a subscription that is read at once; waits for it. Cancel-safe.
    pub(super) async fn next(&self, places: &mut Places) -> Option<Record> {
        // At once means one consumer.
        let Some(one) = self.consumers.first() else { return std::future::pending().await };
        // An error concerns a broker or a topic; the checks find out what it means for the subscription.
        record(&one.client.recv().await.ok()?, places)
    }

    /// All records that have come in, as far as there is room; whether there may be more.
    pub(super) fn drain(&mut self, places: &mut Places, records: &mut Vec<Record>, mut room: Room) -> bool {
        for step in 0..self.consumers.len() {
            let at = (self.turn + step) % self.consumers.len();
            while let Some(message) = self.consumers[at].client.recv().now_or_never() {
                if let Some(record) = message.ok().and_then(|message| record(&message, places)) {
                    room.take(&record);
                    records.push(record);
                }
                if !room.is_left() {
                    self.turn = at;
                    return true;
                }
            }
        }
        false
    }

    /// Gives a consumer up that does not work, and does not wait for it to end.
    pub(super) fn discard(&mut self, id: ConsumerId) {
        if let Some(at) = self.consumers.iter().position(|one| one.id == id) {
            let One { client, .. } = self.consumers.swap_remove(at);
            self.ending.push(spawn_blocking(move || drop(client)));
        }
        self.ending.retain(|ending| !ending.is_finished());
    }

    /// Ends all consumers, their threads included.
    pub(super) async fn close(&mut self) {
        for one in std::mem::take(&mut self.consumers) {
            close(one.client).await;
        }
        futures::future::join_all(self.ending.drain(..)).await;
    }

    /// The place of a consumer that may take one topic more.
    async fn with_room(&mut self) -> Result<usize, LogError> {
        let has_room = |one: &One| self.pace == Pace::AtOnce || one.topics < TOPICS_A_CONSUMER;
        if let Some(at) = self.consumers.iter().position(has_room) {
            return Ok(at);
        }
        let (config, reach, pace) = (self.config.clone(), self.reach.clone(), self.pace);
        let made = spawn_blocking(move || clients::create::<Client>(&config, Role::Reader(pace), &reach));
        let client = made.await.map_err(|cancelled| LogError::Refused {
            what: "a Kafka consumer".into(),
            reason: cancelled.to_string(),
        })??;
        self.made += 1;
        self.consumers.push(One { id: ConsumerId(self.made), client: Arc::new(client), topics: 0 });
        Ok(self.consumers.len() - 1)
    }
}

/// Closing waits for librdkafka's threads.
async fn close(client: Arc<Client>) {
    if let Err(error) = spawn_blocking(move || drop(client)).await {
        warn!("a Kafka consumer did not close: {error}");
    }
}

async fn blocking<F>(what: &'static str, call: F) -> Result<(), LogError>
where
    F: FnOnce() -> rdkafka::error::KafkaResult<()> + Send + 'static,
{
    let refused = |reason: String| LogError::Refused { what: what.into(), reason };
    spawn_blocking(call).await.map_err(|error| refused(error.to_string()))?.map_err(|error| refused(error.to_string()))
}

fn list(topics: &[(Topic, u64)], offset: impl Fn(i64) -> Offset) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(topics.len());
    for (topic, next) in topics {
        let next = i64::try_from(*next).unwrap_or(i64::MAX);
        if let Err(error) = list.add_partition_offset(topic, 0, offset(next)) {
            warn!(%topic, "not read: {error}");
        }
    }
    list
}

/// The message as a record, unless its topic is not subscribed any more.
fn record(message: &BorrowedMessage<'_>, places: &mut Places) -> Option<Record> {
    let offset = u64::try_from(message.offset()).ok()?;
    let topic = places.advance(message.topic(), offset)?;
    Some(Record {
        topic,
        offset,
        appended: LogTime(message.timestamp().to_millis().and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0)),
        payload: Bytes::copy_from_slice(message.payload().unwrap_or_default()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first of the two parts into which a consumer's bound cuts them is taken; the second names a topic twice, which librdkafka refuses.
    #[tokio::test]
    async fn topics_of_which_some_can_not_be_read_leave_none_behind_that_is() {
        let broker = "127.0.0.1:1";
        let (config, reach) = (Arc::new(KafkaConfig::new(broker)), Arc::new(Reach::new(broker)));
        let mut consumers = Consumers::new(config, reach, Pace::Every(Duration::from_secs(1)));
        let good = (0..TOPICS_A_CONSUMER).map(|number| (Topic::from(format!("t{number}")), 0));
        let topics = [(Topic::from("twice"), 0), (Topic::from("twice"), 0)].into_iter().chain(good).collect();
        assert!(consumers.assign(topics).await.is_err());
        assert!(consumers.consumers.iter().all(|one| one.topics == 0), "what has been taken is given back");
        let again = consumers.assign(vec![(Topic::from("t0"), 0)]).await.expect("nobody reads it");
        assert_eq!(again.len(), 1);
        consumers.close().await;
    }
}
