//! Reading Stripe's events, whatever is in them.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn event(kind: &str, object: &Value) -> Told {
    let body = json!({ "id": "evt_1", "type": kind, "created": 1_760_000_000, "data": { "object": object } });
    read(body.to_string().as_bytes()).unwrap()
}

fn fact(told: &Told) -> &StripeEvent {
    match &told.meaning {
        Meaning::Event(event) => event,
        other => panic!("{other:?}"),
    }
}

#[test]
fn earlier_versions_have_their_fields_elsewhere() {
    let today =
        json!({ "customer": "cus_1", "parent": { "subscription_details": { "subscription": "sub_1" } } });
    let once = json!({ "customer": { "id": "cus_1" }, "subscription": "sub_1" });
    for invoice in [&today, &once] {
        let told = event("invoice.paid", invoice);
        let paid = StripeFact::Payment { subscription: "sub_1".to_owned(), paid: true };
        assert_eq!((&fact(&told).fact, told.customer.as_deref()), (&paid, Some("cus_1")));
    }
    let item = |ends: Value| json!({ "plan": { "id": "gold" }, "current_period_end": ends });
    let subscription = |item: Value, own: Value| {
        json!({
            "id": "sub_1", "customer": "cus_1", "status": "active", "created": 5, "cancel_at_period_end": true,
            "current_period_end": own, "items": { "data": [item] },
        })
    };
    for object in [subscription(item(json!(9)), Value::Null), subscription(item(Value::Null), json!(9))] {
        let told = event("customer.subscription.updated", &object);
        let StripeFact::Subscription(snapshot) = &fact(&told).fact else { panic!("{told:?}") };
        assert_eq!(snapshot.cancel_at, Some(UnixMillis(9_000)));
        assert_eq!((snapshot.items[0].price.as_str(), snapshot.items[0].quantity), ("gold", 1));
    }
}

#[test]
fn who_may_name_a_tenant() {
    let named = |kind: &str, object: Value| fact(&event(kind, &object)).names.clone();
    let checkout = "checkout.session.completed";
    let bought =
        |link: Value| json!({ "customer": "cus_1", "client_reference_id": "acme", "payment_link": link });
    assert_eq!(named(checkout, bought(Value::Null)).as_deref(), Some("acme"));
    assert_eq!(named(checkout, bought(json!("plink_1"))), None, "the buyer can write it into the link");
    let both = json!({ "customer": "c", "client_reference_id": "a", "metadata": { "plangate_tenant": "b" } });
    assert_eq!(named(checkout, both).as_deref(), Some("b"));
    let told = event(checkout, &json!({ "client_reference_id": "acme" }));
    assert!(matches!(told.meaning, Meaning::Other(_)), "without a customer it says nothing");
}

#[test]
fn what_is_deleted_is_over_and_lists_must_be_whole() {
    let object = |more: bool| {
        json!({
            "id": "sub_1", "customer": "cus_1", "status": "active", "created": 5,
            "items": { "data": [{ "price": { "id": "p" } }], "has_more": more },
        })
    };
    let told = event("customer.subscription.deleted", &object(false));
    let StripeFact::Subscription(snapshot) = &fact(&told).fact else { panic!("{told:?}") };
    assert_eq!(snapshot.status, StripeStatus::Canceled);
    let told = event("customer.subscription.updated", &object(true));
    assert!(matches!(told.meaning, Meaning::Unreadable(_)));
}

/// Objects of every kind, filled by what the classes of Python's package declare.
#[test]
fn shapes_of_the_stripe_package_are_read() {
    let names =
        ["event", "subscription", "invoice", "checkout.session", "entitlements.active_entitlement_summary"];
    let Some(found) = package::ask("shapes.py", &json!(names)) else { return };
    let words = |name: &str| -> Vec<String> { serde_json::from_value(found[name].clone()).unwrap() };
    let (mut statuses, types) = (words("statuses"), words("types"));
    statuses.sort();
    let mut known = StripeStatus::ALL.map(StripeStatus::as_str);
    known.sort_unstable();
    assert_eq!(statuses, known, "every state is known");
    for kind in StripeKind::ALL {
        assert!(types.iter().any(|word| word == kind.as_str()), "{}", kind.as_str());
    }
    let objects = &found["objects"];
    let told = |kind: StripeKind, object: &Value| {
        let mut event = objects["event"].clone();
        (event["type"], event["data"]["object"]) = (json!(kind.as_str()), object.clone());
        read(event.to_string().as_bytes()).unwrap()
    };
    // The package's own values: each text is `text`, each number this one.
    let (text, at) = (Some("text"), UnixMillis(1_760_000_000_000));
    let mut subscription = objects["subscription"].clone();
    assert!(subscription.get("current_period_end").is_none(), "it is the items' today");
    (subscription["cancel_at"], subscription["cancel_at_period_end"]) = (Value::Null, json!(true));
    subscription["items"]["data"][0]["quantity"] = json!(3);
    subscription["metadata"][TENANT_KEY] = json!("acme");
    let event = told(StripeKind::Updated, &subscription);
    assert_eq!((event.customer.as_deref(), event.subscription.as_deref()), (text, text));
    assert_eq!((event.created, fact(&event).names.as_deref()), (at, Some("acme")));
    let StripeFact::Subscription(snapshot) = &fact(&event).fact else { panic!("{event:?}") };
    let items = vec![Item { price: "text".into(), lookup_key: Some("text".into()), quantity: 3 }];
    let expected = Snapshot {
        subscription: "text".into(),
        status: StripeStatus::Active,
        created: at,
        begun: at,
        anchor: at,
        trial_end: Some(at),
        cancel_at: Some(at),
        ended_at: Some(at),
        items,
    };
    assert_eq!(*snapshot, expected);
    // As earlier versions had it.
    subscription["items"]["data"][0].as_object_mut().unwrap().remove("current_period_end");
    subscription["current_period_end"] = json!(1_760_000_000);
    let event = told(StripeKind::Updated, &subscription);
    assert_eq!(fact(&event).fact, StripeFact::Subscription(expected));

    let mut invoice = objects["invoice"].clone();
    assert!(invoice.get("subscription").is_none(), "it is the parent's today");
    let paid = StripeFact::Payment { subscription: "text".into(), paid: true };
    assert_eq!(fact(&told(StripeKind::Paid, &invoice)).fact, paid);
    (invoice["parent"], invoice["subscription"]) = (Value::Null, json!("text"));
    assert_eq!(fact(&told(StripeKind::Paid, &invoice)).fact, paid);
    let mut checkout = objects["checkout.session"].clone();
    checkout["payment_link"] = Value::Null;
    let event = told(StripeKind::CheckedOut, &checkout);
    assert_eq!((event.customer.as_deref(), event.subscription.as_deref()), (text, text));
    assert_eq!(fact(&event).names.as_deref(), text, "as its `client_reference_id` says");
    let event = told(StripeKind::Entitled, &objects["entitlements.active_entitlement_summary"]);
    assert_eq!(fact(&event).fact, StripeFact::Entitlements(["text".to_owned()].into()));
}

/// Any JSON, with the names that are looked for among its keys.
fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z_]{0,12}".prop_map(Value::from),
        prop::sample::select(vec!["active", "canceled", "cus_1", "invoice.paid"]).prop_map(Value::from),
    ];
    let keys = vec![
        "id",
        "type",
        "created",
        "data",
        "object",
        "customer",
        "subscription",
        "items",
        "price",
        "status",
        "parent",
        "subscription_details",
        "metadata",
        "plangate_tenant",
        "entitlements",
        "lookup_key",
        "quantity",
        "cancel_at",
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(keys.clone()), inner), 0..8)
                .prop_map(|entries| entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_are_too_odd(bytes: Vec<u8>) {
        let _ = read(&bytes);
    }

    #[test]
    fn no_object_is_too_odd(kind in prop::sample::select(StripeKind::ALL.to_vec()), object in json_value()) {
        let _ = event(kind.as_str(), &object);
    }

    #[test]
    fn no_json_is_too_odd(value in json_value()) {
        let _ = read(value.to_string().as_bytes());
    }
}
