//! Finding topics in the previous plan.

use std::cmp::Ordering;
use std::hint::black_box;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::TopicLoad;
use super::draft::{Entry, Readers, Seat, Why};
use crate::plan::{Placed, Placement, Plan};

/// What is wanted and what was planned, side by side.
#[derive(Default)]
pub(super) struct Joined<'a> {
    /// By name.
    pub(super) entries: Vec<Entry<'a>>,
    /// What was planned and is not wanted any more.
    pub(super) vanished: Vec<&'a Arc<Placed>>,
    /// The entries that are pinned.
    pub(super) pinned: Vec<usize>,
    /// The entries that want a collector of their own.
    pub(super) dedicated: Vec<usize>,
}

/// The topics do not come strictly by name.
pub(super) struct Unsorted;

/// So many topics are touched before they are looked at: what they and their neighbours in the plan hold fits into the processor's
/// second cache.
const TOUCHED: usize = 256;

/// Finds each topic in the previous plan. Both come by name, so one comparison for each topic is enough where little has changed.
pub(super) fn join<'a>(
    topics: &[&'a TopicLoad],
    previous: &'a Plan,
    seats: &FxHashMap<&str, Seat>,
) -> Result<Joined<'a>, Unsorted> {
    let mut joined = Joined { entries: Vec::with_capacity(topics.len()), ..Joined::default() };
    let mut earlier = Earlier::new(previous);
    for block in topics.chunks(TOUCHED) {
        touch(block);
        for &wanted in block {
            let placed = loop {
                let Some(placed) = earlier.first() else { break None };
                match placed.spec.topic.cmp(&wanted.spec.topic) {
                    Ordering::Less => joined.vanished.push(placed),
                    Ordering::Equal => break Some(placed),
                    Ordering::Greater => break None,
                }
                earlier.step();
            };
            match placed {
                Some(_) => earlier.step(),
                // What was found is in order, since the plan is.
                None if joined.entries.last().is_some_and(|last| last.wanted.spec.topic >= wanted.spec.topic) => {
                    return Err(Unsorted);
                }
                None => {}
            }
            if wanted.pinned.is_some() {
                joined.pinned.push(joined.entries.len());
            }
            if wanted.dedicated {
                joined.dedicated.push(joined.entries.len());
            }
            joined.entries.push(entry(wanted, placed, seats));
        }
    }
    while let Some(placed) = earlier.first() {
        joined.vanished.push(placed);
        earlier.step();
    }
    Ok(joined)
}

/// Reads something of each topic. With 100,000 of them all that is looked at comes from memory; here no read waits for the one before, so
/// the processor has many under way at a time, which it can not while names are compared.
fn touch(topics: &[&TopicLoad]) {
    let first = |text: &str| usize::from(text.as_bytes().first().copied().unwrap_or(0));
    black_box(topics.iter().map(|topic| first(&topic.spec.topic) + first(&topic.provider)).sum::<usize>());
}

/// The previous plan's topics, each touched some time before it is looked at.
struct Earlier<'a, I> {
    rest: I,
    block: Vec<&'a Arc<Placed>>,
    at: usize,
}

impl<'a> Earlier<'a, ()> {
    fn new(plan: &'a Plan) -> Earlier<'a, impl Iterator<Item = &'a Arc<Placed>>> {
        let mut earlier = Earlier { rest: plan.topics.shared(), block: Vec::with_capacity(TOUCHED), at: 0 };
        earlier.refill();
        earlier
    }
}

impl<'a, I: Iterator<Item = &'a Arc<Placed>>> Earlier<'a, I> {
    fn first(&self) -> Option<&'a Arc<Placed>> {
        self.block.get(self.at).copied()
    }

    fn step(&mut self) {
        self.at += 1;
        if self.at == self.block.len() {
            self.refill();
        }
    }

    fn refill(&mut self) {
        self.at = 0;
        self.block.clear();
        self.block.extend(self.rest.by_ref().take(TOUCHED));
        let first = |text: &str| usize::from(text.as_bytes().first().copied().unwrap_or(0));
        let touched = self.block.iter().map(|placed| {
            let owner = placed.placement.owner.as_deref().map_or(0, first);
            owner + first(&placed.spec.topic) + first(&placed.provider)
        });
        black_box(touched.sum::<usize>());
    }
}

fn entry<'a>(wanted: &'a TopicLoad, placed: Option<&'a Arc<Placed>>, seats: &FxHashMap<&str, Seat>) -> Entry<'a> {
    let before = placed.map_or(Readers::NONE, |placed| readers(&placed.placement, seats));
    Entry {
        wanted,
        previous: placed,
        load: wanted.load,
        weight: 0,
        before,
        now: before,
        why: Why::Kept,
        group: 0,
        seat: Seat::NOBODY,
        described: placed.is_some_and(|placed| described_alike(placed, wanted)),
        was_alone: placed.is_some_and(|placed| placed.alone),
        fresh: false,
    }
}

fn described_alike(previous: &Placed, wanted: &TopicLoad) -> bool {
    let (was, is) = (&previous.spec, &wanted.spec);
    was.concurrency_window == is.concurrency_window
        && was.rate_window == is.rate_window
        && previous.provider == wanted.provider
}

fn readers(placement: &Placement, seats: &FxHashMap<&str, Seat>) -> Readers {
    let seat = |id: &Option<String>| match id {
        Some(id) => seats.get(id.as_str()).copied().unwrap_or(Seat::UNKNOWN),
        None => Seat::NOBODY,
    };
    Readers { owner: seat(&placement.owner), incoming: seat(&placement.incoming) }
}
