//! What commands print: tables for people on a terminal, plain columns or JSON for programs.

use std::io::{IsTerminal, Write, stderr, stdout};

use clap::ValueEnum;
use comfy_table::{Attribute, Cell, ContentArrangement, Table, presets};
use serde_json::Value;

use super::Failure;
use crate::wire::statement_csv;

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table
    Table,
    /// The API's own answer
    Json,
    /// Columns separated by tabs
    Plain,
    /// Columns separated by commas, as spreadsheets read them (RFC 4180)
    Csv,
}

impl Format {
    /// The form asked for, or the one that suits where the output goes.
    pub(super) fn or_fitting(asked: Option<Self>) -> Self {
        asked.unwrap_or_else(|| if stdout().is_terminal() { Self::Table } else { Self::Plain })
    }
}

/// Rows under headings.
pub(super) struct Rows {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    unbroken: bool,
}

impl Rows {
    pub(super) fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new(), unbroken: false }
    }

    /// Lets no cell be broken over lines, as a key must be copied whole.
    pub(super) fn unbroken(mut self) -> Self {
        self.unbroken = true;
        self
    }

    pub(super) fn add(&mut self, cells: Vec<String>) {
        self.rows.push(cells.iter().map(|cell| printable(cell)).collect());
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn plain(&self) -> String {
        let mut text = self.headings.join("\t") + "\n";
        for row in &self.rows {
            text.push_str(&row.join("\t"));
            text.push('\n');
        }
        text
    }

    fn csv(&self) -> String {
        let headings: Vec<String> = self.headings.iter().map(|heading| heading.to_lowercase()).collect();
        let lines = std::iter::once(&headings).chain(&self.rows);
        lines.map(|cells| statement_csv::line(cells)).collect()
    }

    pub(super) fn table(&self, bold: bool) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY);
        if !self.unbroken {
            table.set_content_arrangement(ContentArrangement::Dynamic);
        }
        if bold {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        table.set_header(self.headings.iter().map(|heading| {
            let cell = Cell::new(heading);
            if bold { cell.add_attribute(Attribute::Bold) } else { cell }
        }));
        for row in &self.rows {
            table.add_row(row);
        }
        format!("{table}\n")
    }
}

/// Text that a terminal only shows: what a server or customer wrote must not steer it.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A field of an answer as text; `-` where there is none.
pub(super) fn field(value: &Value, path: &str) -> String {
    match value.pointer(path) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Prints an answer, as JSON or as rows.
pub(super) fn show(asked: Option<Format>, answer: &Value, rows: &Rows) -> Result<(), Failure> {
    let text = match Format::or_fitting(asked) {
        Format::Json => {
            let text = serde_json::to_string_pretty(answer)
                .map_err(|error| Failure::Refused(format!("the answer cannot be printed: {error}")))?;
            text + "\n"
        }
        Format::Plain => rows.plain(),
        Format::Csv => rows.csv(),
        Format::Table => rows.table(coloured(stdout().is_terminal())),
    };
    write(text.as_bytes())?;
    warn_of_pending(answer);
    Ok(())
}

/// Colour only on a terminal, and not where <https://no-color.org> asks for none.
pub(super) fn coloured(terminal: bool) -> bool {
    terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn warn_of_pending(answer: &Value) {
    let pending = answer.pointer("/applied/pending").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if !pending.is_empty() {
        let names: Vec<&str> = pending.iter().filter_map(Value::as_str).collect();
        note(&format!("not yet in force on: {}", names.join(", ")));
    }
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no failure.
pub(super) fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Refused(format!("the output cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}

/// Says something beside the output.
pub(super) fn note(text: &str) {
    let _ = writeln!(stderr(), "{}", lines(text));
}

/// Says what went wrong.
pub(super) fn complain(text: &str) {
    let (start, end) = if coloured(stderr().is_terminal()) { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
    let _ = writeln!(stderr(), "{start}error:{end} {}", lines(text));
}

fn lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}
