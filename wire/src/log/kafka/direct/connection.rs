//! One connection to a broker: requests go out one after the other without waiting, and the answers come back in the same order.

use std::pin::pin;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::super::waiting::until;
use super::address::Address;
use super::codec::{Garbled, Reader};
use super::failure::Failure;
use super::messages::Request;
use super::tls;

/// The longest answer that is taken in, in bytes. The largest that is asked for is the metadata of a thousand topics, some 200 KB.
const ANSWER_MAX: i32 = 16 * 1024 * 1024;
/// Memory set aside for reading at a time, in bytes: an answer takes what has come of it, not what it claims to be.
const READ_SIZE: usize = 16 * 1024;
/// Requests on their way at most; then the next one waits for an answer.
const IN_FLIGHT: usize = 64;
/// A connection that nobody has asked anything for so long is closed. Brokers do so themselves after ten minutes.
const IDLE: Duration = Duration::from_secs(5 * 60);

/// A byte stream to a broker, with or without TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A request and who waits for its answer.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) request: Request,
    /// Closed when nobody waits any more.
    pub(super) reply: oneshot::Sender<Result<Bytes, Failure>>,
    /// The memory that the request takes; given back when the request has been answered or given up.
    pub(super) room: Option<OwnedSemaphorePermit>,
}

/// An open connection, logged in where that is asked for.
pub(super) struct Connection {
    pub(super) broker: Address,
    stream: Box<dyn Stream>,
    received: BytesMut,
    correlation: i32,
    /// When the login ends; a new connection takes over before.
    good_until: Option<Instant>,
    /// How long the oldest request may be without an answer before the broker is given up.
    silence: Duration,
}

/// Why a connection is over.
#[derive(Debug)]
pub(super) enum Ended {
    /// Nobody asks any more.
    Idle,
    /// The login ends soon; all that was asked has been answered.
    Expiring,
    /// It failed. `answered` says whether it had been of any use before.
    Failed { failure: Failure, answered: bool },
}

/// Someone who waits for an answer.
struct Waiting {
    correlation: i32,
    reply: oneshot::Sender<Result<Bytes, Failure>>,
    give_up: Instant,
    _room: Option<OwnedSemaphorePermit>,
}

impl Connection {
    pub(super) fn new(broker: Address, stream: Box<dyn Stream>, silence: Duration) -> Self {
        Self { broker, stream, received: BytesMut::new(), correlation: 0, good_until: None, silence }
    }

    /// The login is good until then.
    pub(super) fn expires(&mut self, at: Instant) {
        self.good_until = Some(at);
    }

    /// Asks one thing and waits for the answer: while the connection is being set up.
    pub(super) async fn exchange(&mut self, what: &str, request: Request) -> Result<Bytes, Failure> {
        self.correlation = self.correlation.wrapping_add(1);
        let (broker, correlation) = (&self.broker, self.correlation);
        let failed = |error: std::io::Error| {
            tls::explain(broker, &error).unwrap_or_else(|| Failure::lost(broker, format_args!("{what}: {error}")))
        };
        self.stream.write_all(&request.into_bytes(correlation)).await.map_err(failed)?;
        self.stream.flush().await.map_err(failed)?;
        loop {
            if let Some(answer) = take_answer(&mut self.received).map_err(|garbled| garbage(broker, garbled))? {
                return body(answer, correlation).map_err(|garbled| garbage(broker, garbled));
            }
            if receive(&mut self.stream, &mut self.received).await.map_err(failed)? == 0 {
                return Err(closed(broker, what));
            }
        }
    }

    /// Carries requests to the broker and answers back until the connection ends. Whatever has not been answered then is told so.
    pub(super) async fn serve(self, first: Ask, asks: &mut mpsc::Receiver<Ask>) -> Ended {
        let Self { broker, stream, received, correlation, good_until, silence } = self;
        let (read, write) = tokio::io::split(stream);
        let (sent, waiting) = mpsc::channel(IN_FLIGHT);
        let mut reading = Reading { broker: &broker, read, received, waiting, oldest: None, answered: false };
        let writing = Writing { broker: &broker, write, sent, correlation, good_until, silence };
        let ended = {
            let mut writing = pin!(writing.run(first, asks));
            tokio::select! {
                ended = &mut writing => ended,
                ended = reading.run() => ended,
            }
        };
        if let Ended::Failed { failure, .. } = &ended {
            reading.fail(failure);
        }
        match ended {
            Ended::Failed { failure, .. } => Ended::Failed { failure, answered: reading.answered },
            ended => ended,
        }
    }
}

/// The sending side.
struct Writing<'a> {
    broker: &'a Address,
    write: WriteHalf<Box<dyn Stream>>,
    sent: mpsc::Sender<Waiting>,
    correlation: i32,
    good_until: Option<Instant>,
    silence: Duration,
}

impl Writing<'_> {
    async fn run(mut self, first: Ask, asks: &mut mpsc::Receiver<Ask>) -> Ended {
        let mut next = Some(first);
        loop {
            let ask = match next.take() {
                Some(ask) => ask,
                None => tokio::select! {
                    biased;
                    () = until(self.good_until) => {
                        // The reading side ends when it has the last answer.
                        drop(self.sent);
                        return std::future::pending().await;
                    }
                    ask = timeout(IDLE, asks.recv()) => match ask {
                        Ok(Some(ask)) => ask,
                        Ok(None) | Err(_) => return Ended::Idle,
                    },
                },
            };
            if let Err(failure) = self.send(ask).await {
                return Ended::Failed { failure, answered: false };
            }
        }
    }

    async fn send(&mut self, Ask { request, reply, room }: Ask) -> Result<(), Failure> {
        if reply.is_closed() {
            return Ok(());
        }
        self.correlation = self.correlation.wrapping_add(1);
        let correlation = self.correlation;
        let waiting = Waiting { correlation, reply, give_up: Instant::now() + self.silence, _room: room };
        // Before the writing, so that no answer is faster than this. It waits while too many are on their way.
        if self.sent.send(waiting).await.is_err() {
            return Err(Failure::lost(self.broker, "the connection is over"));
        }
        let failed = |error: std::io::Error| Failure::lost(self.broker, format_args!("sending failed: {error}"));
        self.write.write_all(&request.into_bytes(correlation)).await.map_err(failed)?;
        self.write.flush().await.map_err(failed)
    }
}

/// The receiving side.
struct Reading<'a> {
    broker: &'a Address,
    read: ReadHalf<Box<dyn Stream>>,
    received: BytesMut,
    waiting: mpsc::Receiver<Waiting>,
    oldest: Option<Waiting>,
    answered: bool,
}

impl Reading<'_> {
    async fn run(&mut self) -> Ended {
        match self.answers().await {
            Ok(()) => Ended::Expiring,
            Err(failure) => Ended::Failed { failure, answered: false },
        }
    }

    /// Hands out answers until no further request will come.
    async fn answers(&mut self) -> Result<(), Failure> {
        loop {
            while let Some(answer) = take_answer(&mut self.received).map_err(|garbled| garbage(self.broker, garbled))? {
                self.answer(answer).map_err(|garbled| garbage(self.broker, garbled))?;
            }
            let received = match &self.oldest {
                Some(oldest) => match timeout_at(oldest.give_up, receive(&mut self.read, &mut self.received)).await {
                    Ok(received) => received,
                    Err(_) => return Err(Failure::lost(self.broker, "it does not answer")),
                },
                None => tokio::select! {
                    waiting = self.waiting.recv() => match waiting {
                        Some(waiting) => {
                            self.oldest = Some(waiting);
                            continue;
                        }
                        None => return Ok(()),
                    },
                    received = receive(&mut self.read, &mut self.received) => received,
                },
            };
            match received {
                Ok(0) => return Err(closed(self.broker, "waiting for an answer")),
                Ok(_) => {}
                Err(error) => return Err(Failure::lost(self.broker, format_args!("receiving failed: {error}"))),
            }
        }
    }

    fn answer(&mut self, answer: Bytes) -> Result<(), Garbled> {
        let Some(waiting) = self.oldest.take().or_else(|| self.waiting.try_recv().ok()) else {
            return Err(Garbled::new("nothing was asked"));
        };
        match body(answer, waiting.correlation) {
            Ok(body) => {
                self.answered = true;
                // Whoever has given up waiting does not need it.
                let _ = waiting.reply.send(Ok(body));
                Ok(())
            }
            Err(garbled) => {
                self.oldest = Some(waiting);
                Err(garbled)
            }
        }
    }

    /// Tells all who wait.
    fn fail(&mut self, failure: &Failure) {
        let mut next = self.oldest.take();
        while let Some(waiting) = next {
            let _ = waiting.reply.send(Err(failure.clone()));
            next = self.waiting.try_recv().ok();
        }
    }
}

/// Reads what has come; 0 when the peer has closed. Cancel-safe.
async fn receive(read: &mut (impl AsyncRead + Unpin), received: &mut BytesMut) -> std::io::Result<usize> {
    received.reserve(READ_SIZE);
    read.read_buf(received).await
}

/// Takes the next answer, correlation id included, out of what has come; none if it is not whole yet.
fn take_answer(received: &mut BytesMut) -> Result<Option<Bytes>, Garbled> {
    let Some(prefix) = received.first_chunk::<4>() else { return Ok(None) };
    let length = i32::from_be_bytes(*prefix);
    if !(4..=ANSWER_MAX).contains(&length) {
        return Err(Garbled::new("its length is none that an answer has"));
    }
    let length = length as usize;
    if received.len() < 4 + length {
        return Ok(None);
    }
    received.advance(4);
    Ok(Some(received.split_to(length).freeze()))
}

/// The answer without its correlation id, which must be this one.
fn body(mut answer: Bytes, correlation: i32) -> Result<Bytes, Garbled> {
    if Reader::new(&answer).int32()? != correlation {
        return Err(Garbled::new("it answers another question"));
    }
    answer.advance(4);
    Ok(answer)
}

fn garbage(broker: &Address, garbled: Garbled) -> Failure {
    let hint = "is it a Kafka broker, and is its listener for this security.protocol?";
    Failure::lost(broker, format_args!("{garbled}; {hint}"))
}

fn closed(broker: &Address, what: &str) -> Failure {
    Failure::lost(broker, format_args!("it closed the connection ({what})"))
}

/// Pauses between attempts: twice as long each time, within bounds.
#[derive(Debug)]
pub(super) struct BackOff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl BackOff {
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        let max = max.max(min);
        Self { min, max, next: min }
    }

    pub(super) fn reset(&mut self) {
        self.next = self.min;
    }

    /// The next pause.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.max);
        pause
    }
}
