//! Routes and endpoints that change.

use std::time::Duration;

use anyhow::{Result, ensure};
use plimsoll_testkit::wait_until;
use serde_json::json;
use tokio::time::Instant;

use crate::SOON;
use crate::backend::Backend;
use crate::objects::{Namespace, route};
use crate::proxy::Proxy;
use crate::traffic::Traffic;

/// How long a new endpoint may take to get its first request: the median and the worst of a run are printed, and this is only a
/// bound that no machine should need.
const FIRST_REQUEST: Duration = Duration::from_secs(5);

pub(crate) async fn requests_go_on_while_routes_and_endpoints_change() -> Result<()> {
    let space = Namespace::new("changing").await?;
    let first = Backend::start().await?;
    space.service("web").await?;
    space.slice("web", "web-1", &[first.address()], &[]).await?;
    space.route("web", "web.test", "web").await?;
    let proxy = Proxy::ready(&space.client, &space.name).await?;
    proxy.answers("web.test", 200, &first.address().to_string()).await?;
    let traffic = Traffic::start(&proxy.address, "web.test");

    let (mut old, mut took) = (first, Vec::new());
    for round in 0..8 {
        let new = Backend::start().await?;
        let (old_address, new_address) = (old.address(), new.address());
        let added = Instant::now();
        space.slice("web", "web-1", &[old_address, new_address], &[]).await?;
        wait_until("the new endpoint has requests", SOON, async || {
            ensure!(new.served() > 0, "it has none");
            Ok(())
        })
        .await?;
        took.push(added.elapsed());
        // From one slice into another, as the controller does it: in both for a while.
        space.slice("web", "web-2", &[new_address], &[old_address]).await?;
        space.slice("web", "web-1", &[], &[old_address]).await?;
        let before = wait_until("the old endpoint is drained", SOON, async || {
            let before = old.served();
            tokio::time::sleep(Duration::from_millis(100)).await;
            ensure!(old.served() == before, "it still has requests");
            Ok(before)
        })
        .await?;
        space.slice("web", "web-1", &[new_address], &[]).await?;
        space.delete("EndpointSlice", "web-2").await?;
        ensure!(old.served() == before, "a terminating endpoint had requests again");
        old.stop().await;
        old = new;
        // The route changes too: another host beside, another path.
        let mut changed = route("web", "web.test", "web");
        changed["spec"]["rules"] = json!([{"hosts": ["web.test"]}, {"hosts": [format!("round-{round}.test")]}]);
        space.apply(changed).await?;
        proxy.answers(&format!("round-{round}.test"), 200, &new_address.to_string()).await?;
    }
    took.sort();
    println!(
        "from the EndpointSlice sent to the first request: median {:?}, worst {:?}",
        took[took.len() / 2],
        took[took.len() - 1]
    );
    ensure!(took[took.len() - 1] < FIRST_REQUEST, "{took:?}");
    let (answered, failures) = traffic.stop().await;
    ensure!(answered > 100 && failures.is_empty(), "{answered} answered, and {failures:?}");
    space.delete("InterceptorRoute", "web").await?;
    proxy.answers("web.test", 404, "").await?;
    proxy.stop().await;
    old.stop().await;
    Ok(())
}

pub(crate) async fn a_port_is_found_by_name_and_one_that_is_not_there_is_answered_with_500() -> Result<()> {
    let space = Namespace::new("ports").await?;
    let pod = Backend::start().await?;
    space.service("web").await?;
    space.slice("web", "web-1", &[pod.address()], &[]).await?;
    let mut by_name = route("name", "name.test", "web");
    by_name["spec"]["target"] = json!({"service": "web", "portName": "web"});
    space.apply(by_name).await?;
    let mut missing = route("missing", "missing.test", "web");
    missing["spec"]["target"] = json!({"service": "web", "port": 81});
    space.apply(missing.clone()).await?;
    let old = json!({"scaleTargetRef": {"name": "web", "service": "web", "portName": "web"}, "hosts": ["old.test"]});
    space.apply(json!({"kind": "HTTPScaledObject", "metadata": {"name": "old"}, "spec": old})).await?;
    let proxy = Proxy::ready(&space.client, &space.name).await?;
    let served = pod.address().to_string();
    proxy.answers("name.test", 200, &served).await?;
    proxy.answers("old.test", 200, &served).await?;
    proxy.answers("missing.test", 500, "").await?;
    // The Service gets the port; its pods had it all the time.
    let ports = json!([{"name": "more", "port": 81, "targetPort": 8080}, {"name": "web", "port": 80}]);
    space.apply(json!({"kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": ports}})).await?;
    let slice = json!({
        "kind": "EndpointSlice", "metadata": {"name": "web-2", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": [{"name": "more", "port": 8080}],
        "endpoints": [{"addresses": [pod.address()]}],
    });
    space.apply(slice).await?;
    proxy.answers("missing.test", 200, &served).await?;
    proxy.stop().await;
    pod.stop().await;
    Ok(())
}

pub(crate) async fn a_placeholder_s_body_follows_its_config_map() -> Result<()> {
    let space = Namespace::new("bodies").await?;
    space.service("web").await?;
    let mut with = route("web", "web.test", "web");
    with["spec"]["coldStart"] =
        json!({"placeholder": {"response": {"bodyFromConfigMap": {"name": "pages", "key": "a.html"}}}});
    space.apply(with).await?;
    let pages = |text: &str, label: &str| {
        json!({"kind": "ConfigMap", "metadata": {"name": "pages", "labels": {"http.keda.sh/response-body": label}},
               "data": {"a.html": text}})
    };
    space.apply(pages("please wait", "true")).await?;
    let proxy = Proxy::ready(&space.client, &space.name).await?;
    proxy.answers("web.test", 503, "please wait").await?;
    space.apply(pages("a little longer", "true")).await?;
    proxy.answers("web.test", 503, "a little longer").await?;
    // Without the label it is not for clients.
    space.apply(pages("secret", "false")).await?;
    wait_until("the body is gone", SOON, async || {
        let reply = proxy.get("web.test").await?;
        ensure!(reply.status == 503 && reply.body.is_empty(), "{reply:?}");
        Ok(())
    })
    .await?;
    proxy.stop().await;
    Ok(())
}

pub(crate) async fn a_bad_resource_disturbs_no_other_and_keeps_its_last_good_version() -> Result<()> {
    let space = Namespace::new("bad").await?;
    let pod = Backend::start().await?;
    space.service("web").await?;
    space.slice("web", "web-1", &[pod.address()], &[]).await?;
    // Our types can't hold such a number, and the schema lets it through.
    let broken = json!({
        "hosts": ["broken.test"], "scaleTargetRef": {"service": "web", "port": 80},
        "scalingMetric": {"concurrency": {"targetValue": 3_000_000_000_u32}},
    });
    space.apply(json!({"kind": "HTTPScaledObject", "metadata": {"name": "broken"}, "spec": broken})).await?;
    let slice = json!({
        "kind": "EndpointSlice", "metadata": {"name": "no-ports", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": [], "endpoints": [{"addresses": [pod.address()]}],
    });
    space.apply(slice).await?;
    space.route("web", "web.test", "web").await?;
    let proxy = Proxy::ready(&space.client, &space.name).await?;
    let served = pod.address().to_string();
    proxy.answers("web.test", 200, &served).await?;
    proxy.answers("broken.test", 404, "").await?;
    let mut bad = route("web", "other.test", "web");
    bad["spec"]["scalingMetric"] = json!({"requestRate": {"targetValue": 1, "granularity": "1ms"}});
    space.apply(bad).await?;
    space.route("after", "after.test", "web").await?;
    proxy.answers("after.test", 200, &served).await?;
    // The bad version came before that one.
    proxy.answers("web.test", 200, &served).await?;
    proxy.answers("other.test", 404, "").await?;
    proxy.stop().await;
    pod.stop().await;
    Ok(())
}
