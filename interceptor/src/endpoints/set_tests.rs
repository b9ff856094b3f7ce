use std::num::NonZeroUsize;
use std::time::Duration;

use futures::FutureExt as _;
use proptest::prelude::*;
use tokio::time::Instant;

use super::*;
use crate::endpoints::{Common, Sessions};

fn address(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn set() -> Arc<EndpointSet> {
    EndpointSet::new(Arc::<Common>::default())
}

/// Ports from 0 on are ready.
fn ready(set: &EndpointSet, count: u16) {
    set.update((0..count).map(|port| (address(port), State::Ready)).collect());
}

fn options(limit: Option<usize>, max_waiting: Option<usize>) -> Options {
    Options { limit: limit.and_then(NonZeroUsize::new), max_waiting, ..Options::default() }
}

fn enter(set: &Arc<EndpointSet>) -> Entry {
    set.enter(Instant::now(), &Wish::default(), 0)
}

fn wait(set: &Arc<EndpointSet>) -> Waiting {
    match enter(set) {
        Entry::Wait(waiting) => waiting,
        other => panic!("it should wait: {other:?}"),
    }
}

fn now(set: &Arc<EndpointSet>) -> AtEndpoint {
    match enter(set) {
        Entry::Now(at_endpoint) => at_endpoint,
        other => panic!("it should go on: {other:?}"),
    }
}

#[tokio::test]
async fn requests_that_wait_go_on_in_the_order_in_which_they_came() {
    let (set, passed) = (set(), Arc::new(Mutex::new(Vec::new())));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..100 {
        let (waiting, passed) = (wait(&set), passed.clone());
        assert!(waiting.is_cold_start());
        tasks.spawn(async move {
            let _place = waiting.await;
            passed.lock().push(number);
        });
        tokio::task::yield_now().await;
    }
    ready(&set, 2);
    tasks.join_all().await;
    assert_eq!(*passed.lock(), (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_place_that_becomes_free_wakes_exactly_the_next_one() {
    let set = set();
    set.configure(&options(Some(1), None));
    ready(&set, 1);
    let place = now(&set);
    let (mut first, mut second) = (wait(&set), wait(&set));
    assert!(!first.is_cold_start());
    drop(place);
    // Between the two a new one comes; it must not overtake.
    let mut third = wait(&set);
    assert!((&mut second).now_or_never().is_none());
    let place = (&mut first).now_or_never().expect("the first one's turn");
    assert!((&mut third).now_or_never().is_none());
    drop(place);
    let place = (&mut second).now_or_never().expect("the second one's turn");
    drop((place, third));
    assert_eq!(set.waiting(), 0);
    drop(now(&set));
}

#[tokio::test]
async fn whoever_leaves_with_a_place_in_hand_passes_it_on() {
    let set = set();
    set.configure(&options(Some(1), None));
    ready(&set, 1);
    let place = now(&set);
    let (first, mut second) = (wait(&set), wait(&set));
    drop(place);
    drop(first);
    assert!((&mut second).now_or_never().is_some());
}

#[tokio::test]
async fn a_full_line_refuses_and_a_request_that_leaves_makes_room() {
    let set = set();
    set.configure(&options(None, Some(2)));
    let (first, second) = (wait(&set), wait(&set));
    assert!(matches!(enter(&set), Entry::Full { waiting: 2, without_endpoint: true }));
    assert_eq!(set.common.metrics.refused.get(), 1);
    drop(first);
    let third = wait(&set);
    assert_eq!(set.common.metrics.waiting.get(), 2);
    drop((second, third));
    assert_eq!(set.common.metrics.waiting.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_again_has_its_old_place() {
    let set = set();
    set.configure(&options(Some(1), None));
    let arrived = Instant::now();
    tokio::time::advance(Duration::from_millis(1)).await;
    let mut later = wait(&set);
    let Entry::Wait(mut earlier) = set.enter(arrived, &Wish::default(), 0) else { panic!("it waits") };
    ready(&set, 1);
    assert!((&mut later).now_or_never().is_none());
    assert!((&mut earlier).now_or_never().is_some());
}

#[tokio::test]
async fn a_session_that_waits_for_its_endpoint_lets_others_pass() {
    let set = set();
    let sessions = Sessions { key: "key".into(), workload: "default/app".into() };
    set.configure(&Options { sessions: Some(sessions.clone()), ..options(Some(1), None) });
    ready(&set, 2);
    let wish = Wish { pinned: Some(sessions.tag(address(0))), avoid: None };
    let Entry::Now(own) = set.enter(Instant::now(), &wish, 0) else { panic!("it has room") };
    let Entry::Wait(mut waiting) = set.enter(Instant::now(), &wish, 0) else { panic!("it is full") };
    let other = now(&set);
    assert_eq!(other.address(), address(1));
    drop(other);
    assert!((&mut waiting).now_or_never().is_none());
    drop(own);
    assert_eq!((&mut waiting).now_or_never().expect("its turn").address(), address(0));
    // Its endpoint goes: another one will do.
    let _full = [now(&set), now(&set)];
    let Entry::Wait(mut waiting) = set.enter(Instant::now(), &wish, 0) else { panic!("it is full") };
    set.update(vec![(address(1), State::Ready), (address(2), State::Ready)]);
    assert_eq!((&mut waiting).now_or_never().expect("a place").address(), address(2));
}

/// Whoever resolves endpoints says so again with each change that it hears of.
#[test]
fn what_can_not_be_resolved_is_never_waited_for_while_that_is_said_again() {
    let set = set();
    set.set_unresolvable();
    std::thread::scope(|scope| {
        let saying = scope.spawn(|| (0..100_000).for_each(|_| set.set_unresolvable()));
        while !saying.is_finished() {
            assert!(set.is_unresolvable());
        }
    });
    ready(&set, 1);
    assert!(!set.is_unresolvable());
}

/// A failing endpoint, as the requests there see it.
fn fail(set: &Arc<EndpointSet>, port: u16, times: u32) {
    for _ in 0..times {
        let there = set.now().endpoints.iter().find(|endpoint| endpoint.address.port() == port).cloned();
        there.expect("it is in use").enter().failed();
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_fails_is_ejected_and_returns() {
    let (all, id) = (crate::endpoints::Endpoints::new(), plimsoll_wire::topic::WorkloadId::new("default", "a"));
    let set = all.of(&id);
    let base = Duration::from_secs(5);
    let ejection = crate::endpoints::Ejection { after: 3, base, longest: base, ramp: base };
    set.configure(&Options { ejection, ..Options::default() });
    ready(&set, 2);
    let stop = tokio_util::sync::CancellationToken::new();
    let keeper = tokio::spawn(all.clone().keep(None, stop.clone()));
    for _ in 0..10 {
        now(&set).succeeded();
        fail(&set, 0, 2);
        set.now().endpoints[0].clone().enter().succeeded();
    }
    assert_eq!(set.now().len(), 2, "no three failures in a row");
    let ejected_at = Instant::now();
    fail(&set, 0, 3);
    assert_eq!(set.now().len(), 1);
    assert_eq!(all.metrics().ejections.get(), 1);
    while set.now().len() == 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let out_for = ejected_at.elapsed();
    assert!((base..base + Duration::from_millis(200)).contains(&out_for), "{out_for:?}");
    assert!(!set.now().weights.is_empty(), "it returns slowly");
    tokio::time::sleep(base + Duration::from_secs(1)).await;
    assert!(set.now().weights.is_empty(), "it has its whole share again");
    // The last one is never ejected.
    ready(&set, 1);
    fail(&set, 0, 100);
    assert_eq!(set.now().len(), 1);
    stop.cancel();
    keeper.await.expect("the keeper ends");
}

/// What happens to a set of endpoints, one step at a time.
#[derive(Debug, Clone)]
enum Step {
    Arrive,
    /// The waiting request of this number, counted round, goes away.
    Leave(usize),
    /// The request of this number at an endpoint departs.
    Depart(usize),
    Endpoints(u16),
    Limit(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Arrive),
        1 => (0usize..64).prop_map(Step::Leave),
        4 => (0usize..64).prop_map(Step::Depart),
        1 => (0u16..4).prop_map(Step::Endpoints),
        1 => (0usize..4).prop_map(Step::Limit),
    ];
    prop::collection::vec(step, 1..200)
}

/// The requests of a set, each with its number.
#[derive(Default)]
struct Requests {
    arrived: usize,
    waiting: Vec<(usize, Waiting)>,
    there: Vec<(usize, AtEndpoint)>,
}

impl Requests {
    /// Takes over what has been granted; in order, so the ones that still wait came after all of those.
    fn poll(&mut self) -> Result<(), TestCaseError> {
        let mut still = Vec::new();
        for (number, mut waiting) in self.waiting.drain(..) {
            match (&mut waiting).now_or_never() {
                Some(place) => {
                    prop_assert!(still.is_empty(), "{number} has overtaken somebody");
                    self.there.push((number, place));
                }
                None => still.push((number, waiting)),
            }
        }
        self.waiting = still;
        Ok(())
    }
}

proptest! {
    #[test]
    fn nobody_overtakes_waits_in_vain_or_is_one_too_many(steps in steps()) {
        const BOUND: usize = 10;
        let set = set();
        let (mut requests, mut limit, mut usable) = (Requests::default(), None, 0u16);
        set.configure(&options(limit, Some(BOUND)));
        for step in steps {
            match step {
                Step::Arrive => {
                    let number = requests.arrived;
                    requests.arrived += 1;
                    match enter(&set) {
                        Entry::Now(place) => {
                            prop_assert!(requests.waiting.is_empty(), "{number} has overtaken the line");
                            requests.there.push((number, place));
                        }
                        Entry::Wait(waiting) => requests.waiting.push((number, waiting)),
                        Entry::Full { .. } => prop_assert_eq!(requests.waiting.len(), BOUND),
                    }
                }
                Step::Leave(index) if !requests.waiting.is_empty() => {
                    let index = index % requests.waiting.len();
                    drop(requests.waiting.remove(index));
                }
                Step::Depart(index) if !requests.there.is_empty() => {
                    let index = index % requests.there.len();
                    drop(requests.there.swap_remove(index));
                }
                Step::Leave(_) | Step::Depart(_) => {}
                Step::Endpoints(count) => {
                    usable = count;
                    ready(&set, count);
                }
                Step::Limit(new) => {
                    let lower = limit.is_none_or(|old| new > 0 && new < old);
                    limit = Some(new).filter(|new| *new > 0);
                    set.configure(&options(limit, Some(BOUND)));
                    // A new limit is for those to come: the model begins afresh.
                    if lower {
                        requests.there.clear();
                    }
                }
            }
            requests.poll()?;
            let in_flight = |port: u16| requests.there.iter().filter(|(_, place)| place.address() == address(port)).count();
            if let Some(limit) = limit {
                prop_assert!((0..4).all(|port| in_flight(port) <= limit), "more than the limit at one endpoint");
            }
            let free = (0..usable).any(|port| limit.is_none_or(|limit| in_flight(port) < limit));
            prop_assert!(!free || requests.waiting.is_empty(), "somebody waits though there is room");
            prop_assert!(requests.waiting.len() <= BOUND);
            prop_assert_eq!(set.waiting(), requests.waiting.len());
        }
    }
}

/// The same over threads, where places become free while others begin to wait.
#[test]
fn no_wake_up_is_lost_between_threads() {
    let set = set();
    set.configure(&options(Some(2), None));
    ready(&set, 2);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let there = Arc::new(AtomicUsize::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let (set, there) = (set.clone(), there.clone());
            tasks.spawn(async move {
                for _ in 0..2_000 {
                    let place = match enter(&set) {
                        Entry::Now(place) => place,
                        Entry::Wait(waiting) => waiting.await,
                        Entry::Full { .. } => panic!("the line has no bound"),
                    };
                    assert!(there.fetch_add(1, Ordering::SeqCst) < 4, "more than the limit");
                    if place.endpoint().picks().is_multiple_of(7) {
                        tokio::task::yield_now().await;
                    }
                    there.fetch_sub(1, Ordering::SeqCst);
                }
            });
        }
        let all = tokio::time::timeout(Duration::from_secs(120), tasks.join_all());
        all.await.expect("nobody waits for ever");
    });
    assert_eq!(set.waiting(), 0);
}
