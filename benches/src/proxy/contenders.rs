//! The proxies that are compared, and what stands behind them. Each one has two threads or workers.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use plimsoll_testkit::{Folder, Port, Process};
use tokio::net::TcpStream;

use super::grpc;
use super::idle::{self, Speaks};
use crate::line::{Ground, Line};
use crate::traffic;

/// What every backend says.
pub(super) const SMALL_BYTES: usize = 512;
/// The path of a large body.
pub(super) const LARGE_PATH: &str = "/large";
/// Its length.
pub(super) const LARGE_BYTES: usize = 1 << 20;

/// The hosts that the routes are for.
pub(super) const HOST: &str = "bench.localhost";
pub(super) const GRPC_HOST: &str = "grpc.localhost";

/// A proxy that is up.
pub(super) struct Contender {
    pub(super) name: &'static str,
    pub(super) address: String,
    /// Where it takes gRPC for the host [`GRPC_HOST`], if it is measured with it.
    pub(super) grpc: Option<String>,
    pub(super) process: u32,
    _running: Running,
}

#[allow(dead_code, reason = "they only have to live")]
enum Running {
    Process(Process),
    Line(Box<Line>),
}

/// The backend, and the contenders with nginx first.
pub(super) struct Field {
    pub(super) contenders: Vec<Contender>,
    /// Where the last one, which is ours, takes HTTP without and with TLS.
    pub(super) plimsoll: String,
    pub(super) plimsoll_tls: String,
    /// How to speak with it over TLS.
    pub(super) trusting: Speaks,
    _backend: Process,
    /// Goes when this is dropped.
    pub(super) folder: Folder,
}

impl Field {
    /// Starts everything.
    pub(super) async fn start() -> Result<Self> {
        let folder = Folder::new("plimsoll-bench-proxy")?;
        let port = Port::claim()?;
        let backend = port.address();
        let serving = backend_of(&folder, &backend).await?;
        let grpc = grpc::backend().await?;
        let routes = traffic::route("bench", backend.parse()?) + &traffic::route_to("grpc", grpc, "h2c");
        let trusting = idle::certificate(&folder)?;
        let tls = Port::claim()?;
        let plimsoll_tls = tls.address();
        let listen_tls = ["--proxy-tls-listen", &plimsoll_tls];
        let (cert, key) = (folder.join("bench.crt"), folder.join("bench.key"));
        let pair =
            ["--tls-cert", &cert.display().to_string(), "--tls-key", &key.display().to_string()].map(str::to_owned);
        let more: Vec<&str> = listen_tls.into_iter().chain(pair.iter().map(String::as_str)).collect();
        let line = Line::start_with(Ground::Kafka, &routes, 2, &more).await?;
        let proxy = line.proxy.clone();
        let plimsoll = Contender {
            name: "plimsoll",
            address: line.proxy.clone(),
            grpc: Some(line.proxy.clone()),
            process: line.interceptor.id(),
            _running: Running::Line(Box::new(line)),
        };
        let contenders = vec![
            nginx_proxy(&folder, &backend, grpc).await?,
            haproxy(&folder, &backend).await?,
            go_proxy(&folder, &backend).await?,
            plimsoll,
        ];
        Ok(Self { contenders, plimsoll: proxy, plimsoll_tls, trusting, _backend: serving, folder })
    }
}

/// An nginx that answers from memory.
async fn backend_of(folder: &Folder, address: &str) -> Result<Process> {
    std::fs::write(folder.join("large"), vec![b'x'; LARGE_BYTES])?;
    let body = "x".repeat(SMALL_BYTES);
    let locations = format!(
        "location / {{ return 200 '{body}'; }} location {LARGE_PATH} {{ root {}; sendfile on; open_file_cache max=10; }}",
        folder.path().display()
    );
    nginx(folder, "backend", address, &locations, "").await
}

async fn nginx_proxy(folder: &Folder, backend: &str, grpc: SocketAddr) -> Result<Contender> {
    let (port, grpc_port) = (Port::claim()?, Port::claim()?);
    let (address, grpc_address) = (port.address(), grpc_port.address());
    // Nothing is written to the disk when a client is slower than the backend.
    let beside = format!(
        "proxy_max_temp_file_size 0;\n\
         upstream backend {{ server {backend}; keepalive 128; keepalive_requests 100000000; }}\n\
         upstream grpc {{ server {grpc}; keepalive 128; keepalive_requests 100000000; }}\n\
         server {{ listen {grpc_address} http2 reuseport; location / {{ grpc_pass grpc://grpc; }} }}"
    );
    let forward = "location / { proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ''; \
                   proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }";
    let process = nginx(folder, "nginx", &address, forward, &beside).await?;
    Ok(Contender {
        name: "nginx",
        address,
        grpc: Some(grpc_address),
        process: process.id(),
        _running: Running::Process(process),
    })
}

async fn haproxy(folder: &Folder, backend: &str) -> Result<Contender> {
    let port = Port::claim()?;
    let address = port.address();
    let config = format!(
        "global\n  nbthread 2\n  maxconn 16000\n  no strict-limits\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 300s\n  timeout server 60s\n\
         frontend in\n  bind {address}\n  default_backend out\n\
         backend out\n  option forwardfor\n  http-reuse always\n  server one {backend}\n"
    );
    let file = folder.join("haproxy.cfg");
    std::fs::write(&file, config)?;
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(&file);
    contender(folder, "haproxy", &command, address).await
}

/// Built by `make bench-proxy` beside this program.
async fn go_proxy(folder: &Folder, backend: &str) -> Result<Contender> {
    let program = std::env::current_exe()?.with_file_name("reverse-proxy");
    ensure!(program.exists(), "{} is not there: `make bench-proxy` builds it", program.display());
    let port = Port::claim()?;
    let address = port.address();
    let mut command = Command::new(program);
    command.arg(&address).arg(backend).env("GOMAXPROCS", "2");
    contender(folder, "go", &command, address).await
}

async fn contender(folder: &Folder, name: &'static str, command: &Command, address: String) -> Result<Contender> {
    let mut process = Process::spawn(name, command, &folder.join(&format!("{name}.log")))?;
    listens(&mut process, &address).await?;
    Ok(Contender { name, address, grpc: None, process: process.id(), _running: Running::Process(process) })
}

/// An nginx of our own, with two workers: the workers read what is in a folder that is root's where root runs this.
async fn nginx(folder: &Folder, name: &str, address: &str, locations: &str, beside: &str) -> Result<Process> {
    let path = folder.path().display();
    let config = format!(
        "daemon off; user root; worker_processes 2; pid {path}/{name}.pid; error_log {path}/{name}.err;\nevents {{ worker_connections 16000; }}\n\
         http {{ access_log off; keepalive_requests 100000000; keepalive_timeout 300s; client_body_temp_path {path}/{name}-body;\n\
         proxy_temp_path {path}/{name}-proxy; fastcgi_temp_path {path}/{name}-f; uwsgi_temp_path {path}/{name}-u; scgi_temp_path {path}/{name}-s;\n\
         {beside}\nserver {{ listen {address} reuseport; {locations} }} }}\n"
    );
    let file = folder.join(&format!("{name}.conf"));
    std::fs::write(&file, config)?;
    let mut command = Command::new("nginx");
    command.arg("-c").arg(&file);
    let mut process = Process::spawn(name, &command, &folder.join(&format!("{name}.log")))
        .with_context(|| format!("{name} can't be started: `make bench-proxy` installs it"))?;
    listens(&mut process, address).await?;
    Ok(process)
}

async fn listens(process: &mut Process, address: &str) -> Result<()> {
    process.ready(Duration::from_secs(10), async || Ok(TcpStream::connect(address).await?)).await.map(drop)
}
