//! Figures of processes and of samples.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use plimsoll_testkit::resident_kib;

/// The machine, in a line: figures of two machines can't be compared.
pub fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown CPU", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores, {model}")
}

/// CPU time of a process and of its children (nginx's workers), user and system.
pub fn cpu_time(process: u32) -> Result<Duration> {
    let children: u64 = children(process).filter_map(|child| ticks(child).ok()).sum();
    // USER_HZ is 100 on every Linux that Rust runs on.
    Ok(Duration::from_millis((ticks(process)? + children) * 10))
}

/// Bytes of memory that a process and its children have in use and share with no other process (`Private_...` of
/// `/proc/PID/smaps_rollup`).
pub fn memory(process: u32) -> Result<u64> {
    let children: u64 = children(process).filter_map(|child| private(child).ok()).sum();
    Ok(private(process)? + children)
}

fn private(process: u32) -> Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))
        .with_context(|| format!("process {process} is gone"))?;
    let of_line = |line: &str| line.strip_prefix("Private_")?.split_whitespace().nth(1)?.parse::<u64>().ok();
    Ok(rollup.lines().filter_map(of_line).sum::<u64>() * 1024)
}

fn children(process: u32) -> impl Iterator<Item = u32> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|child| child.parse().ok()).collect::<Vec<_>>().into_iter()
}

fn ticks(process: u32) -> Result<u64> {
    let stat =
        fs::read_to_string(format!("/proc/{process}/stat")).with_context(|| format!("process {process} is gone"))?;
    Ok(name_and_ticks(&stat)?.1)
}

/// The name, and utime + stime, of a `stat` file: proc(5) fields 2, 14 and 15. The second may contain blanks, so count from its end.
fn name_and_ticks(stat: &str) -> Result<(&str, u64)> {
    let (before, rest) = stat.rsplit_once(')').context("no process name in stat")?;
    let name = before.split_once('(').map_or(before, |(_, name)| name);
    let mut fields = rest.split_whitespace().skip(11);
    let mut next = || fields.next().and_then(|field| field.parse::<u64>().ok()).context("stat is too short");
    Ok((name, next()? + next()?))
}

/// CPU time of a process's threads by their names, in hundredths of a second; threads that differ in a number only are taken together.
pub fn cpu_by_thread(process: u32) -> Result<BTreeMap<String, u64>> {
    let mut ticks = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{process}/task"))?.flatten() {
        // One that ends meanwhile has done nothing to speak of.
        let Ok(stat) = fs::read_to_string(task.path().join("stat")) else { continue };
        let (name, spent) = name_and_ticks(&stat)?;
        *ticks.entry(name.trim_end_matches(|letter: char| letter.is_ascii_digit()).to_owned()).or_default() += spent;
    }
    Ok(ticks)
}

/// Who has worked between these two, as percents of all, the busiest first.
pub fn shares(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> String {
    let spent = |name: &String, after: &u64| after.saturating_sub(before.get(name).copied().unwrap_or(0));
    let mut spent: Vec<_> = after.iter().map(|(name, after)| (spent(name, after), name)).collect();
    spent.sort_by(|one, other| other.cmp(one));
    let all = spent.iter().map(|(spent, _)| spent).sum::<u64>().max(1);
    let percent = |(spent, name): &(u64, &String)| format!("{name} {} %", spent * 100 / all);
    spent.iter().filter(|(spent, _)| spent * 100 >= all).map(percent).collect::<Vec<_>>().join(", ")
}

/// Memory of a process that is in RAM, in MiB.
pub fn resident_mib(process: u32) -> Result<u64> {
    Ok(resident_kib(process)? / 1024)
}

/// Latencies in microseconds, up to a minute.
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// None yet.
    pub fn new() -> Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, 60_000_000, 3)?))
    }

    /// One more.
    pub fn add(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    /// Those of another.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        self.0.add(&other.0).context("histograms of one kind")
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The median and the 99th percentile, in milliseconds.
    #[allow(clippy::cast_precision_loss, reason = "at most a minute in microseconds")]
    pub fn p50_p99_ms(&self) -> (f64, f64) {
        let ms = |quantile| self.0.value_at_quantile(quantile) as f64 / 1_000.0;
        (ms(0.5), ms(0.99))
    }

    /// `p50 1.2 ms, p99 3.4 ms, max 5.6 ms`.
    pub fn summary(&self) -> String {
        #[allow(clippy::cast_precision_loss, reason = "at most a minute in microseconds")]
        let ms = |us: u64| us as f64 / 1_000.0;
        format!(
            "p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
            ms(self.0.value_at_quantile(0.5)),
            ms(self.0.value_at_quantile(0.99)),
            ms(self.0.max())
        )
    }
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
