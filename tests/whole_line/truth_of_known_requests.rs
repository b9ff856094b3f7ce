//! The yardstick itself: the truth of requests that one can check by hand, and clients that do what their pattern says.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::sleep;

use crate::driver::{
    exclusively,
    load::{Exchange, Load, Pattern, Traffic},
    truth::{Bounds, Truth},
};

fn request(interceptor: usize, start_ms: u64, end_ms: Option<u64>) -> Exchange {
    Exchange {
        interceptor,
        start: Duration::from_millis(start_ms),
        end: end_ms.map(Duration::from_millis),
        served: None,
        failure: None,
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[track_caller]
fn assert_close(bounds: Bounds, least: f64, most: f64) {
    let close = (bounds.least - least).abs() < 1e-9 && (bounds.most - most).abs() < 1e-9;
    assert!(close, "{bounds:?}, not {least}..{most}");
}

#[test]
fn an_open_request_is_one_in_flight() {
    let truth = Truth::new(&[request(0, 0, None)], 1, seconds(60));
    assert_close(truth.concurrency(seconds(30), seconds(30), seconds(10), Duration::ZERO), 1.0, 1.0);
}

#[test]
fn a_request_shorter_than_the_raster_counts_with_its_length() {
    // 3 ms inside one step of 10 ms, over a window of 1 s.
    let truth = Truth::new(&[request(0, 5_001, Some(5_004))], 1, seconds(10));
    let bounds =
        truth.concurrency(Duration::from_millis(5_500), Duration::from_millis(5_500), seconds(1), Duration::ZERO);
    assert_close(bounds, 0.0, 0.03);
    let truth = Truth::new(&[request(0, 5_001, Some(5_004))], 1, seconds(10));
    let bounds =
        truth.concurrency(Duration::from_millis(8_100), Duration::from_millis(8_100), seconds(9), Duration::ZERO);
    assert_close(bounds, 0.003 / 9.0, 0.003 / 0.9);
}

#[test]
fn shares_may_end_at_different_times() {
    // Interceptor 0 has a request until 10 s, interceptor 1 has one from then on; evidence is from 9 s to 12 s.
    let mut exchanges = vec![request(0, 0, Some(10_000)), request(1, 10_000, None)];
    // Ten more, so that no last tenth counts as a burst.
    exchanges.extend((0..10).map(|_| request(1, 0, None)));
    let truth = Truth::new(&exchanges, 2, seconds(60));
    let bounds = truth.concurrency(seconds(12), seconds(12), seconds(10), Duration::ZERO);
    // The window of 9 s of age reaches back to before the load.
    assert_close(bounds, 9.8, 11.2);
}

#[test]
fn a_rate_counts_the_arrivals_of_the_window() {
    let exchanges: Vec<_> = (0..100).map(|n| request(0, 200 * n, Some(200 * n + 1))).collect();
    let truth = Truth::new(&exchanges, 1, seconds(60));
    // One may lie on an edge, and one may count in part.
    assert_close(truth.rate(seconds(15), seconds(15), seconds(10), Duration::ZERO), 4.8, 5.2);
    assert_close(truth.rate(seconds(40), seconds(40), seconds(10), Duration::ZERO), 0.0, 0.0);
}

#[test]
fn a_burst_is_told_once_its_mean_is_twice_the_windows() {
    let exchanges: Vec<_> = (0..10).map(|_| request(0, 20_000, None)).collect();
    let truth = Truth::new(&exchanges, 1, seconds(60));
    assert_close(truth.concurrency(seconds(24), seconds(24), seconds(10), Duration::ZERO), 10.0, 10.0);
    assert_close(truth.concurrency(seconds(40), seconds(40), seconds(10), Duration::ZERO), 10.0, 10.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_do_what_their_pattern_says() -> Result<()> {
    let _alone = exclusively().await;
    let load = Load::new()?;
    let backends = [load.backend().await?.address().to_string(), load.backend().await?.address().to_string()];
    let millis = Duration::from_millis;
    let patterns = [
        Pattern::Steady { open: 5, length: millis(1_000) },
        Pattern::Bursts { every: millis(50), at_once: 1, length: millis(500) },
        Pattern::Bursts { every: millis(1_000), at_once: 6, length: millis(500) },
        Pattern::Idle,
    ];
    let traffic = patterns.map(|pattern| Traffic { host: "any".to_owned(), pattern });
    let running = load.start(&traffic, &backends);
    sleep(millis(7_000)).await;
    let ledger = running.stop().await;
    ensure!(ledger.failures().is_empty(), "{:?}", ledger.failures());
    for (workload, (concurrency, rate)) in [(5.0, 5.0), (10.0, 20.0), (3.0, 6.0), (0.0, 0.0)].into_iter().enumerate() {
        let truth = Truth::new(&ledger.of(workload), backends.len(), ledger.now());
        let told = |truth: Bounds| Bounds { least: truth.least * 0.98, most: truth.most * 1.02 };
        let mean = told(truth.concurrency(millis(6_500), millis(6_500), millis(2_000), Duration::ZERO));
        let arrivals = told(truth.rate(millis(6_500), millis(6_500), millis(2_000), Duration::ZERO));
        ensure!(mean.hold(concurrency, 0.0), "{:?}: {mean:?}, not {concurrency}", patterns[workload]);
        ensure!(arrivals.hold(rate, 0.0), "{:?}: {arrivals:?}, not {rate}", patterns[workload]);
        println!("{:?}: concurrency {mean:?}, rate {arrivals:?}", patterns[workload]);
    }
    Ok(())
}
