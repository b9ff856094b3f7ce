//! The publisher on a real log, with time paused: what it promises is promised to the millisecond.

use plimsoll_wire::frame::InterceptorRecord;
use plimsoll_wire::log::{Pace, StartAt};
use plimsoll_wire::topic::WorkloadId;
use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;
use crate::ledger::{Clock, InFlight};
use troubled::Troubled;

mod troubled;

const TICK: Duration = Duration::from_secs(1);
const CART: &str = "plimsoll.shop.cart";
const TILL: &str = "plimsoll.shop.till";

/// A publisher that runs, and the two ends of it.
struct Running {
    ledger: Ledger,
    log: Arc<Troubled>,
    metrics: Metrics,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// Half a tick after the first one, so that a tick is never at the same instant as what a test does.
    async fn start(topics: &[&str]) -> Self {
        let log = Troubled::new();
        log.create(topics).await;
        let ledger = Ledger::new(Clock::start());
        let metrics = Metrics::register(&mut Registry::default());
        let config = Config { name: "a".into(), incarnation: 7, tick: TICK, frame_budget: 0 };
        let publisher = Publisher::new(config, ledger.clone(), log.clone(), metrics.clone());
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(publisher.run(shutdown.clone()));
        sleep(TICK / 2).await;
        Self { ledger, log, metrics, shutdown, task }
    }

    fn admit(&self, name: &str) -> InFlight {
        self.ledger.workload(&WorkloadId::new("shop", name)).admit()
    }

    /// Stops it; how long that took.
    async fn stop(self) -> Duration {
        let start = Instant::now();
        self.shutdown.cancel();
        self.task.await.unwrap();
        start.elapsed()
    }

    fn last_heartbeat(&self) -> Heartbeat {
        self.log.heartbeats().pop().unwrap().1
    }
}

/// Lets everything happen that needs no time.
async fn no_time() {
    let before = Instant::now();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(Instant::now(), before);
}

#[tokio::test(start_paused = true)]
async fn heartbeats_stand_on_an_even_grid_also_when_nothing_happens() {
    let running = Running::start(&[INTERCEPTORS]).await;
    sleep(10 * TICK).await;
    let heartbeats = running.log.heartbeats();
    assert_eq!(heartbeats.len(), 11);
    for pair in heartbeats.windows(2) {
        let [(_, before), (_, after)] = pair else { unreachable!() };
        assert_eq!(after.watermark_us - before.watermark_us, 1_000_000);
        assert!(after.at_us > before.at_us);
        assert_eq!(
            (&*after.interceptor, after.incarnation, after.undelivered.len(), after.leaving),
            ("a", 7, 0, false)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_request_is_told_twice_in_no_time() {
    let running = Running::start(&[INTERCEPTORS, CART]).await;
    let _request = running.admit("cart");
    no_time().await;
    let frames = running.log.taken(CART);
    assert_eq!(frames.len(), 1);
    let frame = frames[0].frame();
    assert_eq!((frame.admitted, frame.in_flight(), frame.spell_admitted, frame.tick_us), (1, 1, 0, 1_000_000));
    let activations = running.log.activations();
    assert_eq!(activations.len(), 1);
    assert_eq!(activations[0].1, Activation { topic: CART.into(), frame: Some(frame) });
}

#[tokio::test(start_paused = true)]
async fn a_wake_up_waits_for_no_stuck_append() {
    let running = Running::start(&[INTERCEPTORS, CART, TILL]).await;
    let _at_till = running.admit("till");
    sleep(TICK).await;
    running.log.stick(TILL);
    sleep(TICK).await;
    let _at_cart = running.admit("cart");
    no_time().await;
    assert_eq!(running.log.taken(CART).len(), 1);
    assert_eq!(running.log.activations().len(), 2);
    sleep(2 * TICK).await;
    assert_eq!(running.last_heartbeat().undelivered, [TILL]);
    running.log.come_back();
    sleep(2 * TICK).await;
    assert_eq!(running.last_heartbeat().undelivered, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_busy_workload_is_told_each_tick_until_its_final_frame() {
    let running = Running::start(&[INTERCEPTORS, CART]).await;
    let request = running.admit("cart");
    sleep(3 * TICK).await;
    drop(request);
    sleep(5 * TICK).await;
    let frames: Vec<_> = running.log.taken(CART).iter().map(|taken| taken.frame()).collect();
    let told: Vec<_> =
        frames.iter().map(|frame| (frame.at_us / 1_000, frame.in_flight(), frame.busy_us / 1_000)).collect();
    assert_eq!(told, [(500, 1, 0), (1_000, 1, 500), (2_000, 1, 1_500), (3_000, 1, 2_500), (4_000, 0, 3_000)]);
    let request = running.admit("cart");
    no_time().await;
    let frame = running.log.taken(CART).pop().unwrap().frame();
    assert_eq!((frame.spell_at_us, frame.spell_admitted, frame.spell_busy_us), (8_500_000, 1, 3_000_000));
    drop(request);
}

#[tokio::test(start_paused = true)]
async fn batches_that_wait_for_their_turn_hold_up_neither_a_wake_up_nor_the_end() {
    let names: Vec<String> = (0..3 * BATCH).map(|number| format!("w{number}")).collect();
    let topics: Vec<String> = names.iter().map(|name| format!("plimsoll.shop.{name}")).collect();
    let known: Vec<&str> = topics.iter().map(String::as_str).chain([INTERCEPTORS, CART]).collect();
    let running = Running::start(&known).await;
    let _busy: Vec<InFlight> = names.iter().map(|name| running.admit(name)).collect();
    let batches = || running.metrics.frames_delivered.get() / BATCH as u64;
    no_time().await;
    assert_eq!(batches(), 3, "the first frames of busy spells wait for nothing");
    sleep(TICK / 2 + Duration::from_millis(5)).await;
    assert_eq!(batches(), 4);
    sleep(Duration::from_millis(10)).await;
    assert_eq!(batches(), 5);
    let _at_cart = running.admit("cart");
    no_time().await;
    assert_eq!(running.log.taken(CART).len(), 1);
    let log = running.log.clone();
    assert_eq!(running.stop().await, Duration::ZERO);
    let (_, last) = log.heartbeats().pop().unwrap();
    assert!(last.leaving && last.undelivered.is_empty(), "{last:?}");
    assert!(topics.iter().all(|topic| log.taken(topic).pop().unwrap().frame().at_us >= last.watermark_us));
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_the_newest_totals_and_a_heartbeat_are_there_within_a_tick() {
    let running = Running::start(&[INTERCEPTORS, CART, TILL]).await;
    let _lasting = running.admit("cart");
    let ending = running.admit("till");
    sleep(TICK).await;
    running.log.go_away(TICK * 3 / 10);
    drop(ending);
    for _ in 0..60 {
        drop(running.admit("cart"));
        sleep(TICK).await;
    }
    assert!(running.log.most_under_way() <= 6, "{} records under way", running.log.most_under_way());
    running.log.come_back();
    sleep(TICK).await;
    assert_eq!(running.log.taken(CART).pop().unwrap().frame().admitted, 61);
    assert_eq!(running.log.taken(TILL).pop().unwrap().frame().in_flight(), 0, "the lost final frame is repaired");
    let (heard, heartbeat) = running.log.heartbeats().pop().unwrap();
    assert!(heard.elapsed() < TICK, "{:?}", heard.elapsed());
    assert_eq!(heartbeat.undelivered, [CART, TILL], "their frames were under way when it was sent");
    sleep(TICK).await;
    assert_eq!(running.last_heartbeat().undelivered, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_logs_client_costs_no_more_than_what_it_was_at() {
    let running = Running::start(&[INTERCEPTORS, CART]).await;
    let _request = running.admit("cart");
    no_time().await;
    running.log.go_mad();
    sleep(3 * TICK).await;
    running.log.come_back();
    sleep(2 * TICK).await;
    let newest = running.log.taken(CART).pop().unwrap();
    assert!(newest.at.elapsed() < TICK && newest.frame().in_flight() == 1, "{newest:?}");
    assert_eq!(running.last_heartbeat().undelivered, Vec::<String>::new());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_never_answers_takes_no_memory() {
    let running = Running::start(&[INTERCEPTORS, CART, TILL]).await;
    for topic in [INTERCEPTORS, CART, TILL] {
        running.log.stick(topic);
    }
    for n in 0..600 {
        drop(running.admit(if n % 2 == 0 { "cart" } else { "till" }));
        sleep(TICK / 5).await;
    }
    // For each workload a frame and its activation, and the heartbeat.
    assert!(running.log.most_under_way() <= 5, "{} records under way", running.log.most_under_way());
}

#[tokio::test(start_paused = true)]
async fn activations_are_left_out_while_too_many_are_under_way() {
    let running = Running::start(&[INTERCEPTORS, CART]).await;
    running.log.stick(INTERCEPTORS);
    for name in 0..2 * ACTIVATIONS_UNDER_WAY {
        drop(running.admit(&format!("w{name}")));
        no_time().await;
    }
    assert!(running.log.most_under_way() <= 1 + ACTIVATIONS_UNDER_WAY);
    assert_eq!(running.metrics.activations_failed.get(), ACTIVATIONS_UNDER_WAY as u64);
}

#[tokio::test(start_paused = true)]
async fn a_topic_made_late_gets_the_newest_totals() {
    let running = Running::start(&[INTERCEPTORS]).await;
    drop(running.admit("cart"));
    drop(running.admit("cart"));
    sleep(5 * TICK).await;
    assert_eq!(running.last_heartbeat().undelivered, [CART]);
    running.log.create(&[CART]).await;
    sleep(TICK).await;
    let frame = running.log.taken(CART).pop().unwrap().frame();
    assert_eq!((frame.admitted, frame.finished), (2, 2));
    sleep(TICK).await;
    assert_eq!(running.last_heartbeat().undelivered, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn an_interceptor_that_is_up_before_any_manager_makes_the_interceptors_topic() {
    let running = Running::start(&[]).await;
    sleep(TICK).await;
    assert_eq!(running.log.list_topics().await.unwrap(), [INTERCEPTORS]);
    assert_eq!(running.log.heartbeats().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn leaving_tells_the_final_totals_and_then_that_nothing_more_will_come() {
    let running = Running::start(&[INTERCEPTORS, CART]).await;
    let request = running.admit("cart");
    sleep(TICK / 10).await;
    drop(request);
    let log = running.log.clone();
    assert_eq!(running.stop().await, Duration::ZERO);
    let last = log.taken(CART).pop().unwrap().frame();
    assert_eq!((last.admitted, last.in_flight()), (1, 0));
    // As any reader has it.
    let mut subscription = log.subscribe(Pace::AtOnce).unwrap();
    subscription.add([(INTERCEPTORS.into(), StartAt::Oldest)]);
    let records = subscription.next().await.unwrap().records;
    let leaving = InterceptorRecord::decode(records.last().unwrap().payload.clone()).unwrap().record.unwrap();
    let Record::Heartbeat(leaving) = leaving else { panic!("{leaving:?}") };
    assert!(leaving.leaving && leaving.undelivered.is_empty());
    assert!(leaving.watermark_us >= 600_000);
}

#[tokio::test(start_paused = true)]
async fn leaving_takes_three_seconds_at_most_whatever_the_log_does() {
    let running = Running::start(&[INTERCEPTORS, CART]).await;
    let _cut_off = running.admit("cart");
    running.log.stick(CART);
    running.log.stick(INTERCEPTORS);
    sleep(3 * TICK).await;
    let took = running.stop().await;
    assert!(took <= LAST_FRAMES + LAST_HEARTBEAT, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn leaving_names_the_topic_that_did_not_take_its_final_totals() {
    let running = Running::start(&[INTERCEPTORS, CART]).await;
    let request = running.admit("cart");
    sleep(TICK).await;
    running.log.stick(CART);
    drop(request);
    let log = running.log.clone();
    running.stop().await;
    let (_, last) = log.heartbeats().pop().unwrap();
    assert!(last.leaving);
    assert_eq!(last.undelivered, [CART]);
}

#[tokio::test(start_paused = true)]
async fn metrics_count_what_became_of_each_record() {
    let running = Running::start(&[INTERCEPTORS, CART]).await;
    let _request = running.admit("cart");
    sleep(2 * TICK).await;
    running.log.go_away(Duration::ZERO);
    sleep(2 * TICK).await;
    let metrics = &running.metrics;
    assert_eq!((metrics.frames_delivered.get(), metrics.frames_failed.get()), (3, 2));
    assert_eq!((metrics.heartbeats_delivered.get(), metrics.heartbeats_failed.get()), (3, 2));
    assert_eq!((metrics.activations_delivered.get(), metrics.activations_failed.get()), (1, 0));
    assert_eq!((metrics.busy_workloads.get(), metrics.undelivered_topics.get()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "figures: run it with --ignored --nocapture, optimised"]
async fn a_wake_up_beside_ten_thousand_busy_workloads_costs_so_much() {
    let log = Arc::new(plimsoll_wire::log::memory::MemoryLog::new());
    let id = |n: usize| WorkloadId::new("shop", format!("w{n}"));
    let topics = (0..10_200).map(|n| Topic::from(id(n).topic())).chain([INTERCEPTORS.into()]);
    log.create_topics(&topics.map(|topic| TopicSpec { topic, retention: RETENTION }).collect::<Vec<_>>()).await;
    let ledger = Ledger::new(Clock::start());
    let _busy: Vec<_> = (0..10_000).map(|n| ledger.workload(&id(n)).admit()).collect();
    let config = Config { name: "a".into(), incarnation: 7, tick: TICK, frame_budget: 0 };
    let metrics = Metrics::register(&mut Registry::default());
    let shutdown = CancellationToken::new();
    let publisher = Publisher::new(config, ledger.clone(), log.clone(), metrics.clone());
    let task = tokio::spawn(publisher.run(shutdown.clone()));
    sleep(2 * TICK).await;
    let mut subscription = log.subscribe(Pace::AtOnce).unwrap();
    subscription.add([(INTERCEPTORS.into(), StartAt::End)]);
    sleep(TICK).await;
    let mut took = Vec::new();
    for n in 10_000..10_200 {
        let topic = id(n).topic();
        let start = Instant::now();
        let request = ledger.workload(&id(n)).admit();
        'activated: loop {
            for record in subscription.next().await.unwrap().records {
                let record = InterceptorRecord::decode(record.payload).unwrap().record.unwrap();
                if matches!(record, Record::Activation(activation) if activation.topic == topic) {
                    break 'activated;
                }
            }
        }
        took.push(start.elapsed());
        drop(request);
        sleep(Duration::from_millis(13)).await;
    }
    took.sort_unstable();
    println!(
        "from admission to the activation's reader: p50 {:?}, p99 {:?}, max {:?}",
        took[100], took[198], took[199]
    );
    println!("{} frames", metrics.frames_delivered.get());
    shutdown.cancel();
    task.await.unwrap();
}
