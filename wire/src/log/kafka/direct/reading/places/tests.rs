//! What a subscription may claim.

use tokio::time::advance;

use super::*;

const ID: TopicId = TopicId::of(1);
const TICK: Duration = Duration::from_millis(250);

fn topic(name: &str) -> Topic {
    Topic::from(name)
}

fn leader() -> Address {
    Address::told("leader", 1).expect("it is an address")
}

/// These topics, read up to `next`.
fn read_to(next: u64, names: &[&str]) -> Places {
    let mut places = Places::default();
    for name in names {
        places.add(topic(name), StartAt::Oldest);
        places.settle(&topic(name), Settled { id: ID, next });
        places.led_anew(&topic(name), &leader());
    }
    vouch_for_all(&mut places);
    // One broker leads them all; what it says is borne out at once.
    places.bear_out_alone(Instant::now() + Duration::from_secs(3_600));
    places
}

fn vouch_for_all(places: &mut Places) {
    for (topic, leading, _) in places.doubted() {
        places.vouch(&topic, leading);
    }
}

fn unknown() -> LogError {
    LogError::UnknownTopic { topic: "a".into() }
}

#[tokio::test(start_paused = true)]
async fn a_topic_is_behind_until_the_end_it_had_is_reached() {
    let mut places = read_to(3, &["a", "b"]);
    let as_of = Instant::now();
    assert!(places.advance(&topic("b"), 3, 3, as_of));
    assert!(!places.advance(&topic("a"), 4, 5, as_of));
    assert_eq!(places.proof(), Some(ReadThrough { as_of, behind: vec![topic("a")] }));
    assert!(places.advance(&topic("a"), 5, 5, as_of));
    assert_eq!(places.proof(), Some(ReadThrough { as_of, behind: vec![] }));
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_proves_nothing_before_it_is_vouched_for() {
    let mut places = read_to(3, &["a"]);
    let a = topic("a");
    let before = Instant::now();
    places.advance(&a, 3, 3, before);
    places.led_anew(&a, &leader());
    let [(_, of_the_first, _)] = places.doubted()[..] else { panic!("one is in doubt") };
    advance(TICK).await;
    assert!(places.advance(&a, 3, 3, Instant::now()), "it is all that this leader gives");
    assert_eq!(places.proof(), Some(ReadThrough { as_of: before, behind: vec![] }));
    places.led_anew(&a, &leader());
    places.vouch(&a, of_the_first);
    places.advance(&a, 3, 3, Instant::now());
    assert_eq!(places.proof().map(|proof| proof.as_of), Some(before), "another one was vouched for");
    let asked_before = Instant::now();
    advance(TICK).await;
    vouch_for_all(&mut places);
    places.advance(&a, 3, 3, asked_before);
    assert_eq!(places.proof().map(|proof| proof.as_of), Some(before), "what was asked before does not count");
    let as_of = Instant::now();
    places.advance(&a, 4, 4, as_of);
    assert_eq!((places.proof(), places.doubted()), (Some(ReadThrough { as_of, behind: vec![] }), vec![]));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_proven_before_anything_is_read_and_a_new_topic_is_behind() {
    let mut places = read_to(0, &["a"]);
    assert_eq!(places.proof(), None);
    let as_of = Instant::now();
    places.advance(&topic("a"), 0, 0, as_of);
    places.add(topic("b"), StartAt::End);
    assert_eq!(places.proof(), Some(ReadThrough { as_of, behind: vec![topic("b")] }));
}

#[tokio::test(start_paused = true)]
async fn a_topic_whose_broker_hangs_holds_the_others_proof_up_for_some_time_only() {
    let mut places = read_to(0, &["a", "b"]);
    let begun = Instant::now();
    places.advance(&topic("a"), 0, 0, begun);
    let mut oldest = Duration::ZERO;
    for _ in 0..40 {
        places.advance(&topic("b"), 0, 0, Instant::now());
        let proof = places.proof().expect("b is read");
        oldest = oldest.max(proof.as_of.elapsed());
        advance(TICK).await;
    }
    assert!(oldest <= PATIENCE, "{oldest:?}");
    assert_eq!(places.proof().expect("b is read").behind, [topic("a")]);
    // Back again, with what was asked before the others' newest proof.
    places.advance(&topic("a"), 0, 0, Instant::now() - 2 * TICK);
    let proof = places.proof().expect("b is read");
    assert!(proof.as_of.elapsed() <= TICK && proof.behind == [topic("a")], "a proof never goes back: {proof:?}");
    places.advance(&topic("a"), 0, 0, Instant::now());
    assert_eq!(places.proof().expect("both are read").behind, Vec::<Topic>::new());
}

#[tokio::test(start_paused = true)]
async fn where_all_brokers_are_slow_proofs_are_old_and_go_on() {
    let mut places = read_to(0, &["a", "b"]);
    for _ in 0..10 {
        let as_of = Instant::now();
        advance(2 * PATIENCE).await;
        places.advance(&topic("a"), 0, 0, as_of);
        places.advance(&topic("b"), 0, 0, as_of + TICK);
        assert_eq!(places.proof(), Some(ReadThrough { as_of, behind: vec![] }));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_about_an_earlier_reading_is_told_from_one_that_counts() {
    let mut places = read_to(5, &["a"]);
    let asked = places.asked(&topic("a")).expect("it is read");
    assert!(places.is_current(&topic("a"), asked));
    places.remove(&topic("a"));
    assert!(!places.is_current(&topic("a"), asked));
    places.add(topic("a"), StartAt::Oldest);
    places.settle(&topic("a"), Settled { id: ID, next: 5 });
    assert!(!places.is_current(&topic("a"), asked));
}

#[tokio::test(start_paused = true)]
async fn a_lost_topic_goes_on_where_it_was_and_is_told_once() {
    let mut places = read_to(5, &["a"]);
    places.lose(&topic("a"));
    assert_eq!(places.sought(), [Sought { topic: topic("a"), start: StartAt::Oldest, before: Some((ID, 5)) }]);
    assert!(places.fail(&topic("a"), unknown()).is_some());
    assert!(places.fail(&topic("a"), unknown()).is_none());
    places.begin_anew(&topic("a"));
    assert_eq!(places.sought(), [Sought { topic: topic("a"), start: StartAt::Oldest, before: None }]);
}

#[tokio::test(start_paused = true)]
async fn trouble_is_told_when_it_lasts_and_again_when_it_comes_again() {
    let away = || LogError::Unavailable { log: "k".into(), reason: "r".into() };
    let mut places = read_to(5, &["a"]);
    let mut told = 0;
    for _ in 0..2 {
        for _ in 0..20 {
            let long = Duration::from_secs(1);
            told += u32::from(places.hinder(&topic("a"), long, away).is_some());
            advance(TICK / 2).await;
        }
        places.advance(&topic("a"), 5, 5, Instant::now());
    }
    assert_eq!(told, 2);
    places.hinder(&topic("a"), Duration::from_secs(1), away);
    advance(TICK).await;
    assert!(places.hinder(&topic("a"), Duration::from_secs(1), away).is_none(), "it may pass");
}

#[tokio::test(start_paused = true)]
async fn a_topic_made_after_the_subscription_is_read_whole() {
    let mut places = Places::default();
    places.add(topic("a"), StartAt::End);
    assert_eq!(places.fail(&topic("a"), unknown()), Some((topic("a"), unknown())));
    assert_eq!(places.sought()[0].start, StartAt::Oldest);
}

#[tokio::test(start_paused = true)]
async fn a_leaders_claim_counts_when_other_brokers_have_been_asked_after_it() {
    let mut places = Places::default();
    let (a, nobody) = (topic("a"), HashSet::new());
    places.add(a.clone(), StartAt::Oldest);
    places.settle(&a, Settled { id: ID, next: 3 });
    places.led_anew(&a, &leader());
    vouch_for_all(&mut places);
    let asked_before = Instant::now();
    advance(TICK).await;
    let as_of = Instant::now();
    assert!(places.advance(&a, 3, 3, as_of) && places.has_claims());
    places.bear_out(asked_before, &nobody);
    assert!(places.proof().is_none() && places.has_claims(), "they were asked before");
    places.bear_out(as_of, &HashSet::from([leader()]));
    assert!(places.proof().is_none() && places.has_claims(), "they do not know this leader");
    advance(TICK).await;
    places.bear_out(Instant::now(), &nobody);
    assert_eq!(places.proof(), Some(ReadThrough { as_of, behind: vec![] }));
    assert!(!places.has_claims());
    places.advance(&a, 3, 3, as_of + TICK);
    assert_eq!(places.proof().map(|proof| proof.as_of), Some(as_of + TICK), "that was before they were asked");
    assert!(!places.has_claims());
}

#[tokio::test(start_paused = true)]
async fn what_a_leader_claimed_that_was_left_is_never_proven() {
    let mut places = Places::default();
    let a = topic("a");
    places.add(a.clone(), StartAt::Oldest);
    places.settle(&a, Settled { id: ID, next: 3 });
    places.led_anew(&a, &leader());
    vouch_for_all(&mut places);
    places.advance(&a, 3, 3, Instant::now());
    places.led_anew(&a, &Address::told("another", 1).expect("it is an address"));
    advance(TICK).await;
    places.bear_out(Instant::now(), &HashSet::new());
    assert_eq!(places.proof(), None);
}
