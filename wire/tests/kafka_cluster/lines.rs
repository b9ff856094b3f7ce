//! What the log says to people.

use std::io::Write;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

/// All lines of this process at level INFO and above.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// Hears all that is said from now on; for all callers the same lines.
    pub(crate) fn hear() -> Self {
        static LINES: OnceLock<Lines> = OnceLock::new();
        LINES
            .get_or_init(|| {
                let lines = Self::default();
                let writer = lines.clone();
                tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
                lines
            })
            .clone()
    }

    /// Those that have all of these words.
    pub(crate) fn with(&self, words: &[&str]) -> Vec<String> {
        let text = self.0.lock();
        let text = String::from_utf8_lossy(&text);
        let wanted = |line: &&str| words.iter().all(|word| line.contains(word));
        text.lines().filter(wanted).map(str::to_owned).collect()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
