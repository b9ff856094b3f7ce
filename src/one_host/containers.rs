//! Replicas that are containers of one Docker engine. They are made beforehand, as by `docker compose up --scale shop=5`; here they are
//! started and stopped.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use parking_lot::Mutex;
use plimsoll_wire::topic::WorkloadId;
use tokio_util::task::TaskTracker;

use super::docker::{Container, Docker};
use crate::autoscaler::{Replicas, say};

/// The label that says which workload a container is a replica of: `NAMESPACE/NAME`.
const WORKLOAD_LABEL: &str = "plimsoll.io/workload";

/// The containers of one workload.
pub struct Containers {
    docker: Docker,
    workload: WorkloadId,
    labels: Vec<String>,
    /// As they were when looked at last; none before.
    seen: Option<Vec<Container>>,
    /// Those that have been asked to stop, which run on until their requests have ended; and whether that is over. They stay here until
    /// they have been looked at after that: what was seen before says that they run.
    leaving: Arc<Mutex<BTreeMap<String, bool>>>,
    /// One for each of them.
    stops: TaskTracker,
}

impl Containers {
    /// The containers of a workload, of those with all these labels.
    pub fn new(docker: Docker, workload: &WorkloadId, further: &[String]) -> Self {
        let own = format!("{WORKLOAD_LABEL}={workload}");
        let labels = std::iter::once(own).chain(further.iter().cloned()).collect();
        let (leaving, stops) = (Arc::default(), TaskTracker::new());
        Self { docker, workload: workload.clone(), labels, seen: None, leaving, stops }
    }

    fn running(&self) -> Vec<Container> {
        let leaving = self.leaving.lock();
        let seen = self.seen.iter().flatten();
        seen.filter(|container| container.runs() && !leaving.contains_key(&container.id)).cloned().collect()
    }

    fn stop(&self, container: Container) {
        self.leaving.lock().insert(container.id.clone(), false);
        let (docker, leaving, workload) = (self.docker.clone(), self.leaving.clone(), self.workload.clone());
        self.stops.spawn(async move {
            if let Err(error) = docker.stop(&container).await {
                say(&workload, &format!("can't stop {}: {error:#}", container.name()));
            }
            leaving.lock().insert(container.id, true);
        });
    }
}

#[async_trait]
impl Replicas for Containers {
    fn count(&self) -> usize {
        self.running().len()
    }

    fn limit(&self) -> Option<usize> {
        let usable = |container: &&Container| container.runs() || container.can_start();
        self.seen.as_ref().map(|seen| seen.iter().filter(usable).count())
    }

    async fn look(&mut self) -> Result<Vec<String>> {
        let before = self.running();
        let over: Vec<String> =
            self.leaving.lock().iter().filter(|(_, over)| **over).map(|(container, _)| container.clone()).collect();
        let containers = self.docker.containers(&self.labels).await?;
        let mut told = ended(&before, &containers, &self.leaving.lock());
        if self.seen.is_none() && containers.is_empty() {
            told.push(format!("is not scaled: no container has the labels {}", self.labels.join(" and ")));
        }
        self.seen = Some(containers);
        self.leaving.lock().retain(|container, _| !over.contains(container));
        Ok(told)
    }

    async fn scale_to(&mut self, wanted: usize) -> Result<()> {
        self.look().await?;
        let mut running = self.running();
        while running.len() > wanted {
            let Some(last) = running.pop() else { break };
            self.stop(last);
        }
        let missing = wanted.saturating_sub(running.len());
        if missing > 0 {
            let startable: Vec<Container> =
                self.seen.iter().flatten().filter(|container| container.can_start()).cloned().collect();
            let mut outcome = Ok(());
            for container in startable.iter().take(missing) {
                outcome = outcome.and(self.docker.start(container).await);
            }
            self.look().await?;
            outcome?;
        }
        Ok(())
    }

    /// They run on: what scales them next finds them, and who uses them notices nothing.
    async fn end(self: Box<Self>) {
        self.stops.close();
        self.stops.wait().await;
    }
}

/// Those that ran before and do not now, though nobody here has stopped them.
fn ended(before: &[Container], now: &[Container], leaving: &BTreeMap<String, bool>) -> Vec<String> {
    let gone = before.iter().filter(|was| !leaving.contains_key(&was.id));
    let gone = gone.filter(|was| !now.iter().any(|is| is.id == was.id && is.runs()));
    gone.map(|was| format!("the container {} ended by itself", was.name())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_has_stopped_has_ended_by_itself() {
        let before = ["a", "b", "c", "d"].map(|name| Container::of(name, "running"));
        let now = [Container::of("a", "running"), Container::of("b", "exited"), Container::of("c", "exited")];
        let told = ended(&before, &now, &BTreeMap::from([("c".to_owned(), false)]));
        assert_eq!(told, ["the container b ended by itself", "the container d ended by itself"]);
    }

    #[test]
    fn a_container_that_is_leaving_is_no_replica_and_one_that_is_dead_can_be_none() {
        let mut containers = Containers::new(Docker::at("/none".as_ref()), &WorkloadId::new("default", "a"), &[]);
        assert_eq!((containers.count(), containers.limit()), (0, None));
        let states = [("a", "running"), ("b", "running"), ("c", "created"), ("d", "dead")];
        containers.seen = Some(states.map(|(name, state)| Container::of(name, state)).to_vec());
        // Until it has been looked at again, whether its end is over or not.
        containers.leaving.lock().insert("b".to_owned(), true);
        assert_eq!((containers.count(), containers.limit()), (1, Some(3)));
    }
}
