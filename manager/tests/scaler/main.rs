//! KEDA's side of the scaler's contract, on a real manager.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

mod scene;
mod streams;
mod tls;

use std::time::Duration;

use plimsoll_wire::scaler::ScaledObjectRef;
use scene::Scene;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServiceResponse};

/// What is not answered by then wedges KEDA.
const AT_ONCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_metric_spec_is_answered_whatever_is_known_of_the_load() {
    let scene = Scene::start(&[]).await;
    let mut keda = scene.keda().await;
    let spec = keda.get_metric_spec(scene::trigger("web")).await.unwrap().into_inner();
    assert_eq!(spec.metric_specs[0].metric_name, "http_web_concurrency");
    // Nobody reads the workload's topic: its values are unknown, and that is said at once.
    let asked = keda.is_active(scene::trigger("web"));
    let error = tokio::time::timeout(AT_ONCE, asked).await.expect("it answers").expect_err("it is unknown");
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.message().contains("default/web"), "{error}");
    scene.stop().await;
}

#[tokio::test]
async fn before_the_resources_are_known_none_is_said_to_be_missing() {
    let scene = Scene::unknown().await;
    let mut keda = scene.keda().await;
    let together = ScaledObjectRef {
        scaler_metadata: [("interceptorTargetPendingRequests".to_owned(), "1".to_owned())].into(),
        ..scene::trigger("web")
    };
    for asked in [scene::trigger("web"), scene::trigger("nowhere"), together] {
        let error = keda.is_active(asked.clone()).await.expect_err("nothing is known");
        assert_eq!(error.code(), Code::Unavailable, "{asked:?}: {error}");
    }
    scene.become_known();
    // The catalogue is made a moment later.
    tokio::time::timeout(AT_ONCE, async {
        while keda.get_metric_spec(scene::trigger("web")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the workload is known");
    let error = keda.get_metric_spec(scene::trigger("nowhere")).await.expect_err("it is not there");
    assert_eq!(error.code(), Code::NotFound);
    scene.stop().await;
}

#[tokio::test]
async fn it_tells_its_health_and_describes_itself() {
    let scene = Scene::start(&[]).await;
    let channel = scene.channel().await;
    let service = "externalscaler.ExternalScaler".to_owned();
    for service in [String::new(), service.clone()] {
        let health = HealthClient::new(channel.clone()).check(HealthCheckRequest { service }).await.unwrap();
        assert_eq!(health.into_inner().status, 1, "SERVING");
    }
    let ask = |request| ServerReflectionRequest { host: String::new(), message_request: Some(request) };
    let asked =
        [ask(MessageRequest::ListServices(String::new())), ask(MessageRequest::FileContainingSymbol(service.clone()))];
    let mut reflection = ServerReflectionClient::new(channel);
    let mut answers = reflection.server_reflection_info(tokio_stream::iter(asked)).await.unwrap().into_inner();
    let listed = answers.message().await.unwrap().and_then(|answer| answer.message_response);
    let Some(MessageResponse::ListServicesResponse(listed)) = listed else { panic!("{listed:?}") };
    let names: Vec<String> = listed.service.into_iter().map(|ServiceResponse { name }| name).collect();
    assert!(names.contains(&service) && !names.iter().any(|name| name.contains("collector")), "{names:?}");
    let described = answers.message().await.unwrap().and_then(|answer| answer.message_response);
    assert!(matches!(described, Some(MessageResponse::FileDescriptorResponse(_))), "{described:?}");
    scene.stop().await;
}
