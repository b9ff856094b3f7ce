//! Who is there: a Lease for each collector, renewed by it. Who renews it no more is gone some seconds later, for those who look;
//! the object itself is deleted later still.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{DeleteParams, PostParams, Preconditions};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::connection::{Answer, Connection};
use super::names::Kind;
use crate::store::follow::Pauses;
use crate::store::{Held, Member, Registration, StoreError};

const ID: &str = "plimsoll.io/collector";
const ADDRESS: &str = "plimsoll.io/address";
const PROVIDER: &str = "plimsoll.io/provider";
const INCARNATION: &str = "plimsoll.io/incarnation";
/// Tells this registration from that of another run under the same name.
const REGISTRATION: &str = "plimsoll.io/registration";
/// Two runs under one name may change the lease at the same time; the one that tries last wins.
const ATTEMPTS: usize = 3;

/// The collector that a lease is of.
pub(super) fn member(lease: &Lease) -> Option<Member> {
    let name = lease.metadata.name.as_deref().unwrap_or_default();
    let entry = |key: &str| Some(lease.metadata.annotations.as_ref()?.get(key)?.clone());
    let member = || {
        let incarnation = entry(INCARNATION)?.parse().ok()?;
        Some(Member { id: entry(ID)?, address: entry(ADDRESS)?, provider: entry(PROVIDER)?, incarnation })
    };
    let found = member();
    if found.is_none() {
        warn!(lease = name, "what is registered here is no collector; left out");
    }
    found
}

/// Registers a collector, and keeps it registered.
pub(super) async fn register(
    connection: Arc<Connection>,
    member: Member,
    ttl: Duration,
) -> Result<Registration, StoreError> {
    let registration = format!("{:016x}", crate::store::unique());
    let registrar = Registrar { connection, member, registration, ttl };
    let held = registrar.take().await?;
    Ok(Registration::new(Held::spawn(|release| registrar.keep(held, release))))
}

struct Registrar {
    connection: Arc<Connection>,
    member: Member,
    registration: String,
    ttl: Duration,
}

impl Registrar {
    fn name(&self) -> String {
        self.connection.names.collector(&self.member.id)
    }

    /// Makes the lease ours, whosever it was: the run that registers last is the one that counts.
    async fn take(&self) -> Result<Lease, StoreError> {
        for _ in 0..ATTEMPTS {
            let found = self.read().await?;
            if let Some(lease) = self.put(found).await? {
                return Ok(lease);
            }
        }
        Err(self.connection.unavailable(format!("the lease {} changes all the time", self.name())))
    }

    async fn read(&self) -> Result<Option<Lease>, StoreError> {
        let name = self.name();
        let found = self.connection.call("a registration", self.connection.leases.get(&name)).await?;
        Ok(found.done())
    }

    /// Renews the lease in place of what was read; nothing when that has changed meanwhile.
    async fn put(&self, found: Option<Lease>) -> Result<Option<Lease>, StoreError> {
        let new = found.is_none();
        let mut lease = found.unwrap_or_else(|| Lease {
            metadata: self.connection.names.metadata(Kind::Collector, self.name()),
            spec: None,
        });
        let annotations = lease.metadata.annotations.get_or_insert_with(BTreeMap::new);
        let (member, incarnation) = (&self.member, self.member.incarnation.to_string());
        for (key, value) in [
            (ID, &member.id),
            (ADDRESS, &member.address),
            (PROVIDER, &member.provider),
            (INCARNATION, &incarnation),
            (REGISTRATION, &self.registration),
        ] {
            annotations.insert(key.to_owned(), value.clone());
        }
        lease.metadata.managed_fields = None;
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.member.id.clone()),
            lease_duration_seconds: Some(i32::try_from(self.ttl.as_secs().max(1)).unwrap_or(i32::MAX)),
            renew_time: Some(MicroTime(Timestamp::now())),
            ..LeaseSpec::default()
        });
        let (name, how, leases) = (self.name(), PostParams::default(), &self.connection.leases);
        let done = match new {
            true => self.connection.call("a registration", leases.create(&how, &lease)).await?,
            false => self.connection.call("a registration", leases.replace(&name, &how, &lease)).await?,
        };
        Ok(match done {
            Answer::Done(lease) => Some(lease),
            Answer::Missing | Answer::Conflict => None,
        })
    }

    fn is_ours(&self, lease: &Lease) -> bool {
        let annotations = lease.metadata.annotations.as_ref();
        annotations.and_then(|all| all.get(REGISTRATION)).is_some_and(|found| *found == self.registration)
    }

    /// Renews it until released, and then takes it away.
    async fn keep(self, lease: Lease, release: CancellationToken) {
        let mut held = Some(lease);
        let mut pauses = Pauses::new();
        while release.run_until_cancelled(sleep(self.ttl / 3)).await.is_some() {
            loop {
                match self.renew(held.take()).await {
                    Ok(lease) => {
                        pauses.reset();
                        held = lease;
                        break;
                    }
                    Err(error) => {
                        debug!(collector = %self.member.id, %error, "the registration is not renewed");
                        if !pauses.wait(&release).await {
                            break;
                        }
                    }
                }
            }
        }
        self.leave().await;
    }

    /// Renews what is held, or finds out what has become of it. Another run's registration is left alone.
    async fn renew(&self, held: Option<Lease>) -> Result<Option<Lease>, StoreError> {
        if let Some(lease) = held
            && let Some(renewed) = self.put(Some(lease)).await?
        {
            return Ok(Some(renewed));
        }
        let found = self.read().await?;
        match found {
            Some(other) if !self.is_ours(&other) => Ok(None),
            None => {
                info!(collector = %self.member.id, "the registration was lost; registering anew");
                self.put(None).await
            }
            ours => self.put(ours).await,
        }
    }

    /// Deletes it if it is still ours. Where that fails it runs out by itself.
    async fn leave(&self) {
        for _ in 0..ATTEMPTS {
            let Ok(Some(lease)) = self.read().await else { return };
            if !self.is_ours(&lease) || !matches!(delete(&self.connection, &lease).await, Ok(Answer::Conflict)) {
                return;
            }
        }
    }
}

/// Deletes a lease as it was read, and no other.
pub(super) async fn delete(connection: &Connection, lease: &Lease) -> Result<Answer<()>, StoreError> {
    let name = lease.metadata.name.as_deref().unwrap_or_default();
    let resource_version = lease.metadata.resource_version.clone();
    let how = DeleteParams::default().preconditions(Preconditions { uid: None, resource_version });
    Ok(match connection.call("the end of a registration", connection.leases.delete(name, &how)).await? {
        Answer::Done(_) => Answer::Done(()),
        Answer::Missing => Answer::Missing,
        Answer::Conflict => Answer::Conflict,
    })
}
