//! What is librdkafka's: its handles, as values that destroy what they hold, its arrays and its strings.

use std::ffi::{CStr, CString};
use std::ptr::{self, NonNull};
use std::time::Duration;

use rdkafka::bindings as c;
use rdkafka::types::RDKafkaErrorCode;

use super::{Failed, Which};
use crate::log::Topic;

/// An array of librdkafka's as a slice; SAFETY: `first` must point at `count` elements, or `count` be 0.
pub(super) unsafe fn list<'a, T>(first: *const *const T, count: usize) -> &'a [*const T] {
    if first.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(first, count) }
}

/// Topics' names are checked before they come here; one with a NUL inside is cut there and found to be unknown.
pub(super) fn c_string(text: &str) -> CString {
    CString::new(text.split('\0').next().unwrap_or_default()).unwrap_or_default()
}

/// librdkafka hands out no null handle but when memory is exhausted.
#[allow(clippy::expect_used, reason = "nothing can go on without memory")]
fn handle<T>(pointer: *mut T) -> NonNull<T> {
    NonNull::new(pointer).expect("librdkafka had the memory for a handle")
}

pub(super) struct Queue(pub(super) NonNull<c::rd_kafka_queue_t>);

impl Queue {
    pub(super) fn new(rk: *mut c::rd_kafka_t) -> Self {
        // SAFETY: `rk` is a live client's.
        Self(handle(unsafe { c::rd_kafka_queue_new(rk) }))
    }

    pub(super) fn next(&self, timeout: Duration) -> Result<Event, Failed> {
        let event = self.next_event(timeout)?;
        event.check()?;
        Ok(event)
    }

    pub(super) fn next_event(&self, timeout: Duration) -> Result<Event, Failed> {
        // librdkafka itself ends each request at its timeout; the second more is for its threads on a busy machine.
        let wait_ms = millis(timeout + Duration::from_secs(1));
        // SAFETY: the queue is alive.
        let event = unsafe { c::rd_kafka_queue_poll(self.0.as_ptr(), wait_ms) };
        NonNull::new(event).map(Event).ok_or_else(|| Failed {
            code: RDKafkaErrorCode::OperationTimedOut,
            reason: format!("no answer within {:.1} s", timeout.as_secs_f32()),
        })
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: made by `rd_kafka_queue_new`, destroyed once. Answers still to come are dropped by librdkafka.
        unsafe { c::rd_kafka_queue_destroy(self.0.as_ptr()) }
    }
}

pub(super) struct Event(pub(super) NonNull<c::rd_kafka_event_t>);

impl Event {
    pub(super) fn check(&self) -> Result<(), Failed> {
        // SAFETY: the event is alive, and so is its text.
        unsafe {
            let code = RDKafkaErrorCode::from(c::rd_kafka_event_error(self.0.as_ptr()));
            if code == RDKafkaErrorCode::NoError {
                return Ok(());
            }
            let text = c::rd_kafka_event_error_string(self.0.as_ptr());
            let reason =
                if text.is_null() { code.to_string() } else { CStr::from_ptr(text).to_string_lossy().into_owned() };
            Err(Failed { code, reason })
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: polled from a queue, destroyed once.
        unsafe { c::rd_kafka_event_destroy(self.0.as_ptr()) }
    }
}

pub(super) struct Options(pub(super) NonNull<c::rd_kafka_AdminOptions_t>);

impl Options {
    pub(super) fn new(rk: *mut c::rd_kafka_t, operation: c::rd_kafka_admin_op_t, timeout: Duration) -> Self {
        // SAFETY: `rk` is a live client's; a null error text of length 0 is allowed. The timeout is in librdkafka's
        // range, so that setting it can't fail.
        unsafe {
            let options = handle(c::rd_kafka_AdminOptions_new(rk, operation));
            c::rd_kafka_AdminOptions_set_request_timeout(options.as_ptr(), millis(timeout), ptr::null_mut(), 0);
            Self(options)
        }
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: made by `rd_kafka_AdminOptions_new`, destroyed once.
        unsafe { c::rd_kafka_AdminOptions_destroy(self.0.as_ptr()) }
    }
}

pub(super) struct Partitions(pub(super) NonNull<c::rd_kafka_topic_partition_list_t>);

impl Partitions {
    pub(super) fn new(asked: &[(Topic, Which)]) -> Self {
        // SAFETY: the list grows as needed; the name is copied; `add` gives the entry just made.
        unsafe {
            let partitions = handle(c::rd_kafka_topic_partition_list_new(i32::try_from(asked.len()).unwrap_or(0)));
            for (topic, which) in asked {
                let name = c_string(topic);
                let entry = c::rd_kafka_topic_partition_list_add(partitions.as_ptr(), name.as_ptr(), 0);
                (*entry).offset = which.code();
            }
            Self(partitions)
        }
    }
}

impl Drop for Partitions {
    fn drop(&mut self) {
        // SAFETY: made by `rd_kafka_topic_partition_list_new`, destroyed once.
        unsafe { c::rd_kafka_topic_partition_list_destroy(self.0.as_ptr()) }
    }
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
