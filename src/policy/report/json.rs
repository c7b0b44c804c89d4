//! A report for programs.

use serde_json::{Value, json};

use super::{Report, path};
use crate::policy::diagnostic::{Diagnostic, Location};

impl Report {
    /// The findings for programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let all: Vec<Value> = self.diagnostics.iter().map(|d| self.diagnostic_json(d)).collect();
        json!({
            "folder": self.folder.display().to_string(),
            "ok": self.is_ok(),
            "errors": self.errors().count(),
            "warnings": self.warnings().count(),
            "diagnostics": all,
        })
    }

    fn diagnostic_json(&self, diagnostic: &Diagnostic) -> Value {
        let mut out = self.location_json(&diagnostic.location);
        out["severity"] = diagnostic.severity.as_str().into();
        out["code"] = diagnostic.code.into();
        out["message"] = diagnostic.message.as_str().into();
        out["help"] = diagnostic.help.as_deref().into();
        let related = diagnostic.related.iter().map(|(location, reason)| {
            let mut out = self.location_json(location);
            out["message"] = reason.as_str().into();
            out
        });
        out["related"] = related.collect();
        out
    }

    fn location_json(&self, location: &Location) -> Value {
        json!({
            "file": location.file,
            "path": path(&self.folder, &location.file),
            "line": location.span.map(|span| span.line),
            "column": location.span.map(|span| span.column),
            "length": location.span.map(|span| span.len),
            "source": location.excerpt.as_ref().map(|excerpt| excerpt.text.as_str()),
        })
    }
}
