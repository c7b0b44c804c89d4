//! An audit log as a file: a line of JSON for each line, in one form only, so that every change of a byte is seen.

use serde_json::Value;

use super::audit_chain::{Broken, Chain};

/// A line of the file, with its end.
#[must_use]
pub fn write(line: &Value) -> String {
    format!("{line}\n")
}

/// Reads a piece of a file that ends with a line, as [`write()`] wrote it.
///
/// # Errors
/// [`Broken`]: the first line that is not as it was written.
pub fn read(chain: &mut Chain, text: &str) -> Result<(), Broken> {
    let after = |chain: &Chain, what: &str| {
        let place = match chain.last() {
            0 => "at the start".to_owned(),
            last => format!("after line {last}"),
        };
        Broken { cursor: None, what: format!("{place}: {what}") }
    };
    let mut rest = text;
    while !rest.is_empty() {
        let Some((line, more)) = rest.split_once('\n') else {
            return Err(after(chain, "the file breaks off in the middle of a line"));
        };
        rest = more;
        let Ok(value) = serde_json::from_str::<Value>(line) else {
            return Err(after(chain, "what stands here is no JSON: it was edited"));
        };
        chain.read(&value)?;
        if line != value.to_string().as_str() {
            let cursor = Some(chain.last());
            let what = "it is not written as `audit export` writes it: it was edited".to_owned();
            return Err(Broken { cursor, what });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
