//! The chart's parts as processes of this machine: with the flags of their pods, and as their service accounts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use plimsoll_testkit::{ApiServer, Folder, Kafka, Port};
use serde_json::Value;

use super::rendered::{RELEASE, arguments, named, objects};
use crate::program::Program;

/// The value set that is installed.
const VALUES: &str = "default";
/// The collector that the chart's StatefulSet makes first.
pub(crate) const COLLECTORS: &str = "plimsoll-collector-default";

/// One process.
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) program: Program,
    /// Proxy and admin, or API and scaler, or answers and admin.
    ports: [Port; 2],
}

impl Part {
    /// `HOST:PORT` of the proxy, the API, the answers.
    pub(crate) fn first(&self) -> String {
        self.ports[0].address()
    }

    /// `HOST:PORT` of the admin pages, or the scaler.
    pub(crate) fn second(&self) -> String {
        self.ports[1].address()
    }
}

/// What all of them stand on.
pub(crate) struct Line {
    chart: Vec<Value>,
    accounts: BTreeMap<&'static str, PathBuf>,
    kafka: Kafka,
    folder: Folder,
}

impl Line {
    /// Makes the chart's objects on this server, but for what would run pods of interceptors and managers, and starts a broker.
    pub(crate) async fn install(server: &ApiServer) -> Result<Self> {
        server.namespace(RELEASE).await?;
        let chart = objects(VALUES).await?;
        let manifest: Vec<String> = chart
            .iter()
            .filter(|one| one["kind"] != "Deployment" && one["kind"] != "Pod")
            .map(Value::to_string)
            .collect();
        server.apply(&manifest.join("\n---\n")).await?;
        let mut accounts = BTreeMap::new();
        for part in ["interceptor", "manager", "collector"] {
            accounts.insert(part, server.kubeconfig_of(RELEASE, &format!("plimsoll-{part}")).await?);
        }
        let (kafka, folder) = (Kafka::start().await?, Folder::new("circle")?);
        Ok(Self { chart, accounts, kafka, folder })
    }

    /// The kubeconfig of a part's account.
    pub(crate) fn account(&self, part: &str) -> Result<PathBuf> {
        self.accounts.get(part).cloned().with_context(|| format!("there is no account of {part}"))
    }

    pub(crate) async fn interceptor(&self, name: &str) -> Result<Part> {
        // The chart's delay is for clusters whose nodes take long to see that an endpoint goes.
        let own = [("shutdown-delay", "5s".to_owned())];
        self.start("interceptor", "Deployment", name, ["proxy-listen", "admin-listen"], &own).await
    }

    pub(crate) async fn manager(&self, name: &str) -> Result<Part> {
        let own = [("activity-window", "2s".to_owned()), ("scale-in-after", "1s".to_owned())];
        self.start("manager", "Deployment", name, ["api-listen", "scaler-listen"], &own).await
    }

    pub(crate) async fn collector(&self) -> Result<Part> {
        let name = format!("{COLLECTORS}-0");
        let listen = ["collector-listen", "collector-admin-listen"];
        self.start("collector", "StatefulSet", &name, listen, &[]).await
    }

    /// Starts what a pod of this name would run.
    async fn start(
        &self,
        part: &str,
        kind: &str,
        name: &str,
        listen: [&str; 2],
        own: &[(&str, String)],
    ) -> Result<Part> {
        let owner = if kind == "StatefulSet" { COLLECTORS.to_owned() } else { format!("plimsoll-{part}") };
        let pod = &named(&self.chart, kind, &owner)?["spec"]["template"]["spec"];
        let ports = [Port::claim()?, Port::claim()?];
        let mut own = own.to_vec();
        own.extend(listen.into_iter().zip(ports.iter().map(Port::address)));
        own.push(("kafka", self.kafka.bootstrap()));
        let mut all: Vec<String> = arguments(pod).iter().map(|argument| replaced(argument, &own, name)).collect();
        for (flag, value) in &own {
            let argument = format!("--{flag}={value}");
            if !all.contains(&argument) {
                all.push(argument);
            }
        }
        all.push(format!("--kubeconfig={}", self.account(part)?.display()));
        let mut part = Part { name: name.to_owned(), program: Program::start(&self.folder, name, &all)?, ports };
        let (first, second) = (part.first(), part.second());
        part.program.listens(&[&first, &second]).await?;
        Ok(part)
    }
}

/// An argument of the pod as this machine has it.
fn replaced(argument: &str, own: &[(&str, String)], name: &str) -> String {
    let flag = argument.strip_prefix("--").and_then(|rest| Some(rest.split_once('=')?.0));
    match own.iter().find(|(known, _)| Some(*known) == flag) {
        Some((flag, value)) => format!("--{flag}={value}"),
        // What the kubelet puts in.
        None => argument.replace("$(POD_NAME)", name).replace("$(POD_IP)", "127.0.0.1"),
    }
}

/// That none of these was refused anything.
pub(crate) fn nothing_was_refused(parts: &[&Part]) -> Result<()> {
    for part in parts {
        let printed = part.program.printed()?;
        let refused = printed.lines().find(|line| line.to_ascii_lowercase().contains("forbidden"));
        ensure!(refused.is_none(), "{}: {refused:?}", part.name);
        ensure!(!printed.contains("panicked"), "{}: {printed}", part.name);
    }
    Ok(())
}
