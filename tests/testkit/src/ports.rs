//! Ports that no one else takes between choosing them and listening on them, nor while a server is down for a while.

use std::{
    hash::{BuildHasher, RandomState},
    net::{Ipv4Addr, TcpListener},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
};

use anyhow::{Result, bail};

/// Below Linux's ephemeral ports (from 32768), so that no outgoing connection is given one of these, and below the node
/// ports of Kubernetes (from 30000).
const RANGE: std::ops::Range<u16> = 10_000..30_000;

/// A TCP port of 127.0.0.1 that is this value's alone as long as it lives, among all that use this type.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// The claim: an abstract socket named after the port. The kernel drops it with the process, and its names are as
    /// wide as ports are, a network namespace.
    _claim: UnixListener,
}

impl Port {
    /// Claims a port that nobody listens on.
    pub fn claim() -> Result<Self> {
        let width = u64::from(RANGE.end - RANGE.start);
        // Processes that start together should not all try the same ports in turn.
        let start = RandomState::new().hash_one(()) % width;
        for step in 0..width {
            let number = RANGE.start + ((start + step) % width) as u16;
            let name = SocketAddr::from_abstract_name(format!("plimsoll-port-{number}"))?;
            if let Ok(claim) = UnixListener::bind_addr(&name)
                && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok()
            {
                return Ok(Self { number, _claim: claim });
            }
        }
        bail!("no free port on 127.0.0.1 in {RANGE:?}: stop some servers")
    }

    /// The port's number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// `127.0.0.1:NUMBER`.
    pub fn address(&self) -> String {
        format!("{}:{}", Ipv4Addr::LOCALHOST, self.number)
    }
}
