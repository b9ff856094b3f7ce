//! Streams: as many as KEDA opens, as long as they may last.

use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, timeout};

use crate::AT_ONCE;
use crate::scene::{Scene, trigger};

/// What one connection of KEDA's has with as many objects.
const STREAMS: usize = 20_000;
const LIMIT: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_streams_share_one_connection_with_calls_and_end_with_ok() {
    let scene = Scene::start(&[]).await;
    let keda = scene.keda().await;
    let opened = Instant::now();
    let mut opening = FuturesUnordered::new();
    let mut streams = Vec::with_capacity(STREAMS);
    for _ in 0..STREAMS {
        let mut keda = keda.clone();
        opening.push(async move { keda.stream_is_active(trigger("web")).await.unwrap().into_inner() });
        if opening.len() >= 200 {
            streams.push(timeout(AT_ONCE, opening.next()).await.expect("streams open").unwrap());
        }
    }
    while let Some(stream) = timeout(AT_ONCE, opening.next()).await.expect("streams open") {
        streams.push(stream);
    }
    println!("{} streams opened in {:?}", streams.len(), opened.elapsed());
    let asked = Instant::now();
    let spec = timeout(AT_ONCE, keda.clone().get_metric_spec(trigger("web"))).await.expect("calls are answered");
    assert_eq!(spec.unwrap().into_inner().metric_specs.len(), 1);
    println!("a call beside them: {:?}", asked.elapsed());
    scene.ask_to_stop();
    let ends = streams.into_iter().map(|mut stream| async move { stream.message().await });
    let mut ends = ends.collect::<FuturesUnordered<_>>();
    let ended = timeout(LIMIT, async {
        while let Some(end) = ends.next().await {
            assert!(matches!(end, Ok(None)), "{end:?}");
        }
    });
    ended.await.expect("all streams end");
    scene.stop().await;
}

#[tokio::test]
async fn a_stream_ends_with_ok_at_its_greatest_age_less_up_to_a_tenth() {
    let scene = Scene::start(&["--max-stream-age=2s".to_owned()]).await;
    let mut keda = scene.keda().await;
    let mut stream = keda.stream_is_active(trigger("web")).await.unwrap().into_inner();
    let opened = Instant::now();
    let end = timeout(LIMIT, stream.message()).await.expect("it ends");
    assert!(matches!(end, Ok(None)), "{end:?}");
    let lasted = opened.elapsed();
    assert!(lasted >= Duration::from_millis(1_700), "it lasted {lasted:?} only");
    scene.stop().await;
}
