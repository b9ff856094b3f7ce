//! The add-on's Services become Plimsoll's by the commands of the guide: they stay the same objects with the same addresses, so that no
//! client has to look a name up again.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use plimsoll_testkit::ApiServer;
use serde_json::{Value, json};

use crate::definitions::define;
use crate::release::helm_on;
use crate::rendered::{chart, value_set};

/// Stands in the guide as `keda`.
const NAMESPACE: &str = "handover";
const GUIDE: &str = include_str!("../../docs/migrate-from-keda-http-add-on.md");

const NAMES: [&str; 3] =
    ["keda-add-ons-http-interceptor-proxy", "keda-add-ons-http-interceptor-admin", "keda-add-ons-http-external-scaler"];

/// What matters here of the add-on's chart: its Services with their labels, selectors and ports, and an object that is to go.
const ADD_ON: &str = r#"
{{- define "labels" -}}
app.kubernetes.io/name: http-add-on
app.kubernetes.io/part-of: {{ .Chart.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- range $name, $service := dict
  "interceptor-proxy" (dict "part" "interceptor" "port" 8080 "name" "proxy")
  "interceptor-admin" (dict "part" "interceptor" "port" 9091 "name" "admin")
  "external-scaler" (dict "part" "scaler" "port" 9090 "name" "grpc")
}}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ $.Chart.Name }}-{{ $name }}
  labels:
    app.kubernetes.io/component: {{ $service.part }}
    {{- include "labels" $ | nindent 4 }}
spec:
  ports:
    - {name: {{ $service.name }}, port: {{ $service.port }}, targetPort: {{ $service.name }}}
  selector:
    app.kubernetes.io/component: {{ $service.part }}
    {{- include "labels" $ | nindent 4 }}
{{- end }}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ .Chart.Name }}
  labels:
    {{- include "labels" . | nindent 4 }}
"#;

/// The `kubectl` commands of the guide's code block that has this line's beginning, each as its arguments.
fn commands(step: &str) -> Result<Vec<Vec<String>>> {
    let mut blocks = GUIDE.split("```sh\n").skip(1).filter_map(|rest| rest.split_once("```"));
    let (block, _) =
        blocks.find(|(block, _)| block.contains(step)).with_context(|| format!("no block has {step:?}"))?;
    let mut block = block.replace("\\\n", " ");
    for before in ["-n ", "release-namespace="] {
        block = block.replace(&format!("{before}keda"), &format!("{before}{NAMESPACE}"));
    }
    Ok(block.lines().filter_map(|line| line.strip_prefix("kubectl ")).map(words).collect())
}

/// The words of a command; what is between single quotes is one.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('\'').enumerate();
    parts
        .flat_map(|(part, text)| match part % 2 {
            0 => text.split_whitespace().map(str::to_owned).collect(),
            _ => vec![text.to_owned()],
        })
        .collect()
}

async fn follow(server: &ApiServer, step: &str) -> Result<()> {
    let commands = commands(step)?;
    ensure!(!commands.is_empty(), "{step}");
    for command in commands {
        // Nothing but Services, releases and the rest of the add-on is here.
        if !command.iter().any(|word| word == "scale") {
            let arguments: Vec<&str> = command.iter().map(String::as_str).collect();
            server.kubectl(&arguments).await.with_context(|| command.join(" "))?;
        }
    }
    Ok(())
}

/// The add-on's Services by name.
async fn services(server: &ApiServer) -> Result<BTreeMap<&'static str, Value>> {
    let mut found = BTreeMap::new();
    for name in NAMES {
        let told = server.kubectl(&["get", "service", name, "-n", NAMESPACE, "-o", "json"]).await?;
        found.insert(name, serde_json::from_str(&told)?);
    }
    Ok(found)
}

fn selectors(services: &BTreeMap<&str, Value>) -> Vec<Value> {
    services.values().map(|service| service["spec"]["selector"].clone()).collect()
}

/// What selects the pods of the release `plimsoll`.
fn ours(part: &str) -> Value {
    json!({
        "app.kubernetes.io/name": "plimsoll",
        "app.kubernetes.io/instance": "plimsoll",
        "app.kubernetes.io/component": part,
    })
}

#[tokio::test]
async fn the_add_ons_services_are_handed_over_in_place() -> Result<()> {
    let server = ApiServer::shared().await?;
    server.namespace(NAMESPACE).await?;
    // The guide names ScaledObjects too.
    define(server).await?;
    let add_on = server.folder().join("add-on");
    std::fs::create_dir_all(add_on.join("templates"))?;
    std::fs::write(add_on.join("Chart.yaml"), "{apiVersion: v2, name: keda-add-ons-http, version: 0.0.1}")?;
    std::fs::write(add_on.join("templates/all.yaml"), ADD_ON)?;
    let (add_on, chart, values) = (add_on.display().to_string(), chart().display().to_string(), value_set("default"));
    helm_on(server, NAMESPACE, &["install", "http-add-on", &add_on]).await?;
    helm_on(server, NAMESPACE, &["install", "plimsoll", &chart, "--values", &values, "--skip-crds"]).await?;
    let before = services(server).await?;

    // The requests move; and back; and forth again. The sorted names: scaler, admin, proxy.
    let moved = [ours("manager"), ours("interceptor"), ours("interceptor")];
    follow(server, "patch service").await?;
    let after = services(server).await?;
    ensure!(selectors(&after) == moved, "{after:?}");
    ensure!(after[NAMES[2]]["spec"]["ports"][0]["targetPort"] == "scaler", "{after:?}");
    helm_on(server, NAMESPACE, &["upgrade", "http-add-on", &add_on, "--reuse-values"]).await?;
    let undone = services(server).await?;
    ensure!(selectors(&undone) == selectors(&before), "{undone:?}");
    ensure!(undone[NAMES[2]]["spec"]["ports"] == before[NAMES[2]]["spec"]["ports"], "{undone:?}");
    follow(server, "patch service").await?;

    // The names are this release's from now on, and the add-on's other objects go.
    follow(server, "annotate service").await?;
    let compatible = "compatibility.kedaHttpAddOn.enabled=true";
    helm_on(server, NAMESPACE, &["upgrade", "plimsoll", &chart, "--reuse-values", "--set", compatible]).await?;
    follow(server, "delete deployments").await?;
    let last = services(server).await?;
    ensure!(selectors(&last) == moved, "{last:?}");
    for (name, service) in &last {
        for what in ["/metadata/uid", "/spec/clusterIP"] {
            ensure!(service.pointer(what) == before[name].pointer(what), "{what} of {name} is another: {service}");
        }
        ensure!(service["metadata"]["labels"]["app.kubernetes.io/part-of"] == "plimsoll", "{service}");
        let ports = service["spec"]["ports"].as_array().context("no ports")?;
        let known = ["proxy", "admin", "scaler"];
        ensure!(ports.iter().all(|port| known.iter().any(|known| port["targetPort"] == *known)), "{service}");
    }
    let accounts = ["get", "serviceaccounts", "-n", NAMESPACE, "-o", "name"];
    let accounts = server.kubectl(&accounts).await?;
    ensure!(!accounts.contains("keda-add-ons-http") && accounts.contains("plimsoll-manager"), "{accounts}");
    let releases = helm_on(server, NAMESPACE, &["list", "--short"]).await?;
    ensure!(releases.stdout.trim() == "plimsoll", "{}", releases.stdout);
    Ok(())
}
