//! Has the terminal, and gives it back, whatever happens.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Error, Result, anyhow};
use crossterm::event::{Event, EventStream, KeyEventKind};
use futures::StreamExt as _;
use nix::sys::signal;
use ratatui::DefaultTerminal;
use tokio::signal::unix::{Signal, SignalKind};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::draw::{self, Palette};
use super::feed::{self, News};
use super::keys::{self, Then};
use super::look;
use super::model::Model;
use crate::ctl::{Client, Failed};

/// Messages that wait while the screen is drawn; the stream waits when there are more.
const WAITING: usize = 16;
/// Between two drawings of news, of what keys do, and of the time that goes on.
const NEWS_EVERY: Duration = Duration::from_millis(250);
const KEYS_EVERY: Duration = Duration::from_millis(40);
const TIME_EVERY: Duration = Duration::from_secs(1);

/// Shows until somebody ends it.
pub async fn show(client: Arc<Client>, mut model: Model) -> Result<()> {
    // Before the terminal is taken: nothing may end this between without giving it back.
    let mut ends = Ends::new()?;
    let (sender, mut news) = mpsc::channel(WAITING);
    let (look_at, looked_at) = watch::channel(None);
    let mut tasks = JoinSet::new();
    let (asking, sending) = (client.clone(), sender.clone());
    tasks.spawn(async move { feed::follow(&client, sender).await });
    tasks.spawn(async move { look::follow(&asking, looked_at, sending).await });
    // This also has a panic give the terminal back before it is told.
    let outcome = match ratatui::try_init() {
        Ok(mut terminal) => tokio::select! {
            outcome = on(&mut terminal, &mut model, &mut news, &look_at) => outcome,
            () = ends.come() => Ok(()),
            Some(Err(failed)) = tasks.join_next() => Err(anyhow!("plimsoll top has failed: {failed}")),
        },
        Err(error) => Err(Error::new(error).context("can't take over the terminal")),
    };
    let restored = ratatui::try_restore().context("can't give the terminal back: type `reset`");
    tasks.shutdown().await;
    outcome.and(restored)
}

async fn on(
    terminal: &mut DefaultTerminal,
    model: &mut Model,
    news: &mut mpsc::Receiver<News>,
    look_at: &watch::Sender<Option<String>>,
) -> Result<()> {
    let palette = Palette::of_environment();
    let mut typed = EventStream::new();
    let (mut drawn, mut due) = (Instant::now(), Instant::now());
    loop {
        tokio::select! {
            event = typed.next() => {
                let then = match event {
                    Some(Ok(Event::Key(key))) if key.kind != KeyEventKind::Release => keys::press(model, key),
                    // Another size is drawn anew.
                    Some(Ok(_)) => Then::GoOn,
                    Some(Err(error)) => return Err(error).context("can't read the keyboard"),
                    None => return Ok(()),
                };
                match then {
                    Then::End => return Ok(()),
                    Then::Suspend => suspend(terminal)?,
                    Then::Redraw => redraw(terminal)?,
                    Then::GoOn => {}
                }
                let topic = model.detail.as_ref().map(|detail| detail.topic.clone());
                look_at.send_if_modified(|at| std::mem::replace(at, topic.clone()) != topic);
                due = due.min(drawn + KEYS_EVERY);
            }
            Some(told) = news.recv() => match told {
                News::Lost { error, .. } if model.heard_at.is_none() && is_final(&error) => return Err(error),
                // The way back to life and what was asked for are shown at once, what changes by itself a few times a second.
                told @ (News::Lost { .. } | News::Explained { .. }) => {
                    model.take(told);
                    due = due.min(drawn + KEYS_EVERY);
                }
                told => {
                    model.take(told);
                    due = due.min(drawn + NEWS_EVERY);
                }
            },
            () = tokio::time::sleep_until(due) => {
                let mut seen = model.seen;
                terminal.draw(|frame| seen = draw::draw(frame, model, palette)).context("can't write to the terminal")?;
                model.seen = seen;
                drawn = Instant::now();
                due = drawn + TIME_EVERY;
            }
        }
    }
}

/// Whether asking again can't help: it is not allowed, or nobody there speaks this.
fn is_final(error: &Error) -> bool {
    match error.downcast_ref::<Failed>() {
        Some(Failed::Refused { status, .. }) => status.is_client_error() && status.as_u16() != 429,
        _ => false,
    }
}

/// Back to the shell until it brings this to the front again.
fn suspend(terminal: &mut DefaultTerminal) -> Result<()> {
    ratatui::try_restore().context("can't give the terminal back: type `reset`")?;
    terminal.show_cursor().context("can't give the cursor back: type `reset`")?;
    signal::raise(signal::Signal::SIGTSTP).context("can't stop")?;
    *terminal = ratatui::try_init().context("can't take over the terminal again")?;
    Ok(())
}

/// Whatever somebody else has written on the screen goes.
fn redraw(terminal: &mut DefaultTerminal) -> Result<()> {
    let size = terminal.size().context("can't ask for the terminal's size")?;
    terminal.resize(size.into()).context("can't write to the terminal")
}

/// The signals that end it. Ctrl-C is a key here, but the signal may come all the same.
struct Ends([Signal; 4]);

impl Ends {
    fn new() -> Result<Self> {
        let on = |kind| tokio::signal::unix::signal(kind).context("can't listen for signals");
        Ok(Self([
            on(SignalKind::terminate())?,
            on(SignalKind::hangup())?,
            on(SignalKind::interrupt())?,
            on(SignalKind::quit())?,
        ]))
    }

    async fn come(&mut self) {
        let [terminate, hang_up, interrupt, quit] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
            _ = interrupt.recv() => {}
            _ = quit.recv() => {}
        }
    }
}
