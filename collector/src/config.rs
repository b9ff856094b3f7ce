//! The collector's settings.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::Args;

/// Settings of a collector; each flag has an environment variable.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Config {
    /// This collector's name, unique among collectors and the same after a restart: the plan names it. Default: the host's name.
    #[arg(long, env = "PLIMSOLL_COLLECTOR_ID", value_name = "NAME")]
    pub collector_id: Option<String>,

    /// Where managers subscribe to this collector's answers (gRPC).
    #[arg(long, env = "PLIMSOLL_COLLECTOR_LISTEN", value_name = "ADDR:PORT", default_value = "0.0.0.0:9095")]
    pub collector_listen: SocketAddr,

    /// How managers reach this collector. Default: the address it listens on, or the host's name where that is all addresses.
    #[arg(long, env = "PLIMSOLL_COLLECTOR_ADVERTISE", value_name = "HOST[:PORT]", value_parser = advertise)]
    pub collector_advertise: Option<String>,

    /// Where the probes /livez and /readyz, and /metrics, listen.
    #[arg(long, env = "PLIMSOLL_COLLECTOR_ADMIN_LISTEN", value_name = "ADDR:PORT", default_value = "0.0.0.0:9096")]
    pub collector_admin_listen: SocketAddr,

    /// The provider that this collector runs at: under the per-provider policy it gets that provider's topics.
    #[arg(long, env = "PLIMSOLL_PROVIDER", value_name = "NAME", default_value = plimsoll_wire::resources::DEFAULT_PROVIDER)]
    pub provider: String,

    /// How often the workloads' topics are read, and changed answers told. Longer costs less and makes values older; a workload that
    /// turns active or idle is told at once either way. 10ms to 1s.
    #[arg(long, env = "PLIMSOLL_READ_INTERVAL", value_name = "DURATION", default_value = "250ms", value_parser = read_interval)]
    pub read_interval: Duration,

    /// A collector that is asked to stop first asks the managers to have its topics answered by others, and goes on answering until they
    /// are, this long at most. Give it less than what kills it (`terminationGracePeriodSeconds`). 0s: it stops at once.
    #[arg(long, env = "PLIMSOLL_LEAVE_TIMEOUT", value_name = "DURATION", default_value = "25s", value_parser = plimsoll_wire::go_duration::parse)]
    pub leave_timeout: Duration,
}

impl Config {
    /// A collector inside another process: its gRPC where given, its probes on a free port of the same address.
    #[must_use]
    pub fn inline(name: String, listen: SocketAddr) -> Self {
        Self {
            collector_id: Some(name),
            collector_listen: listen,
            collector_advertise: None,
            collector_admin_listen: SocketAddr::new(listen.ip(), 0),
            provider: plimsoll_wire::resources::DEFAULT_PROVIDER.to_owned(),
            read_interval: Duration::from_millis(250),
            leave_timeout: Duration::ZERO,
        }
    }

    /// The collector's name as given, or the host's.
    #[must_use]
    pub fn id(&self) -> String {
        self.collector_id.clone().unwrap_or_else(host_name)
    }

    /// `HOST:PORT` for managers, where this is what the listener is bound to.
    #[must_use]
    pub fn advertised(&self, bound: SocketAddr) -> String {
        match &self.collector_advertise {
            Some(given) if has_port(given) => given.clone(),
            // A pod's address, as Kubernetes tells it, may be IPv6 without brackets.
            Some(host) if host.contains(':') && !host.starts_with('[') => format!("[{host}]:{}", bound.port()),
            Some(host) => format!("{host}:{}", bound.port()),
            None if bound.ip().is_unspecified() => format!("{}:{}", host_name(), bound.port()),
            None => bound.to_string(),
        }
    }
}

/// Whether the text ends in a port; the colons of a bare IPv6 address are none.
fn has_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    port.parse::<u16>().is_ok_and(|port| port > 0) && (!host.contains(':') || host.ends_with(']'))
}

fn host_name() -> String {
    let told = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let told = told.trim();
    if told.is_empty() { "localhost".to_owned() } else { told.to_owned() }
}

/// What managers can connect to. Anything else would be registered, and the collector be `joining` for ever.
fn advertise(text: &str) -> Result<String, String> {
    let host = if has_port(text) { text.rsplit_once(':').map_or(text, |(host, _)| host) } else { text };
    let is_v6 = |host: &str| host.parse::<Ipv6Addr>().is_ok();
    let is_name = |host: &str| !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    let can_be_reached = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(bracketed) => is_v6(bracketed),
        None => is_name(host) || is_v6(host),
    };
    if can_be_reached {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is no HOST or HOST:PORT; an IPv6 address with a port is written [::1]:9095"))
}

fn read_interval(text: &str) -> Result<Duration, String> {
    let interval = plimsoll_wire::go_duration::parse(text).map_err(|error| error.to_string())?;
    let borders = Duration::from_millis(10)..=Duration::from_secs(1);
    borders.contains(&interval).then_some(interval).ok_or_else(|| format!("{text} is not within 10ms and 1s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advertised(given: Option<&str>, bound: &str) -> String {
        let config = Config {
            collector_id: None,
            collector_listen: SocketAddr::from(([0, 0, 0, 0], 0)),
            collector_advertise: given.map(ToOwned::to_owned),
            collector_admin_listen: SocketAddr::from(([0, 0, 0, 0], 0)),
            provider: String::new(),
            read_interval: Duration::from_millis(250),
            leave_timeout: Duration::ZERO,
        };
        config.advertised(bound.parse().unwrap_or_else(|_| panic!("{bound}")))
    }

    #[test]
    fn what_is_advertised_has_a_host_and_a_port() {
        assert_eq!(advertised(None, "127.0.0.1:9095"), "127.0.0.1:9095");
        assert_eq!(advertised(None, "0.0.0.0:9095"), format!("{}:9095", host_name()));
        assert_eq!(advertised(Some("c-0.collectors"), "0.0.0.0:9095"), "c-0.collectors:9095");
        assert_eq!(advertised(Some("c-0:1234"), "0.0.0.0:9095"), "c-0:1234");
        assert_eq!(advertised(Some("[::1]:80"), "0.0.0.0:9095"), "[::1]:80");
        assert_eq!(advertised(Some("[::1]"), "0.0.0.0:9095"), "[::1]:9095");
        assert_eq!(advertised(Some("fd00::1"), "0.0.0.0:9095"), "[fd00::1]:9095");
    }

    #[test]
    fn an_address_that_no_manager_can_connect_to_is_refused() {
        for good in ["c-0", "c-0.collectors:1234", "10.0.0.1", "fd00::1", "[fd00::1]", "[fd00::1]:80"] {
            assert_eq!(advertise(good).as_deref(), Ok(good));
        }
        for wrong in ["", ":9095", "c-0:70000", "c-0:0", "c-0:grpc", "http://c-0", "c 0", "[::1", "[::1]x", "[c-0]"] {
            assert!(advertise(wrong).is_err_and(|error| error.contains(wrong)), "{wrong}");
        }
    }

    #[test]
    fn a_read_interval_that_would_be_felt_is_refused() {
        assert_eq!(read_interval("250ms"), Ok(Duration::from_millis(250)));
        assert!(read_interval("2s").is_err());
        assert!(read_interval("1ms").is_err());
        assert!(read_interval("soon").is_err());
    }
}
