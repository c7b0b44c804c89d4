//! Usage that others tell of in the simulated history: events that are sent again, to several nodes at once, and those of
//! which nobody hears what became.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use serde_json::json;

use super::world::{NAMES, REQUESTS, TOKENS, World};
use crate::{
    admin::charges_of,
    clock::Clock,
    domain::{
        id::{MeterId, TenantId},
        time::UnixMillis,
    },
    ports::{EventDigest, EventKey, EventOutcome, UsageEvent},
    store::Store,
};

/// An event that was charged.
pub(super) struct Charged {
    key: EventKey,
    digest: EventDigest,
    at: UnixMillis,
}

/// For so long it is known at least.
const KNOWN_MILLIS: i64 = 32 * 86_400_000;

impl World {
    /// An event of some of a tenant's usage, of the last hours.
    pub(super) async fn tell(&mut self, id: &TenantId) {
        let (meter, most) = if self.random.chance(50) { (REQUESTS, 30) } else { (TOKENS, 500) };
        let name = NAMES[usize::from(meter.0)];
        let (units, now) = (self.random.between(1, most), self.ground.clock.now());
        let at = UnixMillis(now.0 - i64::try_from(self.random.between(0, 180)).unwrap() * 60_000);
        self.sent += 1;
        let event = json!({
            "specversion": "1.0", "type": "used", "source": "year", "id": format!("e{}", self.sent),
            "subject": id.as_str(), "time": at.to_string(), "data": { "meter": name, "units": units },
        });
        self.last += &format!("an event of {units} {name} at {at}; ");
        for _ in 0..4 {
            let (_, rights) = self.rights(id).await;
            let asked = match charges_of(&event, &rights, now) {
                Ok(asked) => asked,
                Err(why) => {
                    self.last += &why;
                    return;
                }
            };
            let outcomes = self.send(&asked).await;
            self.last += &format!("{outcomes:?}; ");
            if outcomes.iter().any(|one| matches!(one, EventOutcome::Charged | EventOutcome::Duplicate)) {
                let month = rights.entitlement.as_ref().unwrap().calendar.month(now);
                self.count(&(id.clone(), MeterId::parse(name).unwrap(), month.start), units, at);
                self.charged.push(Charged { key: asked.key, digest: asked.digest, at: now });
                return;
            }
            // Others are to give back what they hold.
            self.poll().await;
            self.flush().await;
        }
        self.refused += 1;
    }

    /// Sends an event, once or twice at the same time; over a real database perhaps after a call of which nobody has heard
    /// the end.
    async fn send(&mut self, event: &UsageEvent) -> Vec<EventOutcome> {
        let cut = self.ground.is_database() && self.random.chance(25);
        if cut {
            let after = Duration::from_micros(self.random.between(0, 5_000));
            let store = self.any_store();
            let _ = tokio::time::timeout(after, store.charge_events(std::slice::from_ref(event))).await;
        }
        let times = if self.random.chance(30) { 2 } else { 1 };
        let stores: Vec<Arc<dyn Store>> = (0..times).map(|_| self.any_store()).collect();
        let sent = stores.iter().map(|store| store.charge_events(std::slice::from_ref(event)));
        let outcomes: Vec<EventOutcome> =
            join_all(sent).await.into_iter().map(|answer| answer.unwrap().remove(0)).collect();
        let charged = outcomes.iter().filter(|one| matches!(one, EventOutcome::Charged)).count();
        let known = outcomes.iter().any(|one| matches!(one, EventOutcome::Duplicate));
        assert!(charged <= 1 && (charged == 1 || !known || cut), "{outcomes:?} of {event:?}");
        assert!(!outcomes.contains(&EventOutcome::Conflict), "{event:?}");
        outcomes
    }

    /// Each event that was charged is known for as long as was promised.
    pub(super) async fn events_are_known(&self) {
        let now = self.ground.clock.now();
        let recent: Vec<&Charged> =
            self.charged.iter().filter(|one| one.at.0 > now.0 - KNOWN_MILLIS).collect();
        for some in recent.chunks(500) {
            let keys: Vec<EventKey> = some.iter().map(|one| one.key.clone()).collect();
            let known = self.store().known_events(&keys).await.unwrap();
            for (one, known) in some.iter().zip(known) {
                assert_eq!(known, Some(one.digest), "{:?} of {}", one.key, one.at);
            }
        }
    }
}
