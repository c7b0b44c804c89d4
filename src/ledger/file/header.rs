//! The file's first page: whose words these are, and whether they may be believed.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt, MetadataExt},
    time::SystemTime,
};

use uuid::Uuid;

use super::{error::SetAsideReason, mapping::RECORD_BYTES};

/// What the header takes in the file.
pub(super) const HEADER_BYTES: u64 = 4096;
const PAGE: usize = 4096;
const MAGIC: &[u8; 8] = b"plgledgr";
const VERSION: u32 = 1;

/// The longest node name, in bytes.
pub(super) const NODE_BYTES: usize = 255;
/// The longest identity of a database, in bytes.
pub(super) const DATABASE_BYTES: usize = 128;

/// Segments are whole pages, and not so large that one could not be had.
pub(super) const SEGMENT_UNIT: u32 = 4096;
pub(super) const SEGMENT_MOST: u32 = 1 << 30;
/// So many records can be numbered, and written as one signed number of bytes.
const RECORDS_MOST: u64 = u32::MAX as u64;
/// Open counts live in the database as signed numbers.
pub(super) const OPENS_MOST: u64 = i64::MAX.cast_unsigned();

/// What tells a file from a copy of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub device: u64,
    pub inode: u64,
    /// When the file was made, in nanoseconds; 0 where the file system does not tell. Inode numbers are used again
    /// soon: a copy put in the place of its original would otherwise often pass for it.
    pub born: u64,
}

impl Stamp {
    pub fn of(file: &File) -> io::Result<Self> {
        let data = file.metadata()?;
        let born = data.created().ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        let born = born.and_then(|at| u64::try_from(at.as_nanos()).ok()).unwrap_or(0);
        Ok(Self { device: data.dev(), inode: data.ino(), born })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub id: Uuid,
    pub node: String,
    pub database: String,
    pub stamp: Stamp,
    pub boot: Option<[u8; 16]>,
    /// How often the file was opened; 0: made, but never opened.
    pub opens: u64,
    pub clean: bool,
    pub segment_bytes: u32,
    pub segments: u32,
}

impl Header {
    /// Of a file that was never opened.
    pub fn blank(id: Uuid, stamp: Stamp, segment_bytes: u32) -> Self {
        Self {
            id,
            node: String::new(),
            database: String::new(),
            stamp,
            boot: None,
            opens: 0,
            clean: false,
            segment_bytes,
            segments: 0,
        }
    }

    pub fn records_per_segment(&self) -> u32 {
        self.segment_bytes / RECORD_BYTES as u32
    }

    /// Records in all segments. (`is_possible` keeps it in range.)
    pub fn capacity(&self) -> u32 {
        self.records_per_segment().saturating_mul(self.segments)
    }

    /// Where a segment begins; that of the first missing one is the file's length.
    pub fn offset(&self, segment: u32) -> u64 {
        HEADER_BYTES + u64::from(self.segment_bytes) * u64::from(segment)
    }

    pub fn is_possible(&self) -> bool {
        let sizes = (SEGMENT_UNIT..=SEGMENT_MOST).contains(&self.segment_bytes)
            && self.segment_bytes.is_multiple_of(SEGMENT_UNIT);
        let records = u64::from(self.records_per_segment()) * u64::from(self.segments);
        sizes && records <= RECORDS_MOST && self.opens <= OPENS_MOST
    }

    /// Writes it, and waits for the disk where `durably`.
    pub fn write(&self, file: &File, durably: bool) -> io::Result<()> {
        file.write_all_at(&self.encode(), 0)?;
        if durably { file.sync_all() } else { Ok(()) }
    }

    /// Reads it from a file of at least one page.
    pub fn read(file: &File) -> io::Result<Result<Self, SetAsideReason>> {
        if file.metadata()?.len() < HEADER_BYTES {
            return Ok(Err(SetAsideReason::Truncated));
        }
        let mut page = [0; PAGE];
        file.read_exact_at(&mut page, 0)?;
        Ok(Self::decode(&page))
    }

    pub fn encode(&self) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
        // Both are looked at before a header is made with them.
        let node = &self.node.as_bytes()[..self.node.len().min(NODE_BYTES)];
        let database = &self.database.as_bytes()[..self.database.len().min(DATABASE_BYTES)];
        put(0, MAGIC);
        put(8, &VERSION.to_le_bytes());
        put(16, self.id.as_bytes());
        put(32, &self.stamp.device.to_le_bytes());
        put(40, &self.stamp.inode.to_le_bytes());
        put(48, &self.stamp.born.to_le_bytes());
        put(56, &self.opens.to_le_bytes());
        put(64, &self.segment_bytes.to_le_bytes());
        put(68, &self.segments.to_le_bytes());
        put(72, &[self.clean.into(), self.boot.is_some().into(), node.len() as u8, database.len() as u8]);
        put(80, &self.boot.unwrap_or_default());
        put(96, node);
        put(352, database);
        let sum = checksum(&page);
        page[12..16].copy_from_slice(&sum.to_le_bytes());
        page
    }

    pub fn decode(page: &[u8; PAGE]) -> Result<Self, SetAsideReason> {
        if page[..8] != *MAGIC {
            return Err(SetAsideReason::DamagedHeader);
        }
        let version = number(page, 8);
        if version != VERSION {
            return Err(SetAsideReason::UnknownVersion(version));
        }
        if number(page, 12) != checksum(page) {
            return Err(SetAsideReason::DamagedHeader);
        }
        let [clean, booted, node, database] = [72, 73, 74, 75].map(|at| page[at]);
        let text = |at: usize, length: u8| {
            let bytes = page[at..at + usize::from(length)].to_vec();
            String::from_utf8(bytes).map_err(|_| SetAsideReason::DamagedHeader)
        };
        let header = Self {
            id: Uuid::from_bytes(array(page, 16)),
            node: text(96, node)?,
            database: text(352, database)?,
            stamp: Stamp { device: long(page, 32), inode: long(page, 40), born: long(page, 48) },
            boot: (booted == 1).then(|| array(page, 80)),
            opens: long(page, 56),
            clean: clean == 1,
            segment_bytes: number(page, 64),
            segments: number(page, 68),
        };
        if header.is_possible() { Ok(header) } else { Err(SetAsideReason::DamagedHeader) }
    }
}

fn array<const N: usize>(page: &[u8; PAGE], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&page[at..at + N]);
    bytes
}

fn number(page: &[u8; PAGE], at: usize) -> u32 {
    u32::from_le_bytes(array(page, at))
}

fn long(page: &[u8; PAGE], at: usize) -> u64 {
    u64::from_le_bytes(array(page, at))
}

/// Of the whole page but the checksum's own four bytes.
fn checksum(page: &[u8; PAGE]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&page[..12]);
    sum.update(&page[16..]);
    sum.finalize()
}
