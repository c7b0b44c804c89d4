//! The shape of `cases/*.yaml`.

use super::{
    plan::{QuotaForms, RateForms},
    shape::{Named, one_of, shape, value},
    value::{Allowance, Line, MeterName, Name, SomeUnits, Switch, Units},
};

shape! {
    /// Examples that must hold, run by `plangate policy test`.
    #[schemars(title = "Plangate: cases/*.yaml")]
    Cases requires ["cases"] {
        /// The examples.
        cases: Vec<Case>,
    }
}

shape! {
    /// A request of a tenant, and what the policies must say to it.
    Case requires ["name", "request", "expect"] {
        /// What it shows.
        name: Line,
        /// Whose request it is; without this key, nobody's: an anonymous request.
        tenant: Tenant,
        /// The request.
        request: RequestForms,
        /// When it comes.
        #[schemars(extend("default" = "2026-01-15T12:00:00Z"))]
        at: Instant,
        /// What the policies must say.
        expect: Expectation,
        /// What comes after that, one step after the other.
        then: Vec<Step>,
    }
}

one_of! {
    /// A request: in one line, or in its parts.
    RequestForms = [RequestLine, RequestParts]
}
value! {
    /// A method and a path.
    RequestLine = {
        "title": "a method and a path",
        "type": "string",
        "pattern": "^\\s*[A-Z_-]+\\s+\\S+\\s*$",
        "examples": ["GET /v1/messages/1"],
    }
}

shape! {
    /// A request in its parts.
    RequestParts requires ["method", "path"] {
        /// The method.
        method: Method,
        /// The path, also with a query after `?`.
        path: RequestPath,
        /// The query, without the question mark.
        query: Query,
        /// Its headers, by name in any case.
        headers: Named<HeaderName, HeaderValue>,
        /// The address from which it comes.
        client: Address,
    }
}

value! {
    /// A method.
    Method = { "title": "method", "type": "string", "pattern": "^[A-Z_-]+$", "examples": ["GET"] }
}
value! {
    /// A path.
    RequestPath = { "title": "path", "type": "string", "pattern": "^\\S+$", "examples": ["/v1/messages/1"] }
}
value! {
    /// A query.
    Query = { "title": "query", "type": ["string", "number", "boolean"], "pattern": "^[^?#\\s][^#\\s]*$", "examples": ["page=2"] }
}
value! {
    /// A header's name.
    HeaderName = { "title": "header", "type": "string", "pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$" }
}
value! {
    /// A header's value, as it is written.
    HeaderValue = { "title": "text", "type": ["string", "number", "boolean"] }
}
value! {
    /// An address.
    Address = { "title": "address", "type": "string", "pattern": "^[0-9A-Fa-f:.]+$", "examples": ["10.0.0.1"] }
}

shape! {
    /// What follows in a case: what comes in between, and what the policies must then say.
    Step requires ["expect"] {
        /// What comes before the request: words in their order, one word alone, or a list of both.
        after: AfterForms,
        /// The request; without this key, the one before again.
        request: RequestForms,
        /// What the policies must say.
        expect: Expectation,
    }
}

one_of! {
    /// What comes between two requests.
    AfterForms = [AfterWord, After, Vec<AfterItem>]
}
one_of! {
    /// One of a list of things that come between two requests.
    AfterItem = [AfterWord, After]
}
value! {
    /// A word that needs no value, or a span of time.
    AfterWord = {
        "title": "word or span of time",
        "type": "string",
        "pattern": "^(cancel|undo|pause|resume|past_due|paid|suspend|[0-9]+(ms|s|m|h|d))$",
        "examples": ["cancel"],
    }
}

shape! {
    /// What comes between two requests, carried out in the order in which it is written.
    #[schemars(extend(
        "minProperties" = 1,
        "dependencies" = { "usage": ["plan"], "trial_days": ["plan"], "anchor_day": ["plan"] }
    ))]
    After requires [] {
        /// The request before so many times more, slowly enough for every rate; charged as far as it is let through.
        requests: Requests,
        /// The same in one instant, so that rates count.
        burst: Burst,
        /// A change to this plan.
        plan: Name,
        /// With `plan`, when it comes into force (without it, as the plan that is left says); else the clock goes there.
        at: When,
        /// With `plan`: what becomes of the units already used.
        usage: Usage,
        /// With `plan`: a trial of so many days; 0 is none, not even the plan's own.
        trial_days: Days,
        /// With `plan`: the day on which months begin from then on.
        anchor_day: Day,
        /// The subscription is canceled.
        cancel: CancelForms,
        /// What is scheduled, or a cancellation, is taken back.
        undo: True,
        /// The subscription is paused.
        pause: True,
        /// The suspension is taken back, or where there is none the pause.
        resume: True,
        /// A payment failed.
        past_due: PastDueForms,
        /// It was paid.
        paid: True,
        /// The tenant is suspended.
        suspend: True,
        /// Units beside the plan's.
        grant: Named<MeterName, GrantForms>,
        /// So many of an add-on from now on; 0 takes it away.
        addons: Named<Name, AnyQuantity>,
        /// All overrides are replaced by these.
        overrides: Overrides,
        /// The tenant's zone from now on.
        timezone: Zone,
        /// The clock goes to where the tenant's next one begins.
        next: Window,
        /// The clock goes to the same local time so many days later.
        days: SomeDays,
        /// The clock goes so many hours further.
        hours: Requests,
        /// The clock goes so many minutes further.
        minutes: Requests,
    }
}

value! {
    /// A number that is not nothing.
    Requests = { "title": "whole number, at least 1", "type": "integer", "minimum": 1, "maximum": 1_000_000_000_000_u64 }
}
value! {
    /// Requests in one instant.
    Burst = { "type": "integer", "minimum": 1, "maximum": 10_000 }
}
value! {
    /// Days, or none.
    Days = { "type": "integer", "minimum": 0, "maximum": 3650 }
}
value! {
    /// Days.
    SomeDays = { "type": "integer", "minimum": 1, "maximum": 3650 }
}
value! {
    /// How many of an add-on, or none.
    AnyQuantity = { "type": "integer", "minimum": 0, "maximum": 10_000 }
}
value! {
    /// What becomes of the units already used.
    Usage = { "enum": ["keep", "reset", "prorate"] }
}
value! {
    /// Now, or with the end of the billing month or trial.
    WhenWord = { "enum": ["now", "period_end"] }
}
one_of! {
    /// When something comes into force.
    When = [WhenWord, Instant]
}
one_of! {
    /// When a subscription ends.
    CancelForms = [True, WhenWord, Instant]
}
one_of! {
    /// A failed payment, with the plan's days of grace or others.
    PastDueForms = [True, PastDue]
}

shape! {
    /// A failed payment, with days of grace of its own.
    PastDue requires ["grace_days"] {
        /// For so many days it still entitles.
        grace_days: Days,
    }
}

one_of! {
    /// Units, or more about them.
    GrantForms = [SomeUnits, NewGrant]
}

shape! {
    /// Units beside the plan's, with all that the admin API lets one say of them.
    NewGrant requires ["units"] {
        /// How many.
        units: SomeUnits,
        /// Lower ones are burnt first.
        #[schemars(extend("default" = 100))]
        priority: Priority,
        /// From then on nothing of it can be used.
        expires_at: Instant,
        /// Anew in each billing month.
        #[schemars(extend("default" = false))]
        recurring: Switch,
    }
}

value! {
    /// A place in the order of burning.
    Priority = { "type": "integer", "minimum": 0, "maximum": 1000 }
}

value! {
    /// An instant with its offset.
    Instant = {
        "title": "instant with its offset",
        "type": "string",
        "pattern": "^[-+]?[0-9]{4,6}-?[0-9]{2}-?[0-9]{2}[Tt ][0-9]{2}.*([Zz]|[-+][0-9]{2}).*$",
        "examples": ["2026-03-31T23:59:59+08:00"],
    }
}

shape! {
    /// A tenant: its plan, and what it has beside it.
    #[schemars(extend("dependencies" = { "state": ["plan"] }))]
    Tenant requires [] {
        /// Its plan; without this key, it has no subscription.
        plan: Name,
        /// The state of its subscription.
        #[schemars(extend("default" = "active"))]
        state: State,
        /// How many it has of which add-on.
        addons: Named<Name, Quantity>,
        /// Units of each meter that it was given beside the plan's.
        grants: Named<MeterName, SomeUnits>,
        /// Units of each meter that it has used: a number is the month's.
        used: Named<MeterName, UsedForms>,
        /// Rights that are set for this tenant alone.
        overrides: Overrides,
        /// Its time zone, by its IANA name.
        #[schemars(extend("default" = "UTC", "examples" = ["Asia/Shanghai"]))]
        timezone: Zone,
        /// The day of the month on which its billing month begins.
        #[schemars(extend("default" = 1))]
        anchor_day: Day,
        /// Whether it is suspended.
        #[schemars(extend("default" = false))]
        suspended: Switch,
        /// What conditions may ask of it.
        attributes: Named<AttributeName, AttributeValue>,
    }
}

value! {
    /// An attribute's name.
    AttributeName = { "title": "name", "type": "string" }
}
value! {
    /// An attribute's value.
    AttributeValue = {
        "title": "text, whole number, `true` or `false`",
        "type": ["string", "integer", "boolean"],
        "maxLength": 200,
        "examples": ["eu"],
    }
}

value! {
    /// The state of a subscription.
    State = { "enum": ["trialing", "active", "past_due", "unpaid", "paused", "expired", "canceled"] }
}
value! {
    /// How many of an add-on.
    Quantity = { "type": "integer", "minimum": 1, "maximum": 10_000 }
}
value! {
    /// A time zone.
    Zone = { "title": "time zone", "type": "string", "minLength": 1 }
}
value! {
    /// A day of the month.
    Day = { "type": "integer", "minimum": 1, "maximum": 31 }
}

one_of! {
    /// Units used: in the month, or by window.
    UsedForms = [Units, Used]
}

shape! {
    /// Units used, by window.
    Used requires [] {
        /// In the billing month.
        month: Units,
        /// In the week.
        week: Units,
        /// In the day.
        day: Units,
        /// In the clock hour.
        hour: Units,
    }
}

shape! {
    /// Rights that are set for this tenant alone, as by the admin API.
    Overrides requires [] {
        /// Features that are on or off, whatever the plan says.
        features: Named<Name, Switch>,
        /// Limits instead of the plan's.
        limits: Named<Name, Allowance>,
        /// Quotas instead of the plan's.
        quotas: Named<MeterName, QuotaForms>,
        /// Rates instead of the plan's.
        rates: Named<MeterName, RateForms>,
    }
}

shape! {
    /// What the policies must say: `allow: true`, or `deny` with a code. What is not named is not compared.
    #[schemars(extend("oneOf" = [
        {
            "required": ["allow"],
            "properties": { "deny": false, "status": false, "meter": false, "feature": false, "window": false },
        },
        { "required": ["deny"], "properties": { "allow": false, "charge": false, "limits": false } },
    ]))]
    Expectation requires [] {
        /// The request is let through.
        allow: True,
        /// With `allow`: what it is charged, exactly.
        charge: Named<MeterName, Units>,
        /// With `allow`: limits that the tenant has, as they are handed to the application.
        limits: Named<Name, Allowance>,
        /// The request is refused with this code.
        deny: Code,
        /// With `deny`: the answer's status.
        status: Status,
        /// With `deny`: the meter that the refusal names.
        meter: MeterName,
        /// With `deny`: the feature that the refusal names.
        feature: Name,
        /// With `deny: quota-exhausted`: the window that is used up.
        window: Window,
    }
}

value! {
    /// `true` and nothing else.
    True = { "const": true }
}
value! {
    /// A code to which policies alone can lead.
    Code = {
        "enum": [
            "path-ambiguous", "credential-missing", "subscription-inactive", "tenant-suspended", "feature-not-in-plan",
            "route-not-covered", "rate-limited", "quota-exhausted",
        ],
    }
}
value! {
    /// The status of a refusal.
    Status = { "type": "integer", "minimum": 400, "maximum": 599 }
}
value! {
    /// A window of a quota.
    Window = { "enum": ["hour", "day", "week", "month"] }
}
