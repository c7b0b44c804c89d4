//! Stripe's events as they are sent: read as far as they are gone by, and believed in nothing.
//!
//! Shapes are those of [`API_VERSION`]; where earlier versions had a field elsewhere (a subscription's period, an
//! invoice's subscription, an item's price), it is found there, too.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::domain::{
    stripe::{Item, Snapshot, StripeEvent, StripeFact, StripeKind, StripeStatus},
    time::UnixMillis,
};

/// The version of Stripe's API whose shapes are read here, and that is asked for.
pub const API_VERSION: &str = "2026-10-28.endive";
/// The key of metadata that names a tenant.
pub const TENANT_KEY: &str = "plangate_tenant";
/// The most items of a subscription, and features of a customer, that are looked at.
const MOST_ITEMS: usize = 1_000;
/// The last second of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;

/// An event as it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its id.
    pub id: String,
    /// Stripe's name of what happened.
    pub kind: String,
    /// When Stripe made it.
    pub created: UnixMillis,
    /// Whom it is about.
    pub customer: Option<String>,
    /// Which subscription it is about.
    pub subscription: Option<String>,
    /// What it means.
    pub meaning: Meaning,
}

/// What an event means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// Something that is gone by.
    Event(Box<StripeEvent>),
    /// Nothing that is gone by, and why.
    Other(String),
    /// It should mean something, and cannot be read: why.
    Unreadable(String),
}

/// Reads an event.
///
/// # Errors
/// Why it is none at all.
pub fn read(body: &[u8]) -> Result<Told, String> {
    let value: Value =
        serde_json::from_slice(body).map_err(|error| format!("the body is not JSON: {error}"))?;
    if !value.is_object() {
        return Err("the body is not an event: expected an object".to_owned());
    }
    let id = value.get("id").and_then(Value::as_str).filter(|id| is_id(id));
    let id = id.ok_or("the event has no `id` of 1 to 255 letters, digits and `_`")?.to_owned();
    let kind = value.get("type").and_then(Value::as_str).filter(|kind| is_kind(kind));
    let kind = kind.ok_or("the event has no `type` such as `invoice.paid`")?.to_owned();
    let created = instant(value.get("created").unwrap_or(&Value::Null));
    let created = created.ok_or("the event has no `created`: expected whole seconds since 1970")?;
    let object = value.pointer("/data/object").unwrap_or(&Value::Null);
    let customer = reference(object.get("customer"));
    let mut told = Told {
        subscription: None,
        meaning: Meaning::Other(format!("Plangate does not go by `{kind}`")),
        id,
        kind,
        created,
        customer,
    };
    if let Some(kind) = StripeKind::parse(&told.kind) {
        told.subscription = subscription_of(kind, object);
        told.meaning = meaning(&told, kind, object);
    }
    Ok(told)
}

/// The subscription that an event is about.
fn subscription_of(kind: StripeKind, object: &Value) -> Option<String> {
    match kind {
        StripeKind::CheckedOut => reference(object.get("subscription")),
        StripeKind::Paid | StripeKind::PaymentFailed => {
            let today = object.pointer("/parent/subscription_details/subscription");
            reference(today).or_else(|| reference(object.get("subscription")))
        }
        StripeKind::Entitled => None,
        _ => object.get("id").and_then(Value::as_str).filter(|id| is_id(id)).map(str::to_owned),
    }
}

fn meaning(told: &Told, kind: StripeKind, object: &Value) -> Meaning {
    let Some(customer) = told.customer.clone() else {
        return match kind {
            StripeKind::CheckedOut => Meaning::Other("the checkout was without a customer".to_owned()),
            _ => Meaning::Unreadable("`data.object.customer` is not a customer's id".to_owned()),
        };
    };
    let fact = match kind {
        StripeKind::CheckedOut => Ok(StripeFact::Checkout),
        StripeKind::Paid | StripeKind::PaymentFailed => match told.subscription.clone() {
            Some(subscription) => Ok(StripeFact::Payment { subscription, paid: kind == StripeKind::Paid }),
            None => return Meaning::Other("the invoice is of no subscription".to_owned()),
        },
        StripeKind::Entitled => entitlements(object).map(StripeFact::Entitlements),
        _ => snapshot(kind, object).map(StripeFact::Subscription),
    };
    let (id, created) = (told.id.clone(), told.created);
    match fact {
        Ok(fact) => {
            let names = names(kind, object);
            Meaning::Event(Box::new(StripeEvent { id, kind, created, customer, names, fact }))
        }
        Err(why) => Meaning::Unreadable(why),
    }
}

/// The tenant that an event names. What a buyer may have written herself, into the address of a payment link, is not
/// believed: she could name another's tenant.
fn names(kind: StripeKind, object: &Value) -> Option<String> {
    let text = |value: Option<&Value>| {
        value
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .map(|text| text.chars().take(200).collect())
    };
    let in_metadata = || text(object.get("metadata").and_then(|metadata| metadata.get(TENANT_KEY)));
    match kind {
        StripeKind::CheckedOut => in_metadata().or_else(|| {
            let linked = object.get("payment_link").is_some_and(|link| !link.is_null());
            text(object.get("client_reference_id")).filter(|_| !linked)
        }),
        StripeKind::Paid | StripeKind::PaymentFailed | StripeKind::Entitled => None,
        _ => in_metadata(),
    }
}

fn snapshot(kind: StripeKind, object: &Value) -> Result<Snapshot, String> {
    let missing = |field: &str, expected: &str| format!("`data.object.{field}`: expected {expected}");
    let subscription = object.get("id").and_then(Value::as_str).filter(|id| is_id(id));
    let subscription = subscription.ok_or_else(|| missing("id", "a subscription's id"))?.to_owned();
    let word = object.get("status").and_then(Value::as_str);
    let word = word.ok_or_else(|| missing("status", "a subscription's state"))?;
    let status = StripeStatus::parse(word).ok_or_else(|| {
        let shown: String = word.chars().take(40).collect();
        format!("`{shown}` is a state of subscriptions that this version does not know")
    })?;
    let whole = |field: &str| {
        instant(object.get(field).unwrap_or(&Value::Null))
            .ok_or_else(|| missing(field, "whole seconds since 1970"))
    };
    let maybe = |field: &str| match object.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => instant(value).map(Some).ok_or_else(|| missing(field, "whole seconds since 1970")),
    };
    let created = whole("created")?;
    let list = object.get("items").ok_or_else(|| missing("items", "a list"))?;
    let data = entries(list, "items")?;
    let at_period_end = object.get("cancel_at_period_end").and_then(Value::as_bool) == Some(true);
    let cancel_at = match maybe("cancel_at")? {
        None if at_period_end => period_end(object, data),
        set => set,
    };
    Ok(Snapshot {
        subscription,
        // Whatever it says besides: it is over.
        status: if kind == StripeKind::Deleted && !status.is_over() {
            StripeStatus::Canceled
        } else {
            status
        },
        created,
        begun: maybe("start_date")?.unwrap_or(created),
        anchor: maybe("billing_cycle_anchor")?.unwrap_or(created),
        trial_end: maybe("trial_end")?,
        cancel_at,
        ended_at: maybe("ended_at")?,
        items: data.iter().map(item).collect::<Result<_, String>>()?,
    })
}

/// The end of the running period: of the subscription, as earlier versions had it, or of its items.
fn period_end(object: &Value, items: &[Value]) -> Option<UnixMillis> {
    let own = object.get("current_period_end").and_then(instant);
    own.or_else(|| items.iter().filter_map(|item| instant(item.get("current_period_end")?)).max())
}

fn item(item: &Value) -> Result<Item, String> {
    let price = item.get("price").filter(|price| !price.is_null()).or_else(|| item.get("plan"));
    let id = reference(price).ok_or("an item of the subscription has no price")?;
    let lookup_key = price.and_then(|price| price.get("lookup_key")).and_then(Value::as_str);
    let quantity = match item.get("quantity") {
        None | Some(Value::Null) => 1,
        Some(quantity) => quantity
            .as_u64()
            .and_then(|quantity| u32::try_from(quantity).ok())
            .ok_or_else(|| format!("the quantity of price `{id}` is no number of 0 to 2^32 - 1"))?,
    };
    Ok(Item { price: id, lookup_key: lookup_key.map(str::to_owned), quantity })
}

fn entitlements(object: &Value) -> Result<BTreeSet<String>, String> {
    let list = object.get("entitlements").ok_or("`data.object.entitlements`: expected a list")?;
    let key = |one: &Value| {
        let key = one.get("lookup_key").and_then(Value::as_str).map(str::to_owned);
        key.ok_or_else(|| "an entitlement has no `lookup_key`".to_owned())
    };
    entries(list, "entitlements")?.iter().map(key).collect()
}

/// The entries of one of Stripe's lists, which is to be whole.
fn entries<'v>(list: &'v Value, what: &str) -> Result<&'v [Value], String> {
    let data = list.get("data").and_then(Value::as_array);
    let data = data.ok_or_else(|| format!("`data.object.{what}.data`: expected a list"))?;
    if list.get("has_more").and_then(Value::as_bool) == Some(true) || data.len() > MOST_ITEMS {
        return Err(format!("the event tells only {} of its `{what}`: the others are not known", data.len()));
    }
    Ok(data)
}

/// An object's id, whether it is told alone or with the object.
fn reference(value: Option<&Value>) -> Option<String> {
    let value = value?;
    let id = value.as_str().or_else(|| value.get("id").and_then(Value::as_str))?;
    is_id(id).then(|| id.to_owned())
}

/// Whether it can be one of Stripe's ids.
#[must_use]
pub fn is_id(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

fn is_kind(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'))
}

/// Whole seconds from 1970 to 9999.
fn instant(value: &Value) -> Option<UnixMillis> {
    let seconds = value.as_i64().filter(|seconds| (0..=LAST_SECOND).contains(seconds))?;
    Some(UnixMillis(seconds * 1000))
}

#[cfg(test)]
pub(crate) mod package;
#[cfg(test)]
mod tests;
