use proptest::prelude::*;

use super::*;

fn well(id: &str) -> Seen {
    Seen {
        id: id.to_owned(),
        group: String::new(),
        heard: true,
        incarnation: 1,
        silent_for: Duration::ZERO,
        parted: false,
        leaving: false,
        retiring: false,
        lag: Duration::from_millis(300),
        directive: None,
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Health, and a clock that is turned by hand.
struct World {
    health: Health,
    start: Instant,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let start = Instant::now();
        Self { health: Health::default(), start, now: start }
    }

    fn states(&mut self, seen: &[Seen]) -> Vec<State> {
        let awake = self.start - seconds(3600);
        let verdicts = self.health.judge(self.now, awake, seen);
        seen.iter().map(|one| verdicts[&one.id].state).collect()
    }

    /// The states after this long, looking twice a second.
    fn after(&mut self, time: Duration, seen: &[Seen]) -> Vec<State> {
        let until = self.now + time;
        while self.now < until {
            self.states(seen);
            self.now += Duration::from_millis(500);
        }
        self.states(seen)
    }
}

fn silent(id: &str, for_seconds: u64) -> Seen {
    Seen { silent_for: seconds(for_seconds), ..well(id) }
}

fn lagging(id: &str, by_seconds: u64) -> Seen {
    Seen { lag: seconds(by_seconds), ..well(id) }
}

#[test]
fn silence_first_keeps_new_topics_away_and_then_takes_all() {
    let mut world = World::new();
    let with = |for_seconds| [silent("a", for_seconds), well("b")];
    assert_eq!(world.states(&with(2)), [State::Ready, State::Ready]);
    assert_eq!(world.states(&with(3)), [State::Silent, State::Ready]);
    assert_eq!(world.states(&with(5)), [State::Lost, State::Ready]);
}

#[test]
fn a_goodbye_is_believed_at_once_and_is_no_failure() {
    let mut world = World::new();
    world.after(seconds(10), &[well("a"), well("b")]);
    assert_eq!(world.states(&[Seen { leaving: true, ..well("a") }, well("b")])[0], State::Leaving);
    assert_eq!(world.states(&[Seen { parted: true, ..well("a") }, well("b")])[0], State::Lost);
    let restarted = Seen { incarnation: 2, ..well("a") };
    assert_eq!(world.states(&[restarted, well("b")])[0], State::Ready);
}

#[test]
fn who_was_lost_must_be_well_for_a_while_and_longer_each_time() {
    let mut world = World::new();
    world.states(&[well("a"), well("b")]);
    for round in 0..4_u32 {
        assert_eq!(world.states(&[silent("a", 6), well("b")])[0], State::Lost);
        let hold_off = HOLD_OFF * 2_u32.pow(round);
        assert_eq!(world.after(hold_off - seconds(1), &[well("a"), well("b")])[0], State::HeldOff, "round {round}");
        assert_eq!(world.after(seconds(1), &[well("a"), well("b")])[0], State::Ready, "round {round}");
    }
    world.after(FORGIVEN_AFTER, &[well("a"), well("b")]);
    world.states(&[silent("a", 6), well("b")]);
    assert_eq!(world.after(HOLD_OFF, &[well("a"), well("b")])[0], State::Ready, "the former ones are forgotten");
}

#[test]
fn who_leads_from_now_on_goes_on_with_what_it_has_seen_as_a_follower() {
    let mut follower = World::new();
    follower.states(&[well("a"), well("b")]);
    follower.states(&[silent("a", 6), well("b")]);
    follower.after(HOLD_OFF, &[well("a"), well("b")]);
    let mut leader = World { health: follower.health.clone(), ..World::new() };
    leader.now = follower.now;
    leader.states(&[silent("a", 6), well("b")]);
    assert_eq!(leader.after(HOLD_OFF, &[well("a"), well("b")])[0], State::HeldOff, "it is the second failure");
    assert_eq!(leader.after(HOLD_OFF, &[well("a"), well("b")])[0], State::Ready);
}

#[test]
fn a_crash_is_a_failure_also_when_the_next_run_comes_at_once() {
    let mut world = World::new();
    world.after(seconds(5), &[well("a"), well("b")]);
    let restarted = [Seen { incarnation: 2, ..well("a") }, well("b")];
    assert_eq!(world.states(&restarted)[0], State::HeldOff);
    assert_eq!(world.after(HOLD_OFF, &restarted)[0], State::Ready);
}

#[test]
fn who_lags_alone_is_emptied_and_comes_back_when_it_has_caught_up() {
    let mut world = World::new();
    let with = |by| [lagging("a", by), well("b"), well("c")];
    assert_eq!(world.states(&with(6))[0], State::Ready, "a hiccup");
    assert_eq!(world.after(LAG_LASTS, &with(6))[0], State::Lagging);
    assert_eq!(world.after(seconds(3), &with(4))[0], State::Lagging, "not well yet");
    assert_eq!(world.states(&with(1))[0], State::HeldOff);
    assert_eq!(world.after(HOLD_OFF, &with(1))[0], State::Ready);
}

#[test]
fn what_all_suffer_from_is_nobodys_fault() {
    let mut world = World::new();
    let all = [lagging("a", 60), lagging("b", 60), lagging("c", 60)];
    assert_eq!(world.after(seconds(60), &all), [State::Ready; 3]);
    assert_eq!(
        world.after(seconds(60), &[lagging("a", 60)]),
        [State::Ready],
        "and one alone has no other to compare with"
    );
}

#[test]
fn who_has_slept_itself_calls_nobody_silent() {
    let mut world = World::new();
    let all = [silent("a", 60), silent("b", 60)];
    let awake_since = world.now;
    for passed in 0..3 {
        let verdicts = world.health.judge(world.now + seconds(passed), awake_since, &all);
        assert!(verdicts.values().all(|verdict| verdict.state == State::Ready), "{verdicts:?}");
    }
    let verdicts = world.health.judge(world.now + LOST_AFTER, awake_since, &all);
    assert!(verdicts.values().all(|verdict| verdict.state == State::Lost), "{verdicts:?}");
}

#[test]
fn an_operators_wish_holds_for_who_is_well() {
    let mut world = World::new();
    let cordoned = Seen { directive: Some(CollectorDirective::Cordon), ..well("a") };
    let drained = Seen { directive: Some(CollectorDirective::Drain), ..well("b") };
    let lost = Seen { directive: Some(CollectorDirective::Drain), ..silent("c", 9) };
    assert_eq!(world.states(&[cordoned, drained, lost]), [State::Cordoned, State::Draining, State::Lost]);
}

fn any_seen(id: usize) -> impl Strategy<Value = Seen> {
    (0_u64..4, 0_u64..8, prop::bool::weighted(0.05), prop::bool::weighted(0.05), 0_u64..8).prop_map(
        move |(incarnation, silent_for, parted, leaving, lag)| Seen {
            incarnation: incarnation.max(1),
            silent_for: seconds(silent_for),
            parted,
            leaving,
            lag: seconds(lag),
            ..well(&format!("c{id}"))
        },
    )
}

fn any_history() -> impl Strategy<Value = Vec<Vec<Seen>>> {
    let look = (any_seen(0), any_seen(1), any_seen(2)).prop_map(|(a, b, c)| vec![a, b, c]);
    prop::collection::vec(look, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_has_happened_who_is_well_for_long_takes_topics_again(history in any_history()) {
        let mut world = World::new();
        for seen in &history {
            world.states(seen);
            world.now += Duration::from_millis(500);
        }
        let all = [well("c0"), well("c1"), well("c2")];
        prop_assert_eq!(world.after(HOLD_OFF_MAX, &all), [State::Ready; 3]);
    }

    #[test]
    fn while_any_can_take_topics_one_does(history in any_history()) {
        let mut world = World::new();
        for seen in &history {
            let states = world.states(seen);
            let can = |state: &State| matches!(state, State::Ready | State::HeldOff);
            prop_assert!(!states.iter().any(can) || states.contains(&State::Ready), "{:?}", states);
            world.now += Duration::from_millis(500);
        }
    }

    #[test]
    fn nothing_but_ones_own_lag_or_silence_or_will_takes_topics_away(history in any_history()) {
        let mut world = World::new();
        for seen in &history {
            for (one, state) in seen.iter().zip(world.states(seen)) {
                let blameless = !one.leaving && !one.parted && one.lag <= LAG_BOUND / 2 && one.silent_for < SILENT_AFTER;
                let keeps = !matches!(state.for_planning(), CollectorState::Lost | CollectorState::Draining);
                prop_assert!(keeps || !blameless, "{:?}: {:?}", one, state);
            }
            world.now += Duration::from_millis(500);
        }
    }

    #[test]
    fn a_flapping_collector_gets_its_topics_ever_more_rarely(up in 1_u64..30, down in 5_u64..20) {
        let mut world = World::new();
        let mut returns = 0;
        let mut was = State::Ready;
        for second in 0..3600 {
            let silent_for = (second % (up + down)).saturating_sub(up);
            let state = world.states(&[silent("a", silent_for), well("b")])[0];
            returns += u32::from(state == State::Ready && !matches!(was, State::Ready | State::Silent));
            was = state;
            world.now += seconds(1);
        }
        prop_assert!(returns <= 5, "{} returns in an hour", returns);
    }
}
