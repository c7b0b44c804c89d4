//! What workers see through their own fronts: the same as in the shared directory, whatever happens.

use proptest::prelude::*;

use super::*;
use crate::domain::identity::Seat;

fn named(tenant: &str) -> Arc<Identity> {
    Identity::new(TenantId::parse(tenant).unwrap(), Credential::Jwt)
}

impl Scene {
    /// What is in memory, or an error; asks nobody.
    fn at_once(&self, directory: &impl Directory, who: &Arc<Identity>) -> Option<Arc<Rights>> {
        match directory.resolve(who, &self.catalog, self.clock.monotonic(), self.clock.now()) {
            Answer::Ready(answer) => answer.ok(),
            Answer::Pending(_) => None,
        }
    }

    async fn through(
        &self,
        directory: &impl Directory,
        who: &Arc<Identity>,
    ) -> Result<Arc<Rights>, ResolveError> {
        directory.resolve(who, &self.catalog, self.clock.monotonic(), self.clock.now()).wait().await
    }
}

fn plan_of(rights: &Rights) -> &str {
    rights.entitlement.as_ref().unwrap().plan.as_str()
}

#[tokio::test]
async fn a_known_identity_finds_the_very_same_rights_again() {
    let scene = scene(UnknownTenants::Deny);
    scene.store.put(Some("free"));
    let (front, who) = (scene.directory.front(), named("acme"));
    scene.through(&front, &who).await.unwrap();
    let first = scene.at_once(&front, &who).unwrap();
    assert!(Arc::ptr_eq(&first, &scene.at_once(&front, &who).unwrap()));
    // Another key of the same tenant shares them, and with them the ledger's desk.
    assert!(Arc::ptr_eq(&first, &scene.at_once(&front, &named("acme")).unwrap()));
    assert_eq!(scene.store.reads.load(Ordering::SeqCst), 1);
    assert!(Arc::ptr_eq(&first.catalog, &scene.catalog));
    // The terms are the plan's own.
    let plan = scene.catalog.plan("free").unwrap();
    assert!(Arc::ptr_eq(&first.entitlement.as_ref().unwrap().offer, plan));
}

#[tokio::test]
async fn two_fronts_share_no_counts() {
    let scene = scene(UnknownTenants::Deny);
    scene.store.put(Some("free"));
    scene.plan().await.unwrap();
    let fronts = [scene.directory.front(), scene.directory.front()];
    let own = [named("acme"), named("acme")];
    let [one, other] = [0, 1].map(|n| scene.at_once(&fronts[n], &own[n]).unwrap());
    assert!(!Arc::ptr_eq(&one, &other));
    let counts = |rights: &Arc<Rights>| Arc::strong_count(rights);
    let before = counts(&one);
    let held = scene.at_once(&fronts[1], &own[1]).unwrap();
    assert_eq!(counts(&one), before);
    assert!(Arc::ptr_eq(&held, &other));
    // Also where an identity is used by both, each gets its own.
    let through_other = scene.at_once(&fronts[1], &own[0]).unwrap();
    assert!(Arc::ptr_eq(&through_other, &other));
    assert!(Arc::ptr_eq(&one, &scene.at_once(&fronts[0], &own[0]).unwrap()));
}

#[tokio::test]
async fn a_change_is_in_force_with_the_very_next_request() {
    let scene = scene(UnknownTenants::Deny);
    let acme = TenantId::parse("acme").unwrap();
    let (front, who) = (scene.directory.front(), named("acme"));
    for round in 0..5 {
        let plan = ["free", "pro"][round % 2];
        let version = scene.store.put(Some(plan));
        scene.freshness.outdate(&acme, version);
        assert!(scene.at_once(&front, &who).is_none(), "what is older may not be used");
        assert_eq!(plan_of(&scene.through(&front, &who).await.unwrap()), plan);
        for _ in 0..3 {
            assert_eq!(plan_of(&scene.at_once(&front, &who).unwrap()), plan);
        }
    }
    let version = scene.store.put(None);
    scene.freshness.outdate(&acme, version);
    assert_eq!(scene.through(&front, &who).await.unwrap_err(), ResolveError::TenantUnknown);
}

#[tokio::test]
async fn new_policies_are_in_force_with_the_very_next_request_and_need_no_store() {
    let mut scene = scene(UnknownTenants::Deny);
    scene.store.put(Some("free"));
    let (front, who) = (scene.directory.front(), named("acme"));
    scene.through(&front, &who).await.unwrap();
    scene.store.away.store(true, Ordering::SeqCst);
    let old = Arc::clone(&scene.catalog);
    for _ in 0..3 {
        scene.catalog = catalog();
        for _ in 0..2 {
            let rights = scene.at_once(&front, &who).unwrap();
            assert!(Arc::ptr_eq(&rights.catalog, &scene.catalog));
        }
    }
    // A request that took the catalog before is decided by that one.
    scene.catalog = old;
    assert!(Arc::ptr_eq(&scene.at_once(&front, &who).unwrap().catalog, &scene.catalog));
}

#[tokio::test(start_paused = true)]
async fn a_stale_node_decides_nothing_from_a_seat() {
    let scene = scene(UnknownTenants::Deny);
    scene.store.put(Some("free"));
    let (front, who) = (scene.directory.front(), named("acme"));
    scene.through(&front, &who).await.unwrap();
    let arrived = scene.clock.monotonic();
    assert!(front.is_current(arrived));
    scene.clock.advance(Duration::from_secs(2));
    assert!(!front.is_current(scene.clock.monotonic()));
    assert!(scene.at_once(&front, &who).is_none());
    scene.clock.advance(Duration::from_secs(700));
    assert_eq!(scene.through(&front, &who).await.unwrap_err(), ResolveError::Unavailable);
    scene.freshness.polled(scene.clock.monotonic(), 1);
    assert!(scene.at_once(&front, &who).is_some());
    scene.freshness.retire();
    assert!(scene.at_once(&front, &who).is_none());
    assert_eq!(scene.through(&front, &who).await.unwrap_err(), ResolveError::Unavailable);
}

#[tokio::test]
async fn a_seat_that_somebody_else_took_is_left_to_them() {
    let scene = scene(UnknownTenants::Deny);
    scene.store.put(Some("free"));
    let (front, who) = (scene.directory.front(), named("acme"));
    who.seat.fill(7_u32);
    scene.through(&front, &who).await.unwrap();
    assert!(scene.at_once(&front, &who).is_some());
    assert_eq!(who.seat.get::<u32>(), Some(&7));
    // It is no part of who somebody is.
    assert_eq!(*who, *named("acme"));
    let copy = Identity::clone(&who);
    assert_eq!((copy.seat.get::<u32>(), &copy.seat), (None, &Seat::default()));
}

#[tokio::test(start_paused = true)]
async fn what_turns_out_newer_outdates_every_front() {
    let scene = scene(UnknownTenants::Deny);
    scene.store.put(Some("free"));
    let (front, who) = (scene.directory.front(), named("acme"));
    scene.through(&front, &who).await.unwrap();
    let known = scene.at_once(&front, &who).unwrap();
    // A change that no poll has told of: the ledger's grants know it first.
    scene.store.put(Some("pro"));
    let newer = front.newer(&who, &known).wait().await.unwrap();
    assert_eq!(plan_of(&newer), "pro");
    assert_eq!(plan_of(&scene.at_once(&front, &who).unwrap()), "pro");
    // Where there is nothing newer, nothing is outdated.
    let same = front.newer(&who, &newer).wait().await.unwrap();
    assert_eq!(same.version, newer.version);
    assert!(scene.at_once(&front, &who).is_some());
}

/// What may happen to a node between two requests.
#[derive(Debug, Clone)]
enum Step {
    /// A tenant comes to a plan, or is deleted; told to the node or, as long as the answer is not given, not yet.
    Change {
        tenant: usize,
        plan: Option<&'static str>,
        told: bool,
    },
    /// Another tenant's change falls on the same word, or all words are raised.
    Outdate {
        tenant: Option<usize>,
    },
    Policies,
    Pass(u64),
    Poll,
    /// A request through one front, with the identity that it remembers or a new one.
    Ask {
        front: usize,
        tenant: usize,
        again: bool,
    },
    /// Requests of others, so many that the tenants are pushed out.
    Crowd(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let tenant = 0..TENANTS.len();
    let plan = prop_oneof![Just(None), Just(Some("free")), Just(Some("pro")), Just(Some("gone"))];
    let ask = (0..2_usize, tenant.clone(), any::<bool>());
    let step = prop_oneof![
        3 => (tenant.clone(), plan, any::<bool>())
            .prop_map(|(tenant, plan, told)| Step::Change { tenant, plan, told }),
        1 => proptest::option::of(tenant).prop_map(|tenant| Step::Outdate { tenant }),
        1 => Just(Step::Policies),
        1 => (1_u64..1500).prop_map(Step::Pass),
        1 => Just(Step::Poll),
        8 => ask.prop_map(|(front, tenant, again)| Step::Ask { front, tenant, again }),
        1 => (0_u64..20).prop_map(Step::Crowd),
    ];
    proptest::collection::vec(step, 1..60)
}

const TENANTS: [&str; 3] = ["a", "b", "c"];

/// What an answer says, to be compared.
fn said(answer: &Result<Arc<Rights>, ResolveError>) -> Result<(u64, String), ResolveError> {
    answer.as_ref().map(|rights| (rights.version.0, plan_of(rights).to_owned())).map_err(Clone::clone)
}

struct Trial {
    scene: Scene,
    fronts: [DirectoryFront; 2],
    /// By front and tenant.
    known: [[Arc<Identity>; 3]; 2],
    /// The newest change of each tenant that the node was told of.
    told: [u64; 3],
    /// The newest change of each.
    changed: [u64; 3],
}

impl Trial {
    async fn ask(&mut self, front: usize, tenant: usize, again: bool) -> Result<(), TestCaseError> {
        if !again {
            self.known[front][tenant] = named(TENANTS[tenant]);
        }
        let (scene, who) = (&self.scene, &self.known[front][tenant]);
        let fresh = scene.freshness.knowledge(scene.clock.monotonic()) == Knowledge::Fresh;
        let now = scene.clock.monotonic();
        let answer = match self.fronts[front].resolve(who, &scene.catalog, now, scene.clock.now()) {
            Answer::Ready(answer) => {
                prop_assert!(fresh, "a stale node decided at once");
                answer
            }
            Answer::Pending(pending) => pending.await,
        };
        let shared = scene.through(&scene.directory, who).await;
        if let Ok(rights) = &answer {
            prop_assert!(Arc::ptr_eq(&rights.catalog, &scene.catalog), "decided by another catalog");
            prop_assert!(rights.version.0 >= self.told[tenant], "older than what the node was told");
            prop_assert_eq!(rights.tenant.as_str(), TENANTS[tenant]);
            let other = &self.known[1 - front][tenant];
            if let Some(Ok(others)) = ready(&self.fronts[1 - front], other, scene) {
                prop_assert!(!Arc::ptr_eq(rights, &others), "two fronts count one copy");
            }
        }
        // A front may know less than the shared directory only of what nobody was told.
        let (front, shared) = (said(&answer), said(&shared));
        if !self.is_untold(tenant) {
            prop_assert_eq!(front, shared);
        } else if let (Ok((seen, _)), Ok((newest, _))) = (front, shared) {
            prop_assert!(seen <= newest);
        }
        Ok(())
    }

    /// Whether the store knows more of the tenant than the node was told.
    fn is_untold(&self, tenant: usize) -> bool {
        self.changed[tenant] > self.told[tenant]
    }

    async fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        let id = |tenant: usize| TenantId::parse(TENANTS[tenant]).unwrap();
        match step {
            Step::Change { tenant, plan, told } => {
                let version = self.scene.store.put_one(TENANTS[tenant], plan);
                self.changed[tenant] = version.0;
                if told {
                    self.scene.freshness.outdate(&id(tenant), version);
                    self.told[tenant] = version.0;
                }
            }
            Step::Outdate { tenant } => {
                let version = Version(self.scene.store.version.load(Ordering::SeqCst));
                match tenant {
                    Some(tenant) => self.scene.freshness.outdate(&id(tenant), version),
                    None => self.scene.freshness.outdate_all(version),
                }
                for each in (0..TENANTS.len()).filter(|each| tenant.is_none_or(|tenant| tenant == *each)) {
                    self.told[each] = self.changed[each];
                }
            }
            Step::Policies => self.scene.catalog = catalog(),
            Step::Pass(millis) => self.scene.clock.advance(Duration::from_millis(millis)),
            Step::Poll => self.scene.freshness.polled(self.scene.clock.monotonic(), 1),
            Step::Ask { front, tenant, again } => self.ask(front, tenant, again).await?,
            Step::Crowd(many) => {
                for number in 0..many {
                    let name = format!("other{number}");
                    self.scene.store.put_one(&name, Some("free"));
                    let _ = self.scene.through(&self.fronts[0], &named(&name)).await;
                }
            }
        }
        Ok(())
    }
}

fn ready(
    front: &DirectoryFront,
    who: &Arc<Identity>,
    scene: &Scene,
) -> Option<Result<Arc<Rights>, ResolveError>> {
    match front.resolve(who, &scene.catalog, scene.clock.monotonic(), scene.clock.now()) {
        Answer::Ready(answer) => Some(answer),
        Answer::Pending(_) => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn fronts_answer_as_the_shared_directory_does(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let scene = scene_of(UnknownTenants::Deny, 8);
            let fronts = [scene.directory.front(), scene.directory.front()];
            let known = [(); 2].map(|()| TENANTS.map(named));
            let mut trial = Trial { scene, fronts, known, told: [0; 3], changed: [0; 3] };
            for step in steps {
                trial.step(step).await?;
            }
            Ok::<(), TestCaseError>(())
        })?;
    }
}
