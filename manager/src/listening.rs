//! Listens to every collector: one task a collector, from its registration until it is gone.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use plimsoll_scheduler::store::Member;
use plimsoll_wire::collector::collector_client::CollectorClient;
use plimsoll_wire::collector::{SubscribeRequest, Update};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tracing::{debug, info, warn};

use crate::board::{Board, Link, SILENCE};

/// A collector's connection has to come up, and then to say something, within this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Between attempts: short, since a restarted collector is awaited.
const RETRY: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// Every registered collector, by name.
type Members = BTreeMap<String, Member>;

/// Listens until shutdown.
pub async fn listen(
    manager: String,
    mut members: watch::Receiver<Arc<Members>>,
    board: Arc<Board>,
    shutdown: CancellationToken,
) {
    let tasks = TaskTracker::new();
    let mut listening: BTreeMap<String, (Member, CancellationToken)> = BTreeMap::new();
    loop {
        let current = members.borrow_and_update().clone();
        for (id, member) in current.iter() {
            if listening.get(id).is_some_and(|(known, _)| known == member) {
                continue;
            }
            if let Some((_, stop)) = listening.remove(id) {
                stop.cancel();
            }
            info!(collector = %id, address = %member.address, provider = %member.provider, "collector registered");
            let stop = shutdown.child_token();
            let link = board.link(id);
            link.update(|state| state.provider = Some(member.provider.clone()));
            tasks.spawn(follow(manager.clone(), member.clone(), link, board.clone(), stop.clone()));
            listening.insert(id.clone(), (member.clone(), stop));
        }
        // A registration may lapse while its collector answers well (the store was away): the stream is the proof of life.
        let gone: Vec<String> = listening
            .keys()
            .filter(|id| !current.contains_key(*id) && board.link(id).silent_for() > SILENCE)
            .cloned()
            .collect();
        for id in gone {
            if let Some((_, stop)) = listening.remove(&id) {
                info!(collector = %id, "collector is gone: neither registered nor answering");
                stop.cancel();
                board.forget_link(&id);
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => break,
            changed = members.changed() => if changed.is_err() { break },
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
    shutdown.cancelled().await;
    tasks.close();
    tasks.wait().await;
}

/// Keeps one collector's stream open.
async fn follow(manager: String, member: Member, link: Arc<Link>, board: Arc<Board>, stop: CancellationToken) {
    let mut pause = RETRY;
    // The first failure is said, be it the first attempt, and those that follow it only for who asks.
    let mut well = true;
    loop {
        let outcome = tokio::select! {
            () = stop.cancelled() => return,
            outcome = stream_once(&manager, &member, &link, &board) => outcome,
        };
        link.reach(None);
        match outcome {
            Ok(updates) => {
                if updates > 0 {
                    pause = RETRY;
                    well = true;
                }
                // Its answers stand for as long as any that are as old; its topics need not wait for that.
                link.part();
                info!(collector = %member.id, updates, "collector has said goodbye");
            }
            Err(status) if well => {
                well = false;
                warn!(collector = %member.id, address = %member.address, error = %status.message(), "no stream from the collector; trying again");
            }
            Err(status) => {
                debug!(collector = %member.id, address = %member.address, error = %status.message(), "collector does not answer")
            }
        }
        board.changed.notify_one();
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(RETRY_MAX),
        }
    }
}

/// One stream, until it ends; how many updates it brought.
async fn stream_once(manager: &str, member: &Member, link: &Arc<Link>, board: &Arc<Board>) -> Result<u64, Status> {
    let channel = connect(&member.address).await?;
    link.reach(Some(channel.clone()));
    let mut client = CollectorClient::new(channel).max_decoding_message_size(64 << 20);
    let request = SubscribeRequest { manager: manager.to_owned() };
    let mut stream = within(client.subscribe(request)).await?.into_inner();
    let mut reading = Reading::new(link, board);
    loop {
        // A frozen collector's connection stays open: silence ends the stream.
        let Some(update) = within(stream.message()).await? else { return Ok(reading.updates) };
        if reading.has_slept() {
            return Err(Status::aborted("this manager did not run for a while, so what has come meanwhile may be old"));
        }
        reading.take(update);
    }
}

/// What comes by one stream: the collector's whole state first, in parts, then what changes.
struct Reading<'a> {
    link: &'a Arc<Link>,
    board: &'a Arc<Board>,
    updates: u64,
    /// The topics that the first parts have named; none once all parts have come.
    snapshot: Option<HashSet<String>>,
    /// When the newest update was taken; at first, when the stream began.
    taken: Instant,
}

impl<'a> Reading<'a> {
    fn new(link: &'a Arc<Link>, board: &'a Arc<Board>) -> Self {
        Self { link, board, updates: 0, snapshot: Some(HashSet::new()), taken: Instant::now() }
    }

    /// Whether more time has passed than an update is waited for: then this process was frozen, and what is there now may have waited in
    /// the socket for as long. A new stream begins with what is so now.
    fn has_slept(&self) -> bool {
        self.taken.elapsed() > SILENCE
    }

    fn take(&mut self, update: Update) {
        self.updates += 1;
        self.taken = Instant::now();
        // With its first part the collector is not silent any more. What it said before must not be told as if it were new until
        // the part comes that says it anew.
        let resumes = self.updates == 1 && self.link.silent_for() > SILENCE;
        if resumes || self.link.incarnation() != update.incarnation {
            self.board.forget_answers(self.link);
        }
        if let Some(named) = &mut self.snapshot {
            named.extend(update.answers.iter().map(|answer| answer.topic.clone()));
            if !update.snapshot_continues {
                self.board.keep_answers(self.link, |topic| named.contains(topic));
                self.snapshot = None;
            }
        }
        take(self.link, self.board, update);
    }
}

fn take(link: &Arc<Link>, board: &Arc<Board>, update: Update) {
    let first = !link.ever_heard();
    let mut asks_to_leave = false;
    link.heard();
    link.update(|state| {
        state.incarnation = update.incarnation;
        state.generation = update.generation;
        asks_to_leave = !std::mem::replace(&mut state.leaving, update.leaving) && update.leaving;
        if let Some(load) = &update.load {
            state.frames_total = load.frames_total;
            state.bytes_total = load.bytes_total;
            state.lag = Duration::from_micros(load.lag_us);
        }
        if update.interceptors_changed {
            state.interceptors = update.interceptors;
        }
    });
    board.take(link, update.answers);
    board.release(link, update.released.iter().map(String::as_str));
    if first || asks_to_leave {
        board.changed.notify_one();
    }
}

async fn connect(address: &str) -> Result<Channel, Status> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| Status::invalid_argument(format!("collector address {address:?} is no HOST:PORT: {error}")))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(1))
        .keep_alive_timeout(Duration::from_secs(2))
        .keep_alive_while_idle(true);
    endpoint.connect().await.map_err(|error| {
        let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        Status::unavailable(format!("can't connect to {address}: {cause}"))
    })
}

/// What does not come in time is an error: a call without a deadline would hang with its peer.
async fn within<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    match tokio::time::timeout(SILENCE, call).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Status::deadline_exceeded(format!("nothing came for {} s", SILENCE.as_secs()))),
    }
}

#[cfg(test)]
mod tests {
    use plimsoll_wire::collector::Answer;
    use plimsoll_wire::log::Topic;

    use super::*;

    fn part(topics: &[&str], snapshot_continues: bool) -> Update {
        let known = |topic: &&str| Answer { topic: (*topic).to_owned(), known: true, warm: true, ..Answer::default() };
        let answers = topics.iter().map(known).collect();
        Update { collector: "a".into(), incarnation: 1, snapshot_continues, answers, ..Update::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_waited_while_the_manager_was_frozen_is_not_taken_for_new() {
        let board = Arc::new(Board::new(Duration::from_secs(30)));
        let link = board.link("a");
        let mut reading = Reading::new(&link, &board);
        for _ in 0..3 {
            tokio::time::advance(SILENCE).await;
            assert!(!reading.has_slept(), "it was waited for in the usual way");
            reading.take(part(&["t"], false));
        }
        tokio::time::advance(SILENCE + Duration::from_millis(1)).await;
        assert!(reading.has_slept());
        assert!(!Reading::new(&link, &board).has_slept(), "another stream says what is so now");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_said_before_a_silence_is_not_told_before_it_is_said_anew() {
        let board = Arc::new(Board::new(Duration::from_secs(30)));
        let link = board.link("a");
        let is_told = |topic: &str| board.cell(&Topic::from(topic)).best().is_ok();
        Reading::new(&link, &board).take(part(&["t", "u"], false));
        assert!(is_told("t") && is_told("u"));
        // A new stream soon after: nothing that is told is older than it may be.
        Reading::new(&link, &board).take(part(&["t"], true));
        assert!(is_told("t") && is_told("u"));
        tokio::time::advance(SILENCE + Duration::from_secs(60)).await;
        assert!(!is_told("t") && !is_told("u"));
        let mut anew = Reading::new(&link, &board);
        anew.take(part(&["t"], true));
        assert!(is_told("t"));
        assert!(!is_told("u"), "it is a minute old");
        anew.take(part(&["u"], false));
        assert!(is_told("t") && is_told("u"));
    }
}
