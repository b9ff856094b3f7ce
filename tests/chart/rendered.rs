//! The chart's objects as helm renders them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use plimsoll_testkit::{Helm, helm};
use serde_json::Value;

/// helm knows no cluster when it only renders.
pub(crate) const VERSION: &str = "1.36.0";
/// The release and the namespace that everything is rendered for.
pub(crate) const RELEASE: &str = "plimsoll";

/// All value sets of the chart's `ci/`.
pub(crate) const VALUE_SETS: [&str; 7] =
    ["default", "everything", "etcd", "compatibility", "beside-the-add-on", "tls", "openshift"];

pub(crate) fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/helm/plimsoll")
}

/// The file of a value set.
pub(crate) fn value_set(name: &str) -> String {
    chart().join("ci").join(format!("{name}.yaml")).display().to_string()
}

/// What helm says of a value set with more values (`NAME=VALUE`), in the namespace of the release's name.
pub(crate) async fn template(name: &str, more: &[&str]) -> Result<Helm> {
    let (chart, values) = (chart().display().to_string(), value_set(name));
    let mut arguments =
        vec!["template", RELEASE, &chart, "--namespace", RELEASE, "--kube-version", VERSION, "--values", &values];
    arguments.extend(more.iter().flat_map(|value| ["--set", value]));
    helm(&arguments, None).await
}

/// The objects of a value set.
pub(crate) async fn objects(name: &str) -> Result<Vec<Value>> {
    objects_with(name, &[]).await
}

/// The objects of a value set with more values.
pub(crate) async fn objects_with(name: &str, more: &[&str]) -> Result<Vec<Value>> {
    let told = template(name, more).await?;
    ensure!(told.success, "{name} {more:?}: {}", told.stderr);
    documents(&told.stdout)
}

/// Each document of a YAML text that is one.
pub(crate) fn documents(text: &str) -> Result<Vec<Value>> {
    let documents = text.split("\n---\n").map(|one| one.trim_start_matches("---\n"));
    let full = documents.filter(|one| one.lines().any(|line| !line.trim().is_empty() && !line.starts_with('#')));
    full.map(|one| serde_saphyr::from_str(one).with_context(|| format!("no YAML:\n{one}"))).collect()
}

/// The objects of a kind.
pub(crate) fn of_kind<'a>(objects: &'a [Value], kind: &str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

/// The object of this kind and name.
pub(crate) fn named<'a>(objects: &'a [Value], kind: &str, name: &str) -> Result<&'a Value> {
    let mut all = of_kind(objects, kind).filter(|object| object["metadata"]["name"] == name);
    all.next().with_context(|| format!("there is no {kind} {name}"))
}

/// The pod specs: of Deployments, StatefulSets, and pods alone; each with the object's name.
pub(crate) fn pods(objects: &[Value]) -> Vec<(&str, &Value)> {
    objects.iter().filter_map(pod).collect()
}

fn pod(object: &Value) -> Option<(&str, &Value)> {
    let spec = match object["kind"].as_str()? {
        "Pod" => "/spec",
        "Deployment" | "StatefulSet" => "/spec/template/spec",
        _ => return None,
    };
    Some((object["metadata"]["name"].as_str()?, object.pointer(spec)?))
}

/// The arguments of a pod's only container.
pub(crate) fn arguments(pod: &Value) -> Vec<&str> {
    pod["containers"][0]["args"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// What stands after `--FLAG=`.
pub(crate) fn flag<'a>(pod: &'a Value, flag: &str) -> Option<&'a str> {
    let begin = format!("--{flag}=");
    arguments(pod).into_iter().find_map(|argument| argument.strip_prefix(&*begin))
}

/// What a variable of a pod's only container is.
pub(crate) fn variable<'a>(pod: &'a Value, name: &str) -> Option<&'a str> {
    let variables = pod["containers"][0]["env"].as_array()?;
    variables.iter().find(|variable| variable["name"] == name)?["value"].as_str()
}
