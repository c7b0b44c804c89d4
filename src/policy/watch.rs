//! Keeps the catalog in force equal to the folder: whole and good, or as it was.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{compiled, diagnostic::Diagnostic, folder, report::Report};
use crate::{
    domain::{
        catalog::{Catalog, Digest},
        revision::PolicyFiles,
    },
    ports::Policies,
};

/// How often the folder is compared, whatever the system's notices say: they are lost on some file systems.
const POLL: Duration = Duration::from_secs(2);
/// An editor writes a file in several steps: what is read before it has been quiet for so long may be half of it.
const QUIET: Duration = Duration::from_millis(300);
/// How long a folder may keep changing before it is read all the same.
const MOST_QUIET_WAITS: u32 = 10;

/// The policies of a watched folder.
#[derive(Debug)]
pub struct Watched {
    /// `None`: nothing is watched.
    folder: Option<PathBuf>,
    catalog: ArcSwap<Catalog>,
    state: Mutex<State>,
    changed: watch::Sender<Arc<Catalog>>,
}

#[derive(Debug)]
struct State {
    /// What the catalog was compiled from.
    files: PolicyFiles,
    /// What was last read, good or bad: only something else is tried.
    fingerprint: String,
    last_error: Option<String>,
    reload_failures: u64,
    reloads: u64,
}

/// How the watched policies stand, for readiness and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyStatus {
    /// Of the catalog in force.
    pub digest: Digest,
    /// Why the folder as it is now is not in force; `None`: it is.
    pub last_error: Option<String>,
    /// Changes of the folder that were refused.
    pub reload_failures: u64,
    /// Changes of the folder that came into force.
    pub reloads: u64,
}

impl Watched {
    /// Loads the folder. It reads files: not for an async thread.
    ///
    /// # Errors
    /// The [`Report`] of everything that is wrong.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Arc<Self>, Report> {
        let folder = folder.into();
        let sources = folder::read(&folder);
        let (catalog, warnings) = compiled(&folder, &sources)?;
        log(&warnings);
        Ok(Self::of(Some(folder), catalog, sources.files(), sources.fingerprint()))
    }

    /// The policies of a node without a folder: nothing is allowed before there is something in the database.
    #[must_use]
    pub fn nothing() -> Arc<Self> {
        Self::of(None, Catalog::empty(Digest("".into())), PolicyFiles::default(), String::new())
    }

    fn of(folder: Option<PathBuf>, catalog: Catalog, files: PolicyFiles, fingerprint: String) -> Arc<Self> {
        let catalog = Arc::new(catalog);
        let state = State { files, fingerprint, last_error: None, reload_failures: 0, reloads: 0 };
        Arc::new(Self {
            folder,
            catalog: ArcSwap::from(Arc::clone(&catalog)),
            state: Mutex::new(state),
            changed: watch::Sender::new(catalog),
        })
    }

    /// Whether there is a folder.
    #[must_use]
    pub const fn is_a_folder(&self) -> bool {
        self.folder.is_some()
    }

    /// The files that its catalog was compiled from, and their digest.
    #[must_use]
    pub fn files(&self) -> (Digest, PolicyFiles) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (self.catalog.load().digest.clone(), state.files.clone())
    }

    /// How the policies stand.
    #[must_use]
    pub fn status(&self) -> PolicyStatus {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        PolicyStatus {
            digest: self.catalog.load().digest.clone(),
            last_error: state.last_error.clone(),
            reload_failures: state.reload_failures,
            reloads: state.reloads,
        }
    }

    /// Receives each catalog that comes into force.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Catalog>> {
        self.changed.subscribe()
    }

    /// Compares the folder with what was last read, and takes it over if it changed, holds still and is good. `true`:
    /// it is changing at this moment and nothing was decided. It reads files: not for an async thread.
    pub fn reload(&self) -> bool {
        let Some(folder) = &self.folder else { return false };
        let sources = folder::read(folder);
        let fingerprint = sources.fingerprint();
        if self.state.lock().unwrap_or_else(PoisonError::into_inner).fingerprint == fingerprint {
            return false;
        }
        let result = compiled(folder, &sources);
        // Compiling took a moment, and reading several files did: what changed meanwhile may be torn.
        if folder::read(folder).fingerprint() != fingerprint {
            return true;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.fingerprint = fingerprint;
        match result {
            Ok((catalog, warnings)) => {
                log(&warnings);
                state.last_error = None;
                if catalog.digest != self.catalog.load().digest {
                    state.files = sources.files();
                    state.reloads += 1;
                    tracing::info!(digest = %catalog.digest.0, plans = catalog.plans.len(), "policies reloaded");
                    let catalog = Arc::new(catalog);
                    self.catalog.store(Arc::clone(&catalog));
                    self.changed.send_replace(catalog);
                }
            }
            Err(report) => {
                state.reload_failures += 1;
                let text = report.render(false);
                let kept = &self.catalog.load().digest.0;
                tracing::error!(%kept, "the changed policies are not taken over, the last good ones stay\n{text}");
                state.last_error = Some(text);
            }
        }
        false
    }

    /// Follows the folder until `token` is cancelled. The caller spawns this on its background runtime.
    pub async fn watch(self: Arc<Self>, token: CancellationToken) {
        if self.folder.is_none() {
            return token.cancelled().await;
        }
        let (notice, mut notices) = mpsc::channel(1);
        let mut watcher = None;
        loop {
            watcher = self.clone().watching(watcher, notice.clone()).await;
            tokio::select! {
                () = token.cancelled() => return,
                () = tokio::time::sleep(POLL) => {}
                _ = notices.recv() => {
                    tokio::select! {
                        () = token.cancelled() => return,
                        () = quiet(&mut notices) => {}
                    }
                }
            }
            let this = Arc::clone(&self);
            match tokio::task::spawn_blocking(move || this.reload()).await {
                Ok(true) => {
                    // Look again soon; a notice that is already waiting does not matter.
                    let _ = notice.try_send(());
                }
                Ok(false) => {}
                Err(error) => tracing::error!(%error, "reading the policies failed"),
            }
        }
    }

    /// The watcher of the folder that is there now: a folder that was replaced is watched anew.
    async fn watching(self: Arc<Self>, old: Option<Attached>, notice: mpsc::Sender<()>) -> Option<Attached> {
        let attach = move || {
            let folder = self.folder.as_deref()?;
            let there = identity(folder)?;
            match old {
                Some(old) if old.identity == there => Some(old),
                _ => attach(folder, there, notice),
            }
        };
        tokio::task::spawn_blocking(attach).await.ok().flatten()
    }
}

fn attach(folder: &Path, identity: (u64, u64), notice: mpsc::Sender<()>) -> Option<Attached> {
    let told = move |event: notify::Result<notify::Event>| {
        // Our own reading is an event, too.
        if event.map_or(true, |event| !event.kind.is_access()) {
            let _ = notice.try_send(());
        }
    };
    let attached = notify::recommended_watcher(told).and_then(|mut watcher| {
        watcher.watch(folder, RecursiveMode::Recursive)?;
        Ok(Attached { identity, _watcher: watcher })
    });
    // Without notices there is still the comparison every other second.
    attached.map_err(|error| tracing::debug!(%error, "the policy folder is only polled")).ok()
}

struct Attached {
    identity: (u64, u64),
    _watcher: RecommendedWatcher,
}

fn identity(folder: &Path) -> Option<(u64, u64)> {
    fs::metadata(folder).ok().map(|found| (found.dev(), found.ino()))
}

/// Waits until no notice has come for a while.
async fn quiet(notices: &mut mpsc::Receiver<()>) {
    for _ in 0..MOST_QUIET_WAITS {
        if tokio::time::timeout(QUIET, notices.recv()).await.is_err() {
            return;
        }
        // Notices come in swarms; a pause between them lets the rest of this one pass.
        tokio::time::sleep(QUIET / 3).await;
    }
}

fn log(warnings: &[Diagnostic]) {
    for warning in warnings {
        let line = warning.location.span.map_or(0, |span| span.line);
        tracing::warn!(code = warning.code, file = %warning.location.file, line, "policies: {}", warning.message);
    }
}

impl Policies for Watched {
    fn catalog(&self) -> Arc<Catalog> {
        self.catalog.load_full()
    }
}
