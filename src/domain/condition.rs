//! Conditions as the domain knows them: something that holds for a request or does not, and amounts that depend on it. How
//! they are written is the policies' business.

use std::{borrow::Cow, fmt, net::IpAddr, sync::Arc};

use super::{
    attributes::Attributes, plan::MeterIx, rights::Entitlement, rights::Rights, route::OperationIx,
    time::UnixMillis, uncountable::Miscalculation, units::Units,
};

/// What a condition can know of a request: borrowed, and looked up only as it is asked for.
#[derive(Clone, Copy)]
pub struct RequestFacts<'r> {
    /// The method.
    pub method: &'r str,
    /// The canonical path.
    pub path: &'r str,
    /// The query as it came, without its question mark.
    pub query: &'r str,
    /// The headers.
    pub headers: &'r (dyn HeaderLookup + Sync),
    /// Where it comes from; `None`: nobody knows.
    pub client: Option<IpAddr>,
    /// When it came.
    pub now: UnixMillis,
    /// Who sent it; `None`: that is not known yet, and will not be asked for.
    pub tenant: Option<TenantFacts<'r>>,
}

/// What a condition can know of a tenant.
#[derive(Debug, Clone, Copy)]
pub struct TenantFacts<'r> {
    /// Its id.
    pub id: &'r str,
    /// Its plan.
    pub plan: &'r str,
    /// Its attributes; `None`: it has none.
    pub attributes: Option<&'r Attributes>,
}

impl<'r> RequestFacts<'r> {
    /// The same request, as one of this tenant.
    #[must_use]
    pub fn of(self, rights: &'r Rights, entitlement: &'r Entitlement) -> Self {
        let tenant = TenantFacts {
            id: rights.tenant.as_str(),
            plan: entitlement.plan.as_str(),
            attributes: rights.attributes.as_deref(),
        };
        Self { tenant: Some(tenant), ..self }
    }
}

impl fmt::Debug for RequestFacts<'_> {
    // What the headers and the query say is nobody's business who reads a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestFacts").field("method", &self.method).finish_non_exhaustive()
    }
}

/// The headers of a request.
pub trait HeaderLookup {
    /// The value of a header, by its name in lower case; several of one name are joined by `, `.
    fn value<'h>(&'h self, name: &str) -> Option<Cow<'h, [u8]>>;

    /// Shows the name of each header once, in lower case.
    fn names<'h>(&'h self, see: &mut dyn FnMut(&'h str));
}

/// Headers that were written down, their names in lower case: of a request that nobody sends.
impl HeaderLookup for Vec<(String, String)> {
    fn value<'h>(&'h self, name: &str) -> Option<Cow<'h, [u8]>> {
        joined(self.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_bytes()))
    }

    fn names<'h>(&'h self, see: &mut dyn FnMut(&'h str)) {
        for (place, (name, _)) in self.iter().enumerate() {
            if self.iter().take(place).all(|(earlier, _)| earlier != name) {
                see(name);
            }
        }
    }
}

/// Joins the values of one header, as RFC 9110 has it. `None`: there are none.
#[must_use]
pub fn joined<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Option<Cow<'v, [u8]>> {
    let mut values = values.into_iter();
    let mut all = Cow::Borrowed(values.next()?);
    for value in values {
        let all = all.to_mut();
        all.extend_from_slice(b", ");
        all.extend_from_slice(value);
    }
    Some(all)
}

/// Why no condition sees a header: `None` if it does. `name` is in lower case.
#[must_use]
pub fn hidden(name: &str) -> Option<&'static str> {
    const OF_THE_CONNECTION: [&str; 8] = [
        "connection",
        "http2-settings",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "proxy-connection",
    ];
    let folded = || name.bytes().filter(u8::is_ascii_alphanumeric);
    let begins = |with: &str| folded().take(with.len()).eq(with.bytes());
    if OF_THE_CONNECTION.contains(&name) {
        return Some("it is about the connection, not the request");
    }
    if matches!(name, "authorization" | "proxy-authorization" | "cookie" | "x-api-key") {
        return Some("it holds a credential: ask for `tenant.id`");
    }
    if begins("xplangate") || folded().eq("xrequestid".bytes()) {
        return Some("Plangate sets it: ask for `tenant.id` or `tenant.plan`");
    }
    if begins("xforwarded") || folded().eq("xrealip".bytes()) || folded().eq("forwarded".bytes()) {
        return Some("a client can make it up: ask for `client.address`");
    }
    None
}

/// Decodes percent-encoding; what is none stays as it is. `form`: a `+` is a space. `None`: that is no text.
#[must_use]
pub fn decoded(text: &str, form: bool) -> Option<Cow<'_, str>> {
    if !text.bytes().any(|byte| byte == b'%' || form && byte == b'+') {
        return Some(Cow::Borrowed(text));
    }
    let digit = |byte: Option<&u8>| {
        byte.and_then(|byte| char::from(*byte).to_digit(16)).and_then(|digit| u8::try_from(digit).ok())
    };
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (byte, digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                at += 2;
            }
            (b'+', ..) if form => out.push(b' '),
            (other, ..) => out.push(*other),
        }
        at += 1;
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

/// The keys and values of a query, as they are written, in order.
pub fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// What holds for a request or does not.
pub trait Predicate: fmt::Debug + Send + Sync {
    /// Whether it does.
    ///
    /// # Errors
    /// [`ConditionError`] where that cannot be said.
    fn holds(&self, facts: &RequestFacts<'_>) -> Result<bool, ConditionError>;
}

/// Units that depend on the request.
pub trait Amount: fmt::Debug + Send + Sync {
    /// How many.
    ///
    /// # Errors
    /// [`ConditionError`] where that cannot be said.
    fn units(&self, facts: &RequestFacts<'_>) -> Result<Units, ConditionError>;
}

/// A condition, and how it is written.
#[derive(Clone)]
pub struct When {
    text: Arc<str>,
    program: Arc<dyn Predicate>,
}

impl When {
    /// What is written so.
    #[must_use]
    pub fn new(text: &str, program: impl Predicate + 'static) -> Self {
        Self { text: text.into(), program: Arc::new(program) }
    }

    /// How it is written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it holds.
    ///
    /// # Errors
    /// [`ConditionError`] where that cannot be said.
    pub fn holds(&self, facts: &RequestFacts<'_>) -> Result<bool, ConditionError> {
        self.program.holds(facts)
    }
}

impl PartialEq for When {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for When {}

impl fmt::Debug for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "When({:?})", self.text)
    }
}

/// An amount that depends on the request, and how it is written.
#[derive(Clone)]
pub struct Computed {
    text: Arc<str>,
    program: Arc<dyn Amount>,
}

impl Computed {
    /// What is written so.
    #[must_use]
    pub fn new(text: &str, program: impl Amount + 'static) -> Self {
        Self { text: text.into(), program: Arc::new(program) }
    }

    /// How it is written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The units of a request.
    ///
    /// # Errors
    /// [`ConditionError`] where they cannot be told.
    pub fn units(&self, facts: &RequestFacts<'_>) -> Result<Units, ConditionError> {
        self.program.units(facts)
    }
}

impl PartialEq for Computed {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Computed {}

impl fmt::Debug for Computed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Computed({:?})", self.text)
    }
}

/// What a route has beside what is always so.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conditions {
    /// The route decides only where this holds; `None`: always.
    pub when: Option<When>,
    /// Charges beside [`Operation::charge`](super::route::Operation::charge), in meter order; of no meter that is there.
    pub charges: Box<[ChargeRule]>,
    /// The next route of the same methods and path: it is asked where this one's condition does not hold.
    pub otherwise: Option<OperationIx>,
}

/// A charge that depends on the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChargeRule {
    /// The meter.
    pub meter: MeterIx,
    /// How much.
    pub units: ChargeUnits,
    /// Charged only where this holds; `None`: always.
    pub when: Option<When>,
}

/// How much is charged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChargeUnits {
    /// So much.
    Fixed(Units),
    /// What the request says.
    Computed(Computed),
}

impl ChargeRule {
    /// What the request is charged; `None`: nothing of this meter.
    ///
    /// # Errors
    /// [`ConditionError`] where that cannot be told.
    pub fn units(&self, facts: &RequestFacts<'_>) -> Result<Option<Units>, ConditionError> {
        if let Some(when) = &self.when
            && !when.holds(facts)?
        {
            return Ok(None);
        }
        let units = match &self.units {
            ChargeUnits::Fixed(units) => *units,
            ChargeUnits::Computed(computed) => computed.units(facts)?,
        };
        Ok((units > Units::ZERO).then_some(units))
    }

    /// Units that are known beforehand; of an amount that depends on the request none is.
    #[must_use]
    pub const fn fixed(&self) -> Option<Units> {
        match &self.units {
            ChargeUnits::Fixed(units) => Some(*units),
            ChargeUnits::Computed(_) => None,
        }
    }
}

/// Why a condition or an amount could not be told. Nothing in it comes from the request: it is shown to whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// What it asks for is not there.
    #[error("`{0}` is missing")]
    Missing(Box<str>),
    /// What it asks for is too long to be looked at.
    #[error("`{0}` is too long")]
    TooLong(Box<str>),
    /// What it asks for is not UTF-8.
    #[error("`{0}` is not a text")]
    NotText(Box<str>),
    /// A map that it looks through has too many entries.
    #[error("`{0}` has too many entries")]
    TooMany(Box<str>),
    /// A calculation or conversion went wrong; which.
    #[error("{0}")]
    Failed(Miscalculation),
    /// The amount is no number of units.
    #[error("the amount is below 0 or above 2^53 - 1")]
    OutOfRange,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_decoded_and_what_is_none_stays() {
        for (text, form, out) in [
            ("abc", true, Some("abc")),
            ("a%20b", false, Some("a b")),
            ("a+b", false, Some("a+b")),
            ("a+b%2B", true, Some("a b+")),
            ("caf%C3%A9", false, Some("caf\u{e9}")),
            ("%", true, Some("%")),
            ("%4", true, Some("%4")),
            ("%zz%41", true, Some("%zzA")),
            ("%ff", true, None),
        ] {
            assert_eq!(decoded(text, form).as_deref(), out, "{text}");
        }
    }

    #[test]
    fn a_query_is_a_list_of_pairs() {
        assert_eq!(
            pairs("a=1&b&&c=x=y&=z").collect::<Vec<_>>(),
            [("a", "1"), ("b", ""), ("c", "x=y"), ("", "z")]
        );
        assert_eq!(pairs("").count(), 0);
    }

    #[test]
    fn credentials_and_what_can_be_made_up_are_hidden() {
        for name in [
            "authorization",
            "cookie",
            "x-api-key",
            "connection",
            "te",
            "x-plangate-tenant",
            "x_plangate_plan",
            "x-request-id",
            "x-forwarded-for",
            "x_forwarded_proto",
            "forwarded",
            "x-real-ip",
            "proxy-authorization",
        ] {
            assert!(hidden(name).is_some(), "{name}");
        }
        for name in ["x-n", "content-length", "host", "accept-language", "user-agent", "x-plan", "forward"] {
            assert_eq!(hidden(name), None, "{name}");
        }
    }

    #[test]
    fn headers_of_one_name_are_joined() {
        let headers =
            vec![("a".to_owned(), "1".to_owned()), ("b".into(), "x".into()), ("a".into(), "2".into())];
        assert_eq!(headers.value("a").as_deref(), Some(&b"1, 2"[..]));
        assert!(matches!(headers.value("b"), Some(Cow::Borrowed(b"x"))));
        assert_eq!(headers.value("c"), None);
        let mut names = Vec::new();
        headers.names(&mut |name| names.push(name));
        assert_eq!(names, ["a", "b"]);
    }
}
