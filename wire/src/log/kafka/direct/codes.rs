//! What Kafka's error codes mean for one who appends (`kafka.apache.org/protocol#protocol_error_codes`).

pub(super) const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
pub(super) const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
pub(super) const LEADER_NOT_AVAILABLE: i16 = 5;

/// What to do about a topic's error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Trying again may help.
    Again,
    /// Trying again may help when the topic's leader has been asked for anew.
    AskLeader,
    /// Fewer bytes at a time may help.
    Smaller,
    /// Nothing helps here: what an operator should know.
    Person(&'static str),
    /// It is not known what would help.
    Unclear,
}

/// The code's name, as the protocol's documentation has it, and what to do.
pub(super) const fn meaning(code: i16) -> (&'static str, Remedy) {
    match code {
        2 => ("CORRUPT_MESSAGE", Remedy::Again),
        UNKNOWN_TOPIC_OR_PARTITION => ("UNKNOWN_TOPIC_OR_PARTITION", Remedy::AskLeader),
        LEADER_NOT_AVAILABLE => ("LEADER_NOT_AVAILABLE", Remedy::AskLeader),
        6 => ("NOT_LEADER_OR_FOLLOWER", Remedy::AskLeader),
        // The replicas do not answer the leader: they may follow another one.
        7 => ("REQUEST_TIMED_OUT", Remedy::AskLeader),
        8 => ("BROKER_NOT_AVAILABLE", Remedy::AskLeader),
        9 => ("REPLICA_NOT_AVAILABLE", Remedy::AskLeader),
        10 => ("MESSAGE_TOO_LARGE", Remedy::Smaller),
        13 => ("NETWORK_EXCEPTION", Remedy::AskLeader),
        17 => ("INVALID_TOPIC_EXCEPTION", Remedy::Person("not a legal topic name")),
        18 => ("RECORD_LIST_TOO_LARGE", Remedy::Smaller),
        19 => ("NOT_ENOUGH_REPLICAS", Remedy::Again),
        20 => ("NOT_ENOUGH_REPLICAS_AFTER_APPEND", Remedy::Again),
        21 => {
            ("INVALID_REQUIRED_ACKS", Remedy::Person("the broker does not take these acks; check --kafka-config acks"))
        }
        TOPIC_AUTHORIZATION_FAILED => {
            ("TOPIC_AUTHORIZATION_FAILED", Remedy::Person("not authorized; allow this user to write to the topic"))
        }
        31 => ("CLUSTER_AUTHORIZATION_FAILED", Remedy::Person("not authorized; allow this user to write to the topic")),
        32 => ("INVALID_TIMESTAMP", Remedy::Person("its time is too far from the broker's; check this host's clock")),
        44 => ("POLICY_VIOLATION", Remedy::Person("a policy of the cluster forbids it")),
        56 => ("KAFKA_STORAGE_ERROR", Remedy::AskLeader),
        72 => ("LISTENER_NOT_FOUND", Remedy::AskLeader),
        74 => ("FENCED_LEADER_EPOCH", Remedy::AskLeader),
        76 => ("UNKNOWN_LEADER_EPOCH", Remedy::AskLeader),
        78 => ("OFFSET_NOT_AVAILABLE", Remedy::AskLeader),
        87 => ("INVALID_RECORD", Remedy::Person("the topic takes no such records; is its cleanup.policy delete?")),
        89 => ("THROTTLING_QUOTA_EXCEEDED", Remedy::Again),
        _ => ("an error unknown here", Remedy::Unclear),
    }
}
