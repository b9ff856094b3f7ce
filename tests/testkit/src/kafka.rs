//! A Kafka broker of the test's own.

use std::{
    collections::HashSet,
    fs::{File, write},
    io::Write,
    process::Command,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
};
use tokio::task::spawn_blocking;

use crate::{Folder, Port, Process, tools, wait_until};

const START_LIMIT: Duration = Duration::from_secs(60);
/// One request about all topics.
const PROBE_LIMIT: Duration = Duration::from_secs(5);

/// A killed broker registers again only when its former session has run out, after 9 s by default. That default stands until
/// the first restart, because a broker that hangs for longer than its session is fenced: it then answers, for a moment, that
/// there is no broker at all, and a librdkafka client that hears it may stay disconnected (confluentinc/librdkafka#5301).
const SHORT_SESSION: &str = "broker.session.timeout.ms=3000\nbroker.heartbeat.interval.ms=500\n";

/// How a broker differs from the usual one.
#[derive(Debug, Clone)]
pub struct KafkaSettings {
    /// The heap, in MiB. 512 serves some hundred topics; 2048 serves 10,000 without long collections.
    pub heap_mib: u32,
    /// Further options of the Java machine, such as `-XX:TieredStopAtLevel=4` (the full compiler) for a benchmark.
    pub java_options: Vec<String>,
    /// Further broker properties; they win over those of `tools/kafka/server.properties`.
    pub properties: Vec<(String, String)>,
}

impl Default for KafkaSettings {
    fn default() -> Self {
        Self { heap_mib: 512, java_options: Vec::new(), properties: Vec::new() }
    }
}

/// A running broker, with its controller in the same process (KRaft). Gone when dropped.
pub struct Kafka {
    settings: KafkaSettings,
    process: Process,
    broker: Port,
    /// Held for restarts.
    _controller: Port,
    folder: Folder,
}

impl Kafka {
    /// Starts a broker with the usual settings.
    pub async fn start() -> Result<Self> {
        Self::start_with(KafkaSettings::default()).await
    }

    /// Starts a broker; it answers when this returns.
    pub async fn start_with(settings: KafkaSettings) -> Result<Self> {
        tools::installed("kafka/fetch").await?;
        let (broker, controller) = (Port::claim()?, Port::claim()?);
        let folder = Folder::new("kafka")?;
        write(folder.join("server.properties"), properties(&settings, &folder, &broker, &controller))?;

        let mut format = java(&settings, "kafka.tools.StorageTool");
        format
            .args(["format", "--standalone", "-t", "cGxpbXNvbGwtdGVzdGtpdA", "-c"])
            .arg(folder.join("server.properties"));
        let mut format = Process::spawn("Kafka's format", &format, &folder.join("format.log"))?;
        let formatted = format.wait(START_LIMIT).await?;
        ensure!(formatted.success(), "Kafka's format failed; {}", format.log_tail());

        let process = spawn(&settings, &folder)?;
        let mut kafka = Self { settings, process, broker, _controller: controller, folder };
        kafka.ready().await?;
        Ok(kafka)
    }

    /// `127.0.0.1:PORT`, for `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        self.broker.address()
    }

    /// The process: its id, to measure it, and its log.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Creates topics of one partition, and returns when they can be written.
    pub async fn create_topics(&self, names: impl IntoIterator<Item = impl AsRef<str>>) -> Result<()> {
        let names: Vec<String> = names.into_iter().map(|n| n.as_ref().to_owned()).collect();
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        let topics: Vec<_> = names.iter().map(|name| NewTopic::new(name, 1, TopicReplication::Fixed(1))).collect();
        let options = AdminOptions::new().operation_timeout(Some(START_LIMIT));
        for created in admin.create_topics(&topics, &options).await? {
            created.map_err(|(topic, code)| anyhow::anyhow!("topic {topic} not created: {code}"))?;
        }
        // The answer comes before the topics are usable.
        let client = Arc::new(self.client().create()?);
        wait_until("the new topics are usable", START_LIMIT, async || {
            let usable = usable_topics(&client).await?;
            let missing = names.iter().filter(|name| !usable.contains(*name)).count();
            ensure!(missing == 0, "{missing} of {} are missing", names.len());
            Ok(())
        })
        .await
    }

    /// Kills the broker (SIGKILL), as an outage would: its ports refuse, its data stays.
    pub fn stop(&mut self) -> Result<()> {
        self.process.kill()?;
        Ok(())
    }

    /// Starts a stopped broker on the same ports with the same data; returns when its topics can be used.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop()?;
        let properties = self.folder.join("server.properties");
        File::options().append(true).open(properties)?.write_all(SHORT_SESSION.as_bytes())?;
        self.process = spawn(&self.settings, &self.folder)?;
        self.ready().await
    }

    /// Stops it answering while its connections stay open (SIGSTOP).
    pub fn freeze(&self) -> Result<()> {
        self.process.freeze()
    }

    /// Ends a freeze.
    pub fn thaw(&self) -> Result<()> {
        self.process.thaw()
    }

    async fn ready(&mut self) -> Result<()> {
        let client = Arc::new(self.client().create()?);
        self.process.ready(START_LIMIT, async || usable_topics(&client).await).await?;
        Ok(())
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.bootstrap())
            // By default a refused connection is tried again after up to 10 s.
            .set("reconnect.backoff.ms", "20")
            .set("reconnect.backoff.max.ms", "50");
        config
    }
}

/// The names of all topics; fails while the broker is not there or a partition of any topic cannot be used.
async fn usable_topics(client: &Arc<BaseConsumer>) -> Result<HashSet<String>> {
    let client = client.clone();
    spawn_blocking(move || {
        let metadata = client.fetch_metadata(None, PROBE_LIMIT).context("no metadata")?;
        ensure!(!metadata.brokers().is_empty(), "no broker is registered");
        let mut names = HashSet::new();
        let mut partitions = TopicPartitionList::new();
        for topic in metadata.topics() {
            ensure!(!topic.partitions().is_empty(), "topic {} has no partition", topic.name());
            for partition in topic.partitions() {
                ensure!(partition.leader() >= 0, "topic {} has no leader", topic.name());
                partitions.add_partition_offset(topic.name(), partition.id(), Offset::Offset(0))?;
            }
            names.insert(topic.name().to_owned());
        }
        // Metadata names a leader before that has made the partition's log. Only a request to the leader tells, such as the
        // look-up of the offset at a time.
        if !names.is_empty() {
            for partition in client.offsets_for_times(partitions, PROBE_LIMIT)?.elements() {
                partition.error().with_context(|| format!("topic {} is not usable", partition.topic()))?;
            }
        }
        Ok(names)
    })
    .await?
}

fn spawn(settings: &KafkaSettings, folder: &Folder) -> Result<Process> {
    let mut command = java(settings, "kafka.Kafka");
    command.arg(folder.join("server.properties"));
    Process::spawn("Kafka", &command, &folder.join("kafka.log"))
}

fn java(settings: &KafkaSettings, class: &str) -> Command {
    let mut command = Command::new(tools::path("kafka/run"));
    command.arg(format!("-Xmx{}m", settings.heap_mib)).args(&settings.java_options).arg(class);
    command
}

fn properties(settings: &KafkaSettings, folder: &Folder, broker: &Port, controller: &Port) -> String {
    let (broker, controller) = (broker.address(), controller.address());
    let data = folder.join("data");
    let mut properties = format!(
        "{}\nlisteners=PLAINTEXT://{broker},CONTROLLER://{controller}\n\
         controller.quorum.bootstrap.servers={controller}\nlog.dirs={}\n",
        include_str!("../../../tools/kafka/server.properties"),
        data.display(),
    );
    for (name, value) in &settings.properties {
        properties += &format!("{name}={value}\n");
    }
    properties
}
