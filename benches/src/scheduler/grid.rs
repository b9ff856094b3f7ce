//! One change to a fleet at rest, until it is at rest again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use anyhow::{Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use plimsoll_scheduler::plan::Plan;
use plimsoll_scheduler::solve::{CollectorState, DEAD_BAND_PERCENT, Problem, Solution, solve};

use super::fleet::{Fleet, Loads};
use super::peers::{Assignor, ConsistentHash, LeastWeighted};

/// Plans until all is still, at most: more is a mistake.
const PLANS_MAX: usize = 1_000;

/// A plan is made again until this has been used, or so often.
const MEASURED: Duration = Duration::from_millis(40);
const TIMES_MAX: u32 = 50;

/// A change to a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// A plan from nothing.
    Full,
    /// No change.
    Stable,
    Join(usize),
    Leave(usize),
    /// One topic in a hundred more.
    Added,
}

impl Case {
    pub const ALL: [Self; 7] =
        [Self::Full, Self::Stable, Self::Join(1), Self::Join(10), Self::Leave(1), Self::Leave(10), Self::Added];

    /// Whether so many collectors can do this.
    pub fn fits(self, collectors: usize) -> bool {
        !matches!(self, Self::Leave(count) if count >= collectors)
    }

    fn apply(self, fleet: &mut Fleet) {
        match self {
            Self::Full | Self::Stable => {}
            Self::Join(count) => fleet.add_collectors(count),
            Self::Leave(count) => fleet.lose_collectors(count),
            Self::Added => fleet.add_topics(fleet.problem.topics.len() / 100),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.pad("full"),
            Self::Stable => f.pad("stable"),
            Self::Join(count) => f.pad(&format!("join {count}")),
            Self::Leave(count) => f.pad(&format!("leave {count}")),
            Self::Added => f.pad("topics added"),
        }
    }
}

/// A fleet at rest, and how the others would have assigned it.
pub struct Settled {
    fleet: Fleet,
    plan: Plan,
    hash: Owners,
    least: Owners,
}

/// Which collector has a topic.
pub type Owners = BTreeMap<String, String>;

/// Plans a fleet until all is still.
pub fn settled(fleet: &Fleet) -> Result<Settled> {
    let run = Run::until_still(fleet, &Plan::default())?;
    Ok(Settled {
        hash: ConsistentHash.assign(&fleet.problem, &Owners::new()),
        least: LeastWeighted.assign(&fleet.problem, &Owners::new()),
        fleet: fleet.clone(),
        plan: run.plan,
    })
}

/// What a change led to.
struct Run {
    plan: Plan,
    /// Of the tries, the quickest and the middle one.
    first: (Duration, Duration),
    /// Of all plans until it was still, in the quickest try.
    slowest: Duration,
    plans: usize,
    moves: usize,
}

impl Run {
    fn until_still(fleet: &Fleet, plan: &Plan) -> Result<Self> {
        let mut fleet = fleet.clone();
        let mut run = Self {
            plan: plan.clone(),
            first: (Duration::ZERO, Duration::ZERO),
            slowest: Duration::ZERO,
            plans: 0,
            moves: 0,
        };
        loop {
            fleet.warm(&run.plan);
            let (solution, took) = measured(&fleet.problem, &run.plan)?;
            if run.plans == 0 {
                run.first = (took, took);
            }
            run.slowest = run.slowest.max(took);
            run.plans += 1;
            let still = solution.plan.generation == run.plan.generation;
            run.moves += solution.moves.len();
            // The plan before is freed here, outside the measured time; whoever plans does it after the commit.
            run.plan = solution.plan;
            if still {
                return Ok(run);
            }
            if run.plans == PLANS_MAX {
                bail!("{PLANS_MAX} plans, and the fleet is not at rest");
            }
        }
    }
}

/// Plans the same so often that the kernel's count of processor time, which is some milliseconds late, is right on average.
fn measured(problem: &Problem, plan: &Plan) -> Result<(Solution, Duration)> {
    let began = thread_time()?;
    let mut times = 0;
    loop {
        let solution = solve(problem, plan);
        times += 1;
        let took = thread_time()?.saturating_sub(began);
        if took >= MEASURED || times == TIMES_MAX {
            return Ok((solution, took / times));
        }
    }
}

/// What this thread has used of a processor: planning is one thread and never waits, and what else runs on the machine takes none of it.
fn thread_time() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD)?;
    let microseconds = (usage.user_time() + usage.system_time()).num_microseconds();
    Ok(Duration::from_micros(u64::try_from(microseconds)?))
}

/// A line of the table.
pub struct Row {
    topics: usize,
    collectors: usize,
    loads: Loads,
    case: Case,
    run: Run,
    /// Ours, and the others'.
    quality: [Quality; 3],
    /// What the hottest topic alone forces.
    forced: f64,
}

impl Row {
    pub fn measure(before: &Settled, case: Case, rounds: usize) -> Result<Self> {
        let mut fleet = before.fleet.clone();
        case.apply(&mut fleet);
        let (nothing, empty) = (Plan::default(), Owners::new());
        let previous = if case == Case::Full { &nothing } else { &before.plan };
        let mut run = Run::until_still(&fleet, previous)?;
        let mut firsts = vec![run.first.0];
        for _ in 1..rounds {
            let again = Run::until_still(&fleet, previous)?;
            firsts.push(again.first.0);
            run.slowest = run.slowest.min(again.slowest);
        }
        firsts.sort();
        run.first = (firsts[0], firsts[firsts.len() / 2]);

        let [had_hash, had_least] = if case == Case::Full { [&empty, &empty] } else { [&before.hash, &before.least] };
        let problem = &fleet.problem;
        let judged = Judged::new(problem, case);
        let quality = [
            judged.judge(&owners(previous), &owners(&run.plan)),
            judged.judge(had_hash, &ConsistentHash.assign(problem, had_hash)),
            judged.judge(had_least, &LeastWeighted.assign(problem, had_least)),
        ];
        Ok(Self {
            topics: before.fleet.problem.topics.len(),
            collectors: before.fleet.problem.collectors.len(),
            loads: fleet.loads,
            case,
            run,
            quality,
            forced: judged.forced(),
        })
    }
}

fn owners(plan: &Plan) -> Owners {
    plan.topics.iter().filter_map(|(topic, placed)| Some((topic.clone(), placed.placement.owner.clone()?))).collect()
}

/// How good an assignment is, beside the one before.
struct Quality {
    /// Topics moved over the least possible number, where that is known.
    moves: Option<f64>,
    /// Load moved over the least possible.
    load: Option<f64>,
    /// The hottest collector over the mean.
    hottest: f64,
}

/// What assignments are measured by.
struct Judged<'a> {
    problem: &'a Problem,
    case: Case,
    ready: usize,
    total: f64,
    hottest_topic: f64,
}

impl<'a> Judged<'a> {
    fn new(problem: &'a Problem, case: Case) -> Self {
        let loads = || problem.topics.iter().map(|topic| topic.load);
        let ready = problem.collectors.iter().filter(|info| info.state == CollectorState::Ready).count();
        Self { problem, case, ready, total: loads().sum(), hottest_topic: loads().fold(0.0, f64::max) }
    }

    fn forced(&self) -> f64 {
        self.hottest_topic / (self.total / self.ready as f64)
    }

    fn judge(&self, before: &Owners, after: &Owners) -> Quality {
        let mut carried: BTreeMap<&str, f64> = BTreeMap::new();
        let (mut moves, mut moved) = (0, 0.0);
        for topic in &self.problem.topics {
            let name = &topic.spec.topic;
            *carried.entry(&after[name]).or_default() += topic.load;
            if before.get(name).is_some_and(|had| *had != after[name]) {
                moves += 1;
                moved += topic.load;
            }
        }
        let hottest = carried.values().copied().fold(0.0, f64::max) / (self.total / self.ready as f64);
        let (least_moves, least_load) = self.least(before);
        let over = |least: f64, did: f64| (least > 1e-9).then(|| did / least);
        Quality { moves: over(least_moves, f64::from(moves)), load: over(least_load, moved), hottest }
    }

    /// The least number of topics, and the least load, that must move; zero where none must, or it is not known.
    fn least(&self, before: &Owners) -> (f64, f64) {
        match self.case {
            // Who joins must get a fair share; where topics differ, the number that makes it up depends on who gives which.
            Case::Join(count) => {
                let load = self.fair_share() * count as f64;
                let lightest = self.lightest();
                (if lightest == self.hottest_topic { (load / lightest).floor() } else { 0.0 }, load)
            }
            Case::Leave(_) => self.least_to_leave(before),
            Case::Full | Case::Stable | Case::Added => (0.0, 0.0),
        }
    }

    /// What the lost ones had must go. Where one of its topics is more than the room that the band leaves on the least loaded of those that
    /// stay, the rest of it, or all that such a one has, must make way at least, in pieces no larger than that room: a larger one
    /// would have others make way in turn. (Where every topic is larger than that, the band is out of reach, and one piece is counted.) Who moves
    /// less than this leaves the fleet outside the band.
    fn least_to_leave(&self, before: &Owners) -> (f64, f64) {
        let lost = self.problem.collectors.iter().filter(|info| info.state == CollectorState::Lost);
        let lost: BTreeSet<&String> = lost.map(|info| &info.id).collect();
        let stays = self.problem.collectors.iter().filter(|info| !lost.contains(&info.id));
        let mut carried: BTreeMap<&String, f64> = stays.map(|info| (&info.id, 0.0)).collect();
        let mut homeless = Vec::new();
        for topic in &self.problem.topics {
            let Some(owner) = before.get(&topic.spec.topic) else { continue };
            match carried.get_mut(owner) {
                Some(carried) => *carried += topic.load,
                None => homeless.push(topic.load),
            }
        }
        let coldest = carried.values().copied().fold(f64::INFINITY, f64::min);
        let room = (self.fair_share() * (1.0 + DEAD_BAND_PERCENT as f64 / 100.0) - coldest).max(0.0);
        let lightest = self.lightest();
        homeless.into_iter().fold((0.0, 0.0), |(count, moved), load| {
            let makes_way = (load - room).clamp(0.0, coldest);
            let pieces = if lightest <= room { (makes_way / room).ceil() } else { f64::from(makes_way > 0.0) };
            (count + 1.0 + pieces, moved + load + makes_way)
        })
    }

    fn lightest(&self) -> f64 {
        self.problem.topics.iter().map(|topic| topic.load).fold(f64::INFINITY, f64::min)
    }

    /// The mean of what can be shared: a topic that alone is more than the mean has a collector for itself.
    fn fair_share(&self) -> f64 {
        let mut loads: Vec<f64> = self.problem.topics.iter().map(|topic| topic.load).collect();
        loads.sort_by(|a, b| b.total_cmp(a));
        let (mut rest, mut collectors) = (self.total, self.ready);
        for load in loads {
            if collectors <= 1 || load <= rest / collectors as f64 {
                break;
            }
            rest -= load;
            collectors -= 1;
        }
        rest / collectors as f64
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = |time: Duration| format!("{:.2}", time.as_secs_f64() * 1e3);
        let over = |over: Option<f64>| over.map_or_else(|| "-".to_owned(), |over| format!("{over:.2}"));
        let Self { topics, collectors, loads, case, run, quality: [ours, hash, least], forced } = self;
        write!(
            f,
            "{topics:>7} {collectors:>5} {loads:>5} {case:>12} | {:>8} {:>8} {:>8} | {:>5} {:>6} {:>5} {:>5} {:>6.2} {forced:>7.2} | \
             {:>5} {:>5} {:>6.2} | {:>5} {:>5} {:>6.2}",
            milliseconds(run.first.0),
            milliseconds(run.first.1),
            milliseconds(run.slowest),
            run.plans,
            run.moves,
            over(ours.moves),
            over(ours.load),
            ours.hottest,
            over(hash.moves),
            over(hash.load),
            hash.hottest,
            over(least.moves),
            over(least.load),
            least.hottest,
        )
    }
}
