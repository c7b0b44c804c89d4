//! Reads a policy folder from the disk, believing nothing about what is in it.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use super::{
    diagnostic::{Diagnostic, Excerpt, Location, Severity, Span},
    source::{Kind, Sources},
    suggest,
};

/// The largest file that is read.
pub(super) const MOST_BYTES: u64 = 1 << 20;
/// The most entries of one folder that are looked at.
const MOST_ENTRIES: usize = 4096;
const TOO_LARGE: (&str, &str) = ("file-too-large", "the file is larger than 1 MiB");
/// So many characters are shown before a byte that is none.
const SHOWN: usize = 100;

/// Reads every policy file of `folder`; what cannot be read is a problem of the result.
pub(super) fn read(folder: &Path) -> Sources {
    let mut sources = Sources::default();
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => read_top(folder, &mut sources),
        Ok(_) => {
            let message = format!("`{}` is not a folder", folder.display());
            problem(&mut sources, "folder-missing", "", message, None);
        }
        Err(error) => {
            let message = format!("there is no policy folder `{}`: {}", folder.display(), reason(&error));
            let help = "it holds features.yaml, routes.yaml and plans/*.yaml".to_owned();
            problem(&mut sources, "folder-missing", "", message, Some(help));
        }
    }
    sources
}

fn read_top(folder: &Path, sources: &mut Sources) {
    for name in entries(folder, "", sources) {
        match name.as_str() {
            "features.yaml" | "routes.yaml" | "stripe.yaml" => read_file(folder, name, sources),
            "plans" | "addons" | "cases" => read_inner(folder, &name, sources),
            "README.md" | "README" => {}
            _ => {
                let known = ["features.yaml", "routes.yaml", "stripe.yaml", "plans", "addons", "cases"];
                let yaml = name.replace(".yml", ".yaml");
                let same = known.into_iter().find(|known| *known == yaml);
                let near = same.or_else(|| suggest::nearest(&yaml, known));
                let help = near.map(|near| format!("did you mean `{near}`?"));
                unknown(sources, &name, help);
            }
        }
    }
}

fn read_inner(folder: &Path, inner: &str, sources: &mut Sources) {
    if !fs::metadata(folder.join(inner)).is_ok_and(|found| found.is_dir()) {
        let message = format!("`{inner}` is not a folder");
        return problem(sources, "folder-missing", inner, message, None);
    }
    for name in entries(&folder.join(inner), inner, sources) {
        let name = format!("{inner}/{name}");
        if Kind::of(&name).is_some() {
            read_file(folder, name, sources);
        } else if !name.contains("/README") {
            let yaml = name.strip_suffix(".yml").map(|stem| format!("rename it to `{stem}.yaml`"));
            unknown(sources, &name, yaml);
        }
    }
}

/// Names in a folder, sorted. Hidden entries are left out: editors and mounted configurations keep their own there.
fn entries(folder: &Path, shown: &str, sources: &mut Sources) -> Vec<String> {
    let listing = match fs::read_dir(folder) {
        Ok(listing) => listing,
        Err(error) => {
            let message = format!("the folder cannot be read: {}", reason(&error));
            problem(sources, "folder-unreadable", shown, message, None);
            return Vec::new();
        }
    };
    let mut names = Vec::new();
    for entry in listing {
        let name = match entry {
            Ok(entry) => entry.file_name(),
            Err(error) => {
                let message = format!("the folder cannot be read: {}", reason(&error));
                problem(sources, "folder-unreadable", shown, message, None);
                break;
            }
        };
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if names.len() == MOST_ENTRIES {
            let message = format!("more than {MOST_ENTRIES} files in one folder");
            problem(sources, "too-many-files", shown, message, None);
            break;
        }
        match name.to_str() {
            Some(name) => names.push(name.to_owned()),
            None => unknown(sources, &lossy(&name), None),
        }
    }
    names.sort_unstable();
    names
}

/// Takes a file that comes from elsewhere under the rules for a folder's.
pub(super) fn take(sources: &mut Sources, name: &str, text: &str) {
    if Kind::of(name).is_none() {
        return unknown(sources, name, None);
    }
    if text.len() as u64 > MOST_BYTES {
        problem(sources, TOO_LARGE.0, name, TOO_LARGE.1.to_owned(), help_for(TOO_LARGE.0));
        return sources.add(name, None);
    }
    sources.add(name, Some(text.to_owned()));
}

fn read_file(folder: &Path, name: String, sources: &mut Sources) {
    match bytes(&folder.join(&name)) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => sources.add(&name, Some(text)),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                sources.problems.push(not_utf8(&name, error.as_bytes(), valid));
                sources.add(&name, None);
            }
        },
        Err((code, message)) => {
            problem(sources, code, &name, message, help_for(code));
            sources.add(&name, None);
        }
    }
}

/// What to do about a file that cannot be read.
fn help_for(code: &str) -> Option<String> {
    let help = match code {
        "file-too-large" => "nothing that large is meant to be read by people: cases may be in several files",
        "file-not-regular" => "put a file there, or a link to one",
        _ => return None,
    };
    Some(help.to_owned())
}

fn bytes(path: &Path) -> Result<Vec<u8>, (&'static str, String)> {
    let unreadable =
        |error: &io::Error| ("file-unreadable", format!("the file cannot be read: {}", reason(error)));
    let irregular = || ("file-not-regular", "not a regular file".to_owned());
    if !fs::metadata(path).map_err(|error| unreadable(&error))?.is_file() {
        return Err(irregular());
    }
    // It may have been swapped since: opening must not wait for a pipe's other end, and the open file is checked again.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file =
        OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|error| unreadable(&error))?;
    read_regular(file).map_err(|error| unreadable(&error))?.ok_or_else(irregular).and_then(|bytes| {
        if bytes.len() as u64 > MOST_BYTES { Err((TOO_LARGE.0, TOO_LARGE.1.to_owned())) } else { Ok(bytes) }
    })
}

fn read_regular(file: File) -> io::Result<Option<Vec<u8>>> {
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn not_utf8(name: &str, bytes: &[u8], valid: usize) -> Diagnostic {
    let before = &bytes[..valid.min(bytes.len())];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1);
    let start_of_line = String::from_utf8_lossy(&before[start..]);
    let column = start_of_line.chars().count() + 1;
    // What cannot be read is shown as a sign of its own, and what follows does not matter.
    let marked = start_of_line.len();
    let from = start_of_line.char_indices().rev().take(SHOWN).last().map_or(marked, |(place, _)| place);
    let text = format!("{}\u{fffd}", &start_of_line[from..]);
    let excerpt = Excerpt { start: marked - from, end: text.len(), text };
    Diagnostic {
        severity: Severity::Error,
        code: "file-not-utf8",
        message: format!("the file is not UTF-8: byte 0x{:02x}", bytes.get(valid).copied().unwrap_or(0)),
        location: Location {
            file: name.to_owned(),
            span: Some(Span { line, column, len: 1 }),
            excerpt: Some(excerpt),
        },
        help: Some("save it as UTF-8".to_owned()),
        related: Vec::new(),
    }
}

fn problem(sources: &mut Sources, code: &'static str, file: &str, message: String, help: Option<String>) {
    finding(sources, Severity::Error, code, file, message, help);
}

fn unknown(sources: &mut Sources, file: &str, help: Option<String>) {
    let message = "not a policy file: it is not read".to_owned();
    finding(sources, Severity::Warning, "file-unknown", file, message, help);
}

fn finding(
    sources: &mut Sources,
    severity: Severity,
    code: &'static str,
    file: &str,
    message: String,
    help: Option<String>,
) {
    let location = Location { file: file.to_owned(), span: None, excerpt: None };
    sources.problems.push(Diagnostic { severity, code, message, location, help, related: Vec::new() });
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "not found".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

fn lossy(name: &OsStr) -> String {
    name.to_string_lossy().into_owned()
}
