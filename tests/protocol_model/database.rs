//! The database's side: it grants by compare-and-set, joins totals, and computes itself what comes back.

use super::{
    Protocol,
    mutant::Mutant,
    state::{Database, Message, Outcome, Row, Totals},
};

impl Database {
    pub fn new() -> Self {
        Self { epoch: 0, version: 0, allocated: 0, wanted: false, rows: vec![], asserted: [true; 2] }
    }

    /// Handles what arrives. Of what is left a grant takes one unit or, `generous`, all. The answer, if one is due.
    pub fn receive(&mut self, rules: &Protocol, message: &Message, generous: bool) -> Option<Message> {
        match message {
            Message::Ask { totals, version, believed } => {
                let outcome = self.grant(rules, totals, (*version, *believed), generous);
                Some(Message::Answer { slot: totals.slot, epoch: self.epoch, outcome })
            }
            Message::Ship(totals) => {
                self.join(rules, totals);
                None
            }
            Message::Reassert { node, epoch, words } => {
                words.iter().for_each(|totals| self.join(rules, totals));
                if *epoch == self.epoch {
                    self.asserted[*node] = true;
                }
                None
            }
            Message::Answer { .. } => None,
        }
    }

    fn grant(
        &mut self,
        rules: &Protocol,
        totals: &Totals,
        (version, believed): (u8, u8),
        generous: bool,
    ) -> Outcome {
        self.join(rules, totals);
        if rules.is(Mutant::WordsWithoutSeq) {
            self.reopen(totals);
        }
        if self.asserted.contains(&false) && !rules.is(Mutant::GrantsRightAfterFailover) {
            return Outcome::NotYet;
        }
        if version != self.version && !rules.is(Mutant::NodeSuppliesLimit) {
            return Outcome::Stale;
        }
        let limit = rules.limits[usize::from(version)];
        let left = limit.saturating_sub(self.allocated);
        let row = self.rows.iter_mut().find(|row| row.slot == totals.slot);
        let row = row.expect("joined just now");
        if row.sealed || row.lost || row.granted != believed {
            return Outcome::Refused(row.granted);
        }
        let units = match generous {
            _ if rules.is(Mutant::GrantsRoundedDown) => left / 2,
            true => left,
            false => left.min(1),
        };
        // What the slot owes from before comes out of the grant.
        let held = row.held();
        row.granted += units;
        if units == 0 || row.held() == held {
            row.granted -= units;
            self.wanted = true;
            return Outcome::Exhausted;
        }
        self.allocated += row.held() - held;
        self.wanted = false;
        Outcome::Granted(row.granted)
    }

    /// Joins totals with what is recorded. They only grow, so that order and repetition do not matter. What a seal
    /// returns is the difference that it makes to what the slot holds.
    fn join(&mut self, rules: &Protocol, totals: &Totals) {
        let place = match self.rows.binary_search_by_key(&totals.slot, |row| row.slot) {
            Ok(place) => place,
            Err(place) => {
                let slot = totals.slot;
                let row = Row { slot, granted: 0, used: 0, refunded: 0, sealed: false, lost: false };
                self.rows.insert(place, row);
                place
            }
        };
        let row = &mut self.rows[place];
        let before = row.held();
        if rules.is(Mutant::DifferencesShipped) {
            row.used += totals.used;
            row.refunded += totals.refunded;
        } else {
            row.used = row.used.max(totals.used);
            row.refunded = row.refunded.max(totals.refunded.min(totals.used));
        }
        row.granted = row.granted.max(totals.granted);
        row.sealed |= totals.sealed;
        if rules.is(Mutant::NodeComputesReturn) && totals.sealed {
            let returned = totals.granted.saturating_sub(totals.used.saturating_sub(totals.refunded));
            self.allocated = self.allocated.saturating_sub(returned);
        } else {
            self.allocated = self.allocated + row.held() - before;
        }
    }

    /// Without `seq` a row that was returned is the next word's, too.
    fn reopen(&mut self, totals: &Totals) {
        for row in self.rows.iter_mut().filter(|row| row.slot == totals.slot && row.sealed) {
            row.granted = row.held();
            row.sealed = false;
        }
    }

    pub fn declare_lost(&mut self, rules: &Protocol, node: usize) {
        for row in self.rows.iter_mut().filter(|row| row.slot.node == node && !row.sealed) {
            let before = row.held();
            if rules.is(Mutant::LostNodeCredited) {
                row.sealed = true
            } else {
                row.lost = true
            }
            self.allocated = self.allocated + row.held() - before;
        }
    }

    /// Only a mutant does this: the lease of this place has timed out.
    pub fn expire(&mut self, place: usize) {
        let row = &mut self.rows[place];
        let before = row.held();
        row.sealed = true;
        self.allocated = self.allocated + row.held() - before;
    }
}
