//! What a tenant was on its way to what a change made of it: after each instant at which something happened by itself.

use std::borrow::Cow;

use super::Happened;
use crate::domain::{tenant::Tenant, time::UnixMillis};

impl Tenant {
    /// What it was from each instant on, the earliest first: after all that had happened by itself before `at`, and at `at`
    /// what a change, which found that to have `happened`, made of it.
    pub fn on_the_way<'a>(
        &'a self,
        after: &'a Self,
        happened: &[Happened],
        at: UnixMillis,
    ) -> impl Iterator<Item = (UnixMillis, Cow<'a, Self>)> {
        let mut instants: Vec<UnixMillis> =
            happened.iter().map(|one| one.at).filter(|then| *then < at).collect();
        instants.dedup();
        let by_itself = instants.into_iter().map(|then| (then, Cow::Owned(self.at(then))));
        by_itself.chain([(at, Cow::Borrowed(after))])
    }
}
