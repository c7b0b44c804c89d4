//! `plangate audit export`: the whole log as a file.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use super::{head::Given, pages};
use crate::{
    cli::{
        Failure,
        client::Connection,
        output::{note, write as print},
    },
    wire::audit_export,
};

/// Writes all lines to a file, or to standard output. A file appears whole or not at all.
pub(super) async fn run(file: &Path, connection: &Connection) -> Result<(), Failure> {
    let head = pages::head(connection).await?;
    let head =
        Given::of(&head).ok_or_else(|| Failure::Refused("the server's head has another form".into()))?;
    let failed =
        |error: std::io::Error| Failure::Refused(format!("`{}` cannot be written: {error}", file.display()));
    let mut out = if file == Path::new("-") {
        None
    } else {
        let mut part = file.as_os_str().to_owned();
        part.push(".part");
        let part = std::path::PathBuf::from(part);
        Some((BufWriter::new(File::create(&part).map_err(failed)?), part))
    };
    let (mut cursor, mut lines) = (0, 0_u64);
    loop {
        let (items, next) = pages::after(connection, cursor).await?;
        lines += items.len() as u64;
        let text: String = items.iter().map(audit_export::write).collect();
        match &mut out {
            Some((file, _)) => file.write_all(text.as_bytes()).map_err(failed)?,
            None => print(text.as_bytes())?,
        }
        match next {
            Some(next) => cursor = next,
            None => break,
        }
    }
    if let Some((mut written, part)) = out {
        written.flush().map_err(failed)?;
        written.get_ref().sync_all().map_err(failed)?;
        std::fs::rename(part, file).map_err(failed)?;
    }
    note(&format!(
        "{lines} lines; the log's head was {}:{} when this began: `audit verify --file` takes it as --head",
        head.last.cursor, head.last.hash
    ));
    Ok(())
}
