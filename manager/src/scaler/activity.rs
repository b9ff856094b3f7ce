//! The stream of one workload's activity.

use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use tokio::time::Instant;

use crate::board::Cell;

/// How soon a stream that has to say `false` and may not, since it is unknown whether that is true, looks again.
const UNKNOWN_RECHECK: Duration = Duration::from_millis(500);

/// The state once, then only changes: `true` as soon as the board hears of it, `false` when the activity window has lapsed and it is known that
/// nothing is in flight. While that is unknown nothing is said. It ends when the workload is gone.
pub(super) fn stream(cell: Arc<Cell>) -> impl Stream<Item = bool> + Send {
    let until = cell.active_until();
    futures::stream::unfold((cell, until, None), |(cell, mut watched, told)| async move {
        let now_active = loop {
            let until = *watched.borrow_and_update();
            match until {
                Some(until) if until > Instant::now() => {
                    if told != Some(true) {
                        break true;
                    }
                    tokio::time::sleep_until(until).await;
                }
                _ if told == Some(false) => watched.changed().await.ok()?,
                _ if cell.zero_is_known() => break false,
                _ => {
                    if let Ok(changed) = tokio::time::timeout(UNKNOWN_RECHECK, watched.changed()).await {
                        changed.ok()?;
                    }
                }
            }
        };
        Some((now_active, (cell, watched, Some(now_active))))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures::{FutureExt as _, StreamExt as _};
    use plimsoll_wire::collector::Answer;
    use plimsoll_wire::log::Topic;

    use super::*;
    use crate::board::{Board, SILENCE};

    const WINDOW: Duration = Duration::from_secs(30);

    fn answer(in_flight: u64) -> Answer {
        let (topic, known, warm) = ("plimsoll.default.a".to_owned(), true, true);
        Answer { topic, known, warm, in_flight, since_arrival_us: Some(0), ..Answer::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn it_says_nothing_while_it_is_unknown_whether_all_is_quiet() {
        let board = Board::new(WINDOW);
        let (link, cell) = (board.link("c-0"), board.cell(&Topic::from("plimsoll.default.a")));
        let mut stream = std::pin::pin!(stream(cell));
        assert_eq!(stream.next().now_or_never(), None, "nobody has answered yet");
        link.heard();
        board.take(&link, vec![answer(1)]);
        assert_eq!(stream.next().await, Some(true));
        // The collector falls silent: the window lapses, and what has become of the request is unknown.
        assert!(tokio::time::timeout(WINDOW + SILENCE, stream.next()).await.is_err());
        link.heard();
        board.take(&link, vec![Answer { since_arrival_us: Some(60_000_000), ..answer(0) }]);
        assert_eq!(stream.next().await, Some(false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_interceptor_keeps_it_from_saying_false() {
        let board = Board::new(WINDOW);
        let (link, cell) = (board.link("c-0"), board.cell(&Topic::from("plimsoll.default.a")));
        let quiet = Answer { since_arrival_us: None, ..answer(0) };
        link.heard();
        board.take(&link, vec![Answer { zero_is_unknown: true, ..quiet.clone() }]);
        let mut stream = std::pin::pin!(stream(cell));
        assert_eq!(stream.next().now_or_never(), None);
        board.take(&link, vec![quiet]);
        assert_eq!(stream.next().await, Some(false));
    }

    #[tokio::test(start_paused = true)]
    async fn calls_and_streams_agree_after_a_long_request() {
        let board = Board::new(WINDOW);
        let (link, cell) = (board.link("c-0"), board.cell(&Topic::from("plimsoll.default.a")));
        link.heard();
        board.take(&link, vec![answer(1)]);
        board.take(&link, vec![Answer { since_arrival_us: Some(600_000_000), ..answer(0) }]);
        let mut stream = std::pin::pin!(stream(cell.clone()));
        assert_eq!((stream.next().await, cell.is_active()), (Some(true), true));
        tokio::time::advance(WINDOW).await;
        link.heard();
        assert_eq!((stream.next().await, cell.is_active()), (Some(false), false));
    }
}
