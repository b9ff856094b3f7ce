//! Peers that are no brokers, or bad ones. Here the peer is the test's own: no real broker behaves so.
//!
//! The appender is tried alone, since librdkafka, which reads beside it, ends the process when a peer claims too much.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep};

use super::super::KafkaConfig;
use super::super::clients::Reach;
use super::Direct;
use crate::log::{Append, LogError};

/// What a peer does with a request: its API key, its version, and what it answers (correlation id and length come by themselves).
type Behaviour = dyn Fn(i16, i16) -> Answer + Send + Sync;

enum Answer {
    /// A well-framed answer.
    Body(Vec<u8>),
    /// These bytes, as they are.
    Raw(Vec<u8>),
    /// A byte of a promised frame now and then, without end.
    Drip,
    Silence,
}

/// A peer that listens until it is dropped.
struct Peer {
    address: String,
    task: AbortHandle,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peer {
    async fn start(behaviour: impl Fn(i16, i16) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let behaviour: Arc<Behaviour> = Arc::new(behaviour);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, behaviour.clone()));
            }
        });
        Self { address, task: task.abort_handle() }
    }
}

async fn serve(mut stream: TcpStream, behaviour: Arc<Behaviour>) -> std::io::Result<()> {
    loop {
        let length = stream.read_u32().await?;
        let mut request = vec![0; length as usize];
        stream.read_exact(&mut request).await?;
        let mut header = &request[..];
        let (key, version, correlation) = (header.get_i16(), header.get_i16(), header.get_i32());
        match behaviour(key, version) {
            Answer::Body(body) => {
                stream.write_u32(body.len() as u32 + 4).await?;
                stream.write_i32(correlation).await?;
                stream.write_all(&body).await?;
            }
            Answer::Raw(bytes) => stream.write_all(&bytes).await?,
            Answer::Drip => {
                stream.write_u32(1_000_000).await?;
                stream.write_i32(correlation).await?;
                loop {
                    stream.write_u8(0).await?;
                    sleep(Duration::from_millis(20)).await;
                }
            }
            Answer::Silence => {}
        }
    }
}

const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;

/// The versions that a broker of Kafka 2.1 speaks, or with `produce` others.
fn versions(produce: (i16, i16)) -> Answer {
    versions_but(0, Some(produce))
}

/// The same, but for this API: its versions are others, or it is not there.
fn versions_but(other: i16, its: Option<(i16, i16)>) -> Answer {
    let mut body = BytesMut::new();
    body.put_i16(0);
    let usual = [(0, 0, 7), (1, 0, 10), (2, 0, 4), (METADATA, 0, 7), (API_VERSIONS, 0, 2)];
    let spoken = usual.into_iter().filter_map(|(key, min, max)| match key == other {
        true => its.map(|(min, max)| (key, min, max)),
        false => Some((key, min, max)),
    });
    let spoken: Vec<_> = spoken.collect();
    body.put_i32(spoken.len() as i32);
    for (key, min, max) in spoken {
        body.put_i16(key);
        body.put_i16(min);
        body.put_i16(max);
    }
    Answer::Body(body.to_vec())
}

/// Appends to a peer; what came of it, which must come in time whatever the peer does.
async fn append_to(peer: &Peer) -> LogError {
    let reach = Arc::new(Reach::new(&peer.address));
    let log = Direct::new(&KafkaConfig::new(peer.address.clone()), &reach).unwrap();
    let begun = Instant::now();
    let outcome = log.append(vec![Append { topic: "t".into(), payload: "frame".into() }]).await.remove(0);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    log.close().await;
    let error = outcome.expect_err("nothing was appended");
    assert!(error.to_string().contains(&peer.address), "{error}");
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_never_answers_costs_no_more_than_the_calls_time() {
    let peer = Peer::start(|_, _| Answer::Silence).await;
    assert!(matches!(append_to(&peer).await, LogError::Unavailable { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_drips_costs_no_more_than_the_calls_time() {
    let peer = Peer::start(|_, _| Answer::Drip).await;
    assert!(matches!(append_to(&peer).await, LogError::Unavailable { .. }));
    let peer = Peer::start(|key, _| if key == API_VERSIONS { versions((0, 7)) } else { Answer::Drip }).await;
    assert!(matches!(append_to(&peer).await, LogError::Unavailable { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_speaks_something_else_is_told_from_a_broker() {
    for greeting in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], &[0x7f, 0xff, 0xff, 0xff, 0], &[0xff; 64], &[0; 64]] {
        let greeting = greeting.to_vec();
        let peer = Peer::start(move |_, _| Answer::Raw(greeting.clone())).await;
        let error = append_to(&peer).await.to_string();
        assert!(error.contains("is it a Kafka broker"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_too_old_or_too_new_is_named_with_its_versions() {
    // Produce, Fetch, ListOffsets and Metadata, each too old, too new, or gone.
    let cases = [
        (0, "Produce", Some((0, 2))),
        (0, "Produce", Some((9, 13))),
        (1, "Fetch", Some((0, 9))),
        (1, "Fetch", Some((12, 18))),
        (2, "ListOffsets", Some((5, 11))),
        (METADATA, "Metadata", Some((0, 3))),
        (1, "Fetch", None),
    ];
    let tried = cases.map(async |(key, name, spoken)| {
        let versions = move |asked, _| match asked {
            API_VERSIONS => versions_but(key, spoken),
            _ => Answer::Silence,
        };
        let error = append_to(&Peer::start(versions).await).await;
        assert!(matches!(error, LogError::Refused { .. }), "{error}");
        let error = error.to_string();
        let theirs = spoken.map_or("does not know it".to_owned(), |(min, max)| format!("{min} to {max}"));
        assert!(error.contains(name) && error.contains(&theirs), "{error}");
        assert!(error.contains("--log-client rdkafka") && !error.contains('\n'), "{error}");
    });
    futures::future::join_all(tried).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_claims_to_be_giant_takes_no_memory() {
    // Throttle, then two milliards of brokers, of which none comes.
    let mut body = vec![0; 4];
    body.extend(i32::MAX.to_be_bytes());
    let before = resident_kib();
    let peer =
        Peer::start(move |key, _| if key == API_VERSIONS { versions((0, 7)) } else { Answer::Body(body.clone()) })
            .await;
    let error = append_to(&peer).await.to_string();
    assert!(error.contains("no Kafka answer"), "{error}");
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 200_000, "{grown} KiB");
}

/// The memory of this process; other tests of it run meanwhile.
fn resident_kib() -> u64 {
    plimsoll_testkit::resident_kib(std::process::id()).unwrap()
}
