//! Usage events over a database: that an event is known, and all that it charges, in one transaction.
//!
//! Locks are taken in the order of grants, with the events' own rows between the tenants and the buckets: whoever waits for
//! a row of an event holds nothing but a share of its tenants.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use async_trait::async_trait;
use serde_json::json;

use super::{
    book::{Drawn, Setting, events_slot},
    classify::unreadable,
    engine::Lane,
    ledger::{setting, versions},
    locked::{Locked, text},
    nodes::LIVE_MILLIS,
    once, outbox,
    session::{Arg, Session, Sql, bulk, timed_bulk},
    sql::SqlStore,
    tidy::EVENTS_AT_ONCE,
};
use crate::{
    domain::time::{UnixMillis, Version},
    ports::{
        BucketKey, EVENTS, EarlierCall, EventDigest, EventKey, EventOutcome, Idempotency, SlotKey,
        SlotTotals, StoreError, UsageEvent, UsageEventStore,
    },
    wire::hex,
};

/// Events in one transaction, and buckets that they may touch.
const MOST_EVENTS: usize = 200;
const MOST_BUCKETS: usize = 2_000;

// Of two at once the second waits here for the end of the first, which may leave nothing.
const CLAIM: Sql = timed_bulk!(
    "INSERT INTO usage_events (source, id, digest, tenant, at_ms) \
     SELECT v->>0, v->>1, v->>2, v->>3, c.now_ms FROM",
    "CROSS JOIN (SELECT ",
    " AS now_ms) AS c WHERE true ON CONFLICT (source, id) DO NOTHING RETURNING source, id"
);
const KNOWN: Sql = bulk!(
    "SELECT CAST(v->>2 AS BIGINT), e.digest FROM",
    "JOIN usage_events e ON e.source = v->>0 AND e.id = v->>1"
);
const RELEASE: Sql = bulk!("DELETE FROM usage_events WHERE (source, id) IN (SELECT v->>0, v->>1 FROM", ")");
const FORGET: Sql = Sql::same(
    "DELETE FROM usage_events WHERE (source, id) IN (\
     SELECT source, id FROM usage_events WHERE at_ms < $1 ORDER BY at_ms LIMIT $2)",
);

fn digest(digits: &str) -> Result<EventDigest, StoreError> {
    let bytes = hex::decode(digits);
    bytes.map(EventDigest).ok_or_else(|| unreadable("an event's digest", format!("`{digits}`")))
}

fn known_rows(keys: &[&EventKey]) -> String {
    text(keys.iter().enumerate().map(|(place, key)| json!([key.source, key.id, place])).collect())
}

/// What was charged under each of these keys.
fn digests(keys: usize, rows: &[super::session::Record]) -> Result<Vec<Option<EventDigest>>, StoreError> {
    let mut known = vec![None; keys];
    for row in rows {
        if let Some(one) = usize::try_from(row.count(0)?).ok().and_then(|place| known.get_mut(place)) {
            *one = Some(digest(&row.text(1)?)?);
        }
    }
    Ok(known)
}

/// The parts of a batch that fit into one transaction each.
fn parts(events: &[UsageEvent]) -> Vec<&[UsageEvent]> {
    let (mut parts, mut start, mut buckets) = (Vec::new(), 0, 0);
    for (place, event) in events.iter().enumerate() {
        let more = event.buckets().count();
        if place > start && (place - start >= MOST_EVENTS || buckets + more > MOST_BUCKETS) {
            parts.push(&events[start..place]);
            (start, buckets) = (place, 0);
        }
        buckets += more;
    }
    parts.push(&events[start..]);
    parts
}

impl SqlStore {
    /// One transaction, begun anew where the database has failed over.
    async fn charge_part(&self, events: &[UsageEvent]) -> Result<Vec<EventOutcome>, StoreError> {
        if let Some(outcomes) = self.charge_some(events).await? {
            return Ok(outcomes);
        }
        self.advance_epoch().await?;
        let outcomes = self.charge_some(events).await?;
        outcomes.ok_or_else(|| StoreError::Unavailable("the database is failing over".into()))
    }

    /// One transaction; `None`: the database has failed over, and nothing was done.
    async fn charge_some(&self, events: &[UsageEvent]) -> Result<Option<Vec<EventOutcome>>, StoreError> {
        let mut session = self.engine.begin(Lane::Data).await?;
        let versions = versions(&mut session, events.iter().map(|event| &event.tenant)).await?;
        let (mut outcomes, new) = claim(&mut session, events).await?;
        if new.is_empty() {
            return Ok(Some(outcomes));
        }
        // Those of old facts need no buckets, which they might name wrongly.
        let (current, stale): (Vec<usize>, Vec<usize>) =
            new.into_iter().partition(|at| versions.get(&events[*at].tenant) == Some(&events[*at].version));
        let totals: Vec<SlotTotals> = slots(current.iter().map(|at| &events[*at]));
        let totals: Vec<&SlotTotals> = totals.iter().collect();
        let mut locked = Locked::load(&mut session, &totals).await?;
        let Some(setting) = setting(&mut session).await? else { return Ok(None) };
        // After the setting: what a node had recorded before it applied a version is seen.
        locked.seed(&mut session, &totals).await?;
        let mut released = stale;
        let mut short = Vec::new();
        for at in current {
            let event = &events[at];
            let tenant = versions.get(&event.tenant).copied();
            outcomes[at] = match locked.book.draw(event, Setting { tenant, ..setting }) {
                Drawn::Charged => EventOutcome::Charged,
                Drawn::Stale => EventOutcome::Stale,
                Drawn::Withheld => EventOutcome::Withheld,
                Drawn::Short(why) => {
                    short.push((at, why));
                    continue;
                }
            };
            if outcomes[at] != EventOutcome::Charged {
                released.push(at);
            }
        }
        locked.write_slots(&mut session).await?;
        released.extend(short.iter().map(|(at, _)| *at));
        let asking: BTreeSet<&BucketKey> = short.iter().flat_map(|(_, why)| &why.buckets).collect();
        let held = ask_back(&mut session, &mut locked, &asking, setting.now).await?;
        for (at, why) in short {
            let held = why.buckets.iter().filter_map(|key| held.get(key)).sum();
            outcomes[at] = EventOutcome::Exhausted(why.told(held));
        }
        locked.write_buckets(&mut session).await?;
        outbox::tell(&mut session, &locked.book.take_facts()).await?;
        if !released.is_empty() {
            let rows = released.iter().map(|at| json!([events[*at].key.source, events[*at].key.id]));
            session.run(RELEASE, &[Arg::Text(&text(rows.collect()))]).await?;
        }
        self.finish(session, held.values().any(|held| *held > 0)).await?;
        Ok(Some(outcomes))
    }

    /// Forgets the oldest events that came before an instant.
    pub(super) async fn forget_usage_events(&self, before: UnixMillis) -> Result<u64, StoreError> {
        let mut session = self.engine.begin(Lane::Data).await?;
        let most = Arg::Int(super::session::signed(EVENTS_AT_ONCE));
        let events = session.run(FORGET, &[Arg::Int(before.0), most]).await?;
        session.commit().await?;
        Ok(events)
    }
}

/// Makes the events known. What became of those that were known before, and the places of the others, whose outcome is open.
async fn claim(
    session: &mut Session,
    events: &[UsageEvent],
) -> Result<(Vec<EventOutcome>, Vec<usize>), StoreError> {
    // In one order for all, so that nobody waits in a circle.
    let sorted: BTreeMap<&EventKey, &UsageEvent> = events.iter().map(|event| (&event.key, event)).collect();
    let rows = sorted.values().map(|event| {
        let UsageEvent { key, digest, tenant, .. } = event;
        json!([key.source, key.id, hex::encode(&digest.0), tenant.as_str()])
    });
    let mut new: HashSet<(String, String)> = HashSet::new();
    for row in session.rows(CLAIM, &[Arg::Text(&text(rows.collect()))]).await? {
        new.insert((row.text(0)?, row.text(1)?));
    }
    let is_new = |event: &UsageEvent| new.contains(&(event.key.source.clone(), event.key.id.clone()));
    let (new, old): (Vec<usize>, Vec<usize>) = (0..events.len()).partition(|at| is_new(&events[*at]));
    let mut outcomes = vec![EventOutcome::Stale; events.len()];
    if old.is_empty() {
        return Ok((outcomes, new));
    }
    let keys: Vec<&EventKey> = old.iter().map(|at| &events[*at].key).collect();
    let rows = session.rows(KNOWN, &[Arg::Text(&known_rows(&keys))]).await?;
    for (at, known) in old.into_iter().zip(digests(keys.len(), &rows)?) {
        outcomes[at] = match known {
            Some(digest) if digest == events[at].digest => EventOutcome::Duplicate,
            Some(_) => EventOutcome::Conflict,
            // Forgotten in this very moment.
            None => EventOutcome::Withheld,
        };
    }
    Ok((outcomes, new))
}

/// The slot of each bucket that these events may touch.
fn slots<'e>(events: impl Iterator<Item = &'e UsageEvent>) -> Vec<SlotTotals> {
    let mut slots: BTreeMap<&BucketKey, SlotTotals> = BTreeMap::new();
    for event in events {
        for bucket in event.buckets() {
            slots.entry(&bucket.key).or_insert_with(|| events_slot(bucket, event.at));
        }
    }
    slots.into_values().collect()
}

/// Asks live nodes to give back what they hold of these buckets. How much that is.
async fn ask_back(
    session: &mut Session,
    locked: &mut Locked,
    buckets: &BTreeSet<&BucketKey>,
    now: UnixMillis,
) -> Result<BTreeMap<BucketKey, u64>, StoreError> {
    if buckets.is_empty() {
        return Ok(BTreeMap::new());
    }
    let slot = |key: &&BucketKey| SlotKey { bucket: (*key).clone(), incarnation: EVENTS, seq: 0 };
    let slots: Vec<SlotKey> = buckets.iter().map(slot).collect();
    let asking: Vec<&SlotKey> = slots.iter().collect();
    let held = locked.held(session, &asking, LIVE_MILLIS).await?;
    let mut by_bucket = BTreeMap::new();
    for (key, held) in buckets.iter().zip(held) {
        if held > 0 {
            locked.book.want(key, now);
        }
        by_bucket.insert((*key).clone(), held);
    }
    Ok(by_bucket)
}

#[async_trait]
impl UsageEventStore for SqlStore {
    async fn known_events(&self, keys: &[EventKey]) -> Result<Vec<Option<EventDigest>>, StoreError> {
        let mut known = Vec::with_capacity(keys.len());
        for some in keys.chunks(MOST_BUCKETS) {
            let some: Vec<&EventKey> = some.iter().collect();
            let ask = known_rows(&some);
            known.extend(
                self.call(async {
                    let rows = self.engine.read(Lane::Data, KNOWN, &[Arg::Text(&ask)]).await?;
                    digests(some.len(), &rows)
                })
                .await?,
            );
        }
        Ok(known)
    }

    async fn charge_events(&self, events: &[UsageEvent]) -> Result<Vec<EventOutcome>, StoreError> {
        let mut outcomes = Vec::with_capacity(events.len());
        if events.is_empty() {
            return Ok(outcomes);
        }
        for part in parts(events) {
            outcomes.extend(self.call(self.charge_part(part)).await?);
        }
        Ok(outcomes)
    }

    async fn claim_call(&self, idempotency: &Idempotency, at: UnixMillis) -> Result<EarlierCall, StoreError> {
        self.call(async {
            let mut session = self.engine.begin(Lane::Data).await?;
            let earlier = once::claim(&mut session, idempotency, at).await?;
            session.commit().await?;
            Ok(match earlier {
                None => EarlierCall::Open,
                Some(other) if other.fingerprint != idempotency.fingerprint => EarlierCall::Another,
                Some(same) if same.effect.is_empty() => EarlierCall::Open,
                Some(same) => EarlierCall::Answered(same.effect),
            })
        })
        .await
    }

    async fn keep_call(&self, idempotency: &Idempotency, answer: &str) -> Result<(), StoreError> {
        self.call(async {
            let mut session = self.engine.begin(Lane::Data).await?;
            once::keep_under(&mut session, idempotency, Version(0), answer).await?;
            session.commit().await
        })
        .await
    }
}
