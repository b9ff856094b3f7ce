//! What crosses a process border in Plimsoll.
//!
//! * [`admin`]: the connections by which probes and scrapers ask.
//! * [`frame`]: what interceptors write to the log, and [`topic`]: where they write it.
//! * [`log`]: the log itself, a trait with a Kafka and an in-memory form.
//! * [`collector`]: what collectors tell managers; [`scaler`]: what KEDA asks.
//! * [`resources`]: the custom resources that describe workloads, and the files that carry them.
//! * [`tls`]: whom TLS trusts where an operator wants less checked.
//! * [`go_duration`]: durations as the resources and the add-on's settings write them.

pub mod admin;
pub mod frame;
pub mod go_duration;
pub mod kubernetes;
pub mod log;
pub mod resources;
pub mod tls;
pub mod topic;

/// The collector's gRPC service: a snapshot of every answer, then changes.
pub mod collector {
    #![allow(missing_docs, reason = "generated; the .proto file documents it")]
    tonic::include_proto!("plimsoll.collector.v1");
}

/// KEDA's external scaler contract.
pub mod scaler {
    #![allow(missing_docs, reason = "generated; the .proto file documents it")]
    tonic::include_proto!("externalscaler");

    /// The protocol definitions themselves, as an encoded `FileDescriptorSet`.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
}
