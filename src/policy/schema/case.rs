//! The shape of `cases/*.yaml`.

use super::{
    plan::{QuotaForms, RateForms},
    routes::HeaderName,
    shape::{Named, one_of, shape, value},
    step::Step,
    value::{Allowance, Line, MeterName, Name, SomeUnits, SpendCap, Switch, Units},
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
        /// A method, a space and a path; or a map, where more of the request matters.
        request: RequestForms,
        /// When it comes.
        #[schemars(extend("default" = "2026-01-15T12:00:00Z"))]
        at: Instant,
        /// What the policies must say.
        expect: Expectation,
        /// What goes on from there, step by step.
        #[schemars(extend("maxItems" = 1000))]
        then: Vec<Step>,
    }
}

one_of! {
    /// A request.
    RequestForms = [RequestLine, Request]
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
    /// A request of which more matters than its method and path, to conditions.
    Request requires ["method", "path"] {
        /// Its method.
        method: Method,
        /// Its path.
        path: Path,
        /// Its query, without the question mark.
        query: Query,
        /// Its headers.
        headers: Named<HeaderName, HeaderValue>,
        /// The client's address.
        client: Address,
    }
}

value! {
    /// A method.
    Method = { "title": "method", "type": "string", "pattern": "^[A-Z_-]+$", "examples": ["GET"] }
}
value! {
    /// A path.
    Path = { "title": "path", "type": "string", "pattern": "^\\S+$", "examples": ["/v1/messages/1"] }
}
value! {
    /// A query.
    Query = {
        "title": "query",
        "type": ["string", "number", "boolean"],
        "pattern": "^([^?\\s#][^\\s#]*)?$",
        "examples": ["page=2"],
    }
}
value! {
    /// A header's value: whatever it means in YAML, it is sent as it was written.
    HeaderValue = {
        "title": "value",
        "type": ["string", "number", "boolean"],
        "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]*$",
    }
}
value! {
    /// An address.
    Address = { "title": "address", "type": "string", "pattern": "^[0-9A-Fa-f:.]+$", "examples": ["10.0.0.1"] }
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
        attributes: Named<AttributeName, AttributeForms>,
    }
}

value! {
    /// A name of an attribute.
    AttributeName = { "title": "attribute", "type": "string", "pattern": "^[a-z][a-z0-9_]{0,62}$" }
}
value! {
    /// A whole number, also below zero.
    Whole = { "title": "whole number", "type": "integer" }
}
one_of! {
    /// The value of an attribute.
    AttributeForms = [Line, Whole, Switch]
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
        /// The spend cap instead of the plan's.
        spend_cap: SpendCap,
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
            "route-not-covered", "condition-failed", "rate-limited", "quota-exhausted",
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
