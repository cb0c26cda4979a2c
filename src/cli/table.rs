//! Tables in three notations.

use std::fmt::Write;

use crate::text::{csv_field, escape_controls};

/// What stands in a table.
#[derive(Clone, Debug)]
pub(in crate::cli) enum Cell {
    /// Stands left; numbers stand right.
    Text(String),
    Count(usize),
    /// Rounded for people to so many decimals.
    Number(f64, usize),
    /// Of a length from 0 to 1; for people only.
    Bar(f64),
    /// Nothing was counted.
    Absent,
}

/// The width of a bar of length 1.
const BAR: usize = 24;

impl Cell {
    pub(in crate::cli) fn number(value: Option<f64>, decimals: usize) -> Cell {
        value.map_or(Cell::Absent, |v| Cell::Number(v, decimals))
    }

    fn shown(&self) -> String {
        match self {
            Cell::Text(text) => escape_controls(text),
            Cell::Count(n) => n.to_string(),
            Cell::Number(value, decimals) => format!("{value:.decimals$}"),
            Cell::Bar(length) => "▇".repeat((length * BAR as f64).round() as usize),
            Cell::Absent => "-".to_owned(),
        }
    }

    fn is_left(&self) -> bool {
        matches!(self, Cell::Text(_) | Cell::Bar(_))
    }
}

/// A table; its first column names the rows.
#[derive(Clone)]
pub(in crate::cli) struct Table {
    /// For programs, one word.
    pub name: &'static str,
    pub title: String,
    pub headings: Vec<&'static str>,
    pub rows: Vec<Vec<Cell>>,
}

/// Columns under their headings.
pub(in crate::cli) fn text(tables: &[Table]) -> String {
    let mut out = String::new();
    for table in tables {
        let _ = writeln!(out, "\n{}", escape_controls(&table.title));
        let shown: Vec<Vec<String>> = table.rows.iter().map(|r| r.iter().map(Cell::shown).collect()).collect();
        let width = |column: usize| {
            let cells = shown.iter().map(|row| row[column].chars().count());
            cells
                .chain([table.headings[column].chars().count()])
                .max()
                .unwrap_or_default()
        };
        let left = |column: usize| table.rows.first().is_some_and(|row| row[column].is_left());
        let mut line = |cells: &[String]| {
            let padded: Vec<String> = (0..cells.len())
                .map(|column| match left(column) {
                    true => format!("{:<w$}", cells[column], w = width(column)),
                    false => format!("{:>w$}", cells[column], w = width(column)),
                })
                .collect();
            let _ = writeln!(out, "  {}", padded.join("  ").trim_end());
        };
        line(&table.headings.iter().map(|h| (*h).to_owned()).collect::<Vec<_>>());
        shown.iter().for_each(|row| line(row));
    }
    out
}

/// Tables as GitHub's Markdown has them.
pub(in crate::cli) fn markdown(tables: &[Table]) -> String {
    let mut out = String::new();
    let escape = |text: &str| text.replace('\\', "\\\\").replace('|', "\\|");
    for table in tables {
        let marks = |(column, _): (usize, _)| match table.rows.first().is_some_and(|row| row[column].is_left()) {
            true => ":--",
            false => "--:",
        };
        let rule: Vec<&str> = table.headings.iter().enumerate().map(marks).collect();
        let _ = writeln!(out, "\n### {}\n", escape(&escape_controls(&table.title)));
        let _ = writeln!(out, "| {} |\n|{}|", table.headings.join(" | "), rule.join("|"));
        for row in &table.rows {
            let cells: Vec<String> = row.iter().map(|c| escape(&c.shown())).collect();
            let _ = writeln!(out, "| {} |", cells.join(" | "));
        }
    }
    out
}

/// A line for each number, unrounded: the table, the row, the column, the value.
pub(in crate::cli) fn csv(tables: &[Table]) -> String {
    let mut out = "table,row,column,value\n".to_owned();
    for table in tables {
        for row in &table.rows {
            let name = row.first().map_or(String::new(), |c| csv_field(&c.shown()));
            for (cell, heading) in row.iter().zip(&table.headings).skip(1) {
                let value = match cell {
                    Cell::Number(value, _) => value.to_string(),
                    Cell::Text(_) | Cell::Count(_) => csv_field(&cell.shown()),
                    Cell::Bar(_) | Cell::Absent => continue,
                };
                let _ = writeln!(out, "{},{name},{},{value}", table.name, csv_field(heading));
            }
        }
    }
    out
}
