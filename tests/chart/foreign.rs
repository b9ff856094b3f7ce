//! Objects of kinds whose definitions are not there: the fields that make them work, without a schema.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::rendered::{named, objects, of_kind};

/// The kinds, which the API server of these tests does not know.
pub(crate) const KINDS: [&str; 4] = ["ScaledObject", "Certificate", "PodMonitor", "ServiceMonitor"];

#[tokio::test]
async fn interceptors_are_scaled_by_what_they_have_in_flight() -> Result<()> {
    let all = objects("everything").await?;
    let scaled = named(&all, "ScaledObject", "plimsoll-interceptor")?;
    ensure!(scaled["apiVersion"] == "keda.sh/v1alpha1");
    ensure!(scaled["spec"]["scaleTargetRef"]["name"] == "plimsoll-interceptor");
    let trigger = &scaled["spec"]["triggers"][0];
    let metadata =
        json!({"scalerAddress": "plimsoll-manager.plimsoll:9090", "interceptorTargetPendingRequests": "200"});
    ensure!(trigger["type"] == "external" && trigger["metadata"] == metadata, "{trigger}");
    // Two that set the number would quarrel.
    let deployment = named(&all, "Deployment", "plimsoll-interceptor")?;
    ensure!(deployment["spec"]["replicas"].is_null(), "{deployment}");
    ensure!(of_kind(&objects("default").await?, "ScaledObject").next().is_none());
    Ok(())
}

#[tokio::test]
async fn each_certificate_is_mounted_where_it_is_used() -> Result<()> {
    let all = objects("tls").await?;
    let mut names = Vec::new();
    for certificate in of_kind(&all, "Certificate") {
        ensure!(certificate["apiVersion"] == "cert-manager.io/v1");
        let spec = &certificate["spec"];
        ensure!(
            spec["issuerRef"]["name"].is_string() && spec["dnsNames"].as_array().is_some_and(|names| !names.is_empty()),
            "{spec}"
        );
        let secret = spec["secretName"].as_str().context("no Secret")?;
        ensure!(secrets(&all).iter().any(|mounted| mounted == secret), "nobody mounts {secret}");
        names.push(secret);
    }
    names.sort_unstable();
    ensure!(names == ["plimsoll-api-tls", "plimsoll-interceptor-tls"], "{names:?}");
    // The scaler's is the user's own.
    ensure!(secrets(&all).iter().any(|mounted| mounted == "scaler"));
    let api = named(&all, "Certificate", "plimsoll-api")?;
    ensure!(api["spec"]["dnsNames"][0] == "plimsoll-manager.plimsoll", "{api}");
    Ok(())
}

fn secrets(all: &[Value]) -> Vec<String> {
    let volumes = crate::rendered::pods(all)
        .into_iter()
        .flat_map(|(_, pod)| pod["volumes"].as_array().cloned().unwrap_or_default());
    volumes.filter_map(|volume| Some(volume["secret"]["secretName"].as_str()?.to_owned())).collect()
}

#[tokio::test]
async fn each_monitor_names_a_port_that_is_there() -> Result<()> {
    let (pods, mixed) = (objects("everything").await?, objects("tls").await?);
    ensure!(of_kind(&pods, "PodMonitor").count() == 3 && of_kind(&pods, "ServiceMonitor").count() == 0);
    ensure!(of_kind(&mixed, "PodMonitor").count() == 1 && of_kind(&mixed, "ServiceMonitor").count() == 2);
    for (all, kind, watched, endpoints) in [
        (&pods, "PodMonitor", ["Deployment", "StatefulSet"], "podMetricsEndpoints"),
        (&mixed, "ServiceMonitor", ["Service", "Service"], "endpoints"),
    ] {
        for monitor in of_kind(all, kind) {
            let labels = monitor["spec"]["selector"]["matchLabels"].as_object().context("no labels")?;
            let objects = watched.iter().flat_map(|kind| of_kind(all, kind));
            let found: Vec<&Value> = objects
                .filter(|one| labels.iter().all(|(key, value)| one["metadata"]["labels"][key] == *value))
                .collect();
            ensure!(!found.is_empty(), "{monitor}");
            let port = &monitor["spec"][endpoints][0]["port"];
            for one in found {
                let places = ["/spec/ports", "/spec/template/spec/containers/0/ports"];
                let ports = places.into_iter().find_map(|place| one.pointer(place)?.as_array()).context("no ports")?;
                ensure!(ports.iter().any(|there| there["name"] == *port), "{port} of {monitor}");
            }
        }
    }
    let manager = named(&pods, "PodMonitor", "plimsoll-manager")?;
    let credentials = &manager["spec"]["podMetricsEndpoints"][0]["authorization"]["credentials"];
    ensure!(*credentials == json!({"name": "look", "key": "token"}), "{manager}");
    Ok(())
}
