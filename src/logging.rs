//! Log lines to standard error.

use tracing_subscriber::EnvFilter;

use crate::cli::{LogFormat, Logging};

/// Starts logging for the whole process. A filter that can't be read is said and replaced by `info`.
///
/// In `dev` standard output tells the story; unless asked for more, only warnings interrupt it.
pub fn start(logging: &Logging, quiet: bool) {
    let wanted = logging.log.as_deref().unwrap_or(if quiet { "warn" } else { "info" });
    let filter = EnvFilter::try_new(wanted).unwrap_or_else(|error| {
        eprintln!(
            "plimsoll: --log {wanted:?} is no filter ({error}); logging at info. Write a level or target=level pairs."
        );
        EnvFilter::new("info")
    });
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A line that can't be written is lost. To complain of it on standard error, as happens otherwise, is a panic of whatever logs where
    // that is what can't be written to.
    let lines = lines.log_internal_errors(false);
    match logging.log_format {
        LogFormat::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
}
