//! Holds the layers: who may import whom, how large a file may grow, and which crate only one room may use.

#![allow(clippy::unwrap_used, reason = "what cannot be read fails the test")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

const L1: &[&str] = &["domain", "clock", "wire", "ports", "freshness", "metrics", "tls"];
const SURFACE: &[&str] = &["domain", "clock", "wire", "ports", "freshness", "metrics", "tls", "pipeline"];

/// A room and the rooms of this crate that it may use, besides itself.
const MAY_USE: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("clock", &["domain"]),
    ("wire", &["domain"]),
    ("ports", &["domain"]),
    ("freshness", &["domain"]),
    ("metrics", &["domain"]),
    ("tls", &[]),
    ("credentials", L1),
    ("policy", L1),
    ("store", L1),
    ("directory", L1),
    ("ledger", L1),
    ("outgoing", L1),
    ("sync", L1),
    ("pipeline", L1),
    ("http", SURFACE),
    ("admin", SURFACE),
];

/// Rooms at the top: they may use everything.
const TOP: &[&str] = &["app", "cli", "main", "lib"];

/// A crate and the only rooms that may name it.
const OWNED: &[(&str, &[&str])] = &[
    ("jsonwebtoken", &["credentials"]),
    ("sqlx", &["store"]),
    ("moka", &["directory", "credentials"]),
    ("hyper", &["http", "admin", "credentials", "outgoing", "cli", "app"]),
    ("axum", &["admin", "cli", "app"]),
    ("notify", &["policy"]),
    ("cel", &["policy"]),
    ("schemars", &["policy"]),
    ("quick_junit", &["policy"]),
    ("clap", &["cli", "main"]),
];

/// Crates that the domain may name.
const DOMAIN_CRATES: &[&str] = &["std", "core", "thiserror", "jiff", "crate", "super", "self"];

struct Source {
    path: PathBuf,
    room: String,
    text: String,
    /// Without comments and without what follows the file's test attribute.
    code: Vec<String>,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                files.push(source(path.strip_prefix(&root).unwrap().to_path_buf(), text));
            }
        }
    }
    assert!(files.len() > 50, "the sources were not found");
    files
}

fn source(path: PathBuf, text: String) -> Source {
    let room = path.iter().next().unwrap().to_string_lossy().trim_end_matches(".rs").to_owned();
    let code = text
        .lines()
        .take_while(|line| *line != "#[cfg(test)]")
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(str::to_owned)
        .collect();
    Source { path, room, text, code }
}

impl Source {
    fn is_test(&self) -> bool {
        self.path.iter().any(|part| part == "tests" || part == "tests.rs" || part == "fakes.rs")
    }

    /// Every `crate::room` that the code names, also inside `use crate::{ ... }` groups.
    fn rooms_used(&self) -> Vec<String> {
        let all = self.code.join("\n");
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let mut used = Vec::new();
        for (place, _) in all.match_indices("crate::") {
            if all[..place].ends_with(is_word) {
                continue;
            }
            let rest = &all[place + "crate::".len()..];
            match rest.strip_prefix('{') {
                Some(group) => used.extend(heads_of(group)),
                None => used.push(rest.chars().take_while(|c| is_word(*c)).collect()),
            }
        }
        used
    }

    /// Whether a line names a crate at the start of a path.
    fn names_crate(line: &str, name: &str) -> bool {
        let path = format!("{name}::");
        line.match_indices(&path).any(|(at, _)| {
            let before = &line[..at];
            let inside = before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
            !inside || before.ends_with(" ::") || before == "::"
        })
    }
}

/// The first names inside a `{ ... }` group of a `use` line.
fn heads_of(group: &str) -> Vec<String> {
    let (mut depth, mut heads, mut name, mut open) = (0, Vec::new(), String::new(), true);
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                heads.push(std::mem::take(&mut name));
                open = true;
            }
            c if depth == 0 && open && (c.is_alphanumeric() || c == '_') => name.push(c),
            ':' if depth == 0 => open = false,
            _ => {}
        }
    }
    heads.push(name);
    heads.retain(|head| !head.is_empty());
    heads
}

fn fail_on(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_use_lines_reads_groups() {
    let text = "use crate::{\n    clock::Clock,\n    domain::{id::TenantId, time::Version},\n    ports::{A, B},\n};\n\
                fn f() { crate::metrics::x() }\n// crate::http\n#[cfg(test)]\nuse crate::app;\n";
    let used = source(PathBuf::from("x.rs"), text.to_owned()).rooms_used();
    assert_eq!(used, ["clock", "domain", "ports", "metrics"]);
    assert!(Source::names_crate("use sqlx::query;", "sqlx"));
    assert!(Source::names_crate("    ::sqlx::query()", "sqlx"));
    assert!(!Source::names_crate("use crate::sqlx::query;", "sqlx"));
}

#[test]
fn rooms_use_only_rooms_below_them() {
    let known: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let mut wrong = Vec::new();
    for source in sources() {
        let room = source.room.as_str();
        if TOP.contains(&room) || source.is_test() {
            continue;
        }
        let Some(allowed) = known.get(room) else {
            wrong.push(format!("{}: `{room}` is in no layer: add it to the table", source.path.display()));
            continue;
        };
        for used in source.rooms_used() {
            let is_room = known.contains_key(used.as_str()) || TOP.contains(&used.as_str());
            if is_room && used != room && !allowed.contains(&used.as_str()) {
                wrong.push(format!("{}: `{room}` may not use `{used}`", source.path.display()));
            }
        }
    }
    fail_on(&wrong);
}

#[test]
fn crates_stay_in_their_rooms() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        for line in &source.code {
            for (name, rooms) in OWNED {
                if Source::names_crate(line, name) && !rooms.contains(&source.room.as_str()) {
                    let place = source.path.display();
                    wrong.push(format!("{place}: `{name}` belongs to {rooms:?}: {}", line.trim()));
                }
            }
        }
    }
    fail_on(&wrong);
}

#[test]
fn the_domain_is_pure() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.room == "domain" && !source.is_test()) {
        for line in &source.code {
            let first: String = line
                .strip_prefix("use ")
                .map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
                .unwrap_or_default();
            if !first.is_empty() && !DOMAIN_CRATES.contains(&first.as_str()) {
                wrong.push(format!("{}: the domain may not use `{first}`", source.path.display()));
            }
            for word in ["async fn", ".await", "std::fs", "std::net", "std::env", "println!", "::now()"] {
                if line.contains(word) {
                    wrong.push(format!("{}: the domain may not have `{word}`", source.path.display()));
                }
            }
        }
    }
    fail_on(&wrong);
}

#[test]
fn files_stay_small_and_say_why_they_exist() {
    let mut wrong = Vec::new();
    for source in sources() {
        let (place, lines) = (source.path.display(), source.text.lines());
        let lines = lines.take_while(|line| *line != "#[cfg(test)]").count();
        if lines > 400 && !source.is_test() {
            wrong.push(format!("{place}: {lines} lines, at most 400"));
        } else if lines > 300 && !source.is_test() {
            println!("{place}: {lines} lines; 300 are enough for one purpose");
        }
        if !source.text.starts_with("//! ") {
            wrong.push(format!("{place}: opens without a `//!` line"));
        }
        let name = source.path.file_stem().unwrap().to_string_lossy();
        if ["util", "helper", "manager", "misc", "common"].iter().any(|word| name.contains(word)) {
            wrong.push(format!("{place}: a name that says nothing"));
        }
    }
    fail_on(&wrong);
}

/// The one file that may use `unsafe`.
const UNSAFE: &str = "ledger/file/mapping.rs";

/// Whether a line has `unsafe` as a word, or switches its lint.
fn is_unsafe(line: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices("unsafe").any(|(at, word)| {
        let rest = &line[at + word.len()..];
        !line[..at].ends_with(is_word) && (rest.starts_with("_code") || !rest.starts_with(is_word))
    })
}

#[test]
fn unsafe_code_stays_in_one_file() {
    for line in
        ["unsafe { x() }", "#![allow(unsafe_code)]", "pub unsafe fn f()", "#[expect(\n    unsafe_code,"]
    {
        assert!(is_unsafe(line), "{line}");
    }
    assert!(!is_unsafe("let unsafely = an_unsafe;"));
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    assert!(
        manifest.lines().any(|line| line.starts_with("unsafe_code = \"deny\"")),
        "the lint is not denied"
    );
    let (mut wrong, mut found) = (Vec::new(), false);
    for source in sources() {
        // In tests, too, and after their attribute.
        let lines = source.text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in lines.filter(|line| is_unsafe(line)) {
            if source.path == Path::new(UNSAFE) {
                found = true;
            } else {
                wrong.push(format!(
                    "{}: `unsafe` belongs to {UNSAFE}: {}",
                    source.path.display(),
                    line.trim()
                ));
            }
        }
    }
    assert!(found, "{UNSAFE} is not where it was");
    fail_on(&wrong);
}
