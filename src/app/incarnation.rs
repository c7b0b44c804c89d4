//! The file that says which run of this node was the last, and that holds other processes off while this one runs.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
};

use crate::ports::Incarnation;

/// The lock on a node's data folder, held as long as this value lives.
#[derive(Debug)]
pub struct IncarnationFile {
    file: File,
    path: PathBuf,
    previous: Option<Incarnation>,
}

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The folder or the file cannot be made or written.
    #[error("{}: cannot be used: {source}", path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process runs on the same folder.
    #[error("{}: another plangate process is using this folder; give each node its own data_dir", .0.display())]
    InUse(PathBuf),
}

impl IncarnationFile {
    /// Makes the folder if it is missing, and locks it.
    ///
    /// # Errors
    /// [`DataDirError`] names the path.
    pub fn lock(data_dir: &Path) -> Result<Self, DataDirError> {
        let unusable = |path: &Path| {
            let path = path.to_path_buf();
            move |source| DataDirError::Unusable { path, source }
        };
        std::fs::create_dir_all(data_dir).map_err(unusable(data_dir))?;
        let path = data_dir.join("incarnation");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(unusable(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DataDirError::InUse(data_dir.to_path_buf())),
            Err(TryLockError::Error(source)) => return Err(DataDirError::Unusable { path, source }),
        }
        let mut text = String::new();
        // A torn or foreign text is no incarnation: then nobody's place is taken.
        let _ = Read::by_ref(&mut file).take(64).read_to_string(&mut text);
        let previous = uuid::Uuid::try_parse(text.trim()).ok().map(Incarnation);
        Ok(Self { file, path, previous })
    }

    /// The run before this one. It is over: it held this lock as long as it lived.
    #[must_use]
    pub const fn previous(&self) -> Option<Incarnation> {
        self.previous
    }

    /// Notes down this run.
    ///
    /// # Errors
    /// [`DataDirError::Unusable`] where it cannot be written.
    pub fn record(&mut self, incarnation: Incarnation) -> Result<(), DataDirError> {
        let mut write = || {
            self.file.set_len(0)?;
            self.file.rewind()?;
            self.file.write_all(incarnation.0.to_string().as_bytes())?;
            self.file.sync_all()
        };
        write().map_err(|source| DataDirError::Unusable { path: self.path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time_and_the_next_knows_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = IncarnationFile::lock(folder.path()).unwrap();
        assert_eq!(first.previous(), None);
        let run = Incarnation(uuid::Uuid::now_v7());
        first.record(run).unwrap();
        assert!(matches!(IncarnationFile::lock(folder.path()), Err(DataDirError::InUse(_))));
        drop(first);
        assert_eq!(IncarnationFile::lock(folder.path()).unwrap().previous(), Some(run));
    }
}
