//! Interceptors are replaced one at a time under load, as a Deployment does it: no request is lost, nobody is cut off, and what
//! they have counted is in the log to the last request.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../driver/mod.rs"]
mod driver;

mod clients;
mod late;
mod replicas;
mod totals;

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use clients::{KeepAlive, LongLived, web_socket_server};
use driver::{
    backend::Backend,
    exclusively, http,
    own_runtime::OwnRuntime,
    program::run,
    rest,
    routes::{self, Route},
};
use plimsoll_testkit::{Folder, Kafka, wait_until};
use plimsoll_wire::topic::INTERCEPTORS;
use replicas::{Replica, Service};
use tokio::{net::TcpListener, time::Instant};
use totals::Totals;

/// Keep-alive clients that send one request after another.
const CLIENTS: usize = 16;
/// What anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is behind the interceptors.
struct Scene {
    kafka: Kafka,
    folder: Folder,
    /// The workloads' servers, apart from the clients so that neither delays the other.
    _servers: OwnRuntime,
}

impl Scene {
    /// `app` answers the keep-alive clients, `slow` takes its time, and `socket` speaks WebSocket.
    async fn set() -> Result<Self> {
        let servers = OwnRuntime::new("workloads", 1)?;
        let backend = servers.spawn(Backend::start(Instant::now())).await??.address();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let socket = listener.local_addr()?;
        tokio::spawn(web_socket_server(listener));
        let routes = [("app", backend), ("slow", backend), ("socket", socket)].map(|(name, at)| Route::new(name, at));
        let folder = Folder::new("restart")?;
        fs::write(folder.join("routes.yaml"), routes::file(&routes))?;
        let kafka = Kafka::start().await?;
        let topics = ["app", "slow", "socket"].map(|name| format!("plimsoll.default.{name}"));
        kafka.create_topics(topics.iter().map(String::as_str).chain([INTERCEPTORS])).await?;
        Ok(Self { kafka, folder, _servers: servers })
    }

    async fn replica(&self, name: &str) -> Result<Replica> {
        Replica::start(&self.folder, name, &self.kafka.bootstrap()).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load_loses_no_request_and_no_count() -> Result<()> {
    let _alone = exclusively().await;
    let scene = Scene::set().await?;
    let mut replicas = vec![scene.replica("first").await?, scene.replica("second").await?];
    let service = Service::of(&replicas);
    let clients = KeepAlive::start(CLIENTS, &service);
    wait_until("the clients are at work", PATIENCE, async || {
        ensure!(clients.sent() >= 20 * CLIENTS as u64, "{} requests", clients.sent());
        Ok(())
    })
    .await?;

    let mut gone = Vec::new();
    for name in ["third", "fourth"] {
        let replacement = scene.replica(name).await?;
        service.add(&replacement);
        let mut old = replicas.remove(0);
        leaves(&mut old).await.with_context(|| old.program.printed().unwrap_or_default())?;
        replicas.push(replacement);
        gone.push(old);
    }
    // The replacements carry the load alone.
    let sent = clients.sent();
    wait_until("requests go on", PATIENCE, async || {
        ensure!(clients.sent() >= sent + 10 * CLIENTS as u64, "{} requests", clients.sent() - sent);
        Ok(())
    })
    .await?;
    let sent = clients.finish().await?;
    for mut last in replicas {
        let ended = last.program.process().terminate(PATIENCE).await?;
        ensure!(ended.success(), "{}: {ended}", last.name);
        gone.push(last);
    }
    println!("{CLIENTS} clients sent {sent} requests over two restarts and lost none");
    accounts(&scene, &gone, sent).await
}

/// A replica is asked to stop while requests are in flight on it: they end well, its clients are told to go, and it ends well.
async fn leaves(old: &mut Replica) -> Result<()> {
    let busy = LongLived::begin(&old.proxy.address()).await?;
    wait_until("the long requests and the socket are in flight", PATIENCE, async || {
        let queue = rest::json(&old.admin.address(), "/queue").await?;
        ensure!(queue["default/slow"]["Concurrency"] == 2 && queue["default/socket"]["Concurrency"] == 1, "{queue}");
        Ok(())
    })
    .await?;
    let began = Instant::now();
    old.program.process().signal(nix::sys::signal::Signal::SIGTERM)?;
    wait_until("it says that it is not ready", PATIENCE, async || {
        let status = http::get(&old.admin.address(), "admin", "/readyz").await?.status.as_u16();
        ensure!(status == 503, "{status}");
        Ok(())
    })
    .await?;
    let reply = http::get(&old.proxy.address(), "app.example.com", "/").await?;
    ensure!(reply.status.as_u16() == 200, "it serves on for its shutdown delay, but answers {}", reply.status);
    ensure!(reply.headers.get("connection").is_some_and(|it| it == "close"), "{:?}", reply.headers);
    busy.end_well().await?;
    let ended = old.program.process().wait(PATIENCE).await?;
    ensure!(ended.success(), "{}: {ended}", old.name);
    let printed = old.program.printed()?;
    ensure!(!printed.contains("still in flight"), "it did not wait for its requests:\n{printed}");
    println!("{} left {:?} after SIGTERM", old.name, began.elapsed());
    Ok(())
}

/// What the access logs and the last frames say is what the clients have sent.
async fn accounts(scene: &Scene, gone: &[Replica], sent: u64) -> Result<()> {
    let totals = Totals::read(&scene.kafka.bootstrap(), gone, PATIENCE).await?;
    let mut logged = 0;
    for replica in gone {
        let app = replica.logged("default/app")?;
        let counted = totals.of(&replica.name, "plimsoll.default.app");
        ensure!(counted == app, "{}: {counted} in its last frame, {app} in its access log", replica.name);
        logged += app;
    }
    // Each of the two that left under load was asked once more by the test itself.
    ensure!(logged == sent + 2, "{sent} requests were sent, {logged} are in the access logs");
    let slow: u64 = gone.iter().map(|replica| totals.of(&replica.name, "plimsoll.default.slow")).sum();
    ensure!(slow == 4, "{slow} of 4 long requests are in the log");
    Ok(())
}

#[tokio::test]
async fn a_setting_that_cannot_be_is_refused_with_its_flag_its_value_and_a_remedy() -> Result<()> {
    let _alone = exclusively().await;
    let missing = "--tls-cert=/no/such/tls.crt";
    // The flag, what names the value, and what names the remedy.
    let cases: [(&[&str], [&str; 3]); 8] = [
        (&["--max-header-bytes=12"], ["--max-header-bytes", "12", "at least 8192"]),
        (&["--connect-timeout=soon"], ["--connect-timeout", "soon", "500ms"]),
        (&["--trusted-proxies=10.0.0.0/99"], ["--trusted-proxies", "10.0.0.0/99", "10."]),
        (&["--proxy-listen=127.0.0.1"], ["--proxy-listen", "127.0.0.1", "ADDR:PORT"]),
        (&[missing], ["--tls-cert", "", "--tls-key"]),
        (&[missing, "--tls-key=/no/such/tls.key"], ["/no/such/tls.crt", "", "PEM"]),
        (&["--otlp-endpoint=nonsense://x y"], ["--otlp-endpoint", "nonsense://x y", "http://HOST:PORT"]),
        (&["--error-format=xml"], ["--error-format", "xml", "problem"]),
    ];
    for (flags, wanted) in cases {
        let folder = Folder::new("refused")?;
        fs::write(folder.join("routes.yaml"), "")?;
        let routes = format!("--routes={}", folder.join("routes.yaml").display());
        let free = ["--proxy-listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"];
        let mut arguments = vec!["interceptor", &routes, "--kafka=127.0.0.1:1"];
        // A flag may be given once.
        arguments.extend(free.iter().filter(|flag| !flags[0].starts_with(&flag[..14])));
        arguments.extend(flags);
        let ended = run(&arguments).await.with_context(|| format!("{flags:?}"))?;
        ensure!(!ended.success, "{flags:?} is taken");
        for part in wanted {
            ensure!(ended.stderr.contains(part), "{flags:?} is refused without {part:?}:\n{}", ended.stderr);
        }
        ensure!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    }
    Ok(())
}
