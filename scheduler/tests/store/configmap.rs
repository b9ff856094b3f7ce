//! What only a real API server can show: leases that run out, outages, freezes, lost history, permissions, and what is written.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_cluster::Access;
use plimsoll_scheduler::store::{
    ConfigMapOptions, ConfigMapStore, Leadership, Member, Revision, Store, StoreError, StoreHealth,
};
use plimsoll_testkit::{ApiServer, documented_rules};
use tokio::time::{Instant, sleep};

use super::directives::directives;
use super::plans::{collector, leads, plan, until};
use crate::{GUIDE, InKubernetes, World};

fn member() -> Member {
    Member { id: collector(1), address: "127.0.0.1:9000".to_owned(), provider: "default".to_owned(), incarnation: 1 }
}

fn options(kubeconfig: PathBuf) -> ConfigMapOptions {
    ConfigMapOptions {
        access: Access { kubeconfig: Some(kubeconfig) },
        namespace: Some("default".to_owned()),
        member_ttl: Duration::from_secs(3),
        ..ConfigMapOptions::default()
    }
}

async fn process(server: &ApiServer) -> ConfigMapStore {
    ConfigMapStore::new(options(server.kubeconfig())).await.unwrap()
}

async fn healthy(store: &dyn Store) {
    until(&mut store.health(), "health", |health| *health == StoreHealth::Connected).await;
}

async fn away(store: &dyn Store) {
    until(&mut store.health(), "absence", |health| matches!(health, StoreHealth::Away { .. })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crashed_leader_is_replaced_within_ten_seconds_and_a_crashed_collector_goes() {
    let world = InKubernetes::start().await;
    let options = || ConfigMapOptions { member_ttl: Duration::from_secs(3), ..world.options() };
    let (a, b) = (ConfigMapStore::new(options()).await.unwrap(), ConfigMapStore::new(options()).await.unwrap());
    let campaign_a = a.campaign("manager-a");
    leads(&campaign_a).await;
    let registration = a.register(member()).await.unwrap();
    let campaign_b = b.campaign("manager-b");
    let mut members = b.watch_members();
    until(&mut members, "the collector", |members| members.len() == 1).await;
    until(
        &mut campaign_b.leadership(),
        "following",
        |now| matches!(now, Leadership::Follower { leader: Some(leader) } if leader == "manager-a"),
    )
    .await;
    let crashed = Instant::now();
    drop((campaign_a, registration));
    leads(&campaign_b).await;
    println!("a crashed leader is replaced after {:?}", crashed.elapsed());
    assert!(crashed.elapsed() < Duration::from_secs(10), "{:?}", crashed.elapsed());
    until(&mut members, "nobody", |members| members.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outages_freezes_and_lost_history_are_told_and_everything_goes_on_after_them() {
    let mut server = ApiServer::start().await.unwrap();
    let (manager, other) = (process(&server).await, process(&server).await);
    let campaign = manager.campaign("manager-a");
    let term = leads(&campaign).await;
    let _registration = other.register(member()).await.unwrap();
    let revision = manager.commit(&plan(1, 3, 30), Revision::default(), &term).await.unwrap();
    let asked = manager.change_directives(&directives(1, 10), Revision::default()).await.unwrap();
    let (mut plans, mut asked_for) = (other.watch_plan(), other.watch_directives());
    let (mut assignment, mut members) = (other.watch_assignment(&collector(1)), manager.watch_members());
    until(&mut plans, "the plan", |stored| stored.plan.generation == 1).await;
    until(&mut asked_for, "the directives", |stored| stored.revision == asked).await;
    until(&mut assignment, "the assignment", |told| told.generation == 1).await;
    until(&mut members, "the collector", |members| members.len() == 1).await;

    // An outage in which all history is lost, too: whoever watched from before is told 410 Gone.
    server.stop().unwrap();
    away(&other).await;
    away(&manager).await;
    let refused = manager.commit(&plan(2, 3, 30), revision, &term).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    assert!(other.load().await.is_err() && other.load_directives().await.is_err());
    let now = server.etcd().etcdctl(&["get", "/", "--write-out=fields"]).await.unwrap();
    let now = now.lines().find_map(|line| line.strip_prefix("\"Revision\" : ")).unwrap();
    server.etcd().etcdctl(&["compact", now.trim()]).await.unwrap();
    let lost = |now: &Leadership| matches!(now, Leadership::Follower { .. });
    until(&mut campaign.leadership(), "a lease that is over is no lead", lost).await;
    sleep(Duration::from_secs(4)).await;
    let kept = (plans.borrow().plan.generation, assignment.borrow().generation, members.borrow().len());
    assert_eq!(kept, (1, 1, 1), "what was known last stands");
    server.restart().await.unwrap();
    goes_on(&manager, &campaign, &mut plans, &mut assignment, &mut members).await;

    server.freeze().unwrap();
    let frozen = Instant::now();
    assert!(manager.load().await.is_err());
    away(&other).await;
    away(&manager).await;
    until(&mut campaign.leadership(), "following", lost).await;
    println!("a frozen API server is noticed, and its leader stands down, after {:?}", frozen.elapsed());
    sleep(Duration::from_secs(4)).await;
    assert_eq!(members.borrow().len(), 1, "nobody could renew");
    server.thaw().unwrap();
    goes_on(&manager, &campaign, &mut plans, &mut assignment, &mut members).await;
    let stored = manager.load_directives().await.unwrap();
    manager.change_directives(&directives(2, 10), stored.revision).await.unwrap();
    until(&mut asked_for, "the next directives", |stored| stored.directives.rebalances == 2).await;
}

async fn goes_on(
    manager: &ConfigMapStore,
    campaign: &plimsoll_scheduler::store::Campaign,
    plans: &mut tokio::sync::watch::Receiver<Arc<plimsoll_scheduler::store::Stored>>,
    assignment: &mut tokio::sync::watch::Receiver<Arc<plimsoll_scheduler::plan::CollectorAssignment>>,
    members: &mut tokio::sync::watch::Receiver<Arc<std::collections::BTreeMap<String, Member>>>,
) {
    healthy(manager).await;
    let term = leads(campaign).await;
    let stored = manager.load().await.unwrap();
    let next = stored.plan.generation + 1;
    manager.commit(&plan(next, 3, 30), stored.revision, &term).await.unwrap();
    until(plans, "the next plan", |stored| stored.plan.generation == next).await;
    until(assignment, "the next assignment", |told| told.generation == next).await;
    until(members, "the collector", |members| members.len() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_changes_is_written_and_nothing_is_left_over() {
    let world = InKubernetes::start().await;
    let manager = world.process().await;
    let campaign = manager.campaign("manager-a");
    let term = leads(&campaign).await;
    // What a manager that died while writing has left: of a plan, and of directives.
    let server = ApiServer::shared().await.unwrap();
    let prefix = world.options().prefix;
    for kind in ["plan", "directives"] {
        let labels = format!("plimsoll.io/store: {prefix}, plimsoll.io/kind: {kind}-part");
        let name = format!("{prefix}-{kind}-0-left-over-0000");
        let left = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: plimsoll, labels: {{{labels}}}}}\n"
        );
        server.apply(&left).await.unwrap();
    }
    let first = plan(1, 5, 50);
    let revision = manager.commit(&first, Revision::default(), &term).await.unwrap();
    let before = parts(&prefix, "plan").await;
    assert_eq!(before.len(), 5, "{before:?}");
    let mut second = first.clone();
    second.generation = 2;
    let mut placed = second.topics.values().find(|placed| placed.placement.incoming.is_none()).unwrap().clone();
    let to = if placed.placement.owner == Some(collector(0)) { collector(1) } else { collector(0) };
    placed.placement.owner = Some(to);
    second.topics.insert(placed);
    manager.commit(&second, revision, &term).await.unwrap();
    let after = parts(&prefix, "plan").await;
    assert_eq!(after.len(), 5, "{after:?}");
    assert_eq!(after.iter().filter(|name| !before.contains(name)).count(), 2, "{after:?}");
    assert_eq!(manager.load().await.unwrap().plan, second);

    let asked = manager.change_directives(&directives(1, 10_000), Revision::default()).await.unwrap();
    assert!(parts(&prefix, "directives").await.iter().all(|name| !name.contains("left-over")));
    manager.change_directives(&directives(2, 10), asked).await.unwrap();
    assert_eq!(parts(&prefix, "directives").await.len(), 1);
}

/// The names of all parts.
async fn parts(prefix: &str, kind: &str) -> Vec<String> {
    let selector = format!("plimsoll.io/store={prefix},plimsoll.io/kind={kind}-part");
    let asked = ["get", "configmaps", "-n", "plimsoll", "-l", &selector, "-o", "name"];
    let names = ApiServer::shared().await.unwrap().kubectl(&asked).await.unwrap();
    names.split_whitespace().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_does_all_it_must_and_can_not_change_the_plan() {
    let world = InKubernetes::start().await;
    let manager = world.process().await;
    let campaign = manager.campaign("manager-a");
    let term = leads(&campaign).await;
    let revision = manager.commit(&plan(1, 3, 30), Revision::default(), &term).await.unwrap();
    let server = ApiServer::shared().await.unwrap();
    let rules = documented_rules(GUIDE, "A collector, which").unwrap();
    let kubeconfig = server.service_account("plimsoll", "collector", &rules).await.unwrap();
    let options = ConfigMapOptions { access: Access { kubeconfig: Some(kubeconfig) }, ..world.options() };
    let collector_process = ConfigMapStore::new(options).await.unwrap();
    let mut assignment = collector_process.watch_assignment(&collector(1));
    until(&mut assignment, "the assignment", |told| told.generation == 1).await;
    let mut members = manager.watch_members();
    let registration = collector_process.register(member()).await.unwrap();
    until(&mut members, "the collector", |members| members.contains_key(&collector(1))).await;
    // Before it stops it looks whether there are others.
    let mut others = collector_process.watch_members();
    until(&mut others, "the collector", |members| members.contains_key(&collector(1))).await;
    registration.leave().await;
    until(&mut members, "nobody", |members| members.is_empty()).await;
    let refused = collector_process.commit(&plan(2, 3, 30), revision, &term).await;
    assert!(matches!(&refused, Err(StoreError::Refused { reason, .. }) if reason.contains("forbidden")), "{refused:?}");
    assert_eq!(manager.load().await.unwrap().plan, plan(1, 3, 30));
}

#[tokio::test]
async fn what_can_not_work_is_named_at_the_start() {
    let bad = async |options: ConfigMapOptions| ConfigMapStore::new(options).await.unwrap_err().to_string();
    let access = Access { kubeconfig: Some("no/such/file".into()) };
    let missing = bad(ConfigMapOptions { access, ..ConfigMapOptions::default() }).await;
    assert!(missing.contains("no/such/file"), "{missing}");
    let prefix = ConfigMapOptions { prefix: "Not a name".to_owned(), ..ConfigMapOptions::default() };
    assert!(bad(prefix).await.contains("Not a name"));
}
