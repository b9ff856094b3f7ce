//! The custom kinds that tests need on the API server they share.

use anyhow::Result;
use plimsoll_testkit::ApiServer;
use tokio::sync::OnceCell;

/// What is needed of KEDA's ScaledObject.
pub(crate) const SCALED_OBJECTS: &str = include_str!("../cluster/scaled_objects.yaml");

/// Once for all tests: two that create the same definition at the same time would fail.
static TAKEN: OnceCell<()> = OnceCell::const_new();

/// Has the shared API server take the definitions of our kinds and of ScaledObjects.
pub(crate) async fn define(server: &ApiServer) -> Result<()> {
    let take = async || {
        server.apply(&format!("{}---\n{SCALED_OBJECTS}", plimsoll_wire::resources::crds::yaml()?)).await?;
        let wait = ["wait", "--for=condition=established", "--timeout=60s", "crd/scaledobjects.keda.sh"];
        server.kubectl(&wait).await.map(drop)
    };
    TAKEN.get_or_try_init(take).await.map(drop)
}
