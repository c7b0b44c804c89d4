//! Where an issuer's keys come from, and how they are kept current.

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
    Algorithm, Refusal,
    fetch::{DOCUMENT, FetchError, Fetcher},
    jwks::{KeySet, NotAKeySet, VerificationKey},
    refresh::{Asked, Refresh},
};
use crate::domain::time::UnixMillis;

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
#[derive(Debug, Default)]
pub(super) struct Generation(AtomicU64);

impl Generation {
    pub(super) fn now(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// An issuer's keys.
pub(super) enum KeySource {
    /// A shared secret.
    Secret(VerificationKey),
    /// A set that its owner may change.
    Published(Box<Published>),
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
    Url { url: Uri, fetcher: Arc<Fetcher>, refresh: Refresh },
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
        Self::new(issuer, Origin::Url { url, fetcher: Arc::clone(fetcher), refresh }, generation, timing)
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
    pub(super) async fn reload(&self) -> Result<(), LoadError> {
        match &self.origin {
            Origin::File(path) => {
                let path = path.clone();
                let reading = tokio::task::spawn_blocking(move || read(&path)).await;
                self.take(&reading.map_err(|_| LoadError::Interrupted)??)?;
            }
            Origin::Url { url, fetcher, .. } => self.take(&fetcher.get(url).await?)?,
        }
        Ok(())
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
        let Origin::Url { refresh, .. } = &self.origin else {
            return self.poll_file().await;
        };
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

impl KeySource {
    /// Checks a signature.
    pub(super) fn verify(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        signed: &str,
        signature: &str,
    ) -> Result<(), Refusal> {
        let verified = match self {
            Self::Secret(key) => Some(key.verifies(algorithm, signed, signature)),
            Self::Published(published) => published.keys.load().verify(kid, algorithm, signed, signature),
        };
        match verified {
            Some(true) => Ok(()),
            // Without a name, a newer key may be the one that was meant.
            Some(false) if kid.is_none() && matches!(self, Self::Published(_)) => Err(Refusal::UnknownKey),
            Some(false) => Err(Refusal::Invalid("the signature does not verify")),
            None => Err(Refusal::UnknownKey),
        }
    }

    /// Asks for newer keys; see [`Refresh::ask`]. A file and a secret are as new as they get.
    pub(super) fn ask(&self, now: UnixMillis) -> Option<Asked> {
        match self.refresh() {
            Some(refresh) => refresh.ask(now),
            None => Some(Asked::Current),
        }
    }

    /// Waits for the keys that were asked for.
    pub(super) async fn asked(&self) -> Asked {
        match self.refresh() {
            Some(refresh) => refresh.done().await,
            None => Asked::Current,
        }
    }

    fn refresh(&self) -> Option<&Refresh> {
        match self {
            Self::Published(published) => match &published.origin {
                Origin::Url { refresh, .. } => Some(refresh),
                Origin::File(_) => None,
            },
            Self::Secret(_) => None,
        }
    }

    /// Keeps the keys current, for ever.
    pub(super) async fn keep_current(&self) {
        match self {
            Self::Published(published) => published.keep_current().await,
            Self::Secret(_) => std::future::pending().await,
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
