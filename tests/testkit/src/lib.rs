//! Starts the real servers that tests and benchmarks run against, on this machine, from the package registries alone.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! let mut kafka = plimsoll_testkit::Kafka::start().await?;
//! kafka.create_topics(["plimsoll.shop.cart"]).await?;
//! println!("{}", kafka.bootstrap());
//! kafka.stop()?; // an outage: SIGKILL
//! kafka.restart().await?; // the same ports, the same data
//! # Ok(())
//! # }
//! ```
//!
//! Every server has ports and a folder of its own, so tests run side by side. What is missing on the machine is fetched
//! on first use by the scripts in `tools/`; when that cannot be done the test fails with a sentence that says what to
//! install. Nothing outlives its test, not even when the test is killed.

mod browser;
mod deadline;
mod etcd;
mod folder;
mod helm;
mod kafka;
mod kubernetes;
mod memory;
mod ports;
mod process;
mod tools;

pub use browser::browser_tools;
pub use deadline::wait_until;
pub use etcd::Etcd;
pub use folder::Folder;
pub use helm::{Helm, helm};
pub use kafka::{Certificates, Kafka, KafkaCluster, KafkaSettings, Listener, PASSWORD, USER};
pub use kubernetes::{ApiServer, Nodes, documented_rules};
pub use memory::resident_kib;
pub use ports::Port;
pub use process::Process;
