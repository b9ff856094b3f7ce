//! What other proxies make of requests that can be read in two ways: the table of `docs/protection.md`.
//!
//! It needs nginx and HAProxy, so it runs only when it is asked for:
//! `cargo test --workspace --test proxy -- --ignored --nocapture compared`.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::scene::{Scene, until_within};
use crate::upstream::{Upstream, read_head};

/// What comes, as the table names it, and several requests of that kind.
const ROWS: [(&str, &[&str]); 13] = [
    (
        "`Content-Length` and `Transfer-Encoding`",
        &[
            "POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: app.test\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n",
        ],
    ),
    (
        "two `Content-Length` fields that differ, or that are equal",
        &[
            "POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nbody!",
            "POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: 4\r\ncontent-length: 4\r\n\r\nbody",
        ],
    ),
    (
        "`Content-Length: 4, 4`, `+4`, `0x4`",
        &[
            "POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: 4, 4\r\n\r\nbody",
            "POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: +4\r\n\r\nbody",
            "POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: 0x4\r\n\r\nbody",
        ],
    ),
    (
        "`Transfer-Encoding` that is not `chunked` alone: twice, `gzip, chunked`, `xchunked`, `identity`",
        &[
            "POST / HTTP/1.1\r\nhost: app.test\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: app.test\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: app.test\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: app.test\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
        ],
    ),
    (
        "`Transfer-Encoding` in HTTP/1.0",
        &["POST / HTTP/1.0\r\nhost: app.test\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"],
    ),
    (
        "a blank before a field's colon, a field without a colon",
        &["GET / HTTP/1.1\r\nhost: app.test\r\nx : y\r\n\r\n", "GET / HTTP/1.1\r\nhost: app.test\r\nx\r\n\r\n"],
    ),
    (
        "a control character in a field: NUL, or another one",
        &[
            "GET / HTTP/1.1\r\nhost: app.test\r\nx: y\0z\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: app.test\r\nx: y\x0bz\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: app.test\r\nx: y\rz\r\n\r\n",
        ],
    ),
    ("a field that goes on in a second line", &["GET / HTTP/1.1\r\nhost: app.test\r\nx: y\r\n z\r\n\r\n"]),
    (
        "a line that ends in LF without CR",
        &["GET / HTTP/1.1\nhost: app.test\n\n", "GET / HTTP/1.1\r\nhost: app.test\r\nx: y\nz: a\r\n\r\n"],
    ),
    (
        "chunks: a size with a sign, `0x`, a blank, or over 64 bits; data longer than the size; a bare LF",
        &[
            "POST / HTTP/1.1\r\nhost: app.test\r\ntransfer-encoding: chunked\r\n\r\n+4\r\nbody\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: app.test\r\ntransfer-encoding: chunked\r\n\r\n0x4\r\nbody\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: app.test\r\ntransfer-encoding: chunked\r\n\r\n 4\r\nbody\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: app.test\r\ntransfer-encoding: chunked\r\n\r\n10000000000000004\r\nbody\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: app.test\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody!\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: app.test\r\ntransfer-encoding: chunked\r\n\r\n4\nbody\n0\n\n",
        ],
    ),
    (
        "a request line with other than one space between its three words, or with a fragment",
        &[
            "GET  / HTTP/1.1\r\nhost: app.test\r\n\r\n",
            "GET /a b HTTP/1.1\r\nhost: app.test\r\n\r\n",
            "GET\t/ HTTP/1.1\r\nhost: app.test\r\n\r\n",
            "GET /#x HTTP/1.1\r\nhost: app.test\r\n\r\n",
        ],
    ),
    (
        "no `Host` in HTTP/1.1, two of them, or one that is no host",
        &[
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: app.test\r\nhost: app.test\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: app.test/x\r\n\r\n",
        ],
    ),
    (
        "`CONNECT`; `HTTP/2.0` in a request line",
        &["CONNECT app.test:80 HTTP/1.1\r\nhost: app.test:80\r\n\r\n", "GET / HTTP/2.0\r\nhost: app.test\r\n\r\n"],
    ),
];

/// A proxy in front of a workload of its own.
struct Contender {
    name: String,
    address: SocketAddr,
    workload: Workload,
    _running: Option<Child>,
}

/// It takes whatever a proxy lets through, so that every refusal is the proxy's own.
struct Workload {
    upstream: Upstream,
    seen: Arc<AtomicUsize>,
}

impl Workload {
    async fn start() -> Self {
        let seen = Arc::new(AtomicUsize::new(0));
        let counted = seen.clone();
        let upstream = Upstream::scripted(move |mut stream, _| {
            let counted = counted.clone();
            async move {
                if stream.read_u8().await.is_ok() {
                    counted.fetch_add(1, SeqCst);
                    read_head(&mut stream).await;
                    let _gone =
                        stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
                }
            }
        });
        Self { upstream: upstream.await, seen }
    }
}

/// How long a proxy may take over a request before it counts as waiting for more.
const WAITING: Duration = Duration::from_secs(1);

impl Contender {
    /// A status where the proxy answers by itself, or that the request came to the workload.
    async fn answers(&self, request: &str) -> String {
        let before = self.workload.seen.load(SeqCst);
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = [0; 12];
        let read = tokio::time::timeout(WAITING, stream.read_exact(&mut head)).await;
        match (self.workload.seen.load(SeqCst) > before, read) {
            (true, _) => "accepted".to_owned(),
            (false, Ok(Ok(_))) => String::from_utf8_lossy(&head[9..]).into_owned(),
            (false, Ok(Err(_))) => "closed".to_owned(),
            (false, Err(_)) => "waits".to_owned(),
        }
    }
}

async fn free_port() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap()
}

/// The first line of what `PROGRAM -v` says.
async fn version(program: &str) -> String {
    let said = Command::new(program).arg("-v").output().await.expect("nginx and HAProxy are installed");
    let said = [said.stdout, said.stderr].concat();
    String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_owned()
}

async fn contender(name: &str, address: SocketAddr, workload: Workload, command: &mut Command) -> Contender {
    let running = command.kill_on_drop(true).spawn().expect("nginx and HAProxy are installed");
    let listens = async || TcpStream::connect(address).await.is_ok();
    until_within(Duration::from_secs(20), listens, &format!("{name} listens")).await;
    Contender { name: version(name).await, address, workload, _running: Some(running) }
}

async fn nginx(folder: &Path) -> Contender {
    let (address, workload) = (free_port().await, Workload::start().await);
    let (path, backend) = (folder.display(), workload.upstream.address);
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {path}/{kind};"))
        .join(" ");
    let config = format!(
        "daemon off; master_process off; pid {path}/nginx.pid; error_log {path}/nginx.err;\nevents {{}}\nhttp {{ access_log off; {temporary}\n\
         server {{ listen {address}; location / {{ proxy_pass http://{backend}; proxy_http_version 1.1; }} }} }}\n"
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, config).unwrap();
    contender("nginx", address, workload, Command::new("nginx").arg("-c").arg(file)).await
}

async fn haproxy(folder: &Path) -> Contender {
    let (address, workload) = (free_port().await, Workload::start().await);
    let config = format!(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\nfrontend in\n  bind {address}\n\
         \x20 default_backend out\nbackend out\n  server one {}\n",
        workload.upstream.address
    );
    let file = folder.join("haproxy.cfg");
    std::fs::write(&file, config).unwrap();
    contender("haproxy", address, workload, Command::new("haproxy").arg("-db").arg("-f").arg(file)).await
}

#[tokio::test]
#[ignore = "it prints a table beside nginx and HAProxy, which must be installed"]
async fn compared_with_others() {
    let folder: TempDir = tempfile::tempdir().unwrap();
    let (scene, workload) = (Scene::start().await, Workload::start().await);
    scene.ready(&[workload.upstream.address]);
    let ours = Contender { name: "Plimsoll".to_owned(), address: scene.proxy, workload, _running: None };
    let contenders = [ours, nginx(folder.path()).await, haproxy(folder.path()).await];
    let names: Vec<_> = contenders.iter().map(|it| it.name.as_str()).collect();
    println!("| what comes | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()));
    for (what, requests) in ROWS {
        let mut cells = Vec::new();
        for contender in &contenders {
            let mut answers = Vec::new();
            for request in requests {
                answers.push(contender.answers(request).await);
            }
            let different: BTreeSet<_> = answers.iter().collect();
            cells.push(if different.len() == 1 { answers.swap_remove(0) } else { answers.join(", ") });
        }
        assert!(!cells[0].contains("accepted"), "{what}: {}", cells[0]);
        println!("| {what} | {} |", cells.join(" | "));
    }
}
