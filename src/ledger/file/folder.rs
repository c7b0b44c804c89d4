//! The folder that a ledger file lies in: finding the file, locking it, and setting it aside.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use super::error::FileError;

const NAME: &str = "ledger";
const ASIDE: &str = "ledger.set-aside-";
/// So many files that were set aside are kept as evidence.
const KEPT: usize = 3;

#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Makes it if it is missing.
    pub fn make(path: &Path) -> Result<Self, FileError> {
        fs::create_dir_all(path).map_err(FileError::of(path))?;
        Ok(Self(path.to_path_buf()))
    }

    pub fn file(&self) -> PathBuf {
        self.0.join(NAME)
    }

    /// Opens and locks the file. Whether it was made by this.
    pub fn lock(&self) -> Result<(File, bool), FileError> {
        let path = self.file();
        let made = match fs::symlink_metadata(&path) {
            Ok(found) if found.is_file() => false,
            Ok(_) => return Err(FileError::NotAFile(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(FileError::of(path)(error)),
        };
        let file = match options().create_new(made).open(&path) {
            Ok(file) => file,
            // Another process was here since: it made the file, or is about to set it aside.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && made => {
                return Err(FileError::InUse(self.0.clone()));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && !made => {
                return Err(FileError::InUse(self.0.clone()));
            }
            Err(error) => return Err(FileError::of(path)(error)),
        };
        self.hold(&file)?;
        Ok((file, made))
    }

    fn hold(&self, file: &File) -> Result<(), FileError> {
        let path = self.file();
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FileError::InUse(self.0.clone())),
            Err(TryLockError::Error(source)) => return Err(FileError::of(path)(source)),
        }
        let held = file.metadata().map_err(FileError::of(&path))?;
        if !held.is_file() {
            return Err(FileError::NotAFile(path));
        }
        // Whoever held it may have set it aside between our opening and our locking it.
        match fs::symlink_metadata(&path) {
            Ok(named) if (named.dev(), named.ino()) == (held.dev(), held.ino()) => Ok(()),
            _ => Err(FileError::InUse(self.0.clone())),
        }
    }

    /// Renames the file, makes and locks a new one. The old one's lock is held until its owner drops it.
    pub fn replace(&self) -> Result<File, FileError> {
        let path = self.file();
        let mut aside = self.set_aside();
        let next = aside.last().map_or(0, |last| *last).saturating_add(1);
        let name = |number: u64| self.0.join(format!("{ASIDE}{number}"));
        fs::rename(&path, name(next)).map_err(FileError::of(&path))?;
        aside.push(next);
        let file = options().create_new(true).open(&path).map_err(FileError::of(&path))?;
        self.hold(&file)?;
        for old in aside.iter().rev().skip(KEPT) {
            if let Err(error) = fs::remove_file(name(*old)) {
                tracing::debug!(%error, file = %name(*old).display(), "an old ledger file cannot be removed");
            }
        }
        Ok(file)
    }

    /// The numbers of the files that were set aside, the oldest first.
    fn set_aside(&self) -> Vec<u64> {
        let Ok(entries) = fs::read_dir(&self.0) else { return Vec::new() };
        let mut found: Vec<u64> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.strip_prefix(ASIDE)?.parse().ok())
            // Others are not ours, and none could come after them.
            .filter(|number| *number < 1 << 53)
            .collect();
        found.sort_unstable();
        found
    }

    /// Makes what was made or renamed here outlive a power loss.
    pub fn sync(&self) -> Result<(), FileError> {
        File::open(&self.0).and_then(|folder| folder.sync_all()).map_err(FileError::of(&self.0))
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    // Without following a link, without waiting for the other end of a pipe.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    options.read(true).write(true).mode(0o600).custom_flags(flags.cast_signed());
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_set_aside_before_it_was_locked_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Folder::make(folder.path()).unwrap();
        let (first, made) = folder.lock().unwrap();
        assert!(made);
        let late = options().open(folder.file()).unwrap();
        let successor = folder.replace().unwrap();
        drop(first);
        assert!(matches!(folder.hold(&late), Err(FileError::InUse(_))));
        drop((late, successor));
        assert!(!folder.lock().unwrap().1);
    }
}
