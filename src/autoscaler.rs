//! A small local autoscaler that asks the gRPC scaler just as KEDA and the HPA do: for `plimsoll dev`, and for containers on one host.
//!
//! KEDA's part: `StreamIsActive` wakes from zero, `IsActive` at each poll keeps awake, and inactivity for the cool-down goes to zero. The HPA's part: between one and
//! the maximum, the replicas that the metrics ask for, at once upwards and after a stabilisation window downwards.

// By its path: the tests of a whole cluster have this file too.
#[path = "autoscaler/decide.rs"]
mod decide;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use clap::Args;
use parking_lot::Mutex;
use plimsoll_wire::go_duration;
use plimsoll_wire::resources::{Kind, Workload};
use plimsoll_wire::scaler::external_scaler_client::ExternalScalerClient;
use plimsoll_wire::scaler::{GetMetricsRequest, ScaledObjectRef};
use plimsoll_wire::topic::WorkloadId;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::{Channel, Endpoint};

use decide::{Decision, Metric, Scaled, Why};

/// The autoscaler's times, KEDA's and the HPA's shortened.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Autoscaler")]
#[group(skip)]
pub struct Config {
    /// How often the values are polled (KEDA: 30 s, the HPA: 15 s).
    #[arg(long, env = "PLIMSOLL_POLL_INTERVAL", value_name = "DURATION", default_value = "1s", value_parser = go_duration::parse)]
    poll_interval: Duration,
    /// To zero after this long without activity (KEDA: 300 s).
    #[arg(long, env = "PLIMSOLL_COOLDOWN", value_name = "DURATION", default_value = "10s", value_parser = go_duration::parse)]
    cooldown: Duration,
    /// Fewer replicas only when fewer have been enough for this long (the HPA: 300 s).
    #[arg(long, env = "PLIMSOLL_SCALE_DOWN_WINDOW", value_name = "DURATION", default_value = "5s", value_parser = go_duration::parse)]
    scale_down_window: Duration,
    /// Replicas of a workload at most, unless its resource says so.
    #[arg(long, env = "PLIMSOLL_MAX_REPLICAS", value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    max_replicas: u32,
}

/// The deadline of a call: KEDA sets none, but a demo should not hang.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// KEDA opens a failed stream anew after 2 s.
const STREAM_RETRY: Duration = Duration::from_secs(2);

/// Polls that fail for longer than this are worth saying: at the start nothing is known for a moment.
const TROUBLE_AFTER: Duration = Duration::from_secs(3);
/// A manager that hangs is left for another one after this long: a ping without an answer says so.
const PING_EVERY: Duration = Duration::from_secs(2);
const PONG_WITHIN: Duration = Duration::from_secs(3);

/// What runs of one workload, and can be more or fewer.
#[async_trait]
pub trait Replicas: Send {
    /// How many run, as far as is known; those that are on their way out are not counted.
    fn count(&self) -> usize;

    /// How many there can be, where there can't be any number.
    fn limit(&self) -> Option<usize> {
        None
    }

    /// Looks how many run now; how those ended that ended by themselves.
    async fn look(&mut self) -> Result<Vec<String>>;

    /// Starts or stops some until so many run. On an error fewer do.
    async fn scale_to(&mut self, wanted: usize) -> Result<()>;

    /// The autoscaler ends.
    async fn end(self: Box<Self>);
}

/// Makes the replicas of a workload, of which none or some may run already.
pub type Make = Arc<dyn Fn(&WorkloadId) -> Box<dyn Replicas> + Send + Sync>;

/// What keeps workloads from being scaled just now.
#[derive(Debug, Clone, Default)]
pub struct Troubles(Arc<Mutex<BTreeMap<WorkloadId, String>>>);

impl Troubles {
    /// A line for each workload that can't be scaled.
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().iter().map(|(workload, what)| format!("{workload}: {what}")).collect()
    }

    fn set(&self, workload: &WorkloadId, what: &str) {
        self.0.lock().insert(workload.clone(), what.to_owned());
    }

    fn clear(&self, workload: &WorkloadId) {
        self.0.lock().remove(workload);
    }
}

/// Polls fail.
struct Trouble {
    since: Instant,
    said: Option<String>,
}

/// What scales one workload.
struct Task {
    described: watch::Sender<Workload>,
    stop: CancellationToken,
    ended: JoinHandle<()>,
}

/// What it needs.
pub struct Autoscaler {
    pub config: Config,
    pub scaler: Channel,
    pub make: Make,
    pub troubles: Troubles,
}

/// A way to the scaler at `HOST:PORT`. It connects when it is needed, and again when the connection is lost or hangs.
pub fn scaler(address: &str) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .with_context(|| format!("{address:?} is no address of a scaler: write HOST:PORT"))?;
    Ok(endpoint
        .connect_timeout(CALL_TIMEOUT)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN)
        .keep_alive_while_idle(true)
        .connect_lazy())
}

impl Autoscaler {
    /// Scales every workload until shutdown, then lets all replicas end as they are meant to.
    pub async fn run(self, mut workloads: watch::Receiver<Arc<Vec<Workload>>>, shutdown: CancellationToken) {
        let this = Arc::new(self);
        let tasks = TaskTracker::new();
        let mut scaled: BTreeMap<WorkloadId, Task> = BTreeMap::new();
        loop {
            let current = workloads.borrow_and_update().clone();
            scaled.retain(|id, task| {
                let stays = current.iter().any(|workload| workload.id == *id);
                if !stays {
                    task.stop.cancel();
                }
                // It may come back before its replicas have ended.
                stays || !task.ended.is_finished()
            });
            for workload in current.iter() {
                let running = scaled.get(&workload.id).filter(|task| !task.stop.is_cancelled());
                if let Some(task) = running {
                    task.described.send_if_modified(|known| {
                        let differs = known != workload;
                        if differs {
                            known.clone_from(workload);
                        }
                        differs
                    });
                    continue;
                }
                let before = scaled.remove(&workload.id).map(|task| task.ended);
                let stop = shutdown.child_token();
                let (described, description) = watch::channel(workload.clone());
                let (this, task_stop) = (this.clone(), stop.clone());
                let ended = tasks.spawn(async move {
                    // Two tasks of one workload would take each other's replicas away.
                    if let Some(before) = before {
                        let _ = before.await;
                    }
                    this.scale(description, task_stop).await;
                });
                scaled.insert(workload.id.clone(), Task { described, stop, ended });
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                changed = workloads.changed() => if changed.is_err() { shutdown.cancelled().await; break },
            }
        }
        tasks.close();
        tasks.wait().await;
    }

    /// Scales one workload.
    async fn scale(&self, mut described: watch::Receiver<Workload>, stop: CancellationToken) {
        let mut workload = described.borrow_and_update().clone();
        let mut replicas = (self.make)(&workload.id);
        let mut object = scaled_object(&workload);
        let (pushed, mut pushes) = mpsc::channel(1);
        let (streamed, stream_of) = watch::channel(object.clone());
        let streaming = tokio::spawn(stream(self.scaler.clone(), stream_of, pushed, stop.clone()));
        let (min, max) = self.bounds(&workload, None);
        let mut scaled = Scaled::new(min, max, self.config.cooldown, self.config.scale_down_window);
        let mut polls = tokio::time::interval(self.config.poll_interval.max(Duration::from_millis(10)));
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut client = ExternalScalerClient::new(self.scaler.clone());
        let (mut trouble, mut failed): (Option<Trouble>, Option<String>) = (None, None);
        loop {
            let decision = tokio::select! {
                () = stop.cancelled() => break,
                // An edited resource keeps its replicas.
                Ok(()) = described.changed() => {
                    workload = described.borrow_and_update().clone();
                    object = scaled_object(&workload);
                    streamed.send_if_modified(|known| std::mem::replace(known, object.clone()) != object);
                    let (min, max) = self.bounds(&workload, replicas.limit());
                    scaled.set_bounds(min, max);
                    continue;
                }
                // The last poll may have seen none, or nothing at all, where more run now: all but one of them would be stopped.
                Some(()) = pushes.recv() => {
                    running(&workload.id, replicas.as_mut()).await.map(|now| scaled.pushed(Instant::now(), now))
                }
                _ = polls.tick() => {
                    let polled = round(&mut client, &object, &workload.id, replicas.as_mut()).await;
                    polled.map(|(active, metrics)| {
                        trouble = None;
                        self.troubles.clear(&workload.id);
                        let (min, max) = self.bounds(&workload, replicas.limit());
                        scaled.set_bounds(min, max);
                        scaled.polled(Instant::now(), replicas.count(), active, &metrics)
                    })
                }
            };
            let decision = decision.unwrap_or_else(|error| {
                let trouble = trouble.get_or_insert_with(|| Trouble { since: Instant::now(), said: None });
                self.complain(trouble, &workload.id, replicas.count(), &error);
                None
            });
            // Where there can be none, nothing is asked to start.
            if let Some(Decision { replicas: wanted, why }) = decision.filter(|_| replicas.limit() != Some(0)) {
                let before = replicas.count();
                // A program may take long to listen; a stop does not wait for it.
                let outcome = tokio::select! {
                    () = stop.cancelled() => break,
                    outcome = replicas.scale_to(wanted) => outcome,
                };
                let error = outcome.err().map(|error| format!("can't scale to {wanted}: {error:#}"));
                if let Some(error) = error.as_ref().filter(|error| failed.as_ref() != Some(error)) {
                    say(&workload.id, error);
                }
                failed = error;
                if replicas.count() != before {
                    say(&workload.id, &format!("{before} -> {} replicas: {}", replicas.count(), reason(&why)));
                }
            }
        }
        self.troubles.clear(&workload.id);
        // It ends with the stop token.
        let _ = streaming.await;
        replicas.end().await;
    }

    /// Replicas at least and at most.
    fn bounds(&self, workload: &Workload, limit: Option<usize>) -> (u32, u32) {
        let scaling = &workload.scaling;
        let most = scaling.max_replicas.unwrap_or(self.config.max_replicas);
        let limit = limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(u32::MAX);
        (scaling.min_replicas.unwrap_or(0).min(limit), most.min(limit))
    }

    /// Polls have failed for a while: that is worth a line, once for each reason.
    fn complain(&self, trouble: &mut Trouble, workload: &WorkloadId, replicas: usize, error: &anyhow::Error) {
        let error = format!("{error:#}");
        if trouble.since.elapsed() < TROUBLE_AFTER {
            return;
        }
        self.troubles.set(workload, &error);
        if trouble.said.as_ref() != Some(&error) {
            say(workload, &format!("stays at {replicas}: {error}"));
            trouble.said = Some(error);
        }
    }
}

/// One look at the replicas, and one poll.
async fn round(
    client: &mut ExternalScalerClient<Channel>,
    object: &ScaledObjectRef,
    workload: &WorkloadId,
    replicas: &mut dyn Replicas,
) -> Result<(bool, Vec<Metric>)> {
    poll(client, object, running(workload, replicas).await?).await
}

/// How many replicas run now.
async fn running(workload: &WorkloadId, replicas: &mut dyn Replicas) -> Result<usize> {
    for ended in replicas.look().await? {
        say(workload, &ended);
    }
    Ok(replicas.count())
}

fn reason(why: &Why) -> String {
    match why {
        Why::Pushed => "a request came (StreamIsActive)".to_owned(),
        Why::Active => "active (IsActive)".to_owned(),
        Why::Idle(time) => format!("inactive for {:.0} s", time.as_secs_f64()),
        Why::Metric { name, value, target } => format!("{name} is {value:.1}, {target} for each replica"),
        Why::Bounds => "within its bounds".to_owned(),
    }
}

/// A line for who watches. One that can't be written, as on a full disk, is lost: the workload is scaled all the same.
pub fn say(workload: &WorkloadId, what: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{workload}: {what}");
}

/// The trigger that KEDA would send.
fn scaled_object(workload: &Workload) -> ScaledObjectRef {
    let key = match workload.kind {
        Kind::InterceptorRoute => "interceptorRoute",
        Kind::HttpScaledObject => "httpScaledObject",
    };
    ScaledObjectRef {
        name: workload.id.name.clone(),
        namespace: workload.id.namespace.clone(),
        scaler_metadata: [(key.to_owned(), workload.id.name.clone())].into(),
    }
}

/// Passes every `true` on. A stream that ends is opened again: at once after OK, after 2 s on an error, as KEDA does.
async fn stream(
    channel: Channel,
    mut object: watch::Receiver<ScaledObjectRef>,
    pushed: mpsc::Sender<()>,
    stop: CancellationToken,
) {
    let mut client = ExternalScalerClient::new(channel);
    let mut once = async |object: ScaledObjectRef| -> Result<(), tonic::Status> {
        let mut states = client.stream_is_active(object).await?.into_inner();
        while let Some(state) = states.message().await? {
            if state.result {
                // One that waits already says the same.
                let _ = pushed.try_send(());
            }
        }
        Ok(())
    };
    loop {
        let asked = object.borrow_and_update().clone();
        let outcome = tokio::select! {
            () = stop.cancelled() => return,
            outcome = once(asked) => outcome,
            Ok(()) = object.changed() => Ok(()),
        };
        let pause = if outcome.is_ok() { Duration::from_millis(10) } else { STREAM_RETRY };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One poll: KEDA's `IsActive`, and the HPA's metrics where there is something to scale.
async fn poll(
    client: &mut ExternalScalerClient<Channel>,
    object: &ScaledObjectRef,
    replicas: usize,
) -> Result<(bool, Vec<Metric>)> {
    let calls = async {
        let active = client.is_active(object.clone()).await.map_err(told)?.into_inner().result;
        let mut metrics = Vec::new();
        if replicas > 0 {
            for spec in client.get_metric_spec(object.clone()).await.map_err(told)?.into_inner().metric_specs {
                let request = GetMetricsRequest {
                    scaled_object_ref: Some(object.clone()),
                    metric_name: spec.metric_name.clone(),
                };
                let values = client.get_metrics(request).await.map_err(told)?.into_inner().metric_values;
                let value = values
                    .iter()
                    .find(|value| value.metric_name == spec.metric_name)
                    .context("GetMetrics left out the metric asked for")?;
                metrics.push(Metric::new(
                    spec.metric_name,
                    value.metric_value_float,
                    value.metric_value,
                    spec.target_size_float,
                    spec.target_size,
                ));
            }
        }
        anyhow::Ok((active, metrics))
    };
    tokio::time::timeout(CALL_TIMEOUT, calls)
        .await
        .with_context(|| format!("the scaler did not answer within {} s", CALL_TIMEOUT.as_secs()))?
}

fn told(status: tonic::Status) -> anyhow::Error {
    anyhow::anyhow!("{}", status.message())
}
