//! `plimsoll dev` from end to end: a workload goes from zero up and back, and nothing is left behind.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod driver;

use std::{collections::BTreeSet, fs, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use driver::{
    exclusively, http,
    load::{Load, Pattern, Traffic},
    program::{Program, START_LIMIT, command, run},
    rest,
};
use nix::sys::signal::Signal;
use plimsoll_testkit::{Etcd, Folder, Kafka, Port, Process, wait_until};
use tokio::time::Instant;

const COLD_START: &str = "x-keda-http-cold-start";
/// "Well under a second" for the demo's replica, which is no process.
const WOKEN_WITHIN: Duration = Duration::from_secs(1);
/// An interpreter has to start.
const PROGRAM_WOKEN_WITHIN: Duration = Duration::from_secs(8);
const BACK_AT_ZERO_WITHIN: Duration = Duration::from_secs(30);
const ENDED_WITHIN: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_memory_the_demo_wakes_grows_and_goes_back_to_zero() -> Result<()> {
    let _alone = exclusively().await;
    from_zero_and_back(&[], "hello.localhost", WOKEN_WITHIN).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_kafka_and_etcd_the_demo_wakes_grows_and_goes_back_to_zero() -> Result<()> {
    let _alone = exclusively().await;
    let (kafka, etcd) = tokio::try_join!(Kafka::start(), Etcd::start())?;
    let real = [format!("--kafka={}", kafka.bootstrap()), format!("--etcd={}", etcd.endpoint().replace("http://", ""))];
    from_zero_and_back(&real, "hello.localhost", WOKEN_WITHIN).await
}

/// Answers with its process id after `/?sleep=MILLISms`.
const PROGRAM: &str = r#"
import http.server, os, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if "sleep=" in self.path:
            time.sleep(float(self.path.split("sleep=")[1].rstrip("ms")) / 1000)
        body = b"Hello from %d\n" % os.getpid()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_users_own_program_wakes_grows_and_goes_back_to_zero() -> Result<()> {
    let _alone = exclusively().await;
    let python = Command::new("python3").arg("--version").output();
    python.context("python3 is needed, as the program that is scaled; install it")?;
    let folder = Folder::new("program")?;
    let program = folder.join("server.py");
    fs::write(&program, PROGRAM)?;
    let command = format!("--replica-command=python3 {} {{port}}", program.display());
    from_zero_and_back(&[command], "hello.localhost", PROGRAM_WOKEN_WITHIN).await?;
    let left = processes_with(&program.display().to_string())?;
    ensure!(left.is_empty(), "these replicas are left behind: {left:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_does_not_wait_for_a_program_that_never_listens() -> Result<()> {
    let _alone = exclusively().await;
    // A time that no other run sleeps, so that what another one has left behind is not taken for ours.
    let nap = 100_000 + std::process::id();
    let (command, program) = (format!("--replica-command=sleep {nap}"), format!("sleep\0{nap}"));
    let mut dev = Dev::start(&[command]).await?;
    let proxy = dev.proxy.address();
    let held = tokio::spawn(async move { http::get(&proxy, "hello.localhost", "/").await });
    wait_until("the program starts", Duration::from_secs(15), async || {
        ensure!(!processes_with(&program)?.is_empty(), "it has not");
        Ok(())
    })
    .await?;
    let asked = Instant::now();
    dev.program.process().signal(Signal::SIGINT)?;
    wait_until("dev ends", Duration::from_secs(10), async || {
        ensure!(dev.program.has_ended()?, "it has not: {}", dev.program.printed()?);
        Ok(())
    })
    .await?;
    println!("ended {:?} after Ctrl-C", asked.elapsed());
    let left = processes_with(&program)?;
    ensure!(left.is_empty(), "processes {left:?} are left");
    held.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_twice_leaves_no_program_behind_that_does_not_want_to_end() -> Result<()> {
    let _alone = exclusively().await;
    let nap = 300_000 + std::process::id();
    let command = format!(
        "--replica-command=trap '' TERM INT; sleep {nap} & exec python3 -m http.server --bind 127.0.0.1 {{port}}"
    );
    let program = format!("sleep\0{nap}");
    let mut dev = Dev::start(&[command]).await?;
    let proxy = dev.proxy.address();
    let first = http::get(&proxy, "hello.localhost", "/").await?;
    ensure!(first.status == 200, "{first:?}");
    ensure!(!processes_with(&program)?.is_empty(), "the program has started no other");
    dev.program.process().signal(Signal::SIGINT)?;
    // A signal that comes with one of its kind that has not been seen yet is lost.
    wait_until("dev ends", Duration::from_secs(8), async || {
        dev.program.process().signal(Signal::SIGTERM).ok();
        ensure!(dev.program.has_ended()?, "it has not: {}", dev.program.printed()?);
        Ok(())
    })
    .await?;
    wait_until("its programs have ended", Duration::from_secs(5), async || {
        let left = processes_with(&program)?;
        ensure!(left.is_empty(), "processes {left:?} are left");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_terminal_that_is_closed_asks_to_stop_but_under_nohup() -> Result<()> {
    let folder = Folder::new("terminal")?;
    for (disposition, ends) in [("--default-signal=HUP", true), ("--ignore-signal=HUP", false)] {
        let port = Port::claim()?;
        let demo = command(&["demo", &format!("--demo-listen={}", port.address())]);
        let mut started = Command::new("env");
        started.arg(disposition).arg(demo.get_program()).args(demo.get_args());
        let log = folder.join(disposition);
        let mut demo = Process::spawn("demo", &started, &log)?;
        demo.ready(START_LIMIT, async || http::get_ok(&port.address(), "/").await).await?;
        demo.signal(Signal::SIGHUP)?;
        if !ends {
            demo.signal(Signal::SIGTERM)?;
        }
        let ended = demo.wait(ENDED_WITHIN).await?;
        let told = fs::read_to_string(&log)?;
        ensure!(ended.success() && told.contains("SIGHUP: draining") == ends, "it ended with {ended}:\n{told}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_state_file_a_restart_goes_on_from_the_plan() -> Result<()> {
    let _alone = exclusively().await;
    let folder = Folder::new("state")?;
    let file = folder.join("state.json");
    let state = [format!("--state={}", file.display())];
    let generation = async |dev: &Dev| -> Result<u64> {
        wait_until("there is a plan", Duration::from_secs(20), async || {
            let assignment = rest::json(&dev.api.address(), "/api/v1/assignment").await?;
            let generation = assignment["generation"].as_u64().context("no generation")?;
            ensure!(generation > 0, "{assignment:#}");
            Ok(generation)
        })
        .await
    };
    let mut dev = Dev::start(&state).await?;
    generation(&dev).await?;
    dev.program.process().signal(Signal::SIGINT)?;
    ensure!(dev.program.process().wait(ENDED_WITHIN).await?.success());
    let saved: serde_json::Value = serde_json::from_slice(&fs::read(&file)?)?;
    let saved = saved["plan"]["generation"].as_u64().context("no plan is saved")?;
    let again = Dev::start(&state).await?;
    let next = generation(&again).await?;
    ensure!(saved > 0 && next >= saved, "{next} comes after {saved}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_tells_what_is_well_from_what_is_not() -> Result<()> {
    let _alone = exclusively().await;
    let dev = Dev::start(&[]).await?;
    let url = format!("http://{}/readyz", dev.api.address());
    wait_until("the manager is well", Duration::from_secs(20), async || {
        let well = run(&["health", &url]).await?;
        ensure!(well.success && well.stdout.is_empty() && well.stderr.is_empty(), "{}", well.stderr);
        Ok(())
    })
    .await?;
    // A page that is not there, a port where nobody listens, and what is no URL.
    let nobody = Port::claim()?;
    for (url, told) in [
        (format!("http://{}/nothing-here", dev.api.address()), "404"),
        (format!("http://{}/readyz", nobody.address()), "refused"),
        ("127.0.0.1:8088".to_owned(), "write http://HOST:PORT/PATH"),
    ] {
        let ended = run(&["health", &url]).await?;
        let said = format!("{url} is not well");
        ensure!(
            ended.code == Some(1) && ended.stderr.contains(&said) && ended.stderr.contains(told),
            "{}",
            ended.stderr
        );
    }
    Ok(())
}

/// A running `plimsoll dev` with short times.
struct Dev {
    program: Program,
    proxy: Port,
    api: Port,
    _admin: Port,
    _scaler: Port,
    _folder: Folder,
}

impl Dev {
    async fn start(further: &[String]) -> Result<Self> {
        let [proxy, admin, api, scaler] = [Port::claim()?, Port::claim()?, Port::claim()?, Port::claim()?];
        let mut arguments = vec![
            "dev".to_owned(),
            format!("--proxy-listen={}", proxy.address()),
            format!("--admin-listen={}", admin.address()),
            format!("--api-listen={}", api.address()),
            format!("--scaler-listen={}", scaler.address()),
            "--poll-interval=500ms".to_owned(),
            "--cooldown=3s".to_owned(),
            "--scale-down-window=2s".to_owned(),
            "--activity-window=2s".to_owned(),
        ];
        arguments.extend_from_slice(further);
        let folder = Folder::new("dev")?;
        let mut program = Program::start(&folder, "dev", &arguments)?;
        program.listens(&[&proxy.address(), &api.address()]).await?;
        Ok(Self { program, proxy, api, _admin: admin, _scaler: scaler, _folder: folder })
    }

    /// Waits until this has been printed once more than in what was printed `before`.
    async fn says_anew(&self, text: &str, before: &str, limit: Duration) -> Result<String> {
        let times = before.matches(text).count();
        wait_until(&format!("dev says {text:?} anew"), limit, async || {
            let printed = self.program.printed()?;
            ensure!(printed.matches(text).count() > times, "it printed:\n{printed}");
            Ok(printed)
        })
        .await
    }
}

async fn from_zero_and_back(further: &[String], host: &str, woken_within: Duration) -> Result<()> {
    let mut dev = Dev::start(further).await?;
    let proxy = dev.proxy.address();
    let greeting = dev.program.prints("Ctrl-C", Duration::from_secs(10)).await?;
    for expected in
        [format!("http://{proxy}"), format!("http://{}", dev.api.address()), format!("curl -i -H 'Host: {host}'")]
    {
        ensure!(greeting.contains(&expected), "no {expected:?} in:\n{greeting}");
    }
    // As a user does: type the command some seconds after the greeting.
    wait_until("the demo is known", Duration::from_secs(15), async || {
        let view = rest::workload(&dev.api.address(), "default/hello").await?;
        ensure!(view["known"] == true, "{view:#}");
        Ok(())
    })
    .await?;

    let outcome = wakes_grows_and_sleeps(&dev, host, woken_within).await;
    outcome.with_context(|| dev.program.printed().unwrap_or_default())?;
    ends_without_losing_a_request(&mut dev, host).await
}

async fn wakes_grows_and_sleeps(dev: &Dev, host: &str, woken_within: Duration) -> Result<()> {
    let proxy = dev.proxy.address();
    let asked = Instant::now();
    let first = http::get(&proxy, host, "/").await?;
    let took = asked.elapsed();
    println!("the first request from zero took {took:?}");
    ensure!(first.status == 200 && first.body.starts_with("Hello from "), "{first:?}");
    ensure!(first.headers.get(COLD_START).is_some_and(|value| value == "true"), "{first:?}");
    ensure!(took < woken_within, "the first request took {took:?}");
    let second = http::get(&proxy, host, "/").await?;
    ensure!(second.headers.get(COLD_START).is_some_and(|value| value == "false"), "{second:?}");

    // 20 requests in flight, 5 for each replica.
    let load = Load::new()?;
    let traffic =
        Traffic { host: host.to_owned(), pattern: Pattern::Steady { open: 20, length: Duration::from_millis(500) } };
    let traffic = load.start(&[traffic], std::slice::from_ref(&proxy));
    let ledger = traffic.ledger().clone();
    wait_until("four replicas answer", Duration::from_secs(30), async || {
        let mut names = BTreeSet::new();
        for _ in 0..12 {
            names.insert(http::get(&proxy, host, "/").await?.body);
        }
        ensure!(names.len() >= 4, "only {names:?} do");
        Ok(())
    })
    .await?;
    let before = dev.program.printed()?;
    traffic.stop().await;
    let failures = ledger.failures();
    ensure!(failures.is_empty(), "{} requests failed: {failures:?}", failures.len());

    dev.says_anew("-> 0 replicas", &before, BACK_AT_ZERO_WITHIN).await?;
    let view = rest::workload(&dev.api.address(), "default/hello").await?;
    ensure!(view["known"] == true && view["inFlight"] == 0, "{view:#}");
    let anew = http::get(&proxy, host, "/").await?;
    ensure!(
        anew.status == 200 && anew.headers.get(COLD_START).is_some_and(|value| value == "true"),
        "not from zero again: {anew:?}"
    );
    Ok(())
}

/// Ctrl-C while a request is in flight: it is answered, and nothing that dev started is left.
async fn ends_without_losing_a_request(dev: &mut Dev, host: &str) -> Result<()> {
    let (proxy, host) = (dev.proxy.address(), host.to_owned());
    let open = tokio::spawn(async move { http::get(&proxy, &host, "/?sleep=1500ms").await });
    let api = dev.api.address();
    wait_until("the request is in flight", Duration::from_secs(5), async || {
        let view = rest::workload(&api, "default/hello").await?;
        ensure!(view["inFlight"] == 1 && view["held"] == 0, "{view:#}");
        Ok(())
    })
    .await?;
    let children = children_of(dev.program.process().id())?;
    let asked = Instant::now();
    dev.program.process().signal(Signal::SIGINT)?;
    let ended = dev.program.process().wait(ENDED_WITHIN).await?;
    println!("ended {:?} after Ctrl-C", asked.elapsed());
    let answer = open.await?.with_context(|| dev.program.printed().unwrap_or_default())?;
    ensure!(answer.status == 200, "the request in flight got {answer:?}");
    ensure!(ended.success(), "dev ended with {ended}");
    let left: Vec<_> = children.into_iter().filter(|child| is_alive(*child)).collect();
    ensure!(left.is_empty(), "processes {left:?} are left");
    Ok(())
}

/// All processes that a process has started, and those that they have started.
fn children_of(parent: u32) -> Result<Vec<u32>> {
    let mut found = vec![parent];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        next += 1;
        for process in all_processes()? {
            let parent_of = stat(process).and_then(|stat| stat.1.parse().ok());
            if parent_of == Some(parent) {
                found.push(process);
            }
        }
    }
    found.remove(0);
    Ok(found)
}

/// Processes, zombies left out, whose command line holds the text.
fn processes_with(text: &str) -> Result<Vec<u32>> {
    let holds = |process: &u32| {
        let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(text)
    };
    Ok(all_processes()?.into_iter().filter(holds).collect())
}

fn is_alive(process: u32) -> bool {
    stat(process).is_some_and(|(state, _)| state != "Z")
}

/// A process's state and its parent's id.
fn stat(process: u32) -> Option<(String, String)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name before may have blanks and parentheses.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned);
    Some((fields.next()?, fields.next()?))
}

fn all_processes() -> Result<Vec<u32>> {
    let names = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter_map(|name| name.parse().ok()).collect())
}
