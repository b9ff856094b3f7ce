//! Why a request ended.

/// Why a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Its response was handed to the client's connection to its last byte.
    Finished,
    /// The interceptor itself answered, for want of a route or a place.
    Refused,
    /// One of its limits of time was over.
    Timeout,
    /// Its endpoint failed, before the response or in the middle of it.
    UpstreamFailed,
    /// The client left; also a connection cut off when the interceptor stops.
    ClientGone,
}

impl End {
    /// Those that tell of something that broke.
    pub(crate) const BROKEN: [Self; 3] = [Self::Timeout, Self::UpstreamFailed, Self::ClientGone];

    /// As it is written in metrics, the access log and traces.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::UpstreamFailed => "upstream failed",
            Self::ClientGone => "client gone",
        }
    }
}
