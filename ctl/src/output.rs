//! Where output goes: tables and sentences for people, one JSON object a line for scripts, and everything that is
//! neither to standard error.
#![allow(clippy::print_stdout)]

use std::io::{IsTerminal as _, Write as _};

use serde_json::Value;

use crate::harmless;

/// How this run prints.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
    terminal: bool,
}

/// Whoever read our output has gone; there is nobody to print for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReaderGone;

impl Output {
    pub fn new(json: bool) -> Self {
        Self { json, terminal: std::io::stdout().is_terminal() }
    }

    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Text for a person who is looking, so that lines may be redrawn.
    pub fn is_live(&self) -> bool {
        self.terminal && !self.json
    }

    /// One object, with `--json`.
    pub fn row(&self, row: &Value) -> Result<(), ReaderGone> {
        if self.json { self.object(row) } else { Ok(()) }
    }

    /// One object, whether with `--json` or without.
    pub fn object(&self, object: &Value) -> Result<(), ReaderGone> {
        print(&(harmless::json(object.to_string()) + "\n"))
    }

    /// Text, without `--json`; what other people wrote may be in it as it is.
    pub fn text(&self, text: &str) -> Result<(), ReaderGone> {
        if self.json { Ok(()) } else { print(&format!("{}\n", harmless::text(text))) }
    }

    /// Text without a line end, to be redrawn.
    pub fn redraw(&self, text: &str) {
        if self.is_live() {
            let _gone = print(text);
        }
    }

    /// For people, also with `--json`: standard error.
    pub fn note(&self, text: &str) {
        let _gone = writeln!(std::io::stderr(), "{}", harmless::text(text));
    }
}

fn print(text: &str) -> Result<(), ReaderGone> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|_| ReaderGone)
}

/// Columns as wide as their widest cell, two spaces apart.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Cells of a table's row.
pub fn cells<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// A figure that may not be known.
pub fn or_dash(value: Option<f64>, unit: &str) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.0}{unit}"))
}

/// The name of an enum's value, as in JSON.
pub fn name(value: impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(name)) => name,
        _ => "–".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [cells(["a", "bb"]), cells(["ccc", "d"])];
        assert_eq!(table(&rows), "a    bb\nccc  d");
    }

    #[test]
    fn names_are_those_of_json() {
        assert_eq!(name(kith_common::call::Stage::FirstPacket), "first_packet");
        assert_eq!(name(None::<kith_common::node::Path>), "–");
    }
}
