//! One collector's connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use plimsoll_wire::collector::InterceptorState;
use tokio::time::Instant;
use tonic::transport::Channel;

/// Answers of a collector that has been silent for this long are not told any more: it sends an update twice a second.
pub const SILENCE: Duration = Duration::from_secs(3);

/// One collector's connection, as the board sees it.
#[derive(Debug)]
pub struct Link {
    /// The collector's name.
    pub collector: Arc<str>,
    origin: Instant,
    heard_ms: AtomicU64,
    connected: AtomicBool,
    parted: AtomicBool,
    state: Mutex<LinkState>,
    channel: Mutex<Option<Channel>>,
}

/// What a collector last said of itself.
#[derive(Debug, Clone, Default)]
pub struct LinkState {
    /// Whose topics it is for, as it was registered last.
    pub provider: Option<String>,
    /// The run of the collector that this is about.
    pub incarnation: u64,
    /// The plan it follows.
    pub generation: u64,
    /// Frames and bytes read since it started.
    pub frames_total: u64,
    /// See `frames_total`.
    pub bytes_total: u64,
    /// How long ago everything that was then in the log had been read.
    pub lag: Duration,
    /// The interceptors that it hears.
    pub interceptors: Vec<InterceptorState>,
    /// It is about to stop, and asks for its topics to be taken over.
    pub leaving: bool,
}

impl Link {
    pub(super) fn new(collector: &str) -> Self {
        Self {
            collector: Arc::from(collector),
            origin: Instant::now(),
            heard_ms: AtomicU64::new(0),
            connected: AtomicBool::new(false),
            parted: AtomicBool::new(false),
            state: Mutex::default(),
            channel: Mutex::default(),
        }
    }

    /// An update has come.
    pub fn heard(&self) {
        let ms = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard_ms.store(ms, Ordering::Relaxed);
        self.connected.store(true, Ordering::Relaxed);
        self.parted.store(false, Ordering::Relaxed);
    }

    /// The collector has ended its stream as one does that stops: nothing more comes from this run of it.
    pub fn part(&self) {
        self.parted.store(true, Ordering::Relaxed);
    }

    /// Whether the collector has said goodbye, and nothing since.
    #[must_use]
    pub fn has_parted(&self) -> bool {
        self.parted.load(Ordering::Relaxed)
    }

    /// Whether any update has ever come.
    #[must_use]
    pub fn ever_heard(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// How long ago the newest update came; since the link was made, if none has.
    #[must_use]
    pub fn silent_for(&self) -> Duration {
        self.origin.elapsed().saturating_sub(Duration::from_millis(self.heard_ms.load(Ordering::Relaxed)))
    }

    /// By what the collector can be asked; none while there is no connection.
    #[must_use]
    pub fn channel(&self) -> Option<Channel> {
        self.channel.lock().clone()
    }

    /// A connection stands, or has ended.
    pub fn reach(&self, channel: Option<Channel>) {
        *self.channel.lock() = channel;
    }

    /// What the collector last said of itself.
    #[must_use]
    pub fn state(&self) -> LinkState {
        self.state.lock().clone()
    }

    /// The generation of the plan that it follows.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.state.lock().generation
    }

    /// The run of the collector that the board's answers are of.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.state.lock().incarnation
    }

    /// Changes what is known of the collector.
    pub fn update(&self, change: impl FnOnce(&mut LinkState)) {
        change(&mut self.state.lock());
    }
}
