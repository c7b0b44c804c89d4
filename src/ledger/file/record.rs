//! A record: the description of a slot beside its word, and how both are read back.

use std::sync::atomic::Ordering;

use uuid::Uuid;

use super::mapping::{RECORD_BYTES, RawRecord};
use crate::{
    domain::{
        id::{MeterId, TenantId},
        period::Windows,
        time::{UnixMillis, Version},
    },
    ledger::{
        file::Booking,
        word::{Totals, Word},
    },
    ports::{BucketKey, Incarnation, SlotKey, Span},
};

/// The states of a record. Far apart, so that damage does not turn one into the other.
const FREE: u64 = 0;
const IN_USE: u64 = 0xa3c5_96e7_1b4d_782f;

/// Bytes kept for an id (they have 63 at most).
const TEXT: usize = 64;
const DESCRIPTION: usize = 27;

type Description = [u64; DESCRIPTION];

/// A record that was read back.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reading {
    Free,
    /// Something that was never written so.
    Damaged,
    InUse(SlotKey, UnixMillis, Booking, Totals),
}

impl RawRecord {
    /// Takes a free record for a new slot. What a crash leaves between two of these steps is a free record.
    pub fn describe(&self, file: Uuid, index: u32, slot: &SlotKey, end: UnixMillis, booking: Booking) {
        let description = encode(slot, end, booking);
        for (cell, value) in self.description.iter().zip(description) {
            cell.store(value, Ordering::Release);
        }
        self.checksum.store(checksum(file, index, &description), Ordering::Release);
        self.word.clear();
        self.state.store(IN_USE, Ordering::SeqCst);
    }

    pub fn free(&self) {
        self.state.store(FREE, Ordering::SeqCst);
    }

    pub fn is_free(&self) -> bool {
        self.state.load(Ordering::SeqCst) == FREE
    }

    /// Whether it is in use for just this slot.
    pub fn is_of(&self, file: Uuid, index: u32, slot: &SlotKey) -> bool {
        let mut cells = [0; RECORD_BYTES / 8];
        cells[..3].copy_from_slice(&self.word.cells());
        cells[3] = self.state.load(Ordering::SeqCst);
        cells[4] = self.checksum.load(Ordering::Acquire);
        for (cell, stored) in cells[5..].iter_mut().zip(&self.description) {
            *cell = stored.load(Ordering::Acquire);
        }
        matches!(read_cells(file, index, &cells), Reading::InUse(found, ..) if found == *slot)
    }
}

/// Whether the bytes of a record say that it is in use, whatever else they say.
pub(super) fn is_in_use(bytes: &[u8]) -> bool {
    bytes.get(24..32) == Some(IN_USE.to_ne_bytes().as_slice())
}

/// Reads a record from its bytes. They may be any.
pub(super) fn read(file: Uuid, index: u32, bytes: &[u8; RECORD_BYTES]) -> Reading {
    let mut cells = [0; RECORD_BYTES / 8];
    for (cell, bytes) in cells.iter_mut().zip(bytes.as_chunks().0) {
        *cell = u64::from_ne_bytes(*bytes);
    }
    read_cells(file, index, &cells)
}

fn read_cells(file: Uuid, index: u32, cells: &[u64; RECORD_BYTES / 8]) -> Reading {
    let [used, granted, refunded, state, sum, description @ ..] = cells;
    match *state {
        FREE => return Reading::Free,
        IN_USE => {}
        _ => return Reading::Damaged,
    }
    if *sum != checksum(file, index, description) {
        return Reading::Damaged;
    }
    let totals = Word::from_cells([*used, *granted, *refunded]).check();
    match decode(description).zip(totals) {
        Some(((slot, end, booking), totals)) => Reading::InUse(slot, end, booking, totals),
        None => Reading::Damaged,
    }
}

/// Of the description, its place and its file: a page that got into another place or file is found, too.
fn checksum(file: Uuid, index: u32, description: &Description) -> u64 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(file.as_bytes());
    sum.update(&index.to_ne_bytes());
    for cell in description {
        sum.update(&cell.to_ne_bytes());
    }
    u64::from(sum.finalize())
}

/// By this number a span is written down: its place among all.
fn code(span: Span) -> usize {
    Span::ALL.iter().position(|one| *one == span).unwrap_or(usize::MAX)
}

fn encode(slot: &SlotKey, end: UnixMillis, booking: Booking) -> Description {
    let (high, low) = slot.incarnation.0.as_u64_pair();
    let (tenant, meter) = (slot.bucket.tenant.as_str(), slot.bucket.meter.as_str());
    let shape = [code(slot.bucket.span), tenant.len(), meter.len(), usize::from(booking.counted.bits())];
    let mut cells = [0; DESCRIPTION];
    cells[0] = slot.seq;
    cells[1] = high;
    cells[2] = low;
    cells[3] = slot.bucket.start.0.cast_unsigned();
    cells[4] = end.0.cast_unsigned();
    cells[5] = slot.bucket.epoch.0;
    // Four numbers below 64, a byte each.
    cells[6] = shape.into_iter().rev().fold(0, |all, one| (all << 8) | (one as u64 & 0xff));
    write_text(&mut cells[7..15], tenant);
    write_text(&mut cells[15..23], meter);
    if slot.bucket.span == Span::Grant {
        cells[23] = booking.counting.0;
    }
    cells
}

fn write_text(cells: &mut [u64], text: &str) {
    for (cell, part) in cells.iter_mut().zip(text.as_bytes().chunks(8)) {
        let mut bytes = [0; 8];
        bytes[..part.len()].copy_from_slice(part);
        *cell = u64::from_ne_bytes(bytes);
    }
}

fn read_text(cells: &[u64], length: u8) -> Option<String> {
    let bytes: Vec<u8> = cells.iter().flat_map(|cell| cell.to_ne_bytes()).take(TEXT).collect();
    let (text, rest) = bytes.split_at_checked(usize::from(length))?;
    let text = std::str::from_utf8(text).ok()?;
    rest.iter().all(|byte| *byte == 0).then(|| text.to_owned())
}

/// `None`: no slot is described so.
fn decode(cells: &Description) -> Option<(SlotKey, UnixMillis, Booking)> {
    let [span, tenant, meter, counted, rest @ ..] = cells[6].to_le_bytes();
    let span = *Span::ALL.get(usize::from(span))?;
    // Of all but grants the bucket itself tells the counting.
    let counting = Version(if span == Span::Grant { cells[23] } else { cells[5] });
    let used = if span == Span::Grant { 24 } else { 23 };
    let unused = cells[used..].iter().all(|cell| *cell == 0) && rest == [0; 4];
    let bucket = BucketKey {
        tenant: TenantId::parse(&read_text(&cells[7..15], tenant)?).ok()?,
        meter: MeterId::parse(&read_text(&cells[15..23], meter)?).ok()?,
        span,
        start: UnixMillis(cells[3].cast_signed()),
        epoch: Version(cells[5]),
    };
    let incarnation = Incarnation(Uuid::from_u64_pair(cells[1], cells[2]));
    let end = UnixMillis(cells[4].cast_signed());
    let slot = SlotKey { bucket, incarnation, seq: cells[0] };
    let possible = unused && slot.bucket.start < end && Windows::from_bits(counted).bits() == counted;
    possible.then_some((slot, end, Booking { counted: Windows::from_bits(counted), counting }))
}
