//! The types of values, as far as they are known before a request comes.

/// The type of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Type {
    Bool,
    Int,
    Double,
    Text,
    Timestamp,
    Duration,
    List(Box<Self>),
    /// From texts.
    Map(Box<Self>),
    /// Known only when it is evaluated, or not known as something is wrong with it.
    Any,
}

impl Type {
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Self::Bool => "a bool",
            Self::Int => "an int",
            Self::Double => "a double",
            Self::Text => "a string",
            Self::Timestamp => "a timestamp",
            Self::Duration => "a duration",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
            Self::Any => "a value",
        }
    }

    pub(super) const fn is_number(&self) -> bool {
        matches!(self, Self::Int | Self::Double | Self::Any)
    }

    /// Whether a value of one may stand where one of the other is expected.
    pub(super) fn fits(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::List(one), Self::List(other)) | (Self::Map(one), Self::Map(other)) => one.fits(other),
            (one, other) => one == other,
        }
    }

    /// What both are.
    pub(super) fn join(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::List(one), Self::List(other)) => Some(Self::List(Box::new(one.join(*other)?))),
            (Self::Map(one), Self::Map(other)) => Some(Self::Map(Box::new(one.join(*other)?))),
            (one, other) if one == other => Some(one),
            (Self::Any, _) | (_, Self::Any) => Some(Self::Any),
            _ => None,
        }
    }
}
