//! What happens to the project, and what has to hold.

use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

use anyhow::{Context, Result, ensure};
use plimsoll_testkit::wait_until;
use tokio::time::{Instant, sleep};

use crate::{
    driver::{
        http,
        load::{Load, Pattern, Running, Traffic},
        rest,
    },
    stack::Stack,
    values::{self, Loaded, Watch},
};

const HOST: &str = "hello.localhost";
const COLD_START: &str = "x-keda-http-cold-start";
/// With five requests for each replica: four replicas.
const HELLO_OPEN: usize = 20;
const OTHERS: usize = 8;
/// Long against what a client loses between two requests.
const LENGTH: Duration = Duration::from_secs(1);

/// Whatever should happen soon; a machine may be busy.
const SOON: Duration = Duration::from_secs(90);
/// Until an assignment that does not change has come to rest.
const AT_REST: Duration = Duration::from_secs(5);

const SETTINGS: [(&str, &str); 3] = [("ACTIVITY_WINDOW", "2s"), ("COOLDOWN", "3s"), ("SCALE_DOWN_WINDOW", "5s")];

/// What is spoken to Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kafka {
    /// As compose.yaml has it.
    Plain,
    /// As compose.secure.yaml has it: TLS, and a password.
    Secured,
}

pub(crate) struct Play {
    pub(crate) stack: Stack,
    load: Load,
    running: Option<Running>,
}

/// Workloads beside the demo, at the demo's containers, so that there is something to assign.
fn others() -> String {
    let mut routes = String::new();
    for number in 0..OTHERS {
        let _ = write!(
            routes,
            "---\napiVersion: http.keda.sh/v1beta1\nkind: InterceptorRoute\n\
             metadata:\n  name: other-{number}\n  annotations:\n    plimsoll.io/concurrency-window: 5s\n\
             spec:\n  rules:\n    - hosts: [other-{number}.example.com]\n\
             \x20 target:\n    service: demo\n    port: 8000\n\
             \x20 scalingMetric:\n    concurrency:\n      targetValue: 5\n"
        );
    }
    routes
}

fn loaded() -> Vec<Loaded> {
    let hello = Loaded { name: "hello".to_owned(), open: HELLO_OPEN };
    let others = (0..OTHERS).map(|number| Loaded { name: format!("other-{number}"), open: number % 3 + 1 });
    std::iter::once(hello).chain(others).collect()
}

fn traffic() -> Vec<Traffic> {
    let host = |name: &str| if name == "hello" { HOST.to_owned() } else { format!("{name}.example.com") };
    let steady = |open| Pattern::Steady { open, length: LENGTH };
    loaded().into_iter().map(|one| Traffic { host: host(&one.name), pattern: steady(one.open) }).collect()
}

impl Play {
    /// Everything is up.
    pub(crate) async fn begin(kafka: Kafka) -> Result<Self> {
        let stack = Stack::new(&SETTINGS, &others(), kafka).await?;
        let play = Self { stack, load: Load::new()?, running: None };
        if let Err(error) = play.stack.up(&[]).await {
            let told = play.stack.told().await.unwrap_or_default();
            // The next project has the same name.
            let left = play.end().await.err().map(|left| format!("{left:#}\n")).unwrap_or_default();
            return Err(error.context(left + &told));
        }
        Ok(play)
    }

    /// Nothing is left.
    pub(crate) async fn end(mut self) -> Result<()> {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
        self.stack.end().await
    }

    fn failures(&self) -> Vec<String> {
        self.running.as_ref().map(|running| running.ledger().failures()).unwrap_or_default()
    }

    async fn demo_has(&self, what: &str, enough: impl Fn(usize) -> bool) -> Result<()> {
        wait_until(&format!("the demo has {what}"), SOON, async || {
            let running = self.stack.running("demo").await?;
            ensure!(enough(running.len()), "{} run", running.len());
            Ok(())
        })
        .await
    }

    /// Both managers tell all loads as they are.
    async fn values_are_right(&self) -> Result<()> {
        wait_until("both managers tell the load as it is", SOON, async || {
            for api in self.stack.apis() {
                values::are_right(&api, &loaded()).await?;
            }
            Ok(())
        })
        .await
    }

    /// Interceptors look at DNS every two seconds: until then they try where the last replica was.
    async fn no_endpoint_is_known(&self) -> Result<()> {
        wait_until("no interceptor knows an endpoint of the demo", SOON, async || {
            for admin in self.stack.admins() {
                let known = rest::json(&admin, "/endpoints").await?;
                let mut workloads = known.as_array().into_iter().flatten();
                let hello = workloads.find(|one| one["workload"] == "default/hello").context("it is not routed")?;
                ensure!(hello["endpoints"].as_array().is_some_and(Vec::is_empty), "{hello}");
            }
            Ok(())
        })
        .await
    }

    pub(crate) async fn wakes_from_zero(&self) -> Result<()> {
        // `up` starts all of them; nobody asks for them.
        self.demo_has("no replica", |running| running == 0).await?;
        self.no_endpoint_is_known().await?;
        let asked = Instant::now();
        let [first, second] = self.stack.proxies();
        let reply = http::get(&first, HOST, "/").await?;
        println!("          the first request took {:?}", asked.elapsed());
        ensure!(reply.status == 200 && reply.body.starts_with("Hello from "), "{reply:?}");
        ensure!(reply.headers.get(COLD_START).is_some_and(|value| value == "true"), "not from zero: {reply:?}");
        let reply = http::get(&second, HOST, "/").await?;
        ensure!(reply.status == 200, "{reply:?}");
        Ok(())
    }

    pub(crate) async fn load_is_told_as_it_is(&mut self) -> Result<()> {
        self.running = Some(self.load.start(&traffic(), &self.stack.proxies()));
        self.values_are_right().await?;
        self.demo_has("grown", |running| running >= 3).await?;
        let failures = self.failures();
        ensure!(failures.is_empty(), "{} requests failed: {failures:#?}", failures.len());
        Ok(())
    }

    /// Which collectors have topics.
    async fn owners(&self) -> Result<BTreeSet<String>> {
        let owners = rest::owners(&self.stack.apis()[0]).await?;
        ensure!(owners.len() == loaded().len(), "not all topics are in somebody's hands: {owners:?}");
        Ok(owners.into_values().collect())
    }

    pub(crate) async fn collectors_come_and_go(&self) -> Result<()> {
        let watch = Watch::start(&self.stack.apis(), &loaded());
        for count in [4, 2] {
            let scale = format!("collector={count}");
            self.stack
                .compose(&[
                    "up",
                    "--detach",
                    "--no-build",
                    "--no-deps",
                    "--no-recreate",
                    "--scale",
                    &scale,
                    "collector",
                ])
                .await?;
            wait_until(&format!("{count} collectors have all topics"), SOON, async || {
                let (owners, running) = (self.owners().await?, self.stack.running("collector").await?);
                ensure!(owners.len() == count && running.len() == count, "{owners:?} of {}", running.len());
                Ok(())
            })
            .await?;
        }
        let seen = watch.stop().await?;
        println!("          {} values, {} of them unknown", seen.values, seen.unknown);
        ensure!(seen.too_little.is_empty(), "told far too little: {:#?}", seen.too_little);
        // A planned move leaves no gap. A machine that has no time for seconds does.
        ensure!(seen.values > 100 && seen.unknown * 20 <= seen.values, "too much was unknown: {seen:?}");
        self.values_are_right().await?;
        let failures = self.failures();
        ensure!(failures.is_empty(), "{} requests failed: {failures:#?}", failures.len());
        Ok(())
    }

    pub(crate) async fn each_container_is_killed(&mut self) -> Result<()> {
        // Nobody waits for these: not one request is lost.
        for service in ["collector", "manager-1", "manager-2", "autoscaler", "etcd", "kafka"] {
            let before = self.failures().len();
            self.kill(service).await?;
            let failures = self.failures();
            ensure!(failures.len() == before, "with {service} requests failed: {:#?}", &failures[before..]);
        }
        // What these had in flight is lost with them, and nothing after it.
        for service in ["interceptor-1", "interceptor-2", "demo"] {
            self.kill(service).await?;
            let before = self.failures().len();
            sleep(3 * LENGTH).await;
            let failures = self.failures();
            ensure!(failures.len() == before, "after {service} requests fail: {:#?}", &failures[before..]);
        }
        Ok(())
    }

    /// One container crashes: it is started again, and what is told is right again.
    async fn kill(&self, service: &str) -> Result<()> {
        let began = Instant::now();
        let running = self.stack.running(service).await?;
        let container = running.first().with_context(|| format!("no container of {service} runs"))?;
        self.stack.crash(container).await?;
        self.demo_has("enough", |running| running >= 3).await?;
        self.stack.is_well().await.with_context(|| format!("after {} was killed", container.name))?;
        self.values_are_right().await.with_context(|| format!("after {} was killed", container.name))?;
        println!("          {} was killed: all well after {:.1} s", container.name, began.elapsed().as_secs_f64());
        Ok(())
    }

    /// The assignment, once it has not changed for a while.
    async fn assignment_at_rest(&self) -> Result<serde_json::Value> {
        let api = &self.stack.apis()[0];
        wait_until("the assignment is at rest", SOON, async || {
            let before = rest::owners(api).await?;
            sleep(AT_REST).await;
            let assignment = rest::json(api, "/api/v1/assignment").await?;
            let now = rest::owners(api).await?;
            // Evenly, else more moves are only waiting for their turn.
            let first = now.values().filter(|owner| **owner == "collector-1").count();
            let even = now.len() == loaded().len() && first.abs_diff(now.len() - first) <= 1;
            ensure!(now == before && even, "{before:?}, then {now:?}");
            Ok(assignment)
        })
        .await
    }

    pub(crate) async fn the_assignment_outlives_down_and_up(&mut self) -> Result<()> {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
        let before = self.assignment_at_rest().await?;
        self.stack.compose(&["down"]).await?;
        ensure!(self.stack.containers().await?.is_empty(), "something is still up");
        self.stack.up(&[]).await?;
        let after = self.assignment_at_rest().await?;
        let owners = |assignment: &serde_json::Value| {
            let topics = assignment["topics"].as_object().into_iter().flatten();
            topics.map(|(topic, place)| (topic.clone(), place["owner"].clone())).collect::<Vec<_>>()
        };
        ensure!(owners(&before) == owners(&after), "before {before:#}, after {after:#}");
        println!("          generation {} before, {} after", before["generation"], after["generation"]);
        self.wakes_from_zero().await
    }
}
