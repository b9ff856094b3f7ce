//! What a process has in memory.

use std::fs;

use anyhow::{Context, Result};

/// Memory of a process that is in RAM, in KiB (`VmRSS` of proc_pid_status(5)).
pub fn resident_kib(process: u32) -> Result<u64> {
    let status =
        fs::read_to_string(format!("/proc/{process}/status")).with_context(|| format!("process {process} is gone"))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.with_context(|| format!("process {process} has no memory: it has ended"))?;
    resident
        .trim()
        .trim_end_matches(" kB")
        .parse::<u64>()
        .with_context(|| format!("VmRSS of process {process}: {resident:?}"))
}
