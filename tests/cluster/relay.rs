//! A line to a server that can be cut.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Passes everything on, both ways, while it is whole.
pub(crate) struct Relay {
    address: SocketAddr,
    whole: watch::Sender<bool>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Relay {
    /// One that leads to this server.
    pub(crate) async fn start(server: String) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (whole, state) = watch::channel(true);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (ended, lines) = (stop.clone(), tasks.clone());
        tasks.spawn(async move {
            while let Some(Ok((mut client, _))) = ended.run_until_cancelled(listener.accept()).await {
                let is_whole = *state.borrow();
                if !is_whole {
                    continue;
                }
                let (server, mut state, ended) = (server.clone(), state.clone(), ended.clone());
                lines.spawn(async move {
                    let Ok(mut server) = TcpStream::connect(server).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                        _ = state.wait_for(|whole| !whole) => {}
                        () = ended.cancelled() => {}
                    }
                });
            }
        });
        Ok(Self { address, whole, stop, tasks })
    }

    /// `HOST:PORT`.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Ends all connections; whoever connects anew is cut off at once.
    pub(crate) fn cut(&self) {
        self.whole.send_replace(false);
    }

    /// Ends the cut.
    pub(crate) fn mend(&self) {
        self.whole.send_replace(true);
    }

    /// Ends it.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
