//! gRPC through the proxy: with tonic, and with client and server in Go.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::{Stream, StreamExt as _};
use http::uri::PathAndQuery;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use plimsoll_wire::resources::BackendProtocol;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tonic::codegen::Service;
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::certs::{Authority, connect};
use crate::scene::Scene;

#[derive(Clone, PartialEq, prost::Message)]
struct Note {
    #[prost(string, tag = "1")]
    text: String,
}

type Notes = Pin<Box<dyn Stream<Item = Result<Note, Status>> + Send>>;

fn note(text: &str) -> Note {
    Note { text: text.to_owned() }
}

fn codec() -> ProstCodec<Note, Note> {
    ProstCodec::default()
}

/// Sends a note back, with what the caller asked for at the end.
#[derive(Clone)]
struct Unary;

impl Service<Request<Note>> for Unary {
    type Response = Response<Note>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Note>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Note>) -> Self::Future {
        Box::pin(async move {
            let note = request.into_inner();
            if note.text == "fail" {
                return Err(Status::failed_precondition("as asked"));
            }
            Ok(Response::new(note))
        })
    }
}

/// Sends each note back as it comes; "fail" ends the call with an error.
#[derive(Clone)]
struct Both;

impl Service<Request<tonic::Streaming<Note>>> for Both {
    type Response = Response<Notes>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Notes>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::Streaming<Note>>) -> Self::Future {
        let notes = request.into_inner().map(|note| match note {
            Ok(note) if note.text == "fail" => Err(Status::resource_exhausted("enough")),
            other => other,
        });
        Box::pin(async move { Ok(Response::new(Box::pin(notes) as Notes)) })
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let service = service_fn(|request: http::Request<Incoming>| async move {
        let mut grpc = tonic::server::Grpc::new(codec());
        Ok::<_, Infallible>(match request.uri().path() {
            "/notes/Unary" => grpc.unary(Unary, request).await,
            "/notes/Both" => grpc.streaming(Both, request).await,
            _ => Status::unimplemented("no such method").into_http(),
        })
    });
    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let _client_gone = server.serve_connection(TokioIo::new(stream), service).await;
}

/// A client's connection, as tonic calls it.
#[derive(Clone)]
struct Channel(SendRequest<tonic::body::Body>);

impl Channel {
    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }
}

impl Service<http::Request<tonic::body::Body>> for Channel {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, Result<Self::Response, hyper::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// An interceptor in front of a gRPC server, in clear text or with TLS on both sides.
struct Called {
    scene: Scene,
    authority: Authority,
    folder: TempDir,
    secure: bool,
}

impl Called {
    async fn start(secure: bool) -> Self {
        let backend = if secure { BackendProtocol::H2 } else { BackendProtocol::H2c };
        let (scene, authority, folder) = Scene::secured(backend).await;
        Self { scene, authority, folder, secure }
    }

    async fn client(&self) -> tonic::client::Grpc<Channel> {
        let channel = if self.secure {
            let config = self.authority.client(None, &["h2"]);
            Channel::over(connect(self.scene.proxy_tls(), "app.test", config).await.unwrap()).await
        } else {
            Channel::over(TcpStream::connect(self.scene.proxy).await.unwrap()).await
        };
        tonic::client::Grpc::with_origin(channel, http::Uri::from_static("http://app.test"))
    }
}

#[tokio::test]
async fn tonic_calls_and_streams_in_both_directions() {
    for secure in [false, true] {
        println!("TLS on both sides: {secure}");
        let called = Called::start(secure).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tls = secure.then(|| called.authority.issue(&["127.0.0.1"]).server(None, &["h2"]));
        called.scene.ready(&[listener.local_addr().unwrap()]);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                match tls.clone() {
                    Some(tls) => drop(tokio::spawn(async move { serve(tls.accept(stream).await.unwrap()).await })),
                    None => drop(tokio::spawn(serve(stream))),
                }
            }
        });
        let mut client = called.client().await;
        unary(&mut client).await;
        streams(&mut client).await;
        called.scene.until_queue(0, 5).await;
        server.abort();
    }
}

async fn unary(client: &mut tonic::client::Grpc<Channel>) {
    let path = PathAndQuery::from_static("/notes/Unary");
    client.ready().await.unwrap();
    let long = "x".repeat(1 << 20);
    let answer = client.unary(Request::new(note(&long)), path.clone(), codec()).await.unwrap();
    assert!(answer.into_inner().text == long);
    let error = client.unary(Request::new(note("fail")), path, codec()).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::FailedPrecondition, "as asked"));
    let nowhere = PathAndQuery::from_static("/notes/Nowhere");
    let error = client.unary(Request::new(note("")), nowhere, codec()).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
}

async fn streams(client: &mut tonic::client::Grpc<Channel>) {
    let path = PathAndQuery::from_static("/notes/Both");
    for last in ["end", "fail"] {
        let (sender, notes) = tokio::sync::mpsc::channel(1);
        let notes = tokio_stream::wrappers::ReceiverStream::new(notes);
        client.ready().await.unwrap();
        let mut answers = client.streaming(Request::new(notes), path.clone(), codec()).await.unwrap().into_inner();
        for number in 0..20 {
            // One at a time: nothing on the way may wait for more.
            sender.send(note(&number.to_string())).await.unwrap();
            assert_eq!(answers.message().await.unwrap().unwrap().text, number.to_string());
        }
        if last == "end" {
            drop(sender);
            assert_eq!(answers.message().await.unwrap(), None);
        } else {
            sender.send(note(last)).await.unwrap();
            assert_eq!(answers.message().await.unwrap_err().code(), Code::ResourceExhausted);
        }
    }
}

/// The program of `tests/grpc`, built by its script unless it is there.
async fn go_program() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/grpc/build");
    let output = Command::new(&script).output().await.expect("the script can be run");
    assert!(output.status.success(), "{}: {}", script.display(), String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

async fn go_server(program: &Path, arguments: &[&Path]) -> (Child, std::net::SocketAddr) {
    let mut server = Command::new(program);
    server.args(["server", "127.0.0.1:0"]).args(arguments).stdout(Stdio::piped()).kill_on_drop(true);
    let mut server = server.spawn().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let address = lines.next_line().await.unwrap().expect("it prints its address");
    (server, address.parse().unwrap())
}

#[tokio::test]
async fn go_calls_go() {
    let program = go_program().await;
    for secure in [false, true] {
        println!("TLS on both sides: {secure}");
        let called = Called::start(secure).await;
        let own = tempfile::tempdir().unwrap();
        called.authority.issue(&["127.0.0.1"]).write(own.path(), "server");
        let (cert, key) = (own.path().join("server.crt"), own.path().join("server.key"));
        let files: &[&Path] = if secure { &[&cert, &key] } else { &[] };
        let (mut server, address) = go_server(&program, files).await;
        called.scene.ready(&[address]);
        let mut client = Command::new(&program);
        if secure {
            client
                .args(["client", &called.scene.proxy_tls().to_string()])
                .arg(called.folder.path().join("authority.txt"));
        } else {
            client.args(["client", &called.scene.proxy.to_string()]);
        }
        let output = client.arg("app.test").kill_on_drop(true).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "ok\n");
        called.scene.until_queue(0, 7).await;
        server.kill().await.unwrap();
    }
}
