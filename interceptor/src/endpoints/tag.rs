//! The name of an endpoint that clients see in a session's cookie.

use std::fmt;
use std::hash::Hasher as _;
use std::net::SocketAddr;

use siphasher::sip128::{Hasher128 as _, SipHasher24};

/// Says which endpoint a session is at, and to those who don't know the key nothing else.
///
/// It depends on nothing but key, workload and address, so that all interceptors with the same key agree on it, and it
/// outlives their restarts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag(u128);

impl Tag {
    /// The tag of an address: SipHash-2-4, a keyed hash (Aumasson and Bernstein, 2012), with 128 bits.
    pub(crate) fn of(key: &[u8], workload: &str, address: SocketAddr) -> Self {
        // The key may be of any length: it is hashed into one of SipHash's own.
        let mut derived = SipHasher24::new();
        derived.write(key);
        let mut hasher = SipHasher24::new_with_key(&derived.finish128().as_bytes());
        hasher.write(workload.as_bytes());
        // Workloads' names have no zero byte, so nothing can be read in two ways.
        hasher.write(&[0]);
        hasher.write(address.to_string().as_bytes());
        Self(hasher.finish128().as_u128())
    }

    /// The tag as [`fmt::Display`] writes it.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.len() == 32)?;
        // The standard library would take a sign too; it makes one of the digits, so the tag is simply another one.
        u128::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_depends_on_key_workload_and_address() {
        let address = SocketAddr::from(([10, 0, 0, 1], 80));
        let tag = Tag::of(b"key", "default/app", address);
        assert_eq!(tag, Tag::of(b"key", "default/app", address));
        assert_ne!(tag, Tag::of(b"other", "default/app", address));
        assert_ne!(tag, Tag::of(b"key", "default/app2", address));
        assert_ne!(tag, Tag::of(b"key", "default/app", SocketAddr::from(([10, 0, 0, 2], 80))));
        // Written down, so that no new version gives another: clients keep it in their cookies.
        assert_eq!(Tag::parse(tag.to_string().as_bytes()), Some(tag));
    }

    #[test]
    fn what_is_no_tag_is_none() {
        for text in ["", "0", "g0000000000000000000000000000000", "000000000000000000000000000000000"] {
            assert_eq!(Tag::parse(text.as_bytes()), None, "{text}");
        }
    }
}
