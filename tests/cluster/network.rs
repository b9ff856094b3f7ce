//! A network namespace that goes with the process.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, AtomicU16, Ordering};

use nix::sched::{CloneFlags, unshare};

/// Addresses there are: 10.99.0.1 to 10.99.0.200.
const ADDRESSES: u8 = 200;
/// And fd00:99::1 to fd00:99::20.
const IPV6_ADDRESSES: u16 = 20;

/// Moves this process, which must have one thread only, into a network namespace of its own.
///
/// # Errors
/// A sentence that says what is missing.
pub(crate) fn enter() -> Result<(), String> {
    // What is missing is fetched from a network that is left behind in a moment.
    for tool in ["tools/etcd/build", "tools/kubernetes/build", "tools/kafka/fetch"] {
        let build = Path::new(env!("CARGO_MANIFEST_DIR")).join(tool);
        let built = Command::new(&build).stdout(Stdio::null()).status();
        if !built.as_ref().is_ok_and(std::process::ExitStatus::success) {
            return Err(format!("{tool} failed: {built:?}"));
        }
    }
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|error| format!("a network namespace is refused ({error}): run these tests as root"))?;
    let mut batch = "link set lo up\n".to_owned();
    for number in 1..=ADDRESSES {
        batch.push_str(&format!("addr add {}/32 dev lo\n", address(number)));
    }
    for number in 1..=IPV6_ADDRESSES {
        batch.push_str(&format!("addr add {}/128 dev lo nodad\n", ipv6_address(number)));
    }
    let missing = |error: &dyn std::fmt::Display| format!("`ip` can't be run ({error}): install iproute2");
    let mut ip =
        Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().map_err(|error| missing(&error))?;
    if let Some(mut stdin) = ip.stdin.take() {
        stdin.write_all(batch.as_bytes()).map_err(|error| missing(&error))?;
    }
    let status = ip.wait().map_err(|error| missing(&error))?;
    if status.success() { Ok(()) } else { Err(format!("`ip -batch` failed: {status}")) }
}

/// An address that no other test has.
pub(crate) fn claim() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(number <= ADDRESSES, "all addresses are taken");
    address(number)
}

/// An IPv6 address that no other test has.
pub(crate) fn claim_ipv6() -> IpAddr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(number <= IPV6_ADDRESSES, "all addresses are taken");
    ipv6_address(number)
}

fn ipv6_address(number: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x99, 0, 0, 0, 0, 0, number))
}

fn address(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 99, 0, number))
}
