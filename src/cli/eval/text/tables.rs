//! The report of a measurement on free text as tables.

use crate::cli::table::{Cell, Table};
use crate::eval::text::generation::WrittenTexts;
use crate::eval::text::report::{ControlComparison, TextRow};
use crate::eval::text::{TextMethod, TextOrigin, TextReport};
use crate::text::{counted, escape_controls};

/// What was measured, in some lines.
pub(super) fn caption(report: &TextReport) -> String {
    let m = &report.measured;
    let kind = match (m.kind, m.temperature) {
        (TextOrigin::Ordinary, _) => "ordinary text, teacher-forced".to_owned(),
        (TextOrigin::Own, Some(t)) if t > 0.0 => format!("the model's own answers (temperature {t}), teacher-forced"),
        (TextOrigin::Own, _) => "the model's own greedy answers, teacher-forced".to_owned(),
    };
    let mut lines = format!(
        "{} ({}), {}{}; routers {} ({}), kv {}\n{kind}: {}, {} of {}; seed {}\nThe prompt runs every \
         layer. KL(full ‖ policy) in nats a token; 95 % intervals by texts.\n",
        escape_controls(&report.model),
        short(&report.model_sha256),
        counted(report.layers, "layer"),
        if report.exact { ", exact" } else { "" },
        escape_controls(&report.routers),
        short(&report.routers_sha256),
        report.kv,
        counted(m.texts, "text"),
        counted(m.tokens, "counted token"),
        escape_controls(&m.files.join(", ")),
        m.seed,
    );
    if let Some(removal) = &report.removal {
        let layers: Vec<String> = removal.order.iter().map(ToString::to_string).collect();
        lines += &format!(
            "Best static: layers left out in turn {}, chosen on {} of {}.\n",
            layers.join(", "),
            counted(removal.texts, "other text"),
            counted(removal.tokens, "token")
        );
    }
    lines
}

pub(super) fn tables(report: &TextReport) -> Vec<Table> {
    let mut tables = vec![Table {
        name: "rows",
        title: "By policy".into(),
        headings: vec![
            "policy",
            "setting",
            "depth",
            "sd",
            "least",
            "most",
            "KL",
            "low",
            "high",
            "median",
            "same %",
            "low %",
            "high %",
            "expected KL",
        ],
        rows: report.rows.iter().map(row).collect(),
    }];
    if !report.comparisons.is_empty() {
        tables.push(Table {
            name: "comparisons",
            title: "Routers beside controls at equal depth: ratio = KL of the routers / KL of the control".into(),
            headings: vec![
                "at",
                "control",
                "its depth",
                "KL",
                "its KL",
                "ratio",
                "low",
                "high",
                "inverse",
                "p",
            ],
            rows: report.comparisons.iter().map(comparison).collect(),
        });
    }
    if !report.generation.is_empty() {
        tables.push(Table {
            name: "generation",
            title:
                "Free generation, judged by the whole model: perplexity of what was written, share of repeated 4-grams"
                    .into(),
            headings: vec![
                "who",
                "depth",
                "texts",
                "tokens",
                "length",
                "perplexity",
                "low",
                "high",
                "repeated %",
            ],
            rows: report.generation.iter().map(written).collect(),
        });
    }
    tables
}

fn row(row: &TextRow) -> Vec<Cell> {
    vec![
        Cell::Text(row.method.to_string()),
        Cell::Text(row.setting.clone()),
        Cell::Number(row.depth, 2),
        Cell::Number(row.depth_sd, 2),
        Cell::Count(row.depth_least),
        Cell::Count(row.depth_most),
        Cell::Number(row.kl, 4),
        Cell::Number(row.kl_low, 4),
        Cell::Number(row.kl_high, 4),
        Cell::Number(row.kl_median, 4),
        Cell::Number(100.0 * row.agreement, 1),
        Cell::Number(100.0 * row.agreement_low, 1),
        Cell::Number(100.0 * row.agreement_high, 1),
        match (row.method, row.expected) {
            (TextMethod::Routers, Some(expected)) => Cell::Number(expected.kl, 4),
            (TextMethod::Routers, None) => Cell::Text("not measured".into()),
            _ => Cell::Absent,
        },
    ]
}

fn comparison(c: &ControlComparison) -> Vec<Cell> {
    vec![
        Cell::Text(format!("{:.2}", c.depth)),
        Cell::Text(c.control.to_string()),
        Cell::Number(c.control_depth, 2),
        Cell::Number(c.kl, 4),
        Cell::Number(c.control_kl, 4),
        Cell::number(c.ratio, 3),
        Cell::number(c.ratio_low, 3),
        Cell::number(c.ratio_high, 3),
        Cell::number(c.ratio.filter(|r| *r > 0.0).map(|r| 1.0 / r), 2),
        Cell::Number(c.p, 4),
    ]
}

fn written(w: &WrittenTexts) -> Vec<Cell> {
    let who = match (w.dial, w.asked) {
        (None, _) => "full model".to_owned(),
        (Some(dial), Some(depth)) => format!("routers, depth {depth}, dial {dial:.3}"),
        (Some(dial), None) => format!("routers, dial {dial}"),
    };
    vec![
        Cell::Text(who),
        Cell::Number(w.depth, 2),
        Cell::Count(w.texts),
        Cell::Count(w.tokens),
        Cell::Number(w.mean_length, 1),
        Cell::number(w.perplexity, 3),
        Cell::number(w.perplexity_low, 3),
        Cell::number(w.perplexity_high, 3),
        Cell::Number(100.0 * w.repeated_4grams, 2),
    ]
}

/// The first characters of a hash.
fn short(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}
