//! What an operator asks for by REST while all goes on: any manager takes it, the one that leads does it, and no value is missing meanwhile.

use anyhow::{Context, Result, ensure};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    driver::{http, rest},
    stage::{Placed, Stage},
};

const PINNED: &str = "plimsoll.default.workload-7";
const ALONE: &str = "plimsoll.shop.alone";

/// A topic goes where it is pinned, stays there while others move, and is free again.
pub(crate) async fn pin(stage: &mut Stage) -> Result<()> {
    let place = format!("/api/v1/topics/{PINNED}");
    let now = rest::json(&stage.api()?, &place).await?;
    let others = ["collector-0", "collector-1"];
    let to = others.into_iter().find(|one| now["collector"] != *one).context("it is on two collectors")?;
    ask(stage, Method::PUT, &format!("{place}/pin"), &json!({ "collector": to }), StatusCode::OK).await?;
    let is_there = async |stage: &Stage, what: &str| {
        stage
            .settled(what, async |_| {
                let now = rest::json(&stage.api()?, &place).await?;
                ensure!(now["collector"] == to && now["pinned"] == to, "{now}");
                Ok(())
            })
            .await
    };
    is_there(stage, "it is where it is pinned").await?;
    rebalance(stage).await?;
    is_there(stage, "a rebalance leaves it there").await?;
    ask(stage, Method::DELETE, &format!("{place}/pin"), &json!({}), StatusCode::OK).await?;
    stage
        .settled("it is pinned no more", async |_| {
            let now = rest::json(&stage.api()?, &place).await?;
            ensure!(now["pinned"].is_null(), "{now}");
            Ok(())
        })
        .await
}

/// A cordoned collector keeps what it has and gets nothing, also when another one is emptied; a rebalance gives all their share again.
pub(crate) async fn cordon(stage: &mut Stage) -> Result<()> {
    let fair = stage.topics / (stage.size.collectors + 1);
    ask(stage, Method::POST, "/api/v1/collectors/collector-1/cordon", &json!({}), StatusCode::OK).await?;
    is_in_state(stage, "collector-1", "cordoned").await?;
    let had = placed(stage, "collector-1").await?;
    ask(stage, Method::POST, "/api/v1/collectors/collector-0/drain", &json!({}), StatusCode::ACCEPTED).await?;
    let only_the_drained_one_is_empty = async |placed: &Placed| {
        ensure!(placed.of("collector-0") == 0, "{placed:?}");
        ensure!(placed.of("collector-1") <= had, "it had {had}: {placed:?}");
        Ok(())
    };
    stage.settled("collector-0 is empty, and collector-1 has got nothing", only_the_drained_one_is_empty).await?;
    for one in ["collector-0", "collector-1"] {
        ask(stage, Method::POST, &format!("/api/v1/collectors/{one}/uncordon"), &json!({}), StatusCode::OK).await?;
    }
    rebalance(stage).await?;
    let even = async |placed: &Placed| {
        ensure!(placed.topics.values().all(|topics| *topics >= fair * 8 / 10), "{placed:?}, fair is {fair}");
        ensure!(placed.topics.len() == stage.size.collectors + 1, "{placed:?}");
        Ok(())
    };
    stage.settled("all have their share", even).await
}

/// A topic that wants a collector of its own gets one, which all others leave first; when it is deleted they come back.
pub(crate) async fn dedicate(stage: &mut Stage) -> Result<()> {
    let fair = stage.topics / (stage.size.collectors + 1);
    let alone = json!({ "workload": "shop/alone", "dedicated": true });
    ask(stage, Method::POST, "/api/v1/topics", &alone, StatusCode::CREATED).await?;
    stage.topics += 1;
    let has_one_for_itself = async |placed: &Placed| {
        let now = rest::json(&stage.api()?, &format!("/api/v1/topics/{ALONE}")).await?;
        let owner = now["collector"].as_str().context("it has an owner")?;
        ensure!(placed.of(owner) == 1, "{owner} has others beside it: {placed:?}");
        Ok(())
    };
    stage.settled("it has a collector of its own", has_one_for_itself).await?;
    ask(stage, Method::DELETE, &format!("/api/v1/topics/{ALONE}"), &json!({}), StatusCode::ACCEPTED).await?;
    stage.topics -= 1;
    let all_share = async |placed: &Placed| {
        ensure!(placed.topics.values().all(|topics| *topics >= fair / 2), "{placed:?}");
        ensure!(placed.topics.len() == stage.size.collectors + 1, "{placed:?}");
        Ok(())
    };
    stage.settled("its collector is everyone's again", all_share).await
}

async fn rebalance(stage: &Stage) -> Result<()> {
    ask(stage, Method::POST, "/api/v1/assignment/rebalance", &json!({}), StatusCode::ACCEPTED).await
}

/// Asks the manager that does not lead, so that both must do their part.
async fn ask(stage: &Stage, method: Method, path: &str, body: &Value, status: StatusCode) -> Result<()> {
    let leader = stage.leader().await?;
    let follower = (0..stage.line.managers.len()).find(|one| *one != leader).context("there are two managers")?;
    let api = stage.line.managers[follower].ports[0].address();
    let reply = http::send_json(method.clone(), &api, path, body).await?;
    ensure!(reply.status == status, "{method} {path}: {} {}", reply.status, reply.body);
    Ok(())
}

async fn is_in_state(stage: &Stage, collector: &str, state: &str) -> Result<()> {
    stage
        .settled(&format!("{collector} is {state}"), async |_| {
            let now = rest::json(&stage.api()?, &format!("/api/v1/collectors/{collector}")).await?;
            ensure!(now["state"] == state, "{now}");
            Ok(())
        })
        .await
}

async fn placed(stage: &Stage, collector: &str) -> Result<usize> {
    let now = rest::json(&stage.api()?, &format!("/api/v1/collectors/{collector}")).await?;
    Ok(usize::try_from(now["topics"].as_u64().with_context(|| format!("no topics in {now}"))?)?)
}
