//! What KEDA is told by each kind of call while an interceptor, a collector or an answer is missing: never a zero.

use plimsoll_wire::collector::Answer;
use plimsoll_wire::resources::{Backend, Port, Workload};
use tokio::time::{advance, timeout};
use tonic::Code;

use super::*;
use crate::board::{Link, SILENCE};

const WINDOW: Duration = Duration::from_secs(30);

/// What a call says: whether it is active, and its metrics' values.
type Said = (Result<bool, Code>, Result<Vec<f64>, Code>);

const UNKNOWN: Said = (Err(Code::Unavailable), Err(Code::Unavailable));

/// A scaler that knows the workloads `default/shop` and `default/web`, which scale on both metrics, and a collector that may answer for them.
struct Scene {
    scaler: Scaler,
    board: Arc<Board>,
    link: Arc<Link>,
}

impl Scene {
    fn new() -> Self {
        Self::with(|_| {})
    }

    /// With workloads that scale otherwise.
    fn with(change: impl Fn(&mut Scaling)) -> Self {
        let workload = |name: &str| {
            let target = Backend { service: name.to_owned(), port: Port::Number(80) };
            let mut workload = Workload::new(WorkloadId::new("default", name), target);
            workload.scaling.rate_target = Some(50);
            change(&mut workload.scaling);
            workload
        };
        let catalogue = Catalogue::new(&[workload("shop"), workload("web")]);
        let board = Arc::new(Board::new(WINDOW));
        let link = board.link("c-0");
        link.heard();
        let scaler = Scaler::new(
            Arc::new(ArcSwap::from_pointee(catalogue)),
            board.clone(),
            WINDOW,
            Duration::from_secs(600),
            Arc::default(),
            CancellationToken::new(),
        );
        Self { scaler, board, link }
    }

    /// The collector knows this of a workload.
    fn hears(&self, workload: &str, answer: Answer) {
        let topic = WorkloadId::new("default", workload).topic();
        self.link.heard();
        self.board.take(&self.link, vec![Answer { topic, known: true, warm: true, ..answer }]);
    }

    /// What is said to a trigger with this key and value.
    async fn says(&self, key: &str, value: &str) -> Said {
        let active = self.scaler.is_active(Request::new(trigger(key, value))).await;
        let active = active.map(|told| told.into_inner().result).map_err(|status| status.code());
        (active, self.metrics(key, value, "").await)
    }

    async fn metrics(&self, key: &str, value: &str, metric: &str) -> Result<Vec<f64>, Code> {
        let reference = Some(trigger(key, value));
        let request = GetMetricsRequest { scaled_object_ref: reference, metric_name: metric.to_owned() };
        let told = self.scaler.get_metrics(Request::new(request)).await.map_err(|status| status.code())?;
        Ok(told.into_inner().metric_values.iter().map(number).collect())
    }

    /// What is said of `default/web` as either kind, and of all together.
    async fn says_all(&self) -> [Said; 3] {
        [self.says(ROUTE_KEY, "web").await, self.says(OBJECT_KEY, "web").await, self.says(ALL_KEY, "10").await]
    }
}

fn trigger(key: &str, value: &str) -> ScaledObjectRef {
    ScaledObjectRef {
        name: "any".to_owned(),
        namespace: "default".to_owned(),
        scaler_metadata: [(key.to_owned(), value.to_owned())].into(),
    }
}

/// As KEDA reads it.
fn number(value: &MetricValue) -> f64 {
    if value.metric_value_float > 0.0 { value.metric_value_float } else { value.metric_value as f64 }
}

fn missing_one(answer: Answer) -> Answer {
    Answer { zero_is_unknown: true, ..answer }
}

#[tokio::test(start_paused = true)]
async fn no_zero_is_told_while_an_interceptor_is_missing() {
    let scene = Scene::new();
    scene.hears("shop", Answer::default());
    scene.hears("web", missing_one(Answer::default()));
    assert_eq!(scene.says_all().await, [UNKNOWN; 3]);
    assert_eq!(scene.says(ROUTE_KEY, "shop").await, (Ok(false), Ok(vec![0.0, 0.0])), "of another all is known");
    scene.hears("web", Answer::default());
    let zero = |metrics: usize| -> Said { (Ok(false), Ok(vec![0.0; metrics])) };
    assert_eq!(scene.says_all().await, [zero(2), zero(1), zero(1)]);
}

#[tokio::test(start_paused = true)]
async fn what_is_above_zero_is_told_also_while_an_interceptor_is_missing() {
    let scene = Scene::new();
    scene.hears("shop", Answer::default());
    let busy = Answer { in_flight: 3, concurrency: 2.5, request_rate: 4.0, ..Answer::default() };
    scene.hears("web", missing_one(busy.clone()));
    let rounded: Said = (Ok(true), Ok(vec![3.0]));
    assert_eq!(scene.says_all().await, [(Ok(true), Ok(vec![2.5, 4.0])), rounded.clone(), rounded]);
    // Long requests, none of which has come within the rate's window.
    scene.hears("web", missing_one(Answer { request_rate: 0.0, ..busy }));
    assert_eq!(scene.says(ROUTE_KEY, "web").await, (Ok(true), Err(Code::Unavailable)), "one of the two is a zero");
    assert_eq!(scene.metrics(ROUTE_KEY, "web", "http_web_concurrency").await, Ok(vec![2.5]));
    assert_eq!(scene.metrics(ROUTE_KEY, "web", "http_web_rate").await, Err(Code::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn one_workload_that_is_unknown_makes_the_sum_of_all_unknown() {
    let scene = Scene::new();
    scene.hears("shop", Answer { in_flight: 3, concurrency: 3.0, ..Answer::default() });
    assert_eq!(scene.says(ALL_KEY, "10").await, UNKNOWN, "nobody has answered for the other one");
    // Held requests are not averaged away.
    scene.hears("web", Answer { in_flight: 7, held: 7, concurrency: 0.1, ..Answer::default() });
    assert_eq!(scene.says(ALL_KEY, "10").await, (Ok(true), Ok(vec![10.0])));
}

#[tokio::test(start_paused = true)]
async fn the_one_metric_of_an_http_scaled_object_is_the_rate_where_it_scales_on_that_alone() {
    let scene = Scene::with(|scaling| scaling.concurrency_target = None);
    scene.hears("web", Answer { in_flight: 9, concurrency: 9.0, request_rate: 4.5, ..Answer::default() });
    assert_eq!(scene.says(OBJECT_KEY, "web").await, (Ok(true), Ok(vec![5.0])));
    assert_eq!(scene.metrics(ROUTE_KEY, "web", "").await, Ok(vec![4.5]));
    let spec = scene.scaler.get_metric_spec(Request::new(trigger(OBJECT_KEY, "web"))).await.unwrap().into_inner();
    let targets: Vec<_> = spec.metric_specs.iter().map(|spec| (spec.metric_name.as_str(), spec.target_size)).collect();
    assert_eq!(targets, [("http-default_002Fweb", 50)]);
    // A metric that it does not scale on is none of its metrics.
    let none = scene.metrics(ROUTE_KEY, "web", "http_web_concurrency").await;
    assert_eq!(none, Err(Code::InvalidArgument));
}

#[tokio::test(start_paused = true)]
async fn what_a_silent_collector_has_said_is_not_told_any_more() {
    let scene = Scene::new();
    for workload in ["shop", "web"] {
        scene.hears(workload, Answer { in_flight: 1, concurrency: 1.0, request_rate: 1.0, ..Answer::default() });
    }
    assert!(scene.says_all().await.iter().all(|(active, values)| *active == Ok(true) && values.is_ok()));
    advance(SILENCE + Duration::from_millis(1)).await;
    assert_eq!(scene.says_all().await, [UNKNOWN; 3]);
}

#[tokio::test(start_paused = true)]
async fn the_stream_of_all_together_says_nothing_while_it_is_unknown() {
    let scene = Scene::new();
    scene.hears("shop", Answer::default());
    scene.hears("web", missing_one(Answer::default()));
    let mut stream = std::pin::pin!(scene.scaler.clone().all_stream());
    assert!(timeout(SILENCE / 2, stream.next()).await.is_err(), "a zero that nobody knows");
    scene.hears("web", Answer::default());
    assert_eq!(stream.next().await, Some(false));
    scene.hears("web", Answer { in_flight: 1, concurrency: 1.0, ..Answer::default() });
    assert_eq!(stream.next().await, Some(true));
}
