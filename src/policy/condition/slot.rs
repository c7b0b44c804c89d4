//! What a condition asks of a request: each thing once, found when it is asked for.

use std::{borrow::Cow, collections::HashMap, str::FromStr};

use cel::common::{
    types::{CelBool, CelInt, CelMap, CelMapKey, CelString, CelTimestamp},
    value::{CowVal, Val},
};

use crate::domain::{
    attributes::AttributeValue,
    condition::{ConditionError, RequestFacts, decoded, hidden, pairs},
    time::UnixMillis,
};

/// The longest value that is looked at, in bytes. A longer one fails the condition.
pub(super) const MOST_VALUE: usize = 8 * 1024;
/// The most entries of a map that is looked through.
pub(super) const MOST_ENTRIES: usize = 64;

/// One thing that a condition asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Slot {
    Method,
    Path,
    Time,
    Client,
    /// The segment of the path at this place; `rest`: and all after it.
    Param {
        name: String,
        place: usize,
        rest: bool,
    },
    Query(String),
    HasQuery(String),
    Header(String),
    HasHeader(String),
    /// All of a kind, where no names are written.
    Params(Vec<(String, usize, bool)>),
    Queries,
    Headers,
    TenantId,
    TenantPlan,
    Attribute(String),
    HasAttribute(String),
}

type Found<'f> = Result<CowVal<'f, 'f>, ConditionError>;

fn text<'f>(text: Cow<'f, str>) -> CowVal<'f, 'f> {
    match text {
        Cow::Borrowed(text) => CowVal::owned(CelString::from(text)),
        Cow::Owned(text) => CowVal::owned(CelString::from(text)),
    }
}

fn flag<'f>(flag: bool) -> Found<'f> {
    Ok(CowVal::owned(CelBool::from(flag)))
}

impl Slot {
    /// How it is written in a condition.
    pub(super) fn written(&self) -> Box<str> {
        match self {
            Self::Method => "request.method".into(),
            Self::Path => "request.path".into(),
            Self::Time => "request.time".into(),
            Self::Client => "client.address".into(),
            Self::Param { name, .. } => format!("request.params.{name}").into(),
            Self::Query(key) | Self::HasQuery(key) => format!("request.query['{key}']").into(),
            Self::Header(name) | Self::HasHeader(name) => format!("request.headers['{name}']").into(),
            Self::Params(_) => "request.params".into(),
            Self::Queries => "request.query".into(),
            Self::Headers => "request.headers".into(),
            Self::TenantId => "tenant.id".into(),
            Self::TenantPlan => "tenant.plan".into(),
            Self::Attribute(name) | Self::HasAttribute(name) => format!("tenant.{name}").into(),
        }
    }

    /// Finds it.
    pub(super) fn find<'f>(&self, facts: &'f RequestFacts<'_>) -> Found<'f> {
        let missing = || ConditionError::Missing(self.written());
        match self {
            Self::Method => Ok(text(self.bounded(facts.method)?.into())),
            Self::Path => Ok(text(self.bounded(facts.path)?.into())),
            Self::Time => {
                let instant = parsed(facts.now, CelTimestamp::into_inner).ok_or_else(missing)?;
                Ok(CowVal::owned(CelTimestamp::from(instant)))
            }
            Self::Client => {
                let address = facts.client.ok_or_else(missing)?.to_canonical();
                Ok(text(address.to_string().into()))
            }
            Self::Param { place, rest, .. } => {
                Ok(text(self.text(param(facts.path, *place, *rest).ok_or_else(missing)?, false)?))
            }
            Self::Query(key) => Ok(text(self.text(query(facts, key).ok_or_else(missing)?, true)?)),
            Self::HasQuery(key) => flag(query(facts, key).is_some()),
            Self::Header(name) => {
                let value = facts.headers.value(name).ok_or_else(missing)?;
                Ok(text(self.header(value)?))
            }
            Self::HasHeader(name) => flag(facts.headers.value(name).is_some()),
            Self::Params(all) => {
                let all = all.iter().filter_map(|(name, place, rest)| {
                    Some((name.clone(), param(facts.path, *place, *rest)?))
                });
                self.map(all.map(|(name, value)| Ok((Cow::Owned(name), self.text(value, false)?))))
            }
            Self::Queries => self.queries(facts),
            Self::Headers => self.headers(facts),
            Self::TenantId => Ok(text(facts.tenant.ok_or_else(missing)?.id.into())),
            Self::TenantPlan => Ok(text(facts.tenant.ok_or_else(missing)?.plan.into())),
            Self::Attribute(name) => match attribute(facts, name).ok_or_else(missing)? {
                AttributeValue::Text(value) => Ok(text((&**value).into())),
                AttributeValue::Number(number) => Ok(CowVal::owned(CelInt::from(*number))),
                AttributeValue::Flag(value) => flag(*value),
            },
            Self::HasAttribute(name) => flag(attribute(facts, name).is_some()),
        }
    }

    fn bounded<'f>(&self, value: &'f str) -> Result<&'f str, ConditionError> {
        if value.len() > MOST_VALUE { Err(ConditionError::TooLong(self.written())) } else { Ok(value) }
    }

    /// A part of the request's target.
    fn text<'f>(&self, value: &'f str, form: bool) -> Result<Cow<'f, str>, ConditionError> {
        decoded(self.bounded(value)?, form).ok_or_else(|| ConditionError::NotText(self.written()))
    }

    fn header<'f>(&self, value: Cow<'f, [u8]>) -> Result<Cow<'f, str>, ConditionError> {
        if value.len() > MOST_VALUE {
            return Err(ConditionError::TooLong(self.written()));
        }
        let not_text = || ConditionError::NotText(self.written());
        match value {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| not_text()),
            Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|_| not_text()),
        }
    }

    fn queries<'f>(&self, facts: &RequestFacts<'f>) -> Found<'f> {
        let all = pairs(facts.query).map(|(key, value)| Ok((self.text(key, true)?, self.text(value, true)?)));
        self.map(all)
    }

    fn headers<'f>(&self, facts: &'f RequestFacts<'_>) -> Found<'f> {
        let mut names = Vec::new();
        facts.headers.names(&mut |name| {
            if names.len() <= MOST_ENTRIES && hidden(name).is_none() {
                names.push(name);
            }
        });
        let all = names.into_iter().filter_map(|name| Some((name, facts.headers.value(name)?)));
        self.map(all.map(|(name, value)| Ok((Cow::Borrowed(name), self.header(value)?))))
    }

    /// The first entry of each key counts.
    fn map<'f>(
        &self,
        all: impl Iterator<Item = Result<(Cow<'f, str>, Cow<'f, str>), ConditionError>>,
    ) -> Found<'f> {
        let mut map: HashMap<CelMapKey<'f>, Box<dyn Val + 'f>> = HashMap::new();
        for (place, entry) in all.enumerate() {
            if place == MOST_ENTRIES {
                return Err(ConditionError::TooMany(self.written()));
            }
            let (key, value) = entry?;
            let value: Box<dyn Val + 'f> = match value {
                Cow::Borrowed(value) => Box::new(CelString::from(value)),
                Cow::Owned(value) => Box::new(CelString::from(value)),
            };
            let key = match key {
                Cow::Borrowed(key) => CelMapKey::from(key),
                Cow::Owned(key) => CelMapKey::from(key),
            };
            map.entry(key).or_insert(value);
        }
        Ok(CowVal::owned(CelMap::from(map)))
    }
}

/// A part of the path, by its place.
fn param(path: &str, place: usize, rest: bool) -> Option<&str> {
    let mut path = path.strip_prefix('/').unwrap_or(path);
    for _ in 0..place {
        path = match path.split_once('/') {
            Some((_, after)) => after,
            // `/a/{*rest}` covers `/a`, too.
            None if rest => "",
            None => return None,
        };
    }
    if rest { Some(path) } else { path.split('/').next().filter(|segment| !segment.is_empty()) }
}

/// The first value of a key.
fn query<'f>(facts: &RequestFacts<'f>, key: &str) -> Option<&'f str> {
    pairs(facts.query)
        .find(|(name, _)| *name == key || decoded(name, true).is_some_and(|name| name == key))
        .map(|(_, value)| value)
}

fn attribute<'f>(facts: &RequestFacts<'f>, name: &str) -> Option<&'f AttributeValue> {
    facts.tenant?.attributes?.get(name)
}

/// An instant in the form that CEL's has inside, which only CEL's own functions name.
fn parsed<T: FromStr>(instant: UnixMillis, _inside: impl FnOnce(CelTimestamp) -> T) -> Option<T> {
    instant.to_string().parse().ok()
}
