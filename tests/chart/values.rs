//! Values: good ones pass helm's strict look, wrong ones are refused in words, and each is described.

use std::process::Command;

use anyhow::{Result, ensure};
use plimsoll_testkit::helm;

use crate::rendered::{VALUE_SETS, chart, value_set};

#[tokio::test]
async fn every_value_set_passes_a_strict_lint() -> Result<()> {
    let chart = chart().display().to_string();
    for name in VALUE_SETS {
        let told = helm(&["lint", "--strict", &chart, "--values", &value_set(name)], None).await?;
        ensure!(
            told.success && told.stdout.contains("1 chart(s) linted, 0 chart(s) failed"),
            "{name}: {}",
            told.stdout
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_value_is_refused_and_named() -> Result<()> {
    let chart = chart().display().to_string();
    for (wrong, says) in [
        ("interceptor.replcas=2", "additional properties 'replcas' not allowed"),
        ("store.kind=redis", "'configmap', 'etcd'"),
        ("kafka.brokers={kafka}", "'/kafka/brokers/0'"),
        ("kafka.sasl.mechanism=GSSAPI", "'/kafka/sasl/mechanism'"),
        ("interceptor.drainSeconds=0", "'/interceptor/drainSeconds'"),
        ("interceptor.replicas=many", "'/interceptor/replicas'"),
        ("image.digest=latest", "'/image/digest'"),
        ("collectors.providers[0].name=AWS", "'/collectors/providers/0/name'"),
        ("interceptor.settings.Connect=1s", "'Connect' does not match pattern"),
        ("listenAddress=10.0.0.1", "'[::]', '0.0.0.0'"),
        ("podSecurity.runAsUser=root", "'/podSecurity/runAsUser'"),
        ("keda.namespace=", "'/keda/namespace'"),
        // What a schema can't say.
        ("kafka.brokers=null", "kafka.brokers is empty"),
        ("store.kind=etcd", "store.etcd.endpoints is empty"),
        ("kafka.sasl.mechanism=PLAIN", "kafka.sasl.secretName"),
        ("kafka.config.sasl\\.password=x", "secrets belong into kafka.sasl.secretName"),
        ("manager.api.tls.enabled=true", "manager.api.tls.enabled"),
        ("manager.api.readsNeedRole=true", "manager.api.tokens.secretName"),
        ("collectors.providers[1].name=default", "names default twice"),
        ("fullnameOverride=plimsoll-of-the-customer-facing-shop", "no pod where it has more than 52"),
    ] {
        let values = value_set("default");
        let defaults = "collectors.providers[0].name=default";
        let arguments = [
            "template",
            "p",
            &chart,
            "--kube-version",
            "1.36.0",
            "--values",
            &values,
            "--set",
            defaults,
            "--set",
            wrong,
        ];
        let told = helm(&arguments, None).await?;
        ensure!(!told.success && told.stderr.contains(says), "{wrong} should say {says:?}: {}", told.stderr);
    }
    Ok(())
}

#[test]
fn the_readme_describes_every_value_as_it_is() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/chart-readme");
    let output = Command::new(script).arg("--check").output().expect("tools/chart-readme needs python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
