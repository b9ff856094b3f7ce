//! An interceptors' topic that is read once more: a broker has lost the end of it, or another topic has its name.

use super::*;

/// Two interceptors, heard for so long that the log keeps no more; `b` has two requests in flight.
fn heard_for_long() -> Stage {
    let mut stage = Stage::new();
    stage.read_through().seconds(900, &["a", "b"]).frame("b", 2).second(&["a", "b"]);
    stage
}

#[test]
fn a_topic_cut_back_and_read_again_ends_no_run_and_forgets_none() {
    let mut stage = heard_for_long();
    assert_eq!(stage.answer().in_flight, 2);
    let lost = 4;
    let (kept, now) = (stage.written.len() - lost, stage.now());
    stage.written.truncate(kept);
    for (offset, (appended, record)) in stage.written.clone().into_iter().enumerate() {
        stage.fold.interceptor_record(record, offset as u64, appended, now);
    }
    stage.read_through().told();
    // At an offset that has been before.
    stage.now_s += 0.9;
    stage.beat("a", 1, |_| {});
    let answer = stage.read_through().answer();
    assert!(answer.known && !answer.zero_is_unknown, "{answer:?}");
    assert_eq!((answer.in_flight, stage.fold.interceptor_counts()), (2, (2, 0)));
}

#[test]
fn heartbeats_that_come_again_prove_no_life() {
    let mut stage = heard_for_long();
    for _ in 0..4 {
        stage.now_s += 1.0;
        let now = stage.now();
        for (offset, (appended, record)) in stage.written.clone().into_iter().enumerate() {
            stage.fold.interceptor_record(record, offset as u64, appended, now);
        }
        stage.read_through();
    }
    assert!(stage.unknown().contains("no interceptor has been heard for over 3 s"));
}

#[test]
fn a_topic_made_anew_is_heard_from_its_first_record_on() {
    let mut stage = heard_for_long();
    stage.written.clear();
    for _ in 0..5 {
        stage.second(&["a", "b"]).frame("b", 2);
        let answer = stage.answer();
        assert!(answer.known && answer.in_flight == 2, "{answer:?}");
    }
    // A broker stamps what is appended together with one time, as the heartbeats of a second here.
    assert_eq!(stage.fold.interceptor_counts(), (2, 0), "none of them is left out");
}

#[test]
fn the_newest_heartbeat_of_a_backlog_counts_until_the_next_one_does() {
    let before = heard_for_long();
    let mut late = Stage::new();
    (late.now_s, late.written) = (before.now_s, before.written.clone());
    let now = late.now();
    for (offset, (appended, record)) in before.written.into_iter().enumerate() {
        late.fold.interceptor_record(record, offset as u64, appended, now);
    }
    late.read_through().told();
    late.now_s += 0.7;
    // Its topic has not been read through to these yet.
    late.beat("a", 1, |_| {});
    late.beat("b", 1, |_| {});
    let answer = late.answer();
    assert!(answer.known && !answer.zero_is_unknown, "{answer:?}");
}
