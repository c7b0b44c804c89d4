//! The shape of `plans/*.yaml`, and of the terms that add-ons and cases share with plans.

use super::{
    shape::{Distinct, Named, one_of, shape, value},
    value::{
        Allowance, Amount, Currency, Line, MeterName, Name, SomeUnits, Span, SpendCap, Units, Unlimited,
    },
};

shape! {
    /// What is sold by the month.
    #[schemars(title = "Plangate: plans/*.yaml")]
    Plan requires ["plan"] {
        /// Its name: that of the file without `.yaml`. Not `block`.
        #[schemars(extend("not" = { "const": "block" }))]
        plan: Name,
        /// Its name for people. Never inherited.
        title: Line,
        /// Counts the changes of the plan that customers are told of: tenants stay on the version they came to, unless `existing` says otherwise. Never inherited.
        #[schemars(extend("default" = 1))]
        version: Version,
        /// When tenants on older versions come to this one. Never inherited.
        #[schemars(extend("default" = "stay"))]
        existing: Existing,
        /// The plan that it extends: features add up, an entry of `limits`, `quotas` or `rates` replaces the parent's entry of that name, other keys replace.
        extends: Name,
        /// What it costs a month: for people, webhooks, and to tell an upgrade from a downgrade.
        price: Price,
        /// The most that billed overage may cost in a billing month, across all meters, in the price's currency.
        #[schemars(extend("default" = "unlimited"))]
        spend_cap: SpendCap,
        /// How it may be tried.
        trial: Trial,
        /// For how long it still entitles after a payment failed.
        grace: Grace,
        /// When changes to other plans come into force, where the call does not say.
        changes: Changes,
        /// At how many percent of what it includes of a meter in a month somebody is told: webhooks, once each a month. `[]`: at none.
        #[schemars(extend("default" = [50, 80, 100]))]
        warn_at: WarnAt,
        /// Features that it gives, beside those of its parent.
        features: Distinct<Name>,
        /// Features of the parent that are taken away.
        without: Distinct<Name>,
        /// Fixed numbers, such as seats.
        limits: Named<Name, Allowance>,
        /// How much of each meter may be used. A charged meter that has no entry is refused.
        quotas: Named<MeterName, QuotaForms>,
        /// How fast each meter may be used.
        rates: Named<MeterName, RateForms>,
    }
}

value! {
    /// A plan's version.
    Version = { "type": "integer", "minimum": 1, "maximum": 1_000_000 }
}
value! {
    /// `stay`: never by themselves. `next_period`: with their next billing month. A day: when it begins in the tenant's zone.
    Existing = {
        "title": "`stay`, `next_period` or a day",
        "type": "string",
        "anyOf": [{ "enum": ["stay", "next_period"] }, { "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$" }],
        "examples": ["2027-01-01"],
    }
}

shape! {
    /// What it costs a month.
    Price requires ["amount", "currency"] {
        /// How much: a quoted decimal, so that no digit is lost.
        amount: Amount,
        /// In which currency: three letters.
        currency: Currency,
    }
}

shape! {
    /// How a plan may be tried, by a tenant that comes to its first plan.
    Trial requires ["days", "then"] {
        /// Its length.
        days: TrialDays,
        /// The plan that follows, or `block` for none.
        #[schemars(extend("examples" = ["free", "block"]))]
        then: Name,
        /// Whether what was used in the trial counts on after it.
        #[schemars(extend("default" = "keep"))]
        usage: Usage,
    }
}

value! {
    /// The days of a trial.
    TrialDays = { "type": "integer", "minimum": 1, "maximum": 3650 }
}
value! {
    /// What becomes of used units.
    Usage = { "enum": ["keep", "reset"] }
}

shape! {
    /// For how long a plan still entitles after a payment failed.
    Grace requires ["days"] {
        /// Days; 7 where no plan says.
        days: GraceDays,
    }
}

value! {
    /// The days of grace.
    GraceDays = { "type": "integer", "minimum": 0, "maximum": 365 }
}

value! {
    /// Percentages of what is included, at most 10.
    WarnAt = {
        "title": "percentages",
        "type": "array",
        "maxItems": 10,
        "uniqueItems": true,
        "items": { "title": "percentage", "type": "integer", "minimum": 1, "maximum": 100 },
        "examples": [[50, 80, 100]],
    }
}

shape! {
    /// When changes to other plans come into force, where the call does not say.
    Changes requires [] {
        /// To a dearer plan.
        #[schemars(extend("default" = "now"))]
        upgrade: ChangeAt,
        /// To a cheaper one.
        #[schemars(extend("default" = "now"))]
        downgrade: ChangeAt,
    }
}

value! {
    /// When a change comes into force.
    ChangeAt = { "enum": ["now", "period_end"] }
}

one_of! {
    /// A quota: `1000` is short for `{ limit: 1000 }`.
    QuotaForms = [Units, Unlimited, Quota]
}

shape! {
    /// How much of a meter may be used. All of its windows must hold.
    Quota requires ["limit"] {
        /// In the billing month.
        limit: Allowance,
        /// In a clock hour.
        hour: Allowance,
        /// In a day of the tenant's time zone.
        day: Allowance,
        /// In a week of the tenant's time zone, from Monday.
        week: Allowance,
        /// What happens beyond the month's limit.
        overage: Overage,
        /// What of the unused units may be used in the next month, too. It needs a month with a hard end.
        rollover: Rollover,
    }
}

shape! {
    /// What happens beyond the month's limit.
    #[schemars(extend("oneOf" = [
        { "properties": { "mode": { "const": "block" }, "cap": false, "price": false, "per": false } },
        { "properties": { "mode": { "const": "allow" }, "price": false, "per": false }, "required": ["mode"] },
        { "properties": { "mode": { "const": "bill" } }, "required": ["mode", "price"] },
    ]))]
    Overage requires [] {
        /// `block` refuses; `allow` lets through; `bill` lets through and bills.
        #[schemars(extend("default" = "block"))]
        mode: Mode,
        /// Units beyond the limit that are let through; without it, any number. With `allow` or `bill`.
        cap: Allowance,
        /// What `per` units cost, in the plan's currency. With `bill`.
        #[schemars(extend("examples" = ["0.002"]))]
        price: Amount,
        /// How many units the price is for. With `bill`.
        #[schemars(extend("default" = 1))]
        per: SomeUnits,
    }
}

value! {
    /// What happens beyond the limit.
    Mode = { "enum": ["block", "allow", "bill"] }
}

shape! {
    /// What of the unused units may be used in the next month, too.
    Rollover requires ["max"] {
        /// At most this: a share of the month's limit such as `20%`, or a number of units.
        max: Share,
    }
}

one_of! {
    /// A share of something, or a number of units.
    Share = [Percent, Units]
}
value! {
    /// A share such as `20%`.
    Percent = { "title": "share", "type": "string", "pattern": "^(0|[1-9][0-9]?|100)%$", "examples": ["20%"] }
}

one_of! {
    /// A rate, or none.
    RateForms = [Rate, Unlimited]
}

shape! {
    /// How fast a meter may be used, on each node. A token bucket: `burst` at once after a pause, `limit` in each `per` in the long run.
    #[schemars(extend("if" = { "properties": { "limit": { "const": "unlimited" } } }, "else" = { "required": ["per"] }))]
    Rate requires ["limit"] {
        /// Units in each `per`.
        limit: Allowance,
        /// A span of time such as `1s`. Needed unless `limit` is `unlimited`.
        per: Span,
        /// Units at once after a pause; without it, as many as `limit`.
        burst: Units,
    }
}
