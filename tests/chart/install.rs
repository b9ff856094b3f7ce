//! Installed, upgraded and uninstalled on a real API server with its controllers. kwok plays the pods: they are ready at once.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use plimsoll_testkit::{ApiServer, wait_until};

use crate::definitions::SCALED_OBJECTS;
use crate::release::helm_on;
use crate::rendered::{chart, value_set};
use crate::scheduler::{Scheduler, admin};

const NAMESPACE: &str = "installed";
const RELEASE: &str = "edge";
const WAIT: &str = "--timeout=180s";

/// The names of what there is of these kinds with the release's label.
async fn left(server: &ApiServer, kinds: &str) -> Result<Vec<String>> {
    let label = format!("-lapp.kubernetes.io/instance={RELEASE}");
    let told = server.kubectl(&["get", kinds, "--all-namespaces", &label, "-o", "name"]).await?;
    Ok(told.lines().map(str::to_owned).collect())
}

#[tokio::test]
async fn it_installs_upgrades_and_leaves_nothing_but_definitions() -> Result<()> {
    let server = ApiServer::start().await?;
    let _nodes = server.nodes().await?;
    server.namespace(NAMESPACE).await?;
    let _scheduler = Scheduler::start(admin(&server).await?, NAMESPACE);
    let (chart, values) = (chart().display().to_string(), value_set("compatibility"));

    let install = ["install", RELEASE, &chart, "--values", &values, "--wait", WAIT];
    let told = helm_on(&server, NAMESPACE, &install).await?;
    ensure!(told.stdout.contains("edge-plimsoll-interceptor.installed:8080"), "{}", told.stdout);
    let ready = server
        .kubectl(&[
            "get",
            "deployments,statefulsets",
            "-n",
            NAMESPACE,
            "-o",
            "jsonpath={.items[*].status.readyReplicas}",
        ])
        .await?;
    ensure!(ready.split_whitespace().collect::<Vec<_>>() == ["3", "2", "1"], "{ready}");
    let endpoints = [
        "get",
        "endpointslices",
        "-n",
        NAMESPACE,
        "-l",
        "kubernetes.io/service-name=keda-add-ons-http-external-scaler",
    ];
    let told =
        server.kubectl(&[&endpoints[..], &["-o", "jsonpath={.items[*].endpoints[*].addresses}"]].concat()).await?;
    ensure!(told.matches('.').count() == 6, "two managers under the add-on's name: {told}");

    // The manager scales; an upgrade leaves it at that.
    let collectors = "edge-plimsoll-collector-default";
    server.kubectl(&["scale", "statefulset", collectors, "-n", NAMESPACE, "--replicas=4"]).await?;
    let more = ["--set", "interceptor.replicas=5", "--set", "interceptor.shutdownDelaySeconds=20"];
    helm_on(
        &server,
        NAMESPACE,
        &[&["upgrade", RELEASE, &chart, "--values", &values, "--wait", WAIT][..], &more].concat(),
    )
    .await?;
    let replicas = ["get", "deployments,statefulsets", "-n", NAMESPACE, "-o", "jsonpath={.items[*].spec.replicas}"];
    let replicas = server.kubectl(&replicas).await?;
    ensure!(replicas.split_whitespace().collect::<Vec<_>>() == ["5", "2", "4"], "{replicas}");

    // KEDA scales it from now on: however many there are, neither the switch nor a later upgrade says another number.
    server.apply(SCALED_OBJECTS).await?;
    server.kubectl(&["wait", "--for=condition=established", "--timeout=60s", "crd/scaledobjects.keda.sh"]).await?;
    let scaled = ["upgrade", RELEASE, &chart, "--values", &values, "--set", "interceptor.autoscaling.enabled=true"];
    for there in ["5", "7"] {
        let interceptors = ["deployment", "edge-plimsoll-interceptor", "-n", NAMESPACE];
        let number = format!("--replicas={there}");
        server.kubectl(&[&["scale"][..], &interceptors, &[number.as_str()]].concat()).await?;
        helm_on(&server, NAMESPACE, &scaled).await?;
        let told =
            server.kubectl(&[&["get"][..], &interceptors, &["-o", "jsonpath={.spec.replicas}"]].concat()).await?;
        ensure!(told == there, "{told} in place of {there}");
    }

    let hooks = helm_on(&server, NAMESPACE, &["get", "hooks", RELEASE]).await?;
    ensure!(
        hooks.stdout.contains("helm.sh/hook: test")
            && hooks.stdout.contains("--server=http://edge-plimsoll-manager.installed:8088")
    );

    helm_on(&server, NAMESPACE, &["uninstall", RELEASE, "--wait", WAIT]).await?;
    let kinds = "all,serviceaccounts,configmaps,secrets,roles,rolebindings,clusterroles,clusterrolebindings,networkpolicies,\
                 poddisruptionbudgets,leases";
    // Pods of a deleted Deployment go a moment later, by the garbage collector.
    wait_until("nothing is left", Duration::from_secs(120), async || {
        let rest = left(&server, kinds).await?;
        ensure!(rest.is_empty(), "{rest:?}");
        Ok(())
    })
    .await?;
    let definitions = server.kubectl(&["get", "customresourcedefinitions", "-o", "name"]).await?;
    for kind in ["httpscaledobjects", "interceptorroutes"] {
        ensure!(definitions.contains(&format!("{kind}.http.keda.sh")), "{definitions}");
    }
    Ok(())
}

#[tokio::test]
async fn the_definitions_in_the_chart_are_the_programs() -> Result<()> {
    let printed = crate::program::run(&["crds"]).await?;
    let kept = std::fs::read_to_string(chart().join("crds/http.keda.sh.yaml")).context("run tools/generate-crds")?;
    ensure!(printed.success && printed.stdout == kept, "the chart's copy is stale: run tools/generate-crds");
    Ok(())
}
