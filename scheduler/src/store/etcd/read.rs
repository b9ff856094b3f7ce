//! Reading the plan: the index, and then what it points at, all as of one revision.

use std::collections::BTreeMap;
use std::sync::Arc;

use etcd_client::{GetOptions, KeyValue};

use super::connection::{Connection, kv};
use super::keys::Keys;
use crate::plan::{CollectorId, Placed};
use crate::store::layout::{self, Index, Snapshot, Version};
use crate::store::{Revision, StoreError};

/// Keys asked for in one call: parts of 256 KiB at most, a few KiB as a rule.
const PAGE: i64 = 64;
/// Up to so many collectors are asked for one by one; for more, all parts are read.
const ONE_BY_ONE: usize = 16;
/// etcd may compact the revision that is being read; then it begins again with a newer one.
const ATTEMPTS: usize = 3;

/// Reads plans.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    pub(super) connection: Arc<Connection>,
    pub(super) keys: Keys,
}

impl Reader {
    /// The plan as of now. Of what `before` has already, nothing is read again.
    pub(super) async fn snapshot(&self, before: &Snapshot) -> Result<Snapshot, StoreError> {
        let mut outcome = self.attempt(before).await;
        for _ in 1..ATTEMPTS {
            if !matches!(outcome, Err(StoreError::Refused { .. })) {
                break;
            }
            outcome = self.attempt(before).await;
        }
        outcome
    }

    async fn attempt(&self, before: &Snapshot) -> Result<Snapshot, StoreError> {
        let (index, revision, now) = self.index().await?;
        if revision == before.stored.revision {
            return Ok(before.clone());
        }
        let news: Vec<(&CollectorId, &Version)> = index
            .collectors
            .iter()
            .filter(|(collector, version)| before.index.collectors.get(*collector) != Some(*version))
            .collect();
        let mut parts = BTreeMap::new();
        if news.len() <= ONE_BY_ONE {
            for (collector, version) in news {
                parts.insert(collector.clone(), self.parts(collector, version, now).await?);
            }
        } else {
            let mut by_prefix: BTreeMap<String, Vec<KeyValue>> = BTreeMap::new();
            for part in self.range(&self.keys.all_parts(), now).await? {
                let key = String::from_utf8_lossy(part.key()).into_owned();
                let prefix = key.rsplit_once('/').map_or("", |(prefix, _)| prefix);
                by_prefix.entry(format!("{prefix}/")).or_default().push(part);
            }
            for (collector, version) in news {
                let found = by_prefix.remove(&self.keys.parts(collector, &version.tag)).unwrap_or_default();
                parts.insert(collector.clone(), self.decode(collector, version, &found)?);
            }
        }
        Ok(layout::merge(before, index, revision, parts))
    }

    /// The index, its revision, and the revision of etcd that it was read at. No index is an empty one.
    pub(super) async fn index(&self) -> Result<(Index, Revision, i64), StoreError> {
        let key = self.keys.index();
        let asked = key.clone();
        let response = self
            .connection
            .call("the plan's index", |client| async move { kv(&client).get(asked, None).await })
            .await?;
        let now = response.header().map_or(0, etcd_client::ResponseHeader::revision);
        match response.kvs().first() {
            Some(found) => Ok((Index::decode(&key, found.value())?, Revision(found.mod_revision()), now)),
            None => Ok((Index::default(), Revision::default(), now)),
        }
    }

    /// What one collector reads.
    pub(super) async fn parts(&self, collector: &str, version: &Version, now: i64) -> Result<Vec<Placed>, StoreError> {
        let found = self.range(&self.keys.parts(collector, &version.tag), now).await?;
        self.decode(collector, version, &found)
    }

    fn decode(&self, collector: &str, version: &Version, found: &[KeyValue]) -> Result<Vec<Placed>, StoreError> {
        let prefix = self.keys.parts(collector, &version.tag);
        if found.len() != version.parts {
            let reason = format!("the index names {} parts, and there are {}", version.parts, found.len());
            return Err(StoreError::Corrupt { key: prefix, reason });
        }
        let mut all = Vec::new();
        for part in found {
            all.extend(layout::decode_part(&prefix, part.value())?);
        }
        Ok(all)
    }

    /// All keys that begin so, as they were at this revision, page by page.
    pub(super) async fn range(&self, prefix: &str, revision: i64) -> Result<Vec<KeyValue>, StoreError> {
        self.pages(prefix, GetOptions::new().with_revision(revision)).await
    }

    /// The names of all keys that begin so.
    pub(super) async fn names(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let found = self.pages(prefix, GetOptions::new().with_keys_only()).await?;
        Ok(found.iter().map(|key| String::from_utf8_lossy(key.key()).into_owned()).collect())
    }

    async fn pages(&self, prefix: &str, options: GetOptions) -> Result<Vec<KeyValue>, StoreError> {
        let mut end = prefix.as_bytes().to_vec();
        // Prefixes end in a slash, and nothing is greater than its successor.
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        let mut from = prefix.as_bytes().to_vec();
        let mut all = Vec::new();
        loop {
            let (start, options) = (from.clone(), options.clone().with_range(end.clone()).with_limit(PAGE));
            let mut response = self
                .connection
                .call("the plan's parts", |client| async move { kv(&client).get(start, Some(options)).await })
                .await?;
            let more = response.more();
            all.append(&mut response.take_kvs());
            match all.last() {
                Some(last) if more => {
                    from = last.key().to_vec();
                    from.push(0);
                }
                _ => return Ok(all),
            }
        }
    }
}
