//! Stripe's events in the database: kept once, and looked at by one transaction at a time for each customer.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;

use super::{
    classify::unreadable,
    engine::Lane,
    execute::Step,
    locked::text,
    rows,
    session::{Arg, Record, Session, Sql, bulk, signed},
    settled::{self, Candidate, Kept, Mark, Owner},
    sql::SqlStore,
};
use crate::{
    domain::{
        catalog::Catalog,
        command::{Change, Command},
        id::TenantId,
        time::UnixMillis,
    },
    ports::{
        BillingLink, DroppedEvents, ExecuteError, FoldOutcome, LinkError, Linked, NewStripeEvent, Origin,
        StoreError, StripeEventRow, StripeEventState, StripeStore, Unclaimed,
    },
};

const KEEP: Sql = Sql::same(
    "INSERT INTO stripe_events (id, kind, created_ms, customer, subscription, body, state, why, received_ms, due) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO NOTHING",
);
// One customer's events are looked at by one transaction at a time: what it reads after this is all that there is. And
// none are dropped meanwhile, see `unclaimed`.
pub(super) const LOCK_CUSTOMER: Sql = Sql {
    postgres: "SELECT CAST(pg_advisory_xact_lock(hashtextextended('stripe ' || $1, 0)) AS TEXT), \
               CAST(pg_advisory_xact_lock_shared(hashtextextended('stripe', 0)) AS TEXT)",
    sqlite: "SELECT $1",
};
/// Of more events about one customer the latest are gone by.
pub(super) const MOST_EVENTS: i64 = 5_000;
const OF_CUSTOMER: Sql = Sql::same(
    "SELECT id, state, why, tenant, due, decides, body FROM stripe_events \
     WHERE customer = $1 AND (due = 1 OR state <> 'failed') ORDER BY decides DESC, created_ms DESC LIMIT $2",
);
const MARK: Sql = bulk!(
    "UPDATE stripe_events SET state = v->>1, why = v->>2, tenant = v->>3, decides = CAST(v->>4 AS BIGINT), due = 0 \
     FROM",
    "WHERE id = v->>0"
);
pub(super) const LINK_OF: Sql =
    Sql::same("SELECT tenant, by_call FROM billing_customers WHERE customer = $1");
const CANDIDATE: Sql = Sql::same(
    "SELECT t.id, b.customer FROM tenants t LEFT JOIN billing_customers b ON b.tenant = t.id WHERE t.id = $1",
);
const LINK_BY_EVENT: Sql = Sql::same(
    "INSERT INTO billing_customers (customer, tenant, since_ms, by_call) VALUES ($1, $2, $3, 0) \
     ON CONFLICT (customer) DO UPDATE SET tenant = excluded.tenant, since_ms = excluded.since_ms",
);
const EVENT: Sql = Sql::same(
    "SELECT place, id, kind, created_ms, customer, subscription, body, state, why, tenant, received_ms \
     FROM stripe_events WHERE id = $1",
);
// Back from the newest: whoever walks so sees each event once that was there when the walk began. What is committed later
// may have a place that was passed; it is among the newest of the next walk, not missed by this one.
const EVENTS: Sql = Sql::same(
    "SELECT place, id, kind, created_ms, customer, subscription, body, state, why, tenant, received_ms \
     FROM stripe_events WHERE place < $1 ORDER BY place DESC LIMIT $2",
);
const EVENTS_IN: Sql = Sql::same(
    "SELECT place, id, kind, created_ms, customer, subscription, body, state, why, tenant, received_ms \
     FROM stripe_events WHERE place < $1 AND state = $3 ORDER BY place DESC LIMIT $2",
);
const TO_FOLD: Sql = Sql::same(
    "SELECT customer FROM (\
       SELECT customer FROM stripe_events WHERE due = 1 AND received_ms < $1 \
       UNION SELECT e.customer FROM stripe_events e JOIN tenants t ON t.id = e.tenant \
         LEFT JOIN billing_customers b ON b.customer = e.customer \
         WHERE e.state = 'waiting' AND e.due = 0 AND b.customer IS NULL) AS c LIMIT $2",
);
const CUSTOMERS_WITH: Sql = Sql::same(
    "SELECT DISTINCT customer FROM stripe_events WHERE state = $1 AND customer > $2 ORDER BY customer LIMIT $3",
);
const CUSTOMER_OF: Sql =
    Sql::same("SELECT customer, since_ms, by_call FROM billing_customers WHERE tenant = $1");

const DELETE_OLD: Sql = Sql::same(
    "DELETE FROM stripe_events WHERE place IN (SELECT place FROM stripe_events \
     WHERE received_ms < $1 AND decides = 0 AND due = 0 ORDER BY received_ms LIMIT $2)",
);

impl SqlStore {
    /// Forgets what decides nothing and waits for nothing.
    pub(super) async fn forget_stripe_events(
        &self,
        before: UnixMillis,
        most: i64,
    ) -> Result<u64, StoreError> {
        let mut session = self.engine.begin(Lane::Data).await?;
        let deleted = session.run(DELETE_OLD, &[Arg::Int(before.0), Arg::Int(most)]).await?;
        session.commit().await?;
        Ok(deleted)
    }

    async fn keep_event(&self, event: &NewStripeEvent) -> Result<bool, StoreError> {
        let settled = event.settled.as_ref();
        let why = settled.map(|(_, why)| settled::short(why));
        let args = [
            Arg::Text(&event.id),
            Arg::Text(&event.kind),
            Arg::Int(event.created.0),
            Arg::Text(&event.customer),
            Arg::MaybeText(event.subscription.as_deref()),
            Arg::Text(&event.body),
            Arg::Text(settled.map_or(StripeEventState::Waiting, |(state, _)| *state).as_str()),
            Arg::MaybeText(why.as_deref()),
            Arg::Int(event.received.0),
            Arg::Int(i64::from(settled.is_none())),
        ];
        let mut session = self.engine.begin(Lane::Data).await?;
        let new = session.run(KEEP, &args).await? > 0;
        session.commit().await?;
        Ok(new)
    }

    async fn fold_once(
        &self,
        customer: &str,
        catalog: &Arc<Catalog>,
        origin: &Origin,
    ) -> Result<FoldOutcome, StoreError> {
        let mut session = self.engine.begin(Lane::Data).await?;
        session.rows(LOCK_CUSTOMER, &[Arg::Text(customer)]).await?;
        let of_customer = [Arg::Text(customer), Arg::Int(MOST_EVENTS)];
        let kept: Vec<Kept> =
            session.rows(OF_CUSTOMER, &of_customer).await?.iter().map(kept).collect::<Result<_, _>>()?;
        let tenant = match whose(&mut session, customer, &kept, origin.at).await? {
            Ok(tenant) => tenant,
            Err(marks) => {
                mark(&mut session, marks).await?;
                session.commit().await?;
                return Ok(FoldOutcome::default());
            }
        };
        let (folded, marks) = settled::settle(&kept, &tenant, catalog.of_tenant(&tenant));
        let command = Command { tenant: tenant.clone(), change: Change::Mirror(Box::new(folded.mirror)) };
        let (version, changed) = match self.change(&mut session, &command, origin).await {
            Ok(Step::Made(done)) => (done.version, true),
            Ok(Step::There(done, _)) => (done.version, false),
            Ok(Step::FailedOver) => {
                drop(session);
                return Err(self.failed_over().await?);
            }
            Err(error) => return Err(unexpected(error)),
        };
        mark(&mut session, marks).await?;
        session.commit().await?;
        if changed {
            self.after(version, origin.at).await;
        }
        Ok(FoldOutcome { tenant: Some(tenant), version: Some(version), changed })
    }
}

/// A mirrored change is refused by no state; the tenant may have gone meanwhile.
fn unexpected(error: ExecuteError) -> StoreError {
    match error {
        ExecuteError::Store(error) => error,
        other => StoreError::Unavailable(other.to_string()),
    }
}

/// Whose the customer is, written down where the events say so; or what is to be written down of events of nobody.
async fn whose(
    session: &mut Session,
    customer: &str,
    kept: &[Kept],
    at: UnixMillis,
) -> Result<Result<TenantId, Vec<Mark>>, StoreError> {
    let link = match session.first(LINK_OF, &[Arg::Text(customer)]).await? {
        Some(row) => Some((rows::tenant_id(&row, 0)?, row.flag(1)?)),
        None => None,
    };
    let (named, linked) = match settled::owner(customer, link, &settled::events(kept)) {
        Owner::Linked(tenant) => return Ok(Ok(tenant)),
        Owner::Nobody(why) => return Ok(Err(settled::wait(kept, &why, None))),
        Owner::Named(named, linked) => (named, linked),
    };
    let found = match session.first(CANDIDATE, &[Arg::Text(named.as_str())]).await? {
        Some(row) => {
            Candidate { exists: true, customer: row.maybe_text(1)?.filter(|other| other != customer) }
        }
        None => Candidate { exists: false, customer: None },
    };
    match (settled::unfit(&named, &found), linked) {
        (None, _) => {
            let args = [Arg::Text(customer), Arg::Text(named.as_str()), Arg::Int(at.0)];
            session.run(LINK_BY_EVENT, &args).await?;
            Ok(Ok(named))
        }
        (Some(_), Some(linked)) => Ok(Ok(linked)),
        (Some((why, until_made)), None) => Ok(Err(settled::wait(kept, &why, until_made.then_some(&named)))),
    }
}

async fn mark(session: &mut Session, marks: Vec<Mark>) -> Result<(), StoreError> {
    if marks.is_empty() {
        return Ok(());
    }
    let rows = marks.into_iter().map(|Mark { id, state, why, tenant, decides }| {
        json!([id, state.as_str(), why, tenant.as_ref().map(TenantId::as_str), i64::from(decides)])
    });
    session.run(MARK, &[Arg::Text(&text(rows.collect()))]).await.map(drop)
}

fn maybe_tenant(record: &Record, place: usize) -> Result<Option<TenantId>, StoreError> {
    record.maybe_text(place)?.map(|_| rows::tenant_id(record, place)).transpose()
}

fn state(record: &Record, place: usize) -> Result<StripeEventState, StoreError> {
    let word = record.text(place)?;
    StripeEventState::parse(&word).ok_or_else(|| unreadable("an event's state", format!("`{word}`")))
}

fn kept(record: &Record) -> Result<Kept, StoreError> {
    Ok(Kept {
        id: record.text(0)?,
        state: state(record, 1)?,
        why: record.maybe_text(2)?,
        tenant: maybe_tenant(record, 3)?,
        due: record.flag(4)?,
        decides: record.flag(5)?,
        event: settled::meaning(&record.text(6)?),
    })
}

fn row(record: &Record) -> Result<StripeEventRow, StoreError> {
    Ok(StripeEventRow {
        place: record.count(0)?,
        id: record.text(1)?,
        kind: record.text(2)?,
        created: rows::instant(record, 3)?,
        customer: record.text(4)?,
        subscription: record.maybe_text(5)?,
        body: record.text(6)?,
        state: state(record, 7)?,
        why: record.maybe_text(8)?,
        tenant: maybe_tenant(record, 9)?,
        received: rows::instant(record, 10)?,
    })
}

#[async_trait]
impl StripeStore for SqlStore {
    async fn keep_stripe_event(&self, event: &NewStripeEvent) -> Result<bool, StoreError> {
        self.call(self.keep_event(event)).await
    }

    async fn fold_customer(
        &self,
        customer: &str,
        catalog: &Arc<Catalog>,
        origin: &Origin,
    ) -> Result<FoldOutcome, StoreError> {
        self.call(self.fold_once(customer, catalog, origin)).await
    }

    async fn stripe_event(&self, id: &str) -> Result<Option<StripeEventRow>, StoreError> {
        Ok(self.list(EVENT, &[Arg::Text(id)], row).await?.into_iter().next())
    }

    async fn stripe_events(
        &self,
        state: Option<StripeEventState>,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<StripeEventRow>, StoreError> {
        let (before, limit) = (Arg::Int(before.map_or(i64::MAX, signed)), Arg::Int(i64::from(limit)));
        match state {
            Some(state) => self.list(EVENTS_IN, &[before, limit, Arg::Text(state.as_str())], row).await,
            None => self.list(EVENTS, &[before, limit], row).await,
        }
    }

    async fn customers_to_fold(&self, before: UnixMillis, limit: u32) -> Result<Vec<String>, StoreError> {
        let args = [Arg::Int(before.0), Arg::Int(i64::from(limit))];
        self.list(TO_FOLD, &args, |record| record.text(0)).await
    }

    async fn customers_with(
        &self,
        state: StripeEventState,
        after: &str,
        limit: u32,
    ) -> Result<Vec<String>, StoreError> {
        let args = [Arg::Text(state.as_str()), Arg::Text(after), Arg::Int(i64::from(limit))];
        self.list(CUSTOMERS_WITH, &args, |record| record.text(0)).await
    }

    async fn customer_of(&self, tenant: &TenantId) -> Result<Option<BillingLink>, StoreError> {
        let link = |record: &Record| {
            let (customer, since) = (record.text(0)?, rows::instant(record, 1)?);
            Ok(BillingLink { customer, since, by_call: record.flag(2)? })
        };
        Ok(self.list(CUSTOMER_OF, &[Arg::Text(tenant.as_str())], link).await?.into_iter().next())
    }

    async fn link_customer(
        &self,
        tenant: &TenantId,
        customer: &str,
        origin: &Origin,
    ) -> Result<Linked, LinkError> {
        self.call(self.link(tenant, customer, origin)).await
    }

    async fn note_replay(&self, what: &str, origin: &Origin) -> Result<Linked, LinkError> {
        self.call(self.note(what, origin)).await
    }

    async fn unlink_customer(&self, tenant: &TenantId, origin: &Origin) -> Result<Linked, LinkError> {
        self.call(self.unlink(tenant, origin)).await
    }

    async fn drop_unclaimed(&self, bounds: &Unclaimed) -> Result<u64, StoreError> {
        self.call(self.drop_unclaimed_once(bounds)).await
    }

    async fn dropped_events(&self) -> Result<DroppedEvents, StoreError> {
        self.dropped_once().await
    }
}
