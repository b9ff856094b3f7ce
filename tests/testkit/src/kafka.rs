//! Kafka of the test's own: one broker, or a cluster of three.

use std::path::Path;

use anyhow::{Context, Result};
use rdkafka::ClientConfig;

use crate::Process;

mod certificates;
mod cluster;
mod gates;
mod listener;
mod node;
mod questions;
mod reassign;

pub use certificates::Certificates;
pub use cluster::KafkaCluster;
pub use listener::{Listener, PASSWORD, USER};
use node::Node;

/// How a broker differs from the usual one.
#[derive(Debug, Clone)]
pub struct KafkaSettings {
    /// The heap of each broker, in MiB. 512 serves some hundred topics; 2048 serves 10,000 without long collections.
    pub heap_mib: u32,
    /// Further options of the Java machine, such as `-XX:TieredStopAtLevel=4` (the full compiler) for a benchmark.
    pub java_options: Vec<String>,
    /// Further broker properties; they win over those of `tools/kafka/server.properties`.
    pub properties: Vec<(String, String)>,
    /// What each broker listens on beside its plain listener.
    pub listeners: Vec<Listener>,
    /// Whether a node of a cluster can be cut off from the others ([`KafkaCluster::cut_off`]).
    pub divisible: bool,
}

impl Default for KafkaSettings {
    fn default() -> Self {
        Self {
            heap_mib: 512,
            java_options: Vec::new(),
            properties: Vec::new(),
            listeners: Vec::new(),
            divisible: false,
        }
    }
}

/// A running broker, with its controller in the same process (KRaft). Gone when dropped.
pub struct Kafka {
    node: Node,
}

impl Kafka {
    /// Starts a broker with the usual settings.
    pub async fn start() -> Result<Self> {
        Self::start_with(KafkaSettings::default()).await
    }

    /// Starts a broker; it answers when this returns.
    pub async fn start_with(settings: KafkaSettings) -> Result<Self> {
        Self::start_behind(settings, drop).await
    }

    /// The same, for a broker that advertises another address than its own: `tell` is called with its own before it is asked for anything, so that
    /// something can listen at the other and hand on what comes.
    pub async fn start_behind(settings: KafkaSettings, tell: impl FnOnce(String)) -> Result<Self> {
        let mut node = node::prepare(&settings, 1).await?.pop().context("one node was asked for")?;
        node.start()?;
        tell(node.address());
        let mut kafka = Self { node };
        kafka.ready().await?;
        Ok(kafka)
    }

    /// `127.0.0.1:PORT`, for `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        self.node.address()
    }

    /// The address of a further listener.
    ///
    /// # Errors
    /// Where the settings named no such listener.
    pub fn bootstrap_of(&self, listener: Listener) -> Result<String> {
        self.node.address_of(listener)
    }

    /// What clients of the further listeners need.
    ///
    /// # Errors
    /// Where the settings named no further listener.
    pub fn certificates(&self) -> Result<&Certificates> {
        self.node.certificates()
    }

    /// The process: its id, to measure it, and its log.
    pub fn process(&self) -> &Process {
        self.node.process()
    }

    /// Where it keeps its data.
    pub fn data(&self) -> &Path {
        self.node.folder()
    }

    /// Creates topics of one partition, and returns when they can be written.
    pub async fn create_topics(&self, names: impl IntoIterator<Item = impl AsRef<str>>) -> Result<()> {
        let names: Vec<String> = names.into_iter().map(|n| n.as_ref().to_owned()).collect();
        questions::create_topics(&self.client(), &names, 1).await
    }

    /// Kills the broker (SIGKILL), as an outage would: its ports refuse, its data stays.
    pub fn stop(&mut self) -> Result<()> {
        self.node.kill()
    }

    /// Starts a stopped broker on the same ports with the same data; returns when its topics can be used.
    pub async fn restart(&mut self) -> Result<()> {
        self.node.restart()?;
        self.ready().await
    }

    /// Stops it answering while its connections stay open (SIGSTOP).
    pub fn freeze(&self) -> Result<()> {
        self.process().freeze()
    }

    /// Ends a freeze.
    pub fn thaw(&self) -> Result<()> {
        self.process().thaw()
    }

    async fn ready(&mut self) -> Result<()> {
        let client = self.client();
        self.node.ready(&client, 1).await
    }

    fn client(&self) -> ClientConfig {
        questions::client_of(&self.bootstrap())
    }
}
