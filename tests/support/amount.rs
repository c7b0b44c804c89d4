//! How much of a test is run: little in the suite, much at night; and what is random in it, by a seed.

/// A count that `scripts/nightly` sets by an environment variable.
pub fn amount(variable: &str, in_the_suite: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}: `{text}` is not a number")),
        Err(_) => in_the_suite,
    }
}

/// Random numbers (splitmix64) that are the same for the same seed.
pub struct Dice(u64);

impl Dice {
    /// By `PLANGATE_SEED`, or else by `seed`. It is printed, so that a failure can be tried again.
    pub fn thrown(seed: u64) -> Self {
        let seed = amount("PLANGATE_SEED", seed);
        eprintln!("PLANGATE_SEED={seed}");
        Self(seed)
    }

    /// By another's number.
    pub const fn of(seed: u64) -> Self {
        Self(seed)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() % end as u64).unwrap()
    }

    /// Another order.
    pub fn shuffle<T>(&mut self, all: &mut [T]) {
        for place in (1..all.len()).rev() {
            all.swap(place, self.below(place + 1));
        }
    }
}
