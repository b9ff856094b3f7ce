use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use world::World;

mod budgeted;
mod world;

const TICK: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
enum Step {
    Admit(usize),
    Depart(Index),
    Pass(u64),
    Wake,
    Tick,
    Hand,
    Return(Index, Outcome),
}

fn steps(workloads: usize) -> impl Strategy<Value = Vec<Step>> {
    let outcome =
        prop_oneof![3 => Just(Outcome::Delivered), 1 => Just(Outcome::Failed), 1 => Just(Outcome::UnknownTopic)];
    let step = prop_oneof![
        3 => (0..workloads).prop_map(Step::Admit),
        3 => any::<Index>().prop_map(Step::Depart),
        4 => (0..600_000_u64).prop_map(Step::Pass),
        2 => Just(Step::Wake),
        2 => Just(Step::Tick),
        3 => Just(Step::Hand),
        4 => (any::<Index>(), outcome).prop_map(|(which, outcome)| Step::Return(which, outcome)),
    ];
    prop::collection::vec(step, 0..120)
}

fn paused<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(test)
}

impl World {
    async fn do_step(&mut self, step: Step) {
        match step {
            Step::Admit(workload) => self.admit(workload),
            Step::Depart(which) if !self.in_flight.is_empty() => self.depart(which.index(self.in_flight.len())),
            Step::Pass(us) => tokio::time::advance(Duration::from_micros(us)).await,
            Step::Wake => self.wake(),
            Step::Tick => self.tick(),
            Step::Hand => drop(self.hand()),
            Step::Return(which, outcome) if !self.under_way.is_empty() => {
                self.give_back(which.index(self.under_way.len()), outcome);
            }
            Step::Depart(_) | Step::Return(..) => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_watermark_hides_no_change(steps in steps(3)) {
        paused(async {
            let mut world = World::new(3);
            for step in steps {
                world.do_step(step).await;
            }
        });
    }

    #[test]
    fn every_tick_is_vouched_for_by_the_next_one_at_the_latest(steps in steps(3)) {
        paused(async {
            let mut world = World::new(3);
            let mut last_tick_us = 0;
            for step in steps {
                let is_tick = matches!(step, Step::Tick);
                world.do_step(step).await;
                if is_tick {
                    let heard_us = world.vouches.last().map_or(0, |vouch| vouch.watermark_us);
                    prop_assert!(heard_us >= last_tick_us);
                    last_tick_us = world.ledger.clock().now_us();
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn when_the_log_is_well_again_all_is_delivered_within_two_ticks_and_idle_workloads_are_let_go(steps in steps(3)) {
        paused(async {
            let mut world = World::new(3);
            for step in steps {
                world.do_step(step).await;
            }
            while !world.under_way.is_empty() {
                world.give_back(0, Outcome::Delivered);
            }
            while !world.in_flight.is_empty() {
                world.depart(0);
            }
            for _ in 0..2 {
                tokio::time::advance(TICK).await;
                world.tick();
                world.exchange(Outcome::Delivered);
            }
            prop_assert_eq!(world.outbox.busy(), 0);
            let watermark_us = world.ledger.clock().now_us();
            prop_assert_eq!(world.last_vouch(), &Vouch { watermark_us, undelivered: vec![] });
            Ok(())
        })?;
    }
}

#[test]
fn a_busy_workload_gets_a_frame_each_tick_and_an_idle_one_none() {
    paused(async {
        let mut world = World::new(2);
        world.admit(0);
        world.wake();
        world.exchange(Outcome::Delivered);
        for _ in 0..3 {
            tokio::time::advance(TICK).await;
            world.tick();
            assert_eq!(world.hand(), 1);
            world.give_back(0, Outcome::Delivered);
        }
        world.depart(0);
        tokio::time::advance(TICK).await;
        world.tick();
        world.exchange(Outcome::Delivered);
        assert_eq!(world.delivered[world.workloads[0].topic()].in_flight(), 0);
        assert_eq!(world.outbox.busy(), 0, "its final frame was delivered");
        tokio::time::advance(TICK).await;
        world.tick();
        assert!(!world.outbox.has_batch());
    });
}

#[test]
fn a_request_that_is_over_before_its_wake_up_was_sent_needs_one_frame_only() {
    paused(async {
        let mut world = World::new(1);
        world.admit(0);
        world.depart(0);
        world.wake();
        world.exchange(Outcome::Delivered);
        world.tick();
        assert!(!world.outbox.has_batch());
        assert_eq!(world.outbox.busy(), 0);
    });
}

#[test]
fn many_short_requests_wake_once_in_a_tick() {
    paused(async {
        let mut world = World::new(1);
        let mut frames = 0;
        for _ in 0..100 {
            world.admit(0);
            world.depart(0);
            world.wake();
            frames += world.hand();
            while !world.under_way.is_empty() {
                world.give_back(0, Outcome::Delivered);
            }
            tokio::time::advance(TICK / 100).await;
        }
        assert_eq!(frames, 1);
        world.tick();
        assert_eq!(world.hand(), 1, "the tick tells of the others");
    });
}

#[test]
fn a_failed_final_frame_is_repaired() {
    paused(async {
        let mut world = World::new(1);
        world.admit(0);
        world.wake();
        world.exchange(Outcome::Delivered);
        world.depart(0);
        let topic = world.workloads[0].topic().clone();
        for _ in 0..5 {
            tokio::time::advance(TICK).await;
            world.tick();
            world.exchange(Outcome::Failed);
            assert_eq!(world.last_vouch().undelivered, std::slice::from_ref(&topic));
        }
        for _ in 0..2 {
            tokio::time::advance(TICK).await;
            world.tick();
            world.exchange(Outcome::Delivered);
        }
        assert_eq!(world.delivered[&topic].finished, 1);
        assert_eq!(world.last_vouch().undelivered, []);
    });
}

#[test]
fn a_topic_in_trouble_delays_no_heartbeat_after_the_first() {
    paused(async {
        let mut world = World::new(2);
        world.admit(0);
        world.admit(1);
        world.tick();
        while world.hand() > 0 {}
        // The frame of one topic comes back, the other one's hangs.
        let hanging = world.workloads[1].topic().clone();
        let sound = |world: &World| world.under_way.iter().position(|cut| cut.topic != hanging).unwrap();
        world.give_back(sound(&world), Outcome::Delivered);
        assert!(world.vouches.is_empty(), "it may still come back");
        for _ in 0..3 {
            tokio::time::advance(TICK).await;
            world.tick();
            while world.hand() > 0 {}
            world.give_back(sound(&world), Outcome::Delivered);
            let now_us = world.ledger.clock().now_us();
            assert_eq!(world.last_vouch(), &Vouch { watermark_us: now_us, undelivered: vec![hanging.clone()] });
        }
    });
}

#[test]
fn a_frame_that_comes_back_after_its_tick_is_followed_by_the_newest_totals_at_once() {
    paused(async {
        let mut world = World::new(1);
        world.admit(0);
        world.tick();
        world.hand();
        tokio::time::advance(TICK).await;
        world.admit(0);
        world.tick();
        assert_eq!(world.hand(), 0, "one frame is under way");
        world.give_back(0, Outcome::Delivered);
        assert_eq!(world.hand(), 1);
        assert_eq!(world.under_way[0].frame.admitted, 2);
    });
}

#[test]
fn with_too_many_undelivered_topics_to_name_the_watermark_stands() {
    paused(async {
        let mut world = World::new(MAX_UNDELIVERED + 1);
        let mut ticks = Vec::new();
        for workloads in [0..1, 1..MAX_UNDELIVERED, MAX_UNDELIVERED..MAX_UNDELIVERED + 1] {
            tokio::time::advance(TICK).await;
            workloads.for_each(|workload| world.admit(workload));
            world.tick();
            world.exchange(Outcome::Failed);
            ticks.push(world.ledger.clock().now_us());
        }
        let last = world.last_vouch();
        assert_eq!((last.watermark_us, last.undelivered.len()), (ticks[1], MAX_UNDELIVERED));
        assert_eq!(world.outbox.undelivered(), MAX_UNDELIVERED + 1);
        // The first batches get through: fewer are left than can be named.
        tokio::time::advance(TICK).await;
        world.tick();
        world.exchange(Outcome::Delivered);
        tokio::time::advance(TICK).await;
        world.tick();
        world.exchange(Outcome::Delivered);
        let last = world.last_vouch();
        assert_eq!((last.watermark_us, last.undelivered.len()), (world.ledger.clock().now_us(), 0));
    });
}

#[test]
fn a_wake_up_overtakes_the_frames_of_a_tick() {
    paused(async {
        let mut world = World::new(4 * BATCH + 1);
        (0..4 * BATCH).for_each(|workload| world.admit(workload));
        world.wake();
        world.exchange(Outcome::Delivered);
        world.tick();
        world.hand();
        world.admit(4 * BATCH);
        world.wake();
        let batch = world.outbox.next_batch().unwrap();
        assert!(batch.wake);
        assert_eq!(batch.cuts.len(), 1);
    });
}

#[test]
fn a_forgotten_workload_without_a_topic_is_let_go_when_nothing_is_in_flight() {
    paused(async {
        let mut world = World::new(1);
        world.admit(0);
        world.ledger.forget(&World::id(0));
        world.forgotten.push(world.workloads[0].topic().clone());
        world.tick();
        world.exchange(Outcome::UnknownTopic);
        assert_eq!(world.outbox.busy(), 1, "a request is in flight");
        world.depart(0);
        tokio::time::advance(TICK).await;
        world.tick();
        world.exchange(Outcome::UnknownTopic);
        assert_eq!(world.outbox.busy(), 0);
        tokio::time::advance(TICK).await;
        world.tick();
        assert_eq!(world.last_vouch().undelivered, []);
        // Should it come back, its next request is told like any other.
        world.admit(0);
        world.wake();
        assert_eq!(world.hand(), 1);
        assert_eq!(world.under_way[0].frame.spell_admitted, 1);
    });
}

#[test]
#[ignore = "figures: run it with --ignored --nocapture, optimised"]
fn ten_thousand_busy_workloads_cost_so_much() {
    use prost::Message as _;

    let mut world = World::new(10_000);
    (0..10_000).for_each(|workload| world.admit(workload));
    let lap = |what: &str, since: std::time::Duration| println!("{what}: {} us", since.as_micros());
    for _ in 0..3 {
        let (watermark_us, woken) = world.ledger.watermark();
        let start = tokio::time::Instant::now();
        world.outbox.tick(watermark_us, woken);
        lap("a tick", start.elapsed());
        let start = tokio::time::Instant::now();
        let first = world.outbox.next_batch().unwrap();
        lap("the cutting of a batch", start.elapsed());
        let mut batches = vec![first];
        batches.extend(std::iter::from_fn(|| world.outbox.next_batch()));
        lap("the cutting of all", start.elapsed());
        let start = tokio::time::Instant::now();
        let bytes: usize =
            batches.iter().flat_map(|batch| &batch.cuts).map(|cut| cut.frame.encode_to_vec().len()).sum();
        lap("the encoding of all", start.elapsed());
        println!("{} bytes a frame", bytes / 10_000);
        let start = tokio::time::Instant::now();
        for cut in batches.iter().flat_map(|batch| &batch.cuts) {
            world.outbox.returned(&cut.topic, Outcome::Delivered);
        }
        lap("the return of all", start.elapsed());
    }
}
