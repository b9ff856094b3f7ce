//! Which topics are fetched together, and when: a value without I/O.
//!
//! A lane is what one request asks one broker for. Paced reading has many small ones, spread over the interval: so no request keeps a
//! broker's thread for long, and what is urgent is not held up behind thousands of topics.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::super::address::Address;
use crate::log::{Pace, Topic};

/// Topics of one request at most, when reading is paced. A broker takes some 15 us for each, and what is urgent waits while it has no
/// thread to spare: 500 were felt by wake-ups.
const TOPICS_A_LANE: usize = 250;
/// The pause after a failure; twice as long with each further one, up to the second.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Which lane of a subscription.
pub(super) type LaneId = u64;

/// All lanes of a subscription.
#[derive(Debug)]
pub(super) struct Lanes {
    pace: Pace,
    begun: Instant,
    lanes: BTreeMap<LaneId, Lane>,
    of_topic: HashMap<Topic, LaneId>,
    made: u64,
}

#[derive(Debug)]
struct Lane {
    leader: Address,
    topics: Vec<Topic>,
    /// Topics of which the last answer had no room for all.
    hungry: Vec<Topic>,
    /// When all topics are fetched next.
    due: Instant,
    /// A request is under way.
    busy: bool,
}

impl Lanes {
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, begun: Instant::now(), lanes: BTreeMap::new(), of_topic: HashMap::new(), made: 0 }
    }

    /// Fetches the topic from this broker, from now on.
    pub(super) fn place(&mut self, topic: Topic, leader: &Address) {
        self.remove(&topic);
        let most = if self.pace == Pace::AtOnce { usize::MAX } else { TOPICS_A_LANE };
        let has_room = |lane: &Lane| lane.leader == *leader && lane.topics.len() < most;
        let now = Instant::now();
        let id = match self.lanes.iter_mut().find(|(_, lane)| has_room(lane)) {
            Some((id, _)) => *id,
            None => {
                self.made += 1;
                let (topics, hungry) = (Vec::new(), Vec::new());
                self.lanes.insert(self.made, Lane { leader: leader.clone(), topics, hungry, due: now, busy: false });
                self.made
            }
        };
        if let Some(lane) = self.lanes.get_mut(&id) {
            // What is new is read at once.
            lane.due = now;
            lane.topics.push(topic.clone());
            self.of_topic.insert(topic, id);
        }
    }

    /// Fetches the topic no more. An answer that is on its way may still have something of it.
    pub(super) fn remove(&mut self, topic: &Topic) {
        let Some(id) = self.of_topic.remove(topic) else { return };
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.topics.retain(|other| other != topic);
        lane.hungry.retain(|other| other != topic);
        if lane.topics.is_empty() && !lane.busy {
            self.lanes.remove(&id);
        }
    }

    /// When the next request is due; none while there is nothing to ask for, or all is under way.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.lanes.values().filter(|lane| !lane.busy).map(Lane::wakes).min()
    }

    /// The requests that are due: each lane's broker, and the topics to ask it for.
    pub(super) fn begin(&mut self) -> Vec<(LaneId, Address, Vec<Topic>)> {
        let now = Instant::now();
        let mut begun = Vec::new();
        for (id, lane) in self.lanes.iter_mut().filter(|(_, lane)| !lane.busy && lane.wakes() <= now) {
            lane.busy = true;
            let hungry = std::mem::take(&mut lane.hungry);
            let is_due = lane.due <= now;
            if is_due {
                lane.due = next_turn(self.pace, self.begun, *id, now);
            }
            let topics = match (is_due, hungry.is_empty()) {
                (true, true) => lane.topics.clone(),
                (true, false) => {
                    // Those that are hungry come first, so that each has its turn.
                    let first: HashSet<&Topic> = hungry.iter().collect();
                    let others = lane.topics.iter().filter(|topic| !first.contains(topic));
                    hungry.iter().chain(others).cloned().collect()
                }
                (false, _) => hungry,
            };
            begun.push((*id, lane.leader.clone(), topics));
        }
        begun
    }

    /// A request is over. It had no room for all that there is of these topics, which are asked for again at once.
    pub(super) fn end(&mut self, id: LaneId, hungry: Vec<Topic>) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.busy = false;
        lane.hungry = hungry;
        let of_topic = &self.of_topic;
        lane.hungry.retain(|topic| of_topic.get(topic) == Some(&id));
        if lane.topics.is_empty() {
            self.lanes.remove(&id);
        }
    }

    /// The brokers that topics are fetched from.
    pub(super) fn leaders(&self) -> HashSet<Address> {
        self.lanes.values().map(|lane| lane.leader.clone()).collect()
    }

    /// Whether all topics are fetched from this broker.
    pub(super) fn are_all_at(&self, leader: &Address) -> bool {
        self.lanes.values().all(|lane| lane.leader == *leader)
    }

    /// Fetches nothing more from this broker; the topics that were, and are fetched no more until they are placed again.
    pub(super) fn leave(&mut self, leader: &Address) -> Vec<Topic> {
        let theirs = self.lanes.iter().filter(|(_, lane)| lane.leader == *leader).map(|(id, _)| *id);
        let theirs: Vec<LaneId> = theirs.collect();
        theirs.into_iter().flat_map(|id| self.disband(id)).collect()
    }

    /// A request has failed; the lane's topics, which are fetched no more until they are placed again.
    pub(super) fn disband(&mut self, id: LaneId) -> Vec<Topic> {
        let topics = self.lanes.remove(&id).map(|lane| lane.topics).unwrap_or_default();
        for topic in &topics {
            self.of_topic.remove(topic);
        }
        topics
    }
}

impl Lane {
    fn wakes(&self) -> Instant {
        // Something hungry does not wait for its turn.
        if self.hungry.is_empty() { self.due } else { self.due.min(Instant::now()) }
    }
}

/// A lane's next turn: once in each interval, at a time of the lane's own in it.
fn next_turn(pace: Pace, begun: Instant, id: LaneId, now: Instant) -> Instant {
    let Pace::Every(every) = pace else { return now };
    let every = every.max(Duration::from_millis(1));
    // Multiples of the golden ratio spread any number of lanes evenly.
    const GOLDEN: f64 = 0.618_033_988_749_895;
    let phase = every.mul_f64((id as f64 * GOLDEN).fract());
    let passed = (now - begun).as_secs_f64() - phase.as_secs_f64();
    let turns = (passed / every.as_secs_f64()).floor().max(-1.0) + 1.0;
    (begun + phase + every.mul_f64(turns)).max(now)
}

/// The pause before what has failed so many times is tried again.
pub(super) fn pause(failures: u32) -> Duration {
    (PAUSE_MIN * 2_u32.saturating_pow(failures.saturating_sub(1).min(8))).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const EVERY: Duration = Duration::from_millis(250);

    fn broker(host: &str) -> Address {
        Address::told(host, 1).expect("it is an address")
    }

    fn topics(count: usize) -> Vec<Topic> {
        (0..count).map(|number| Topic::from(format!("t{number}"))).collect()
    }

    fn placed(pace: Pace, topics: &[Topic]) -> Lanes {
        let mut lanes = Lanes::new(pace);
        for topic in topics {
            lanes.place(topic.clone(), &broker("a"));
        }
        lanes
    }

    #[tokio::test(start_paused = true)]
    async fn every_topic_is_asked_for_once_in_each_interval_and_not_all_at_the_same_time() {
        let topics = topics(5_000);
        let mut lanes = placed(Pace::Every(EVERY), &topics);
        let mut asked: HashMap<Topic, u32> = HashMap::new();
        let mut most = 0;
        for step in 0..1_000 {
            let begun = lanes.begin();
            if step >= 250 {
                most = most.max(begun.len());
                for topic in begun.iter().flat_map(|(.., topics)| topics) {
                    *asked.entry(topic.clone()).or_default() += 1;
                }
            }
            for (id, ..) in begun {
                lanes.end(id, Vec::new());
            }
            advance(Duration::from_millis(1)).await;
        }
        assert_eq!(asked.len(), topics.len());
        assert!(asked.values().all(|times| (3..=4).contains(times)), "{:?}", asked.values().max());
        assert_eq!(most, 1, "lanes have times of their own");
    }

    #[tokio::test(start_paused = true)]
    async fn what_had_no_room_is_asked_for_at_once_and_comes_first_when_all_are_due() {
        let topics = topics(3);
        let mut lanes = placed(Pace::Every(EVERY), &topics);
        let [(id, _, first)] = &lanes.begin()[..] else { panic!("one lane") };
        assert_eq!(*first, topics);
        lanes.end(*id, vec![topics[2].clone()]);
        let begun = lanes.begin();
        assert_eq!(begun[0].2, topics[2..]);
        lanes.end(*id, vec![topics[1].clone()]);
        advance(EVERY).await;
        assert_eq!(lanes.begin()[0].2, [topics[1].clone(), topics[0].clone(), topics[2].clone()]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_has_one_request_under_way_and_ends_with_its_last_topic() {
        let topics = topics(2);
        let mut lanes = placed(Pace::AtOnce, &topics);
        let [(id, ..)] = lanes.begin()[..] else { panic!("one lane") };
        assert!(lanes.begin().is_empty() && lanes.next_due().is_none());
        for topic in &topics {
            lanes.remove(topic);
        }
        lanes.end(id, vec![topics[0].clone()]);
        assert!(lanes.next_due().is_none() && lanes.begin().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_topic_that_moves_is_asked_for_at_its_new_leader_only() {
        let topics = topics(2);
        let mut lanes = placed(Pace::AtOnce, &topics);
        lanes.place(topics[0].clone(), &broker("b"));
        let begun: Vec<_> = lanes.begin().into_iter().map(|(_, leader, topics)| (leader, topics)).collect();
        assert_eq!(begun, [(broker("a"), topics[1..].to_vec()), (broker("b"), topics[..1].to_vec())]);
        let id = 1;
        assert_eq!(lanes.disband(id), topics[1..]);
        lanes.end(id, Vec::new());
        assert!(lanes.next_due().is_none(), "the other is under way");
        assert_eq!(lanes.leaders(), HashSet::from([broker("b")]));
        assert!(lanes.are_all_at(&broker("b")) && !lanes.are_all_at(&broker("a")));
        assert_eq!((lanes.leave(&broker("a")), lanes.leave(&broker("b"))), (vec![], topics[..1].to_vec()));
        assert!(lanes.leaders().is_empty());
    }

    #[test]
    fn pauses_grow_within_bounds() {
        assert_eq!([1, 2, 3, 4, 5, 99].map(|failures| pause(failures).as_millis()), [50, 100, 200, 400, 500, 500]);
    }
}
