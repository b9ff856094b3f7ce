//! What each interceptor contributes to one workload. The collectors' streams carry sums only, so the one that answers is asked.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use plimsoll_wire::collector::collector_client::CollectorClient;
use plimsoll_wire::collector::interceptor_state::Liveness;
use plimsoll_wire::collector::{Share, SharesRequest};
use plimsoll_wire::topic::WorkloadId;

use super::document::{Everywhere, NoSuch};
use super::failure::Failure;
use super::{Rest, Shown};
use crate::api::{ShareView, SharesView};
use crate::catalogue::Entry;

/// A collector that lives answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// What each interceptor contributes to a workload now, as the collector says that answers for it.
#[utoipa::path(get, path = "/api/v1/workloads/{namespace}/{name}/interceptors", tag = "workloads",
    params(("namespace" = String, Path, description = "Its namespace."), ("name" = String, Path, description = "Its name.")),
    responses((status = 200, description = "They; where the collector does not say, why.", body = SharesView), NoSuch, Everywhere))]
pub async fn shares(
    State(rest): Shown,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Json<SharesView>, Failure> {
    let id = WorkloadId::new(namespace, name);
    let entry = rest.catalogue.load().get(&id).cloned();
    let entry = entry
        .ok_or_else(|| Failure::not_found(format!("workload {id} is not known: GET /api/v1/workloads lists all")))?;
    Ok(Json(match ask(&rest, &entry).await {
        Ok(mut shares) => {
            shares.sort_by(|a, b| (&a.interceptor, a.incarnation).cmp(&(&b.interceptor, b.incarnation)));
            SharesView { interceptors: shares.into_iter().map(view).collect(), missing: None }
        }
        Err(missing) => SharesView { interceptors: Vec::new(), missing: Some(missing) },
    }))
}

async fn ask(rest: &Rest, entry: &Entry) -> Result<Vec<Share>, String> {
    let cell = rest.board.cell(&entry.topic);
    let heard = cell.best().ok().or_else(|| cell.newest()).ok_or("no collector answers for it yet")?;
    let collector = &heard.link.collector;
    let channel = heard.link.channel().ok_or_else(|| format!("collector {collector} can't be reached"))?;
    let mut client = CollectorClient::new(channel);
    let asked = client.shares(SharesRequest { topic: entry.topic.to_string() });
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(reply)) => Ok(reply.into_inner().shares),
        Ok(Err(status)) => Err(format!("collector {collector} does not say: {}", status.message())),
        Err(_) => Err(format!("collector {collector} has not answered for {} s", PATIENCE.as_secs())),
    }
}

fn view(share: Share) -> ShareView {
    ShareView {
        live: share.liveness == i32::from(Liveness::Live),
        name: share.interceptor,
        incarnation: share.incarnation,
        in_flight: share.in_flight,
        held: share.held,
        admitted_total: share.admitted_total,
    }
}
