//! What can be sorted by, and how. Pure.

use std::cmp::Ordering;

use clap::ValueEnum;
use plimsoll_manager::api::CollectorView;

use super::model::Row;

/// A column of a table.
pub trait Column: Copy + PartialEq + 'static {
    /// From the left to the right.
    const ALL: &'static [Self];

    fn title(self) -> &'static str;

    /// Numbers are written to the right, and begin with the greatest; texts with the first.
    fn is_number(self) -> bool;
}

/// By what a table is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sort<C> {
    pub column: C,
    pub greatest_first: bool,
}

impl<C: Column> Sort<C> {
    pub fn by(column: C) -> Self {
        Self { column, greatest_first: column.is_number() }
    }

    /// Goes on by so many columns.
    pub fn step(&mut self, forward: bool) {
        let count = C::ALL.len();
        let now = C::ALL.iter().position(|column| *column == self.column).unwrap_or(0);
        *self = Self::by(C::ALL[(now + if forward { 1 } else { count - 1 }) % count]);
    }

    /// A column's head, with a mark at the one that is sorted by.
    pub fn head(&self, column: C) -> String {
        match (column == self.column, self.greatest_first) {
            (false, _) => column.title().to_owned(),
            (true, true) => format!("▼{}", column.title()),
            (true, false) => format!("▲{}", column.title()),
        }
    }

    fn way(&self, order: Ordering) -> Ordering {
        if self.greatest_first { order.reverse() } else { order }
    }

    /// What is not known comes last, whichever way the rest goes: it is neither great nor small.
    fn known_first<T>(&self, a: Option<T>, b: Option<T>, order: impl FnOnce(&T, &T) -> Ordering) -> Ordering {
        match (a, b) {
            (Some(a), Some(b)) => self.way(order(&a, &b)),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        }
    }
}

/// What is told of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WorkloadColumn {
    Name,
    State,
    InFlight,
    Held,
    Mean,
    Rate,
    Wanted,
    Collector,
}

impl Column for WorkloadColumn {
    const ALL: &'static [Self] =
        &[Self::Name, Self::State, Self::InFlight, Self::Held, Self::Mean, Self::Rate, Self::Wanted, Self::Collector];

    fn title(self) -> &'static str {
        match self {
            Self::Name => "WORKLOAD",
            Self::State => "STATE",
            Self::InFlight => "IN FLIGHT",
            Self::Held => "HELD",
            Self::Mean => "MEAN",
            Self::Rate => "RATE",
            Self::Wanted => "WANTED",
            Self::Collector => "COLLECTOR",
        }
    }

    fn is_number(self) -> bool {
        !matches!(self, Self::Name | Self::State | Self::Collector)
    }
}

impl Sort<WorkloadColumn> {
    /// Names decide between equals, so that rows do not change places for nothing.
    pub fn order(&self, a: &Row, b: &Row) -> Ordering {
        let order = match self.column {
            WorkloadColumn::Name => self.way(a.name.cmp(&b.name)),
            WorkloadColumn::State => self.way(a.how().cmp(&b.how())),
            WorkloadColumn::InFlight => self.known_first(a.count(a.in_flight), b.count(b.in_flight), u64::cmp),
            WorkloadColumn::Held => self.known_first(a.count(a.held), b.count(b.held), u64::cmp),
            WorkloadColumn::Mean => self.known_first(a.mean(a.concurrency), b.mean(b.concurrency), f64::total_cmp),
            WorkloadColumn::Rate => self.known_first(a.mean(a.request_rate), b.mean(b.request_rate), f64::total_cmp),
            WorkloadColumn::Wanted => self.known_first(a.wanted(), b.wanted(), u32::cmp),
            WorkloadColumn::Collector => self.known_first(a.collector.as_ref(), b.collector.as_ref(), |a, b| a.cmp(b)),
        };
        order.then_with(|| a.name.cmp(&b.name))
    }
}

/// What is told of a collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CollectorColumn {
    Name,
    State,
    Provider,
    Topics,
    Load,
    Lag,
    Why,
}

impl Column for CollectorColumn {
    const ALL: &'static [Self] =
        &[Self::Name, Self::State, Self::Provider, Self::Topics, Self::Load, Self::Lag, Self::Why];

    fn title(self) -> &'static str {
        match self {
            Self::Name => "COLLECTOR",
            Self::State => "STATE",
            Self::Provider => "PROVIDER",
            Self::Topics => "TOPICS",
            Self::Load => "LOAD, FRAMES/S",
            Self::Lag => "LAG",
            Self::Why => "WHY",
        }
    }

    fn is_number(self) -> bool {
        matches!(self, Self::Topics | Self::Load | Self::Lag)
    }
}

/// Seconds by which a collector is behind the log, where it has said so at all.
pub fn lag(one: &CollectorView) -> Option<f64> {
    (!matches!(one.state.as_str(), "lost" | "joining")).then_some(one.lag_seconds)
}

impl Sort<CollectorColumn> {
    /// Names decide between equals.
    pub fn order(&self, a: &CollectorView, b: &CollectorView) -> Ordering {
        let order = match self.column {
            CollectorColumn::Name => self.way(a.id.cmp(&b.id)),
            CollectorColumn::State => self.way(a.state.cmp(&b.state)),
            CollectorColumn::Provider => self.known_first(a.provider.as_ref(), b.provider.as_ref(), |a, b| a.cmp(b)),
            CollectorColumn::Topics => self.way(a.topics.cmp(&b.topics)),
            CollectorColumn::Load => self.way(a.load.total_cmp(&b.load)),
            CollectorColumn::Lag => self.known_first(lag(a), lag(b), f64::total_cmp),
            CollectorColumn::Why => self.known_first(a.because.as_ref(), b.because.as_ref(), |a, b| a.cmp(b)),
        };
        order.then_with(|| a.id.cmp(&b.id))
    }
}
