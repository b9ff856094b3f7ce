//! Traces to an OpenTelemetry collector: spans wait in one bounded queue, and a task sends them in batches.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, Span, SpanData, SpanExporter as _, SpanProcessor, Tracer};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::otlp;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::server::tls::TlsError;

/// Spans that wait to be sent. When there is no room, new ones are dropped and counted: no request waits.
const QUEUE: usize = 8192;
/// Spans sent at once.
const BATCH: usize = 512;
/// A batch that does not fill is sent this long after its first span.
const FILL: Duration = Duration::from_secs(1);
/// At the end, what a collector has not taken after this long is given up.
const LAST_BATCHES: Duration = Duration::from_secs(5);
/// What this program is called in traces, unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` say otherwise.
const SERVICE: &str = "plimsoll-interceptor";

/// Traces can't be sent as the settings say.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The endpoint is none, or a variable of OpenTelemetry's can't be read.
    #[error(
        "can't send traces to {endpoint:?} (--otlp-endpoint): {reason}; write it as http://HOST:PORT or https://HOST:PORT, or \
         leave it out"
    )]
    Endpoint {
        /// As it was given.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// TLS to the collector can't be spoken as the settings say.
    #[error("can't send traces over TLS (--otlp-ca, --otlp-cert, --otlp-key): {0}")]
    Tls(#[from] TlsError),
    /// They would not pass.
    #[error("--otlp-headers can't be sent (the values are not shown): write them as NAME=VALUE,NAME=VALUE")]
    Headers,
}

/// Makes spans.
#[derive(Debug)]
pub(crate) struct Traces {
    pub(super) tracer: Tracer,
    /// It stops making spans when it is dropped.
    _provider: SdkTracerProvider,
}

/// The task that sends them.
#[derive(Debug)]
pub(crate) struct Exporting {
    task: JoinHandle<()>,
    /// Follows the files of TLS, where there are any.
    following: Option<JoinHandle<()>>,
    stop: CancellationToken,
}

impl Traces {
    /// Connects in the background; none where no collector is named.
    ///
    /// # Errors
    /// Where the endpoint is no address, or one of the `OTEL_...` variables can't be read.
    pub(crate) fn start(config: &Config, metrics: &Metrics) -> Result<Option<(Self, Exporting)>, TracesError> {
        if config.otlp_endpoint.is_empty() {
            return Ok(None);
        }
        let (mut exporter, tls) = otlp::exporter(config)?;
        let resource = resource(config);
        exporter.set_resource(&resource);
        let (queue, spans) = mpsc::channel(QUEUE);
        let queue = Queue { spans: queue, dropped: metrics.spans_dropped.clone() };
        // The sampler is what OTEL_TRACES_SAMPLER says: by default the client's wish, and everything where it has none.
        let provider = SdkTracerProvider::builder().with_span_processor(queue).with_resource(resource).build();
        let stop = CancellationToken::new();
        let sending = Sending {
            exporter,
            spans,
            sent: metrics.spans_sent.clone(),
            dropped: metrics.spans_dropped.clone(),
            failing: false,
        };
        let task = tokio::spawn(sending.run(stop.clone()));
        let following = tls.map(|tls| tokio::spawn(tls.follow(metrics.otlp_tls_problems.clone(), stop.clone())));
        let traces = Self { tracer: provider.tracer("plimsoll"), _provider: provider };
        Ok(Some((traces, Exporting { task, following, stop })))
    }
}

fn resource(config: &Config) -> Resource {
    let said = |name: &str| std::env::var(name).unwrap_or_default();
    let named = !said("OTEL_SERVICE_NAME").is_empty() || said("OTEL_RESOURCE_ATTRIBUTES").contains("service.name=");
    let resource = Resource::builder()
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", config.interceptor_name.clone()));
    if named { resource.build() } else { resource.with_service_name(SERVICE).build() }
}

/// What is sent along.
///
/// # Errors
/// Where it is no list of pairs.
pub(super) fn headers(headers: &str) -> Result<HeaderMap, TracesError> {
    let mut fields = HeaderMap::new();
    for header in headers.split(',').filter(|header| !header.trim().is_empty()) {
        let (name, value) = header.split_once('=').ok_or(TracesError::Headers)?;
        let name = HeaderName::try_from(name.trim()).map_err(|_| TracesError::Headers)?;
        let value = HeaderValue::try_from(value.trim()).map_err(|_| TracesError::Headers)?;
        fields.insert(name, value);
    }
    Ok(fields)
}

impl Exporting {
    /// Sends what waits, and ends.
    pub(crate) async fn finish(self) {
        self.stop.cancel();
        if self.task.await.is_err() {
            warn!("the task that sends traces panicked");
        }
        if let Some(following) = self.following {
            let _panicked_is_logged = following.await;
        }
    }
}

/// The end of the queue where requests leave their spans.
#[derive(Debug)]
struct Queue {
    spans: mpsc::Sender<SpanData>,
    dropped: Counter,
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.spans.try_send(span).is_err() {
            self.dropped.inc();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    /// [`Exporting::finish`] does it.
    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// The other end.
struct Sending {
    exporter: SpanExporter,
    spans: mpsc::Receiver<SpanData>,
    sent: Counter,
    dropped: Counter,
    failing: bool,
}

impl Sending {
    /// Sends until stopped; then what waits, for [`LAST_BATCHES`] at most.
    async fn run(mut self, stop: CancellationToken) {
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                () = stop.cancelled() => break,
                count = self.spans.recv_many(&mut batch, BATCH) => if count == 0 { break },
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.fill(&mut batch) => {}
            }
            // What a collector does not take in the exporter's time is lost, but the end waits only as long as it may.
            let count = batch.len();
            tokio::select! {
                () = self.export(batch) => {}
                () = after(&stop) => self.lose(count),
            }
        }
        self.spans.close();
        let deadline = Instant::now() + LAST_BATCHES;
        let mut batch = Vec::new();
        while self.spans.recv_many(&mut batch, BATCH).await > 0 {
            let count = batch.len();
            if tokio::time::timeout_at(deadline, self.export(std::mem::take(&mut batch))).await.is_err() {
                self.lose(count);
            }
        }
    }

    /// Waits for a full batch, but not long.
    async fn fill(&mut self, batch: &mut Vec<SpanData>) {
        let full = async {
            while batch.len() < BATCH {
                let room = BATCH - batch.len();
                if self.spans.recv_many(batch, room).await == 0 {
                    return;
                }
            }
        };
        let _in_time = tokio::time::timeout(FILL, full).await;
    }

    async fn export(&mut self, batch: Vec<SpanData>) {
        let count = batch.len();
        match self.exporter.export(batch).await {
            Ok(()) => {
                self.sent.inc_by(count as u64);
                if std::mem::replace(&mut self.failing, false) {
                    info!("the collector takes traces again");
                }
            }
            Err(error) => {
                self.lose(count);
                if !std::mem::replace(&mut self.failing, true) {
                    warn!("the collector does not take traces: {error}; spans are dropped and counted until it does");
                }
            }
        }
    }

    fn lose(&self, count: usize) {
        self.dropped.inc_by(count as u64);
    }
}

/// Some time after the stop.
async fn after(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(LAST_BATCHES).await;
}

#[cfg(test)]
mod tests {
    #[test]
    fn headers_are_pairs_and_what_is_wrong_with_them_is_said_without_their_values() {
        let headers = super::headers("Authorization=Bearer a=b, x-team = ships ,").unwrap();
        assert_eq!(headers.get("authorization").unwrap(), "Bearer a=b");
        assert_eq!(headers.get("x-team").unwrap(), "ships");
        for wrong in ["hunter2", "a b=hunter2", "name=hunter2\nx"] {
            let error = super::headers(wrong).unwrap_err().to_string();
            assert!(error.contains("--otlp-headers") && !error.contains("hunter2"), "{error}");
        }
    }
}
