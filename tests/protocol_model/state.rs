//! What the model's world consists of: one database with one bucket, two nodes with their files, and what is on its way.

pub const NODES: usize = 2;

/// A word's name. The incarnation and `seq` are one number here: no two words of a node ever have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId {
    pub node: usize,
    pub seq: u8,
}

/// A word as its node has it, in the mapped file: it survives the process, not a loss of power.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word {
    pub slot: SlotId,
    /// Opened: what may be spent.
    pub granted: u8,
    /// What the database is believed to have granted: the compare of the next compare-and-set.
    pub believed: u8,
    pub used: u8,
    pub refunded: u8,
    pub sealed: bool,
    /// The process that charged it still runs, so that its requests may still give something back.
    pub live: bool,
    /// What was shipped of it so far: only the mutant that ships differences needs to know.
    pub shipped: (u8, u8),
}

impl Word {
    pub fn net(&self) -> u8 {
        self.used.saturating_sub(self.refunded)
    }

    pub fn has_room(&self) -> bool {
        !self.sealed && self.used < self.granted + self.refunded
    }
}

/// A slot as the database has it. `granted` is its own; the rest are the owner's totals as last recorded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Row {
    pub slot: SlotId,
    pub granted: u8,
    pub used: u8,
    pub refunded: u8,
    pub sealed: bool,
    /// Its node was declared lost: all that was granted counts as spent, for ever.
    pub lost: bool,
}

impl Row {
    pub fn net(&self) -> u8 {
        self.used.saturating_sub(self.refunded)
    }

    /// Units that the slot takes from its bucket.
    pub fn held(&self) -> u8 {
        if self.sealed && !self.lost { self.net() } else { self.granted.max(self.net()) }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Database {
    /// Which primary: a standby that is promoted has the next one.
    pub epoch: u8,
    /// The version of the limit.
    pub version: u8,
    pub allocated: u8,
    /// Somebody was refused: holders are to seal and return.
    pub wanted: bool,
    pub rows: Vec<Row>,
    /// Which nodes have shipped all their words to this primary.
    pub asserted: [bool; NODES],
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    pub up: bool,
    /// The version in force here.
    pub applied: u8,
    /// The database's epoch as far as heard.
    pub epoch: u8,
    /// A grant was asked for, and no answer has come.
    pub asking: bool,
    pub next_seq: u8,
    /// The file. At most the last word is open.
    pub words: Vec<Word>,
}

impl Node {
    pub fn open(&self) -> Option<usize> {
        self.words.iter().position(|word| !word.sealed)
    }
}

/// A word's totals on their way: a flush, or with `sealed` a return.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Totals {
    pub slot: SlotId,
    /// As the node knows it: a database that lost the grant takes the greater.
    pub granted: u8,
    pub used: u8,
    pub refunded: u8,
    pub sealed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    Ask {
        totals: Totals,
        version: u8,
        believed: u8,
    },
    Answer {
        slot: SlotId,
        epoch: u8,
        outcome: Outcome,
    },
    Ship(Totals),
    /// All words of a node, for a database of this epoch.
    Reassert {
        node: usize,
        epoch: u8,
        words: Vec<Totals>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The slot's new total.
    Granted(u8),
    Exhausted,
    /// The limit is another one by now.
    Stale,
    /// The slot is sealed, or not at the total that was believed but at this one.
    Refused(u8),
    /// Not every node has re-asserted its words yet.
    NotYet,
}

/// How often each thing may still happen.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Budget {
    pub refunds: u8,
    /// Words that are sealed though nobody wants their units: idle ones, or at a period's end.
    pub idles: u8,
    /// Reports of words that are still open.
    pub flushes: u8,
    /// Messages that arrive twice or more often.
    pub duplicates: u8,
    pub losses: u8,
    /// Answers that a node does not wait for any longer; they may still come.
    pub impatience: u8,
    pub crashes: u8,
    pub power_losses: u8,
    pub declared_lost: u8,
    pub failovers: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    pub database: Database,
    /// Where the standby stands that will be promoted: everything committed after it is lost then.
    pub standby: Option<Database>,
    pub nodes: [Node; NODES],
    /// In no order: any of them may arrive next. Kept sorted, so that equal states are equal.
    pub network: Vec<Message>,
    /// Units truly admitted, less those truly given back. Nobody in the world knows these numbers.
    pub admitted: u8,
    /// What P1 allows.
    pub ceiling: u8,
    /// The version of the last change that was answered to the administrator.
    pub answered: u8,
    pub left: Budget,
}
