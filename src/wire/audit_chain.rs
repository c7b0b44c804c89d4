//! Verifies an audit log, line by line: finds what was edited, deleted, inserted or moved, and where.

use std::fmt;

use serde_json::Value;

use super::audit::{GENESIS, HASHED, hash_of};

/// A line and its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The line's place in the log.
    pub cursor: u64,
    /// Its hash.
    pub hash: String,
}

/// What is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The first line that is wrong or missing, as far as there is one.
    pub cursor: Option<u64>,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cursor {
            Some(cursor) => write!(f, "line {cursor}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl std::error::Error for Broken {}

fn broken<T>(cursor: u64, what: impl Into<String>) -> Result<T, Broken> {
    Err(Broken { cursor: Some(cursor), what: what.into() })
}

/// Lines that are not there.
fn missing(first: u64, last: u64) -> Broken {
    let what = if first == last {
        "it is missing: it was deleted".to_owned()
    } else {
        format!("it and all up to line {last} are missing: they were deleted")
    };
    Broken { cursor: Some(first), what }
}

/// How far a log was read, and what it must yet agree with.
#[derive(Debug, Clone)]
pub struct Chain {
    /// Lines up to it have no hashes; `None`: nobody said which.
    start: Option<u64>,
    /// What the first line follows; `None`: whatever it says itself.
    anchor: Option<Link>,
    /// The last line that was read and has a hash, or the anchor.
    last: Option<Link>,
    /// The last line that was read and has none.
    older: u64,
    unchained: u64,
    chained: u64,
    heads: Vec<Link>,
    /// The log begins no later than after this line.
    begins: Option<u64>,
}

/// What was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Lines that are as they were written.
    pub lines: u64,
    /// Lines before the chain began, of which nothing can be said.
    pub unchained: u64,
    /// What the first line of the chain follows: the last that was tidied away, or a hash of zeros.
    pub after: Option<Link>,
    /// The last line.
    pub last: Option<Link>,
}

impl Chain {
    /// Of a log of which nothing else is known.
    #[must_use]
    pub const fn unknown() -> Self {
        let (older, unchained, chained) = (0, 0, 0);
        Self {
            start: None,
            anchor: None,
            last: None,
            older,
            unchained,
            chained,
            heads: Vec::new(),
            begins: None,
        }
    }

    /// Of a log that begins after a line that was tidied away; lines up to `start` are older than the chain.
    #[must_use]
    pub fn after(anchor: Link, start: u64) -> Self {
        Self { start: Some(start), anchor: Some(anchor.clone()), last: Some(anchor), ..Self::unknown() }
    }

    /// A line that the log must have, such as one that was written down elsewhere. To be said before that line is read.
    pub fn expect(&mut self, head: Link) {
        self.heads.push(head);
    }

    /// The log must have all lines after this one, which was its anchor when a head was written down.
    pub fn expect_after(&mut self, anchor: &Link) {
        self.begins = Some(self.begins.map_or(anchor.cursor, |begins| begins.min(anchor.cursor)));
    }

    /// The last line that was read.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last.as_ref().map_or(self.older, |last| last.cursor)
    }

    /// How many lines were read.
    #[must_use]
    pub const fn read_so_far(&self) -> u64 {
        self.unchained + self.chained
    }

    /// Reads the next line, as the admin API shows it.
    ///
    /// # Errors
    /// [`Broken`]: it is not what was written there.
    pub fn read(&mut self, line: &Value) -> Result<(), Broken> {
        let cursor = form(line)?;
        let text = |name: &str| line.get(name).and_then(Value::as_str);
        match (text("previous"), text("hash")) {
            (None, None) => self.read_unchained(cursor),
            (Some(previous), Some(hash)) => self.read_chained(cursor, previous, hash, line),
            _ => broken(cursor, "it has only one of `previous` and `hash`: it was edited"),
        }
    }

    fn read_unchained(&mut self, cursor: u64) -> Result<(), Broken> {
        if self.chained > 0 || self.start.is_some_and(|start| cursor > start) {
            return broken(cursor, "it has no hash: it was edited, or inserted");
        }
        if self.anchor.as_ref().is_some_and(|anchor| Some(anchor.cursor) != self.start) {
            return broken(cursor, "it is older than the last line that was tidied away: it was inserted");
        }
        if cursor <= self.older {
            return broken(cursor, format!("it stands after line {}: it was moved, or inserted", self.older));
        }
        self.older = cursor;
        self.unchained += 1;
        Ok(())
    }

    fn read_chained(&mut self, cursor: u64, previous: &str, hash: &str, line: &Value) -> Result<(), Broken> {
        let last = match &self.last {
            Some(last) => last.clone(),
            None if self.unchained > 0 && previous != GENESIS => {
                return broken(cursor, "lines before it lost their hashes: they were edited");
            }
            None => Link { cursor: cursor.saturating_sub(1), hash: previous.to_owned() },
        };
        if cursor <= last.cursor {
            let what = format!("it stands after line {}: it was moved, or is there twice", last.cursor);
            return broken(cursor, what);
        }
        if cursor > last.cursor + 1 {
            return Err(missing(last.cursor + 1, cursor - 1));
        }
        if hash_of(line) != hash {
            return broken(cursor, "its hash is not that of what it says: it was edited");
        }
        if previous != last.hash {
            let what = format!(
                "it does not follow from line {}: one of the two was exchanged, with a hash of its own",
                last.cursor
            );
            return broken(cursor, what);
        }
        if self.anchor.is_none() {
            self.anchor = Some(last);
        }
        self.agrees(cursor, hash)?;
        self.last = Some(Link { cursor, hash: hash.to_owned() });
        self.chained += 1;
        Ok(())
    }

    /// Whether a line is what the expected heads say of it.
    fn agrees(&self, cursor: u64, hash: &str) -> Result<(), Broken> {
        let mut heads = self.heads.iter();
        if heads.any(|head| head.cursor == cursor && head.hash != hash) {
            return broken(cursor, "its hash is not that of the head: the log was rewritten up to here");
        }
        Ok(())
    }

    /// Ends: the log has no further line.
    ///
    /// # Errors
    /// [`Broken`]: a line that must be there is not, or nothing can be said of an expected one.
    pub fn finish(self) -> Result<Verified, Broken> {
        let nothing = Link { cursor: 0, hash: GENESIS.to_owned() };
        let last = self.last.clone().unwrap_or(nothing);
        let first = self.anchor.clone().unwrap_or_else(|| last.clone());
        for head in &self.heads {
            if head.cursor > last.cursor {
                return Err(missing(last.cursor + 1, head.cursor));
            }
            if head.cursor == first.cursor && head.hash != first.hash {
                return broken(head.cursor, "the oldest line kept does not follow from it");
            }
            if head.cursor < first.cursor {
                let what = format!(
                    "the head names this line, and the oldest kept is {}: if older ones were tidied away, give a newer \
                     head; if not, they were deleted",
                    first.cursor + 1
                );
                return broken(head.cursor, what);
            }
        }
        if let Some(begins) = self.begins.filter(|begins| *begins < first.cursor) {
            return Err(missing(begins + 1, first.cursor));
        }
        let Self { unchained, chained: lines, anchor: after, .. } = self;
        Ok(Verified { lines, unchained, after, last: self.last })
    }
}

/// The line's place; all its fields are there, and none besides.
fn form(line: &Value) -> Result<u64, Broken> {
    let cursor = line.get("cursor").and_then(Value::as_u64);
    let no_line = |what: String| Err(Broken { cursor, what });
    let Some(fields) = line.as_object() else {
        return no_line("what stands here is no line of an audit log".to_owned());
    };
    for name in HASHED.iter().chain(&["hash"]) {
        if !fields.contains_key(*name) {
            return no_line(format!("it has no `{name}`: it was edited"));
        }
    }
    if fields.len() != HASHED.len() + 1 {
        return no_line("it has a field that no line has: it was edited".to_owned());
    }
    let hashes = [&fields["previous"], &fields["hash"]];
    if hashes.iter().any(|hash| !hash.is_null() && !hash.is_string()) {
        return no_line("its hashes are no texts: it was edited".to_owned());
    }
    match cursor {
        Some(cursor) if cursor > 0 => Ok(cursor),
        _ => no_line("what stands here has no place in the log".to_owned()),
    }
}
