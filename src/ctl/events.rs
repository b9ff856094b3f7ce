//! What happens.

use std::time::Duration;

use anyhow::{Context as _, Result};
use plimsoll_manager::api::{Decision, Page};

use super::client::{Client, encoded};
use super::command::Events;
use super::output::Output;
use super::tables;

/// Before a stream that has ended is opened again: the manager may be restarting.
const RETRY: Duration = Duration::from_secs(1);
/// A line is at most this long; the longest event is far shorter.
const LINE_MAX: usize = 1 << 20;

/// `ctl events`.
pub async fn events(client: &Client, output: &Output, asked: &Events) -> Result<()> {
    let mut wanted = String::new();
    for (name, value) in [("topic", &asked.topic), ("collector", &asked.collector)] {
        if let Some(value) = value {
            wanted.push_str(&format!("&{name}={}", encoded(value)));
        }
    }
    let mut page: Page<Decision> = client.get(&format!("decisions?limit={}{wanted}", asked.limit)).await?;
    if !asked.follow {
        return output.write(&output.shown(&page, |page| tables::decisions(page.items.iter().rev()))?);
    }
    let output = output.many();
    page.items.reverse();
    for decision in &page.items {
        output.write(&output.shown(decision, tables::decision)?)?;
    }
    let mut seen = page.items.last().map(|newest| newest.sequence);
    let mut last = None;
    loop {
        // The first time an error is an answer; afterwards the manager may come back.
        let outcome = follow(client, &format!("events?topics=decisions{wanted}"), &output, &mut last, &mut seen).await;
        match outcome {
            Err(error) if last.is_none() => return Err(error),
            Err(error) => eprintln!("{error:#}; trying again"),
            Ok(()) => {}
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// One stream, until it ends.
async fn follow(
    client: &Client,
    path: &str,
    output: &Output,
    last: &mut Option<String>,
    seen: &mut Option<u64>,
) -> Result<()> {
    let mut stream = client.stream(path, last.as_deref()).await?;
    let mut buffer = Vec::new();
    let mut parser = Parser::default();
    while let Some(part) = stream.part().await.context("the stream of events broke off")? {
        buffer.extend_from_slice(&part);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let Some(event) = parser.line(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n'])) else {
                continue;
            };
            if let Some(id) = event.id {
                *last = Some(id);
            }
            match event.kind.as_str() {
                // The manager's numbers begin anew.
                "reset" => *seen = None,
                "missed" => eprintln!("the manager dropped events, as this side reads too slowly: {}", event.data),
                _ => {
                    let decision: Decision =
                        serde_json::from_str(&event.data).context("the manager does not speak this version's API")?;
                    if seen.is_none_or(|seen| decision.sequence > seen) {
                        *seen = Some(decision.sequence);
                        output.write(&output.shown(&decision, tables::decision)?)?;
                    }
                }
            }
        }
        anyhow::ensure!(buffer.len() < LINE_MAX, "the manager sends a line without end");
    }
    Ok(())
}

/// Reads an event stream line by line (WHATWG HTML, section 9.2.6).
#[derive(Debug, Default)]
pub struct Parser {
    next: Event,
}

/// One event.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub id: Option<String>,
    pub kind: String,
    pub data: String,
}

impl Parser {
    /// The event that an empty line ends.
    pub fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.next);
            return (!event.data.is_empty()).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.next.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.next.kind),
            "data" => {
                if !self.next.data.is_empty() {
                    self.next.data.push('\n');
                }
                self.next.data.push_str(value);
            }
            // A comment, or a field that nobody knows.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn events_are_read_as_the_standard_has_it() {
        let mut parser = Parser::default();
        let lines =
            [": still here", "", "id: a-1", "event: move", "data: {", "data:  }", "", "data:x", "", "event: lost", ""];
        let events: Vec<Event> = lines.iter().filter_map(|line| parser.line(line)).collect();
        assert_eq!(events.len(), 2, "{events:?}");
        assert_eq!(events[0], Event { id: Some("a-1".into()), kind: "move".into(), data: "{\n }".into() });
        assert_eq!(events[1], Event { id: None, kind: String::new(), data: "x".into() });
    }
}
