//! Stripe's events: kept once, and made into what a tenant is, whatever their order.

use std::{path::Path, sync::Arc};

use plangate::{
    domain::{
        catalog::Catalog,
        id::FeatureId,
        period::Zone,
        stripe::StripeStatus,
        subscription::{Standing, Upcoming},
        tenant::Tenant,
        transitions::State,
    },
    policy,
    ports::{
        BillingLink, DroppedEvents, FoldOutcome, LinkError, NewStripeEvent, StripeEventState as S,
        StripeStore, Unclaimed,
    },
    store::{Retention, memory::Memory},
    wire::stripe::read,
};
use serde_json::{Value, json};

use super::*;
use crate::{
    Fixture,
    support::stripe::{DAY, START as T, checkout, entitlements, event, invoice, subscription, with},
};

on_every_store!(
    an_event_is_kept_once_and_folded,
    what_waits_is_folded_once_it_is_linked,
    what_is_not_mapped_is_kept_and_can_be_replayed,
    one_customer_is_one_tenant,
    events_name_their_tenant,
    old_events_go_and_those_that_matter_stay,
    what_nobody_claims_is_bounded,
    what_nobody_maps_comes_to_a_few_events,
);

const CREATED: &str = "customer.subscription.created";
const UPDATED: &str = "customer.subscription.updated";
const DELETED: &str = "customer.subscription.deleted";

/// The policies of the example, with features of entitlements besides.
fn catalog() -> Arc<Catalog> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let (mut catalog, _) = policy::load(&folder).unwrap();
    let map = Arc::make_mut(&mut catalog.stripe);
    map.features.insert("data-export".to_owned(), FeatureId::parse("export").unwrap());
    map.features.insert("history".to_owned(), FeatureId::parse("chat.history").unwrap());
    Arc::new(catalog)
}

fn new(body: &str) -> NewStripeEvent {
    let told = read(body.as_bytes()).unwrap();
    NewStripeEvent {
        id: told.id,
        kind: told.kind,
        created: told.created,
        customer: told.customer.unwrap_or_default(),
        subscription: told.subscription,
        body: body.to_owned(),
        settled: None,
        received: START,
    }
}

/// Keeps an event and folds its customer.
async fn tell(store: &dyn Store, catalog: &Arc<Catalog>, body: &str) -> FoldOutcome {
    let event = new(body);
    store.keep_stripe_event(&event).await.unwrap();
    store.fold_customer(&event.customer, catalog, &origin()).await.unwrap()
}

async fn of(store: &dyn Store, id: &str) -> Tenant {
    store.tenant(&tenant(id)).await.unwrap().value.unwrap()
}

async fn state_of(store: &dyn Store, event: &str) -> (S, Option<String>) {
    let row = store.stripe_event(event).await.unwrap().unwrap();
    (row.state, row.why)
}

fn link(customer: &str) -> Option<BillingLink> {
    Some(BillingLink { customer: customer.to_owned(), since: START, by_call: true })
}

async fn an_event_is_kept_once_and_folded(on: &Fixture) {
    let (store, catalog) = (&*on.store, catalog());
    done(store, &put("acme")).await;
    store.link_customer(&tenant("acme"), "cus_1", &origin()).await.unwrap();
    let body = event(
        "evt_1",
        CREATED,
        T,
        subscription("cus_1", "sub_1", "active", &[("pro_monthly", 1), ("extra_seats_monthly", 3)]),
    );
    assert!(store.keep_stripe_event(&new(&body)).await.unwrap());
    assert!(!store.keep_stripe_event(&new(&body)).await.unwrap(), "it is kept already");
    assert_eq!(store.customers_to_fold(UnixMillis(START.0 + 1), 9).await.unwrap(), ["cus_1"]);
    assert!(store.customers_to_fold(START, 9).await.unwrap().is_empty(), "it has only just come");
    let first = store.fold_customer("cus_1", &catalog, &origin()).await.unwrap();
    assert!(first.changed && first.tenant == Some(tenant("acme")));
    let again = store.fold_customer("cus_1", &catalog, &origin()).await.unwrap();
    assert_eq!(again, FoldOutcome { changed: false, ..first.clone() }, "no version is made of nothing");
    let acme = of(store, "acme").await;
    assert_eq!(Some(acme.version), first.version);
    assert_eq!(acme.subscription.as_ref().unwrap().plan.id.as_str(), "pro");
    assert_eq!((acme.state(), acme.addons[0].quantity), (State::Active, 3));
    assert_eq!(state_of(store, "evt_1").await, (S::Applied, None));
    let audit = store.audit(0, 100).await.unwrap();
    let kinds: Vec<&str> = audit.iter().map(|row| row.kind.as_str()).collect();
    assert_eq!(kinds, ["tenant.put", "billing.linked", "subscription.mirrored"]);
    assert_eq!(audit[2].detail["addons"]["extra-seats"], 3);
    assert!(store.customers_to_fold(UnixMillis(i64::MAX), 9).await.unwrap().is_empty());
    // What means nothing stays so, whatever comes after it.
    let charge = event("evt_0", "charge.succeeded", T, json!({ "id": "ch_1", "customer": "cus_1" }));
    let nothing = NewStripeEvent { settled: Some((S::Ignored, "nothing".to_owned())), ..new(&charge) };
    store.keep_stripe_event(&nothing).await.unwrap();
    // What an admin changes holds until the next event.
    done(store, &change("acme", Change::Cancel(plangate::domain::command::When::Now))).await;
    tell(store, &catalog, &body).await;
    let later =
        event("evt_2", UPDATED, T + 9, subscription("cus_1", "sub_1", "active", &[("pro_monthly", 1)]));
    tell(store, &catalog, &later).await;
    let acme = of(store, "acme").await;
    assert_eq!((acme.state(), acme.addons.len()), (State::Active, 0));
    assert_eq!(acme.subscription.unwrap().epoch, first.version.unwrap(), "its counting goes on");
    assert_eq!(state_of(store, "evt_0").await, (S::Ignored, Some("nothing".to_owned())));
}

async fn what_waits_is_folded_once_it_is_linked(on: &Fixture) {
    let (store, catalog) = (&*on.store, catalog());
    let made = event("evt_1", CREATED, T, subscription("cus_1", "sub_1", "active", &[("basic_monthly", 1)]));
    assert_eq!(tell(store, &catalog, &made).await, FoldOutcome::default());
    let (state, why) = state_of(store, "evt_1").await;
    assert!(state == S::Waiting && why.unwrap().contains("no tenant is linked with customer `cus_1`"));
    // A checkout names a tenant that is not there yet.
    let bought = event("evt_2", "checkout.session.completed", T, checkout("cus_1", "acme"));
    tell(store, &catalog, &bought).await;
    let (state, why) = state_of(store, "evt_1").await;
    assert_eq!((state, why.as_deref()), (S::Waiting, Some("there is no tenant `acme`")));
    assert!(store.customers_to_fold(UnixMillis(i64::MAX), 9).await.unwrap().is_empty());
    done(store, &put("acme")).await;
    assert_eq!(
        store.customers_to_fold(UnixMillis(0), 9).await.unwrap(),
        ["cus_1"],
        "its tenant is there now"
    );
    let done = store.fold_customer("cus_1", &catalog, &origin()).await.unwrap();
    assert!(done.changed);
    assert_eq!(of(store, "acme").await.subscription.unwrap().plan.id.as_str(), "basic");
    let found = store.customer_of(&tenant("acme")).await.unwrap();
    assert_eq!(found, Some(BillingLink { by_call: false, ..link("cus_1").unwrap() }));
    assert_eq!(state_of(store, "evt_2").await, (S::Applied, None));
}

async fn what_is_not_mapped_is_kept_and_can_be_replayed(on: &Fixture) {
    let (store, catalog) = (&*on.store, catalog());
    done(store, &put("acme")).await;
    store.link_customer(&tenant("acme"), "cus_1", &origin()).await.unwrap();
    let basic = event("evt_1", CREATED, T, subscription("cus_1", "sub_1", "active", &[("basic_monthly", 1)]));
    tell(store, &catalog, &basic).await;
    let odd =
        event("evt_2", UPDATED, T + 5, subscription("cus_1", "sub_1", "active", &[("gold_monthly", 1)]));
    assert!(!tell(store, &catalog, &odd).await.changed);
    let (state, why) = state_of(store, "evt_2").await;
    assert!(state == S::Unmapped && why.unwrap().contains("`gold_monthly`"));
    assert_eq!(of(store, "acme").await.subscription.unwrap().plan.id.as_str(), "basic", "nothing is changed");
    assert_eq!(store.customers_with(S::Unmapped, "", 9).await.unwrap(), ["cus_1"]);
    assert!(store.customers_with(S::Unmapped, "cus_1", 9).await.unwrap().is_empty());
    let listed = store.stripe_events(Some(S::Unmapped), None, 9).await.unwrap();
    assert_eq!(listed.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["evt_2"]);
    let all = store.stripe_events(None, None, 1).await.unwrap();
    assert_eq!(all[0].id, "evt_2", "the newest first");
    assert_eq!(store.stripe_events(None, Some(all[0].place), 9).await.unwrap()[0].id, "evt_1");
    // The mapping is mended.
    let mut mended = Catalog::clone(&catalog);
    let pro = mended.stripe.lookup_keys["pro_monthly"].clone();
    Arc::make_mut(&mut mended.stripe).lookup_keys.insert("gold_monthly".to_owned(), pro);
    let noted = store.note_replay("evt_2", &once("k", "f")).await.unwrap();
    assert!(!noted.replayed && store.note_replay("evt_2", &once("k", "f")).await.unwrap().replayed);
    assert_eq!(store.note_replay("evt_2", &once("k", "g")).await, Err(LinkError::IdempotencyConflict));
    assert!(store.fold_customer("cus_1", &Arc::new(mended), &origin()).await.unwrap().changed);
    assert_eq!(of(store, "acme").await.subscription.unwrap().plan.id.as_str(), "pro");
    assert_eq!(state_of(store, "evt_2").await, (S::Applied, None));
}

async fn one_customer_is_one_tenant(on: &Fixture) {
    let store = &*on.store;
    for id in ["a", "b"] {
        done(store, &put(id)).await;
    }
    let (a, b) = (tenant("a"), tenant("b"));
    assert_eq!(store.customer_of(&a).await.unwrap(), None);
    let first = store.link_customer(&a, "cus_1", &once("k", "f")).await.unwrap();
    let again = store.link_customer(&a, "cus_1", &once("k", "f")).await.unwrap();
    assert!(!first.replayed && again.replayed);
    assert_eq!(store.link_customer(&a, "cus_2", &once("k", "g")).await, Err(LinkError::IdempotencyConflict));
    assert_eq!(store.customer_of(&a).await.unwrap(), link("cus_1"));
    let taken = LinkError::Taken { customer: "cus_1".to_owned(), tenant: a.clone() };
    assert_eq!(store.link_customer(&b, "cus_1", &origin()).await, Err(taken));
    let nobody = tenant("nobody");
    assert_eq!(
        store.link_customer(&nobody, "cus_9", &origin()).await,
        Err(LinkError::NoTenant(nobody.clone()))
    );
    // Another customer takes the first one's place.
    store.link_customer(&a, "cus_2", &origin()).await.unwrap();
    assert_eq!(store.customer_of(&a).await.unwrap(), link("cus_2"));
    store.link_customer(&b, "cus_1", &origin()).await.unwrap();
    store.unlink_customer(&a, &origin()).await.unwrap();
    assert_eq!(store.unlink_customer(&a, &origin()).await, Err(LinkError::NotLinked(a.clone())));
    assert_eq!(store.unlink_customer(&nobody, &origin()).await, Err(LinkError::NoTenant(nobody)));
    // A tenant's end is its link's.
    done(store, &change("b", Change::DeleteTenant)).await;
    done(store, &put("b")).await;
    assert_eq!(store.customer_of(&b).await.unwrap(), None);
}

async fn events_name_their_tenant(on: &Fixture) {
    let (store, catalog) = (&*on.store, catalog());
    for id in ["a", "b"] {
        done(store, &put(id)).await;
    }
    let named = |id: &str, customer: &str, tenant: &str| {
        let object = subscription(customer, &format!("sub_{customer}"), "active", &[("basic_monthly", 1)]);
        event(id, CREATED, T, with(object, json!({ "metadata": { "plangate_tenant": tenant } })))
    };
    assert!(tell(store, &catalog, &named("evt_1", "cus_1", "a")).await.changed);
    // Another customer cannot take a tenant that has one.
    assert_eq!(tell(store, &catalog, &named("evt_2", "cus_2", "a")).await.tenant, None);
    let (state, why) = state_of(store, "evt_2").await;
    assert!(state == S::Waiting && why.unwrap().contains("tenant `a` is customer `cus_1`"));
    assert!(store.customers_to_fold(UnixMillis(i64::MAX), 9).await.unwrap().is_empty(), "only a call helps");
    assert_eq!(tell(store, &catalog, &named("evt_3", "cus_3", "No Tenant")).await.tenant, None);
    assert_eq!(state_of(store, "evt_3").await.0, S::Waiting);
    // What a call has linked stands above what events say.
    store.link_customer(&tenant("b"), "cus_2", &origin()).await.unwrap();
    assert_eq!(store.fold_customer("cus_2", &catalog, &origin()).await.unwrap().tenant, Some(tenant("b")));
    assert_eq!(tell(store, &catalog, &named("evt_4", "cus_2", "a")).await.tenant, Some(tenant("b")));
}

async fn old_events_go_and_those_that_matter_stay(on: &Fixture) {
    let (store, catalog) = (&*on.store, catalog());
    done(store, &put("acme")).await;
    store.link_customer(&tenant("acme"), "cus_1", &origin()).await.unwrap();
    // They came long ago by any store's clock.
    for (number, key) in [(1, "basic_monthly"), (2, "basic_monthly"), (3, "pro_monthly"), (4, "gold_monthly")]
    {
        let object = subscription("cus_1", "sub_1", "active", &[(key, 1)]);
        let mut old = new(&event(&format!("evt_{number}"), UPDATED, T + number, object));
        old.received = UnixMillis(START.0 - 91 * 86_400_000);
        store.keep_stripe_event(&old).await.unwrap();
    }
    store.fold_customer("cus_1", &catalog, &origin()).await.unwrap();
    assert_eq!(store.tidy(&retention()).await.unwrap().stripe, 2);
    let left = store.stripe_events(None, None, 9).await.unwrap();
    assert_eq!(left.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["evt_4", "evt_3"]);
    assert!(!store.fold_customer("cus_1", &catalog, &origin()).await.unwrap().changed);
    assert_eq!(of(store, "acme").await.subscription.unwrap().plan.id.as_str(), "pro");
}

fn retention() -> Retention {
    Retention {
        usage_hours: std::time::Duration::from_secs(86_400 * 40),
        usage_days: std::time::Duration::from_secs(86_400 * 4_000),
        audit: std::time::Duration::from_secs(86_400 * 4_000),
    }
}

async fn ids(store: &dyn Store) -> Vec<String> {
    let rows = store.stripe_events(None, None, 100).await.unwrap();
    rows.into_iter().rev().map(|row| row.id).collect()
}

async fn what_nobody_claims_is_bounded(on: &Fixture) {
    let (store, catalog) = (&*on.store, catalog());
    for id in ["acme", "gone"] {
        done(store, &put(id)).await;
    }
    store.link_customer(&tenant("acme"), "cus_1", &origin()).await.unwrap();
    store.link_customer(&tenant("gone"), "cus_2", &origin()).await.unwrap();
    let keep = async |id: &str, customer: &str, key: &str, days: i64| {
        let object = subscription(customer, &format!("sub_{id}"), "active", &[(key, 1)]);
        let mut old = new(&event(id, UPDATED, T, object));
        old.received = UnixMillis(START.0 - days * 86_400_000);
        store.keep_stripe_event(&old).await.unwrap();
        store.fold_customer(customer, &catalog, &origin()).await.unwrap();
    };
    // Of a tenant's customer: what decides, what is not mapped, what waits for another event.
    keep("evt_1", "cus_1", "pro_monthly", 900).await;
    keep("evt_2", "cus_1", "gold_monthly", 900).await;
    let mut paid = new(&event("evt_3", "invoice.paid", T, invoice("cus_1", "sub_unknown")));
    paid.received = UnixMillis(START.0 - 900 * 86_400_000);
    store.keep_stripe_event(&paid).await.unwrap();
    store.fold_customer("cus_1", &catalog, &origin()).await.unwrap();
    // Of one that was a tenant's, and of others that never were.
    keep("evt_4", "cus_2", "gold_monthly", 401).await;
    store.unlink_customer(&tenant("gone"), &origin()).await.unwrap();
    keep("evt_5", "cus_3", "pro_monthly", 401).await;
    for (number, days) in [(6, 30), (7, 20), (8, 10)] {
        keep(&format!("evt_{number}"), &format!("cus_{number}"), "pro_monthly", days).await;
    }
    let mut due = new(&event("evt_9", UPDATED, T, subscription("cus_9", "sub_9", "active", &[])));
    due.received = UnixMillis(START.0 - 900 * 86_400_000);
    store.keep_stripe_event(&due).await.unwrap();

    assert_eq!(store.dropped_events().await.unwrap(), DroppedEvents::default());
    let bounds = Unclaimed {
        now: UnixMillis(START.0 + 1),
        before: UnixMillis(START.0 - 400 * 86_400_000),
        most: 3,
        at_once: 100,
    };
    assert_eq!(store.drop_unclaimed(&Unclaimed { at_once: 1, ..bounds }).await.unwrap(), 1, "a few at once");
    assert_eq!(store.drop_unclaimed(&bounds).await.unwrap(), 1);
    assert_eq!(ids(store).await, ["evt_1", "evt_2", "evt_3", "evt_6", "evt_7", "evt_8", "evt_9"]);
    assert_eq!(store.drop_unclaimed(&bounds).await.unwrap(), 0);
    // Of more than there may be the oldest go.
    assert_eq!(store.drop_unclaimed(&Unclaimed { most: 1, ..bounds }).await.unwrap(), 2);
    assert_eq!(ids(store).await, ["evt_1", "evt_2", "evt_3", "evt_8", "evt_9"]);
    let told = DroppedEvents { events: 4, last: Some(bounds.now) };
    assert_eq!(store.dropped_events().await.unwrap(), told);
    // What is linked now is not dropped any more.
    store.link_customer(&tenant("gone"), "cus_8", &origin()).await.unwrap();
    assert_eq!(store.drop_unclaimed(&Unclaimed { most: 0, before: START, ..bounds }).await.unwrap(), 0);
    assert!(store.fold_customer("cus_8", &catalog, &origin()).await.unwrap().changed);
    assert!(!store.fold_customer("cus_1", &catalog, &origin()).await.unwrap().changed, "it is as it was");
    assert_eq!(state_of(store, "evt_2").await.0, S::Unmapped);
}

async fn what_nobody_maps_comes_to_a_few_events(on: &Fixture) {
    let (store, catalog) = (&*on.store, catalog());
    done(store, &put("acme")).await;
    for (customer, linked) in [("cus_1", true), ("cus_2", false)] {
        if linked {
            store.link_customer(&tenant("acme"), customer, &origin()).await.unwrap();
        }
        for month in 0..6 {
            let number = |of: i64| format!("{customer}_{}", month * 2 + of);
            let object = subscription(customer, &format!("sub_{customer}"), "active", &[("gold_monthly", 1)]);
            let paid = invoice(customer, &format!("sub_{customer}"));
            for body in [
                event(&number(0), UPDATED, T + month * 9, object),
                event(&number(1), "invoice.paid", T + month * 9 + 1, paid),
            ] {
                let mut old = new(&body);
                old.received = UnixMillis(on.now().0 - 91 * 86_400_000);
                store.keep_stripe_event(&old).await.unwrap();
            }
        }
        store.fold_customer(customer, &catalog, &origin()).await.unwrap();
    }
    assert_eq!(store.tidy(&retention()).await.unwrap().stripe, 18);
    let left = ["cus_1_9", "cus_1_10", "cus_1_11", "cus_2_9", "cus_2_10", "cus_2_11"];
    assert_eq!(ids(store).await, left);
    // The mapping is mended: what it comes to is what it would have come to with all of them.
    let mut mended = Catalog::clone(&catalog);
    let pro = mended.stripe.lookup_keys["pro_monthly"].clone();
    Arc::make_mut(&mut mended.stripe).lookup_keys.insert("gold_monthly".to_owned(), pro);
    assert!(store.fold_customer("cus_1", &Arc::new(mended), &origin()).await.unwrap().changed);
    assert_eq!(of(store, "acme").await.subscription.unwrap().plan.id.as_str(), "pro");
}

/// Six events, as a customer's life makes them.
#[allow(clippy::too_many_lines, reason = "a list of lives")]
fn lives() -> Vec<(&'static str, [String; 6])> {
    let sub = |status: &str, items: &[(&str, u64)], fields: Value| {
        with(subscription("cus_1", "sub_1", status, items), fields)
    };
    let one = |key: &'static str| [(key, 1)];
    let trial = json!({ "trial_end": T + 14 * DAY, "metadata": { "plangate_tenant": "acme" } });
    vec![
        (
            "bought, grown and behind with paying",
            [
                event("evt_a", CREATED, T, sub("incomplete", &one("basic_monthly"), json!({}))),
                event("evt_b", "invoice.paid", T, invoice("cus_1", "sub_1")),
                event("evt_c", "checkout.session.completed", T, checkout("cus_1", "acme")),
                event(
                    "evt_d",
                    "entitlements.active_entitlement_summary.updated",
                    T + 1,
                    entitlements("cus_1", &["history"]),
                ),
                event(
                    "evt_e",
                    UPDATED,
                    T + 2,
                    sub("active", &[("pro_monthly", 1), ("extra_seats_monthly", 2)], json!({})),
                ),
                event("evt_f", "invoice.payment_failed", T + 3, invoice("cus_1", "sub_1")),
            ],
        ),
        (
            "tried, bought and deleted",
            [
                event("evt_a", CREATED, T, sub("trialing", &one("pro_monthly"), trial.clone())),
                event(
                    "evt_b",
                    "customer.subscription.trial_will_end",
                    T + 4,
                    sub("trialing", &one("pro_monthly"), trial),
                ),
                event(
                    "evt_c",
                    "entitlements.active_entitlement_summary.updated",
                    T + 1,
                    entitlements("cus_1", &["data-export"]),
                ),
                event(
                    "evt_d",
                    "entitlements.active_entitlement_summary.updated",
                    T + 6,
                    entitlements("cus_1", &[]),
                ),
                event("evt_e", UPDATED, T + 6, sub("active", &one("pro_monthly"), json!({}))),
                event(
                    "evt_f",
                    DELETED,
                    T + 6,
                    sub("canceled", &one("pro_monthly"), json!({ "ended_at": T + 6 })),
                ),
            ],
        ),
        (
            "paused, behind, and paid again; one price is not mapped",
            [
                event(
                    "evt_a",
                    CREATED,
                    T,
                    sub(
                        "active",
                        &one("basic_monthly"),
                        json!({ "metadata": { "plangate_tenant": "acme" } }),
                    ),
                ),
                event(
                    "evt_b",
                    "customer.subscription.paused",
                    T + 1,
                    sub("paused", &one("basic_monthly"), json!({})),
                ),
                event(
                    "evt_c",
                    "customer.subscription.resumed",
                    T + 2,
                    sub("active", &one("basic_monthly"), json!({})),
                ),
                event("evt_d", UPDATED, T + 3, sub("past_due", &one("basic_monthly"), json!({}))),
                event("evt_e", UPDATED, T + 5, sub("active", &one("gold_monthly"), json!({}))),
                event("evt_f", "invoice.paid", T + 4, invoice("cus_1", "sub_1")),
            ],
        ),
        (
            "two subscriptions, one of which is to end",
            [
                event(
                    "evt_a",
                    CREATED,
                    T,
                    sub(
                        "active",
                        &one("basic_monthly"),
                        json!({ "metadata": { "plangate_tenant": "acme" } }),
                    ),
                ),
                event(
                    "evt_b",
                    CREATED,
                    T + 1,
                    with(
                        subscription("cus_1", "sub_2", "active", &[("pro_monthly", 1)]),
                        json!({ "created": T + 1 }),
                    ),
                ),
                event(
                    "evt_c",
                    CREATED,
                    T + 2,
                    with(
                        subscription("cus_1", "sub_3", "active", &[("ai_tokens_monthly", 4)]),
                        json!({ "created": T + 2 }),
                    ),
                ),
                event(
                    "evt_d",
                    DELETED,
                    T + 3,
                    sub("canceled", &one("basic_monthly"), json!({ "ended_at": T + 3 })),
                ),
                event(
                    "evt_e",
                    UPDATED,
                    T + 4,
                    with(
                        subscription("cus_1", "sub_2", "active", &[("pro_monthly", 1)]),
                        json!({ "created": T + 1, "cancel_at_period_end": true }),
                    ),
                ),
                event("evt_f", "invoice.paid", T + 4, invoice("cus_1", "sub_2")),
            ],
        ),
    ]
}

/// All orders of six things.
fn orders() -> Vec<[usize; 6]> {
    let mut orders = Vec::new();
    for number in 0..720 {
        let (mut left, mut rest, mut order) = ((0..6).collect::<Vec<_>>(), number, [0; 6]);
        for (place, of) in (1..=6).rev().enumerate() {
            order[place] = left.remove(rest % of);
            rest /= of;
        }
        orders.push(order);
    }
    orders
}

/// A tenant as it is shown: without versions, which say only how often it was changed.
fn shown(tenant: &Tenant) -> String {
    let mut tenant = tenant.clone();
    tenant.version = Version(0);
    if let Some(subscription) = &mut tenant.subscription {
        subscription.epoch = Version(0);
        if let Standing::Trialing(trial) = &mut subscription.state {
            trial.version = Version(0);
        }
        if let Some(scheduled) = &mut subscription.scheduled {
            assert_eq!(scheduled.what, Upcoming::Cancel);
            scheduled.version = Version(0);
        }
    }
    format!("{tenant:#?}")
}

#[tokio::test]
async fn all_720_orders_of_six_events_end_alike_with_duplicates_too() {
    let catalog = catalog();
    let mut ends = Vec::new();
    for (life, events) in lives() {
        let mut first: Option<(String, Tenant)> = None;
        for (number, order) in orders().into_iter().enumerate() {
            let store = Memory::with_clock(plangate::clock::ManualClock::at(START)).unwrap();
            done(&store, &put("acme")).await;
            let zone =
                Change::PutTenant { name: None, zone: Zone::named("Europe/Berlin").ok(), attributes: None };
            done(&store, &change("acme", zone)).await;
            for (place, event) in order.into_iter().enumerate() {
                tell(&store, &catalog, &events[event]).await;
                // Some of them once more, at once or late.
                if (number + place) % 3 == 0 {
                    tell(&store, &catalog, &events[order[(number + place) % (place + 1)]]).await;
                }
            }
            let end = of(&store, "acme").await;
            match &first {
                None => first = Some((shown(&end), end)),
                Some((first, _)) => assert_eq!(*first, shown(&end), "{life}: {order:?}"),
            }
            let kept = StripeStore::stripe_events(&store, None, None, 99).await.unwrap();
            assert_eq!(kept.len(), 6, "{life}");
            assert!(kept.iter().all(|row| row.state != S::Waiting), "{life}: {order:?}: {kept:#?}");
        }
        ends.push(first.unwrap().1);
    }
    let state = |end: &Tenant| (end.state(), end.subscription.as_ref().unwrap().plan.id.to_string());
    assert_eq!(state(&ends[0]), (State::PastDue, "pro".to_owned()));
    assert_eq!((ends[0].addons[0].quantity, ends[0].overrides.features.len()), (2, 2));
    assert_eq!(state(&ends[1]), (State::Canceled, "pro".to_owned()));
    assert_eq!(state(&ends[2]), (State::Active, "basic".to_owned()));
    assert_eq!(state(&ends[3]), (State::Active, "pro".to_owned()));
    assert_eq!((ends[3].addons[0].addon.as_str(), ends[3].addons[0].quantity), ("ai-tokens", 4));
    let ends_at = ends[3].subscription.as_ref().unwrap().scheduled.as_ref().unwrap().at;
    assert_eq!(ends_at, UnixMillis((T + 30 * DAY) * 1000));
}

#[tokio::test]
async fn every_state_of_stripe_is_a_state_here() {
    let catalog = catalog();
    let expected = [
        (StripeStatus::Trialing, State::Trialing),
        (StripeStatus::Active, State::Active),
        (StripeStatus::PastDue, State::PastDue),
        (StripeStatus::Unpaid, State::Unpaid),
        (StripeStatus::Paused, State::Paused),
        (StripeStatus::Incomplete, State::Unpaid),
        (StripeStatus::IncompleteExpired, State::Expired),
        (StripeStatus::Canceled, State::Canceled),
    ];
    assert_eq!(expected.len(), StripeStatus::ALL.len());
    // From every state to every state, also from none at all.
    for (_, before) in [(None, State::None)].into_iter().chain(expected.map(|(s, state)| (Some(s), state))) {
        let from = expected.iter().find(|(_, state)| *state == before).map(|(status, _)| *status);
        for (status, state) in expected {
            let store = Memory::with_clock(plangate::clock::ManualClock::at(START)).unwrap();
            done(&store, &put("acme")).await;
            store.link_customer(&tenant("acme"), "cus_1", &origin()).await.unwrap();
            let object = |status: StripeStatus| {
                let object = subscription("cus_1", "sub_1", status.as_str(), &[("basic_monthly", 1)]);
                with(object, json!({ "trial_end": T + DAY }))
            };
            if let Some(from) = from {
                tell(&store, &catalog, &event("evt_1", UPDATED, T, object(from))).await;
                assert_eq!(of(&store, "acme").await.state(), before);
            }
            tell(&store, &catalog, &event("evt_2", UPDATED, T + 1, object(status))).await;
            assert_eq!(of(&store, "acme").await.state(), state, "from {}", before.as_str());
        }
    }
}
