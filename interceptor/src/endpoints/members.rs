//! All known addresses of a workload, and which of them requests may be given to. Pure.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use tokio::time::Instant;

use super::endpoint::{Endpoint, Home};
use super::health::{Ejection, Health};
use super::view::{View, WHOLE};
use super::{Options, State};

/// The addresses of one workload.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// By address.
    members: Vec<Member>,
    /// Endpoints that are gone and finish their requests. Should one come back, its requests still count.
    finishing: Vec<Weak<Endpoint>>,
}

/// One address.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) state: State,
    probing: Probing,
    pub(super) health: Health,
}

/// What a failure leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Consequence {
    /// Nothing, yet.
    None,
    /// The endpoint is ejected.
    Ejected,
    /// The endpoint is starting, and must accept a probe's connection again.
    Tried,
}

/// How far a starting endpoint has come. It is tried from the first sight on; once its source has called it ready, only the
/// source's word counts: an endpoint that becomes unready later has its reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probing {
    /// Nobody tries it yet.
    Wanted,
    /// A probe tries to connect.
    Running,
    /// It has accepted a connection. A failure afterwards makes it `Wanted` again.
    Accepted,
    /// It has been ready before.
    Over,
}

impl Members {
    /// These are the addresses from now on; of an address given twice the first counts. True where anything has changed.
    pub(super) fn update(&mut self, mut known: Vec<(SocketAddr, State)>, home: &Home, now: Instant) -> bool {
        known.sort_by_key(|(address, _)| *address);
        known.dedup_by_key(|(address, _)| *address);
        if known.iter().copied().eq(self.members.iter().map(|member| (member.endpoint.address, member.state))) {
            return false;
        }
        let before = std::mem::take(&mut self.members).into_iter();
        let mut before: HashMap<SocketAddr, Member> = before.map(|member| (member.endpoint.address, member)).collect();
        let mut finishing = self.finishing();
        for (address, state) in known {
            let new = || Arc::new(Endpoint::new(address, home.clone()));
            let member = match before.remove(&address) {
                Some(member) => member,
                None => Member::new(finishing.remove(&address).unwrap_or_else(new)),
            };
            self.members.push(member.turned(state));
        }
        // What nobody but this list still knows has finished.
        drop(finishing);
        for gone in before.into_values() {
            gone.endpoint.set_leaving(true);
            self.finishing.push(Arc::downgrade(&gone.endpoint));
        }
        self.finishing.retain(|endpoint| endpoint.strong_count() > 0);
        self.keep_half(now);
        true
    }

    /// The endpoints that are gone and still have requests.
    fn finishing(&self) -> HashMap<SocketAddr, Arc<Endpoint>> {
        self.finishing.iter().filter_map(Weak::upgrade).map(|endpoint| (endpoint.address, endpoint)).collect()
    }

    /// What requests may be given to. Where nothing is ready but for ejected endpoints, they are tried after all; where nothing
    /// is ready at all, starting endpoints that accept connections are.
    pub(super) fn view(&self, options: &Options, now: Instant) -> View {
        let ready = || self.members.iter().filter(|member| member.state == State::Ready);
        let mut usable: Vec<&Member> = ready().filter(|member| member.health.ejected_until().is_none()).collect();
        if usable.is_empty() {
            usable = ready().collect();
        }
        if usable.is_empty() {
            let accepts = |member: &&Member| member.state == State::Starting && member.probing == Probing::Accepted;
            usable = self.members.iter().filter(accepts).collect();
        }
        let mut weights: Vec<u8> = usable.iter().map(|member| member.health.weight(now, &options.ejection)).collect();
        if weights.iter().all(|weight| *weight == WHOLE) {
            weights.clear();
        }
        let tag = |member: &&Member| Some(options.sessions.as_ref()?.tag(member.endpoint.address));
        View {
            weights,
            tags: usable.iter().filter_map(tag).collect(),
            endpoints: usable.iter().map(|member| member.endpoint.clone()).collect(),
            limit: options.limit,
        }
    }

    /// The endpoint has failed so many times in a row.
    pub(super) fn failed(&mut self, endpoint: &Endpoint, failures: u32, rules: &Ejection, now: Instant) -> Consequence {
        // At most half are out, so that those that are left are not overrun for the sake of a network's bad moment.
        let one_more = self.ejected().count() < self.ready() / 2;
        let Some(member) = self.member(endpoint.address) else { return Consequence::None };
        match member.state {
            State::Starting if member.probing == Probing::Accepted => {
                member.probing = Probing::Wanted;
                Consequence::Tried
            }
            State::Ready if one_more && member.deserves_ejection(failures, rules) => {
                member.health.eject(now, rules, endpoint.has_answered());
                endpoint.forgive();
                Consequence::Ejected
            }
            _ => Consequence::None,
        }
    }

    /// Lets time do its work. True where requests should know.
    pub(super) fn review(&mut self, rules: &Ejection, now: Instant) -> bool {
        let mut changed = false;
        for member in &mut self.members {
            changed |= member.health.review(now, rules);
        }
        changed
    }

    /// Whether time will change something, or a probe is wanted.
    pub(super) fn is_restless(&self) -> bool {
        self.members.iter().any(|member| !member.health.is_settled() || member.wants_probe())
    }

    /// The endpoints that a probe should try now; each is handed out once.
    pub(super) fn take_unprobed(&mut self) -> Vec<SocketAddr> {
        let begin = |member: &mut Member| {
            member.probing = Probing::Running;
            member.endpoint.address
        };
        self.members.iter_mut().filter(|member| member.wants_probe()).map(begin).collect()
    }

    /// Whether a probe of this address should go on.
    pub(super) fn is_probed(&self, address: SocketAddr) -> bool {
        self.members.iter().any(|member| member.endpoint.address == address && member.is_probed())
    }

    /// It has accepted a probe's connection. True where that was still asked for.
    pub(super) fn accepted(&mut self, address: SocketAddr) -> bool {
        let member = self.member(address).filter(|member| member.is_probed());
        member.map(|member| member.probing = Probing::Accepted).is_some()
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.members.iter()
    }

    fn member(&mut self, address: SocketAddr) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.endpoint.address == address)
    }

    fn ready(&self) -> usize {
        self.members.iter().filter(|member| member.state == State::Ready).count()
    }

    fn ejected(&self) -> impl Iterator<Item = Instant> {
        let ready = self.members.iter().filter(|member| member.state == State::Ready);
        ready.filter_map(|member| member.health.ejected_until())
    }

    /// When endpoints have gone, too many of those that are left may be ejected: who would return soonest returns now.
    fn keep_half(&mut self, now: Instant) {
        while self.ejected().count() > self.ready() / 2 {
            let ejected = self.members.iter_mut().filter(|member| member.health.ejected_until().is_some());
            let Some(soonest) = ejected.min_by_key(|member| member.health.ejected_until()) else { return };
            soonest.health.readmit(now);
        }
    }
}

impl Member {
    fn new(endpoint: Arc<Endpoint>) -> Self {
        Self { endpoint, state: State::Starting, probing: Probing::Wanted, health: Health::default() }
    }

    fn turned(mut self, state: State) -> Self {
        self.endpoint.set_leaving(state == State::Draining);
        if state != State::Starting {
            self.probing = Probing::Over;
        }
        self.state = state;
        self
    }

    fn wants_probe(&self) -> bool {
        self.state == State::Starting && self.probing == Probing::Wanted
    }

    fn is_probed(&self) -> bool {
        self.state == State::Starting && self.probing == Probing::Running
    }

    fn deserves_ejection(&self, failures: u32, rules: &Ejection) -> bool {
        rules.after > 0 && failures >= rules.after && self.health.ejected_until().is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const RULES: Ejection = Ejection {
        after: 1,
        base: Duration::from_secs(1),
        longest: Duration::from_secs(9),
        ramp: Duration::from_secs(1),
    };

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn members(states: &[State]) -> Members {
        let mut members = Members::default();
        update(&mut members, states);
        members
    }

    /// Addresses with ports from 0 on are in these states.
    fn update(members: &mut Members, states: &[State]) {
        let known = states.iter().zip(0..).map(|(state, port)| (address(port), *state)).collect();
        members.update(known, &Home::default(), Instant::now());
    }

    fn usable(members: &Members) -> Vec<u16> {
        let view = members.view(&Options { ejection: RULES, ..Options::default() }, Instant::now());
        view.endpoints.iter().map(|endpoint| endpoint.address.port()).collect()
    }

    use State::{Draining, Ready, Starting};

    #[test]
    fn a_ready_endpoint_is_usable_and_one_on_its_way_out_is_not() {
        assert_eq!(usable(&members(&[Ready, Draining, Starting, Ready])), [0, 3]);
        assert!(usable(&members(&[Draining])).is_empty());
    }

    #[test]
    fn a_starting_endpoint_is_usable_once_it_accepts_while_nothing_is_ready() {
        let mut all = members(&[Starting, Starting]);
        assert_eq!(all.take_unprobed(), [address(0), address(1)]);
        assert!(all.take_unprobed().is_empty(), "each is tried by one probe");
        assert!(all.accepted(address(1)));
        assert_eq!(usable(&all), [1]);
        update(&mut all, &[Ready, Starting]);
        assert_eq!(usable(&all), [0]);
        assert!(!all.accepted(address(0)), "its source has spoken");
    }

    #[test]
    fn a_starting_endpoint_that_fails_is_tried_again() {
        let mut all = members(&[Starting]);
        all.take_unprobed();
        all.accepted(address(0));
        assert!(!all.is_restless());
        let endpoint = all.members[0].endpoint.clone();
        assert_eq!(all.failed(&endpoint, 1, &RULES, Instant::now()), Consequence::Tried);
        assert!(usable(&all).is_empty());
        assert_eq!(all.take_unprobed(), [address(0)]);
    }

    #[test]
    fn an_endpoint_that_becomes_unready_is_not_tried() {
        let mut all = members(&[Ready]);
        update(&mut all, &[Starting]);
        assert!(all.take_unprobed().is_empty());
        assert!(usable(&all).is_empty());
        update(&mut all, &[Ready]);
        assert_eq!(usable(&all), [0]);
    }

    #[test]
    fn an_endpoint_that_comes_back_still_has_its_requests() {
        let mut all = members(&[Ready]);
        let request = all.members[0].endpoint.clone().enter();
        update(&mut all, &[]);
        assert!(request.endpoint().is_leaving());
        update(&mut all, &[Ready]);
        assert_eq!(all.members[0].endpoint.in_flight(), 1);
        assert!(!request.endpoint().is_leaving());
        update(&mut all, &[]);
        drop(request);
        update(&mut all, &[Ready]);
        update(&mut all, &[]);
        assert_eq!(all.finishing.len(), 0, "what has finished is forgotten");
    }

    proptest! {
        #[test]
        fn at_most_half_are_ejected_and_requests_always_find_one(
            steps in prop::collection::vec((0u16..8, 1usize..8, 0u64..3), 1..60),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async move {
                let mut all = members(&[Ready; 8]);
                for (port, count, seconds) in steps {
                    tokio::time::advance(Duration::from_secs(seconds)).await;
                    let now = Instant::now();
                    all.review(&RULES, now);
                    if let Some(member) = all.members.iter().find(|member| member.endpoint.address.port() == port) {
                        let endpoint = member.endpoint.clone();
                        all.failed(&endpoint, 1, &RULES, now);
                    }
                    prop_assert!(all.ejected().count() <= all.ready() / 2);
                    update(&mut all, &vec![Ready; count]);
                    prop_assert!(all.ejected().count() <= all.ready() / 2);
                    prop_assert!(usable(&all).len() >= count.div_ceil(2));
                }
                Ok(())
            })?;
        }
    }
}
