//! A project of docker-compose: a copy of deploy/compose with settings of its own.

use std::{collections::BTreeMap, fs, path::Path, process::Output, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use plimsoll_testkit::{Folder, Port, wait_until};
use serde_json::Value;
use tokio::process::Command;

use crate::play::Kafka;

/// Whatever docker-compose is asked to do, a graceful end of everything included.
const COMMAND_LIMIT: Duration = Duration::from_secs(180);
/// Until everything is well: it starts one after another, on a busy machine.
const WELL_LIMIT: Duration = Duration::from_secs(180);

const PROJECT: &str = "plimsoll-test";

/// The running project. `end` takes it down.
pub(crate) struct Stack {
    folder: Folder,
    files: &'static [&'static str],
    settings: BTreeMap<String, String>,
    /// The proxies, their admin listeners and the APIs of the managers.
    ports: [Port; 6],
}

/// A container, as the engine describes it.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) service: String,
    pub(crate) runs: bool,
    /// `healthy`, `starting`, `unhealthy`; none where nothing checks it.
    pub(crate) health: Option<String>,
    pid: i32,
}

impl Stack {
    /// Writes the project; nothing runs yet. `routes` are beside the demo's.
    pub(crate) async fn new(settings: &[(&str, &str)], routes: &str, kafka: Kafka) -> Result<Self> {
        let folder = Folder::new("compose")?;
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/compose");
        copy(&tree, &folder.join("compose"))?;
        fs::write(folder.join("compose/routes/others.yaml"), routes)?;
        let files: &'static [&'static str] = match kafka {
            // As a user has it who names none.
            Kafka::Plain => &[],
            Kafka::Secured => {
                let mut script = Command::new("sh");
                script.arg(folder.join("compose/secure/certificates"));
                run(script).await?;
                &["--file", "compose.yaml", "--file", "compose.secure.yaml"]
            }
        };
        let ports = [Port::claim()?, Port::claim()?, Port::claim()?, Port::claim()?, Port::claim()?, Port::claim()?];
        let mut all: BTreeMap<String, String> =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let names = ["PROXY_1", "PROXY_2", "ADMIN_1", "ADMIN_2", "API_1", "API_2"];
        all.extend(names.iter().zip(&ports).map(|(name, port)| ((*name).to_owned(), port.address())));
        all.insert("COMPOSE_PROJECT_NAME".to_owned(), PROJECT.to_owned());
        Ok(Self { folder, files, settings: all, ports })
    }

    pub(crate) fn proxies(&self) -> [String; 2] {
        [self.ports[0].address(), self.ports[1].address()]
    }

    pub(crate) fn admins(&self) -> [String; 2] {
        [self.ports[2].address(), self.ports[3].address()]
    }

    pub(crate) fn apis(&self) -> [String; 2] {
        [self.ports[4].address(), self.ports[5].address()]
    }

    /// Runs docker-compose with the settings.
    pub(crate) async fn compose(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("docker-compose");
        command.args(self.files).args(arguments).current_dir(self.folder.join("compose")).envs(&self.settings);
        run(command).await
    }

    /// `up`, and waits until every container that is checked is well.
    pub(crate) async fn up(&self, further: &[&str]) -> Result<()> {
        self.compose(&[&["up", "--detach", "--no-build"][..], further].concat()).await?;
        self.is_well().await
    }

    pub(crate) async fn is_well(&self) -> Result<()> {
        wait_until("every container is well", WELL_LIMIT, async || {
            for container in self.containers().await? {
                // The autoscaler decides about those of the demo.
                let free = container.service == "demo" && container.health.is_none();
                let well = container.runs && container.health.as_deref() == Some("healthy");
                ensure!(free || well, "{container:?}");
            }
            Ok(())
        })
        .await
    }

    /// All containers of the project, whether they run or not.
    pub(crate) async fn containers(&self) -> Result<Vec<Container>> {
        let filter = format!("label=com.docker.compose.project={PROJECT}");
        let ids = docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter]).await?;
        let ids: Vec<&str> = ids.split_whitespace().collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        // One that is removed meanwhile is an error, and this is asked again.
        let described: Vec<Value> = serde_json::from_str(&docker(&[&["inspect"][..], &ids[..]].concat()).await?)?;
        let mut containers = described.iter().map(Container::read).collect::<Result<Vec<_>>>()?;
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(containers)
    }

    /// Those of a service that run.
    pub(crate) async fn running(&self, service: &str) -> Result<Vec<Container>> {
        let mut containers = self.containers().await?;
        containers.retain(|container| container.service == service && container.runs);
        Ok(containers)
    }

    /// SIGKILL to a container's program, as if it had crashed: `docker kill` would be a wish of the operator's, after which the engine
    /// does not start it again. Returns when it runs anew.
    pub(crate) async fn crash(&self, container: &Container) -> Result<()> {
        ensure!(container.pid > 1, "{container:?}");
        kill(Pid::from_raw(container.pid), Signal::SIGKILL)?;
        wait_until(&format!("{} runs anew", container.name), WELL_LIMIT, async || {
            let now = self.containers().await?;
            let now = now.iter().find(|one| one.id == container.id).context("it is not there any more")?;
            ensure!(now.runs && now.pid != container.pid, "{now:?}");
            Ok(())
        })
        .await
    }

    /// What all containers have printed lately.
    pub(crate) async fn told(&self) -> Result<String> {
        self.compose(&["logs", "--no-color", "--tail", "60"]).await
    }

    /// Takes everything down, volumes too.
    pub(crate) async fn end(&self) -> Result<()> {
        self.compose(&["down", "--volumes", "--timeout", "10"]).await?;
        ensure!(self.containers().await?.is_empty(), "containers are left");
        let filter = format!("label=com.docker.compose.project={PROJECT}");
        for kind in ["volume", "network"] {
            let left = docker(&[kind, "ls", "--quiet", "--filter", &filter]).await?;
            ensure!(left.trim().is_empty(), "a {kind} is left: {left}");
        }
        Ok(())
    }
}

impl Container {
    fn read(described: &Value) -> Result<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned).with_context(|| format!("no text: {described}"));
        let state = &described["State"];
        Ok(Self {
            id: text(&described["Id"])?,
            name: text(&described["Name"])?.trim_start_matches('/').to_owned(),
            service: text(&described["Config"]["Labels"]["com.docker.compose.service"])?,
            runs: state["Status"] == "running",
            health: state["Health"]["Status"].as_str().map(str::to_owned),
            pid: i32::try_from(state["Pid"].as_i64().unwrap_or_default())?,
        })
    }
}

/// Runs the Docker client.
pub(crate) async fn docker(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("docker");
    command.args(arguments);
    run(command).await
}

async fn run(mut command: Command) -> Result<String> {
    let what = format!("{:?}", command.as_std().get_args().collect::<Vec<_>>());
    let output = tokio::time::timeout(COMMAND_LIMIT, command.kill_on_drop(true).output()).await;
    let Output { status, stdout, stderr } = output.with_context(|| format!("{what} did not end"))??;
    ensure!(status.success(), "{what} ended with {status}: {}", String::from_utf8_lossy(&stderr));
    Ok(String::from_utf8(stdout)?)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
