//! What would move.

use anyhow::Result;
use hyper::Method;
use plimsoll_manager::api::{PolicyKind, PolicyView, TrialAsked, TrialView};

use super::client::Client;
use super::command::{Plan, PolicyFields};
use super::exit::Failed;
use super::output::Output;
use super::tables;

/// `ctl plan`.
pub async fn plan(client: &Client, output: &Output, asked: &Plan) -> Result<()> {
    let policy = if asked.policy.is_empty() { None } else { Some(with(client.get("policy").await?, &asked.policy)?) };
    let asked = TrialAsked { policy, drain: asked.drain.clone(), lose: asked.lose.clone(), rebalance: asked.rebalance };
    output.write(&output.shown(&ask(client, &asked).await?, tables::trial)?)
}

/// Asks a manager to try it out.
pub async fn ask(client: &Client, asked: &TrialAsked) -> Result<TrialView> {
    client.call(Method::POST, "assignment/plan", Some(asked), None).await
}

/// This policy with what is said in place.
pub fn with(policy: PolicyView, fields: &PolicyFields) -> Result<PolicyView> {
    let kind = match fields.kind.as_deref() {
        None => policy.kind,
        Some("max-per-host") => PolicyKind::MaxPerHost,
        Some("per-provider") => PolicyKind::PerProvider,
        Some(other) => {
            let message = format!("--kind {other}: write max-per-host or per-provider");
            return Err(Failed::Usage(message).into());
        }
    };
    Ok(PolicyView {
        kind,
        max_per_host: fields.max_per_host.unwrap_or(policy.max_per_host),
        min_collectors: fields.min_collectors.unwrap_or(policy.min_collectors),
        max_collectors: fields.max_collectors.unwrap_or(policy.max_collectors),
    })
}
