//! The hub's gRPC form.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, stream};
use plimsoll_wire::collector::{SharesReply, SharesRequest, SubscribeRequest, Update, collector_server};
use plimsoll_wire::log::Topic;
use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Response, Status};
use tracing::info;

use crate::hub::{Hub, Subscriber};
use crate::questions::Question;

/// The collector's gRPC service.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    hub: Arc<Hub>,
    questions: mpsc::Sender<Question>,
}

impl Service {
    pub(crate) fn new(hub: Arc<Hub>, questions: mpsc::Sender<Question>) -> Self {
        Self { hub, questions }
    }
}

/// A subscriber, with what the log lines say of it.
struct Told {
    subscriber: Subscriber,
    manager: String,
}

impl Drop for Told {
    fn drop(&mut self) {
        info!(manager = %self.manager, "manager's stream ended");
    }
}

#[tonic::async_trait]
impl collector_server::Collector for Service {
    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<Update, Status>> + Send>>;

    async fn subscribe(&self, request: Request<SubscribeRequest>) -> Result<Response<Self::SubscribeStream>, Status> {
        let manager = request.into_inner().manager;
        let Some(subscriber) = self.hub.subscribe() else {
            return Err(Status::unavailable("this collector is stopping, or has too many subscribers"));
        };
        info!(%manager, "manager subscribed");
        // The transport asks for an update when it has room for one: that bounds what a slow manager costs.
        let updates = stream::unfold(Told { subscriber, manager }, |told| async move {
            told.subscriber.next().await.map(|update| (Ok(update), told))
        });
        Ok(Response::new(Box::pin(updates)))
    }

    async fn shares(&self, request: Request<SharesRequest>) -> Result<Response<SharesReply>, Status> {
        let topic = Topic::from(request.into_inner().topic);
        let (answer, told) = oneshot::channel();
        let question = Question { topic: topic.clone(), answer };
        self.questions.try_send(question).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => Status::resource_exhausted("too many ask at once: ask again later"),
            mpsc::error::TrySendError::Closed(_) => Status::unavailable("this collector is stopping"),
        })?;
        let told = told.await.map_err(|_| Status::unavailable("this collector is stopping"))?;
        let shares = told.ok_or_else(|| Status::not_found(format!("topic {topic} is not read here")))?;
        Ok(Response::new(SharesReply { shares }))
    }
}
