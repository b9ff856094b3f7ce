//! `ctl migrate --check` on a real API server.

use anyhow::{Context as _, Result, ensure};
use plimsoll_testkit::{ApiServer, wait_until};
use serde_json::Value;

use crate::definitions::define;
use crate::program;

const RESOURCES: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: moving}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: http.keda.sh/v1beta1
kind: InterceptorRoute
metadata: {name: slow, namespace: moving}
spec:
  target: {service: web, port: 80}
  rules: [{hosts: [Slow.test]}]
  scalingMetric: {requestRate: {targetValue: 1000, granularity: 10s}}
---
apiVersion: http.keda.sh/v1beta1
kind: InterceptorRoute
metadata: {name: crashing, namespace: moving}
spec:
  target: {service: web, port: 80}
  scalingMetric: {requestRate: {targetValue: 1, granularity: 100ms}}
---
apiVersion: http.keda.sh/v1alpha1
kind: HTTPScaledObject
metadata: {name: plain, namespace: moving}
spec:
  hosts: [plain.test]
  scaleTargetRef: {name: web, service: web, port: 80}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: slow, namespace: moving}
spec:
  scaleTargetRef: {name: web}
  fallback: {failureThreshold: 3, replicas: 2}
  triggers:
    - type: external-push
      metadata: {scalerAddress: 'keda-add-ons-http-external-scaler.keda:9090', interceptorRoute: slow}
";

/// Permission to look, and no more.
const LOOK: &str = "[{apiGroups: [http.keda.sh, keda.sh, ''], resources: [interceptorroutes, httpscaledobjects, scaledobjects, services], verbs: [list]}]";

async fn check(kubeconfig: &str, more: &[&str]) -> Result<program::Ended> {
    let kubeconfig = format!("--kubeconfig={kubeconfig}");
    program::run(&[&["ctl", "migrate", "--check", "--namespace=moving", &kubeconfig][..], more].concat()).await
}

#[tokio::test]
async fn what_needs_a_hand_is_found_in_the_cluster_and_told_by_the_exit_code() -> Result<()> {
    let server = ApiServer::shared().await?;
    define(server).await?;
    let reader = server.service_account("moving", "reader", LOOK).await?.display().to_string();
    // A definition is served some time after it has been taken.
    wait_until("the resources are taken", std::time::Duration::from_secs(60), async || server.apply(RESOURCES).await)
        .await?;

    let ended = check(&reader, &["-o", "json"]).await?;
    ensure!(
        ended.code == Some(7) && ended.stderr.contains("2 findings need a hand"),
        "{:?} {}",
        ended.code,
        ended.stderr
    );
    let report: Value = serde_json::from_str(&ended.stdout)?;
    ensure!(
        report["interceptorRoutes"] == 2 && report["httpScaledObjects"] == 1 && report["scaledObjects"] == 1,
        "{report}"
    );
    let findings = report["findings"].as_array().context("no findings")?;
    let of = |level: &str| -> Vec<String> {
        let those = findings.iter().filter(|finding| finding["level"] == level);
        those
            .map(|one| {
                format!("{} {}", one["name"].as_str().unwrap_or_default(), one["field"].as_str().unwrap_or_default())
            })
            .collect()
    };
    let granularity = "spec.scalingMetric.requestRate.granularity";
    ensure!(of("hand") == [format!("crashing {granularity}"), format!("slow {granularity}")], "{findings:?}");
    ensure!(of("change") == ["slow spec.rules[0].hosts[0]"], "{findings:?}");
    ensure!(of("note") == ["slow spec.triggers[0].metadata.scalerAddress"], "{findings:?}");

    let table = check(&reader, &[]).await?;
    ensure!(table.code == Some(7) && table.stdout.contains("InterceptorRoute moving/slow"), "{}", table.stdout);

    // As it says.
    for (name, change) in [
        ("slow", r#"{"spec": {"scalingMetric": {"requestRate": {"targetValue": 100, "granularity": "1s"}}}}"#),
        ("crashing", r#"{"spec": {"scalingMetric": {"requestRate": {"granularity": "1s"}}}}"#),
    ] {
        server.kubectl(&["patch", "interceptorroute", name, "-n", "moving", "--type=merge", "-p", change]).await?;
    }
    let done = check(&reader, &["-o", "json"]).await?;
    ensure!(done.code == Some(0), "{} {}", done.stdout, done.stderr);
    Ok(())
}

#[tokio::test]
async fn who_may_not_look_and_where_nobody_answers_is_said() -> Result<()> {
    let server = ApiServer::shared().await?;
    server.namespace("moving").await?;
    define(server).await?;
    let stranger = server.service_account("moving", "stranger", "[]").await?;
    let refused = check(&stranger.display().to_string(), &[]).await?;
    ensure!(
        refused.code == Some(5) && refused.stderr.contains("allow whom --kubeconfig names to list"),
        "{}",
        refused.stderr
    );
    let nowhere = server.folder().join("nowhere.kubeconfig");
    let admin = std::fs::read_to_string(server.kubeconfig())?;
    std::fs::write(&nowhere, admin.replace(&server.url(), "https://127.0.0.1:1"))?;
    let away = check(&nowhere.display().to_string(), &[]).await?;
    ensure!(away.code == Some(6) && away.stderr.contains("can't list"), "{:?} {}", away.code, away.stderr);
    let without = program::run(&["ctl", "migrate"]).await?;
    ensure!(without.code == Some(2) && without.stderr.contains("--check"), "{}", without.stderr);
    Ok(())
}
