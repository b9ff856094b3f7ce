//! Collectors in StatefulSets, one for each provider, whose replicas the manager sets. It starts and stops no pod itself.
//!
//! The StatefulSets are made by whoever installs Plimsoll, and found by their label [`FLEET`]. The label [`PROVIDER`] says whose
//! topics their collectors are for. A StatefulSet without it is the provider `default`'s, as its collectors are, and it is the one
//! that is scaled where collectors are all alike.
//!
//! What a service account must be allowed, and no more: `list` of `statefulsets` and `patch` of `statefulsets/scale` in the group
//! `apps`.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, Error, ResourceExt as _};
use parking_lot::Mutex;
use plimsoll_cluster::chain;
use plimsoll_wire::resources::DEFAULT_PROVIDER;
use serde_json::json;
use tokio::time::timeout;

use super::{Fleet, FleetError, Sizes};

/// Which fleet a StatefulSet is of.
pub const FLEET: &str = "plimsoll.io/fleet";
/// Whose topics its collectors are for.
pub const PROVIDER: &str = "plimsoll.io/provider";

const KIND: &str = "kubernetes";
/// A StatefulSet's version changes with its pods, and does so most while it is scaled.
const ATTEMPTS: usize = 5;

/// Which StatefulSets, and how patient.
#[derive(Debug, Clone)]
pub struct StatefulSetsOptions {
    /// The value of their label `plimsoll.io/fleet`.
    pub name: String,
    /// Their namespace; else the client's own.
    pub namespace: Option<String>,
    /// How long one call may take.
    pub call_timeout: Duration,
}

impl Default for StatefulSetsOptions {
    fn default() -> Self {
        Self { name: "plimsoll".to_owned(), namespace: None, call_timeout: Duration::from_secs(5) }
    }
}

/// The fleet `kubernetes`.
pub struct StatefulSets {
    api: Api<StatefulSet>,
    /// Whom errors name: the label and the namespace.
    place: String,
    selector: String,
    call_timeout: Duration,
    /// As they were listed last, by provider.
    seen: Mutex<BTreeMap<String, Vec<Seen>>>,
}

/// A StatefulSet as it was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    name: String,
    replicas: usize,
    /// Changes with everything about it, also with what its pods do.
    version: Option<String>,
}

impl std::fmt::Debug for StatefulSets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StatefulSets").field("place", &self.place).finish_non_exhaustive()
    }
}

impl StatefulSets {
    /// The fleet of these options. An API server that is away is no error.
    ///
    /// # Errors
    /// [`FleetError`] where no label can have such a value.
    pub fn new(client: Client, options: StatefulSetsOptions) -> Result<Self, FleetError> {
        let StatefulSetsOptions { name, namespace, call_timeout } = options;
        if !is_label_value(&name) {
            let reason = "the name is a label's value: up to 63 letters, digits, '-', '_' and '.', with a letter or a digit at both ends";
            return Err(failed(&format!("be called {name:?}"), reason.to_owned()));
        }
        let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
        let selector = format!("{FLEET}={name}");
        let place = format!("with the label {selector} in namespace {namespace}");
        Ok(Self { api: Api::namespaced(client, &namespace), place, selector, call_timeout, seen: Mutex::default() })
    }

    /// The StatefulSets as they are now, by provider.
    async fn list(&self) -> Result<BTreeMap<String, Vec<Seen>>, FleetError> {
        let params = ListParams::default().labels(&self.selector);
        let what = format!("list its StatefulSets {}", self.place);
        let list = self.call(&what, self.api.list(&params)).await?.map_err(|error| failed(&what, chain(&error)))?;
        let mut seen: BTreeMap<String, Vec<Seen>> = BTreeMap::new();
        for set in list.items {
            let provider = set.labels().get(PROVIDER).cloned().filter(|provider| !provider.is_empty());
            let provider = provider.unwrap_or_else(|| DEFAULT_PROVIDER.to_owned());
            // One that says nothing has one.
            let replicas = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
            let replicas = usize::try_from(replicas).unwrap_or(0);
            seen.entry(provider).or_default().push(Seen {
                name: set.name_any(),
                replicas,
                version: set.resource_version(),
            });
        }
        *self.seen.lock() = seen.clone();
        Ok(seen)
    }

    /// The one StatefulSet of a provider, as it was listed last.
    fn one(&self, provider: &str, what: &str) -> Result<Seen, FleetError> {
        let provider = name(provider);
        let seen = self.seen.lock();
        match seen.get(provider).map(Vec::as_slice) {
            Some([one]) => Ok(one.clone()),
            None | Some([]) => {
                let or_none = if provider == DEFAULT_PROVIDER { ", or without it" } else { "" };
                let reason = format!(
                    "there is no StatefulSet {} and the label {PROVIDER}={provider}{or_none}: make one, or label one that is there",
                    self.place
                );
                Err(failed(what, reason))
            }
            Some(several) => {
                let names: Vec<&str> = several.iter().map(|one| one.name.as_str()).collect();
                let reason = format!(
                    "{} are all provider {provider}'s: only one may be; change the label {PROVIDER} of the others",
                    names.join(" and ")
                );
                Err(failed(what, reason))
            }
        }
    }

    /// Sets the replicas, if nobody has changed the StatefulSet since it was listed; false where somebody has.
    async fn set(&self, provider: &str, seen: &Seen, replicas: usize, what: &str) -> Result<bool, FleetError> {
        let number = i32::try_from(replicas).map_err(|error| failed(what, error.to_string()))?;
        let patch = json!({"metadata": {"resourceVersion": seen.version}, "spec": {"replicas": number}});
        let (how, patch) = (PatchParams::default(), Patch::Merge(&patch));
        match self.call(what, self.api.patch_scale(&seen.name, &how, &patch)).await? {
            Ok(now) => {
                let now = Seen { name: seen.name.clone(), replicas, version: now.metadata.resource_version };
                self.seen.lock().insert(name(provider).to_owned(), vec![now]);
                Ok(true)
            }
            Err(Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
            Err(error) => Err(failed(what, chain(&error))),
        }
    }

    /// One call, with the deadline.
    async fn call<T>(
        &self,
        what: &str,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<Result<T, Error>, FleetError> {
        let silent = |_| failed(what, format!("no answer for {} s", self.call_timeout.as_secs()));
        timeout(self.call_timeout, call).await.map_err(silent)
    }
}

#[async_trait]
impl Fleet for StatefulSets {
    fn kind(&self) -> &'static str {
        KIND
    }

    async fn sizes(&self) -> Result<Option<Sizes>, FleetError> {
        let mut sizes = Sizes::new();
        for (provider, sets) in self.list().await? {
            // Of several nobody knows which; asking for another size says so.
            let [one] = sets.as_slice() else { continue };
            if provider == DEFAULT_PROVIDER {
                sizes.insert(String::new(), one.replicas);
            }
            sizes.insert(provider, one.replicas);
        }
        Ok(Some(sizes))
    }

    async fn scale(&self, provider: &str, collectors: usize) -> Result<(), FleetError> {
        let whose = if provider.is_empty() { String::new() } else { format!(" for provider {provider}") };
        let what = format!("have {collectors} collectors{whose}");
        let mut seen = self.one(provider, &what)?;
        for _ in 0..ATTEMPTS {
            if self.set(provider, &seen, collectors, &what).await? {
                return Ok(());
            }
            self.list().await?;
            let now = self.one(provider, &what)?;
            if (&now.name, now.replicas) != (&seen.name, seen.replicas) {
                // What was decided was decided about another number.
                let reason = format!("somebody else has just set the replicas of {} to {}", now.name, now.replicas);
                return Err(failed(&what, reason));
            }
            seen = now;
        }
        Err(failed(&what, format!("the StatefulSet {} changes all the time", seen.name)))
    }

    /// StatefulSets are made by whoever installs Plimsoll, and never here.
    async fn can_serve(&self, provider: &str) -> Result<bool, FleetError> {
        Ok(self.list().await?.contains_key(name(provider)))
    }

    /// Pods are not this process's: they go on.
    async fn close(&self) {}
}

/// Under which name a provider's StatefulSet is seen: the one where collectors are all alike is the default provider's.
fn name(provider: &str) -> &str {
    if provider.is_empty() { DEFAULT_PROVIDER } else { provider }
}

fn failed(what: &str, reason: String) -> FleetError {
    FleetError { fleet: KIND, what: what.to_owned(), reason }
}

fn is_label_value(text: &str) -> bool {
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    let inside = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    bytes.len() <= 63 && ends(bytes.first()) && ends(bytes.last()) && bytes.iter().all(inside)
}
