//! The paper's ablations (Dr.LLM, arXiv 2510.12773 §5): the same training with one thing changed.

use serde::Serialize;

use super::loss::LossKind;
use super::settings::{RouterInput, TrainSettings};
use super::trainer::EpochReport;
use crate::eval::report::ReportFormat;

/// What may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Group {
    /// Focal loss, weighted and plain cross-entropy
    Loss,
    /// Windows of the pooling: 1, 2, 4, 8, 16
    Windows,
    /// Width of the hidden layer: 64 to 1024
    Width,
    /// Linear layers: 1 to 4
    LinearLayers,
    /// The entering hidden state, or the embeddings
    Input,
    /// Hidden states as they are, or standardised
    Scale,
}

/// One row to be.
#[derive(Clone, Debug, PartialEq)]
pub struct AblationVariant {
    /// What was changed, and to what.
    pub name: String,
    /// Windows of the prompt that routers read, W.
    pub windows: usize,
    /// All other numbers.
    pub settings: TrainSettings,
}

/// The training as it was asked for, then each change of each of the `groups`.
pub fn variants(windows: usize, settings: &TrainSettings, groups: &[Group]) -> Vec<AblationVariant> {
    let mut variants: Vec<AblationVariant> = Vec::new();
    let mut add = |name: String, windows: usize, change: &dyn Fn(&mut TrainSettings)| {
        let mut settings = settings.clone();
        change(&mut settings);
        let same = |v: &AblationVariant| v.windows == windows && v.settings == settings;
        if !variants.iter().any(same) {
            variants.push(AblationVariant {
                name,
                windows,
                settings,
            });
        }
    };
    add("as asked".into(), windows, &|_| {});
    for group in groups {
        match group {
            Group::Loss => {
                let kinds = [
                    ("focal", LossKind::Focal),
                    ("weighted cross-entropy", LossKind::Weighted),
                    ("cross-entropy", LossKind::Plain),
                ];
                for (name, kind) in kinds {
                    add(format!("loss: {name}"), windows, &|s| s.loss = kind);
                }
            }
            Group::Windows => {
                for windows in [1, 2, 4, 8, 16] {
                    add(format!("windows: {windows}"), windows, &|_| {});
                }
            }
            Group::Width => {
                for width in [64, 128, 256, 512, 1024] {
                    add(format!("width: {width}"), windows, &|s| s.width = width);
                }
            }
            Group::LinearLayers => {
                for layers in 1..=4 {
                    add(format!("linear layers: {layers}"), windows, &|s| {
                        s.linear_layers = layers
                    });
                }
            }
            Group::Input => {
                for (name, input) in [("state", RouterInput::State), ("embeddings", RouterInput::Embeddings)] {
                    add(format!("input: {name}"), windows, &|s| s.input = input);
                }
            }
            Group::Scale => {
                for (name, standardise) in [("standardised", true), ("raw", false)] {
                    add(format!("scale: {name}"), windows, &|s| s.standardise = standardise);
                }
            }
        }
    }
    variants
}

/// What a variant came to, at its best epoch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AblationRow {
    /// What was changed, and to what.
    pub variant: String,
    /// The best epoch.
    #[serde(flatten)]
    pub best: EpochReport,
    /// Of all layers' routers.
    pub parameters: usize,
    /// That the training took.
    pub seconds: f64,
}

const HEADINGS: [&str; 10] = [
    "variant",
    "macro-F1",
    "F1 skip",
    "F1 execute",
    "F1 repeat",
    "accuracy",
    "depth",
    "epoch",
    "parameters",
    "seconds",
];

impl AblationRow {
    fn cells(&self) -> [String; 10] {
        let m = &self.best.validation;
        let three = |x: f64| format!("{x:.3}");
        let f1 = |f1: Option<f64>| f1.map_or("-".into(), three);
        [
            self.variant.clone(),
            three(m.macro_f1),
            f1(m.f1_skip),
            f1(m.f1_execute),
            f1(m.f1_repeat),
            three(m.accuracy),
            format!("{:.2}", m.mean_predicted_depth),
            self.best.epoch.to_string(),
            self.parameters.to_string(),
            format!("{:.1}", self.seconds),
        ]
    }
}

/// The rows in a format.
pub fn print(rows: &[AblationRow], format: ReportFormat) -> String {
    let lines: Vec<[String; 10]> = std::iter::once(HEADINGS.map(String::from))
        .chain(rows.iter().map(AblationRow::cells))
        .collect();
    match format {
        ReportFormat::Json => serde_json::to_string_pretty(rows).expect("rows have string keys only") + "\n",
        ReportFormat::Csv => lines.iter().map(|cells| cells.join(",") + "\n").collect(),
        ReportFormat::Markdown => {
            let line = |cells: &[String; 10]| format!("| {} |\n", cells.join(" | "));
            let rule = format!("|---|{}\n", "---:|".repeat(HEADINGS.len() - 1));
            line(&lines[0]) + &rule + &lines[1..].iter().map(line).collect::<String>()
        }
        ReportFormat::Text => {
            let width = |column: usize| lines.iter().map(|cells| cells[column].len()).max().unwrap_or_default();
            let widths: Vec<usize> = (0..HEADINGS.len()).map(width).collect();
            let line = |cells: &[String; 10]| {
                let rest = cells[1..].iter().zip(&widths[1..]);
                let rest: String = rest.map(|(cell, &w)| format!("  {cell:>w$}")).collect();
                format!("{:<w$}{rest}\n", cells[0], w = widths[0])
            };
            lines.iter().map(line).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Metrics;

    #[test]
    fn each_variant_changes_one_thing_and_none_comes_twice() {
        use clap::ValueEnum;
        let settings = TrainSettings::default();
        let all = variants(8, &settings, Group::value_variants());
        let names: Vec<&str> = all.iter().map(|v| v.name.as_str()).collect();
        let expected = [
            "as asked",
            "loss: weighted cross-entropy",
            "loss: cross-entropy",
            "windows: 1",
            "windows: 2",
            "windows: 4",
            "windows: 16",
            "width: 64",
            "width: 256",
            "width: 512",
            "width: 1024",
            "linear layers: 1",
            "linear layers: 3",
            "linear layers: 4",
            "input: embeddings",
            "scale: raw",
        ];
        assert_eq!(names, expected);
        assert_eq!(variants(3, &settings, &[]).len(), 1);
    }

    #[test]
    fn rows_print_in_every_format() {
        let row = AblationRow {
            variant: "width: 64".into(),
            best: EpochReport {
                epoch: 7,
                steps: 70,
                learning_rate: 1e-3,
                train_loss: 0.5,
                validation: Metrics {
                    macro_f1: 0.4567,
                    f1_skip: Some(0.25),
                    mean_predicted_depth: 29.333,
                    ..Metrics::default()
                },
                best: true,
            },
            parameters: 1234,
            seconds: 5.67,
        };
        let rows = [row];
        assert_eq!(
            print(&rows, ReportFormat::Csv).lines().nth(1).unwrap(),
            "width: 64,0.457,0.250,-,-,0.000,29.33,7,1234,5.7"
        );
        let markdown = print(&rows, ReportFormat::Markdown);
        assert!(
            markdown.contains("\n|---|---:|") && markdown.contains("| width: 64 | 0.457 |"),
            "{markdown}"
        );
        let text = print(&rows, ReportFormat::Text);
        assert_eq!(
            text.lines()
                .map(str::len)
                .collect::<std::collections::HashSet<_>>()
                .len(),
            1,
            "{text}"
        );
        let json: serde_json::Value = serde_json::from_str(&print(&rows, ReportFormat::Json)).unwrap();
        assert_eq!(json[0]["validation"]["macro_f1"], 0.4567);
    }
}
