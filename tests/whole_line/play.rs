//! What happens to the line, and when.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use plimsoll_testkit::wait_until;
use tokio::time::sleep;

use super::{
    scene::{Scene, WORKLOADS},
    verdict::{self, Events},
};
use crate::driver::{
    deployment::{Deployment, ManagerAddress},
    keda::{Keda, number},
    load::{Ledger, Load},
    rest,
    sampler::Sampler,
};

/// From cold parts to a line where everything is known.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);
/// The longest window (15 s) has filled.
const WARM_AT: Duration = Duration::from_secs(18);
const KILL_COLLECTOR_AT: Duration = Duration::from_secs(24);
const KILL_MANAGER_AT: Duration = Duration::from_secs(37);
const STOP_TRAFFIC_AT: Duration = Duration::from_secs(45);
/// The longest window again, and what it takes until evidence is there.
const QUIET_WITHIN: Duration = Duration::from_secs(20);

/// Traffic, a killed collector, a killed manager, silence; then the verdict.
pub(crate) async fn perform(line: &mut dyn Deployment, load: &Load, scene: &Scene) -> Result<()> {
    let managers = line.managers();
    for manager in &managers {
        settled(&manager.scaler, scene).await?;
    }
    spread(&managers[0].api, scene).await?;

    let traffic = load.start(&scene.traffic(), &line.proxies());
    let ledger = traffic.ledger().clone();
    let scalers: Vec<String> = managers.iter().map(|manager| manager.scaler.clone()).collect();
    let sampler = Sampler::start(&scalers, &scene.triggers(), &ledger)?;

    at(&ledger, WARM_AT).await;
    let plan = generation(&managers[0].api).await?;
    at(&ledger, KILL_COLLECTOR_AT).await;
    let still = generation(&managers[0].api).await?;
    ensure!(still == plan, "the plan went from generation {plan} to {still} and nothing had changed");
    // Topics may have moved since: the loads are not equal.
    let owners = spread(&managers[0].api, scene).await?;
    // The owner of a busy workload.
    let killed = owners[0].clone();
    let collector_killed = ledger.now();
    line.kill_collector(&killed)?;

    at(&ledger, KILL_MANAGER_AT).await;
    let leader = leader(&managers).await?;
    sampler.leave_out(leader);
    line.kill_manager(leader)?;

    at(&ledger, STOP_TRAFFIC_AT).await;
    let traffic_stopped = ledger.now();
    let ledger = traffic.stop().await;
    quiet(&managers[1 - leader].scaler, scene).await?;
    let samples = sampler.stop().await;

    admitted_is_sent(line, scene, &ledger).await?;
    let orphans = owners.iter().map(|owner| *owner == killed).collect();
    let events = Events { warm: WARM_AT, collector_killed, orphans, traffic_stopped };
    verdict::pronounce(scene, &ledger, &samples, &events)
}

async fn at(ledger: &Ledger, time: Duration) {
    sleep(time.saturating_sub(ledger.now())).await;
}

/// Waits until every workload is known and idle.
pub(crate) async fn settled(scaler: &str, scene: &Scene) -> Result<()> {
    let keda = Keda::of(scaler)?;
    for trigger in scene.triggers() {
        wait_until("an idle workload is known", SETTLED_WITHIN, async || {
            keda.metrics(&trigger, "").await?;
            ensure!(!keda.is_active(&trigger).await?, "{trigger:?} is active");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// Waits until the topics are spread over both collectors; gives each workload's.
async fn spread(api: &str, scene: &Scene) -> Result<Vec<String>> {
    wait_until("the topics are spread over the collectors", SETTLED_WITHIN, async || {
        let owners = rest::owners(api).await?;
        let owners: Vec<String> = scene
            .roles
            .iter()
            .map(|role| {
                let topic = format!("plimsoll.default.{}", role.route.name);
                owners.get(&topic).cloned().with_context(|| format!("nobody has {topic}"))
            })
            .collect::<Result<_>>()?;
        let distinct: BTreeSet<_> = owners.iter().collect();
        ensure!(distinct.len() == super::COLLECTORS, "only {distinct:?} have topics");
        Ok(owners)
    })
    .await
}

async fn generation(api: &str) -> Result<u64> {
    let assignment = rest::json(api, "/api/v1/assignment").await?;
    assignment["generation"].as_u64().with_context(|| format!("no generation in {assignment}"))
}

/// The manager that plans: the one whose end matters more.
async fn leader(managers: &[ManagerAddress]) -> Result<usize> {
    for (number, manager) in managers.iter().enumerate() {
        if rest::json(&manager.api, "/readyz").await?["leading"] == true {
            return Ok(number);
        }
    }
    bail!("nobody leads")
}

/// Waits until every workload is told as zero and inactive.
async fn quiet(scaler: &str, scene: &Scene) -> Result<()> {
    let keda = Keda::of(scaler)?;
    wait_until("silence is told as zero", QUIET_WITHIN, async || {
        for trigger in scene.triggers() {
            let values = keda.metrics(&trigger, "").await?;
            let zero = values.iter().all(|value| number(value) == 0.0);
            ensure!(zero && !values.is_empty(), "{trigger:?} is told as {values:?}");
            ensure!(!keda.is_active(&trigger).await?, "{trigger:?} is active");
        }
        Ok(())
    })
    .await
}

/// No arrival was lost or counted twice.
async fn admitted_is_sent(line: &dyn Deployment, scene: &Scene, ledger: &Ledger) -> Result<()> {
    for workload in 0..WORKLOADS {
        let name = scene.roles[workload].route.workload();
        let mut admitted = 0;
        for admin in line.admins() {
            admitted += rest::admitted(&admin, &name).await?;
        }
        let sent = ledger.sent(workload) as u64;
        ensure!(admitted == sent, "{name}: the interceptors admitted {admitted} requests of {sent}");
    }
    Ok(())
}
