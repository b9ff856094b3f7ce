//! Bursts against the tick, in every position to it.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::sleep;

use super::{
    complaints::{Complaints, Fault},
    in_memory::InMemory,
    play::settled,
    scene::{Role, Scene},
};
use crate::driver::{
    accuracy::Accuracy,
    deployment::Deployment,
    load::{Load, Pattern},
    routes::Route,
    sampler::{Sampler, all_told_after},
    truth::Truth,
};

/// Their phases lie 50 ms apart.
const WORKLOADS: usize = 20;
const WINDOW: Duration = Duration::from_secs(10);
const WARM: Duration = Duration::from_secs(14);
/// In 20 s the phases drift by over 50 ms against a tick of 1 s: none is left out.
const UNTIL: Duration = Duration::from_secs(34);
const PATTERN: Pattern =
    Pattern::Bursts { every: Duration::from_millis(997), at_once: 6, length: Duration::from_millis(600) };

/// Every burst is told exactly, wherever it lies between two ticks.
pub(crate) async fn pass() -> Result<()> {
    let load = Load::new()?;
    let backend = load.backend().await?.address();
    let role = |number| Role { route: Route::new(format!("workload-{number}"), backend), pattern: PATTERN };
    let scene = Scene { roles: (0..WORKLOADS).map(role).collect() };
    let line = InMemory::start(&scene).await?;
    let scaler = line.managers()[0].scaler.clone();
    settled(&scaler, &scene).await?;
    let traffic = load.start(&scene.traffic(), &line.proxies());
    let ledger = traffic.ledger().clone();
    let sampler = Sampler::start(&[scaler], &scene.triggers(), &ledger)?;
    sleep(UNTIL).await;
    let samples = sampler.stop().await;
    let ledger = traffic.stop().await;
    ensure!(ledger.failures().is_empty(), "{:?}", ledger.failures());

    let truths: Vec<Truth> =
        (0..WORKLOADS).map(|workload| Truth::new(&ledger.of(workload), super::INTERCEPTORS, ledger.now())).collect();
    let (mut accuracy, mut complaints) = (Accuracy::default(), Complaints::default());
    for sample in samples.iter().filter(|sample| sample.asked >= WARM) {
        let fault = match sample.told {
            Ok(told) => accuracy.judge_both(sample, told, &truths[sample.workload], &ledger, WINDOW),
            Err(ref error) => Some(format!("{:?}: {}", error.code(), error.message())),
        };
        if let Some(fault) = fault {
            complaints.note(&format!("workload {}", sample.workload), sample.answered, Fault::new(fault, ""));
        }
    }
    println!("{accuracy}");
    complaints.settle("times since the load began")?;
    all_told_after(&samples, WORKLOADS, WARM)
}
