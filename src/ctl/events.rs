//! What happens.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use plimsoll_manager::api::{Decision, Page};
use tokio::time::timeout;

use super::client::{Client, encoded};
use super::command::Events;
use super::output::Output;
use super::tables;

/// Before a stream that has ended is opened again: the manager may be restarting.
const RETRY: Duration = Duration::from_secs(1);
/// A manager that has nothing to tell says so each 15 s. One that is silent for longer is gone or frozen, or the way to it is.
const SILENCE: Duration = Duration::from_secs(40);
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
    if !asked.follow {
        let page: Page<Decision> = client.get(&format!("decisions?limit={}{wanted}", asked.limit)).await?;
        return output.write(&output.shown(&page, |page| tables::decisions(page.items.iter().rev()))?);
    }
    let output = output.many();
    let (mut last, mut opened) = (None, false);
    loop {
        // What has been comes with what is to come, so that nothing falls between the two.
        let path = format!("events?topics=decisions&last={}{wanted}", asked.limit);
        // The first time an error is an answer; afterwards the manager may come back.
        match follow(client, &path, &output, &mut opened, &mut last).await {
            Err(error) if !opened => return Err(error),
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
    opened: &mut bool,
    last: &mut Option<String>,
) -> Result<()> {
    let asked = timeout(SILENCE, client.stream(path, last.as_deref())).await;
    let mut stream = asked.map_err(|_| anyhow!("the manager takes the connection, and does not answer"))??;
    *opened = true;
    let mut buffer = Vec::new();
    let mut parser = Parser::default();
    loop {
        let part = timeout(SILENCE, stream.part()).await;
        let part = part.map_err(|_| anyhow!("the manager has said nothing for {} s", SILENCE.as_secs()))?;
        let Some(part) = part.context("the stream of events broke off")? else { return Ok(()) };
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
                // Another manager, or another run of it: what it remembers follows.
                "reset" => {}
                "missed" => eprintln!("the manager dropped events, as this side reads too slowly: {}", event.data),
                _ => {
                    let decision: Decision =
                        serde_json::from_str(&event.data).context("the manager does not speak this version's API")?;
                    // None comes twice, and its number says nothing: each manager, and each run of it, has numbers of its own.
                    output.write(&output.shown(&decision, tables::decision)?)?;
                }
            }
        }
        anyhow::ensure!(buffer.len() < LINE_MAX, "the manager sends a line without end");
    }
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
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::body::{Body, Bytes};
    use axum::extract::RawQuery;
    use axum::http::StatusCode;
    use axum::response::IntoResponse as _;
    use axum::routing::get;
    use tokio::net::TcpListener;
    use tokio::time::sleep;
    use tokio_util::task::AbortOnDropHandle;

    use super::super::command::Connection;
    use super::super::output::Format;
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn who_follows_goes_on_after_a_restart_though_nothing_has_happened_before_it() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let stream = move |RawQuery(query): RawQuery| {
            let before = counted.fetch_add(1, Ordering::Relaxed);
            let with_the_last = query.is_some_and(|query| query.contains("last=50"));
            async move {
                match before {
                    _ if !with_the_last => StatusCode::BAD_REQUEST.into_response(),
                    // The manager stops,
                    0 => Body::empty().into_response(),
                    // is not there,
                    1 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
                    // and is there again.
                    _ => Body::from_stream(futures::stream::pending::<Result<Bytes, Infallible>>()).into_response(),
                }
            }
        };
        let routes = Router::new().route("/api/v1/events", get(stream));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let _served = AbortOnDropHandle::new(tokio::spawn(async move { axum::serve(listener, routes).await }));
        let (token, token_file, ca_file, client_cert, client_key) = (None, None, None, None, None);
        let connection = Connection { server, token, token_file, ca_file, client_cert, client_key };
        let client = Client::new(&connection).unwrap();
        let wanted = Events { follow: true, limit: 50, topic: None, collector: None };
        let output = Output::new(Format::Json, false);
        let is_back = async {
            while asked.load(Ordering::Relaxed) < 3 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            ended = events(&client, &output, &wanted) => panic!("it has ended: {ended:?}"),
            () = is_back => {}
            () = sleep(LIMIT) => panic!("it does not ask again"),
        }
    }

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
