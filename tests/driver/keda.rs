//! KEDA, as far as Plimsoll sees it: one connection to a manager, and calls on it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use plimsoll_testkit::wait_until;
use plimsoll_wire::scaler::{
    GetMetricsRequest, IsActiveResponse, MetricSpec, MetricValue, ScaledObjectRef,
    external_scaler_client::ExternalScalerClient,
};
use tokio::time::timeout;
use tonic::{
    Code, Status, Streaming,
    transport::{Channel, Endpoint},
};

/// KEDA sets no deadline, so an answer that takes this long would wedge it.
const LIMIT: Duration = Duration::from_secs(2);

/// From cold parts to a line where an idle workload is known.
const KNOWN_WITHIN: Duration = Duration::from_secs(30);

/// What a trigger's metadata names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// `interceptorRoute: NAME`.
    InterceptorRoute(String),
    /// `httpScaledObject: NAME`.
    HttpScaledObject(String),
    /// `interceptorTargetPendingRequests: N`.
    AllTogether(u32),
}

impl Trigger {
    /// The reference that KEDA sends, from a ScaledObject of the namespace `default`.
    pub(crate) fn reference(&self) -> ScaledObjectRef {
        let (name, key, value) = match self {
            Self::InterceptorRoute(name) => (name.as_str(), "interceptorRoute", name.clone()),
            Self::HttpScaledObject(name) => (name.as_str(), "httpScaledObject", name.clone()),
            Self::AllTogether(target) => ("all-together", "interceptorTargetPendingRequests", target.to_string()),
        };
        ScaledObjectRef {
            name: name.to_owned(),
            namespace: "default".to_owned(),
            scaler_metadata: [(key.to_owned(), value)].into(),
        }
    }

    /// The metric that tells concurrency.
    pub(crate) fn concurrency_metric(&self) -> String {
        match self {
            Self::InterceptorRoute(name) => format!("http_{name}_concurrency"),
            Self::HttpScaledObject(name) => format!("http-default_002F{name}"),
            Self::AllTogether(_) => "http-default_002Fall-together".to_owned(),
        }
    }

    /// The metric that tells requests a second.
    pub(crate) fn rate_metric(&self) -> Option<String> {
        match self {
            Self::InterceptorRoute(name) => Some(format!("http_{name}_rate")),
            Self::HttpScaledObject(_) | Self::AllTogether(_) => None,
        }
    }
}

/// A connection to one manager's scaler.
#[derive(Debug, Clone)]
pub(crate) struct Keda {
    client: ExternalScalerClient<Channel>,
}

impl Keda {
    /// Connects at the first call, and again whenever the connection is lost.
    pub(crate) fn of(scaler: &str) -> Result<Self> {
        let channel = Endpoint::from_shared(format!("http://{scaler}"))
            .with_context(|| format!("{scaler} is no address"))?
            .connect_timeout(LIMIT)
            .tcp_nodelay(true)
            .connect_lazy();
        Ok(Self { client: ExternalScalerClient::new(channel) })
    }

    /// `IsActive`.
    pub(crate) async fn is_active(&self, trigger: &Trigger) -> Result<bool, Status> {
        let (mut client, reference) = (self.client.clone(), trigger.reference());
        in_time(async move { Ok(client.is_active(reference).await?.into_inner().result) }).await
    }

    /// `GetMetrics`; all metrics where `name` is empty.
    pub(crate) async fn metrics(&self, trigger: &Trigger, name: &str) -> Result<Vec<MetricValue>, Status> {
        let mut client = self.client.clone();
        let request = GetMetricsRequest { scaled_object_ref: Some(trigger.reference()), metric_name: name.to_owned() };
        in_time(async move { Ok(client.get_metrics(request).await?.into_inner().metric_values) }).await
    }

    /// `GetMetricSpec`.
    pub(crate) async fn specs(&self, trigger: &Trigger) -> Result<Vec<MetricSpec>, Status> {
        let (mut client, reference) = (self.client.clone(), trigger.reference());
        in_time(async move { Ok(client.get_metric_spec(reference).await?.into_inner().metric_specs) }).await
    }

    /// `StreamIsActive`.
    pub(crate) async fn stream_is_active(&self, trigger: &Trigger) -> Result<Streaming<IsActiveResponse>, Status> {
        let (mut client, reference) = (self.client.clone(), trigger.reference());
        in_time(async move { Ok(client.stream_is_active(reference).await?.into_inner()) }).await
    }
}

/// Waits until each of these workloads, of which nobody asks anything yet, is told as zero.
pub(crate) async fn known_and_idle(scaler: &str, triggers: &[Trigger]) -> Result<()> {
    let keda = Keda::of(scaler)?;
    for trigger in triggers {
        wait_until("an idle workload is known", KNOWN_WITHIN, async || {
            let values = keda.metrics(trigger, "").await?;
            ensure!(value_of(&values, &trigger.concurrency_metric()) == Some(0.0), "{values:?}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

async fn in_time<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    match timeout(LIMIT, call).await {
        Ok(answer) => answer,
        // Not UNAVAILABLE: a call without an answer is never right.
        Err(_) => Err(Status::new(Code::DeadlineExceeded, format!("no answer within {LIMIT:?}"))),
    }
}

/// The number that KEDA takes from a value: the float counts only above zero.
pub(crate) fn number(value: &MetricValue) -> f64 {
    if value.metric_value_float > 0.0 { value.metric_value_float } else { value.metric_value as f64 }
}

/// The value of the metric of this name.
pub(crate) fn value_of(values: &[MetricValue], name: &str) -> Option<f64> {
    values.iter().find(|value| value.metric_name == name).map(number)
}
