use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn cart() -> WorkloadId {
    WorkloadId::new("shop", "cart")
}

fn identity() -> Identity {
    Identity { interceptor: "a".into(), incarnation: 7, tick_us: 1_000_000 }
}

/// Runs with a clock that stands still but for `tokio::time::advance`.
fn paused<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(test)
}

#[derive(Debug, Clone)]
enum Step {
    Admit,
    Hold(prop::sample::Index),
    Release(prop::sample::Index),
    Depart(prop::sample::Index),
    Pass(u64),
    /// A frame is cut; it is delivered or lost.
    Publish {
        delivered: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Admit),
        1 => any::<prop::sample::Index>().prop_map(Step::Hold),
        1 => any::<prop::sample::Index>().prop_map(Step::Release),
        3 => any::<prop::sample::Index>().prop_map(Step::Depart),
        3 => (0..2_000_000_u64).prop_map(Step::Pass),
        2 => any::<bool>().prop_map(|delivered| Step::Publish { delivered }),
    ];
    prop::collection::vec(step, 0..80)
}

/// The same story told the long way: every request by itself, the integral summed up step by step.
#[derive(Default)]
struct Truth {
    now_us: u64,
    in_flight: Vec<(InFlightTruth, InFlight)>,
    admitted: u64,
    finished: u64,
    busy_us: u64,
    last_arrival_us: u64,
    spell: Option<(u64, u64, u64)>,
    last_spell: (u64, u64, u64),
}

#[derive(Default)]
struct InFlightTruth {
    held: bool,
}

impl Truth {
    async fn tell(&mut self, step: &Step, totals: &Arc<Totals>) -> Option<Frame> {
        let count = self.in_flight.len();
        match step {
            Step::Admit => {
                let spell = *self.spell.get_or_insert((self.now_us, self.admitted, self.busy_us));
                self.last_spell = spell;
                self.admitted += 1;
                self.last_arrival_us = self.now_us;
                self.in_flight.push((InFlightTruth::default(), totals.admit()));
            }
            Step::Hold(which) if count > 0 => {
                let (truth, request) = &mut self.in_flight[which.index(count)];
                truth.held = true;
                request.hold();
            }
            Step::Release(which) if count > 0 => {
                let (truth, request) = &mut self.in_flight[which.index(count)];
                truth.held = false;
                request.release();
            }
            Step::Depart(which) if count > 0 => {
                self.finished += 1;
                drop(self.in_flight.swap_remove(which.index(count)));
            }
            Step::Pass(us) => {
                self.busy_us += us * count as u64;
                self.now_us += us;
                tokio::time::advance(Duration::from_micros(*us)).await;
            }
            Step::Publish { delivered } => {
                let frame = totals.cut(&identity());
                if *delivered && frame.in_flight() == 0 && totals.settle(frame.admitted) {
                    self.spell = None;
                }
                return Some(frame);
            }
            Step::Hold(_) | Step::Release(_) | Step::Depart(_) => {}
        }
        None
    }

    fn frame(&self) -> Frame {
        let (spell_at_us, spell_admitted, spell_busy_us) = self.last_spell;
        Frame {
            interceptor: "a".into(),
            incarnation: 7,
            at_us: self.now_us,
            admitted: self.admitted,
            finished: self.finished,
            busy_us: self.busy_us,
            held: self.in_flight.iter().filter(|(truth, _)| truth.held).count() as u64,
            last_arrival_us: self.last_arrival_us,
            spell_at_us,
            spell_admitted,
            spell_busy_us,
            tick_us: 1_000_000,
            open: false,
        }
    }
}

proptest! {
    #[test]
    fn a_frame_is_the_truth_and_totals_never_go_back(steps in steps()) {
        paused(async {
            let ledger = Ledger::new(Clock::start());
            let totals = ledger.workload(&cart());
            let mut truth = Truth::default();
            let mut before = Frame::default();
            for step in &steps {
                let Some(frame) = truth.tell(step, &totals).await else { continue };
                prop_assert_eq!(&frame, &truth.frame());
                prop_assert!(frame.at_us >= before.at_us && frame.admitted >= before.admitted);
                prop_assert!(frame.finished >= before.finished && frame.busy_us >= before.busy_us);
                before = frame;
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_workload_wakes_the_publisher_once_for_each_busy_spell(steps in steps()) {
        paused(async {
            let ledger = Ledger::new(Clock::start());
            let totals = ledger.workload(&cart());
            let mut truth = Truth::default();
            for step in &steps {
                let was_idle = truth.spell.is_none();
                truth.tell(step, &totals).await;
                let begun = was_idle && truth.spell.is_some();
                prop_assert_eq!(ledger.take_woken().len(), usize::from(begun));
            }
            Ok(())
        })?;
    }
}

#[test]
fn a_lost_final_frame_leaves_the_busy_spell_where_it_began() {
    paused(async {
        let ledger = Ledger::new(Clock::start());
        let totals = ledger.workload(&cart());
        tokio::time::advance(Duration::from_secs(3)).await;
        drop(totals.admit());
        tokio::time::advance(Duration::from_secs(3)).await;
        let _in_flight = totals.admit();
        let frame = totals.cut(&identity());
        assert_eq!((frame.spell_at_us, frame.spell_admitted), (3_000_000, 0));
    });
}

#[test]
fn totals_that_were_delivered_close_a_spell_only_while_they_are_the_newest() {
    let ledger = Ledger::new(Clock::start());
    let totals = ledger.workload(&cart());
    drop(totals.admit());
    let frame = totals.cut(&identity());
    drop(totals.admit());
    assert!(!totals.settle(frame.admitted));
    assert!(totals.settle(frame.admitted + 1));
}

#[test]
fn a_route_that_comes_back_goes_on_with_its_totals() {
    let ledger = Ledger::new(Clock::start());
    let request = ledger.workload(&cart()).admit();
    ledger.forget(&cart());
    assert_eq!(ledger.snapshot(), [(cart(), Snapshot { in_flight: 1, held: 0, admitted: 1 })], "it is still in flight");
    drop(request);
    assert_eq!(ledger.snapshot(), []);
    let totals = ledger.workload(&cart());
    assert_eq!(totals.cut(&identity()).admitted, 1);
    assert_eq!(ledger.snapshot(), [(cart(), Snapshot { in_flight: 0, held: 0, admitted: 1 })]);
}

#[test]
fn a_watermark_finds_every_spell_that_began_before_it() {
    // Threads begin spells of ever new workloads while watermarks are taken: no spell may show up only after a
    // watermark that is later than its beginning.
    let ledger = Ledger::new(Clock::start());
    let workload = |thread: u32, n: u32| WorkloadId::new("shop", format!("w-{thread}-{n}"));
    let (threads, each) = (4, 2_000);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let ledger = &ledger;
            scope.spawn(move || (0..each).for_each(|n| drop(ledger.workload(&workload(thread, n)).admit())));
        }
        let mut found = HashMap::new();
        let mut last_us = 0;
        while found.len() < (threads * each) as usize {
            let (watermark_us, woken) = ledger.watermark();
            for totals in woken {
                let began_us = totals.cut(&identity()).spell_at_us;
                assert!(began_us >= last_us, "began at {began_us}, unseen by the watermark {last_us}");
                assert!(found.insert(totals.topic().clone(), began_us).is_none(), "woken twice");
            }
            last_us = watermark_us;
        }
    });
}

#[test]
fn requests_of_many_threads_come_to_exactly_zero() {
    let ledger = Ledger::new(Clock::start());
    let (threads, each) = (8, 20_000);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let totals = ledger.workload(&cart());
            scope.spawn(move || {
                let mut in_flight = std::collections::VecDeque::new();
                for n in 0..each {
                    let mut request = totals.admit();
                    if (n + thread) % 3 == 0 {
                        request.hold();
                    }
                    in_flight.push_back(request);
                    if in_flight.len() > 16 {
                        in_flight.pop_front();
                    }
                }
                // The rest departs on another thread than it came in on.
                std::thread::spawn(move || drop(in_flight)).join().unwrap();
            });
        }
    });
    let admitted = (threads * each) as u64;
    assert_eq!(ledger.snapshot(), [(cart(), Snapshot { in_flight: 0, held: 0, admitted })]);
    let (first, second) = (ledger.workload(&cart()).cut(&identity()), ledger.workload(&cart()).cut(&identity()));
    assert_eq!(first.finished, admitted);
    assert_eq!(first.busy_us, second.busy_us, "with nothing in flight the integral stands");
}

#[test]
#[ignore = "a figure: cargo test --release -p plimsoll-interceptor a_request_costs -- --ignored --nocapture"]
fn a_request_costs_the_ledger_so_much() {
    let ledger = Ledger::new(Clock::start());
    let totals = ledger.workload(&cart());
    let rounds = 5_000_000_u32;
    let _kept_busy = totals.admit();
    let start = tokio::time::Instant::now();
    for _ in 0..rounds {
        drop(std::hint::black_box(totals.admit()));
    }
    println!("{} ns for each admit and depart, on one thread", start.elapsed().as_nanos() / u128::from(rounds));
}
