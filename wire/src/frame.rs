//! Frames, heartbeats and activations: what interceptors write to the log.

#![allow(missing_docs, reason = "generated; the .proto file documents it")]

tonic::include_proto!("plimsoll.log.v1");

impl Frame {
    /// Requests in flight when the frame was cut, held ones included.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.admitted.saturating_sub(self.finished)
    }
}
