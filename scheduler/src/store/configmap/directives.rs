//! What operators have asked for: parts first, then the index, which makes them the directives all at once. There is no term:
//! any manager may write, and of two at the same time one is told of the conflict.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::api::PostParams;
use tokio::sync::watch;

use super::connection::{Answer, Connection};
use super::events::OneMap;
use super::names::Kind;
use super::parts::{Part, Parts, corrupt};
use crate::directives::Directives;
use crate::store::follow::{Follow, Pauses};
use crate::store::layout::{self, DirectivesIndex, Version};
use crate::store::{Revision, StoreError, StoredDirectives};

const INDEX: &str = "index.json";
/// A part that is gone means that someone has written meanwhile; who is overtaken more often than this is not well.
const ATTEMPTS: usize = 5;

/// Reads and changes directives.
#[derive(Debug)]
pub(super) struct DirectivesStore {
    connection: Arc<Connection>,
    /// With `attempts` it makes tags that no two processes share.
    process: u64,
    attempts: AtomicU64,
    /// There may be parts that no index names: changes that failed, here or elsewhere.
    untidy: AtomicBool,
}

impl DirectivesStore {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        let process = crate::store::unique();
        Self { connection, process, attempts: AtomicU64::new(0), untidy: AtomicBool::new(true) }
    }

    /// See [`crate::store::Store::load_directives`].
    pub(super) async fn load(&self) -> Result<StoredDirectives, StoreError> {
        for _ in 0..ATTEMPTS {
            let object = get(&self.connection).await?;
            if let Some(stored) = read(&self.connection, object.as_ref()).await? {
                return Ok(stored);
            }
        }
        Err(corrupt(&self.connection.names.directives(), "parts that it names are missing"))
    }

    /// See [`crate::store::Store::change_directives`].
    pub(super) async fn change(&self, directives: &Directives, expected: Revision) -> Result<Revision, StoreError> {
        let before = get(&self.connection).await?;
        if before.as_ref().map(revision).transpose()?.unwrap_or_default() != expected {
            return Err(StoreError::Conflict);
        }
        let tag = format!("{:016x}-{}", self.process, self.attempts.fetch_add(1, Ordering::Relaxed));
        let values = layout::encode_directives(directives)?;
        let version = Version { tag, parts: values.len() };
        let (names, parts) = (names(&self.connection, &version), parts(&self.connection));
        let written = names.iter().cloned().zip(values);
        let written = written.map(|(name, value)| Part { name, collector: String::new(), value }).collect();
        // Until the index is in place these parts are litter, also when this is cancelled.
        let was_untidy = self.untidy.swap(true, Ordering::Relaxed);
        parts.create(written).await?;
        let Some(object) = self.put(version, before.as_ref()).await? else {
            let tidied = parts.delete(names).await;
            self.untidy.store(was_untidy || tidied.is_err(), Ordering::Relaxed);
            return Err(StoreError::Conflict);
        };
        let now = revision(&object)?;
        // Done. What is left over costs some space until a later change.
        let tidied = match before.as_ref().map(index).transpose() {
            _ if was_untidy => parts.sweep(&BTreeSet::from_iter(names), &now.0.to_string()).await,
            Ok(Some(old)) => parts.delete(self::names(&self.connection, &old.version)).await,
            Ok(None) | Err(_) => Ok(()),
        };
        self.untidy.store(tidied.is_err(), Ordering::Relaxed);
        Ok(now)
    }

    /// Puts the index in place of the one that was read, unless that has been replaced meanwhile.
    async fn put(&self, version: Version, before: Option<&ConfigMap>) -> Result<Option<ConfigMap>, StoreError> {
        let Connection { names, maps, .. } = &*self.connection;
        let mut metadata = names.metadata(Kind::DirectivesIndex, names.directives());
        metadata.resource_version = before.and_then(kube::ResourceExt::resource_version);
        let index = String::from_utf8_lossy(&DirectivesIndex::new(version).encode()?).into_owned();
        let data = Some(BTreeMap::from([(INDEX.to_owned(), index)]));
        let (object, how) = (ConfigMap { metadata, data, ..ConfigMap::default() }, PostParams::default());
        let what = "the directives' index";
        let done = match before {
            Some(_) => self.connection.call(what, maps.replace(&names.directives(), &how, &object)).await?,
            None => self.connection.call(what, maps.create(&how, &object)).await?,
        };
        Ok(match done {
            Answer::Done(object) => Some(object),
            Answer::Missing | Answer::Conflict => None,
        })
    }
}

async fn get(connection: &Connection) -> Result<Option<ConfigMap>, StoreError> {
    let name = connection.names.directives();
    Ok(connection.call("the directives' index", connection.maps.get(&name)).await?.done())
}

fn parts(connection: &Arc<Connection>) -> Parts {
    Parts { connection: connection.clone(), kind: Kind::DirectivesPart }
}

fn names(connection: &Connection, version: &Version) -> Vec<String> {
    (0..version.parts).map(|part| connection.names.directives_part(&version.tag, part)).collect()
}

fn index(object: &ConfigMap) -> Result<DirectivesIndex, StoreError> {
    let name = object.name_any();
    let found = object.data.as_ref().and_then(|data| data.get(INDEX));
    let text = found.ok_or_else(|| corrupt(&name, &format!("it has no {INDEX}")))?;
    DirectivesIndex::decode(&format!("ConfigMap {name}"), text.as_bytes())
}

/// The object's version, which Kubernetes writes as a number.
fn revision(object: &ConfigMap) -> Result<Revision, StoreError> {
    let version = object.resource_version().unwrap_or_default();
    let number = version.parse::<i64>().ok().filter(|number| *number > 0);
    let number = number.ok_or_else(|| corrupt(&object.name_any(), &format!("its version is {version:?}")))?;
    Ok(Revision(number))
}

/// The directives of this index, unless it has been replaced meanwhile.
async fn read(
    connection: &Arc<Connection>,
    object: Option<&ConfigMap>,
) -> Result<Option<StoredDirectives>, StoreError> {
    let Some(object) = object else { return Ok(Some(StoredDirectives::default())) };
    let (version, revision) = (index(object)?.version, revision(object)?);
    let Some(values) = parts(connection).read(names(connection, &version)).await? else { return Ok(None) };
    // By name is in order.
    let values = values.values().map(Vec::as_slice);
    let directives = layout::decode_directives(&format!("ConfigMap {}", object.name_any()), values)?;
    Ok(Some(StoredDirectives { directives, revision }))
}

/// The directives, kept.
pub(super) struct DirectivesFollower {
    pub(super) connection: Arc<Connection>,
    pub(super) told: watch::Sender<Arc<StoredDirectives>>,
}

impl Follow for DirectivesFollower {
    const WHAT: &'static str = "the directives";

    async fn follow(&mut self, pauses: &mut Pauses) -> Result<Infallible, StoreError> {
        let (mut object, mut map) = OneMap::open(&self.connection, self.connection.names.directives()).await?;
        loop {
            if let Some(stored) = read(&self.connection, object.as_ref()).await? {
                pauses.reset();
                if self.told.borrow().revision != stored.revision {
                    self.told.send_replace(Arc::new(stored));
                }
            }
            // Where a part was gone, the next index is on its way.
            object = map.next().await?;
        }
    }
}
