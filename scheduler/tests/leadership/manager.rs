//! A manager that does nothing but lead: it writes plan after plan and says what comes of each.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use plimsoll_scheduler::plan::Plan;
use plimsoll_scheduler::store::{Leadership, Revision, Store, Term};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::sleep;

/// Between two plans.
const PACE: Duration = Duration::from_millis(50);

/// Leads whenever it can, until SIGTERM; then it stands down.
pub async fn run(name: &str, store: Arc<dyn Store>) -> Result<()> {
    let mut stop = signal(SignalKind::terminate())?;
    let campaign = store.campaign(name);
    let mut leadership = campaign.leadership();
    let lead = async {
        loop {
            let term = match wait(&mut leadership).await? {
                Leadership::Leader(term) => term,
                Leadership::Follower { leader } => {
                    println!("follows {}", leader.unwrap_or_default());
                    leadership.changed().await?;
                    continue;
                }
            };
            println!("leads");
            if let Err(error) = write(&*store, &term).await {
                println!("refused: {error}");
                // Whatever it was: not with this term again.
                while *leadership.borrow_and_update() == Leadership::Leader(term.clone()) {
                    leadership.changed().await?;
                }
            }
        }
    };
    tokio::select! {
        outcome = lead => return outcome,
        _ = stop.recv() => {}
    }
    campaign.resign().await;
    store.close().await;
    println!("stopped");
    Ok(())
}

/// Until somebody leads, as far as this manager knows.
async fn wait(leadership: &mut watch::Receiver<Leadership>) -> Result<Leadership> {
    let somebody = |now: &Leadership| !matches!(now, Leadership::Follower { leader: None });
    Ok(leadership.wait_for(somebody).await?.clone())
}

/// Writes one plan after another in this term, each on the revision that the one before has given: it never looks again.
async fn write(store: &dyn Store, term: &Term) -> Result<()> {
    let stored = store.load().await?;
    let (mut revision, mut generation): (Revision, u64) = (stored.revision, stored.plan.generation);
    loop {
        let plan = Plan { generation: generation + 1, ..Plan::default() };
        revision = store.commit(&plan, revision, term).await?;
        generation += 1;
        println!("wrote {generation}");
        sleep(PACE).await;
    }
}
