//! What the in-memory log holds and where its readers stand: a value without clocks or tasks.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::log::{LogError, LogTime, Record, StartAt, Topic};

/// Records of one batch at most, so that a reader far behind does not hold the log's lock for long.
const BATCH_RECORDS: usize = 4096;
/// Payload of one batch at most (one record more may go in); with it a slow reader's waiting batches are bounded.
const BATCH_BYTES: usize = 1024 * 1024;
/// What a record costs beside its payload.
const RECORD_BYTES: usize = size_of::<Kept>();
/// All topics are swept for records past their retention this often; an appended-to topic always is.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Which reader.
pub(super) type ReaderId = u64;

/// All topics and all readers.
#[derive(Debug)]
pub(super) struct Shelf {
    topics: HashMap<Topic, Stored>,
    readers: BTreeMap<ReaderId, Reader>,
    next_reader: ReaderId,
    bytes: usize,
    capacity_bytes: usize,
    swept: LogTime,
}

/// One topic's records.
#[derive(Debug)]
struct Stored {
    retention: Duration,
    /// The offset of the first record kept, or of the next one where none is.
    first: u64,
    records: VecDeque<Kept>,
}

#[derive(Debug)]
struct Kept {
    appended: LogTime,
    payload: Bytes,
}

#[derive(Debug)]
struct Reader {
    news: Arc<Notify>,
    places: HashMap<Topic, Place>,
    /// Topics that have, or may have, records that this reader has not been given.
    unread: HashSet<Topic>,
    failures: Vec<(Topic, LogError)>,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    /// The offset to read next.
    At(u64),
    /// There is no such topic. All that one of this name will hold comes after the subscription, so it is read whole.
    Missing,
}

/// What a reader is given.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) records: Vec<Record>,
    pub(super) failures: Vec<(Topic, LogError)>,
    /// There is more than fits one batch.
    pub(super) more: bool,
}

impl Shelf {
    pub(super) fn new(capacity_bytes: usize) -> Self {
        Self {
            topics: HashMap::new(),
            readers: BTreeMap::new(),
            next_reader: 0,
            bytes: 0,
            capacity_bytes,
            swept: LogTime(0),
        }
    }

    pub(super) fn append(&mut self, topic: &Topic, payload: Bytes, now: LogTime) -> Result<(), LogError> {
        if now.before(SWEEP_INTERVAL) >= self.swept {
            self.swept = now;
            self.bytes -= self.topics.values_mut().map(|stored| stored.sweep(now)).sum::<usize>();
        }
        let Some(stored) = self.topics.get_mut(topic) else {
            return Err(LogError::UnknownTopic { topic: topic.to_string() });
        };
        self.bytes -= stored.sweep(now);
        let bytes = payload.len() + RECORD_BYTES;
        if self.bytes + bytes > self.capacity_bytes {
            return Err(LogError::Unavailable {
                log: "this process's memory".into(),
                reason: format!(
                    "it holds {} of {} bytes; wait for its topics' retention, or use a Kafka log",
                    self.bytes, self.capacity_bytes
                ),
            });
        }
        self.bytes += bytes;
        stored.records.push_back(Kept { appended: now, payload });
        for reader in self.readers.values_mut() {
            if matches!(reader.places.get(topic), Some(Place::At(_))) {
                reader.unread.insert(topic.clone());
                reader.news.notify_one();
            }
        }
        Ok(())
    }

    /// Makes a topic, or sets the retention of one that is there; true if it is new.
    pub(super) fn create(&mut self, topic: &Topic, retention: Duration) -> bool {
        if let Some(stored) = self.topics.get_mut(topic) {
            stored.retention = retention;
            return false;
        }
        self.topics.insert(topic.clone(), Stored { retention, first: 0, records: VecDeque::new() });
        for reader in self.readers.values_mut() {
            if let Some(place @ Place::Missing) = reader.places.get_mut(topic) {
                *place = Place::At(0);
            }
        }
        true
    }

    /// False if it was not there.
    pub(super) fn delete(&mut self, topic: &Topic) -> bool {
        let Some(stored) = self.topics.remove(topic) else { return false };
        self.bytes -= stored.records.iter().map(Kept::bytes).sum::<usize>();
        for reader in self.readers.values_mut() {
            if let Some(place) = reader.places.get_mut(topic) {
                *place = Place::Missing;
                reader.unread.remove(topic);
                reader.miss(topic);
            }
        }
        true
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.topics.keys()
    }

    pub(super) fn open_reader(&mut self, news: Arc<Notify>) -> ReaderId {
        let id = self.next_reader;
        self.next_reader += 1;
        let reader = Reader { news, places: HashMap::new(), unread: HashSet::new(), failures: Vec::new() };
        self.readers.insert(id, reader);
        id
    }

    pub(super) fn close_reader(&mut self, id: ReaderId) {
        self.readers.remove(&id);
    }

    pub(super) fn start_reading(&mut self, id: ReaderId, topic: &Topic, start: StartAt) {
        let Some(reader) = self.readers.get_mut(&id) else { return };
        if reader.places.contains_key(topic) {
            return;
        }
        let place = match self.topics.get(topic) {
            Some(stored) => {
                reader.unread.insert(topic.clone());
                Place::At(stored.settle(start))
            }
            None => {
                reader.miss(topic);
                Place::Missing
            }
        };
        reader.places.insert(topic.clone(), place);
    }

    pub(super) fn stop_reading(&mut self, id: ReaderId, topic: &Topic) {
        let Some(reader) = self.readers.get_mut(&id) else { return };
        reader.places.remove(topic);
        reader.unread.remove(topic);
        reader.failures.retain(|(failed, _)| failed != topic);
    }

    /// The next batch for this reader.
    pub(super) fn read(&mut self, id: ReaderId, now: LogTime) -> Read {
        let Some(reader) = self.readers.get_mut(&id) else { return Read::default() };
        let mut read = Read { failures: std::mem::take(&mut reader.failures), ..Read::default() };
        let mut bytes = 0;
        let mut done = Vec::new();
        for topic in &reader.unread {
            let (Some(stored), Some(Place::At(next))) = (self.topics.get_mut(topic), reader.places.get_mut(topic))
            else {
                continue;
            };
            self.bytes -= stored.sweep(now);
            // What retention took is gone, for slow readers too.
            *next = (*next).max(stored.first);
            while let Some(kept) = stored.get(*next) {
                if read.records.len() >= BATCH_RECORDS || bytes >= BATCH_BYTES {
                    read.more = true;
                    break;
                }
                bytes += kept.payload.len();
                read.records.push(Record {
                    topic: topic.clone(),
                    offset: *next,
                    appended: kept.appended,
                    payload: kept.payload.clone(),
                });
                *next += 1;
            }
            if read.more {
                break;
            }
            done.push(topic.clone());
        }
        for topic in &done {
            reader.unread.remove(topic);
        }
        read
    }

    /// The topics of this reader that it has not been given whole.
    pub(super) fn behind(&self, id: ReaderId) -> Vec<Topic> {
        let Some(reader) = self.readers.get(&id) else { return Vec::new() };
        let missing = reader.places.iter().filter(|(_, place)| matches!(place, Place::Missing)).map(|(topic, _)| topic);
        reader.unread.iter().chain(missing).cloned().collect()
    }
}

impl Reader {
    fn miss(&mut self, topic: &Topic) {
        self.failures.push((topic.clone(), LogError::UnknownTopic { topic: topic.to_string() }));
        self.news.notify_one();
    }
}

impl Kept {
    fn bytes(&self) -> usize {
        self.payload.len() + RECORD_BYTES
    }
}

impl Stored {
    /// Drops what is past its retention; how many bytes that were.
    fn sweep(&mut self, now: LogTime) -> usize {
        let oldest = now.before(self.retention);
        let mut bytes = 0;
        while self.records.front().is_some_and(|kept| kept.appended < oldest) {
            bytes += self.records.pop_front().map_or(0, |kept| kept.bytes());
            self.first += 1;
        }
        bytes
    }

    fn get(&self, offset: u64) -> Option<&Kept> {
        self.records.get(usize::try_from(offset.checked_sub(self.first)?).ok()?)
    }

    /// The offset where reading starts.
    fn settle(&self, start: StartAt) -> u64 {
        let from = |time: LogTime| self.first + self.records.partition_point(|kept| kept.appended < time) as u64;
        match start {
            StartAt::Oldest => self.first,
            StartAt::End => self.first + self.records.len() as u64,
            StartAt::From { time, back } => {
                self.records.back().map_or(self.first, |newest| from(time.min(newest.appended.before(back))))
            }
            StartAt::BeforeNewest(by) => {
                self.records.back().map_or(self.first, |newest| from(newest.appended.before(by)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf_with(topic: &Topic, retention: Duration) -> Shelf {
        let mut shelf = Shelf::new(1_000_000);
        shelf.create(topic, retention);
        shelf
    }

    fn append(shelf: &mut Shelf, topic: &Topic, at_ms: u64) {
        shelf.append(topic, Bytes::from_static(b"frame"), LogTime(at_ms)).expect("there is room");
    }

    #[test]
    fn memory_is_given_back_when_retention_has_passed_or_the_topic_is_deleted() {
        let (a, b) = (Topic::from("a"), Topic::from("b"));
        let mut shelf = shelf_with(&a, Duration::from_secs(1));
        shelf.create(&b, Duration::from_secs(100));
        for at_ms in 10_000..11_000 {
            append(&mut shelf, &a, at_ms);
        }
        assert_eq!(shelf.bytes, 1000 * (5 + RECORD_BYTES));
        append(&mut shelf, &b, 20_000);
        assert_eq!(shelf.bytes, 5 + RECORD_BYTES, "an append to one topic sweeps all");
        shelf.delete(&b);
        assert_eq!(shelf.bytes, 0);
    }

    #[test]
    fn a_full_log_refuses_and_says_so() {
        let a = Topic::from("a");
        let mut shelf = Shelf::new(2 * (5 + RECORD_BYTES));
        shelf.create(&a, Duration::from_secs(1));
        append(&mut shelf, &a, 1);
        append(&mut shelf, &a, 2);
        let error = shelf.append(&a, Bytes::from_static(b"frame"), LogTime(3)).expect_err("it is full");
        assert!(matches!(error, LogError::Unavailable { .. }), "{error}");
        append(&mut shelf, &a, 5_000);
    }

    #[test]
    fn a_reader_slower_than_retention_goes_on_with_the_oldest_record_kept() {
        let a = Topic::from("a");
        let mut shelf = shelf_with(&a, Duration::from_secs(1));
        let reader = shelf.open_reader(Arc::default());
        shelf.start_reading(reader, &a, StartAt::Oldest);
        append(&mut shelf, &a, 1_000);
        append(&mut shelf, &a, 9_000);
        let offsets: Vec<_> = shelf.read(reader, LogTime(9_000)).records.iter().map(|record| record.offset).collect();
        assert_eq!(offsets, [1]);
        assert!(shelf.behind(reader).is_empty());
    }

    #[test]
    fn reading_from_a_time_by_a_clock_that_is_ahead_begins_before_the_newest_record_all_the_same() {
        let a = Topic::from("a");
        let mut shelf = shelf_with(&a, Duration::from_secs(100));
        for at_ms in [10_000, 11_000, 12_000] {
            append(&mut shelf, &a, at_ms);
        }
        let mut from = |time, back| {
            let reader = shelf.open_reader(Arc::default());
            shelf.start_reading(reader, &a, StartAt::From { time: LogTime(time), back });
            let read = shelf.read(reader, LogTime(12_000)).records;
            read.iter().map(|record| record.offset).collect::<Vec<_>>()
        };
        assert_eq!(from(500_000, Duration::from_secs(1)), [1, 2]);
        assert_eq!(from(10_000, Duration::from_secs(1)), [0, 1, 2], "nothing that the time wants is left out");
    }

    #[test]
    fn a_batch_is_bounded_and_the_rest_is_behind() {
        let a = Topic::from("a");
        let mut shelf = shelf_with(&a, Duration::from_secs(1));
        let reader = shelf.open_reader(Arc::default());
        shelf.start_reading(reader, &a, StartAt::Oldest);
        for _ in 0..BATCH_RECORDS + 1 {
            append(&mut shelf, &a, 1_000);
        }
        let first = shelf.read(reader, LogTime(1_000));
        assert!(first.more && first.records.len() == BATCH_RECORDS);
        assert_eq!(shelf.behind(reader), [a]);
        let second = shelf.read(reader, LogTime(1_000));
        assert!(!second.more && second.records.len() == 1);
        assert!(shelf.behind(reader).is_empty());
    }
}
