//! What a charge wants a slot for: from where, under which rights, at which instant.

use super::slot::{Slot, SlotTerms};
use crate::{
    domain::{
        id::{MeterId, TenantId},
        period::{Period, Window, Windows},
        rights::{Entitlement, Rights, Source, SourceTerms},
        time::{Monotonic, UnixMillis, Version},
        units::Units,
        warning::Marks,
    },
    ports::{BucketKey, Span},
};

/// From where units are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// What the plan includes in a window.
    Window(Window),
    /// What it lets through in a month beyond that.
    Overage,
    /// A grant's, in this period.
    Grant(Version, Period),
    /// The money that a month's billed overage may cost.
    Spend,
}

impl Place {
    pub const fn of(terms: &SourceTerms) -> Self {
        match terms.source {
            Source::Plan => Self::Window(Window::Month),
            Source::Overage => Self::Overage,
            Source::Grant(number) => Self::Grant(number, terms.period),
        }
    }

    const fn span(self) -> Span {
        match self {
            Self::Window(window) => Span::Window(window),
            Self::Overage => Span::Overage,
            Self::Grant(..) => Span::Grant,
            Self::Spend => Span::Spend,
        }
    }
}

/// What a charge wants a slot for.
#[derive(Clone, Copy)]
pub(super) struct Wish<'a> {
    pub rights: &'a Rights,
    pub entitlement: &'a Entitlement,
    pub place: Place,
    pub limit: Option<Units>,
    /// See [`crate::ports::GrantRequest::ceiling`].
    pub ceiling: Option<Units>,
    /// Of a source: the windows in which the meter is counted.
    pub counted: Windows,
    pub now: UnixMillis,
}

impl Wish<'_> {
    pub fn is_met_by(&self, slot: &Slot) -> bool {
        slot.version == self.rights.version
            && self.is_limited_as(slot)
            && self.is_counted_with(slot)
            && self.is_at_the_time_of(slot)
            && !slot.word.is_sealed()
    }

    /// Whether the slot has the limit of these rights.
    pub fn is_limited_as(&self, slot: &Slot) -> bool {
        slot.limit() == self.limit && slot.ceiling() == self.ceiling && slot.counted == self.counted
    }

    /// Lets the slot of a meter know by which policies its limit is what it is, and what is told of its bucket. Whether the
    /// latter has changed.
    pub fn confirm(&self, slot: &Slot, meter: &MeterId) -> bool {
        if !self.is_limited_as(slot) {
            return false;
        }
        slot.confirmed_by(self.rights.catalog.deployed);
        slot.mark(self.rights.catalog.stamp, self.now, || self.marks(meter))
    }

    /// What is told of its bucket, and until when that holds.
    fn marks(&self, meter: &MeterId) -> (Option<Marks>, UnixMillis) {
        let source = match self.place {
            Place::Window(Window::Month) => Source::Plan,
            Place::Overage => Source::Overage,
            Place::Grant(number, _) => Source::Grant(number),
            Place::Window(_) => return (None, UnixMillis::NEVER),
            // It is another one only under other rights.
            Place::Spend => return (self.entitlement.marks_of_money(self.period()), self.rights.until),
        };
        let meter = self.rights.catalog.meter_ix(meter.as_str());
        let marks = meter.and_then(|meter| self.entitlement.marks(meter, source, self.now));
        // A grant goes on where the month does not.
        (marks, self.rights.until.min(self.entitlement.calendar.month(self.now).end))
    }

    /// Whether the slot's charges belong to the counting of these rights. (One version of a tenant may have two: one
    /// until an instant that is known beforehand, one from then on.)
    pub fn is_counted_with(&self, slot: &Slot) -> bool {
        slot.counting == self.counting()
    }

    /// Money that is spent stays so where counting begins anew.
    fn counting(&self) -> Version {
        if self.place == Place::Spend { Version(0) } else { self.entitlement.epoch }
    }

    /// Whether the slot is of the period that is wanted.
    pub fn is_at_the_time_of(&self, slot: &Slot) -> bool {
        match self.place {
            Place::Grant(_, period) => slot.period == period,
            Place::Window(_) | Place::Overage | Place::Spend => {
                // Mostly the calendar is the same, and no period has to be computed.
                slot.period.contains(self.now)
                    && (slot.calendar == self.entitlement.calendar || slot.period == self.period())
            }
        }
    }

    /// Whether the slot's period is one that these rights know otherwise.
    pub fn contradicts(&self, slot: &Slot) -> bool {
        let concerned = match self.place {
            Place::Grant(_, period) => slot.period.start == period.start,
            Place::Window(_) | Place::Overage | Place::Spend => slot.period.contains(self.now),
        };
        concerned && !self.is_at_the_time_of(slot)
    }

    pub fn period(&self) -> Period {
        match self.place {
            Place::Grant(_, period) => period,
            Place::Window(window) => self.entitlement.calendar.period(window, self.now),
            Place::Overage | Place::Spend => self.entitlement.calendar.month(self.now),
        }
    }

    /// The bucket and the terms of a slot that meets it.
    pub fn slot(&self, tenant: &TenantId, meter: &MeterId, opened: Monotonic) -> (BucketKey, SlotTerms) {
        let period = self.period();
        let counting = self.counting();
        let key = BucketKey {
            tenant: tenant.clone(),
            meter: meter.clone(),
            span: self.place.span(),
            start: period.start,
            epoch: if let Place::Grant(number, _) = self.place { number } else { counting },
        };
        let terms = SlotTerms {
            period,
            calendar: self.entitlement.calendar.clone(),
            limit: self.limit,
            ceiling: self.ceiling,
            counted: self.counted,
            counting,
            version: self.rights.version,
            policies: self.rights.catalog.deployed,
            opened,
        };
        (key, terms)
    }
}
