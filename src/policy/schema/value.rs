//! Single values that stand in several files.

use super::shape::{one_of, value};

value! {
    /// A name of a feature, limit, plan or add-on.
    Name = { "title": "name", "type": "string", "pattern": "^[a-z][a-z0-9_.-]{0,62}$" }
}
value! {
    /// A name of a meter: without `.` and `-`, so that it can be part of a header item's name.
    MeterName = { "title": "meter", "type": "string", "pattern": "^[a-z][a-z0-9_]{0,62}$" }
}
value! {
    /// One line for people.
    Line = {
        "title": "text",
        "type": "string",
        "maxLength": 200,
        "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]*\\S[^\\u0000-\\u001f\\u007f-\\u009f]*$",
    }
}
value! {
    /// A number of units.
    Units = { "title": "units", "type": "integer", "minimum": 0, "maximum": 9_007_199_254_740_991_u64 }
}
value! {
    /// A number of units, at least one.
    SomeUnits = { "title": "units, at least 1", "type": "integer", "minimum": 1, "maximum": 9_007_199_254_740_991_u64 }
}
value! {
    /// The word `unlimited`.
    Unlimited = { "const": "unlimited", "description": "Counted, never refused." }
}
one_of! {
    /// A number of units, or no end.
    Allowance = [Units, Unlimited]
}
value! {
    /// Money: quoted, so that no digit is lost.
    Amount = { "title": "quoted decimal", "type": "string", "pattern": "^[0-9]+(\\.[0-9]{1,12})?$", "examples": ["19.00"] }
}
value! {
    /// Money that is counted: quoted, at most 9000000, with at most 9 fractional digits.
    CountedAmount = {
        "title": "quoted decimal",
        "type": "string",
        "pattern": "^0*([0-8]?[0-9]{1,6}(\\.[0-9]{1,9}0{0,3})?|9000000(\\.0{1,12})?)$",
        "examples": ["200.00"],
    }
}
one_of! {
    /// The most that may be spent, or no end.
    SpendCap = [CountedAmount, Unlimited]
}
value! {
    /// A currency by its three letters.
    Currency = { "title": "currency", "type": "string", "pattern": "^[A-Z]{3}$", "examples": ["USD", "EUR"] }
}
value! {
    /// A span of time, at most 31 days.
    Span = {
        "title": "span of time",
        "type": "string",
        "pattern": "^0*([1-9][0-9]*(ms|s|m|h)|([1-9]|[12][0-9]|3[01])d)$",
        "examples": ["500ms", "1s", "1m", "1h", "1d"],
    }
}
value! {
    /// On or off.
    Switch = { "type": "boolean" }
}
value! {
    /// Nothing at all, as in `chat:`.
    Nothing = { "type": "null" }
}
