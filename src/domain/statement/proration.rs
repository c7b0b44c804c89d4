//! Parts of a monthly price: each for its time, and together just what the whole comes to.

use crate::domain::{money::Total, period::Period, time::UnixMillis};

/// Amounts for parts of one period, rounded so that any number of them come to their exact sum, rounded once.
#[derive(Debug, Clone)]
pub struct Proration {
    /// The period's length in milliseconds.
    whole: u128,
    digits: u8,
    /// What was exactly due so far is this and the `rest`, divided by `whole`.
    due: u128,
    rest: u128,
    /// What was given out of it.
    given: Total,
}

impl Proration {
    /// Parts of this period, in amounts of so many fractional digits.
    #[must_use]
    pub fn of(period: Period, digits: u8) -> Self {
        let whole = millis(period.start, period.end).max(1);
        Self { whole, digits, due: 0, rest: 0, given: Total::default() }
    }

    /// What is due for `price` a period over one more part of the period.
    pub fn part(&mut self, price: Total, part: Period) -> Total {
        let time = millis(part.start, part.end).min(self.whole);
        let price = price.smallest();
        self.due = self.due.saturating_add((price / self.whole).saturating_mul(time));
        // Both factors are at most the period's length: far from what fits.
        self.rest += (price % self.whole) * time;
        self.due = self.due.saturating_add(self.rest / self.whole);
        self.rest %= self.whole;
        let sum = Total::of_smallest(self.due).rounded(self.digits);
        let part = sum.minus(self.given);
        self.given = sum;
        part
    }
}

fn millis(from: UnixMillis, to: UnixMillis) -> u128 {
    u128::try_from(to.0.saturating_sub(from.0)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::Decimal;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_of_one_price_come_to_the_price(
            price in 0_u64..1_000_000_000_000_000_000,
            scale in 0_usize..=12,
            quantity in 1_u32..=10_000,
            digits in 0_u8..=4,
            mut cuts in prop::collection::vec(0_i64..2_678_400_000, 0..20),
        ) {
            let text = format!("{price:018}");
            let (whole, fraction) = text.split_at(18 - scale);
            let text = if scale == 0 { whole.to_owned() } else { format!("{whole}.{fraction}") };
            let price: Decimal = text.parse().unwrap();
            let price = Total::of(price, quantity);
            let period = Period { start: UnixMillis(0), end: UnixMillis(2_678_400_000) };
            cuts.extend([0, period.end.0]);
            cuts.sort_unstable();
            let mut proration = Proration::of(period, digits);
            let mut sum = Total::default();
            for cut in cuts.windows(2) {
                let span = Period { start: UnixMillis(cut[0]), end: UnixMillis(cut[1]) };
                sum = sum.plus(proration.part(price, span));
            }
            prop_assert_eq!(sum, price.rounded(digits));
        }
    }

    #[test]
    fn thirds_come_to_the_whole() {
        let period = Period { start: UnixMillis(0), end: UnixMillis(3) };
        let mut proration = Proration::of(period, 2);
        let ten = Total::of("10.00".parse().unwrap(), 1);
        let mut part = |n: i64| {
            let span = Period { start: UnixMillis(n), end: UnixMillis(n + 1) };
            proration.part(ten, span).written(2)
        };
        assert_eq!([part(0), part(1), part(2)], ["3.33", "3.34", "3.33"]);
    }
}
