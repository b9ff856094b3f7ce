//! Topics: register, delete, pin.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use plimsoll_scheduler::directives::RegisteredTopic;
use plimsoll_scheduler::policy::PolicyKind;
use plimsoll_wire::topic::WorkloadId;

use super::body::Body;
use super::change::change;
use super::document::{Everywhere, NoSuch, Taken, Written};
use super::failure::Failure;
use super::known::Known;
use super::reads::{no_collector, no_topic};
use super::views::About;
use super::{Rest, Shown, policy};
use crate::api::{NewTopic, Pin, TopicView};

/// A provider's name is a label, as Kubernetes has them.
const PROVIDER_LEN: usize = 63;

/// Registers the topic of a workload that no resource describes. It is created and assigned within a moment.
#[utoipa::path(post, path = "/api/v1/topics", tag = "topics", request_body = NewTopic, security(("token" = [])),
    responses(
        (status = 201, description = "It is registered.", body = TopicView, headers(("Location" = String, description = "Where it is."))),
        (status = 409, description = "It is there already, by a resource or by hand; or no fleet can serve its provider.", body = crate::api::Problem, content_type = "application/problem+json"),
        Taken, Written, Everywhere,
    ))]
pub async fn add(State(rest): Shown, Body(new): Body<NewTopic>) -> Result<impl IntoResponse, Failure> {
    let workload: WorkloadId = new.workload.parse().map_err(|error| Failure::field("workload", format!("{error}")))?;
    let label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if new.provider.is_empty() || new.provider.len() > PROVIDER_LEN || !new.provider.bytes().all(label) {
        let reason = format!("{:?} is no label: lower-case letters, digits and '-', 63 at most", new.provider);
        return Err(Failure::field("provider", reason));
    }
    servable(&rest, &new.provider).await?;
    let topic = workload.topic();
    let (known, ()) = change(&rest, |known, wanted| {
        judged(known)?;
        if known.catalogue.of_topic(&topic).is_some() {
            return Err(Failure::conflict(format!(
                "workload {workload} is described by a resource, so topic {topic} is there already; nothing was changed"
            )));
        }
        if wanted.registered.contains_key(&topic) {
            return Err(Failure::conflict(format!("topic {topic} is registered already; nothing was changed")));
        }
        wanted.removed.remove(&topic);
        let registered = RegisteredTopic {
            workload: workload.to_string(),
            provider: new.provider.clone(),
            dedicated: new.dedicated,
        };
        wanted.registered.insert(topic.clone(), registered);
        Ok(())
    })
    .await?;
    let view = About::new(&known, &topic).view(&rest);
    Ok((StatusCode::CREATED, [(header::LOCATION, format!("/api/v1/topics/{topic}"))], Json(view)))
}

/// A topic that a resource describes is neither added nor deleted here. Until the resources have been read, none can be told from others.
fn judged(known: &Known) -> Result<(), Failure> {
    if known.catalogue.is_known() {
        return Ok(());
    }
    let detail = "the resources have not been read yet: which topics they describe is not known; nothing was changed";
    let retry_after = Some(Duration::from_secs(2));
    Err(Failure { retry_after, ..Failure::new(StatusCode::SERVICE_UNAVAILABLE, detail) })
}

/// Where each provider has collectors of its own, a topic of one that has none, and gets none, would never be read.
async fn servable(rest: &Rest, provider: &str) -> Result<(), Failure> {
    let known = Known::now(rest);
    let any = policy::in_force(rest, &known).kind == PolicyKind::MaxPerHost;
    if any || known.members.values().any(|member| member.provider == provider) {
        return Ok(());
    }
    match rest.fleet.can_serve(provider).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::conflict(format!(
            "no fleet can serve provider {provider}: none of its collectors is registered, the policy is per-provider, and the {} fleet \
             starts none; start one with --provider {provider} first; nothing was changed",
            rest.fleet.kind()
        ))),
        // It may well be; what the leader finds later is told by the topic's state.
        Err(_) => Ok(()),
    }
}

/// Deletes a topic that was registered by hand, or whose workload is gone. One that a resource describes would only be made anew:
/// delete the resource.
#[utoipa::path(delete, path = "/api/v1/topics/{topic}", tag = "topics", security(("token" = [])),
    params(("topic" = String, Path, description = "Its name.")),
    responses(
        (status = 202, description = "It will be gone within a moment.", body = TopicView),
        (status = 409, description = "A resource describes its workload.", body = crate::api::Problem, content_type = "application/problem+json"),
        NoSuch, Written, Everywhere,
    ))]
pub async fn delete(State(rest): Shown, Path(topic): Path<String>) -> Result<impl IntoResponse, Failure> {
    let (known, ()) = change(&rest, |known, wanted| {
        judged(known)?;
        if wanted.removed.contains(&topic) {
            return Err(Failure::not_found(format!("topic {topic} is being deleted already")));
        }
        if !known.has_topic(&topic) {
            return Err(no_topic(&topic));
        }
        if let Some(entry) = known.catalogue.of_topic(&topic) {
            return Err(Failure::conflict(format!(
                "workload {} is described by a resource, so its topic would be made anew: delete the resource; nothing was changed",
                entry.workload.id
            )));
        }
        wanted.registered.remove(&topic);
        wanted.pins.remove(&topic);
        wanted.removed.insert(topic.clone());
        Ok(())
    })
    .await?;
    Ok((StatusCode::ACCEPTED, Json(About::new(&known, &topic).view(&rest))))
}

/// Pins a topic to a collector: it is read there while that collector is there and well, whatever the balance.
#[utoipa::path(put, path = "/api/v1/topics/{topic}/pin", tag = "topics", request_body = Pin, security(("token" = [])),
    params(("topic" = String, Path, description = "Its name.")),
    responses((status = 200, description = "It is pinned; it moves when the collector has read it.", body = TopicView), NoSuch, Taken, Written, Everywhere))]
pub async fn pin(
    State(rest): Shown,
    Path(topic): Path<String>,
    Body(pin): Body<Pin>,
) -> Result<Json<TopicView>, Failure> {
    let (known, ()) = change(&rest, |known, wanted| {
        if !known.has_topic(&topic) {
            return Err(no_topic(&topic));
        }
        if !known.has_collector(&rest, &pin.collector) {
            return Err(no_collector(&pin.collector));
        }
        wanted.pins.insert(topic.clone(), pin.collector.clone());
        Ok(())
    })
    .await?;
    Ok(Json(About::new(&known, &topic).view(&rest)))
}

/// Lets a pinned topic go where the balance wants it.
#[utoipa::path(delete, path = "/api/v1/topics/{topic}/pin", tag = "topics", security(("token" = [])),
    params(("topic" = String, Path, description = "Its name.")),
    responses((status = 200, description = "It is not pinned any more.", body = TopicView), NoSuch, Written, Everywhere))]
pub async fn unpin(State(rest): Shown, Path(topic): Path<String>) -> Result<Json<TopicView>, Failure> {
    let (known, ()) = change(&rest, |known, wanted| match wanted.pins.remove(&topic) {
        Some(_) => Ok(()),
        None if known.has_topic(&topic) => Err(Failure::not_found(format!("topic {topic} is not pinned"))),
        None => Err(no_topic(&topic)),
    })
    .await?;
    Ok(Json(About::new(&known, &topic).view(&rest)))
}
