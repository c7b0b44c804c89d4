//! The reckoning: plans and add-ons by their time, overage by what was used, and never more of that than the spend cap.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    BucketUse, GrantCount, Item, Line, MeterCount, Proration, Span, Statement, Timeline, Unpriced, name,
    offers::{Offers, Pricing, is_billed},
    unpriced::{self, is_paid},
};
use crate::domain::{
    catalog::Catalog,
    id::{AddonId, MeterId},
    money::{Currency, Total},
    period::{Period, Zone},
    plan::Plan,
    rights::{Rights, Source},
    time::Version,
    transitions::State,
    units::Units,
};

/// Reckons a period: by the history of a tenant, the prices of a catalog and what was used. What is still to come in the
/// period is as it is known now.
#[must_use]
pub fn reckon(
    timeline: &Timeline,
    catalog: &Arc<Catalog>,
    period: Period,
    used: &[BucketUse],
) -> Option<Statement> {
    let first = timeline.at(period.start)?;
    // What is sold no more is priced as it last was.
    let bygone = catalog.bygone.as_deref();
    let catalog = bygone.map_or(catalog, |bygone| &bygone.catalog);
    let spans = timeline.spans(period, catalog);
    let terms: Vec<Option<Arc<Plan>>> = spans.iter().map(|span| offer(span, catalog)).collect();
    let mut lines = plan_lines(&spans, period);
    lines.extend(addon_lines(&spans, catalog, period));
    let currency = last_currency(&spans).or_else(|| lines.iter().rev().find_map(|line| line.currency));
    let offers = Offers { spans: &spans, terms: &terms, bygone };
    let usage = counts(&offers, catalog, used);
    let mut unpriced = unpriced::lines(&lines, catalog);
    let overage = overage_lines(&offers, catalog, &usage, &mut unpriced);
    let cap = offers.spend_cap();
    let capped = cap.and_then(|(currency, cap)| cap_line(currency, cap, &overage));
    let currency = currency.or_else(|| overage.iter().rev().find_map(|line| line.currency));
    lines.extend(overage);
    lines.extend(capped);
    let zone: &Zone = &first.tenant.zone;
    Some(Statement {
        tenant: first.tenant.id.clone(),
        period,
        zone: zone.clone(),
        name: name(period.start, zone),
        currency,
        spend_cap: cap.map(|(_, cap)| cap),
        lines,
        usage,
        grants: grants(used),
        unpriced,
    })
}

pub(super) fn state(span: &Span<'_>) -> State {
    span.subscription.state.state()
}

/// The currency of the plan that was last billed.
fn last_currency(spans: &[Span<'_>]) -> Option<Currency> {
    let priced =
        |span: &&Span<'_>| is_paid(state(span)) && span.plan.is_some_and(|plan| plan.price.is_some());
    Some(spans.iter().rev().find(priced)?.plan?.price?.currency)
}

/// What a tenant had of its plan in a span, with add-ons and overrides; `None`: nothing.
fn offer(span: &Span<'_>, catalog: &Arc<Catalog>) -> Option<Arc<Plan>> {
    let rights = Rights::compile(span.tenant, catalog, span.period.start).ok()?;
    Some(rights.entitlement?.offer)
}

/// A line for each plan and state, one after the other.
fn plan_lines(spans: &[Span<'_>], period: Period) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for span in spans.iter().filter(|span| state(span).goes_on()) {
        // The version that it had come to, where the policies know it.
        let plan = span.plan.map_or_else(|| span.subscription.plan.clone(), |plan| plan.reference());
        if let Some(Line { item: Item::Plan { plan: last, state: of, span: time, .. }, .. }) =
            lines.last_mut()
            && (&plan, state(span), span.period.start) == (last, *of, time.end)
        {
            time.end = span.period.end;
            continue;
        }
        let price = span.plan.and_then(|plan| plan.price);
        let title = span.plan.and_then(|plan| plan.title.clone());
        let item = Item::Plan { plan, title, state: state(span), span: span.period, price };
        lines.push(Line { item, currency: price.map(|price| price.currency), amount: Total::default() });
    }
    let mut prorations: BTreeMap<Currency, Proration> = BTreeMap::new();
    for line in &mut lines {
        let Item::Plan { state, span, price: Some(price), .. } = &line.item else { continue };
        if is_paid(*state) {
            let proration = prorations
                .entry(price.currency)
                .or_insert_with(|| Proration::of(period, price.currency.minor_digits()));
            line.amount = proration.part(Total::of(price.amount, 1), *span);
        }
    }
    lines
}

/// A line for each add-on and quantity, by add-on. What the plan cannot be had with is not billed.
fn addon_lines(spans: &[Span<'_>], catalog: &Catalog, period: Period) -> Vec<Line> {
    let mut all: BTreeMap<&AddonId, Vec<(u32, Period)>> = BTreeMap::new();
    for span in spans.iter().filter(|span| is_paid(state(span))) {
        for attached in &span.tenant.addons {
            let addon = catalog.addon(attached.addon.as_str());
            let fits = span.plan.is_none_or(|plan| addon.is_none_or(|addon| addon.goes_with(&plan.id)));
            if !fits {
                continue;
            }
            let parts = all.entry(&attached.addon).or_default();
            match parts.last_mut() {
                Some((quantity, time)) if (*quantity, time.end) == (attached.quantity, span.period.start) => {
                    time.end = span.period.end;
                }
                _ => parts.push((attached.quantity, span.period)),
            }
        }
    }
    let mut lines = Vec::new();
    for (id, parts) in all {
        let addon = catalog.addon(id.as_str());
        let price = addon.and_then(|addon| addon.price);
        let mut proration = price.map(|price| Proration::of(period, price.currency.minor_digits()));
        for (quantity, span) in parts {
            let amount = match (&mut proration, price) {
                (Some(proration), Some(price)) => proration.part(Total::of(price.amount, quantity), span),
                _ => Total::default(),
            };
            let title = addon.and_then(|addon| addon.title.clone());
            let item = Item::Addon { addon: id.clone(), title, quantity, span, price };
            lines.push(Line { item, currency: price.map(|price| price.currency), amount });
        }
    }
    lines
}

/// What was used by meter and counting. What belongs to no counting of the tenant's is another's of the same name.
fn counts(offers: &Offers<'_>, catalog: &Catalog, used: &[BucketUse]) -> Vec<MeterCount> {
    let countings = offers.countings();
    let mut all: BTreeMap<(MeterId, Version), MeterCount> = BTreeMap::new();
    let empty = |meter: &MeterId, counting: Version| {
        let quotas = offers.quotas(catalog, meter, counting);
        let last = quotas.first().map(|(quota, ..)| quota);
        let billed =
            quotas.iter().find(|(quota, _, paid)| *paid && is_billed(quota)).map(|(quota, ..)| quota);
        MeterCount {
            meter: meter.clone(),
            counting,
            included: last.map(|quota| quota.month),
            mode: billed.or(last).map(|quota| quota.overage.mode()),
            used: Units::ZERO,
            hours: Vec::new(),
            overage: Units::ZERO,
            overage_hours: Vec::new(),
            uncertain: Units::ZERO,
        }
    };
    for counting in &countings {
        for meter in &catalog.meters {
            let count = empty(&meter.id, *counting);
            if count.included.is_some() {
                all.insert((meter.id.clone(), *counting), count);
            }
        }
    }
    for bucket in used.iter().filter(|bucket| countings.contains(&bucket.counting)) {
        if matches!(bucket.source, Source::Grant(_)) {
            continue;
        }
        let key = (bucket.meter.clone(), bucket.counting);
        let count = all.entry(key).or_insert_with(|| empty(&bucket.meter, bucket.counting));
        let units = Units::saturating(bucket.used);
        if bucket.source == Source::Overage {
            count.overage = count.overage.saturating_add(units);
            count.overage_hours.extend(bucket.shown());
        } else {
            count.used = count.used.saturating_add(units);
            count.hours.extend(bucket.shown());
        }
        count.uncertain = count.uncertain.saturating_add(Units::saturating(bucket.uncertain));
    }
    // What let units through, where nothing does any more.
    for count in all.values_mut().filter(|count| count.overage > Units::ZERO) {
        if matches!(count.mode, None | Some("block"))
            && let Some(quota) = offers.last_beyond(&count.meter, count.counting)
        {
            count.included = count.included.or(Some(quota.month));
            count.mode = Some(quota.overage.mode());
        }
    }
    all.into_values().collect()
}

fn grants(used: &[BucketUse]) -> Vec<GrantCount> {
    let of = used.iter().filter(|bucket| bucket.used > 0 || bucket.uncertain > 0);
    let mut grants: Vec<GrantCount> = of
        .filter_map(|bucket| {
            Some(GrantCount {
                grant: bucket.grant.clone()?,
                meter: bucket.meter.clone(),
                used: Units::saturating(bucket.used),
                hours: bucket.shown(),
                uncertain: Units::saturating(bucket.uncertain),
            })
        })
        .collect();
    grants.sort_by(|a, b| (&a.meter, &a.grant).cmp(&(&b.meter, &b.grant)));
    grants
}

/// Each counting's overage at the price of the last plan in it that bills the meter, rounded down.
fn overage_lines(
    offers: &Offers<'_>,
    catalog: &Catalog,
    usage: &[MeterCount],
    unpriced: &mut Vec<Unpriced>,
) -> Vec<Line> {
    let mut lines = Vec::new();
    for count in usage.iter().filter(|count| count.overage > Units::ZERO) {
        let (meter, counting, units) = (count.meter.clone(), count.counting, count.overage);
        match offers.pricing(catalog, &meter, counting) {
            Pricing::Billed { plan, currency, price, per } => {
                let amount = Total::metered(price, per, units).rounded_down(currency.minor_digits());
                let item = Item::Overage { meter, counting, plan: plan.reference(), units, price, per };
                lines.push(Line { item, currency: Some(currency), amount });
            }
            Pricing::Free => {}
            Pricing::Unknown(why) => unpriced.push(Unpriced::Overage { meter, counting, units, why }),
        }
    }
    lines
}

/// What overage comes to above the spend cap.
fn cap_line(currency: Currency, cap: Total, overage: &[Line]) -> Option<Line> {
    let own = overage.iter().filter(|line| line.currency == Some(currency));
    let sum = own.fold(Total::default(), |sum, line| sum.plus(line.amount));
    let amount = sum.minus(cap);
    (!amount.is_zero()).then_some(Line { item: Item::SpendCap { cap }, currency: Some(currency), amount })
}
