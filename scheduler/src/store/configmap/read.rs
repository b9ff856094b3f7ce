//! Reading the plan: the index, and then what it points at.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;

use super::connection::Connection;
use super::names::Kind;
use super::parts::{Parts, corrupt};
use crate::plan::{CollectorId, Placed};
use crate::store::layout::{self, Index, Snapshot, Version};
use crate::store::{Revision, StoreError};

/// Keys of an index.
const INDEX: &str = "index.json";
const REVISION: &str = "revision";
const TERM: &str = "term";
/// A part that is gone means that someone has committed meanwhile; who is overtaken more often than this is not well.
const ATTEMPTS: usize = 5;

/// The ConfigMap that commits the plan.
#[derive(Debug, Clone, Default)]
pub(super) struct Indexed {
    pub(super) index: Index,
    /// Counts the commits. The object's own version changes with every new term as well.
    pub(super) revision: Revision,
    /// Of the leader who wrote it: nobody of an earlier one may write any more.
    pub(super) term: i64,
    /// The object's version; none where there is no object.
    pub(super) version: Option<String>,
}

impl Indexed {
    /// No object is an empty index.
    pub(super) fn of(object: Option<&ConfigMap>) -> Result<Self, StoreError> {
        let Some(object) = object else { return Ok(Self::default()) };
        let name = object.name_any();
        let entry = |key: &str| {
            let found = object.data.as_ref().and_then(|data| data.get(key));
            found.ok_or_else(|| corrupt(&name, &format!("it has no {key}")))
        };
        let number = |key: &str| {
            let text = entry(key)?;
            text.parse::<i64>().map_err(|_| corrupt(&name, &format!("its {key} is {text:?}, which is no number")))
        };
        Ok(Self {
            index: Index::decode(&format!("ConfigMap {name}"), entry(INDEX)?.as_bytes())?,
            revision: Revision(number(REVISION)?),
            term: number(TERM)?,
            version: object.resource_version(),
        })
    }

    /// The object that says this, to be put in the place of the one of its version.
    pub(super) fn object(&self, connection: &Connection) -> Result<ConfigMap, StoreError> {
        let names = &connection.names;
        let mut metadata = names.metadata(Kind::PlanIndex, names.plan());
        metadata.resource_version.clone_from(&self.version);
        let index = String::from_utf8_lossy(&self.index.encode()?).into_owned();
        let (revision, term) = (self.revision.0.to_string(), self.term.to_string());
        let data = [(INDEX, index), (REVISION, revision), (TERM, term)].map(|(key, value)| (key.to_owned(), value));
        Ok(ConfigMap { metadata, data: Some(BTreeMap::from(data)), ..ConfigMap::default() })
    }
}

/// Reads plans.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    pub(super) connection: Arc<Connection>,
}

impl Reader {
    /// The index as of now.
    pub(super) async fn indexed(&self) -> Result<Indexed, StoreError> {
        let name = self.connection.names.plan();
        let found = self.connection.call("the plan's index", self.connection.maps.get(&name)).await?;
        Indexed::of(found.done().as_ref())
    }

    /// The plan as of now. Of what `before` has already, nothing is read again.
    pub(super) async fn snapshot(&self, before: &Snapshot) -> Result<Snapshot, StoreError> {
        for _ in 0..ATTEMPTS {
            let indexed = self.indexed().await?;
            if let Some(snapshot) = self.read(indexed, before).await? {
                return Ok(snapshot);
            }
        }
        let key = format!("ConfigMap {}", self.connection.names.plan());
        Err(StoreError::Corrupt { key, reason: "parts that it names are missing".to_owned() })
    }

    /// The plan of this index, unless it has been replaced meanwhile.
    pub(super) async fn read(&self, indexed: Indexed, before: &Snapshot) -> Result<Option<Snapshot>, StoreError> {
        if indexed.revision == before.stored.revision && indexed.index == before.index {
            return Ok(Some(before.clone()));
        }
        let news: Vec<(&CollectorId, &Version)> = indexed
            .index
            .collectors
            .iter()
            .filter(|(collector, version)| before.index.collectors.get(*collector) != Some(*version))
            .collect();
        let names = news.iter().flat_map(|(_, version)| self.names(version)).collect();
        let Some(mut values) = self.parts().read(names).await? else { return Ok(None) };
        let mut parts = BTreeMap::new();
        for (collector, version) in news {
            parts.insert(collector.clone(), self.decode(version, &mut values)?);
        }
        Ok(Some(layout::merge(before, indexed.index, indexed.revision, parts)))
    }

    /// What one collector reads, unless that has been replaced meanwhile.
    pub(super) async fn assigned(&self, version: &Version) -> Result<Option<Vec<Placed>>, StoreError> {
        let Some(mut values) = self.parts().read(self.names(version).collect()).await? else { return Ok(None) };
        self.decode(version, &mut values).map(Some)
    }

    pub(super) fn parts(&self) -> Parts {
        Parts { connection: self.connection.clone(), kind: Kind::PlanPart }
    }

    /// The objects of a version.
    pub(super) fn names(&self, version: &Version) -> impl Iterator<Item = String> {
        let (names, tag) = (self.connection.names.clone(), version.tag.clone());
        (0..version.parts).map(move |part| names.plan_part(&tag, part))
    }

    fn decode(&self, version: &Version, values: &mut BTreeMap<String, Vec<u8>>) -> Result<Vec<Placed>, StoreError> {
        let mut all = Vec::new();
        for name in self.names(version) {
            let value = values.remove(&name).unwrap_or_default();
            all.extend(layout::decode_part(&format!("ConfigMap {name}"), &value)?);
        }
        Ok(all)
    }
}
