//! A watch that never ends: over restarts of the API server, over outages of any length.

use std::fmt::Debug;
use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use plimsoll_cluster::chain;
use serde::de::DeserializeOwned;
use tracing::{debug, info, warn};

/// The first pause after a failure; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// The longest pause: after an outage changes are heard of within this time.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A kind that the API server does not know is asked for again after this time: the first time soon, since a server that has just
/// started may not know its kinds yet.
const PAUSE_ABSENT: Duration = Duration::from_secs(15);
const PAUSE_DOUBTED: Duration = Duration::from_secs(1);
/// A watch is begun anew after so many seconds, where it was left off: one that has died unnoticed is dead for no longer.
const WATCH_SECONDS: u32 = 120;
/// One page of a list may take so long, as long as the API server itself gives a request: where it stops in the middle of an answer no
/// error comes.
const PAGE_LIMIT: Duration = Duration::from_secs(60);
/// After trouble a watch that says nothing for so long is well: there is nothing to tell. Longer than the client waits for an answer
/// to begin (30 s), so that a server which takes connections and is silent is not taken for a well one.
const CALM: Duration = Duration::from_secs(40);
/// Kubernetes' answer where what was asked for is too old: a new list is needed, which is no trouble.
const GONE: u16 = 410;
const NOT_FOUND: u16 = 404;

/// What is heard.
#[derive(Debug)]
pub enum Heard<O> {
    /// Of an object, or of a list.
    Event(Event<O>),
    /// The API server knows no such kind: its definition is not installed.
    NoSuchKind,
}

impl<O> Heard<O> {
    /// What is heard of a kind that every API server knows.
    pub fn event(self) -> Option<Event<O>> {
        match self {
            Self::Event(event) => Some(event),
            Self::NoSuchKind => None,
        }
    }
}

/// Hears of all objects for ever. `what` names them in log lines: one when trouble begins, one when it is over.
///
/// Nothing is buffered here: who does not listen is not sent more.
pub fn follow<O>(api: Api<O>, config: watcher::Config, what: &'static str) -> impl Stream<Item = Heard<O>> + Send
where
    O: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let config = config.timeout(WATCH_SECONDS);
    let begin = Box::new(move || -> Watching<O> { Box::pin(watcher(api.clone(), config.clone())) });
    futures::stream::unfold(Follower::<O>::new(begin, what), |mut follower| async move {
        let heard = follower.next().await?;
        Some((heard, follower))
    })
}

type Watching<O> = Pin<Box<dyn Stream<Item = watcher::Result<Event<O>>> + Send>>;

struct Follower<O> {
    /// Begins a watch, with a list.
    begin: Box<dyn Fn() -> Watching<O> + Send>,
    watching: Watching<O>,
    what: &'static str,
    pause: Duration,
    trouble: bool,
    /// A list has begun and is not complete.
    listing: bool,
    /// The API server has said that it knows no such kind, and nothing else since.
    doubted: bool,
    /// A pause is due.
    resting: bool,
}

impl<O> Follower<O> {
    fn new(begin: Box<dyn Fn() -> Watching<O> + Send>, what: &'static str) -> Self {
        let watching = begin();
        let (pause, trouble, listing) = (PAUSE_MIN, false, false);
        Self { begin, watching, what, pause, trouble, listing, doubted: false, resting: false }
    }

    /// None where the watch has ended, which it does not.
    async fn next(&mut self) -> Option<Heard<O>> {
        loop {
            if std::mem::take(&mut self.resting) {
                tokio::time::sleep(PAUSE_ABSENT).await;
            }
            let Some(heard) = self.hear().await? else {
                self.troubled(&format!("a list has said nothing for {} s", PAGE_LIMIT.as_secs()));
                self.begin_anew().await;
                continue;
            };
            match heard {
                Ok(event) => {
                    self.listing = matches!(event, Event::Init | Event::InitApply(_));
                    // The beginning of a list is none of the server's doing.
                    if !matches!(event, Event::Init) {
                        self.well();
                    }
                    return Some(Heard::Event(event));
                }
                Err(error) if code(&error) == Some(NOT_FOUND) => {
                    self.listing = false;
                    self.troubled(&format!(
                        "the API server knows no such kind; is its definition installed? ({error})"
                    ));
                    if !std::mem::replace(&mut self.doubted, true) {
                        tokio::time::sleep(PAUSE_DOUBTED).await;
                        continue;
                    }
                    // Told at once; the pause comes after.
                    self.resting = true;
                    return Some(Heard::NoSuchKind);
                }
                Err(error) if code(&error) == Some(GONE) => {
                    debug!("{} are listed anew: {error}", self.what);
                    // Where a watch could not even start, the watcher would ask for the same again, for ever.
                    self.begin_anew().await;
                }
                Err(error) => {
                    self.listing = false;
                    self.troubled(&chain(&error));
                    let pause = self.longer();
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// What the watch says next; none of it where a list has stopped in the middle.
    async fn hear(&mut self) -> Option<Option<watcher::Result<Event<O>>>> {
        if self.listing {
            return match tokio::time::timeout(PAGE_LIMIT, self.watching.next()).await {
                Ok(heard) => heard.map(Some),
                Err(_) => Some(None),
            };
        }
        if self.trouble || self.pause > PAUSE_MIN {
            match tokio::time::timeout(CALM, self.watching.next()).await {
                Ok(heard) => return heard.map(Some),
                Err(_) => self.well(),
            }
        }
        self.watching.next().await.map(Some)
    }

    async fn begin_anew(&mut self) {
        self.listing = false;
        let pause = self.longer();
        tokio::time::sleep(pause).await;
        self.watching = (self.begin)();
    }

    fn well(&mut self) {
        (self.pause, self.doubted) = (PAUSE_MIN, false);
        if std::mem::take(&mut self.trouble) {
            info!("the API server tells of {} again", self.what);
        }
    }

    fn troubled(&mut self, why: &str) {
        if std::mem::replace(&mut self.trouble, true) {
            debug!("still can't watch {}: {why}", self.what);
        } else {
            warn!("can't watch {}, going on with what is known: {why}", self.what);
        }
    }

    fn longer(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE_MAX);
        // Interceptors that have lost the server together do not all come back in one instant: up to a third less.
        pause.mul_f64(1.0 - rand::random::<f64>() / 3.0)
    }
}

/// What the API server answered, where it did.
fn code(error: &watcher::Error) -> Option<u16> {
    use watcher::Error::{InitialListFailed, WatchError, WatchFailed, WatchStartFailed};
    match error {
        InitialListFailed(kube::Error::Api(status))
        | WatchStartFailed(kube::Error::Api(status))
        | WatchFailed(kube::Error::Api(status)) => Some(status.code),
        WatchError(status) => Some(status.code),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
