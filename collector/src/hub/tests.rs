#![allow(clippy::unwrap_used)]

use tokio::time::timeout;

use super::*;

fn answer(topic: usize, in_flight: u64) -> Answer {
    Answer { topic: format!("t{topic}"), in_flight, ..Answer::default() }
}

fn hub(topics: usize) -> Arc<Hub> {
    let hub = Arc::new(Hub::new("c".into(), 7));
    hub.tell((0..topics).map(|topic| answer(topic, 0)).collect(), Urgency::Paced);
    hub
}

async fn snapshot(subscriber: &Subscriber) -> Vec<Answer> {
    let mut all = Vec::new();
    loop {
        let update = subscriber.next().await.unwrap();
        assert!(update.answers.len() <= CHUNK);
        all.extend(update.answers);
        if !update.snapshot_continues {
            return all;
        }
    }
}

async fn nothing_comes(subscriber: &Subscriber) {
    assert!(timeout(Duration::from_secs(60), subscriber.next()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn who_subscribes_late_is_told_the_arrivals_age_of_now() {
    let hub = hub(0);
    let idle = Answer { since_arrival_us: Some(60_000_000), ..answer(0, 0) };
    hub.tell(vec![idle], Urgency::Paced);
    tokio::time::advance(Duration::from_secs(600)).await;
    let subscriber = hub.subscribe().unwrap();
    assert_eq!(snapshot(&subscriber).await[0].since_arrival_us, Some(660_000_000));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_in_chunks_and_then_only_what_changes() {
    let hub = hub(2_000);
    let subscriber = hub.subscribe().unwrap();
    assert_eq!(snapshot(&subscriber).await.len(), 2_000);
    nothing_comes(&subscriber).await;
    hub.tell(vec![answer(5, 1)], Urgency::Paced);
    assert_eq!(subscriber.next().await.unwrap().answers, [answer(5, 1)]);
    nothing_comes(&subscriber).await;
}

#[tokio::test(start_paused = true)]
async fn the_snapshot_of_nothing_is_told_too() {
    let subscriber = hub(0).subscribe().unwrap();
    let update = subscriber.next().await.unwrap();
    assert!(!update.snapshot_continues && update.answers.is_empty() && update.interceptors_changed);
    nothing_comes(&subscriber).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_subscriber_gets_the_newest_and_never_more_than_there_are_topics() {
    let hub = hub(10);
    let subscriber = hub.subscribe().unwrap();
    snapshot(&subscriber).await;
    for round in 1..=1_000 {
        hub.tell((0..10).map(|topic| answer(topic, round)).collect(), Urgency::Paced);
    }
    let update = subscriber.next().await.unwrap();
    assert_eq!(update.answers.len(), 10);
    assert!(update.answers.iter().all(|answer| answer.in_flight == 1_000));
    nothing_comes(&subscriber).await;
}

#[tokio::test(start_paused = true)]
async fn what_turns_active_overtakes_the_snapshot() {
    let hub = hub(2_000);
    let subscriber = hub.subscribe().unwrap();
    hub.tell(vec![answer(1_999, 1)], Urgency::AtOnce);
    assert_eq!(subscriber.next().await.unwrap().answers[0], answer(1_999, 1));
}

#[tokio::test(start_paused = true)]
async fn a_released_topic_is_taken_back_and_one_that_returns_is_told_again() {
    let hub = hub(2);
    let subscriber = hub.subscribe().unwrap();
    snapshot(&subscriber).await;
    hub.tell(vec![answer(0, 3)], Urgency::Paced);
    hub.release([Topic::from("t0"), Topic::from("never told")]);
    let update = subscriber.next().await.unwrap();
    assert_eq!((update.answers, update.released), (vec![], vec!["t0".to_owned()]));
    hub.release([Topic::from("t1")]);
    hub.tell(vec![answer(1, 4)], Urgency::Paced);
    let update = subscriber.next().await.unwrap();
    assert_eq!((update.answers, update.released), (vec![answer(1, 4)], vec![]));
}

#[tokio::test(start_paused = true)]
async fn each_beat_is_an_update_and_interceptors_are_told_when_they_change() {
    let hub = hub(0);
    let subscriber = hub.subscribe().unwrap();
    snapshot(&subscriber).await;
    let state = |heard| State {
        generation: 4,
        interceptors: vec![InterceptorState { last_heartbeat_unix_ms: heard, ..InterceptorState::default() }],
        ..State::default()
    };
    hub.beat(state(1));
    let update = subscriber.next().await.unwrap();
    assert_eq!((update.generation, update.interceptors_changed, update.interceptors.len()), (4, true, 1));
    hub.beat(state(1));
    assert!(!subscriber.next().await.unwrap().interceptors_changed);
    nothing_comes(&subscriber).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_freeze_nothing_is_told_before_the_reader_has_looked() {
    let hub = hub(1);
    hub.beat(State::default());
    let listening = hub.subscribe().unwrap();
    snapshot(&listening).await;
    hub.tell(vec![answer(0, 3)], Urgency::Paced);
    tokio::time::advance(Duration::from_secs(60)).await;
    let new = hub.subscribe().unwrap();
    for subscriber in [&listening, &new] {
        nothing_comes(subscriber).await;
    }
    let unknown = Answer { unknown_reason: "not read for long".into(), ..answer(0, 3) };
    hub.tell(vec![unknown.clone()], Urgency::Paced);
    hub.beat(State::default());
    for subscriber in [&listening, &new] {
        assert_eq!(subscriber.next().await.unwrap().answers, std::slice::from_ref(&unknown));
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_gone_costs_nothing_and_too_many_are_refused() {
    let hub = hub(1);
    let all: Vec<_> = (0..SUBSCRIBERS_MAX).map(|_| hub.subscribe().unwrap()).collect();
    assert!(hub.subscribe().is_none());
    drop(all);
    assert_eq!(hub.subscribers(), 0);
    let subscriber = hub.subscribe().unwrap();
    hub.close();
    assert_eq!(subscriber.next().await, None);
}
