//! What brokers say of each other.
//!
//! A broker that is cut off from the controllers, but not from us, takes itself for the leader of its topics when others lead them long
//! since, and what it calls a topic's end is too low. The others know: for them it is no member of the cluster. Who leads in its place
//! knew so before it took a record. So what a broker claims counts only when the others have been asked *after* the claim, and none that
//! answered has left it out.
//!
//! A broker that does not answer accuses nobody: one that hangs would stop the proofs of all topics that others lead.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;
use tracing::{info, warn};

use super::super::address::Address;
use super::super::link::Purpose;
use super::super::messages;
use super::Reader;

/// From round to round, while there are claims. A proof is older by up to this much, in a cluster of several brokers.
const INTERVAL: Duration = Duration::from_millis(250);
/// How long a broker has to say who is there.
const PATIENCE: Duration = Duration::from_millis(300);
/// The same for one that did not answer when it was asked last: others' proofs wait for the round.
const LITTLE_PATIENCE: Duration = Duration::from_millis(50);
/// What a broker said is held against others for so long, where it is not heard again.
const HOLDS: Duration = Duration::from_secs(10);

/// The members of a cluster, as one of them sees it.
type Members = HashSet<Address>;

/// What each broker said last: a value without I/O.
#[derive(Debug, Default)]
pub(super) struct Witnesses {
    said: HashMap<Address, Said>,
}

#[derive(Debug)]
struct Said {
    at: Instant,
    members: Members,
    /// It has not answered since.
    silent: bool,
}

impl Witnesses {
    /// How long this broker has for its answer.
    fn patience(&self, broker: &Address) -> Duration {
        if self.said.get(broker).is_some_and(|said| said.silent) { LITTLE_PATIENCE } else { PATIENCE }
    }

    /// Takes in a round: what each broker that was asked said, or that it said nothing.
    fn hear(&mut self, round: Vec<(Address, Option<Members>)>) {
        self.said.retain(|_, said| said.at.elapsed() < HOLDS);
        for (broker, members) in round {
            match members {
                Some(members) => drop(self.said.insert(broker, Said { at: Instant::now(), members, silent: false })),
                None => match self.said.get_mut(&broker) {
                    Some(said) => said.silent = true,
                    None => {
                        let said = Said { at: Instant::now(), members: Members::new(), silent: true };
                        self.said.insert(broker, said);
                    }
                },
            }
        }
    }

    /// The brokers that some other one does not count among the cluster's, each with that one.
    fn accused(&self, among: &HashSet<Address>) -> HashMap<Address, Address> {
        let mut accused = HashMap::new();
        // One that does not count itself is outside, or has only just begun: it knows nothing of the others.
        for (witness, said) in self.said.iter().filter(|(witness, said)| said.members.contains(*witness)) {
            for broker in among.iter().filter(|broker| *broker != witness && !said.members.contains(*broker)) {
                accused.insert(broker.clone(), witness.clone());
            }
        }
        accused
    }
}

/// What came of a round.
pub(super) struct Round {
    asked_at: Instant,
    said: Vec<(Address, Option<Members>)>,
}

impl Reader {
    /// Asks every broker who is there.
    pub(super) fn ask_witnesses(&mut self) {
        let asked_at = Instant::now();
        self.witness_at = asked_at + INTERVAL;
        let brokers = self.leaders.brokers();
        let asking = brokers.into_iter().map(|broker| {
            let request = messages::metadata(&self.settings.client_id, &[]);
            let (links, deadline) = (self.links.clone(), asked_at + self.witnesses.patience(&broker));
            async move {
                let answer = links.ask(&broker, Purpose::Leaders, request, None, deadline).await;
                let members = answer.ok().and_then(|answer| Some(members(&messages::read_metadata(&answer).ok()?)));
                (broker, members)
            }
        });
        let asking = join_all(asking.collect::<Vec<_>>());
        self.witnessing = Some(Box::pin(async move { Round { asked_at, said: asking.await } }));
    }

    /// Proves what has been claimed before the round, but for claims of brokers that are accused: their topics' leaders are asked for anew.
    pub(super) fn witnessed(&mut self, Round { asked_at, said }: Round) {
        self.witnesses.hear(said);
        let accused = self.witnesses.accused(&self.lanes.leaders().union(&self.accused).cloned().collect());
        for (broker, witness) in &accused {
            if self.accused.insert(broker.clone()) {
                warn!(
                    "broker {broker} is no member of the cluster any more, says broker {witness}: what it says of its topics' ends proves \
                     nothing until it is one again; see whether it runs, and reaches the controllers"
                );
            }
            self.leaders.suspect(broker);
            let topics = self.lanes.leave(broker);
            self.leaders.forget(topics.iter());
            self.unled.extend(topics);
            self.learn_at = self.learn_at.min(Instant::now());
        }
        let leaders = &self.leaders;
        self.accused.retain(|broker| {
            let is_accused = accused.contains_key(broker);
            if !is_accused {
                info!("broker {broker} is a member of the cluster again");
                leaders.trust(broker);
            }
            is_accused
        });
        self.places.bear_out(asked_at, &self.accused);
        self.prove();
    }
}

fn members(view: &messages::ClusterView<'_>) -> Members {
    view.brokers.iter().filter_map(|broker| Address::told(broker.host, broker.port)).collect()
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn broker(host: &str) -> Address {
        Address::told(host, 1).expect("it is an address")
    }

    fn all(hosts: &[&str]) -> Members {
        hosts.iter().map(|host| broker(host)).collect()
    }

    /// A round in which each of these named those members.
    fn said(witnesses: &mut Witnesses, round: &[(&str, Option<&[&str]>)]) {
        witnesses.hear(round.iter().map(|(host, members)| (broker(host), members.map(all))).collect());
    }

    fn accused(witnesses: &Witnesses) -> Vec<Address> {
        let mut accused: Vec<_> = witnesses.accused(&all(&["a", "b", "c"])).into_keys().collect();
        accused.sort();
        accused
    }

    const ALL: Option<&[&str]> = Some(&["a", "b", "c"]);

    #[tokio::test(start_paused = true)]
    async fn one_that_leaves_a_broker_out_is_enough_and_silence_accuses_nobody() {
        let mut witnesses = Witnesses::default();
        said(&mut witnesses, &[("a", ALL), ("b", ALL), ("c", None)]);
        assert_eq!(accused(&witnesses), []);
        // b is cut off, and sees the cluster as it was.
        said(&mut witnesses, &[("a", ALL), ("b", ALL), ("c", Some(&["a", "c"]))]);
        assert_eq!(accused(&witnesses), [broker("b")]);
        said(&mut witnesses, &[("a", None), ("b", ALL), ("c", None)]);
        assert_eq!(accused(&witnesses), [broker("b")], "who falls silent takes nothing back");
        said(&mut witnesses, &[("a", ALL), ("b", ALL), ("c", ALL)]);
        assert_eq!(accused(&witnesses), []);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_outside_itself_is_no_witness() {
        let mut witnesses = Witnesses::default();
        said(&mut witnesses, &[("a", Some(&["a", "c"])), ("b", Some(&["c"])), ("c", Some(&[]))]);
        assert_eq!(accused(&witnesses), [broker("b")]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_broker_said_that_is_gone_does_not_hold_for_ever() {
        let mut witnesses = Witnesses::default();
        said(&mut witnesses, &[("a", ALL), ("b", ALL), ("c", Some(&["c"]))]);
        assert_eq!(accused(&witnesses), [broker("a"), broker("b")]);
        advance(HOLDS - Duration::from_millis(1)).await;
        said(&mut witnesses, &[("a", ALL), ("b", ALL), ("c", None)]);
        assert_eq!(accused(&witnesses), [broker("a"), broker("b")]);
        advance(Duration::from_millis(1)).await;
        said(&mut witnesses, &[("a", ALL), ("b", ALL), ("c", None)]);
        assert_eq!(accused(&witnesses), []);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_keeps_the_rounds_waiting_once() {
        let mut witnesses = Witnesses::default();
        assert_eq!(witnesses.patience(&broker("a")), PATIENCE);
        said(&mut witnesses, &[("a", None), ("b", ALL)]);
        assert_eq!(["a", "b"].map(|host| witnesses.patience(&broker(host))), [LITTLE_PATIENCE, PATIENCE]);
        said(&mut witnesses, &[("a", ALL), ("b", None)]);
        assert_eq!(["a", "b"].map(|host| witnesses.patience(&broker(host))), [PATIENCE, LITTLE_PATIENCE]);
    }
}
