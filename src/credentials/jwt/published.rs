//! A set of keys in a file or behind a URL, and how it is kept current.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use http::Uri;

use super::{
    Algorithm,
    fetch::{DOCUMENT, FetchError, Fetcher},
    jwks::{KeySet, NotAKeySet},
    refresh::Refresh,
};

/// How often keys are looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// A URL, after a success.
    pub(crate) url: Duration,
    /// A URL, after a first failure; each further one doubles it.
    pub(crate) retry: Duration,
    /// A URL, after many failures.
    pub(crate) retry_at_most: Duration,
    /// A file.
    pub(crate) file: Duration,
    /// A URL, because requests ask for it.
    pub(crate) asked: Duration,
    /// How long such a request waits.
    pub(crate) patience: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            url: Duration::from_secs(300),
            retry: Duration::from_secs(1),
            retry_at_most: Duration::from_secs(60),
            file: Duration::from_secs(3),
            asked: Duration::from_secs(30),
            patience: Duration::from_secs(3),
        }
    }
}

/// Counts changes of keys: what was concluded from older ones is not used any more.
///
/// On a cache line of its own: every request reads it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Generation(AtomicU64);

impl Generation {
    pub(super) fn now(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// A set of keys that its owner may change.
pub(super) struct Published {
    issuer: String,
    origin: Origin,
    keys: ArcSwap<KeySet>,
    /// SHA-256 of the document that the keys are from; `None` before the first.
    document: Mutex<Option<Vec<u8>>>,
    generation: Arc<Generation>,
    timing: Timing,
}

enum Origin {
    File(PathBuf),
    Url(Box<Remote>),
}

struct Remote {
    url: Uri,
    fetcher: Arc<Fetcher>,
    refresh: Refresh,
}

/// Why keys could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    /// No document.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// No file, or it cannot be read.
    #[error("it cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// A folder, a pipe, a device.
    #[error("it is not a regular file")]
    NotAFile,
    /// Too much.
    #[error("it has more than 1 MiB")]
    TooLong,
    /// Something else.
    #[error(transparent)]
    NotAKeySet(#[from] NotAKeySet),
    /// The reading task was lost.
    #[error("the reading was interrupted")]
    Interrupted,
}

impl Published {
    /// The keys in a file, read at once.
    pub(super) fn file(
        issuer: &str,
        path: &Path,
        generation: &Arc<Generation>,
        timing: Timing,
    ) -> Result<Self, LoadError> {
        let source = Self::new(issuer, Origin::File(path.to_owned()), generation, timing);
        source.take(&read(path)?)?;
        Ok(source)
    }

    /// The keys behind a URL, fetched by [`Published::keep_current`].
    pub(super) fn url(
        issuer: &str,
        url: Uri,
        fetcher: &Arc<Fetcher>,
        generation: &Arc<Generation>,
        timing: Timing,
    ) -> Self {
        let refresh = Refresh::new(timing.asked, timing.patience);
        let remote = Remote { url, fetcher: Arc::clone(fetcher), refresh };
        Self::new(issuer, Origin::Url(Box::new(remote)), generation, timing)
    }

    fn new(issuer: &str, origin: Origin, generation: &Arc<Generation>, timing: Timing) -> Self {
        Self {
            issuer: issuer.to_owned(),
            origin,
            keys: ArcSwap::default(),
            document: Mutex::new(None),
            generation: Arc::clone(generation),
            timing,
        }
    }

    /// How many keys are usable.
    pub(super) fn usable(&self) -> usize {
        self.keys.load().len()
    }

    /// See [`KeySet::verify`].
    pub(super) fn verify(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        signed: &str,
        signature: &str,
    ) -> Option<bool> {
        self.keys.load().verify(kid, algorithm, signed, signature)
    }

    /// Where requests ask for newer keys. A file is read so often that nobody needs to.
    pub(super) fn refresh(&self) -> Option<&Refresh> {
        match &self.origin {
            Origin::Url(remote) => Some(&remote.refresh),
            Origin::File(_) => None,
        }
    }

    fn take(&self, document: &[u8]) -> Result<(), NotAKeySet> {
        let sum = digest::digest(&digest::SHA256, document).as_ref().to_vec();
        let mut known = self.document.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref() == Some(&sum) {
            return Ok(());
        }
        let (keys, skipped) = KeySet::parse(document)?;
        for key in &skipped {
            tracing::warn!(issuer = self.issuer, place = key.place, reason = key.reason, "a key is not used");
        }
        if keys.len() == 0 {
            tracing::warn!(
                issuer = self.issuer,
                "the issuer publishes no usable key: all its tokens are refused"
            );
        } else {
            tracing::info!(issuer = self.issuer, keys = keys.len(), "the issuer's keys were read");
        }
        self.keys.store(Arc::new(keys));
        *known = Some(sum);
        // After the keys: what was concluded from the older ones has the older generation.
        self.generation.0.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Reads the keys anew. On a failure the old ones stay.
    async fn reload(&self) -> Result<(), LoadError> {
        match &self.origin {
            Origin::File(path) => {
                let path = path.clone();
                let reading = tokio::task::spawn_blocking(move || read(&path)).await;
                self.take(&reading.map_err(|_| LoadError::Interrupted)??)?;
            }
            Origin::Url(remote) => self.take(&remote.fetcher.get(&remote.url).await?)?,
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn reload_file(&self) {
        if let Origin::File(path) = &self.origin {
            self.take(&read(path).unwrap()).unwrap();
        }
    }

    async fn reload_and_tell(&self) -> bool {
        match self.reload().await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(issuer = self.issuer, %error, "the issuer's keys cannot be read; the old ones stay");
                false
            }
        }
    }

    /// Reads the keys again and again. Never ends.
    pub(super) async fn keep_current(&self) {
        let Some(refresh) = self.refresh() else { return self.poll_file().await };
        let mut pause = self.timing.retry;
        loop {
            let wait = if refresh.serve(self.reload_and_tell()).await {
                pause = self.timing.retry;
                self.timing.url
            } else {
                let wait = pause;
                pause = (pause * 2).min(self.timing.retry_at_most);
                wait
            };
            // Whichever comes first; that nobody asked in time is no error.
            let _ = tokio::time::timeout(wait, refresh.wanted()).await;
        }
    }

    async fn poll_file(&self) {
        let mut told = false;
        loop {
            tokio::time::sleep(self.timing.file).await;
            // A file that stays unreadable is told of once, not every few seconds.
            told = match self.reload().await {
                Ok(()) => false,
                Err(_) if told => true,
                Err(error) => {
                    tracing::warn!(issuer = self.issuer, %error, "the issuer's keys cannot be read; the old ones stay");
                    true
                }
            };
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    // Opening a pipe would wait for its writer.
    if !fs::metadata(path)?.is_file() {
        return Err(LoadError::NotAFile);
    }
    let mut document = Vec::new();
    fs::File::open(path)?.take(DOCUMENT as u64 + 1).read_to_end(&mut document)?;
    if document.len() > DOCUMENT { Err(LoadError::TooLong) } else { Ok(document) }
}
