//! Every text in every language says the same: the same names, the same numbers.

use std::{collections::BTreeSet, time::Duration};

use http::{HeaderMap, header};

use super::Language;
use crate::{
    domain::{
        condition::ConditionError,
        denial::Denial,
        period::{Period, Window},
        rate::Rate,
        spend::MoneyUnits,
        time::UnixMillis,
        transitions::State,
        uncountable::Miscalculation,
        units::Units,
    },
    pipeline::{
        faults::{Ambiguous, Malformed},
        problem::{self, Kind},
        request::{ForwardError, HeadRefusal, Rejection},
        view::ViewRefusal,
    },
    ports::{CredentialError, ResolveError},
};

fn denials() -> Vec<Denial> {
    let (meter, feature) = ("ai_tokens".parse().unwrap(), "ai.chat".parse().unwrap());
    let period = Period { start: UnixMillis(0), end: UnixMillis(86_400_000) };
    let rate = Rate { limit: Units::saturating(50), per: Duration::from_secs(90), burst: Units::ONE };
    let mut all = vec![
        Denial::TenantSuspended,
        Denial::RouteNotCovered,
        Denial::FeatureNotInPlan { feature },
        Denial::MeterNotInPlan { meter },
    ];
    all.extend(State::ALL.map(Denial::SubscriptionInactive));
    all.push(Denial::RateLimited {
        meter: "ai_tokens".parse().unwrap(),
        rate,
        retry_after: Some(Duration::from_secs(7)),
    });
    all.extend(Window::ALL.map(|window| Denial::QuotaExhausted {
        meter: "ai_tokens".parse().unwrap(),
        window,
        limit: Units::saturating(123_456),
        used: Units::saturating(123_455),
        period,
    }));
    all.push(Denial::SpendCapReached {
        meter: "ai_tokens".parse().unwrap(),
        currency: "USD".parse().unwrap(),
        cap: MoneyUnits::of(Units::saturating(20_500_000_000)),
        spent: MoneyUnits::of(Units::saturating(20_250_000_001)),
        period,
    });
    let name = || Box::<str>::from("request.headers['x-size']");
    let mut errors = vec![
        ConditionError::Missing(name()),
        ConditionError::TooLong(name()),
        ConditionError::NotText(name()),
        ConditionError::TooMany(name()),
        ConditionError::OutOfRange,
    ];
    errors.extend(Miscalculation::ALL.map(ConditionError::Failed));
    for why in errors {
        for charge in [None, Some("ai_tokens".parse().unwrap())] {
            let (route, why) = ("POST /v1/ai/chat".into(), why.clone());
            all.push(Denial::ConditionFailed { route, charge, why });
        }
    }
    all
}

/// One of each kind of refusal that there is.
fn rejections() -> Vec<Rejection> {
    let mut all = vec![
        Rejection::Head(HeadRefusal::TooLarge),
        Rejection::LedgerUnavailable,
        Rejection::Resolve(ResolveError::TenantUnknown),
        Rejection::Resolve(ResolveError::Unavailable),
        Rejection::View(ViewRefusal::Method),
        Rejection::View(ViewRefusal::TooOften(Duration::from_secs(1))),
        Rejection::View(ViewRefusal::Unavailable),
        Rejection::Forward(ForwardError::Unreachable { seen: true, reason: "secret".to_owned() }),
        Rejection::Forward(ForwardError::Timeout { seen: true }),
        Rejection::Forward(ForwardError::ClientBody),
        Rejection::Forward(ForwardError::Overloaded),
    ];
    let credentials = [
        CredentialError::Missing,
        CredentialError::Invalid { reason: "secret" },
        CredentialError::Expired,
        CredentialError::Ambiguous,
        CredentialError::Unavailable,
    ];
    all.extend(credentials.map(Rejection::Credential));
    all.extend(Malformed::ALL.map(|fault| Rejection::Head(HeadRefusal::Malformed(fault))));
    all.extend(Ambiguous::all().into_iter().map(|fault| Rejection::Head(HeadRefusal::AmbiguousPath(fault))));
    all.extend(denials().into_iter().map(Rejection::Denied));
    let withdrawn = |why: &Rejection| Rejection::Forward(ForwardError::Withdrawn(Box::new(why.clone())));
    all.extend(all.iter().map(withdrawn).collect::<Vec<_>>());
    all
}

fn is_han(letter: char) -> bool {
    matches!(letter, '\u{4e00}'..='\u{9fff}')
}

/// What stands in backticks, and each number outside of them.
fn facts(text: &str) -> BTreeSet<String> {
    let mut facts = BTreeSet::new();
    for (place, piece) in text.split('`').enumerate() {
        if place % 2 == 1 {
            facts.insert(format!("`{piece}`"));
        } else {
            let numbers = piece.split(|c: char| !c.is_ascii_digit() && c != '.' && c != '%');
            let numbers = numbers.map(|number| number.trim_matches(['.', '%']));
            facts.extend(numbers.filter(|n| n.contains(|c: char| c.is_ascii_digit())).map(str::to_owned));
        }
    }
    facts
}

#[test]
fn each_kind_has_a_title_of_its_own_in_each_language() {
    let titles = |language: Language| Kind::ALL.map(|kind| language.title(kind)).to_vec();
    for language in [Language::English, Language::Chinese] {
        let titles = titles(language);
        assert_eq!(titles.iter().collect::<BTreeSet<_>>().len(), titles.len(), "{titles:?}");
    }
    assert!(titles(Language::English).iter().all(|title| title.is_ascii()));
    for title in titles(Language::Chinese) {
        assert!(title.contains(is_han), "{title}");
    }
}

#[test]
fn every_kind_and_code_is_among_the_samples() {
    let kinds: Vec<Kind> = rejections().iter().map(Kind::of).collect();
    for kind in Kind::ALL {
        assert!(kinds.contains(&kind), "{kind:?}");
        assert!(crate::metrics::Code::of_problem(kind.code()).is_some(), "{kind:?}");
    }
    for denial in denials() {
        assert_eq!(Kind::of(&Rejection::Denied(denial.clone())).code(), denial.code());
    }
}

#[test]
fn chinese_says_the_same_as_english() {
    for why in rejections() {
        let (english, chinese) =
            (Language::English.detail(&why).to_string(), Language::Chinese.detail(&why).to_string());
        assert_eq!(english, problem::detail(&why));
        assert!(!english.contains(is_han), "{english}");
        assert!(chinese.contains(is_han) && chinese.ends_with('。'), "{chinese}");
        assert!(!chinese.contains("secret"), "{chinese}");
        assert_eq!(facts(&english), facts(&chinese), "{english} / {chinese}");
        for name in
            ["HTTP/1.1", "HTTP/1.0", "Host", ":authority", "Content-Length", "Transfer-Encoding", "GET"]
        {
            assert_eq!(english.contains(name), chinese.contains(name), "{english} / {chinese}");
        }
    }
}

#[test]
fn the_english_texts_are_the_ones_that_always_were() {
    let of = |why: &Rejection| Language::English.detail(why).to_string();
    for (why, text) in [
        (Rejection::Head(HeadRefusal::TooLarge), "the request's head is larger than is accepted"),
        (
            Rejection::Head(HeadRefusal::Malformed(Malformed::Encoding)),
            "a Transfer-Encoding other than `chunked`",
        ),
        (Rejection::LedgerUnavailable, "usage cannot be recorded at the moment"),
        (Rejection::Denied(Denial::TenantSuspended), "this account is suspended"),
    ] {
        assert_eq!(of(&why), text);
    }
}

#[test]
fn an_answer_says_in_which_language_it_is() {
    let mut headers = HeaderMap::new();
    headers.insert(header::VARY, "Origin".parse().unwrap());
    Language::Chinese.tell(&mut headers);
    assert_eq!(headers[header::CONTENT_LANGUAGE], "zh-Hans");
    let vary: Vec<_> = headers.get_all(header::VARY).iter().collect();
    assert_eq!(vary, ["Origin", "Accept-Language"]);
}
