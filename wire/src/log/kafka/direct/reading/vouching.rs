//! Whether a leader that is new gives away all that was acknowledged.
//!
//! For a moment it may hold back the newest, and the end in its answer is too low. Other than with records, it answers the question where a
//! topic ends only when that is over (KIP-207). The question goes to that very leader: whoever else answered it would vouch for itself.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use super::super::address::Address;
use super::super::link::Purpose;
use super::super::messages::ends;
use super::{Reader, lanes};
use crate::log::Topic;

/// How long a leader has for its answer. Proofs wait for it, and 3 s without one mean *unknown*.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Topics of one question at most.
const TOPICS_A_QUESTION: usize = 1_000;

/// Which topics' leaders were asked, and the topics that they have vouched for.
pub(super) struct Vouching {
    doubted: Vec<(Topic, u64)>,
    vouched: HashSet<Topic>,
}

impl Reader {
    /// Asks leaders that are new where their topics end.
    pub(super) fn vouch(&mut self) {
        self.has_doubts = false;
        let (mut by_leader, mut doubted) = (HashMap::<Address, Vec<Topic>>::new(), Vec::new());
        for (topic, leading, leader) in self.places.doubted() {
            doubted.push((topic.clone(), leading));
            by_leader.entry(leader).or_default().push(topic);
        }
        if doubted.is_empty() {
            return;
        }
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let mut asking = Vec::new();
        for (leader, topics) in &by_leader {
            for topics in topics.chunks(TOPICS_A_QUESTION) {
                let (links, leader, topics) = (self.links.clone(), leader.clone(), topics.to_vec());
                let question = ends::ends(&self.settings.client_id, &topics);
                asking.push(async move {
                    // Not over the connection of the records: where reading is at once, the broker waits there before it answers.
                    let answer = links.ask(&leader, Purpose::Leaders, question, None, deadline).await.ok();
                    // Reading the topics tells what is wrong, and what to do.
                    let ends = answer.as_ref().and_then(|answer| ends::read_ends(answer).ok()).unwrap_or_default();
                    let good: HashSet<&str> =
                        ends.iter().filter(|(_, code, _)| *code == 0).map(|(topic, ..)| *topic).collect();
                    topics.into_iter().filter(|topic| good.contains(&**topic)).collect::<Vec<_>>()
                });
            }
        }
        let asking = join_all(asking);
        self.vouching =
            Some(Box::pin(async move { Vouching { doubted, vouched: asking.await.into_iter().flatten().collect() } }));
    }

    pub(super) fn vouched(&mut self, Vouching { doubted, vouched }: Vouching) {
        for (topic, leading) in doubted {
            if vouched.contains(&topic) {
                self.places.vouch(&topic, leading);
            } else {
                self.has_doubts = true;
            }
        }
        // What has been placed meanwhile is asked about at once.
        self.vouch_at = Instant::now() + if self.has_doubts { lanes::pause(3) } else { Duration::ZERO };
    }
}
