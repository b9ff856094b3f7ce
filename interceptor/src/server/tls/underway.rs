//! The TLS handshakes that are under way, and which of them gives way when there are as many as may be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A client that has connected sends its first message at once. One of whom nothing has come for so long gives way; a lost packet
/// is sent again before.
const SILENT: Duration = Duration::from_millis(400);
/// One that has sent something and is not done after so long gives way, too. Many that connect together wait for the processor, and
/// must not be cut off for that.
const SLOW: Duration = Duration::from_secs(3);

/// Handshakes under way, the oldest first. A cheap clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Underway(Arc<Mutex<All>>);

#[derive(Debug, Default)]
struct All {
    /// By the order in which they began.
    handshakes: BTreeMap<u64, Handshake>,
    begun: u64,
}

#[derive(Debug)]
struct Handshake {
    began: Instant,
    /// Something has come of the client.
    heard: bool,
    cut: CancellationToken,
}

impl Handshake {
    fn gives_way(&self, now: Instant) -> bool {
        let patience = if self.heard { SLOW } else { SILENT };
        !self.cut.is_cancelled() && now.saturating_duration_since(self.began) >= patience
    }
}

impl Underway {
    /// One begins.
    pub(super) fn begin(&self, now: Instant) -> Begun {
        let cut = CancellationToken::new();
        let mut all = self.0.lock();
        let number = all.begun;
        all.begun += 1;
        all.handshakes.insert(number, Handshake { began: now, heard: false, cut: cut.clone() });
        Begun { number, cut, underway: self.clone() }
    }

    /// The oldest one that must give way is cut off: of those of whose clients nothing has come, or else of the slow ones.
    pub(super) fn make_room(&self, now: Instant) {
        let all = self.0.lock();
        let giving_way = || all.handshakes.values().filter(|handshake| handshake.gives_way(now));
        if let Some(handshake) = giving_way().find(|handshake| !handshake.heard).or_else(|| giving_way().next()) {
            handshake.cut.cancel();
        }
    }
}

/// A handshake, until dropped.
#[derive(Debug)]
pub(super) struct Begun {
    number: u64,
    cut: CancellationToken,
    underway: Underway,
}

impl Begun {
    /// Something has come of the client.
    pub(super) fn heard(&self) {
        if let Some(handshake) = self.underway.0.lock().handshakes.get_mut(&self.number) {
            handshake.heard = true;
        }
    }

    /// Ready when it must give way.
    pub(super) async fn cut_off(&self) {
        self.cut.cancelled().await;
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.underway.0.lock().handshakes.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_has_said_nothing_gives_way_before_who_is_slow_and_the_oldest_first() {
        let (underway, start) = (Underway::default(), Instant::now());
        let [slow, silent, later] = [0, 1, 2].map(|second| underway.begin(start + Duration::from_secs(second)));
        slow.heard();
        let cut = || [&slow, &silent, &later].map(|begun| begun.cut.is_cancelled());
        underway.make_room(start + Duration::from_secs(1));
        assert_eq!(cut(), [false, false, false], "all may still say something");
        underway.make_room(start + Duration::from_secs(2));
        assert_eq!(cut(), [false, true, false]);
        underway.make_room(start + Duration::from_secs(2));
        assert_eq!(cut(), [false, true, false], "nobody else has had its time");
        underway.make_room(start + SLOW);
        assert_eq!(cut(), [false, true, true]);
        underway.make_room(start + SLOW);
        assert_eq!(cut(), [true, true, true]);
        drop([slow, silent, later]);
        assert!(underway.0.lock().handshakes.is_empty());
    }
}
