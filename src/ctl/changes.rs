//! What changes something.

use std::time::Duration;

use anyhow::Result;
use hyper::Method;
use plimsoll_manager::api::{CollectorView, NewTopic, Pin, PolicyView, RebalanceView, TopicView, TrialAsked};
use tokio::time::Instant;

use super::client::{Client, NOTHING, encoded};
use super::command::{CollectorAction, Command, PolicyAction, PolicyFields, TopicAction};
use super::exit::Failed;
use super::looks::topic_of;
use super::output::Output;
use super::{tables, trial};

/// Between two looks while a collector is emptied.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Does what a command asks for.
pub async fn change(client: &Client, output: &Output, command: &Command) -> Result<()> {
    match command {
        Command::Topics(topics) => match &topics.action {
            Some(action) => topic(client, output, action).await,
            None => Ok(()),
        },
        Command::Collectors(collectors) => match &collectors.action {
            Some(action) => collector(client, output, action).await,
            None => Ok(()),
        },
        Command::Policy(policy) => match &policy.action {
            Some(PolicyAction::Set { fields, dry_run }) => set_policy(client, output, fields, *dry_run).await,
            Some(PolicyAction::Reset) => {
                let policy: PolicyView = client.call(Method::DELETE, "policy", NOTHING, None).await?;
                output.write(&output.shown(&policy, tables::policy)?)
            }
            Some(PolicyAction::Get) | None => Ok(()),
        },
        Command::Rebalance => {
            let asked: RebalanceView = client.call(Method::POST, "assignment/rebalance", NOTHING, None).await?;
            let said =
                |_: &RebalanceView| "The leader will even out the load; `plimsoll ctl events -f` tells.".to_owned();
            output.write(&output.shown(&asked, said)?)
        }
        // The others only look.
        _ => Ok(()),
    }
}

async fn topic(client: &Client, output: &Output, action: &TopicAction) -> Result<()> {
    let view: TopicView = match action {
        TopicAction::List(_) => return Ok(()),
        TopicAction::Add { workload, provider, dedicated } => {
            let new = NewTopic { workload: workload.clone(), provider: provider.clone(), dedicated: *dedicated };
            client.call(Method::POST, "topics", Some(&new), None).await?
        }
        TopicAction::Delete { topic } => {
            let path = format!("topics/{}", encoded(&topic_of(client, topic).await?));
            client.call(Method::DELETE, &path, NOTHING, None).await?
        }
        TopicAction::Pin { topic, collector } => {
            let path = format!("topics/{}/pin", encoded(&topic_of(client, topic).await?));
            client.call(Method::PUT, &path, Some(&Pin { collector: collector.clone() }), None).await?
        }
        TopicAction::Unpin { topic } => {
            let path = format!("topics/{}/pin", encoded(&topic_of(client, topic).await?));
            client.call(Method::DELETE, &path, NOTHING, None).await?
        }
    };
    output.write(&output.shown(&view, |one| tables::topics(std::slice::from_ref(one)))?)
}

async fn collector(client: &Client, output: &Output, action: &CollectorAction) -> Result<()> {
    let ask = async |id: &str, call: &str| -> Result<CollectorView> {
        client.call(Method::POST, &format!("collectors/{}/{call}", encoded(id)), NOTHING, None).await
    };
    let view = match action {
        CollectorAction::List(_) => return Ok(()),
        CollectorAction::Cordon { collector } => ask(collector, "cordon").await?,
        CollectorAction::Uncordon { collector } => ask(collector, "uncordon").await?,
        CollectorAction::Drain { collector, wait, timeout } => {
            let view = ask(collector, "drain").await?;
            if *wait { emptied(client, output, collector, *timeout).await? } else { view }
        }
    };
    output.write(&output.shown(&view, |one| tables::collectors(std::slice::from_ref(one)))?)
}

/// Waits until a collector has no topic any more.
async fn emptied(client: &Client, output: &Output, id: &str, timeout: Duration) -> Result<CollectorView> {
    let deadline = Instant::now() + timeout;
    let mut told = None;
    loop {
        let view: CollectorView = client.get(&format!("collectors/{}", encoded(id))).await?;
        let left = view.topics + view.incoming;
        if left == 0 {
            return Ok(view);
        }
        if told != Some(left) && output.is_table() {
            // Beside the answer, so that a script's output stays clean.
            eprintln!("{id}: {left} topics left");
            told = Some(left);
        }
        if Instant::now() >= deadline {
            let waited = timeout.as_secs();
            return Err(Failed::TooLate(format!("{id} still has {left} topics after {waited} s; it goes on")).into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Sets what is said and leaves the rest, and only where nobody has set anything meanwhile.
async fn set_policy(client: &Client, output: &Output, fields: &PolicyFields, dry_run: bool) -> Result<()> {
    if fields.is_empty() {
        let message = "nothing to set: give --kind, --max-per-host, --min-collectors or --max-collectors";
        return Err(Failed::Usage(message.to_owned()).into());
    }
    let (now, tag): (PolicyView, _) = client.get_tagged("policy").await?;
    let wanted = trial::with(now, fields)?;
    let asked = TrialAsked { policy: Some(wanted), ..TrialAsked::default() };
    if dry_run {
        return output.write(&output.shown(&trial::ask(client, &asked).await?, tables::trial)?);
    }
    if output.is_table() {
        // It is shown beside the answer; a manager that is busy with another one does not hold the policy up.
        if let Ok(trial) = trial::ask(client, &asked).await {
            eprintln!("{}", tables::summary(&trial));
        }
    }
    let set: PolicyView = client.call(Method::PUT, "policy", Some(&wanted), tag.as_deref()).await?;
    output.write(&output.shown(&set, tables::policy)?)
}
