//! The shape of a case's steps: what comes in between, which request then comes, and what to expect.

use super::{
    case::{Day, Expectation, Instant, Overrides, RequestForms, True, Window, Zone},
    shape::{Named, one_of, shape, value},
    value::{MeterName, Name, SomeUnits, Switch},
};

shape! {
    /// What goes on from a case, or from the step before.
    Step requires ["expect"] {
        /// What comes in between.
        after: AfterForms,
        /// The request that then comes; without this key, the one before again.
        request: RequestForms,
        /// What the policies must say.
        expect: Expectation,
    }
}

one_of! {
    /// What comes in between: one word, a map of words, or a list where a word is needed twice.
    AfterForms = [Alone, After, WordList]
}
one_of! {
    /// One word, or a map of words.
    WordForms = [Alone, After]
}

value! {
    /// A word that needs no value, or a span of time.
    Alone = {
        "title": "a word alone",
        "type": "string",
        "anyOf": [
            { "enum": ["cancel", "undo", "pause", "resume", "past_due", "paid", "suspend"] },
            { "pattern": "^\\+?0*([1-9][0-9]*(ms|s|m|h)|([1-9][0-9]{0,2}|[12][0-9]{3}|3[0-5][0-9]{2}|36[0-4][0-9]|3650)d)$" },
        ],
        "examples": ["cancel", "90m", "2d"],
    }
}

/// A list of words.
pub(in crate::policy) struct WordList;

impl schemars::JsonSchema for WordList {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "WordList".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "array",
            "minItems": 1,
            "items": generator.subschema_for::<WordForms>(),
        })
    }
}

shape! {
    /// What comes before a step's request, in the order in which it stands.
    #[schemars(extend(
        "minProperties" = 1,
        "dependencies" = { "usage": ["plan"], "trial_days": ["plan"], "anchor_day": ["plan"] },
    ))]
    After requires [] {
        /// The request before so many times more, slowly enough for every rate.
        requests: Requests,
        /// The same at this very instant, so that rates count.
        burst: Burst,
        /// An upgrade or downgrade to this plan.
        plan: Name,
        /// With `plan`: when it comes into force. Without: the clock, set to this instant.
        at: When,
        /// With `plan`: what becomes of the units used.
        usage: UsageRule,
        /// With `plan`: a trial of so many days.
        trial_days: Days,
        /// With `plan`: the day of the month on which its billing month begins.
        anchor_day: Day,
        /// The end of the subscription: `true` is at once.
        cancel: CancelForms,
        /// Takes back what is scheduled.
        undo: True,
        /// Pauses the subscription.
        pause: True,
        /// Ends a suspension of the tenant, or where there is none a pause.
        resume: True,
        /// A payment failed.
        past_due: PastDueForms,
        /// A payment was made.
        paid: True,
        /// Suspends the tenant.
        suspend: True,
        /// Units of each meter beside the plan's.
        grant: Named<MeterName, GrantForms>,
        /// So many of each add-on from now on; 0 takes it away.
        addons: Named<Name, QuantityOrNone>,
        /// Replaces all rights that are set for this tenant alone.
        overrides: Overrides,
        /// Moves the tenant to another time zone.
        timezone: Zone,
        /// The clock, to where the tenant's next one begins.
        next: Window,
        /// The clock, so many days on, at the same local time.
        days: SomeDays,
        /// The clock, so many hours on.
        hours: Hours,
        /// The clock, so many minutes on.
        minutes: Minutes,
    }
}

value! {
    /// Requests, one after the other.
    Requests = { "type": "integer", "minimum": 1, "maximum": 1_000_000_000_000_u64 }
}
value! {
    /// Requests at one instant.
    Burst = { "type": "integer", "minimum": 1, "maximum": 10_000 }
}
value! {
    /// Days, also none.
    Days = { "type": "integer", "minimum": 0, "maximum": 3650 }
}
value! {
    /// Days.
    SomeDays = { "type": "integer", "minimum": 1, "maximum": 3650 }
}
value! {
    /// Hours.
    Hours = { "type": "integer", "minimum": 1, "maximum": 87_600 }
}
value! {
    /// Minutes.
    Minutes = { "type": "integer", "minimum": 1, "maximum": 5_256_000 }
}
value! {
    /// How many of an add-on, also none.
    QuantityOrNone = { "type": "integer", "minimum": 0, "maximum": 10_000 }
}
value! {
    /// What becomes of the units used when a plan changes.
    UsageRule = { "enum": ["keep", "reset", "prorate"] }
}
value! {
    /// Now, or at the end of the billing month.
    Soon = { "enum": ["now", "period_end"] }
}
one_of! {
    /// When something comes into force.
    When = [Soon, Instant]
}
one_of! {
    /// When a subscription ends.
    CancelForms = [True, Soon, Instant]
}
one_of! {
    /// A failed payment, with its days of grace or those of the plan.
    PastDueForms = [True, PastDue]
}

shape! {
    /// A payment failed.
    PastDue requires ["grace_days"] {
        /// Days of grace, instead of the plan's.
        grace_days: Days,
    }
}

one_of! {
    /// Units that are given: `100` is short for `{ units: 100 }`.
    GrantForms = [SomeUnits, Grant]
}

shape! {
    /// Units that are given beside a plan's.
    Grant requires ["units"] {
        /// How many.
        units: SomeUnits,
        /// Lower ones are used first; those of the plan have 100.
        #[schemars(extend("default" = 100))]
        priority: Priority,
        /// When what is left of them is lost; without it, never.
        expires_at: Instant,
        /// Whether they are given anew with each billing month.
        #[schemars(extend("default" = false))]
        recurring: Switch,
    }
}

value! {
    /// The order in which grants are used.
    Priority = { "type": "integer", "minimum": 0, "maximum": 1000 }
}
