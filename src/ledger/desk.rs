//! The ledger's place in one tenant's compiled rights: its account, and the tabs by which it is charged.

use std::sync::Arc;

use arc_swap::{ArcSwapOption, Guard};

use super::{account::Account, shared::Shared, tab::Tab};
use crate::domain::{rights::Rights, route::Charge};

/// A desk remembers so many tabs besides its first: more different charges than a tenant is likely to need.
const MORE: usize = 15;

/// Each compiled rights have one of their own. It is known to its account, which clears it of tabs whose words are sealed:
/// a sealed word is let go of when nobody can be charged by it any more.
#[derive(Debug)]
pub(super) struct Desk {
    pub account: Arc<Account>,
    /// Most tenants are charged in one way mostly.
    first: ArcSwapOption<Tab>,
    more: ArcSwapOption<Vec<Arc<Tab>>>,
}

impl Desk {
    /// The desk of these rights, opened at first use.
    pub fn of<'a>(shared: &Shared, rights: &'a Rights) -> Option<&'a Self> {
        rights.account.get_or_open(|| {
            let desk = Arc::new(Self {
                account: shared.accounts.open(&rights.tenant),
                first: ArcSwapOption::empty(),
                more: ArcSwapOption::empty(),
            });
            desk.account.know(&desk);
            desk
        })
    }

    /// What is mostly charged.
    pub fn first(&self) -> Guard<Option<Arc<Tab>>> {
        self.first.load()
    }

    /// The tab for these charges among the others.
    pub fn other(&self, charges: &[Charge]) -> Option<Arc<Tab>> {
        self.more.load().as_ref()?.iter().find(|tab| tab.is_for(charges)).cloned()
    }

    /// A tab that serves and is for these charges, or at least for the same meters in such a way that one for other units
    /// can be made of it.
    pub fn fitting(&self, charges: &[Charge], serves: impl Fn(&Tab) -> bool) -> Option<Arc<Tab>> {
        let first = self.first.load_full();
        let more = self.more.load();
        let known = || first.iter().chain(more.iter().flat_map(|more| more.iter())).filter(|tab| serves(tab));
        let same = known().find(|tab| tab.is_for(charges));
        same.or_else(|| known().find(|tab| tab.is_on(charges))).cloned()
    }

    /// Remembers a tab in the place of the one before it for the same charges.
    pub fn keep(&self, tab: &Arc<Tab>) {
        if !tab.is_regular() || tab.is_once() {
            return;
        }
        let first = self.first.load();
        match &*first {
            // A request from before the boundary of a period does not put the new one's tab away.
            Some(known) if known.is_like(tab) && known.is_later_than(tab) && !known.is_over() => {}
            Some(known) if !known.is_like(tab) && !known.is_over() => self.keep_besides(tab),
            _ => self.first.store(Some(Arc::clone(tab))),
        }
    }

    fn keep_besides(&self, tab: &Arc<Tab>) {
        self.more.rcu(|known| {
            let known = known.iter().flat_map(|known| known.iter()).filter(|known| !known.is_like(tab));
            let mut tabs: Vec<_> = std::iter::once(tab).chain(known).cloned().collect();
            tabs.truncate(MORE);
            Some(Arc::new(tabs))
        });
    }

    /// Lets go of tabs by which nothing can be charged any more.
    pub fn clear(&self) {
        let first = self.first.load();
        if first.as_ref().is_some_and(|tab| tab.is_over()) {
            self.first.compare_and_swap(&first, None);
        }
        if self.more.load().as_ref().is_some_and(|tabs| tabs.iter().any(|tab| tab.is_over())) {
            self.more.rcu(|tabs| {
                let open = tabs.iter().flat_map(|tabs| tabs.iter()).filter(|tab| !tab.is_over());
                let open: Vec<_> = open.cloned().collect();
                (!open.is_empty()).then(|| Arc::new(open))
            });
        }
    }

    /// Lets go of all tabs.
    pub fn forget(&self) {
        self.first.store(None);
        self.more.store(None);
    }
}
