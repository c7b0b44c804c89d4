//! What is asked of the nodes of the simulated history, and how they die with it under way.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;

use super::world::{NAMES, REQUESTS, Said, TOKENS, World};
use crate::{
    domain::{
        id::{MeterId, TenantId},
        period::Window,
        plan::MeterIx,
        rights::Rights,
        route::Charge,
        time::UnixMillis,
        units::Units,
    },
    ports::{ChargeError, Hold, Ledger},
};

const HOUR_MILLIS: i64 = 3_600_000;

impl World {
    /// Requests of a tenant: one, or now and then one of each node at once.
    pub(super) async fn request(&mut self, place: usize, id: &TenantId) {
        // Some tenants always come to the same node.
        let alone = place.is_multiple_of(2);
        let me = if alone { 0 } else { self.random.below(self.nodes.len()) };
        let crowd = !alone && self.random.chance(15);
        let (meter, most) = if self.random.chance(50) { (REQUESTS, 40) } else { (TOKENS, 900) };
        let now = self.now();
        let (mut asked, mut charges) = (Vec::new(), Vec::new());
        for number in 0..self.nodes.len() {
            let ledger = self.nodes[number].ledger.clone().filter(|_| crowd || number == me);
            let Some(ledger) = ledger else { continue };
            // Each node has compiled them for itself: with them it remembers its own words.
            let (_, rights) = self.rights(id).await;
            let units = self.random.between(1, most * self.course.cost);
            let charge = [Charge { meter, units: Units::saturating(units) }];
            asked.push((number, units, Arc::clone(&rights)));
            charges.push(ledger.charge(&rights, &charge, now).wait());
        }
        for ((node, units, rights), answer) in asked.into_iter().zip(self.answers(charges).await) {
            match answer {
                Ok(hold) => self.serve(id, &rights, (meter, units), hold, (alone, node)),
                Err(why) => {
                    self.last += &format!("{units} {} by node {node}: {why}; ", NAMES[usize::from(meter.0)]);
                    self.refused += 1;
                }
            }
        }
        if crowd {
            self.said.retain(|(whose, ..), _| whose != id);
        }
    }

    /// What becomes of charges. While they wait, nodes hear of each other's wishes, as in every quarter of a second.
    async fn answers<T>(&self, charges: Vec<T>) -> Vec<Result<Hold, String>>
    where
        T: Future<Output = Result<Hold, ChargeError>>,
    {
        let mut all = Box::pin(join_all(charges));
        for _ in 0..400 {
            if let Ok(answers) = tokio::time::timeout(Duration::from_millis(15), &mut all).await {
                return answers.into_iter().map(|answer| answer.map_err(|why| format!("{why:?}"))).collect();
            }
            self.poll().await;
            self.flush().await;
        }
        panic!("no answer to a charge; after {}", self.last);
    }

    /// A request was let through; what it cost is known now.
    fn serve(
        &mut self,
        id: &TenantId,
        rights: &Rights,
        (meter, units): (MeterIx, u64),
        hold: Hold,
        (alone, me): (bool, usize),
    ) {
        let (now, name) = (self.now(), NAMES[usize::from(meter.0)]);
        let month = rights.entitlement.as_ref().unwrap().calendar.month(now);
        let key = (id.clone(), MeterId::parse(name).unwrap(), month.start);
        let mut said = None;
        hold.standings(now, |standing| {
            if standing.window == Some(Window::Month) {
                said = Some((standing.remaining.get(), standing.quota.get()));
            }
        });
        let how = self.random.below(10);
        self.last += &format!("{how} of {units} {name} by node {me}; ");
        let served = match how {
            0 => {
                hold.refund();
                return;
            }
            1 => {
                let actual = self.random.between(0, units);
                self.last += &format!("that cost {actual}; ");
                hold.settle(&[Charge { meter, units: Units::saturating(actual) }]);
                said = None;
                actual
            }
            _ => {
                hold.keep();
                units
            }
        };
        self.count(&key, served, now);
        let whole = self.changed.get(id).is_none_or(|changed| *changed < month.start);
        match said.filter(|_| whole) {
            Some((remaining, limit)) => {
                self.said.insert(key, Said { remaining, limit, alone: alone.then_some(me), month });
            }
            None => drop(self.said.remove(&key)),
        }
    }

    /// Units that were served at an instant.
    pub(super) fn count(&mut self, key: &(TenantId, MeterId, UnixMillis), units: u64, at: UnixMillis) {
        *self.served.entry(key.clone()).or_default() += units;
        if at.0.div_euclid(HOUR_MILLIS) * HOUR_MILLIS < key.2.0 {
            self.blurred.insert(key.clone());
        }
    }

    /// A node is killed with a request under way, which keeps what it has reserved, and starts again.
    pub(super) async fn die(&mut self) {
        let me = self.random.below(self.nodes.len());
        let id = self.tenants[self.random.below(self.tenants.len())].clone();
        let (_, rights) = self.rights(&id).await;
        let mut under_way = None;
        if let (Some(ledger), Some(given)) = (self.nodes[me].ledger.clone(), &rights.entitlement) {
            let charges = [Charge { meter: REQUESTS, units: Units::saturating(3) }];
            let now = self.now();
            let charge = ledger.charge(&rights, &charges, now).wait();
            drop(ledger);
            if let Some(Ok(hold)) = self.answers(vec![charge]).await.pop() {
                std::mem::forget(hold);
                let month = given.calendar.month(now);
                let key = (id.clone(), MeterId::parse("requests").unwrap(), month.start);
                self.count(&key, 3, now);
                self.said.remove(&key);
                under_way = Some(key);
            }
        }
        drop(rights);
        self.last += &format!("the death of node {me}; ");
        let after = Duration::from_micros(self.random.between(0, 4_000));
        self.break_off(me).await;
        self.nodes[me].kill(after).await;
        self.kills += 1;
        if self.random.chance(40) {
            // It is away for a while.
            // Not so long that what it has not recorded is given up.
            let minutes = self.random.between(1, 40);
            self.pass(Duration::from_secs(minutes * 60)).await;
        }
        self.nodes[me].start().await;
        if let Some((tenant, meter, start)) = under_way
            && let (_, rights) = self.rights(&tenant).await
            && let Some(given) = &rights.entitlement
        {
            let month = given.calendar.month(self.now());
            if month.start != start {
                self.blurred.insert((tenant, meter, month.start));
            }
        }
    }

    /// The jobs of a node that dies end in the middle of a turn.
    async fn break_off(&mut self, me: usize) {
        if self.ground.is_database() {
            let after = Duration::from_micros(self.random.between(0, 6_000));
            let _ = tokio::time::timeout(after, self.jobs[me].turn()).await;
        }
    }
}
