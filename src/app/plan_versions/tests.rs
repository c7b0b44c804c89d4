//! Catalogs made whole over a store that can go away: what is kept, what is put together, and what is in force when.

use std::{
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::*;
use crate::{
    app::in_force::InForce,
    clock::SystemClock,
    domain::{
        id::{PlanId, TenantId},
        period::{AnchorDay, BillingCalendar, Zone},
        plan::{Overage, PlanVersion},
        rights::Rights,
        subscription::Subscription,
        tenant::Tenant,
        time::Version,
        units::Units,
    },
    policy,
    ports::{Policies, Sold, SoldTerms},
};

/// Keeps plans in memory, as a database would.
#[derive(Default)]
struct Kept {
    plans: Mutex<BTreeMap<PlanRef, KeptPlan>>,
    sold: Mutex<BTreeMap<Sold, serde_json::Value>>,
    written: AtomicUsize,
    away: AtomicBool,
}

impl Kept {
    fn answer(&self) -> Result<(), StoreError> {
        match self.away.load(Ordering::Relaxed) {
            true => Err(StoreError::Unavailable("no route to host".to_owned())),
            false => Ok(()),
        }
    }

    fn written(&self) -> usize {
        self.written.swap(0, Ordering::Relaxed)
    }

    fn insert(&self, plan: &str, terms: serde_json::Value, introduced: i64) {
        let plan = PlanTerms { plan: plan.parse().unwrap(), terms };
        let kept = KeptPlan { plan: plan.clone(), introduced: UnixMillis(introduced) };
        self.plans.lock().unwrap().insert(plan.plan, kept);
    }
}

#[async_trait]
impl PlanStore for Kept {
    async fn keep_plans(&self, plans: &[PlanTerms], at: UnixMillis) -> Result<(), StoreError> {
        self.answer()?;
        let mut kept = self.plans.lock().unwrap();
        for plan in plans {
            self.written.fetch_add(1, Ordering::Relaxed);
            let new = KeptPlan { plan: plan.clone(), introduced: at };
            kept.entry(plan.plan.clone()).or_insert(new).plan.terms = plan.terms.clone();
        }
        Ok(())
    }

    async fn kept_plans(&self) -> Result<Vec<KeptPlan>, StoreError> {
        self.answer()?;
        Ok(self.plans.lock().unwrap().values().cloned().collect())
    }

    async fn keep_sold(&self, sold: &[SoldTerms]) -> Result<(), StoreError> {
        self.answer()?;
        let each = sold.iter().map(|one| (one.what.clone(), one.terms.clone()));
        self.sold.lock().unwrap().extend(each);
        Ok(())
    }

    async fn kept_sold(&self) -> Result<Vec<SoldTerms>, StoreError> {
        self.answer()?;
        let sold = self.sold.lock().unwrap();
        Ok(sold.iter().map(|(what, terms)| SoldTerms { what: what.clone(), terms: terms.clone() }).collect())
    }
}

fn over(kept: &Arc<Kept>) -> PlanVersions {
    PlanVersions::new(Arc::clone(kept) as _, Arc::new(SystemClock::default()))
}

/// A folder with the plans `free` and `pro`; what `pro` says.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(pro: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("features.yaml", "features: { chat: {}, export: {} }\nmeters: { requests: {} }\n");
        let route = "routes:\n  - { match: GET /chat, features: [chat], charge: { requests: 1 } }\n  - { match: GET /export, features: [export] }\n";
        folder.write("routes.yaml", route);
        folder.write("plans/free.yaml", "plan: free\nfeatures: [chat]\nquotas: { requests: 10 }\n");
        folder.pro(pro);
        folder
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn pro(&self, says: &str) {
        self.write("plans/pro.yaml", &format!("plan: pro\nextends: free\n{says}\n"));
    }

    fn catalog(&self) -> Arc<Catalog> {
        Arc::new(policy::load(self.path()).unwrap_or_else(|report| panic!("{}", report.render(false))).0)
    }
}

fn limit(plan: &Plan) -> u64 {
    plan.meters[0].quota.unwrap().month.limit().map_or(0, Units::get)
}

/// What a tenant on this version of `pro` may use.
fn limit_on(catalog: &Arc<Catalog>, version: u32, now: UnixMillis) -> (u64, u32) {
    let mut tenant = Tenant::new(TenantId::parse("acme").unwrap(), UnixMillis(0));
    let plan = PlanRef { id: PlanId::parse("pro").unwrap(), version: PlanVersion(version) };
    tenant.subscription = Some(Subscription::active(plan, AnchorDay::FIRST, Version(1), UnixMillis(0)));
    let rights = Rights::compile(&tenant, catalog, now).unwrap();
    let entitled = rights.entitlement.unwrap();
    (limit(&entitled.offer), entitled.plan_version.0)
}

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

#[tokio::test]
async fn what_is_kept_already_is_not_written_again() {
    let (kept, folder) = (Arc::new(Kept::default()), Folder::new("quotas: { requests: 20 }"));
    let versions = over(&kept);
    let whole = versions.complete(&folder.catalog(), Keep::All).await.unwrap();
    assert_eq!((kept.written(), whole.catalog.earlier.len(), whole.damaged.len()), (2, 0, 0));
    let first = whole.catalog.plans["pro"].introduced.unwrap();
    assert!(whole.catalog.plans.values().all(|plan| plan.introduced == Some(first)));
    // A restart, another node, a change of routes or of cases: nothing to write.
    folder.write("routes.yaml", "routes: [{ match: GET /chat, features: [chat, export] }]\n");
    let again = over(&kept).complete(&folder.catalog(), Keep::All).await.unwrap();
    assert_eq!((kept.written(), again.catalog.plans["pro"].introduced), (0, Some(first)));
    // Other terms under the same version: for everybody on it, and the version is no younger for it.
    folder.pro("quotas: { requests: 30 }");
    let edited = versions.complete(&folder.catalog(), Keep::All).await.unwrap().catalog;
    assert_eq!((kept.written(), edited.plans["pro"].introduced), (1, Some(first)));
    assert_eq!((edited.earlier.len(), limit_on(&edited, 1, NOW)), (0, (30, 1)));
}

#[tokio::test]
async fn tenants_on_an_older_version_keep_its_terms() {
    let (kept, folder) = (Arc::new(Kept::default()), Folder::new("quotas: { requests: 20 }"));
    let versions = over(&kept);
    versions.complete(&folder.catalog(), Keep::All).await.unwrap();
    folder.pro("version: 2\nfeatures: [export]\nquotas: { requests: 15 }");
    let second = versions.complete(&folder.catalog(), Keep::All).await.unwrap().catalog;
    assert_eq!((limit_on(&second, 1, NOW), limit_on(&second, 2, NOW)), ((20, 1), (15, 2)));
    // The version that a plan extended has changed under it: what it said is kept whole, not what it would inherit now.
    folder.write("plans/free.yaml", "plan: free\nfeatures: []\nquotas: { requests: 1 }\n");
    folder.pro("version: 3");
    let third = versions.complete(&folder.catalog(), Keep::All).await.unwrap().catalog;
    for (version, limit) in [(1, 20), (2, 15), (3, 1)] {
        assert_eq!(limit_on(&third, version, NOW), (limit, version));
    }
    let first = &third.earlier[&"pro@1".parse().unwrap()];
    assert!(first.features.contains(third.feature_ix("chat").unwrap()) && first.introduced.is_some());
    // A version that was never kept: as the file has it.
    assert_eq!(limit_on(&third, 9, NOW), (1, 3));
    // Back to an older number: those who came to the younger one stay on it. What the file inherits now is other terms
    // of its version, though, as an edit of the file would be.
    folder.pro("version: 2\nfeatures: [export]\nquotas: { requests: 15 }");
    kept.written();
    let back = versions.complete(&folder.catalog(), Keep::All).await.unwrap().catalog;
    assert_eq!(kept.written(), 1);
    assert!(!back.plans["pro"].features.contains(back.feature_ix("chat").unwrap()));
    for (version, limit) in [(1, 20), (2, 15), (3, 1)] {
        assert_eq!(limit_on(&back, version, NOW), (limit, version));
    }
    // Fronts have copies of their own of all of them.
    let copy = back.own_copy();
    for (reference, plan) in &back.earlier {
        assert!(!Arc::ptr_eq(plan, &copy.earlier[reference]) && *plan == copy.earlier[reference]);
    }
}

#[tokio::test]
async fn a_version_may_take_over_the_tenants_of_older_ones() {
    let (kept, folder) = (Arc::new(Kept::default()), Folder::new("quotas: { requests: 20 }"));
    let versions = over(&kept);
    versions.complete(&folder.catalog(), Keep::All).await.unwrap();
    folder.pro("version: 2\nexisting: next_period\nquotas: { requests: 15 }");
    let catalog = versions.complete(&folder.catalog(), Keep::All).await.unwrap().catalog;
    let introduced = catalog.plans["pro"].introduced.unwrap();
    let end = BillingCalendar::new(Zone::UTC, AnchorDay::FIRST).month(introduced).end;
    assert_eq!(limit_on(&catalog, 1, UnixMillis(end.0 - 1)), (20, 1));
    assert_eq!(limit_on(&catalog, 1, end), (15, 2));
    // Another node, a later start: the same instant, as the version is as old as before.
    let later = over(&kept).complete(&folder.catalog(), Keep::All).await.unwrap().catalog;
    assert_eq!((kept.written(), limit_on(&later, 1, end)), (3, (15, 2)));
    folder.pro("version: 2\nexisting: 2027-03-05\nquotas: { requests: 15 }");
    let dated = versions.complete(&folder.catalog(), Keep::All).await.unwrap().catalog;
    let day: jiff::Timestamp = "2027-03-05T00:00:00Z".parse().unwrap();
    assert_eq!(kept.written(), 0, "when tenants come is not among the terms");
    assert_eq!(limit_on(&dated, 1, UnixMillis(day.as_millisecond() - 1)), (20, 1));
    assert_eq!(limit_on(&dated, 1, day.into()), (15, 2));
}

#[tokio::test]
async fn names_that_go_away_come_back_and_a_plan_without_a_file_is_nobodys() {
    let (kept, folder) =
        (Arc::new(Kept::default()), Folder::new("features: [export]\nquotas: { requests: 20 }"));
    let versions = over(&kept);
    versions.complete(&folder.catalog(), Keep::All).await.unwrap();
    let features = std::fs::read_to_string(folder.path().join("features.yaml")).unwrap();
    folder.write("features.yaml", "features: { chat: {} }\nmeters: { requests: {} }\n");
    folder.write("routes.yaml", "routes: []\n");
    folder.pro("version: 2");
    let without = versions.complete(&folder.catalog(), Keep::All).await.unwrap().catalog;
    let first: PlanRef = "pro@1".parse().unwrap();
    assert_eq!(without.earlier[&first].features.iter().count(), 1);
    folder.write("features.yaml", &features);
    let with = versions.complete(&folder.catalog(), Keep::All).await.unwrap().catalog;
    assert!(with.earlier[&first].features.contains(with.feature_ix("export").unwrap()));

    std::fs::remove_file(folder.path().join("plans/pro.yaml")).unwrap();
    let gone = versions.complete(&folder.catalog(), Keep::All).await.unwrap().catalog;
    assert!(gone.earlier.is_empty() && gone.plan_in(&first).is_none());
    folder.pro("version: 2");
    let again = versions.complete(&folder.catalog(), Keep::All).await.unwrap().catalog;
    assert_eq!(limit_on(&again, 1, NOW), (20, 1));
}

#[tokio::test]
async fn two_nodes_with_different_folders_decide_by_their_own_files() {
    let kept = Arc::new(Kept::default());
    let (old, new) =
        (Folder::new("quotas: { requests: 20 }"), Folder::new("version: 2\nquotas: { requests: 15 }"));
    over(&kept).complete(&old.catalog(), Keep::All).await.unwrap();
    let on_new = over(&kept).complete(&new.catalog(), Keep::All).await.unwrap().catalog;
    assert_eq!((limit_on(&on_new, 1, NOW), limit_on(&on_new, 2, NOW)), ((20, 1), (15, 2)));
    // The node of before starts again, with its old files: both versions are as they were.
    let on_old = over(&kept).complete(&old.catalog(), Keep::All).await.unwrap().catalog;
    assert_eq!(kept.written(), 3);
    assert_eq!((limit_on(&on_old, 1, NOW), limit_on(&on_old, 2, NOW)), ((20, 1), (15, 2)));
    assert_eq!(limit(&on_old.plans["pro"]), 20);
    // The same version, other terms: each by its own.
    let third = Folder::new("version: 2\nquotas: { requests: 16 }");
    let on_third = over(&kept).complete(&third.catalog(), Keep::All).await.unwrap().catalog;
    assert_eq!((limit_on(&on_third, 2, NOW), limit_on(&on_new, 2, NOW)), ((16, 2), (15, 2)));
}

#[tokio::test]
async fn a_damaged_version_is_named_and_keeps_nobody_else_from_its_plan() {
    let (kept, folder) = (Arc::new(Kept::default()), Folder::new("version: 4\nquotas: { requests: 20 }"));
    kept.insert("pro@1", json!({ "quotas": { "requests": 5 } }), 1);
    kept.insert("pro@2", json!({ "quotas": { "requests": "many" } }), 2);
    kept.insert("pro@4", json!("damaged, too"), 4);
    let whole = over(&kept).complete(&folder.catalog(), Keep::All).await.unwrap();
    assert_eq!(whole.damaged.len(), 1);
    let said = &whole.damaged_in_words()[0];
    assert!(said.contains("version 2 of plan `pro`") && said.contains("`/quotas/requests`"), "{said}");
    for (version, is) in [(1, (5, 1)), (2, (20, 4)), (4, (20, 4))] {
        assert_eq!(limit_on(&whole.catalog, version, NOW), is);
    }
    assert_eq!(
        whole.catalog.plans["pro"].introduced,
        Some(UnixMillis(4)),
        "mended by the file, as old as before"
    );
    let shown = InForce::with(whole).remarks();
    assert_eq!(shown.len(), 1);
}

/// Follows a folder whose catalogs the test hands over.
struct Following {
    in_force: Arc<InForce>,
    catalogs: watch::Sender<Arc<Catalog>>,
    told: Arc<Mutex<Vec<u64>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Following {
    async fn start(kept: &Arc<Kept>, first: &Arc<Catalog>) -> Self {
        let versions = Arc::new(over(kept));
        let in_force = Arc::new(InForce::with(versions.complete(first, Keep::All).await.unwrap()));
        let (catalogs, receiver) = watch::channel(Arc::clone(first));
        let told: Arc<Mutex<Vec<u64>>> = Arc::default();
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (list, seen) = (Arc::clone(&told), Arc::clone(&in_force));
        let tell = move |catalog: Arc<Catalog>| {
            assert_ne!(seen.catalog().stamp, catalog.stamp, "told before it is in force");
            list.lock().unwrap().push(catalog.stamp.get());
        };
        tasks.spawn(Arc::clone(&in_force).follow(receiver, versions, tell, stop.clone()));
        tasks.close();
        Self { in_force, catalogs, told, tasks, stop }
    }

    async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    async fn stop(self) -> Vec<u64> {
        self.stop.cancel();
        self.tasks.wait().await;
        Arc::into_inner(self.told).unwrap().into_inner().unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_database_is_away_the_catalog_before_stays_in_force() {
    let (kept, folder) = (Arc::new(Kept::default()), Folder::new("quotas: { requests: 20 }"));
    let first = folder.catalog();
    let following = Following::start(&kept, &first).await;
    let in_force = Arc::clone(&following.in_force);
    following.settle().await;
    assert!(in_force.catalog().stamp == first.stamp && in_force.remarks().is_empty());

    kept.away.store(true, Ordering::Relaxed);
    folder.pro("version: 2\nquotas: { requests: 15 }");
    let second = folder.catalog();
    following.catalogs.send_replace(Arc::clone(&second));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(in_force.catalog().stamp, first.stamp);
    assert!(in_force.remarks()[0].contains("not in force yet: the database is not available"));

    kept.away.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(in_force.catalog().stamp == second.stamp && in_force.remarks().is_empty());
    assert_eq!(limit_on(&in_force.catalog(), 1, NOW), (20, 1), "with its earlier version");
    assert_eq!(following.stop().await, [second.stamp.get()]);
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_back_while_it_waits_waits_no_longer() {
    let (kept, folder) = (Arc::new(Kept::default()), Folder::new("quotas: { requests: 20 }"));
    let first = folder.catalog();
    let following = Following::start(&kept, &first).await;
    let in_force = Arc::clone(&following.in_force);
    following.settle().await;
    kept.away.store(true, Ordering::Relaxed);
    folder.pro("quotas: { requests: 15 }");
    following.catalogs.send_replace(folder.catalog());
    following.settle().await;
    assert_eq!(in_force.remarks().len(), 1);
    folder.pro("quotas: { requests: 20 }");
    following.catalogs.send_replace(folder.catalog());
    following.settle().await;
    assert!(in_force.catalog().stamp == first.stamp && in_force.remarks().is_empty());
    // The next one that waits is the newest alone.
    folder.pro("quotas: { requests: 16 }");
    following.catalogs.send_replace(folder.catalog());
    folder.pro("quotas: { requests: 17 }");
    let last = folder.catalog();
    following.catalogs.send_replace(Arc::clone(&last));
    following.settle().await;
    kept.away.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(in_force.catalog().stamp, last.stamp);
    assert_eq!(following.stop().await, [last.stamp.get()]);
    assert!(kept.plans.lock().unwrap().len() == 2);
}

const PAID: &str = "price: { amount: \"10.00\", currency: USD }\nquotas:\n  requests: { limit: 20, overage: { mode: bill, price: \"0.05\", per: 1 } }\n  calls: { limit: 5, overage: { mode: allow } }";
const TWO_METERS: &str = "features: { chat: {}, export: {} }\nmeters: { requests: {}, calls: {} }\n";

/// The folder with a second meter, an add-on and a third plan.
fn rich() -> Folder {
    let folder = Folder::new(PAID);
    folder.write("features.yaml", TWO_METERS);
    folder.write(
        "addons/pack.yaml",
        "addon: pack\nprice: { amount: \"3.00\", currency: USD }\nplans: [pro]\nquotas: { calls: 7 }\n",
    );
    folder.write(
        "plans/max.yaml",
        "plan: max\nprice: { amount: \"99.00\", currency: USD }\nspend_cap: \"50.00\"\nquotas:\n  calls: { limit: 1, overage: { mode: bill, price: \"1\", per: 1 } }\n",
    );
    folder
}

fn remove(folder: &Folder, name: &str) {
    std::fs::remove_file(folder.path().join(name)).unwrap();
}

#[tokio::test]
async fn what_is_sold_no_more_can_still_be_billed() {
    let (kept, folder) = (Arc::new(Kept::default()), rich());
    let first = over(&kept).complete(&folder.catalog(), Keep::All).await.unwrap().catalog;
    assert!(first.bygone.is_none(), "everything is sold");
    let (pack, max) = (Arc::clone(first.addon("pack").unwrap()), Arc::clone(first.plan("max").unwrap()));
    remove(&folder, "addons/pack.yaml");
    remove(&folder, "plans/max.yaml");
    folder.write("features.yaml", "features: { chat: {}, export: {} }\nmeters: { requests: {} }\n");
    folder.pro("price: { amount: \"11.00\", currency: USD }\nquotas: { requests: 20 }");
    // Policies that nobody is decided by alter nothing of it.
    over(&kept).complete(&folder.catalog(), Keep::Nothing).await.unwrap();
    let before = kept.kept_sold().await.unwrap();
    let unknown = over(&kept).complete(&folder.catalog(), Keep::Unknown).await.unwrap();
    assert_eq!(kept.kept_sold().await.unwrap(), before, "nor what is tried with some tenants");
    assert!(unknown.catalog.bygone.is_some());

    for _start in 0..2 {
        let now = over(&kept).complete(&folder.catalog(), Keep::All).await.unwrap().catalog;
        assert!(now.plan("max").is_none() && now.addon("pack").is_none(), "nothing is decided by it");
        let bygone = now.bygone.as_deref().unwrap();
        let wide = &bygone.catalog;
        let calls = usize::from(wide.meter_ix("calls").unwrap().0);
        let gone = wide.plan_in(&max.reference()).unwrap();
        assert_eq!((gone.price, gone.spend_cap), (max.price, max.spend_cap));
        assert_eq!(gone.meters[calls].quota.unwrap().overage.mode(), "bill");
        let addon = wide.addon("pack").unwrap();
        assert_eq!((addon.price, &addon.plans), (pack.price, &pack.plans));
        assert_eq!(addon.quotas[calls].unwrap().month.limit(), Some(Units::saturating(7)));
        let pro: PlanRef = "pro@1".parse().unwrap();
        assert_eq!(
            wide.plan_in(&pro).unwrap().price.unwrap().amount.to_string(),
            "11.00",
            "it is still sold"
        );
        let mode =
            |meter: &str| bygone.quota(&pro, &meter.parse().unwrap()).map(|quota| quota.overage.mode());
        assert_eq!((mode("requests"), mode("calls")), (Some("bill"), Some("allow")));
    }

    // What comes back is as it is now.
    let back = rich();
    back.pro(&PAID.replace("0.05", "0.07"));
    let again = over(&kept).complete(&back.catalog(), Keep::All).await.unwrap().catalog;
    assert!(again.bygone.is_none());
    back.pro("quotas: { requests: 20 }");
    let again = over(&kept).complete(&back.catalog(), Keep::All).await.unwrap().catalog;
    let bygone = again.bygone.as_deref().unwrap();
    let quota = bygone.quota(&"pro@1".parse().unwrap(), &"requests".parse().unwrap()).unwrap();
    let Overage::Bill { price, .. } = quota.overage else { panic!("{quota:?}") };
    assert_eq!(price.to_string(), "0.07", "the last price");
}

#[tokio::test]
async fn what_an_older_version_of_the_program_kept_of_plans_is_used() {
    let (kept, folder) = (Arc::new(Kept::default()), rich());
    over(&kept).complete(&folder.catalog(), Keep::All).await.unwrap();
    kept.sold.lock().unwrap().clear();
    remove(&folder, "addons/pack.yaml");
    remove(&folder, "plans/max.yaml");
    folder.pro("quotas: { requests: 20 }");
    let now = over(&kept).complete(&folder.catalog(), Keep::All).await.unwrap().catalog;
    let bygone = now.bygone.as_deref().unwrap();
    assert!(bygone.catalog.plan_in(&"max@1".parse().unwrap()).is_some());
    assert!(bygone.quota(&"pro@1".parse().unwrap(), &"requests".parse().unwrap()).is_some());
    assert!(bygone.catalog.addon("pack").is_none(), "of add-ons it kept nothing");
    // What cannot be read is left out, and stops nothing.
    kept.insert("odd@1", json!({ "quotas": 7 }), 1);
    kept.sold.lock().unwrap().insert(Sold::Addon("pack".parse().unwrap()), json!([]));
    let now = over(&kept).complete(&folder.catalog(), Keep::All).await.unwrap().catalog;
    assert!(now.bygone.is_some() && now.plan("pro").is_some());
}
