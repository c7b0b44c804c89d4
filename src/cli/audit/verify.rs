//! `plangate audit verify`: recomputes the chain, of the server's log or of an exported file.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use serde_json::{Value, json};

use super::{head::Given, pages};
use crate::{
    cli::{
        Failure,
        client::Connection,
        output::{Rows, note, show},
    },
    wire::{
        audit_chain::{Broken, Chain, Link, Verified},
        audit_export,
    },
};

/// Progress is told every so many lines.
const TOLD_EVERY: u64 = 10_000;
/// Old lines may be tidied away while the log is read; then it is read anew, so often.
const TRIES: u32 = 3;
/// How often the head is asked for while the log grows.
const ROUNDS: u32 = 100;
/// The longest line of a file.
const LONGEST: u64 = 16 << 20;

/// Why a log was not verified.
enum Unverified {
    Broken(Broken),
    Failed(Failure),
}

impl From<Broken> for Unverified {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl From<Failure> for Unverified {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Verifies a log against earlier heads, and the server's also against its own.
pub(super) async fn run(
    file: Option<&Path>,
    heads: &[Given],
    connection: &Connection,
) -> Result<(), Failure> {
    let found = match file {
        Some(file) => of_file(file, heads),
        None => of_server(heads, connection).await,
    };
    match found {
        Ok(verified) => told(&verified, heads, file, connection),
        Err(Unverified::Failed(failure)) => Err(failure),
        Err(Unverified::Broken(broken)) => {
            if connection.output == Some(crate::cli::output::Format::Json) {
                let answer = json!({ "verified": false, "line": broken.cursor, "what": broken.what });
                show(connection.output, &answer, &Rows::new(&[]))?;
            }
            Err(Failure::Refused(format!("the audit log is not what was written: {broken}")))
        }
    }
}

fn told(
    verified: &Verified,
    heads: &[Given],
    file: Option<&Path>,
    connection: &Connection,
) -> Result<(), Failure> {
    let shown = |link: &Option<Link>| {
        link.as_ref().map_or(Value::Null, |link| json!({ "cursor": link.cursor, "hash": link.hash }))
    };
    let answer = json!({
        "verified": true, "lines": verified.lines, "unchained": verified.unchained,
        "after": shown(&verified.after), "last": shown(&verified.last),
    });
    let mut rows = Rows::new(&["VERIFIED LINES", "OLDER THAN THE CHAIN", "LAST", "HASH"]).unbroken();
    let last = verified.last.as_ref();
    rows.add(vec![
        verified.lines.to_string(),
        verified.unchained.to_string(),
        last.map_or_else(|| "-".to_owned(), |last| last.cursor.to_string()),
        last.map_or_else(|| "-".to_owned(), |last| last.hash.clone()),
    ]);
    show(connection.output, &answer, &rows)?;
    if verified.unchained > 0 {
        note("lines older than the chain have no hashes: of them nothing can be said");
    }
    if let Some(after) = verified.after.as_ref().filter(|after| after.hash.bytes().any(|digit| digit != b'0'))
    {
        note(&format!("the oldest line follows line {}, which is not there any more", after.cursor));
    }
    if heads.is_empty() && file.is_some() {
        note("without --head nobody can say whether lines are missing at the end, or all were rewritten");
    }
    Ok(())
}

fn of_file(path: &Path, heads: &[Given]) -> Result<Verified, Unverified> {
    let failed =
        |error: std::io::Error| Failure::Usage(format!("`{}` cannot be read: {error}", path.display()));
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let mut chain = Chain::unknown();
    heads.iter().for_each(|head| chain.expect(head.last.clone()));
    heads.iter().filter_map(|head| head.anchor.as_ref()).for_each(|anchor| chain.expect_after(anchor));
    let (mut line, mut told) = (Vec::new(), 0);
    loop {
        line.clear();
        if file.by_ref().take(LONGEST).read_until(b'\n', &mut line).map_err(failed)? == 0 {
            break;
        }
        // What is no text is no line, either.
        audit_export::read(&mut chain, &String::from_utf8_lossy(&line))?;
        progress(&chain, &mut told, None);
    }
    Ok(chain.finish()?)
}

async fn of_server(heads: &[Given], connection: &Connection) -> Result<Verified, Unverified> {
    let mut tries = 0;
    loop {
        tries += 1;
        let begun = server_head(connection).await?;
        match read_server(&begun, heads, connection).await {
            Err(Unverified::Broken(broken)) if tries < TRIES => {
                if server_head(connection).await?.anchor == begun.anchor {
                    return Err(broken.into());
                }
            }
            other => return other,
        }
    }
}

async fn server_head(connection: &Connection) -> Result<Given, Failure> {
    let head = Given::of(&pages::head(connection).await?).filter(|head| head.anchor.is_some());
    head.ok_or_else(|| Failure::Refused("the server's head has another form: it was edited".to_owned()))
}

async fn read_server(
    begun: &Given,
    heads: &[Given],
    connection: &Connection,
) -> Result<Verified, Unverified> {
    let mut chain = match &begun.anchor {
        Some(anchor) => Chain::after(anchor.clone(), begun.start),
        None => Chain::unknown(),
    };
    heads.iter().for_each(|head| chain.expect(head.last.clone()));
    chain.expect(begun.last.clone());
    let (mut cursor, mut told) = (0, 0);
    for _ in 0..ROUNDS {
        loop {
            let (items, next) = pages::after(connection, cursor).await?;
            for line in &items {
                chain.read(line)?;
            }
            let place = items.last().and_then(|line| line.get("cursor")).and_then(Value::as_u64);
            cursor = place.unwrap_or(cursor).max(cursor);
            progress(&chain, &mut told, Some(begun.last.cursor));
            if next.is_none() {
                break;
            }
        }
        // The head moves with each line: asked for after the last line was read, it is that line or a later one.
        let now = server_head(connection).await?.last;
        if now.cursor <= chain.last() {
            if now.cursor < chain.last() {
                let what = "it is not in the chain, which ends before it: it was inserted".to_owned();
                return Err(Broken { cursor: Some(now.cursor + 1), what }.into());
            }
            let verified = chain.finish()?;
            if verified.last.as_ref().is_some_and(|last| last.hash != now.hash) {
                let what = "its hash is not that of the server's head: one of the two was edited".to_owned();
                return Err(Broken { cursor: Some(now.cursor), what }.into());
            }
            return Ok(verified);
        }
        chain.expect(now);
        // What was not there before is there now, or was deleted.
        if pages::after(connection, cursor).await?.0.is_empty() {
            return Ok(chain.finish()?);
        }
    }
    Err(Failure::Refused("the log grows faster than it can be read: try again".to_owned()).into())
}

fn progress(chain: &Chain, told: &mut u64, of: Option<u64>) {
    let lines = chain.read_so_far();
    if lines >= *told + TOLD_EVERY {
        *told = lines;
        match of {
            Some(last) => note(&format!("{lines} lines read, up to {} of {last}", chain.last())),
            None => note(&format!("{lines} lines read")),
        }
    }
}
