//! How it ended, for scripts.

use std::process::ExitCode;

use hyper::StatusCode;

/// Why a manager did not do what was asked. Its message is for people, its kind for scripts.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// A manager answered, and refused.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// What it says.
        message: String,
    },
    /// No manager answered.
    #[error("can't reach a manager at {server} (--server): {reason}")]
    Unreachable {
        /// Where.
        server: String,
        /// Why not.
        reason: String,
    },
    /// Something was asked for in a way that can't be.
    #[error("{0}")]
    Usage(String),
    /// The API server of a cluster did not answer.
    #[error("{0}")]
    NoApiServer(String),
    /// The API server of a cluster refuses.
    #[error("{0}")]
    NotAllowed(String),
    /// Something can't stay as it is; what, is written already.
    #[error("{count} findings need a hand")]
    NeedsHand {
        /// How many.
        count: usize,
    },
    /// What was waited for did not come.
    #[error("{0}")]
    TooLate(String),
    /// Somebody has pressed Ctrl-C meanwhile.
    #[error("interrupted: what a manager was asked for may be done all the same")]
    Interrupted,
}

/// The code to end with; `plimsoll ctl --help` lists them.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    let code = match error.downcast_ref::<Failed>() {
        Some(Failed::Usage(_)) => 2,
        Some(Failed::Unreachable { .. } | Failed::NoApiServer(_)) => 6,
        Some(Failed::NotAllowed(_)) => 5,
        Some(Failed::NeedsHand { .. }) => 7,
        // 128 + SIGINT, as shells count.
        Some(Failed::Interrupted) => 130,
        Some(Failed::Refused { status, .. }) => match *status {
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => 2,
            StatusCode::NOT_FOUND => 3,
            StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => 4,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::MISDIRECTED_REQUEST => 5,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS | StatusCode::BAD_GATEWAY => 6,
            _ => 1,
        },
        Some(Failed::TooLate(_)) | None => 1,
    };
    ExitCode::from(code)
}
