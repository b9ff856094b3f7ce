//! Memory for idle connections of clients.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use plimsoll_testkit::Folder;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::contenders::{HOST, SMALL_BYTES};
use crate::figures::memory;

/// How many are opened at once.
const AT_ONCE: usize = 100;
/// What has been idle for so long is idle.
const REST: Duration = Duration::from_secs(3);

/// What idle connections speak.
pub(super) enum Speaks {
    Http1,
    /// HTTP/2 without TLS.
    Http2,
    /// HTTP/1.1 over TLS.
    Tls(Arc<ClientConfig>),
}

/// What lives as long as a connection.
#[allow(dead_code, reason = "they only have to live")]
enum Open {
    Http1(TcpStream),
    Http2(http2::SendRequest<Empty<Bytes>>),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

/// Bytes that the process has before, and with so many connections that have had one request each and then nothing for a while.
pub(super) async fn memory_with(
    address: &str,
    speaks: &Speaks,
    process: u32,
    connections: usize,
) -> Result<(u64, u64)> {
    let before = memory(process)?;
    let open = futures::stream::iter(0..connections).map(|_| used(address, speaks)).buffer_unordered(AT_ONCE);
    let open: Vec<Open> = open.try_collect().await?;
    tokio::time::sleep(REST).await;
    let after = memory(process)?;
    drop(open);
    Ok((before, after))
}

async fn used(address: &str, speaks: &Speaks) -> Result<Open> {
    let mut stream = TcpStream::connect(address).await.context("no further connection")?;
    match speaks {
        Speaks::Http1 => ask(&mut stream).await.map(|()| Open::Http1(stream)),
        Speaks::Tls(config) => {
            let mut stream = TlsConnector::from(config.clone()).connect(ServerName::try_from(HOST)?, stream).await?;
            ask(&mut stream).await?;
            Ok(Open::Tls(Box::new(stream)))
        }
        Speaks::Http2 => {
            let (mut client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
            // It ends with the client.
            tokio::spawn(connection);
            let request = Request::get(format!("http://{HOST}/")).body(Empty::new())?;
            let response = client.send_request(request).await?;
            ensure!(response.status() == 200, "status {}", response.status());
            response.into_body().collect().await?;
            Ok(Open::Http2(client))
        }
    }
}

async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<()> {
    stream.write_all(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).await?;
    // What TLS has taken is not on its way for that: where this task has had its share of the thread, it waits to be asked.
    stream.flush().await?;
    let mut read = Vec::new();
    // The whole response is a head and the small body.
    while !read.ends_with(b"x") || read.iter().rev().take_while(|byte| **byte == b'x').count() < SMALL_BYTES {
        ensure!(stream.read_buf(&mut read).await? > 0, "a connection was closed");
    }
    ensure!(read.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&read));
    Ok(())
}

/// Writes a certificate for the host as `bench.crt` and `bench.key`; a client that trusts it.
pub(super) fn certificate(folder: &Folder) -> Result<Speaks> {
    let made = rcgen::generate_simple_self_signed([HOST.to_owned()])?;
    std::fs::write(folder.join("bench.crt"), made.cert.pem())?;
    std::fs::write(folder.join("bench.key"), made.signing_key.serialize_pem())?;
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Speaks::Tls(Arc::new(config.with_root_certificates(roots).with_no_client_auth())))
}
