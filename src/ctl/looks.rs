//! What only looks.

use anyhow::Result;
use plimsoll_manager::api::{AssignmentView, CollectorView, ExplainView, Page, PolicyView, TopicView, WorkloadView};

use super::client::{Client, encoded};
use super::command::{CollectorAction, CollectorList, Command, PolicyAction, TopicAction, TopicList, Workloads};
use super::output::Output;
use super::tables;

/// Something to look at.
pub enum Look<'a> {
    Workloads(&'a Workloads),
    Topics(&'a TopicList),
    Collectors(&'a CollectorList),
    Assignment,
    Policy,
    Explain(&'a str),
}

/// What a command looks at; none where it changes something.
pub fn look(command: &Command) -> Option<Look<'_>> {
    Some(match command {
        Command::Workloads(asked) => Look::Workloads(asked),
        Command::Topics(topics) => match &topics.action {
            None => Look::Topics(&topics.list),
            Some(TopicAction::List(list)) => Look::Topics(list),
            Some(_) => return None,
        },
        Command::Collectors(collectors) => match &collectors.action {
            None => Look::Collectors(&collectors.list),
            Some(CollectorAction::List(list)) => Look::Collectors(list),
            Some(_) => return None,
        },
        Command::Assignment => Look::Assignment,
        Command::Policy(policy) => match &policy.action {
            None | Some(PolicyAction::Get) => Look::Policy,
            Some(_) => return None,
        },
        Command::Explain { what } => Look::Explain(what),
        Command::Plan(_) | Command::Rebalance | Command::Events(_) | Command::Simulate(_) | Command::Migrate(_) => {
            return None;
        }
    })
}

impl Look<'_> {
    /// Asks, and gives the text to write.
    pub async fn ask(&self, client: &Client, output: &Output) -> Result<String> {
        match self {
            Self::Workloads(asked) => workloads(client, output, asked).await,
            Self::Topics(asked) => {
                let filters = [
                    ("provider", asked.provider.as_ref()),
                    ("collector", asked.collector.as_ref()),
                    ("state", asked.state.as_ref()),
                    ("q", asked.query.as_ref()),
                ];
                let all: Page<TopicView> = client.all("topics", &filters).await?;
                output.shown(&all, |all| tables::topics(&all.items))
            }
            Self::Collectors(asked) => {
                let filters = [("provider", asked.provider.as_ref()), ("state", asked.state.as_ref())];
                let all: Page<CollectorView> = client.all("collectors", &filters).await?;
                output.shown(&all, |all| tables::collectors(&all.items))
            }
            Self::Assignment => {
                let plan: AssignmentView = client.get("assignment").await?;
                output.shown(&plan, tables::assignment)
            }
            Self::Policy => {
                let policy: PolicyView = client.get("policy").await?;
                output.shown(&policy, tables::policy)
            }
            Self::Explain(what) => {
                let topic = topic_of(client, what).await?;
                let told: ExplainView = client.get(&format!("topics/{}/explain", encoded(&topic))).await?;
                output.shown(&told, tables::explain)
            }
        }
    }
}

async fn workloads(client: &Client, output: &Output, asked: &Workloads) -> Result<String> {
    if let Some(name) = &asked.workload {
        let one = one_workload(client, name).await?;
        return output.shown(&one, |one| tables::workloads(std::slice::from_ref(one)));
    }
    let filters =
        [("namespace", asked.namespace.as_ref()), ("provider", asked.provider.as_ref()), ("q", asked.query.as_ref())];
    let all: Page<WorkloadView> = client.all("workloads", &filters).await?;
    output.shown(&all, |all| tables::workloads(&all.items))
}

async fn one_workload(client: &Client, name: &str) -> Result<WorkloadView> {
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    client.get(&format!("workloads/{}/{}", encoded(namespace), encoded(name))).await
}

/// The topic that is meant: it is named itself, or its workload is, in which a slash is and in a topic none.
pub async fn topic_of(client: &Client, what: &str) -> Result<String> {
    if !what.contains('/') {
        return Ok(what.to_owned());
    }
    if let Ok(workload) = one_workload(client, what).await {
        return Ok(workload.topic);
    }
    // One that no resource describes may have been registered by hand.
    let id: plimsoll_wire::topic::WorkloadId =
        what.parse().map_err(|error| super::exit::Failed::Usage(format!("{error}")))?;
    Ok(id.topic())
}
