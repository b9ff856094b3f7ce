//! A plan in the making, with numbers for names.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::{CollectorInfo, CollectorState, Obstacle, Reason, TopicLoad};
use crate::plan::Placed;

/// Who has a topic: a place in [`Draft::collectors`], or nobody there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seat(u32);

impl Seat {
    pub(super) const NOBODY: Self = Self(u32::MAX);
    /// A collector that the problem does not know.
    pub(super) const UNKNOWN: Self = Self(u32::MAX - 1);

    pub(super) fn at(index: usize) -> Self {
        // More collectors than this do not fit into memory; were there more, they would count as unknown.
        u32::try_from(index).map_or(Self::UNKNOWN, Self)
    }

    pub(super) fn index(self) -> Option<usize> {
        (self < Self::UNKNOWN).then_some(self.0 as usize)
    }
}

/// Who reads a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Readers {
    pub(super) owner: Seat,
    pub(super) incoming: Seat,
}

impl Readers {
    pub(super) const NONE: Self = Self { owner: Seat::NOBODY, incoming: Seat::NOBODY };

    /// Who has the topic when all moves are over.
    pub(super) fn target(self) -> Seat {
        if self.moving() { self.incoming } else { self.owner }
    }

    pub(super) fn moving(self) -> bool {
        self.incoming != Seat::NOBODY
    }
}

/// What this plan decides about a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Nothing.
    Kept,
    /// Its move is over: the new owner is warm.
    HandedOver,
    /// Its owner was lost while it was moving.
    TakenOver,
    /// Its move is given up: the new owner is lost, or takes nothing more.
    GivenUp,
    /// It goes elsewhere. The shares are those of the collectors that it goes from and to, in percent of the fair one.
    Moved { from: Seat, reason: Reason, from_percent: u16, to_percent: u16 },
}

/// A topic.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) wanted: &'a TopicLoad,
    pub(super) previous: Option<&'a Arc<Placed>>,
    /// As it is wanted; here too, since what an entry points to is far away in memory.
    pub(super) load: f64,
    /// Its load, as a part of all load; see [`Draft::weigh`].
    pub(super) weight: u64,
    pub(super) before: Readers,
    pub(super) now: Readers,
    pub(super) why: Why,
    /// The group of collectors that may have it; see [`super::groups`].
    pub(super) group: u32,
    /// The one collector that may have it, where it is pinned or dedicated, and that can be done.
    pub(super) seat: Seat,
    /// The previous plan describes it in the same words: windows and provider.
    pub(super) described: bool,
    /// In the previous plan its collector was kept for it.
    pub(super) was_alone: bool,
    /// Placed by this very plan: nobody has begun to read it, so it may as well be placed elsewhere.
    pub(super) fresh: bool,
}

/// A collector, and what is planned to be on it when all moves are over.
#[derive(Debug)]
pub(super) struct Collector<'a> {
    pub(super) info: &'a CollectorInfo,
    pub(super) group: u32,
    /// The topic that it is kept for.
    pub(super) kept_for: Option<usize>,
    pub(super) topics: usize,
    pub(super) weight: u64,
}

impl Collector<'_> {
    /// Whether any topic of its group may go there.
    pub(super) fn is_open(&self) -> bool {
        self.is(CollectorState::Ready) && self.kept_for.is_none()
    }

    pub(super) fn is(&self, state: CollectorState) -> bool {
        self.info.state == state
    }
}

/// The weight of all topics together, roughly. Whole numbers, so that sums are exact in any order.
const WHOLE: f64 = (1_u64 << 50) as f64;
/// A load beyond this is a mistake, and sums must stay finite.
const LOAD_MAX: f64 = 1e15;

/// Collectors and the topics that only they may have.
#[derive(Debug)]
pub(super) struct Group<'a> {
    /// The provider.
    pub(super) name: &'a str,
    pub(super) topics: usize,
    /// Topics among them that want a collector of their own.
    pub(super) dedicated: Vec<usize>,
    /// By name.
    pub(super) collectors: Vec<usize>,
}

/// A plan in the making.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    /// By name.
    pub(super) collectors: Vec<Collector<'a>>,
    /// By name.
    pub(super) entries: Vec<Entry<'a>>,
    /// Topics of the previous plan that are not wanted any more.
    pub(super) vanished: Vec<&'a Arc<Placed>>,
    /// By number; one, named "", where any collector may have any topic.
    pub(super) groups: Vec<Group<'a>>,
    /// Topics that may only be on one collector, by name.
    pub(super) seated: Vec<usize>,
    /// Whether a topic is owned by a collector of another group.
    pub(super) strays: bool,
    /// What can't be done as wanted.
    pub(super) obstacles: Vec<(usize, Obstacle)>,
    pub(super) moving: usize,
    pub(super) moving_weight: u64,
}

impl<'a> Draft<'a> {
    pub(super) fn new(collectors: &'a [CollectorInfo]) -> (Self, FxHashMap<&'a str, Seat>) {
        let mut infos: Vec<&CollectorInfo> = collectors.iter().collect();
        infos.sort_by(|a, b| a.id.cmp(&b.id));
        infos.dedup_by(|later, earlier| later.id == earlier.id);
        let seats = infos.iter().enumerate().map(|(index, info)| (info.id.as_str(), Seat::at(index))).collect();
        let collector = |info| Collector { info, group: 0, kept_for: None, topics: 0, weight: 0 };
        let draft = Self {
            collectors: infos.into_iter().map(collector).collect(),
            entries: Vec::new(),
            vanished: Vec::new(),
            groups: Vec::new(),
            seated: Vec::new(),
            strays: false,
            obstacles: Vec::new(),
            moving: 0,
            moving_weight: 0,
        };
        (draft, seats)
    }

    /// Gives each topic its weight: its part of all load, and a thousandth of the mean for being there (so that many idle topics do
    /// not all go to one collector).
    pub(super) fn weigh(&mut self) {
        // Both fail for what is no number.
        let load = |entry: &Entry<'_>| if entry.load > 0.0 { entry.load.min(LOAD_MAX) } else { 0.0 };
        let total: f64 = self.entries.iter().map(load).sum();
        let scale = if total > 0.0 { WHOLE / total } else { 0.0 };
        let scale = if scale.is_finite() { scale } else { 0.0 };
        let presence = (1_u64 << 50) / 1000 / (self.entries.len().max(1) as u64) + 1;
        for entry in &mut self.entries {
            entry.weight = (load(entry) * scale) as u64 + presence;
        }
    }

    pub(super) fn collector(&self, seat: Seat) -> Option<&Collector<'a>> {
        seat.index().and_then(|index| self.collectors.get(index))
    }

    pub(super) fn answers(&self, seat: Seat) -> bool {
        self.collector(seat).is_some_and(|collector| !collector.is(CollectorState::Lost))
    }

    /// The collectors of a group that any of its topics may go to.
    pub(super) fn open(&self, group: u32) -> impl Iterator<Item = usize> {
        let collectors = self.groups.get(group as usize).map_or(&[][..], |group| &group.collectors);
        collectors.iter().copied().filter(|&index| self.collectors[index].is_open())
    }

    /// Whether a topic could be moved to this collector, or be on its way there.
    pub(super) fn welcomes(&self, to: Seat, topic: usize) -> bool {
        let entry = &self.entries[topic];
        if entry.seat != Seat::NOBODY {
            return entry.seat == to;
        }
        self.collector(to)
            .is_some_and(|to| to.is(CollectorState::Ready) && to.group == entry.group && !self.is_taken(to, topic))
    }

    /// Whether a collector is another topic's own, and that topic is there, or on its way.
    pub(super) fn is_taken(&self, collector: &Collector<'a>, topic: usize) -> bool {
        collector.kept_for.is_some_and(|kept| kept != topic && self.is_seated(kept))
    }

    /// Whether a topic is where it alone may be, or on its way there.
    pub(super) fn is_seated(&self, topic: usize) -> bool {
        self.entries[topic].now.target() == self.entries[topic].seat
    }

    /// Whether a topic has a collector for itself, or is on its way to one.
    pub(super) fn is_alone(&self, topic: usize) -> bool {
        let kept = self.collector(self.entries[topic].seat).and_then(|collector| collector.kept_for);
        kept == Some(topic) && self.is_seated(topic)
    }

    /// Counts a topic for the collector that it is going to be on.
    pub(super) fn tally(&mut self, topic: usize) {
        let Entry { weight, now, .. } = self.entries[topic];
        if let Some(index) = now.target().index() {
            self.collectors[index].topics += 1;
            self.collectors[index].weight += weight;
        }
        if now.moving() {
            self.moving += 1;
            self.moving_weight += weight;
        }
    }

    /// Undoes [`Draft::tally`].
    pub(super) fn untally(&mut self, topic: usize) {
        let Entry { weight, now, .. } = self.entries[topic];
        if let Some(index) = now.target().index() {
            self.collectors[index].topics -= 1;
            self.collectors[index].weight -= weight;
        }
        if now.moving() {
            self.moving -= 1;
            self.moving_weight -= weight;
        }
    }
}
