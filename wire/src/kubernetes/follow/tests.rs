use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt as _;
use kube::core::Status;
use tokio::time::Instant;

use super::*;

type Said = watcher::Result<Event<u8>>;

/// Each watch that is begun says what is scripted for it, and then nothing more.
fn follower(watches: Vec<Vec<Said>>) -> (Follower<u8>, Arc<AtomicUsize>) {
    let begun = Arc::new(AtomicUsize::new(0));
    let (counted, watches) = (begun.clone(), parking_lot::Mutex::new(VecDeque::from(watches)));
    let begin = move || -> Watching<u8> {
        counted.fetch_add(1, Ordering::Relaxed);
        let said = watches.lock().pop_front().unwrap_or_default();
        Box::pin(futures::stream::iter(said).chain(futures::stream::pending()))
    };
    (Follower::new(Box::new(begin), "things"), begun)
}

fn status(code: u16) -> Box<Status> {
    let status = serde_json::json!({"status": "Failure", "message": "as scripted", "reason": "Scripted", "code": code});
    Box::new(serde_json::from_value(status).unwrap())
}

fn refused(code: u16) -> Said {
    Err(watcher::Error::WatchStartFailed(kube::Error::Api(status(code))))
}

fn listed() -> Vec<Said> {
    vec![Ok(Event::Init), Ok(Event::InitApply(1)), Ok(Event::InitDone)]
}

async fn hears(follower: &mut Follower<u8>, times: usize) -> Vec<Event<u8>> {
    let mut heard = Vec::new();
    for _ in 0..times {
        heard.push(follower.next().await.unwrap().event().unwrap());
    }
    heard
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_quiet_after_trouble_is_well_and_the_next_trouble_is_news() {
    let (mut follower, _) = follower(vec![listed().into_iter().chain([refused(500), refused(500)]).collect()]);
    hears(&mut follower, 3).await;
    let quiet = tokio::time::timeout(CALM / 2, follower.next()).await;
    assert!(quiet.is_err() && follower.trouble, "a server that has taken the connection may yet not answer");
    assert!(tokio::time::timeout(2 * CALM, follower.next()).await.is_err());
    assert!(!follower.trouble && follower.pause == PAUSE_MIN);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_too_old_to_start_is_begun_with_a_list_after_a_pause() {
    let old = listed().into_iter().chain([refused(GONE), refused(GONE), refused(GONE)]).collect();
    let (mut follower, begun) = follower(vec![old, listed()]);
    hears(&mut follower, 3).await;
    let before = Instant::now();
    let again = hears(&mut follower, 3).await;
    assert!(matches!(again[..], [Event::Init, Event::InitApply(1), Event::InitDone]), "{again:?}");
    assert_eq!(begun.load(Ordering::Relaxed), 2);
    assert!(before.elapsed() >= PAUSE_MIN / 2, "a server that says so again and again is not hurried");
    assert!(!follower.trouble);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_stops_in_the_middle_is_begun_anew() {
    let half = vec![Ok(Event::Init), Ok(Event::InitApply(1))];
    let (mut follower, begun) = follower(vec![half, listed()]);
    hears(&mut follower, 2).await;
    let before = Instant::now();
    let again = hears(&mut follower, 3).await;
    assert!(matches!(again[..], [Event::Init, Event::InitApply(1), Event::InitDone]), "{again:?}");
    assert!(before.elapsed() >= PAGE_LIMIT && begun.load(Ordering::Relaxed) == 2);
    // A watch after its list may be silent for as long as it likes.
    assert!(tokio::time::timeout(10 * PAGE_LIMIT, follower.next()).await.is_err());
    assert_eq!(begun.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn pauses_differ_from_each_other_by_up_to_a_third() {
    let (mut follower, _) = follower(Vec::new());
    follower.pause = PAUSE_MAX;
    let pauses: Vec<Duration> = (0..32).map(|_| follower.longer()).collect();
    assert!(pauses.iter().all(|pause| *pause <= PAUSE_MAX && *pause >= PAUSE_MAX.mul_f64(0.66)), "{pauses:?}");
    assert!(pauses.iter().any(|pause| *pause != pauses[0]), "all that lost the server together come back together");
    assert!(follower.next().now_or_never().is_none());
}
