use super::*;

const ID: TopicId = TopicId::of(1);
const CONSUMER: ConsumerId = ConsumerId::of(7);

fn topic() -> Topic {
    Topic::from("a")
}

/// One topic, read up to `next`.
fn read_to(next: u64) -> Places {
    let mut places = Places::default();
    places.add(topic(), StartAt::Oldest);
    places.settle(&topic(), Settled { id: ID, next }, CONSUMER);
    places
}

fn ends(end: Result<u64, LogError>) -> PerTopic<u64> {
    HashMap::from([(topic(), end)])
}

fn check(places: &mut Places, end: Result<u64, LogError>) -> Checked {
    let question = places.question(true);
    places.check(&question, &ends(end), &HashMap::new())
}

fn unknown() -> LogError {
    LogError::UnknownTopic { topic: "a".into() }
}

#[test]
fn a_topic_is_behind_until_the_end_it_had_is_reached() {
    let mut places = read_to(3);
    let behind = check(&mut places, Ok(5)).behind.expect("its end is known");
    let mut proof = Proof { as_of: Instant::now(), proven_after: 1, behind };
    places.advance("a", 3);
    assert!(!proof.advance(&places));
    assert_eq!(proof.read_through().behind, [topic()]);
    places.advance("a", 4);
    assert!(proof.advance(&places));
    assert!(proof.read_through().behind.is_empty());
}

#[test]
fn an_answer_about_an_earlier_reading_proves_nothing() {
    let mut places = read_to(0);
    let question = places.question(true);
    places.remove(&topic());
    places.add(topic(), StartAt::Oldest);
    places.settle(&topic(), Settled { id: ID, next: 9 }, CONSUMER);
    let checked = places.check(&question, &ends(Ok(0)), &HashMap::new());
    assert_eq!(checked.behind, None);
}

#[test]
fn a_topic_that_was_not_asked_about_is_behind() {
    let mut places = read_to(5);
    let question = places.question(true);
    places.add(Topic::from("b"), StartAt::Oldest);
    let checked = places.check(&question, &ends(Ok(5)), &HashMap::new());
    assert_eq!(checked.behind, Some(HashMap::from([(Topic::from("b"), NEVER)])));
}

#[test]
fn a_deleted_topic_is_told_once_and_goes_on_where_it_was_if_it_was_a_false_alarm() {
    let mut places = read_to(5);
    let checked = check(&mut places, Err(unknown()));
    assert_eq!(checked.failures, [(topic(), unknown())]);
    assert_eq!(checked.dropped, [(topic(), CONSUMER)]);
    assert_eq!(places.fail(&topic(), unknown()), None);
    assert_eq!(places.sought(), [Sought { topic: topic(), start: StartAt::Oldest, before: Some((ID, 5)) }]);
}

#[test]
fn an_outage_is_told_once_and_again_when_it_comes_again() {
    let away = LogError::Unavailable { log: "k".into(), reason: "r".into() };
    let mut places = read_to(5);
    assert_eq!(places.fail_all(&away).len(), 1);
    assert_eq!(places.fail_all(&away).len(), 0);
    check(&mut places, Ok(5));
    assert_eq!(places.fail_all(&away).len(), 1);
}

#[test]
fn a_topic_whose_unread_records_retention_took_is_not_behind_for_ever() {
    let mut places = read_to(5);
    assert!(check(&mut places, Ok(9)).behind.is_some_and(|behind| behind.len() == 1));
    let question = places.question(true);
    assert_eq!(question.stuck, [topic()]);
    let checked = places.check(&question, &ends(Ok(9)), &ends(Ok(9)));
    assert_eq!(checked.behind, Some(HashMap::new()));
}

#[test]
fn a_consumer_that_brings_nothing_of_what_is_there_is_replaced_and_nothing_is_skipped() {
    let mut places = read_to(5);
    let check = |places: &mut Places, has_room| {
        let question = places.question(has_room);
        let oldest = if question.stuck.is_empty() { HashMap::new() } else { ends(Ok(0)) };
        places.check(&question, &ends(Ok(9)), &oldest).sick
    };
    for _ in 0..2 * PATIENCE {
        assert_eq!(check(&mut places, false), [], "a slow reader is no sick consumer");
    }
    // That it was behind has been seen once.
    for _ in 2..PATIENCE {
        assert_eq!(check(&mut places, true), []);
    }
    assert_eq!(check(&mut places, true), [CONSUMER]);
    places.lose(CONSUMER);
    assert_eq!(places.sought()[0].before, Some((ID, 5)));
}

#[test]
fn a_topic_that_ends_before_what_was_read_is_begun_anew_when_its_consumer_does_not() {
    let mut places = read_to(5);
    assert!(check(&mut places, Ok(0)).dropped.is_empty());
    assert_eq!(check(&mut places, Ok(2)).dropped, [(topic(), CONSUMER)]);
    assert_eq!(places.sought(), [Sought { topic: topic(), start: StartAt::Oldest, before: None }]);
}

#[test]
fn a_topic_that_grows_while_the_brokers_are_asked_is_neither_behind_nor_begun_anew() {
    let mut places = read_to(5);
    for offset in 5..15 {
        let question = places.question(true);
        places.advance("a", offset);
        let checked = places.check(&question, &ends(Ok(offset)), &HashMap::new());
        assert!(checked.dropped.is_empty());
        assert_eq!(checked.behind, Some(HashMap::new()));
    }
}

#[test]
fn a_topic_made_after_the_subscription_is_read_whole() {
    let mut places = Places::default();
    places.add(topic(), StartAt::End);
    assert_eq!(places.fail(&topic(), unknown()), Some((topic(), unknown())));
    assert_eq!(places.sought()[0].start, StartAt::Oldest);
}
