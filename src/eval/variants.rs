//! The rows of a report: who decides about layers while questions are answered.

use serde::{Deserialize, Serialize};

use super::controls::Control;
use super::report::EvaluationRow;
use crate::program::Program;
use crate::router::predictor::decode::BEAM;
use crate::trace::{KvMode, NEUTRAL_DIAL, Scope, Settings};

/// What a row is an example of, apart from its figures: rows of one series make a curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Series {
    /// The unmodified model.
    Base,
    /// Routers as they are.
    Routers(Scope),
    /// Routers at another position of the dial.
    Dial(Scope),
    /// Routers under a budget.
    Budget(Scope),
    /// A program that the user gave.
    Program,
    /// The program that was best on training questions.
    Static,
    /// Programs that a predictor proposes, each of them run.
    Candidates(Pick),
    /// A control, by its name.
    Control(&'static str),
}

/// Which of the programs that are proposed for a question counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// Any that is right, which takes the answer to know.
    Any,
    /// The first of those that are proposed for another question: what the program is worth without the question.
    FirstOfAnother,
    /// Any that is right, of those proposed for another question: what luck comes to.
    AnyOfAnother,
    /// The one under which the model is surest of its answer.
    Surest,
    /// The first of those whose answer most of them give.
    Vote,
    /// The one that a selector picks, which was fitted on other questions.
    Selected,
}

impl Pick {
    /// All ways to pick that need no other questions, in the order of reports.
    pub const ALL: [Pick; 5] = [
        Pick::FirstOfAnother,
        Pick::Any,
        Pick::Surest,
        Pick::Vote,
        Pick::AnyOfAnother,
    ];

    /// Of the row.
    fn name(self) -> String {
        match self {
            Pick::FirstOfAnother => "pass@1, another question's".to_owned(),
            Pick::Any => format!("pass@{BEAM}"),
            Pick::AnyOfAnother => format!("pass@{BEAM}, another question's"),
            Pick::Surest => format!("surest of {BEAM}"),
            Pick::Vote => format!("vote of {BEAM}"),
            Pick::Selected => format!("selected of {BEAM}"),
        }
    }
}

/// Dials of a sweep, on both sides of the router itself (−0.5). Each moves the difference of p(skip) and
/// p(execute) from which a layer is skipped: −2/3, −3/7, −1/4, −1/9, then 1/9, 1/4, 3/7, 2/3.
pub const SWEEP_DIALS: [f64; 8] = [-0.7, -0.65, -0.6, -0.55, -0.4, -0.3, -0.2, -0.1];

/// Budgets of a sweep: from 95 % down to half of the model's layers.
pub fn sweep_budgets(layers: usize) -> Vec<usize> {
    let shares = [0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5];
    let budgets = shares.map(|share| (share * layers as f64).round() as usize);
    let mut budgets: Vec<usize> = budgets.into_iter().filter(|&b| b > 0 && b < layers).collect();
    budgets.dedup();
    budgets
}

/// The rows of an evaluation, measured on every task.
#[derive(Clone, Debug)]
pub struct Variants {
    /// Base first.
    pub all: Vec<Variant>,
    /// Names of those that a sweep alone adds; no controls stand at their depths.
    swept: Vec<String>,
}

impl Variants {
    /// The unmodified model of `layers` layers.
    pub fn new(layers: usize) -> Variants {
        Variants {
            all: vec![Variant::base(layers)],
            swept: Vec::new(),
        }
    }

    /// Adds routers over the dial and the budget, but for rows that are there already.
    pub fn sweep(&mut self, scope: Scope, kv: KvMode, layers: usize) {
        let dialled = SWEEP_DIALS.iter().map(|&dial| Variant::routers(scope, dial, None));
        let budgets = sweep_budgets(layers).into_iter();
        let budgeted = budgets.map(|budget| Variant::routers(scope, NEUTRAL_DIAL, Some(budget)));
        let mut more: Vec<Variant> = dialled.chain(budgeted).map(|v| v.with_kv(kv)).collect();
        more.retain(|m| self.all.iter().all(|asked| asked.name != m.name));
        self.swept.extend(more.iter().map(|m| m.name.clone()));
        self.all.extend(more);
    }

    /// Whether controls stand at this row's depth.
    pub fn is_controlled(&self, row: &EvaluationRow) -> bool {
        let routed = matches!(row.series, Series::Routers(_) | Series::Dial(_) | Series::Budget(_));
        routed && !self.swept.contains(&row.method)
    }
}

/// Who decides, under a name for the report.
#[derive(Clone, Debug)]
pub struct Variant {
    /// Of its row.
    pub name: String,
    /// What its row is an example of.
    pub series: Series,
    /// Scope, dial, budget, pins, or a fixed program.
    pub settings: Settings,
    /// Draws the fixed program of each question, at a mean depth.
    control: Option<(Control, f64)>,
    /// Which of the proposed programs counts, where all of them run.
    pub pick: Option<Pick>,
    /// Whether a predictor decides, so that it is worth saying how often it names the standard program.
    pub is_predicted: bool,
}

impl Variant {
    /// The unmodified model of `layers` layers.
    pub fn base(layers: usize) -> Variant {
        Variant {
            name: "base".into(),
            series: Series::Base,
            ..Variant::program(Program::standard(layers))
        }
    }

    /// One program for every question.
    pub fn program(program: Program) -> Variant {
        Variant {
            name: format!("program {program}"),
            series: Series::Program,
            settings: Settings {
                program: Some(program),
                ..Settings::default()
            },
            control: None,
            pick: None,
            is_predicted: false,
        }
    }

    /// The one program that was best on training questions.
    pub fn static_program(program: Program) -> Variant {
        Variant {
            name: format!("static {program}"),
            series: Series::Static,
            ..Variant::program(program)
        }
    }

    /// The block that was best to run twice on training questions, under the control's name.
    pub fn loop_block(name: &'static str, program: Program) -> Variant {
        Variant {
            name: format!("{name} {program}"),
            series: Series::Control(name),
            ..Variant::program(program)
        }
    }

    /// A control at the mean depth of what it is compared to.
    pub fn control(control: Control, depth: f64) -> Variant {
        Variant {
            name: format!("{} at {depth:.2}", control.name()),
            series: Series::Control(control.name()),
            settings: Settings::default(),
            control: Some((control, depth)),
            pick: None,
            is_predicted: false,
        }
    }

    /// What holds for one question of a model of `layers` layers.
    pub fn settings_of(&self, question: &str, layers: usize) -> Settings {
        let mut settings = self.settings.clone();
        if let Some((control, depth)) = &self.control {
            settings.program = Some(control.program(layers, *depth, question));
        }
        settings
    }

    /// Routers in scope `token` at the dial of a mean depth.
    pub fn at_depth(depth: f64, dial: f64) -> Variant {
        Variant {
            name: format!("routers, token, depth {depth} (dial {dial:.3})"),
            series: Series::Dial(Scope::Token),
            ..Variant::routers(Scope::Token, dial, None)
        }
    }

    /// The same with what tokens leave in layers that they do not run.
    pub fn with_kv(mut self, kv: KvMode) -> Variant {
        if kv != KvMode::default() {
            self.name += &format!(", kv {kv}");
        }
        self.settings.kv = kv;
        self
    }

    /// All programs that a predictor proposes, of which one counts.
    pub fn candidates(pick: Pick) -> Variant {
        Variant {
            name: pick.name(),
            series: Series::Candidates(pick),
            pick: Some(pick),
            is_predicted: matches!(pick, Pick::Surest | Pick::Selected),
            ..Variant::routers(Scope::Prompt, NEUTRAL_DIAL, None)
        }
    }

    /// The same under a predictor.
    pub fn predicted(mut self) -> Variant {
        self.is_predicted = true;
        self
    }

    /// Whether routers decide.
    pub fn is_routed(&self) -> bool {
        matches!(
            self.series,
            Series::Routers(_) | Series::Dial(_) | Series::Budget(_) | Series::Candidates(_)
        )
    }

    /// Routers in a scope, at a dial and a budget.
    pub fn routers(scope: Scope, dial: f64, budget: Option<usize>) -> Variant {
        let settings = Settings {
            scope,
            dial,
            budget,
            ..Settings::default()
        };
        let (mut name, mut series) = (format!("routers, {scope}"), Series::Routers(scope));
        if dial != Settings::default().dial {
            name += &format!(", dial {dial}");
            series = Series::Dial(scope);
        }
        if let Some(budget) = budget {
            name += &format!(", budget {budget}");
            series = Series::Budget(scope);
        }
        Variant {
            name,
            series,
            settings,
            control: None,
            pick: None,
            is_predicted: false,
        }
    }
}

/// What one question came to under one method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Whether the answer is right.
    pub correct: bool,
    /// The answer was not understood; it is not correct then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub not_understood: bool,
    /// Executed layers per forward pass, meaned over the question's passes.
    pub depth: f64,
    /// From the encoded question to its answer, on one thread.
    pub seconds: f64,
    /// A predictor named the standard program.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub standard: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::policy::dial;

    #[test]
    fn names_say_what_differs_from_the_default() {
        assert_eq!(Variant::routers(Scope::Prompt, -0.5, None).name, "routers, prompt");
        assert_eq!(
            Variant::routers(Scope::Token, 0.0, Some(26)).name,
            "routers, token, dial 0, budget 26"
        );
        assert_eq!(Variant::program(Program::from_layers([0, 1, 3])).name, "program 0-1 3");
    }

    #[test]
    fn budgets_of_a_sweep_save_layers() {
        assert_eq!(sweep_budgets(30), [29, 27, 26, 24, 21, 18, 15]);
        assert_eq!(sweep_budgets(4), [3, 2]);
        assert_eq!(sweep_budgets(1), [] as [usize; 0]);
    }

    #[test]
    fn dials_of_a_sweep_move_the_threshold_of_a_skip_both_ways() {
        // p(skip) from which a layer is skipped, of two classes; 1/2 for the router itself.
        let threshold = |position: f64| {
            let skips = |p: &f32| {
                let [skip, execute, _] = dial([*p, 1.0 - p, 0.0], position);
                skip > execute
            };
            (0..1000).map(|i| i as f32 / 1000.0).find(skips).unwrap_or(1.0)
        };
        let thresholds: Vec<f32> = SWEEP_DIALS.iter().map(|&d| threshold(d)).collect();
        assert!(
            thresholds.is_sorted() && thresholds[0] > 0.1 && thresholds[7] < 0.9,
            "{thresholds:?}"
        );
        assert!(thresholds[3] < 0.5 && thresholds[4] > 0.5, "{thresholds:?}");
    }
}
