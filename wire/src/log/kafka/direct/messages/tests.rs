//! Held against another implementation of the protocol.

use kafka_protocol::messages::{
    ApiVersionsResponse, BrokerId, MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse, RequestHeader,
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse, TopicName,
    api_versions_response::ApiVersion,
    metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
    produce_response::{PartitionProduceResponse, TopicProduceResponse},
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use kafka_protocol::records::RecordBatchDecoder;
use proptest::prelude::*;

use super::*;

/// Takes a request apart: its header has to be right, and nothing may be left over.
fn opened<T: Decodable>(request: Request, api: Api) -> T {
    let mut bytes = request.into_bytes(77);
    assert_eq!(bytes.split_to(4)[..], (bytes.len() as u32).to_be_bytes());
    let header = RequestHeader::decode(&mut bytes, 1).expect("it has a header");
    assert_eq!((header.request_api_key, header.request_api_version, header.correlation_id), (api.key, api.version, 77));
    assert_eq!(header.client_id.as_deref(), Some("me"));
    let body = T::decode(&mut bytes, api.version).expect("it has a body");
    assert!(bytes.is_empty());
    body
}

fn written(response: &impl Encodable, api: Api) -> Bytes {
    let mut bytes = BytesMut::new();
    response.encode(&mut bytes, api.version).expect("it is written");
    bytes.freeze()
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

#[test]
fn a_produce_request_is_read_as_it_was_meant() {
    let topics: Vec<Topic> = (0..3).map(|number| format!("topic-{number}").into()).collect();
    let payloads = [Bytes::from_static(b"one"), Bytes::from_static(b""), Bytes::from(vec![9; 1_000])];
    let parts: Vec<Part<'_>> = topics.iter().map(|topic| (topic, payloads.iter().collect())).collect();
    let acks = Acks { wanted: -1, timeout_ms: 3_000 };
    let request: ProduceRequest = opened(produce("me", acks, &parts, 5_000, 100), PRODUCE);
    assert_eq!((request.acks, request.timeout_ms, request.transactional_id), (-1, 3_000, None));
    assert_eq!(request.topic_data.len(), 3);
    for (data, topic) in request.topic_data.into_iter().zip(&topics) {
        assert_eq!(data.name.as_str(), &**topic);
        let [partition] = &data.partition_data[..] else { panic!("one partition") };
        assert_eq!(partition.index, 0);
        let batch = RecordBatchDecoder::decode(&mut partition.records.clone().expect("there are records"));
        let records = batch.expect("it is a batch").records;
        assert_eq!(records.into_iter().filter_map(|record| record.value).collect::<Vec<_>>(), payloads);
    }
}

#[test]
fn the_other_requests_are_read_as_they_were_meant() {
    let topics = [Topic::from("a"), Topic::from("b")];
    let asked: MetadataRequest = opened(metadata("me", &topics), METADATA);
    assert!(!asked.allow_auto_topic_creation);
    let names = asked.topics.expect("topics are named").into_iter().filter_map(|topic| topic.name);
    assert_eq!(names.map(|name| name.to_string()).collect::<Vec<_>>(), ["a", "b"]);
    let handshake: SaslHandshakeRequest = opened(sasl_handshake("me", "PLAIN"), SASL_HANDSHAKE);
    assert_eq!(handshake.mechanism, text("PLAIN"));
    for version in [0, 1] {
        let api = Api { version, ..SASL_AUTHENTICATE };
        let login: SaslAuthenticateRequest = opened(sasl_authenticate("me", version, b"token"), api);
        assert_eq!(login.auth_bytes, Bytes::from_static(b"token"));
    }
}

#[test]
fn answers_are_understood() {
    let key = ApiVersion::default().with_api_key(0).with_min_version(3).with_max_version(13);
    let versions = written(&ApiVersionsResponse::default().with_api_keys(vec![key]), API_VERSIONS);
    assert_eq!(read_api_versions(&versions), Ok((0, vec![Spoken { key: 0, min: 3, max: 13 }])));

    let codes = |code| vec![PartitionProduceResponse::default().with_index(0).with_error_code(code)];
    let topic = |name, code| {
        TopicProduceResponse::default().with_name(TopicName(text(name))).with_partition_responses(codes(code))
    };
    let produced = ProduceResponse::default().with_responses(vec![topic("a", 0), topic("b", 6)]);
    assert_eq!(read_produce(&written(&produced, PRODUCE)), Ok(vec![("a", 0), ("b", 6)]));

    let handshake = SaslHandshakeResponse::default().with_error_code(33).with_mechanisms(vec![text("PLAIN")]);
    assert_eq!(read_sasl_handshake(&written(&handshake, SASL_HANDSHAKE)), Ok((33, vec!["PLAIN"])));

    let login = SaslAuthenticateResponse::default()
        .with_error_code(58)
        .with_error_message(Some(text("no")))
        .with_auth_bytes(Bytes::from_static(b"token"))
        .with_session_lifetime_ms(9_000);
    for (version, lifetime_ms) in [(0, 0), (1, 9_000)] {
        let login = written(&login.clone().with_session_lifetime_ms(lifetime_ms), Api { version, ..SASL_AUTHENTICATE });
        let expected = SaslAnswer { code: 58, error: Some("no"), token: b"token", lifetime_ms };
        assert_eq!(read_sasl_authenticate(&login, version), Ok(expected));
    }
}

fn cluster() -> Bytes {
    let broker = MetadataResponseBroker::default().with_node_id(BrokerId(2)).with_host(text("host")).with_port(9092);
    let partition = |number, leader| {
        MetadataResponsePartition::default()
            .with_partition_index(number)
            .with_leader_id(BrokerId(leader))
            .with_replica_nodes(vec![BrokerId(1), BrokerId(2)])
            .with_isr_nodes(vec![BrokerId(2)])
    };
    let topic = |name, code, partitions| {
        MetadataResponseTopic::default()
            .with_name(Some(TopicName(text(name))))
            .with_error_code(code)
            .with_partitions(partitions)
    };
    let topics = vec![
        topic("led", 0, vec![partition(1, 1), partition(0, 2)]),
        topic("leaderless", 0, vec![partition(0, -1)]),
        topic("gone", 3, vec![]),
    ];
    written(&MetadataResponse::default().with_brokers(vec![broker]).with_topics(topics), METADATA)
}

#[test]
fn leaders_are_understood() {
    let answer = cluster();
    let view = read_metadata(&answer).expect("it is whole");
    assert_eq!(view.brokers, [BrokerView { id: 2, host: "host", port: 9092 }]);
    let topic = |name, code, leader| TopicView { code, name, leader };
    assert_eq!(view.topics, [topic("led", 0, Some(2)), topic("leaderless", 0, None), topic("gone", 3, None)]);
}

proptest! {
    #[test]
    fn no_answer_makes_the_reading_panic(noise in proptest::collection::vec(any::<u8>(), 0..300), at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        // Noise, and a right answer with one wrong byte.
        let mut bent = cluster().to_vec();
        let place = at.index(bent.len());
        bent[place] = byte;
        for answer in [&noise, &bent] {
            let _ = (read_api_versions(answer), read_metadata(answer).is_ok(), read_produce(answer));
            let _ = (read_sasl_handshake(answer), read_sasl_authenticate(answer, 1));
            let _ = (fetch::read_fetch(answer).is_ok(), ends::read_ends(answer).is_ok());
        }
    }
}
