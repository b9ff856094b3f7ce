//! How many connections each address has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// The connections by address. There are no more addresses than connections.
#[derive(Debug, Default)]
pub struct Crowd {
    counts: Mutex<HashMap<IpAddr, usize>>,
}

impl Crowd {
    /// A place for one more of this address; none where it has so many already.
    pub fn enter(self: &Arc<Self>, address: IpAddr, most: usize) -> Option<Place> {
        let address = address.to_canonical();
        let mut counts = self.counts.lock();
        let count = counts.get(&address).copied().unwrap_or(0);
        if count >= most {
            return None;
        }
        counts.insert(address, count + 1);
        Some(Place { crowd: self.clone(), address })
    }
}

/// One connection's place, until dropped.
#[derive(Debug)]
pub struct Place {
    crowd: Arc<Crowd>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.crowd.counts.lock();
        match counts.get(&self.address).copied() {
            Some(count) if count > 1 => counts.insert(self.address, count - 1),
            _ => counts.remove(&self.address),
        };
    }
}
