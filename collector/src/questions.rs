//! What is asked of the reader beside what it tells by itself: it alone touches the fold, so questions wait for its turn.

use plimsoll_wire::collector::Share;
use plimsoll_wire::log::Topic;
use tokio::sync::{mpsc, oneshot};

/// Questions that wait at most. They come from people who look at one workload; one more is refused.
const WAITING: usize = 64;

/// Asks what each interceptor contributes to a topic.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) topic: Topic,
    /// None where the topic is not read here.
    pub(crate) answer: oneshot::Sender<Option<Vec<Share>>>,
}

/// The two ends of the line of questions.
pub(crate) fn line() -> (mpsc::Sender<Question>, mpsc::Receiver<Question>) {
    mpsc::channel(WAITING)
}
