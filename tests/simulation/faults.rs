//! What happens to nodes and to the database: pauses, kills and starts, lost power, failovers, write-offs.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use plangate::{
    clock::Clock,
    ports::{Incarnation, LostError, NodeStore, Origin, RegisterError},
};

use super::{disk::Harm, network::Direct, node::Start, world::World};

impl World {
    pub fn pause(&mut self) {
        let me = self.node();
        if let Some(process) = &mut self.nodes[me].process {
            process.paused = !process.paused;
            self.trace.note(format_args!("node {me} paused: {}", process.paused));
        }
    }

    /// A standby takes over, and has not heard of the last reports.
    pub fn fail_over(&mut self) {
        self.network.lock().unwrap().forget_reports();
        let epoch = self.store.fail_over().unwrap();
        self.trace.note(format_args!("a standby takes over: epoch {epoch:?}"));
    }

    /// An operator writes a node off, whether it runs or not.
    pub fn declare_lost(&mut self) {
        let me = self.node();
        self.write_off(me);
    }

    pub fn write_off(&mut self, me: usize) {
        let origin = Origin {
            at: self.clock.now(),
            actor: "simulation".into(),
            source: "test".into(),
            idempotency: None,
        };
        match self.store.declare_lost(&format!("node-{me}"), &origin).now_or_never().unwrap() {
            Ok(lost) => {
                self.trace.note(format_args!("node {me} is declared lost: {lost:?}"));
                self.written_off = true;
                let first = me as u128 * 1000;
                let own = |incarnation: Incarnation| (first..first + 1000).contains(&incarnation.0.as_u128());
                self.shadow.lock().unwrap().declare_lost(own);
            }
            Err(LostError::Unknown(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }

    pub fn write_back(&mut self) {
        let me = self.node();
        self.nodes[me].disk.write_back();
    }

    pub fn kill_or_start(&mut self) {
        let me = self.node();
        match self.nodes[me].process.take() {
            Some(process) => {
                self.kills += 1;
                drop(process);
                let harm = match self.seed.below(20) {
                    0 | 1 => Harm::PowerLost,
                    2 => Harm::Torn,
                    3 => Harm::Flipped,
                    _ => Harm::None,
                };
                self.trace.note(format_args!("node {me} is killed, and its file: {harm:?}"));
                self.nodes[me].disk.suffer(harm, &mut self.seed);
                // A page of zeros says that nothing was there: no one can tell, and nothing is credited.
                self.uncertain |= harm != Harm::None;
            }
            None => self.start(me),
        }
    }

    pub fn start(&mut self, me: usize) {
        loop {
            let line = Direct {
                store: Arc::clone(&self.store),
                shadow: Arc::clone(&self.shadow),
                lose_an_answer: self.seed.chance(self.rough).into(),
            };
            match self.nodes[me].start(line) {
                Ok(Start { found, set_aside }) => {
                    self.uncertain |= set_aside;
                    return self.trace.note(format_args!("node {me} starts and finds {found}"));
                }
                // Its former run is not forgotten yet.
                Err(RegisterError::NameTaken { age, .. }) => {
                    self.wait(Duration::from_millis(5_001).saturating_sub(age));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// A clean stop and start, where the database is there to take everything.
    pub fn stop(&mut self) {
        let me = self.node();
        if self.network.lock().unwrap().away || self.nodes[me].active().is_none() {
            return;
        }
        self.trace.note(format_args!("node {me} stops"));
        self.drain(me);
        self.nodes[me].leave();
        self.start(me);
    }

    pub fn drain(&mut self, me: usize) {
        let Some(process) = self.nodes[me].active() else { return };
        process.holds.drain(..).for_each(|(hold, _)| hold.keep());
        let over = process.drain();
        for _ in 0..100 {
            self.drive();
            if *over.lock().unwrap() {
                return;
            }
            self.deliver_all();
            self.wait(Duration::from_millis(500));
        }
        panic!("node {me} cannot return what it holds");
    }

    pub fn leave_or_return(&mut self) {
        let mut network = self.network.lock().unwrap();
        network.away = !network.away;
        self.trace.note(format_args!("the database is away: {}", network.away));
    }
}
