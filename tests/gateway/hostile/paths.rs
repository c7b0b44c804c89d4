//! Paths: refused where two servers would read two things, else one form that is matched and forwarded.

use super::{Dice, Walls};
use crate::support::client::{Wire, get};

const AMBIGUOUS: &[&[u8]] = &[
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

#[tokio::test]
async fn paths_that_two_servers_would_read_differently() {
    let walls = Walls::stand().await;
    for target in AMBIGUOUS {
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

/// What the bytes of a path stand for.
fn decoded(path: &str) -> Vec<u8> {
    let (bytes, mut out, mut at) = (path.as_bytes(), Vec::new(), 0);
    while let Some(&byte) = bytes.get(at) {
        let encoded = (byte == b'%').then(|| u8::from_str_radix(&path[at + 1..at + 3], 16).unwrap());
        out.push(encoded.unwrap_or(byte));
        at += if encoded.is_some() { 3 } else { 1 };
    }
    out
}

/// Whatever a path is put together from: where it is forwarded, it stands for what was sent and is below what was matched.
#[tokio::test]
async fn random_paths() {
    const PARTS: &[&str] = &[
        "/",
        "/",
        "/",
        "v1",
        "free",
        "export",
        "a",
        "~",
        "...",
        "%66",
        "%7e",
        "%7E",
        "%20",
        "%e4%bd%a0",
        "%25",
        "%252e",
        "%252f",
        ":",
        "@",
        "+",
        ".",
        "..",
        "%2e",
        "%2E",
        "%2f",
        "%5c",
        "\\",
        ";",
        "%3b",
        "%00",
        "%c0%ae",
        "%",
        "%f",
        "?",
        "#",
    ];
    let walls = Walls::stand().await;
    let mut dice = Dice(7);
    let mut passed = 0;
    for _ in 0..500 {
        // The harmless parts come first, so that there are enough paths of them alone.
        let kinds = if dice.roll(2) == 0 { 20 } else { PARTS.len() };
        let parts: String = (0..1 + dice.roll(6)).map(|_| PARTS[dice.roll(kinds)]).collect();
        let sent = format!("/v1/free/{parts}");
        let reply = get(&sent).key(&walls.key).send(walls.gateway.data).await;
        if reply.status != 200 {
            assert_eq!((reply.status, reply.code().as_str()), (400, "path-ambiguous"), "{sent}");
            assert_eq!(walls.origin.seen().len(), passed, "{sent}");
            continue;
        }
        passed += 1;
        assert_eq!(walls.origin.seen().len(), passed, "{sent}");
        let seen = walls.origin.last().target().to_owned();
        let (path, _) = seen.split_once('?').unwrap_or((&seen, ""));
        assert!(path.starts_with("/v1/free/"), "{sent}: {seen}");
        for bad in ["//", "\\", ";", "%2F", "%5C", "%3B", "%00", "%2E", "%66", "%7E", "%e4", "%bd", "#"] {
            assert!(!path.contains(bad), "{sent}: {seen}");
        }
        assert!(path.split('/').all(|segment| segment != "." && segment != ".."), "{sent}: {seen}");
        assert_eq!(decoded(path), decoded(sent.split(['?', '#']).next().unwrap()), "{sent}: {seen}");
    }
    assert!(passed > 100, "{passed}");
    walls.hold(passed, "random paths").await;
    walls.uncharged().await;
}
