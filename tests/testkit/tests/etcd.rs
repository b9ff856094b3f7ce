//! The etcd that other tests rely on.

use std::time::Duration;

use anyhow::{Result, ensure};
use plimsoll_testkit::Etcd;
use tokio::time::timeout;

#[tokio::test]
async fn a_killed_etcd_comes_back_on_the_same_port_with_its_data() -> Result<()> {
    let mut etcd = Etcd::start().await?;
    let before = etcd.endpoint();
    etcd.etcdctl(&["put", "plan", "one"]).await?;

    etcd.stop()?;
    ensure!(etcd.process().has_ended()?);

    etcd.restart().await?;
    ensure!(etcd.endpoint() == before);
    ensure!(etcd.etcdctl(&["get", "plan", "--print-value-only"]).await? == "one\n");
    Ok(())
}

#[tokio::test]
async fn a_frozen_etcd_answers_when_it_is_thawed() -> Result<()> {
    let etcd = Etcd::start().await?;
    etcd.freeze()?;
    let held = timeout(Duration::from_millis(500), etcd.etcdctl(&["put", "plan", "one"]));
    ensure!(held.await.is_err(), "a frozen etcd answered");

    etcd.thaw()?;
    etcd.etcdctl(&["put", "plan", "two"]).await?;
    Ok(())
}
