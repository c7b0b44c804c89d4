//! A tenant's attributes: a few facts about it, such as its region, by which policies may tell tenants apart.

use std::{fmt, sync::Arc};

use super::units::Units;

/// The most attributes of one tenant.
pub const MOST_ATTRIBUTES: usize = 32;
/// The longest text of one, in characters.
pub const MOST_TEXT: usize = 256;
/// What every tenant has anyway.
const OWN: [&str; 2] = ["id", "plan"];

/// The name of an attribute: `[a-z][a-z0-9_]{0,62}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttributeName(Box<str>);

impl AttributeName {
    /// Takes a name.
    ///
    /// # Errors
    /// [`InvalidAttribute`] says why it is none.
    pub fn parse(text: &str) -> Result<Self, InvalidAttribute> {
        let bytes = text.as_bytes();
        let fits = (1..=63).contains(&bytes.len())
            && bytes[0].is_ascii_lowercase()
            && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'_');
        if !fits {
            return Err(InvalidAttribute::Name(text.chars().take(80).collect()));
        }
        if OWN.contains(&text) {
            return Err(InvalidAttribute::Own(text.to_owned()));
        }
        Ok(Self(text.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AttributeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum AttributeValue {
    /// A text.
    Text(Box<str>),
    /// A whole number, at most 2^53 - 1 from zero.
    Number(i64),
    /// Yes or no.
    Flag(bool),
}

impl fmt::Display for AttributeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
            Self::Flag(flag) => flag.fmt(f),
        }
    }
}

impl AttributeValue {
    /// Takes a text.
    ///
    /// # Errors
    /// [`InvalidAttribute::Text`] where it is too long or has control characters.
    pub fn text(text: &str) -> Result<Self, InvalidAttribute> {
        if text.chars().count() > MOST_TEXT || text.chars().any(char::is_control) {
            return Err(InvalidAttribute::Text);
        }
        Ok(Self::Text(text.into()))
    }

    /// Takes a number.
    ///
    /// # Errors
    /// [`InvalidAttribute::Number`] where it is too large.
    pub const fn number(number: i64) -> Result<Self, InvalidAttribute> {
        if number.unsigned_abs() > Units::MAX.get() {
            return Err(InvalidAttribute::Number);
        }
        Ok(Self::Number(number))
    }
}

/// All attributes of a tenant, by name. It is kept for each tenant that a node knows, and takes just what it needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes(Box<[(AttributeName, AttributeValue)]>);

impl Attributes {
    /// Takes attributes, in any order.
    ///
    /// # Errors
    /// [`InvalidAttribute`] where there are too many, or two of one name.
    pub fn new(
        all: impl IntoIterator<Item = (AttributeName, AttributeValue)>,
    ) -> Result<Self, InvalidAttribute> {
        let mut all: Vec<_> = all.into_iter().take(MOST_ATTRIBUTES + 1).collect();
        if all.len() > MOST_ATTRIBUTES {
            return Err(InvalidAttribute::TooMany);
        }
        all.sort_by(|a, b| a.0.cmp(&b.0));
        if let Some(twice) = all.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(InvalidAttribute::Twice(twice[0].0.to_string()));
        }
        Ok(Self(all.into()))
    }

    /// The value of one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&AttributeValue> {
        let place = self.0.binary_search_by(|(known, _)| known.as_str().cmp(name)).ok()?;
        self.0.get(place).map(|(_, value)| value)
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&AttributeName, &AttributeValue)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// The same, to be kept with a tenant; `None`: there are none.
    #[must_use]
    pub fn shared(&self) -> Option<Arc<Self>> {
        (!self.is_empty()).then(|| Arc::new(self.clone()))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Why something is no attribute, or too much of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAttribute {
    /// It cannot be a name.
    #[error("`{0}` cannot be an attribute's name: expected `[a-z][a-z0-9_]{{0,62}}`")]
    Name(String),
    /// Every tenant has it anyway.
    #[error("`{0}` is what every tenant has, and cannot be set as an attribute")]
    Own(String),
    /// Two of one name.
    #[error("the attribute `{0}` stands twice")]
    Twice(String),
    /// Too long, or with control characters.
    #[error("an attribute's text has at most {MOST_TEXT} characters, none of them a control character")]
    Text,
    /// Too large.
    #[error("an attribute's number is at most 2^53 - 1 from zero")]
    Number,
    /// More than a tenant may have.
    #[error("a tenant has at most {MOST_ATTRIBUTES} attributes")]
    TooMany,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> (AttributeName, AttributeValue) {
        (AttributeName::parse(name).unwrap(), AttributeValue::Flag(true))
    }

    #[test]
    fn names_are_plain_words() {
        for name in ["region", "a", "tier_2", &"a".repeat(63)] {
            assert_eq!(AttributeName::parse(name).unwrap().as_str(), name);
        }
        for name in ["", "Region", "1st", "_a", "a-b", "a.b", "caf\u{e9}", &"a".repeat(64)] {
            assert!(matches!(AttributeName::parse(name), Err(InvalidAttribute::Name(_))), "{name}");
        }
        for name in ["id", "plan"] {
            assert_eq!(AttributeName::parse(name), Err(InvalidAttribute::Own(name.to_owned())));
        }
    }

    #[test]
    fn values_are_bounded() {
        assert!(AttributeValue::text(&"\u{e9}".repeat(256)).is_ok());
        assert_eq!(AttributeValue::text(&"a".repeat(257)), Err(InvalidAttribute::Text));
        assert_eq!(AttributeValue::text("a\nb"), Err(InvalidAttribute::Text));
        assert!(AttributeValue::number(9_007_199_254_740_991).is_ok());
        assert!(AttributeValue::number(-9_007_199_254_740_991).is_ok());
        for number in [9_007_199_254_740_992, i64::MAX, i64::MIN] {
            assert_eq!(AttributeValue::number(number), Err(InvalidAttribute::Number));
        }
    }

    #[test]
    fn they_are_found_by_name_and_none_stands_twice() {
        let all = Attributes::new([named("b"), named("a"), named("c")]).unwrap();
        assert_eq!(all.get("a"), Some(&AttributeValue::Flag(true)));
        assert_eq!(all.get("d"), None);
        assert_eq!(all.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(Attributes::new([named("a"), named("a")]), Err(InvalidAttribute::Twice("a".to_owned())));
        let many = |count: usize| Attributes::new((0..count).map(|n| named(&format!("a{n}"))));
        assert!(many(32).is_ok());
        assert_eq!(many(33), Err(InvalidAttribute::TooMany));
        assert!(Attributes::default().is_empty());
    }
}
