//! The proxy beside nginx, HAProxy and Go's: the same backend, the same load, in turn, on the same cores; our counting and
//! publishing to Kafka on.

mod contenders;
mod grpc;
mod idle;
mod load;

use anyhow::{Context as _, Result};
use plimsoll_testkit::Folder;

use crate::figures::{Latencies, cpu_time, median};
use contenders::{Contender, Field, LARGE_BYTES, LARGE_PATH, SMALL_BYTES};
use idle::Speaks;
use load::{Answered, Calls};

const CONNECTIONS: u32 = 64;
/// Of large bodies; more only wait.
const LARGE_CONNECTIONS: u32 = 16;
/// Of gRPC, with so many calls open at once on each.
const CALLS: Calls = Calls { connections: 8, at_once: 16 };

/// Requests a second and microseconds of CPU a request, one of each for every round.
#[derive(Default)]
struct Rounds {
    per_second: Vec<f64>,
    cpu_us: Vec<f64>,
}

/// Prints a row for each contender, with its ratios to nginx.
pub async fn run(rounds: usize, seconds: u64, idle: usize) -> Result<()> {
    let field = Field::start().await?;
    let contenders: Vec<&Contender> = field.contenders.iter().collect();
    println!("\nproxy: memory for {idle} idle connections of clients, before any load:");
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    for contender in &contenders {
        let address = &contender.address;
        let (before, after) = idle::memory_with(address, &Speaks::Http1, contender.process, idle).await?;
        println!(
            "    {:<9} {:>6.1} MiB, {:.1} MiB more than without",
            contender.name,
            mib(after),
            mib(after) - mib(before)
        );
    }
    let of_ours = [("HTTP/2", &field.plimsoll, &Speaks::Http2), ("TLS", &field.plimsoll_tls, &field.trusting)];
    for (what, address, speaks) in of_ours {
        let Some(ours) = contenders.last() else { continue };
        let (_, after) = idle::memory_with(address, speaks, ours.process, idle).await?;
        println!("    {:<9} {:>6.1} MiB with {what} on them", ours.name, mib(after));
    }
    println!("  HTTP/1.1 keep-alive, medians of {rounds} rounds of {seconds} s in turn");
    println!("  {SMALL_BYTES} B bodies, {CONNECTIONS} connections, as many requests as go:");
    let load =
        async |contender: &Contender, seconds| load::at_most(&contender.address, "/", CONNECTIONS, seconds).await;
    let top = throughput(&contenders, rounds, seconds, load).await?;
    println!("  {} KiB bodies, {LARGE_CONNECTIONS} connections:", LARGE_BYTES >> 10);
    let load = async |contender: &Contender, seconds| {
        load::at_most(&contender.address, LARGE_PATH, LARGE_CONNECTIONS, seconds).await
    };
    throughput(&contenders, rounds, seconds, load).await?;
    // Half of what nginx, the first one, can do at most.
    latency(&contenders, top / 2.0, rounds, seconds).await?;
    println!("  gRPC over h2c, unary, {} connections with {} calls at once each:", CALLS.connections, CALLS.at_once);
    let message = field.folder.join("message");
    std::fs::write(&message, grpc::message())?;
    let speaking: Vec<&Contender> = contenders.iter().copied().filter(|one| one.grpc.is_some()).collect();
    let load = async |contender: &Contender, seconds| {
        let address = contender.grpc.as_deref().context("it has no address for gRPC")?;
        load::calls(address, CALLS, &message, seconds).await
    };
    throughput(&speaking, rounds, seconds, load).await?;
    Ok(())
}

/// Says requests a second and CPU a request; the first contender's rate is the outcome.
async fn throughput(
    contenders: &[&Contender],
    rounds: usize,
    seconds: u64,
    load: impl AsyncFn(&Contender, u64) -> Result<Answered>,
) -> Result<f64> {
    let mut figures: Vec<Rounds> = contenders.iter().map(|_| Rounds::default()).collect();
    for round in 0..=rounds {
        for (contender, figures) in contenders.iter().zip(&mut figures) {
            let before = cpu_time(contender.process)?;
            // The first round warms up.
            let seconds = if round == 0 { 1 } else { seconds };
            let answered = load(contender, seconds).await.with_context(|| contender.name)?;
            let cpu = cpu_time(contender.process)? - before;
            if round > 0 {
                figures.per_second.push(answered.per_second);
                figures.cpu_us.push(cpu.as_secs_f64() * 1e6 / answered.count);
            }
        }
    }
    let rows: Vec<(f64, f64)> =
        figures.into_iter().map(|figures| (median(figures.per_second), median(figures.cpu_us))).collect();
    let (first_rate, first_cpu) = rows.first().copied().unwrap_or((f64::NAN, f64::NAN));
    for (contender, (rate, cpu)) in contenders.iter().zip(&rows) {
        println!(
            "    {:<9} {rate:>7.0} requests a second ({:.2} of nginx's), {cpu:>6.1} us of CPU a request ({:.2})",
            contender.name,
            rate / first_rate,
            cpu / first_cpu
        );
    }
    Ok(first_rate)
}

/// Says how long answers take at this rate, from sending the request. Who can't keep up with it gets fewer: each connection
/// waits for an answer before it asks again.
async fn latency(contenders: &[&Contender], rate: f64, rounds: usize, seconds: u64) -> Result<()> {
    println!(
        "  {SMALL_BYTES} B bodies at {rate:.0} requests a second, half of nginx's most, over {CONNECTIONS} connections:"
    );
    let folder = Folder::new("plimsoll-bench-latency")?;
    let log = folder.join("h2load.log");
    let mut all = contenders.iter().map(|_| Latencies::new()).collect::<Result<Vec<_>>>()?;
    for _ in 0..rounds {
        for (contender, latencies) in contenders.iter().zip(&mut all) {
            let answered = load::at_rate(&contender.address, rate, CONNECTIONS, seconds, &log).await;
            latencies.merge(&answered.with_context(|| contender.name)?)?;
        }
    }
    let first = all.first().map_or(f64::NAN, |latencies| latencies.p50_p99_ms().1);
    for (contender, latencies) in contenders.iter().zip(&all) {
        let answered = latencies.count() as f64 / (rounds as f64 * seconds as f64);
        let ratio = latencies.p50_p99_ms().1 / first;
        println!(
            "    {:<9} {} (p99 {ratio:.2} of nginx's), {answered:.0} a second",
            contender.name,
            latencies.summary()
        );
    }
    Ok(())
}
