//! Who leads when processes are frozen, killed and stopped: managers as real processes, on a real etcd and a real API server.
//!
//! The program is run twice: as the tests, and, by them, as each manager (`lead NAME STORE ..`).

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use libtest_mimic::{Arguments, Trial};
use plimsoll_cluster::Access;
use plimsoll_scheduler::store::{ConfigMapOptions, ConfigMapStore, EtcdStore, Store};
use plimsoll_testkit::{ApiServer, Etcd};

mod manager;
mod scenario;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, name, store @ ..] = arguments.as_slice()
        && role == "lead"
    {
        return runtime.block_on(async { manager::run(name, open(store).await?).await });
    }
    let runtime = Arc::new(runtime);
    let trial = |name: &str, scenario: fn(&tokio::runtime::Runtime) -> Result<()>| {
        let runtime = runtime.clone();
        Trial::test(name, move || scenario(&runtime).map_err(|error| format!("{error:?}").into()))
    };
    let trials = vec![
        trial("a_leader_that_slept_is_refused_and_a_dead_one_is_replaced_in_etcd", |runtime| {
            runtime.block_on(async {
                let etcd = Etcd::start().await?;
                scenario::play("etcd", &["etcd".to_owned(), etcd.endpoint()]).await
            })
        }),
        trial("a_leader_that_slept_is_refused_and_a_dead_one_is_replaced_in_kubernetes", |runtime| {
            runtime.block_on(async {
                let server = ApiServer::start().await?;
                let kubeconfig = server.kubeconfig().to_string_lossy().into_owned();
                scenario::play("Kubernetes", &["configmap".to_owned(), kubeconfig]).await
            })
        }),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit()
}

/// The store that the arguments name.
async fn open(store: &[String]) -> Result<Arc<dyn Store>> {
    match store {
        [kind, endpoint] if kind == "etcd" => Ok(Arc::new(EtcdStore::new(&[endpoint], "/plimsoll/")?)),
        [kind, kubeconfig] if kind == "configmap" => {
            let access = Access { kubeconfig: Some(kubeconfig.into()) };
            let options =
                ConfigMapOptions { access, namespace: Some("default".to_owned()), ..ConfigMapOptions::default() };
            Ok(Arc::new(ConfigMapStore::new(options).await.context("no store")?))
        }
        other => bail!("no such store: {other:?}"),
    }
}
