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

one_of! {
    /// Units that are known beforehand, or only after the answer.
    ChargeForms = [Units, Reserve]
}

shape! {
    /// A cost that is known only after the answer: units are reserved before the request is forwarded, and what the answer tells is what it costs.
    Reserve requires ["reserve", "from"] {
        /// Units to reserve; the cost, where the answer tells none.
        reserve: SomeUnits,
        /// Where the answer tells the cost.
        from: Header,
    }
}

shape! {
    /// Where the answer tells the cost.
    Header requires ["header"] {
        /// A header of the upstream's answer.
        header: HeaderName,
    }
}
