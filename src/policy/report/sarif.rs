//! A report in SARIF 2.1.0, which code scanning and editors read.

use std::path::Path;

use serde_json::{Value, json};

use super::{Report, path_from};
use crate::policy::{
    diagnostic::{Diagnostic, Location},
    rules,
};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

impl Report {
    /// The findings as one run of SARIF 2.1.0. `from` is the folder in which the command ran: files are named from there.
    #[must_use]
    pub fn to_sarif(&self, from: &Path) -> Value {
        let mut codes: Vec<&str> = Vec::new();
        let mut results = Vec::new();
        for diagnostic in &self.diagnostics {
            let known = codes.iter().position(|code| *code == diagnostic.code);
            let rule = known.unwrap_or(codes.len());
            if known.is_none() {
                codes.push(diagnostic.code);
            }
            results.push(self.result(from, diagnostic, rule));
        }
        json!({
            "$schema": SCHEMA,
            "version": "2.1.0",
            "runs": [{
                "tool": { "driver": {
                    "name": "plangate",
                    "version": env!("CARGO_PKG_VERSION"),
                    "rules": codes.into_iter().map(rule).collect::<Vec<_>>(),
                } },
                "columnKind": "unicodeCodePoints",
                "results": results,
            }],
        })
    }

    fn result(&self, from: &Path, diagnostic: &Diagnostic, rule: usize) -> Value {
        let text = match &diagnostic.help {
            Some(help) => format!("{}\nhelp: {help}", diagnostic.message),
            None => diagnostic.message.clone(),
        };
        let mut out = json!({
            "ruleId": diagnostic.code,
            "ruleIndex": rule,
            "level": diagnostic.severity.as_str(),
            "message": { "text": text },
            "locations": [self.physical(from, &diagnostic.location)],
        });
        let related = (1..).zip(&diagnostic.related).map(|(id, (location, reason))| {
            let mut out = self.physical(from, location);
            out["id"] = json!(id);
            out["message"] = json!({ "text": reason });
            out
        });
        let related: Vec<Value> = related.collect();
        if !related.is_empty() {
            out["relatedLocations"] = related.into();
        }
        out
    }

    fn physical(&self, from: &Path, location: &Location) -> Value {
        let uri = uri(&path_from(from, &self.folder, &location.file));
        let mut out = json!({ "physicalLocation": { "artifactLocation": { "uri": uri } } });
        if let Some(span) = location.span {
            let mut region = json!({
                "startLine": span.line,
                "startColumn": span.column,
                "endColumn": span.column + span.len,
            });
            if let Some(excerpt) = &location.excerpt
                && let Some(marked) = excerpt.text.get(excerpt.start..excerpt.end)
                && !marked.is_empty()
            {
                region["snippet"] = json!({ "text": marked });
            }
            out["physicalLocation"]["region"] = region;
        }
        out
    }
}

fn rule(code: &str) -> Value {
    match rules::rule(code) {
        Some(rule) => json!({
            "id": code,
            "shortDescription": { "text": rule.summary },
            "defaultConfiguration": { "level": rule.severity.as_str() },
        }),
        None => json!({ "id": code }),
    }
}

/// A path as a URI: everything but unreserved characters and the slashes is encoded.
fn uri(path: &str) -> String {
    let mut out = if path.starts_with('/') { "file://".to_owned() } else { String::new() };
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_uris() {
        assert_eq!(uri("policies/plans/a b:ä.yaml"), "policies/plans/a%20b%3A%C3%A4.yaml");
        assert_eq!(uri("/srv/policies"), "file:///srv/policies");
    }
}
