//! What the interceptors of this test program have logged.

use std::io;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tracing_subscriber::filter::LevelFilter;

static LINES: OnceLock<Lines> = OnceLock::new();

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps warnings from now on. All tests of the program share them: look for what only your own can cause.
pub fn keep() {
    LINES.get_or_init(|| {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_max_level(LevelFilter::WARN);
        subscriber.with_writer(move || writer.clone()).init();
        lines
    });
}

/// Whether a line with all of these has been logged.
pub fn have(parts: &[&str]) -> bool {
    let lines = LINES.get().expect("logs::keep was called");
    let text = lines.0.lock().clone();
    String::from_utf8_lossy(&text).lines().any(|line| parts.iter().all(|part| line.contains(part)))
}
