//! The ways to a collector of traces: both protocols, in the clear and over TLS.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::TraceServiceServer;
use plimsoll_interceptor::{Config, OtlpProtocol, Secret};
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tonic::body::Body;
use tower_service::Service as _;

use crate::certs::Authority;
use crate::scene::{Scene, until, until_within};
use crate::traces::{Collector, Receiver};
use crate::upstream::Upstream;

type Received = mpsc::UnboundedSender<ExportTraceServiceRequest>;

/// A collector that takes both protocols on one port, and wants a password.
async fn collector(tls: Option<TlsAcceptor>) -> Collector {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (collector, received) = Collector::fed(listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, received) = (tls.clone(), received.clone());
            tokio::spawn(async move {
                match tls {
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            serve(stream, received).await;
                        }
                    }
                    None => serve(stream, received).await,
                }
            });
        }
    });
    collector
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, received: Received) {
    let service = service_fn(move |request| {
        let received = received.clone();
        async { Ok::<_, Infallible>(take(request, received).await) }
    });
    let _client_gone = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

async fn take(request: Request<Incoming>, received: Received) -> Response<Body> {
    assert_eq!(request.headers()["x-password"], "open sesame");
    let kind = request.headers()["content-type"].to_str().unwrap().to_owned();
    if kind == "application/grpc" {
        let mut service = TraceServiceServer::new(Receiver(received));
        return service.call(request.map(Body::new)).await.unwrap();
    }
    assert_eq!((request.uri().path(), kind.as_str()), ("/v1/traces", "application/x-protobuf"));
    let body = request.into_body().collect().await.unwrap().to_bytes();
    received.send(ExportTraceServiceRequest::decode(body).unwrap()).unwrap();
    Response::new(Body::empty())
}

async fn scene(endpoint: String, protocol: OtlpProtocol, adjust: impl FnOnce(&mut Config)) -> Scene {
    let scene = Scene::with(|config, _| {
        config.otlp_endpoint = endpoint;
        config.otlp_protocol = protocol;
        config.otlp_headers = Some("x-password=open sesame".parse::<Secret>().unwrap());
        adjust(config);
    })
    .await;
    scene.ready(&[Upstream::start().await.address]);
    scene
}

const PROTOCOLS: [OtlpProtocol; 2] = [OtlpProtocol::Grpc, OtlpProtocol::HttpProtobuf];

#[tokio::test]
async fn spans_are_sent_by_either_protocol() {
    for protocol in PROTOCOLS {
        let mut collector = collector(None).await;
        let scene = scene(format!("http://{}", collector.address), protocol, |_| {}).await;
        assert_eq!(scene.get("/").await.status, 200);
        assert_eq!(collector.spans(1).await[0].name, "GET default/app", "{protocol:?}");
        until(async || scene.metric("interceptor_spans_total").await == Some(1), "it is counted as sent").await;
    }
}

fn trusting(authority: &Authority, folder: &Path, config: &mut Config) {
    std::fs::write(folder.join("ca.crt"), &authority.pem).unwrap();
    authority.issue(&["interceptor"]).write(folder, "own");
    config.otlp_ca = Some(folder.join("ca.crt"));
    config.otlp_cert = Some(folder.join("own.crt"));
    config.otlp_key = Some(folder.join("own.key"));
}

#[tokio::test]
async fn over_tls_the_collector_is_checked_and_told_who_we_are() {
    let (authority, folder) = (Authority::new("tests"), tempfile::tempdir().unwrap());
    for protocol in PROTOCOLS {
        // It wants a certificate of its clients, too, and speaks what they choose.
        let tls = authority.issue(&["127.0.0.1"]).server(Some(&authority), &["h2", "http/1.1"]);
        let mut collector = collector(Some(tls)).await;
        let endpoint = format!("https://{}", collector.address);
        let scene = scene(endpoint, protocol, |config| trusting(&authority, folder.path(), config)).await;
        assert_eq!(scene.get("/").await.status, 200);
        assert_eq!(collector.spans(1).await[0].name, "GET default/app", "{protocol:?}");
    }
}

#[tokio::test]
async fn a_collector_that_is_not_trusted_gets_nothing_until_its_authority_is() {
    let (authority, stranger) = (Authority::new("known"), Authority::new("stranger"));
    for protocol in PROTOCOLS {
        let folder = tempfile::tempdir().unwrap();
        let tls = stranger.issue(&["127.0.0.1"]).server(None, &["h2", "http/1.1"]);
        let collector = collector(Some(tls)).await;
        let endpoint = format!("https://{}", collector.address);
        let scene = scene(endpoint, protocol, |config| trusting(&authority, folder.path(), config)).await;
        assert_eq!(scene.get("/").await.status, 200);
        until(async || scene.metric("interceptor_dropped_spans_total").await == Some(1), "the span is dropped").await;
        // The authority changes hands: no restart is needed.
        std::fs::write(folder.path().join("ca.crt"), &stranger.pem).unwrap();
        let sent = async || {
            assert_eq!(scene.get("/").await.status, 200);
            scene.metric("interceptor_spans_total").await > Some(0)
        };
        until_within(Duration::from_secs(30), sent, "it is trusted now").await;
    }
}

#[tokio::test]
async fn a_connection_to_the_collector_that_is_dead_without_a_word_is_given_up() {
    let collector = collector(None).await;
    let (address, way) = (collector.address, TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
    let endpoint = format!("http://{}", way.local_addr().unwrap());
    tokio::spawn(async move {
        let _dead = way.accept().await.unwrap();
        while let Ok((mut client, _)) = way.accept().await {
            tokio::spawn(async move {
                let mut server = TcpStream::connect(address).await.unwrap();
                let _ended = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    let scene = scene(endpoint, OtlpProtocol::Grpc, |_| {}).await;
    let sent = async || {
        assert_eq!(scene.get("/").await.status, 200);
        scene.metric("interceptor_spans_total").await > Some(0)
    };
    until_within(Duration::from_secs(60), sent, "spans go another way").await;
}

#[tokio::test]
async fn a_collector_that_cannot_be_is_refused_at_the_start() {
    for (endpoint, key, wanted) in [
        ("ftp://127.0.0.1:4317", None, "neither http:// nor https://"),
        ("127.0.0.1:4317", None, "http://HOST:PORT"),
        ("https://127.0.0.1:4317", Some("own.key"), "--otlp-cert"),
    ] {
        let refused = scene_refused(endpoint, key).await;
        assert!(refused.contains(wanted) && refused.contains("--otlp"), "{refused}");
    }
}

async fn scene_refused(endpoint: &str, key: Option<&str>) -> String {
    let scene = Scene::with(|config, _| {
        config.otlp_endpoint = endpoint.to_owned();
        config.otlp_key = key.map(Into::into);
    })
    .await;
    scene.served.await.unwrap().unwrap_err().to_string()
}
