//! An outbox with more busy workloads than its budget has frames for.

use std::num::NonZeroU64;

use super::*;

/// Frames of a tick.
const FRAMES: u32 = 8;

fn world(workloads: usize) -> World {
    World::with_budget(workloads, Budget::new(FRAMES, TICK))
}

/// A tick, and all that it hands out delivered; how many frames that were.
async fn tick(world: &mut World) -> usize {
    tokio::time::advance(TICK).await;
    world.tick();
    let mut frames = 0;
    while world.outbox.has_batch() {
        frames += world.hand();
    }
    while !world.under_way.is_empty() {
        world.give_back(0, Outcome::Delivered);
    }
    frames
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_watermark_hides_no_change_whatever_waits(steps in steps(12), frames in 1..6_u32) {
        paused(async {
            let mut world = World::with_budget(12, Budget::new(frames, TICK));
            for step in steps {
                world.do_step(step).await;
            }
        });
    }

    #[test]
    fn in_steady_state_no_tick_has_more_frames_than_the_budget_and_every_total_is_told_within_a_round(
        workloads in 1..60_usize,
        // How many ticks lie between two requests of each; 0 for a long one that stays in flight.
        every in prop::collection::vec(0..4_u64, 60),
    ) {
        paused(async {
            let mut world = world(workloads);
            (0..workloads).for_each(|workload| world.admit(workload));
            world.wake();
            world.exchange(Outcome::Delivered);
            let round = u64::from(FRAMES < workloads as u32) * Budget::new(FRAMES, TICK).round(workloads) as u64;
            for now in 1..=6 * round.max(1) {
                // One request at least stays, so that no busy spell ends: those are told beside the budget.
                for workload in 0..workloads {
                    if NonZeroU64::new(every[workload]).is_some_and(|every| now % every == 0) {
                        world.admit(workload);
                        let newest = world.in_flight.iter().rposition(|(of, _)| *of == workload).unwrap();
                        world.depart(newest);
                    }
                }
                let frames = tick(&mut world).await;
                prop_assert!(frames <= FRAMES as usize, "{} frames in a tick", frames);
                let now_us = world.ledger.clock().now_us();
                let oldest_us = now_us.saturating_sub(round.max(1) * TICK.as_micros() as u64);
                for totals in &world.workloads {
                    let told_us = world.delivered[totals.topic()].at_us;
                    prop_assert!(told_us >= oldest_us, "told at {}, now {}, round {}", told_us, now_us, round);
                }
            }
            Ok(())
        })?;
    }
}

#[test]
fn a_wake_up_and_a_final_frame_do_not_wait() {
    paused(async {
        let mut world = world(41);
        (0..40).for_each(|workload| world.admit(workload));
        world.wake();
        world.exchange(Outcome::Delivered);
        assert!(tick(&mut world).await < FRAMES as usize, "the wake-ups have had a part of the budget");
        assert_eq!(tick(&mut world).await, FRAMES as usize);
        world.admit(40);
        world.wake();
        assert_eq!(world.hand(), 1, "a wake-up is told between two ticks");
        world.give_back(0, Outcome::Delivered);
        world.depart(world.in_flight.iter().position(|(workload, _)| *workload == 40).unwrap());
        tick(&mut world).await;
        assert_eq!(world.delivered[world.workloads[40].topic()].in_flight(), 0);
        tick(&mut world).await;
        assert_eq!(world.outbox.busy(), 40, "and it is let go at the next tick");
    });
}

#[test]
fn what_changes_most_is_told_at_every_tick() {
    paused(async {
        let mut world = world(40);
        (0..40).for_each(|workload| world.admit(workload));
        world.wake();
        world.exchange(Outcome::Delivered);
        tick(&mut world).await;
        for _ in 0..10 {
            for _ in 0..5 {
                world.admit(7);
            }
            tick(&mut world).await;
            let admitted = world.changes[7].last().unwrap().1.0;
            assert_eq!(world.delivered[world.workloads[7].topic()].admitted, admitted);
        }
    });
}

#[test]
fn workloads_of_short_requests_stay_within_the_budget_and_are_closed_when_they_end() {
    paused(async {
        let mut world = world(40);
        let requests = |world: &mut World| {
            for workload in 0..40 {
                world.admit(workload);
                world.depart(world.in_flight.len() - 1);
            }
        };
        requests(&mut world);
        world.wake();
        world.exchange(Outcome::Delivered);
        for step in 0..30 {
            requests(&mut world);
            world.wake();
            let frames = tick(&mut world).await;
            // At first all have closed their spells with their wake-ups.
            assert!(step == 0 || frames <= FRAMES as usize, "{frames} frames in a tick");
        }
        for _ in 0..12 {
            tick(&mut world).await;
        }
        assert_eq!(world.outbox.busy(), 0, "their silence is told");
        assert!(world.delivered.values().all(|frame| frame.admitted == 31 && !frame.open));
    });
}

#[test]
fn at_the_end_nothing_waits() {
    paused(async {
        let mut world = world(40);
        (0..40).for_each(|workload| world.admit(workload));
        world.wake();
        world.exchange(Outcome::Delivered);
        tick(&mut world).await;
        world.outbox.lift_budget();
        tokio::time::advance(TICK).await;
        world.tick();
        assert!(!world.outbox.is_delivered());
        world.exchange(Outcome::Delivered);
        assert!(world.outbox.is_delivered());
        let now_us = world.ledger.clock().now_us();
        assert!(world.delivered.values().all(|frame| frame.at_us == now_us));
    });
}
