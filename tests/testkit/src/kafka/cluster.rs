//! A cluster of three brokers.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result, ensure};
use rdkafka::ClientConfig;

use super::{Certificates, KafkaSettings, Listener, gates::Gates, node, node::Node, questions, reassign};
use crate::{Process, wait_until};

/// Brokers of a cluster.
const BROKERS: usize = 3;
/// After a change in the cluster, until its brokers agree on it.
const CHANGE_LIMIT: Duration = Duration::from_secs(60);

/// Three running brokers, numbered 1 to 3, each a controller too. Topics have three replicas, of which two must have a record
/// before it is acknowledged to a client that asks for all. Gone when dropped.
pub struct KafkaCluster {
    nodes: Vec<Node>,
    gates: Option<Gates>,
}

impl KafkaCluster {
    /// Starts a cluster with the usual settings and a small heap.
    pub async fn start() -> Result<Self> {
        Self::start_with(KafkaSettings { heap_mib: 256, ..KafkaSettings::default() }).await
    }

    /// Starts a cluster; all brokers answer when this returns.
    pub async fn start_with(mut settings: KafkaSettings) -> Result<Self> {
        let mut properties = [
            ("default.replication.factor", "3"),
            ("min.insync.replicas", "2"),
            // A replica that hangs is left behind after this, not after 30 s.
            ("replica.lag.time.max.ms", "5000"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        properties.append(&mut settings.properties);
        settings.properties = properties;
        let mut nodes = node::prepare(&settings, BROKERS).await?;
        let gates = match settings.divisible {
            true => Some(Gates::open(nodes.iter().filter_map(Node::way).collect()).await?),
            false => None,
        };
        for node in &mut nodes {
            node.start()?;
        }
        let mut cluster = Self { nodes, gates };
        let client = cluster.client();
        for node in &mut cluster.nodes {
            node.ready(&client, BROKERS).await?;
        }
        Ok(cluster)
    }

    /// The addresses of all brokers, for `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        self.nodes.iter().map(Node::address).collect::<Vec<_>>().join(",")
    }

    /// The addresses of a further listener at all brokers.
    ///
    /// # Errors
    /// Where the settings named no such listener.
    pub fn bootstrap_of(&self, listener: Listener) -> Result<String> {
        Ok(self.nodes.iter().map(|node| node.address_of(listener)).collect::<Result<Vec<_>>>()?.join(","))
    }

    /// What clients of the further listeners need.
    ///
    /// # Errors
    /// Where the settings named no further listener.
    pub fn certificates(&self) -> Result<&Certificates> {
        self.node(1)?.certificates()
    }

    /// A broker's process.
    pub fn process(&self, broker: i32) -> Result<&Process> {
        Ok(self.node(broker)?.process())
    }

    /// Creates topics of one partition with three replicas, and returns when they can be written.
    pub async fn create_topics(&self, names: impl IntoIterator<Item = impl AsRef<str>>) -> Result<()> {
        let names: Vec<String> = names.into_iter().map(|name| name.as_ref().to_owned()).collect();
        questions::create_topics(&self.client(), &names, BROKERS as i32).await
    }

    /// The broker that leads each topic; less than 0 where none does.
    pub async fn leaders(&self) -> Result<HashMap<String, i32>> {
        questions::leaders(&self.client()).await
    }

    /// Lets nothing pass between this node and the others' controllers, until [`rejoin`](Self::rejoin): the cluster loses it, and it does
    /// not hear of that. Its clients reach it as ever.
    ///
    /// # Errors
    /// Where the settings did not say [`divisible`](KafkaSettings::divisible).
    pub fn cut_off(&self, broker: i32) -> Result<()> {
        self.gates.as_ref().context("KafkaSettings::divisible is not set")?.cut_off(Some(broker));
        Ok(())
    }

    /// Ends a cut.
    pub fn rejoin(&self) {
        if let Some(gates) = &self.gates {
            gates.cut_off(None);
        }
    }

    /// The broker that leads this topic.
    pub async fn leader_of(&self, topic: &str) -> Result<i32> {
        self.leaders().await?.get(topic).copied().with_context(|| format!("there is no topic {topic}"))
    }

    /// Moves a topic to these brokers alone, the first of which is to lead, and returns when it is led there.
    pub async fn move_topic(&self, topic: &str, brokers: &[i32]) -> Result<()> {
        let address = self.node(*brokers.first().context("a topic needs a broker")?)?.address();
        reassign::move_topic(&address, topic, brokers).await?;
        wait_until(&format!("{topic} is led by one of {brokers:?}"), CHANGE_LIMIT, async || {
            let leader = self.leader_of(topic).await?;
            ensure!(brokers.contains(&leader), "{leader} leads it");
            Ok(())
        })
        .await
    }

    /// Kills a broker (SIGKILL): its ports refuse, its data stays.
    pub fn kill(&mut self, broker: i32) -> Result<()> {
        self.node_mut(broker)?.kill()
    }

    /// Starts a killed broker on the same ports with the same data; returns when the cluster has it back.
    pub async fn restart(&mut self, broker: i32) -> Result<()> {
        self.node_mut(broker)?.restart()?;
        let running = self.running()?;
        let client = self.client();
        self.node_mut(broker)?.ready(&client, running).await
    }

    /// Kills all brokers at once.
    pub fn kill_all(&mut self) -> Result<()> {
        self.nodes.iter_mut().try_for_each(Node::kill)
    }

    /// Starts all brokers again; returns when all answer and all topics are led.
    pub async fn restart_all(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            node.restart()?;
        }
        let client = self.client();
        for node in &mut self.nodes {
            node.ready(&client, BROKERS).await?;
        }
        Ok(())
    }

    /// Stops a broker answering while its connections stay open (SIGSTOP).
    pub fn freeze(&self, broker: i32) -> Result<()> {
        self.process(broker)?.freeze()
    }

    /// Ends a freeze.
    pub fn thaw(&self, broker: i32) -> Result<()> {
        self.process(broker)?.thaw()
    }

    fn running(&self) -> Result<usize> {
        let ended = self.nodes.iter().map(|node| node.process().has_ended()).collect::<Result<Vec<_>>>()?;
        Ok(ended.into_iter().filter(|ended| !ended).count())
    }

    fn node(&self, broker: i32) -> Result<&Node> {
        let index = usize::try_from(broker).ok().and_then(|number| number.checked_sub(1));
        index.and_then(|index| self.nodes.get(index)).with_context(|| format!("there is no broker {broker}"))
    }

    fn node_mut(&mut self, broker: i32) -> Result<&mut Node> {
        let index = usize::try_from(broker).ok().and_then(|number| number.checked_sub(1));
        index.and_then(|index| self.nodes.get_mut(index)).with_context(|| format!("there is no broker {broker}"))
    }

    fn client(&self) -> ClientConfig {
        questions::client_of(&self.bootstrap())
    }
}
