//! A front's memory: a fixed number of places for verified credentials, four to a set.
//!
//! A credential's fingerprint says in which set it may be; there it is compared whole. Each place counts, up to a small
//! number, how often it was asked for. A newcomer takes a place that is free or whose credential does not stand any more,
//! else the least asked for, if that was not asked for since it came; and where all four were, it finds no place, but
//! takes one from each count. So what comes once replaces only what came once, and to drive out a credential that is in
//! use somebody would have to send more than [`HOT`] other *verified* ones that fall into its set between two of its
//! requests, without knowing which do: fingerprints are keyed. What does not verify never gets here.

use std::sync::Arc;

use crate::{
    credentials::{
        fingerprint::Fingerprint,
        known::{Known, Proof},
    },
    domain::{identity::Identity, time::UnixMillis},
};

/// Places to a set. Their fingerprints fill a cache line.
const WAYS: usize = 4;

/// Sets: with 8,192 places of 80 bytes in all, 640 KiB, made when the first credential comes.
const SETS: usize = 2048;

/// So often is counted how a place is asked for. Where it stands there, a hit writes nothing but the reference count.
const HOT: u8 = 15;

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Tags([Fingerprint; WAYS]);

/// A place, on one cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Place {
    known: Option<Known>,
    heat: u8,
}

/// Verified credentials.
#[derive(Debug, Default)]
pub(super) struct Memory {
    tags: Box<[Tags]>,
    places: Box<[[Place; WAYS]]>,
}

/// The set of a fingerprint.
#[allow(clippy::cast_possible_truncation, reason = "some low bits are what is wanted")]
fn set(fingerprint: Fingerprint) -> usize {
    fingerprint.0 as usize % SETS
}

impl Memory {
    /// The identity of that credential, if it is remembered, holds at `now`, and what it rests on `stands`.
    pub(super) fn get(
        &mut self,
        fingerprint: Fingerprint,
        now: UnixMillis,
        stands: impl FnOnce(Proof) -> bool,
    ) -> Option<Arc<Identity>> {
        let set = set(fingerprint);
        let way = self.tags.get(set)?.0.iter().position(|tag| *tag == fingerprint)?;
        let place = self.places.get_mut(set)?.get_mut(way)?;
        let known = place.known.as_ref()?;
        if !(known.holds_at(now) && stands(known.proof)) {
            // Whatever it becomes, it is not this any more; the shared memory knows.
            *place = Place::default();
            return None;
        }
        let identity = Arc::clone(&known.identity);
        if place.heat < HOT {
            place.heat += 1;
        }
        Some(identity)
    }

    /// Remembers a credential that was just verified, if there is a place for it.
    pub(super) fn put(
        &mut self,
        fingerprint: Fingerprint,
        known: Known,
        now: UnixMillis,
        stands: impl Fn(Proof) -> bool,
    ) {
        if !known.holds_at(now) {
            return;
        }
        if self.tags.is_empty() {
            self.tags = vec![Tags([Fingerprint(0); WAYS]); SETS].into();
            self.places = (0..SETS).map(|_| Default::default()).collect();
        }
        let set = set(fingerprint);
        let (tags, places) = (&mut self.tags[set].0, &mut self.places[set]);
        let free = |place: &Place| {
            place.known.as_ref().is_none_or(|known| !(known.holds_at(now) && stands(known.proof)))
        };
        let way = tags
            .iter()
            .position(|tag| *tag == fingerprint)
            .or_else(|| places.iter().position(free))
            .or_else(|| places.iter().position(|place| place.heat == 0));
        match way {
            Some(way) => {
                tags[way] = fingerprint;
                places[way] = Place { known: Some(known), heat: 0 };
            }
            None => places.iter_mut().for_each(|place| place.heat -= 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::identity::Credential;

    const NOW: UnixMillis = UnixMillis(1000);

    fn known(until: i64) -> Known {
        Known {
            identity: Identity::new("acme".parse().unwrap(), Credential::Jwt),
            from: UnixMillis(0),
            until: UnixMillis(until),
            proof: Proof::Token { generation: 0 },
        }
    }

    /// The `number`th fingerprint of set 7.
    fn of_one_set(number: usize) -> Fingerprint {
        Fingerprint(((number + 1) * SETS + 7) as u128)
    }

    fn put(memory: &mut Memory, fingerprint: Fingerprint) {
        memory.put(fingerprint, known(2000), NOW, |_| true);
    }

    fn knows(memory: &mut Memory, fingerprint: Fingerprint) -> bool {
        memory.get(fingerprint, NOW, |_| true).is_some()
    }

    #[test]
    fn nothing_is_known_at_first_and_then_what_was_put() {
        let mut memory = Memory::default();
        assert!(!knows(&mut memory, Fingerprint(0)));
        assert!(memory.tags.is_empty(), "nothing was made for it");
        let fingerprint = |number: usize, rest: u128| Fingerprint((number * 3) as u128 + (rest << 70));
        for number in 0..SETS {
            put(&mut memory, fingerprint(number, 5));
        }
        for number in 0..SETS {
            assert!(knows(&mut memory, fingerprint(number, 5)));
            assert!(!knows(&mut memory, fingerprint(number, 4)), "all bits count");
        }
    }

    #[test]
    fn no_place_is_larger_than_a_cache_line() {
        assert_eq!(size_of::<Place>(), 64);
        assert_eq!(size_of::<Tags>(), 64);
    }

    #[test]
    fn what_does_not_hold_or_stand_is_forgotten() {
        let mut memory = Memory::default();
        let fingerprint = of_one_set(0);
        for (now, stands) in [(2000, true), (-1, true), (1000, false)] {
            put(&mut memory, fingerprint);
            assert!(memory.get(fingerprint, UnixMillis(now), |_| stands).is_none());
            assert!(!knows(&mut memory, fingerprint), "for good");
        }
        memory.put(fingerprint, known(1000), NOW, |_| true);
        assert!(memory.get(fingerprint, UnixMillis(999), |_| true).is_none(), "never got in");
    }

    #[test]
    fn a_place_whose_credential_does_not_stand_is_free() {
        let mut memory = Memory::default();
        for number in 0..WAYS {
            put(&mut memory, of_one_set(number));
            assert!(knows(&mut memory, of_one_set(number)));
        }
        memory.put(of_one_set(WAYS), known(2000), NOW, |_| false);
        assert!(knows(&mut memory, of_one_set(WAYS)));
        assert!(!knows(&mut memory, of_one_set(0)));
        assert!((1..WAYS).all(|number| knows(&mut memory, of_one_set(number))));
    }

    #[test]
    fn what_comes_once_does_not_drive_out_what_is_in_use() {
        let mut memory = Memory::default();
        for number in 0..WAYS {
            put(&mut memory, of_one_set(number));
            (0..20).for_each(|_| assert!(knows(&mut memory, of_one_set(number))));
        }
        // Ten one-off credentials between two uses of each, for ever.
        for flood in 0..10_000 {
            put(&mut memory, of_one_set(100 + flood));
            assert!(!knows(&mut memory, of_one_set(100 + flood)));
            if flood % 10 == 9 {
                for number in 0..WAYS {
                    (0..10).for_each(|_| assert!(knows(&mut memory, of_one_set(number)), "{flood}"));
                }
            }
        }
    }

    #[test]
    fn what_is_not_used_any_more_goes() {
        let mut memory = Memory::default();
        for number in 0..WAYS {
            put(&mut memory, of_one_set(number));
            (0..20).for_each(|_| assert!(knows(&mut memory, of_one_set(number))));
        }
        (0..usize::from(HOT)).for_each(|newcomer| put(&mut memory, of_one_set(100 + newcomer)));
        put(&mut memory, of_one_set(500));
        assert!(knows(&mut memory, of_one_set(500)));
    }

    #[test]
    fn the_same_credential_takes_one_place() {
        let mut memory = Memory::default();
        (0..10).for_each(|_| put(&mut memory, of_one_set(0)));
        (1..WAYS).for_each(|number| put(&mut memory, of_one_set(number)));
        assert!((0..WAYS).all(|number| knows(&mut memory, of_one_set(number))));
    }
}
