//! Why a ledger file cannot be used, and why one that was found is not believed.

use std::{fmt, io, path::PathBuf};

/// Why a ledger file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The folder or the file cannot be made, read or written.
    #[error("{}: cannot be used: {source}", path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no room for it to grow.
    #[error("{}: cannot grow: {source}", path.display())]
    Full {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process runs on the same folder.
    #[error("{}: another plangate process is using this folder; give each node its own data_dir", .0.display())]
    InUse(PathBuf),
    /// A folder, a link, a pipe or a device is in the place of the file.
    #[error("{}: is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// A name that does not fit the header.
    #[error("the {what}'s name is too long: expected at most {most} bytes")]
    NameTooLong {
        /// Whose.
        what: &'static str,
        /// How much fits.
        most: usize,
    },
    /// A file is set aside only while nobody counts on it.
    #[error("the ledger file is in use and cannot be set aside")]
    Held,
    /// The file was closed.
    #[error("the ledger file is closed")]
    Closed,
}

impl FileError {
    /// What a failed operation on `path` means.
    pub(super) fn of(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full { path, source }
            }
            _ => Self::Unusable { path, source },
        }
    }
}

/// Why the words of a file that was found are not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetAsideReason {
    /// It was left by another boot of the machine: its last words may never have reached the disk. Also where the boot
    /// is not known.
    AnotherBoot,
    /// It is that of the node of this name.
    AnotherNode(String),
    /// It belongs to the database of this identity.
    AnotherDatabase(String),
    /// It is a copy of the file that it was.
    Copied,
    /// The database knows of later openings.
    Outdated {
        /// Openings that the file knows of.
        own: u64,
        /// Openings that the database knows of.
        database: u64,
    },
    /// The database knows of units that the file does not.
    BehindDatabase,
    /// It ends too soon.
    Truncated,
    /// The header was changed by something else.
    DamagedHeader,
    /// The record of this number was changed by something else.
    DamagedRecord(u32),
    /// It was written in another format.
    UnknownVersion(u32),
}

impl fmt::Display for SetAsideReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnotherBoot => f.write_str("the machine was started anew since, or it cannot be told"),
            Self::AnotherNode(node) => write!(f, "it is that of node `{}`", node.escape_debug()),
            Self::AnotherDatabase(database) => {
                write!(f, "it belongs to another database, `{}`", database.escape_debug())
            }
            Self::Copied => f.write_str("it is a copy"),
            Self::Outdated { own, database } => {
                write!(f, "it was opened {own} times and the database knows of {database}")
            }
            Self::BehindDatabase => f.write_str("the database knows of units that it does not"),
            Self::Truncated => f.write_str("it ends too soon"),
            Self::DamagedHeader => f.write_str("its header is damaged"),
            Self::DamagedRecord(record) => write!(f, "its record {record} is damaged"),
            Self::UnknownVersion(version) => write!(f, "it has format {version}, which is not known"),
        }
    }
}
