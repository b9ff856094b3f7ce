//! Asking brokers for records, and what their answers mean.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::super::address::Address;
use super::super::codec::Garbled;
use super::super::codes;
use super::super::failure::Failure;
use super::super::messages::fetch::{self, Wanted};
use super::super::records;
use super::places::Asked;
use super::{Fetched, Reader, lanes};
use crate::log::{LogError, Pace, Record, Topic};

/// How long a broker may wait for a first record, where reading is at once. A topic that is added waits so long, and proofs of an idle
/// topic are so old.
const LONG_POLL: Duration = Duration::from_millis(250);
/// How long a broker has for an answer, waiting for records not counted. Then its topics' leaders are asked for anew.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes of one answer at most, but for a single record batch that is larger.
const ANSWER_BYTES: i32 = 1024 * 1024;
/// Bytes of one topic in it at most: many topics have their turn in each answer.
const TOPIC_BYTES: i32 = 256 * 1024;
/// Unpacked bytes that one batch takes, but for the last of the broker's batches in it: whoever may write to a topic may write a small one
/// that becomes a giant, and many of them.
const UNPACKED_BYTES: usize = 32 * 1024 * 1024;
/// What to do about an answer that can't be right.
const SPOILT: &str = "something between here and the broker, or its disk, changes what it holds; look at both, and try --direct-reading false";
/// A topic without a leader for so long is told.
const LEADERLESS: Duration = Duration::from_secs(1);

impl Reader {
    /// Asks for what is due.
    pub(super) fn fetch(&mut self) {
        let (wait, pause) = match self.pace {
            Pace::AtOnce => (LONG_POLL, LONG_POLL),
            Pace::Every(_) => (Duration::ZERO, Duration::ZERO),
        };
        let wanted = Wanted { wait_ms: wait.as_millis() as i32, bytes: ANSWER_BYTES, topic_bytes: TOPIC_BYTES };
        for (lane, leader, topics) in self.lanes.begin() {
            let place = |topic: Topic| self.places.asked(&topic).map(|asked| (topic, asked));
            let asked: Vec<_> = topics.into_iter().filter_map(place).collect();
            let offsets: Vec<_> = asked.iter().map(|(topic, asked)| (topic.clone(), asked.next)).collect();
            let request = fetch::fetch(&self.settings.client_id, wanted, &offsets);
            // Before the asking: what had been appended by now is before the ends that the answer tells.
            let as_of = Instant::now();
            let deadline = as_of + ANSWER_TIMEOUT + pause;
            let (links, purpose) = (self.links.clone(), self.purpose);
            self.fetching.push(Box::pin(async move {
                let answer = links.ask(&leader, purpose, request, None, deadline).await;
                Fetched { lane, leader, asked, as_of, answer }
            }));
        }
    }

    /// A request is over.
    pub(super) fn take(&mut self, Fetched { lane, leader, asked, as_of, answer }: Fetched) {
        let is_alone = self.leaders.is_alone(&leader);
        if is_alone && self.lanes.are_all_at(&leader) {
            self.places.bear_out_alone(Instant::now());
        }
        let taken = answer.and_then(|answer| {
            // Where there is no other broker, nobody can have led in place of one that hung.
            let proof = (self.trust.proves(&leader, as_of) || is_alone).then_some(as_of);
            self.take_answer(&leader, &asked, proof, &answer)
        });
        match taken {
            Ok(hungry) => {
                self.failures.remove(&leader);
                self.reach.found();
                self.lanes.end(lane, hungry);
                self.prove();
            }
            Err(failure) => {
                // One that is gone is another one when it is back; one that hangs goes on as it was.
                if as_of.elapsed() >= ANSWER_TIMEOUT {
                    self.trust.hung(&leader);
                }
                // Its leader may be another one now.
                let topics = self.lanes.disband(lane);
                self.leaders.forget(topics.iter());
                let failures = self.failures.entry(leader).or_default();
                *failures += 1;
                self.learn_at = Instant::now() + lanes::pause(*failures);
                // A connection that is closed once, as brokers do at a restart, may be no trouble at all.
                let long = if *failures > 1 { Duration::ZERO } else { LEADERLESS };
                let error = self.failed("reading", &failure, false);
                self.hinder(&topics, long, &error);
                self.unled.extend(topics);
            }
        }
    }

    /// Takes in what a broker has answered, and as of when that proves something; the topics of which there is more.
    fn take_answer(
        &mut self,
        leader: &Address,
        asked: &[(Topic, Asked)],
        proof: Option<Instant>,
        answer: &Bytes,
    ) -> Result<Vec<Topic>, Failure> {
        let garbled = |garbled| Failure::lost(leader, format_args!("{garbled}; {SPOILT}"));
        let (code, parts) = fetch::read_fetch(answer).map_err(garbled)?;
        if code != 0 {
            return Err(Failure::lost(leader, format_args!("Kafka's error {code}, {}", codes::meaning(code).0)));
        }
        let mut by_name = None;
        let (mut starving, mut hungry, mut progress) = (Vec::new(), Vec::new(), false);
        for (at, part) in parts.iter().enumerate() {
            // The answers come in the order of the questions, but for those that are errors.
            let question = asked.get(at).filter(|(topic, _)| **topic == *part.topic).or_else(|| {
                let by_name =
                    by_name.get_or_insert_with(|| asked.iter().map(|one| (&*one.0, one)).collect::<HashMap<&str, _>>());
                by_name.get(part.topic).copied()
            });
            let Some((topic, asked)) = question else { continue };
            if !self.places.is_current(topic, *asked) {
                continue;
            }
            if part.code != 0 {
                self.explain(topic, part.code);
                continue;
            }
            let next = match self.take_records(topic, answer.slice_ref(part.records), asked.next) {
                Ok(next) => next,
                Err(garbled) => {
                    let reason = format!("broker {leader}: {garbled}; {SPOILT}");
                    let error = self.reach.unavailable(&format!("reading topic {topic}"), &reason);
                    self.hinder(std::slice::from_ref(topic), Duration::ZERO, &error);
                    // What can't be read would be answered with at once, again and again.
                    self.lanes.remove(topic);
                    self.unled.insert(topic.clone());
                    continue;
                }
            };
            progress |= next > asked.next;
            let is_all = self.places.advance(topic, next, u64::try_from(part.end).unwrap_or(0), proof);
            match is_all {
                true => {}
                // One with more than fits comes first in the next request, where it gets what it needs.
                false if next == asked.next => starving.push(topic.clone()),
                false => hungry.push(topic.clone()),
            }
        }
        starving.append(&mut hungry);
        // A broker that has more and gives none is not asked without a pause.
        Ok(if progress { starving } else { Vec::new() })
    }

    fn take_records(&mut self, topic: &Topic, batches: Bytes, from: u64) -> Result<u64, Garbled> {
        // Of what comes while the batch is over-full nothing is taken in; it is asked for again when there is room.
        let room = UNPACKED_BYTES.saturating_sub(self.batch_bytes);
        let records = &mut self.batch.records;
        let before = records.len();
        let read = records::read(batches, from, room, |records::Read { offset, appended, payload }| {
            records.push(Record { topic: topic.clone(), offset, appended, payload });
        });
        match read {
            Ok((next, unpacked)) => {
                // Only what is handed over gives its room back.
                if records.len() > before {
                    self.batch_bytes += unpacked;
                }
                Ok(next)
            }
            Err(garbled) => {
                // They come again, with what could not be read.
                records.truncate(before);
                Err(garbled)
            }
        }
    }

    /// A broker does not give a topic's records, by this code.
    pub(super) fn explain(&mut self, topic: &Topic, code: i16) {
        const OFFSET_OUT_OF_RANGE: i16 = 1;
        match code {
            OFFSET_OUT_OF_RANGE => {
                self.lanes.remove(topic);
                self.places.begin_anew(topic);
                self.seek_at = self.seek_at.min(Instant::now());
            }
            codes::UNKNOWN_TOPIC_OR_PARTITION => self.lose(topic),
            codes::TOPIC_AUTHORIZATION_FAILED => {
                let reason = "not authorized; allow this user to read the topic";
                let error = LogError::Refused { what: format!("reading topic {topic}"), reason: reason.into() };
                self.lanes.remove(topic);
                self.leaders.forget(std::iter::once(topic));
                self.hinder(std::slice::from_ref(topic), Duration::ZERO, &error);
                self.unled.insert(topic.clone());
            }
            code => {
                self.lanes.remove(topic);
                self.leaders.forget(std::iter::once(topic));
                let reason = format!("Kafka's error {code}, {}", codes::meaning(code).0);
                let error = self.reach.unavailable(&format!("reading topic {topic}"), &reason);
                self.hinder(std::slice::from_ref(topic), LEADERLESS, &error);
                self.unled.insert(topic.clone());
            }
        }
    }

    /// Whether it is there at all, and is still the same, is to be found out.
    pub(super) fn lose(&mut self, topic: &Topic) {
        self.lanes.remove(topic);
        self.unled.remove(topic);
        self.leaders.forget(std::iter::once(topic));
        self.places.lose(topic);
        self.seek_at = self.seek_at.min(Instant::now() + lanes::pause(2));
    }

    /// What can't be read now is told, if that has lasted for `long`.
    pub(super) fn hinder(&mut self, topics: &[Topic], long: Duration, error: &LogError) {
        for topic in topics {
            self.batch.failures.extend(self.places.hinder(topic, long, || error.clone()));
        }
    }

    /// The failure as the log's error; it tells of the log as a whole when `by_all` brokers failed.
    pub(super) fn failed(&self, what: &str, failure: &Failure, by_all: bool) -> LogError {
        match failure {
            Failure::Lost(reason) if by_all => self.reach.lost(what, reason),
            Failure::Lost(reason) => self.reach.unavailable(what, reason),
            Failure::Refused { what, reason } => {
                LogError::Refused { what: what.to_string(), reason: reason.to_string() }
            }
        }
    }

    /// Says how far all topics have been read, some times in each interval at most: it looks at each of them.
    pub(super) fn prove(&mut self) {
        let now = Instant::now();
        let often = match self.pace {
            Pace::AtOnce => Duration::from_millis(20),
            Pace::Every(every) => every / 4,
        };
        if now >= self.proof_at || self.batch.read_through.is_some() {
            self.proof_at = now + often;
            self.batch.read_through = self.places.proof();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::BytesMut;

    use super::*;
    use crate::log::Subscription;
    use crate::log::kafka::KafkaConfig;
    use crate::log::kafka::clients::Reach;
    use crate::log::kafka::direct::Direct;
    use crate::log::kafka::direct::batch::put_batch;
    use crate::log::kafka::lookup::Lookup;

    #[tokio::test]
    async fn an_answer_that_is_spoilt_again_and_again_takes_no_room_from_those_after_it() {
        let broker = "127.0.0.1:1";
        let (config, reach) = (Arc::new(KafkaConfig::new(broker)), Arc::new(Reach::new(broker)));
        let direct = Direct::new(&config, &reach).expect("the settings are right");
        let lookup = Lookup::new(config, reach).expect("the settings are right");
        let (_subscription, feed) = Subscription::channel();
        let mut reader = Reader::new(&direct, feed, Pace::AtOnce, lookup);
        let mut batches = BytesMut::new();
        for payload in [&b"good"[..], b"spoilt"] {
            put_batch(&mut batches, [Bytes::from_static(payload)].iter(), 5);
        }
        let within_the_last = batches.len() - 4;
        batches[within_the_last] ^= 1;
        let batches = batches.freeze();
        for _ in 0..3 {
            assert!(reader.take_records(&Topic::from("t"), batches.clone(), 0).is_err());
        }
        assert_eq!((reader.batch.records.len(), reader.batch_bytes), (0, 0));
    }
}
