//! What every `EventLog` promises, held against each form of it, and what only Kafka's has to.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod audit;
mod compressed;
mod direct;
mod figures;
mod kafka;
mod promises;
mod reading;

use plimsoll_wire::log::memory::MemoryLog;

/// Runs each promise on its own empty in-memory log.
macro_rules! in_memory {
    ($($promise:ident),* $(,)?) => {
        mod in_memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                let log = super::MemoryLog::new();
                super::promises::$promise(&log).await;
                log.close().await;
            })*
        }

        /// Runs all of them, one after the other, on the log given.
        async fn keep_every_promise(log: &dyn plimsoll_wire::log::EventLog) {
            $(
                eprintln!("promise: {}", stringify!($promise));
                promises::$promise(log).await;
            )*
        }
    };
}

in_memory! {
    a_topics_records_come_in_order,
    reading_starts_where_it_was_asked_to,
    records_are_gone_after_their_retention,
    an_unknown_topic_fails_its_own_records_only,
    a_topic_subscribed_before_it_is_there_is_read_from_its_start,
    a_topic_deleted_while_read_is_told_and_the_others_go_on,
    a_topic_made_again_is_read_whole,
    topics_are_made_once_and_listed_and_deleted_once,
    a_slow_reader_loses_nothing,
    topics_come_and_go_under_load,
    five_hundred_topics_are_read_from_a_time,
    a_topic_just_added_is_proven_soon,
    read_through_claims_nothing_that_was_not_yielded,
    a_topic_added_later_is_behind_in_every_proof_begun_before,
    reading_at_once_is_quick_while_hundreds_of_topics_are_read_paced,
}
