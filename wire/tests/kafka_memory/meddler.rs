//! A man in the middle: hands on what a client and a real broker say to each other, and changes some of the broker's answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use plimsoll_testkit::{Kafka, KafkaSettings, Port};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// A request's API, and its version: what an answer is an answer to.
pub(crate) type Api = (i16, i16);

/// Makes of an answer, without its length and its correlation id, another one.
type Change = Box<dyn FnMut(Api, Vec<u8>) -> Vec<u8> + Send>;

/// The middle. Nothing passes any more when it is dropped.
pub(crate) struct Meddler {
    pub(crate) address: String,
    change: Arc<Mutex<Option<Change>>>,
    changed: Arc<AtomicU64>,
    task: AbortHandle,
    _port: Port,
}

impl Meddler {
    /// A broker that sends all its clients through the middle.
    pub(crate) async fn start() -> (Kafka, Self) {
        let port = Port::claim().unwrap();
        let listener = TcpListener::bind(port.address()).await.unwrap();
        let (found, behind) = watch::channel(None);
        let (change, changed) = (Arc::<Mutex<Option<Change>>>::default(), Arc::<AtomicU64>::default());
        let way = Way { behind, change: change.clone(), changed: changed.clone() };
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(way.clone().carry(client));
            }
        });
        let properties = vec![("advertised.listeners".to_owned(), format!("PLAINTEXT://{}", port.address()))];
        let settings = KafkaSettings { properties, ..KafkaSettings::default() };
        let kafka = Kafka::start_behind(settings, |own| drop(found.send_replace(Some(own)))).await.unwrap();
        (kafka, Self { address: port.address(), change, changed, task: task.abort_handle(), _port: port })
    }

    /// Changes answers from now on.
    pub(crate) fn change(&self, change: impl FnMut(Api, Vec<u8>) -> Vec<u8> + Send + 'static) {
        *self.change.lock() = Some(Box::new(change));
    }

    /// Changes nothing any more.
    pub(crate) fn leave_alone(&self) {
        *self.change.lock() = None;
    }

    /// How many answers have been changed.
    pub(crate) fn changed(&self) -> u64 {
        self.changed.load(Ordering::Relaxed)
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Way {
    behind: watch::Receiver<Option<String>>,
    change: Arc<Mutex<Option<Change>>>,
    changed: Arc<AtomicU64>,
}

/// What has been asked over a connection, by correlation id.
type Asked = Arc<Mutex<HashMap<i32, Api>>>;

impl Way {
    async fn carry(mut self, client: TcpStream) -> std::io::Result<()> {
        let Ok(behind) = self.behind.wait_for(Option::is_some).await.map(|found| found.clone().unwrap_or_default())
        else {
            return Ok(());
        };
        // While it starts it refuses, and clients come again.
        let broker = TcpStream::connect(behind).await?;
        client.set_nodelay(true)?;
        broker.set_nodelay(true)?;
        let ((from_client, to_client), (from_broker, to_broker)) = (client.into_split(), broker.into_split());
        let asked = Asked::default();
        tokio::select! {
            ended = requests(from_client, to_broker, asked.clone()) => ended,
            ended = self.answers(from_broker, to_client, asked) => ended,
        }
    }

    async fn answers(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, asked: Asked) -> std::io::Result<()> {
        loop {
            let mut answer = frame(&mut from).await?;
            let correlation = i32::from_be_bytes(*answer.first_chunk().unwrap_or(&[0; 4]));
            let api = asked.lock().remove(&correlation);
            if let (Some(change), Some(api)) = (&mut *self.change.lock(), api) {
                let body = answer.split_off(4);
                let changed = change(api, body.clone());
                self.changed.fetch_add(u64::from(changed != body), Ordering::Relaxed);
                answer.extend(changed);
            }
            to.write_all(&(answer.len() as u32).to_be_bytes()).await?;
            to.write_all(&answer).await?;
        }
    }
}

async fn requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, asked: Asked) -> std::io::Result<()> {
    loop {
        let request = frame(&mut from).await?;
        if let [k0, k1, v0, v1, c0, c1, c2, c3, ..] = request[..] {
            let api = (i16::from_be_bytes([k0, k1]), i16::from_be_bytes([v0, v1]));
            asked.lock().insert(i32::from_be_bytes([c0, c1, c2, c3]), api);
        }
        to.write_all(&(request.len() as u32).to_be_bytes()).await?;
        to.write_all(&request).await?;
    }
}

async fn frame(from: &mut OwnedReadHalf) -> std::io::Result<Vec<u8>> {
    let mut frame = vec![0; from.read_u32().await? as usize];
    from.read_exact(&mut frame).await?;
    Ok(frame)
}
