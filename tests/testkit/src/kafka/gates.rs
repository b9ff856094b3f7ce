//! What stands between the nodes of a cluster, so that one can be cut off from the others' controllers while clients reach it as ever.
//!
//! Every controller is advertised under the address of a gate, which hands the bytes on. Nodes say who they are with their first
//! request: a client id of Kafka's ends in the node's number.

use std::sync::Arc;

use anyhow::Result;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    select,
    sync::watch,
    task::{AbortHandle, JoinSet},
};

use crate::Port;

/// Where the length of the client id stands in a request, and from where on the id.
const CLIENT_ID_LENGTH_AT: usize = 12;
const CLIENT_ID_AT: usize = 14;

/// The gates of all nodes. Closed when dropped.
pub(super) struct Gates {
    cut_off: watch::Sender<Option<i32>>,
    tasks: Vec<AbortHandle>,
}

impl Gates {
    /// Opens a gate for each node, in the nodes' order: at the first address, to the second.
    pub(super) async fn open(ways: Vec<(&Port, String)>) -> Result<Self> {
        let (cut_off, cut) = watch::channel(None);
        let mut gates = Self { cut_off, tasks: Vec::new() };
        for (index, (gate, controller)) in ways.into_iter().enumerate() {
            let listener = TcpListener::bind(gate.address()).await?;
            let gate = Gate { node: i32::try_from(index)? + 1, controller: controller.into(), cut: cut.clone() };
            gates.tasks.push(tokio::spawn(gate.serve(listener)).abort_handle());
        }
        Ok(gates)
    }

    /// Lets nothing pass between this node and the others; with none, everything.
    pub(super) fn cut_off(&self, node: Option<i32>) {
        self.cut_off.send_replace(node);
    }
}

impl Drop for Gates {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

#[derive(Clone)]
struct Gate {
    node: i32,
    controller: Arc<str>,
    cut: watch::Receiver<Option<i32>>,
}

impl Gate {
    async fn serve(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            connections.spawn(self.clone().carry(client));
            while connections.try_join_next().is_some() {}
        }
    }

    /// A connection that is cut stays open and carries nothing, as in a network that loses packets, and ends with the cut.
    async fn carry(mut self, mut client: TcpStream) -> Result<()> {
        let from = sender(&client).await?;
        let (node, mut cut, mut healed) = (self.node, self.cut.clone(), self.cut.clone());
        let separates = move |cut: &Option<i32>| cut.is_some_and(|cut| (cut == from) != (cut == node));
        let is_cut = separates(&self.cut.borrow_and_update());
        if !is_cut {
            let mut controller = TcpStream::connect(&*self.controller).await?;
            select! {
                ended = copy_bidirectional(&mut client, &mut controller) => return ended.map(drop).map_err(Into::into),
                found = async { cut.wait_for(separates).await.map(drop) } => found?,
            }
            // The connection to the controller is kept open, too.
            healed.wait_for(|cut| !separates(cut)).await?;
            return Ok(());
        }
        healed.wait_for(|cut| !separates(cut)).await?;
        Ok(())
    }
}

/// The number of the node that sends this connection's first request.
async fn sender(client: &TcpStream) -> Result<i32> {
    let mut start = [0; 256];
    loop {
        client.readable().await?;
        let length = client.peek(&mut start).await?;
        anyhow::ensure!(length > 0, "closed without a request");
        let id_length = u16::from_be_bytes([start[CLIENT_ID_LENGTH_AT], start[CLIENT_ID_LENGTH_AT + 1]]);
        let end = CLIENT_ID_AT + usize::from(id_length);
        if length >= CLIENT_ID_AT && length >= end {
            let id = String::from_utf8_lossy(&start[CLIENT_ID_AT..end]);
            let digits = id.len() - id.bytes().rev().take_while(u8::is_ascii_digit).count();
            return Ok(id[digits..].parse()?);
        }
        anyhow::ensure!(end <= start.len(), "no request of Kafka's");
        // The rest comes at once: there is nothing to wait for but the other side's next write.
        tokio::task::yield_now().await;
    }
}
