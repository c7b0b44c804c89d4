//! Usage as it grows old, over a store in memory: the sums stay what the slots say, to the unit.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{Api, TOKEN, World, answered, fakes};
use crate::{
    admin::{AdminState, router},
    clock::Clock,
    domain::{
        period::{AnchorDay, BillingCalendar, Window, Windows, Zone},
        time::{UnixMillis, Version},
    },
    ports::{BucketKey, Incarnation, LedgerStore, SlotKey, SlotTotals},
    store::{Retention, Store, memory::Memory},
};

const HOUR: i64 = 3_600_000;
/// Four billing months of the tenant.
const SPAN: &str = "from=2026-08-15&to=2026-12-15";
const METERS: [&str; 2] = ["ai_tokens", "requests"];
const DAY_LONG: Duration = Duration::from_secs(86_400);

/// Units by meter and the month's start.
type Months = BTreeMap<(String, String), u64>;

struct History {
    api: Api,
    store: Arc<Memory>,
    calendar: BillingCalendar,
    slots: BTreeMap<(BucketKey, u128), SlotTotals>,
}

impl History {
    /// Of `acme`, in Berlin, with billing months from the 15th.
    async fn new() -> Self {
        let world = World::new();
        let store = Arc::new(Memory::with_clock(world.clock.clone()).unwrap());
        let state = AdminState { tenants: store.clone(), ..world.state(Some(TOKEN)) };
        let api = Api { world, router: router(state) };
        api.ok("PUT", "/v1/tenants/acme", r#"{"timezone":"Europe/Berlin"}"#).await;
        api.ok("PUT", "/v1/tenants/acme/subscription", r#"{"plan":"free","anchor_day":15}"#).await;
        let calendar =
            BillingCalendar::new(Zone::named("Europe/Berlin").unwrap(), AnchorDay::new(15).unwrap());
        Self { api, store, calendar, slots: BTreeMap::new() }
    }

    /// Reports that a node has charged, and given back of what it had charged before.
    async fn report(&mut self, meter: &str, node: u128, at: UnixMillis, charged: u64, back: u64) {
        let month = self.calendar.period(Window::Month, at);
        let bucket = BucketKey {
            tenant: "acme".parse().unwrap(),
            meter: meter.parse().unwrap(),
            span: Window::Month.into(),
            start: month.start,
            epoch: Version(1),
        };
        let slot =
            SlotKey { bucket: bucket.clone(), incarnation: Incarnation(uuid::Uuid::from_u128(node)), seq: 0 };
        let totals = self.slots.entry((bucket, node)).or_insert(SlotTotals {
            slot,
            end: month.end,
            granted: 0,
            used: 0,
            refunded: 0,
            at,
            sealed: false,
            counted: Windows::default(),
            counting: Version(1),
            marks: None,
        });
        totals.used += charged;
        totals.refunded = (totals.refunded + back).min(totals.used);
        totals.at = at;
        self.store.flush(std::slice::from_ref(totals)).await.unwrap();
    }

    /// Three months of it on two nodes; now and then more is given back in an hour than was charged in it.
    async fn of_three_months(&mut self) {
        let now = self.api.world.clock.now();
        let mut at = fakes::at("2026-08-15T05:30:00Z");
        for step in 0_u64.. {
            for (meter, factor) in METERS.into_iter().zip([3, 7]) {
                let units = (step * factor) % 11;
                let (charged, back) = if step % 6 == 5 { (1, units) } else { (units + 1, 0) };
                self.report(meter, u128::from(step % 2 + 1), at, charged, back).await;
            }
            at.0 += 5 * HOUR;
            if at >= now {
                break;
            }
        }
        // Charged before midnight and given back after it.
        self.report("requests", 3, fakes::at("2026-09-20T21:59:00Z"), 100_000, 0).await;
        self.report("requests", 3, fakes::at("2026-09-20T22:01:00Z"), 0, 99_000).await;
    }

    /// What the slots say, by the month.
    async fn slots(&self) -> Months {
        let buckets: Vec<BucketKey> = self.slots.keys().map(|(bucket, _)| bucket.clone()).collect();
        let nobody = Incarnation(uuid::Uuid::nil());
        let used = self.store.others(nobody, &buckets).await.unwrap();
        let months = buckets.iter().zip(used);
        months.map(|(key, used)| ((key.meter.to_string(), key.start.to_string()), used.used.get())).collect()
    }

    async fn rows(&self, bucket: &str) -> Vec<Value> {
        let path = format!("/v1/tenants/acme/usage?{SPAN}&bucket={bucket}");
        self.api.ok("GET", &path, "").await["rows"].as_array().unwrap().clone()
    }

    async fn csv(&self, bucket: &str) -> String {
        let path = format!("/v1/tenants/acme/usage?{SPAN}&bucket={bucket}");
        let answer = self.api.send("GET", &path, &[("accept", "text/csv")], "").await;
        assert_eq!(answer.status, 200);
        assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/csv; charset=utf-8"));
        answer.body.as_str().unwrap().to_owned()
    }

    async fn tidy(&self, hours: u32) {
        let keep =
            Retention { usage_hours: DAY_LONG * hours, usage_days: DAY_LONG * 800, audit: DAY_LONG * 400 };
        while self.store.tidy(&keep).await.unwrap().more {}
    }
}

fn text(row: &Value, field: &str) -> String {
    row[field].as_str().unwrap().to_owned()
}

fn units(rows: &[Value]) -> u64 {
    rows.iter().map(|row| row["units"].as_u64().unwrap()).sum()
}

/// Rows as the contract writes them in CSV.
fn as_csv(rows: &[Value]) -> String {
    let line = |row: &Value| {
        format!("{},{},{},{}\r\n", text(row, "meter"), text(row, "start"), text(row, "end"), row["units"])
    };
    format!("meter,start,end,units\r\n{}", rows.iter().map(line).collect::<String>())
}

#[tokio::test]
async fn sums_stay_what_the_slots_say() {
    let mut history = History::new().await;
    history.of_three_months().await;
    let (days, months, slots) =
        (history.rows("day").await, history.rows("month").await, history.slots().await);
    let by_month: Months = months
        .iter()
        .map(|row| ((text(row, "meter"), text(row, "start")), row["units"].as_u64().unwrap()))
        .collect();
    assert_eq!(by_month, slots);
    let all: u64 = slots.values().sum();
    assert!(slots.len() == 8 && all > 4_000, "{slots:?}");
    assert_eq!((units(&days), units(&history.rows("hour").await)), (all, all));

    // The first run takes the older months, the second (20 days later) also the day on which the clocks were set back.
    for wait in [0, 20] {
        history.api.world.clock.advance(DAY_LONG * wait);
        history.tidy(35).await;
        assert_eq!(history.rows("day").await, days);
        assert_eq!(history.rows("month").await, months);
        for (bucket, rows) in [("day", &days), ("month", &months)] {
            assert_eq!(history.csv(bucket).await, as_csv(rows));
        }
        let hours = history.rows("hour").await;
        assert_eq!(units(&hours), all);
        assert_eq!(history.csv("hour").await, as_csv(&hours));
        for pair in hours.windows(2).filter(|pair| pair[0]["meter"] == pair[1]["meter"]) {
            let (end, start) = (fakes::at(&text(&pair[0], "end")), fakes::at(&text(&pair[1], "start")));
            assert!(end <= start, "{} and {} overlap", pair[0], pair[1]);
        }
    }
}

#[tokio::test]
async fn old_hours_are_told_as_the_days_they_became() {
    let mut history = History::new().await;
    let instants = [
        ("2026-10-24T22:00:00Z", 1),
        ("2026-10-25T22:59:59Z", 2),
        // On the day of which only the first hours are old.
        ("2026-11-07T03:00:00Z", 4),
        ("2026-11-07T20:00:00Z", 8),
        ("2026-11-08T20:00:00Z", 16),
    ];
    for (at, charged) in instants {
        history.report("requests", 1, fakes::at(at), charged, 0).await;
    }
    history.api.world.clock.advance(DAY_LONG * 20);
    let path = format!("/v1/tenants/acme/usage?{SPAN}&bucket=hour");
    assert_eq!(history.rows("hour").await.len(), 5);
    history.tidy(35).await;
    let row = |start, end, units| json!({"meter": "requests", "start": start, "end": end, "units": units});
    let told = json!([
        row("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z", 3),
        row("2026-11-06T23:00:00Z", "2026-11-07T23:00:00Z", 12),
        row("2026-11-08T20:00:00Z", "2026-11-08T21:00:00Z", 16),
    ]);
    assert_eq!(history.api.ok("GET", &path, "").await["rows"], told);
    // A late report joins its day at once.
    history.report("requests", 2, fakes::at("2026-10-25T12:00:00Z"), 32, 0).await;
    assert_eq!(history.rows("hour").await[0], row("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z", 35));
}

#[tokio::test]
async fn the_form_is_the_one_that_was_asked_for() {
    let history = History::new().await;
    let path = format!("/v1/tenants/acme/usage?{SPAN}");
    assert_eq!(history.csv("day").await, "meter,start,end,units\r\n", "nothing was used");
    for (accept, form) in [
        ("text/csv", "text/csv"),
        ("Text/CSV; charset=utf-8", "text/csv"),
        ("text/csv, */*;q=0.1", "text/csv"),
        ("application/json;q=0.5, text/csv;q=0.9", "text/csv"),
        ("text/csv, application/json", "application/json"),
        ("text/csv;q=0.2, application/json", "application/json"),
        ("text/csv;q=0", "application/json"),
        ("text/csv;q=nan", "application/json"),
        ("text/csvx", "application/json"),
        ("text/html", "application/json"),
        ("*/*", "application/json"),
        (",;q=,", "application/json"),
    ] {
        let answer = history.api.send("GET", &path, &[("accept", accept)], "").await;
        let given = answer.headers["content-type"].to_str().unwrap();
        assert!(answer.status == 200 && given.starts_with(form), "{accept}: {given}");
    }
    let request = http::Request::builder().uri(&path).header("authorization", format!("Bearer {TOKEN}"));
    let two =
        request.header("accept", "text/html").header("accept", "text/csv").body(axum::body::Body::empty());
    let answer =
        answered(tower::ServiceExt::oneshot(history.api.router.clone(), two.unwrap()).await.unwrap()).await;
    assert_eq!(answer.body, "meter,start,end,units\r\n");
    let bad = history.api.send("GET", &format!("{path}&bucket=week"), &[("accept", "text/csv")], "").await;
    super::problem(&bad, 400, "parameter-invalid");
}
