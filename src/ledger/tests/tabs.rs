//! Tabs: what a desk remembers is charged as if it were looked up anew, and is let go of when its words are sealed.

use std::{sync::Arc, time::Duration};

use super::world::*;
use crate::{
    clock::Clock,
    domain::{
        denial::Denial,
        id::TenantId,
        period::Window,
        plan::{MeterTerms, Quota},
        rate::Rate,
        rights::Rights,
        route::Charge,
        time::Version,
        units::{Allowance, Units},
    },
    ledger::{
        EscrowLedger,
        desk::Desk,
        file::{Found, Identity, LedgerFile},
        tab::Tab,
    },
    ports::{ChargeError, Hold, Ledger},
};

const ONE: [Charge; 1] = [Charge { meter: REQUESTS, units: Units::ONE }];

fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn remembered(ledger: &EscrowLedger, rights: &Rights) -> Option<Arc<Tab>> {
    Desk::of(&ledger.0, rights).unwrap().first().clone()
}

fn sweep(ledger: &EscrowLedger) {
    for part in 0..16 {
        ledger.0.accounts.sweep(&ledger.0, part, 16);
    }
}

/// A node whose file tells how many words there are.
fn on_file(world: &mut World) -> LedgerFile {
    let file = LedgerFile::anonymous();
    world.ledger = World::on_file(&world.store, &world.clock, &world.freshness, 1, file.clone());
    file
}

fn rated(burst: u64) -> MeterTerms {
    let rate = Rate { limit: units(burst), per: Duration::from_secs(1), burst: units(burst) };
    MeterTerms { quota: Some(unlimited()), rate: Some(rate) }
}

fn is_rate_limited(answer: Result<Hold, ChargeError>) -> bool {
    matches!(answer, Err(ChargeError::Denied(Denial::RateLimited { .. })))
}

#[tokio::test]
async fn a_charge_is_looked_up_once() {
    let world = World::new();
    let rights = requests(monthly(100_000));
    world.charge(&rights, &ONE).await.unwrap().keep();
    let tab = remembered(&world.ledger, &rights).unwrap();
    let holds: Vec<_> = (0..3).map(|_| at_once(&world, &rights, &ONE).unwrap()).collect();
    assert!(Arc::ptr_eq(&tab, &remembered(&world.ledger, &rights).unwrap()));
    assert_eq!(Arc::strong_count(&tab), 2 + holds.len(), "a hold is the tab itself");
    // Another charge has another, and takes nobody's place.
    for units in 2..40 {
        world.charge(&rights, &[charge(REQUESTS, units)]).await.unwrap().keep();
    }
    assert!(Arc::ptr_eq(&tab, &remembered(&world.ledger, &rights).unwrap()));
    holds.into_iter().for_each(Hold::refund);
    let used = world.used(&rights, "requests", Window::Month).await.used;
    assert_eq!(used, units(1 + (2..40).sum::<u64>()));
}

#[tokio::test]
async fn sealed_words_are_let_go_of_though_rights_remember_them() {
    let mut world = World::new();
    let file = on_file(&mut world);
    let rights = requests(Quota { day: Some(Allowance::Limited(units(50_000))), ..monthly(100_000) });
    let several = [vec![charge(REQUESTS, 2)], vec![charge(REQUESTS, 3)], vec![charge(TOKENS, 1)]];
    for round in 1..4 {
        world.charge(&rights, &ONE).await.unwrap().keep();
        for charges in &several {
            world.charge(&rights, charges).await.unwrap().keep();
        }
        assert_eq!(file.figures().in_use, 3);
        let open = world.charge(&rights, &ONE).await.unwrap();
        world.ledger.apply(&acme(), Version(u64::MAX)).await.unwrap();
        // The queue of what is to be recorded refers to them, too.
        world.ledger.flush().await.unwrap();
        sweep(&world.ledger);
        assert!(remembered(&world.ledger, &rights).is_none());
        assert_eq!(file.figures().in_use, 2, "a request is still open on the day and the month");
        open.keep();
        sweep(&world.ledger);
        assert_eq!(file.figures().in_use, 0);
        assert_eq!(world.used(&rights, "requests", Window::Month).await.used, units(round * 7));
    }
    assert_eq!(world.ledger.accounts(), 1, "the rights lead to it");
    drop(rights);
    sweep(&world.ledger);
    assert_eq!(world.ledger.accounts(), 0);
}

#[tokio::test]
async fn idle_tenants_are_let_go_of_though_rights_remember_them() {
    let mut world = World::new();
    let file = on_file(&mut world);
    let rights = requests(monthly(100_000));
    world.charge(&rights, &ONE).await.unwrap().keep();
    sweep(&world.ledger);
    world.advance(Duration::from_secs(600));
    sweep(&world.ledger);
    assert!(remembered(&world.ledger, &rights).is_none());
    world.ledger.flush().await.unwrap();
    sweep(&world.ledger);
    assert_eq!(file.figures().in_use, 0);
    let key = bucket(&rights, "requests", Window::Month, START);
    assert_eq!(world.store.allocated(&key), 1, "and the units are returned");
    world.charge(&rights, &ONE).await.unwrap().keep();
    assert_eq!(world.used(&rights, "requests", Window::Month).await.used, units(2));
}

#[tokio::test]
async fn rights_that_outlive_the_ledger_do_not_keep_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let identity = Identity { node: "a".into(), database: "d".into(), boot: Some([7; 16]) };
        LedgerFile::lock(folder.path()).unwrap().open(&identity, 0).unwrap()
    };
    let world = World::new();
    let rights = requests(unlimited());
    let start = |file| World::on_file(&world.store, &world.clock, &world.freshness, 1, file);
    let ledger = start(open().0);
    charge_on(&ledger, &rights, &ONE, START).await.unwrap().keep();
    charge_on(&ledger, &rights, &[charge(TOKENS, 9)], START).await.unwrap().keep();
    drop(ledger);
    // Another ledger, and a hold that outlives it: what it gives back is in the file.
    let (file, found) = open();
    let Found::Leftovers(leftovers) = found else { panic!("{found:?}") };
    file.forget(&leftovers);
    let ledger = start(file);
    let rights = requests(unlimited());
    let hold = charge_on(&ledger, &rights, &[charge(REQUESTS, 5)], START).await.unwrap();
    drop(ledger);
    assert!(LedgerFile::lock(folder.path()).is_err(), "the hold's word is in it");
    hold.refund();
    let (_, found) = open();
    let Found::Leftovers(leftovers) = found else { panic!("{found:?}") };
    let totals: Vec<_> = leftovers.iter().map(|left| (left.totals.used, left.totals.refunded)).collect();
    assert_eq!(totals, [(5, 5)]);
}

#[tokio::test]
async fn a_rate_follows_the_number_of_nodes() {
    let world = World::new();
    let nodes = |nodes| world.freshness.polled(world.clock.monotonic(), nodes);
    let rights = rights(1, &catalog(rated(4), terms(unlimited())));
    let passes = || (0..9).take_while(|_| at_once(&world, &rights, &ONE).is_ok()).count();
    for (live, pass) in [(1, 4), (2, 2), (4, 1), (1, 4)] {
        world.advance(Duration::from_secs(60));
        nodes(live);
        assert_eq!(passes(), pass, "{live} nodes");
    }
}

#[tokio::test]
async fn a_rate_is_taken_once_though_the_word_was_sealed_meanwhile() {
    let world = World::new();
    let rights = rights(1, &catalog(rated(3), terms(unlimited())));
    for _ in 0..2 {
        at_once(&world, &rights, &ONE).unwrap().keep();
        world.ledger.apply(&acme(), Version(u64::MAX)).await.unwrap();
    }
    let last = at_once(&world, &rights, &ONE).unwrap();
    assert!(is_rate_limited(at_once(&world, &rights, &ONE)));
    world.ledger.apply(&acme(), Version(u64::MAX)).await.unwrap();
    last.refund();
    at_once(&world, &rights, &ONE).unwrap().keep();
    assert!(is_rate_limited(at_once(&world, &rights, &ONE)));
    let three = world.used(&rights, "requests", Window::Month).await.used;
    assert_eq!(three, units(3));
}

#[tokio::test]
async fn the_word_of_other_policies_is_not_remembered() {
    let world = World::new();
    let of = |limit| catalog(terms(monthly(limit)), terms(unlimited()));
    let (wide, narrow) = (of(100), of(10));
    let (old, new) = (rights(1, &wide), rights(1, &narrow));
    world.ledger.apply_all(wide.clone());
    world.charge(&old, &ONE).await.unwrap().keep();
    world.ledger.apply_all(narrow.clone());
    world.charge(&new, &ONE).await.unwrap().keep();
    // The old policies bring their limit not back,
    world.charge(&old, &ONE).await.unwrap().keep();
    assert!(remembered(&world.ledger, &old).is_none_or(|tab| tab.is_over()));
    // but when they are in force again their limit is, too.
    world.ledger.apply_all(wide);
    assert_eq!(world.exhaust(&old).await.0, 97);
}

#[tokio::test]
async fn an_exhausted_tenant_is_refused_by_its_tab() {
    let world = World::new();
    let quota = Quota { day: Some(Allowance::Limited(units(50))), ..monthly(5) };
    let terms_of = |quota| MeterTerms { quota: Some(quota), ..rated(1000) };
    let rights = rights(1, &catalog(terms_of(quota), terms(unlimited())));
    assert_eq!(world.exhaust(&rights).await.0, 5);
    let tab = remembered(&world.ledger, &rights).unwrap();
    for _ in 0..2000 {
        let refused = at_once(&world, &rights, &ONE).err().unwrap();
        assert!(matches!(refused, ChargeError::Denied(Denial::QuotaExhausted { window: Window::Month, .. })));
    }
    assert!(Arc::ptr_eq(&tab, &remembered(&world.ledger, &rights).unwrap()));
    assert_eq!(world.used(&rights, "requests", Window::Day).await.used, units(5), "all or nothing");
    // Also where the desk never saw a charge pass.
    let other = super::world::rights(1, &rights.catalog);
    assert!(at_once(&world, &other, &ONE).is_err());
    assert!(remembered(&world.ledger, &other).is_some());
}

#[tokio::test]
async fn how_a_charge_stands_does_not_depend_on_the_seal() {
    let world = World::new();
    let day = Allowance::Limited(units(500));
    let quota = MeterTerms { quota: Some(Quota { day: Some(day), ..monthly(1000) }), ..rated(10) };
    let rights = rights(1, &catalog(quota, terms(unlimited())));
    let hold = world.charge(&rights, &[charge(REQUESTS, 4)]).await.unwrap();
    let told = |hold: &Hold| {
        let mut told = Vec::new();
        hold.standings_at(START, world.clock.monotonic(), |standing| {
            told.push((standing.suffix(), standing.remaining.get(), standing.resets_in));
        });
        told
    };
    let month = 1_775_001_600 - START.0.cast_unsigned() / 1000;
    let expected = [("", 996, month), ("-day", 496, 48_600), ("-rate", 6, 1)];
    assert_eq!(told(&hold), expected);
    world.ledger.apply(&acme(), Version(u64::MAX)).await.unwrap();
    assert_eq!(told(&hold), expected, "its word is among the sealed ones now, and counts once");
    let policy = hold.policy(str::to_owned).unwrap().clone();
    assert_eq!(
        policy,
        "\"requests\";q=1000;w=2678400, \"requests-day\";q=500;w=86400, \"requests-rate\";q=10;w=1"
    );
    // On the new words, the charge of before is known of the old ones.
    let hold = world.charge(&rights, &[charge(REQUESTS, 1)]).await.unwrap();
    assert_eq!(told(&hold)[..2], [("", 995, month), ("-day", 495, 48_600)]);
}

#[tokio::test]
async fn an_instant_that_the_caller_has_read_is_the_one_that_counts() {
    let world = World::new();
    let rights = rights(1, &catalog(rated(1), terms(unlimited())));
    let at = |after| world.clock.monotonic().after(Duration::from_millis(after));
    let charge = async |after| world.ledger.charge_at(&rights, &ONE, START, at(after)).wait().await;
    charge(0).await.unwrap().keep();
    assert!(is_rate_limited(charge(999).await));
    charge(1000).await.unwrap().keep();
    assert!(is_rate_limited(world.charge(&rights, &ONE).await), "by the ledger's own clock");
}
