//! The routes as bytes: what one look-up reads lies together, so that it costs few cache misses among any number of routes.
//!
//! A *block* is what a key leads to: its parent, the key itself and a node. The slots find it by the hash of parent and key. A
//! *node* is one segment of a path: its candidates in the order in which they are tried, and its children, either in place
//! or, where there are many, as blocks whose parent is the node. All numbers are `u32`, little-endian:
//!
//! ```text
//! block:     parent, length of the key, key, node
//! node:      number of candidates, candidates, MANY
//!            number of candidates, candidates, number of children, (length of the segment, where its node is, segment)...
//! candidate: number of the route, number of demands, (number of the name, length of the value or ANY, value)...
//! ```

use std::hash::{BuildHasher as _, RandomState};

/// Where something is in the bytes.
pub(super) type At = u32;

/// No place.
pub(super) const NOWHERE: At = At::MAX;
/// The parents of hosts.
pub(super) const EXACT: At = NOWHERE - 1;
pub(super) const WILDCARD: At = NOWHERE - 2;
/// In place of the number of children: they are blocks.
pub(super) const MANY: u32 = u32::MAX;
/// In place of a value's length: any value will do.
pub(super) const ANY: u32 = u32::MAX;

/// Blocks, and the slots that find them.
#[derive(Debug)]
pub(super) struct Arena {
    bytes: Box<[u8]>,
    /// A power of two of them, at most two thirds taken; a key's slot is the first free one from its hash on.
    slots: Box<[Slot]>,
    /// Keyed at random: whoever writes routes can't make their keys collide.
    hasher: RandomState,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Of the hash, what the slot's own number does not say.
    tag: u32,
    block: At,
}

const FREE: Slot = Slot { tag: 0, block: NOWHERE };

impl Arena {
    /// Makes blocks at these places findable.
    pub(super) fn new(bytes: Vec<u8>, blocks: &[At]) -> Self {
        let slots = (blocks.len() * 3 / 2 + 1).next_power_of_two();
        let mut arena = Self { bytes: bytes.into(), slots: vec![FREE; slots].into(), hasher: RandomState::new() };
        for &block in blocks {
            let mut cursor = arena.at(block);
            let (parent, key) = (cursor.number(), cursor.text());
            let (mut slot, tag) = arena.first_slot(parent, key);
            while arena.slots[slot].block != NOWHERE {
                slot = arena.after(slot);
            }
            arena.slots[slot] = Slot { tag, block };
        }
        arena
    }

    /// The node that this key leads to.
    pub(super) fn find(&self, parent: At, key: &str) -> Option<Cursor<'_>> {
        let (mut slot, wanted) = self.first_slot(parent, key.as_bytes());
        loop {
            let Slot { tag, block } = self.slots[slot];
            if block == NOWHERE {
                return None;
            }
            if tag == wanted {
                let mut cursor = self.at(block);
                if cursor.number() == parent && cursor.text() == key.as_bytes() {
                    return Some(cursor);
                }
            }
            slot = self.after(slot);
        }
    }

    /// What is written from there on.
    pub(super) fn at(&self, at: At) -> Cursor<'_> {
        Cursor { at: at as usize, bytes: &self.bytes }
    }

    fn first_slot(&self, parent: At, key: &[u8]) -> (usize, u32) {
        let hash = self.hasher.hash_one((parent, key));
        (hash as usize & (self.slots.len() - 1), (hash >> 32) as u32)
    }

    fn after(&self, slot: usize) -> usize {
        (slot + 1) & (self.slots.len() - 1)
    }
}

/// Reads on from some place. What was not written reads as nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    at: usize,
    bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// The place that is read next.
    pub(super) fn place(&self) -> At {
        self.at as At
    }

    pub(super) fn number(&mut self) -> u32 {
        let number = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk());
        self.at += size_of::<u32>();
        number.map_or(0, |number| u32::from_le_bytes(*number))
    }

    /// So many bytes.
    pub(super) fn take(&mut self, length: u32) -> &'a [u8] {
        let begins = self.at;
        self.at += length as usize;
        self.bytes.get(begins..self.at).unwrap_or_default()
    }

    /// Bytes with their length before them.
    pub(super) fn text(&mut self) -> &'a [u8] {
        let length = self.number();
        self.take(length)
    }
}
