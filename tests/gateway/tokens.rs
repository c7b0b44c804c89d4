//! JSON Web Tokens over the socket: what RFC 8725 asks (contract, 4.2).

use serde_json::{Value, json};

use crate::{
    signer::{Signer, b64, key_set},
    support::{
        client::{Ask, Reply, get},
        process::{Gateway, Setup, write},
        upstream::Upstream,
    },
};

pub(crate) const ISSUER: &str = "https://id.example";

/// Seconds since 1970.
#[allow(clippy::disallowed_methods, reason = "the gateway's clock is the system's")]
pub(crate) fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// Claims that hold for another hour.
pub(crate) fn claims(tenant: &str) -> Value {
    json!({ "iss": ISSUER, "aud": "plangate", "exp": now() + 3600, "tenant": tenant })
}

/// An issuer as it is configured, but for its keys.
pub(crate) fn issuer(source: &str, place: &str) -> Value {
    let algorithms =
        if source == "hs256_secret_file" { json!(["HS256"]) } else { json!(["EdDSA", "ES256", "RS256"]) };
    json!({ "issuer": ISSUER, "audience": "plangate", "algorithms": algorithms, source: place, "cookie": "session" })
}

/// A gateway that believes the keys in a file.
pub(crate) fn with_keys(upstream: &Upstream, keys: &[Value]) -> Setup {
    let mut setup = Setup::before(upstream);
    let file = write(setup.path("").as_path(), "jwks.json", &key_set(keys));
    setup.set("/identity/jwt", json!([issuer("jwks_file", &file)]));
    setup
}

struct Scene {
    upstream: Upstream,
    gateway: Gateway,
    ed: Signer,
    ec: Signer,
    rsa: Signer,
}

async fn scene() -> Scene {
    let upstream = Upstream::start().await;
    let (ed, ec, rsa) = (Signer::ed(), Signer::ec(), Signer::rsa());
    let setup = with_keys(&upstream, &[ed.jwk("ed"), ec.jwk("ec"), rsa.jwk("rsa")]);
    let gateway = setup.start().await;
    gateway.admin.tenant("acme", "big").await;
    gateway.admin.tenant("other", "big").await;
    Scene { upstream, gateway, ed, ec, rsa }
}

impl Scene {
    async fn send(&self, ask: &Ask) -> Reply {
        ask.send(self.gateway.data).await
    }

    async fn passes(&self, token: &str, why: &str) {
        let reply = self.send(&get("/v1/messages").bearer(token)).await;
        assert_eq!(reply.status, 200, "{why}: {}", reply.text());
        assert_eq!(self.upstream.last().header("x-plangate-tenant"), Some("acme"), "{why}");
    }

    async fn fails(&self, token: &str, why: &str) {
        self.fails_with(token, "credential-invalid", why).await;
    }

    async fn fails_with(&self, token: &str, code: &str, why: &str) {
        let before = self.upstream.count();
        let reply = self.send(&get("/v1/messages").bearer(token)).await;
        assert_eq!((reply.status, reply.code().as_str()), (401, code), "{why}");
        let challenge = "Bearer realm=\"plangate\", error=\"invalid_token\"";
        assert_eq!(reply.header("www-authenticate"), Some(challenge), "{why}");
        assert_eq!(self.upstream.count(), before, "{why}: it arrived");
    }

    /// A token of the first key with one claim changed.
    fn with(&self, name: &str, value: Value) -> String {
        let mut claims = claims("acme");
        claims[name] = value;
        self.ed.token("ed", &claims)
    }

    fn without(&self, name: &str) -> String {
        let mut claims = claims("acme");
        claims.as_object_mut().unwrap().remove(name);
        self.ed.token("ed", &claims)
    }
}

#[tokio::test]
async fn tokens_of_every_kind_pass_and_are_forwarded() {
    let scene = scene().await;
    for (signer, kid) in [(&scene.ed, "ed"), (&scene.ec, "ec"), (&scene.rsa, "rsa")] {
        let token = signer.token(kid, &claims("acme"));
        // Verified first, remembered then.
        for _ in 0..2 {
            scene.passes(&token, kid).await;
            let expected = format!("Bearer {token}");
            assert_eq!(scene.upstream.last().header("authorization"), Some(expected.as_str()));
        }
    }
    assert_eq!(scene.gateway.admin.used("acme", "requests").await, 6);
}

#[tokio::test]
async fn a_shared_secret_is_a_files_bytes_less_one_final_newline() {
    let upstream = Upstream::start().await;
    let secret = b"0123456789abcdef0123456789abcdef\n".to_vec();
    let mut setup = Setup::before(&upstream);
    let file = setup.path("secret");
    std::fs::write(&file, [&secret[..], b"\n"].concat()).unwrap();
    setup.set("/identity/jwt", json!([issuer("hs256_secret_file", file.to_str().unwrap())]));
    let gateway = setup.start().await;
    gateway.admin.tenant("acme", "big").await;
    let send = async |secret: &[u8]| {
        let token = Signer::Hs(secret.to_vec()).token("any", &claims("acme"));
        get("/v1/messages").bearer(&token).send(gateway.data).await.status
    };
    assert_eq!(send(&secret).await, 200);
    assert_eq!(send(&secret[..32]).await, 401, "only one newline is cut");
    assert_eq!(send(b"another secret of thirty-two by.").await, 401);
}

#[tokio::test]
async fn algorithms_are_pinned_and_the_key_is_the_issuers() {
    let scene = scene().await;
    let text = claims("acme").to_string();
    for alg in ["none", "None", "nOnE", "", "HS256", "ES256", "RS256", "PS256", "EdDSA "] {
        let header = format!(r#"{{"alg":"{alg}","kid":"ed"}}"#);
        scene.fails(&scene.ed.raw(&header, &text), alg).await;
        scene.fails(&format!("{}.{}.", b64(&header), b64(&text)), alg).await;
    }
    for (signer, kid) in [(&scene.ed, "ed"), (&scene.ec, "ec"), (&scene.rsa, "rsa")] {
        let forged = Signer::Hs(signer.public_bytes()).token(kid, &claims("acme"));
        scene.fails(&forged, "a public key as a shared secret").await;
        let jwk = Signer::Hs(signer.jwk(kid).to_string().into_bytes()).token(kid, &claims("acme"));
        scene.fails(&jwk, "a published document as a shared secret").await;
    }
    scene
        .fails(&scene.rsa.raw(r#"{"alg":"RS512","kid":"rsa"}"#, &text), "an algorithm of the key's type")
        .await;
    scene.fails(&scene.ed.token("ec", &claims("acme")), "another key's id").await;
    let attacker = Signer::ed();
    scene.fails(&attacker.token("ed", &claims("acme")), "an attacker's key under a known id").await;
    for name in ["jwk", "jku", "x5u", "x5c"] {
        let value = if name == "jku" { json!("http://127.0.0.1:1/jwks.json") } else { attacker.jwk("ed") };
        let header = json!({ "alg": "EdDSA", "kid": "ed", name: value }).to_string();
        scene.fails(&attacker.raw(&header, &text), name).await;
    }
}

#[tokio::test]
async fn headers_have_one_meaning() {
    let scene = scene().await;
    let text = claims("acme").to_string();
    for header in [
        r#"{"alg":"EdDSA","kid":"ed","crit":["exp"]}"#,
        r#"{"alg":"EdDSA","kid":"ed","crit":["b64"],"b64":false}"#,
        r#"{"alg":"EdDSA","kid":"ed","crit":[]}"#,
        r#"{"alg":"EdDSA","kid":"ed","alg":"EdDSA"}"#,
        r#"{"alg":"EdDSA","kid":"ed","typ":"logout+jwt"}"#,
        r#"{"alg":"EdDSA","kid":7}"#,
        r#"{"alg":["EdDSA"],"kid":"ed"}"#,
        r#"{"kid":"ed"}"#,
        "[]",
        "x",
    ] {
        scene.fails(&scene.ed.raw(header, &text), header).await;
    }
    let good = scene.ed.token("ed", &claims("acme"));
    scene.passes(&good, "the same without any of it").await;
    let (signed, signature) = good.rsplit_once('.').unwrap();
    for odd in [
        String::new(),
        "a".to_owned(),
        "..".to_owned(),
        format!("{good}."),
        format!("{good}="),
        format!("{signed}."),
        signed.to_owned(),
        format!("{signed}.{}", &signature[1..]),
        format!("{good}.{signature}"),
    ] {
        scene.fails(&odd, &odd).await;
    }
    let padded = |pad: usize| scene.with("pad", json!("x".repeat(pad)));
    let over = (5000..7000).find(|pad| padded(*pad).len() > 8192).unwrap();
    scene.fails(&padded(over), "more than 8 KiB").await;
    scene.passes(&padded(over - 1), "just 8 KiB").await;
}

#[tokio::test]
async fn claims_are_required_and_have_one_meaning() {
    let scene = scene().await;
    for claim in ["iss", "aud", "exp", "tenant"] {
        scene.fails(&scene.without(claim), claim).await;
        for wrong in [Value::Null, json!(true), json!([7]), json!({})] {
            scene.fails(&scene.with(claim, wrong), claim).await;
        }
    }
    for (claim, wrong) in [
        ("iss", json!("https://id.example/")),
        ("iss", json!("https://evil.example")),
        ("aud", json!("plangate2")),
        ("aud", json!(["other"])),
        ("aud", json!([])),
        ("exp", json!((now() + 3600).to_string())),
        ("nbf", json!("0")),
        ("nbf", Value::Null),
        ("iat", json!("0")),
        ("tenant", json!(7)),
        ("tenant", json!("")),
        ("tenant", json!("../other")),
        ("tenant", json!("ACME")),
    ] {
        scene.fails(&scene.with(claim, wrong.clone()), &format!("{claim}: {wrong}")).await;
    }
    scene.passes(&scene.with("aud", json!(["other", "plangate"])), "one of several audiences").await;
    let exp = now() + 3600;
    for twice in [r#""tenant":"acme","tenant":"other""#, r#""tenant":"acme","x":{"a":1,"a":2}"#] {
        let claims = format!(r#"{{"iss":"{ISSUER}","aud":"plangate","exp":{exp},{twice}}}"#);
        scene.fails(&scene.ed.raw(r#"{"alg":"EdDSA","kid":"ed"}"#, &claims), twice).await;
    }
}

#[tokio::test]
async fn times_hold_with_the_leeway_of_half_a_minute() {
    let scene = scene().await;
    scene.fails_with(&scene.with("exp", json!(now() - 31)), "credential-expired", "over").await;
    scene.fails_with(&scene.with("exp", json!(1)), "credential-expired", "long over").await;
    scene.passes(&scene.with("exp", json!(now() - 20)), "just over").await;
    scene.passes(&scene.with("nbf", json!(now() + 20)), "nearly begun").await;
    scene.fails(&scene.with("nbf", json!(now() + 60)), "not begun").await;
    // It holds for another second, and then, though it was remembered, no longer.
    let ending = scene.with("exp", json!(now() - 29));
    let first = scene.send(&get("/v1/messages").bearer(&ending)).await.status;
    assert!([200, 401].contains(&first));
    crate::support::process::eventually("the remembered token expires", async || {
        scene.send(&get("/v1/messages").bearer(&ending)).await.status == 401
    })
    .await;
    scene.fails_with(&ending, "credential-expired", "ended while it was remembered").await;
}

#[tokio::test]
async fn a_token_and_another_credential_are_ambiguous() {
    let scene = scene().await;
    let (token, key) = (scene.ed.token("ed", &claims("acme")), scene.gateway.admin.key("other").await);
    let ask = get("/v1/messages");
    let cookie = format!("session={token}");
    for ask in [
        ask.clone().bearer(&token).key(&key),
        ask.clone().bearer(&token).bearer(&token),
        ask.clone().bearer(&token).bearer(&key),
        ask.clone().bearer(&token).with("cookie", &cookie),
        ask.clone().key(&key).with("cookie", &cookie),
        ask.clone().with("cookie", &format!("{cookie}; session=x")),
        // Once issuers are known, every Bearer token is a credential.
        ask.clone().bearer("opaque").key(&key),
    ] {
        let reply = scene.send(&ask).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "credential-ambiguous"), "{ask:?}");
    }
    assert_eq!(scene.upstream.count(), 0);
    let basic = ask.key(&key).with("authorization", "Basic eDp5");
    assert_eq!(scene.send(&basic).await.status, 200);
    assert_eq!(scene.upstream.last().header("authorization"), Some("Basic eDp5"));
    scene.fails("opaque", "not a token").await;
}

#[tokio::test]
async fn a_token_comes_from_the_named_cookie_too() {
    let scene = scene().await;
    let token = scene.ed.token("ed", &claims("acme"));
    let with = |cookie: String| get("/v1/messages").with("cookie", &cookie);
    let cookie = format!("theme=dark; session={token}; x=y");
    assert_eq!(scene.send(&with(cookie.clone())).await.status, 200);
    assert_eq!(
        scene.upstream.last().header("cookie"),
        Some(cookie.as_str()),
        "it belongs to the upstream, too"
    );
    assert_eq!(scene.upstream.last().header("x-plangate-tenant"), Some("acme"));

    for (cookie, code) in [
        (format!("Session={token}"), "credential-missing"),
        (format!("xsession={token}"), "credential-missing"),
        ("session=".to_owned(), "credential-missing"),
        ("session=abc".to_owned(), "credential-invalid"),
        (format!("session={}", scene.gateway.admin.key("acme").await), "credential-invalid"),
    ] {
        let reply = scene.send(&with(cookie.clone())).await;
        assert_eq!((reply.status, reply.code().as_str()), (401, code), "{cookie}");
    }
}

#[tokio::test]
async fn one_issuers_key_proves_nothing_for_another() {
    let upstream = Upstream::start().await;
    let (first, second) = (Signer::ed(), Signer::ed());
    let mut setup = Setup::before(&upstream);
    let file =
        |name: &str, signer: &Signer| write(setup.path("").as_path(), name, &key_set(&[signer.jwk("k")]));
    let mut other = issuer("jwks_file", &file("two.json", &second));
    other["issuer"] = json!("https://two.example");
    other["tenant_claim"] = json!("org.id");
    let issuers = json!([issuer("jwks_file", &file("one.json", &first)), other]);
    setup.set("/identity/jwt", issuers);
    let gateway = setup.start().await;
    gateway.admin.tenant("acme", "big").await;
    let mut claims = claims("acme");
    claims["iss"] = json!("https://two.example");
    claims["org"] = json!({ "id": "acme" });
    claims["tenant"] = json!("somebody-else");
    let status = async |signer: &Signer| {
        get("/v1/messages").bearer(&signer.token("k", &claims)).send(gateway.data).await.status
    };
    assert_eq!(status(&second).await, 200);
    assert_eq!(upstream.last().header("x-plangate-tenant"), Some("acme"));
    assert_eq!(status(&first).await, 401);
}
