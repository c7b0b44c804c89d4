//! One page of the change feed: what is in it, up to which version it is whole, and whether something is missing before.

use crate::{domain::time::Version, ports::ChangeRow};

/// Changes in one answer to a poll.
pub(super) const PAGE: usize = 5_000;

/// A page.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) changes: Vec<ChangeRow>,
    pub(super) upto: Version,
    pub(super) gap: bool,
}

/// Makes a page of the changes after `applied`, oldest first, of which at most one more than [`PAGE`] was read.
///
/// Every version has at least one change and none is left out, so the first after `applied` is its successor; any other
/// means that older ones were pruned, or that the database was set back to an earlier state.
pub(super) fn page(applied: Version, head: Version, mut changes: Vec<ChangeRow>) -> Page {
    let everything_outdated = Page { changes: Vec::new(), upto: head, gap: true };
    let whole = match changes.first() {
        Some(first) => first.version.0 == applied.0.saturating_add(1),
        None => head == applied,
    };
    if !whole {
        return everything_outdated;
    }
    let Some(cut) = changes.get(PAGE).map(|beyond| beyond.version) else {
        return Page { changes, upto: head, gap: false };
    };
    // A version whose changes do not all fit is left for the next page.
    changes.retain(|change| change.version < cut);
    if changes.is_empty() {
        return everything_outdated;
    }
    Page { changes, upto: Version(cut.0.saturating_sub(1)), gap: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{id::TenantId, time::UnixMillis};

    fn rows(versions: impl IntoIterator<Item = u64>) -> Vec<ChangeRow> {
        let tenant = TenantId::parse("acme").unwrap();
        versions
            .into_iter()
            .map(|version| ChangeRow {
                version: Version(version),
                tenant: Some(tenant.clone()),
                kind: "tenant.put".into(),
                at: UnixMillis(0),
            })
            .collect()
    }

    #[test]
    fn whole_pages() {
        let nothing = page(Version(7), Version(7), Vec::new());
        assert_eq!(nothing, Page { changes: Vec::new(), upto: Version(7), gap: false });
        let two = page(Version(7), Version(9), rows([8, 9]));
        assert_eq!((two.changes.len(), two.upto, two.gap), (2, Version(9), false));
    }

    #[test]
    fn what_was_pruned_or_set_back_is_a_gap() {
        for (applied, head, changes) in
            [(7, 12, rows([10, 11, 12])), (7, 12, Vec::new()), (7, 3, Vec::new()), (7, 3, rows([]))]
        {
            let page = page(Version(applied), Version(head), changes);
            assert_eq!((page.changes.len(), page.upto, page.gap), (0, Version(head), true));
        }
    }

    #[test]
    fn a_version_is_never_cut_in_two() {
        let most = PAGE as u64;
        let cut = page(Version(0), Version(most + 50), rows(1..=most + 1));
        assert_eq!((cut.changes.len(), cut.upto), (PAGE, Version(most)));
        let shared = rows((1..=most - 1).chain([most, most]));
        let cut = page(Version(0), Version(most), shared);
        assert_eq!((cut.changes.len(), cut.upto, cut.gap), (PAGE - 1, Version(most - 1), false));
        let one_bulk = page(Version(0), Version(1), rows(std::iter::repeat_n(1, PAGE + 1)));
        assert!(one_bulk.gap);
        assert_eq!(one_bulk.upto, Version(1));
    }
}
