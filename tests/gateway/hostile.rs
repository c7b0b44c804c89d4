//! Hostile input against the whole gateway: the upstream receives what was matched and nothing else, nobody is charged,
//! and after each blow the gateway still serves.

mod framing;
mod names;
mod paths;

use crate::support::{
    client::{Wire, ask, get},
    origin::Origin,
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
