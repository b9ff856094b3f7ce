//! The access log's way out: lines wait in one bounded buffer, and a thread of its own writes them, since writing may block.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use parking_lot::{Condvar, Mutex};
use prometheus_client::metrics::counter::Counter;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

/// Lines that wait for whoever reads them, in bytes. When there is no room, new ones are dropped and counted: no request waits.
const ROOM: usize = 4 << 20;
/// At the end, what has not been written after this long is given up.
const LAST_LINES: Duration = Duration::from_secs(5);

/// How the access log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessLogFormat {
    /// Not at all.
    Off,
    /// One JSON object a line.
    Json,
}

/// Where requests leave their lines. A cheap clone.
#[derive(Debug, Clone)]
pub(crate) struct AccessLog {
    shared: Arc<Shared>,
    dropped: Counter,
}

/// The thread that writes.
#[derive(Debug)]
pub(crate) struct Writing {
    shared: Arc<Shared>,
    ended: CancellationToken,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    closed: bool,
}

impl AccessLog {
    /// Writes to `output` from now on. Lines that can't be written are counted in `dropped`.
    pub(crate) fn start(output: Box<dyn Write + Send>, dropped: Counter) -> (Self, Writing) {
        let shared = Arc::<Shared>::default();
        let ended = CancellationToken::new();
        let (end, from, lost) = (ended.clone().drop_guard(), shared.clone(), dropped.clone());
        let thread = std::thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            write(&from, output, &lost);
            drop(end);
        });
        if let Err(error) = thread {
            // The guard has gone with the closure, so nobody waits for it.
            error!("there is no access log: its thread can't be started: {error}");
            shared.waiting.lock().closed = true;
        }
        (Self { shared: shared.clone(), dropped }, Writing { shared, ended })
    }

    /// Leaves a line; its end is added here.
    pub(crate) fn line(&self, line: &[u8]) {
        let mut waiting = self.shared.waiting.lock();
        if waiting.closed || waiting.lines.len() + line.len() >= ROOM {
            drop(waiting);
            self.dropped.inc();
            return;
        }
        let was_empty = waiting.lines.is_empty();
        waiting.lines.extend_from_slice(line);
        waiting.lines.push(b'\n');
        drop(waiting);
        if was_empty {
            self.shared.news.notify_one();
        }
    }
}

impl Writing {
    /// Writes what waits, and ends.
    pub(crate) async fn finish(self) {
        self.shared.waiting.lock().closed = true;
        self.shared.news.notify_one();
        if tokio::time::timeout(LAST_LINES, self.ended.cancelled()).await.is_err() {
            warn!("nobody reads the access log: its last lines are lost after {LAST_LINES:?}");
        }
    }
}

/// Writes until the log is closed and empty.
fn write(from: &Shared, mut output: Box<dyn Write + Send>, lost: &Counter) {
    let mut lines = Vec::new();
    let mut broken = false;
    loop {
        {
            let mut waiting = from.waiting.lock();
            while waiting.lines.is_empty() {
                if waiting.closed {
                    return;
                }
                from.news.wait(&mut waiting);
            }
            std::mem::swap(&mut waiting.lines, &mut lines);
        }
        match output.write_all(&lines).and_then(|()| output.flush()) {
            Ok(()) => broken = false,
            Err(error) => {
                lost.inc_by(lines.iter().filter(|byte| **byte == b'\n').count() as u64);
                if !std::mem::replace(&mut broken, true) {
                    complain(&error);
                }
            }
        }
        lines.clear();
    }
}

fn complain(error: &io::Error) {
    error!("the access log can't be written: {error}; lines are dropped and counted until it can");
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Takes what is written once it is told to.
    struct Slow {
        go: mpsc::Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _gone = self.go.recv();
            self.written.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn lines_are_written_in_their_order_and_the_last_ones_at_the_end() {
        let (go, waits) = mpsc::channel();
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let dropped = Counter::default();
        let (log, writing) = AccessLog::start(Box::new(Slow { go: waits, written: written.clone() }), dropped.clone());
        for number in 0..1000 {
            log.line(number.to_string().as_bytes());
        }
        drop(go);
        writing.finish().await;
        let expected: String = (0..1000).map(|number| format!("{number}\n")).collect();
        assert_eq!(*written.lock(), expected.as_bytes());
        assert_eq!(dropped.get(), 0);
    }

    #[tokio::test]
    async fn lines_that_nobody_reads_are_dropped_and_counted_and_no_one_waits() {
        let (go, waits) = mpsc::channel();
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let dropped = Counter::default();
        let (log, writing) = AccessLog::start(Box::new(Slow { go: waits, written: written.clone() }), dropped.clone());
        let line = vec![b'x'; 1023];
        let lines = 3 * ROOM / 1024;
        for _ in 0..lines {
            log.line(&line);
        }
        assert!(dropped.get() > 0);
        drop(go);
        writing.finish().await;
        let written = written.lock().len() / 1024;
        assert_eq!(written as u64 + dropped.get(), lines as u64);
        assert!(written * 1024 <= 2 * ROOM, "one buffer is written while another one fills");
    }

    #[tokio::test]
    async fn lines_that_cannot_be_written_are_counted() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let dropped = Counter::default();
        let (log, writing) = AccessLog::start(Box::new(Broken), dropped.clone());
        (0..10).for_each(|_| log.line(b"line"));
        writing.finish().await;
        assert_eq!(dropped.get(), 10);
    }
}
