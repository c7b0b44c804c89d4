//! Whatever is done to an exported log is found.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::wire::{
    audit::{GENESIS, hash_of},
    audit_chain::{Link, Verified},
};

fn link(cursor: u64, hash: &str) -> Link {
    Link { cursor, hash: hash.to_owned() }
}

/// A chain of so many lines after `start`.
fn chain_of(start: u64, count: u64) -> Vec<Value> {
    let mut previous = GENESIS.to_owned();
    let mut lines = Vec::new();
    for cursor in start + 1..=start + count {
        let mut line = json!({
            "cursor": cursor, "version": 2 * cursor, "at": "2026-11-22T10:00:00Z", "actor": "ci",
            "source": "10.0.0.1", "tenant": (cursor % 3 != 0).then_some("acme"), "kind": "tenant.put",
            "detail": { "name": format!("n\"{cursor}"), "timezone": null }, "before": null,
            "after": { "name": "é" }, "previous": previous,
        });
        previous = hash_of(&line);
        line["hash"] = json!(previous);
        lines.push(line);
    }
    lines
}

fn unchained(cursor: u64) -> Value {
    let mut line = chain_of(cursor - 1, 1).remove(0);
    line["previous"] = Value::Null;
    line["hash"] = Value::Null;
    line
}

fn text_of(lines: &[Value]) -> String {
    lines.iter().map(write).collect()
}

/// Verifies a file of which the head is known.
fn verify(text: &str, head: &Value) -> Result<Verified, Broken> {
    let mut chain = Chain::unknown();
    chain.expect(link(head["cursor"].as_u64().unwrap(), head["hash"].as_str().unwrap()));
    read(&mut chain, text)?;
    chain.finish()
}

#[test]
fn a_whole_log_is_verified() {
    let lines = chain_of(0, 5);
    let verified = verify(&text_of(&lines), &lines[4]).unwrap();
    assert_eq!((verified.lines, verified.unchained), (5, 0));
    assert_eq!(verified.after.unwrap().hash, GENESIS);
    assert_eq!(verified.last.unwrap().cursor, 5);
    // An older head, too, and a log that begins later.
    verify(&text_of(&lines), &lines[2]).unwrap();
    assert_eq!(verify(&text_of(&lines[2..]), &lines[1]).unwrap().lines, 3);
    let nothing = verify("", &json!({ "cursor": 0, "hash": GENESIS })).unwrap();
    assert_eq!((nothing.lines, nothing.last), (0, None));
}

#[test]
fn each_kind_of_damage_has_its_words() {
    let lines = chain_of(0, 6);
    let found = |lines: &[Value]| verify(&text_of(lines), &chain_of(0, 6)[5]).unwrap_err();
    let without = |place: usize| -> Vec<Value> {
        let mut less = lines.clone();
        less.remove(place);
        less
    };
    let broken = found(&without(2));
    assert_eq!(
        (broken.cursor, broken.to_string()),
        (Some(3), "line 3: it is missing: it was deleted".into())
    );
    assert_eq!(found(&without(5)).cursor, Some(6), "also the last one");
    let mut edited = lines.clone();
    edited[3]["actor"] = json!("somebody");
    assert_eq!(found(&edited).to_string(), "line 4: its hash is not that of what it says: it was edited");
    edited[3]["hash"] = json!(hash_of(&edited[3]));
    assert_eq!(found(&edited).cursor, Some(5), "a hash of its own does not help");
    let mut rewritten = lines.clone();
    rewritten[5]["actor"] = json!("somebody");
    rewritten[5]["hash"] = json!(hash_of(&rewritten[5]));
    assert!(found(&rewritten).to_string().contains("rewritten"), "nor at the end, where the head is known");
    let mut swapped = lines.clone();
    swapped.swap(1, 2);
    assert_eq!(found(&swapped).cursor, Some(2));
    let mut twice = lines.clone();
    twice.insert(3, lines[2].clone());
    assert!(found(&twice).to_string().starts_with("line 3: it stands after line 3"));
    let mut stripped = lines.clone();
    stripped[4]["hash"] = Value::Null;
    assert_eq!(found(&stripped).cursor, Some(5));
    stripped[4]["previous"] = Value::Null;
    assert_eq!(found(&stripped).cursor, Some(5));
    let mut more = lines.clone();
    more[0]["note"] = json!(1);
    assert_eq!(found(&more).cursor, Some(1));
    let spaced = text_of(&lines).replacen("\"actor\":", "\"actor\": ", 1);
    assert_eq!(verify(&spaced, &lines[5]).unwrap_err().cursor, Some(1));
    let named_twice = text_of(&lines).replacen("\"actor\"", "\"actor\":\"me\",\"actor\"", 1);
    assert_eq!(verify(&named_twice, &lines[5]).unwrap_err().cursor, Some(1));
}

#[test]
fn lines_from_before_the_chain_are_left_alone_and_nothing_else_is() {
    let lines: Vec<Value> = [unchained(1), unchained(4)].into_iter().chain(chain_of(4, 3)).collect();
    let read_all = |mut chain: Chain, lines: &[Value]| {
        lines.iter().try_for_each(|line| chain.read(line))?;
        chain.finish()
    };
    let verified = read_all(Chain::after(link(4, GENESIS), 4), &lines).unwrap();
    assert_eq!((verified.lines, verified.unchained), (3, 2));
    assert_eq!(read_all(Chain::unknown(), &lines).unwrap().unchained, 2);
    // A line that lost its hashes is none of them.
    let mut stripped = lines.clone();
    stripped[2]["previous"] = Value::Null;
    stripped[2]["hash"] = Value::Null;
    assert_eq!(read_all(Chain::after(link(4, GENESIS), 4), &stripped).unwrap_err().cursor, Some(5));
    assert_eq!(read_all(Chain::unknown(), &stripped).unwrap_err().cursor, Some(6));
    // Once lines of the chain were tidied away, nothing older is there.
    let anchor = link(5, lines[2]["hash"].as_str().unwrap());
    assert_eq!(read_all(Chain::after(anchor.clone(), 4), &lines[3..]).unwrap().lines, 2);
    assert_eq!(read_all(Chain::after(anchor.clone(), 4), &lines).unwrap_err().cursor, Some(1));
    assert_eq!(read_all(Chain::after(anchor.clone(), 4), &lines[2..]).unwrap_err().cursor, Some(5));
    assert_eq!(read_all(Chain::after(anchor, 4), &lines[4..]).unwrap_err().cursor, Some(6));
    let other = link(5, GENESIS);
    assert_eq!(read_all(Chain::after(other, 4), &lines[3..]).unwrap_err().cursor, Some(6));
}

#[test]
fn a_head_older_than_the_log_is_not_passed_over() {
    let lines = chain_of(0, 6);
    let broken = verify(&text_of(&lines[4..]), &lines[1]).unwrap_err();
    assert!(broken.to_string().starts_with("line 2: the head names this line, and the oldest kept is 5"));
}

fn one_change() -> impl Strategy<Value = (usize, usize, u8, char)> {
    (0_usize..7, any::<usize>(), 0_u8..6, proptest::char::any())
}

proptest! {
    /// Any single edit of a character, deletion, repetition, exchange or insertion in an exported chain is found.
    #[test]
    fn every_single_change_is_found((line, place, what, character) in one_change(), with in 0_usize..7) {
        let lines = chain_of(0, 7);
        let head = lines[6].clone();
        let mut texts: Vec<String> = lines.iter().map(write).collect();
        let whole = texts.concat();
        match what {
            0 | 1 => {
                let mut characters: Vec<char> = texts[line].chars().collect();
                let place = place % characters.len();
                if what == 0 { characters[place] = character } else { characters.insert(place, character) }
                texts[line] = characters.into_iter().collect();
            }
            2 => {
                let mut characters: Vec<char> = texts[line].chars().collect();
                characters.remove(place % characters.len());
                texts[line] = characters.into_iter().collect();
            }
            3 => { texts.remove(line); }
            4 => texts.swap(line, with),
            _ => texts.insert(with, texts[line].clone()),
        }
        let changed = texts.concat();
        prop_assume!(changed != whole);
        // As the exported head says where the log began.
        let mut chain = Chain::unknown();
        chain.expect(link(7, head["hash"].as_str().unwrap()));
        chain.expect_after(&link(0, GENESIS));
        let found = read(&mut chain, &changed).and_then(|()| chain.finish());
        prop_assert!(found.is_err(), "{changed}");
    }

    #[test]
    fn no_text_panics(text in "\\PC*\n?") {
        let _ = verify(&text, &json!({ "cursor": 1, "hash": "" }));
    }
}
