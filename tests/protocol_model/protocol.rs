//! What can happen, one step at a time.

use super::{
    mutant::Mutant,
    state::{Budget, Database, Message, NODES, Node, State},
};

/// The protocol within bounds, or a mutant of it.
#[derive(Debug, Clone)]
pub struct Protocol {
    /// The limit of each version: a change goes to the next.
    pub limits: Vec<u8>,
    /// How many words each node may begin.
    pub words: [u8; NODES],
    /// How many messages may be on their way at a time.
    pub in_flight: usize,
    pub faults: Budget,
    pub mutant: Option<Mutant>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action {
    /// A request takes a unit.
    Spend(usize),
    /// A request gives a unit back to the word that it charged.
    Refund(usize, usize),
    Ask(usize),
    /// A node does not wait for its answer any longer.
    GiveUp(usize),
    Ship(usize, usize),
    Seal(usize),
    /// A node polls and puts the version in force that it finds.
    Apply(usize),
    /// A node hears of the new primary.
    Reassert(usize),
    Deliver {
        message: usize,
        generous: bool,
    },
    /// A message arrives, and will arrive again.
    Duplicate(usize),
    Lose(usize),
    Crash(usize),
    LosePower(usize),
    Restart(usize),
    DeclareLost(usize),
    /// The next version of the limit is committed.
    Change,
    /// The change is answered, with those nodes named `pending` that do not have it yet.
    Answer,
    /// The standby that will be promoted gets no more commits.
    Part,
    Promote,
    /// Of mutants only: the lease of a slot times out, a record is reused.
    Expire(usize),
    Reuse(usize, usize),
}

impl Protocol {
    pub fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    pub fn beginning(&self) -> State {
        State {
            database: Database::new(),
            standby: None,
            nodes: [Node::new(), Node::new()],
            network: vec![],
            admitted: 0,
            ceiling: self.limits[0],
            answered: 0,
            left: self.faults.clone(),
        }
    }

    /// What may happen next.
    pub fn possible(&self, state: &State, actions: &mut Vec<Action>) {
        for me in 0..NODES {
            self.possible_on(state, me, actions);
        }
        for (message, what) in state.network.iter().enumerate() {
            actions.push(Action::Deliver { message, generous: false });
            let asks = matches!(what, Message::Ask { .. });
            actions.extend(asks.then_some(Action::Deliver { message, generous: true }));
            actions.extend((state.left.duplicates > 0).then_some(Action::Duplicate(message)));
            actions.extend((state.left.losses > 0).then_some(Action::Lose(message)));
        }
        let database = &state.database;
        if usize::from(database.version) + 1 < self.limits.len() {
            actions.push(Action::Change);
        }
        if state.answered < database.version {
            actions.push(Action::Answer);
        }
        match &state.standby {
            None if state.left.failovers > 0 => actions.push(Action::Part),
            Some(_) => actions.push(Action::Promote),
            None => {}
        }
        if self.is(Mutant::LeasesTimeOut) {
            let open = (0..database.rows.len()).filter(|place| !database.rows[*place].sealed);
            actions.extend(open.map(Action::Expire));
        }
    }

    fn possible_on(&self, state: &State, me: usize, actions: &mut Vec<Action>) {
        let (node, database, left) = (&state.nodes[me], &state.database, &state.left);
        let mut may = |condition: bool, action: Action| actions.extend(condition.then_some(action));
        may(left.declared_lost > 0, Action::DeclareLost(me));
        may(left.power_losses > 0, Action::LosePower(me));
        may(!node.up, Action::Restart(me));
        if !node.up {
            return;
        }
        may(left.crashes > 0, Action::Crash(me));
        may(node.words.iter().any(|word| word.has_room()), Action::Spend(me));
        may(node.asking && left.impatience > 0, Action::GiveUp(me));
        may(node.open().is_some() && (database.wanted || left.idles > 0), Action::Seal(me));
        may(node.applied < database.version, Action::Apply(me));
        let room = state.network.len() < self.in_flight;
        let short = node.open().map_or(node.next_seq < self.words[me], |open| !node.words[open].has_room());
        may(room && short && !node.asking, Action::Ask(me));
        let told = |message: &Message| matches!(message, Message::Reassert { node, .. } if *node == me);
        let untold = !database.asserted[me] && !state.network.iter().any(told);
        may(room && untold, Action::Reassert(me));
        for (place, word) in node.words.iter().enumerate() {
            may(left.refunds > 0 && word.live && word.net() > 0, Action::Refund(me, place));
            let row = database.rows.iter().find(|row| row.slot == word.slot);
            let settled = row.is_some_and(|row| {
                (row.used, row.refunded, row.sealed) == (word.used, word.refunded, word.sealed)
            });
            let forgotten = self.is(Mutant::LateRefundsForgotten) && row.is_some_and(|row| row.sealed);
            // What the database has already changes nothing there; that a message is late is the network's affair.
            let due = word.sealed || left.flushes > 0;
            may(room && due && !settled && !forgotten, Action::Ship(me, place));
            may(settled && word.sealed && self.is(Mutant::RecordsReused), Action::Reuse(me, place));
        }
    }

    /// Carries an action out.
    pub fn step(&self, state: &mut State, action: &Action) {
        let State { database, nodes, network, left, .. } = state;
        match *action {
            Action::Spend(me) => state.admitted += u8::from(nodes[me].spend()),
            Action::Refund(me, place) => {
                nodes[me].refund(self, place);
                state.admitted -= 1;
                left.refunds -= 1;
            }
            Action::Ask(me) => network.push(nodes[me].ask(self, me)),
            Action::GiveUp(me) => {
                nodes[me].asking = false;
                left.impatience -= 1;
            }
            Action::Ship(me, place) => {
                left.flushes -= u8::from(!nodes[me].words[place].sealed);
                network.push(nodes[me].ship(self, place));
            }
            Action::Seal(me) => {
                left.idles -= u8::from(!database.wanted && left.idles > 0);
                nodes[me].seal();
            }
            Action::Apply(me) => nodes[me].apply(self, database.version),
            Action::Reassert(me) => network.push(nodes[me].reassert(self, me, database.epoch)),
            Action::Deliver { message, generous } => {
                let message = network.remove(message);
                self.arrive(state, &message, generous);
            }
            Action::Duplicate(message) => {
                left.duplicates -= 1;
                let message = network[message].clone();
                self.arrive(state, &message, false);
            }
            Action::Lose(message) => {
                left.losses -= 1;
                network.remove(message);
            }
            Action::Crash(me) => {
                left.crashes -= 1;
                nodes[me].crash();
            }
            Action::LosePower(me) => {
                left.power_losses -= 1;
                nodes[me].lose_power(self);
            }
            Action::Restart(me) => nodes[me].restart(database.version),
            Action::DeclareLost(me) => {
                left.declared_lost -= 1;
                database.declare_lost(self, me);
            }
            Action::Change => {
                database.version += 1;
                state.ceiling = state.ceiling.max(self.limit(state));
            }
            Action::Answer => {
                state.answered = database.version;
                state.ceiling = self.limit(state).max(state.admitted + pending(state));
            }
            Action::Part => {
                left.failovers -= 1;
                state.standby = Some(database.clone());
            }
            Action::Promote => promote(state),
            Action::Expire(place) => database.expire(place),
            Action::Reuse(me, place) => drop(nodes[me].words.remove(place)),
        }
        state.network.sort_unstable();
    }

    /// The limit in force at the database.
    pub fn limit(&self, state: &State) -> u8 {
        self.limits[usize::from(state.database.version)]
    }

    fn arrive(&self, state: &mut State, message: &Message, generous: bool) {
        match message {
            Message::Answer { slot, epoch, outcome } => {
                let node = &mut state.nodes[slot.node];
                // Nobody is there, or a later process that did not ask.
                if node.up && node.asking {
                    node.hear(self, *slot, *epoch, outcome);
                }
            }
            _ => state.network.extend(state.database.receive(self, message, generous)),
        }
    }
}

/// The standby is the database now; nobody has told it yet what it lost.
fn promote(state: &mut State) {
    if let Some(standby) = state.standby.take() {
        let epoch = state.database.epoch + 1;
        state.database = Database { epoch, asserted: [false; NODES], ..standby };
    }
}

/// Units that nodes without the newest version may still spend.
fn pending(state: &State) -> u8 {
    let behind = state.nodes.iter().filter(|node| node.up && node.applied < state.database.version);
    let open = behind.flat_map(|node| node.words.iter().filter(|word| !word.sealed));
    open.map(|word| {
        let row = state.database.rows.iter().find(|row| row.slot == word.slot);
        // A grant under the old version may be on its way.
        row.map_or(0, |row| row.granted).max(word.granted).saturating_sub(word.net())
    })
    .sum()
}
