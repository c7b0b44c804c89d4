//! Python's `stripe` package, which tests ask what it makes of the same: what is read and sent here is to agree with it.

use std::{io::Write, path::Path, process::Command};

use serde_json::Value;

/// The answer of one of the scripts in `tests/python`; `None`, and a loud line: the package is not there.
pub(crate) fn ask(script: &str, given: &Value) -> Option<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/python/bin/python");
    if !python.exists() {
        eprintln!("STRIPE'S PACKAGE IS NOT ASKED: there is no {}; scripts/test makes it", python.display());
        return None;
    }
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(given.to_string().as_bytes()).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let mut command = Command::new(python);
    let output = command.arg(root.join("tests/python").join(script)).stdin(file).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{script}: {}", text(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}
