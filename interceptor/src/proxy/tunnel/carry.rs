//! Carries the bytes of a connection that has changed its protocol, both ways, until both ends are done.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use super::websocket::{Frames, GOING_AWAY};

/// For one read from the workload.
const READ: usize = 16 * 1024;
/// Once a client has been told to go, both sides have this long to say good-bye; then the connection is closed.
const GOOD_BYE: Duration = Duration::from_secs(5);

/// Carries bytes until both ends are done, and says how many came from the client and from the workload.
///
/// Where the protocol is WebSocket and `farewell` is cancelled, the client is told that this end goes away, between two frames
/// of the workload's: it can connect again at once, elsewhere, and knows that nothing has failed.
///
/// What the workload has sent with its answer is the first to be carried. A client that takes nothing for as long as `patience` is given up.
///
/// # Errors
/// Where one of them breaks off, or is given up.
pub(super) async fn carry<C, E>(
    client: C,
    (endpoint, ahead): (E, Bytes),
    farewell: Option<CancellationToken>,
    patience: Option<Duration>,
) -> io::Result<(u64, u64)>
where
    C: AsyncRead + AsyncWrite,
    E: AsyncRead + AsyncWrite,
{
    let (mut from_client, to_client) = tokio::io::split(client);
    let (from_endpoint, mut to_endpoint) = tokio::io::split(endpoint);
    let mut from_endpoint = io::Cursor::new(ahead).chain(from_endpoint);
    let mut to_client = ToClient { stream: to_client, patience };
    let told = CancellationToken::new();
    let up = async {
        let count = tokio::io::copy(&mut from_client, &mut to_endpoint).await?;
        to_endpoint.shutdown().await?;
        Ok::<_, io::Error>(count)
    };
    let down = async {
        let count = match &farewell {
            Some(farewell) => frame_by_frame(&mut from_endpoint, &mut to_client, farewell, &told).await?,
            None => as_it_comes(&mut from_endpoint, &mut to_client).await?,
        };
        to_client.ends().await?;
        Ok(count)
    };
    let given_up = async {
        told.cancelled().await;
        tokio::time::sleep(GOOD_BYE).await;
    };
    tokio::select! {
        counts = async { tokio::try_join!(up, down) } => counts,
        () = given_up => Ok((0, 0)),
    }
}

/// Carries what the workload says.
async fn as_it_comes<E, C>(from_endpoint: &mut E, to_client: &mut ToClient<C>) -> io::Result<u64>
where
    E: AsyncRead + Unpin,
    C: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; READ];
    let mut count = 0;
    loop {
        let read = from_endpoint.read(&mut buffer).await?;
        if read == 0 {
            return Ok(count);
        }
        to_client.send(&buffer[..read]).await?;
        count += read as u64;
    }
}

/// Carries what the workload says, and says good-bye for it.
async fn frame_by_frame<E, C>(
    from_endpoint: &mut E,
    to_client: &mut ToClient<C>,
    farewell: &CancellationToken,
    told: &CancellationToken,
) -> io::Result<u64>
where
    E: AsyncRead + Unpin,
    C: AsyncWrite + Unpin,
{
    let mut frames = Frames::default();
    let mut buffer = vec![0; READ];
    let mut count = 0;
    loop {
        let read = tokio::select! {
            biased;
            () = farewell.cancelled(), if frames.is_between() && !frames.is_closed() => {
                to_client.send(&GOING_AWAY).await?;
                told.cancel();
                // The client's answer reaches the workload as if it had asked itself, and the workload ends the connection.
                tokio::io::copy(from_endpoint, &mut tokio::io::sink()).await?;
                return Ok(count);
            }
            read = from_endpoint.read(&mut buffer) => read?,
        };
        if read == 0 {
            return Ok(count);
        }
        let mut passed = 0;
        while passed < read {
            passed += frames.read(&buffer[passed..read]);
            if farewell.is_cancelled() && frames.is_between() {
                break;
            }
        }
        to_client.send(&buffer[..passed]).await?;
        count += passed as u64;
    }
}

/// The client, as it is written to. While it takes nothing the workload is not read, so that nobody would notice the workload's end.
struct ToClient<C> {
    stream: C,
    /// For so long it may take nothing.
    patience: Option<Duration>,
}

impl<C: AsyncWrite + Unpin> ToClient<C> {
    /// Writes all of it and keeps nothing back: TLS takes more than its socket does, and the next frame, which would push the rest out,
    /// may be one that the client is to ask for.
    async fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let taken = in_time(self.patience, self.stream.write(bytes)).await?;
            if taken == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = &bytes[taken..];
        }
        in_time(self.patience, self.stream.flush()).await
    }

    async fn ends(&mut self) -> io::Result<()> {
        in_time(self.patience, self.stream.shutdown()).await
    }
}

async fn in_time<T>(patience: Option<Duration>, taking: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let Some(patience) = patience else { return taking.await };
    let too_late = |_| io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing of what it is sent");
    tokio::time::timeout(patience, taking).await.map_err(too_late)?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A text frame as a server sends it.
    const HELLO: &[u8] = b"\x81\x05hello";

    #[tokio::test(start_paused = true)]
    async fn a_client_is_told_between_two_frames() {
        let (client, mut other_client) = tokio::io::duplex(1000);
        let (endpoint, mut workload) = tokio::io::duplex(1000);
        let farewell = CancellationToken::new();
        let ahead = Bytes::from_static(&HELLO[..2]);
        let carried = tokio::spawn(carry(client, (endpoint, ahead), Some(farewell.clone()), None));
        workload.write_all(&[&HELLO[2..], &HELLO[..3]].concat()).await.unwrap();
        let mut read = vec![0; 10];
        other_client.read_exact(&mut read).await.unwrap();
        farewell.cancel();
        // The frame that has begun ends first; what comes after it is not passed on.
        workload.write_all(&[&HELLO[3..], HELLO].concat()).await.unwrap();
        let mut rest = vec![0; 8];
        other_client.read_exact(&mut rest).await.unwrap();
        assert_eq!(rest, [&HELLO[3..], &GOING_AWAY].concat());
        // The client's answer goes to the workload, which closes.
        other_client.write_all(b"\x88\x82\0\0\0\0\x03\xe9").await.unwrap();
        let mut answer = [0; 8];
        workload.read_exact(&mut answer).await.unwrap();
        drop(workload);
        assert_eq!(other_client.read(&mut [0; 8]).await.unwrap(), 0);
        drop(other_client);
        carried.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_is_not_kept_back_until_the_next_one() {
        let (client, mut other_client) = tokio::io::duplex(1000);
        let (endpoint, mut workload) = tokio::io::duplex(1000);
        let farewell = CancellationToken::new();
        // As TLS does, it takes what its socket has not taken.
        let client = tokio::io::BufWriter::new(client);
        let carried = tokio::spawn(carry(client, (endpoint, Bytes::new()), Some(farewell.clone()), None));
        workload.write_all(HELLO).await.unwrap();
        let mut said = [0; 7];
        let read = tokio::time::timeout(GOOD_BYE, other_client.read_exact(&mut said)).await;
        read.expect("it comes though the workload says nothing more").unwrap();
        assert_eq!(said, HELLO);
        farewell.cancel();
        let mut good_bye = [0; 4];
        let read = tokio::time::timeout(GOOD_BYE / 2, other_client.read_exact(&mut good_bye)).await;
        read.expect("the good-bye comes too").unwrap();
        assert_eq!(good_bye, GOING_AWAY);
        carried.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_up() {
        const PATIENCE: Duration = Duration::from_secs(60);
        for farewell in [None, Some(CancellationToken::new())] {
            let (client, mut other_client) = tokio::io::duplex(16);
            let (endpoint, mut workload) = tokio::io::duplex(1000);
            workload.write_all(&HELLO.repeat(10)).await.unwrap();
            let began = tokio::time::Instant::now();
            let carried = tokio::spawn(carry(client, (endpoint, Bytes::new()), farewell, Some(PATIENCE)));
            tokio::time::sleep(PATIENCE / 2).await;
            // Who takes something is waited for anew.
            other_client.read_exact(&mut [0; 16]).await.unwrap();
            let error = carried.await.unwrap().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!(began.elapsed() >= PATIENCE * 3 / 2, "{:?}", began.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_say_good_bye_is_not_waited_for_longer() {
        let (client, mut other_client) = tokio::io::duplex(1000);
        let (endpoint, _workload) = tokio::io::duplex(1000);
        let farewell = CancellationToken::new();
        farewell.cancel();
        let began = tokio::time::Instant::now();
        carry(client, (endpoint, Bytes::new()), Some(farewell), None).await.unwrap();
        assert_eq!(began.elapsed(), GOOD_BYE);
        let mut said = Vec::new();
        other_client.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, GOING_AWAY);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_said_after_the_workloads_own_last_word() {
        let (client, mut other_client) = tokio::io::duplex(1000);
        let (endpoint, mut workload) = tokio::io::duplex(1000);
        let farewell = CancellationToken::new();
        let carried = tokio::spawn(carry(client, (endpoint, Bytes::new()), Some(farewell.clone()), None));
        workload.write_all(b"\x88\x02\x03\xe8").await.unwrap();
        other_client.read_exact(&mut [0; 4]).await.unwrap();
        farewell.cancel();
        drop(workload);
        let mut said = Vec::new();
        other_client.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, b"");
        drop(other_client);
        carried.await.unwrap().unwrap();
    }
}
