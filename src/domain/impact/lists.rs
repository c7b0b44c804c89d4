//! Lists that do not grow with the number of tenants.

/// Entries that a list names; of the rest the number is known.
pub const LONGEST_LIST: usize = 100;

/// So many, and the first of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group<T> {
    /// How many there are.
    pub total: u64,
    /// The first of them, at most [`LONGEST_LIST`].
    pub first: Vec<T>,
}

impl<T> Group<T> {
    /// None.
    pub const EMPTY: Self = Self { total: 0, first: Vec::new() };

    pub(super) fn add(&mut self, one: T) {
        self.total += 1;
        if self.first.len() < LONGEST_LIST {
            self.first.push(one);
        }
    }
}

impl<T> Default for Group<T> {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// Who loses and who gains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Both<T> {
    /// Who has it, or more of it, and would not.
    pub lost: Group<T>,
    /// Who does not have it, or less of it, and would.
    pub gained: Group<T>,
}

impl<T> Default for Both<T> {
    fn default() -> Self {
        Self { lost: Group::EMPTY, gained: Group::EMPTY }
    }
}
