//! The chart's listeners take IPv4 and IPv6.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use plimsoll_testkit::{Folder, Port, wait_until};

use crate::http;
use crate::program::Program;
use crate::rendered::{VALUE_SETS, arguments, objects, objects_with, pods};

/// The listeners that the pods of some objects have.
fn listeners(objects: &[serde_json::Value]) -> Vec<String> {
    let arguments = pods(objects).into_iter().flat_map(|(_, pod)| arguments(pod));
    let listeners = arguments.filter_map(|argument| argument.split_once("-listen="));
    listeners.map(|(_, address)| address.to_owned()).collect()
}

#[tokio::test]
async fn one_listener_serves_both_families() -> Result<()> {
    let mut wild = None;
    for name in VALUE_SETS {
        let all = listeners(&objects(name).await?);
        ensure!(all.len() >= 6, "{name}: {all:?}");
        for listener in all {
            let address: SocketAddr = listener.parse().with_context(|| format!("{name}: {listener}"))?;
            wild = Some(address.ip());
            ensure!(address.ip().is_unspecified() && address.is_ipv6(), "{name}: {listener}");
        }
    }
    // As the program takes it.
    let wild = wild.context("no listeners")?;
    let folder = Folder::new("chart-families")?;
    let ports = [Port::claim()?, Port::claim()?, Port::claim()?, Port::claim()?];
    let flags = ["proxy", "admin", "api", "scaler"];
    let listens = flags.iter().zip(&ports).map(|(flag, port)| format!("--{flag}-listen=[{wild}]:{}", port.number()));
    let arguments: Vec<String> = ["dev".to_owned()].into_iter().chain(listens).collect();
    let _dev = Program::start(&folder, "dev", &arguments)?;
    for (port, path) in [(ports[1].number(), "/livez"), (ports[2].number(), "/healthz")] {
        for host in ["127.0.0.1", "[::1]"] {
            let address = format!("{host}:{port}");
            wait_until("both families are served", Duration::from_secs(60), async || {
                http::get_ok(&address, path).await.map(drop)
            })
            .await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_node_without_ipv6_has_its_value() -> Result<()> {
    let all = listeners(&objects_with("tls", &["listenAddress=0.0.0.0"]).await?);
    ensure!(all.len() >= 7 && all.iter().all(|one| one.starts_with("0.0.0.0:")), "{all:?}");
    Ok(())
}
