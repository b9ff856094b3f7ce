//! What interceptors have left in the log.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use plimsoll_wire::{
    frame::{Frame, InterceptorRecord, interceptor_record},
    log::{
        EventLog as _, Pace, StartAt, Topic,
        kafka::{KafkaConfig, KafkaLog},
    },
    topic::INTERCEPTORS,
};
use prost::Message as _;
use tokio::time::{Instant, timeout_at};

use crate::replicas::Replica;

/// The newest frame of each interceptor in each topic.
#[derive(Default)]
pub(crate) struct Totals {
    newest: BTreeMap<(String, String), Frame>,
    left: Vec<String>,
}

impl Totals {
    /// Reads everything from the start, until all of them have said goodbye and all topics are read to their end.
    pub(crate) async fn read(kafka: &str, gone: &[Replica], limit: Duration) -> Result<Self> {
        let log = KafkaLog::new(KafkaConfig::new(kafka))?;
        let mut subscription = log.subscribe(Pace::AtOnce)?;
        let workloads = ["app", "slow", "socket"].map(|name| Topic::from(format!("plimsoll.default.{name}")));
        subscription.add(workloads.into_iter().chain([Topic::from(INTERCEPTORS)]).map(|it| (it, StartAt::Oldest)));
        let began = Instant::now();
        let mut totals = Self::default();
        loop {
            let batch = timeout_at(began + limit, subscription.next());
            let batch = batch.await.with_context(|| format!("only {:?} said goodbye", totals.left))?;
            let batch = batch.context("the log has ended")?;
            for record in batch.records {
                totals.take(record.topic.as_ref(), record.payload)?;
            }
            let whole = batch.read_through.is_some_and(|proof| proof.as_of > began && proof.behind.is_empty());
            if whole && gone.iter().all(|replica| totals.left.contains(&replica.name)) {
                return totals.nothing_in_flight();
            }
        }
    }

    fn take(&mut self, topic: &str, payload: bytes::Bytes) -> Result<()> {
        if topic == INTERCEPTORS {
            let record = InterceptorRecord::decode(payload)?.record;
            if let Some(interceptor_record::Record::Heartbeat(heartbeat)) = record
                && heartbeat.leaving
            {
                ensure!(heartbeat.undelivered.is_empty(), "it left without {:?}", heartbeat.undelivered);
                self.left.push(heartbeat.interceptor);
            }
            return Ok(());
        }
        let frame = Frame::decode(payload)?;
        self.newest.insert((frame.interceptor.clone(), topic.to_owned()), frame);
        Ok(())
    }

    fn nothing_in_flight(self) -> Result<Self> {
        for (of, frame) in &self.newest {
            ensure!(frame.in_flight() == 0 && frame.held == 0, "{of:?} ends with {frame:?}");
        }
        Ok(self)
    }

    /// Requests finished, as its last frame says.
    pub(crate) fn of(&self, interceptor: &str, topic: &str) -> u64 {
        self.newest.get(&(interceptor.to_owned(), topic.to_owned())).map_or(0, |frame| frame.finished)
    }
}
