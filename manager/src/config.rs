//! The manager's settings.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use plimsoll_scheduler::policy::{Policy, PolicyKind};
use plimsoll_scheduler::scale::Settings;
use plimsoll_wire::go_duration;

use crate::rest::RestConfig;
use crate::scaler::ScalerConfig;

/// Settings of the control plane; each flag has an environment variable.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Config {
    /// This manager's name, unique among managers; it names the leader and the writer of a plan. Default: host name and process id.
    #[arg(long, env = "PLIMSOLL_MANAGER_NAME")]
    pub manager_name: Option<String>,

    /// Where the REST API, the probes and /metrics listen.
    #[arg(long, env = "PLIMSOLL_API_LISTEN", value_name = "ADDR:PORT", default_value = "0.0.0.0:8088")]
    pub api_listen: SocketAddr,

    /// Where KEDA's external scaler (gRPC) listens.
    #[arg(long, env = "PLIMSOLL_SCALER_LISTEN", value_name = "ADDR:PORT", default_value = "0.0.0.0:9090")]
    pub scaler_listen: SocketAddr,

    /// A workload stays active for this long after its last request arrived. Keep it at or above KEDA's polling interval, or short
    /// requests between two polls look like silence.
    #[arg(long, env = "PLIMSOLL_ACTIVITY_WINDOW", value_name = "DURATION", default_value = "30s", value_parser = go_duration::parse)]
    pub activity_window: Duration,

    /// The rule that makes the assignment: `max-per-host` lets any collector read any topic; `per-provider` keeps each provider's topics on
    /// that provider's collectors. A policy set through the API wins over these four flags until it is reset.
    #[arg(long, env = "PLIMSOLL_POLICY", value_name = "max-per-host|per-provider", default_value = "max-per-host", value_parser = policy_kind)]
    pub policy: PolicyKind,

    /// Topics for each collector at most. Exceeded only while all collectors are full.
    #[arg(long, env = "PLIMSOLL_MAX_PER_HOST", value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_per_host: u32,

    /// Collectors to have at least (for each provider, under `per-provider`).
    #[arg(long, env = "PLIMSOLL_MIN_COLLECTORS", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub min_collectors: u32,

    /// Collectors to have at most (for each provider, under `per-provider`).
    #[arg(long, env = "PLIMSOLL_MAX_COLLECTORS", value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_collectors: u32,

    /// Fewer collectors must have been enough for this long before the last one is emptied and stopped (fleets that the manager can scale).
    #[arg(long, env = "PLIMSOLL_SCALE_IN_AFTER", value_name = "DURATION", default_value = "5m", value_parser = go_duration::parse)]
    pub scale_in_after: Duration,

    /// A collector that has been lost for this long is replaced by one more. Shorter than a restart takes, and each restart makes one more.
    #[arg(long, env = "PLIMSOLL_REPLACE_AFTER", value_name = "DURATION", default_value = "1m", value_parser = go_duration::parse)]
    pub replace_after: Duration,

    /// So much more topics and load, in percent, must fit on the collectors that there are; else one more is started before it is needed.
    #[arg(long, env = "PLIMSOLL_HEADROOM_PERCENT", value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1_000))]
    pub headroom_percent: u32,

    /// What the topics of a collector may weigh together on average, in frames a second (`load` in the lists of topics and collectors): with
    /// more, another collector is started. Default: only the number of topics counts.
    #[arg(long, env = "PLIMSOLL_MAX_LOAD", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_load: Option<u32>,

    /// A workload's topic is deleted this long after the workload has gone.
    #[arg(long, env = "PLIMSOLL_TOPIC_GRACE", value_name = "DURATION", default_value = "10m", value_parser = go_duration::parse)]
    pub topic_grace: Duration,

    /// A stream of KEDA's is ended (and opened anew by KEDA) at this age, less up to a tenth.
    #[arg(long, env = "PLIMSOLL_MAX_STREAM_AGE", value_name = "DURATION", default_value = "1h", value_parser = at_least_a_second)]
    pub max_stream_age: Duration,

    /// How KEDA reaches the scaler.
    #[command(flatten)]
    pub scaler: ScalerConfig,

    /// Who reaches the REST API, and how.
    #[command(flatten)]
    pub rest: RestConfig,
}

/// Shorter, and KEDA would do nothing but open streams.
fn at_least_a_second(text: &str) -> Result<Duration, String> {
    let duration = go_duration::parse(text).map_err(|error| error.to_string())?;
    if duration < Duration::from_secs(1) { Err("at least 1s".to_owned()) } else { Ok(duration) }
}

fn policy_kind(text: &str) -> Result<PolicyKind, String> {
    match text {
        "max-per-host" => Ok(PolicyKind::MaxPerHost),
        "per-provider" => Ok(PolicyKind::PerProvider),
        _ => Err(format!("{text:?} is none; write max-per-host or per-provider")),
    }
}

impl Config {
    /// The policy, where operators have set no other.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let Self { policy: kind, max_per_host, min_collectors, max_collectors, .. } = *self;
        Policy { kind, max_per_host, min_collectors, max_collectors }
    }

    /// How eagerly the fleet is scaled.
    #[must_use]
    pub fn scale(&self) -> Settings {
        Settings {
            quiet: self.scale_in_after,
            replace_after: self.replace_after,
            headroom_percent: self.headroom_percent,
            max_load: self.max_load.map(f64::from),
        }
    }

    /// The manager's name as given, or one made of host and process.
    #[must_use]
    pub fn name(&self) -> String {
        self.manager_name.clone().unwrap_or_else(|| format!("{}-{}", host(), std::process::id()))
    }

    /// What the collectors are called that this manager runs itself: the same after a restart, since the plan names them.
    #[must_use]
    pub fn collectors_prefix(&self) -> String {
        format!("{}-collector", self.manager_name.clone().unwrap_or_else(host))
    }
}

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}
