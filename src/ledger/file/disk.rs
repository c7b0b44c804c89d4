//! The file on its disk (or in memory, without a folder): where room is made and where one file follows another.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use rustix::{fs::FallocateFlags, io::Errno};

use super::{error::FileError, folder::Folder, header::Header};

const ZEROS: [u8; 4096] = [0; 4096];

#[derive(Debug)]
pub(super) struct Disk {
    file: File,
    /// `None`: the file lies nowhere in particular.
    folder: Option<Folder>,
}

impl Disk {
    /// Opens and locks the file of this folder. Whether it was made by this.
    pub fn lock(data_dir: &Path) -> Result<(Self, bool), FileError> {
        let folder = Folder::make(data_dir)?;
        let (file, made) = folder.lock()?;
        Ok((Self { file, folder: Some(folder) }, made))
    }

    pub fn loose(file: File) -> Self {
        Self { file, folder: None }
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    pub fn is_loose(&self) -> bool {
        self.folder.is_none()
    }

    /// What went wrong with the file.
    pub fn error(&self, source: io::Error) -> FileError {
        let path = self.folder.as_ref().map_or_else(|| PathBuf::from("the ledger file"), Folder::file);
        FileError::of(path)(source)
    }

    /// Puts an empty file in the place of this one, which is set aside. A loose one is emptied, but not made shorter:
    /// what may still be mapped must not go away.
    pub fn begin_anew(&mut self) -> Result<(), FileError> {
        match &self.folder {
            Some(folder) => {
                // The old file's lock is held until the new one has its own.
                self.file = folder.replace()?;
                Ok(())
            }
            None => self.zero_from(0),
        }
    }

    /// Leaves nothing after `length`: whole segments that the header does not count hold nobody's words.
    pub fn end_at(&self, length: u64) -> Result<(), FileError> {
        let longer = self.file.metadata().map_err(|error| self.error(error))?.len() > length;
        match (longer, self.is_loose()) {
            (false, _) => Ok(()),
            (true, true) => self.zero_from(length),
            (true, false) => self.file.set_len(length).map_err(|error| self.error(error)),
        }
    }

    fn zero_from(&self, from: u64) -> Result<(), FileError> {
        let zero = || {
            let length = self.file.metadata()?.len();
            zero(&self.file, from, length)
        };
        zero().map_err(|error| self.error(error))
    }

    /// Makes sure that the file has this part and its blocks: a full disk is to be an error here, not the end of the
    /// process when a mapped page cannot be had.
    pub fn reserve(&self, from: u64, bytes: u64) -> Result<(), FileError> {
        let reserved = loop {
            match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), from, bytes) {
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                    // A file system without that call: what is missing is written.
                    let length = self.file.metadata().map_err(|error| self.error(error))?.len();
                    break zero(&self.file, length.max(from), from + bytes);
                }
                other => break other.map_err(io::Error::from),
            }
        };
        reserved.map_err(|error| self.error(error))
    }

    /// Writes the header, and with `durably` waits for the disk.
    pub fn write(&self, header: &Header, durably: bool) -> Result<(), FileError> {
        header.write(&self.file, durably).map_err(|error| self.error(error))?;
        match &self.folder {
            Some(folder) if durably => folder.sync(),
            _ => Ok(()),
        }
    }
}

fn zero(file: &File, from: u64, to: u64) -> io::Result<()> {
    let mut at = from;
    while at < to {
        let length = usize::try_from(to - at).unwrap_or(ZEROS.len()).min(ZEROS.len());
        file.write_all_at(&ZEROS[..length], at)?;
        at += length as u64;
    }
    Ok(())
}
