//! Python's packages that others wrote, as `scripts/test` installs them: what they make of the same.

use std::{io::Write, path::Path, process::Command};

use serde_json::Value;

/// What a program of Python's prints when it is given this; `None`, and a loud line: there is no Python with the packages.
pub fn python(program: &str, given: &Value) -> Option<String> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/python");
    if !python.exists() {
        eprintln!(
            "NOTHING IS ASKED OF OTHERS' PACKAGES: there is no {}; scripts/test makes it",
            python.display()
        );
        return None;
    }
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(given.to_string().as_bytes()).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let output = Command::new(python).args(["-c", program]).stdin(file).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    Some(text(&output.stdout))
}
