//! What EndpointSlices and Services say of pods, and what becomes of requests then.

use anyhow::{Context as _, Result, ensure};
use plimsoll_testkit::wait_until;
use serde_json::{Value, json};

use crate::backend::Backend;
use crate::network::claim_ipv6;
use crate::objects::Namespace;
use crate::proxy::Proxy;
use crate::traffic::Traffic;
use crate::{SOON, http};

/// Requests that show whether an address gets any.
const SAMPLE: usize = 40;

pub(crate) async fn of_two_address_families_the_service_s_first_gets_the_requests() -> Result<()> {
    let space = Namespace::new("families").await?;
    let (fourth, sixth) = (Backend::start().await?, Backend::start_at(claim_ipv6()).await?);
    // Of a Service without a selector and an address the API server lets the families be said, whatever the cluster's are.
    let service = |families: [&str; 2]| {
        let spec = json!({"clusterIP": "None", "ipFamilyPolicy": "RequireDualStack", "ipFamilies": families,
                          "ports": [{"name": "web", "port": 80}]});
        json!({"kind": "Service", "metadata": {"name": "web"}, "spec": spec})
    };
    space.apply(service(["IPv6", "IPv4"])).await?;
    space.slice("web", "web-4", &[fourth.address()], &[]).await?;
    space.slice("web", "web-6", &[sixth.address()], &[]).await?;
    space.route("web", "web.test", "web").await?;
    let proxy = Proxy::ready(&space.client, &space.name).await?;
    proxy.answers("web.test", 200, &sixth.address().to_string()).await?;
    for _ in 0..SAMPLE {
        ensure!(proxy.get("web.test").await?.status == 200);
    }
    ensure!(fourth.served() == 0, "the pod's other address had {} requests", fourth.served());
    // The first family of a Service can't be changed, but it can be made anew.
    space.delete("Service", "web").await?;
    space.apply(service(["IPv4", "IPv6"])).await?;
    proxy.answers("web.test", 200, &fourth.address().to_string()).await?;
    let before = sixth.served();
    for _ in 0..SAMPLE {
        ensure!(proxy.get("web.test").await?.status == 200);
    }
    ensure!(sixth.served() == before, "the pod's other address had {} requests", sixth.served() - before);
    // Better the other family than none.
    space.delete("EndpointSlice", "web-4").await?;
    proxy.answers("web.test", 200, &sixth.address().to_string()).await?;
    proxy.stop().await;
    fourth.stop().await;
    sixth.stop().await;
    Ok(())
}

pub(crate) async fn a_port_s_app_protocol_says_what_pods_are_spoken_with() -> Result<()> {
    let space = Namespace::new("protocols").await?;
    let pod = Backend::start().await?;
    let service = |protocol: &str| {
        let ports = json!([{"name": "web", "port": 80, "appProtocol": protocol}]);
        json!({"kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": ports}})
    };
    space.apply(service("kubernetes.io/h2c")).await?;
    space.slice("web", "web-1", &[pod.address()], &[]).await?;
    space.route("web", "web.test", "web").await?;
    let proxy = Proxy::ready(&space.client, &space.name).await?;
    proxy.answers("web.test", 200, "HTTP/2.0").await?;
    let traffic = Traffic::start(&proxy.address, "web.test");
    for (protocol, version) in [("http", "HTTP/1.1"), ("kubernetes.io/h2c", "HTTP/2.0")] {
        space.apply(service(protocol)).await?;
        proxy.answers("web.test", 200, version).await?;
    }
    let (answered, failures) = traffic.stop().await;
    ensure!(answered > 0 && failures.is_empty(), "{answered} answered, and {failures:?}");
    proxy.stop().await;
    pod.stop().await;
    Ok(())
}

pub(crate) async fn a_terminating_pod_finishes_what_it_has_and_gets_nothing_new() -> Result<()> {
    let space = Namespace::new("terminating").await?;
    let (old, new) = (Backend::start().await?, Backend::start().await?);
    space.service("web").await?;
    space.slice("web", "web-1", &[old.address()], &[]).await?;
    space.route("web", "web.test", "web").await?;
    let proxy = Proxy::ready(&space.client, &space.name).await?;
    proxy.answers("web.test", 200, &old.address().to_string()).await?;
    let (address, long) = (proxy.address.clone(), "/long");
    let finishing = tokio::spawn(async move { http::get(&address, "web.test", long).await });
    wait_until("the long request is at the pod", SOON, async || {
        ensure!(old.long() == 1, "it is not");
        Ok(())
    })
    .await?;

    // It still serves, and it is the only one there is; another slice names it too, as ready, and then no more.
    space.slice("web", "web-2", &[old.address()], &[]).await?;
    space.slice("web", "web-1", &[], &[old.address()]).await?;
    space.slice("web", "web-2", &[], &[old.address()]).await?;
    endpoint(&proxy, |known| known["endpoints"][0]["state"] == "draining").await?;
    let before = old.served();
    let address = proxy.address.clone();
    let waiting = tokio::spawn(async move { http::get(&address, "web.test", "/").await });
    endpoint(&proxy, |known| known["waiting"] == 1).await?;
    space.slice("web", "web-3", &[new.address()], &[]).await?;
    let answer = waiting.await??;
    ensure!(answer.status == 200 && answer.body.contains(&new.address().to_string()), "{answer:?}");
    ensure!(old.served() == before, "a terminating pod was given a request");
    // Its slices go before it has finished.
    space.delete("EndpointSlice", "web-1").await?;
    space.delete("EndpointSlice", "web-2").await?;
    endpoint(&proxy, |known| known["endpoints"].as_array().is_some_and(|all| all.len() == 1)).await?;
    ensure!(!finishing.is_finished(), "it was cut off: {:?}", finishing.await?);
    old.let_go();
    let answer = finishing.await??;
    ensure!(answer.status == 200 && answer.body.contains(&old.address().to_string()), "{answer:?}");
    proxy.stop().await;
    old.stop().await;
    new.stop().await;
    Ok(())
}

/// Waits until what the interceptor knows of its only workload's endpoints is so.
async fn endpoint(proxy: &Proxy, is_so: impl Fn(&Value) -> bool) -> Result<()> {
    wait_until("the endpoints are as they should be", SOON, async || {
        let known: Value = serde_json::from_str(&proxy.page("/endpoints").await?)?;
        let only = known.get(0).context("it knows of no workload")?;
        ensure!(is_so(only), "{only}");
        Ok(())
    })
    .await
}

pub(crate) async fn an_alias_has_no_endpoints_and_is_answered_with_500() -> Result<()> {
    let space = Namespace::new("aliases").await?;
    let pod = Backend::start().await?;
    let alias = json!({"type": "ExternalName", "externalName": "example.com", "ports": [{"name": "web", "port": 80}]});
    space.apply(json!({"kind": "Service", "metadata": {"name": "alias"}, "spec": alias})).await?;
    space.service("web").await?;
    space.slice("web", "web-1", &[pod.address()], &[]).await?;
    space.route("alias", "alias.test", "alias").await?;
    space.route("web", "web.test", "web").await?;
    let proxy = Proxy::ready(&space.client, &space.name).await?;
    proxy.answers("alias.test", 500, "").await?;
    proxy.answers("web.test", 200, &pod.address().to_string()).await?;
    // It becomes a Service with pods.
    space.delete("Service", "alias").await?;
    space.service("alias").await?;
    space.slice("alias", "alias-1", &[pod.address()], &[]).await?;
    proxy.answers("alias.test", 200, &pod.address().to_string()).await?;
    proxy.stop().await;
    pod.stop().await;
    Ok(())
}
