//! Parts: ConfigMaps that are written once, read while an index names them, and then deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use futures::stream::{StreamExt as _, TryStreamExt as _, iter};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, PostParams};

use super::connection::{Answer, Connection};
use super::names::Kind;
use crate::store::StoreError;

/// The key of what a part holds.
const VALUE: &str = "part.json.gz";
/// The collector that a part of the plan is for, for people: the index says it to us.
const COLLECTOR: &str = "plimsoll.io/collector";
/// Calls at a time. The API server gives a client its share of places, and its other clients theirs.
const AT_ONCE: usize = 16;
/// Up to so many parts are asked for one by one; for more, all of them are listed.
const ONE_BY_ONE: usize = 32;
/// Objects a page of a list.
const PAGE: u32 = 100;
/// What a part may grow to when it is unpacked: nothing of ours is near, and nobody else's shall fill the memory.
const UNPACKED_MAX: u64 = 16 << 20;

/// A part to be written.
pub(super) struct Part {
    pub(super) name: String,
    /// For whom it is; empty for everyone.
    pub(super) collector: String,
    pub(super) value: Vec<u8>,
}

/// The parts of one kind.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    pub(super) connection: Arc<Connection>,
    pub(super) kind: Kind,
}

impl Parts {
    /// Writes all, in no order.
    pub(super) async fn create(&self, parts: Vec<Part>) -> Result<(), StoreError> {
        let create = async |part: Part| {
            let name = part.name.clone();
            let object = self.object(part)?;
            let (maps, how) = (&self.connection.maps, PostParams::default());
            match self.connection.call("a part", maps.create(&how, &object)).await? {
                Answer::Done(_) => Ok(()),
                // Names are used once.
                Answer::Conflict => Err(corrupt(&name, "there is an object of this name already")),
                Answer::Missing => Err(StoreError::Refused {
                    store: self.connection.name.clone(),
                    what: format!("ConfigMap {name}"),
                    reason: "there is no such namespace".to_owned(),
                }),
            }
        };
        iter(parts).map(create).buffer_unordered(AT_ONCE).try_collect().await
    }

    fn object(&self, part: Part) -> Result<ConfigMap, StoreError> {
        let failed = |error: std::io::Error| corrupt(&part.name, &error.to_string());
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(&part.value).map_err(failed)?;
        let packed = packed.finish().map_err(failed)?;
        let mut metadata = self.connection.names.metadata(self.kind, part.name);
        if !part.collector.is_empty() {
            metadata.annotations = Some(BTreeMap::from([(COLLECTOR.to_owned(), part.collector)]));
        }
        let binary_data = Some(BTreeMap::from([(VALUE.to_owned(), ByteString(packed))]));
        Ok(ConfigMap { metadata, binary_data, immutable: Some(true), ..ConfigMap::default() })
    }

    /// What these parts hold, by name; `None` when one of them is gone: then the index that named it has been replaced.
    pub(super) async fn read(&self, names: Vec<String>) -> Result<Option<BTreeMap<String, Vec<u8>>>, StoreError> {
        let wanted: BTreeSet<String> = names.iter().cloned().collect();
        let mut found = BTreeMap::new();
        if names.len() <= ONE_BY_ONE {
            let get = async |name: String| {
                let got = self.connection.call("a part", self.connection.maps.get(&name)).await?;
                Ok::<_, StoreError>(got.done())
            };
            let objects: Vec<Option<ConfigMap>> = iter(names).map(get).buffer_unordered(AT_ONCE).try_collect().await?;
            for object in objects.into_iter().flatten() {
                found.insert(object.name_any(), value(&object)?);
            }
        } else {
            let mut page = ListParams::default().labels(&self.connection.names.selector(self.kind)).limit(PAGE);
            loop {
                let list = self.connection.call("the parts", self.connection.maps.list(&page)).await?;
                let Some(list) = list.done() else { return Ok(None) };
                for object in list.items.iter().filter(|object| wanted.contains(&object.name_any())) {
                    found.insert(object.name_any(), value(object)?);
                }
                match list.metadata.continue_.filter(|token| !token.is_empty()) {
                    Some(token) => page = page.continue_token(&token),
                    None => break,
                }
            }
        }
        Ok((found.len() == wanted.len()).then_some(found))
    }

    /// Deletes these; what is gone already is fine.
    pub(super) async fn delete(&self, names: Vec<String>) -> Result<(), StoreError> {
        let how = DeleteParams::default();
        let delete = async |name: String| {
            self.connection.call("the end of a part", self.connection.maps.delete(&name, &how)).await.map(drop)
        };
        iter(names).map(delete).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Deletes all that are not kept and are older than an index, which is told by its version. Whoever wrote those and has not
    /// committed them has read an older index, so its commit can't succeed any more: nobody will ever read them.
    pub(super) async fn sweep(&self, keep: &BTreeSet<String>, index: &str) -> Result<(), StoreError> {
        let Ok(limit) = index.parse::<u64>() else { return Ok(()) };
        let mut page = ListParams::default().labels(&self.connection.names.selector(self.kind)).limit(PAGE);
        let mut stale = Vec::new();
        loop {
            let list = self.connection.call("the parts' names", self.connection.maps.list_metadata(&page)).await?;
            let Some(list) = list.done() else { return Ok(()) };
            for object in &list.items {
                // Parts never change: their version is that of their making.
                let older = object.resource_version().and_then(|version| version.parse::<u64>().ok());
                if older.is_some_and(|version| version < limit) && !keep.contains(&object.name_any()) {
                    stale.push(object.name_any());
                }
            }
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => break,
            }
        }
        self.delete(stale).await
    }
}

/// What a part holds.
fn value(object: &ConfigMap) -> Result<Vec<u8>, StoreError> {
    let name = object.name_any();
    let packed = object.binary_data.as_ref().and_then(|data| data.get(VALUE));
    let packed = packed.ok_or_else(|| corrupt(&name, &format!("it has no {VALUE}")))?;
    let mut unpacked = Vec::new();
    let read = GzDecoder::new(packed.0.as_slice()).take(UNPACKED_MAX).read_to_end(&mut unpacked);
    read.map_err(|error| corrupt(&name, &format!("{VALUE} can't be unpacked: {error}")))?;
    Ok(unpacked)
}

pub(super) fn corrupt(name: &str, reason: &str) -> StoreError {
    StoreError::Corrupt { key: format!("ConfigMap {name}"), reason: reason.to_owned() }
}
