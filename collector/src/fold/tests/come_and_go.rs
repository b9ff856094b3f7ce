//! Interceptors that fall silent, come back, restart, leave, or seem to.

use super::*;

#[test]
fn silence_of_all_is_unknown_and_no_zero() {
    let mut stage = Stage::new();
    stage.read_through().second(&["a"]).frame("a", 3).second(&["a"]);
    stage.seconds(4, &[]);
    assert!(stage.unknown().contains("no interceptor has been heard for over 3 s"));
    assert_eq!(stage.answer().in_flight, 3, "the last known values stay to be shown");
    stage.second(&["a"]);
    assert!(stage.answer().known);
}

#[test]
fn heartbeats_from_before_an_outage_that_are_read_after_it_prove_nothing() {
    let mut stage = Stage::new();
    stage.read_through().second(&["a"]).frame("a", 0).second(&["a"]);
    let written = stage.made("a", 0).at_us + S;
    stage.now_s += 20.0;
    stage.beat("a", 1, |heartbeat| (heartbeat.at_us, heartbeat.watermark_us) = (written, written));
    stage.read_through();
    assert!(stage.unknown().contains("no interceptor has been heard for over 10 s"));
    stage.second(&["a"]);
    assert!(stage.answer().known);
}

#[test]
fn a_missing_interceptors_contribution_stands_and_no_zero_is_said_until_it_is_gone() {
    let mut stage = Stage::new();
    stage.read_through().second(&["a", "b"]).frame("b", 2).second(&["a", "b"]).seconds(3, &["a"]);
    assert!(!stage.answer().zero_is_unknown);
    stage.second(&["a"]);
    let answer = stage.answer();
    assert!(answer.zero_is_unknown && answer.known && answer.in_flight == 2, "{answer:?}");
    stage.seconds(10, &["a"]);
    assert_eq!(stage.answer().in_flight, 2);
    stage.second(&["a"]);
    let answer = stage.answer();
    assert!(!answer.zero_is_unknown && answer.known && answer.in_flight == 0, "{answer:?}");
}

#[test]
fn after_an_outage_the_first_to_come_back_buries_nobody() {
    let mut stage = Stage::new();
    stage.read_through().second(&["a", "b"]).frame("b", 2).second(&["a", "b"]);
    stage.now_s += 60.0;
    stage.seconds(3, &["a"]);
    let answer = stage.answer();
    assert!(answer.known && answer.zero_is_unknown && answer.in_flight == 2, "{answer:?}");
    stage.second(&["a", "b"]).frame("b", 2);
    assert!(!stage.answer().zero_is_unknown);
}

#[test]
fn a_restarted_interceptors_requests_are_gone_at_once_and_what_it_admitted_is_not() {
    let mut stage = Stage::new();
    stage.read_through().second(&["a"]).frame("a", 2).second(&["a"]);
    stage.now_s += 0.5;
    stage.beat("a", 2, |_| {});
    let answer = stage.read_through().answer();
    assert_eq!((answer.in_flight, answer.admitted_total), (0, 7));
    assert!(answer.concurrency > 0.0 && answer.known && !answer.zero_is_unknown, "{answer:?}");
}

#[test]
fn of_two_interceptors_with_one_name_both_count() {
    let mut stage = Stage::new();
    stage.read_through().second(&["a"]).frame("a", 2);
    for _ in 0..3 {
        stage.now_s += 0.5;
        stage.beat("a", 2, |_| {});
        stage.second(&["a"]).frame("a", 2);
    }
    assert_eq!(stage.answer().in_flight, 2);
}

#[test]
fn who_leaves_is_not_missed() {
    let mut stage = Stage::new();
    stage.read_through().second(&["a", "b"]).frame("b", 0);
    stage.now_s += 0.1;
    stage.beat("b", 1, |heartbeat| heartbeat.leaving = true);
    stage.seconds(6, &["a"]);
    assert!(!stage.answer().zero_is_unknown);
    stage.now_s += 0.1;
    stage.beat("a", 1, |heartbeat| heartbeat.leaving = true);
    stage.read_through();
    assert!(stage.unknown().contains("all interceptors have left"));
}

#[test]
fn a_broker_whose_clock_is_set_back_makes_nobody_missing() {
    let mut stage = Stage::new();
    stage.read_through().second(&["a", "b"]);
    for _ in 0..5 {
        stage.now_s += 1.0;
        for name in ["a", "b"] {
            let us = stage.us();
            let heartbeat = Heartbeat {
                interceptor: name.into(),
                incarnation: 1,
                at_us: us,
                watermark_us: us,
                ..Heartbeat::default()
            };
            let appended = LogTime(stage.log_now().0 - 900_000);
            stage.hear(Record::Heartbeat(heartbeat), appended);
        }
        stage.read_through();
        let answer = stage.answer();
        assert!(answer.known && !answer.zero_is_unknown, "{answer:?}");
    }
}
