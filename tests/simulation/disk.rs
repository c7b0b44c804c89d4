//! A node's ledger file, in memory: it survives the process, and the harness can do to it what power losses and bad disks
//! do.

use std::{fs::File, os::unix::fs::FileExt};

use plangate::ledger::file::LockedFile;
use rustix::fs::{MemfdFlags, memfd_create};

use super::seed::Seed;

const PAGE: usize = 4096;
/// So few records in a segment that files grow.
const SEGMENT: u32 = 2 * PAGE as u32;

/// What can happen to the file while nobody has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    None,
    /// Another boot; each page is as it was, or as it was written back some time before.
    PowerLost,
    /// A page is zero.
    Torn,
    /// One bit, or two, are others.
    Flipped,
}

pub struct Disk {
    file: File,
    /// What was written back at some time.
    written: Vec<u8>,
    boots: u8,
}

impl Disk {
    pub fn new() -> Self {
        let file = memfd_create("ledger", MemfdFlags::CLOEXEC).unwrap();
        Self { file: file.into(), written: Vec::new(), boots: 1 }
    }

    pub fn lock(&self) -> LockedFile {
        LockedFile::over(self.file.try_clone().unwrap()).unwrap().with_segment_bytes(SEGMENT)
    }

    pub fn boot(&self) -> Option<[u8; 16]> {
        Some([self.boots; 16])
    }

    fn read(&self) -> Vec<u8> {
        let length = self.file.metadata().unwrap().len();
        let mut bytes = vec![0; usize::try_from(length).unwrap()];
        self.file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    /// The kernel writes back what is in memory.
    pub fn write_back(&mut self) {
        self.written = self.read();
    }

    pub fn suffer(&mut self, harm: Harm, seed: &mut Seed) {
        let mut bytes = self.read();
        match harm {
            Harm::None => return,
            Harm::PowerLost => {
                self.boots += 1;
                for (now, then) in bytes.chunks_mut(PAGE).zip(self.written.chunks(PAGE)) {
                    if now.len() == then.len() && seed.chance(50) {
                        now.copy_from_slice(then);
                    }
                }
            }
            Harm::Torn => {
                let pages = bytes.len() / PAGE;
                let at = seed.below(pages) * PAGE;
                bytes[at..at + PAGE].fill(0);
            }
            Harm::Flipped => {
                let at = seed.below(bytes.len());
                bytes[at] ^= 1 << seed.below(8);
                bytes[at] ^= 1 << seed.below(8);
            }
        }
        self.file.write_all_at(&bytes, 0).unwrap();
    }
}
