//! Asks about the one thing that is looked at, for as long as it is.

use std::time::Duration;

use plimsoll_manager::api::ExplainView;
use tokio::sync::{mpsc, watch};

use super::feed::News;
use crate::ctl::{Client, encoded};

/// Between two questions.
const AGAIN: Duration = Duration::from_secs(2);

/// Follows what is looked at, a topic, until nobody looks any more.
pub async fn follow(client: &Client, mut at: watch::Receiver<Option<String>>, news: mpsc::Sender<News>) {
    loop {
        let looked_at = at.borrow_and_update().clone();
        let Some(topic) = looked_at else {
            match at.changed().await {
                Ok(()) => continue,
                Err(_) => return,
            }
        };
        let asked = async {
            let path = format!("topics/{}/explain", encoded(&topic));
            let told = client.get::<ExplainView>(&path).await;
            let told = told.map(|told| told.because).map_err(|error| format!("{error:#}"));
            // Who does not take it has gone, and so has the sender that is waited for below.
            let _ = news.send(News::Explained { topic, told }).await;
            tokio::time::sleep(AGAIN).await;
        };
        tokio::select! {
            () = asked => {}
            changed = at.changed() => if changed.is_err() {
                return;
            },
        }
    }
}
