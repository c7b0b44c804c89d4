//! The records of an open file: which are free, and how there come to be more of them.

use std::{collections::HashSet, sync::Arc};

use super::{
    Booking, Figures, Found,
    disk::Disk,
    error::{FileError, SetAsideReason},
    header::{HEADER_BYTES, Header, OPENS_MOST, Stamp},
    mapping::{Place, Segment},
    recover::Leftover,
};
use crate::{domain::time::UnixMillis, ports::SlotKey};

#[derive(Debug)]
pub(super) struct Records {
    /// `None`: in memory alone.
    disk: Option<Disk>,
    header: Header,
    segments: Vec<Arc<Segment>>,
    free: Vec<u32>,
    /// This record and those after it were not used since the file was opened, and are free.
    unused: u32,
    in_use: usize,
    leftovers: HashSet<u32>,
    closed: bool,
}

impl Records {
    /// Records that end with the process.
    pub fn in_memory(header: Header) -> Self {
        Self {
            disk: None,
            header,
            segments: Vec::new(),
            free: Vec::new(),
            unused: 0,
            in_use: 0,
            leftovers: HashSet::new(),
            closed: false,
        }
    }

    /// Maps the file, frees all records but the leftovers', and writes the header.
    pub fn open(disk: Disk, header: Header, leftovers: &[Leftover]) -> Result<Self, FileError> {
        let end = header.offset(header.segments);
        disk.end_at(end)?;
        disk.reserve(0, end)?;
        let mut records = Self { disk: Some(disk), ..Self::in_memory(header) };
        for number in 0..records.header.segments {
            let segment = records.map(number)?;
            records.segments.push(segment);
        }
        records.leftovers = leftovers.iter().map(|leftover| leftover.index).collect();
        records.in_use = records.leftovers.len();
        records.sweep();
        if records.segments.is_empty() {
            records.grow()?;
        }
        records.write(true)?;
        Ok(records)
    }

    /// Frees all records that are not leftovers (only those of a file that was closed cleanly are not free by then).
    fn sweep(&mut self) {
        let all = (0_u32..).zip(self.segments.iter().flat_map(|segment| segment.records()));
        for (index, record) in all {
            if !self.leftovers.contains(&index) && !record.is_free() {
                record.free();
            }
        }
        self.unused = self.leftovers.iter().max().map_or(0, |last| last + 1);
        self.free = (0..self.unused).filter(|index| !self.leftovers.contains(index)).collect();
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Takes a free record for a slot: described, in use, and its word a new one.
    pub fn take(
        &mut self,
        slot: &SlotKey,
        end: UnixMillis,
        booking: Booking,
    ) -> Result<(Place, u32), FileError> {
        if self.closed {
            return Err(FileError::Closed);
        }
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                if self.unused >= self.header.capacity() {
                    self.grow()?;
                }
                self.unused += 1;
                self.unused - 1
            }
        };
        let Some(place) = self.place(index) else { return Err(FileError::Closed) };
        place.describe(self.header.id, index, slot, end, booking);
        self.in_use += 1;
        Ok((place, index))
    }

    fn place(&self, index: u32) -> Option<Place> {
        let each = self.header.records_per_segment();
        let segment = self.segments.get((index / each) as usize)?;
        Place::of(segment, (index % each) as usize)
    }

    /// Whether the record is one of this file, not of one that was set aside since.
    fn owns(&self, place: &Place, index: u32) -> bool {
        let number = (index / self.header.records_per_segment()) as usize;
        self.segments.get(number).is_some_and(|segment| place.is_in(segment))
    }

    /// Marks a record free. It is not used again before [`Records::recycle`].
    pub fn free(&mut self, place: &Place, index: u32) {
        place.free();
        if self.owns(place, index) {
            self.in_use = self.in_use.saturating_sub(1);
        }
    }

    /// Lets a free record be used again, as nobody holds it any more.
    pub fn recycle(&mut self, place: &Place, index: u32) {
        if self.owns(place, index) {
            self.free.push(index);
        }
    }

    /// Frees the records of leftovers. Those that are free already, or are not of this file, stay as they are.
    pub fn forget(&mut self, leftovers: &[Leftover]) {
        for Leftover { slot, index, .. } in leftovers {
            let Some(place) = self.place(*index) else { continue };
            if self.leftovers.contains(index) && place.is_of(self.header.id, *index, slot) {
                self.leftovers.remove(index);
                self.free(&place, *index);
                self.recycle(&place, *index);
            }
        }
    }

    /// Sets the file aside and begins a new one.
    pub fn distrust(&mut self, reason: SetAsideReason) -> Result<Found, FileError> {
        if self.closed {
            return Err(FileError::Closed);
        }
        if self.in_use != self.leftovers.len() {
            return Err(FileError::Held);
        }
        let slots = self.in_use;
        // Where one of these steps fails, the file is of no use any more.
        self.closed = true;
        self.header.opens = self.header.opens.saturating_add(1).min(OPENS_MOST);
        match &mut self.disk {
            Some(disk) if !disk.is_loose() => {
                disk.begin_anew()?;
                self.header.stamp = Stamp::of(disk.file()).map_err(|error| disk.error(error))?;
                self.header.segments = 0;
                self.segments.clear();
                self.leftovers.clear();
                self.in_use = 0;
                self.sweep();
                self.grow()?;
            }
            _ => {
                for index in std::mem::take(&mut self.leftovers) {
                    let Some(place) = self.place(index) else { continue };
                    self.free(&place, index);
                    self.recycle(&place, index);
                }
            }
        }
        self.write(true)?;
        self.closed = false;
        Ok(Found::SetAside { reason, slots })
    }

    /// Takes no records any more, and says durably that nothing was left to return.
    pub fn close_clean(&mut self) -> Result<(), FileError> {
        self.closed = true;
        self.header.clean = true;
        self.write(true)
    }

    fn write(&self, durably: bool) -> Result<(), FileError> {
        self.disk.as_ref().map_or(Ok(()), |disk| disk.write(&self.header, durably))
    }

    /// Adds a segment: room on the disk first, then the mapping, then the header that counts it.
    fn grow(&mut self) -> Result<(), FileError> {
        let number = self.header.segments;
        let mut header = self.header.clone();
        header.segments = number.saturating_add(1);
        if !header.is_possible() {
            let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(self.error(full));
        }
        if let Some(disk) = &self.disk {
            disk.reserve(header.offset(number), u64::from(header.segment_bytes))?;
        }
        let segment = self.map(number)?;
        if let Some(disk) = &self.disk {
            // Not durably: what the header counts matters only to the next run of the same boot.
            disk.write(&header, false)?;
        }
        self.header = header;
        self.segments.push(segment);
        Ok(())
    }

    fn map(&self, number: u32) -> Result<Arc<Segment>, FileError> {
        let bytes = self.header.segment_bytes as usize;
        let Some(disk) = &self.disk else {
            return Segment::of_memory(bytes).map(Arc::new).map_err(|error| self.error(error));
        };
        let segment = Segment::of_file(disk.file(), self.header.offset(number), bytes);
        let segment = segment.map_err(|error| disk.error(error))?;
        if let Err(error) = segment.keep_in_memory() {
            tracing::debug!(%error, "the ledger file may be swapped out: its pages cannot be locked in memory");
        }
        Ok(Arc::new(segment))
    }

    fn error(&self, source: std::io::Error) -> FileError {
        match &self.disk {
            Some(disk) => disk.error(source),
            None => FileError::of("the ledger's memory")(source),
        }
    }

    pub fn figures(&self) -> Figures {
        let segments = self.header.offset(self.header.segments) - HEADER_BYTES;
        Figures {
            in_use: self.in_use,
            capacity: self.header.capacity() as usize,
            bytes: if self.disk.is_some() { segments + HEADER_BYTES } else { segments },
        }
    }
}
