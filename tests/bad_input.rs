//! What is wrong is said once and clearly, and never stops what is right.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod driver;

use std::{
    fs::{self, File},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use driver::{
    backend::Backend,
    exclusively, http,
    keda::{Keda, Trigger},
    program::{Program, START_LIMIT, command, run},
    rest,
    routes::{self, Route},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use plimsoll_testkit::{Etcd, Folder, Kafka, Port, wait_until};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};

/// How long a part is watched that can't reach its server.
const WATCHED: Duration = Duration::from_secs(12);
/// With a backoff, this many lines say it all.
const LINES_AT_MOST: usize = 25;

/// An interceptor alone, whose broker does not answer.
struct Alone {
    program: Program,
    folder: Folder,
    proxy: Port,
    admin: Port,
    /// Nobody listens here.
    _kafka: Port,
}

impl Alone {
    async fn start(routes: &str) -> Result<Self> {
        let folder = Folder::new("alone")?;
        fs::write(folder.join("routes.yaml"), routes)?;
        let [proxy, admin, kafka] = [Port::claim()?, Port::claim()?, Port::claim()?];
        let arguments = [
            "interceptor".to_owned(),
            format!("--routes={}", folder.join("routes.yaml").display()),
            format!("--kafka={}", kafka.address()),
            format!("--proxy-listen={}", proxy.address()),
            format!("--admin-listen={}", admin.address()),
        ];
        let mut program = Program::start(&folder, "interceptor", &arguments)?;
        program.listens(&[&proxy.address(), &admin.address()]).await?;
        Ok(Self { program, folder, proxy, admin, _kafka: kafka })
    }

    async fn status(&self, host: &str) -> Result<u16> {
        Ok(http::get(&self.proxy.address(), host, "/").await?.status.as_u16())
    }

    async fn serves(&self, host: &str) -> Result<()> {
        wait_until(&format!("{host} is served"), Duration::from_secs(10), async || {
            let status = self.status(host).await?;
            ensure!(status == 200, "{status}");
            Ok(())
        })
        .await
    }
}

#[tokio::test]
async fn an_unknown_host_is_404_and_a_known_one_is_served_even_without_a_broker() -> Result<()> {
    let _alone = exclusively().await;
    let backend = Backend::start(Instant::now()).await?;
    let interceptor = Alone::start(&routes::file(&[Route::new("good", backend.address())])).await?;
    interceptor.serves("good.example.com").await?;
    ensure!(interceptor.status("GOOD.example.com:80").await? == 200, "hosts have no case and no port");
    ensure!(interceptor.status("bad.example.com").await? == 404, "an unknown host");
    ensure!(rest::admitted(&interceptor.admin.address(), "default/good").await? >= 1, "requests count");
    http::get_ok(&interceptor.admin.address(), "/livez").await?;
    Ok(())
}

#[tokio::test]
async fn a_bad_resource_is_named_with_file_and_line_and_the_others_are_served() -> Result<()> {
    let _alone = exclusively().await;
    let backend = Backend::start(Instant::now()).await?;
    let good = routes::file(&[Route::new("good", backend.address())]);
    let line_of_the_fault = good.lines().count() + 11;
    let bad = "---\napiVersion: http.keda.sh/v1beta1\nkind: InterceptorRoute\nmetadata:\n  name: bad\n  namespace: default\n\
               spec:\n  target:\n    service: 127.0.0.1\n    port: 80\n  scalingMetric: [surprise]\n";
    let mut interceptor = Alone::start(&format!("{good}{bad}")).await?;
    interceptor.serves("good.example.com").await?;
    let place = format!("routes.yaml:{line_of_the_fault}");
    interceptor.program.prints(&place, Duration::from_secs(5)).await?;

    // A file that is no YAML any more: what was read before stays.
    let file = interceptor.folder.join("routes.yaml");
    fs::write(&file, format!("{good}---\nkind: [\n"))?;
    let line = good.lines().count() + 2;
    wait_until("the broken file is named", Duration::from_secs(10), async || {
        let printed = interceptor.program.printed()?;
        let named = (line - 1..=line + 1).any(|line| printed.contains(&format!("routes.yaml:{line}")));
        ensure!(named, "it printed:\n{printed}");
        Ok(())
    })
    .await?;
    ensure!(interceptor.status("good.example.com").await? == 200, "a good route went with a bad file");

    // Mended: the new route is served without a restart.
    let routes = ["good", "new"].map(|name| Route::new(name, backend.address()));
    fs::write(&file, routes::file(&routes))?;
    interceptor.serves("new.example.com").await?;
    ensure!(!interceptor.program.process().has_ended()?, "it ended");
    ensure!(!interceptor.program.printed()?.contains("panicked"), "it panicked");
    Ok(())
}

#[tokio::test]
async fn a_granularity_under_a_second_is_refused_by_name() -> Result<()> {
    let _alone = exclusively().await;
    let backend = Backend::start(Instant::now()).await?;
    let good = routes::file(&[Route::new("good", backend.address())]);
    let bad = good
        .replace("name: good", "name: fine-grained")
        .replace("good.example.com", "fine.example.com")
        .replace("      window: 10s", "      window: 10s\n      granularity: 500ms");
    let interceptor = Alone::start(&format!("{good}{bad}")).await?;
    interceptor.serves("good.example.com").await?;
    let printed = interceptor.program.prints("granularity", Duration::from_secs(5)).await?;
    let line = printed.lines().find(|line| line.contains("granularity")).unwrap_or_default();
    ensure!(line.contains("fine-grained") && line.contains("500ms"), "unclear: {line}");
    Ok(())
}

#[tokio::test]
async fn garbage_from_a_client_harms_only_its_own_connection() -> Result<()> {
    let _alone = exclusively().await;
    let backend = Backend::start(Instant::now()).await?;
    let mut interceptor = Alone::start(&routes::file(&[Route::new("good", backend.address())])).await?;
    interceptor.serves("good.example.com").await?;
    let endless = "a".repeat(1_000_000);
    let garbage = [
        "\0\u{1}\u{2}garbage\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: good.example.com\r\nHost: other.example.com\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: good.example.com\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            .to_owned(),
        format!("GET / HTTP/1.1\r\nHost: good.example.com\r\nX-Endless: {endless}\r\n\r\n"),
        "POST / HTTP/1.1\r\nHost: good.example.com\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_owned(),
    ];
    for text in &garbage {
        let mut client = TcpStream::connect(interceptor.proxy.address()).await?;
        // It may be closed before all is written.
        let _ = client.write_all(text.as_bytes()).await;
        let mut answer = [0; 64];
        let _ = timeout(Duration::from_millis(500), client.read(&mut answer)).await;
    }
    ensure!(interceptor.status("good.example.com").await? == 200, "good requests suffer");
    let admin = interceptor.admin.address();
    wait_until("nothing stays in flight", Duration::from_secs(5), async || {
        let queue = rest::json(&admin, "/queue").await?;
        ensure!(queue["default/good"]["Concurrency"] == 0, "{queue}");
        Ok(())
    })
    .await?;
    ensure!(!interceptor.program.process().has_ended()?, "it ended");
    ensure!(!interceptor.program.printed()?.contains("panicked"), "it panicked");
    Ok(())
}

#[tokio::test]
async fn a_bad_flag_ends_at_once_with_a_line_that_names_it() -> Result<()> {
    let _alone = exclusively().await;
    let cases: [&[&str]; 5] = [
        &["interceptor", "--nonsense"],
        &["interceptor", "--routes=x", "--kafka=x:1", "--proxy-listen=nonsense"],
        &["interceptor", "--routes=x", "--kafka=x:1", "--tick=nonsense"],
        &["manager", "--routes=x", "--kafka=x:1", "--etcd=x:1", "--max-per-host=nonsense"],
        &["nonsense"],
    ];
    for arguments in cases {
        let ended = run(arguments).await?;
        ensure!(!ended.success, "{arguments:?} is taken");
        let said = ended.stderr.lines().next().unwrap_or_default();
        ensure!(said.contains("nonsense"), "{arguments:?} is answered with {said:?}");
        ensure!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    }
    Ok(())
}

#[tokio::test]
async fn a_kafka_setting_that_can_not_be_read_may_be_half_a_password_and_is_not_shown() -> Result<()> {
    let _alone = exclusively().await;
    let ended = run(&["collector", "--kafka=x:1", "--etcd=x:1", "--kafka-config=nonsense"]).await?;
    ensure!(!ended.success && ended.stderr.contains("--kafka-config"), "{}", ended.stderr);
    ensure!(!ended.stderr.contains("nonsense"), "{}", ended.stderr);
    Ok(())
}

#[tokio::test]
async fn a_kafka_setting_that_does_not_exist_ends_at_once_by_name() -> Result<()> {
    let _alone = exclusively().await;
    let arguments = ["collector", "--kafka=127.0.0.1:1", "--etcd=127.0.0.1:1", "--kafka-config=no.such.key=1"];
    let ended = run(&arguments).await?;
    ensure!(!ended.success && ended.stderr.contains("no.such.key"), "{}", ended.stderr);
    Ok(())
}

#[tokio::test]
async fn lines_that_can_not_be_written_stop_nothing() -> Result<()> {
    let _alone = exclusively().await;
    let full = || File::options().write(true).open("/dev/full");
    let ports = [Port::claim()?, Port::claim()?, Port::claim()?, Port::claim()?];
    let [proxy, admin, api, scaler] = ports.each_ref().map(Port::address);
    let arguments = [
        "--log=info".to_owned(),
        "dev".to_owned(),
        format!("--proxy-listen={proxy}"),
        format!("--admin-listen={admin}"),
        format!("--api-listen={api}"),
        format!("--scaler-listen={scaler}"),
    ];
    let mut dev = tokio::process::Command::from(command(&arguments));
    let mut dev = dev.stdin(Stdio::null()).stdout(full()?).stderr(full()?).kill_on_drop(true).spawn()?;
    wait_until("the demo wakes from zero", START_LIMIT, async || {
        let reply = http::get(&proxy, "hello.localhost", "/").await?;
        ensure!(reply.status == 200, "{} {}", reply.status, reply.body);
        Ok(())
    })
    .await?;
    let process = dev.id().context("it has ended")?;
    kill(Pid::from_raw(i32::try_from(process)?), Signal::SIGTERM)?;
    let ended = timeout(START_LIMIT, dev.wait()).await.context("it does not end")??;
    ensure!(ended.success(), "{ended}");
    Ok(())
}

#[tokio::test]
async fn a_port_that_is_taken_ends_at_once_with_its_address() -> Result<()> {
    let _alone = exclusively().await;
    let folder = Folder::new("taken")?;
    fs::write(folder.join("routes.yaml"), "")?;
    let routes = format!("--routes={}", folder.join("routes.yaml").display());
    let taken = TcpListener::bind("127.0.0.1:0").await?;
    let address = taken.local_addr()?.to_string();
    let [kafka, etcd, free] = [Port::claim()?, Port::claim()?, Port::claim()?];
    let (kafka, etcd, free) =
        (format!("--kafka={}", kafka.address()), format!("--etcd={}", etcd.address()), free.address());
    let interceptor =
        ["interceptor", &routes, &kafka, &format!("--proxy-listen={address}"), &format!("--admin-listen={free}")];
    let manager =
        ["manager", &routes, &kafka, &etcd, &format!("--api-listen={address}"), &format!("--scaler-listen={free}")];
    let collector = [
        "collector",
        &kafka,
        &etcd,
        &format!("--collector-listen={address}"),
        &format!("--collector-admin-listen={free}"),
    ];
    for arguments in [&interceptor[..], &manager[..], &collector[..]] {
        let ended = run(arguments).await.with_context(|| format!("{arguments:?}"))?;
        ensure!(!ended.success && ended.stderr.contains(&address), "{arguments:?}: {}", ended.stderr);
        ensure!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_out_of_reach_at_the_start_are_named_and_joined_when_they_come() -> Result<()> {
    let _alone = exclusively().await;
    let (mut kafka, mut etcd) = tokio::try_join!(Kafka::start(), Etcd::start())?;
    kafka.stop()?;
    etcd.stop()?;
    let (broker, store) = (kafka.bootstrap(), etcd.endpoint().replace("http://", ""));

    let backend = Backend::start(Instant::now()).await?;
    let folder = Folder::new("early")?;
    let file = folder.join("routes.yaml");
    fs::write(&file, routes::file(&[Route::new("good", backend.address())]))?;
    let (file, with_kafka, with_etcd) =
        (format!("--routes={}", file.display()), format!("--kafka={broker}"), format!("--etcd={store}"));
    let ports = (0..6).map(|_| Port::claim()).collect::<Result<Vec<_>>>()?;
    let at = |flag: &str, number: usize| format!("--{flag}={}", ports[number].address());
    let mut parts = [
        Program::start(
            &folder,
            "interceptor",
            &["interceptor", &file, &with_kafka, &at("proxy-listen", 0), &at("admin-listen", 1)],
        )?,
        Program::start(
            &folder,
            "collector",
            &[
                "collector",
                &with_kafka,
                &with_etcd,
                &at("collector-listen", 2),
                &at("collector-advertise", 2),
                &at("collector-admin-listen", 3),
            ],
        )?,
        Program::start(
            &folder,
            "manager",
            &["manager", &file, &with_kafka, &with_etcd, &at("api-listen", 4), &at("scaler-listen", 5)],
        )?,
    ];
    sleep(WATCHED).await;
    for (part, names) in parts.iter_mut().zip([&[&broker][..], &[&broker, &store], &[&broker, &store]]) {
        let printed = part.printed()?;
        ensure!(!part.process().has_ended()?, "it gave up:\n{printed}");
        ensure!(!printed.contains("panicked"), "{printed}");
        for name in names {
            ensure!(printed.contains(name.as_str()), "it does not name {name}:\n{printed}");
        }
        let lines = printed.lines().count();
        ensure!(lines <= LINES_AT_MOST, "{lines} lines in {WATCHED:?}:\n{printed}");
    }
    let keda = Keda::of(&ports[5].address())?;
    let trigger = Trigger::InterceptorRoute("good".to_owned());
    let early = keda.metrics(&trigger, "").await;
    ensure!(
        early.as_ref().is_err_and(|e| e.code() == tonic::Code::Unavailable),
        "{early:?} is told of what nobody knows"
    );
    ensure!(keda.specs(&trigger).await.is_ok(), "GetMetricSpec must not fail while the resource is known");

    tokio::try_join!(kafka.restart(), etcd.restart())?;
    let known = wait_until("all is known", Duration::from_secs(45), async || {
        keda.metrics(&trigger, "").await?;
        Ok(())
    });
    known.await.with_context(|| {
        let printed = parts.iter().map(|part| part.printed().unwrap_or_default());
        printed.collect::<Vec<_>>().join("\n=====\n")
    })
}
