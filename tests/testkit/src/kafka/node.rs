//! One node: a broker and a controller in one process.

use std::{
    fs::{File, write},
    io::Write,
    path::Path,
    process::Command,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rdkafka::ClientConfig;

use super::{
    KafkaSettings,
    certificates::Certificates,
    listener::{self, Listener},
    questions,
};
use crate::{Folder, Port, Process, tools};

pub(super) const START_LIMIT: Duration = Duration::from_secs(60);

/// A killed broker registers again only when its former session has run out, after 9 s by default. That default stands until
/// the first restart, unless the settings have another, because a broker that hangs for longer than its session is fenced: it then answers, for a moment, that
/// there is no broker at all, and a librdkafka client that hears it may stay disconnected (confluentinc/librdkafka#5301).
const SHORT_SESSION: &str = "broker.session.timeout.ms=3000\nbroker.heartbeat.interval.ms=500\n";

const CLUSTER: &str = "cGxpbXNvbGwtdGVzdGtpdA";
/// The identities of the nodes' data directories: 16 bytes each in base64.
const DIRECTORIES: [&str; 3] = ["cGxpbXNvbGwtbm9kZS0wMQ", "cGxpbXNvbGwtbm9kZS0wMg", "cGxpbXNvbGwtbm9kZS0wMw"];

pub(super) struct Node {
    settings: Arc<KafkaSettings>,
    /// None until it is started.
    process: Option<Process>,
    broker: Port,
    controller: Port,
    /// Where the others reach its controller, if that is elsewhere.
    gate: Option<Port>,
    further: Vec<(Listener, Port)>,
    certificates: Option<Arc<Certificates>>,
    folder: Folder,
}

/// Makes the nodes of a cluster, with empty logs, ready to be started.
pub(super) async fn prepare(settings: &KafkaSettings, count: usize) -> Result<Vec<Node>> {
    ensure!((1..=DIRECTORIES.len()).contains(&count), "a cluster has 1 to {} nodes, not {count}", DIRECTORIES.len());
    tools::installed("kafka/fetch").await?;
    let settings = Arc::new(settings.clone());
    let certificates = match settings.listeners.is_empty() {
        true => None,
        false => Some(Arc::new(Certificates::make()?)),
    };
    let nodes: Vec<Node> = (0..count).map(|_| Node::new(&settings, &certificates)).collect::<Result<_>>()?;
    let controllers: Vec<String> = nodes.iter().map(Node::controller_seen_by_others).collect();
    let mut formats = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        write(node.properties_file(), node.properties(index, &controllers))?;
        formats.push(node.format(&controllers)?);
    }
    for format in &mut formats {
        let formatted = format.wait(START_LIMIT).await?;
        ensure!(formatted.success(), "Kafka's format failed; {}", format.log_tail());
    }
    Ok(nodes)
}

impl Node {
    fn new(settings: &Arc<KafkaSettings>, certificates: &Option<Arc<Certificates>>) -> Result<Self> {
        let further = settings.listeners.iter().map(|listener| Ok((*listener, Port::claim()?)));
        Ok(Self {
            settings: settings.clone(),
            process: None,
            broker: Port::claim()?,
            controller: Port::claim()?,
            gate: settings.divisible.then(Port::claim).transpose()?,
            further: further.collect::<Result<_>>()?,
            certificates: certificates.clone(),
            folder: Folder::new("kafka")?,
        })
    }

    pub(super) fn address(&self) -> String {
        self.broker.address()
    }

    fn controller_seen_by_others(&self) -> String {
        self.gate.as_ref().unwrap_or(&self.controller).address()
    }

    /// The gate that its controller is behind, and where that leads to.
    pub(super) fn way(&self) -> Option<(&Port, String)> {
        self.gate.as_ref().map(|gate| (gate, self.controller.address()))
    }

    pub(super) fn address_of(&self, listener: Listener) -> Result<String> {
        let found = self.further.iter().find(|(further, _)| *further == listener);
        let (_, port) = found.with_context(|| format!("{listener:?} is not among KafkaSettings::listeners"))?;
        Ok(port.address())
    }

    pub(super) fn certificates(&self) -> Result<&Certificates> {
        self.certificates.as_deref().context("KafkaSettings::listeners is empty, so there are no certificates")
    }

    #[allow(clippy::expect_used, reason = "whoever prepares nodes starts them before handing them out")]
    pub(super) fn process(&self) -> &Process {
        self.process.as_ref().expect("a node that is handed out has been started")
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it; whether it answers is another matter.
    pub(super) fn start(&mut self) -> Result<()> {
        let mut command = java(&self.settings, "kafka.Kafka");
        command.arg(self.properties_file());
        self.process = Some(Process::spawn("Kafka", &command, &self.folder.join("kafka.log"))?);
        Ok(())
    }

    pub(super) fn kill(&mut self) -> Result<()> {
        if let Some(process) = &mut self.process {
            process.kill()?;
        }
        Ok(())
    }

    /// Kills it, unless that has been done, and starts it with the same ports and data.
    pub(super) fn restart(&mut self) -> Result<()> {
        self.kill()?;
        if !self.settings.properties.iter().any(|(name, _)| name == "broker.session.timeout.ms") {
            File::options().append(true).open(self.properties_file())?.write_all(SHORT_SESSION.as_bytes())?;
        }
        self.start()
    }

    /// Waits until this client finds so many brokers and all topics usable; fails as soon as the process ends.
    pub(super) async fn ready(&mut self, client: &ClientConfig, brokers: usize) -> Result<()> {
        let client = Arc::new(client.create()?);
        let process = self.process.as_mut().context("it has not been started")?;
        process.ready(START_LIMIT, async || questions::usable_topics(&client, brokers).await).await?;
        Ok(())
    }

    fn properties_file(&self) -> std::path::PathBuf {
        self.folder.join("server.properties")
    }

    fn format(&self, controllers: &[String]) -> Result<Process> {
        let mut format = java(&self.settings, "kafka.tools.StorageTool");
        format.args(["format", "-t", CLUSTER, "-c"]).arg(self.properties_file());
        if controllers.len() == 1 {
            format.arg("--standalone");
        } else {
            let all = controllers.iter().zip(DIRECTORIES).enumerate();
            let all = all.map(|(index, (address, directory))| format!("{}@{address}:{directory}", index + 1));
            format.arg("--initial-controllers").arg(all.collect::<Vec<_>>().join(","));
        }
        if !self.further.is_empty() {
            format.args(listener::scram_users());
        }
        Process::spawn("Kafka's format", &format, &self.folder.join("format.log"))
    }

    fn properties(&self, index: usize, controllers: &[String]) -> String {
        let mut brokers = format!("PLAINTEXT://{}", self.broker.address());
        for (listener, port) in &self.further {
            brokers += &format!(",{}://{}", listener.name(), port.address());
        }
        let (own, told) = (self.controller.address(), self.controller_seen_by_others());
        let mut properties = format!(
            "{}\nnode.id={}\nlisteners={brokers},CONTROLLER://{own}\nadvertised.listeners={brokers},CONTROLLER://{told}\ncontroller.quorum.bootstrap.servers={}\nlog.dirs={}\n",
            include_str!("../../../../tools/kafka/server.properties"),
            index + 1,
            controllers.join(","),
            self.folder.join("data").display(),
        );
        if let Some(certificates) = &self.certificates {
            properties += &listener::properties(certificates);
        }
        for (name, value) in &self.settings.properties {
            properties += &format!("{name}={value}\n");
        }
        properties
    }
}

fn java(settings: &KafkaSettings, class: &str) -> Command {
    let mut command = Command::new(tools::path("kafka/run"));
    command.arg(format!("-Xmx{}m", settings.heap_mib)).args(&settings.java_options).arg(class);
    command
}
