//! Reads the fields of a JSON document that this installation has written itself: the first that is not as it was written
//! is an error with its place.

use std::{fmt::Display, str::FromStr};

use serde_json::{Map, Value};

use super::FieldError;
use crate::domain::{
    period::Period,
    time::{UnixMillis, Version},
};

/// A value and its place in the document.
pub(super) struct Field<'a> {
    pointer: String,
    value: &'a Value,
}

impl<'a> Field<'a> {
    /// The whole document.
    pub(super) const fn root(value: &'a Value) -> Self {
        Self { pointer: String::new(), value }
    }

    /// An error at this place.
    pub(super) fn wrong(&self, expected: impl Display) -> FieldError {
        let shown: String = self.value.to_string().chars().take(80).collect();
        FieldError::new(self.pointer.clone(), format!("expected {expected}, got `{shown}`"))
    }

    /// The fields of an object, of which there may be no others than those named.
    pub(super) fn object(&self, known: &[&str]) -> Result<Object<'a>, FieldError> {
        let Value::Object(map) = self.value else { return Err(self.wrong("an object")) };
        if let Some(unknown) = map.keys().find(|name| !known.contains(&name.as_str())) {
            let unknown: String = unknown.chars().take(80).collect();
            return Err(FieldError::new(self.pointer.clone(), format!("unknown field `{unknown}`")));
        }
        Ok(Object { pointer: self.pointer.clone(), map })
    }

    /// The items of a list.
    pub(super) fn list(&self) -> Result<Vec<Self>, FieldError> {
        let Value::Array(items) = self.value else { return Err(self.wrong("a list")) };
        let item = |(place, value)| Self { pointer: format!("{}/{place}", self.pointer), value };
        Ok(items.iter().enumerate().map(item).collect())
    }

    /// The items of a list of just so many.
    pub(super) fn tuple<const N: usize>(&self) -> Result<[Self; N], FieldError> {
        self.list()?.try_into().map_err(|_| self.wrong(format_args!("a list of {N}")))
    }

    /// Nothing, where it is null.
    pub(super) fn maybe(self) -> Option<Self> {
        (!self.value.is_null()).then_some(self)
    }

    pub(super) fn text(&self) -> Result<&'a str, FieldError> {
        self.value.as_str().ok_or_else(|| self.wrong("a text"))
    }

    /// A text that has a meaning.
    pub(super) fn parsed<T: FromStr<Err: Display>>(&self) -> Result<T, FieldError> {
        let wrong = |error: T::Err| FieldError::new(self.pointer.clone(), error.to_string());
        self.text()?.parse().map_err(wrong)
    }

    pub(super) fn flag(&self) -> Result<bool, FieldError> {
        self.value.as_bool().ok_or_else(|| self.wrong("true or false"))
    }

    /// A whole number of the kind that is wanted.
    pub(super) fn number<T: TryFrom<i64>>(&self) -> Result<T, FieldError> {
        let number = self.value.as_i64().and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| self.wrong("a whole number in range"))
    }

    /// An instant. Calendars reckon back from it, so there is a first one.
    pub(super) fn instant(&self) -> Result<UnixMillis, FieldError> {
        let first = UnixMillis::from(jiff::Timestamp::MIN);
        let instant = self.number().map(UnixMillis)?;
        if instant >= first { Ok(instant) } else { Err(self.wrong("an instant in milliseconds")) }
    }

    pub(super) fn version(&self) -> Result<Version, FieldError> {
        self.number().map(Version)
    }

    /// A start and the later end.
    pub(super) fn period(&self) -> Result<Period, FieldError> {
        let [start, end] = self.tuple()?;
        let period = Period { start: start.instant()?, end: end.instant()? };
        let lasts = period.end.0.checked_sub(period.start.0).is_some_and(|length| length > 0);
        if lasts { Ok(period) } else { Err(self.wrong("a start and a later end")) }
    }
}

/// An object's fields.
pub(super) struct Object<'a> {
    pointer: String,
    map: &'a Map<String, Value>,
}

impl<'a> Object<'a> {
    /// A field that may be missing or null.
    pub(super) fn maybe(&self, name: &str) -> Option<Field<'a>> {
        let value = self.map.get(name)?;
        Field { pointer: format!("{}/{name}", self.pointer), value }.maybe()
    }

    /// A field that must be there.
    pub(super) fn field(&self, name: &str) -> Result<Field<'a>, FieldError> {
        let missing = || FieldError::new(self.pointer.clone(), format!("`{name}` is missing"));
        self.maybe(name).ok_or_else(missing)
    }
}
