//! ScaledObjects that the leader keeps right.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use clap::Parser as _;
use kube::core::DynamicObject;
use plimsoll_manager::fleet::Given;
use plimsoll_manager::operator::{Operator, Scaler};
use plimsoll_manager::{Manager, Parts};
use plimsoll_scheduler::store::MemoryStore;
use plimsoll_testkit::wait_until;
use plimsoll_wire::log::memory::MemoryLog;
use plimsoll_wire::resources::cluster;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::SOON;
use crate::objects::{Namespace, route};

const SCALER: &str = "plimsoll-manager.plimsoll:9090";

/// A manager that looks after a namespace.
pub(crate) struct Control {
    stop: CancellationToken,
    tasks: TaskTracker,
}

#[derive(clap::Parser)]
struct Alone {
    #[command(flatten)]
    config: plimsoll_manager::Config,
}

impl Control {
    pub(crate) async fn start(space: &Namespace) -> Result<Self> {
        Self::start_with(space, Scaler { address: SCALER.to_owned(), tls: false, authentication: None }).await
    }

    /// One whose scaler KEDA reaches so.
    async fn start_with(space: &Namespace, scaler: Scaler) -> Result<Self> {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let routes = cluster::watch(space.client.clone(), Some(&space.name), stop.clone());
        let (workloads, known) = (routes.workloads(), routes.known());
        tasks.spawn(routes.finished());
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut config = Alone::try_parse_from(["manager"])?.config;
        (config.api_listen, config.scaler_listen) = (anywhere, anywhere);
        let (log, store) = (Arc::new(MemoryLog::new()), Arc::new(MemoryStore::new()));
        let parts = Parts { log, store, workloads, fleet: Arc::new(Given) };
        let operator = Operator { client: space.client.clone(), namespace: Some(space.name.clone()), scaler };
        let manager = Manager::bind(config, parts).await?.ready_when(known).with_operator(operator);
        let serving = manager.serve(stop.clone());
        tasks.spawn(async move { serving.await.expect("the manager serves") });
        tasks.close();
        Ok(Self { stop, tasks })
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

fn old(name: &str, annotations: Value) -> Value {
    json!({
        "kind": "HTTPScaledObject",
        "metadata": {"name": name, "labels": {"team": "a"}, "annotations": annotations},
        "spec": {
            "hosts": [format!("{name}.test")],
            "scaleTargetRef": {"name": name, "kind": "Deployment", "apiVersion": "apps/v1", "service": "web", "port": 80},
            "replicas": {"min": 1, "max": 5}, "scaledownPeriod": 300,
        },
    })
}

/// Waits until the ScaledObject is so.
async fn scaled(space: &Namespace, name: &str, is: impl Fn(&DynamicObject) -> bool) -> Result<DynamicObject> {
    wait_until(&format!("the ScaledObject {name} is right"), SOON, async || {
        let object = space.get("ScaledObject", name).await?.context("there is none")?;
        ensure!(is(&object), "it is {object:?}");
        Ok(object)
    })
    .await
}

/// Waits until the condition `Ready` of a resource has this reason.
pub(crate) async fn ready(space: &Namespace, kind: &str, name: &str, reason: &str) -> Result<Value> {
    wait_until(&format!("{kind} {name} is {reason}"), SOON, async || {
        let object = space.get(kind, name).await?.context("there is none")?;
        let conditions = object.data["status"]["conditions"].as_array().context("it has no conditions")?.clone();
        let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready").context("none is Ready")?;
        ensure!(ready["reason"] == reason, "it is {ready}");
        ensure!(
            ready["observedGeneration"] == json!(object.metadata.generation),
            "it is of another generation: {ready}"
        );
        Ok(ready)
    })
    .await
}

pub(crate) async fn an_http_scaled_object_has_its_scaled_object() -> Result<()> {
    let space = Namespace::new("scaled").await?;
    space.service("web").await?;
    let owner = space.apply(old("web", json!({"note": "x"}))).await?;
    let control = Control::start(&space).await?;
    let made = scaled(&space, "web", |_| true).await?;
    let expected = json!({
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "pollingInterval": 15, "cooldownPeriod": 300, "minReplicaCount": 1, "maxReplicaCount": 5,
        "advanced": {"restoreToOriginalReplicaCount": true},
        "triggers": [{"type": "external-push", "metadata": {"scalerAddress": SCALER, "httpScaledObject": "web"}}],
    });
    ensure!(made.data["spec"] == expected, "{}", made.data["spec"]);
    let metadata = serde_json::to_value(&made.metadata)?;
    ensure!(
        metadata["labels"] == json!({"team": "a"}) && metadata["annotations"] == json!({"note": "x"}),
        "{metadata}"
    );
    let owned = json!([{
        "apiVersion": "http.keda.sh/v1alpha1", "kind": "HTTPScaledObject", "name": "web",
        "uid": owner.metadata.uid, "controller": true, "blockOwnerDeletion": true,
    }]);
    ensure!(metadata["ownerReferences"] == owned, "{metadata}");
    let condition = ready(&space, "HTTPScaledObject", "web", "Reconciled").await?;
    ensure!(condition["status"] == "True", "{condition}");
    let status = space.get("HTTPScaledObject", "web").await?.context("it has gone")?.data["status"].clone();
    ensure!(status["targetWorkload"] == "apps/v1/Deployment/web" && status["targetService"] == "web:80", "{status}");
    // A field that the resource no longer has is taken back.
    let mut without = old("web", json!({}));
    without["spec"]["replicas"] = json!({"max": 7});
    space.apply(without).await?;
    scaled(&space, "web", |object| {
        let spec = &object.data["spec"];
        spec["maxReplicaCount"] == 7
            && spec.get("minReplicaCount").is_none()
            && object.metadata.annotations.as_ref().is_none_or(|all| all.is_empty())
    })
    .await?;
    // Nothing is written where nothing changes. (The condition of this change is written after the ScaledObject.)
    ready(&space, "HTTPScaledObject", "web", "Reconciled").await?;
    let version = |object: Option<DynamicObject>| object.and_then(|object| object.metadata.resource_version);
    let before =
        (version(space.get("ScaledObject", "web").await?), version(space.get("HTTPScaledObject", "web").await?));
    space.apply(old("later", json!({}))).await?;
    ready(&space, "HTTPScaledObject", "later", "Reconciled").await?;
    let after =
        (version(space.get("ScaledObject", "web").await?), version(space.get("HTTPScaledObject", "web").await?));
    ensure!(before == after, "{before:?}, then {after:?}");
    control.stop().await;
    Ok(())
}

pub(crate) async fn drift_is_repaired_and_users_fields_stay() -> Result<()> {
    let space = Namespace::new("drift").await?;
    space.service("web").await?;
    space.apply(old("web", json!({}))).await?;
    let control = Control::start(&space).await?;
    scaled(&space, "web", |_| true).await?;
    let change = json!({
        "kind": "ScaledObject", "metadata": {"name": "web", "labels": {"users": "own"}},
        "spec": {"pollingInterval": 99, "fallback": {"failureThreshold": 3, "replicas": 2}},
    });
    space.apply_as("somebody", change).await?;
    scaled(&space, "web", |object| {
        let (spec, labels) = (&object.data["spec"], object.metadata.labels.clone().unwrap_or_default());
        spec["pollingInterval"] == 15 && spec["fallback"]["replicas"] == 2 && labels.contains_key("users")
    })
    .await?;
    space.delete("ScaledObject", "web").await?;
    scaled(&space, "web", |object| object.data["spec"]["pollingInterval"] == 15).await?;
    control.stop().await;
    Ok(())
}

pub(crate) async fn the_add_on_s_finalizer_holds_up_no_deletion() -> Result<()> {
    let space = Namespace::new("finalizer").await?;
    space.service("web").await?;
    let mut from_add_on = old("web", json!({}));
    from_add_on["metadata"]["finalizers"] = json!(["httpscaledobject.http.keda.sh", "test.example.com/keep"]);
    space.apply(from_add_on.clone()).await?;
    from_add_on["metadata"]["name"] = "dying".into();
    from_add_on["metadata"]["finalizers"] = json!(["httpscaledobject.http.keda.sh"]);
    space.apply(from_add_on).await?;
    space.delete("HTTPScaledObject", "dying").await?;
    ensure!(space.get("HTTPScaledObject", "dying").await?.is_some(), "nothing held it up");
    let control = Control::start(&space).await?;
    wait_until("what was being deleted has gone", SOON, async || {
        ensure!(space.get("HTTPScaledObject", "dying").await?.is_none(), "it is still there");
        Ok(())
    })
    .await?;
    wait_until("the finalizer is off", SOON, async || {
        let object = space.get("HTTPScaledObject", "web").await?.context("it has gone")?;
        ensure!(object.metadata.finalizers == Some(vec!["test.example.com/keep".to_owned()]), "{object:?}");
        Ok(())
    })
    .await?;
    control.stop().await;
    let mut free = old("web", json!({}));
    free["metadata"]["finalizers"] = json!([]);
    space.apply(free).await?;
    Ok(())
}

pub(crate) async fn annotations_orphan_a_scaled_object_or_do_without_one() -> Result<()> {
    let space = Namespace::new("annotated").await?;
    space.service("web").await?;
    let control = Control::start(&space).await?;
    for name in ["orphan", "skip"] {
        space.apply(old(name, json!({}))).await?;
        scaled(&space, name, |object| object.metadata.owner_references.is_some()).await?;
    }
    space.apply(old("orphan", json!({"httpscaledobject.keda.sh/orphan-scaledobject": "true"}))).await?;
    let orphan =
        scaled(&space, "orphan", |object| object.metadata.owner_references.as_ref().is_none_or(|all| all.is_empty()))
            .await?;
    ensure!(orphan.data["spec"]["pollingInterval"] == 15, "it stays as it was: {orphan:?}");
    space.apply(old("skip", json!({"httpscaledobject.keda.sh/skip-scaledobject-creation": "true"}))).await?;
    wait_until("there is no ScaledObject", SOON, async || {
        ensure!(space.get("ScaledObject", "skip").await?.is_none(), "there is one");
        Ok(())
    })
    .await?;
    // A user's own of the same name is none of ours.
    let own = json!({"kind": "ScaledObject", "metadata": {"name": "skip"}, "spec": {"scaleTargetRef": {"name": "x"}, "triggers": []}});
    let own = space.apply(own).await?;
    space.route("after", "after.test", "web").await?;
    ready(&space, "InterceptorRoute", "after", "Reconciled").await?;
    let still = space.get("ScaledObject", "skip").await?.context("it has been deleted")?;
    ensure!(still.metadata.resource_version == own.metadata.resource_version, "it has been changed: {still:?}");
    control.stop().await;
    Ok(())
}

pub(crate) async fn an_interceptor_route_has_one_where_it_names_its_target() -> Result<()> {
    let space = Namespace::new("targets").await?;
    space.service("web").await?;
    let control = Control::start(&space).await?;
    let mut with = route("web", "web.test", "web");
    space.apply(with.clone()).await?;
    ready(&space, "InterceptorRoute", "web", "Reconciled").await?;
    ensure!(space.get("ScaledObject", "web").await?.is_none(), "nobody asked for it");
    with["metadata"]["annotations"] = json!({"plimsoll.io/scale-target": "statefulset/web"});
    space.apply(with.clone()).await?;
    let made = scaled(&space, "web", |_| true).await?;
    let target = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web"});
    ensure!(made.data["spec"]["scaleTargetRef"] == target, "{made:?}");
    ensure!(made.data["spec"]["triggers"][0]["metadata"]["interceptorRoute"] == "web", "{made:?}");
    with["metadata"]["annotations"] = json!({"plimsoll.io/scale-target": "web"});
    space.apply(with.clone()).await?;
    let wrong = ready_with(&space, "web", "Invalid").await?;
    ensure!(wrong.contains("plimsoll.io/scale-target"), "{wrong}");
    ensure!(space.get("ScaledObject", "web").await?.is_some(), "a mistake takes nothing away");
    with["metadata"]["annotations"] = json!({});
    space.apply(with).await?;
    wait_until("there is no ScaledObject", SOON, async || {
        ensure!(space.get("ScaledObject", "web").await?.is_none(), "there is one");
        Ok(())
    })
    .await?;
    control.stop().await;
    Ok(())
}

pub(crate) async fn keda_speaks_tls_where_the_scaler_does_and_a_trigger_keeps_what_users_add() -> Result<()> {
    let space = Namespace::new("tls").await?;
    space.service("web").await?;
    space.apply(old("web", json!({}))).await?;
    let authentication = "ClusterTriggerAuthentication/scaler".parse()?;
    let scaler = Scaler { address: SCALER.to_owned(), tls: true, authentication: Some(authentication) };
    let control = Control::start_with(&space, scaler).await?;
    let made = scaled(&space, "web", |_| true).await?;
    let metadata = json!({"scalerAddress": SCALER, "httpScaledObject": "web", "enableTLS": "true"});
    let authentication = json!({"kind": "ClusterTriggerAuthentication", "name": "scaler"});
    let mut trigger = json!({"type": "external-push", "metadata": metadata, "authenticationRef": authentication});
    ensure!(made.data["spec"]["triggers"] == json!([trigger]), "{made:?}");
    // A user names the trigger, and has another drift put right with it.
    trigger["name"] = "http".into();
    let spec = json!({"pollingInterval": 99, "triggers": [trigger]});
    space.apply_as("somebody", json!({"kind": "ScaledObject", "metadata": {"name": "web"}, "spec": spec})).await?;
    let right = |object: &DynamicObject| object.data["spec"]["pollingInterval"] == 15;
    let mended = scaled(&space, "web", right).await?;
    ensure!(mended.data["spec"]["triggers"] == json!([trigger]), "{mended:?}");
    control.stop().await;
    // A manager without TLS leaves nothing of it, and the user's name for it stays.
    let control = Control::start(&space).await?;
    let plain = |object: &DynamicObject| object.data["spec"]["triggers"][0]["metadata"].get("enableTLS").is_none();
    let mended = scaled(&space, "web", plain).await?;
    let metadata = json!({"scalerAddress": SCALER, "httpScaledObject": "web"});
    let trigger = json!({"type": "external-push", "name": "http", "metadata": metadata});
    ensure!(mended.data["spec"]["triggers"] == json!([trigger]), "{mended:?}");
    control.stop().await;
    Ok(())
}

pub(crate) async fn a_user_s_own_scaled_object_of_a_route_stays() -> Result<()> {
    let space = Namespace::new("own").await?;
    space.service("web").await?;
    let owner = space.route("web", "own.test", "web").await?;
    let owner = json!({"apiVersion": "http.keda.sh/v1beta1", "kind": "InterceptorRoute", "name": "web", "uid": owner.metadata.uid});
    let spec = json!({"scaleTargetRef": {"name": "web"}, "triggers": []});
    let metadata = json!({"name": "web", "ownerReferences": [owner]});
    let own = space.apply(json!({"kind": "ScaledObject", "metadata": metadata, "spec": spec})).await?;
    let control = Control::start(&space).await?;
    // What is to be done with a ScaledObject is done before the condition is written.
    ready(&space, "InterceptorRoute", "web", "Reconciled").await?;
    let still = space.get("ScaledObject", "web").await?.context("it has been deleted")?;
    ensure!(still.metadata.resource_version == own.metadata.resource_version, "it has been changed: {still:?}");
    control.stop().await;
    Ok(())
}

pub(crate) async fn an_interceptor_route_takes_over_what_the_add_on_made() -> Result<()> {
    let space = Namespace::new("takeover").await?;
    space.service("web").await?;
    let object = space.apply(old("web", json!({}))).await?;
    let owner = json!({
        "apiVersion": "http.keda.sh/v1alpha1", "kind": "HTTPScaledObject", "name": "web", "uid": object.metadata.uid,
        "controller": true, "blockOwnerDeletion": true,
    });
    let spec = json!({"scaleTargetRef": {"name": "web"}, "triggers": []});
    let metadata = json!({"name": "web", "ownerReferences": [owner]});
    space.apply_as("add-on", json!({"kind": "ScaledObject", "metadata": metadata, "spec": spec})).await?;
    let mut with = route("web", "takeover.test", "web");
    with["metadata"]["annotations"] = json!({"plimsoll.io/scale-target": "deployment/web"});
    let with = space.apply(with).await?;
    let control = Control::start(&space).await?;
    ready(&space, "InterceptorRoute", "web", "Reconciled").await?;
    let taken =
        scaled(&space, "web", |object| object.data["spec"]["triggers"][0]["metadata"]["interceptorRoute"] == "web")
            .await?;
    let owners = taken.metadata.owner_references.unwrap_or_default();
    ensure!(
        owners.len() == 1 && Some(&owners[0].uid) == with.metadata.uid.as_ref() && owners[0].controller == Some(true),
        "{owners:?}"
    );
    // The other one is told so; without the route it is in use again, and told that.
    let used = ready(&space, "HTTPScaledObject", "web", "Reconciled").await?;
    ensure!(used["message"].as_str().is_some_and(|message| message.contains("is used for its requests")), "{used}");
    space.delete("InterceptorRoute", "web").await?;
    wait_until("the HTTPScaledObject says that it is in use again", SOON, async || {
        let condition = ready(&space, "HTTPScaledObject", "web", "Reconciled").await?;
        ensure!(condition["message"] == "ScaledObject created and configured", "{condition}");
        Ok(())
    })
    .await?;
    control.stop().await;
    Ok(())
}

async fn ready_with(space: &Namespace, name: &str, reason: &str) -> Result<String> {
    let condition = ready(space, "InterceptorRoute", name, reason).await?;
    Ok(condition["message"].as_str().unwrap_or_default().to_owned())
}
