//! What the user has in the cluster: a workload that is well, resources that are not, and what the accounts may not touch.

use anyhow::{Context as _, Result, bail, ensure};
use kube::Error;
use kube::api::{DeleteParams, Patch, PatchParams};
use plimsoll_testkit::wait_until;
use serde_json::{Value, json};

use super::LIMIT;
use super::line::{Line, Part};
use super::pods::PORT;
use crate::objects::{Namespace, client, route};
use crate::operator::ready;

/// Whose requests the workload gets.
pub(crate) const HOST: &str = "web.test";
pub(crate) const MAX_REPLICAS: usize = 4;
const FORBIDDEN: u16 = 403;

/// As a user of the add-on has it, with the finalizer that the add-on puts on it.
fn scaled_object(finalizers: Value, annotations: Value) -> Value {
    let spec = json!({
        "hosts": [HOST],
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "service": "web", "portName": "web"},
        "replicas": {"min": 0, "max": MAX_REPLICAS},
        "scaledownPeriod": 2,
        "scalingMetric": {"concurrency": {"targetValue": 8}},
    });
    let metadata = json!({"name": "web", "finalizers": finalizers, "annotations": annotations});
    json!({"kind": "HTTPScaledObject", "metadata": metadata, "spec": spec})
}

/// A Deployment without replicas, its Service, and its HTTPScaledObject.
pub(crate) async fn workload(space: &Namespace) -> Result<()> {
    let labels = json!({"app": "web"});
    let container = json!({"name": "web", "image": "web", "ports": [{"containerPort": PORT}]});
    // No scheduler runs here.
    let pod = json!({"metadata": {"labels": labels}, "spec": {"nodeName": "node", "containers": [container]}});
    let spec = json!({"replicas": 0, "selector": {"matchLabels": labels}, "template": pod});
    let deployment = json!({"kind": "Deployment", "metadata": {"name": "web"}, "spec": spec});
    // By whoever makes it; its replicas are KEDA's from then on.
    space.apply(deployment).await?;
    let spec = json!({"selector": labels, "ports": [{"name": "web", "port": 80, "targetPort": PORT}]});
    space.apply(json!({"kind": "Service", "metadata": {"name": "web"}, "spec": spec})).await?;
    let window = json!({"plimsoll.io/concurrency-window": "2s"});
    space.apply(scaled_object(json!(["httpscaledobject.http.keda.sh"]), window)).await?;
    Ok(())
}

/// A resource that breaks all rules that its schema leaves to us, a ConfigMap that is not for clients, and a slice that does not say
/// where its pods listen.
pub(crate) async fn bad_neighbours(space: &Namespace) -> Result<()> {
    let spec = json!({
        "hosts": ["", "two words", "a.*.b", "http://x:80/y"],
        "pathPrefixes": ["%zz"],
        "headers": [{"name": "two words"}],
        "scaleTargetRef": {"service": "", "port": -1},
        "replicas": {"min": 9, "max": -1},
        "targetPendingRequests": -1,
        "scaledownPeriod": -1,
        "scalingMetric": {"concurrency": {"targetValue": 0}, "requestRate": {"targetValue": -1, "window": "soon", "granularity": "1ns"}},
        "coldStartTimeoutFailoverRef": {"service": "", "port": 0, "timeoutSeconds": -1},
        "timeouts": {"conditionWait": "soon", "responseHeader": "-1s"},
    });
    let annotations = json!({
        "plimsoll.io/concurrency-window": "1ms", "plimsoll.io/concurrency-limit": "none",
        "plimsoll.io/backend-protocol": "spdy", "plimsoll.io/provider": "No Provider",
    });
    let metadata = json!({"name": "everything", "annotations": annotations});
    space.apply(json!({"kind": "HTTPScaledObject", "metadata": metadata, "spec": spec})).await?;
    let mut unlabelled = route("unlabelled", "unlabelled.test", "web");
    unlabelled["spec"]["coldStart"] =
        json!({"placeholder": {"response": {"bodyFromConfigMap": {"name": "pages", "key": "a.html"}}}});
    space.apply(unlabelled).await?;
    space.apply(json!({"kind": "ConfigMap", "metadata": {"name": "pages"}, "data": {"a.html": "x"}})).await?;
    let slice = json!({
        "kind": "EndpointSlice", "metadata": {"name": "no-ports", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": [], "endpoints": [{"addresses": ["10.99.0.250"]}],
    });
    space.apply(slice).await?;
    Ok(())
}

/// Each of them in a condition, where it is a resource of ours, and in the logs.
pub(crate) async fn bad_neighbours_are_named(space: &Namespace, parts: &[&Part]) -> Result<()> {
    ready(space, "HTTPScaledObject", "everything", "Invalid").await?;
    let body = ready(space, "InterceptorRoute", "unlabelled", "BodyNotFound").await?;
    let says = body["message"].as_str().unwrap_or_default();
    ensure!(says.contains("circle/pages") && says.contains("http.keda.sh/response-body"), "{says}");
    for part in parts {
        for named in ["HTTPScaledObject circle/everything", "there is no ConfigMap circle/pages"] {
            part.program.prints(named, LIMIT).await.with_context(|| part.name.clone())?;
        }
    }
    let interceptor = parts.last().context("nobody prints anything")?;
    let printed = interceptor.program.prints("EndpointSlice circle/no-ports", LIMIT).await?;
    let times = printed.matches("EndpointSlice circle/no-ports").count();
    ensure!(times <= 2, "it is said {times} times: once for each resource that wants the Service would do\n{printed}");
    Ok(())
}

/// The ScaledObject goes when its resource says that it needs none.
pub(crate) async fn without_scaled_object(space: &Namespace) -> Result<()> {
    let object = space.get("HTTPScaledObject", "web").await?.context("it has gone")?;
    ensure!(object.metadata.finalizers.is_none_or(|all| all.is_empty()), "the add-on's finalizer is still on it");
    space
        .apply(scaled_object(json!([]), json!({"httpscaledobject.keda.sh/skip-scaledobject-creation": "true"})))
        .await?;
    wait_until("there is no ScaledObject", LIMIT, async || {
        ensure!(space.get("ScaledObject", "web").await?.is_none(), "there is one");
        Ok(())
    })
    .await
}

/// What none of the accounts should be able to do, tried.
pub(crate) async fn what_is_not_needed_is_refused(line: &Line, space: &Namespace) -> Result<()> {
    let all = Default::default();
    for part in ["interceptor", "manager", "collector"] {
        let account = Namespace { client: client(line.account(part)?).await?, name: space.name.clone() };
        refused(part, account.api("Secret").list(&all).await)?;
        refused(part, account.api("Pod").list(&all).await)?;
        let (deployments, more) = (account.api("Deployment"), Patch::Merge(json!({"spec": {"replicas": 9}})));
        refused(part, deployments.patch_scale("web", &PatchParams::default(), &more).await)?;
        refused(part, account.api("InterceptorRoute").delete("unlabelled", &DeleteParams::default()).await)?;
        if part != "manager" {
            refused(part, account.api("ScaledObject").list(&all).await)?;
            let status = Patch::Merge(json!({"status": {"conditions": []}}));
            let routes = account.api("InterceptorRoute");
            refused(part, routes.patch_status("unlabelled", &PatchParams::default(), &status).await)?;
        }
        if part == "collector" {
            refused(part, account.api("Service").list(&all).await)?;
            refused(part, account.api("InterceptorRoute").list(&all).await)?;
        }
    }
    Ok(())
}

fn refused<T>(part: &str, outcome: Result<T, Error>) -> Result<()> {
    match outcome {
        Err(Error::Api(status)) if status.code == FORBIDDEN => Ok(()),
        Err(error) => bail!("{part}: {error}, which is no refusal"),
        Ok(_) => bail!("{part} may do what it does not need"),
    }
}
