//! `plimsoll top` in a terminal of its own, on real programs.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../driver/mod.rs"]
mod driver;

mod terminal;

use std::{fs, net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use driver::{
    exclusively,
    load::{Load, Pattern, Running, Traffic},
    program::{Program, run},
    routes::{self, Route},
};
use nix::sys::signal::Signal;
use plimsoll_testkit::{Folder, Port};
use terminal::Terminal;

const SCREEN: (u16, u16) = (30, 120);
const TOKEN: &str = "7d1f0b6a5c3e49828d1f0b6a5c3e4982";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_shows_sorts_filters_takes_another_size_and_outlives_its_manager() -> Result<()> {
    let _alone = exclusively().await;
    let load = Load::new()?;
    let mut dev = Dev::new(load.backend().await?.address())?;
    dev.start().await?;
    let traffic = dev.send(&load);
    let server = dev.server();
    let mut terminal = Terminal::start(SCREEN, &["top", "--server", &server], &[])?;

    terminal.shows("the busiest first", |screen| in_order(screen, ["busy", "calm", "away"])).await?;
    terminal.shows("values", has_values).await?;
    sorts_and_filters(&mut terminal).await?;
    shows_the_other_views(&mut terminal).await?;
    takes_other_sizes(&mut terminal).await?;
    once_writes_the_same(&server).await?;

    traffic.stop().await;
    dev.program.as_mut().context("it runs")?.kill()?;
    let lost = |screen: &str| screen.lines().next().is_some_and(|first| first.contains("DISCONNECTED"));
    terminal.shows("the loss, and what was known", |screen| lost(screen) && screen.contains("default/busy")).await?;
    ensure!(terminal.is_coloured(), "the loss is red");
    terminal.types("SSr")?;
    terminal.shows("that keys do what they did", |screen| in_order(screen, ["calm", "busy", "away"])).await?;
    dev.start().await?;
    let traffic = dev.send(&load);
    terminal.shows("values again", |screen| !lost(screen) && has_values(screen)).await?;

    terminal.types("q")?;
    let (code, left) = terminal.ends().await?;
    ensure!(code == 0 && left.trim().is_empty(), "it ended with {code}, and left:\n{left}");
    traffic.stop().await;
    Ok(())
}

async fn sorts_and_filters(terminal: &mut Terminal) -> Result<()> {
    terminal.types("r")?;
    terminal.shows("the order turned around", |screen| in_order(screen, ["away", "calm", "busy"])).await?;
    terminal.types("SS")?;
    terminal.shows("names in order", |screen| in_order(screen, ["away", "busy", "calm"])).await?;
    terminal.types("/alm\r")?;
    let only_calm = |screen: &str| screen.contains("default/calm") && !screen.contains("default/busy");
    terminal.shows("what is looked for", only_calm).await?;
    terminal.types("\x1b")?;
    terminal.shows("all again", |screen| in_order(screen, ["away", "busy", "calm"])).await?;
    terminal.types("f")?;
    let only_active = |screen: &str| screen.contains("only active") && !screen.contains("default/away");
    terminal.shows("what is active", only_active).await?;
    // Keys that come with Esc would be taken for one key with Alt.
    terminal.types("\x1b")?;
    terminal.shows("all again", |screen| in_order(screen, ["away", "busy", "calm"])).await?;
    terminal.types("ss")?;
    terminal.shows("the busiest first", |screen| in_order(screen, ["busy", "calm", "away"])).await?;
    Ok(())
}

async fn shows_the_other_views(terminal: &mut Terminal) -> Result<()> {
    terminal.types("?")?;
    terminal.shows("its keys", |screen| screen.contains("turn the order around")).await?;
    terminal.types("q\r")?;
    let why = |screen: &str| screen.contains("KEDA is told: active") && screen.contains(" default/busy ");
    terminal.shows("why the busiest has its values", why).await?;
    terminal.types("\x1b")?;
    terminal.shows("the list again", |screen| !screen.contains("KEDA is told")).await?;
    terminal.types("2")?;
    let collectors = |screen: &str| screen.contains("dev-0") && screen.contains("ready");
    terminal.shows("collectors", collectors).await?;
    terminal.types("\t")?;
    terminal.shows("moves", |screen| screen.contains("Nothing is on its way.")).await?;
    // A key at the very moment of a new size is only read with the next one.
    terminal.types("1")?;
    terminal.shows("the list again", |screen| screen.contains("default/busy")).await?;
    Ok(())
}

async fn takes_other_sizes(terminal: &mut Terminal) -> Result<()> {
    for (rows, columns) in [(12, 70), (4, 30), SCREEN] {
        terminal.resizes(rows, columns)?;
        let last = usize::from(rows) - 1;
        let fits = |screen: &str| {
            screen.contains("default/busy") && screen.lines().nth(last).is_some_and(|line| line.contains("q quit"))
        };
        terminal.shows(&format!("all that fits on {rows} rows of {columns}"), fits).await?;
    }
    Ok(())
}

/// As text, without a terminal.
async fn once_writes_the_same(server: &str) -> Result<()> {
    let ended = run(&["top", "--once", "--server", server, "--sort", "name"]).await?;
    let said = &ended.stdout;
    // Between two requests of a client it has none.
    let busy = line(said, "default/busy").is_some_and(|line| line.contains("active"));
    let is_whole = in_order(said, ["away", "busy", "calm"]) && said.contains("dev-0") && busy;
    ensure!(ended.success && is_whole, "{said}{}", ended.stderr);
    let ended = run(&["top", "--once", "--server", server, "--filter", "cal"]).await?;
    ensure!(ended.stdout.contains("default/calm") && !ended.stdout.contains("default/busy"), "{}", ended.stdout);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_freezes_is_noticed_and_one_that_refuses_ends_it() -> Result<()> {
    let _alone = exclusively().await;
    let load = Load::new()?;
    let mut dev = Dev::new(load.backend().await?.address())?;
    let tokens = dev.folder.join("tokens");
    fs::write(&tokens, format!("read:ada:{TOKEN}\n"))?;
    dev.flags = vec!["--api-reads-need-role".to_owned(), format!("--api-token-file={}", tokens.display())];
    dev.start().await?;
    let server = dev.server();
    let mut refused = Terminal::start(SCREEN, &["top", "--server", &server], &[])?;
    refused.shows("why", |screen| screen.contains("Unauthorized")).await?;
    ensure!(refused.ends().await?.0 == 5, "asking again would not help");

    let terminal = Terminal::start(SCREEN, &["top", "--server", &server], &[("PLIMSOLL_TOKEN", TOKEN)])?;
    terminal.shows("workloads", |screen| screen.contains("default/busy")).await?;
    dev.program.as_mut().context("it runs")?.process().freeze()?;
    let silent = |screen: &str| screen.contains("no word for") || screen.contains("DISCONNECTED");
    terminal.shows("how old it is", silent).await?;
    dev.program.as_mut().context("it runs")?.process().thaw()?;
    terminal.shows("that it is live", |screen| screen.contains("live  generation") && !silent(screen)).await?;
    Ok(())
}

#[tokio::test]
async fn however_it_is_ended_the_terminal_is_as_it_was() -> Result<()> {
    let nobody = Port::claim()?;
    let server = format!("http://{}", nobody.address());
    let arguments = ["top", "--server", &server];
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
        let mut terminal = Terminal::start(SCREEN, &arguments, &[])?;
        terminal.shows("that nobody answers", |screen| screen.contains("NO MANAGER")).await?;
        terminal.signals(signal)?;
        terminal.ends().await.with_context(|| signal.to_string())?;
    }
    let mut terminal = Terminal::start(SCREEN, &arguments, &[("NO_COLOR", "1")])?;
    terminal.shows("that nobody answers", |screen| screen.contains("NO MANAGER")).await?;
    ensure!(!terminal.is_coloured(), "NO_COLOR is set");
    terminal.types("/typing\x03")?;
    ensure!(terminal.ends().await?.0 == 0, "Ctrl-C is a way to end it");
    Ok(())
}

#[tokio::test]
async fn where_no_screen_can_be_made_it_says_what_to_use_instead() -> Result<()> {
    let ended = run(&["top"]).await?;
    ensure!(ended.code == Some(2) && ended.stderr.contains("plimsoll top --once"), "{}", ended.stderr);
    let mut terminal = Terminal::start(SCREEN, &["top"], &[("TERM", "dumb")])?;
    terminal.shows("what to use", |screen| screen.contains("plimsoll top --once")).await?;
    ensure!(terminal.ends().await?.0 == 2, "it was asked for in the wrong way");
    let nobody = Port::claim()?;
    let ended = run(&["top", "--once", "--server", &format!("http://{}", nobody.address())]).await?;
    ensure!(ended.code == Some(6) && ended.stderr.contains(&nobody.address()), "{:?} {}", ended.code, ended.stderr);
    Ok(())
}

fn line<'a>(screen: &'a str, text: &str) -> Option<&'a str> {
    screen.lines().find(|line| line.contains(text))
}

/// Four requests of two seconds are always there.
fn has_values(screen: &str) -> bool {
    let of =
        |name: &str| line(screen, name).map(|line| line.split_whitespace().collect::<Vec<_>>()).unwrap_or_default();
    of("default/busy").get(1..3) == Some(&["active", "4"][..])
        && of("default/away").get(1..3) == Some(&["idle", "0"][..])
}

fn in_order(screen: &str, names: [&str; 3]) -> bool {
    let places: Vec<_> = names.iter().map(|name| screen.find(&format!("default/{name}"))).collect();
    places.iter().all(Option::is_some) && places.is_sorted()
}

/// `plimsoll dev` that comes back on the same ports.
struct Dev {
    folder: Folder,
    proxy: Port,
    admin: Port,
    api: Port,
    scaler: Port,
    /// Further ones.
    flags: Vec<String>,
    program: Option<Program>,
}

impl Dev {
    fn new(backend: SocketAddr) -> Result<Self> {
        let folder = Folder::new("top")?;
        let all: Vec<Route> = ["away", "busy", "calm"].into_iter().map(|name| Route::new(name, backend)).collect();
        fs::write(folder.join("routes.yaml"), routes::file(&all))?;
        let [proxy, admin, api, scaler] = [Port::claim()?, Port::claim()?, Port::claim()?, Port::claim()?];
        Ok(Self { folder, proxy, admin, api, scaler, flags: Vec::new(), program: None })
    }

    fn server(&self) -> String {
        format!("http://{}", self.api.address())
    }

    async fn start(&mut self) -> Result<()> {
        let mut arguments = vec![
            "dev".to_owned(),
            "--manager-name=dev".to_owned(),
            format!("--routes={}", self.folder.join("routes.yaml").display()),
            format!("--proxy-listen={}", self.proxy.address()),
            format!("--admin-listen={}", self.admin.address()),
            format!("--api-listen={}", self.api.address()),
            format!("--scaler-listen={}", self.scaler.address()),
        ];
        arguments.extend_from_slice(&self.flags);
        let program = self.program.insert(Program::start(&self.folder, "dev", &arguments)?);
        program.listens(&[&self.proxy.address(), &self.api.address()]).await
    }

    /// Four requests at any time for one, two for another, none for the third.
    fn send(&self, load: &Load) -> Running {
        let steady = |open| Pattern::Steady { open, length: Duration::from_secs(2) };
        let of = |name: &str, open| Traffic { host: format!("{name}.example.com"), pattern: steady(open) };
        load.start(&[of("busy", 4), of("calm", 2)], &[self.proxy.address()])
    }
}
