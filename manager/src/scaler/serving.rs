//! The scaler's gRPC server.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_wire::scaler::external_scaler_server::ExternalScalerServer;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Scaler;
use super::listener::incoming;
use crate::rest::tls::Tls;

/// Serves until shutdown, with health and reflection.
pub(crate) async fn serve(
    service: Scaler,
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    shutdown: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(plimsoll_wire::scaler::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // The descriptors know services that are served elsewhere.
        .with_service_name("externalscaler.ExternalScaler")
        .with_service_name("grpc.health.v1.Health")
        .build_v1()
        .inspect_err(|error| warn!("the scaler can't describe itself to gRPC clients: {error}"));
    let (health_reporter, health) = tonic_health::server::health_reporter();
    health_reporter.set_serving::<ExternalScalerServer<Scaler>>().await;
    let incoming = incoming(listener, tls);
    tonic::transport::Server::builder()
        // KEDA opens one stream an object, all on one connection: the usual limit of some hundreds would starve it.
        .max_concurrent_streams(Some(u32::MAX))
        .initial_connection_window_size(Some(1 << 20))
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .add_service(ExternalScalerServer::new(service))
        .add_service(health)
        .add_optional_service(reflection.ok())
        .serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned())
        .await
}
