//! Reads a manager's live stream; after a loss it begins anew.

use std::time::Duration;

use anyhow::{Context as _, Error, Result, anyhow, bail, ensure};
use plimsoll_manager::api::{FleetView, RowsView};
use tokio::sync::mpsc;

use crate::ctl::{Client, Failed, Parser};

/// A manager says something each second. One that is silent for longer is gone or frozen, or the way to it is.
const SILENCE: Duration = Duration::from_secs(6);
const RETRY: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// An event is at most this long: a thousand rows have a tenth of it, and 5,000 collectors half.
const EVENT_MAX: usize = 4 << 20;

/// What comes.
#[derive(Debug)]
pub enum News {
    /// How the fleet is.
    Fleet(Box<FleetView>),
    /// Rows of workloads.
    Rows(RowsView),
    /// The manager does not answer, why, and when it is asked again.
    Lost { error: Error, again_in: Duration },
    /// What is told of the topic that is looked at: sentences, or why there are none.
    Explained { topic: String, told: Result<Vec<String>, String> },
}

impl News {
    /// Why the manager does not answer, in the words of whoever says so: where it should be, the screen says already.
    pub fn why(error: &Error) -> String {
        match error.downcast_ref::<Failed>() {
            Some(Failed::Unreachable { reason, .. }) => reason.clone(),
            _ => format!("{error:#}"),
        }
    }
}

/// Follows until nobody takes the news any more.
pub async fn follow(client: &Client, news: mpsc::Sender<News>) {
    let mut pause = RETRY;
    loop {
        let mut heard = false;
        let Err(error) = once(client, &news, &mut heard).await;
        if heard {
            pause = RETRY;
        }
        if news.send(News::Lost { error, again_in: pause }).await.is_err() {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

/// One stream; gives why it has ended.
///
/// # Errors
/// Always in the end, as no stream goes on for ever. A refusal is a [`Failed`].
pub async fn once(client: &Client, news: &mpsc::Sender<News>, heard: &mut bool) -> Result<std::convert::Infallible> {
    let asked = tokio::time::timeout(SILENCE, client.stream("live", None)).await;
    let mut stream = asked.map_err(|_| anyhow!("it takes the connection, and does not answer"))??;
    let (mut buffer, mut searched, mut event_size) = (Vec::new(), 0, 0);
    let mut parser = Parser::default();
    loop {
        let part = tokio::time::timeout(SILENCE, stream.part()).await;
        let part = part.map_err(|_| anyhow!("it has said nothing for {} s", SILENCE.as_secs()))?;
        let Some(part) = part.context("the connection broke")? else { bail!("it has ended the stream") };
        buffer.extend_from_slice(&part);
        while let Some(end) = buffer[searched..].iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=searched + end).collect();
            searched = 0;
            event_size += line.len();
            let line = String::from_utf8_lossy(&line);
            let Some(event) = parser.line(line.trim_end_matches(['\r', '\n'])) else { continue };
            event_size = 0;
            let told = match event.kind.as_str() {
                "fleet" => News::Fleet(Box::new(read(&event.data)?)),
                "rows" => News::Rows(read(&event.data)?),
                // A later version may tell of more.
                _ => continue,
            };
            *heard = true;
            if news.send(told).await.is_err() {
                bail!("nobody looks any more");
            }
        }
        searched = buffer.len();
        ensure!(event_size + buffer.len() < EVENT_MAX, "it sends an event without end");
    }
}

fn read<T: serde::de::DeserializeOwned>(data: &str) -> Result<T> {
    serde_json::from_str(data).context("the manager does not speak this version's API")
}
