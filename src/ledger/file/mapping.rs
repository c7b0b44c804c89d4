//! The segments in memory: the one file of this crate that may use `unsafe`.
//!
//! Everything in a mapped record is an atomic integer for which any bits are a value, so what another process or a
//! damaged disk puts into the file can be wrong but never undefined. What nothing can guard against is the file being
//! cut short under the mapping: touching a page that is gone ends the process (SIGBUS).

#![allow(unsafe_code, reason = "memory that lives in a file can be reached in no other way")]

use std::{fs::File, io, ops::Deref, ptr::NonNull, sync::Arc};

use memmap2::{MmapOptions, MmapRaw};

use crate::ledger::{atomic::AtomicU64, word::Word};

/// What a record takes in the file.
pub(super) const RECORD_BYTES: usize = 256;

/// A record as it lies in the file. What its numbers say is told in `record.rs`.
#[derive(Debug)]
#[repr(C)]
pub(super) struct RawRecord {
    pub word: Word,
    pub state: AtomicU64,
    pub checksum: AtomicU64,
    pub description: [AtomicU64; 27],
}

const _: () = assert!(size_of::<RawRecord>() == RECORD_BYTES && align_of::<RawRecord>() == 8);

/// Some records in one piece of memory that never moves.
#[derive(Debug)]
pub(super) struct Segment {
    map: MmapRaw,
    records: usize,
}

impl Segment {
    /// Maps a part of the file, which must be there and have its blocks.
    pub fn of_file(file: &File, offset: u64, bytes: usize) -> io::Result<Self> {
        Self::new(MmapOptions::new().offset(offset).len(bytes).map_raw(file)?)
    }

    /// The same without a file.
    pub fn of_memory(bytes: usize) -> io::Result<Self> {
        Self::new(MmapOptions::new().len(bytes).map_anon()?.into())
    }

    fn new(map: MmapRaw) -> io::Result<Self> {
        if !map.as_ptr().cast::<RawRecord>().is_aligned() {
            return Err(io::Error::other("the system mapped the file at an odd address"));
        }
        Ok(Self { records: map.len() / RECORD_BYTES, map })
    }

    /// Keeps the pages from being swapped out.
    pub fn keep_in_memory(&self) -> io::Result<()> {
        self.map.lock()
    }

    pub fn records(&self) -> &[RawRecord] {
        // SAFETY: the mapping is `records * RECORD_BYTES` bytes or longer, readable, writable, aligned (looked at in
        // `new`) and lives as long as `self`. `RawRecord` has that size (asserted above), is all atomics (so sharing
        // and changing it through `&` is allowed) and any bits are valid for it.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast::<RawRecord>(), self.records) }
    }
}

/// One record, which keeps its segment mapped.
#[derive(Debug)]
pub(super) struct Place {
    record: NonNull<RawRecord>,
    segment: Arc<Segment>,
}

// SAFETY: a `Place` gives out `&RawRecord` alone, which is `Sync` (all atomics), and its segment is `Send + Sync`.
unsafe impl Send for Place {}
// SAFETY: as above.
unsafe impl Sync for Place {}

impl Place {
    /// `None`: the segment has no such record.
    pub fn of(segment: &Arc<Segment>, index: usize) -> Option<Self> {
        let record = NonNull::from(segment.records().get(index)?);
        Some(Self { record, segment: Arc::clone(segment) })
    }

    /// Whether it lies in this very segment.
    pub fn is_in(&self, segment: &Arc<Segment>) -> bool {
        Arc::ptr_eq(&self.segment, segment)
    }
}

impl Deref for Place {
    type Target = RawRecord;

    fn deref(&self) -> &RawRecord {
        // SAFETY: it points into the mapping of `segment`, which `self` keeps alive and which never moves.
        unsafe { self.record.as_ref() }
    }
}
