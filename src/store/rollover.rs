//! What is left of a month that has ended, and rolled over to the next.

use serde_json::json;

use super::{
    classify::unreadable,
    locked::text,
    rows,
    session::{Arg, Session, Sql, bulk},
};
use crate::{
    domain::{
        command::{Change, Command},
        id::MeterId,
        rollover::Taken,
        tenant::Tenant,
        time::UnixMillis,
        units::Units,
    },
    ports::StoreError,
};

const BUCKETS: Sql = bulk!(
    "SELECT b.meter, b.epoch, b.limit_units, b.allocated FROM",
    "JOIN buckets b ON b.tenant = $2 AND b.meter = v->>0 AND b.span = 'month' AND b.start_ms = $3"
);

/// What is rolled over by the rules of a command. To be asked under the tenant's lock, under which nothing is granted.
pub(super) async fn read(
    session: &mut Session,
    command: &Command,
    tenant: &Tenant,
    at: UnixMillis,
) -> Result<Vec<(MeterId, Units)>, StoreError> {
    let Change::RollOver { rules } = &command.change else { return Ok(Vec::new()) };
    let Some((month, epoch)) = tenant.at(at).rollover_due(at).filter(|_| !rules.is_empty()) else {
        return Ok(Vec::new());
    };
    let meters = text(rules.iter().map(|rule| json!([rule.meter.as_str()])).collect());
    let args = [Arg::Text(&meters), Arg::Text(command.tenant.as_str()), Arg::Int(month.start.0)];
    let mut taken: Vec<(MeterId, Taken)> = Vec::new();
    for row in session.rows(BUCKETS, &args).await? {
        let meter = MeterId::parse(&row.text(0)?).map_err(|error| unreadable("a meter's id", error))?;
        let limit = row.maybe_int(2)?.map(|limit| u64::try_from(limit).unwrap_or(0));
        taken.push((meter, Taken { epoch: rows::version(&row, 1)?, limit, allocated: row.count(3)? }));
    }
    let rolled = rules.iter().map(|rule| {
        let own: Vec<Taken> =
            taken.iter().filter(|(meter, _)| *meter == rule.meter).map(|(_, taken)| *taken).collect();
        (rule.meter.clone(), rule.left(epoch, &own))
    });
    Ok(rolled.collect())
}
