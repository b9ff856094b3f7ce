//! What operators have asked for and nobody has done yet, when all managers are killed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use plimsoll_testkit::wait_until;
use plimsoll_wire::log::{
    EventLog as _,
    kafka::{KafkaConfig, KafkaLog},
};

use crate::driver::{
    processes::{Processes, Shape},
    program::{Ended, run},
    rest,
};

const LIMIT: Duration = Duration::from_secs(60);
const OLD: &str = "plimsoll.shop.old";
const NEW: &str = "plimsoll.shop.new";

/// A topic to be made and one to be deleted, asked for while the log is frozen; the managers are killed before they can do either.
pub(crate) async fn perform() -> Result<()> {
    let shape = Shape { interceptors: 0, collectors: 1, managers: 2, ..Shape::default() };
    let mut line = Processes::start(&shape, &[]).await?;
    let log = KafkaLog::new(KafkaConfig { brokers: line.kafka.bootstrap(), ..KafkaConfig::default() })?;
    let in_the_log = async |is_there: &str, is_not: &str| {
        let all = log.list_topics().await?;
        let has = |topic: &str| all.iter().any(|one| one == topic);
        ensure!(has(is_there) && !has(is_not), "the log has {all:?}");
        Ok(())
    };
    let known = wait_until("both managers know the collector", LIMIT, async || {
        for number in 0..2 {
            let collector = rest::json(&api(&line, number), "/api/v1/collectors/collector-0").await?;
            ensure!(collector["state"] == "ready", "{collector}");
        }
        Ok(())
    });
    known.await.with_context(|| line.logs())?;
    ctl(&line, 0, 0, &["topics", "add", "shop/old"]).await?;
    wait_until("the first topic is in the log", LIMIT, async || in_the_log(OLD, NEW).await).await?;

    line.kafka.freeze()?;
    // One of the two does not lead, and takes it all the same.
    ctl(&line, 0, 0, &["topics", "add", "shop/new"]).await?;
    ctl(&line, 1, 0, &["topics", "delete", "shop/old"]).await?;
    ctl(&line, 1, 0, &["policy", "set", "--max-per-host", "77"]).await?;
    for number in 0..2 {
        line.managers[number].program.kill()?;
    }
    line.kafka.thaw()?;
    in_the_log(OLD, NEW).await.context("done before the managers were killed")?;
    for number in 0..2 {
        line.restart_manager(number).await?;
    }

    let done = wait_until("what was asked for is done", LIMIT, async || in_the_log(NEW, OLD).await);
    done.await.with_context(|| line.logs())?;
    let told = wait_until("and both tell so", LIMIT, async || {
        for number in 0..2 {
            let topics = rest::json(&api(&line, number), "/api/v1/topics").await?;
            let items = topics["items"].as_array().context("a list has items")?;
            ensure!(items.len() == 1 && items[0]["topic"] == NEW && !items[0]["collector"].is_null(), "{topics}");
            let policy = rest::json(&api(&line, number), "/api/v1/policy").await?;
            ensure!(policy["maxPerHost"] == 77, "{policy}");
        }
        Ok(())
    });
    told.await.with_context(|| line.logs())?;

    line.etcd.stop()?;
    let refused = ctl(&line, 0, 6, &["topics", "add", "shop/web"]).await?;
    ensure!(refused.stderr.contains("nothing was changed"), "{}", refused.stderr);
    let topics = rest::json(&api(&line, 0), "/api/v1/topics").await.context("looking goes on without a store")?;
    ensure!(topics["total"] == 1, "{topics}");
    log.close().await;
    Ok(())
}

fn api(line: &Processes, manager: usize) -> String {
    line.managers[manager].ports[0].address()
}

/// `plimsoll ctl`, which must end with this code.
async fn ctl(line: &Processes, manager: usize, code: i32, arguments: &[&str]) -> Result<Ended> {
    let server = format!("http://{}", api(line, manager));
    let all: Vec<&str> = ["ctl", "--server", &server].into_iter().chain(arguments.iter().copied()).collect();
    let ended = run(&all).await?;
    ensure!(ended.code == Some(code), "{arguments:?} ended with {:?}:\n{}{}", ended.code, ended.stdout, ended.stderr);
    Ok(ended)
}
