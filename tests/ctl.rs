//! `plimsoll ctl` against a running system.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod driver;

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use driver::{
    exclusively,
    load::{Load, Pattern, Running, Traffic},
    program::{Ended, Program, run},
    rest,
    routes::{self, Route},
};
use nix::sys::signal::Signal;
use plimsoll_testkit::{Certificates, Folder, Port, wait_until};
use serde_json::Value;
use tokio::{io::AsyncReadExt, net::TcpListener, time::timeout};

/// `plimsoll dev` with two workloads, one of which has three requests in flight.
struct System {
    _program: Program,
    _folder: Folder,
    _ports: [Port; 4],
    _load: Load,
    _traffic: Running,
    server: String,
}

impl System {
    /// With the window of the busy workload full.
    async fn start() -> Result<Self> {
        let system = Self::begin().await?;
        let api = system.server.replace("http://", "");
        let settled = wait_until("the window of the busy workload is full", Duration::from_secs(40), async || {
            let view = rest::workload(&api, "default/busy").await?;
            let concurrency = view["concurrency"].as_f64().unwrap_or(0.0);
            ensure!((2.9..=3.1).contains(&concurrency), "{view:#}");
            let idle = rest::workload(&api, "default/idle").await?;
            ensure!(idle["known"] == true, "{idle:#}");
            Ok(())
        });
        settled.await.with_context(|| system._program.printed().unwrap_or_default())?;
        Ok(system)
    }

    /// As soon as it listens.
    async fn begin() -> Result<Self> {
        let load = Load::new()?;
        let backend = load.backend().await?.address();
        let routes = ["busy", "idle"].map(|name| Route::new(name, backend));
        let folder = Folder::new("ctl")?;
        let file = folder.join("routes.yaml");
        fs::write(&file, routes::file(&routes))?;
        let ports = [Port::claim()?, Port::claim()?, Port::claim()?, Port::claim()?];
        let [proxy, admin, api, scaler] = &ports;
        let arguments = [
            "dev".to_owned(),
            format!("--routes={}", file.display()),
            format!("--proxy-listen={}", proxy.address()),
            format!("--admin-listen={}", admin.address()),
            format!("--api-listen={}", api.address()),
            format!("--scaler-listen={}", scaler.address()),
        ];
        let mut program = Program::start(&folder, "dev", &arguments)?;
        let (proxy, api) = (proxy.address(), api.address());
        program.listens(&[&proxy, &api]).await?;
        let traffic =
            Traffic { host: routes[0].host(), pattern: Pattern::Steady { open: 3, length: Duration::from_secs(2) } };
        let traffic = load.start(&[traffic], &[proxy]);
        Ok(Self {
            _program: program,
            _folder: folder,
            _ports: ports,
            _load: load,
            _traffic: traffic,
            server: format!("http://{api}"),
        })
    }

    /// `plimsoll ctl`, which must end with this code.
    async fn ctl(&self, code: i32, arguments: &[&str]) -> Result<Ended> {
        ctl(&self.server, code, arguments).await
    }

    async fn table(&self, what: &str) -> Result<String> {
        let ended = run(&["ctl", "--server", &self.server, what]).await?;
        ensure!(ended.success, "{}", ended.stderr);
        Ok(ended.stdout)
    }

    async fn json(&self, what: &str) -> Result<Value> {
        let ended = run(&["ctl", what, "--server", &self.server, "--output=json"]).await?;
        ensure!(ended.success, "{}", ended.stderr);
        serde_json::from_str(&ended.stdout).with_context(|| ended.stdout)
    }
}

async fn ctl(server: &str, code: i32, arguments: &[&str]) -> Result<Ended> {
    let all: Vec<&str> = ["ctl", "--server", server].iter().chain(arguments).copied().collect();
    let ended = run(&all).await?;
    ensure!(ended.code == Some(code), "{arguments:?} ended with {:?}:\n{}{}", ended.code, ended.stdout, ended.stderr);
    Ok(ended)
}

/// The line of a table that has this cell.
fn row<'a>(table: &'a str, cell: &str) -> Result<Vec<&'a str>> {
    let cells = |line: &'a str| line.split_whitespace().collect::<Vec<_>>();
    let mut rows = table.lines().map(cells);
    rows.find(|row| row.contains(&cell)).with_context(|| format!("no {cell} in:\n{table}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_list_tells_what_is_going_on_as_a_table_and_as_json() -> Result<()> {
    let _alone = exclusively().await;
    let system = System::start().await?;

    let table = system.table("workloads").await?;
    println!("{table}");
    let busy = row(&table, "default/busy")?;
    ensure!(busy.contains(&"3"), "three are in flight: {busy:?}");
    ensure!(busy.iter().any(|cell| cell.starts_with("active")), "{busy:?}");
    ensure!(row(&table, "default/idle")?.iter().any(|cell| cell.starts_with("inactive")), "{table}");
    let workloads = system.json("workloads").await?;
    let items = workloads["items"].as_array().context("items")?;
    let busy = items.iter().find(|item| item["name"] == "busy").context("busy")?;
    let close = |value: &Value, truth: f64| value.as_f64().is_some_and(|value| (value / truth - 1.0).abs() < 0.05);
    ensure!(busy["inFlight"] == 3 && busy["held"] == 0 && busy["known"] == true, "{busy:#}");
    ensure!(close(&busy["concurrency"], 3.0) && close(&busy["told"]["concurrency"]["value"], 3.0), "{busy:#}");
    ensure!(busy["told"]["activity"]["active"] == true, "{busy:#}");
    ensure!(busy["windowSeconds"]["concurrency"] == 10.0, "{busy:#}");

    let table = system.table("topics").await?;
    println!("{table}");
    row(&table, "plimsoll.default.busy")?;
    let topics = system.json("topics").await?;
    ensure!(topics["items"].as_array().is_some_and(|items| items.len() == 2), "{topics:#}");
    ensure!(topics["items"][0]["state"] == "ready", "{topics:#}");

    let table = system.table("collectors").await?;
    println!("{table}");
    let collectors = system.json("collectors").await?;
    let items = collectors["items"].as_array().context("items")?;
    ensure!(!items.is_empty() && items.iter().all(|item| item["state"] == "ready"), "{collectors:#}");
    let owned: u64 = items.iter().filter_map(|item| item["topics"].as_u64()).sum();
    ensure!(owned == 2, "two topics have owners: {collectors:#}");
    for item in items {
        row(&table, item["id"].as_str().context("id")?)?;
    }

    let table = system.table("assignment").await?;
    println!("{table}");
    let owner = row(&table, "plimsoll.default.busy")?;
    let assignment = system.json("assignment").await?;
    let place = &assignment["topics"]["plimsoll.default.busy"];
    let name = place["owner"].as_str().context("an owner")?;
    ensure!(owner.contains(&name), "{owner:?} does not name {name}");
    ensure!(place["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{assignment:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watching_tells_again_and_outlives_a_manager() -> Result<()> {
    let _alone = exclusively().await;
    let system = System::start().await?;
    let folder = Folder::new("watch")?;
    let watching = ["ctl", "workloads", "--watch", "--output=json", "--server", &system.server];
    let mut program = Program::start(&folder, "ctl", &watching)?;
    wait_until("three documents", Duration::from_secs(10), async || {
        let printed = program.printed()?;
        ensure!(printed.lines().count() >= 3, "{printed}");
        for line in printed.lines().take(3) {
            let _: Value = serde_json::from_str(line).context("one document a line")?;
        }
        Ok(())
    })
    .await?;
    drop(system);
    program.prints("can't reach", Duration::from_secs(10)).await?;
    ensure!(!program.process().has_ended()?, "it gave up");
    Ok(())
}

#[tokio::test]
async fn a_manager_out_of_reach_is_one_clear_line() -> Result<()> {
    let _alone = exclusively().await;
    let nobody = Port::claim()?;
    let server = format!("http://{}", nobody.address());
    let ended = run(&["ctl", "--server", &server, "workloads"]).await?;
    ensure!(!ended.success && ended.stdout.is_empty(), "{}", ended.stdout);
    ensure!(ended.code == Some(6), "{:?}", ended.code);
    let lines: Vec<&str> = ended.stderr.lines().collect();
    ensure!(lines.len() == 1 && lines[0].contains(&nobody.address()), "{lines:?}");
    Ok(())
}

#[tokio::test]
async fn ctrl_c_is_the_end_of_watching_and_no_success_of_anything_else() -> Result<()> {
    const LIMIT: Duration = Duration::from_secs(20);
    // It takes calls and answers none.
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let server = format!("http://{}", silent.local_addr()?);
    let folder = Folder::new("interrupted")?;
    for (name, code, asked) in [
        ("drain", 130, &["collectors", "drain", "collector-1", "--wait"][..]),
        ("look", 130, &["workloads"]),
        ("watch", 0, &["workloads", "--watch"]),
        ("follow", 0, &["events", "--follow"]),
    ] {
        let all: Vec<&str> = ["ctl", "--server", &server].iter().chain(asked).copied().collect();
        let mut program = Program::start(&folder, name, &all)?;
        let (mut call, _) = timeout(LIMIT, silent.accept()).await.context("it does not connect")??;
        timeout(LIMIT, call.read_u8()).await.context("it does not ask")??;
        program.process().signal(Signal::SIGINT)?;
        let ended = program.process().wait(LIMIT).await?;
        ensure!(ended.code() == Some(code), "{asked:?} ended with {ended}:\n{}", program.printed()?);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_tries_drains_pins_registers_and_sets() -> Result<()> {
    const LIMIT: Duration = Duration::from_secs(60);
    let _alone = exclusively().await;
    let system = System::begin().await?;
    let topic = "plimsoll.default.busy";
    let owner = async || -> Result<String> {
        let assignment = system.json("assignment").await?;
        Ok(assignment["topics"][topic]["owner"].as_str().context("an owner")?.to_owned())
    };
    let first = wait_until("the busy topic has an owner", LIMIT, owner).await?;
    // Before, no collector has heard an interceptor, and one that knows nothing hands over to another that knows nothing.
    wait_until("its values are known", LIMIT, async || {
        let workloads = system.json("workloads").await?;
        let unknown = workloads["items"].as_array().context("items")?.iter().find(|item| item["known"] != true);
        ensure!(unknown.is_none(), "{unknown:?}");
        Ok(())
    })
    .await?;

    let tried = system.ctl(0, &["plan", "--drain", &first]).await?.stdout;
    println!("{tried}");
    let moved = row(&tried, topic)?;
    ensure!(moved.contains(&first.as_str()) && moved.contains(&"draining"), "{tried}");
    ensure!(owner().await? == first, "trying changes nothing");

    let drained = system.ctl(0, &["collectors", "drain", &first, "--wait"]).await?;
    println!("{}{}", drained.stderr, drained.stdout);
    let emptied = row(&drained.stdout, &first)?;
    ensure!(emptied.contains(&"0"), "{emptied:?}");
    let second = owner().await?;
    ensure!(second != first, "it is still on {first}");
    system.ctl(0, &["collectors", "uncordon", &first]).await?;

    system.ctl(0, &["topics", "pin", "default/busy", &first]).await?;
    wait_until("the pin is honoured", LIMIT, async || {
        let now = owner().await?;
        ensure!(now == first, "it is on {now}");
        Ok(())
    })
    .await?;
    let told = system.ctl(0, &["explain", "default/busy"]).await?.stdout;
    println!("{told}");
    ensure!(told.contains(&format!("An operator has pinned it to {first}.")), "{told}");
    ensure!(told.contains("KEDA is told"), "{told}");
    let events = system.ctl(0, &["events", "--topic", topic]).await?.stdout;
    ensure!(events.contains(&format!("{first} -> {second}")) && events.contains("(draining"), "{events}");
    system.ctl(0, &["topics", "unpin", "default/busy"]).await?;
    system.ctl(3, &["topics", "unpin", "default/busy"]).await?;

    system.ctl(0, &["topics", "add", "shop/cart", "--provider", "aws"]).await?;
    system.ctl(4, &["topics", "add", "shop/cart"]).await?;
    system.ctl(4, &["topics", "delete", "default/busy"]).await?;
    wait_until("the registered topic is read", LIMIT, async || {
        let topics = system.ctl(0, &["topics", "--query", "shop/cart"]).await?.stdout;
        ensure!(row(&topics, "plimsoll.shop.cart")?.contains(&"ready"), "{topics}");
        Ok(())
    })
    .await?;
    system.ctl(0, &["topics", "delete", "shop/cart"]).await?;
    system.ctl(3, &["topics", "delete", "shop/cart"]).await?;
    wait_until("the deleted topic is gone", LIMIT, async || {
        let topics = system.ctl(0, &["topics", "--query", "shop/cart"]).await?.stdout;
        ensure!(!topics.contains("plimsoll.shop.cart"), "{topics}");
        Ok(())
    })
    .await?;

    let policy = async || Ok::<_, anyhow::Error>(system.json("policy").await?["maxPerHost"].clone());
    system.ctl(0, &["policy", "set", "--max-per-host", "5", "--dry-run"]).await?;
    ensure!(policy().await? == 200);
    let set = system.ctl(0, &["policy", "set", "--max-per-host", "5"]).await?;
    ensure!(set.stderr.contains("would move") && row(&set.stdout, "max-per-host")?.contains(&"5"), "{}", set.stderr);
    let yaml = system.ctl(0, &["policy", "get", "--output", "yaml"]).await?.stdout;
    ensure!(yaml.contains("maxPerHost: 5") && yaml.contains("kind: max-per-host"), "{yaml}");
    system.ctl(2, &["policy", "set", "--max-per-host", "0"]).await?;
    system.ctl(2, &["policy", "set", "--min-collectors", "9", "--max-collectors", "8"]).await?;
    system.ctl(0, &["policy", "reset"]).await?;
    system.ctl(0, &["rebalance"]).await?;

    system.ctl(3, &["collectors", "drain", "nobody"]).await?;
    system.ctl(3, &["explain", "no/such"]).await?;
    system.ctl(2, &["topics", "--state", "happy"]).await?;
    system.ctl(2, &["topics", "add", "nonsense"]).await?;
    system.ctl(2, &["policy", "set"]).await?;
    system.ctl(2, &["no-such-command"]).await?;
    Ok(())
}

#[tokio::test]
async fn shells_get_completions() -> Result<()> {
    for (shell, has) in [("bash", "_plimsoll"), ("zsh", "#compdef plimsoll"), ("fish", "complete -c plimsoll")] {
        let ended = run(&["completions", shell]).await?;
        ensure!(
            ended.success && ended.stdout.contains(has) && ended.stdout.contains("uncordon"),
            "{shell}: {}",
            ended.stderr
        );
    }
    Ok(())
}

#[tokio::test]
async fn over_tls_ctl_believes_and_shows_what_it_is_given() -> Result<()> {
    let _alone = exclusively().await;
    let (certificates, folder) = (Certificates::make()?, Folder::new("ctl-tls")?);
    let tokens = folder.join("tokens");
    fs::write(&tokens, "operate:ada:0123456789abcdef-ada\nread:bob:0123456789abcdef-bob\n")?;
    let bobs = folder.join("bob");
    fs::write(&bobs, "0123456789abcdef-bob\n")?;
    let ports = [Port::claim()?, Port::claim()?, Port::claim()?, Port::claim()?];
    let [proxy, admin, api, scaler] = ports.each_ref().map(Port::address);
    // Certificate and key in one file, as Kafka has them.
    let pair = certificates.folder().join("broker.pem");
    let path = |path: &std::path::Path| path.display().to_string();
    let arguments = [
        "dev".to_owned(),
        format!("--proxy-listen={proxy}"),
        format!("--admin-listen={admin}"),
        format!("--api-listen={api}"),
        format!("--scaler-listen={scaler}"),
        format!("--api-tls-cert={}", path(&pair)),
        format!("--api-tls-key={}", path(&pair)),
        format!("--api-client-ca={}", path(&certificates.authority())),
        format!("--api-token-file={}", path(&tokens)),
    ];
    let mut program = Program::start(&folder, "dev", &arguments)?;
    program.listens(&[&proxy, &api]).await?;
    let server = format!("https://{api}");
    let believing = ["--ca-file".to_owned(), path(&certificates.authority())];
    let call = async |code: i32, what: &[&str], shown: &[String]| {
        let all: Vec<&str> = what.iter().copied().chain(believing.iter().chain(shown).map(String::as_str)).collect();
        ctl(&server, code, &all).await
    };
    call(0, &["collectors"], &[]).await?;
    let refused = call(5, &["rebalance"], &[]).await?;
    ensure!(refused.stderr.contains("nothing was changed"), "{}", refused.stderr);
    call(5, &["rebalance"], &["--token-file".to_owned(), path(&bobs)]).await?;
    call(0, &["rebalance"], &["--token".to_owned(), "0123456789abcdef-ada".to_owned()]).await?;
    let (cert, key) = (path(&certificates.client_certificate()), path(&certificates.client_key()));
    call(0, &["rebalance"], &["--client-cert".to_owned(), cert, "--client-key".to_owned(), key]).await?;
    ctl(&server, 6, &["collectors", "--ca-file", &path(&certificates.stranger())]).await?;
    ctl(&format!("ftp://{api}"), 2, &["collectors"]).await?;
    Ok(())
}
