//! The nodes' side: a word is spent, sealed and shipped, and opened by the answers that are still meant for it.

use super::{
    Protocol,
    mutant::Mutant,
    state::{Message, Node, Outcome, SlotId, Totals, Word},
};

impl Node {
    pub fn new() -> Self {
        Self { up: true, applied: 0, epoch: 0, asking: false, next_seq: 0, words: vec![] }
    }

    /// Takes one unit from memory, if the open word has room. Whether it did: a reserved cap is some of these.
    pub fn spend(&mut self) -> bool {
        let word = self.words.iter_mut().find(|word| word.has_room());
        word.map(|word| word.used += 1).is_some()
    }

    /// A unit of this word was not used after all. The same is what a settled reservation gives back.
    pub fn refund(&mut self, rules: &Protocol, place: usize) {
        let place = match self.open() {
            Some(open) if rules.is(Mutant::RefundToOpenWord) => open,
            _ => place,
        };
        self.words[place].refunded += 1;
    }

    /// Asks for units for the open word. A new one has its record in the file before it has anything else.
    pub fn ask(&mut self, rules: &Protocol, me: usize) -> Message {
        let open = self.open().unwrap_or_else(|| self.begin(rules, me));
        self.asking = true;
        let (version, believed) = (self.applied, self.words[open].believed);
        Message::Ask { totals: self.totals(rules, open), version, believed }
    }

    fn begin(&mut self, rules: &Protocol, me: usize) -> usize {
        let slot = SlotId { node: me, seq: self.next_seq };
        let new = Word {
            slot,
            granted: 0,
            believed: 0,
            used: 0,
            refunded: 0,
            sealed: false,
            live: true,
            shipped: (0, 0),
        };
        match self.words.last_mut().filter(|_| rules.is(Mutant::WordsWithoutSeq)) {
            Some(last) => {
                let net = last.net();
                last.sealed = false;
                (last.granted, last.believed) = (net, net);
            }
            None => {
                self.next_seq += 1;
                self.words.push(new);
            }
        }
        self.words.len() - 1
    }

    fn totals(&mut self, rules: &Protocol, place: usize) -> Totals {
        let word = &mut self.words[place];
        let (mut used, mut refunded) = (word.used, word.refunded);
        if rules.is(Mutant::DifferencesShipped) {
            (used, refunded) = (used - word.shipped.0, refunded - word.shipped.1);
            word.shipped = (word.used, word.refunded);
        }
        Totals { slot: word.slot, granted: word.granted, used, refunded, sealed: word.sealed }
    }

    /// The totals of a word, as they are: a flush or, of a sealed one, a return.
    pub fn ship(&mut self, rules: &Protocol, place: usize) -> Message {
        let mut totals = self.totals(rules, place);
        // The units go back, and the word does not know.
        totals.sealed |= rules.is(Mutant::RecallWithoutSeal);
        Message::Ship(totals)
    }

    /// Ends all charging to the open word: for a recall, an idle word, a period's end or a stop.
    pub fn seal(&mut self) {
        self.words.iter_mut().for_each(|word| word.sealed = true);
    }

    /// Puts a new version in force. Nothing that was granted under an older one is spent from here on.
    pub fn apply(&mut self, rules: &Protocol, version: u8) {
        self.applied = version;
        if !rules.is(Mutant::ChangeAppliedWithoutSeal) {
            self.seal();
        }
    }

    /// Has heard that the database is another one: ships every word that it has, as it has it.
    pub fn reassert(&mut self, rules: &Protocol, me: usize, epoch: u8) -> Message {
        self.epoch = epoch;
        let words = (0..self.words.len()).map(|place| self.totals(rules, place)).collect();
        Message::Reassert { node: me, epoch, words }
    }

    /// Hears what became of a request.
    pub fn hear(&mut self, rules: &Protocol, slot: SlotId, epoch: u8, outcome: &Outcome) {
        self.asking = false;
        // What a former primary granted may not be known to the present one; this one was told all there is.
        let former = epoch < self.epoch && !rules.is(Mutant::FormerPrimaryObeyed);
        let word = self.words.iter_mut().find(|word| word.slot == slot);
        let Some(word) = word.filter(|_| !former) else { return };
        if word.sealed && rules.is(Mutant::AnswerOpensSealedWord) && word.live {
            word.sealed = false;
        }
        if word.sealed {
            return;
        }
        match outcome {
            Outcome::Granted(granted) => {
                word.believed = word.believed.max(*granted);
                word.granted = word.granted.max(*granted);
            }
            // An earlier answer was lost: the next request compares with the right total.
            Outcome::Refused(granted) if *granted > word.believed => word.believed = *granted,
            // Sealed, or declared lost, by somebody else.
            Outcome::Refused(_) => word.sealed = true,
            Outcome::Exhausted | Outcome::Stale | Outcome::NotYet => {}
        }
    }

    /// The process ends; its file stays.
    pub fn crash(&mut self) {
        self.up = false;
        self.asking = false;
        self.words.iter_mut().for_each(|word| word.live = false);
    }

    /// The machine ends, and with it what the file had since it was last written back: all of it, or all that was spent.
    pub fn lose_power(&mut self, rules: &Protocol) {
        self.crash();
        if rules.is(Mutant::FileTrustedAfterPowerLoss) {
            self.words.iter_mut().for_each(|word| (word.used, word.refunded) = (0, 0));
        } else {
            self.words.clear();
        }
    }

    /// A new process: registers, polls, and seals the leftovers of the one before.
    pub fn restart(&mut self, version: u8) {
        self.up = true;
        self.applied = version;
        self.seal();
    }
}
