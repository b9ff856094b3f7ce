//! What happens to objects, as the API server tells it.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, WatchEvent, WatchParams};
use tokio::time::timeout;

use super::connection::{Answer, Connection};
use crate::store::StoreError;

/// A watch that is silent for so long is doubted: its connection may have died without a word.
const SILENCE: Duration = Duration::from_secs(5);

/// A change of an object.
#[derive(Debug)]
pub(super) enum Change<K> {
    /// It is like this now.
    Put(Box<K>),
    /// It is gone; this is how it was.
    Deleted(Box<K>),
}

/// A watch.
pub(super) struct Events<K> {
    stream: BoxStream<'static, Result<WatchEvent<K>, kube::Error>>,
    connection: Arc<Connection>,
}

impl<K> Events<K>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    /// Of the objects that `api` and `params` select, from a version on.
    pub(super) async fn open(
        connection: &Arc<Connection>,
        api: &kube::Api<K>,
        params: &WatchParams,
        version: &str,
    ) -> Result<Self, StoreError> {
        match connection.call("a watch", api.watch(params, version)).await? {
            Answer::Done(stream) => Ok(Self { stream: stream.boxed(), connection: connection.clone() }),
            Answer::Missing | Answer::Conflict => Err(connection.unavailable("a watch finds nothing".to_owned())),
        }
    }

    /// The next change, or nothing when there was none for a while. A watch that has ended, or has fallen behind what the server
    /// keeps (410 Gone), is an error: start again from what is there now. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Option<Change<K>>, StoreError> {
        loop {
            let Ok(event) = timeout(SILENCE, self.stream.next()).await else { return Ok(None) };
            let change = match event {
                Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object))) => Change::Put(Box::new(object)),
                Some(Ok(WatchEvent::Deleted(object))) => Change::Deleted(Box::new(object)),
                Some(Ok(WatchEvent::Bookmark(_))) => {
                    self.connection.pulse.heard();
                    continue;
                }
                Some(Ok(WatchEvent::Error(status))) => {
                    return Err(self.connection.unavailable(format!("a watch was ended: {}", status.message)));
                }
                Some(Err(error)) => return Err(self.connection.failed("a watch", &error)),
                None => return Err(self.connection.unavailable("a watch was ended".to_owned())),
            };
            self.connection.pulse.heard();
            return Ok(Some(change));
        }
    }
}

/// One ConfigMap, watched.
pub(super) struct OneMap {
    name: String,
    /// The version that was told last, unless there was no object.
    version: Option<String>,
    events: Events<ConfigMap>,
}

impl OneMap {
    /// The object as it is now, if there is one, and what tells its changes from now on.
    pub(super) async fn open(
        connection: &Arc<Connection>,
        name: String,
    ) -> Result<(Option<ConfigMap>, Self), StoreError> {
        let field = format!("metadata.name={name}");
        let list = connection.call("a list", connection.maps.list(&ListParams::default().fields(&field))).await?;
        let Answer::Done(list) = list else {
            return Err(connection.unavailable("a list finds nothing".to_owned()));
        };
        let from = list.metadata.resource_version.unwrap_or_default();
        let object = list.items.into_iter().next();
        let params = WatchParams::default().fields(&field);
        let events = Events::open(connection, &connection.maps, &params, &from).await?;
        let version = object.as_ref().and_then(|object| object.metadata.resource_version.clone());
        Ok((object, Self { name, version, events }))
    }

    /// The next state of the object; `None` where it is gone. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Option<ConfigMap>, StoreError> {
        loop {
            let object = match self.events.next().await? {
                Some(Change::Put(object)) => Some(*object),
                Some(Change::Deleted(_)) => None,
                None => {
                    let connection = &self.events.connection;
                    let found = connection.call("an index", connection.maps.get_metadata_opt(&self.name)).await?;
                    let now = found.done().flatten().and_then(|object| object.metadata.resource_version);
                    if now != self.version {
                        return Err(connection.unavailable("a watch has missed a change".to_owned()));
                    }
                    continue;
                }
            };
            self.version = object.as_ref().and_then(|object| object.metadata.resource_version.clone());
            return Ok(object);
        }
    }
}
