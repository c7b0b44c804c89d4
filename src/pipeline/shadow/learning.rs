//! What a tenant has used without this node's ledger knowing, learned from the database.
//!
//! Where a meter has no limit, a node needs not know what the others use of it, or what it has used itself before it was
//! started. Policies that are tried may limit it.

use std::sync::Arc;

use super::tried::{Metered, Tried};
use crate::{
    domain::{
        period::Window,
        rights::{Entitlement, Rights},
        time::{Monotonic, UnixMillis, Version},
        units::Units,
    },
    ports::{BucketKey, MeterUsage, Span, WindowUsage},
};

impl Tried {
    /// When it was last learned, and the rights for which it is to be learned now: it was not since `before`.
    pub(super) fn to_learn(&self, before: Monotonic) -> Option<(Monotonic, &Arc<Rights>)> {
        let rights = &self.held.as_ref()?.rights;
        (self.learned <= before && rights.entitlement.is_some()).then_some((self.learned, rights))
    }

    /// Learns what all nodes have used. `known`: what the ledger knows of a bucket; read after `usage`, so that nothing is
    /// taken for missed that it has heard of meanwhile.
    pub(super) fn learn(
        &mut self,
        rights: &Rights,
        usage: &[MeterUsage],
        at: Monotonic,
        known: impl Fn(&BucketKey) -> Option<Units>,
    ) {
        self.learned = at;
        let Some(entitlement) = rights.entitlement.as_ref().filter(|now| now.epoch == self.epoch) else {
            return;
        };
        for metered in &mut self.meters {
            let Some(usage) = usage.iter().find(|usage| usage.meter == metered.meter) else { continue };
            let known = |span: Span, start: UnixMillis, epoch: Version| {
                let (tenant, meter) = (rights.tenant.clone(), usage.meter.clone());
                known(&BucketKey { tenant, meter, span, start, epoch }).map_or(0, Units::get)
            };
            for of in &usage.windows {
                metered.miss(of, missed(usage, of, entitlement, &known));
            }
        }
    }
}

impl Metered {
    fn miss(&mut self, of: &WindowUsage, missed: u64) {
        let mut ran = self.ran(of.window, of.period.start);
        ran.missed = missed;
        self.windows[of.window as usize] = ran;
    }
}

/// Units of a window that the ledger does not know as used; a month's of all sources.
fn missed(
    usage: &MeterUsage,
    of: &WindowUsage,
    entitlement: &Entitlement,
    known: &impl Fn(Span, UnixMillis, Version) -> u64,
) -> u64 {
    if of.window != Window::Month {
        let known = known(of.window.into(), of.period.start, entitlement.epoch);
        return of.used.get().saturating_sub(known);
    }
    let missed = usage.sources.iter().map(|source| {
        let (span, epoch) = Span::of_source(source.source, entitlement.epoch);
        source.used.get().saturating_sub(known(span, source.period.start, epoch))
    });
    missed.fold(0, u64::saturating_add)
}
