//! What the fold promises, one thing at a time.

#![allow(clippy::unwrap_used)]

use plimsoll_wire::frame::{Activation, Heartbeat};

use super::*;

mod come_and_go;
mod read_again;

const TOPIC: &str = "plimsoll.default.app";
const W: Duration = Duration::from_secs(10);
const S: u64 = 1_000_000;

/// A fold with one topic, and the interceptors that it hears. Local time, log time and the runs' own clocks go together here: second 0 is
/// when the world began.
struct Stage {
    fold: Fold,
    origin: Instant,
    now_s: f64,
    /// The interceptors' topic, from its first offset on.
    written: Vec<(LogTime, InterceptorRecord)>,
}

impl Stage {
    fn new() -> Self {
        let origin = Instant::now();
        let mut fold = Fold::new(origin);
        fold.assign(Topic::from(TOPIC), W, W, origin);
        Self { fold, origin, now_s: 0.0, written: Vec::new() }
    }

    fn now(&self) -> Instant {
        self.origin + Duration::from_secs_f64(self.now_s)
    }

    fn log_now(&self) -> LogTime {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
        LogTime(1_000_000 + (self.now_s * 1e3) as u64)
    }

    /// All that has been written has been read.
    fn read_through(&mut self) -> &mut Self {
        let proof = ReadThrough { as_of: self.now(), behind: Vec::new() };
        self.fold.interceptors_read_through(&proof);
        self.fold.read_through(&proof);
        self
    }

    /// A second goes by, in which these interceptors send heartbeats; all is read.
    fn second(&mut self, heard: &[&str]) -> &mut Self {
        self.now_s += 1.0;
        for name in heard {
            self.beat(name, 1, |_| {});
        }
        self.read_through()
    }

    fn seconds(&mut self, seconds: u32, heard: &[&str]) -> &mut Self {
        for _ in 0..seconds {
            self.second(heard);
        }
        self
    }

    fn us(&self) -> u64 {
        (self.log_now().0 - 1_000_000) * 1_000
    }

    fn beat(&mut self, name: &str, incarnation: u64, change: impl FnOnce(&mut Heartbeat)) {
        let us = self.us();
        let mut heartbeat =
            Heartbeat { interceptor: name.into(), incarnation, at_us: us, watermark_us: us, ..Heartbeat::default() };
        change(&mut heartbeat);
        self.hear(Record::Heartbeat(heartbeat), self.log_now());
    }

    /// The next record of the interceptors' topic comes.
    fn hear(&mut self, record: Record, appended: LogTime) {
        let record = InterceptorRecord { record: Some(record) };
        let (offset, now) = (self.written.len() as u64, self.now());
        self.written.push((appended, record.clone()));
        self.fold.interceptor_record(record, offset, appended, now);
    }

    fn made(&self, name: &str, in_flight: u64) -> Frame {
        Frame {
            interceptor: name.into(),
            incarnation: 1,
            at_us: self.us(),
            admitted: 5 + in_flight,
            finished: 5,
            busy_us: self.us(),
            last_arrival_us: self.us(),
            spell_at_us: self.us().min(S),
            tick_us: S,
            ..Frame::default()
        }
    }

    fn frame(&mut self, name: &str, in_flight: u64) -> &mut Self {
        let frame = self.made(name, in_flight);
        let log_now = self.log_now();
        assert!(self.fold.frame(&Topic::from(TOPIC), &frame, log_now, 50));
        self
    }

    fn answer(&mut self) -> Answer {
        let now = self.now();
        self.fold.evaluate(TOPIC, now).unwrap()
    }

    /// What is told now, of any topic.
    fn told(&mut self) -> Vec<Answer> {
        let (now, mut told) = (self.now(), Vec::new());
        self.fold.answers(now, &mut told);
        told
    }

    /// Why nothing is told.
    fn unknown(&mut self) -> String {
        let answer = self.answer();
        assert!(!answer.known, "{answer:?}");
        answer.unknown_reason
    }
}

#[test]
fn nothing_is_known_before_an_interceptor_is_heard() {
    let mut stage = Stage::new();
    assert!(stage.unknown().contains("is being replayed"));
    stage.read_through();
    assert!(stage.unknown().contains("no interceptor has been heard yet"));
    stage.second(&["a"]);
    let answer = stage.answer();
    assert!(answer.known && answer.warm && !answer.zero_is_unknown && answer.in_flight == 0, "{answer:?}");
}

#[test]
fn heartbeats_of_a_world_long_dead_prove_nothing() {
    let mut stage = Stage::new();
    // Replayed: they came before the topic had been read to its end.
    stage.beat("a", 1, |_| {});
    stage.read_through();
    assert!(stage.unknown().contains("since the start of this collector"));
}

#[test]
fn an_undelivered_topic_keeps_its_value_then_says_no_zero_then_nothing() {
    let mut stage = Stage::new();
    stage.read_through().second(&["a"]).frame("a", 0).second(&["a"]);
    let mut last = Vec::new();
    for second in 1..=17 {
        stage.now_s += 1.0;
        stage.beat("a", 1, |heartbeat| heartbeat.undelivered = vec![TOPIC.into()]);
        stage.read_through();
        last = stage.told();
        let answer = stage.answer();
        assert_eq!(answer.zero_is_unknown, (4..=15).contains(&second), "second {second}: {answer:?}");
        assert_eq!(answer.known, second <= 15, "second {second}: {answer:?}");
    }
    assert!(stage.unknown().contains("nothing proves what interceptor a has in topic"));
    assert!(last.is_empty(), "said once, not each second");
    stage.second(&["a"]);
    assert!(stage.told()[0].known);
}

#[test]
fn a_watermark_that_stands_still_vouches_for_no_topic() {
    let mut stage = Stage::new();
    stage.read_through().second(&["a"]);
    let watermark = stage.us();
    for _ in 0..4 {
        stage.now_s += 1.0;
        stage.beat("a", 1, |heartbeat| heartbeat.watermark_us = watermark);
        stage.read_through();
    }
    assert!(stage.answer().zero_is_unknown);
    for _ in 0..12 {
        stage.now_s += 1.0;
        stage.beat("a", 1, |heartbeat| heartbeat.watermark_us = watermark);
        stage.read_through();
    }
    assert!(stage.unknown().contains("nothing proves what interceptor a has"));
}

#[test]
fn a_heartbeat_does_not_count_before_the_frames_it_vouches_for_have_been_read() {
    let mut stage = Stage::new();
    stage.read_through().second(&["a"]).frame("a", 1).second(&["a"]);
    // Final frame and heartbeats are in the log; of the topic nothing more has been read.
    for _ in 0..5 {
        stage.now_s += 1.0;
        stage.beat("a", 1, |_| {});
        let proof = ReadThrough { as_of: stage.now(), behind: Vec::new() };
        stage.fold.interceptors_read_through(&proof);
    }
    assert_eq!(stage.answer().in_flight, 1);
    assert!(stage.unknown().contains("have not been read to their ends for over 3 s"));
}

#[test]
fn heartbeats_of_a_short_tick_are_kept_for_as_long_as_a_topics_reading_may_trail() {
    let mut stage = Stage::new();
    stage.read_through().seconds(3, &["a"]);
    for _ in 0..400 {
        stage.now_s += 0.05;
        stage.beat("a", 1, |_| {});
        let (now, trails) = (stage.now(), Duration::from_secs(2));
        stage.fold.interceptors_read_through(&ReadThrough { as_of: now, behind: Vec::new() });
        stage.fold.read_through(&ReadThrough { as_of: now - trails, behind: Vec::new() });
        let answer = stage.answer();
        assert!(answer.known && !answer.zero_is_unknown, "{answer:?}");
    }
}

#[test]
fn a_topic_that_lags_alone_is_unknown_alone() {
    let mut stage = Stage::new();
    stage.fold.assign(Topic::from("plimsoll.default.other"), W, W, stage.origin);
    stage.read_through().second(&["a"]);
    for _ in 0..4 {
        stage.now_s += 1.0;
        stage.beat("a", 1, |_| {});
        let as_of = stage.now();
        stage.fold.interceptors_read_through(&ReadThrough { as_of, behind: Vec::new() });
        stage.fold.read_through(&ReadThrough { as_of, behind: vec![Topic::from(TOPIC)] });
    }
    assert!(stage.unknown().contains("topic plimsoll.default.app has not been read to its end for over 3 s"));
    let now = stage.now();
    assert!(stage.fold.evaluate("plimsoll.default.other", now).unwrap().known);
    stage.second(&["a"]);
    assert!(stage.answer().known);
}

#[test]
fn a_topic_that_does_not_exist_is_unknown_and_says_so() {
    let mut stage = Stage::new();
    stage.read_through().second(&["a"]);
    stage.fold.failed(&Topic::from(TOPIC), LogError::UnknownTopic { topic: TOPIC.into() });
    assert!(stage.unknown().contains("topic plimsoll.default.app does not exist"));
    stage.second(&["a"]);
    assert!(stage.answer().known);
}

#[test]
fn an_activation_is_told_before_its_topic_is_read_and_counts_once() {
    let mut stage = Stage::new();
    stage.read_through().second(&["a"]);
    assert_eq!(stage.told().len(), 1);
    stage.now_s += 0.25;
    let frame = stage.made("a", 1);
    let activation = Activation { topic: TOPIC.into(), frame: Some(frame.clone()) };
    let (log_now, now) = (stage.log_now(), stage.now());
    stage.hear(Record::Activation(activation), log_now);
    let mut told = Vec::new();
    stage.fold.turned(now, &mut told);
    assert_eq!((told.len(), told[0].in_flight, told[0].known), (1, 1, true));
    assert_eq!(told[0].since_arrival_us, Some(0));
    stage.fold.frame(&Topic::from(TOPIC), &frame, log_now, 50);
    assert_eq!(stage.answer().in_flight, 1);
    told.clear();
    stage.fold.turned(now, &mut told);
    assert!(told.is_empty(), "it was active already");
}

#[test]
fn a_topic_with_nothing_in_it_costs_nothing_and_is_told_once() {
    let mut stage = Stage::new();
    stage.read_through().second(&["a"]).frame("a", 0);
    stage.seconds(12, &["a"]);
    stage.told();
    assert!(stage.fold.awake.is_empty());
    for _ in 0..5 {
        assert!(stage.second(&["a"]).told().is_empty());
    }
    stage.seconds(4, &[]);
    assert_eq!(stage.told().len(), 1, "but it is told when nothing is known any more");
}

#[test]
fn a_topic_is_read_back_far_enough_by_its_own_clock_too() {
    let mut stage = Stage::new();
    let (now, margin) = (stage.now(), Duration::from_secs(20));
    assert_eq!(stage.fold.reads_from(W, W, now), StartAt::Oldest, "nobody has been heard");
    stage.read_through().seconds(3, &["a", "b"]).seconds(5, &["a"]);
    // The windows of `b` end 5 s before now.
    let back = 2 * W + margin + Duration::from_secs(5);
    let (time, now) = (stage.log_now().before(back), stage.now());
    assert_eq!(stage.fold.reads_from(W, 2 * W, now), StartAt::From { time, back });
}

#[test]
fn longer_windows_than_were_read_for_are_told_of_and_not_answered_before_they_are_replayed() {
    let mut stage = Stage::new();
    stage.read_through().second(&["a"]);
    let topic = Topic::from(TOPIC);
    let now = stage.now();
    assert!(!stage.fold.assign(topic.clone(), W / 2, W, now), "shorter");
    assert!(stage.fold.assign(topic.clone(), 6 * W, W, now));
    stage.now_s += 0.1;
    let now = stage.now();
    stage.fold.read_anew(&topic, now);
    assert!(stage.unknown().contains("is being replayed"));
    stage.second(&["a"]);
    assert!(stage.answer().known);
}

#[test]
fn what_a_forgotten_run_admitted_and_when_stays_known() {
    let mut stage = Stage::new();
    stage.read_through().second(&["a", "b"]).frame("b", 2).second(&["a", "b"]);
    stage.seconds(700, &["a"]);
    let answer = stage.answer();
    assert_eq!((answer.admitted_total, answer.since_arrival_us), (7, Some(701 * S)));
    stage.told();
    assert_eq!(stage.fold.interceptor_counts(), (1, 0));
    let answer = stage.answer();
    assert_eq!((answer.admitted_total, answer.since_arrival_us), (7, Some(701 * S)));
}

#[test]
fn ten_thousand_topics_of_thirty_interceptors_are_cheap() {
    const TOPICS: usize = 10_000;
    const INTERCEPTORS: usize = 30;
    let mut stage = Stage::new();
    let topics: Vec<Topic> = (0..TOPICS).map(|number| Topic::from(format!("plimsoll.default.app-{number}"))).collect();
    for topic in &topics {
        stage.fold.assign(topic.clone(), W, 2 * W, stage.origin);
    }
    let names: Vec<String> = (0..INTERCEPTORS).map(|number| format!("interceptor-{number}")).collect();
    let heard: Vec<&str> = names.iter().map(String::as_str).collect();
    stage.read_through().second(&heard);
    stage.told();
    let took = |stage: &mut Stage, what: &str, pieces: usize, work: &dyn Fn(&mut Stage)| {
        let begun = Instant::now();
        work(stage);
        let took = begun.elapsed();
        println!("{what}: {took:?}, {} ns a piece", took.as_nanos() / pieces as u128);
        took
    };
    // The quickest of some: a machine that does something else meanwhile says nothing about the fold.
    let idle = (0..5).map(|_| {
        took(&mut stage, "all idle, a second of heartbeats and four looks", INTERCEPTORS, &|stage| {
            stage.second(&heard);
            (0..4).for_each(|_| assert!(stage.told().is_empty()));
        })
    });
    let idle = idle.min().unwrap();
    let folding = took(&mut stage, "a frame of each interceptor in each topic", TOPICS * INTERCEPTORS, &|stage| {
        for name in &heard {
            let (frame, log_now) = (stage.made(name, 1), stage.log_now());
            for topic in &topics {
                stage.fold.frame(topic, &frame, log_now, 60);
            }
        }
    });
    let looking = took(&mut stage, "a look at all of them", TOPICS, &|stage| assert_eq!(stage.told().len(), TOPICS));
    // Some hundred times what an optimised build takes: for what grows with the square.
    assert!(idle < Duration::from_millis(50) && folding + looking < Duration::from_secs(10));
}
