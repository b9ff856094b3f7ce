//! What is gathered of one request on its way, and told when it has ended.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{HOST, REFERER, USER_AGENT};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version};
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, TraceId, Tracer as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::Span;
use plimsoll_wire::topic::WorkloadId;
use serde::Serialize;

use super::{Observer, context};
use crate::metrics::{Exemplar, method_label};
use crate::proxy::{BodyState, End};

/// One request's trail. It is made when the head has been read, and told once.
#[derive(Debug)]
pub(crate) struct Trail {
    observer: Arc<Observer>,
    /// When the request came, for people.
    at: SystemTime,
    head: Head,
    trace_id: Option<TraceId>,
    span: Option<Span>,
    /// The last one that it was sent to.
    endpoint: Option<SocketAddr>,
    attempts: u32,
    held: Option<Duration>,
    sent_bytes: u64,
    received: Received,
}

/// How many bytes have come from the client.
#[derive(Debug)]
enum Received {
    /// As its body knows.
    Body(BodyState),
    Bytes(u64),
}

/// What is told of a request's head. All of it shares the memory of the head itself.
#[derive(Debug)]
struct Head {
    client: HeaderValue,
    method: Method,
    authority: Option<Authority>,
    host: Option<HeaderValue>,
    path: Option<PathAndQuery>,
    version: Version,
    user_agent: Option<HeaderValue>,
    referer: Option<HeaderValue>,
}

/// How a request ended.
#[derive(Debug)]
pub(crate) struct Ended<'a> {
    /// None where no route matched.
    pub(crate) workload: Option<&'a WorkloadId>,
    /// None where the client left before there was one.
    pub(crate) status: Option<StatusCode>,
    pub(crate) end: End,
    pub(crate) after: Duration,
}

impl Trail {
    /// A request has come. Where it is traced, its head carries this proxy's context from now on.
    pub(crate) fn begin<B>(observer: &Arc<Observer>, client: &HeaderValue, request: &mut Request<B>) -> Box<Self> {
        #[expect(clippy::disallowed_methods, reason = "people and traces want to know the time of day")]
        let at = SystemTime::now();
        let head = Head::of(client, request);
        let sent = context::sent(request.headers());
        let span = observer.traces.as_ref().map(|traces| {
            let parent = match &sent {
                Some(sent) => Context::new().with_remote_span_context(sent.clone()),
                None => Context::new(),
            };
            // The name is made better when the workload is known; a sampler may want to see the path.
            let name = method_label(request.method());
            let path = KeyValue::new("url.path", request.uri().path().to_owned());
            let builder = SpanBuilder::from_name(name).with_kind(SpanKind::Server).with_start_time(at);
            let span = traces.tracer.build_with_context(builder.with_attributes([path]), &parent);
            context::put(request.headers_mut(), span.span_context(), sent.as_ref());
            span
        });
        let trace_id = span.as_ref().map(Span::span_context).or(sent.as_ref()).map(SpanContext::trace_id);
        Box::new(Self {
            observer: observer.clone(),
            at,
            head,
            trace_id,
            span,
            endpoint: None,
            attempts: 0,
            held: None,
            sent_bytes: 0,
            received: Received::Bytes(0),
        })
    }

    /// It is being sent to an endpoint.
    pub(crate) fn sent(&mut self, endpoint: SocketAddr) {
        self.endpoint = Some(endpoint);
        self.attempts += 1;
    }

    /// So many bytes of the response's body go to the client.
    pub(crate) fn sends(&mut self, bytes: u64) {
        self.sent_bytes += bytes;
    }

    /// The request has this body.
    pub(crate) fn reads(&mut self, body: BodyState) {
        self.received = Received::Body(body);
    }

    /// So many bytes have come from the client, over a connection that has changed its protocol.
    pub(crate) fn received(&mut self, bytes: u64) {
        self.received = Received::Bytes(bytes);
    }

    /// It has been held for a cold start, from `began` after its arrival on.
    pub(crate) fn held(&mut self, began: Duration, held: Duration) {
        self.held = Some(self.held.unwrap_or_default() + held);
        if let (Some(span), Some(traces)) = (&self.span, &self.observer.traces)
            && span.is_recording()
        {
            let parent = Context::new().with_remote_span_context(span.span_context().clone());
            let builder = SpanBuilder::from_name("cold start").with_start_time(self.at + began);
            traces.tracer.build_with_context(builder, &parent).end_with_timestamp(self.at + began + held);
        }
    }

    /// It has ended. Gives what leads from the metrics to its trace, where that is kept.
    pub(crate) fn ended(mut self: Box<Self>, ended: &Ended<'_>) -> Option<Exemplar> {
        if let Some(log) = &self.observer.access_log {
            // Serializing plain fields into memory does not fail.
            if let Ok(line) = serde_json::to_vec(&self.line(ended)) {
                log.line(&line);
            }
        }
        let mut span = self.span.take()?;
        let context = span.span_context().clone();
        if span.is_recording() {
            self.describe(&mut span, ended);
            span.end_with_timestamp(self.at + ended.after);
        }
        context.is_sampled().then(|| Exemplar {
            trace_id: u128::from_be_bytes(context.trace_id().to_bytes()),
            span_id: u64::from_be_bytes(context.span_id().to_bytes()),
            duration: ended.after,
            at: self.at + ended.after,
        })
    }

    fn line<'a>(&'a self, ended: &'a Ended<'_>) -> Line<'a> {
        let path = self.head.path.as_ref();
        let referer = self.head.referer.as_ref().and_then(|referer| referer.to_str().ok());
        let millis = |time: Duration| time.as_micros() as f64 / 1000.0;
        Line {
            time: format!("{:.3}", jiff::Timestamp::try_from(self.at).unwrap_or_default()),
            client: text(&self.head.client),
            method: self.head.method.as_str(),
            host: self.head.host_text(),
            path: path.map_or("", |path| if self.observer.query { path.as_str() } else { path.path() }),
            protocol: protocol(self.head.version).0,
            status: ended.status.map(|status| status.as_u16()),
            workload: ended.workload.map(ToString::to_string),
            endpoint: self.endpoint,
            bytes_in: self.received.bytes(),
            bytes_out: self.sent_bytes,
            duration_ms: millis(ended.after),
            held_ms: millis(self.held.unwrap_or_default()),
            attempts: self.attempts,
            cold_start: self.held.is_some(),
            user_agent: self.head.user_agent.as_ref().map(text),
            referer: referer.map(|referer| if self.observer.query { referer } else { without_query(referer) }),
            trace_id: self.trace_id.map(|id| id.to_string()),
            end: ended.end.name(),
        }
    }

    /// By the conventions for servers of HTTP (<https://opentelemetry.io/docs/specs/semconv/http/http-spans/>), and what they
    /// have no name for under our own.
    fn describe(&self, span: &mut Span, ended: &Ended<'_>) {
        let head = &self.head;
        let method = method_label(&head.method);
        span.set_attribute(KeyValue::new("http.request.method", method));
        if method != head.method.as_str() {
            span.set_attribute(KeyValue::new("http.request.method_original", head.method.to_string()));
        }
        span.set_attribute(KeyValue::new("server.address", head.host_text().into_owned()));
        span.set_attribute(KeyValue::new("client.address", text(&head.client).into_owned()));
        span.set_attribute(KeyValue::new("network.protocol.version", protocol(head.version).1));
        if let Some(agent) = &head.user_agent {
            span.set_attribute(KeyValue::new("user_agent.original", text(agent).into_owned()));
        }
        if let Some(workload) = ended.workload {
            span.update_name(format!("{method} {workload}"));
            span.set_attribute(KeyValue::new("plimsoll.workload", workload.to_string()));
        }
        if let Some(endpoint) = self.endpoint {
            span.set_attribute(KeyValue::new("plimsoll.endpoint", endpoint.to_string()));
        }
        span.set_attribute(KeyValue::new("plimsoll.attempts", i64::from(self.attempts)));
        span.set_attribute(KeyValue::new("plimsoll.cold_start", self.held.is_some()));
        span.set_attribute(KeyValue::new("plimsoll.end", ended.end.name()));
        span.set_attribute(KeyValue::new("http.request.body.size", counted(self.received.bytes())));
        span.set_attribute(KeyValue::new("http.response.body.size", counted(self.sent_bytes)));
        if let Some(status) = ended.status {
            span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        }
        let broken = matches!(ended.end, End::Timeout | End::UpstreamFailed);
        let error = match ended.status {
            Some(status) if status.is_server_error() => Some(status.as_str().to_owned()),
            _ => broken.then(|| ended.end.name().to_owned()),
        };
        if let Some(error) = error {
            span.set_attribute(KeyValue::new("error.type", error));
            span.set_status(Status::error(ended.end.name()));
        }
    }
}

impl Received {
    fn bytes(&self) -> u64 {
        match self {
            Self::Body(body) => body.received(),
            Self::Bytes(bytes) => *bytes,
        }
    }
}

impl Head {
    fn of<B>(client: &HeaderValue, request: &Request<B>) -> Self {
        let field = |name: HeaderName| request.headers().get(name).cloned();
        let uri: &Uri = request.uri();
        Self {
            client: client.clone(),
            method: request.method().clone(),
            authority: uri.authority().cloned(),
            host: field(HOST),
            path: uri.path_and_query().cloned(),
            version: request.version(),
            user_agent: field(USER_AGENT),
            referer: field(REFERER),
        }
    }

    /// The request's target rules over its `Host` field. Who the client says that it is (`user@`) is not told.
    fn host_text(&self) -> Cow<'_, str> {
        match &self.authority {
            Some(authority) => Cow::Borrowed(authority.as_str().rsplit('@').next().unwrap_or_default()),
            None => self.host.as_ref().map(text).unwrap_or_default(),
        }
    }
}

/// One line of the access log.
#[derive(Debug, Serialize)]
struct Line<'a> {
    /// RFC 3339, in UTC.
    time: String,
    client: Cow<'a, str>,
    method: &'a str,
    host: Cow<'a, str>,
    path: &'a str,
    protocol: &'static str,
    status: Option<u16>,
    workload: Option<String>,
    endpoint: Option<SocketAddr>,
    bytes_in: u64,
    bytes_out: u64,
    duration_ms: f64,
    held_ms: f64,
    attempts: u32,
    cold_start: bool,
    user_agent: Option<Cow<'a, str>>,
    referer: Option<&'a str>,
    trace_id: Option<String>,
    end: &'static str,
}

fn text(value: &HeaderValue) -> Cow<'_, str> {
    String::from_utf8_lossy(value.as_bytes())
}

/// A query may have secrets in it, in the address of the page before too.
fn without_query(address: &str) -> &str {
    address.split(['?', '#']).next().unwrap_or_default()
}

fn counted(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The protocol as in a request's first line, and as OpenTelemetry writes its version.
fn protocol(version: Version) -> (&'static str, &'static str) {
    match version {
        Version::HTTP_10 => ("HTTP/1.0", "1.0"),
        Version::HTTP_2 => ("HTTP/2", "2"),
        _ => ("HTTP/1.1", "1.1"),
    }
}
