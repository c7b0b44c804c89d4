//! `plangate policy schema`.

use std::{fs, path::PathBuf};

use clap::{Args, builder::PossibleValuesParser};
use serde_json::Value;

use super::folder::ReportFormat;
use crate::{
    cli::{Failure, output},
    policy::schema::{Kind, of, text},
};

/// Print the JSON Schema of a kind of policy files, for editors that complete and check
#[derive(Debug, Args)]
pub struct Schema {
    /// Which files; without it, the kinds are listed
    #[arg(value_name = "KIND", value_parser = PossibleValuesParser::new(Kind::ALL.map(Kind::as_str)))]
    kind: Option<String>,
    /// Write the schema of each kind (or of the one named) to DIR/KIND.json
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// How to print; `json` without a KIND: all of them in one object, by kind
    #[arg(long, value_enum, value_name = "FORM", default_value = "text", conflicts_with = "output_dir")]
    output: ReportFormat,
}

impl Schema {
    pub(super) fn run(self) -> Result<(), Failure> {
        let kind = self.kind.as_deref().and_then(Kind::named);
        if let Some(folder) = self.output_dir {
            return write_all(&folder, kind.map_or(Kind::ALL.to_vec(), |kind| vec![kind]));
        }
        let all = || Kind::ALL.map(|kind| (kind.as_str().to_owned(), of(kind))).into_iter().collect();
        match kind {
            Some(kind) => output::write(text(kind).as_bytes()),
            None => self.output.print(|_| overview(), || Value::Object(all())),
        }
    }
}

fn write_all(folder: &std::path::Path, kinds: Vec<Kind>) -> Result<(), Failure> {
    let failed = |what: &std::path::Path, error: std::io::Error| {
        Failure::Usage(format!("`{}` cannot be written: {error}", what.display()))
    };
    fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    for kind in kinds {
        let path = folder.join(format!("{}.json", kind.as_str()));
        fs::write(&path, text(kind)).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

const USE: &str = "
Write them beside your policies, and name them in the first line of each file:

  plangate policy schema --output-dir policies/.schema
  # yaml-language-server: $schema=../.schema/plan.json      (in policies/plans/basic.yaml)

Editors with the YAML language server (VS Code with the YAML extension of Red Hat, Neovim, Helix, Emacs,
Zed, the JetBrains IDEs by their own mapping of schemas) then complete keys, show what they mean, and mark mistakes.
";

fn overview() -> String {
    let mut out = String::new();
    for kind in Kind::ALL {
        let schema = of(kind);
        let about = output::field(&schema, "/description");
        let first = about.split(['.', ':']).next().unwrap_or_default();
        out += &format!("{:10}{:15}{first}\n", kind.as_str(), kind.files());
    }
    out + USE
}
