//! What a tenant has beside its plan, as the database keeps it: add-ons, grants, and plans that were tried.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{FieldError, fields::Field};
use crate::domain::{
    addon::Attached,
    grant::{Grant, GrantSource},
    id::PlanId,
    units::Units,
};

/// Add-ons as JSON.
#[must_use]
pub fn addons(addons: &[Attached]) -> Value {
    let one = |addon: &Attached| {
        let Attached { addon, quantity, since, ends_at } = addon;
        json!([addon.as_str(), quantity, since.0, ends_at.map(|at| at.0)])
    };
    addons.iter().map(one).collect()
}

/// Reads what [`addons`] wrote.
///
/// # Errors
/// The first item that is not as it was written.
pub fn read_addons(document: &Value) -> Result<Vec<Attached>, FieldError> {
    let one = |field: &Field<'_>| {
        let [addon, quantity, since, ends_at] = field.tuple()?;
        Ok(Attached {
            addon: addon.parsed()?,
            quantity: quantity.number()?,
            since: since.instant()?,
            ends_at: ends_at.maybe().map(|at| at.instant()).transpose()?,
        })
    };
    Field::root(document).list()?.iter().map(one).collect()
}

/// Plans that were tried, as JSON.
#[must_use]
pub fn tried(plans: &BTreeSet<PlanId>) -> Value {
    plans.iter().map(PlanId::as_str).collect()
}

/// Reads what [`tried`] wrote.
///
/// # Errors
/// The first item that is not as it was written.
pub fn read_tried(document: &Value) -> Result<BTreeSet<PlanId>, FieldError> {
    Field::root(document).list()?.iter().map(Field::parsed).collect()
}

/// A grant as a row: id, number, meter, units, priority, since, expires, recurring (0 or 1), reason, source.
#[must_use]
pub fn grant(grant: &Grant) -> Value {
    let Grant { id, number, meter, units, priority, since, expires_at, recurring, reason, source } = grant;
    json!([
        id.as_str(),
        number.0,
        meter.as_str(),
        units.get(),
        priority,
        since.0,
        expires_at.map(|at| at.0),
        u8::from(*recurring),
        reason,
        source.as_str(),
    ])
}

/// Reads rows of [`grant`], in any order; the oldest is first in the answer.
///
/// # Errors
/// The first that is not as it was written.
pub fn read_grants(document: &Value) -> Result<Vec<Grant>, FieldError> {
    let mut grants =
        Field::root(document).list()?.iter().map(read_grant).collect::<Result<Vec<Grant>, FieldError>>()?;
    // Those of one number are told apart by a further number, which grows longer.
    grants.sort_by(|a, b| {
        let place = |grant: &Grant| (grant.number, grant.id.as_str().len());
        place(a).cmp(&place(b)).then_with(|| a.id.cmp(&b.id))
    });
    Ok(grants)
}

fn read_grant(field: &Field<'_>) -> Result<Grant, FieldError> {
    let [id, number, meter, units, priority, since, expires, recurring, reason, source] = field.tuple()?;
    let word = source.text()?;
    let sources = [GrantSource::Given, GrantSource::Rollover];
    Ok(Grant {
        id: id.parsed()?,
        number: number.version()?,
        meter: meter.parsed()?,
        units: Units::new(units.number()?).map_err(|_| units.wrong("a whole number below 2^53"))?,
        priority: priority.number()?,
        since: since.instant()?,
        expires_at: expires.maybe().map(|at| at.instant()).transpose()?,
        recurring: recurring.number::<i64>()? != 0,
        reason: reason.maybe().map(|text| text.text().map(str::to_owned)).transpose()?,
        source: sources
            .into_iter()
            .find(|source| source.as_str() == word)
            .ok_or_else(|| source.wrong("grant or rollover"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(read: impl Fn(&Value) -> Option<FieldError>, documents: &[Value]) {
        for document in documents {
            assert!(read(document).is_some(), "{document}");
        }
    }

    #[test]
    fn what_was_not_written_so_is_an_error_with_its_place() {
        errors(|value| read_tried(value).err(), &[json!({}), json!([1]), json!(["No"])]);
        errors(
            |value| read_addons(value).err(),
            &[
                json!(null),
                json!([["a", 1, 0]]),
                json!([["A", 1, 0, null]]),
                json!([["a", -1, 0, null]]),
                json!([["a", 4_294_967_296_u64, 0, null]]),
                json!([["a", 1, i64::MIN, null]]),
                json!([["a", 1, 0, "x"]]),
            ],
        );
        let whole = json!([["g1", 1, "requests", 5, 100, 0, null, 0, null, "grant"]]);
        assert_eq!(read_grants(&whole).unwrap().len(), 1);
        for (place, value) in [
            (0, json!("G")),
            (1, json!(-1)),
            (2, json!("a.b")),
            (3, json!(1_u64 << 53)),
            (4, json!(65_536)),
            (5, json!(1.5)),
            (6, json!(u64::MAX)),
            (7, json!(true)),
            (8, json!(1)),
            (9, json!("gift")),
        ] {
            let mut broken = whole.clone();
            broken[0][place] = value;
            let error = read_grants(&broken).unwrap_err();
            assert_eq!(error.pointer, format!("/0/{place}"), "{error}");
        }
        let mut longer = whole.clone();
        longer[0].as_array_mut().unwrap().push(json!(1));
        assert_eq!(read_grants(&longer).unwrap_err().pointer, "/0");
    }
}
