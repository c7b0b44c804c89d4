//! The impact in sentences: the same on a terminal and in a comment.

use crate::wire::diff::{
    Altered, Cost, FeatureImpact, ImpactView, LimitImpact, List, MeterImpact, MissingPlan, Over, QuotaImpact,
    RanOut, Remapped, RouteImpact, RunOut, Touched,
};

/// Whether something comes, goes or becomes another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Plus,
    Minus,
    Other,
}

impl Sign {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Plus => "+",
            Self::Minus => "-",
            Self::Other => "~",
        }
    }
}

/// One thing that would happen.
pub(super) struct Sentence {
    pub(super) sign: Sign,
    pub(super) text: String,
}

/// Tenants that a sentence names.
const NAMED: usize = 5;

/// Everything, losses of each kind before gains.
pub(super) fn of(impact: &ImpactView) -> Vec<Sentence> {
    let mut told = Vec::new();
    impact.missing_plans.iter().for_each(|one| missing(one, &mut told));
    impact.features.iter().for_each(|one| feature(one, &mut told));
    impact.meters.iter().for_each(|one| meter(one, &mut told));
    impact.routes.iter().for_each(|one| routes(one, &mut told));
    impact.limits.iter().for_each(|one| limit(one, &mut told));
    impact.quotas.iter().for_each(|one| quota(one, &mut told));
    over(&impact.over_now, &mut told);
    ran_out(&impact.ran_out, Sign::Minus, &mut told);
    ran_out(&impact.spared, Sign::Plus, &mut told);
    impact.cost.iter().for_each(|one| cost(one, &mut told));
    remapped(&impact.remapped, &mut told);
    told
}

/// So many of something, in words.
pub(super) fn count(number: u64, one: &str) -> String {
    format!("{} {one}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn number(number: Option<u64>) -> String {
    number.map_or_else(|| "unlimited".to_owned(), grouped)
}

/// The first few, and how many more there are.
fn named<T>(list: &List<T>, name: impl Fn(&T) -> String) -> String {
    let mut names: Vec<String> = list.first.iter().take(NAMED).map(name).collect();
    let more = list.total.saturating_sub(names.len() as u64);
    if more > 0 {
        names.push(format!("and {} more", grouped(more)));
    }
    names.join(", ")
}

fn since(from: Option<&String>) -> String {
    from.map_or_else(String::new, |from| format!(" from {}", from.split('T').next().unwrap_or(from)))
}

fn touched(list: &List<Touched>) -> String {
    named(list, |one| format!("{}{}", one.tenant, since(one.from.as_ref())))
}

fn altered(list: &List<Altered>) -> String {
    named(list, |one| {
        let (before, after) = (number(one.before), number(one.after));
        format!("{} ({before} -> {after}{})", one.tenant, since(one.from.as_ref()))
    })
}

/// `3 tenants lose`, `1 tenant loses`.
fn who(total: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(total, "tenant"), if total == 1 { one } else { many })
}

fn tell(told: &mut Vec<Sentence>, sign: Sign, total: u64, text: impl FnOnce() -> String) {
    if total > 0 {
        told.push(Sentence { sign, text: text() });
    }
}

fn missing(of: &MissingPlan, told: &mut Vec<Sentence>) {
    let MissingPlan { plan, tenants } = of;
    tell(told, Sign::Minus, tenants.total, || {
        let who = who(tenants.total, "is", "are");
        format!("{who} refused everything, as plan `{plan}` is missing: {}", touched(tenants))
    });
}

fn feature(of: &FeatureImpact, told: &mut Vec<Sentence>) {
    let FeatureImpact { feature, lost, gained } = of;
    tell(told, Sign::Minus, lost.total, || {
        format!("{} `{feature}`: {}", who(lost.total, "loses", "lose"), touched(lost))
    });
    tell(told, Sign::Plus, gained.total, || {
        format!("{} `{feature}`: {}", who(gained.total, "gains", "gain"), touched(gained))
    });
}

fn meter(of: &MeterImpact, told: &mut Vec<Sentence>) {
    let MeterImpact { meter, lost, gained } = of;
    tell(told, Sign::Minus, lost.total, || {
        let who = who(lost.total, "has", "have");
        format!("{who} no quota of `{meter}` any more, and what charges it is refused: {}", touched(lost))
    });
    tell(told, Sign::Plus, gained.total, || {
        format!("{} a quota of `{meter}`: {}", who(gained.total, "gets", "get"), touched(gained))
    });
}

fn routes(of: &RouteImpact, told: &mut Vec<Sentence>) {
    let RouteImpact { routes, lost, gained } = of;
    let names = || named(routes, |name| format!("`{}`", name.replace('`', " ")));
    tell(told, Sign::Minus, lost.total, || {
        format!("{} call {} no more: {}", who(lost.total, "may", "may"), names(), touched(lost))
    });
    tell(told, Sign::Plus, gained.total, || {
        format!("{} call {}: {}", who(gained.total, "could", "could"), names(), touched(gained))
    });
}

fn limit(of: &LimitImpact, told: &mut Vec<Sentence>) {
    let LimitImpact { limit, lowered, raised } = of;
    for (sign, word, list) in [(Sign::Minus, "lowered", lowered), (Sign::Plus, "raised", raised)] {
        tell(told, sign, list.total, || {
            format!("`{limit}` is {word} for {}: {}", count(list.total, "tenant"), altered(list))
        });
    }
}

fn quota(of: &QuotaImpact, told: &mut Vec<Sentence>) {
    let QuotaImpact { meter, window, lowered, raised } = of;
    for (sign, word, list) in [(Sign::Minus, "lowered", lowered), (Sign::Plus, "raised", raised)] {
        let article = if window == "hour" { "an" } else { "a" };
        tell(told, sign, list.total, || {
            let who = count(list.total, "tenant");
            format!("`{meter}` {article} {window} is {word} for {who}: {}", altered(list))
        });
    }
}

/// The rest of a list whose first few have sentences of their own.
fn rest<T>(told: &mut Vec<Sentence>, sign: Sign, list: &List<T>, what: &str) {
    let more = list.total.saturating_sub(list.first.len().min(NAMED) as u64);
    tell(told, sign, more, || format!("and {} more {what}", grouped(more)));
}

fn over(list: &List<Over>, told: &mut Vec<Sentence>) {
    for Over { tenant, meter, window, used, limit } in list.first.iter().take(NAMED) {
        let window = if window == "day" { "today".to_owned() } else { format!("this {window}") };
        let (used, limit) = (grouped(*used), grouped(*limit));
        let text =
            format!("`{tenant}` would have nothing left of `{meter}` {window}: {used} of {limit} are used");
        told.push(Sentence { sign: Sign::Minus, text });
    }
    rest(told, Sign::Minus, list, "would have nothing left");
}

/// `17 March 2026`.
fn day(one: &RunOut) -> String {
    let date = one.day.parse::<jiff::civil::Date>();
    date.map_or_else(|_| one.day.clone(), |date| date.strftime("%-d %B %Y").to_string())
}

/// Of what there was too little, where it is not the month's.
fn of_window(one: &RunOut) -> String {
    if one.window == "month" { String::new() } else { format!(" (the {}'s)", one.window) }
}

fn ran_out(list: &List<RanOut>, sign: Sign, told: &mut Vec<Sentence>) {
    for RanOut { tenant, meter, before, after } in list.first.iter().take(NAMED) {
        let text = match (before, after) {
            (before, Some(after)) => {
                let as_it_is = before.as_ref().map_or_else(
                    || "not at all".to_owned(),
                    |before| format!("on {}{}", day(before), of_window(before)),
                );
                format!(
                    "`{tenant}` would have run out of `{meter}` on {}{}; as things are, {as_it_is}",
                    day(after),
                    of_window(after)
                )
            }
            (Some(before), None) => {
                format!(
                    "`{tenant}` would not have run out of `{meter}` on {}{}",
                    day(before),
                    of_window(before)
                )
            }
            (None, None) => continue,
        };
        told.push(Sentence { sign, text });
    }
    let what = if sign == Sign::Minus { "would have run out, or sooner" } else { "would have lasted longer" };
    rest(told, sign, list, what);
}

fn cost(of: &Cost, told: &mut Vec<Sentence>) {
    let Cost { currency, before, after, dearer, cheaper } = of;
    if dearer.total + cheaper.total == 0 {
        return;
    }
    let bills = |list: &List<crate::wire::diff::Bill>| {
        named(list, |one| format!("{} ({} -> {})", one.tenant, one.before, one.after))
    };
    let text =
        format!("the last billing month would have cost {after} {currency} instead of {before} {currency}");
    told.push(Sentence { sign: Sign::Other, text });
    for (sign, word, list) in [(Sign::Minus, "more", dearer), (Sign::Plus, "less", cheaper)] {
        tell(told, sign, list.total, || {
            let who = count(list.total, "tenant");
            format!("{who} would have paid {word}, in {currency}: {}", bills(list))
        });
    }
}

fn remapped(list: &List<Remapped>, told: &mut Vec<Sentence>) {
    let means = |words: &Option<String>| words.clone().unwrap_or_else(|| "nothing".to_owned());
    tell(told, Sign::Other, list.total, || {
        let whose = if list.total == 1 { "tenant's" } else { "tenants'" };
        let tenants =
            named(list, |one| format!("{} ({} -> {})", one.tenant, means(&one.before), means(&one.after)));
        format!(
            "what Stripe sells to {} {whose} customers means something else, once it tells something of them or \
             `plangate billing replay ID` looks at their events again: {tenants}",
            grouped(list.total)
        )
    });
}
