//! What the header may say, and what becomes of everything else.

use super::*;
use crate::support::client::Wire;

const MOST: u64 = (1 << 53) - 1;

#[tokio::test]
async fn whatever_is_not_one_whole_number_keeps_the_reserve() {
    let upstream = Upstream::start().await;
    let setup = with_policies(Setup::before(&upstream));
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "endless").await;
    let (mut requests, mut spent) = (0, 0);
    for (value, cost) in [
        ("7", Some(7)),
        ("0", Some(0)),
        ("007", Some(7)),
        ("0000000000000041", Some(41)),
        ("", None),
        ("-1", None),
        ("-0", None),
        ("+7", None),
        ("1e3", None),
        ("1.5", None),
        ("7.0", None),
        ("0x10", None),
        ("7 tokens", None),
        ("many", None),
        ("null", None),
        ("7,7", None),
        ("7, 8", None),
        ("7;q=1", None),
        ("\"7\"", None),
        ("9007199254740992", None),
        ("99999999999999999999999999", None),
        ("00000000000000007", None),
        ("18446744073709551623", None),
    ] {
        let reply = costing(&key, value).send(gateway.data).await;
        assert_eq!((reply.status, reply.header("x-usage-ai-tokens")), (200, Some(value)), "unchanged");
        requests += 1;
        spent += cost.unwrap_or(40);
        assert_eq!(used(&gateway).await, (requests, spent), "{value:?}");
    }
    assert_eq!(kept(&gateway).await, (0, 19));
    let twice = costing(&key, "7").with("x-want-header", "X-Usage-AI-Tokens: 7");
    assert_eq!(twice.send(gateway.data).await.status, 200);
    assert_eq!(used(&gateway).await, (requests + 1, spent + 40), "two lines, even of the same number");
    assert_eq!(kept(&gateway).await, (0, 20));
    assert_eq!(chat(&key).send(gateway.data).await.status, 200);
    // What the client says is nothing to go by.
    assert_eq!(chat(&key).with("x-usage-ai-tokens", "1").send(gateway.data).await.status, 200);
    assert_eq!(used(&gateway).await, (requests + 3, spent + 120), "no header");
    assert_eq!(kept(&gateway).await, (2, 20));

    let log = gateway.log();
    let line = log.lines().find(|line| line.contains("does not tell its cost")).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!((&line["level"], &line["route"]), (&json!("DEBUG"), &json!("* /v1/ai/chat")), "{line}");
    assert_eq!((&line["reason"], &line["tenant"]), (&json!("invalid"), &Value::Null), "{line}");
}

#[tokio::test]
async fn the_largest_costs_never_wrap() {
    let upstream = Upstream::start().await;
    let setup = with_policies(Setup::before(&upstream));
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "endless").await;
    let largest = costing(&key, &MOST.to_string());
    for n in 1..=3 {
        assert_eq!(largest.send(gateway.data).await.status, 200);
        assert_eq!(used(&gateway).await, (n, MOST));
    }
    assert_eq!(tokens(&gateway).await, [120, 0, 3 * (MOST - 40)]);
    // A reserve as large as that gives it back.
    let huge = ask("POST", "/v1/ai/huge").key(&key).with("x-want-header", "x-usage-ai-tokens: 1");
    assert_eq!(huge.send(gateway.data).await.status, 200);
    assert_eq!(tokens(&gateway).await, [120 + MOST, MOST - 1, 3 * (MOST - 40)]);
    assert_eq!(used(&gateway).await, (4, MOST));
    assert!(gateway.stop().await.success());
    let gateway = setup.start().await;
    assert_eq!(used(&gateway).await, (4, MOST));

    let key = gateway.admin.tenant("bounded", "windows").await;
    assert_eq!(costing(&key, &MOST.to_string()).send(gateway.data).await.status, 200);
    let quota = gateway.admin.get("/v1/tenants/bounded/rights").await["quotas"]["ai_tokens"].clone();
    assert_eq!((&quota["used"], &quota["remaining"]), (&json!(MOST), &json!(0)));
    assert_eq!(chat(&key).send(gateway.data).await.code(), EXHAUSTED);
    assert!(!gateway.log().contains("panicked"));
}

#[tokio::test]
async fn names_and_blanks_are_read_as_http_has_them() {
    let origin = Origin::scripted(|_, mut wire| async move {
        while let Some(request) = wire.request().await {
            let header = match request.target() {
                "/v1/ai/chat?upper" => "X-USAGE-AI-TOKENS:7",
                "/v1/ai/chat?blank" => "x-usage-ai-tokens: \t 7 \t ",
                "/v1/ai/chat?bytes" => "x-usage-ai-tokens: 7\u{e9}",
                // It concerns the hop between the upstream and the gateway only.
                "/v1/ai/chat?hop" => "connection: x-usage-ai-tokens\r\nx-usage-ai-tokens: 7",
                _ => "x-usage_ai_tokens: 7",
            };
            wire.send(format!("HTTP/1.1 200 OK\r\n{header}\r\ncontent-length: 2\r\n\r\nok")).await;
        }
    })
    .await;
    let (_setup, gateway, key) = before(&origin, "endless").await;
    let mut spent = 0;
    for (query, cost) in [("upper", 7), ("blank", 7), ("bytes", 40), ("hop", 40), ("other", 40)] {
        let reply = get(&format!("/v1/ai/chat?{query}")).key(&key).send(gateway.data).await;
        assert_eq!((reply.status, reply.text().as_str()), (200, "ok"), "{query}");
        spent += cost;
        assert_eq!(used(&gateway).await.1, spent, "{query}");
    }
    assert_eq!(kept(&gateway).await, (2, 1));
}

#[tokio::test]
async fn a_trailer_tells_nothing() {
    let origin = Origin::scripted(|_, mut wire| async move {
        while wire.request().await.is_some() {
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-usage-ai-tokens\r\n\r\n";
            wire.send(format!("{head}2\r\nok\r\n0\r\nx-usage-ai-tokens: 7\r\n\r\n")).await;
        }
    })
    .await;
    let (_setup, gateway, key) = before(&origin, "endless").await;
    let mut wire = Wire::to(gateway.data).await;
    assert_eq!(get("/v1/ai/chat").key(&key).send_on(&mut wire, gateway.data).await.text(), "ok");
    assert_eq!((used(&gateway).await, kept(&gateway).await), ((1, 40), (1, 0)));
}
