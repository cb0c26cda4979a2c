//! Accuracy over depth, one panel a task: in the terminal and as SVG.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::eval::report::{EvaluationReport, EvaluationRow};
use crate::eval::{Control, Pick, Series};
use crate::plot::{self, Curve, Joined, Panel, PanelGrid, PlotPoint, Scale};
use crate::text::escape_controls;
use crate::trace::Scope;

/// Of a panel in the terminal.
const COLUMNS: u16 = 78;
const ROWS: u16 = 18;

/// Of the SVG.
const GRID: PanelGrid = PanelGrid {
    width: 760.0,
    height: 440.0,
    across: 1,
    legend_columns: 3,
};

/// A curve's name, its symbol in the terminal, its colour in the SVG, and which rows are on it.
struct Kind {
    name: &'static str,
    symbol: char,
    colour: &'static str,
    joined: Joined,
    series: &'static [Series],
}

const fn marks(name: &'static str, symbol: char, colour: &'static str, series: &'static [Series]) -> Kind {
    let joined = Joined::Never;
    Kind {
        name,
        symbol,
        colour,
        joined,
        series,
    }
}

const fn line(name: &'static str, symbol: char, colour: &'static str, series: &'static [Series]) -> Kind {
    Kind {
        joined: Joined::Always,
        ..marks(name, symbol, colour, series)
    }
}

use Scope::{Prompt, Token};
use Series::{Base, Budget, Candidates, Control as Of, Dial, Program, Routers, Static};

/// In the order they are drawn. Routers as they are stand on the dial's and on the budget's curve.
const KINDS: [Kind; 21] = [
    marks("base", 'o', "#000000", &[Base]),
    marks(Control::RANDOM, 'r', "#8a8a8a", &[Of(Control::RANDOM)]),
    marks(Control::EARLY_EXIT, 'e', "#cc79a7", &[Of(Control::EARLY_EXIT)]),
    marks(
        Control::BLOCK_INFLUENCE,
        'i',
        "#009e73",
        &[Of(Control::BLOCK_INFLUENCE)],
    ),
    marks(Control::REMOVAL, 'x', "#6b3fa0", &[Of(Control::REMOVAL)]),
    marks(Control::ENTROPY, 'h', "#b8860b", &[Of(Control::ENTROPY)]),
    marks(Control::AGREEMENT, 'g', "#2f6f4f", &[Of(Control::AGREEMENT)]),
    marks(Control::LOOP, 'l', "#a65628", &[Of(Control::LOOP)]),
    marks(Control::DAMPED_LOOP, 'm', "#984ea3", &[Of(Control::DAMPED_LOOP)]),
    marks("best static program", 's', "#e41a1c", &[Static]),
    marks("program", 'p', "#7f5539", &[Program]),
    marks(
        "first of another's",
        'f',
        "#8a8a8a",
        &[Candidates(Pick::FirstOfAnother)],
    ),
    marks("any of five programs", '5', "#d55e00", &[Candidates(Pick::Any)]),
    marks("surest of five", 'c', "#0072b2", &[Candidates(Pick::Surest)]),
    marks("selected of five", 'e', "#cc79a7", &[Candidates(Pick::Selected)]),
    marks("vote of five", 'v', "#56b4e9", &[Candidates(Pick::Vote)]),
    marks(
        "any of another's five",
        'a',
        "#8a8a8a",
        &[Candidates(Pick::AnyOfAnother)],
    ),
    line(
        "routers, prompt: budget",
        'b',
        "#56b4e9",
        &[Routers(Prompt), Budget(Prompt)],
    ),
    line(
        "routers, prompt: dial",
        'd',
        "#0072b2",
        &[Routers(Prompt), Dial(Prompt)],
    ),
    line(
        "routers, token: budget",
        'B',
        "#e69f00",
        &[Routers(Token), Budget(Token)],
    ),
    line("routers, token: dial", 'D', "#d55e00", &[Routers(Token), Dial(Token)]),
];

/// The panel of the rows of one task.
fn panel(rows: &[&EvaluationRow]) -> Panel {
    let point = |row: &&EvaluationRow| PlotPoint {
        x: row.mean_depth,
        y: 100.0 * row.accuracy,
        interval: Some((100.0 * row.accuracy_low, 100.0 * row.accuracy_high)),
        note: format!(
            "{}: {:.1} % ({:.1}-{:.1}) at depth {:.2}, {} questions",
            row.method,
            100.0 * row.accuracy,
            100.0 * row.accuracy_low,
            100.0 * row.accuracy_high,
            row.mean_depth,
            row.questions
        ),
    };
    let on = |kind: &Kind| rows.iter().filter(|r| kind.series.contains(&r.series));
    let curves = KINDS.iter().filter_map(|kind| {
        let mut points: Vec<PlotPoint> = on(kind).map(point).collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        (!points.is_empty()).then(|| Curve {
            name: kind.name.into(),
            colour: kind.colour,
            joined: kind.joined,
            symbol: Some(kind.symbol),
            points,
        })
    });
    Panel {
        title: rows.first().map_or(String::new(), |r| r.task.clone()),
        x: Scale {
            name: "depth: executed layers per forward pass",
            decimals: 2,
        },
        y: Scale {
            name: "accuracy, %",
            decimals: 1,
        },
        curves: base_line(rows).into_iter().chain(curves).collect(),
    }
}

/// Base's accuracy at every depth, to compare with.
fn base_line(rows: &[&EvaluationRow]) -> Option<Curve> {
    let base = rows.iter().find(|r| r.series == Series::Base)?;
    let depths = || rows.iter().map(|r| r.mean_depth);
    let ends = [
        depths().fold(f64::INFINITY, f64::min),
        depths().fold(f64::NEG_INFINITY, f64::max),
    ];
    let point = |x| PlotPoint {
        x,
        y: 100.0 * base.accuracy,
        ..PlotPoint::default()
    };
    Some(Curve {
        name: "base's accuracy".into(),
        colour: "#999999",
        joined: Joined::Always,
        symbol: None,
        points: ends.map(point).into(),
    })
}

/// The rows of each task, in their order.
fn by_task(rows: &[EvaluationRow]) -> Vec<Vec<&EvaluationRow>> {
    let mut tasks: Vec<Vec<&EvaluationRow>> = Vec::new();
    for row in rows {
        // Base begins a task: two files may have one name.
        match tasks.last_mut() {
            Some(task) if row.series != Series::Base => task.push(row),
            _ => tasks.push(vec![row]),
        }
    }
    tasks
}

/// A drawing for each task that has a curve: routers at some dial or budget.
pub fn terminal(rows: &[EvaluationRow]) -> String {
    let is_swept = |row: &&EvaluationRow| matches!(row.series, Series::Dial(_) | Series::Budget(_));
    let tasks = by_task(rows);
    let tasks = tasks.iter().filter(|rows| rows.iter().any(is_swept));
    tasks.map(|rows| draw(&panel(rows))).collect()
}

fn draw(panel: &Panel) -> String {
    let mut buffer = Buffer::empty(Rect::new(0, 0, COLUMNS, ROWS));
    let title = escape_controls(&format!("{}: {} over {}", panel.title, panel.y.name, panel.x.name));
    panel.draw(&title, buffer.area, &mut buffer);
    let legend = panel
        .curves
        .iter()
        .map(|c| format!("{} {}", c.symbol.unwrap_or('⠒'), c.name));
    let legend: Vec<String> = legend.collect();
    let legend = legend.chunks(3).map(|row| row.join("   ") + "\n");
    format!("\n{}{}", plot::text(&buffer), legend.collect::<String>())
}

/// What stands in the title of every panel of the picture.
pub const TITLE: &str = "accuracy over depth, with 95 % intervals";

/// All tasks, with 95 % intervals.
pub fn svg(report: &EvaluationReport) -> String {
    let who = match &report.routers {
        Some(routers) => format!("{}, routers {routers}", report.model),
        None => report.model.clone(),
    };
    let named = |rows: &Vec<&EvaluationRow>| {
        let panel = panel(rows);
        Panel {
            title: format!("{}: {TITLE} ({who})", panel.title),
            ..panel
        }
    };
    plot::svg(&by_task(&report.rows).iter().map(named).collect::<Vec<_>>(), GRID)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::{Outcome, Variant};
    use crate::program::Program;

    fn row(task: &str, method: &Variant, correct: usize, depth: f64) -> EvaluationRow {
        let outcome = |i| Outcome {
            correct: i < correct,
            not_understood: false,
            depth,
            seconds: 0.1,
            standard: false,
        };
        EvaluationRow::new(task, method, &(0..50).map(outcome).collect::<Vec<_>>(), None)
    }

    fn task(name: &str) -> Vec<EvaluationRow> {
        let routers = |dial, budget| Variant::routers(Scope::Prompt, dial, budget);
        vec![
            row(name, &Variant::base(30), 25, 30.0),
            row(name, &routers(-0.5, None), 24, 28.5),
            row(name, &routers(-0.6, None), 20, 26.0),
            row(name, &routers(-0.4, None), 26, 29.5),
            row(name, &routers(-0.5, Some(27)), 22, 27.0),
            row(name, &Variant::control(Control::Random, 28.5), 15, 28.5),
            row(name, &Variant::static_program(Program::from_layers(0..29)), 27, 29.0),
        ]
    }

    #[test]
    fn a_panel_a_task_with_every_row_on_its_curve() {
        let rows = [task("arc\u{1b}"), task("arc\u{1b}")].concat();
        let tasks = by_task(&rows);
        assert_eq!(tasks.iter().map(Vec::len).collect::<Vec<_>>(), [7, 7]);
        let panel = panel(&tasks[0]);
        let found: Vec<(Option<char>, usize)> = panel.curves.iter().map(|c| (c.symbol, c.points.len())).collect();
        let expected = [
            (None, 2),
            (Some('o'), 1),
            (Some('r'), 1),
            (Some('s'), 1),
            (Some('b'), 2),
            (Some('d'), 3),
        ];
        assert_eq!(found, expected);
        let depths: Vec<f64> = panel.curves[5].points.iter().map(|p| p.x).collect();
        assert_eq!(depths, [26.0, 28.5, 29.5], "along the curve");
        let text = terminal(&rows);
        assert_eq!(text.matches("arc␛: accuracy, % over depth").count(), 2, "{text}");
        for part in [
            "54.0",
            "30.0",
            "26.00",
            "30.00",
            "d routers, prompt: dial",
            "⠒ base's accuracy",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.lines().all(|l| l.chars().count() <= COLUMNS as usize), "{text}");
    }

    #[test]
    fn without_dials_and_budgets_there_is_no_curve() {
        assert_eq!(terminal(&task("arc")[..2]), "");
    }
}
