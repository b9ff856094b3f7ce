//! A real API server takes every object that the chart renders.

use anyhow::{Context as _, Result, ensure};
use plimsoll_testkit::ApiServer;
use serde_json::Value;

use crate::foreign::KINDS;
use crate::rendered::{VALUE_SETS, objects, of_kind};

#[tokio::test]
async fn the_api_server_takes_every_object_of_every_value_set() -> Result<()> {
    let server = ApiServer::shared().await?;
    for namespace in ["plimsoll", "keda", "shop"] {
        server.namespace(namespace).await?;
    }
    // Controllers make it, and none run here; without it no pod is taken.
    server.apply("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: default, namespace: plimsoll}\n").await?;
    for name in VALUE_SETS {
        let all = objects(name).await?;
        let known = all.iter().filter(|object| !KINDS.contains(&object["kind"].as_str().unwrap_or_default()));
        // JSON is YAML.
        let known: Vec<String> = known.map(Value::to_string).collect();
        let manifest = server.folder().join(format!("{name}.yaml"));
        std::fs::write(&manifest, known.join("\n---\n"))?;
        let manifest = manifest.display().to_string();
        let arguments = ["apply", "--dry-run=server", "--validate=strict", "-f", &manifest];
        let told = server.kubectl(&arguments).await.with_context(|| name.to_owned())?;
        let taken = told.lines().filter(|line| line.contains("(server dry run)")).count();
        ensure!(taken == known.len(), "{name}: {taken} of {} are taken:\n{told}", known.len());
        ensure!(of_kind(&all, "Deployment").count() == 2, "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_is_not_taken() -> Result<()> {
    let server = ApiServer::shared().await?;
    let mut all = objects("default").await?;
    let deployment = all.iter_mut().find(|object| object["kind"] == "Deployment").context("no Deployment")?;
    deployment["spec"]["template"]["spec"]["containers"][0]["no-such-field"] = Value::from(1);
    deployment["metadata"]["namespace"] = Value::from("default");
    let manifest = server.folder().join("wrong.yaml");
    std::fs::write(&manifest, deployment.to_string())?;
    let manifest = manifest.display().to_string();
    let told = server.kubectl(&["apply", "--dry-run=server", "--validate=strict", "-f", &manifest]).await;
    ensure!(
        told.is_err_and(|error| error.to_string().contains("no-such-field")),
        "it is taken, so the test above shows nothing"
    );
    Ok(())
}
