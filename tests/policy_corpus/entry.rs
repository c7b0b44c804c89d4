//! One entry of the corpus: what a folder holds, and what is to be said of it.
//!
//! Lines before the first file say what must come of it, completely: `# expect: FILE:LINE:COLUMN error|warning CODE | part
//! of the message or help` (without line and column for a whole file), or `# remove: FILE`, or `# link: FILE TARGET`, a
//! symbolic link. The rest are the files' texts: after `# file: NAME` as they are, after `# escaped: NAME` without their
//! line ends and with `\n`, `\r`, `\t`, `\\`, `\xFF` (one byte), `\u{FEFF}` and `\{N|TEXT\}`, which is TEXT N times, each `#`
//! in it the number.

use std::{
    fs,
    path::{Path, PathBuf},
};

use plangate::policy::{self, Report};

pub struct Entry {
    pub expected: Vec<(String, String)>,
    removed: Vec<String>,
    links: Vec<(String, String)>,
    files: Vec<(String, Vec<u8>)>,
}

impl Entry {
    /// Its files as they would come from elsewhere than a folder.
    pub fn texts(&self) -> impl Iterator<Item = (&str, String)> {
        self.files.iter().map(|(name, bytes)| (name.as_str(), String::from_utf8_lossy(bytes).into_owned()))
    }
}

pub fn parse(text: &str) -> Entry {
    let mut entry = Entry { expected: Vec::new(), removed: Vec::new(), links: Vec::new(), files: Vec::new() };
    let mut escaped = false;
    for line in text.split_inclusive('\n') {
        let names = [("# file: ", false), ("# escaped: ", true)];
        if let Some((name, mode)) = names.iter().find_map(|(p, mode)| Some((line.strip_prefix(p)?, *mode))) {
            entry.files.push((name.trim().to_owned(), Vec::new()));
            escaped = mode;
        } else if let Some((_, content)) = entry.files.last_mut() {
            if escaped {
                unescape(line.trim_end_matches('\n'), content);
            } else {
                content.extend_from_slice(line.as_bytes());
            }
        } else if let Some(expected) = line.strip_prefix("# expect: ") {
            let (head, part) = expected.split_once(" | ").unwrap_or((expected, ""));
            entry.expected.push((head.trim().to_owned(), part.trim().to_owned()));
        } else if let Some(name) = line.strip_prefix("# remove: ") {
            entry.removed.push(name.trim().to_owned());
        } else if let Some(link) = line.strip_prefix("# link: ") {
            let (name, target) = link.trim().split_once(' ').unwrap();
            entry.links.push((name.to_owned(), target.to_owned()));
        } else {
            assert!(line.trim().is_empty() || line.starts_with("# "), "a line before the first file: {line}");
        }
    }
    entry
}

fn unescape(text: &str, out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.extend_from_slice(before.as_bytes());
        let kind = after.chars().next().unwrap();
        rest = &after[1..];
        match kind {
            'n' => out.push(b'\n'),
            'r' => out.push(b'\r'),
            't' => out.push(b'\t'),
            '\\' => out.push(b'\\'),
            'x' => {
                out.push(u8::from_str_radix(&rest[..2], 16).unwrap());
                rest = &rest[2..];
            }
            'u' => {
                let (code, after) = rest.strip_prefix('{').unwrap().split_once('}').unwrap();
                let character = char::from_u32(u32::from_str_radix(code, 16).unwrap()).unwrap();
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = after;
            }
            '{' => {
                let (count, after) = rest.split_once('|').unwrap();
                let (what, after) = after.split_once("\\}").unwrap();
                for number in 0..count.parse::<usize>().unwrap() {
                    unescape(&what.replace('#', &number.to_string()), out);
                }
                rest = after;
            }
            other => panic!("`\\{other}` is no escape"),
        }
    }
    out.extend_from_slice(rest.as_bytes());
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The report about an entry, and the folder that it was written to.
pub fn check(entry: &Entry) -> (PathBuf, Report) {
    let folder = tempfile::tempdir().unwrap();
    copy(&crate::root().join("tests/corpus/base"), folder.path());
    for name in &entry.removed {
        let path = folder.path().join(name);
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }
    for (name, content) in &entry.files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    for (name, target) in &entry.links {
        std::os::unix::fs::symlink(target, folder.path().join(name)).unwrap();
    }
    (folder.path().to_owned(), policy::check(folder.path()))
}
