//! The Kafka log on three brokers that fail, and at listeners that want TLS and a login.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod cut_off;
mod lines;
mod outages;
#[allow(dead_code, reason = "the other tests of the log use the rest")]
#[path = "../event_log/reading.rs"]
mod reading;
mod renewed;
mod secured;
mod trial;
mod verdict;

use plimsoll_wire::log::kafka::{KafkaConfig, LogClient};

/// A configuration for each client that appends and reads, with its name.
fn clients(brokers: &str) -> Vec<(&'static str, KafkaConfig)> {
    let config = |client| KafkaConfig { log_client: client, ..KafkaConfig::new(brokers) };
    LogClient::ALL.map(|client| (client.name(), config(client))).into()
}
