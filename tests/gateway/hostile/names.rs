//! Headers by which a client would say who it is.

use super::{Walls, statuses};
use crate::support::{
    client::{Ask, get},
    origin::Raw,
};

const SPOOFED: &[&str] = &[
    "X-Plangate-Tenant",
    "x-plangate-tenant",
    "X_Plangate_Tenant",
    "X-Plangate_Tenant",
    "XPlangateTenant",
    "x.plangate.tenant",
    "X--Plangate--Tenant",
    "X-Plan-Gate-Tenant",
    "xPLANGATE",
    "X-Plangate",
    "X-Plangate-Plan",
    "x_plangate_plan",
    "X-Plangate-Anything",
    "X|Plangate~Tenant",
    "-x-plangate-tenant",
    "X-Request_Id",
    "x_request_id",
];

fn folded(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// Names that fold to ours, and their values, as the upstream got them.
fn ours(raw: &Raw) -> Vec<(String, String)> {
    let fields = raw.head.split("\r\n").skip(1).filter_map(|line| line.split_once(": "));
    let mut ours: Vec<_> = fields
        .filter(|(name, _)| folded(name).starts_with("xplangate"))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    ours.sort();
    ours
}

#[tokio::test]
async fn nobody_can_say_who_they_are() {
    let walls = Walls::stand().await;
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let proven = vec![pair("x-plangate-plan", "small"), pair("x-plangate-tenant", "acme")];
    let spoofing = |ask: Ask| SPOOFED.iter().fold(ask, |ask, name| ask.with(name, "evil"));
    let open = walls.gateway.data;

    assert_eq!(spoofing(get("/v1/me").key(&walls.key)).send(open).await.status, 200);
    let seen = walls.origin.last();
    assert_eq!(ours(&seen), proven);
    assert!(!seen.head.contains("evil"), "{}", seen.head);

    // `Connection` removes what the client names, but not what the gateway says.
    let named = "x-plangate-tenant, x-plangate-plan, x-request-id, x-forwarded-for, x-forwarded-host, host";
    let ask = get("/v1/me")
        .key(&walls.key)
        .with("Connection", named)
        .with("X-Gone", "1")
        .with("Connection", "x-gone");
    assert_eq!(ask.send(open).await.status, 200);
    let seen = walls.origin.last();
    assert_eq!(ours(&seen), proven);
    assert_eq!(seen.one("x-gone"), None);
    for name in ["x-request-id", "x-forwarded-for", "x-forwarded-host", "host"] {
        assert!(seen.one(name).is_some(), "{name}: {}", seen.head);
    }

    // A public route proves nobody, and a trailer is no way in either.
    assert_eq!(spoofing(get("/healthz")).send(open).await.status, 200);
    assert_eq!(ours(&walls.origin.last()), []);
    let declared = SPOOFED.join(", ");
    let trailers: String = SPOOFED.iter().map(|name| format!("{name}: evil\r\n")).collect();
    let fields = format!(
        "Transfer-Encoding: chunked\r\nTE: trailers\r\nTrailer: {declared}, X-Sum\r\nConnection: close\r\n"
    );
    let request =
        walls.head("POST /v1/free/x HTTP/1.1", &fields) + "1\r\na\r\n0\r\n" + &trailers + "X-Sum: 1\r\n\r\n";
    assert_eq!(statuses(&walls.exchange(request).await), [200]);
    let seen = walls.origin.last();
    assert_eq!(ours(&seen), proven);
    assert!(!seen.trailers.contains("evil"), "{}", seen.trailers);
    walls.hold(4, "spoofing").await;
    walls.uncharged().await;
}
