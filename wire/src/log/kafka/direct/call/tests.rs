use proptest::prelude::*;

use super::*;

const BATCH_MAX: usize = 10_000;
const NOT_LEADER: i16 = 6;
const TOO_LARGE: i16 = 10;
const DENIED: i16 = 29;

fn record(topic: &str, bytes: usize) -> Append {
    Append { topic: topic.into(), payload: vec![0; bytes].into() }
}

/// All topics are one broker's, which answers with these codes.
fn round(call: &mut Call, code: impl Fn(&str, usize) -> i16) -> Vec<(Topic, usize)> {
    let mut sent = Vec::new();
    for request in call.requests(|_| true) {
        let parts: Vec<(Topic, usize)> =
            call.parts(&request).iter().map(|(topic, payloads)| ((*topic).clone(), payloads.len())).collect();
        let codes: HashMap<&str, i16> = parts.iter().map(|(topic, count)| (&**topic, code(topic, *count))).collect();
        call.answered(&request, &codes);
        sent.extend(parts);
    }
    sent
}

fn fates(call: Call) -> Vec<Fate> {
    call.end().into_iter().map(|(_, fate)| fate).collect()
}

#[test]
fn many_topics_go_in_few_requests_and_none_is_too_large() {
    let call = Call::new((0..1_200).map(|number| record(&format!("t{number}"), 100)).collect(), BATCH_MAX);
    let requests = call.requests(|_| true);
    assert_eq!(requests.iter().map(Vec::len).collect::<Vec<_>>(), [500, 500, 200]);
    let call = Call::new((0..500).map(|number| record(&format!("t{number}"), 9_000)).collect(), BATCH_MAX);
    for request in call.requests(|_| true) {
        assert!(request.iter().map(|share| share.bytes).sum::<usize>() <= REQUEST_BYTES);
    }
}

#[test]
fn a_broker_is_sent_its_own_topics_only() {
    let call = Call::new(vec![record("mine", 1), record("yours", 1)], BATCH_MAX);
    let requests = call.requests(|topic| &**topic == "mine");
    assert_eq!(requests.len(), 1);
    let parts = call.parts(&requests[0]);
    assert_eq!(parts.iter().map(|(topic, _)| &***topic).collect::<Vec<_>>(), ["mine"]);
}

#[test]
fn one_topics_trouble_is_no_others() {
    let mut call = Call::new(vec![record("good", 1), record("moved", 1), record("denied", 1)], BATCH_MAX);
    round(&mut call, |topic, _| match topic {
        "moved" => NOT_LEADER,
        "denied" => DENIED,
        _ => 0,
    });
    assert_eq!(call.open(), [Topic::from("moved")]);
    assert!(call.is_troubled());
    call.placed(&["moved".into()].into(), |_| None);
    assert!(!call.is_troubled(), "with its leader known nothing has to be waited for");
    assert_eq!(round(&mut call, |_, _| 0), [(Topic::from("moved"), 1)]);
    assert_eq!(fates(call), [Fate::Taken, Fate::Taken, Fate::Code(DENIED)]);
}

#[test]
fn a_topic_that_is_not_there_fails_at_once_and_one_without_a_leader_waits() {
    let mut call = Call::new(vec![record("gone", 1), record("leaderless", 1)], BATCH_MAX);
    let topics = ["gone", "leaderless"].map(Topic::from).into();
    call.placed(&topics, |topic| match &**topic {
        "gone" => Some(Fate::UnknownTopic),
        _ => Some(Fate::Code(codes::LEADER_NOT_AVAILABLE)),
    });
    assert_eq!(call.open(), [Topic::from("leaderless")]);
    assert_eq!(fates(call), [Fate::UnknownTopic, Fate::Given(Trouble::Code(codes::LEADER_NOT_AVAILABLE))]);
}

#[test]
fn a_broker_lost_is_tried_again_and_one_that_refuses_is_not() {
    let mut call = Call::new(vec![record("t", 1)], BATCH_MAX);
    let lost = Failure::Lost("gone".into());
    let request = call.requests(|_| true).remove(0);
    assert_eq!(call.unanswered(&request, &lost), [Topic::from("t")]);
    assert!(call.is_troubled() && call.open().len() == 1);
    let refused = Failure::Refused { what: "login".into(), reason: "wrong".into() };
    call.unreachable(&["other".into()].into(), &refused);
    assert!(!call.open().is_empty(), "it is no topic's of this call");
    call.unreachable(&["t".into()].into(), &refused);
    assert!(call.open().is_empty());
    assert_eq!(fates(call), [Fate::Given(Trouble::Failed(refused))]);
}

#[test]
fn an_answer_that_leaves_a_topic_out_acknowledges_nothing_of_it() {
    let mut call = Call::new(vec![record("t", 1)], BATCH_MAX);
    let request = call.requests(|_| true).remove(0);
    call.answered(&request, &HashMap::new());
    assert!(!fates(call).contains(&Fate::Taken));
}

proptest! {
    /// A broker that takes at most so many records a batch, and is in trouble now and then.
    #[test]
    fn every_record_is_taken_once_and_in_order(
        sizes in proptest::collection::vec((0u8..4, 0usize..3_000), 1..80),
        takes in 1usize..5,
        troubles in proptest::collection::vec(any::<bool>(), 40),
    ) {
        let records: Vec<_> = sizes.iter().map(|(topic, bytes)| record(&format!("t{topic}"), *bytes)).collect();
        let mut call = Call::new(records.clone(), BATCH_MAX);
        let mut taken: HashMap<Topic, usize> = HashMap::new();
        for step in 0..400 {
            if call.open().is_empty() {
                break;
            }
            let trouble = troubles.get(step).copied().unwrap_or_default();
            let code = |count| if trouble { NOT_LEADER } else if count > takes { TOO_LARGE } else { 0 };
            for (topic, count) in round(&mut call, |_, count| code(count)) {
                if code(count) == 0 {
                    *taken.entry(topic).or_default() += count;
                }
            }
        }
        for (topic, count) in taken {
            prop_assert_eq!(count, records.iter().filter(|record| record.topic == topic).count());
        }
        prop_assert!(fates(call).iter().all(|fate| *fate == Fate::Taken));
    }
}
