//! The name that a file gives itself: it must be the file's own.

use super::{Fields, scalar};
use crate::domain::id::InvalidId;
use crate::policy::{
    diagnostic::Findings,
    source::{FileIx, Place},
    suggest,
};

/// How one kind of files is named.
pub(super) struct Naming<I> {
    /// The key of the name.
    pub(super) key: &'static str,
    /// Whose name it is, with its article.
    pub(super) whose: &'static str,
    /// The code where the names differ.
    pub(super) mismatch: &'static str,
    pub(super) parse: fn(&str) -> Result<I, InvalidId>,
}

/// The name by the file's: without folder and ending.
pub(in crate::policy) fn stem(file: &str) -> &str {
    let name = file.split_once('/').map_or(file, |(_, name)| name);
    name.strip_suffix(".yaml").unwrap_or(name)
}

/// The name of a file. `None` where the file's own cannot be one.
pub(super) fn read<I>(
    file: FileIx,
    name: &str,
    fields: &Fields<'_>,
    naming: &Naming<I>,
    findings: &mut Findings<'_>,
) -> Option<I> {
    let stem = stem(name);
    let Naming { key, whose, .. } = naming;
    let top = fields.key_place(key).unwrap_or(Place::new(file, 0, 0));
    let parsed = (naming.parse)(stem);
    if let Err(error) = &parsed {
        let help = suggest::as_name(stem, naming.parse)
            .map_or("rename the file".to_owned(), |help| help.replace("write", "rename the file:"));
        findings.error_help("invalid-id", top, error.to_string(), help);
    }
    if let Some(node) = fields.need(key, &format!("`{key}: {stem}`, the file's name"), findings)
        && let Some(text) = scalar::text(node, &format!("{whose}'s id"), findings)
        && text != stem
        && parsed.is_ok()
    {
        let message = format!("{whose} is named {}, its file `{stem}.yaml`", node.describe());
        let help = format!("write `{key}: {stem}`, or rename the file");
        findings.error_help(naming.mismatch, node.place, message, help);
    }
    parsed.ok()
}
