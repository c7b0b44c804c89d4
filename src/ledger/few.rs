//! At least one of something: what a tab has of lines and of words.

/// At least one of something, mostly just one: that one lies in the tab itself.
#[derive(Debug, Clone)]
pub(super) struct Few<T> {
    pub first: T,
    pub more: Box<[T]>,
}

impl<T> Few<T> {
    /// All of these; `None`: there is none.
    pub fn of(all: Vec<T>) -> Option<Self> {
        let mut all = all.into_iter();
        all.next().map(|first| Self { first, more: all.collect() })
    }

    /// They, the first one first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        std::iter::once(&self.first).chain(&self.more)
    }
}
