//! How far a collector may be from its fair share.

use super::super::{DEAD_BAND_PERCENT, REBALANCE_BAND_PERCENT};

/// Load moves only when a collector is outside it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Band {
    percent: u64,
}

impl Band {
    pub(super) fn ordinary() -> Self {
        Self { percent: DEAD_BAND_PERCENT }
    }

    /// The band while an operator has load evened out.
    pub(super) fn rebalance() -> Self {
        Self { percent: REBALANCE_BAND_PERCENT }
    }

    /// Above this a collector must shed.
    pub(super) fn hot(self, fair: u64) -> u64 {
        fair + fair / 100 * self.percent
    }

    /// Below this a collector must get more.
    pub(super) fn cold(self, fair: u64) -> u64 {
        fair - fair / 100 * self.percent
    }

    /// Up to this a collector gets load from others: half the band over its share. More would soon make it shed, less would take more
    /// and smaller moves.
    pub(super) fn full(self, fair: u64) -> u64 {
        fair + self.half(fair)
    }

    /// Down to this a collector gives load to others: half the band under its share. In a large fleet nobody has much above its share
    /// when a collector joins, and keeping everyone at it would fill the new one with crumbs.
    pub(super) fn lean(self, fair: u64) -> u64 {
        fair - self.half(fair)
    }

    pub(super) fn half(self, fair: u64) -> u64 {
        fair / 200 * self.percent
    }

    /// Two moves for less than this are not worth it: about a sixth of the band.
    pub(super) fn crumb(self, fair: u64) -> u64 {
        fair / 640 * self.percent
    }
}
