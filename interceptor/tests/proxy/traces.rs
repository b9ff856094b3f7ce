//! Traces, as a real receiver of OTLP gets them.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::prometheus::{parsed, scraped};
use crate::scene::{SOON, Scene, until};
use crate::upstream::Upstream;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A receiver that hands on what it gets.
pub struct Receiver(pub mpsc::UnboundedSender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.send(request.into_inner()).map_err(|_| Status::cancelled("the test is over"))?;
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

pub struct Collector {
    pub address: SocketAddr,
    received: mpsc::UnboundedReceiver<ExportTraceServiceRequest>,
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, received) = mpsc::unbounded_channel();
        let service = TraceServiceServer::new(Receiver(sender));
        // Its tasks end with the test's runtime.
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        Self { address, received }
    }

    /// A receiver that others feed.
    pub fn fed(address: SocketAddr) -> (Self, mpsc::UnboundedSender<ExportTraceServiceRequest>) {
        let (sender, received) = mpsc::unbounded_channel();
        (Self { address, received }, sender)
    }

    /// The next so many spans.
    pub async fn spans(&mut self, count: usize) -> Vec<Span> {
        let mut spans = Vec::new();
        while spans.len() < count {
            let batch = tokio::time::timeout(SOON, self.received.recv()).await.expect("spans come").unwrap();
            for of_resource in batch.resource_spans {
                let resource = of_resource.resource.unwrap();
                assert_eq!(text(&resource.attributes, "service.name"), "plimsoll-interceptor");
                spans.extend(of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans));
            }
        }
        assert_eq!(spans.len(), count);
        spans
    }
}

/// An attribute as text.
fn text(attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue], name: &str) -> String {
    let attribute = attributes.iter().find(|attribute| attribute.key == name);
    match attribute.and_then(|attribute| attribute.value.clone()?.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(yes)) => yes.to_string(),
        other => panic!("{name} is {other:?} in {attributes:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn tracing_to(address: SocketAddr) -> Scene {
    let scene = Scene::with(|config, _| config.otlp_endpoint = format!("http://{address}")).await;
    scene.ready(&[Upstream::start().await.address]);
    scene
}

/// Sends a request with these fields to a workload that answers with the head as it came.
async fn head_of(scene: &Scene, fields: &str) -> String {
    let mut client = scene.client().await;
    client.send(&format!("GET /head HTTP/1.1\r\nhost: app.test\r\n{fields}\r\n")).await;
    client.response().await.text().to_owned()
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[tokio::test]
async fn a_request_is_a_span_between_the_clients_and_the_workloads() {
    let mut collector = Collector::start().await;
    let scene = tracing_to(collector.address).await;
    let context = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\ntracestate: a=1,b=2\r\nbaggage: user=me\r\n");
    let head = head_of(&scene, &format!("{context}user-agent: test/1\r\n")).await;
    let span = collector.spans(1).await.remove(0);

    assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
    assert_eq!(field(&head, "traceparent"), Some(format!("00-{TRACE}-{}-01", hex(&span.span_id)).as_str()));
    assert_eq!(field(&head, "tracestate"), Some("a=1,b=2"));
    assert_eq!(field(&head, "baggage"), Some("user=me"));
    assert_eq!(span.trace_state, "a=1,b=2");
    assert_eq!(span.name, "GET default/app");
    assert!(span.end_time_unix_nano > span.start_time_unix_nano);
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("url.path", "/head"),
        ("server.address", "app.test"),
        ("client.address", "127.0.0.1"),
        ("user_agent.original", "test/1"),
        ("network.protocol.version", "1.1"),
        ("plimsoll.workload", "default/app"),
        ("plimsoll.cold_start", "false"),
        ("plimsoll.attempts", "1"),
        ("plimsoll.end", "finished"),
    ] {
        assert_eq!(text(&span.attributes, name), value, "{name}");
    }
    assert!(text(&span.attributes, "plimsoll.endpoint").starts_with("127.0.0.1:"));
}

#[tokio::test]
async fn a_request_without_a_context_begins_a_trace() {
    let mut collector = Collector::start().await;
    let scene = tracing_to(collector.address).await;
    let head = head_of(&scene, "traceparent: rubbish\r\ntracestate: a=1\r\n").await;
    let span = collector.spans(1).await.remove(0);
    assert!(span.parent_span_id.is_empty());
    let parent = format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id));
    assert_eq!(field(&head, "traceparent"), Some(parent.as_str()));
    assert_eq!(field(&head, "tracestate"), None, "a state without its parent says nothing");
}

#[tokio::test]
async fn what_the_client_does_not_want_traced_is_not_but_its_context_goes_on() {
    let mut collector = Collector::start().await;
    let scene = tracing_to(collector.address).await;
    let head = head_of(&scene, &format!("traceparent: 00-{TRACE}-{PARENT}-00\r\n")).await;
    let parent = field(&head, "traceparent").unwrap();
    assert!(parent.starts_with(&format!("00-{TRACE}-")) && parent.ends_with("-00"), "{parent}");
    // The next one is traced, and comes alone.
    head_of(&scene, "").await;
    assert_ne!(hex(&collector.spans(1).await[0].trace_id), TRACE);
}

#[tokio::test]
async fn a_cold_start_is_a_span_within() {
    let mut collector = Collector::start().await;
    let scene = Scene::with(|config, _| config.otlp_endpoint = format!("http://{}", collector.address)).await;
    let mut client = scene.client().await;
    client.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    scene.until_held(1).await;
    scene.ready(&[Upstream::start().await.address]);
    client.response().await;
    let spans = collector.spans(2).await;
    let named = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    let (whole, held) = (named("GET default/app"), named("cold start"));
    assert_eq!((&held.trace_id, &held.parent_span_id), (&whole.trace_id, &whole.span_id));
    assert!(whole.start_time_unix_nano <= held.start_time_unix_nano);
    assert!(held.start_time_unix_nano < held.end_time_unix_nano);
    assert!(held.end_time_unix_nano <= whole.end_time_unix_nano);
    assert_eq!(text(&whole.attributes, "plimsoll.cold_start"), "true");
}

#[tokio::test]
async fn without_tracing_the_clients_context_passes_as_it_is() {
    let scene = Scene::start().await;
    scene.ready(&[Upstream::start().await.address]);
    let head = head_of(&scene, "traceparent: rubbish\r\ntracestate: a=1\r\nbaggage: user=me\r\n").await;
    assert_eq!(field(&head, "traceparent"), Some("rubbish"));
    assert_eq!(field(&head, "tracestate"), Some("a=1"));
    assert_eq!(field(&head, "baggage"), Some("user=me"));
}

#[tokio::test]
async fn a_bucket_leads_to_a_trace_where_open_metrics_is_asked_for() {
    let mut collector = Collector::start().await;
    let scene = tracing_to(collector.address).await;
    scene.get("/").await;
    scene.until_queue(0, 1).await;
    let span = collector.spans(1).await.remove(0);
    let (_, page) = scraped(&scene, "application/openmetrics-text").await;
    let labels = format!("# {{trace_id=\"{}\",span_id=\"{}\"}}", hex(&span.trace_id), hex(&span.span_id));
    assert!(page.contains(&labels), "{labels} is not in\n{page}");
    let families = parsed(&page, "prometheus_client.openmetrics.parser").await;
    assert!(families.contains("interceptor_request_duration_seconds histogram 17 1"), "{families}");
    let (_, page) = scraped(&scene, "text/plain").await;
    assert!(!page.contains("trace_id"));
}

#[tokio::test]
async fn while_the_collector_is_away_requests_go_on_and_spans_are_counted_as_dropped() {
    // Nobody listens there any more.
    let away = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let scene = tracing_to(away).await;
    for _ in 0..20 {
        assert_eq!(scene.get("/").await.status, 200);
    }
    until(async || scene.metric("interceptor_dropped_spans_total").await == Some(20), "twenty spans are dropped").await;
    scene.stop().await.unwrap();
}

#[tokio::test]
async fn a_collector_that_hangs_delays_neither_requests_nor_the_end_for_long() {
    let hanging = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let scene = tracing_to(hanging.local_addr().unwrap()).await;
    for _ in 0..20 {
        assert_eq!(scene.get("/").await.status, 200);
    }
    let began = Instant::now();
    scene.stop().await.unwrap();
    // Twice five seconds, and what a busy machine adds.
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
}
