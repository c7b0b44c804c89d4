//! Usage told to Stripe: to a stand-in that checks what Stripe's API documents, that loses answers, and that is away at
//! times, by three nodes of which one is killed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use plangate::clock::SystemClock;
use serde_json::{Value, json};

use crate::support::{
    client::get,
    cluster::{Cluster, node, shell},
    load::volley,
    origin::{Origin, Raw},
    postgres::Postgres,
    process::{Setup, eventually},
    upstream::Upstream,
};

const STRIPE: &str = "meters:\n  requests: { event_name: requests_used, count: all }\n\
    \x20 ai_tokens: { event_name: tokens_over }\n";
const KEY: &str = "rk_test_of_these_tests";

#[derive(Default)]
struct Book {
    /// By identifier: name, customer, value.
    events: BTreeMap<String, (String, String, u64)>,
    calls: usize,
    /// Idempotency keys under which an error was answered.
    failed: BTreeSet<String>,
    wrong: Vec<String>,
}

/// What is asked of a meter event. See <https://docs.stripe.com/api/billing/meter-event/create>.
fn take(book: &mut Book, request: &Raw) -> (u16, Value, bool) {
    book.calls += 1;
    let calls = book.calls;
    let refuse = |message: &str| {
        (400, json!({ "error": { "type": "invalid_request_error", "message": message } }), true)
    };
    if request.one("authorization") != Some(&format!("Bearer {KEY}")) {
        return (401, json!({ "error": { "message": "Invalid API Key provided" } }), true);
    }
    let key = request.one("idempotency-key").unwrap_or_default().to_owned();
    if calls % 6 == 2 || book.failed.contains(&key) {
        // What was answered under a key is answered again.
        book.failed.insert(key);
        return (429, json!({ "error": { "code": "rate_limit" } }), true);
    }
    let form: BTreeMap<String, String> = fields(&request.body);
    let field = |name: &str| form.get(name).cloned().unwrap_or_default();
    let (id, value) = (field("identifier"), field("payload[value]").parse::<u64>());
    let seconds = field("timestamp").parse::<i64>().unwrap_or(0);
    let now = SystemClock::uncorrected().0 / 1_000;
    if request.line() != "POST /v1/billing/meter_events HTTP/1.1"
        || request.one("content-type") != Some("application/x-www-form-urlencoded")
        || !request.one("idempotency-key").is_some_and(|key| key.starts_with(&id))
        || request.one("stripe-version") != Some(plangate::wire::stripe::API_VERSION)
        || id.is_empty()
        || id.len() > 100
        || !(now - 35 * 86_400..=now + 300).contains(&seconds)
    {
        book.wrong.push(format!("{} {form:?}", request.head));
        return refuse("malformed");
    }
    let Ok(value) = value else { return refuse("Invalid value") };
    if field("payload[stripe_customer_id]") == "cus_gone" {
        return refuse("No such customer: 'cus_gone'");
    }
    if book.events.contains_key(&id) {
        return refuse(&format!("An event already exists with identifier {id}."));
    }
    let event = (field("event_name"), field("payload[stripe_customer_id]"), value);
    book.events.insert(id, event);
    // Taken, and the answer is lost.
    (200, json!({ "object": "billing.meter_event" }), !calls.is_multiple_of(4))
}

fn fields(body: &[u8]) -> BTreeMap<String, String> {
    let url = format!("/?{}", String::from_utf8_lossy(body));
    let uri: http::Uri = url.parse().unwrap();
    axum::extract::Query::try_from_uri(&uri).unwrap().0
}

async fn stripe(book: &Arc<Mutex<Book>>) -> Origin {
    let book = Arc::clone(book);
    Origin::scripted(move |_, mut wire| {
        let book = Arc::clone(&book);
        async move {
            while let Some(request) = wire.request().await {
                let (status, body, answers) = take(&mut book.lock().unwrap(), &request);
                let body = body.to_string();
                let answer =
                    format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                if !answers || !wire.try_send(answer).await {
                    return;
                }
            }
        }
    })
    .await
}

fn telling(setup: Setup, stripe: &Origin) -> Setup {
    let setup =
        setup.with("/stripe", json!({ "api_key": KEY, "api_base": stripe.url(), "told_after": "1s" }));
    setup.policy("stripe.yaml", STRIPE);
    setup
}

fn sum(book: &Mutex<Book>, name: &str, customer: &str) -> u64 {
    let book = book.lock().unwrap();
    assert!(book.wrong.is_empty(), "{:?}", book.wrong);
    let own = book.events.values().filter(|(of, whose, _)| of == name && whose == customer);
    own.map(|(.., value)| value).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_tell_each_unit_once_also_when_one_is_killed() {
    let (upstream, book) = (Upstream::start().await, Arc::default());
    let (stripe, database) = (stripe(&book).await, Postgres::shared().url());
    let setups = ["a", "b", "c"].map(|name| telling(node(&upstream, &database, name), &stripe));
    let mut cluster = Cluster::of(setups.into()).await;
    let admin = cluster.admin();
    let key = admin.tenant("acme", "big").await;
    admin.ok("PUT", "/v1/tenants/acme/billing", json!({ "stripe_customer": "cus_1" })).await;
    let unlinked = admin.tenant("quiet", "big").await;
    let places: Vec<_> = cluster.alive().map(|node| node.data).collect();
    volley(&get("/v1/messages").key(&key), &places, 6, 60).await.is_only(&[("passed", 60)]);
    volley(&get("/v1/messages").key(&unlinked), &places, 2, 4).await.is_only(&[("passed", 4)]);
    eventually("some of it is told", async || sum(&book, "requests_used", "cus_1") > 0).await;
    cluster.kill(2);
    volley(&get("/v1/messages").key(&key), &places[..2], 4, 30).await.is_only(&[("passed", 30)]);
    cluster.start_again(2).await;
    eventually("all of it is told", async || sum(&book, "requests_used", "cus_1") == 90).await;
    assert_eq!(sum(&book, "tokens_over", "cus_1"), 0, "nothing is billed beyond what is included");

    let listed = admin.get("/v1/billing/exports?limit=500").await;
    let items = listed["items"].as_array().unwrap();
    let units: u64 = items.iter().map(|item| item["units"].as_u64().unwrap()).sum();
    assert_eq!(units, 90, "{listed}");
    assert!(items.iter().all(|item| item["tenant"] == "acme" && item["customer"] == "cus_1"), "{listed}");

    // What Stripe refuses is shown, and sent again when asked.
    admin.ok("PUT", "/v1/tenants/quiet/billing", json!({ "stripe_customer": "cus_gone" })).await;
    let mut id = String::new();
    eventually("it is refused", async || {
        let refused = admin.get("/v1/billing/exports?state=refused").await;
        id = refused["items"][0]["id"].as_str().unwrap_or_default().to_owned();
        refused["items"][0]["error"].as_str().is_some_and(|why| why.contains("No such customer"))
    })
    .await;
    let (code, said, _) = shell(admin, &["billing", "exports", "list", "--state", "refused"]).await;
    assert!(code == 0 && said.contains(&id) && said.contains("No such customer"), "{said}");
    let (code, said, _) = shell(admin, &["billing", "exports", "retry", &id, "--output", "json"]).await;
    assert_eq!((code, said.contains("waiting")), (0, true), "{said}");
    let none = admin.call("POST", "/v1/billing/exports/nothing/retry", json!({})).await;
    assert_eq!((none.status, none.code().as_str()), (404, "export-not-found"));
    let first = items[0]["id"].as_str().unwrap();
    let sent = admin.call("POST", &format!("/v1/billing/exports/{first}/retry"), json!({})).await;
    assert_eq!((sent.status, sent.code().as_str()), (409, "state-forbids"));
    assert_eq!(sum(&book, "requests_used", "cus_1"), 90);
}
