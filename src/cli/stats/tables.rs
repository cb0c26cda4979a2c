//! A report as tables. Shares are in per cent.

use crate::cli::table::{Cell, Table};
use crate::text::{counted, escape_controls};
use crate::trace::aggregate::{AgreementReport, NamedCount, TraceStatistics};

/// What was counted, in a paragraph.
pub(super) fn caption(report: &TraceStatistics) -> String {
    let named = |list: &[NamedCount]| {
        let items: Vec<String> = list.iter().map(|n| format!("{} ({})", n.name, n.count)).collect();
        items.join(", ")
    };
    let text = format!(
        "{} of {}: {}, {}. Routers: {}. Scope: {}.",
        counted(report.runs, "run"),
        report.model,
        counted(report.prompt_tokens, "prompt token"),
        counted(report.answer_tokens, "answer token"),
        named(&report.routers),
        named(&report.scopes)
    );
    escape_controls(&text) + "\n"
}

pub(super) fn tables(report: &TraceStatistics) -> Vec<Table> {
    let mut tables = vec![layers(report), decided_by(report)];
    tables.extend(depths(report));
    tables.push(confidence(report));
    tables.extend(report.agreement.iter().map(agreement));
    tables.push(programs(report));
    tables
}

fn layers(report: &TraceStatistics) -> Table {
    let percent = |rates: Option<[f64; 3]>| (0..3).map(move |i| Cell::number(rates.map(|r| 100.0 * r[i]), 1));
    let row = |name: String, prompts, answers| -> Vec<Cell> {
        std::iter::once(Cell::Text(name))
            .chain(percent(prompts))
            .chain(percent(answers))
            .collect()
    };
    let each = report
        .layers
        .iter()
        .map(|l| row(l.layer.to_string(), l.prompts, l.answers));
    let all = row("all".to_owned(), report.all_prompts, report.all_answers);
    Table {
        name: "layers",
        title: "Each layer, in per cent: at the prompts (one decision a run) and at the answer tokens".to_owned(),
        headings: vec![
            "layer",
            "prompt skip",
            "prompt execute",
            "prompt repeat",
            "answer skip",
            "answer execute",
            "answer repeat",
        ],
        rows: each.chain([all]).collect(),
    }
}

fn decided_by(report: &TraceStatistics) -> Table {
    let all: usize = report.decided_by.iter().map(|n| n.count).sum();
    let row = |n: &NamedCount| vec![Cell::Text(n.name.clone()), Cell::Count(n.count), share(n.count, all)];
    Table {
        name: "decided_by",
        title: "Who settled the cells of answer tokens".to_owned(),
        headings: vec!["by", "cells", "%"],
        rows: report.decided_by.iter().filter(|n| n.count > 0).map(row).collect(),
    }
}

fn depths(report: &TraceStatistics) -> Option<Table> {
    let depth = report.depth.as_ref()?;
    let most = depth.histogram.iter().map(|d| d.tokens).max().unwrap_or(1);
    let rows = depth.histogram.iter().map(|d| {
        vec![
            Cell::Text(d.depth.to_string()),
            Cell::Count(d.tokens),
            share(d.tokens, report.answer_tokens),
            Cell::Bar(d.tokens as f64 / most as f64),
        ]
    });
    Some(Table {
        name: "depth",
        title: format!(
            "Depth of answer tokens: mean {:.2}, median {:.1}, {} to {}, of {} layers",
            depth.mean,
            depth.median,
            depth.least,
            depth.greatest,
            report.layers.len()
        ),
        headings: vec!["depth", "tokens", "%", ""],
        rows: rows.collect(),
    })
}

fn confidence(report: &TraceStatistics) -> Table {
    let all: usize = report.confidence.iter().map(|b| b.decisions).sum();
    let most = report
        .confidence
        .iter()
        .map(|b| b.decisions)
        .max()
        .unwrap_or_default()
        .max(1);
    let rows = report.confidence.iter().map(|b| {
        vec![
            bin(b.from, b.to),
            Cell::Count(b.decisions),
            share(b.decisions, all),
            Cell::Bar(b.decisions as f64 / most as f64),
        ]
    });
    Table {
        name: "confidence",
        title: "Confidence of the routers, at prompts and answer tokens".to_owned(),
        headings: vec!["confidence", "decisions", "%", ""],
        rows: rows.collect(),
    }
}

fn agreement(report: &AgreementReport) -> Table {
    let rows = report.bins.iter().map(|b| {
        vec![
            bin(b.from, b.to),
            Cell::Count(b.pairs),
            Cell::number(b.confidence, 3),
            Cell::number(b.agreement, 3),
        ]
    });
    let all = vec![
        Cell::Text("all".to_owned()),
        Cell::Count(report.pairs),
        Cell::number(report.confidence, 3),
        Cell::number(report.agreement, 3),
    ];
    let error = report.calibration_error.map_or("-".to_owned(), |e| format!("{e:.3}"));
    Table {
        name: match report.scope {
            "token" => "agreement_token",
            _ => "agreement_prompt",
        },
        title: format!(
            "Scope {}: does a router say at answer tokens what it said at the prompt? Calibration error {error}; {} of {} \
             cells would be otherwise",
            report.scope, report.cells_otherwise, report.cells_asked
        ),
        headings: vec!["confidence", "pairs", "mean confidence", "agreement"],
        rows: rows.chain([all]).collect(),
    }
}

fn programs(report: &TraceStatistics) -> Table {
    let row = |p: &crate::trace::aggregate::ProgramCount| {
        let program = match p.program.is_empty() {
            true => "(no layer)".to_owned(),
            false => p.program.to_string(),
        };
        vec![
            Cell::Text(program),
            Cell::Count(p.depth),
            Cell::Count(p.prompts),
            Cell::Count(p.tokens),
        ]
    };
    Table {
        name: "programs",
        title: format!(
            "Most common programs: {} of {}",
            report.programs.len(),
            report.distinct_programs
        ),
        headings: vec!["program", "depth", "prompts", "answer tokens"],
        rows: report.programs.iter().map(row).collect(),
    }
}

fn bin(from: f64, to: f64) -> Cell {
    Cell::Text(format!("{from:.1}-{to:.1}"))
}

fn share(n: usize, of: usize) -> Cell {
    Cell::number((of > 0).then(|| 100.0 * n as f64 / of as f64), 1)
}
