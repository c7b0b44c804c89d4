//! Everything that happens comes from one number.

use std::{
    fmt::{self, Write},
    hash::{DefaultHasher, Hasher},
};

/// A small generator of good enough numbers (SplitMix64): the same on every machine and in every version.
pub struct Seed(u64);

impl Seed {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number under `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.next() % (most - least + 1)
    }

    /// True in `percent` of a hundred cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

/// What happened, as a number; as text, too, where somebody wants to read it.
pub struct Trace {
    hash: DefaultHasher,
    lines: u64,
    told: bool,
}

impl Trace {
    pub fn new(told: bool) -> Self {
        Self { hash: DefaultHasher::new(), lines: 0, told }
    }

    pub fn note(&mut self, what: fmt::Arguments<'_>) {
        struct Into<'a>(&'a mut DefaultHasher);
        impl Write for Into<'_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0.write(text.as_bytes());
                Ok(())
            }
        }
        Into(&mut self.hash).write_fmt(what).unwrap();
        self.lines += 1;
        if self.told {
            println!("{:4}  {what}", self.lines);
        }
    }

    pub fn hash(&self) -> u64 {
        self.hash.finish()
    }
}
