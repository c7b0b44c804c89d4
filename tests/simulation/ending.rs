//! The end of each history: everything is well again, all that was admitted is recorded, and all that is left is usable.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use plangate::{
    clock::Clock,
    domain::{
        catalog::Digest,
        period::{AnchorDay, BillingCalendar, Window, Zone},
        time::{Epoch, Version},
    },
    ports::{BucketKey, Heartbeat, Incarnation, NodeStore},
};

use super::{
    node::Node,
    tenants::{self, REQUESTS},
    world::{ENROLLED, World},
};

impl World {
    /// Everything is well again: all that was admitted is recorded, and all that is left can be used.
    pub fn end(&mut self) {
        self.trace.note(format_args!("all is well again"));
        self.network.lock().unwrap().away = false;
        let nodes = 0..self.nodes.len();
        for me in nodes.clone() {
            match &mut self.nodes[me].process {
                Some(process) => process.paused = false,
                None => self.start(me),
            }
        }
        for round in 0..5 {
            self.calm_down();
            self.wait(Duration::from_secs(3));
            if round == 1 {
                self.write_off_awaited();
            }
        }
        self.answer_changes(false);
        // What follows is to lie in one day on every node.
        self.clear_of_midnight();
        self.use_the_rest(false);
        for me in nodes.clone() {
            self.drain(me);
        }
        self.check();
        let shadow = self.shadow.lock().unwrap();
        for bucket in shadow.buckets() {
            let (recorded, held) = (shadow.net(&bucket), shadow.held(&bucket));
            let admitted = shadow.admitted.get(&bucket).copied().unwrap_or_default();
            if self.uncertain {
                assert!(recorded <= admitted.charged + admitted.overrun, "{admitted:?} {bucket:?}");
            } else {
                assert_eq!(recorded, admitted.all(), "P3: {admitted:?} in {bucket:?}");
                assert!(self.written_off || held == recorded, "all is returned: {bucket:?}");
            }
        }
        drop(shadow);
        nodes.for_each(|me| self.nodes[me].leave());
        self.start(0);
        self.clear_of_midnight();
        self.use_the_rest(true);
        self.trace.note(format_args!("{} units were admitted", self.admitted));
    }

    pub fn clear_of_midnight(&mut self) {
        const DAY: i64 = 86_400_000;
        const MARGIN: i64 = 300_000;
        if self.clock.now().0.rem_euclid(DAY) >= DAY - MARGIN {
            self.wait(Duration::from_secs(600));
            self.calm_down();
        }
    }

    /// All nodes poll, and everything arrives.
    pub fn calm_down(&mut self) {
        for _ in 0..3 {
            self.drive();
            self.deliver_all();
            self.nodes.iter_mut().for_each(Node::poll);
        }
        self.drive();
        self.deliver_all();
        self.drive();
    }

    /// Grants wait for runs that will not come back, as their file is gone: an operator has to write them off.
    pub fn write_off_awaited(&mut self) {
        let incarnation = Incarnation(uuid::Uuid::nil());
        let beat =
            Heartbeat { incarnation, applied: Version(0), digest: Digest("".into()), reasserted: Epoch(0) };
        let awaited = self.store.poll(&beat).now_or_never().unwrap().unwrap().awaited;
        for me in 0..self.nodes.len() {
            if awaited.contains(&format!("node-{me}")) {
                self.write_off(me);
            }
        }
    }

    /// P2: exactly what the limit leaves above what is debited can be used, by one node when all is returned, and by all
    /// in turn while each of them holds some: then at the latest after one recall.
    pub fn use_the_rest(&mut self, returned: bool) {
        let calendar = BillingCalendar::new(Zone::UTC, AnchorDay::of(ENROLLED, &Zone::UTC));
        if !returned && (self.uncertain || self.written_off) {
            // Nobody can tell beforehand what will be left.
            return;
        }
        for whose in 0..self.tenants.len() {
            let now = self.nodes[0].clock.now();
            let (id, limits) = (self.tenants[whose].id.clone(), self.tenants[whose].limits);
            let left = |window| {
                let start = calendar.period(window, now).start;
                let same = |bucket: &&BucketKey| {
                    bucket.tenant == id
                        && bucket.meter.as_str() == "requests"
                        && (bucket.span, bucket.start) == (window.into(), start)
                };
                let shadow = self.shadow.lock().unwrap();
                let used = shadow.buckets().iter().find(same).map_or(0, |key| {
                    let admitted = shadow.admitted.get(key).copied().unwrap_or_default();
                    if returned { shadow.held(key) } else { admitted.all() }
                });
                limits.of("requests", window.into()).unwrap().saturating_sub(used)
            };
            let left = left(Window::Month).min(left(Window::Day));
            for nth in 0..left + 1 {
                let me = if returned { 0 } else { usize::try_from(nth).unwrap() % self.nodes.len() };
                let before = self.admitted;
                // Again after a recall, or where news was lost before, once the node has looked again itself.
                for _ in 0..4 {
                    let node = &mut self.nodes[me];
                    let clock = Arc::clone(&node.clock);
                    let charges = vec![tenants::charge(REQUESTS, 1)];
                    node.active().unwrap().charge(&id, charges, &clock);
                    self.calm_down();
                    if self.admitted > before {
                        break;
                    }
                    self.wait(Duration::from_millis(1_100));
                    self.calm_down();
                }
                self.check();
                // Each counts in the day and in the month.
                let more = (self.admitted - before) / 2;
                assert_eq!(more, u64::from(nth < left), "P2: unit {nth} of the {left} that are left to {id}");
            }
        }
    }
}
