//! Who leads: a Lease, as other controllers of Kubernetes have it. Its transitions count up with each change of hands, also from
//! a manager to itself, and are the term.
//!
//! No clock is compared with another's: a candidate counts from when it saw the lease change last, and a leader from before it
//! asked for the renewal; so the leader is the first to know that it leads no more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::PostParams;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::connection::Connection;
use super::names::Kind;
use super::write::Writer;
use crate::store::follow::Pauses;
use crate::store::{Leadership, StoreError, Term};

/// Between a candidate's looks at the lease: a small read that costs the API server next to nothing, and is never stale.
const LOOK: Duration = Duration::from_millis(500);
/// After a failed renewal: some tries fit into what is left of the lease.
const RETRY: Duration = Duration::from_millis(300);
/// Tells one candidacy from another under the same name.
const CANDIDACY: &str = "plimsoll.io/candidacy";

/// What the leader's lease says.
#[derive(Debug, Clone, Default)]
pub(super) struct Seat {
    lease: Option<Lease>,
}

impl Seat {
    pub(super) async fn read(connection: &Connection) -> Result<Self, StoreError> {
        let name = connection.names.leader();
        let found = connection.call("the leader's lease", connection.leases.get(&name)).await?;
        Ok(Self { lease: found.done() })
    }

    fn spec(&self) -> Option<&LeaseSpec> {
        self.lease.as_ref()?.spec.as_ref()
    }

    /// Who holds it, unless it was given back.
    fn holder(&self) -> Option<&str> {
        self.spec()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
    }

    fn transitions(&self) -> i64 {
        self.spec().and_then(|spec| spec.lease_transitions).unwrap_or(0).into()
    }

    fn duration(&self) -> Duration {
        let seconds = self.spec().and_then(|spec| spec.lease_duration_seconds).unwrap_or(0);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }

    fn version(&self) -> Option<&str> {
        self.lease.as_ref()?.metadata.resource_version.as_deref()
    }

    fn candidacy(&self) -> Option<&str> {
        Some(self.lease.as_ref()?.metadata.annotations.as_ref()?.get(CANDIDACY)?.as_str())
    }

    /// Whether this term is on, as far as the lease says.
    pub(super) fn is_of(&self, term: &Term) -> bool {
        self.holder() == Some(&term.leader) && self.transitions() == term.fence
    }
}

/// Stands for leader.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) connection: Arc<Connection>,
    pub(super) writer: Arc<Writer>,
    pub(super) name: String,
    /// No other's.
    pub(super) candidacy: String,
    pub(super) ttl: Duration,
    pub(super) told: watch::Sender<Leadership>,
    /// The lease's version, and when it was seen first.
    pub(super) seen: (Option<String>, Instant),
}

/// A lease that is ours.
struct Lead {
    term: Term,
    lease: Lease,
    /// Until then nobody else takes it.
    until: Instant,
}

impl Candidate {
    /// Until released: waits for a vacancy, leads, and begins again when the lead is lost.
    pub(super) async fn run(mut self, release: CancellationToken) {
        let mut pauses = Pauses::new();
        while !release.is_cancelled() {
            match self.stand().await {
                Ok(Some(lead)) => {
                    pauses.reset();
                    self.lead(lead, &release).await;
                }
                Ok(None) => {
                    pauses.reset();
                    let _ = release.run_until_cancelled(sleep(LOOK)).await;
                }
                Err(error) => {
                    debug!(%error, "can't stand for leader");
                    self.tell(Leadership::Follower { leader: None });
                    pauses.wait(&release).await;
                }
            }
        }
        self.tell(Leadership::Follower { leader: None });
    }

    /// Looks at the lease, and takes it if it is nobody's.
    async fn stand(&mut self) -> Result<Option<Lead>, StoreError> {
        let seat = Seat::read(&self.connection).await?;
        if self.seen.0.as_deref() != seat.version() {
            self.seen = (seat.version().map(str::to_owned), Instant::now());
        }
        // What an attempt of our own has left is ours to take: its answer was lost.
        let ours = seat.candidacy() == Some(&self.candidacy);
        if let Some(leader) = seat.holder().filter(|_| !ours)
            && self.seen.1.elapsed() < seat.duration().max(self.ttl)
        {
            self.tell(Leadership::Follower { leader: Some(leader.to_owned()) });
            return Ok(None);
        }
        let fence = seat.transitions().max(self.writer.last_term().await?) + 1;
        let asked = Instant::now();
        let Some(lease) = self.put(&seat, Some(fence)).await? else { return Ok(None) };
        let lead = Lead { term: Term { leader: self.name.clone(), fence }, lease, until: asked + self.ttl };
        // From here on nobody of an earlier term can write; only then do we lead.
        match self.writer.begin(fence).await {
            Ok(true) if Instant::now() < lead.until => Ok(Some(lead)),
            begun => {
                self.give_back(lead.lease).await;
                begun.map(|_| None)
            }
        }
    }

    /// Writes the lease in place of the one that was read: held by us in this term, or by nobody.
    async fn put(&self, seat: &Seat, fence: Option<i64>) -> Result<Option<Lease>, StoreError> {
        let now = MicroTime(Timestamp::now());
        let mut lease = seat.lease.clone().unwrap_or_else(|| {
            let metadata = self.connection.names.metadata(Kind::Leader, self.connection.names.leader());
            Lease { metadata, spec: None }
        });
        let spec = lease.spec.get_or_insert_default();
        if let Some(fence) = fence
            && seat.transitions() != fence
        {
            spec.lease_transitions = Some(i32::try_from(fence).unwrap_or(i32::MAX));
            spec.acquire_time = Some(now.clone());
        }
        spec.holder_identity = Some(fence.map(|_| self.name.clone()).unwrap_or_default());
        spec.lease_duration_seconds = Some(i32::try_from(self.ttl.as_secs().max(1)).unwrap_or(i32::MAX));
        spec.renew_time = Some(now);
        let annotations = lease.metadata.annotations.get_or_insert_with(BTreeMap::new);
        annotations.insert(CANDIDACY.to_owned(), self.candidacy.clone());
        // It is our own last state that is replaced; who else manages which field is nobody's business here.
        lease.metadata.managed_fields = None;
        let (name, how, leases) = (self.connection.names.leader(), PostParams::default(), &self.connection.leases);
        let done = match seat.lease {
            Some(_) => self.connection.call("the leader's lease", leases.replace(&name, &how, &lease)).await?,
            None => self.connection.call("the leader's lease", leases.create(&how, &lease)).await?,
        };
        Ok(done.done())
    }

    /// Leads until released, or until the lease is lost.
    async fn lead(&mut self, mut lead: Lead, release: &CancellationToken) {
        self.tell(Leadership::Leader(lead.term.clone()));
        loop {
            // Three tries in a lifetime.
            let due = lead.until - self.ttl + self.ttl / 3;
            if release.run_until_cancelled(sleep_until(due)).await.is_none() {
                break;
            }
            let mut lost = false;
            while !lost && Instant::now() < lead.until {
                match timeout_at(lead.until, self.renew(&mut lead)).await {
                    Ok(Ok(true)) => break,
                    Ok(Ok(false)) => lost = true,
                    Ok(Err(error)) => {
                        debug!(%error, "the leader's lease is not renewed");
                        let _ = release.run_until_cancelled(sleep(RETRY)).await;
                    }
                    Err(_) => lost = true,
                }
                if release.is_cancelled() {
                    break;
                }
            }
            if lost || release.is_cancelled() || Instant::now() >= lead.until {
                break;
            }
        }
        // Follower first: nobody else may lead before.
        self.tell(Leadership::Follower { leader: None });
        self.give_back(lead.lease).await;
    }

    /// Asks for a whole lifetime more; false when the lease is another's.
    async fn renew(&self, lead: &mut Lead) -> Result<bool, StoreError> {
        let asked = Instant::now();
        let held = Seat { lease: Some(lead.lease.clone()) };
        if let Some(lease) = self.put(&held, Some(lead.term.fence)).await? {
            (lead.lease, lead.until) = (lease, asked + self.ttl);
            return Ok(true);
        }
        // Someone has changed it. It may be no more than a label, and the next try succeeds.
        let seat = Seat::read(&self.connection).await?;
        if !seat.is_of(&lead.term) || seat.candidacy() != Some(&self.candidacy) {
            return Ok(false);
        }
        match seat.lease {
            Some(lease) => lead.lease = lease,
            None => return Ok(false),
        }
        Err(self.connection.unavailable("the leader's lease was changed by someone else".to_owned()))
    }

    /// Lets others take it at once. Where that fails it runs out by itself.
    async fn give_back(&self, lease: Lease) {
        let held = Seat { lease: Some(lease) };
        if let Err(error) = self.put(&held, None).await {
            debug!(%error, "the leader's lease is not given back");
        }
    }

    fn tell(&self, leadership: Leadership) {
        self.told.send_if_modified(|current| {
            let news = *current != leadership;
            *current = leadership;
            news
        });
    }
}
