//! KEDA's contract, call by call, against a running system.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod driver;

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::{Context, Result, ensure};
use driver::{
    exclusively, http,
    keda::{Keda, Trigger, number, value_of},
    load::{Load, Pattern, Traffic},
    program::Program,
    routes::{self, Kind, Route},
};
use nix::sys::signal::Signal;
use plimsoll_testkit::{Folder, Port, wait_until};
use plimsoll_wire::scaler::{GetMetricsRequest, external_scaler_client::ExternalScalerClient};
use tokio::time::{Instant, timeout};
use tonic::Code;

const SOON: Duration = Duration::from_secs(10);

/// `plimsoll dev` with two InterceptorRoutes and an HTTPScaledObject.
struct System {
    program: Program,
    _folder: Folder,
    _ports: [Port; 4],
    load: Load,
    keda: Keda,
    proxy: String,
    scaler: String,
    routes: [Route; 3],
}

impl System {
    async fn start() -> Result<Self> {
        let load = Load::new()?;
        let backend = load.backend().await?.address();
        let mut routes = ["one", "other", "old"].map(|name| Route::new(name, backend));
        // Rates are over a minute unless the resource says otherwise.
        routes[1].rate_window = None;
        (routes[2].kind, routes[2].rate_window) = (Kind::HttpScaledObject, None);
        let folder = Folder::new("keda")?;
        let file = folder.join("routes.yaml");
        fs::write(&file, routes::file(&routes))?;
        let ports = [Port::claim()?, Port::claim()?, Port::claim()?, Port::claim()?];
        let [proxy, admin, api, scaler] = &ports;
        let arguments = [
            "dev".to_owned(),
            format!("--routes={}", file.display()),
            format!("--proxy-listen={}", proxy.address()),
            format!("--admin-listen={}", admin.address()),
            format!("--api-listen={}", api.address()),
            format!("--scaler-listen={}", scaler.address()),
            "--activity-window=2s".to_owned(),
        ];
        let mut program = Program::start(&folder, "dev", &arguments)?;
        let (proxy, scaler) = (proxy.address(), scaler.address());
        program.listens(&[&proxy, &scaler]).await?;
        let keda = Keda::of(&scaler)?;
        for route in &routes {
            let known = wait_until("a workload is known", Duration::from_secs(15), async || {
                Ok(keda.metrics(&route.trigger(), "").await?)
            });
            known.await.with_context(|| program.printed().unwrap_or_default())?;
        }
        Ok(Self { program, _folder: folder, _ports: ports, load, keda, proxy, scaler, routes })
    }

    /// Steady requests in flight: so many of each route.
    fn traffic(&self, open: [usize; 3]) -> driver::load::Running {
        let traffic = self.routes.iter().zip(open).map(|(route, open)| Traffic {
            host: route.host(),
            pattern: Pattern::Steady { open, length: Duration::from_secs(2) },
        });
        self.load.start(&traffic.collect::<Vec<_>>(), std::slice::from_ref(&self.proxy))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_have_the_add_ons_names_and_the_resources_targets() -> Result<()> {
    let _alone = exclusively().await;
    let system = System::start().await?;
    let expected = [
        (&system.routes[0], vec![("http_one_concurrency", 10.0), ("http_one_rate", 10.0)]),
        (&system.routes[1], vec![("http_other_concurrency", 10.0)]),
        (&system.routes[2], vec![("http-default_002Fold", 10.0)]),
    ];
    for (route, expected) in expected {
        let target = |spec: &plimsoll_wire::scaler::MetricSpec| {
            let target = if spec.target_size_float > 0.0 { spec.target_size_float } else { spec.target_size as f64 };
            (spec.metric_name.clone(), target)
        };
        let specs: BTreeMap<_, _> = system.keda.specs(&route.trigger()).await?.iter().map(target).collect();
        let expected: BTreeMap<_, _> = expected.into_iter().map(|(name, target)| (name.to_owned(), target)).collect();
        ensure!(specs == expected, "{specs:?}, not {expected:?}");
        // All metrics where no name is asked for, else the one.
        let all = system.keda.metrics(&route.trigger(), "").await?;
        ensure!(all.len() == expected.len(), "{all:?}");
        for name in expected.keys() {
            let one = system.keda.metrics(&route.trigger(), name).await?;
            ensure!(one.len() == 1 && &one[0].metric_name == name, "{one:?}");
        }
    }
    let together = system.keda.specs(&Trigger::AllTogether(7)).await?;
    let name = Trigger::AllTogether(7).concurrency_metric();
    ensure!(together.len() == 1 && together[0].metric_name == name && together[0].target_size == 7, "{together:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_wrongly_is_refused_by_name() -> Result<()> {
    let _alone = exclusively().await;
    let system = System::start().await?;
    for missing in [Trigger::InterceptorRoute("nowhere".to_owned()), Trigger::HttpScaledObject("nowhere".to_owned())] {
        for error in [
            system.keda.specs(&missing).await.err(),
            system.keda.metrics(&missing, "").await.err(),
            system.keda.is_active(&missing).await.err(),
        ] {
            let error = error.context("a missing resource is answered for")?;
            ensure!(error.code() == Code::NotFound && error.message().contains("nowhere"), "{error:?}");
        }
    }
    let mut client = ExternalScalerClient::connect(format!("http://{}", system.scaler)).await?;
    let error = client.get_metrics(GetMetricsRequest::default()).await.err().context("no reference is taken")?;
    ensure!(error.code() == Code::InvalidArgument, "{error:?}");
    let mut reference = system.routes[0].trigger().reference();
    reference.scaler_metadata.clear();
    let error = client.is_active(reference).await.err().context("no metadata is taken")?;
    ensure!(error.code() == Code::InvalidArgument && error.message().contains("interceptorRoute"), "{error:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_tells_the_state_once_and_then_only_changes() -> Result<()> {
    let _alone = exclusively().await;
    let system = System::start().await?;
    let trigger = system.routes[0].trigger();
    let mut stream = system.keda.stream_is_active(&trigger).await?;
    let first = timeout(SOON, stream.message()).await??.context("the stream ended")?;
    ensure!(!first.result, "nothing has been asked for yet");

    let (proxy, host) = (system.proxy.clone(), system.routes[0].host());
    let asked = Instant::now();
    let request = tokio::spawn(async move { http::get(&proxy, &host, "/?sleep=3000ms").await });
    let woken = timeout(SOON, stream.message()).await??.context("the stream ended")?;
    let took = asked.elapsed();
    println!("first request to StreamIsActive: {took:?}");
    ensure!(woken.result && took < Duration::from_millis(500), "{woken:?} after {took:?}");

    // KEDA opens a second one when its first was lost: it must hear the state too.
    let mut late = system.keda.stream_is_active(&trigger).await?;
    let state = timeout(SOON, late.message()).await??.context("the stream ended")?;
    ensure!(state.result, "a new stream is told the old state");

    // Silence while nothing changes, though the request goes on and ends.
    let quiet = timeout(Duration::from_secs(2), stream.message()).await;
    ensure!(quiet.is_err(), "told again: {quiet:?}");
    request.await??;
    let asleep = timeout(SOON, stream.message()).await??.context("the stream ended")?;
    ensure!(!asleep.result && asked.elapsed() > Duration::from_secs(3), "{asleep:?} after {:?}", asked.elapsed());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_short_request_keeps_a_workload_active_for_the_activity_window() -> Result<()> {
    let _alone = exclusively().await;
    let system = System::start().await?;
    let trigger = system.routes[1].trigger();
    let answer = http::get(&system.proxy, &system.routes[1].host(), "/").await?;
    ensure!(answer.status == 200, "{answer:?}");
    let answered = Instant::now();
    wait_until("it is active", Duration::from_secs(1), async || {
        ensure!(system.keda.is_active(&trigger).await?, "it is not");
        Ok(())
    })
    .await?;
    wait_until("it is inactive again", SOON, async || {
        ensure!(!system.keda.is_active(&trigger).await?, "it is not");
        Ok(())
    })
    .await?;
    let held = answered.elapsed();
    ensure!(held >= Duration::from_millis(1_800), "it was active for {held:?} only");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_workloads_together_are_the_sum_of_all() -> Result<()> {
    let _alone = exclusively().await;
    let system = System::start().await?;
    let traffic = system.traffic([3, 4, 5]);
    // Two full windows of steady requests.
    let together = Trigger::AllTogether(100);
    let name = together.concurrency_metric();
    wait_until("the sum is right", Duration::from_secs(25), async || {
        let values = system.keda.metrics(&together, &name).await?;
        let sum = value_of(&values, &name).context("no value")?;
        ensure!((11.9..=12.1).contains(&sum), "{sum}");
        ensure!(system.keda.is_active(&together).await?, "not active");
        Ok(())
    })
    .await?;
    let old = system.keda.metrics(&system.routes[2].trigger(), "").await?;
    ensure!(
        old.len() == 1 && number(&old[0]) == 5.0 && old[0].metric_value == 5,
        "the old kind tells integers: {old:?}"
    );
    traffic.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_stops_ends_its_streams_with_ok() -> Result<()> {
    let _alone = exclusively().await;
    let mut system = System::start().await?;
    let mut stream = system.keda.stream_is_active(&system.routes[0].trigger()).await?;
    timeout(SOON, stream.message()).await??.context("the stream ended early")?;
    system.program.process().signal(Signal::SIGTERM)?;
    let end = timeout(SOON, stream.message()).await?;
    ensure!(matches!(end, Ok(None)), "{end:?}");
    let ended = system.program.process().wait(SOON).await?;
    ensure!(ended.success(), "{ended}");
    Ok(())
}
