//! What the tries come to: shares with intervals, as text, JSON and a figure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::{LuckHeader, LuckQuestion, Try, VariationOutcome, in_half_b, tried};
use crate::eval::statistics::{mcnemar_exact, sign_flip, wilson};
use crate::plot::{self, Curve, Joined, Panel, PanelGrid, PlotPoint, Scale};
use crate::program::Program;
use crate::search::ExampleRecord;
use crate::text::{counted, escape_controls};

/// In the title of a panel of every picture.
pub const TITLE: &str = "wrong questions with a right program";

const GRID: PanelGrid = PanelGrid {
    width: 620.0,
    height: 380.0,
    across: 2,
    legend_columns: 3,
};
/// Where fewer programs have a depth, its share says nothing.
const FEWEST: usize = 20;
/// Whose programs, in the tables.
const SOURCES: [&str; 3] = [
    "the search's, on this question",
    "random ones of the same lengths",
    "the search's, on other questions",
];
/// In the figure, in the order in which they are drawn: which source, its name, its colour.
const CURVES: [(usize, &str, &str); 3] = [
    (1, "random", "#8a8a8a"),
    (2, "of other questions", "#0072b2"),
    (0, "of the search", "#d55e00"),
];
/// Tries from one point of the figure to the next.
const STRIDE: usize = 5;

/// How many of some, with Wilson's 95 % interval; the share and its bounds are absent where there are none.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Share {
    /// How many are.
    pub count: usize,
    /// How many could be.
    pub of: usize,
    /// In per cent.
    pub percent: Option<f64>,
    /// In per cent.
    pub interval: Option<(f64, f64)>,
}

impl Share {
    fn new(count: usize, of: usize) -> Share {
        let (low, high) = wilson(count, of);
        Share {
            count,
            of,
            percent: (of > 0).then(|| 100.0 * count as f64 / of as f64),
            interval: (of > 0).then_some((100.0 * low, 100.0 * high)),
        }
    }

    fn among(all: impl IntoIterator<Item = bool>) -> Share {
        let (count, of) = all
            .into_iter()
            .fold((0, 0), |(count, of), is| (count + usize::from(is), of + 1));
        Share::new(count, of)
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.percent, self.interval) {
            (Some(percent), Some((low, high))) => write!(f, "{percent:>5.1} % ({low:.1}–{high:.1})"),
            _ => write!(f, "    –"),
        }
    }
}

/// What programs of one source come to on the questions of one class.
#[derive(Clone, Debug, Serialize)]
pub struct SourceReport {
    /// Whose programs.
    pub source: &'static str,
    /// Programs that are right, of those run.
    pub programs: Share,
    /// Questions with any right program.
    pub questions: Share,
    /// Questions with a right program of fewer executions than the standard one.
    pub shorter: Share,
}

/// What chosen programs come to on a variation.
#[derive(Clone, Debug, Serialize)]
pub struct LastingReport {
    /// The variation in words.
    pub variation: String,
    /// The standard program.
    pub standard: Share,
    /// The search's best.
    pub own: Share,
    /// The best of random programs.
    pub lucky: Share,
    /// The search's best of another question.
    pub other: Share,
}

/// Questions that the standard program answers alike.
#[derive(Clone, Debug, Serialize)]
pub struct ClassReport {
    /// Whether the standard program is right.
    pub baseline: bool,
    /// How many questions.
    pub questions: usize,
    /// The search's programs, random ones, those of other questions.
    pub sources: Vec<SourceReport>,
    /// Questions with a right program that skips layers only, repeats only, does both.
    pub kinds: [Share; 3],
    /// On variations of the questions for which the search has a best program.
    pub lasting: Vec<LastingReport>,
    /// Two-sided p that the search's best programs and the best of random ones do equally well on variations; paired
    /// by question (sign flips).
    pub own_and_lucky_p: Option<f64>,
    /// The same of the search's best programs and those of other questions.
    pub own_and_other_p: Option<f64>,
    /// The question as it is, in the other arithmetic.
    pub arithmetic: Option<LastingReport>,
}

/// A program chosen on half A and run on half B.
#[derive(Clone, Debug, Serialize)]
pub struct HeldOutReport {
    /// The program.
    pub program: Program,
    /// Right answers on half B.
    pub accuracy: Share,
    /// Questions of half B that the standard program gets wrong and this one right.
    pub fixed: usize,
    /// The other way round.
    pub broken: usize,
    /// Exact two-sided McNemar test.
    pub p: f64,
}

/// What the tries come to.
#[derive(Clone, Debug, Serialize)]
pub struct LuckReport {
    /// The model's name.
    pub model: String,
    /// The questions' file.
    pub task: String,
    /// How many.
    pub questions: usize,
    /// Random programs and programs of other questions that were run on each.
    pub tries: usize,
    /// Right under the standard program.
    pub standard: Share,
    /// Right under the standard program or some program of the search.
    pub solved: Share,
    /// Questions that are wrong from the start, then those that are right.
    pub classes: Vec<ClassReport>,
    /// The standard program on half B.
    pub half_b: Share,
    /// The programs chosen on half A.
    pub held_out: Vec<HeldOutReport>,
    #[serde(skip)]
    panels: Vec<Vec<(f64, [Option<Share>; 3])>>,
}

/// A question with what the search and what these tries made of it.
type Pair<'a> = (&'a ExampleRecord, &'a LuckQuestion);

impl LuckReport {
    /// Of the records and the tries of the same questions in the same order; there may be fewer tries.
    pub fn new(header: &LuckHeader, examples: &[ExampleRecord], tries: &[LuckQuestion]) -> LuckReport {
        let pairs: Vec<Pair> = examples.iter().zip(tries).collect();
        let standard = Program::standard(header.search.layers);
        let of = |baseline: bool| -> Vec<Pair> {
            let alike = pairs.iter().filter(|(example, _)| example.baseline == baseline);
            alike.copied().collect()
        };
        let half_b: Vec<&Pair> = pairs
            .iter()
            .enumerate()
            .filter(|(i, _)| in_half_b(*i))
            .map(|(_, p)| p)
            .collect();
        let held_out = header.chosen.iter().enumerate().map(|(at, program)| {
            let right = |pair: &Pair| pair.1.held_out.get(at).copied().unwrap_or(false);
            let flipped = |from: bool| {
                half_b
                    .iter()
                    .filter(|p| p.0.baseline == from && right(p) != from)
                    .count()
            };
            HeldOutReport {
                program: program.clone(),
                accuracy: Share::among(half_b.iter().map(|p| right(p))),
                fixed: flipped(false),
                broken: flipped(true),
                p: mcnemar_exact(flipped(false), flipped(true)),
            }
        });
        LuckReport {
            model: header.search.model.clone(),
            task: header.search.task.clone(),
            questions: pairs.len(),
            tries: header.tries,
            standard: Share::among(pairs.iter().map(|p| p.0.baseline)),
            solved: Share::among(pairs.iter().map(|p| p.0.baseline || p.0.best.is_some())),
            classes: [false, true]
                .map(|baseline| class(baseline, &of(baseline), &standard))
                .into(),
            half_b: Share::among(half_b.iter().map(|p| p.0.baseline)),
            held_out: held_out.collect(),
            panels: vec![
                by_tries(&of(false), header.tries, header.search.settings.simulations, &standard),
                by_depth(&of(false), &standard),
            ],
        }
    }

    /// The report in words.
    pub fn text(&self) -> String {
        let mut text = format!(
            "What of a search is luck: {}, {}, {}, {} and {} of other questions on each\n\
             Right under the standard program {}, under that or any that the search tried {}\n",
            escape_controls(&self.model),
            escape_controls(&self.task),
            counted(self.questions, "question"),
            counted(self.tries, "random program"),
            self.tries,
            self.standard.to_string().trim_start(),
            self.solved.to_string().trim_start()
        );
        for class in self.classes.iter().filter(|class| class.questions > 0) {
            class.write(&mut text);
        }
        let _ = writeln!(
            text,
            "\nPrograms chosen on half A (every second question), run on half B: the standard program {}\n  {:<24} {:>5} {:>6} {:>6}  p",
            self.half_b.to_string().trim_start(),
            "right",
            "",
            "fixed",
            "broken"
        );
        for chosen in &self.held_out {
            let _ = writeln!(
                text,
                "  {:<30} {:>6} {:>6}  {:.3}  {}",
                chosen.accuracy.to_string(),
                chosen.fixed,
                chosen.broken,
                chosen.p,
                chosen.program
            );
        }
        text
    }

    /// The figure: wrong questions, by the number of tries and by the programs' depth.
    pub fn svg(&self) -> String {
        let title = |what: &str| format!("{}: {what}", escape_controls(&self.model));
        let axes = [
            (
                TITLE,
                Scale {
                    name: "programs tried",
                    decimals: 0,
                },
                Scale {
                    name: "questions, %",
                    decimals: 0,
                },
            ),
            (
                "right programs, on wrong questions",
                Scale {
                    name: "executions of the program",
                    decimals: 0,
                },
                Scale {
                    name: "programs, %",
                    decimals: 0,
                },
            ),
        ];
        let panels = self.panels.iter().zip(axes).map(|(points, (what, x, y))| {
            let curves = CURVES.iter().map(|&(source, name, colour)| {
                let point = |(at, shares): &(f64, [Option<Share>; 3])| {
                    let share = shares[source]?;
                    Some(PlotPoint {
                        x: *at,
                        y: share.percent?,
                        interval: share.interval,
                        note: format!("{name}: {} at {at}", share.to_string().trim_start()),
                    })
                };
                Curve {
                    name: name.to_owned(),
                    colour,
                    joined: Joined::Always,
                    symbol: None,
                    points: points.iter().filter_map(point).collect(),
                }
            });
            Panel {
                title: title(what),
                x,
                y,
                curves: curves.collect(),
            }
        });
        plot::svg(&panels.collect::<Vec<_>>(), GRID)
    }
}

impl ClassReport {
    fn write(&self, text: &mut String) {
        let (name, found) = match self.baseline {
            false => ("wrong from the start", "corrected"),
            true => ("right from the start", "any right"),
        };
        let _ = writeln!(
            text,
            "\n{} questions {name}\n  {:<34} {:<24} {found:<24} by a shorter one",
            self.questions, "programs", "a program is right"
        );
        for source in &self.sources {
            let _ = writeln!(
                text,
                "  {:<34} {:<24} {:<24} {}",
                source.source, source.programs, source.questions, source.shorter
            );
        }
        let [skips, repeats, both] = self.kinds;
        let _ = writeln!(
            text,
            "  of the search's: by skips alone {}, by repeats alone {}, by both {}",
            skips.to_string().trim_start(),
            repeats.to_string().trim_start(),
            both.to_string().trim_start()
        );
        if self.lasting.is_empty() {
            return;
        }
        let _ = writeln!(
            text,
            "  Does it last? {:<20} {:<24} {:<24} {:<24} standard program",
            "", "the search's best", "the best random one", "another question's best"
        );
        for row in self.lasting.iter().chain(&self.arithmetic) {
            let _ = writeln!(
                text,
                "  {:<34} {:<24} {:<24} {:<24} {}",
                row.variation, row.own, row.lucky, row.other, row.standard
            );
        }
        let p = |p: Option<f64>| p.map_or("–".to_owned(), |p| format!("{p:.4}"));
        let _ = writeln!(
            text,
            "  the search's best and the best random one: p {}; and another question's best: p {}",
            p(self.own_and_lucky_p),
            p(self.own_and_other_p)
        );
    }
}

fn class(baseline: bool, pairs: &[Pair], standard: &Program) -> ClassReport {
    let layers = standard.depth();
    let own = |pair: &Pair| -> Vec<Try> { own(pair.0, standard).map(|(_, run)| run).collect() };
    let runs = |pair: &Pair| [own(pair), pair.1.random.clone(), pair.1.others.clone()];
    let runs: Vec<[Vec<Try>; 3]> = pairs.iter().map(runs).collect();
    let sources = SOURCES.into_iter().enumerate().map(|(at, source)| {
        let all: Vec<&Vec<Try>> = runs.iter().map(|of| &of[at]).collect();
        SourceReport {
            source,
            programs: Share::among(all.iter().copied().flatten().map(|run| run.right)),
            questions: Share::among(all.iter().map(|runs| runs.iter().any(|run| run.right))),
            shorter: Share::among(
                all.iter()
                    .map(|runs| runs.iter().any(|run| run.right && run.depth < layers)),
            ),
        }
    });
    let kinds = [(true, false), (false, true), (true, true)].map(|wanted| {
        Share::among(pairs.iter().map(|pair| {
            let mut right = self::own(pair.0, standard).filter(|(_, run)| run.right);
            right.any(|(program, _)| kind(program, layers) == wanted)
        }))
    });
    let varied: Vec<&LuckQuestion> = pairs.iter().map(|p| p.1).filter(|q| !q.variations.is_empty()).collect();
    let count = varied.iter().map(|q| q.variations.len()).max().unwrap_or(0);
    let lasting = (0..count).map(|at| {
        let name = match super::WORDINGS.get(at) {
            Some((before, after)) => format!("“{}…{}”", before.trim_end(), after),
            None => format!("choices turned by {}", at + 1 - super::WORDINGS.len()),
        };
        let outcomes = varied.iter().filter_map(|q| q.variations.get(at));
        LastingReport::new(name, outcomes)
    });
    let p = |of: &dyn Fn(&VariationOutcome) -> Option<bool>| {
        let differences: Vec<f64> = varied
            .iter()
            .filter_map(|question| {
                let both = question.variations.iter().filter_map(|v| Some((v.own?, of(v)?)));
                let differences: Vec<f64> = both
                    .map(|(a, b)| f64::from(u8::from(a)) - f64::from(u8::from(b)))
                    .collect();
                (!differences.is_empty()).then(|| differences.iter().sum::<f64>() / differences.len() as f64)
            })
            .collect();
        (!differences.is_empty()).then(|| sign_flip(&differences, 42))
    };
    let arithmetic: Vec<&VariationOutcome> = pairs.iter().filter_map(|p| p.1.arithmetic.as_ref()).collect();
    ClassReport {
        baseline,
        questions: pairs.len(),
        sources: sources.collect(),
        kinds,
        lasting: lasting.collect(),
        own_and_lucky_p: p(&|v| v.lucky),
        own_and_other_p: p(&|v| v.other),
        arithmetic: (!arithmetic.is_empty())
            .then(|| LastingReport::new("the other arithmetic".to_owned(), arithmetic.iter().copied())),
    }
}

impl LastingReport {
    fn new<'a>(variation: String, outcomes: impl Iterator<Item = &'a VariationOutcome>) -> LastingReport {
        let outcomes: Vec<&VariationOutcome> = outcomes.collect();
        let share =
            |of: &dyn Fn(&VariationOutcome) -> Option<bool>| Share::among(outcomes.iter().filter_map(|o| of(o)));
        LastingReport {
            variation,
            standard: share(&|o| Some(o.standard)),
            own: share(&|o| o.own),
            lucky: share(&|o| o.lucky),
            other: share(&|o| o.other),
        }
    }
}

/// The search's programs on a question besides the standard one, with what they came to.
fn own<'a>(example: &'a ExampleRecord, standard: &'a Program) -> impl Iterator<Item = (&'a Program, Try)> {
    let right = example.right.iter().filter(|s| s.program != *standard).count();
    tried(example, standard).enumerate().map(move |(at, program)| {
        let depth = program.depth();
        (
            program,
            Try {
                depth,
                right: at < right,
            },
        )
    })
}

/// Whether a program skips layers, and whether it repeats any.
fn kind(program: &Program, layers: usize) -> (bool, bool) {
    let executions = program.executions(layers);
    (executions.contains(&0), executions.iter().any(|&n| n > 1))
}

/// Questions with a right program among the first n tries. The search's programs are known without their order, so its
/// share is the one that it ended with.
fn by_tries(pairs: &[Pair], tries: usize, simulations: usize, standard: &Program) -> Vec<(f64, [Option<Share>; 3])> {
    let among = |runs: &dyn Fn(&LuckQuestion) -> &[Try], n: usize| {
        Share::among(pairs.iter().map(|p| runs(p.1).iter().take(n).any(|run| run.right)))
    };
    let mut points: BTreeMap<usize, [Option<Share>; 3]> = (1..=tries)
        .filter(|n| *n == 1 || n % STRIDE == 0 || *n == tries)
        .map(|n| {
            (
                n,
                [None, Some(among(&|q| &q.random, n)), Some(among(&|q| &q.others, n))],
            )
        })
        .collect();
    let found = pairs.iter().map(|p| own(p.0, standard).any(|(_, run)| run.right));
    points.entry(simulations).or_default()[0] = Some(Share::among(found));
    points.into_iter().map(|(n, shares)| (n as f64, shares)).collect()
}

/// Right programs by their depth.
fn by_depth(pairs: &[Pair], standard: &Program) -> Vec<(f64, [Option<Share>; 3])> {
    let mut counts: BTreeMap<usize, [(usize, usize); 3]> = BTreeMap::new();
    for (example, tries) in pairs {
        let own: Vec<Try> = own(example, standard).map(|(_, run)| run).collect();
        for (source, runs) in [&own, &tries.random, &tries.others].into_iter().enumerate() {
            for run in runs {
                let (right, of) = &mut counts.entry(run.depth).or_default()[source];
                *right += usize::from(run.right);
                *of += 1;
            }
        }
    }
    let shares = |counts: [(usize, usize); 3]| counts.map(|(right, of)| (of >= FEWEST).then(|| Share::new(right, of)));
    counts
        .into_iter()
        .map(|(depth, counts)| (depth as f64, shares(counts)))
        .collect()
}
