//! KEDA's external scaler over gRPC: every answer comes at once, from memory.

mod activity;
mod listener;
mod serving;
mod settings;

pub(crate) use serving::serve;
pub use settings::ScalerConfig;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::{Stream, StreamExt as _};
use plimsoll_wire::resources::Scaling;
use plimsoll_wire::scaler::external_scaler_server::ExternalScaler;
use plimsoll_wire::scaler::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec, MetricValue,
    ScaledObjectRef,
};
use plimsoll_wire::topic::WorkloadId;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::board::{Board, Cell, Unknown};
use crate::catalogue::{Catalogue, Entry};
use crate::metrics::ScalerMetrics;
use crate::told;

const ROUTE_KEY: &str = "interceptorRoute";
const OBJECT_KEY: &str = "httpScaledObject";
const ALL_KEY: &str = "interceptorTargetPendingRequests";

/// What a call asks about, by the trigger's metadata.
enum Asked {
    /// `interceptorRoute`: two metrics, floats.
    Route(Arc<Entry>),
    /// `httpScaledObject`: one metric, an integer.
    Object(Arc<Entry>),
    /// `interceptorTargetPendingRequests`: all workloads together, for scaling the interceptors themselves.
    All { metric: String, target: i64 },
}

/// The scaler service.
#[derive(Clone)]
pub struct Scaler {
    catalogue: Arc<ArcSwap<Catalogue>>,
    board: Arc<Board>,
    activity_window: Duration,
    max_stream_age: Duration,
    metrics: Arc<ScalerMetrics>,
    shutdown: CancellationToken,
}

impl Scaler {
    /// A scaler that answers from these. Streams end with OK at shutdown, and after `max_stream_age` less up to a tenth.
    #[must_use]
    pub fn new(
        catalogue: Arc<ArcSwap<Catalogue>>,
        board: Arc<Board>,
        activity_window: Duration,
        max_stream_age: Duration,
        metrics: Arc<ScalerMetrics>,
        shutdown: CancellationToken,
    ) -> Self {
        Self { catalogue, board, activity_window, max_stream_age, metrics, shutdown }
    }

    fn asked(&self, object: Option<&ScaledObjectRef>) -> Result<Asked, Status> {
        let object = object.ok_or_else(|| Status::invalid_argument("the call has no scaledObjectRef"))?;
        let metadata = &object.scaler_metadata;
        let named = |kind: &str, name: &String| {
            let id = WorkloadId::new(object.namespace.as_str(), name.as_str());
            self.known()?.get(&id).cloned().ok_or_else(|| Status::not_found(format!("{kind} {id} is not known here")))
        };
        if let Some(name) = metadata.get(ROUTE_KEY) {
            return named("InterceptorRoute", name).map(Asked::Route);
        }
        if let Some(name) = metadata.get(OBJECT_KEY) {
            return named("HTTPScaledObject", name).map(Asked::Object);
        }
        if let Some(target) = metadata.get(ALL_KEY) {
            let target = target.parse().ok().filter(|target| *target > 0).ok_or_else(|| {
                Status::invalid_argument(format!("{ALL_KEY} is {target:?}: it must be a whole number above zero"))
            })?;
            return Ok(Asked::All { metric: object_metric(&object.namespace, &object.name), target });
        }
        Err(Status::invalid_argument(format!(
            "the trigger of ScaledObject {}/{} names no workload: its metadata needs {ROUTE_KEY}, {OBJECT_KEY} or {ALL_KEY}",
            object.namespace, object.name
        )))
    }

    /// The workloads; an error while it is not known what there is.
    fn known(&self) -> Result<Arc<Catalogue>, Status> {
        let catalogue = self.catalogue.load_full();
        if catalogue.is_known() {
            return Ok(catalogue);
        }
        self.metrics.unknown.inc();
        Err(Status::unavailable("the resources have not been read yet: which workloads there are is unknown"))
    }

    fn cell(&self, entry: &Entry) -> Arc<Cell> {
        self.board.cell(&entry.topic)
    }

    /// The values told for one workload, or why they are unknown.
    fn values(&self, entry: &Entry) -> Result<Values, Status> {
        let cell = self.cell(entry);
        let heard = cell.best().map_err(|unknown| self.unknown(entry, &unknown))?;
        let scaling = &entry.workload.scaling;
        Ok(Values {
            concurrency: told::concurrency(&heard.answer, scaling).value,
            rate: told::request_rate(&heard.answer, scaling).value,
            active: cell.is_active() || told::activity(&heard.answer, self.activity_window, heard.at.elapsed()).active,
            zero_is_unknown: heard.answer.zero_is_unknown,
        })
    }

    /// A value that may be told: a zero only where no interceptor is missing.
    fn sayable(&self, entry: &Entry, values: &Values, value: f64) -> Result<f64, Status> {
        if value > 0.0 || (value == 0.0 && !values.zero_is_unknown) {
            return Ok(value);
        }
        self.metrics.unknown.inc();
        Err(Status::unavailable(format!(
            "{} is unknown: an interceptor's heartbeats are missing, so a zero can't be told",
            entry.workload.id
        )))
    }

    fn unknown(&self, entry: &Entry, unknown: &Unknown) -> Status {
        self.metrics.unknown.inc();
        Status::unavailable(format!("{} is unknown: {unknown}", entry.workload.id))
    }

    /// A workload that is unknown makes the sum unknown; a missing interceptor only a sum of zero, since its last contribution stands.
    fn all_concurrency(&self) -> Result<f64, Status> {
        let catalogue = self.known()?;
        let (mut sum, mut doubt) = (0.0, false);
        for entry in catalogue.entries() {
            let heard = self.cell(entry).best().map_err(|unknown| self.unknown(entry, &unknown))?;
            sum += heard.answer.concurrency.max(told::held_of(&heard.answer));
            doubt |= heard.answer.zero_is_unknown;
        }
        if sum > 0.0 || !doubt {
            return Ok(sum);
        }
        self.metrics.unknown.inc();
        Err(Status::unavailable("an interceptor's heartbeats are missing, so a sum of zero can't be told"))
    }

    /// Whether anything at all is in flight, once a second: the interceptors scale between one and many, so nothing is urgent.
    fn all_stream(self) -> impl Stream<Item = bool> + Send {
        futures::stream::unfold((self, None), |(scaler, told)| async move {
            loop {
                match scaler.all_concurrency() {
                    Ok(sum) if told != Some(sum > 0.0) => return Some((sum > 0.0, (scaler, Some(sum > 0.0)))),
                    _ => tokio::time::sleep(Duration::from_secs(1)).await,
                }
            }
        })
    }

    fn active(&self, asked: &Asked) -> Result<bool, Status> {
        match asked {
            Asked::Route(entry) | Asked::Object(entry) => {
                let values = self.values(entry)?;
                self.sayable(entry, &values, if values.active { 1.0 } else { 0.0 })?;
                Ok(values.active)
            }
            Asked::All { .. } => Ok(self.all_concurrency()? > 0.0),
        }
    }
}

/// What is told for one workload.
struct Values {
    concurrency: f64,
    rate: f64,
    active: bool,
    /// An interceptor is missing: its last contribution stands, and no zero may be told.
    zero_is_unknown: bool,
}

/// The add-on's metric name for an `HTTPScaledObject`: `/` is not allowed in it and stands as `_002F`.
fn object_metric(namespace: &str, name: &str) -> String {
    format!("http-{namespace}_002F{name}")
}

fn route_metrics(entry: &Entry) -> (String, String) {
    let name = &entry.workload.id.name;
    (format!("http_{name}_concurrency"), format!("http_{name}_rate"))
}

/// A call without a name asks for all.
fn asks_for(wanted: &str, metric: &str) -> bool {
    wanted.is_empty() || wanted == metric
}

/// KEDA reads the float where it is above zero and the integer otherwise, so both say the same.
fn float_value(metric: String, value: f64) -> MetricValue {
    MetricValue { metric_name: metric, metric_value: ceil(value), metric_value_float: value }
}

fn integer_value(metric: String, value: f64) -> MetricValue {
    MetricValue { metric_name: metric, metric_value: ceil(value), metric_value_float: 0.0 }
}

#[allow(clippy::cast_possible_truncation, reason = "a float cast saturates")]
fn ceil(value: f64) -> i64 {
    value.ceil() as i64
}

fn spec(metric: String, target: u32, float: bool) -> MetricSpec {
    MetricSpec {
        metric_name: metric,
        target_size: i64::from(target),
        target_size_float: if float { f64::from(target) } else { 0.0 },
    }
}

/// What the workload's one integer metric counts: concurrency, unless it scales on the rate alone.
fn object_scales_on_rate(scaling: &Scaling) -> bool {
    scaling.concurrency_target.is_none() && scaling.rate_target.is_some()
}

#[tonic::async_trait]
impl ExternalScaler for Scaler {
    async fn is_active(&self, request: Request<ScaledObjectRef>) -> Result<Response<IsActiveResponse>, Status> {
        self.metrics.is_active.inc();
        let result = self.active(&self.asked(Some(request.get_ref()))?)?;
        Ok(Response::new(IsActiveResponse { result }))
    }

    type StreamIsActiveStream = Pin<Box<dyn Stream<Item = Result<IsActiveResponse, Status>> + Send>>;

    async fn stream_is_active(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        let object = request.get_ref();
        let (states, jitter) = match self.asked(Some(object))? {
            Asked::Route(entry) | Asked::Object(entry) => {
                (activity::stream(self.cell(&entry)).boxed(), tenth(&entry.workload.id))
            }
            Asked::All { .. } => (
                self.clone().all_stream().boxed(),
                tenth(&WorkloadId::new(object.namespace.as_str(), object.name.as_str())),
            ),
        };
        self.metrics.streams_opened.inc();
        let age = self.max_stream_age.mul_f64(1.0 - jitter);
        let stream = states.take_until(ended(self.shutdown.clone(), age));
        let open = OpenStream::new(self.metrics.clone());
        Ok(Response::new(Box::pin(stream.map(move |active| {
            let _ = &open;
            Ok(IsActiveResponse { result: active })
        }))))
    }

    async fn get_metric_spec(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<GetMetricSpecResponse>, Status> {
        self.metrics.get_metric_spec.inc();
        let metric_specs = match self.asked(Some(request.get_ref()))? {
            Asked::Route(entry) => {
                let (concurrency, rate) = route_metrics(&entry);
                let scaling = &entry.workload.scaling;
                let concurrency = scaling.concurrency_target.map(|target| spec(concurrency, target, true));
                concurrency.into_iter().chain(scaling.rate_target.map(|target| spec(rate, target, true))).collect()
            }
            Asked::Object(entry) => {
                let scaling = &entry.workload.scaling;
                let target =
                    if object_scales_on_rate(scaling) { scaling.rate_target } else { scaling.concurrency_target };
                let id = &entry.workload.id;
                target.map(|target| spec(object_metric(&id.namespace, &id.name), target, false)).into_iter().collect()
            }
            Asked::All { metric, target } => {
                vec![MetricSpec { metric_name: metric, target_size: target, target_size_float: 0.0 }]
            }
        };
        Ok(Response::new(GetMetricSpecResponse { metric_specs }))
    }

    async fn get_metrics(&self, request: Request<GetMetricsRequest>) -> Result<Response<GetMetricsResponse>, Status> {
        self.metrics.get_metrics.inc();
        let request = request.get_ref();
        let wanted = request.metric_name.as_str();
        let mut metric_values = match self.asked(request.scaled_object_ref.as_ref())? {
            Asked::Route(entry) => {
                let (concurrency, rate) = route_metrics(&entry);
                let scaling = &entry.workload.scaling;
                let values = self.values(&entry)?;
                let mut told = Vec::with_capacity(2);
                if scaling.concurrency_target.is_some() && asks_for(wanted, &concurrency) {
                    told.push(float_value(concurrency, self.sayable(&entry, &values, values.concurrency)?));
                }
                if scaling.rate_target.is_some() && asks_for(wanted, &rate) {
                    told.push(float_value(rate, self.sayable(&entry, &values, values.rate)?));
                }
                told
            }
            Asked::Object(entry) => {
                let values = self.values(&entry)?;
                let value =
                    if object_scales_on_rate(&entry.workload.scaling) { values.rate } else { values.concurrency };
                let id = &entry.workload.id;
                vec![integer_value(object_metric(&id.namespace, &id.name), self.sayable(&entry, &values, value)?)]
            }
            Asked::All { metric, .. } => vec![integer_value(metric, self.all_concurrency()?)],
        };
        metric_values.retain(|value| asks_for(wanted, &value.metric_name));
        if metric_values.is_empty() {
            return Err(Status::invalid_argument(format!(
                "the trigger has no metric {wanted:?}: GetMetricSpec tells its names"
            )));
        }
        Ok(Response::new(GetMetricsResponse { metric_values }))
    }
}

async fn ended(shutdown: CancellationToken, age: Duration) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = tokio::time::sleep(age) => {}
    }
}

/// A number in 0..0.1 that differs from workload to workload, so that streams opened together do not end together.
fn tenth(id: &WorkloadId) -> f64 {
    let hash = id
        .namespace
        .bytes()
        .chain(id.name.bytes())
        .fold(7_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    f64::from(hash % 1000) / 10_000.0
}

/// Counts a stream as open until it is dropped.
struct OpenStream(Arc<ScalerMetrics>);

impl OpenStream {
    fn new(metrics: Arc<ScalerMetrics>) -> Self {
        metrics.streams_open.inc();
        Self(metrics)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.streams_open.dec();
    }
}

#[cfg(test)]
mod tests;
