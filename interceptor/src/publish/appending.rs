//! One append to the log, which has an outcome for each record whatever the log does.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use plimsoll_wire::frame::InterceptorRecord;
use plimsoll_wire::frame::interceptor_record::Record;
use plimsoll_wire::log::{Append, EventLog, LogError, Topic};
use prost::Message as _;

/// The log promises to answer within a few seconds. Should it not, its answer is not waited for any longer than this.
pub(super) const APPEND_TIMEOUT: Duration = Duration::from_secs(15);

/// Appends; the outcome of each record, whatever the log does.
pub(super) async fn append(log: &dyn EventLog, records: Vec<Append>) -> Vec<Result<(), LogError>> {
    let count = records.len();
    // The panic hook says what panicked, and where. The newest totals follow, as after any other failure.
    let appended = AssertUnwindSafe(log.append(records)).catch_unwind();
    let (mut results, reason) = match tokio::time::timeout(APPEND_TIMEOUT, appended).await {
        Ok(Ok(results)) => (results, "no word of this record".to_owned()),
        Ok(Err(_)) => (Vec::new(), "its client panicked".to_owned()),
        Err(_) => (Vec::new(), format!("no answer within {APPEND_TIMEOUT:?}")),
    };
    results.resize_with(count, || Err(LogError::Unavailable { log: "its brokers".into(), reason: reason.clone() }));
    results
}

pub(super) fn interceptor_record(topic: &Topic, record: Record) -> Append {
    let payload = InterceptorRecord { record: Some(record) }.encode_to_vec().into();
    Append { topic: topic.clone(), payload }
}
