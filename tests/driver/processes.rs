//! The line as processes, on a real Kafka and a real etcd.

use std::fs;

use anyhow::{Context, Result};
use plimsoll_testkit::{Etcd, Folder, Kafka, KafkaSettings, Port, wait_until};
use plimsoll_wire::{
    log::{
        EventLog, TopicSpec,
        kafka::{KafkaConfig, KafkaLog},
    },
    topic::RETENTION,
};

use super::{
    deployment::{Deployment, ManagerAddress},
    program::{Program, START_LIMIT},
    routes::{self, Route},
};

/// How many of each part run, and how they differ from the usual.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    /// How many interceptors, called `interceptor-N`.
    pub(crate) interceptors: usize,
    /// How many collectors, called `collector-N`.
    pub(crate) collectors: usize,
    /// How many managers, called `manager-N`.
    pub(crate) managers: usize,
    /// Further flags of the managers.
    pub(crate) manager_flags: Vec<String>,
    /// What the broker is like.
    pub(crate) kafka: KafkaSettings,
    /// Topics that are there before all parts: thousands are made in seconds while nobody uses the broker, and in minutes after.
    pub(crate) topics: Vec<String>,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            interceptors: 1,
            collectors: 1,
            managers: 1,
            // The shortest that KEDA's own polling would allow in a test.
            manager_flags: vec!["--activity-window=5s".to_owned()],
            kafka: KafkaSettings::default(),
            topics: Vec::new(),
        }
    }
}

/// One part that runs.
pub(crate) struct Part {
    pub(crate) program: Program,
    pub(crate) name: String,
    /// Its ports: proxy and admin, or collector and admin, or API and scaler.
    pub(crate) ports: [Port; 2],
}

/// All that runs. Gone when dropped.
pub(crate) struct Processes {
    pub(crate) kafka: Kafka,
    pub(crate) etcd: Etcd,
    pub(crate) interceptors: Vec<Part>,
    pub(crate) collectors: Vec<Part>,
    pub(crate) managers: Vec<Part>,
    manager_flags: Vec<String>,
    pub(crate) folder: Folder,
}

impl Processes {
    /// Starts everything; returns when all parts listen.
    pub(crate) async fn start(shape: &Shape, routes: &[Route]) -> Result<Self> {
        let (kafka, etcd) = tokio::try_join!(Kafka::start_with(shape.kafka.clone()), Etcd::start())?;
        make_topics(&kafka.bootstrap(), &shape.topics).await?;
        let mut line = Self {
            kafka,
            etcd,
            interceptors: Vec::new(),
            collectors: Vec::new(),
            managers: Vec::new(),
            manager_flags: shape.manager_flags.clone(),
            folder: Folder::new("line")?,
        };
        line.write_routes(routes)?;
        // First, so that the first plan knows all of them, and not one that would have to hand on most of what it got.
        for number in 0..shape.collectors {
            let collector = line.collector(number, [Port::claim()?, Port::claim()?])?;
            line.collectors.push(collector);
        }
        for number in 0..shape.managers {
            let ports = [Port::claim()?, Port::claim()?];
            let manager = line.manager(number, ports)?;
            line.managers.push(manager);
        }
        for number in 0..shape.interceptors {
            let interceptor = line.interceptor(number)?;
            line.interceptors.push(interceptor);
        }
        let parts = [&mut line.interceptors, &mut line.collectors, &mut line.managers];
        for part in parts.into_iter().flatten() {
            listens(part).await?;
        }
        Ok(line)
    }

    /// Replaces the route file that all parts read.
    pub(crate) fn write_routes(&self, routes: &[Route]) -> Result<()> {
        // By renaming, so that nobody reads half a file.
        let whole = self.folder.join("routes.yaml.new");
        fs::write(&whole, routes::file(routes))?;
        fs::rename(&whole, self.folder.join("routes.yaml"))?;
        Ok(())
    }

    /// Starts a killed manager again, on the same ports.
    pub(crate) async fn restart_manager(&mut self, number: usize) -> Result<()> {
        let dead = self.managers.remove(number);
        let manager = self.manager(number, dead.ports)?;
        self.managers.insert(number, manager);
        listens(&mut self.managers[number]).await
    }

    /// One collector more; its name.
    pub(crate) async fn add_collector(&mut self) -> Result<String> {
        let number = self.collectors.len();
        let ports = [Port::claim()?, Port::claim()?];
        let collector = self.collector(number, ports)?;
        self.collectors.push(collector);
        listens(&mut self.collectors[number]).await?;
        Ok(self.collectors[number].name.clone())
    }

    /// Starts a collector that has ended again, on the same ports.
    pub(crate) async fn restart_collector(&mut self, name: &str) -> Result<()> {
        let number = self.collectors.iter().position(|collector| collector.name == name);
        let number = number.with_context(|| format!("there is no collector {name}"))?;
        let dead = self.collectors.remove(number);
        let collector = self.collector(number, dead.ports)?;
        self.collectors.insert(number, collector);
        listens(&mut self.collectors[number]).await
    }

    /// The collector of this name.
    pub(crate) fn collector_named(&mut self, name: &str) -> Result<&mut Part> {
        self.collectors
            .iter_mut()
            .find(|collector| collector.name == name)
            .with_context(|| format!("there is no collector {name}"))
    }

    /// `HOST:PORT`, as a user writes it.
    pub(crate) fn etcd_address(&self) -> String {
        self.etcd.endpoint().replace("http://", "")
    }

    fn routes(&self) -> String {
        self.folder.join("routes.yaml").display().to_string()
    }

    fn part(&self, name: String, ports: [Port; 2], arguments: &[String]) -> Result<Part> {
        Ok(Part { program: Program::start(&self.folder, &name, arguments)?, name, ports })
    }

    fn interceptor(&self, number: usize) -> Result<Part> {
        let name = format!("interceptor-{number}");
        let ports = [Port::claim()?, Port::claim()?];
        let arguments = [
            "interceptor".to_owned(),
            format!("--routes={}", self.routes()),
            format!("--kafka={}", self.kafka.bootstrap()),
            format!("--interceptor-name={name}"),
            format!("--proxy-listen={}", ports[0].address()),
            format!("--admin-listen={}", ports[1].address()),
        ];
        self.part(name, ports, &arguments)
    }

    fn collector(&self, number: usize, ports: [Port; 2]) -> Result<Part> {
        let name = format!("collector-{number}");
        let arguments = [
            "collector".to_owned(),
            format!("--kafka={}", self.kafka.bootstrap()),
            format!("--etcd={}", self.etcd_address()),
            format!("--collector-id={name}"),
            format!("--collector-listen={}", ports[0].address()),
            format!("--collector-advertise={}", ports[0].address()),
            format!("--collector-admin-listen={}", ports[1].address()),
        ];
        self.part(name, ports, &arguments)
    }

    fn manager(&self, number: usize, ports: [Port; 2]) -> Result<Part> {
        let name = format!("manager-{number}");
        let mut arguments = vec![
            "manager".to_owned(),
            format!("--routes={}", self.routes()),
            format!("--kafka={}", self.kafka.bootstrap()),
            format!("--etcd={}", self.etcd_address()),
            format!("--manager-name={name}"),
            format!("--api-listen={}", ports[0].address()),
            format!("--scaler-listen={}", ports[1].address()),
        ];
        arguments.extend_from_slice(&self.manager_flags);
        self.part(name, ports, &arguments)
    }

    /// What all parts printed, for the message of a test that failed.
    pub(crate) fn logs(&self) -> String {
        let parts = [&self.interceptors, &self.collectors, &self.managers];
        let logs = parts.into_iter().flatten().map(|part| {
            let printed = part.program.printed().unwrap_or_default();
            format!("=== {}\n{printed}\n", part.name)
        });
        logs.collect()
    }
}

/// Makes topics as a manager does.
async fn make_topics(brokers: &str, topics: &[String]) -> Result<()> {
    if topics.is_empty() {
        return Ok(());
    }
    let log = KafkaLog::new(KafkaConfig { brokers: brokers.to_owned(), ..KafkaConfig::default() })?;
    let spec = |topic: &String| TopicSpec { topic: topic.as_str().into(), retention: RETENTION };
    for some in topics.chunks(500) {
        let specs: Vec<TopicSpec> = some.iter().map(spec).collect();
        wait_until("the topics are made", START_LIMIT * 3, async || {
            log.create_topics(&specs).await.into_iter().try_for_each(|made| made.map(|_| ()))?;
            Ok(())
        })
        .await?;
    }
    log.close().await;
    Ok(())
}

/// Waits until both its ports can be connected to.
async fn listens(part: &mut Part) -> Result<()> {
    let [one, other] = &part.ports;
    let (one, other) = (one.address(), other.address());
    part.program.listens(&[&one, &other]).await
}

impl Deployment for Processes {
    fn proxies(&self) -> Vec<String> {
        let address = |part: &Part| part.ports[0].address();
        self.interceptors.iter().map(address).collect()
    }

    fn admins(&self) -> Vec<String> {
        let address = |part: &Part| part.ports[1].address();
        self.interceptors.iter().map(address).collect()
    }

    fn managers(&self) -> Vec<ManagerAddress> {
        let address = |part: &Part| ManagerAddress { api: part.ports[0].address(), scaler: part.ports[1].address() };
        self.managers.iter().map(address).collect()
    }

    fn kill_collector(&mut self, name: &str) -> Result<()> {
        self.collector_named(name)?.program.kill()
    }

    fn kill_manager(&mut self, number: usize) -> Result<()> {
        self.managers[number].program.kill()
    }
}
