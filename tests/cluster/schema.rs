//! What the definitions accept and refuse, and what they fill in.

use anyhow::{Context as _, Result, ensure};
use kube::Error;
use serde_json::{Value, json};

use crate::objects::Namespace;

/// An InterceptorRoute with these fields of its spec changed; a `null` takes one out.
fn route(change: &Value) -> Value {
    let spec = json!({"target": {"service": "a", "port": 80}, "scalingMetric": {"concurrency": {"targetValue": 1}}});
    object("InterceptorRoute", spec, change)
}

fn old(change: &Value) -> Value {
    object("HTTPScaledObject", json!({"scaleTargetRef": {"service": "a", "port": 80}}), change)
}

fn object(kind: &str, mut spec: Value, change: &Value) -> Value {
    for (field, value) in change.as_object().into_iter().flatten() {
        match value {
            Value::Null => drop(spec.as_object_mut().map(|spec| spec.remove(field))),
            value => spec[field] = value.clone(),
        }
    }
    json!({"kind": kind, "metadata": {"name": "a"}, "spec": spec})
}

pub(crate) async fn what_the_add_on_accepts_is_accepted() -> Result<()> {
    let space = Namespace::new("accepted").await?;
    let response = json!({"statusCode": 100, "body": "x".repeat(32_768), "headers": {"a": "b"}});
    let rule = json!({"hosts": ["a", "*.b", "*"], "paths": [{"value": "/"}], "headers": [{"name": "x"}, {"name": "y", "value": ""}]});
    let routes = [
        json!({}),
        json!({"target": {"service": "a", "portName": "web"}}),
        json!({"target": {"service": "a", "port": 65_535}}),
        json!({"rules": []}),
        json!({"rules": [{}, rule]}),
        json!({"scalingMetric": {"requestRate": {"targetValue": 1, "window": "nonsense", "granularity": "0s"}}}),
        json!({"scalingMetric": {"concurrency": {"targetValue": 2_147_483_647}, "requestRate": {"targetValue": 1}}}),
        json!({"coldStart": {"fallback": {"service": {"name": "b", "port": 1}}}}),
        json!({"coldStart": {"placeholder": {"response": response}}}),
        json!({"coldStart": {"placeholder": {"response": {"bodyFromConfigMap": {"name": "pages"}}}, "overflow": "Placeholder", "maxPendingRequests": 1}}),
        json!({"coldStart": {"maxPendingRequests": 1, "overflow": "Reject"}}),
        json!({"staticRoutes": [{"rules": [{}], "response": {}, "responseMode": "Always"}]}),
        json!({"staticRoutes": []}),
        json!({"timeouts": {"readiness": "soon", "request": "0s", "responseHeader": ""}}),
        json!({"a field of the future": 1}),
    ];
    let objects = [
        json!({}),
        json!({"scaleTargetRef": {"service": "", "port": -1}}),
        json!({"scaleTargetRef": {"service": "a", "portName": "", "name": "a", "kind": "Deployment", "apiVersion": "apps/v1"}}),
        json!({"hosts": ["a", "a"], "pathPrefixes": [""], "headers": [{"name": "x"}]}),
        json!({"replicas": {"min": -1, "max": 0}, "targetPendingRequests": 0, "scaledownPeriod": -1, "initialCooldownPeriod": 1}),
        json!({"scalingMetric": {}}),
        json!({"scalingMetric": {"concurrency": {"targetValue": -3_000_000_000_i64}, "requestRate": {}}}),
        json!({"coldStartTimeoutFailoverRef": {"service": "b", "port": 1}}),
        json!({"timeouts": {"conditionWait": "x", "responseHeader": "y"}}),
    ];
    let all = routes.iter().map(route).chain(objects.iter().map(old));
    let all = all.chain([json!({"kind": "HTTPScaledObject", "metadata": {"name": "a"}})]);
    for object in all {
        let taken = space.try_create(object.clone()).await?;
        ensure!(taken.is_ok(), "{object}: {taken:?}");
    }
    Ok(())
}

pub(crate) async fn what_the_add_on_refuses_is_refused() -> Result<()> {
    let space = Namespace::new("refused").await?;
    let twice = json!([{"name": "x"}, {"name": "x"}]);
    let routes = [
        (json!({"target": null}), "spec.target"),
        (json!({"scalingMetric": null}), "spec.scalingMetric"),
        (json!({"target": {"service": "a"}}), "exactly one of 'port' and 'portName'"),
        (json!({"target": {"service": "a", "port": 1, "portName": "b"}}), "exactly one of 'port' and 'portName'"),
        (json!({"target": {"service": "", "port": 1}}), "spec.target.service"),
        (json!({"target": {"port": 1}}), "spec.target.service"),
        (json!({"target": {"service": "a", "port": 0}}), "spec.target.port"),
        (json!({"target": {"service": "a", "port": 65_536}}), "spec.target.port"),
        (json!({"target": {"service": "a", "port": "80"}}), "spec.target.port"),
        (json!({"target": {"service": "a", "portName": ""}}), "spec.target.portName"),
        (json!({"rules": [{"hosts": ["a", "a"]}]}), "spec.rules[0].hosts[1]"),
        (json!({"rules": [{"paths": [{}]}]}), "spec.rules[0].paths[0].value"),
        (json!({"rules": [{"paths": [{"value": ""}]}]}), "spec.rules[0].paths[0].value"),
        (json!({"rules": [{"headers": [{"name": ""}]}]}), "spec.rules[0].headers[0].name"),
        (json!({"rules": [{"headers": twice}]}), "spec.rules[0].headers[1]"),
        (json!({"scalingMetric": {}}), "at least one of 'concurrency' and 'requestRate'"),
        (json!({"scalingMetric": {"concurrency": {}}}), "spec.scalingMetric.concurrency.targetValue"),
        (json!({"scalingMetric": {"concurrency": {"targetValue": 0}}}), "spec.scalingMetric.concurrency.targetValue"),
        (json!({"scalingMetric": {"requestRate": {}}}), "spec.scalingMetric.requestRate.targetValue"),
        (json!({"scalingMetric": {"requestRate": {"targetValue": 1.5}}}), "spec.scalingMetric.requestRate.targetValue"),
        (json!({"coldStart": {}}), "at least one of 'fallback'"),
        (json!({"coldStart": {"overflow": "Reject"}}), "at least one of 'fallback'"),
        (json!({"coldStart": {"maxPendingRequests": 0}}), "spec.coldStart.maxPendingRequests"),
        (json!({"coldStart": {"maxPendingRequests": 1, "overflow": "reject"}}), "spec.coldStart.overflow"),
        (json!({"coldStart": {"maxPendingRequests": 1, "overflow": "Placeholder"}}), "'placeholder' must be set"),
        (json!({"coldStart": {"fallback": {"service": {"name": "a"}}}}), "exactly one of 'port' and 'portName'"),
        (json!({"coldStart": {"fallback": {}}}), "spec.coldStart.fallback.service"),
        (json!({"coldStart": {"placeholder": {}}}), "spec.coldStart.placeholder.response"),
        (json!({"coldStart": {"placeholder": {"response": {"statusCode": 99}}}}), "response.statusCode"),
        (json!({"coldStart": {"placeholder": {"response": {"statusCode": 600}}}}), "response.statusCode"),
        (json!({"coldStart": {"placeholder": {"response": {"body": "x".repeat(32_769)}}}}), "response.body"),
        (
            json!({"coldStart": {"placeholder": {"response": {"body": "", "bodyFromConfigMap": {"name": "a"}}}}}),
            "at most one of 'body'",
        ),
        (
            json!({"coldStart": {"placeholder": {"response": {"bodyFromConfigMap": {"name": ""}}}}}),
            "bodyFromConfigMap.name",
        ),
        (json!({"staticRoutes": [{"rules": [], "response": {}}]}), "spec.staticRoutes[0].rules"),
        (json!({"staticRoutes": [{"response": {}}]}), "spec.staticRoutes[0].rules"),
        (json!({"staticRoutes": [{"rules": [{}]}]}), "spec.staticRoutes[0].response"),
        (json!({"staticRoutes": [{"rules": [{}], "response": {}, "responseMode": "Never"}]}), "responseMode"),
        (json!({"timeouts": {"readiness": 5}}), "spec.timeouts.readiness"),
    ];
    let objects = [
        (json!({"scaleTargetRef": null}), "spec.scaleTargetRef"),
        (json!({"scaleTargetRef": {"port": 1}}), "spec.scaleTargetRef.service"),
        (json!({"scaleTargetRef": {"service": "a"}}), "exactly one of 'port' and 'portName'"),
        (
            json!({"scaleTargetRef": {"service": "a", "port": 1, "portName": "b"}}),
            "exactly one of 'port' and 'portName'",
        ),
        (json!({"headers": [{"name": ""}]}), "spec.headers[0].name"),
        (json!({"headers": twice}), "spec.headers[1]"),
        (json!({"hosts": "a"}), "spec.hosts"),
        (json!({"replicas": {"min": 3_000_000_000_u32}}), "spec.replicas.min"),
        (json!({"scalingMetric": {"concurrency": {"targetValue": "1"}}}), "spec.scalingMetric.concurrency.targetValue"),
        (json!({"coldStartTimeoutFailoverRef": {"service": "b"}}), "exactly one of 'port' and 'portName'"),
    ];
    let routes = routes.iter().map(|(change, says)| (route(change), *says));
    for (object, says) in routes.chain(objects.iter().map(|(change, says)| (old(change), *says))) {
        match space.try_create(object.clone()).await? {
            Err(Error::Api(status)) if status.code == 422 || status.code == 400 => {
                ensure!(status.message.contains(says), "{object}: {} does not name {says}", status.message);
            }
            other => anyhow::bail!("{object} is taken: {other:?}"),
        }
    }
    Ok(())
}

pub(crate) async fn defaults_are_the_add_on_s() -> Result<()> {
    let space = Namespace::new("defaults").await?;
    let stored = |object: Value| {
        let space = space.clone();
        async move { space.try_create(object).await?.map(|object| object.data["spec"].clone()).context("it is refused") }
    };
    let spec = stored(route(&json!({
        "scalingMetric": {"requestRate": {"targetValue": 5}},
        "staticRoutes": [{"rules": [{}], "response": {}}],
    })))
    .await?;
    ensure!(
        spec["scalingMetric"]["requestRate"] == json!({"targetValue": 5, "window": "1m", "granularity": "1s"}),
        "{spec}"
    );
    ensure!(spec["staticRoutes"][0]["responseMode"] == "WhenUnavailable", "{spec}");
    let spec = stored(old(&json!({
        "scalingMetric": {"concurrency": {}},
        "coldStartTimeoutFailoverRef": {"service": "b", "port": 1},
    })))
    .await?;
    ensure!(spec["scalingMetric"] == json!({"concurrency": {"targetValue": 100}}), "{spec}");
    ensure!(spec["coldStartTimeoutFailoverRef"]["timeoutSeconds"] == 30, "{spec}");
    Ok(())
}
