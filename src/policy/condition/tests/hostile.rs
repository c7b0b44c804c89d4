//! Texts that are meant to break the reader: too deep, too long, and mutations of good ones.

use super::*;
use crate::domain::{attributes::Attributes, time::UnixMillis};

/// Half of what threads have by default, and this without any optimisation.
const STACK: usize = 1024 * 1024;

fn within(stack: usize, work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(stack).spawn(work).unwrap().join().unwrap();
}

fn read_and_run(text: &str) {
    for wanted in [Wanted::Condition, Wanted::Amount] {
        let Some(program) = compiled(text, false, wanted).0 else { continue };
        let headers = vec![("x-n".to_owned(), "5".to_owned())];
        let attributes = Attributes::default();
        let facts = RequestFacts {
            method: "GET",
            path: "/v1/a/b",
            query: "a=1&b=2",
            headers: &headers,
            client: None,
            now: UnixMillis(0),
            tenant: Some(TenantFacts { id: "acme", plan: "pro", attributes: Some(&attributes) }),
        };
        let _ = program.holds(&facts);
        let _ = program.units(&facts);
    }
}

/// Texts at the bounds, each deep in another way.
fn deepest() -> Vec<String> {
    let nested = |open: &str, inner: &str, close: &str, depth: usize| {
        format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
    };
    vec![
        nested("(", "true", ")", 12),
        nested("[", "1", "]", 12),
        nested("{'a':", "1", "}", 12),
        nested("size(", "'a'", ")", 12),
        nested("!!!!(", "true", ")", 12),
        nested("-(1+2*3-", "1", ")", 12),
        nested("(true && (1 < 2) == ", "true", ")", 11),
        nested("(true ? true : ", "false", ")", 8),
        nested("(true ? ", "true", " : false)", 8),
        format!("{}true", "false ? true : ".repeat(8)),
        format!("{}true", "true && ".repeat(24)),
        format!("{}1 == 1", "1 + ".repeat(18)),
        format!("{}1 < 2", "(1 + 1 + ".repeat(8)) + &")".repeat(8),
        format!("{}true", "true || ".repeat(48)),
        format!("{}1 == 1", "1 + ".repeat(47)),
        format!("1{} == 1", " * 1".repeat(47)),
        format!("{}1", "1 == ".repeat(48)),
        format!("a{}", ".b".repeat(48)),
        format!("a{}", "[0]".repeat(48)),
        format!("a{}", ".b()".repeat(48)),
        format!("[{}]", vec!["1"; 500].join(",")),
        nested("[1].all(x, ", "true", ")", 12),
        format!("request.headers.all(h, {} == '')", vec!["request.headers[h]"; 20].join(" == '' && ")),
        format!("{}", nested("(1 + 1 + 1 + 1 + ", "1", ")", 12)),
        "x".repeat(1024),
        format!("'{}'", "x".repeat(1022)),
        format!("'{}'", "\\x41".repeat(255)),
    ]
}

#[test]
fn the_deepest_text_that_is_taken_fits_a_small_stack() {
    for text in deepest() {
        assert!(text.len() <= bounds::MOST_TEXT, "{}", text.len());
        let checked = bounds::check(&text);
        assert!(checked.is_ok(), "{text}: {checked:?}");
        within(STACK, move || read_and_run(&text));
    }
}

#[test]
fn deeper_ones_are_refused_before_they_are_parsed() {
    for text in [
        "(".repeat(1024),
        format!("{}true{}", "(".repeat(13), ")".repeat(13)),
        format!("{}true", "!".repeat(5)),
        format!("{}1 == 1", "- ".repeat(5)),
        format!("{}true", "true ? true : ".repeat(9)),
        format!("{}1 == 1", "1+".repeat(49)),
        format!("a{}", ".b".repeat(49)),
        format!("a{}", "[0]".repeat(49)),
        "x".repeat(1025),
        "'''a'''".to_owned(),
        "r'a' == 'a'".to_owned(),
        "`a`".to_owned(),
        "a\0b".to_owned(),
        "caf\u{e9}".to_owned(),
        "\u{201c}a\u{201d}".to_owned(),
        "(]".to_owned(),
        ")".to_owned(),
        "true // a".to_owned(),
        "'a\nb'".to_owned(),
        "'a\\".to_owned(),
        "  \n".to_owned(),
    ] {
        assert!(bounds::check(&text).is_err(), "{text:?}");
    }
}

#[test]
fn no_mutation_of_a_text_breaks_the_reader() {
    const PIECES: [&str; 24] = [
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "'",
        "\"",
        "\\",
        ".",
        ",",
        "?",
        ":",
        "!",
        "-",
        "in",
        " ",
        "0x",
        "1e9",
        "9223372036854775808",
        "has(",
        ".all(x,",
        "null",
        "\u{e9}",
    ];
    let seeds = [
        "tenant.region == 'eu' && !tenant.beta",
        "request.headers.exists(h, h.startsWith('x-') && request.headers[h] == '1')",
        "int(request.headers['x-n']) * 2 + {'a': 1}[tenant.plan]",
        "request.time.getHours('Europe/Berlin') < 8 ? true : 'a' in request.query",
        "[1, 2, 3].map(x, x > 1, x * 2).size() == 2 || has(tenant.x)",
        "request.path.matches('^/v1/[a-z]{2,5}$') || inCidr(client.address, '10.0.0.0/8')",
    ];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    let mut texts = Vec::new();
    for _ in 0..1200 {
        let mut text: Vec<char> = seeds[next(seeds.len())].chars().collect();
        for _ in 0..=next(4) {
            let at = next(text.len() + 1);
            match next(4) {
                0 if at < text.len() => drop(text.remove(at)),
                1 => {
                    let piece = PIECES[next(PIECES.len())];
                    text.splice(at..at, piece.chars());
                }
                2 if at < text.len() => {
                    let end = (at + next(8)).min(text.len());
                    text.drain(at..end);
                }
                _ => {
                    let end = (at + next(12)).min(text.len());
                    let copy: Vec<char> = text[at..end].to_vec();
                    text.splice(at..at, copy);
                }
            }
        }
        texts.push(text.into_iter().collect::<String>());
    }
    within(STACK, move || texts.iter().for_each(|text| read_and_run(text)));
}
