//! What can be typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use plimsoll_wire::go_duration;

use super::output::Format;

/// Ends the help of `plimsoll ctl`.
const EXAMPLES: &str = "\
Examples:
  plimsoll ctl workloads --watch              what every workload has, and what KEDA is told of it
  plimsoll ctl explain shop/web               why its topic is where it is, and what was decided about it
  plimsoll ctl plan --drain collector-3       what would move, changing nothing
  plimsoll ctl collectors drain collector-3 --wait
  plimsoll ctl policy set --max-per-host 100  shows what would move first
  plimsoll ctl topics -o json | jq '.items[] | select(.state != \"ready\")'

Exit codes:
  0  done                            4  not as things are (409, 412): it exists, it has changed
  1  something else went wrong       5  not allowed (401, 403): see --token-file
  2  asked for in the wrong way      6  no manager answers, or its store does not (429, 503)
  3  there is no such thing (404)    7  something needs a hand (migrate --check)
130  interrupted (Ctrl-C) before it was done";

/// Settings of `plimsoll ctl`.
#[derive(Debug, Args)]
#[group(skip)]
#[command(after_help = EXAMPLES)]
pub struct Config {
    #[command(flatten)]
    pub connection: Connection,
    /// How to write the answer.
    #[arg(long, short, value_name = "FORMAT", default_value = "table", global = true)]
    pub output: Format,
    /// Look again every second, until Ctrl-C.
    #[arg(long, short, global = true)]
    pub watch: bool,
    #[command(subcommand)]
    pub command: Command,
}

/// Which manager, and as whom.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Connection {
    /// A manager's REST API; any manager will do.
    #[arg(long, env = "PLIMSOLL_SERVER", value_name = "URL", default_value = "http://127.0.0.1:8088", global = true)]
    pub server: String,
    /// The token to show. Better in a file: others on this machine can see what processes were started with.
    #[arg(long, env = "PLIMSOLL_TOKEN", value_name = "TOKEN", hide_env_values = true, global = true)]
    pub token: Option<String>,
    /// A file with the token to show; --token wins over it.
    #[arg(long, env = "PLIMSOLL_TOKEN_FILE", value_name = "FILE", global = true)]
    pub token_file: Option<PathBuf>,
    /// Authorities in PEM form that vouch for an https server; the machine's own if unsaid.
    #[arg(long, env = "PLIMSOLL_CA_FILE", value_name = "FILE", global = true)]
    pub ca_file: Option<PathBuf>,
    /// A client certificate to show, in PEM form.
    #[arg(long, env = "PLIMSOLL_CLIENT_CERT", value_name = "FILE", global = true, requires = "client_key")]
    pub client_cert: Option<PathBuf>,
    /// The private key of --client-cert.
    #[arg(long, env = "PLIMSOLL_CLIENT_KEY", value_name = "FILE", global = true, requires = "client_cert")]
    pub client_key: Option<PathBuf>,
}

/// What can be asked for.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Every workload with its live values, and what KEDA is told.
    Workloads(Workloads),
    /// Every topic: whose it is, which collector reads it, its load. Also adds, deletes, pins and unpins.
    #[command(args_conflicts_with_subcommands = true)]
    Topics(Topics),
    /// The collectors: state, topics, load, lag. Also cordons, drains and takes back.
    #[command(args_conflicts_with_subcommands = true)]
    Collectors(Collectors),
    /// The plan: which collector has which topic, and why.
    Assignment,
    /// What would move, and why, changing nothing.
    Plan(Plan),
    /// Has the load evened out once, small imbalances too.
    Rebalance,
    /// The rule that makes the plan. Also sets and resets it.
    #[command(args_conflicts_with_subcommands = true)]
    Policy(Policy),
    /// What was decided of late: moves and why, collectors' states. With --follow what is decided from now on.
    Events(Events),
    /// What moving from the KEDA HTTP Add-on means for each resource in a cluster. Asks the API server, and changes nothing.
    Migrate(super::migrate::Config),
    /// Plays a day of a fleet, here and without a manager, to compare policies before they are used.
    Simulate(super::simulate::Config),
    /// Why a topic is on its collector, and what KEDA is told.
    Explain {
        /// A topic, or a workload as NAMESPACE/NAME.
        #[arg(value_name = "TOPIC|WORKLOAD")]
        what: String,
    },
}

/// Which workloads.
#[derive(Debug, Args)]
pub struct Workloads {
    /// Only this one, as NAMESPACE/NAME.
    pub workload: Option<String>,
    /// Only those of this namespace.
    #[arg(long, short)]
    pub namespace: Option<String>,
    /// Only those of this provider.
    #[arg(long)]
    pub provider: Option<String>,
    /// Only those with this in their name.
    #[arg(long, short, value_name = "TEXT")]
    pub query: Option<String>,
}

/// Topics: looked at, or changed.
#[derive(Debug, Args)]
pub struct Topics {
    #[command(flatten)]
    pub list: TopicList,
    #[command(subcommand)]
    pub action: Option<TopicAction>,
}

/// Which topics.
#[derive(Debug, Args)]
pub struct TopicList {
    /// Only those of this provider.
    #[arg(long)]
    pub provider: Option<String>,
    /// Only those of this collector.
    #[arg(long)]
    pub collector: Option<String>,
    /// Only those in this state: unassigned, warming, ready, moving, unknown, retired, removing.
    #[arg(long)]
    pub state: Option<String>,
    /// Only those with this in their name or their workload's.
    #[arg(long, short, value_name = "TEXT")]
    pub query: Option<String>,
}

/// What can be done with a topic.
#[derive(Debug, Subcommand)]
pub enum TopicAction {
    /// Lists them, as without a word.
    List(TopicList),
    /// Registers the topic of a workload that no resource describes.
    Add {
        /// The workload, as NAMESPACE/NAME.
        workload: String,
        /// Where it runs.
        #[arg(long, default_value = "default")]
        provider: String,
        /// Give it a collector of its own.
        #[arg(long)]
        dedicated: bool,
    },
    /// Deletes a topic that was registered by hand, or whose workload is gone.
    Delete {
        /// The topic, or its workload as NAMESPACE/NAME.
        topic: String,
    },
    /// Has a topic read by this collector, while that is there and well.
    Pin {
        /// The topic, or its workload as NAMESPACE/NAME.
        topic: String,
        /// The collector.
        collector: String,
    },
    /// Lets a pinned topic go where the balance wants it.
    Unpin {
        /// The topic, or its workload as NAMESPACE/NAME.
        topic: String,
    },
}

/// Collectors: looked at, or changed.
#[derive(Debug, Args)]
pub struct Collectors {
    #[command(flatten)]
    pub list: CollectorList,
    #[command(subcommand)]
    pub action: Option<CollectorAction>,
}

/// Which collectors.
#[derive(Debug, Args)]
pub struct CollectorList {
    /// Only those of this provider.
    #[arg(long)]
    pub provider: Option<String>,
    /// Only those in this state.
    #[arg(long)]
    pub state: Option<String>,
}

/// What can be done with a collector.
#[derive(Debug, Subcommand)]
pub enum CollectorAction {
    /// Lists them, as without a word.
    List(CollectorList),
    /// Keeps it from getting more topics; what it has it keeps.
    Cordon {
        /// The collector.
        collector: String,
    },
    /// Lets it have topics again, after a cordon or a drain.
    Uncordon {
        /// The collector.
        collector: String,
    },
    /// Empties it; each topic moves when its new collector has read it. It stays empty until it is uncordoned.
    Drain {
        /// The collector.
        collector: String,
        /// Wait until it is empty, and say how far it is.
        #[arg(long)]
        wait: bool,
        /// With --wait: give up after this time. The drain goes on.
        #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = go_duration::parse)]
        timeout: Duration,
    },
}

/// What is to be tried.
#[derive(Debug, Default, Args)]
pub struct Plan {
    /// As if this collector were drained. May be repeated.
    #[arg(long, value_name = "COLLECTOR")]
    pub drain: Vec<String>,
    /// As if this collector were lost. May be repeated.
    #[arg(long, value_name = "COLLECTOR")]
    pub lose: Vec<String>,
    /// Even out small imbalances too.
    #[arg(long)]
    pub rebalance: bool,
    #[command(flatten)]
    pub policy: PolicyFields,
}

/// The policy: looked at, or changed.
#[derive(Debug, Args)]
pub struct Policy {
    #[command(subcommand)]
    pub action: Option<PolicyAction>,
}

/// What can be done with the policy.
#[derive(Debug, Subcommand)]
pub enum PolicyAction {
    /// Shows it, as without a word.
    Get,
    /// Sets it: what is not said stays as it is. Shows what would move first.
    Set {
        #[command(flatten)]
        fields: PolicyFields,
        /// Only show what would move.
        #[arg(long)]
        dry_run: bool,
    },
    /// Resets it to what the managers' flags say.
    Reset,
}

/// Fields of a policy.
#[derive(Debug, Default, Args)]
pub struct PolicyFields {
    /// How topics are grouped: max-per-host or per-provider.
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
    /// Topics a collector.
    #[arg(long, value_name = "N")]
    pub max_per_host: Option<u32>,
    /// Collectors at least.
    #[arg(long, value_name = "N")]
    pub min_collectors: Option<u32>,
    /// Collectors at most.
    #[arg(long, value_name = "N")]
    pub max_collectors: Option<u32>,
}

impl PolicyFields {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        let Self { kind, max_per_host, min_collectors, max_collectors } = self;
        kind.is_none() && max_per_host.is_none() && min_collectors.is_none() && max_collectors.is_none()
    }
}

/// Which events.
#[derive(Debug, Args)]
pub struct Events {
    /// Go on with what is decided from now on, until Ctrl-C.
    #[arg(long, short)]
    pub follow: bool,
    /// Only the newest of those that have been.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub limit: usize,
    /// Only those about this topic.
    #[arg(long)]
    pub topic: Option<String>,
    /// Only those about this collector.
    #[arg(long)]
    pub collector: Option<String>,
}
