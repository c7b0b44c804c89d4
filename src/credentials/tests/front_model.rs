//! Random histories: at every step a worker's front answers as what all workers share does, and as the truth is.
//!
//! Two fronts and the shared authenticator are asked in random order about the same credentials while keys are made,
//! revoked and expire, tenants change, key sets change, time goes on, and memories overflow.

use std::{fs, path::PathBuf};

use http::{HeaderMap, header};
use proptest::prelude::*;
use serde_json::json;

use super::{
    setup::{ISSUER, NOW, Outcome, Setup, bearer, headers, issuer, key_header, try_setup},
    signer::{Signer, key_set},
};
use crate::{
    credentials::{ApiKeySecret, CredentialsFront, Settings, TokenKeys, jwt::Timing},
    domain::time::{UnixMillis, Version},
    ports::{Answer, Authenticator},
};

const KEYS: usize = 6;
const TOKENS: usize = 6;
const TENANTS: [&str; 3] = ["acme", "globex", "initech"];

#[derive(Debug, Clone)]
enum Step {
    /// A key is made, or what it is changes. For some it ends some seconds later.
    Make {
        key: usize,
        tenant: usize,
        ends: Option<i64>,
    },
    Revoke {
        key: usize,
    },
    /// Something else of a tenant changes.
    Touch {
        tenant: usize,
    },
    /// A node lost its place in the feed.
    TouchAll,
    /// The issuer has these keys from now on.
    Publish {
        first: bool,
        second: bool,
    },
    Pass {
        millis: i64,
    },
    /// So many others are verified.
    Crowd {
        many: usize,
    },
    Ask {
        who: [usize; 3],
        what: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ends = proptest::option::of(0..8_000i64);
    let step = prop_oneof![
        3 => (0..KEYS, 0..TENANTS.len(), ends).prop_map(|(key, tenant, ends)| Step::Make { key, tenant, ends }),
        2 => (0..KEYS).prop_map(|key| Step::Revoke { key }),
        2 => (0..TENANTS.len()).prop_map(|tenant| Step::Touch { tenant }),
        1 => Just(Step::TouchAll),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(first, second)| Step::Publish { first, second }),
        3 => prop_oneof![0..3_000i64, -1_500..0i64, Just(3_600_000)].prop_map(|millis| Step::Pass { millis }),
        1 => (1..40usize).prop_map(|many| Step::Crowd { many }),
        25 => (Just([0, 1, 2]).prop_shuffle(), 0..2 * KEYS + 2 * TOKENS)
            .prop_map(|(who, what)| Step::Ask { who, what }),
    ];
    proptest::collection::vec(step, 1..120)
}

struct World {
    setup: Setup,
    fronts: [CredentialsFront; 2],
    runtime: tokio::runtime::Runtime,
    now: UnixMillis,
    keys: Vec<String>,
    tokens: Vec<(String, Claim)>,
    /// Whose a key is and until when.
    rows: Vec<Option<(usize, i64)>>,
    signers: [Signer; 2],
    published: [bool; 2],
    file: PathBuf,
    others: usize,
    _folder: tempfile::TempDir,
}

#[derive(Clone, Copy)]
struct Claim {
    tenant: usize,
    signer: usize,
    from: i64,
    until: i64,
}

impl World {
    fn new() -> Self {
        let signers = [Signer::Ed(ed([1; 32])), Signer::Ed(ed([2; 32]))];
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("jwks.json");
        fs::write(&file, key_set(&[signers[0].jwk("first"), signers[1].jwk("second")])).unwrap();
        // So few are kept that what all share forgets, too.
        let settings = Settings {
            issuers: vec![issuer(TokenKeys::JwksFile(file.clone()))],
            cached: 12,
            ..Settings::default()
        };
        let setup = try_setup(settings, Timing::default()).unwrap();
        let tokens = (0..TOKENS).map(|number| token(number, &signers)).collect();
        Self {
            fronts: [setup.credentials.front(), setup.credentials.front()],
            setup,
            runtime: tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap(),
            now: NOW,
            keys: (0..KEYS).map(|_| ApiKeySecret::generate().unwrap().reveal().to_owned()).collect(),
            tokens,
            rows: vec![None; KEYS],
            signers,
            published: [true, true],
            file,
            others: 0,
            _folder: folder,
        }
    }

    fn applied(&self, tenant: usize, version: Version) {
        self.setup.apply(TENANTS[tenant], version);
    }

    fn next_version(&self) -> Version {
        let mut rows = self.setup.store.rows.lock().unwrap();
        rows.version += 1;
        Version(rows.version)
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Make { key, tenant, ends } => {
                let before =
                    self.rows[key].replace((tenant, ends.map_or(i64::MAX, |ends| self.now.0 + ends)));
                let hash = self.setup.hash(&self.keys[key]);
                let ends = ends.map(|ends| UnixMillis(self.now.0 + ends));
                let version = self.setup.store.add(hash, TENANTS[tenant], ends);
                self.applied(tenant, version);
                before.iter().for_each(|(tenant, _)| self.applied(*tenant, version));
            }
            Step::Revoke { key } => {
                if let Some((tenant, _)) = self.rows[key].take() {
                    let version = self.setup.store.revoke(&self.setup.hash(&self.keys[key]));
                    self.applied(tenant, version);
                }
            }
            Step::Touch { tenant } => self.applied(tenant, self.next_version()),
            Step::TouchAll => {
                let version = self.next_version();
                self.setup.freshness.outdate_all(version);
                self.setup.freshness.set_applied(version);
            }
            Step::Publish { first, second } => self.publish([first, second]),
            Step::Pass { millis } => self.now.0 += millis,
            Step::Crowd { many } => {
                for _ in 0..many {
                    self.others += 1;
                    let key = format!("another-key-of-somebody-{:08}-Zq3vXc7RtY1m", self.others);
                    self.setup.store.add(self.setup.hash(&key), "umbrella", None);
                    for front in 0..3 {
                        self.ask(front, &key_header(&key)).unwrap();
                    }
                }
            }
            Step::Ask { who, what } => self.compare(who, what)?,
        }
        Ok(())
    }

    fn publish(&mut self, published: [bool; 2]) {
        self.published = published;
        let named = self.signers.iter().zip(["first", "second"]).zip(published);
        let keys: Vec<_> = named.filter(|(_, there)| *there).map(|((key, kid), _)| key.jwk(kid)).collect();
        fs::write(&self.file, key_set(&keys)).unwrap();
        self.setup.credentials.reload_keys();
    }

    fn ask(&self, who: usize, headers: &HeaderMap) -> Outcome {
        let answer = match who {
            0 | 1 => self.fronts[who].identify(headers, self.now),
            _ => self.setup.credentials.identify(headers, self.now),
        };
        match answer {
            Answer::Ready(outcome) => outcome,
            Answer::Pending(outcome) => self.runtime.block_on(outcome),
        }
    }

    fn compare(&self, who: [usize; 3], what: usize) -> Result<(), TestCaseError> {
        let (headers, tenant) = self.question(what);
        let answers = who.map(|who| self.ask(who, &headers));
        let told = answers.each_ref().map(|outcome| outcome.as_ref().ok().map(|found| found.tenant.as_str()));
        prop_assert_eq!(told, [tenant.map(|tenant| TENANTS[tenant]); 3], "{:?}", who);
        for other in &answers[1..] {
            prop_assert_eq!(other, &answers[0]);
        }
        Ok(())
    }

    /// The headers of a question, and whose tenant must be found.
    fn question(&self, what: usize) -> (HeaderMap, Option<usize>) {
        if what < 2 * KEYS {
            let key = &self.keys[what / 2];
            let headers = if what.is_multiple_of(2) { key_header(key) } else { bearer(key) };
            let row = self.rows[what / 2].filter(|(_, ends)| self.now.0 < *ends);
            return (headers, row.map(|(tenant, _)| tenant));
        }
        let what = what - 2 * KEYS;
        let (token, claim) = &self.tokens[what / 2];
        let headers = if what.is_multiple_of(2) {
            bearer(token)
        } else {
            headers(&[(header::COOKIE, &format!("session={token}"))])
        };
        let valid = self.published[claim.signer] && (claim.from..claim.until).contains(&self.now.0);
        (headers, valid.then_some(claim.tenant))
    }
}

fn ed(seed: [u8; 32]) -> aws_lc_rs::signature::Ed25519KeyPair {
    aws_lc_rs::signature::Ed25519KeyPair::from_seed_unchecked(&seed).unwrap()
}

fn token(number: usize, signers: &[Signer; 2]) -> (String, Claim) {
    let (tenant, signer) = (number % TENANTS.len(), number / 3 % 2);
    let start = NOW.0 / 1000 + i64::try_from(number).unwrap();
    let length = if number.is_multiple_of(2) { 4 } else { 1_000_000 };
    let claims = json!({
        "iss": ISSUER, "aud": "plangate", "tenant": TENANTS[tenant], "nbf": start, "exp": start + length,
    });
    let leeway = 30;
    let [from, until] = [start - leeway, start + length + leeway].map(|seconds| seconds * 1000);
    let token = signers[signer].token(["first", "second"][signer], &claims);
    (token, Claim { tenant, signer, from, until })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn a_front_answers_as_what_all_share(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step)?;
        }
    }
}
