//! What happens to the line, and what must come of it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::{Instant, sleep};

use crate::{cluster::Cluster, line::Line};

const NAMESPACE: &str = "play";
/// Longer than any lease.
const OUTAGE: Duration = Duration::from_secs(18);

/// Scales out, mends what others do to the replicas, loses the API server, and scales in.
pub(crate) async fn perform(cluster: &mut Cluster) -> Result<()> {
    cluster.server.namespace(NAMESPACE).await?;
    cluster.stateful_set(NAMESPACE, "collectors-aws", Some("aws"), "node-aws", 0).await?;
    cluster.stateful_set(NAMESPACE, "collectors-gcp", Some("gcp"), "node-gcp", 0).await?;
    let line = Line::start(cluster, NAMESPACE, &[("aws", 8), ("gcp", 4), ("kwok", 1)]).await?;
    scales_out(cluster, &line).await?;
    others_change_the_replicas(cluster, &line).await?;
    the_api_server_is_away(cluster, &line).await?;
    scales_in(cluster, &line).await?;
    line.end().await
}

/// Each provider gets the collectors that its topics need, and one that nobody can serve keeps no other from it.
async fn scales_out(cluster: &Cluster, line: &Line) -> Result<()> {
    line.until("two providers' topics have owners", async || {
        let placed = line.settled().await?;
        placed.are_on("aws", 2, 8)?;
        placed.are_on("gcp", 1, 4)?;
        placed.are_on("kwok", 0, 0)
    })
    .await?;
    ensure!((replicas(cluster, "aws").await?, replicas(cluster, "gcp").await?) == (2, 1));
    line.manager.prints("plimsoll.io/provider=kwok", Duration::from_secs(20)).await?;
    let complaints = line.manager.printed()?.matches("plimsoll.io/provider=kwok").count();
    ensure!(complaints == 1, "what is missing is said once, not {complaints} times:\n{}", line.manager.printed()?);

    cluster.stateful_set(NAMESPACE, "collectors-kwok", Some("kwok"), "node", 0).await?;
    line.until("the provider that had no StatefulSet is served", async || line.settled().await?.are_on("kwok", 1, 1))
        .await?;

    line.write_routes(&[("aws", 12), ("gcp", 4), ("kwok", 1)])?;
    line.until("more topics get more collectors", async || line.settled().await?.are_on("aws", 3, 12)).await?;
    ensure!(replicas(cluster, "aws").await? == 3);
    Ok(())
}

/// The manager puts the number right that the topics need, and no topic stays without an owner.
async fn others_change_the_replicas(cluster: &Cluster, line: &Line) -> Result<()> {
    for elsewhere in [5, 1] {
        cluster.scale(NAMESPACE, "collectors-aws", elsewhere).await?;
        let changed = Instant::now();
        line.until("the replicas are put right", async || {
            let now = replicas(cluster, "aws").await?;
            ensure!(now == 3, "there are {now}");
            Ok(())
        })
        .await?;
        println!("{elsewhere} replicas that somebody else has set are 3 again after {:?}", changed.elapsed());
        line.until("all topics have owners", async || line.settled().await?.are_on("aws", 3, 12)).await?;
    }
    Ok(())
}

/// Nothing changes while it is away, the manager says so, and goes on answering; afterwards everything is as it was.
async fn the_api_server_is_away(cluster: &mut Cluster, line: &Line) -> Result<()> {
    let before = line.settled().await?;
    cluster.server.stop()?;
    let told = line
        .until("the manager says that its store is away", async || {
            let told = line.readiness().await?;
            let reasons = told["reasons"].as_array().context("readiness has reasons")?;
            let names = |reason: &serde_json::Value| {
                reason.as_str().is_some_and(|text| text.contains("Kubernetes at https://"))
            };
            ensure!(reasons.iter().any(names) && told["leading"] == false, "{told:#}");
            Ok(told)
        })
        .await?;
    println!("while the API server is away the manager says {}", told["reasons"]);
    // What is asked for meanwhile waits.
    line.write_routes(&[("aws", 12), ("gcp", 5), ("kwok", 1)])?;
    sleep(OUTAGE).await;
    let meanwhile = line.settled().await?;
    ensure!(meanwhile == before, "{meanwhile:?} was {before:?}");
    cluster.restart().await?;
    let back = Instant::now();
    let after = line
        .until("what waited is done", async || {
            let placed = line.settled().await?;
            placed.are_on("gcp", 2, 5)?;
            Ok(placed)
        })
        .await?;
    println!("what waited for the API server was done {:?} after it was back", back.elapsed());
    ensure!(after.generation > before.generation);
    let stayed = before.owners.iter().filter(|(topic, owner)| after.owners.get(*topic) == Some(*owner)).count();
    // One collector more of gcp takes its share from the one that was there.
    let elsewhere = before.owners.len() - stayed;
    ensure!(elsewhere <= 2, "{elsewhere} topics have moved: {after:?} was {before:?}");
    after.are_on("aws", 3, 12)?;
    let ready = line.readiness().await?;
    ensure!(ready["ready"] == true && ready["leading"] == true, "{ready:#}");
    Ok(())
}

/// The last by ordinal are emptied first, and then stopped.
async fn scales_in(cluster: &Cluster, line: &Line) -> Result<()> {
    line.write_routes(&[("aws", 3), ("gcp", 3), ("kwok", 0)])?;
    let mut looks = 0;
    line.until("fewer topics have fewer collectors", async || {
        // In this order: what is asked to stop has been emptied before.
        let asked = replicas(cluster, "aws").await?;
        let placed = line.placed().await?;
        looks += 1;
        for (topic, owner) in &placed.owners {
            let Some(ordinal) = owner.strip_prefix("collectors-aws-") else { continue };
            let ordinal: usize = ordinal.parse()?;
            if ordinal >= asked {
                // Leaves the waiting, with the reason in the value.
                return Ok(Err(anyhow::anyhow!("{topic} is on {owner}, and {asked} collectors are asked for")));
            }
        }
        ensure!(asked == 1 && replicas(cluster, "gcp").await? == 1, "{asked} are asked for");
        placed.are_on("aws", 1, 3)?;
        placed.are_on("gcp", 1, 3)?;
        Ok(Ok(()))
    })
    .await??;
    ensure!(looks > 3, "it was looked {looks} times only");
    line.until("a provider without topics has no collector", async || {
        let left = replicas(cluster, "kwok").await?;
        ensure!(left == 0, "there are {left}");
        Ok(())
    })
    .await
}

async fn replicas(cluster: &Cluster, provider: &str) -> Result<usize> {
    cluster.replicas(NAMESPACE, &format!("collectors-{provider}")).await
}
