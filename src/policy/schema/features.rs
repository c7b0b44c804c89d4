//! The shape of `features.yaml`.

use super::{
    shape::{Distinct, Named, one_of, shape, value},
    value::{Line, MeterName, Name, Nothing},
};

shape! {
    /// What can be sold: the vocabulary of plans, add-ons and routes. A name that is not declared here is an error there.
    #[schemars(title = "Plangate: features.yaml")]
    Features requires [] {
        /// Rights that are on or off. At most 4096.
        #[schemars(extend("maxProperties" = 4096))]
        features: Named<Name, DeclarationOrNothing>,
        /// Fixed numbers, such as seats. Plangate hands them to your application, which enforces them.
        #[schemars(extend("maxProperties" = 4096))]
        limits: Named<Name, DeclarationOrNothing>,
        /// Things that are counted. At most 256; their names are without `.` and `-`.
        #[schemars(extend("maxProperties" = 256))]
        meters: Named<MeterName, MeterOrNothing>,
        /// What tenants are told apart by, such as their region. At most 256. With this section, conditions can name no others.
        #[schemars(extend("maxProperties" = 256))]
        attributes: Named<AttributeName, AttributeOrNothing>,
    }
}

shape! {
    /// What is said of a feature or a limit.
    Declaration requires [] {
        /// Its name for people.
        #[schemars(extend("examples" = ["Full history"]))]
        title: Line,
    }
}

shape! {
    /// What is said of a meter.
    Meter requires [] {
        /// Its name for people.
        #[schemars(extend("examples" = ["API requests"]))]
        title: Line,
        /// What one of it is called.
        #[schemars(extend("examples" = ["request"]))]
        unit: Line,
    }
}

one_of! {
    /// A declaration; a bare name is one without a title.
    DeclarationOrNothing = [Declaration, Nothing]
}
one_of! {
    /// A meter; a bare name is one without a title.
    MeterOrNothing = [Meter, Nothing]
}

value! {
    /// A name of an attribute.
    AttributeName = { "title": "attribute", "type": "string", "pattern": "^(?!(id|plan)$)[a-z][a-z0-9_]{0,62}$" }
}

value! {
    /// What kind of value it has.
    AttributeType = { "enum": ["string", "number", "bool"] }
}

value! {
    /// A value of an attribute.
    AttributeText = { "title": "text", "type": "string", "maxLength": 256, "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]*$" }
}

shape! {
    /// What is said of an attribute.
    #[schemars(extend(
        "if" = { "properties": { "type": { "enum": ["number", "bool"] } }, "required": ["type"] },
        "then" = { "properties": { "values": false } },
    ))]
    Attribute requires [] {
        /// Its name for people.
        title: Line,
        /// What kind of value it has.
        #[schemars(extend("default" = "string"))]
        r#type: AttributeType,
        /// Of a string: what it may be.
        #[schemars(extend("examples" = [["eu", "us"]]))]
        values: Distinct<AttributeText>,
    }
}

one_of! {
    /// An attribute; a bare name is a string without a title.
    AttributeOrNothing = [Attribute, Nothing]
}
