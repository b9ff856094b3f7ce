//! Why a request is not let in.

use http::StatusCode;

/// What is wrong with the bytes that a client sends, or with their pace. The text is for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// No request, or one that two parsers could read differently.
    #[error("bad request: {0}")]
    Malformed(&'static str),
    /// `CONNECT` asks for a forward proxy.
    #[error("CONNECT is not supported: this is a reverse proxy")]
    Connect,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    #[error("this version of HTTP is not spoken here: send HTTP/1.1 or HTTP/2")]
    Version,
    /// Longer than `--max-header-bytes`.
    #[error("the head of the request is too long")]
    HeadTooLong,
    /// More than `--max-headers`.
    #[error("the request has too many header fields")]
    TooManyFields,
    /// Longer than any parser here takes.
    #[error("the target of the request is too long")]
    TargetTooLong,
    /// Begun, but not whole within `--header-read-timeout`.
    #[error("the head of the request did not come in time")]
    HeadTooLate,
}

impl Fault {
    /// The status of the answer.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Connect => StatusCode::METHOD_NOT_ALLOWED,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::HeadTooLong | Self::TooManyFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLate => StatusCode::REQUEST_TIMEOUT,
        }
    }
}
