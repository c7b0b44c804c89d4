//! Hostile input against the whole gateway: the upstream receives what was matched and nothing else, nobody is charged,
//! and after each blow the gateway still serves.

use std::fmt::Write as _;

use crate::support::{
    client::{Ask, Wire, ask, get},
    origin::{Origin, Raw},
    process::{Gateway, Setup},
};

/// A gateway under attack, with a tenant whose plan lacks `export`.
struct Walls {
    origin: Origin,
    _setup: Setup,
    gateway: Gateway,
    key: String,
}

impl Walls {
    async fn stand() -> Self {
        let origin = Origin::recording().await;
        let setup = Setup::at(&origin.url());
        let gateway = setup.start().await;
        let key = gateway.admin.tenant("acme", "small").await;
        Self { origin, _setup: setup, gateway, key }
    }

    /// Sends the bytes on a connection of their own, and reads until the gateway closes it.
    async fn exchange(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut wire = Wire::to(self.gateway.data).await;
        wire.try_send(bytes).await;
        wire.finish().await;
        String::from_utf8_lossy(&wire.rest().await).into_owned()
    }

    /// A request line and fields, with the key.
    fn head(&self, line: &str, fields: &str) -> String {
        format!("{line}\r\nHost: h\r\nx-api-key: {}\r\n{fields}\r\n", self.key)
    }

    /// A request that a smuggler would love to be served.
    fn loot(&self) -> String {
        self.head("GET /v1/messages?loot HTTP/1.1", "")
    }

    /// It still serves, nothing panicked, the upstream saw so many requests of the attack and no loot, no unit is gone.
    async fn hold(&self, seen: usize, what: &str) {
        assert_eq!(self.origin.seen().len(), seen, "{what}: {:?}", self.lines());
        assert!(self.lines().iter().all(|line| !line.contains("loot")), "{what}: {:?}", self.lines());
        let log = self.gateway.log();
        assert!(!log.contains("panicked"), "{what}: {log}");
        let served = get("/v1/me").key(&self.key).send(self.gateway.data).await;
        assert_eq!(served.status, 200, "{what}");
    }

    async fn uncharged(&self) {
        assert_eq!(self.gateway.admin.used("acme", "requests").await, 0);
    }

    /// What the upstream saw but for the checks of [`Walls::hold`].
    fn lines(&self) -> Vec<String> {
        self.origin.seen().iter().map(|raw| raw.line().to_owned()).collect()
    }
}

/// The statuses of the answers in what came back.
fn statuses(text: &str) -> Vec<u16> {
    let heads = text.match_indices("HTTP/1.1 ");
    heads.filter_map(|(at, found)| text.get(at + found.len()..)?.get(..3)?.parse().ok()).collect()
}

#[tokio::test]
async fn paths_that_two_servers_would_read_differently() {
    let walls = Walls::stand().await;
    let ambiguous: &[&[u8]] = &[
        b"/v1/export/..%2f",
        b"/v1/export/..%2F..",
        b"/v1/free/..%2fexport/all",
        b"/v1/free/%2e%2e/export/all",
        b"/v1/free/%2E%2e/export/all",
        b"/v1/free/.%2e/export/all",
        b"/v1/free/../export/all",
        b"/v1/free/..",
        b"/v1/free/.",
        b"/v1/free/./x",
        b"/v1/free/%2e/x",
        b"/v1/free/x/..",
        b"/..",
        b"/.",
        b"/%2e",
        b"/v1/free//x",
        b"//v1/free/x",
        b"/v1//free/x",
        b"/v1/free/x//",
        b"//",
        b"///",
        b"/v1/free/x;a=b",
        b"/v1/free;/x",
        b"/v1/free/..;/export/all",
        b"/v1/free/x%3b",
        b"/v1/free/x%3B",
        b"/v1/free/\\x",
        b"/v1\\free\\x",
        b"/v1/free/..\\export",
        b"/v1/free/x%5cy",
        b"/v1/free/x%5Cy",
        b"/v1/free/x%2fy",
        b"/v1/free%2Fx",
        b"/v1/free/x%00",
        b"/v1/free/%00x",
        b"/v1/free/%",
        b"/v1/free/%4",
        b"/v1/free/%zz",
        b"/v1/free/%u002e",
        b"/v1/free/%2",
        b"/v1/free/%%32%65",
        b"/v1/free/%c0%ae%c0%ae/x",
        b"/v1/free/%c0%af",
        b"/v1/free/%e0%80%af",
        b"/v1/free/%f0%80%80%af",
        b"/v1/free/%ff",
        b"/v1/free/%80",
        b"/v1/free/%ed%a0%80",
        b"/v1/free/%c3",
        b"/v1/free/%C3x",
        b"/v1/free/\xc3\xa9",
        b"/v1/free/\xc0\xae",
        b"/v1/free/\"",
        b"/v1/free/<x>",
        b"/v1/free/{x}",
        b"/v1/free/x^y",
        b"/v1/free/x|y",
        b"/v1/free/x`y",
        b"/v1/free/[x]",
        b"*",
        b"http://h/v1/free/x",
        b"HTTP://h/v1/free/x",
        b"https://h/v1/free/x",
        b"h:80",
        b"v1/free/x",
        b"?x",
        b"/v1/free/x\x7f",
        b"/v1/free/\x01x",
    ];
    for target in ambiguous {
        let shown = String::from_utf8_lossy(target);
        let head = walls.head("GET @ HTTP/1.1", "Connection: close\r\n");
        let (before, after) = head.split_once('@').unwrap();
        let mut wire = Wire::to(walls.gateway.data).await;
        wire.send([before.as_bytes(), target, after.as_bytes()].concat()).await;
        let reply = wire.reply().await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "path-ambiguous"), "{shown}");
        assert!(wire.is_closed().await, "{shown}");
    }
    assert_eq!(walls.origin.seen().len(), 0, "{:?}", walls.lines());
    walls.hold(0, "paths").await;
    walls.uncharged().await;
}

#[tokio::test]
async fn the_upstream_receives_the_path_that_was_matched() {
    let walls = Walls::stand().await;
    for (sent, received) in [
        ("/v1/free/%61%7e%2D%5f%2E%31", "/v1/free/a~-_.1"),
        ("/v1/%66ree/x", "/v1/free/x"),
        ("/%76%31/%66%72%65%65/%78", "/v1/free/x"),
        ("/v1/free/%e4%bd%a0%c3%a9", "/v1/free/%E4%BD%A0%C3%A9"),
        ("/v1/free/%20%2a%22%7b", "/v1/free/%20%2A%22%7B"),
        ("/v1/free/%252e%252E%252f", "/v1/free/%252e%252E%252f"),
        ("/v1/free", "/v1/free"),
        ("/v1/free/", "/v1/free/"),
        ("/v1/free/x/y/", "/v1/free/x/y/"),
        ("/v1/free/.../..x/.y", "/v1/free/.../..x/.y"),
        ("/v1/free/a:b@c!$&'()*+,=", "/v1/free/a:b@c!$&'()*+,="),
        ("/v1/free/x?../..//;\\%2f%zz&=?/%2e", "/v1/free/x?../..//;\\%2f%zz&=?/%2e"),
        ("/v1/free/x?a=[]{}|^`'!*()$,:@~", "/v1/free/x?a=[]{}|^`'!*()$,:@~"),
        ("/v1/%66ree/x?%66=%2e", "/v1/free/x?%66=%2e"),
        ("/v1/free/x?", "/v1/free/x?"),
        ("/v1/free/x#fragment?no", "/v1/free/x"),
        ("/v1/free/x?q=1#fragment", "/v1/free/x?q=1"),
    ] {
        let reply = get(sent).key(&walls.key).send(walls.gateway.data).await;
        assert_eq!(reply.status, 200, "{sent}: {}", reply.text());
        assert_eq!(walls.origin.last().target(), received);
    }
    let before = walls.origin.seen().len();
    for (sent, status) in
        [("/v1/%65xport/all", 403), ("/v1/expor%74", 403), ("/v1/Export/all", 404), ("/V1/free/x", 404)]
    {
        let reply = get(sent).key(&walls.key).send(walls.gateway.data).await;
        assert_eq!(reply.status, status, "{sent}: what is encoded is still what it is");
    }
    walls.hold(before, "encoded names").await;
    walls.uncharged().await;
    let encoded = get("/v1/me%73sages").key(&walls.key).send(walls.gateway.data).await;
    assert_eq!(encoded.status, 200);
    assert_eq!(walls.gateway.admin.used("acme", "requests").await, 1, "and costs what it costs");
}

#[tokio::test]
async fn heads_that_two_servers_would_end_differently() {
    let walls = Walls::stand().await;
    let plain = "Content-Length: 4\r\n";
    for fields in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Content-Length: 4\r\nContent-Length: 4\r\n",
        "Content-Length: 4\r\nContent-Length: 5\r\n",
        "Content-Length: 4, 4\r\n",
        "Content-Length: +4\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x4\r\n",
        "Content-Length: 4 4\r\n",
        "Content-Length:\r\n",
        "Content-Length: 18446744073709551617\r\n",
        "Content-Length : 4\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding:\x0bchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "X: y\r\n Transfer-Encoding: chunked\r\n",
        "X: y\nTransfer-Encoding: chunked\r\n",
        "X: y\rTransfer-Encoding: chunked\r\n",
        "X: y\0z\r\n",
        "X\0: y\r\n",
        "X y: z\r\n",
        "no colon\r\n",
        ": nameless\r\n",
        "Host: h\r\n",
        "Host: other\r\n",
        "HOST: other\r\n",
    ] {
        let attack = walls.head("POST /v1/messages HTTP/1.1", fields) + "0\r\n\r\n" + &walls.loot();
        let answer = walls.exchange(attack).await;
        assert_eq!(statuses(&answer), [400], "{fields:?}: {answer}");
        assert!(answer.contains("\"request-malformed\""), "{fields:?}: {answer}");
    }
    for host in [
        "", " ", "a b", "a,b", "a/b", "u@h", "h:x", "h:70000", "h:1:2", "[::1", "[x]", "::1", "h\\x", "h?x",
        "http://h", "h\u{e9}",
    ] {
        let attack = format!("GET /v1/messages HTTP/1.1\r\nHost: {host}\r\nx-api-key: {}\r\n\r\n", walls.key);
        let answer = walls.exchange(attack + &walls.loot()).await;
        assert_eq!(statuses(&answer), [400], "{host:?}: {answer}");
        assert!(answer.contains("\"request-malformed\""), "{host:?}: {answer}");
    }
    for line in [
        "GET /v1/messages HTTP/1.0\r\nTransfer-Encoding: chunked",
        "GET /v1/messages HTTP/1.2",
        "GET /v1/messages HTTP/2.0",
        "GET /v1/messages HTTP/0.9",
        "GET /v1/messages http/1.1",
        "GET /v1/messages",
        "GET  /v1/messages HTTP/1.1",
        "GET /v1/messages HTTP/1.1 ",
        "GET /v1/messages x HTTP/1.1",
        "G T /v1/messages HTTP/1.1",
        "(GET) /v1/messages HTTP/1.1",
        "TRACE /v1/messages HTTP/1.1",
        "CONNECT h:80 HTTP/1.1",
    ] {
        let answer = walls.exchange(walls.head(line, plain) + "abcd" + &walls.loot()).await;
        assert_eq!(statuses(&answer), [400], "{line:?}: {answer}");
    }
    walls.hold(0, "heads").await;
    walls.uncharged().await;
}

#[tokio::test]
async fn chunks_that_two_servers_would_end_differently() {
    let walls = Walls::stand().await;
    for body in [
        "x\r\n",
        "-1\r\n",
        "+1\r\na\r\n0\r\n\r\n",
        " 1\r\na\r\n0\r\n\r\n",
        "1 \r\na\r\n0\r\n\r\n",
        "0x1\r\na\r\n0\r\n\r\n",
        "1\na\r\n0\r\n\r\n",
        "1\r\nab\r\n0\r\n\r\n",
        "1\r\na\n0\r\n\r\n",
        "1;a\nb\r\na\r\n0\r\n\r\n",
        "0\r\n\n",
        "0\r\nX : a\r\n\r\n",
        "0\r\n X: a\r\n\r\n",
        "0\r\nno colon\r\n\r\n",
        "ffffffffffffffff\r\n",
        "10000000000000000\r\n",
        "1;\0\r\na\r\n0\r\n\r\n",
        "\r\n0\r\n\r\n",
        ";\r\n0\r\n\r\n",
        "0\r\n\rX",
    ] {
        let attack = walls.head("POST /v1/free/chunks HTTP/1.1", "Transfer-Encoding: chunked\r\n");
        let answer = walls.exchange(attack + body + &walls.loot()).await;
        let answers = statuses(&answer);
        assert!(answers.is_empty() || answers == [400], "{body:?}: {answer}");
    }
    walls.hold(0, "chunks").await;
    // What is well-formed ends where it says, and what is behind it is a request of its own.
    let whole = walls.head("POST /v1/free/whole HTTP/1.1", "Transfer-Encoding: chunked\r\n");
    let after = walls.head("GET /v1/free/after HTTP/1.1", "Connection: close\r\n");
    let answer = walls.exchange(whole + "00003;x=\"y\"\r\n0\r\n\r\n0;end\r\nX-Sum: 1\r\n\r\n" + &after).await;
    assert_eq!(statuses(&answer), [200, 200], "{answer}");
    let seen = walls.origin.seen();
    assert_eq!(seen[1].body, b"0\r\n");
    assert_eq!(seen[2].target(), "/v1/free/after");
    walls.hold(3, "whole chunks").await;
    walls.uncharged().await;
}

#[tokio::test]
async fn the_unread_body_of_a_refused_request_is_never_a_request() {
    let walls = Walls::stand().await;
    let loot = walls.loot();
    let chunked = format!("{:x}\r\n{loot}\r\n0\r\n\r\n", loot.len());
    let long = loot.repeat(200);
    for (fields, body) in [
        (format!("Content-Length: {}\r\n", loot.len()), loot.clone()),
        (format!("Content-Length: {}\r\n", long.len()), long.clone()),
        (format!("Content-Length: {}\r\n", loot.len() * 100), loot.clone()),
        ("Transfer-Encoding: chunked\r\n".to_owned(), chunked.clone()),
        (format!("Content-Length: {}\r\nExpect: 100-continue\r\n", loot.len()), loot.clone()),
    ] {
        let head = walls.head("POST /v1/export/x HTTP/1.1", &fields);
        // All at once, and the body only after the refusal was read.
        let answer = walls.exchange(format!("{head}{body}")).await;
        assert_eq!(statuses(&answer), [403], "{fields}: {answer}");
        let mut wire = Wire::to(walls.gateway.data).await;
        wire.send(&head).await;
        let refused = wire.reply().await;
        assert_eq!((refused.status, refused.code().as_str()), (403, "feature-not-in-plan"));
        wire.try_send(&body).await;
        let rest = String::from_utf8_lossy(&wire.rest().await).into_owned();
        assert!(statuses(&rest).is_empty(), "{fields}: {rest}");
    }
    // The same of one that has no identity, and of one that has no valid head.
    let anonymous =
        format!("POST /v1/messages HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{long}", long.len());
    assert_eq!(statuses(&walls.exchange(anonymous).await), [401]);
    let broken = format!("POST /v1//x HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{loot}", loot.len());
    let answers = statuses(&walls.exchange(broken).await);
    assert_eq!(answers, [400]);
    walls.hold(0, "unread bodies").await;
    walls.uncharged().await;
}

#[tokio::test]
async fn sizes() {
    let walls = Walls::stand().await;
    let with_fields = |count: usize| {
        let fields = (0..count).fold(String::new(), |mut all, n| {
            let _ = write!(all, "X-{n}: y\r\n");
            all
        });
        walls.head("GET /v1/free/x HTTP/1.1", &(fields + "Connection: close\r\n"))
    };
    // Host, the key and Connection are three of the hundred.
    assert_eq!(statuses(&walls.exchange(with_fields(97)).await), [200]);
    assert_eq!(statuses(&walls.exchange(with_fields(98)).await), [431]);
    let with_length = |length: usize| {
        let bare = walls.head("GET /v1/free/x HTTP/1.1", "Connection: close\r\nX: \r\n").len();
        let field = format!("Connection: close\r\nX: {}\r\n", "y".repeat(length - bare));
        walls.head("GET /v1/free/x HTTP/1.1", &field)
    };
    assert_eq!(statuses(&walls.exchange(with_length(64 * 1024)).await), [200]);
    assert_eq!(statuses(&walls.exchange(with_length(64 * 1024 + 1)).await), [431]);
    let line = format!("GET /v1/free/{} HTTP/1.1", "x".repeat(70_000));
    let answer = walls.exchange(walls.head(&line, "")).await;
    assert_eq!(statuses(&answer), [431]);
    assert!(answer.contains("\"head-too-large\""), "{answer}");
    for endless in ["GET /v1/free/x HTTP/1.1\r\nX: ".to_owned() + &"y".repeat(1 << 20), "y".repeat(1 << 20)] {
        let mut wire = Wire::to(walls.gateway.data).await;
        wire.try_send(endless).await;
        assert_eq!(wire.reply().await.code(), "head-too-large", "no end is waited for");
    }
    walls.hold(2, "sizes").await;
    walls.uncharged().await;
}

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

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % below
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| u8::try_from(self.roll(256)).unwrap()).collect()
    }
}

#[tokio::test]
async fn garbage() {
    let walls = Walls::stand().await;
    let mut dice = Dice(2);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut bursts: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n".to_vec(),
        b"\n".repeat(1000),
        b"\0".repeat(100_000),
        preface[..10].to_vec(),
        [&preface[..], b"\0\0\0\x04\0\0\0\0\0", &b"\0\0\x08\x06\0\0\0\0\0garbage!".repeat(1000)].concat(),
    ];
    for round in 0..150 {
        let size = 1 + dice.roll(400);
        let noise = dice.bytes(size);
        bursts.push(match round % 3 {
            0 => noise,
            1 => [&preface[..], &noise].concat(),
            _ => {
                let body = "Content-Length: 5\r\nX-Some: thing\r\n";
                let mut request = walls.head("POST /v1/free/noise?x=1 HTTP/1.1", body).into_bytes();
                request.extend(b"hello");
                for _ in 0..=dice.roll(4) {
                    let at = dice.roll(request.len());
                    match dice.roll(3) {
                        0 => request[at] = u8::try_from(dice.roll(256)).unwrap(),
                        1 => drop(request.remove(at)),
                        _ => request.insert(at, b" \r\n:,;\0\x80"[dice.roll(8)]),
                    }
                }
                request
            }
        });
    }
    for burst in &bursts {
        let answer = walls.exchange(burst).await;
        let shown = String::from_utf8_lossy(burst);
        let fine = |status: &u16| matches!(status, 200 | 400 | 401 | 403 | 404 | 431);
        if !burst.starts_with(preface) {
            assert!(statuses(&answer).iter().all(fine), "{shown:?}: {answer:?}");
        }
    }
    let seen = walls.lines();
    assert!(seen.iter().all(|line| line.contains(" /v1/free/")), "{seen:?}");
    walls.hold(seen.len(), "garbage").await;
    walls.uncharged().await;
    assert_eq!(
        ask("POST", "/v1/free/x").key(&walls.key).body("b").send(walls.gateway.data).await.status,
        200
    );
}
