//! A ledger file that is locked and looked at, before its words are touched.

use std::{fs::File, io, path::Path};

use uuid::Uuid;

use super::{
    Found, Identity, LedgerFile,
    disk::Disk,
    error::{FileError, SetAsideReason},
    header::{DATABASE_BYTES, Header, NODE_BYTES, OPENS_MOST, SEGMENT_MOST, SEGMENT_UNIT, Stamp},
    records::Records,
    recover::{Verdict, count_in_use, judge},
};

/// Segments are so large unless said otherwise: 4096 records.
pub(super) const SEGMENT_BYTES: u32 = 1 << 20;

/// A ledger file that no other process can use as long as this lives, and whose words are not touched yet.
#[derive(Debug)]
pub struct LockedFile {
    disk: Disk,
    found: Result<Header, SetAsideReason>,
    id: Uuid,
    segment_bytes: u32,
}

impl LockedFile {
    /// Locks the file of this folder. Makes both if they are missing.
    ///
    /// # Errors
    /// [`FileError`] names the path.
    pub fn lock(data_dir: &Path) -> Result<Self, FileError> {
        let (disk, made) = Disk::lock(data_dir)?;
        Self::new(disk, made)
    }

    /// Takes a file that is nowhere in particular, such as one in memory, and that nobody else uses. Where it is not
    /// believed it is begun anew in its place, and nothing of it is kept.
    ///
    /// # Errors
    /// [`FileError`] where it cannot be read or written.
    pub fn over(file: File) -> Result<Self, FileError> {
        let disk = Disk::loose(file);
        let length = disk.file().metadata().map_err(|error| disk.error(error))?.len();
        Self::new(disk, length == 0)
    }

    fn new(disk: Disk, made: bool) -> Result<Self, FileError> {
        let found = if made {
            // From here on the file has its name, however often the start fails before the first opening.
            let stamp = Stamp::of(disk.file()).map_err(|error| disk.error(error))?;
            let header = Header::blank(Uuid::now_v7(), stamp, SEGMENT_BYTES);
            disk.write(&header, true)?;
            Ok(header)
        } else {
            look(disk.file()).map_err(|error| disk.error(error))?
        };
        let id = found.as_ref().map_or_else(|_| Uuid::now_v7(), |header| header.id);
        Ok(Self { disk, found, id, segment_bytes: SEGMENT_BYTES })
    }

    /// Has a file that is begun anew grow by so many bytes at once, rounded up to whole pages.
    #[must_use]
    pub fn with_segment_bytes(self, bytes: u32) -> Self {
        let bytes = bytes.clamp(SEGMENT_UNIT, SEGMENT_MOST);
        Self { segment_bytes: bytes.next_multiple_of(SEGMENT_UNIT), ..self }
    }

    /// The name of the file: a new one where what was found is a copy or cannot be read. It stays the same through
    /// [`LockedFile::open`].
    #[must_use]
    pub const fn id(&self) -> Uuid {
        self.id
    }

    /// How often the file was opened.
    #[must_use]
    pub fn open_count(&self) -> u64 {
        self.found.as_ref().map_or(0, |header| header.opens)
    }

    /// Decides what the file is worth to this node and opens it, or a new one in its place. `opens_in_database` is the
    /// open count that the database last recorded for [`LockedFile::id`], 0 if none. When this returns, the file says
    /// durably that it is open, and under which count.
    ///
    /// # Errors
    /// [`FileError`] where the file cannot be read, written or grown.
    pub fn open(self, identity: &Identity, opens_in_database: u64) -> Result<(LedgerFile, Found), FileError> {
        identity.check()?;
        let opens = self.open_count().max(opens_in_database).saturating_add(1).min(OPENS_MOST);
        let Self { mut disk, found, id, segment_bytes } = self;
        let judged = match found {
            Ok(header) => judge(disk.file(), &header, identity, opens_in_database).map(|v| (v, Some(header))),
            Err(reason) => Ok((Verdict::Refused(reason), None)),
        };
        let (verdict, header) = judged.map_err(|error| disk.error(error))?;
        let found = match verdict {
            Verdict::New => Found::New,
            Verdict::Clean => Found::Clean,
            Verdict::Leftovers(leftovers) => Found::Leftovers(leftovers),
            Verdict::Refused(reason) => {
                let slots = count_in_use(disk.file()).map_err(|error| disk.error(error))?;
                disk.begin_anew()?;
                Found::SetAside { reason, slots }
            }
        };
        let mut header = match (header, &found) {
            (Some(header), Found::New | Found::Clean | Found::Leftovers(_)) => header,
            _ => {
                let stamp = Stamp::of(disk.file()).map_err(|error| disk.error(error))?;
                Header::blank(id, stamp, segment_bytes)
            }
        };
        if header.segments == 0 {
            header.segment_bytes = segment_bytes;
        }
        header.node.clone_from(&identity.node);
        header.database.clone_from(&identity.database);
        header.boot = identity.boot;
        header.opens = opens;
        header.clean = false;
        let leftovers = match &found {
            Found::Leftovers(leftovers) => leftovers.as_slice(),
            _ => &[],
        };
        let records = Records::open(disk, header, leftovers)?;
        Ok((LedgerFile::new(records), found))
    }
}

impl Identity {
    fn check(&self) -> Result<(), FileError> {
        if self.node.len() > NODE_BYTES {
            return Err(FileError::NameTooLong { what: "node", most: NODE_BYTES });
        }
        if self.database.len() > DATABASE_BYTES {
            return Err(FileError::NameTooLong { what: "database", most: DATABASE_BYTES });
        }
        Ok(())
    }
}

/// The header of a file that was found, unless it is damaged or that of another file.
fn look(file: &File) -> io::Result<Result<Header, SetAsideReason>> {
    let stamp = Stamp::of(file)?;
    Ok(Header::read(file)?
        .and_then(|header| if header.stamp == stamp { Ok(header) } else { Err(SetAsideReason::Copied) }))
}
