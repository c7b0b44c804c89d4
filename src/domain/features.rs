//! Features as a bit set: one word test for each 64 features of a catalog.

/// A feature's place in its catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeatureIx(pub u16);

/// A set of features of one catalog.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct FeatureSet(Box<[u64]>);

impl FeatureSet {
    /// The empty set over a catalog of `count` features.
    #[must_use]
    pub fn empty(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)].into_boxed_slice())
    }

    /// Adds a feature; one outside the catalog is ignored.
    pub fn insert(&mut self, feature: FeatureIx) {
        if let Some(word) = self.0.get_mut(usize::from(feature.0) / 64) {
            *word |= 1 << (feature.0 % 64);
        }
    }

    /// Adds all features of another set of the same catalog.
    pub fn insert_all(&mut self, others: &Self) {
        for (word, more) in self.0.iter_mut().zip(&others.0) {
            *word |= more;
        }
    }

    /// Takes a feature away.
    pub fn remove(&mut self, feature: FeatureIx) {
        if let Some(word) = self.0.get_mut(usize::from(feature.0) / 64) {
            *word &= !(1 << (feature.0 % 64));
        }
    }

    /// Whether the feature is in the set.
    #[must_use]
    pub fn contains(&self, feature: FeatureIx) -> bool {
        self.0.get(usize::from(feature.0) / 64).is_some_and(|word| word >> (feature.0 % 64) & 1 == 1)
    }

    /// The first of `required` that is not in this set.
    #[must_use]
    pub fn first_missing(&self, required: &Self) -> Option<FeatureIx> {
        let missing = |place: usize, wanted: &u64| wanted & !self.0.get(place).copied().unwrap_or(0);
        let found = |(place, wanted): (usize, &u64)| match missing(place, wanted) {
            0 => None,
            missing => u16::try_from(place * 64 + missing.trailing_zeros() as usize).ok().map(FeatureIx),
        };
        required.0.iter().enumerate().find_map(found)
    }

    /// All features of the set, in catalog order.
    pub fn iter(&self) -> impl Iterator<Item = FeatureIx> + '_ {
        self.0.iter().enumerate().flat_map(|(place, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
                left &= left - 1;
                u16::try_from(place * 64 + bit).ok().map(FeatureIx)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_missing() {
        let mut have = FeatureSet::empty(130);
        let mut need = FeatureSet::empty(130);
        for bit in [0, 63, 64, 129] {
            need.insert(FeatureIx(bit));
        }
        assert_eq!(have.first_missing(&need), Some(FeatureIx(0)));
        for bit in [0, 63, 64] {
            have.insert(FeatureIx(bit));
        }
        assert_eq!(have.first_missing(&need), Some(FeatureIx(129)));
        have.insert(FeatureIx(129));
        assert_eq!(have.first_missing(&need), None);
        assert_eq!(have.iter().count(), 4);
        have.remove(FeatureIx(63));
        assert!(!have.contains(FeatureIx(63)));
    }
}
