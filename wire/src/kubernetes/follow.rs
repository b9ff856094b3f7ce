//! A watch that never ends: over restarts of the API server, over outages of any length.

use std::fmt::Debug;
use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
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

/// Hears of all objects for ever. `what` names them in log lines: one when trouble begins, one when it is over.
///
/// Nothing is buffered here: who does not listen is not sent more.
pub fn follow<O>(api: Api<O>, config: watcher::Config, what: &'static str) -> impl Stream<Item = Heard<O>> + Send
where
    O: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let watching = Box::pin(watcher(api, config.timeout(WATCH_SECONDS)));
    let follower = Follower { watching, what, pause: PAUSE_MIN, trouble: false, doubted: false, resting: false };
    futures::stream::unfold(follower, |mut follower| async move {
        let heard = follower.next().await?;
        Some((heard, follower))
    })
}

struct Follower<O> {
    watching: Pin<Box<dyn Stream<Item = watcher::Result<Event<O>>> + Send>>,
    what: &'static str,
    pause: Duration,
    trouble: bool,
    /// The API server has said that it knows no such kind, and nothing else since.
    doubted: bool,
    /// A pause is due.
    resting: bool,
}

impl<O> Follower<O> {
    /// None where the watch has ended, which it does not.
    async fn next(&mut self) -> Option<Heard<O>> {
        loop {
            if std::mem::take(&mut self.resting) {
                tokio::time::sleep(PAUSE_ABSENT).await;
            }
            match self.watching.next().await? {
                Ok(event) => {
                    // The beginning of a list is none of the server's doing.
                    if !matches!(event, Event::Init) {
                        self.well();
                    }
                    return Some(Heard::Event(event));
                }
                Err(error) if code(&error) == Some(NOT_FOUND) => {
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
                Err(error) if code(&error) == Some(GONE) => debug!("{} are listed anew: {error}", self.what),
                Err(error) => {
                    self.troubled(&chain(&error));
                    let pause = self.longer();
                    tokio::time::sleep(pause).await;
                }
            }
        }
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
        pause.mul_f64(1.0 - f64::from(std::process::id() % 100) / 300.0)
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

/// An error with its causes: the outermost one seldom says what is wrong.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let told = error.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        cause = error.source();
    }
    text
}
