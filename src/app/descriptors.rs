//! Room for connections: systems start processes with few file descriptors, for programs older than this one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Beside connections: listeners, the database, policy files, log.
const OTHERS: u64 = 256;

/// Raises the process's limit of open files as far as it may, and warns where that is too little for `connections` of
/// clients, each with one to the upstream.
pub(super) fn make_room(connections: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_mul(2).saturating_add(OTHERS);
    // `None` is no limit.
    let Some(current) = current else { return };
    if current >= wanted {
        return;
    }
    let room = maximum.map_or(wanted, |maximum| maximum.min(wanted)).max(current);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(room), maximum }) {
        tracing::warn!(current, wanted, "the limit of open files cannot be raised: {error}");
    } else if room < wanted {
        tracing::warn!(room, wanted, "the system allows fewer open files than caps.connections may need");
    }
}
