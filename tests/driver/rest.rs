//! The manager's REST API and the interceptor's admin port.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use super::http::get_ok;

/// GETs JSON.
pub(crate) async fn json(address: &str, path: &str) -> Result<Value> {
    let reply = get_ok(address, path).await?;
    serde_json::from_str(&reply.body).with_context(|| format!("http://{address}{path} is no JSON: {}", reply.body))
}

/// One sample of a Prometheus page: the value of the first line that begins with `series`, labels included.
pub(crate) async fn metric(address: &str, series: &str) -> Result<f64> {
    let page = get_ok(address, "/metrics").await?.body;
    let value = page
        .lines()
        .find_map(|line| line.strip_prefix(series)?.split_whitespace().last())
        .with_context(|| format!("http://{address}/metrics has no {series}:\n{page}"))?;
    Ok(value.parse()?)
}

/// Requests admitted since an interceptor's start, by its `/queue`, for `namespace/name`.
pub(crate) async fn admitted(admin: &str, workload: &str) -> Result<u64> {
    let queue = json(admin, "/queue").await?;
    Ok(queue[workload]["RequestCount"].as_u64().unwrap_or(0))
}

/// Each topic's collector, by a manager's `/assignment`; topics that are in nobody's hands are left out.
pub(crate) async fn owners(api: &str) -> Result<BTreeMap<String, String>> {
    let assignment = json(api, "/api/v1/assignment").await?;
    let topics = assignment["topics"].as_object().with_context(|| format!("no topics in {assignment}"))?;
    let owner = |(topic, place): (&String, &Value)| {
        let owner = place["owner"].as_str()?;
        Some((topic.clone(), owner.to_owned()))
    };
    Ok(topics.iter().filter_map(owner).collect())
}

/// One workload, by a manager's REST API.
pub(crate) async fn workload(api: &str, workload: &str) -> Result<Value> {
    json(api, &format!("/api/v1/workloads/{workload}")).await
}
