//! The ledger file: words in memory that outlive the process.
//!
//! What a request spends must be on record even if the process is killed in the next instant, and no request can wait for
//! a disk or a database. So the words lie in a file that is mapped into memory: a spend is one compare-and-swap there,
//! without a system call, and the kernel still has it after `kill -9`. After a power loss it may not; the file is then
//! not believed, and the database counts everything that it had granted to this node as spent.
//!
//! # The file
//!
//! A header of one page, then segments of records, 256 bytes each. The file grows by whole segments, whose blocks are
//! reserved before they are mapped (a full disk is an error, not a signal) and locked in memory where the system lets
//! us. A mapped segment never moves and is never cut off.
//!
//! | header, from byte | |
//! |---|---|
//! | 0 | `plgledgr`, format version, checksum of the page (CRC-32) |
//! | 16 | the file's id |
//! | 32 | device, inode, and when the file was made: a copy differs in at least one |
//! | 56 | open count |
//! | 64 | bytes in a segment, segments |
//! | 72 | closed cleanly or not, boot known or not, lengths of the two names |
//! | 80 | boot id of the kernel |
//! | 96 | node |
//! | 352 | identity of the database |
//!
//! | record, from byte | |
//! |---|---|
//! | 0 | the word: used with its seal, granted, refunded; each with a check of its own (see `word.rs`) |
//! | 24 | state: free, in use; any other is damage |
//! | 32 | checksum of the description, with the file's id and the record's number |
//! | 40 | the description: seq, incarnation, start, end, epoch, span, the windows it was counted in, tenant, meter, of a grant the counting |
//!
//! A record is described, its word set to zero, and only then marked as in use: a crash in between leaves a free record.
//! It is marked free when its last totals are acknowledged, and used again when, besides, nobody holds it any more.
//!
//! # What is believed
//!
//! The words of a file are believed after a crash ([`Found::Leftovers`]) if the header is whole, and its node, database
//! and boot are ours; if the file is the very one in which it was written; if the database knows of no later opening;
//! and if every record in use is whole. Otherwise the file is set aside ([`Found::SetAside`]) beside its successor, as
//! evidence, and nothing of it counts. One damaged record is reason enough: it shows that something else writes there.
//! A clean stop has returned everything ([`Found::Clean`]); then the words do not matter.
//!
//! The open count is written to the file first and to the database after; the file of a node that died in between is
//! ahead, which is no reason to doubt it. One that is behind is an older state of itself.
//!
//! # What cannot be told
//!
//! - A virtual machine that is resumed from a snapshot of its memory goes on with the words of the snapshot: same boot,
//!   same file, same process. It is found out when it next tells the database what it has counted, not before.
//! - Whoever cuts the file short while it is mapped ends the process (SIGBUS) at its next look at the missing part.
//! - A file system that mounts under another device number after a restart of its container makes its file look like a
//!   copy: the file is set aside, and units that were not returned count as spent.
//! - On a file system that copies on write, reserved blocks do not promise that there is room for their next version.
//!
//! # Example
//! ```
//! use plangate::ledger::file::{Found, Identity, LedgerFile, boot_id};
//! # let folder = tempfile::tempdir()?;
//! # let data_dir = folder.path();
//! let locked = LedgerFile::lock(data_dir)?;
//! // ... here the node registers under `locked.id()` and learns which database it talks to ...
//! let identity = Identity { node: "a".into(), database: "7301".into(), boot: boot_id() };
//! let (file, found) = locked.open(&identity, 0)?;
//! assert!(matches!(found, Found::New));
//! // ... here the database records `file.open_count()`; at the end, with everything returned:
//! file.close_clean()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod disk;
mod error;
mod folder;
mod header;
mod locked;
mod mapping;
mod record;
mod records;
mod recover;

use std::{
    fmt,
    ops::Deref,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use uuid::Uuid;

pub use error::{FileError, SetAsideReason};
pub use locked::LockedFile;
pub use recover::Leftover;

use super::word::Word;
use crate::{
    domain::{
        period::Windows,
        time::{UnixMillis, Version},
    },
    ports::SlotKey,
};
use mapping::Place;
use records::Records;

/// Whose words a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The node's name, at most 255 bytes.
    pub node: String,
    /// What the database says it is, at most 128 bytes.
    pub database: String,
    /// The kernel's boot id. `None`: not known, and no words are believed that were not closed cleanly.
    pub boot: Option<[u8; 16]>,
}

/// The boot id of the running kernel: new at each start of the machine. `None` where the system does not tell.
#[must_use]
pub fn boot_id() -> Option<[u8; 16]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let id = Uuid::try_parse(text.trim()).ok()?;
    (!id.is_nil()).then(|| id.into_bytes())
}

/// Where else a slot's charges are booked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Booking {
    /// Of a source: the windows in which they were counted, too.
    pub counted: Windows,
    /// The counting to which they belong. Of all but grants it is the bucket's own, and is not written down again.
    pub counting: Version,
}

/// What the file of this node was when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// There was none.
    New,
    /// The last run returned everything and closed it.
    Clean,
    /// The last runs ended otherwise; these are their words that were still in use. None: the runs held nothing, as far
    /// as the file knows. A slot that the database knows and that is not among them is lost, never unspent.
    Leftovers(Vec<Leftover>),
    /// It is not believed. Another one was begun.
    SetAside {
        /// Why.
        reason: SetAsideReason,
        /// Records that were in use, by what the file said.
        slots: usize,
    },
}

/// The size of a ledger file, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Records in use, leftovers too.
    pub in_use: usize,
    /// Records that there is room for without growing.
    pub capacity: usize,
    /// Bytes in the file, or in memory where there is no file.
    pub bytes: u64,
}

/// An open ledger file. Clones are the same file; it stays locked until the last of them and of its records is gone.
#[derive(Clone)]
pub struct LedgerFile(Arc<Mutex<Records>>);

impl LedgerFile {
    fn new(records: Records) -> Self {
        Self(Arc::new(Mutex::new(records)))
    }

    /// Locks the file `ledger` in this folder. Makes both if they are missing.
    ///
    /// # Errors
    /// [`FileError::InUse`] where another opening holds the file; others where it cannot be used.
    pub fn lock(data_dir: &Path) -> Result<LockedFile, FileError> {
        LockedFile::lock(data_dir)
    }

    /// The same in memory that ends with the process, for a node without a data folder.
    #[must_use]
    pub fn anonymous() -> Self {
        let stamp = header::Stamp { device: 0, inode: 0, born: 0 };
        let header = header::Header::blank(Uuid::now_v7(), stamp, locked::SEGMENT_BYTES);
        Self::new(Records::in_memory(header))
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name of the file.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.records().header().id
    }

    /// How often it was opened, this time included: to be recorded in the database.
    #[must_use]
    pub fn open_count(&self) -> u64 {
        self.records().header().opens
    }

    /// A new word for this slot, on record before this returns.
    ///
    /// # Errors
    /// [`FileError::Full`] where the file would have to grow and cannot; [`FileError::Closed`] after
    /// [`LedgerFile::close_clean`].
    pub fn record(&self, slot: &SlotKey, end: UnixMillis, booking: Booking) -> Result<Record, FileError> {
        let (place, index) = self.records().take(slot, end, booking)?;
        Ok(Record { place, index, released: AtomicBool::new(false), file: self.clone() })
    }

    /// Frees the records of leftovers, as the database knows what they counted.
    pub fn forget(&self, leftovers: &[Leftover]) {
        self.records().forget(leftovers);
    }

    /// Sets the file aside after all, with all leftovers, and begins a new one under the next open count: the database
    /// turned out to know more than it. To be called before the first record is taken.
    ///
    /// # Errors
    /// [`FileError::Held`] where records were taken and not released. Otherwise as [`LockedFile::open`]; the file cannot
    /// be used any more then.
    pub fn distrust(&self, reason: SetAsideReason) -> Result<Found, FileError> {
        self.records().distrust(reason)
    }

    /// Says durably that nothing is left to return: for the end of a clean stop, when the database knows all totals and
    /// nobody charges any more. No records are given out from here on.
    ///
    /// # Errors
    /// [`FileError`] where it cannot be written.
    pub fn close_clean(&self) -> Result<(), FileError> {
        self.records().close_clean()
    }

    /// Its size.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.records().figures()
    }
}

impl fmt::Debug for LedgerFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LedgerFile")
    }
}

/// A slot's word on record. Dropping it frees nothing: what it counted may not be recorded anywhere else yet.
pub struct Record {
    place: Place,
    index: u32,
    released: AtomicBool,
    file: LedgerFile,
}

impl Record {
    /// Takes the record off the file, as the database has acknowledged its last totals. The word stays this slot's as
    /// long as somebody holds it; only then is its place used again. Again: does nothing.
    pub fn release(&self) {
        if !self.released.swap(true, Ordering::AcqRel) {
            self.file.records().free(&self.place, self.index);
        }
    }
}

impl Deref for Record {
    type Target = Word;

    fn deref(&self) -> &Word {
        &self.place.word
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("index", &self.index).field("word", &**self).finish_non_exhaustive()
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if *self.released.get_mut() {
            self.file.records().recycle(&self.place, self.index);
        }
    }
}
