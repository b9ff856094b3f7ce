//! The way to an OpenTelemetry collector: OTLP by gRPC or over HTTP, in the clear or over TLS.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::Scheme;
use http::{HeaderMap, Uri};
use hyper_util::rt::TokioIo;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _};
use rustls::pki_types::ServerName;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::Endpoint;
use tower_service::Service;

use super::traces::{TracesError, headers};
use crate::config::Config;
use crate::tls_client::{ClientFiles, ClientTls};
use crate::upstream::Stream;

/// Where a URL without a path leads, over HTTP (OTLP 1.x, "OTLP/HTTP Request").
const TRACES_PATH: &str = "/v1/traces";
/// One attempt to connect; the whole of a batch has the exporter's own time (`OTEL_EXPORTER_OTLP_TIMEOUT`).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Where a batch by gRPC has no answer after this long, the connection is asked whether it is alive, and has so long to answer: within
/// the exporter's own time (10 s). One that is dead without a word, as when its host is gone, would get every batch for minutes.
const PING_AFTER: Duration = Duration::from_secs(5);
const PING_ANSWER: Duration = Duration::from_secs(3);
/// What a batch has over HTTP at most; the exporter's own time is shorter, unless somebody made it longer.
const BATCH_TIMEOUT: Duration = Duration::from_secs(60);

/// How OTLP is spoken, by the names that OpenTelemetry has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
pub enum OtlpProtocol {
    /// gRPC, on port 4317 as a rule.
    #[serde(rename = "grpc")]
    Grpc,
    /// Protobuf over HTTP/1.1, on port 4318 as a rule.
    #[value(name = "http/protobuf")]
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
}

/// What sends spans as the settings say, and its TLS where it has any.
///
/// # Errors
/// Where the endpoint is no URL, its files can't be used, or one of the `OTEL_...` variables can't be read.
pub(super) fn exporter(config: &Config) -> Result<(SpanExporter, Option<Arc<ClientTls>>), TracesError> {
    let endpoint = &config.otlp_endpoint;
    let wrong = |reason: String| TracesError::Endpoint { endpoint: endpoint.clone(), reason };
    let url: Uri = endpoint.parse().map_err(|error: http::uri::InvalidUri| wrong(error.to_string()))?;
    let host = url.host().ok_or_else(|| wrong("it names no host".to_owned()))?.trim_matches(['[', ']']).to_owned();
    let secure = match url.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => true,
        Some(scheme) if *scheme == Scheme::HTTP => false,
        _ => return Err(wrong("it begins with neither http:// nor https://".to_owned())),
    };
    let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let files = ClientFiles::new(
        config.otlp_ca.as_deref(),
        ("--otlp-cert", config.otlp_cert.as_deref()),
        ("--otlp-key", config.otlp_key.as_deref()),
    )?;
    let tls = secure.then(|| ClientTls::load(files).map(Arc::new)).transpose()?;
    let name = ServerName::try_from(host.clone()).map_err(|error| wrong(error.to_string()))?;
    let alpn = match config.otlp_protocol {
        OtlpProtocol::Grpc => b"h2".to_vec(),
        OtlpProtocol::HttpProtobuf => b"http/1.1".to_vec(),
    };
    let way = Way { address: (host.into(), port), tls: tls.clone().map(|tls| (tls, name)), alpn };
    let given = headers(config.otlp_headers.as_ref().map_or("", |headers| headers.reveal()))?;
    let exporter = match config.otlp_protocol {
        OtlpProtocol::Grpc => by_grpc(url, way, given),
        OtlpProtocol::HttpProtobuf => over_http(url, way, &given),
    };
    Ok((exporter.map_err(wrong)?, tls))
}

fn by_grpc(url: Uri, way: Way, given: HeaderMap) -> Result<SpanExporter, String> {
    // Whether TLS is spoken is the way's business. tonic would speak it once more, or refuse to, where it reads https.
    let address = format!("http://{}", url.authority().map_or("", |authority| authority.as_str()));
    let channel = Endpoint::from_shared(address).map_err(|error| error.to_string())?;
    let channel = channel.origin(url).http2_keep_alive_interval(PING_AFTER).keep_alive_timeout(PING_ANSWER);
    let channel = channel.connect_with_connector_lazy(way);
    let builder = SpanExporter::builder().with_tonic().with_channel(channel);
    builder.with_metadata(MetadataMap::from_headers(given)).build().map_err(|error| error.to_string())
}

fn over_http(url: Uri, way: Way, given: &HeaderMap) -> Result<SpanExporter, String> {
    let url = match url.path() {
        "" | "/" => format!("{}{TRACES_PATH}", url.to_string().trim_end_matches('/')),
        _ => url.to_string(),
    };
    let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    };
    let builder = SpanExporter::builder().with_http().with_http_client(HyperClient::new(way, BATCH_TIMEOUT, None));
    let builder = builder.with_endpoint(url).with_headers(given.iter().filter_map(text).collect());
    builder.build().map_err(|error| error.to_string())
}

/// Opens connections to the collector, whatever URL is asked for: there is only one.
#[derive(Debug, Clone)]
struct Way {
    address: (Arc<str>, u16),
    tls: Option<(Arc<ClientTls>, ServerName<'static>)>,
    alpn: Vec<u8>,
}

impl Way {
    async fn open(self) -> io::Result<Stream> {
        let stream = TcpStream::connect((&*self.address.0, self.address.1)).await?;
        stream.set_nodelay(true)?;
        let Some((tls, name)) = self.tls else { return Ok(Stream::Plain(stream)) };
        let connector = TlsConnector::from(tls.current());
        Ok(Stream::Tls(Box::new(connector.with_alpn(vec![self.alpn]).connect(name, stream).await?)))
    }
}

impl Service<Uri> for Way {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let way = self.clone();
        Box::pin(async move {
            let opened = tokio::time::timeout(CONNECT_TIMEOUT, way.open()).await;
            opened.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map(TokioIo::new)
        })
    }
}
