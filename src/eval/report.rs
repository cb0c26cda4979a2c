//! The table of an evaluation, for people and for programs.

use serde::Serialize;

use super::generation::GenerationSettings;
use super::selector::{Selector, SelectorFeatures, SelectorQuestion};
use super::statistics::{mcnemar_exact, wilson};
use super::variants::{Outcome, Series, Variant};
use crate::program::Program;
use crate::text::{counted, escape_controls};

/// How a report is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ReportFormat {
    /// A table for the terminal
    #[default]
    Text,
    /// One object, with what identifies model and routers
    Json,
    /// Comma-separated values, one row a line
    Csv,
    /// A table for a Markdown document
    Markdown,
}

/// One method on one task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EvaluationRow {
    /// The task's name.
    pub task: String,
    /// The variant's name.
    pub method: String,
    /// For curves; the method's name says as much.
    #[serde(skip)]
    pub series: Series,
    /// Asked.
    pub questions: usize,
    /// Answered right.
    pub correct: usize,
    /// Questions whose answer was not understood; they count as wrong.
    pub not_understood: usize,
    /// Questions for which a predictor named the standard program; absent where none decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standard: Option<usize>,
    /// Proportions, 0 to 1.
    pub accuracy: f64,
    /// Wilson's 95 % interval of the accuracy.
    pub accuracy_low: f64,
    /// The interval's other end.
    pub accuracy_high: f64,
    /// Executed layers per forward pass, meaned over questions.
    pub mean_depth: f64,
    /// Milliseconds a question, on one thread.
    pub mean_ms: f64,
    /// Questions that base got wrong and this method right; absent for base itself.
    pub fixed: Option<usize>,
    /// Questions that base got right and this method wrong.
    pub broken: Option<usize>,
    /// Two-sided exact McNemar test against base.
    pub p: Option<f64>,
    /// What each question came to, in the task's order.
    #[serde(skip)]
    pub outcomes: Vec<Outcome>,
}

impl EvaluationRow {
    /// `base`: base's outcomes on the same questions, unless this is base.
    pub fn new(task: &str, method: &Variant, outcomes: &[Outcome], base: Option<&[Outcome]>) -> EvaluationRow {
        let (n, correct) = (outcomes.len(), outcomes.iter().filter(|o| o.correct).count());
        let (low, high) = wilson(correct, n);
        let flips = base.map(|base| {
            let pairs = || base.iter().zip(outcomes);
            let fixed = pairs().filter(|(b, o)| !b.correct && o.correct).count();
            let broken = pairs().filter(|(b, o)| b.correct && !o.correct).count();
            (fixed, broken)
        });
        EvaluationRow {
            task: task.into(),
            method: method.name.clone(),
            series: method.series,
            questions: n,
            correct,
            not_understood: outcomes.iter().filter(|o| o.not_understood).count(),
            standard: (outcomes.iter().any(|o| o.standard) || method.is_predicted)
                .then(|| outcomes.iter().filter(|o| o.standard).count()),
            accuracy: correct as f64 / n.max(1) as f64,
            accuracy_low: low,
            accuracy_high: high,
            mean_ms: 1e3 * outcomes.iter().map(|o| o.seconds).sum::<f64>() / n.max(1) as f64,
            mean_depth: outcomes.iter().map(|o| o.depth).sum::<f64>() / n.max(1) as f64,
            fixed: flips.map(|f| f.0),
            broken: flips.map(|f| f.1),
            p: flips.map(|(fixed, broken)| mcnemar_exact(fixed, broken)),
            outcomes: outcomes.to_vec(),
        }
    }

    fn cells(&self) -> [String; 10] {
        let count = |n: Option<usize>| n.map_or("-".into(), |n| n.to_string());
        [
            escape_controls(&self.task),
            escape_controls(&self.method),
            self.questions.to_string(),
            format!("{:.1}", 100.0 * self.accuracy),
            format!("{:.1}-{:.1}", 100.0 * self.accuracy_low, 100.0 * self.accuracy_high),
            format!("{:.2}", self.mean_depth),
            count(self.fixed),
            count(self.broken),
            self.p.map_or("-".into(), format_p),
            format!("{:.0}", self.mean_ms),
        ]
    }
}

fn format_p(p: f64) -> String {
    if p < 0.001 { "<0.001".into() } else { format!("{p:.3}") }
}

/// All rows, and what holds for all of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EvaluationReport {
    /// Of this program.
    pub version: String,
    /// The model's name.
    pub model: String,
    /// What identifies its weights, hexadecimal.
    pub model_sha256: String,
    /// Whether the model ran in exact f32 arithmetic.
    pub exact: bool,
    /// One or more of `--score`'s names, joined by `+`.
    pub scoring: String,
    /// How answers were written, for each task whose answers the model writes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub generation: Vec<GenerationSettings>,
    /// Their name; absent without routers.
    pub routers: Option<String>,
    /// Of the routers' file, hexadecimal.
    pub routers_sha256: Option<String>,
    /// Where the row of the best static program comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub training: Option<StaticChoice>,
    /// How the selector was fitted, where one picks programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<SelectorFit>,
    /// Task by task: what was asked for, base first, then controls.
    pub rows: Vec<EvaluationRow>,
}

/// How the best static program was chosen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StaticChoice {
    /// The best one.
    pub program: Program,
    /// Programs it was chosen from.
    pub tried: usize,
    /// Training questions.
    pub questions: usize,
    /// Of those, how many it got right.
    pub correct: usize,
    /// And how many base got right.
    pub base: usize,
}

impl std::fmt::Display for StaticChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "static: the best of {} on {}, {:.1} % of them right (base {:.1} %)",
            counted(self.tried, "program"),
            counted(self.questions, "training question"),
            100.0 * self.correct as f64 / self.questions.max(1) as f64,
            100.0 * self.base as f64 / self.questions.max(1) as f64
        )
    }
}

/// A fitted selector, and what it was fitted on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SelectorFit {
    /// Questions.
    pub questions: usize,
    /// Of those, how many its own picks get right.
    pub correct: usize,
    /// How many the first proposed program gets right.
    pub first: usize,
    /// How many some proposed program gets right.
    pub any: usize,
    /// What it weighs how.
    #[serde(flatten)]
    pub selector: Selector,
}

impl SelectorFit {
    /// What a selector comes to on the questions that it was fitted on.
    pub fn new(selector: Selector, shown: &[SelectorQuestion]) -> SelectorFit {
        let picked = |q: &&SelectorQuestion| {
            let features: Vec<SelectorFeatures> = q.candidates.iter().map(|(x, _)| *x).collect();
            q.candidates.get(selector.pick(&features)).is_some_and(|c| c.1)
        };
        SelectorFit {
            questions: shown.len(),
            correct: shown.iter().filter(picked).count(),
            first: shown
                .iter()
                .filter(|q| q.candidates.first().is_some_and(|c| c.1))
                .count(),
            any: shown.iter().filter(|q| q.candidates.iter().any(|c| c.1)).count(),
            selector,
        }
    }
}

impl std::fmt::Display for SelectorFit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let share = |count: usize| 100.0 * count as f64 / self.questions.max(1) as f64;
        write!(
            f,
            "selector: fitted on {}, its picks right on {:.1} % of them, the first program on {:.1} %, any on {:.1} %",
            counted(self.questions, "other question"),
            share(self.correct),
            share(self.first),
            share(self.any)
        )
    }
}

const HEADINGS: [&str; 10] = [
    "task", "method", "n", "acc %", "95 %", "depth", "fixed", "broken", "p", "ms",
];
/// Columns of words stand left, numbers right.
const LEFT: usize = 2;

impl EvaluationReport {
    /// The report as text, with a line feed at its end.
    pub fn print(&self, format: ReportFormat) -> String {
        match format {
            ReportFormat::Text => self.text(),
            ReportFormat::Json => serde_json::to_string_pretty(self).expect("a report has string keys only") + "\n",
            ReportFormat::Csv => self.csv(),
            ReportFormat::Markdown => self.markdown(),
        }
    }

    fn text(&self) -> String {
        let cells: Vec<[String; 10]> = self.rows.iter().map(EvaluationRow::cells).collect();
        let width = |column: usize| {
            let lengths = cells.iter().map(|row| row[column].chars().count());
            lengths.chain([HEADINGS[column].len()]).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..HEADINGS.len()).map(width).collect();
        let line = |row: &[String; 10]| {
            let padded = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (cell, &w))| match column {
                    ..LEFT => format!("{cell:<w$}"),
                    _ => format!("{cell:>w$}"),
                });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        };
        let head = line(&HEADINGS.map(String::from));
        format!("{head}{}{}", cells.iter().map(line).collect::<String>(), self.caption())
    }

    fn markdown(&self) -> String {
        let line = |cells: &[String]| {
            let escaped: Vec<String> = cells.iter().map(|c| c.replace('|', "\\|")).collect();
            format!("| {} |\n", escaped.join(" | "))
        };
        let rules: String = (0..HEADINGS.len())
            .map(|c| if c < LEFT { "---|" } else { "---:|" })
            .collect();
        let rows: String = self.rows.iter().map(|r| line(&r.cells())).collect();
        format!(
            "{}|{rules}\n{rows}\n{}",
            line(&HEADINGS.map(String::from)),
            self.caption()
        )
    }

    fn caption(&self) -> String {
        let routers = match (&self.routers, &self.routers_sha256) {
            (Some(name), Some(sha)) => format!("routers {} ({})", escape_controls(name), short(sha)),
            _ => "no routers".into(),
        };
        let training = self.training.as_ref().map_or(String::new(), |t| format!("; {t}"));
        let selector = self.selector.as_ref().map_or(String::new(), |s| format!("; {s}"));
        format!(
            "{} ({}){}, {routers}, score: {}; depth: executed layers per forward pass; \
             p: exact McNemar test against base; ms: for a question, on one thread{training}{selector}.\n{}",
            escape_controls(&self.model),
            short(&self.model_sha256),
            if self.exact { ", exact" } else { "" },
            self.scores(),
            self.not_understood() + &self.standard()
        )
    }

    /// A line about how often a predictor named the standard program, where one decides.
    fn standard(&self) -> String {
        let rows = self.rows.iter().filter_map(|r| {
            let (task, method) = (escape_controls(&r.task), escape_controls(&r.method));
            Some(format!("{task}, {method}: {} of {}", r.standard?, r.questions))
        });
        match rows.collect::<Vec<_>>() {
            rows if rows.is_empty() => String::new(),
            rows => format!("Questions answered by the standard program: {}.\n", rows.join("; ")),
        }
    }

    /// A line about answers that were not understood, if there are any.
    fn not_understood(&self) -> String {
        let rows = self.rows.iter().filter(|r| r.not_understood > 0).map(|r| {
            let (task, method) = (escape_controls(&r.task), escape_controls(&r.method));
            format!("{task}, {method}: {} of {}", r.not_understood, r.questions)
        });
        let rows: Vec<String> = rows.collect();
        match rows.is_empty() {
            true => String::new(),
            false => format!(
                "Answers that were not understood, which count as wrong: {}.\n",
                rows.join("; ")
            ),
        }
    }

    /// How answers were judged, in words.
    fn scores(&self) -> String {
        let of_choices = self.scoring.split('+').filter_map(|name| match name {
            "token" => Some("mean per token of the choices' log-likelihood"),
            "char" => Some("mean per character of the choices' log-likelihood"),
            "letter" => Some("log-likelihood of the choices' letters"),
            "chat-letter" => Some("log-likelihood of the choices' letters, chat template"),
            "generated" => None,
            _ => Some("sum of the choices' log-likelihood"),
        });
        let written = self.generation.iter().map(|g| {
            let prompt = if g.chat { "chat template" } else { "plain prompt" };
            format!("greedy answers of up to {} tokens, {prompt}", g.max_new_tokens)
        });
        of_choices
            .map(String::from)
            .chain(written)
            .collect::<Vec<_>>()
            .join("; ")
    }

    fn csv(&self) -> String {
        let mut out = String::from(
            "task,method,questions,correct,accuracy,accuracy_low,accuracy_high,mean_depth,fixed,broken,p,mean_ms,model_sha256,\
             routers_sha256,scoring,not_understood\n",
        );
        for r in &self.rows {
            let optional = |n: Option<usize>| n.map_or(String::new(), |n| n.to_string());
            let fields = [
                csv_text(&r.task),
                csv_text(&r.method),
                r.questions.to_string(),
                r.correct.to_string(),
                r.accuracy.to_string(),
                r.accuracy_low.to_string(),
                r.accuracy_high.to_string(),
                r.mean_depth.to_string(),
                optional(r.fixed),
                optional(r.broken),
                r.p.map_or(String::new(), |p| p.to_string()),
                r.mean_ms.to_string(),
                csv_text(&self.model_sha256),
                csv_text(self.routers_sha256.as_deref().unwrap_or_default()),
                csv_text(&self.scoring),
                r.not_understood.to_string(),
            ];
            out += &(fields.join(",") + "\n");
        }
        out
    }
}

/// The first characters of a hash.
fn short(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}

/// A field by RFC 4180: quoted where it must be.
fn csv_text(text: &str) -> String {
    let text = escape_controls(text);
    match text.contains([',', '"']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Scope;

    fn outcomes(correct: &[u8]) -> Vec<Outcome> {
        let outcome = |&c: &u8| Outcome {
            correct: c == 1,
            not_understood: false,
            depth: 4.0 - f64::from(c),
            seconds: 0.25,
            standard: false,
        };
        correct.iter().map(outcome).collect()
    }

    fn report() -> EvaluationReport {
        let base = outcomes(&[1, 1, 0, 0]);
        let routed = outcomes(&[0, 1, 1, 1]);
        EvaluationReport {
            version: "0".into(),
            model: "tiny".into(),
            model_sha256: "0123456789abcdef".into(),
            exact: false,
            scoring: "sum".into(),
            generation: Vec::new(),
            routers: None,
            routers_sha256: None,
            selector: None,
            training: None,
            rows: vec![
                EvaluationRow::new("arc", &Variant::base(4), &base, None),
                EvaluationRow::new(
                    "arc",
                    &Variant::routers(Scope::Prompt, -0.5, None),
                    &routed,
                    Some(&base),
                ),
            ],
        }
    }

    #[test]
    fn rows_count_flips_against_base() {
        let row = &report().rows[1];
        assert_eq!((row.correct, row.accuracy, row.mean_depth), (3, 0.75, 3.25));
        assert_eq!((row.fixed, row.broken), (Some(2), Some(1)));
        assert_eq!(row.p, Some(1.0));
        assert_eq!(report().rows[0].p, None);
    }

    #[test]
    fn answers_that_were_not_understood_are_counted() {
        let mut report = report();
        assert!(!report.print(ReportFormat::Text).contains("not understood"));
        let mut routed = outcomes(&[0, 1, 1, 1]);
        routed[0].not_understood = true;
        report.rows[1] = EvaluationRow::new("arc", &Variant::routers(Scope::Prompt, -0.5, None), &routed, None);
        let line = "Answers that were not understood, which count as wrong: arc, routers, prompt: 1 of 4.\n";
        assert!(report.print(ReportFormat::Text).ends_with(line));
        assert!(report.print(ReportFormat::Markdown).ends_with(line));
        assert!(report.print(ReportFormat::Json).contains("\"not_understood\": 1"));
        assert!(report.print(ReportFormat::Csv).lines().nth(2).unwrap().ends_with(",1"));
    }

    #[test]
    fn the_caption_says_how_answers_were_judged() {
        let mut report = report();
        report.scoring = "letter+generated".into();
        report.generation.push(GenerationSettings {
            answers: crate::eval::AnswerKind::Number,
            max_new_tokens: 256,
            chat: false,
        });
        let text = report.print(ReportFormat::Text);
        let expected =
            "score: log-likelihood of the choices' letters; greedy answers of up to 256 tokens, plain prompt;";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn the_caption_says_where_the_static_program_comes_from() {
        let mut report = report();
        report.training = Some(StaticChoice {
            program: Program::from_layers([0, 1, 3]),
            tried: 80,
            questions: 200,
            correct: 101,
            base: 90,
        });
        let text = report.print(ReportFormat::Markdown);
        let expected = "static: the best of 80 programs on 200 training questions, 50.5 % of them right (base 45.0 %).";
        assert!(text.contains(expected), "{text}");
        assert!(report.print(ReportFormat::Json).contains("\"program\": \"0-1 3\""));
    }

    #[test]
    fn every_format_has_every_row() {
        let report = report();
        let text = report.print(ReportFormat::Text);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "task  method           n  acc %       95 %  depth  fixed  broken      p   ms"
        );
        assert_eq!(
            lines[2],
            "arc   routers, prompt  4   75.0  30.1-95.4   3.25      2       1  1.000  250"
        );
        assert!(
            lines[3].starts_with("tiny (0123456789ab), no routers, score: sum"),
            "{text}"
        );
        let markdown = report.print(ReportFormat::Markdown);
        assert!(markdown.contains("| arc | routers, prompt | 4 | 75.0 |"), "{markdown}");
        let csv = report.print(ReportFormat::Csv);
        assert!(csv.contains("\narc,\"routers, prompt\",4,3,0.75,"), "{csv}");
        let json: serde_json::Value = serde_json::from_str(&report.print(ReportFormat::Json)).unwrap();
        assert_eq!(json["rows"][1]["fixed"], 2);
    }
}
