//! What the `Ready` condition says.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::objects::{Namespace, route};
use crate::operator::{Control, ready};

pub(crate) async fn each_resource_says_whether_it_can_be_used() -> Result<()> {
    let space = Namespace::new("conditions").await?;
    space.service("web").await?;
    let mut fast = route("fast", "fast.test", "web");
    fast["spec"]["scalingMetric"] = json!({"requestRate": {"targetValue": 1, "granularity": "1ms"}});
    let mut body = route("body", "body.test", "web");
    body["spec"]["coldStart"] =
        json!({"placeholder": {"response": {"bodyFromConfigMap": {"name": "pages", "key": "a.html"}}}});
    let mut port = route("port", "port.test", "web");
    port["spec"]["target"] = json!({"service": "web", "port": 8080});
    let target = json!({"name": "web", "service": "web", "port": 80});
    let both = json!({"scaleTargetRef": target, "scalingMetric": {"concurrency": {}, "requestRate": {}}});
    let huge = json!({"scaleTargetRef": target, "scalingMetric": {"concurrency": {"targetValue": 3_000_000_000_u32}}});
    let old = |name: &str, spec: Value| json!({"kind": "HTTPScaledObject", "metadata": {"name": name}, "spec": spec});
    let cases = [
        (fast, "Invalid", "spec.scalingMetric.requestRate.granularity: \"1ms\""),
        (port, "PortNotFound", "has no port 8080"),
        (route("service", "service.test", "nowhere"), "ServiceNotFound", "there is no Service \"nowhere\""),
        (old("both", both), "Invalid", "spec.scalingMetric: both concurrency and requestRate"),
        (old("huge", huge), "Invalid", "spec.scalingMetric.concurrency.targetValue"),
        (route("alias", "alias.test", "alias"), "ServiceWithoutEndpoints", "an alias of example.com"),
        (body, "BodyNotFound", "no ConfigMap conditions/pages with the label"),
        (route("good", "good.test", "web"), "Reconciled", ""),
    ];
    let alias = json!({"type": "ExternalName", "externalName": "example.com", "ports": [{"name": "web", "port": 80}]});
    space.apply(json!({"kind": "Service", "metadata": {"name": "alias"}, "spec": alias})).await?;
    let pages = |label: &str| {
        json!({"kind": "ConfigMap", "metadata": {"name": "pages", "labels": {"http.keda.sh/response-body": label}},
               "data": {"a.html": "x"}})
    };
    space.apply(pages("false")).await?;
    for (object, ..) in &cases {
        space.apply(object.clone()).await?;
    }
    let control = Control::start(&space).await?;
    for (object, reason, says) in &cases {
        let (kind, name) = (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
        let condition = ready(&space, kind, name, reason).await?;
        let message = condition["message"].as_str().unwrap_or_default();
        ensure!(message.contains(says), "{name}: {message:?} does not say {says:?}");
        ensure!(condition["status"] == if *reason == "Reconciled" { "True" } else { "False" }, "{condition}");
    }
    // What is put right is said to be right, since when it is.
    space.service("nowhere").await?;
    let mended = ready(&space, "InterceptorRoute", "service", "Reconciled").await?;
    ensure!(mended["status"] == "True", "{mended}");
    space.apply(route("fast", "fast.test", "web")).await?;
    ready(&space, "InterceptorRoute", "fast", "Reconciled").await?;
    space.apply(pages("true")).await?;
    ready(&space, "InterceptorRoute", "body", "Reconciled").await?;
    space.delete("Service", "alias").await?;
    space.service("alias").await?;
    ready(&space, "InterceptorRoute", "alias", "Reconciled").await?;
    control.stop().await;
    Ok(())
}

pub(crate) async fn who_wins_a_rule_and_who_loses_it_is_said() -> Result<()> {
    let space = Namespace::new("claims").await?;
    space.service("web").await?;
    space.route("older", "same.test", "web").await?;
    // Kubernetes' times are whole seconds: the names decide in one and the same, and `older` comes before `same`.
    space.route("same", "same.test", "web").await?;
    let control = Control::start(&space).await?;
    let loser = ready(&space, "InterceptorRoute", "same", "RuleConflict").await?;
    let says =
        |condition: &Value, text: &str| condition["message"].as_str().is_some_and(|message| message.contains(text));
    ensure!(says(&loser, "same.test/ belongs to claims/older") && loser["status"] == "False", "{loser}");
    let winner = ready(&space, "InterceptorRoute", "older", "Reconciled").await?;
    ensure!(says(&winner, "same.test/ over claims/same") && winner["status"] == "True", "{winner}");
    space.delete("InterceptorRoute", "older").await?;
    let heir = ready(&space, "InterceptorRoute", "same", "Reconciled").await?;
    ensure!(heir["status"] == "True", "{heir}");
    control.stop().await;
    Ok(())
}
