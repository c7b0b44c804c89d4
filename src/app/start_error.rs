//! Why a node did not start, and which key of the configuration is to be mended.

use std::net::SocketAddr;

use crate::{
    credentials::SettingsError,
    ledger::file::FileError,
    policy::Report,
    ports::{RegisterError, StoreError},
    store::ConnectError,
};

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The policies have errors.
    #[error("the policies have errors:\n{}", .0.render(false))]
    Policies(Report),
    /// The data folder cannot be used.
    #[error("data_dir: {0}")]
    DataDir(#[from] FileError),
    /// An address cannot be listened on.
    #[error("{key}: `{address}`: expected an address that is free and this machine's: {source}")]
    Listen {
        /// The configuration's key.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The database's address or schema is of no use.
    #[error("database: {0}")]
    Database(ConnectError),
    /// The database refuses what an earlier run has left to record.
    #[error("database: what the run before has used cannot be recorded: {0}")]
    Leftovers(StoreError),
    /// Another node has the name.
    #[error("node: {0}")]
    Name(RegisterError),
    /// Identity is configured in a way that cannot work.
    #[error("{}: {source}", identity_key(source))]
    Identity {
        /// What is wrong.
        #[from]
        source: SettingsError,
    },
    /// A file that the configuration names cannot be read.
    #[error("{key}: `{file}`: expected a readable file: {source}")]
    File {
        /// The configuration's key.
        key: &'static str,
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// A key's value does not fit the rest.
    #[error("{key}: {detail}")]
    Value {
        /// The key.
        key: &'static str,
        /// The value, and what was expected.
        detail: String,
    },
    /// It was told to stop before it was ready.
    #[error("stopped before it was ready")]
    Stopped,
    /// The system refused threads or files.
    #[error("the system refused: {0}")]
    System(#[from] std::io::Error),
}

const fn identity_key(error: &SettingsError) -> &'static str {
    match error {
        SettingsError::HeaderTaken(_) => "identity.api_key_header",
        _ => "identity.jwt",
    }
}

impl StartError {
    /// The key of the configuration that the message begins with.
    #[must_use]
    pub const fn key(&self) -> Option<&'static str> {
        match self {
            Self::DataDir(_) => Some("data_dir"),
            Self::Database(_) | Self::Leftovers(_) => Some("database"),
            Self::Name(_) => Some("node"),
            Self::Identity { source } => Some(identity_key(source)),
            Self::Listen { key, .. } | Self::File { key, .. } | Self::Value { key, .. } => Some(key),
            Self::Policies(_) | Self::Stopped | Self::System(_) => None,
        }
    }
}
