//! The workload's side of a WebSocket: it sends every message back, if it is in the mood.

use std::io;

use futures::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::Mood;
use crate::exchange::{Head, Line};

/// Whether a request asks for one.
pub(super) fn is_wanted(head: &Head) -> bool {
    head.field("upgrade").is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket"))
}

/// Opens it and talks until it is closed, or until the mood ends it.
pub(super) async fn serve(mut line: Line, head: &Head, number: u64, mood: Mood) -> io::Result<()> {
    let key = head.field("sec-websocket-key").ok_or_else(|| io::Error::other("a socket is asked for without a key"))?;
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nx-number: {number}\r\n\
         sec-websocket-accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    );
    line.write(answer.as_bytes()).await?;
    let (stream, ahead) = line.into_parts();
    let mut socket = WebSocketStream::from_partially_read(stream, ahead, Role::Server, None).await;
    while let Some(message) = socket.next().await {
        let message = message.map_err(io::Error::other)?;
        if !message.is_binary() {
            // The library answers pings and good-byes itself.
            continue;
        }
        match mood {
            Mood::ResetInAnswer => {
                Line::new(socket.into_inner()).reset();
                return Ok(());
            }
            Mood::CloseInAnswer => return Ok(()),
            Mood::CloseAfterAnswer => socket.close(None).await.map_err(io::Error::other)?,
            _ => socket.send(message).await.map_err(io::Error::other)?,
        }
    }
    Ok(())
}
