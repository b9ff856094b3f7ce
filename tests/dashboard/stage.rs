//! A manager, three collectors and two interceptors on real Kafka and etcd, under load.

use std::{fmt::Write as _, fs, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use plimsoll_testkit::{Folder, wait_until};
use tokio::task::JoinHandle;

use super::{
    browser::{Scenario, play},
    driver::{
        deployment::Deployment as _,
        http,
        load::{Load, Pattern, Running, Traffic},
        processes::{Processes, Shape},
        rest,
        routes::{self, Route},
    },
};

const TOKEN: &str = "7d1f0b6a5c3e49828d1f0b6a5c3e4982";
/// What stands for a name until the scenario wants it to be one that is there.
const NOWHERE: &str = "not-there-yet.invalid";
const READY_LIMIT: Duration = Duration::from_secs(60);

/// All of it.
struct Stage {
    line: Processes,
    load: Load,
    backend: std::net::SocketAddr,
    traffic: Vec<Running>,
    held: Vec<JoinHandle<Result<http::Reply>>>,
    _secrets: Folder,
}

/// The tour of the whole dashboard.
pub(crate) async fn tour() -> Result<()> {
    let mut stage = Stage::set().await?;
    let api = stage.line.managers()[0].api.clone();
    let outcome = play(Scenario { script: "tour.mjs", api: &api, further: &[("TOKEN", TOKEN)] }, async |what| {
        stage.act(what).await
    })
    .await;
    let outcome = outcome.with_context(|| stage.line.logs());
    stage.end().await;
    outcome
}

impl Stage {
    async fn set() -> Result<Self> {
        let load = Load::new()?;
        let backend = load.backend().await?.address();
        // The manager reads it when it starts, so it has to be there before the line's own folder.
        let secrets = Folder::new("secrets")?;
        let tokens = secrets.join("tokens");
        fs::write(&tokens, format!("operate:ada:{TOKEN}\n"))?;
        let manager_flags = vec!["--activity-window=5s".to_owned(), format!("--api-token-file={}", tokens.display())];
        let shape = Shape { interceptors: 2, collectors: 3, manager_flags, ..Shape::default() };
        let line = Processes::start(&shape, &routes_of(backend)).await?;
        let mut stage = Self { line, load, backend, traffic: Vec::new(), held: Vec::new(), _secrets: secrets };
        stage.write_routes(NOWHERE)?;
        all_known(&stage.line.managers()[0].api).await?;
        let brisk = Pattern::Steady { open: 4, length: Duration::from_millis(50) };
        let bursty = Pattern::Bursts { every: Duration::from_secs(6), at_once: 7, length: Duration::from_millis(900) };
        stage.send(&[("busy", steady(8)), ("brisk", brisk), ("bursty", bursty)]);
        Ok(stage)
    }

    fn write_routes(&self, cold: &str) -> Result<()> {
        let mut yaml = routes::file(&routes_of(self.backend));
        let port = self.backend.port();
        write!(
            yaml,
            "---\napiVersion: http.keda.sh/v1beta1\nkind: InterceptorRoute\nmetadata: {{ name: cold, namespace: default }}\n\
             spec:\n  target: {{ service: \"{cold}\", port: {port} }}\n  rules: [{{ hosts: [cold.example.com] }}]\n\
             \x20 scalingMetric: {{ concurrency: {{ targetValue: 5 }} }}\n"
        )?;
        let whole = self.line.folder.join("routes.yaml.new");
        fs::write(&whole, yaml)?;
        fs::rename(&whole, self.line.folder.join("routes.yaml"))?;
        Ok(())
    }

    /// What the scenario asks for.
    async fn act(&mut self, what: &str) -> Result<()> {
        match what {
            "more load" => self.send(&[("busy", steady(12))]),
            "a request for what is not there" => {
                let proxy = self.line.proxies()[0].clone();
                self.held.push(tokio::spawn(async move { http::get(&proxy, "cold.example.com", "/").await }));
            }
            "wake it" => {
                self.write_routes(&self.backend.ip().to_string())?;
                for held in self.held.drain(..) {
                    let reply = held.await??;
                    ensure!(reply.status == 200, "the held request got {reply:?}");
                }
            }
            "kill the manager" => self.line.kill_manager(0)?,
            "start the manager" => self.line.restart_manager(0).await?,
            "kill a collector" => self.line.kill_collector("collector-1")?,
            "kill an interceptor" => self.line.interceptors[1].program.kill()?,
            _ => bail!("nobody knows how to do that"),
        }
        Ok(())
    }

    fn send(&mut self, what: &[(&str, Pattern)]) {
        let traffic: Vec<Traffic> = what
            .iter()
            .map(|(name, pattern)| Traffic { host: format!("{name}.example.com"), pattern: *pattern })
            .collect();
        self.traffic.push(self.load.start(&traffic, &self.line.proxies()));
    }

    async fn end(self) {
        for running in self.traffic {
            running.stop().await;
        }
        for held in self.held {
            held.abort();
        }
    }
}

/// Requests of two seconds, so many of them at any time.
fn steady(open: usize) -> Pattern {
    Pattern::Steady { open, length: Duration::from_secs(2) }
}

fn routes_of(backend: std::net::SocketAddr) -> Vec<Route> {
    let quiet = (0..30).map(|number| format!("quiet-{number:02}"));
    let loaded = ["busy", "brisk", "bursty"].map(str::to_owned);
    loaded.into_iter().chain(quiet).map(|name| Route::new(name, backend)).collect()
}

/// Waits until a manager knows all its workloads.
async fn all_known(api: &str) -> Result<()> {
    wait_until("all workloads are known", READY_LIMIT, async || {
        let unknown = rest::json(api, "/api/v1/workloads?known=false&limit=1").await?;
        let all = rest::json(api, "/api/v1/workloads?limit=1").await?;
        ensure!(unknown["total"] == 0 && all["total"].as_u64() > Some(0), "unknown: {unknown}");
        Ok(())
    })
    .await
}
