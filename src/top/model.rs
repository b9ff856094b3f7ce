//! What is known, and what is chosen of it. Pure: what comes and which keys are pressed is handed in.

use std::collections::BTreeMap;
use std::time::Duration;

use plimsoll_manager::api::{
    ACTIVE, CollectorView, FleetView, HEARD, KNOWN, LiveRow, MovingView, RowsView, WholeRow, ZERO_IS_UNKNOWN,
};
use plimsoll_wire::topic::WorkloadId;
use tokio::time::Instant;

use super::feed::News;
use super::order::{CollectorColumn, Sort, WorkloadColumn};

/// A manager that has just begun looks at its workloads within so many tellings of the fleet; until then, none is no news.
const LOOKED_AFTER: u32 = 3;

/// One workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// `namespace/name`.
    pub name: String,
    pub topic: String,
    pub collector: Option<String>,
    pub concurrency_target: Option<u32>,
    pub rate_target: Option<u32>,
    flags: u8,
    pub in_flight: u64,
    pub held: u64,
    pub concurrency: f64,
    pub request_rate: f64,
    wanted: Option<u32>,
}

/// How a workload is, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    Unknown,
    Held,
    Active,
    Idle,
}

impl How {
    pub fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Held => "held",
            Self::Active => "active",
            Self::Idle => "idle",
        }
    }
}

impl Row {
    pub fn how(&self) -> How {
        let nothing_is_sure = self.flags & ZERO_IS_UNKNOWN != 0 && self.flags & ACTIVE == 0 && self.in_flight == 0;
        if !self.is_known() || nothing_is_sure {
            How::Unknown
        } else if self.held > 0 {
            How::Held
        } else if self.flags & ACTIVE != 0 {
            How::Active
        } else {
            How::Idle
        }
    }

    /// Whether the numbers are those of now; otherwise they are the last that were known, if any.
    pub fn is_known(&self) -> bool {
        self.flags & KNOWN != 0
    }

    /// A count of requests, unless nothing is known of it: a zero while an interceptor is missing is no zero.
    pub fn count(&self, value: u64) -> Option<u64> {
        self.is_said(value == 0).then_some(value)
    }

    /// A mean, likewise.
    pub fn mean(&self, value: f64) -> Option<f64> {
        self.is_said(value <= 0.0).then_some(value)
    }

    /// Replicas that are asked for, likewise.
    pub fn wanted(&self) -> Option<u32> {
        self.wanted.filter(|wanted| self.is_said(*wanted == 0))
    }

    fn is_said(&self, is_zero: bool) -> bool {
        self.flags & HEARD != 0 && !(is_zero && self.flags & ZERO_IS_UNKNOWN != 0)
    }

    fn set(&mut self, live: LiveRow) {
        (_, self.flags, self.in_flight, self.held, self.concurrency, self.request_rate, self.wanted) = live;
    }
}

/// What is on the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    Workloads,
    Collectors,
    Moves,
}

impl View {
    pub const ALL: [Self; 3] = [Self::Workloads, Self::Collectors, Self::Moves];
}

/// How the connection is.
#[derive(Debug)]
pub enum Link {
    Connecting,
    Live,
    Lost { why: String, since: Instant, again_at: Instant },
}

/// What is told of one topic, over the table.
#[derive(Debug)]
pub struct Detail {
    pub title: String,
    pub topic: String,
    /// None until the manager has answered.
    pub told: Option<Result<Vec<String>, String>>,
}

/// Sums over what is known of all workloads.
#[derive(Debug, Default, PartialEq)]
pub struct Sums {
    pub known: usize,
    pub unknown: usize,
    pub active: usize,
    pub in_flight: u64,
    pub held: u64,
    pub request_rate: f64,
}

/// What a drawing has found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Rows that fit on the screen.
    pub page: usize,
    /// Rows that there are.
    pub length: usize,
    /// The row that is looked at.
    pub at: usize,
}

/// All of it.
#[derive(Debug)]
pub struct Model {
    pub server: String,
    pub link: Link,
    /// When the manager last said something.
    pub heard_at: Option<Instant>,
    pub fleet: Option<Box<FleetView>>,
    /// Times that the fleet was told since the connection stands.
    fleets: u32,
    rows: BTreeMap<u32, Row>,
    /// How many rows there are, where that was told; more than `rows` while they come in.
    pub total: Option<usize>,
    pub view: View,
    pub workloads_by: Sort<WorkloadColumn>,
    pub collectors_by: Sort<CollectorColumn>,
    pub filter: String,
    /// Whether keys go into the filter.
    pub typing: bool,
    /// Only workloads that are so; all where none is said.
    pub only: Option<How>,
    pub help: bool,
    pub detail: Option<Detail>,
    /// As of the last drawing, but for `at`, which keys move.
    pub seen: Seen,
}

impl Model {
    pub fn new(server: &str) -> Self {
        Self {
            server: server.to_owned(),
            link: Link::Connecting,
            heard_at: None,
            fleet: None,
            fleets: 0,
            rows: BTreeMap::new(),
            total: None,
            view: View::Workloads,
            workloads_by: Sort::by(WorkloadColumn::InFlight),
            collectors_by: Sort::by(CollectorColumn::Name),
            filter: String::new(),
            typing: false,
            only: None,
            help: false,
            detail: None,
            seen: Seen { page: 10, length: 0, at: 0 },
        }
    }

    pub fn take(&mut self, news: News) {
        match news {
            News::Fleet(fleet) => {
                self.fleet = Some(fleet);
                self.fleets = self.fleets.saturating_add(1);
                self.heard();
            }
            News::Rows(rows) => {
                self.take_rows(rows);
                self.heard();
            }
            News::Lost { error, again_in } => self.lose(News::why(&error), again_in),
            News::Explained { topic, told } => {
                if let Some(detail) = self.detail.as_mut().filter(|detail| detail.topic == topic) {
                    detail.told = Some(told);
                }
            }
        }
    }

    fn heard(&mut self) {
        self.link = Link::Live;
        self.heard_at = Some(Instant::now());
    }

    fn lose(&mut self, why: String, again_in: Duration) {
        let now = Instant::now();
        let since = match &self.link {
            Link::Lost { since, .. } => *since,
            Link::Connecting | Link::Live => now,
        };
        self.fleets = 0;
        self.link = Link::Lost { why, since, again_at: now + again_in };
    }

    fn take_rows(&mut self, told: RowsView) {
        if told.reset {
            self.rows.clear();
        }
        self.total = Some(told.total);
        for whole in told.whole {
            let (id, row) = row(whole);
            self.rows.insert(id, row);
        }
        for live in told.live {
            if let Some(row) = self.rows.get_mut(&live.0) {
                row.set(live);
            }
        }
        for id in told.gone {
            self.rows.remove(&id);
        }
    }

    /// Whether all workloads are here. That there are none is believed only of a manager that has looked.
    pub fn is_whole(&self) -> bool {
        let all_came = self.total.is_some_and(|total| self.rows.len() >= total);
        all_came && (!self.rows.is_empty() || self.fleets >= LOOKED_AFTER)
    }

    /// How many rows are here.
    pub fn here(&self) -> usize {
        self.rows.len()
    }

    /// The workloads that are wanted, sorted.
    pub fn workloads(&self) -> Vec<&Row> {
        let is_so = |row: &Row| match self.only {
            None => true,
            // What holds requests is active, too.
            Some(How::Active) => matches!(row.how(), How::Active | How::Held),
            Some(how) => row.how() == how,
        };
        let looked_for = self.filter.to_lowercase();
        // Names in Kubernetes have no capitals.
        let mut listed: Vec<&Row> =
            self.rows.values().filter(|row| is_so(row) && row.name.contains(&looked_for)).collect();
        listed.sort_unstable_by(|a, b| self.workloads_by.order(a, b));
        listed
    }

    /// The collectors that are wanted, sorted.
    pub fn collectors(&self) -> Vec<&CollectorView> {
        let all = self.fleet.as_ref().map_or(&[][..], |fleet| &fleet.collectors);
        let mut listed: Vec<_> = all.iter().filter(|one| self.is_looked_for(&[&one.id])).collect();
        listed.sort_unstable_by(|a, b| self.collectors_by.order(a, b));
        listed
    }

    /// The moves that are wanted, as they were told.
    pub fn moves(&self) -> Vec<&MovingView> {
        let all = self.fleet.as_ref().map_or(&[][..], |fleet| &fleet.moves);
        let is_wanted =
            |one: &MovingView| self.is_looked_for(&[&one.topic, one.from.as_deref().unwrap_or_default(), &one.to]);
        all.iter().filter(|one| is_wanted(one)).collect()
    }

    fn is_looked_for(&self, names: &[&str]) -> bool {
        let looked_for = self.filter.to_lowercase();
        names.iter().any(|name| name.to_lowercase().contains(&looked_for))
    }

    /// Sums over all workloads, whatever is chosen of them.
    pub fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for row in self.rows.values() {
            match row.how() {
                How::Unknown => {
                    sums.unknown += 1;
                    continue;
                }
                How::Held | How::Active => sums.active += 1,
                How::Idle => {}
            }
            sums.known += 1;
            sums.in_flight += row.in_flight;
            sums.held += row.held;
            sums.request_rate += row.request_rate;
        }
        sums
    }

    /// Opens what is told of the row that is looked at.
    pub fn open(&mut self) {
        let at = self.seen.at;
        let picked = match self.view {
            View::Workloads => self.workloads().get(at).map(|row| (row.name.clone(), row.topic.clone())),
            View::Moves => self.moves().get(at).map(|one| (one.topic.clone(), one.topic.clone())),
            View::Collectors => None,
        };
        self.detail = picked.map(|(title, topic)| Detail { title, topic, told: None });
    }
}

fn row(whole: WholeRow) -> (u32, Row) {
    let (namespace, name, _provider, concurrency_target, rate_target, _least, _most, collector, live) = whole;
    let id = WorkloadId::new(namespace, name);
    let mut row = Row {
        name: id.to_string(),
        topic: id.topic(),
        collector,
        concurrency_target,
        rate_target,
        flags: 0,
        in_flight: 0,
        held: 0,
        concurrency: 0.0,
        request_rate: 0.0,
        wanted: None,
    };
    row.set(live);
    (live.0, row)
}

#[cfg(test)]
pub mod tests;
