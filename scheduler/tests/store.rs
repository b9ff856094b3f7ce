//! What every store promises, held against the one in memory and against a real etcd.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod store {
    pub mod contract;
    pub mod directives;
    pub mod etcd;
    pub mod plans;
}

use std::sync::Arc;

use plimsoll_scheduler::store::{EtcdStore, MemoryStore, Store};
use plimsoll_testkit::Etcd;

/// A place where plans are kept, seen from several processes.
pub trait World {
    /// What one more process sees.
    fn process(&self) -> Arc<dyn Store>;
}

struct Memory(MemoryStore);

impl World for Memory {
    fn process(&self) -> Arc<dyn Store> {
        Arc::new(self.0.clone())
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

impl World for InEtcd {
    fn process(&self) -> Arc<dyn Store> {
        Arc::new(EtcdStore::new(&[self.0.endpoint()], "/plimsoll/").unwrap())
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
        mod in_etcd {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::store::$module::$promise(&super::InEtcd::start().await).await;
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
    directives::directives_are_replaced_only_at_the_revision_that_was_read,
    directives::many_directives_are_seen_whole_or_not_at_all,
    directives::of_two_that_change_directives_at_once_both_know_what_came_of_it,
    directives::directives_outlive_the_manager_that_wrote_them,
);
