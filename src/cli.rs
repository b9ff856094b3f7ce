//! The command line: one program, one subcommand for each part.

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Args, Parser, Subcommand, ValueEnum};
use plimsoll_cluster::Access;
use plimsoll_manager::operator::AuthenticationRef;
use plimsoll_wire::log::kafka::LogClient;

use crate::fleet::FleetFlags;
use crate::{ctl, demo, dev, health, one_host, top};

mod store;

pub use store::{Kind, Place, Store};

/// Plimsoll scales HTTP workloads on their real request load, down to zero and back.
#[derive(Debug, Parser)]
#[command(
    name = "plimsoll",
    version,
    about,
    max_term_width = 110,
    after_help = "Start with `plimsoll dev`: everything in one process, with a demo workload that wakes from zero."
)]
pub struct Cli {
    #[command(flatten)]
    pub logging: Logging,
    #[command(subcommand)]
    pub command: Command,
}

/// What this process writes of itself, to standard error.
#[derive(Debug, Clone, Args)]
pub struct Logging {
    /// What to log: a level, or `target=level` pairs (`info,plimsoll_manager=debug`). Default: info; in `dev` warn.
    #[arg(long, env = "PLIMSOLL_LOG", value_name = "FILTER", global = true)]
    pub log: Option<String>,
    /// How to write log lines.
    #[arg(long, env = "PLIMSOLL_LOG_FORMAT", value_name = "FORMAT", default_value = "text", global = true)]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The parts.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Everything in one process, nothing to set up: a demo workload goes from zero up and back under your requests.
    Dev(Box<dev::Config>),
    /// The reverse proxy: routes, holds cold starts, forwards, counts, and publishes each workload's load to the log.
    Interceptor(Box<Interceptor>),
    /// A worker: reads the topics it is assigned and turns them into concurrency and request rate.
    Collector(Box<Collector>),
    /// The control plane: assigns topics to collectors, answers KEDA, and serves the REST API.
    Manager(Box<Manager>),
    /// Scales containers of a Docker engine by what a manager says, as KEDA and the HPA scale pods: for one host, as with Docker Compose.
    Autoscaler(Box<one_host::command::Config>),
    /// Answers requests: something to scale, as `dev` has it. `/?sleep=200ms` makes it answer later.
    Demo(demo::Config),
    /// Asks a probe, and ends with 0 where it is well: the health check of containers that have no curl.
    Health(health::Config),
    /// Asks a manager, and has it change things: workloads, topics, collectors, the plan, the policy.
    Ctl(Box<ctl::Config>),
    /// Workloads by load, collectors and moves, live in this terminal.
    Top(Box<top::Config>),
    /// Writes the definitions of the custom resources to standard output: `plimsoll crds | kubectl apply --server-side -f -`.
    Crds,
    /// Writes a shell's completions of this command to standard output: `source <(plimsoll completions bash)`.
    Completions {
        /// Which shell's.
        shell: clap_complete::Shell,
    },
    /// Writes the reference pages of the guide (flags, metrics, API) into a folder.
    #[command(hide = true)]
    Reference {
        /// Where to.
        folder: PathBuf,
    },
}

/// `plimsoll interceptor`.
#[derive(Debug, Args)]
pub struct Interceptor {
    #[command(flatten)]
    pub config: plimsoll_interceptor::Config,
    #[command(flatten)]
    pub routes: Routes,
    #[command(flatten)]
    pub kubernetes: Access,
    #[command(flatten)]
    pub log: Log,
}

/// `plimsoll collector`.
#[derive(Debug, Args)]
pub struct Collector {
    #[command(flatten)]
    pub config: plimsoll_collector::Config,
    /// The node that this collector runs on (in a pod: `spec.nodeName`): its provider is that of the node's `spec.providerID`, in place
    /// of --provider. Needs the permission to `get` nodes.
    #[arg(
        long,
        env = "PLIMSOLL_NODE_NAME",
        value_name = "NODE",
        conflicts_with = "provider",
        help_heading = "Kubernetes"
    )]
    pub node_name: Option<String>,
    /// A folder that all collectors of this host share, in place of --collector-id: each takes the first name (`collector-1`, ...) that no
    /// other one there has. So collectors that nobody numbers have the same names after all of them were replaced, and the plan still fits.
    #[arg(long, env = "PLIMSOLL_COLLECTOR_NAMES", value_name = "FOLDER", conflicts_with = "collector_id")]
    pub collector_names: Option<PathBuf>,
    #[command(flatten)]
    pub kubernetes: Access,
    #[command(flatten)]
    pub log: Log,
    #[command(flatten)]
    pub store: Store,
}

/// `plimsoll manager`.
#[derive(Debug, Args)]
pub struct Manager {
    #[command(flatten)]
    pub config: plimsoll_manager::Config,
    #[command(flatten)]
    pub fleet: FleetFlags,
    #[command(flatten)]
    pub kubernetes: Access,
    #[command(flatten)]
    pub routes: Routes,
    /// With --cluster: make the ScaledObjects and write the `Ready` conditions of the resources. `false` leaves both to somebody else,
    /// as to the KEDA HTTP Add-on while it is still there.
    #[arg(long, env = "PLIMSOLL_OPERATOR", value_name = "true|false", default_value_t = true, action = clap::ArgAction::Set)]
    pub operator: bool,
    /// Where KEDA reaches this manager's scaler: what the ScaledObjects say that the operator makes (--cluster). Default:
    /// plimsoll-manager.NAMESPACE:9090, with this pod's namespace.
    #[arg(long, env = "PLIMSOLL_SCALER_ADDRESS", value_name = "HOST:PORT")]
    pub scaler_address: Option<String>,
    /// What the ScaledObjects say that the operator makes: whether KEDA speaks TLS to the scaler (`enableTLS`). Default: true with
    /// --scaler-tls-cert. Say it where something else between KEDA and this manager speaks TLS.
    #[arg(long, env = "PLIMSOLL_SCALER_TLS", value_name = "true|false", action = clap::ArgAction::Set)]
    pub scaler_tls: Option<bool>,
    /// What these ScaledObjects then name as `authenticationRef`, which gives KEDA `caCert`, and `tlsClientCert` and `tlsClientKey`:
    /// a ClusterTriggerAuthentication, or a TriggerAuthentication that is in each resource's namespace. Default: what each
    /// ScaledObject has there stays.
    #[arg(long, env = "PLIMSOLL_SCALER_AUTHENTICATION_REF", value_name = "[ClusterTriggerAuthentication/]NAME")]
    pub scaler_authentication_ref: Option<AuthenticationRef>,
    #[command(flatten)]
    pub log: Log,
    #[command(flatten)]
    pub store: Store,
}

/// Where the workloads are described: in files, or in a cluster.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Routes {
    /// A YAML file, or a folder of them, of `InterceptorRoute` and `HTTPScaledObject` resources. Reloaded when they change; a bad
    /// resource is named and skipped.
    #[arg(
        long,
        env = "PLIMSOLL_ROUTES",
        value_name = "FILE|FOLDER",
        required_unless_present = "cluster",
        conflicts_with = "cluster"
    )]
    pub routes: Option<PathBuf>,
    /// Take the resources from the Kubernetes cluster that --kubeconfig or this pod's service account leads to, with the endpoints of
    /// their Services. While its API server is away, what is known stays.
    #[arg(long, env = "PLIMSOLL_CLUSTER")]
    pub cluster: bool,
    /// The one namespace to look at in the cluster; empty is all of them.
    #[arg(long, env = "PLIMSOLL_WATCH_NAMESPACE", value_name = "NAME", default_value = watched_by_addon())]
    pub watch_namespace: String,
}

/// The add-on's own variable counts where ours says nothing.
fn watched_by_addon() -> &'static str {
    // Once for each process: the command line is built once.
    std::env::var("KEDA_HTTP_WATCH_NAMESPACE").unwrap_or_default().leak()
}

/// The log: Kafka.
#[derive(Debug, Clone, Args)]
pub struct Log {
    /// Kafka's brokers.
    #[arg(long, env = "PLIMSOLL_KAFKA", value_name = "HOST:PORT,..")]
    pub kafka: String,
    #[command(flatten)]
    pub client: KafkaClient,
}

/// Settings of the Kafka client.
#[derive(Debug, Clone, Default, Args)]
pub struct KafkaClient {
    /// A setting of the Kafka client (any librdkafka key), as for SASL and TLS: `--kafka-config security.protocol=ssl`. Repeat for more; in the environment separate them by ';'.
    #[arg(long, env = "PLIMSOLL_KAFKA_CONFIG", value_name = "KEY=VALUE", value_delimiter = ';', value_parser = KafkaSetting,
        hide_env_values = true)]
    pub kafka_config: Vec<(String, String)>,
    /// What appends to Kafka: `direct` puts all topics of a batch into one request; `rdkafka` is slower, and has what only librdkafka
    /// has, such as Kerberos.
    #[arg(long, env = "PLIMSOLL_LOG_CLIENT", value_name = "direct|rdkafka", default_value = LogClient::default().name(), value_parser = log_client)]
    pub log_client: LogClient,
    /// Read through the `direct` client too: many topics in one request. `false` reads through librdkafka, which takes more and leaves
    /// values unknown more often while a broker hangs.
    #[arg(long, env = "PLIMSOLL_DIRECT_READING", value_name = "true|false", default_value_t = true, action = clap::ArgAction::Set)]
    pub direct_reading: bool,
}

/// Reads `KEY=VALUE`. What it refuses it does not repeat, as clap does with errors of plain functions: it may be the rest of a password
/// that has a ';'.
#[derive(Debug, Clone, Copy)]
struct KafkaSetting;

impl TypedValueParser for KafkaSetting {
    type Value = (String, String);

    fn parse_ref(&self, command: &clap::Command, _: Option<&Arg>, text: &OsStr) -> Result<Self::Value, clap::Error> {
        let said = text.to_str().and_then(|text| text.split_once('='));
        match said {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(clap::Error::raw(ErrorKind::ValueValidation, NO_SETTING).with_cmd(command)),
        }
    }
}

const NO_SETTING: &str = "a setting of --kafka-config (or PLIMSOLL_KAFKA_CONFIG) is no KEY=VALUE. It is not shown, as it may be part of \
                          a secret. A ';' ends a setting: a value, such as a password, can't have one\n";

fn log_client(text: &str) -> Result<LogClient, String> {
    let found = LogClient::ALL.into_iter().find(|client| client.name() == text);
    found.ok_or_else(|| format!("{text:?} is none; write direct or rdkafka"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_secret_that_is_cut_in_two_is_not_repeated() {
        let collector = ["plimsoll", "collector", "--kafka=kafka:9092", "--etcd=etcd:2379"];
        let with = |setting: &str| Cli::try_parse_from(collector.into_iter().chain(["--kafka-config", setting]));
        let error = with("sasl.username=me;sasl.password=first;second").unwrap_err().to_string();
        assert!(!error.contains("first") && !error.contains("second"), "{error}");
        assert!(error.contains("PLIMSOLL_KAFKA_CONFIG"), "{error}");
        let Command::Collector(collector) = with("sasl.username=me;sasl.password=a=b").unwrap().command else {
            panic!("it is a collector")
        };
        let settings = [("sasl.username", "me"), ("sasl.password", "a=b")];
        let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(collector.log.client.kafka_config, settings);
    }

    #[test]
    fn settings_of_the_environment_are_not_shown_by_help() {
        for part in ["dev", "interceptor", "collector", "manager"] {
            let mut command = Cli::command();
            let part = command.find_subcommand_mut(part).unwrap();
            let setting = part.get_arguments().find(|argument| argument.get_id() == "kafka_config").unwrap();
            assert!(setting.is_hide_env_values_set());
        }
    }
}
