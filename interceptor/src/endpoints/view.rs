//! The endpoints that requests are given to now, and the choice among them. Pure.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::endpoint::Endpoint;
use super::tag::Tag;

/// An endpoint's full weight.
pub(super) const WHOLE: u8 = 100;

/// What a request asks of the endpoint that it is given to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wish {
    /// The endpoint of its session: no other will do while it is there.
    pub(crate) pinned: Option<Tag>,
    /// The endpoint that was just tried in vain: another one is taken where there is another one.
    pub(crate) avoid: Option<SocketAddr>,
}

/// The usable endpoints at one instant.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(super) endpoints: Vec<Arc<Endpoint>>,
    /// Beside the endpoints, in percent, while one of them returns slowly; else empty.
    pub(super) weights: Vec<u8>,
    /// Beside the endpoints, where the route has sessions; else empty.
    pub(super) tags: Vec<Tag>,
    /// Requests at once at one endpoint.
    pub(super) limit: Option<NonZeroUsize>,
}

/// Where a request can go.
#[derive(Debug)]
pub(super) enum Place<'a> {
    At(&'a Arc<Endpoint>),
    /// The endpoint of its session is full; others may still have room.
    Later,
    /// No endpoint has room.
    Nowhere,
}

impl View {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// The place of a request with this wish.
    pub(super) fn place(&self, wish: &Wish, random: u64) -> Place<'_> {
        if let Some(own) = wish.pinned.and_then(|tag| self.tagged(tag))
            && Some(own.address) != wish.avoid
        {
            return if self.is_full(own) { Place::Later } else { Place::At(own) };
        }
        self.choose(wish.avoid, random).map_or(Place::Nowhere, Place::At)
    }

    fn tagged(&self, tag: Tag) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(self.tags.iter().position(|known| *known == tag)?)
    }

    fn is_full(&self, endpoint: &Endpoint) -> bool {
        self.limit.is_some_and(|limit| endpoint.in_flight() >= limit.get())
    }

    /// The less busy of two endpoints that `random` picks (power of two choices: Mitzenmacher, 2001). Where both are full, the
    /// least busy of all; none where that is full too.
    fn choose(&self, avoid: Option<SocketAddr>, random: u64) -> Option<&Arc<Endpoint>> {
        let count = self.endpoints.len();
        if count <= 1 {
            return self.endpoints.first().filter(|endpoint| !self.is_full(endpoint));
        }
        // Two different ones, each pair equally likely: both halves of the random number are scaled down to their range.
        let scaled = |half: u64, range: usize| ((half * range as u64) >> 32) as usize;
        let first = scaled(random >> 32, count);
        let second = (first + 1 + scaled(random & 0xffff_ffff, count - 1)) % count;
        let cost = |index: usize| self.cost(index, avoid, random);
        let better = if cost(second) < cost(first) { second } else { first };
        if !self.is_full(&self.endpoints[better]) {
            return Some(&self.endpoints[better]);
        }
        let least = (0..count).map(|step| (first + step) % count).min_by_key(|index| cost(*index))?;
        Some(&self.endpoints[least]).filter(|endpoint| !self.is_full(endpoint))
    }

    /// Orders endpoints, the best one first.
    fn cost(&self, index: usize, avoid: Option<SocketAddr>, random: u64) -> (bool, bool, bool, usize) {
        let endpoint = &self.endpoints[index];
        (self.is_full(endpoint), avoid == Some(endpoint.address), self.passes(index, random), endpoint.in_flight())
    }

    /// Whether an endpoint that returns slowly lets this request pass: as often as its weight is short of the whole.
    fn passes(&self, index: usize, random: u64) -> bool {
        self.weights.get(index).is_some_and(|weight| {
            // The numbers of different endpoints must be independent of each other and of the choice of the pair, so the
            // random number is mixed once more (the finaliser of SplitMix64: Steele, Lea and Flood, 2014).
            let mixed =
                (random ^ (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed >> 33) % u64::from(WHOLE) >= u64::from(*weight)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::endpoints::AtEndpoint;

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn view(count: u16) -> View {
        let endpoints = (0..count).map(|port| Arc::new(Endpoint::new(address(port), Default::default()))).collect();
        View { endpoints, ..View::default() }
    }

    fn busy(view: &View, requests: &[usize]) -> Vec<AtEndpoint> {
        let pairs = view.endpoints.iter().zip(requests);
        pairs.flat_map(|(endpoint, count)| (0..*count).map(|_| endpoint.clone().enter())).collect()
    }

    proptest! {
        #[test]
        fn the_busiest_endpoint_is_never_chosen_over_a_less_busy_one_beside_it(count in 2u16..20, busy in 0u16..20, random: u64) {
            let view = view(count);
            let busiest = view.endpoints[usize::from(busy % count)].clone();
            let _request = busiest.clone().enter();
            prop_assert_ne!(view.choose(None, random).unwrap().address, busiest.address);
        }

        #[test]
        fn an_endpoint_just_tried_in_vain_is_avoided_where_there_is_another(count in 2u16..20, tried in 0u16..20, random: u64) {
            let tried = address(tried % count);
            prop_assert_ne!(view(count).choose(Some(tried), random).unwrap().address, tried);
        }

        #[test]
        fn a_full_endpoint_is_never_chosen_and_a_free_one_always_found(
            requests in prop::collection::vec(0usize..4, 1..12), limit in 1usize..4, avoid in 0u16..12, random: u64,
        ) {
            let mut view = view(requests.len() as u16);
            view.limit = NonZeroUsize::new(limit);
            let _there = busy(&view, &requests);
            let chosen = view.choose(Some(address(avoid)), random);
            prop_assert_eq!(chosen.is_some(), requests.iter().any(|count| *count < limit));
            prop_assert!(chosen.is_none_or(|endpoint| endpoint.in_flight() < limit));
        }

        #[test]
        fn a_session_stays_where_it_is_and_waits_there(own in 0usize..5, random: u64) {
            let mut view = view(5);
            view.tags = (0..5).map(|n| Tag::of(&[n], "x", address(0))).collect();
            view.limit = NonZeroUsize::new(1);
            let wish = Wish { pinned: Some(view.tags[own]), avoid: None };
            let Place::At(there) = view.place(&wish, random) else { panic!("it has room") };
            prop_assert_eq!(there.address, view.endpoints[own].address);
            let _request = there.clone().enter();
            prop_assert!(matches!(view.place(&wish, random), Place::Later));
            let elsewhere = Wish { avoid: Some(view.endpoints[own].address), ..wish };
            prop_assert!(matches!(view.place(&elsewhere, random), Place::At(_)));
        }
    }

    /// How often each endpoint is chosen in a Weyl sequence, which is even over all 64 bits.
    fn shares(view: &View) -> Vec<u32> {
        let mut counts = vec![0; view.len()];
        for i in 0..10_000 * view.len() as u64 {
            let chosen = view.choose(None, i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).unwrap();
            counts[usize::from(chosen.address.port())] += 1;
        }
        counts
    }

    #[test]
    fn every_endpoint_has_its_share() {
        let counts = shares(&view(7));
        assert!(counts.iter().all(|count| (8_000..12_000).contains(count)), "{counts:?}");
    }

    #[test]
    fn an_endpoint_that_returns_slowly_has_a_share_of_its_weight() {
        let mut view = view(4);
        view.weights = vec![10, WHOLE, WHOLE, WHOLE];
        let counts = shares(&view);
        assert!((500..2_000).contains(&counts[0]), "{counts:?}");
        assert!(counts[1..].iter().all(|count| (11_000..15_000).contains(count)), "{counts:?}");
    }
}
