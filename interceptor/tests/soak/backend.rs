//! Backends: good ones, and rough ones that break in every way that a request can notice.

mod socket;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::content::{Sum, bytes};
use crate::exchange::{Framing, Head, Line};

/// What a backend does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    /// Answers before it has read the upload, then reads it.
    Early,
    /// A response of chunks, with pauses.
    Chunks,
    ResetBeforeAnswer,
    CloseBeforeAnswer,
    ResetInAnswer,
    CloseInAnswer,
    /// Never answers.
    Stall,
    /// Says nothing of it, and closes when the answer has been sent.
    CloseAfterAnswer,
    Nonsense,
}

/// Moods of a rough backend; most of the time it is well.
const ROUGH: [Mood; 20] = [
    Mood::Well,
    Mood::Well,
    Mood::Well,
    Mood::Well,
    Mood::Well,
    Mood::Well,
    Mood::Well,
    Mood::Well,
    Mood::Early,
    Mood::Early,
    Mood::Chunks,
    Mood::Chunks,
    Mood::ResetBeforeAnswer,
    Mood::CloseBeforeAnswer,
    Mood::ResetInAnswer,
    Mood::CloseInAnswer,
    Mood::Stall,
    Mood::CloseAfterAnswer,
    Mood::CloseAfterAnswer,
    Mood::Nonsense,
];
/// Moods of a good one.
const GOOD: [Mood; 4] = [Mood::Well, Mood::Well, Mood::Well, Mood::Chunks];

/// A backend that listens until it is stopped.
#[derive(Debug)]
pub struct Backend {
    pub address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Backend {
    pub async fn start(good: bool, seed: u64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (stopped, connections) = (stop.clone(), tasks.clone());
        let mut random = StdRng::seed_from_u64(seed);
        tasks.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = stopped.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let Ok((stream, _)) = accepted else { continue };
                let (stopped, random) = (stopped.clone(), StdRng::seed_from_u64(random.random()));
                connections.spawn(async move {
                    let moods = if good { &GOOD[..] } else { &ROUGH[..] };
                    tokio::select! {
                        () = stopped.cancelled() => {}
                        // How a connection ends is the other side's to judge.
                        _ended = serve(Line::new(stream), moods, random) => {}
                    }
                });
            }
        });
        Self { address, stop, tasks }
    }

    /// Ends it and all its connections.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// What a request wants: `/NUMBER/LENGTH`, and an upload's answer is its sum.
fn wanted(head: &Head) -> io::Result<(bool, u64, usize)> {
    let mut words = head.first.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut parts = path.trim_start_matches('/').split('/').map(str::parse::<u64>);
    match (parts.next(), parts.next()) {
        (Some(Ok(number)), Some(Ok(length))) => Ok((method == "POST", number, length as usize)),
        _ => Err(io::Error::other(format!("the path {path:?} was not sent by a visitor"))),
    }
}

async fn serve(mut line: Line, moods: &[Mood], mut random: StdRng) -> io::Result<()> {
    loop {
        let head = line.head().await?;
        let (is_upload, number, length) = wanted(&head)?;
        let mood = moods[random.random_range(0..moods.len())];
        match mood {
            Mood::ResetBeforeAnswer => {
                line.reset();
                return Ok(());
            }
            Mood::CloseBeforeAnswer => return Ok(()),
            Mood::Nonsense => return line.write(b"220 mail.example.com ESMTP\r\n").await,
            // It reads on, so that it notices when nobody waits any more.
            Mood::Stall => return line.body(Framing::UntilClosed, |_| true).await,
            Mood::Early if is_upload => {
                // Whoever answers first does not know the sum.
                answer(&mut line, &bytes(number, 0, length), number, Mood::Well).await?;
                line.body(head.framing(true), |_| true).await?;
                continue;
            }
            _ if socket::is_wanted(&head) => return socket::serve(line, &head, number, mood).await,
            _ => {}
        }
        let mut sum = Sum::new();
        let mut taken = 0;
        line.body(head.framing(true), |piece| {
            sum.add(piece);
            taken += piece.len();
            true
        })
        .await?;
        let body = if is_upload { sum.answer(taken).into_bytes() } else { bytes(number, 0, length) };
        if random.random_ratio(1, 8) {
            tokio::time::sleep(Duration::from_millis(random.random_range(0..50))).await;
        }
        answer(&mut line, &body, number, mood).await?;
        match mood {
            Mood::ResetInAnswer => {
                line.reset();
                return Ok(());
            }
            Mood::CloseInAnswer | Mood::CloseAfterAnswer => return Ok(()),
            _ => {}
        }
    }
}

async fn answer(line: &mut Line, body: &[u8], number: u64, mood: Mood) -> io::Result<()> {
    let framing = if mood == Mood::Chunks { Framing::Chunked } else { Framing::Length(body.len()) };
    let framed = match framing {
        Framing::Length(length) => format!("content-length: {length}"),
        _ => "transfer-encoding: chunked".to_owned(),
    };
    line.write(format!("HTTP/1.1 200 OK\r\nx-number: {number}\r\n{framed}\r\n\r\n").as_bytes()).await?;
    if matches!(mood, Mood::ResetInAnswer | Mood::CloseInAnswer) {
        return line.write(&body[..body.len() / 2]).await;
    }
    if framing != Framing::Chunked {
        return line.write(body).await;
    }
    for chunk in body.chunks(1 + body.len() / 3) {
        line.write(format!("{:x}\r\n", chunk.len()).as_bytes()).await?;
        line.write(chunk).await?;
        line.write(b"\r\n").await?;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    line.write(b"0\r\n\r\n").await
}
