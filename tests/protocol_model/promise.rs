//! What must hold in every state, and what must be reachable from every one.

use stateright::{Model, Property};

use super::{
    protocol::{Action, Protocol},
    state::{Message, NODES, Row, SlotId, State},
};

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.beginning()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.possible(state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = last.clone();
        self.step(&mut next, &action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("P1: never over-admitted", |_, s: &State| s.admitted <= s.ceiling),
            Property::always("what was admitted is debited", |_, s| is_debited(s)),
            Property::always("allocated is the sum of what slots hold", |_, s| is_balanced(s)),
            Property::always("P3: recorded = admitted, once all is returned", |_, s| is_exact(s)),
            Property::always("P2: what is left can be had", is_usable),
            // That the model does anything at all.
            Property::sometimes("the whole limit is used", |rules, s: &State| s.admitted == rules.limit(s)),
            Property::sometimes("somebody is refused while units remain", |rules, s: &State| {
                s.database.wanted && s.admitted < rules.limit(s)
            }),
            Property::sometimes("everything is returned", |_, s: &State| s.admitted > 0 && is_returned(s)),
        ]
    }
}

/// True of every database that has heard all that it must know before it grants.
fn is_debited(state: &State) -> bool {
    state.database.asserted.contains(&false) || state.admitted <= state.database.allocated
}

fn is_balanced(state: &State) -> bool {
    state.database.allocated == state.database.rows.iter().map(|row| row.held()).sum::<u8>()
}

/// All words are sealed and the database has their last totals; none was lost with its file.
fn is_returned(state: &State) -> bool {
    let words = state.nodes.iter().flat_map(|node| &node.words);
    let recorded = words.clone().all(|word| {
        let row = state.database.rows.iter().find(|row| row.slot == word.slot);
        word.sealed
            && row.is_some_and(|row| (row.used, row.refunded, row.sealed) == (word.used, word.refunded, true))
    });
    recorded && state.database.rows.iter().all(|row| is_known(state, row.slot))
}

/// Whether a node still has the word.
fn is_known(state: &State, slot: SlotId) -> bool {
    state.nodes[slot.node].words.iter().any(|word| word.slot == slot)
}

fn is_exact(state: &State) -> bool {
    !is_returned(state) || state.admitted == state.database.rows.iter().map(|row| row.net()).sum::<u8>()
}

/// Where somebody was refused, a recall brings all that is left to whoever asks next: exactly what the limit leaves
/// above what was used, and above what counts as used because nobody can tell any more.
fn is_usable(rules: &Protocol, state: &State) -> bool {
    if !state.database.wanted {
        return true;
    }
    let mut healthy = state.clone();
    recall(rules, &mut healthy);
    let uncertain = |row: &&Row| row.lost || !is_known(&healthy, row.slot);
    let beyond: Vec<&Row> = healthy.database.rows.iter().filter(uncertain).collect();
    let used: u8 = if beyond.is_empty() {
        healthy.admitted
    } else {
        let known = healthy.nodes.iter().flat_map(|node| &node.words);
        let known = known.filter(|word| !beyond.iter().any(|row| row.slot == word.slot));
        known.map(|word| word.net()).sum()
    };
    let beyond: u8 = beyond.iter().map(|row| row.held()).sum();
    let left = rules.limit(&healthy).saturating_sub(used + beyond);
    (0..NODES).all(|me| {
        let mut asked = healthy.clone();
        rules.step(&mut asked, &Action::Ask(me));
        deliver_all(rules, &mut asked);
        let got = asked.nodes[me].words.iter().filter(|word| word.has_room());
        let got: u8 = got.map(|word| word.granted + word.refunded - word.used).sum();
        got == left
    })
}

/// What a recall in a cluster without further faults does.
fn recall(rules: &Protocol, state: &mut State) {
    deliver_all(rules, state);
    for me in 0..NODES {
        if !state.nodes[me].up {
            rules.step(state, &Action::Restart(me));
        }
        if !state.database.asserted[me] {
            rules.step(state, &Action::Reassert(me));
        }
        state.nodes[me].asking = false;
        rules.step(state, &Action::Apply(me));
        rules.step(state, &Action::Seal(me));
        let mut actions = Vec::new();
        let unbounded = Protocol { in_flight: usize::MAX, ..rules.clone() };
        unbounded.possible(state, &mut actions);
        let ships =
            actions.into_iter().filter(|action| matches!(action, Action::Ship(node, _) if *node == me));
        ships.for_each(|ship| rules.step(state, &ship));
    }
    deliver_all(rules, state);
}

fn deliver_all(rules: &Protocol, state: &mut State) {
    while !state.network.is_empty() {
        // A request that nobody waits for any more is answered to nobody; it must not use up what is left.
        let stale = |message: &Message| match message {
            Message::Ask { totals, .. } => !state.nodes[totals.slot.node].asking,
            _ => false,
        };
        let generous = !stale(&state.network[0]);
        rules.step(state, &Action::Deliver { message: 0, generous });
    }
}
