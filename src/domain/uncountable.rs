//! What can go wrong while a condition or an amount is reckoned: a closed list, so that it is told in every language.

/// A calculation or conversion that went wrong. Nothing in it comes from the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Miscalculation {
    /// `int(...)`.
    #[error("`int(...)` of what is no whole number")]
    Int,
    /// `double(...)`.
    #[error("`double(...)` of what is no number")]
    Double,
    /// `bool(...)`.
    #[error("`bool(...)` of what is neither `true` nor `false`")]
    Bool,
    /// `timestamp(...)`.
    #[error("`timestamp(...)` of what is no instant")]
    Timestamp,
    /// `duration(...)`.
    #[error("`duration(...)` of what is no duration")]
    Duration,
    /// `inCidr(...)`.
    #[error("`inCidr(...)` of what is no address")]
    Address,
    /// Any other function.
    #[error("a function cannot be applied to its arguments")]
    Arguments,
    /// Beyond what numbers can hold.
    #[error("a number is too large")]
    Overflow,
    /// By nothing.
    #[error("a division by zero")]
    DivisionByZero,
    /// A map's.
    #[error("a map has no such key")]
    NoSuchKey,
    /// A list's.
    #[error("a list has no such place")]
    NoSuchPlace,
    /// In a map.
    #[error("a map has a key twice")]
    KeyTwice,
    /// Of nothing that there is.
    #[error("a name is not known")]
    UnknownName,
    /// A text where a number is needed, or the like.
    #[error("a value is of another kind than is expected of it")]
    OtherKind,
    /// A condition that comes to something else.
    #[error("the condition is neither true nor false")]
    NoTruth,
    /// An amount that comes to something else.
    #[error("the amount is no whole number")]
    NoWholeNumber,
    /// Of a file with an error in it, which is in force nowhere.
    #[error("it could not be read")]
    Unreadable,
}

#[cfg(test)]
impl Miscalculation {
    /// Every one.
    pub(crate) const ALL: [Self; 17] = [
        Self::Int,
        Self::Double,
        Self::Bool,
        Self::Timestamp,
        Self::Duration,
        Self::Address,
        Self::Arguments,
        Self::Overflow,
        Self::DivisionByZero,
        Self::NoSuchKey,
        Self::NoSuchPlace,
        Self::KeyTwice,
        Self::UnknownName,
        Self::OtherKind,
        Self::NoTruth,
        Self::NoWholeNumber,
        Self::Unreadable,
    ];
}
