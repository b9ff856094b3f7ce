//! What every store promises, held against the one in memory, with and without a file, a real etcd and a real API server.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod store {
    pub mod configmap;
    pub mod contract;
    pub mod directives;
    pub mod etcd;
    pub mod file;
    pub mod plans;
}

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use plimsoll_cluster::Access;
use plimsoll_scheduler::store::{ConfigMapOptions, ConfigMapStore, EtcdStore, MemoryStore, Store};
use plimsoll_testkit::{ApiServer, Etcd, Folder, documented_rules};
use tokio::sync::OnceCell;

/// A place where plans are kept, seen from several processes.
#[async_trait]
pub trait World: Sync {
    /// What one more process sees.
    async fn process(&self) -> Arc<dyn Store>;
}

struct Memory(MemoryStore);

#[async_trait]
impl World for Memory {
    async fn process(&self) -> Arc<dyn Store> {
        Arc::new(self.0.clone())
    }
}

/// As `Memory`, with a file that takes every change.
struct InFile {
    store: MemoryStore,
    _folder: Folder,
}

impl InFile {
    fn new() -> Self {
        let folder = Folder::new("state").unwrap();
        Self { store: MemoryStore::with_file(&folder.join("state.json")).unwrap(), _folder: folder }
    }
}

#[async_trait]
impl World for InFile {
    async fn process(&self) -> Arc<dyn Store> {
        Arc::new(self.store.clone())
    }
}

/// A real etcd of the test's own.
pub struct InEtcd(pub Etcd);

impl InEtcd {
    /// Starts it.
    pub async fn start() -> Self {
        Self(Etcd::start().await.unwrap())
    }
}

#[async_trait]
impl World for InEtcd {
    async fn process(&self) -> Arc<dyn Store> {
        Arc::new(EtcdStore::new(&[self.0.endpoint()], "/plimsoll/").unwrap())
    }
}

/// A prefix of the test's own in the API server that all share, as the service account of a manager.
pub struct InKubernetes {
    kubeconfig: PathBuf,
    prefix: String,
}

/// The guide that says what permissions a manager and a collector need.
pub const GUIDE: &str = include_str!("../../docs/stores.md");

impl InKubernetes {
    /// Starts it, unless it is running.
    pub async fn start() -> Self {
        static MANAGERS: OnceCell<PathBuf> = OnceCell::const_new();
        static PREFIXES: AtomicU64 = AtomicU64::new(0);
        let rules = documented_rules(GUIDE, "A manager:").unwrap();
        let make = async || ApiServer::shared().await.unwrap().service_account("plimsoll", "manager", &rules).await;
        let kubeconfig = MANAGERS.get_or_try_init(make).await.unwrap().clone();
        Self { kubeconfig, prefix: format!("fleet-{}", PREFIXES.fetch_add(1, Ordering::Relaxed)) }
    }

    /// How one of its processes reaches it.
    pub fn options(&self) -> ConfigMapOptions {
        ConfigMapOptions {
            access: Access { kubeconfig: Some(self.kubeconfig.clone()) },
            namespace: Some("plimsoll".to_owned()),
            prefix: self.prefix.clone(),
            ..ConfigMapOptions::default()
        }
    }
}

#[async_trait]
impl World for InKubernetes {
    async fn process(&self) -> Arc<dyn Store> {
        Arc::new(ConfigMapStore::new(self.options()).await.unwrap())
    }
}

macro_rules! promises {
    ($($module:ident::$promise:ident),* $(,)?) => {
        mod in_memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::store::$module::$promise(&super::Memory(super::MemoryStore::new())).await;
            })*
        }
        mod in_a_file {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::store::$module::$promise(&super::InFile::new()).await;
            })*
        }
        mod in_etcd {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::store::$module::$promise(&super::InEtcd::start().await).await;
            })*
        }
        mod in_kubernetes {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::store::$module::$promise(&super::InKubernetes::start().await).await;
            })*
        }
    };
}

promises!(
    contract::a_plan_is_replaced_only_at_the_revision_that_was_read,
    contract::a_deposed_leaders_plan_is_refused,
    contract::watchers_see_whole_plans_only_and_the_last_one_always,
    contract::a_collectors_own_watch_tells_what_the_plan_says,
    contract::collectors_come_and_go,
    contract::a_newer_run_of_a_collector_outlives_the_older_one,
    contract::one_candidate_leads_and_hands_over_when_it_resigns,
    contract::the_next_manager_goes_on_from_the_stored_plan,
    contract::a_plan_bigger_than_one_value_is_stored_and_read,
    directives::directives_are_replaced_only_at_the_revision_that_was_read,
    directives::many_directives_are_seen_whole_or_not_at_all,
    directives::of_two_that_change_directives_at_once_both_know_what_came_of_it,
    directives::directives_outlive_the_manager_that_wrote_them,
);
