//! Objects as they are last known, folded from a watch. Pure.

use std::collections::BTreeMap;

use kube::runtime::watcher::Event;

/// The objects of one kind, as much of each as is needed.
///
/// A new list replaces the old one as a whole, when it is complete: until then, and while there is none to be had, what is
/// known stays.
#[derive(Debug)]
pub struct Kept<K, V> {
    now: BTreeMap<K, V>,
    /// A list that is not complete yet.
    listed: Option<BTreeMap<K, V>>,
    complete: bool,
}

/// What an event has changed.
#[derive(Debug, PartialEq, Eq)]
pub enum Change<K, V> {
    /// Nothing that can be seen yet.
    Nothing,
    /// One object, with what was known of it before.
    One(K, Option<V>),
    /// Any of them: a list is complete.
    All,
}

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self { now: BTreeMap::new(), listed: None, complete: false }
    }
}

impl<K: Ord + Clone, V> Kept<K, V> {
    /// Takes an event up. `key` names an object, none where it can't be named; `read` takes from it what is needed, and sees
    /// what was known of it before.
    pub fn apply<O>(
        &mut self,
        event: Event<O>,
        key: impl Fn(&O) -> Option<K>,
        read: impl FnOnce(O, Option<&V>) -> V,
    ) -> Change<K, V> {
        match event {
            Event::Init => {
                self.listed = Some(BTreeMap::new());
                Change::Nothing
            }
            Event::InitApply(object) => {
                if let Some(key) = key(&object) {
                    let value = read(object, self.now.get(&key));
                    self.listed.get_or_insert_default().insert(key, value);
                }
                Change::Nothing
            }
            Event::InitDone => {
                self.now = self.listed.take().unwrap_or_default();
                self.complete = true;
                Change::All
            }
            Event::Apply(object) => match key(&object) {
                Some(key) => {
                    let value = read(object, self.now.get(&key));
                    let before = self.now.insert(key.clone(), value);
                    Change::One(key, before)
                }
                None => Change::Nothing,
            },
            Event::Delete(object) => match key(&object) {
                Some(key) => {
                    let before = self.now.remove(&key);
                    Change::One(key, before)
                }
                None => Change::Nothing,
            },
        }
    }

    /// The kind is not known to the API server: there are none, unless some are known from before.
    pub fn absent(&mut self) -> Change<K, V> {
        if std::mem::replace(&mut self.complete, true) { Change::Nothing } else { Change::All }
    }

    /// Whether all objects have been listed once.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// One object.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.now.get(key)
    }

    /// All objects, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.now.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(kept: &mut Kept<u8, char>, event: Event<(u8, char)>) -> Change<u8, char> {
        kept.apply(event, |(key, _)| Some(*key), |(_, value), _| value)
    }

    fn all(kept: &Kept<u8, char>) -> Vec<(u8, char)> {
        kept.iter().map(|(key, value)| (*key, *value)).collect()
    }

    #[test]
    fn what_is_known_stays_until_a_new_list_is_complete() {
        let mut kept = Kept::default();
        for event in [Event::Init, Event::InitApply((1, 'a')), Event::InitApply((2, 'b'))] {
            assert_eq!(apply(&mut kept, event), Change::Nothing);
        }
        assert!(!kept.is_complete() && all(&kept).is_empty());
        assert_eq!(apply(&mut kept, Event::InitDone), Change::All);
        assert!(kept.is_complete());
        // An outage: lists begin again and again, and none comes to its end.
        for event in [Event::Init, Event::Init, Event::InitApply((3, 'c')), Event::Init] {
            apply(&mut kept, event);
            assert_eq!(all(&kept), [(1, 'a'), (2, 'b')]);
        }
        apply(&mut kept, Event::InitApply((2, 'B')));
        apply(&mut kept, Event::InitDone);
        assert_eq!(
            all(&kept),
            [(2, 'B')],
            "what is not in the new list has gone, nor is there anything of a broken one"
        );
    }

    #[test]
    fn a_change_tells_what_was_before() {
        let mut kept = Kept::default();
        assert_eq!(apply(&mut kept, Event::Apply((1, 'a'))), Change::One(1, None));
        assert_eq!(apply(&mut kept, Event::Apply((1, 'b'))), Change::One(1, Some('a')));
        assert_eq!(apply(&mut kept, Event::Delete((1, 'x'))), Change::One(1, Some('b')));
        assert_eq!(apply(&mut kept, Event::Delete((1, 'x'))), Change::One(1, None));
    }

    #[test]
    fn a_kind_that_the_server_does_not_know_has_no_objects() {
        let mut kept = Kept::<u8, char>::default();
        assert_eq!(kept.absent(), Change::All);
        assert!(kept.is_complete());
        assert_eq!(kept.absent(), Change::Nothing);
    }
}
