//! Appending.

use std::sync::Arc;

use futures::future::join_all;
use rdkafka::error::KafkaError;
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use tokio::task::spawn_blocking;

use super::KafkaConfig;
use super::clients::{self, APPEND_TIMEOUT, Context, Reach, Role};
use super::renewed::Renewed;
use crate::log::{Append, LogError};

type Client = FutureProducer<Context>;

/// A call of at most so many records does not queue behind the larger ones.
pub(super) const FEW: usize = 8;

/// The producers.
#[derive(Debug)]
pub(super) struct Producers {
    reach: Arc<Reach>,
    /// For calls of few records: a wake-up must not wait for a tick's thousands, each of which librdkafka sends by itself. A producer of
    /// its own is a connection of its own, and brokers answer a connection in order.
    few: Arc<Renewed<Client>>,
    many: Arc<Renewed<Client>>,
}

impl Producers {
    /// Makes the producers.
    ///
    /// # Errors
    /// [`LogError::BadSetting`] when librdkafka does not take one of the settings, or it would acknowledge too early.
    pub(super) fn new(config: &Arc<KafkaConfig>, reach: &Arc<Reach>) -> Result<Self, LogError> {
        clients::check_acks(config)?;
        let make = |name| {
            let (config, reach) = (config.clone(), reach.clone());
            let of_client = config.clone();
            Renewed::new(name, &config, move || clients::create(&of_client, Role::Producer, &reach)).map(Arc::new)
        };
        Ok(Self { reach: reach.clone(), few: make("appending few records")?, many: make("appending")? })
    }

    /// Appends all records and waits for the brokers' word on each; at most a little over [`APPEND_TIMEOUT`].
    pub(super) async fn append(&self, records: Vec<Append>) -> Vec<Result<(), LogError>> {
        let producer = if records.len() <= FEW { &self.few } else { &self.many };
        append(producer, &self.reach, records).await
    }

    /// Waits, within bounds, for what is on its way. Blocks.
    pub(super) fn flush(&self) {
        for producer in [&self.few, &self.many] {
            if let Err(error) = producer.get().flush(APPEND_TIMEOUT) {
                tracing::debug!("records were left unacknowledged at the end: {error}");
            }
        }
    }
}

async fn append(
    producer: &Arc<Renewed<Client>>,
    reach: &Arc<Reach>,
    records: Vec<Append>,
) -> Vec<Result<(), LogError>> {
    let client = producer.get();
    // All are on their way before the first is waited for.
    let sent: Vec<_> = records.iter().map(|record| send(&client, record)).collect();
    let outcomes: Vec<Result<(), KafkaError>> = join_all(sent.into_iter().map(async |sent| match sent?.await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err((error, _))) => Err(error),
        Err(_closed) => Err(KafkaError::Canceled),
    }))
    .await;
    if outcomes.iter().any(Result::is_ok) {
        reach.found();
        producer.worked();
    } else if outcomes.iter().any(|outcome| outcome.as_ref().is_err_and(is_silence)) {
        let producer = producer.clone();
        // Nobody waits for it: whether the client is replaced shows with the next records.
        drop(spawn_blocking(move || producer.failed()));
    }
    outcomes.iter().zip(&records).map(|(outcome, record)| explain(outcome, record, reach)).collect()
}

/// Whether the brokers have not answered.
fn is_silence(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::MessageTimedOut
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::OperationTimedOut
        )
    )
}

fn send(client: &Client, record: &Append) -> Result<DeliveryFuture, KafkaError> {
    let message = FutureRecord::<(), [u8]>::to(&record.topic).partition(0).payload(&record.payload);
    client.send_result(message).map_err(|(error, _)| error)
}

fn explain(outcome: &Result<(), KafkaError>, record: &Append, reach: &Reach) -> Result<(), LogError> {
    use RDKafkaErrorCode as Code;
    let Err(error) = outcome else { return Ok(()) };
    let what = format!("appending {} bytes to topic {}", record.payload.len(), record.topic);
    Err(match error.rdkafka_error_code() {
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition | Code::UnknownTopicId) => {
            LogError::UnknownTopic { topic: record.topic.to_string() }
        }
        Some(Code::QueueFull) => reach.unavailable(&what, "too many records wait for the brokers already"),
        Some(Code::MessageSizeTooLarge) => LogError::Refused {
            what,
            reason: "it is larger than the topic's max.message.bytes or the client's message.max.bytes".into(),
        },
        Some(Code::InvalidTopic) => LogError::Refused { what, reason: "not a legal topic name".into() },
        Some(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed) => {
            LogError::Refused { what, reason: "not authorized; allow this user to write to the topic".into() }
        }
        _ if is_silence(error) => reach.lost(&what, &format!("not acknowledged within {APPEND_TIMEOUT:?}")),
        _ => reach.unavailable(&what, &error.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_that_readers_can_not_rely_on_are_refused() {
        let producers = |key: &str, value: &str| {
            let mut config = KafkaConfig::new("127.0.0.1:1");
            config.client.insert(key.into(), value.into());
            Producers::new(&Arc::new(config), &Arc::new(Reach::new("127.0.0.1:1")))
        };
        for (key, value) in [("acks", "0"), ("acks", "1"), ("request.required.acks", "1")] {
            let error = producers(key, value).expect_err(value).to_string();
            assert!(error.contains(&format!("{key}={value}")) && error.contains("write all"), "{error}");
        }
        for value in ["all", "-1"] {
            assert!(producers("acks", value).is_ok(), "{value}");
        }
    }
}
