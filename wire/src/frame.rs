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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    /// What these bytes are read as is written and read again as the same.
    fn stays<M: Message + Default + PartialEq>(bytes: &[u8]) -> Result<(), TestCaseError> {
        if let Ok(message) = M::decode(bytes) {
            let again = M::decode(message.encode_to_vec().as_slice());
            prop_assert!(again.is_ok_and(|again| again == message));
        }
        Ok(())
    }

    proptest! {
        /// Anybody who may write to the topics may write anything.
        #[test]
        fn any_bytes_are_a_value_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            stays::<Frame>(&bytes)?;
            stays::<InterceptorRecord>(&bytes)?;
        }

        #[test]
        fn a_frame_spoilt_anywhere_is_a_value_or_an_error(
            admitted in any::<u64>(), finished in any::<u64>(), held in any::<u64>(), at in 0usize..40, byte in any::<u8>(),
        ) {
            let frame = Frame { admitted, finished, held, ..Frame::default() };
            let mut bytes = frame.encode_to_vec();
            prop_assert_eq!(Frame::decode(bytes.as_slice()).unwrap(), frame);
            if let Some(spoilt) = bytes.get_mut(at) {
                *spoilt = byte;
            }
            stays::<Frame>(&bytes)?;
        }
    }
}
