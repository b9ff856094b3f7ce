//! What is told of each single request, where somebody wants to know: a line of the access log, a span of a trace.
//!
//! Where nobody does, a request carries nothing of it but an empty option.

mod access_log;
mod context;
mod otlp;
mod traces;
mod trail;

use std::io::Write;
use std::sync::Arc;

pub use access_log::AccessLogFormat;
pub(crate) use access_log::{AccessLog, Writing};
pub use otlp::OtlpProtocol;
pub use traces::TracesError;
pub(crate) use traces::{Exporting, Traces};
pub(crate) use trail::{Ended, Trail};

use crate::config::Config;
use crate::metrics::Metrics;

/// Who wants to know of each request; at least one of the two.
#[derive(Debug)]
pub(crate) struct Observer {
    access_log: Option<AccessLog>,
    /// Whether lines have the query too.
    query: bool,
    traces: Option<Traces>,
}

/// What must be brought to an end when no request is left.
#[derive(Debug, Default)]
pub(crate) struct Telling {
    writing: Option<Writing>,
    exporting: Option<Exporting>,
}

impl Observer {
    /// As the settings say; none where nobody wants to know. Lines go to `output`.
    ///
    /// # Errors
    /// Where traces can't be sent as the settings say.
    pub(crate) fn start(
        config: &Config,
        metrics: &Metrics,
        output: Box<dyn Write + Send>,
    ) -> Result<(Option<Arc<Self>>, Telling), TracesError> {
        let mut telling = Telling::default();
        let mut traces = None;
        if let Some((sending, exporting)) = Traces::start(config, metrics)? {
            traces = Some(sending);
            telling.exporting = Some(exporting);
        }
        let mut access_log = None;
        if config.access_log == AccessLogFormat::Json {
            let (log, writing) = AccessLog::start(output, metrics.access_log_dropped.clone());
            access_log = Some(log);
            telling.writing = Some(writing);
        }
        let wanted = access_log.is_some() || traces.is_some();
        let observer = Self { access_log, query: config.access_log_query, traces };
        Ok((wanted.then(|| Arc::new(observer)), telling))
    }
}

impl Telling {
    /// Everything that has been told goes out, in bounded time. No request is left that tells more.
    pub(crate) async fn finish(self) {
        let written = async {
            if let Some(writing) = self.writing {
                writing.finish().await;
            }
        };
        let exported = async {
            if let Some(exporting) = self.exporting {
                exporting.finish().await;
            }
        };
        tokio::join!(written, exported);
    }
}
