//! What comes after what: by the order of a stream, by events, and because the host waited.
//!
//! Memory that two streams use is checked by this, not by the order in which the work happened to run. So a missing wait
//! is a fault in every schedule.

use std::collections::BTreeMap;

/// A piece of work: its stream, and its number in that stream, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub stream: usize,
    pub number: u64,
}

/// The work that is done before something begins: for each stream, the number of its last piece.
#[derive(Debug, Clone, Default)]
pub struct Known(BTreeMap<usize, u64>);

impl Known {
    pub const fn new() -> Self {
        Known(BTreeMap::new())
    }

    /// Adds a piece of work and all before it in its stream.
    pub fn add(&mut self, place: Place) {
        let number = self.0.entry(place.stream).or_default();
        *number = place.number.max(*number);
    }

    /// Adds all that another knows.
    pub fn join(&mut self, other: &Known) {
        other.0.iter().for_each(|(&stream, &number)| self.add(Place { stream, number }));
    }

    /// Whether a piece of work is done before.
    pub fn has(&self, place: Place) -> bool {
        self.last(place.stream) >= place.number
    }

    /// A stream with work that another knows and this does not.
    pub fn misses(&self, other: &Known) -> Option<usize> {
        other.0.iter().find(|&(&stream, &number)| number > self.last(stream)).map(|(&stream, _)| stream)
    }

    /// The number of the last piece of a stream.
    pub fn last(&self, stream: usize) -> u64 {
        self.0.get(&stream).copied().unwrap_or(0)
    }
}

/// When work runs, as far as streams and events leave it open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schedule {
    /// When somebody waits for it, and no further.
    Late,
    /// At the call.
    Early,
    /// A piece of it at some of the calls, from a stream drawn with these random bits.
    Drawn(u64),
}

impl Schedule {
    /// `late`, `early`, or a number to draw with.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "late" => Some(Schedule::Late),
            "early" => Some(Schedule::Early),
            seed => seed.parse().ok().map(|seed: u64| Schedule::Drawn(seed.wrapping_mul(2).wrapping_add(1))),
        }
    }

    /// Draws a number below `n`.
    pub fn draw(&mut self, n: usize) -> usize {
        let Schedule::Drawn(bits) = self else { return 0 };
        // Xorshift: never 0 when it starts at another number.
        *bits ^= *bits << 13;
        *bits ^= *bits >> 7;
        *bits ^= *bits << 17;
        (*bits >> 33) as usize % n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_grows_and_never_shrinks() {
        let at = |stream, number| Place { stream, number };
        let (mut a, mut b) = (Known::default(), Known::default());
        a.add(at(1, 5));
        a.add(at(1, 3));
        b.add(at(2, 1));
        b.join(&a);
        assert!(b.has(at(1, 5)) && b.has(at(2, 1)) && !b.has(at(1, 6)) && !a.has(at(2, 1)));
        assert_eq!((a.misses(&b), b.misses(&a)), (Some(2), None));
    }

    #[test]
    fn schedules_have_names_or_numbers() {
        assert_eq!(
            ["late", "early", "x"].map(Schedule::parse),
            [Some(Schedule::Late), Some(Schedule::Early), None]
        );
        let drawn = |seed| {
            let mut schedule = Schedule::parse(seed).unwrap();
            (0..40).map(|_| schedule.draw(3)).collect::<Vec<_>>()
        };
        assert!((0..3).all(|n| drawn("0").contains(&n)), "{:?}", drawn("0"));
        assert_ne!(drawn("0"), drawn("7"));
    }
}
