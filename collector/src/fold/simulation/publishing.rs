//! What the interceptors of a world write: frames, activations and heartbeats, by the design's rules.

use std::collections::{HashMap, HashSet};

use plimsoll_wire::frame::{Activation, Heartbeat, InterceptorRecord, interceptor_record::Record};
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::{Cut, End, MS, Payload, S, TICK, World, topic_name};

#[derive(Debug)]
struct Publisher {
    undelivered: HashSet<usize>,
    /// Running spells: where each began, and the totals just before.
    spell: HashMap<usize, (u64, u64, u64)>,
    /// What the newest frame covers.
    cut_until: HashMap<usize, u64>,
}

impl World {
    /// All that a run writes, by the rules of "Frames and topics".
    pub(super) fn publish(&mut self, index: usize, rng: &mut StdRng) {
        let mut publisher = Publisher { undelivered: HashSet::new(), spell: HashMap::new(), cut_until: HashMap::new() };
        let (start, end) = (self.runs[index].start, self.runs[index].end);
        let ticks = (end.min(self.scenario.length_s * S) - start) / TICK;
        for tick in 1..=ticks {
            let watermark = tick * TICK;
            let mut acknowledged = watermark;
            for topic in 0..self.scenario.topics {
                self.wake(index, topic, watermark, &mut publisher, rng);
                if publisher.spell.contains_key(&topic) {
                    let cut = watermark + rng.random_range(0..50);
                    acknowledged = acknowledged.max(self.cut(index, topic, cut, &mut publisher, rng));
                }
            }
            self.heartbeat(index, watermark, acknowledged, false, &publisher, rng);
        }
        if self.runs[index].how == Some(End::Leaves) {
            let own_end = end - start;
            let mut acknowledged = own_end;
            for topic in 0..self.scenario.topics {
                self.wake(index, topic, own_end, &mut publisher, rng);
                if publisher.spell.contains_key(&topic) {
                    acknowledged = acknowledged.max(self.cut(index, topic, own_end, &mut publisher, rng));
                }
            }
            self.heartbeat(index, own_end, acknowledged, true, &publisher, rng);
        }
    }

    /// The first arrivals after idleness before this time are published at once.
    fn wake(&mut self, index: usize, topic: usize, before: u64, publisher: &mut Publisher, rng: &mut StdRng) {
        while !publisher.spell.contains_key(&topic) {
            let run = &self.runs[index];
            let after = publisher.cut_until.get(&topic).copied();
            let arrivals = run.requests[topic].iter().map(|r| r.arrive);
            let Some(first) = arrivals.filter(|at| *at < before && after.is_none_or(|after| *at > after)).min() else {
                return;
            };
            let earlier = first.saturating_sub(1);
            let admitted = run.requests[topic].iter().filter(|r| r.arrive < first).count() as u64;
            publisher.spell.insert(topic, (first, admitted, run.busy(topic, earlier)));
            let cut = (first + rng.random_range(0..300)).min(before);
            let frame = run.frame(topic, cut, publisher.spell[&topic]);
            let sent = run.start + cut;
            let mut activated = None;
            if !self.out_of_reach(&self.runs[index], sent) && sent < self.runs[index].end {
                let activation = Activation { topic: topic_name(topic).to_string(), frame: Some(frame) };
                let record = InterceptorRecord { record: Some(Record::Activation(activation)) };
                let at = sent + rng.random_range(200..5 * MS);
                activated = Some(at);
                self.append(at, Payload::Interceptors(record), rng);
            }
            self.cut(index, topic, cut, publisher, rng);
            // The activation has the same totals.
            if let Some(cut) = self.runs[index].cuts[topic].last_mut() {
                cut.appended = cut.appended.or(activated);
            }
        }
    }

    /// Cuts and appends one frame; when it was acknowledged, by the run's own clock.
    fn cut(&mut self, index: usize, topic: usize, at: u64, publisher: &mut Publisher, rng: &mut StdRng) -> u64 {
        let run = &self.runs[index];
        let spell = publisher.spell[&topic];
        let frame = run.frame(topic, at, spell);
        let in_flight = frame.in_flight();
        let sent = run.start + at;
        let failed = self.out_of_reach(run, sent);
        let in_a_row = run.cuts[topic].last().is_some_and(|cut| cut.appended.is_none());
        let lost = !failed && !in_a_row && rng.random_ratio(self.scenario.lost_percent, 100);
        let latency = rng.random_range(200..30 * MS);
        self.runs[index].cuts[topic].push(Cut {
            at,
            spell_at: spell.0,
            appended: (!failed && !lost).then_some(sent + latency),
        });
        publisher.cut_until.insert(topic, at);
        if failed {
            publisher.undelivered.insert(topic);
            return at;
        }
        publisher.undelivered.remove(&topic);
        if in_flight == 0 {
            publisher.spell.remove(&topic);
        }
        if !lost {
            self.append(sent + latency, Payload::Frame(topic, frame), rng);
        }
        at + latency + 300
    }

    fn heartbeat(
        &mut self,
        index: usize,
        watermark: u64,
        acknowledged: u64,
        leaving: bool,
        publisher: &Publisher,
        rng: &mut StdRng,
    ) {
        let run = &self.runs[index];
        let at = acknowledged + rng.random_range(0..MS);
        let sent = run.start + at;
        if self.out_of_reach(run, sent) || (sent >= run.end && !leaving) {
            return;
        }
        let heartbeat = Heartbeat {
            interceptor: run.name.clone(),
            incarnation: run.incarnation,
            at_us: at,
            watermark_us: watermark,
            undelivered: publisher.undelivered.iter().map(|topic| topic_name(*topic).to_string()).collect(),
            leaving,
        };
        let record = InterceptorRecord { record: Some(Record::Heartbeat(heartbeat)) };
        self.append(sent + rng.random_range(200..5 * MS), Payload::Interceptors(record), rng);
    }

    fn append(&mut self, at: u64, payload: Payload, rng: &mut StdRng) {
        let again = at + rng.random_range(0..3 * S);
        if rng.random_ratio(self.scenario.repeated_percent, 100)
            && !self.outages.iter().any(|away| away.contains(&again))
        {
            self.log.push((again, payload.clone()));
        }
        self.log.push((at, payload));
    }
}
