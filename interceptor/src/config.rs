//! The interceptor's settings: flags, each with an environment variable of its own.
//!
//! The KEDA HTTP Add-on's variables are taken over too: where one of them is set, it is the default of its flag.

mod shown;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{BoolishValueParser, NonEmptyStringValueParser};
use clap::{ArgAction, Args, Parser as _};
use plimsoll_wire::go_duration;
use serde::Serialize;

pub use shown::Secret;
pub(crate) use shown::shown;

use crate::observe::{AccessLogFormat, OtlpProtocol};
use crate::proxy::forwarded::TrustedProxies;
use crate::server::tls::TlsConfig;
use crate::upstream::tls::UpstreamTlsConfig;

/// How the interceptor proxies and what it listens on.
///
/// Durations are written as in Go (`500ms`, `1m30s`). Settings of the KEDA HTTP Add-on (`KEDA_HTTP_...`) still work. All of them
/// are shown by `/config` on the admin listener; what must not be seen is a [`Secret`].
#[derive(Args, Clone, Debug, Serialize)]
#[command(next_help_heading = "Interceptor")]
#[group(skip)]
pub struct Config {
    /// Where clients come in: HTTP/1.1 and h2c (HTTP/2 with prior knowledge).
    #[arg(long, env = "PLIMSOLL_PROXY_LISTEN", value_name = "ADDR:PORT", default_value = on_port("KEDA_HTTP_PROXY_PORT", 8080))]
    pub proxy_listen: SocketAddr,

    /// Where /livez, /readyz, /metrics, /queue, /routes, /endpoints and /config are served. Not for clients: it has no authentication.
    #[arg(long, env = "PLIMSOLL_ADMIN_LISTEN", value_name = "ADDR:PORT", default_value = on_port("KEDA_HTTP_ADMIN_PORT", 9091))]
    pub admin_listen: SocketAddr,

    /// This interceptor's name, different from every other one's that is up; the host's name and the process id if unsaid.
    #[arg(long, env = "PLIMSOLL_INTERCEPTOR_NAME", value_name = "NAME", value_parser = NonEmptyStringValueParser::new(),
          default_value = kept(default_name()), hide_default_value = true)]
    pub interceptor_name: String,

    /// Threads that proxy; as many as there are cores if unsaid.
    #[arg(long, env = "PLIMSOLL_PROXY_THREADS", value_name = "N")]
    pub proxy_threads: Option<NonZeroUsize>,

    /// How long a whole request may take, its body's last byte included; 0 is no limit.
    #[arg(long, env = "PLIMSOLL_REQUEST_TIMEOUT", value_name = "DURATION", value_parser = go_duration::parse,
          default_value = or_addon(&["KEDA_HTTP_REQUEST_TIMEOUT"], "0s"))]
    pub request_timeout: Duration,

    /// How long a workload may take from having the whole request to the head of its response (then 504); 0 is no limit.
    #[arg(long, env = "PLIMSOLL_RESPONSE_HEADER_TIMEOUT", value_name = "DURATION", value_parser = go_duration::parse,
          default_value = or_addon(&["KEDA_RESPONSE_HEADER_TIMEOUT", "KEDA_HTTP_RESPONSE_HEADER_TIMEOUT"], "300s"))]
    pub response_header_timeout: Duration,

    /// How long a request is held while its workload has no ready endpoint (then 504); 0 is as long as the request may take.
    #[arg(long, env = "PLIMSOLL_READINESS_TIMEOUT", value_name = "DURATION", value_parser = go_duration::parse,
          default_value = or_addon(&["KEDA_CONDITION_WAIT_TIMEOUT", "KEDA_HTTP_READINESS_TIMEOUT"], "0s"))]
    pub readiness_timeout: Duration,

    /// Requests of one workload that may be held at this interceptor while the workload has no ready endpoint; more are answered
    /// with 503, or with the workload's placeholder where it says so. 0 is no bound.
    #[arg(long, env = "PLIMSOLL_MAX_PENDING_REQUESTS", value_name = "N",
          default_value = or_addon(&["KEDA_HTTP_COLD_START_MAX_PENDING_REQUESTS"], "0"))]
    pub max_pending_requests: usize,

    /// How long one attempt to connect to an endpoint may take; the next one goes to another endpoint where there is one. 0 is no
    /// limit but the request's.
    #[arg(long, env = "PLIMSOLL_CONNECT_TIMEOUT", value_name = "DURATION", value_parser = go_duration::parse,
          default_value = or_addon(&["KEDA_HTTP_CONNECT_TIMEOUT"], "500ms"))]
    pub connect_timeout: Duration,

    /// How long attempts to connect are repeated while endpoints refuse (then 502). A replica that is called ready a moment
    /// before it listens costs its first requests this moment, and no error.
    #[arg(long, env = "PLIMSOLL_CONNECT_RETRY_TIMEOUT", value_name = "DURATION", value_parser = go_duration::parse, default_value = "5s")]
    pub connect_retry_timeout: Duration,

    /// How long nothing may come of a response whose body has begun, before it is broken off; 0 is no limit.
    #[arg(long, env = "PLIMSOLL_RESPONSE_IDLE_TIMEOUT", value_name = "DURATION", value_parser = go_duration::parse, default_value = "0s")]
    pub response_idle_timeout: Duration,

    /// After the shutdown delay, requests in flight have this long to finish; 0 is no limit.
    #[arg(long, env = "PLIMSOLL_DRAIN_TIMEOUT", value_name = "DURATION", value_parser = go_duration::parse,
          default_value = or_addon(&["KEDA_HTTP_DRAIN_TIMEOUT"], "30s"))]
    pub drain_timeout: Duration,

    /// When asked to stop, /readyz says 503 and all is served on for this long, so that no new client is sent here.
    #[arg(long, env = "PLIMSOLL_SHUTDOWN_DELAY", value_name = "DURATION", value_parser = go_duration::parse,
          default_value = or_addon(&["KEDA_HTTP_SHUTDOWN_DELAY"], "5s"))]
    pub shutdown_delay: Duration,

    /// Whether each response says in X-KEDA-HTTP-Cold-Start if its request was held.
    #[arg(long, env = "PLIMSOLL_COLD_START_HEADER", value_name = "BOOL", action = ArgAction::Set, value_parser = BoolishValueParser::new(),
          default_value = or_addon(&["KEDA_HTTP_ENABLE_COLD_START_HEADER"], "true"))]
    pub cold_start_header: bool,

    /// Idle connections to endpoints kept for reuse, all endpoints together.
    #[arg(long, env = "PLIMSOLL_MAX_IDLE_CONNS", value_name = "N",
          default_value = unless_zero(or_addon(&["KEDA_HTTP_MAX_IDLE_CONNS"], "1000"), "1000000"))]
    pub max_idle_conns: usize,

    /// Idle connections kept for reuse for each endpoint.
    #[arg(long, env = "PLIMSOLL_MAX_IDLE_CONNS_PER_HOST", value_name = "N",
          default_value = unless_zero(or_addon(&["KEDA_HTTP_MAX_IDLE_CONNS_PER_HOST"], "200"), "2"))]
    pub max_idle_conns_per_host: usize,

    /// An idle connection to an endpoint is closed after this long.
    #[arg(long, env = "PLIMSOLL_UPSTREAM_IDLE_TIMEOUT", value_name = "DURATION", value_parser = go_duration::parse, default_value = "60s")]
    pub upstream_idle_timeout: Duration,

    /// A connection to an endpoint is not reused once it is this old (less up to a tenth, so that not all end at once).
    #[arg(long, env = "PLIMSOLL_UPSTREAM_MAX_AGE", value_name = "DURATION", value_parser = go_duration::parse, default_value = "5m")]
    pub upstream_max_age: Duration,

    /// A connection to an endpoint carries this many requests at most (less up to a tenth).
    #[arg(long, env = "PLIMSOLL_UPSTREAM_MAX_USES", value_name = "N", default_value = "100000")]
    pub upstream_max_uses: u32,

    /// An endpoint that fails so many times in a row (it refuses connections, breaks them off, or does not answer in time; its
    /// own 5xx answers do not count) gets no requests for a while, as long as half of the endpoints are left; 0 is never.
    #[arg(long, env = "PLIMSOLL_EJECT_AFTER", value_name = "N", default_value = "5")]
    pub eject_after: u32,

    /// How long the first time: n times as long the n-th time in short order, ten times at most. Then it gets its share of the
    /// requests back little by little, in the same time.
    #[arg(long, env = "PLIMSOLL_EJECT_TIME", value_name = "DURATION", value_parser = go_duration::parse, default_value = "5s")]
    pub eject_time: Duration,

    /// Whether endpoints that are known and not ready yet are probed, and get requests as soon as they accept connections
    /// while no endpoint of their workload is ready. Switch it off for programs that listen long before they can answer.
    #[arg(long, env = "PLIMSOLL_PROBE_ENDPOINTS", value_name = "BOOL", action = ArgAction::Set, value_parser = BoolishValueParser::new(),
          default_value = "true")]
    pub probe_endpoints: bool,

    /// The key of the names that endpoints have in affinity cookies: the same at all interceptors that stand for each other.
    /// Without one the cookies work just so, but whoever tries all addresses can find out which one a cookie means.
    #[arg(
        long,
        env = "PLIMSOLL_AFFINITY_KEY",
        value_name = "TEXT",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    pub affinity_key: Secret,

    /// Requests at once on one HTTP/2 connection to an endpoint; over it, or over what the endpoint takes, one more is opened.
    #[arg(long, env = "PLIMSOLL_UPSTREAM_MAX_STREAMS", value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(1..))]
    pub upstream_max_streams: u32,

    /// A client that has begun a request must have sent its head within this time, or is cut off.
    #[arg(long, env = "PLIMSOLL_HEADER_READ_TIMEOUT", value_name = "DURATION", value_parser = some_time, default_value = "10s")]
    pub header_read_timeout: Duration,

    /// A client's connection without a request is closed after this long.
    #[arg(long, env = "PLIMSOLL_CLIENT_IDLE_TIMEOUT", value_name = "DURATION", value_parser = some_time, default_value = "180s")]
    pub client_idle_timeout: Duration,

    /// The longest head of a request, in bytes (then 431).
    #[arg(long, env = "PLIMSOLL_MAX_HEADER_BYTES", value_name = "BYTES", default_value = "65536", value_parser = header_bytes)]
    pub max_header_bytes: u32,

    /// Header fields of a request (then 431).
    #[arg(long, env = "PLIMSOLL_MAX_HEADERS", value_name = "N", default_value = "100", value_parser = clap::value_parser!(u16).range(1..))]
    pub max_headers: u16,

    /// How the interceptor writes the errors of its own: a line of text, or `application/problem+json` (RFC 9457).
    #[arg(long, env = "PLIMSOLL_ERROR_FORMAT", value_name = "FORMAT", value_enum, default_value = "text")]
    pub error_format: ErrorFormat,

    /// The longest body of a request, in bytes (then 413); 0 is no limit.
    #[arg(long, env = "PLIMSOLL_MAX_REQUEST_BODY_BYTES", value_name = "BYTES", default_value = "0")]
    pub max_request_body_bytes: u64,

    /// How long the body of a request may stop on its way from the client (then 408); 0 is no limit. It does not hold for gRPC,
    /// and over HTTP/2 only until the response begins.
    #[arg(long, env = "PLIMSOLL_BODY_READ_TIMEOUT", value_name = "DURATION", value_parser = go_duration::parse, default_value = "60s")]
    pub body_read_timeout: Duration,

    /// What the body of a request must bring on the whole, in bytes a second, once its client has been waited for as long as
    /// --min-body-rate-grace says (then 408); 0 is no limit. It holds until the response begins, and not for gRPC. A workload says
    /// otherwise by the annotation plimsoll.io/min-body-rate.
    #[arg(long, env = "PLIMSOLL_MIN_BODY_RATE", value_name = "BYTES_PER_SECOND", default_value = "240")]
    pub min_body_rate: u64,

    /// For how long the pace of a body does not matter.
    #[arg(long, env = "PLIMSOLL_MIN_BODY_RATE_GRACE", value_name = "DURATION", value_parser = go_duration::parse, default_value = "20s")]
    pub min_body_rate_grace: Duration,

    /// How long a client may take nothing of what it is sent, before it is cut off; 0 is no limit.
    #[arg(long, env = "PLIMSOLL_CLIENT_WRITE_TIMEOUT", value_name = "DURATION", value_parser = go_duration::parse, default_value = "60s")]
    pub client_write_timeout: Duration,

    /// Clients connected at once. Over it, accepting pauses: who is connected goes on, and new clients wait in the kernel's
    /// queue. 0 is half of the files that the process may have open.
    #[arg(long, env = "PLIMSOLL_MAX_CONNECTIONS", value_name = "N", default_value = "0")]
    pub max_connections: usize,

    /// Proxies in front of this one, whose X-Forwarded-* and Forwarded fields are believed and added to; those of all others are
    /// replaced. Addresses and CIDRs with commas between them; `private` is loopback and all private addresses.
    #[arg(long, env = "PLIMSOLL_TRUSTED_PROXIES", value_name = "CIDR,...", default_value = "private")]
    pub trusted_proxies: TrustedProxies,

    /// Write the Forwarded field (RFC 7239) besides X-Forwarded-*.
    #[arg(long, env = "PLIMSOLL_FORWARDED", value_name = "BOOL", action = ArgAction::Set, value_parser = BoolishValueParser::new(), default_value = "false")]
    pub forwarded: bool,

    /// Requests at once on one HTTP/2 connection of a client.
    #[arg(long, env = "PLIMSOLL_MAX_STREAMS", value_name = "N", default_value = "250", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_streams: u32,

    /// Whether each request is written to standard output when it has ended (KEDA_HTTP_LOG_REQUESTS=true: json).
    #[arg(long, env = "PLIMSOLL_ACCESS_LOG", value_name = "FORMAT", default_value = logged_by_addon())]
    pub access_log: AccessLogFormat,

    /// Whether the access log has the query too, in paths and referers. Queries may have secrets in them.
    #[arg(long, env = "PLIMSOLL_ACCESS_LOG_QUERY", value_name = "BOOL", action = ArgAction::Set, value_parser = BoolishValueParser::new(),
          default_value = "false")]
    pub access_log_query: bool,

    /// Where traces are sent by OTLP, as http://HOST:4317 or https://HOST:4317; nothing is traced if unsaid.
    /// OTEL_EXPORTER_OTLP_ENDPOINT is taken where this is unsaid, and OpenTelemetry's other variables (OTEL_SERVICE_NAME,
    /// OTEL_TRACES_SAMPLER, ...) are honoured.
    #[arg(long, env = "PLIMSOLL_OTLP_ENDPOINT", value_name = "URL", default_value = kept(otlp_endpoint()), hide_default_value = true)]
    pub otlp_endpoint: String,

    /// How OTLP is spoken (OTEL_EXPORTER_OTLP_PROTOCOL). With http/protobuf a URL without a path is that of a collector, to which
    /// /v1/traces is added.
    #[arg(long, env = "PLIMSOLL_OTLP_PROTOCOL", value_name = "PROTOCOL", value_enum,
          default_value = or_addon(&["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"], "grpc"))]
    pub otlp_protocol: OtlpProtocol,

    /// Authorities in PEM form that the certificate of an https:// collector is checked against, besides those of the system
    /// (OTEL_EXPORTER_OTLP_CERTIFICATE).
    #[arg(long, env = "PLIMSOLL_OTLP_CA", value_name = "FILE",
          default_value = addon(&["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"]).map(kept))]
    pub otlp_ca: Option<PathBuf>,

    /// A certificate and its chain in PEM form, shown to a collector that asks for one (OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE).
    #[arg(long, env = "PLIMSOLL_OTLP_CERT", value_name = "FILE",
          default_value = addon(&["OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"]).map(kept))]
    pub otlp_cert: Option<PathBuf>,

    /// The private key of --otlp-cert in PEM form (OTEL_EXPORTER_OTLP_CLIENT_KEY).
    #[arg(long, env = "PLIMSOLL_OTLP_KEY", value_name = "FILE",
          default_value = addon(&["OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "OTEL_EXPORTER_OTLP_CLIENT_KEY"]).map(kept))]
    pub otlp_key: Option<PathBuf>,

    /// What is sent along with traces, as NAME=VALUE,NAME=VALUE; besides OTEL_EXPORTER_OTLP_HEADERS.
    #[arg(long, env = "PLIMSOLL_OTLP_HEADERS", value_name = "HEADERS", hide_env_values = true)]
    pub otlp_headers: Option<Secret>,

    /// How often a busy workload's totals are published: from 10ms to 2s.
    #[arg(long, env = "PLIMSOLL_TICK", value_name = "DURATION", value_parser = tick, default_value = "1s")]
    pub tick: Duration,

    /// Totals published in a second at most; 0 is no limit. With more busy workloads than that, those that change least are
    /// published less often; the beginning and the end of a busy spell are told at once all the same.
    #[arg(long, env = "PLIMSOLL_FRAME_BUDGET", value_name = "FRAMES", default_value = "10000")]
    pub frame_budget: u32,

    /// TLS to clients.
    #[command(flatten)]
    #[serde(flatten)]
    pub tls: TlsConfig,

    /// TLS to workloads.
    #[command(flatten)]
    #[serde(flatten)]
    pub upstream_tls: UpstreamTlsConfig,
}

/// How errors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ErrorFormat {
    /// `text/plain`, one line.
    Text,
    /// `application/problem+json`.
    Problem,
}

impl Config {
    /// The settings of the environment and the defaults, without a command line.
    ///
    /// # Errors
    /// Where a variable's value can't be read; the text names it.
    pub fn from_environment() -> Result<Self, clap::Error> {
        Ok(Alone::try_parse_from(["interceptor"])?.config)
    }

    pub(crate) fn threads(&self) -> NonZeroUsize {
        let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.proxy_threads.unwrap_or_else(cores)
    }
}

/// A command that has nothing but these settings.
#[derive(clap::Parser)]
struct Alone {
    #[command(flatten)]
    config: Config,
}

/// hyper's smallest read buffer.
const MIN_HEADER_BYTES: u32 = 8192;

fn header_bytes(text: &str) -> Result<u32, String> {
    let bytes: u32 = text.parse().map_err(|error| format!("{error}"))?;
    if bytes < MIN_HEADER_BYTES { Err(format!("at least {MIN_HEADER_BYTES} bytes")) } else { Ok(bytes) }
}

/// Some time: with none at all nobody would be in time.
pub(crate) fn some_time(text: &str) -> Result<Duration, String> {
    let time = go_duration::parse(text).map_err(|error| error.to_string())?;
    if time.is_zero() { Err("write a time over 0s: it can't be left without a limit".to_owned()) } else { Ok(time) }
}

/// An append has to come back within a tick; and each tick has a heartbeat, which collectors miss after 3 s.
const TICKS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(2);

fn tick(text: &str) -> Result<Duration, String> {
    let tick = go_duration::parse(text).map_err(|error| error.to_string())?;
    let refused = || "write 10ms to 2s: an interceptor that is not heard of for 3s is taken for missing".to_owned();
    if TICKS.contains(&tick) { Ok(tick) } else { Err(refused()) }
}

/// The first of the add-on's variables that is set and not empty, or else the default.
pub(crate) fn or_addon(names: &[&str], default: &'static str) -> &'static str {
    addon(names).map_or(default, kept)
}

/// What the add-on means by a number of idle connections. To the transport of Go's `net/http` zero is no bound over all hosts (here more
/// than there are files for) and two for one host, where our flags keep none.
fn unless_zero(said: &'static str, zero: &'static str) -> &'static str {
    if said == "0" { zero } else { said }
}

/// The add-on logs requests or does not.
fn logged_by_addon() -> &'static str {
    let logged = addon(&["KEDA_HTTP_LOG_REQUESTS"])
        .is_some_and(|value| matches!(value.as_str(), "true" | "1" | "t" | "T" | "TRUE" | "True"));
    if logged { "json" } else { "off" }
}

/// The collector that OpenTelemetry's variables name; empty where they name none, or switch tracing off.
fn otlp_endpoint() -> String {
    let off = addon(&["OTEL_SDK_DISABLED"]).is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || addon(&["OTEL_TRACES_EXPORTER"]).is_some_and(|exporter| exporter == "none");
    // The first is of traces alone and taken as it is; the second is of all signals, each with a path of its own in it.
    let over_http = addon(&["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"])
        .is_some_and(|protocol| protocol == "http/protobuf");
    let common = addon(&["OTEL_EXPORTER_OTLP_ENDPOINT"]);
    let common = common.map(|url| if over_http { format!("{}/v1/traces", url.trim_end_matches('/')) } else { url });
    let named = addon(&["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]).or(common);
    named.filter(|_| !off).unwrap_or_default()
}

/// All addresses, on the port of the add-on's variable.
pub(crate) fn on_port(name: &str, default: u16) -> &'static str {
    let port = addon(&[name]).unwrap_or_else(|| default.to_string());
    kept(format!("{}:{port}", Ipv4Addr::UNSPECIFIED))
}

pub(crate) fn addon(names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

/// A pod's name is its host name; the process id tells interceptors of one host apart.
fn default_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    format!("{}-{}", if host.is_empty() { "interceptor" } else { host }, std::process::id())
}

/// clap wants defaults that live as long as the process; the command line is built once in it.
fn kept(text: String) -> &'static str {
    text.leak()
}
