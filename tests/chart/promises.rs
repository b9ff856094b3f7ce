//! What the chart promises of its pods, in every value set.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::rendered::{RELEASE, VALUE_SETS, arguments, flag, named, objects, objects_with, of_kind, pods, variable};

/// No more values.
const DEFAULTS: [&str; 0] = [];

fn seconds(text: Option<&str>) -> Result<i64> {
    Ok(text.and_then(|text| text.strip_suffix('s')).context("it says no seconds")?.parse()?)
}

#[tokio::test]
async fn a_pod_may_take_longer_to_stop_than_its_program() -> Result<()> {
    for name in VALUE_SETS {
        let objects = objects(name).await?;
        for (_, pod) in pods(&objects) {
            let longest = match arguments(pod)[0] {
                "interceptor" => seconds(flag(pod, "shutdown-delay"))? + seconds(flag(pod, "drain-timeout"))?,
                "collector" => seconds(flag(pod, "leave-timeout"))?,
                _ => continue,
            };
            let grace = pod["terminationGracePeriodSeconds"].as_i64().context("no grace period")?;
            ensure!(grace >= longest + 10, "{name}: {grace} s for {longest} s");
        }
        // No interceptor goes before its successor is ready.
        let interceptor = named(&objects, "Deployment", "plimsoll-interceptor")?;
        ensure!(interceptor["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0);
    }
    Ok(())
}

#[tokio::test]
async fn no_pod_has_rights_on_its_node() -> Result<()> {
    for name in VALUE_SETS {
        let objects = objects(name).await?;
        for (pod_name, pod) in pods(&objects) {
            let (whole, one) = (&pod["securityContext"], &pod["containers"][0]["securityContext"]);
            let good = whole["runAsNonRoot"] == true
                && whole["seccompProfile"]["type"] == "RuntimeDefault"
                && one["readOnlyRootFilesystem"] == true
                && one["allowPrivilegeEscalation"] == false
                && one["capabilities"] == json!({"drop": ["ALL"]});
            ensure!(good, "{name}, {pod_name}: {whole} {one}");
            for forbidden in ["hostNetwork", "hostPID", "hostIPC"] {
                ensure!(pod[forbidden].is_null(), "{name}, {pod_name}: {forbidden}");
            }
            let mut volumes = pod["volumes"].as_array().into_iter().flatten();
            ensure!(volumes.all(|volume| volume["hostPath"].is_null()), "{name}, {pod_name}: hostPath");
        }
    }
    Ok(())
}

#[tokio::test]
async fn secrets_come_by_reference() -> Result<()> {
    let objects = objects("everything").await?;
    let mut logins = 0;
    for (name, pod) in pods(&objects) {
        let variables = pod["containers"][0]["env"].as_array().into_iter().flatten();
        for variable in variables {
            match variable["name"].as_str().unwrap_or_default() {
                "KAFKA_USERNAME" | "KAFKA_PASSWORD" | "PLIMSOLL_TOKEN" => {
                    ensure!(variable["value"].is_null(), "{name}: {variable}");
                    ensure!(variable["valueFrom"]["secretKeyRef"]["name"].is_string(), "{name}: {variable}");
                }
                "PLIMSOLL_KAFKA_CONFIG" => {
                    let settings = variable["value"].as_str().context("no settings")?;
                    ensure!(settings.contains("sasl.password=$(KAFKA_PASSWORD)"), "{name}: {settings}");
                    ensure!(settings.contains("security.protocol=sasl_ssl"), "{name}: {settings}");
                    logins += 1;
                }
                _ => {}
            }
        }
        let said = arguments(pod).join(" ");
        ensure!(!said.contains("password") && !said.contains("--token"), "{name}: {said}");
    }
    // An interceptor, a manager, the collectors of two providers.
    ensure!(logins == 4, "{logins}");
    ensure!(of_kind(&objects, "Secret").next().is_none(), "the chart makes no Secret");
    Ok(())
}

#[tokio::test]
async fn brokers_are_trusted_by_the_systems_authorities_where_none_are_named() -> Result<()> {
    for (name, authorities) in [("tls", "probe"), ("everything", "/etc/plimsoll/kafka/ca/ca.crt")] {
        let mut clients = 0;
        for (pod_name, pod) in pods(&objects(name).await?) {
            let Some(settings) = variable(pod, "PLIMSOLL_KAFKA_CONFIG") else { continue };
            let named = settings.split(';').find_map(|setting| setting.strip_prefix("ssl.ca.location="));
            ensure!(named == Some(authorities), "{name}, {pod_name}: {settings}");
            clients += 1;
        }
        ensure!(clients >= 3, "{name}: {clients}");
    }
    // Without TLS nothing is said of it.
    let objects = objects("default").await?;
    ensure!(pods(&objects).iter().all(|(_, pod)| variable(pod, "PLIMSOLL_KAFKA_CONFIG").is_none()));
    Ok(())
}

#[tokio::test]
async fn the_number_of_collectors_is_the_managers() -> Result<()> {
    for (name, providers, policy) in
        [("default", &["default"][..], "max-per-host"), ("everything", &["aws", "gcp"], "per-provider")]
    {
        let objects = objects(name).await?;
        let sets: Vec<&Value> = of_kind(&objects, "StatefulSet").collect();
        ensure!(sets.len() == providers.len(), "{name}: {}", sets.len());
        for (set, provider) in sets.iter().zip(providers) {
            ensure!(set["spec"]["replicas"].is_null(), "{name}: the chart would set the number back");
            let labels = &set["metadata"]["labels"];
            ensure!(
                labels["plimsoll.io/provider"] == *provider && labels["plimsoll.io/fleet"] == "plimsoll",
                "{labels}"
            );
            ensure!(flag(&set["spec"]["template"]["spec"], "provider") == Some(*provider), "{name}");
        }
        let manager = named(&objects, "Deployment", "plimsoll-manager")?;
        let pod = &manager["spec"]["template"]["spec"];
        ensure!(manager["spec"]["replicas"] == 2 && flag(pod, "fleet-name") == Some("plimsoll"));
        ensure!(flag(pod, "policy") == Some(policy), "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn certificates_may_be_in_secrets_with_dots_in_their_names() -> Result<()> {
    let objects = objects_with("tls", &["interceptor.tls.extraSecretNames={shop-tls,shop.example.com}"]).await?;
    let pod = &named(&objects, "Deployment", "plimsoll-interceptor")?["spec"]["template"]["spec"];
    let volumes = pod["volumes"].as_array().context("no volumes")?;
    let mounts = pod["containers"][0]["volumeMounts"].as_array().context("no mounts")?;
    for secret in ["shop-tls", "shop.example.com"] {
        let volume = volumes.iter().find(|volume| volume["secret"]["secretName"] == secret);
        let name = volume.and_then(|volume| volume["name"].as_str()).context(secret)?;
        // A volume's name is a label as in RFC 1123.
        let fits = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        ensure!(fits && name.len() <= 63, "{name}");
        let folder = format!("/etc/plimsoll/tls-more/{secret}");
        ensure!(mounts.iter().any(|mount| mount["name"] == name && mount["mountPath"] == *folder), "{mounts:?}");
    }
    Ok(())
}

#[tokio::test]
async fn every_selector_finds_its_pods_and_every_probe_its_port() -> Result<()> {
    for name in VALUE_SETS {
        let objects = objects(name).await?;
        let templates: Vec<&Value> = of_kind(&objects, "Deployment")
            .chain(of_kind(&objects, "StatefulSet"))
            .map(|one| &one["spec"]["template"])
            .collect();
        let finds = |selector: &Value| {
            let wanted = selector.as_object().into_iter().flatten();
            let wanted: Vec<_> = wanted.collect();
            let fits = |template: &&&Value| {
                wanted.iter().all(|(key, value)| template["metadata"]["labels"][key.as_str()] == **value)
            };
            templates.iter().filter(fits).copied().collect::<Vec<&Value>>()
        };
        for service in of_kind(&objects, "Service").filter(|service| service["spec"]["type"] != "ExternalName") {
            let found = finds(&service["spec"]["selector"]);
            ensure!(!found.is_empty(), "{name}: {service}");
            for port in service["spec"]["ports"].as_array().into_iter().flatten() {
                let has = found.iter().all(|pod| has_port(&pod["spec"], &port["targetPort"]));
                ensure!(has, "{name}: nothing listens on {port} of {}", service["metadata"]["name"]);
            }
        }
        for kind in ["PodDisruptionBudget", "NetworkPolicy"] {
            for one in of_kind(&objects, kind) {
                let selector = [&one["spec"]["selector"]["matchLabels"], &one["spec"]["podSelector"]["matchLabels"]];
                let selector = selector.into_iter().find(|selector| !selector.is_null()).context("no selector")?;
                ensure!(!finds(selector).is_empty(), "{name}: {one}");
            }
        }
        for template in &templates {
            for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
                let port = &template["spec"]["containers"][0][probe]["httpGet"]["port"];
                ensure!(has_port(&template["spec"], port), "{name}: {probe} {port}");
            }
        }
    }
    Ok(())
}

fn has_port(pod: &Value, name: &Value) -> bool {
    let mut ports = pod["containers"][0]["ports"].as_array().into_iter().flatten();
    name.is_string() && ports.any(|port| port["name"] == *name)
}

#[tokio::test]
async fn the_scalers_port_says_what_is_spoken_there() -> Result<()> {
    for (name, protocol) in [("default", "kubernetes.io/h2c"), ("tls", "https")] {
        let objects = objects(name).await?;
        let service = named(&objects, "Service", "plimsoll-manager")?;
        let mut ports = service["spec"]["ports"].as_array().into_iter().flatten();
        let scaler = ports.find(|port| port["name"] == "scaler").context("no port for the scaler")?;
        ensure!(scaler["appProtocol"] == protocol, "{name}: {scaler}");
    }
    Ok(())
}

#[tokio::test]
async fn the_add_ons_names_lead_here_by_value() -> Result<()> {
    let names: [(&str, &[u16]); 3] = [
        ("keda-add-ons-http-interceptor-proxy", &[8080]),
        ("keda-add-ons-http-interceptor-admin", &[9090, 9091, 2223]),
        ("keda-add-ons-http-external-scaler", &[9090]),
    ];
    let without = objects("default").await?;
    ensure!(names.iter().all(|(name, _)| named(&without, "Service", name).is_err()), "nobody asked for them");
    let here = objects("compatibility").await?;
    // Neither our own Services' ports nor the cluster's domain are the usual ones.
    let unlike = ["interceptor.service.port=80", "manager.scaler.port=19090", "clusterDomain=example.org"];
    let there = objects_with("beside-the-add-on", &unlike).await?;
    for (name, ports) in names {
        for all in [&here, &there] {
            let service = in_namespace(all, RELEASE, name)?;
            let offered = service["spec"]["ports"].as_array().context("no ports")?.iter().map(|port| &port["port"]);
            ensure!(offered.eq(ports), "{service}");
        }
        let alias = in_namespace(&there, "keda", name)?;
        let target = format!("{name}.{RELEASE}.svc.example.org");
        ensure!(alias["spec"]["type"] == "ExternalName" && alias["spec"]["externalName"] == *target, "{alias}");
        ensure!(in_namespace(&here, "keda", name).is_err(), "{name}");
    }
    let tls = objects("tls").await?;
    let proxy = named(&tls, "Service", names[0].0)?;
    ensure!(
        proxy["spec"]["ports"][1]["port"] == 8443 && proxy["spec"]["ports"][1]["targetPort"] == "proxy-tls",
        "{proxy}"
    );
    Ok(())
}

fn in_namespace<'a>(all: &'a [Value], namespace: &str, service: &str) -> Result<&'a Value> {
    let mut found = of_kind(all, "Service")
        .filter(|one| one["metadata"]["name"] == service && one["metadata"]["namespace"] == namespace);
    found.next().with_context(|| format!("there is no Service {namespace}/{service}"))
}

#[tokio::test]
async fn a_pod_that_is_not_ready_holds_up_no_drain() -> Result<()> {
    let all = objects("everything").await?;
    let budgets: Vec<&Value> = of_kind(&all, "PodDisruptionBudget").collect();
    // An interceptor's, a manager's, those of two providers.
    ensure!(budgets.len() == 4, "{budgets:?}");
    ensure!(budgets.iter().all(|one| one["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"), "{budgets:?}");
    Ok(())
}

#[tokio::test]
async fn the_cluster_may_choose_whom_pods_run_as() -> Result<()> {
    const IDS: [&str; 3] = ["runAsUser", "runAsGroup", "fsGroup"];
    let unset = ["podSecurity.runAsUser=null", "podSecurity.runAsGroup=null", "podSecurity.fsGroup=null"];
    for (more, id) in [(&DEFAULTS[..], Value::from(65532)), (&unset, Value::Null)] {
        let all = objects_with("default", more).await?;
        for (name, pod) in pods(&all) {
            let security = &pod["securityContext"];
            ensure!(IDS.iter().all(|what| security[what] == id), "{name}: {security}");
            ensure!(security["runAsNonRoot"] == true, "{name}: {security}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn keda_is_let_in_from_its_namespace() -> Result<()> {
    let here =
        |namespace: &str| json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}]);
    let block = ["networkPolicy.keda[0].ipBlock.cidr=10.0.0.0/8"];
    for (more, from) in [
        (&DEFAULTS[..], here("keda")),
        (&["keda.namespace=openshift-keda"], here("openshift-keda")),
        (&block, json!([{"ipBlock": {"cidr": "10.0.0.0/8"}}])),
    ] {
        let all = objects_with("default", more).await?;
        let policy = named(&all, "NetworkPolicy", "plimsoll-manager")?;
        let scaler = json!({"ports": [{"port": "scaler"}], "from": from});
        ensure!(policy["spec"]["ingress"][0] == scaler, "{more:?}: {policy}");
    }
    Ok(())
}
