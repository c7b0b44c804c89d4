//! What a tenant was billed by, as the database keeps it.

use serde_json::{Value, json};

use super::{
    FieldError, belongings,
    fields::Field,
    overrides,
    subscription::{self, Columns},
};
use crate::domain::{
    id::TenantId,
    period::{AnchorDay, Zone},
    statement::BillingFacts,
    subscription::Subscription,
    tenant::Tenant,
    time::{UnixMillis, Version},
};

/// The facts, in the form that [`decode`] reads.
#[must_use]
pub fn encode(facts: &BillingFacts) -> Value {
    let tenant = &facts.tenant;
    let subscription = tenant.subscription.as_ref().map(|own| {
        let Subscription { plan, state, anchor, epoch, since, .. } = own;
        json!({
            "plan": subscription::plan_text(plan),
            "state": state.state().as_str(),
            "anchor": anchor.get(),
            "epoch": epoch.0,
            "since": since.0,
            "life": subscription::encode(own),
        })
    });
    json!({
        "zone": tenant.zone.name(),
        "addons": belongings::addons(&tenant.addons),
        "overrides": overrides::encode(&tenant.overrides),
        "subscription": subscription,
    })
}

/// Reads what [`encode`] wrote, of this tenant, as of the change of this version.
///
/// # Errors
/// The first field that is not as it was written.
pub fn decode(
    tenant: &TenantId,
    version: Version,
    since: UnixMillis,
    document: &Value,
) -> Result<BillingFacts, FieldError> {
    let fields = Field::root(document).object(&["zone", "addons", "overrides", "subscription"])?;
    let zone_field = fields.field("zone")?;
    let mut own = Tenant::new(tenant.clone(), UnixMillis(0));
    own.version = version;
    own.zone = Zone::named(zone_field.text()?).map_err(|error| zone_field.wrong(error))?;
    own.addons = belongings::read_addons(document.get("addons").unwrap_or(&Value::Null))?;
    let overrides = document.get("overrides").unwrap_or(&Value::Null);
    own.overrides = overrides::decode(overrides).map_err(|errors| {
        let first = errors.into_iter().next();
        first.unwrap_or_else(|| FieldError::new("/overrides", "cannot be read"))
    })?;
    if let Some(subscription) = fields.maybe("subscription") {
        own.subscription = Some(read_subscription(&subscription, &own.zone, document)?);
    }
    Ok(BillingFacts { since, tenant: own })
}

fn read_subscription(field: &Field<'_>, zone: &Zone, document: &Value) -> Result<Subscription, FieldError> {
    let fields = field.object(&["plan", "state", "anchor", "epoch", "since", "life"])?;
    let anchor = fields.field("anchor")?;
    let columns = Columns {
        plan: fields.field("plan")?.parsed()?,
        state: fields.field("state")?.text()?.to_owned(),
        anchor: AnchorDay::new(anchor.number()?).map_err(|error| anchor.wrong(error))?,
        epoch: fields.field("epoch")?.version()?,
        since: fields.field("since")?.instant()?,
    };
    let life = document.pointer("/subscription/life").unwrap_or(&Value::Null);
    subscription::decode(columns, zone, life)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::command::{Change, Subscribe, TrialOffer};

    #[test]
    fn there_and_back() {
        let mut tenant = Tenant::new("acme".parse().unwrap(), UnixMillis(5));
        let trial = TrialOffer {
            days: 3,
            then: Some("basic@2".parse().unwrap()),
            usage: crate::domain::subscription::UsageRule::Reset,
            asked: true,
            again: false,
        };
        let asked = Subscribe { trial: Some(trial), ..Subscribe::to("pro@3".parse().unwrap()) };
        let quota = json!({ "quotas": { "requests": { "limit": 5,
            "overage": { "mode": "bill", "price": "0.10", "per": 10 } } } });
        for (at, change) in [
            Change::PutTenant {
                name: None,
                zone: Some(Zone::named("Asia/Tokyo").unwrap()),
                attributes: None,
            },
            Change::Subscribe(asked),
            Change::Attach { addon: "seats".parse().unwrap(), quantity: 3 },
            Change::SetOverrides(overrides::decode(&quota).unwrap()),
            Change::PastDue { grace_days: 3 },
            Change::Cancel(crate::domain::command::When::Now),
        ]
        .into_iter()
        .enumerate()
        {
            let at = UnixMillis(1_760_000_000_000 + at as i64);
            // A trial is not behind with paying.
            if tenant.apply(&change, at, Version(7)).is_err() {
                continue;
            }
            let facts = BillingFacts::of(&tenant, at);
            let read = decode(&tenant.id, Version(7), at, &encode(&facts)).unwrap();
            assert_eq!(read, facts);
        }
        assert!(decode(&tenant.id, Version(7), UnixMillis(0), &json!({ "zone": "Mars" })).is_err());
    }
}
