//! Who leads when processes are frozen, killed and stopped: managers as real processes, on a real etcd.
//!
//! The program is run twice: as the tests, and, by them, as each manager (`lead NAME STORE ..`).

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::sync::Arc;

use anyhow::{Result, bail};
use libtest_mimic::{Arguments, Trial};
use plimsoll_scheduler::store::{EtcdStore, Store};
use plimsoll_testkit::Etcd;

mod manager;
mod scenario;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, name, store @ ..] = arguments.as_slice()
        && role == "lead"
    {
        return runtime.block_on(async { manager::run(name, open(store)?).await });
    }
    let runtime = Arc::new(runtime);
    let trial = |name: &str, scenario: fn(&tokio::runtime::Runtime) -> Result<()>| {
        let runtime = runtime.clone();
        Trial::test(name, move || scenario(&runtime).map_err(|error| format!("{error:?}").into()))
    };
    let trials = vec![trial("a_leader_that_slept_is_refused_and_a_dead_one_is_replaced_in_etcd", |runtime| {
        runtime.block_on(async {
            let etcd = Etcd::start().await?;
            scenario::play("etcd", &["etcd".to_owned(), etcd.endpoint()]).await
        })
    })];
    libtest_mimic::run(&Arguments::from_args(), trials).exit()
}

/// The store that the arguments name.
fn open(store: &[String]) -> Result<Arc<dyn Store>> {
    match store {
        [kind, endpoint] if kind == "etcd" => Ok(Arc::new(EtcdStore::new(&[endpoint], "/plimsoll/")?)),
        other => bail!("no such store: {other:?}"),
    }
}
