//! What a request's route costs to find, by the number of routes, and what it costs to replace them all.

mod replacing;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hint::black_box;

use anyhow::{Result, ensure};
use http::{HeaderMap, HeaderName, HeaderValue};
use plimsoll_interceptor::routing::{Index, host};
use plimsoll_wire::resources::{Backend, HeaderRule, Port, Rule, Workload};
use plimsoll_wire::topic::WorkloadId;
use tokio::time::Instant;

use crate::figures::median;

const ROUTES: [usize; 3] = [10, 1_000, 100_000];
/// Look-ups of a round, and rounds of which the middle one counts.
const LOOKUPS: usize = 1_000_000;
const ROUNDS: usize = 5;
/// Routes that share a host and a path, and differ in a header's value.
const VARIANTS: usize = 4;
/// Shares no factor with any of [`ROUTES`], so that its steps come by every route, and never by neighbours one after the other.
const STRIDE: usize = 611_953;
/// Most requests are for few routes: so many are asked for in the second figure of the largest table.
const BUSY: usize = 1_000;

/// What tells the routes of a table apart.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Exact,
    Wildcard,
    CatchAll,
    Headers,
}

/// A request as the look-up sees it; its header fields are those of its route's variant.
struct Asked {
    route: usize,
    authority: String,
    path: String,
}

/// Prints a row for each kind, and then what replacing costs.
pub async fn run() -> Result<()> {
    println!(
        "\nrouting: nanoseconds to find a request's route, among so many; every route is asked for in turn, or {BUSY} of them (times the bare map's)"
    );
    let largest = ROUTES[ROUTES.len() - 1];
    let columns = ROUTES.map(|routes| (routes, routes)).into_iter().chain([(largest, BUSY)]).collect::<Vec<_>>();
    print!("  {:<40}", "routes, and those asked for:");
    columns.iter().for_each(|(routes, busy)| print!(" {:>16}", format!("{routes} {busy}")));
    println!();
    // What any look-up costs that goes by the host: the processor's caches are the same for all.
    let bare = columns.iter().map(|(routes, busy)| bare(*routes, *busy)).collect::<Result<Vec<f64>>>()?;
    let mut row = format!("  {:<40}", "a bare HashMap of hosts");
    bare.iter().try_for_each(|taken| write!(row, " {taken:>16.0}"))?;
    println!("{row}");
    for kind in [Kind::Exact, Kind::Wildcard, Kind::CatchAll, Kind::Headers] {
        let mut row = format!("  {:<40}", kind.says());
        for ((routes, busy), bare) in columns.iter().zip(&bare) {
            let taken = kind.look_up(*routes, *busy)?;
            write!(row, " {:>16}", format!("{taken:.0} ({:.2})", taken / bare))?;
        }
        println!("{row}");
    }
    replacing::run(largest).await
}

impl Kind {
    fn says(self) -> &'static str {
        match self {
            Self::Exact => "a host each, two paths",
            Self::Wildcard => "a wildcard each, two labels below it",
            Self::CatchAll => "any host, a path of 4 segments each",
            Self::Headers => "a header's value each, four to a host",
        }
    }

    /// The route of this number.
    fn rule(self, at: usize) -> Rule {
        let root = || vec!["/".to_owned()];
        match self {
            Self::Exact => Rule {
                hosts: vec![format!("app-{at}.shop.example.com")],
                paths: vec!["/api/v1".to_owned(), "/static".to_owned()],
                headers: Vec::new(),
            },
            Self::Wildcard => {
                Rule { hosts: vec![format!("*.app-{at}.example.com")], paths: root(), headers: Vec::new() }
            }
            Self::CatchAll => Rule { hosts: vec!["*".to_owned()], paths: vec![prefix(at)], headers: Vec::new() },
            Self::Headers => Rule {
                hosts: vec![format!("app-{}.shop.example.com", at / VARIANTS)],
                paths: root(),
                headers: vec![HeaderRule { name: "x-variant".to_owned(), value: Some(format!("v{}", at % VARIANTS)) }],
            },
        }
    }

    /// A request that belongs to it.
    fn asked(self, route: usize) -> Asked {
        let below = "/api/v1/orders/17".to_owned();
        let (authority, path) = match self {
            Self::Exact => (format!("app-{route}.shop.example.com:8080"), below),
            Self::Wildcard => (format!("blue.eu.app-{route}.example.com"), below),
            Self::CatchAll => ("any.example.com".to_owned(), format!("{}/orders/17", prefix(route))),
            Self::Headers => (format!("app-{}.shop.example.com", route / VARIANTS), below),
        };
        Asked { route, authority, path }
    }

    /// Nanoseconds a look-up among so many routes, so many of which are asked for.
    fn look_up(self, routes: usize, busy: usize) -> Result<f64> {
        let workloads: Vec<Workload> = (0..routes).map(|at| workload(at, self.rule(at))).collect();
        let index = Index::new(workloads.iter().zip(0..));
        let fields = (0..VARIANTS).map(fields).collect::<Result<Vec<HeaderMap>>>()?;
        let find =
            |asked: &Asked| index.find(&host(&asked.authority), &asked.path, &fields[asked.route % VARIANTS]).copied();
        let asked: Vec<Asked> = (0..busy).map(|at| self.asked(at * STRIDE % routes)).collect();
        for asked in &asked {
            let (found, at) = (find(asked), asked.route);
            ensure!(found == Some(at), "{self:?}: a request of route {at} went to {found:?}");
        }
        Ok(nanoseconds(&asked, find))
    }
}

/// The same hosts in the map that comes with the language: nanoseconds a look-up.
fn bare(routes: usize, busy: usize) -> Result<f64> {
    let of = |at| Kind::Exact.asked(at);
    let map: HashMap<Box<str>, u32> =
        (0..routes).zip(0..).map(|(at, number)| (host(&of(at).authority).into(), number)).collect();
    let asked: Vec<Asked> = (0..busy).map(|at| of(at * STRIDE % routes)).collect();
    let find = |asked: &Asked| map.get(&*host(&asked.authority)).copied();
    ensure!(asked.iter().all(|asked| find(asked).is_some_and(|found| found as usize == asked.route)));
    Ok(nanoseconds(&asked, find))
}

/// The middle one of some rounds in which these are asked for in turn.
fn nanoseconds<T>(asked: &[Asked], find: impl Fn(&Asked) -> T) -> f64 {
    let rounds = (0..ROUNDS).map(|_| {
        let started = Instant::now();
        for asked in asked.iter().cycle().take(LOOKUPS) {
            black_box(find(black_box(asked)));
        }
        started.elapsed().as_secs_f64() * 1e9 / LOOKUPS as f64
    });
    median(rounds.collect())
}

/// What a browser sends, and the variant.
fn fields(variant: usize) -> Result<HeaderMap> {
    let mut fields = HeaderMap::new();
    for name in ["user-agent", "accept", "accept-encoding", "accept-language", "cookie", "x-request-id"] {
        fields.insert(HeaderName::from_static(name), HeaderValue::from_static("as a browser says it"));
    }
    fields.insert("x-variant", HeaderValue::from_str(&format!("v{variant}"))?);
    Ok(fields)
}

fn prefix(at: usize) -> String {
    format!("/tenants/t{}/apps/app-{at}", at % 100)
}

fn workload(at: usize, rule: Rule) -> Workload {
    let target = Backend { service: "127.0.0.1".to_owned(), port: Port::Number(80) };
    Workload { rules: vec![rule], ..Workload::new(WorkloadId::new("default", format!("app-{at}")), target) }
}
