//! Policy files that come from elsewhere than a folder: the database, or a call.

use super::{
    compile,
    diagnostic::{Diagnostic, Severity},
    folder,
    source::Sources,
};
use crate::{
    domain::{
        catalog::{Catalog, Digest},
        revision::PolicyFiles,
    },
    ports::{Finding, PolicyCompiler},
};

/// Compiles policy files.
#[derive(Debug, Clone, Copy, Default)]
pub struct Compiler;

impl PolicyCompiler for Compiler {
    fn compile(&self, files: &PolicyFiles) -> Result<(Catalog, Vec<Finding>), Vec<Finding>> {
        let compiled = compile::compile(&sources(files));
        let findings = compiled.diagnostics.iter().map(finding).collect();
        match compiled.catalog {
            Some(catalog) => Ok((catalog, findings)),
            None => Err(findings),
        }
    }
}

/// The digest of files, which is that of the catalog compiled from them.
#[must_use]
pub fn digest(files: &PolicyFiles) -> Digest {
    sources(files).digest()
}

/// The policy files of a folder, its cases left out. What cannot be read, and what is no policy file, is left out, too:
/// [`super::check`] says so.
#[must_use]
pub fn files(folder: &std::path::Path) -> PolicyFiles {
    folder::read(folder).files()
}

pub(super) fn sources(files: &PolicyFiles) -> Sources {
    let mut sources = Sources::default();
    for (name, text) in &files.0 {
        folder::take(&mut sources, name, text);
    }
    sources
}

fn finding(diagnostic: &Diagnostic) -> Finding {
    let location = &diagnostic.location;
    Finding {
        severity: match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        code: diagnostic.code,
        message: diagnostic.message.clone(),
        help: diagnostic.help.clone(),
        file: location.file.clone(),
        place: location.span.map(|span| (span.line, span.column)),
        source: location.excerpt.as_ref().map(|excerpt| excerpt.text.clone()),
    }
}
