//! What becomes of a file that was found: whether its words are believed, judged before any of them is opened.

use std::{fs::File, io, os::unix::fs::FileExt};

use super::{
    Booking, Identity,
    error::SetAsideReason,
    header::{HEADER_BYTES, Header},
    mapping::RECORD_BYTES,
    record::{self, Reading},
};
use crate::{domain::time::UnixMillis, ledger::word::Totals, ports::SlotKey};

/// Read at once.
const CHUNK: usize = 1 << 20;

/// Of a file that is not believed, so much is looked at to say how many slots it held.
const LOOKED_AT: u64 = 1 << 30;

/// A slot of an earlier run, as its record had it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// The slot.
    pub slot: SlotKey,
    /// The period's end.
    pub end: UnixMillis,
    /// Where else its charges are booked.
    pub booking: Booking,
    /// What was counted.
    pub totals: Totals,
    pub(super) index: u32,
}

#[derive(Debug)]
pub(super) enum Verdict {
    New,
    Clean,
    Leftovers(Vec<Leftover>),
    Refused(SetAsideReason),
}

/// Judges a file with this header; `opens` is the count that the database knows.
pub(super) fn judge(file: &File, header: &Header, identity: &Identity, opens: u64) -> io::Result<Verdict> {
    let refused = |reason| Ok(Verdict::Refused(reason));
    let fresh = header.opens == 0;
    if !fresh && header.node != identity.node {
        return refused(SetAsideReason::AnotherNode(header.node.clone()));
    }
    if !fresh && header.database != identity.database {
        return refused(SetAsideReason::AnotherDatabase(header.database.clone()));
    }
    if header.opens < opens {
        return refused(SetAsideReason::Outdated { own: header.opens, database: opens });
    }
    if file.metadata()?.len() < header.offset(header.segments) {
        return refused(SetAsideReason::Truncated);
    }
    if fresh {
        return Ok(Verdict::New);
    }
    if header.clean {
        return Ok(Verdict::Clean);
    }
    if identity.boot.is_none() || identity.boot != header.boot {
        // Even where none is in use by what the disk holds, an older state of it may have been: then the database
        // misses the records of its slots.
        return match count_in_use(file)? {
            0 => Ok(Verdict::Leftovers(Vec::new())),
            _ => refused(SetAsideReason::AnotherBoot),
        };
    }
    leftovers(file, header)
}

fn leftovers(file: &File, header: &Header) -> io::Result<Verdict> {
    let mut found = Vec::new();
    let mut damaged = None;
    each_record(file, header.offset(header.segments), |index, bytes| {
        match record::read(header.id, index, bytes) {
            Reading::Free => {}
            Reading::Damaged => damaged = Some(index),
            Reading::InUse(slot, end, booking, totals) => {
                found.push(Leftover { slot, end, booking, totals, index });
            }
        }
        damaged.is_none()
    })?;
    Ok(match damaged {
        Some(index) => Verdict::Refused(SetAsideReason::DamagedRecord(index)),
        None => Verdict::Leftovers(found),
    })
}

/// How many records say that they are in use, whatever else they say.
pub(super) fn count_in_use(file: &File) -> io::Result<usize> {
    let mut count = 0;
    let end = file.metadata()?.len().min(LOOKED_AT);
    each_record(file, end, |_, bytes| {
        count += usize::from(record::is_in_use(bytes));
        true
    })?;
    Ok(count)
}

/// Hands over the whole records before `end`, until told to stop.
fn each_record(
    file: &File,
    end: u64,
    mut look: impl FnMut(u32, &[u8; RECORD_BYTES]) -> bool,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let (mut at, mut index) = (HEADER_BYTES, 0_u32);
    while at < end {
        let length = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK) / RECORD_BYTES * RECORD_BYTES;
        if length == 0 {
            break;
        }
        file.read_exact_at(&mut chunk[..length], at)?;
        for bytes in chunk[..length].as_chunks().0 {
            if !look(index, bytes) {
                return Ok(());
            }
            index = index.saturating_add(1);
        }
        at += length as u64;
    }
    Ok(())
}
