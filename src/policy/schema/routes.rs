//! The shape of `routes.yaml`.

use super::{
    shape::{Distinct, Named, one_of, shape, value},
    value::{MeterName, Name, SomeUnits, Switch, Units},
};

shape! {
    /// Which requests there are, what they need and what they cost. The most specific route wins, whatever the order.
    #[schemars(title = "Plangate: routes.yaml")]
    Routes requires ["routes"] {
        /// What becomes of a request that no route covers: refused, or forwarded for any tenant at the default charge.
        #[schemars(extend("default" = "deny"))]
        unmatched: Unmatched,
        /// What holds for routes that do not say.
        defaults: Defaults,
        /// The routes.
        routes: Vec<Route>,
    }
}

value! {
    /// What becomes of a request that no route covers.
    Unmatched = { "enum": ["deny", "allow"] }
}

shape! {
    /// What holds for routes that do not say.
    Defaults requires [] {
        /// What a request costs.
        #[schemars(extend("examples" = [{ "requests": 1 }]))]
        charge: Charge,
    }
}

shape! {
    /// Requests of some methods to some paths.
    #[schemars(extend(
        "if" = { "properties": { "public": { "const": true } }, "required": ["public"] },
        "then" = { "properties": { "features": false, "charge": false } },
    ))]
    Route requires ["match"] {
        /// Methods (`*` is all of them, `GET` covers `HEAD`), a space and a path. `{id}` is one segment, `{*rest}`, last only, any rest, also none.
        r#match: Match,
        /// The route decides only where this holds; otherwise the next of the same methods and path does. See docs/conditions.md.
        when: Condition,
        /// No identity and no charge; then neither `features` nor `charge` can stand here.
        #[schemars(extend("default" = false))]
        public: Switch,
        /// Features that the tenant's plan must have, all of them.
        features: Distinct<Name>,
        /// What a request costs, instead of the default; `{}` is nothing.
        charge: Charge,
    }
}

value! {
    /// Methods and a path.
    Match = {
        "title": "methods and a path",
        "type": "string",
        "maxLength": 3072,
        "pattern": "^[ \\t]*(\\*|[A-Z0-9_-]{1,32}(\\|[A-Z0-9_-]{1,32})*)[ \\t]+/[^ \\t?#;\\\\]*[ \\t]*$",
        "examples": ["GET /v1/messages", "GET|POST /v1/messages/{id}", "* /v1/export/{*rest}"],
    }
}

value! {
    /// A header's name.
    HeaderName = { "title": "name of a header", "type": "string", "pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$", "examples": ["x-usage-ai-tokens"] }
}

/// Units of each meter.
pub(super) type Charge = Named<MeterName, ChargeForms>;

value! {
    /// A condition in CEL.
    Condition = { "title": "CEL: true or false", "type": "string", "minLength": 1, "maxLength": 1024, "examples": ["tenant.region == 'eu'"] }
}

value! {
    /// A number of units in CEL.
    Amount = { "title": "CEL: an int", "type": "string", "minLength": 1, "maxLength": 1024, "examples": ["int(request.headers['x-n']) * 2"] }
}

one_of! {
    /// Units that are known beforehand, that the request tells, or that only the answer does.
    ChargeForms = [Units, FixedCharge, ComputedCharge, Reserve]
}

shape! {
    /// Units that are charged only under a condition.
    FixedCharge requires ["units"] {
        /// Units to charge.
        units: Units,
        /// Charged only where this holds. See docs/conditions.md.
        when: Condition,
    }
}

shape! {
    /// Units that depend on the request. See docs/conditions.md.
    ComputedCharge requires ["cel"] {
        /// How many units.
        cel: Amount,
        /// Charged only where this holds.
        when: Condition,
    }
}

shape! {
    /// A cost that is known only after the answer: units are reserved before the request is forwarded, and what the answer tells is what it costs.
    Reserve requires ["reserve", "from"] {
        /// Units to reserve; the cost, where the answer tells none.
        reserve: SomeUnits,
        /// Where the answer tells the cost.
        from: Header,
        /// Reserved only where this holds. See docs/conditions.md.
        when: Condition,
    }
}

shape! {
    /// Where the answer tells the cost.
    Header requires ["header"] {
        /// A header of the upstream's answer.
        header: HeaderName,
    }
}
