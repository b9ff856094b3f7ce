//! What the operator has set, out of librdkafka's keys.

use std::net::SocketAddr;
use std::time::Duration;

use super::super::KafkaConfig;
use super::super::clients::APPEND_TIMEOUT;
use super::address::{self, Address};
use super::messages::Acks;
use crate::log::LogError;

/// How the brokers are reached and what is asked of them.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) brokers: Vec<Address>,
    pub(super) client_id: String,
    pub(super) acks: Acks,
    /// How long a call may take.
    pub(super) append_timeout: Duration,
    /// How long a broker may be silent before its connection is given up.
    pub(super) silence: Duration,
    /// How long a connection may take to be made, log-in included.
    pub(super) setup_timeout: Duration,
    /// The pauses between attempts to connect.
    pub(super) back_off_min: Duration,
    pub(super) back_off_max: Duration,
    /// The pause after an attempt that only a person can mend.
    pub(super) back_off_refused: Duration,
    /// The largest batch of one topic, in bytes.
    pub(super) batch_max: usize,
    pub(super) family: Family,
}

/// Which addresses of a name are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Any,
    V4,
    V6,
}

impl Family {
    pub(super) fn allows(self, address: &SocketAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

impl Settings {
    pub(super) fn read(config: &KafkaConfig) -> Result<Self, LogError> {
        Ok(Self {
            brokers: address::brokers(&config.brokers)?,
            client_id: "plimsoll".into(),
            acks: Acks { wanted: -1, timeout_ms: APPEND_TIMEOUT.as_millis() as i32 },
            append_timeout: APPEND_TIMEOUT,
            silence: Duration::from_secs(10),
            setup_timeout: Duration::from_secs(5),
            back_off_min: Duration::from_millis(50),
            back_off_max: Duration::from_millis(500),
            back_off_refused: Duration::from_secs(2),
            batch_max: 1_000_000,
            family: Family::Any,
        })
    }
}
