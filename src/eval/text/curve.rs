//! KL and agreement over mean depth, one line a method: in the terminal and as SVG.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::eval::text::report::TextRow;
use crate::eval::text::{TextMethod, TextReport};
use crate::plot::{self, Curve, Joined, Panel, PanelGrid, PlotPoint, Scale};
use crate::text::escape_controls;

/// Of a panel in the terminal.
const COLUMNS: u16 = 78;
const ROWS: u16 = 20;

/// Of the SVG.
const GRID: PanelGrid = PanelGrid {
    width: 760.0,
    height: 480.0,
    across: 1,
    legend_columns: 3,
};

/// A method's symbol in the terminal and its colour in the SVG.
fn mark(method: TextMethod) -> (char, &'static str) {
    match method {
        TextMethod::Full => ('o', "#000000"),
        TextMethod::Routers => ('d', "#d55e00"),
        TextMethod::Ragged => ('g', "#e69f00"),
        TextMethod::Shuffled => ('h', "#cc79a7"),
        TextMethod::Static => ('s', "#e41a1c"),
        TextMethod::Random => ('r', "#8a8a8a"),
        TextMethod::Entropy => ('e', "#0072b2"),
        TextMethod::Agreement => ('a', "#56b4e9"),
        TextMethod::Influence => ('i', "#009e73"),
    }
}

const DEPTH: Scale = Scale {
    name: "depth: mean executed layers of a token",
    decimals: 2,
};

/// How far a line may leave the panel: what lies above belongs to controls that lose so much more than the routers that
/// drawing it would leave no room for them.
const MOST_OF_ROUTERS: f64 = 8.0;

/// KL over depth.
fn divergence(report: &TextReport) -> Panel {
    let of_routers = report.rows.iter().filter(|row| row.method == TextMethod::Routers);
    let most = MOST_OF_ROUTERS * of_routers.map(|row| row.kl).fold(0.0, f64::max);
    let y = |row: &TextRow| (row.kl, (row.kl_low, row.kl_high));
    let scale = Scale {
        name: "KL(full ‖ policy), nats a token",
        decimals: 3,
    };
    panel(
        report,
        "KL over depth",
        scale,
        y,
        if most > 0.0 { most } else { f64::INFINITY },
    )
}

/// The title of the panel that every picture has beside another.
pub const TITLE: &str = "same likeliest token over depth";

/// The share of equal top tokens over depth.
fn agreement(report: &TextReport) -> Panel {
    let y = |row: &TextRow| {
        let percent = [row.agreement, row.agreement_low, row.agreement_high].map(|share| 100.0 * share);
        (percent[0], (percent[1], percent[2]))
    };
    let scale = Scale {
        name: "same likeliest token, %",
        decimals: 1,
    };
    panel(report, TITLE, scale, y, f64::INFINITY)
}

fn panel(report: &TextReport, title: &str, y: Scale, of: impl Fn(&TextRow) -> (f64, (f64, f64)), most: f64) -> Panel {
    let curves = TextMethod::ALL.into_iter().filter_map(|method| {
        let mut points: Vec<PlotPoint> = report
            .rows
            .iter()
            .filter(|row| row.method == method && of(row).0 <= most)
            .map(|row| {
                let (value, (low, high)) = of(row);
                PlotPoint {
                    x: row.depth,
                    y: value,
                    interval: Some((low, high.min(most))),
                    note: format!(
                        "{method}, {}: {value:.4} ({low:.4}-{high:.4}) at depth {:.2}",
                        row.setting, row.depth
                    ),
                }
            })
            .collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        let (symbol, colour) = mark(method);
        (!points.is_empty()).then(|| Curve {
            name: method.name().into(),
            colour,
            joined: if method == TextMethod::Full {
                Joined::Never
            } else {
                Joined::InSvg
            },
            symbol: Some(symbol),
            points,
        })
    });
    Panel {
        title: format!("{title} ({}, routers {})", report.model, report.routers),
        x: DEPTH,
        y,
        curves: curves.collect(),
    }
}

/// KL over depth, where there is more than one depth of routers.
pub fn terminal(report: &TextReport) -> String {
    let routers = report.rows.iter().filter(|row| row.method == TextMethod::Routers);
    if routers.count() < 2 {
        return String::new();
    }
    let panel = divergence(report);
    let mut buffer = Buffer::empty(Rect::new(0, 0, COLUMNS, ROWS));
    let title = escape_controls(&format!("{} over {}", panel.y.name, panel.x.name));
    panel.draw(&title, buffer.area, &mut buffer);
    let legend = panel
        .curves
        .iter()
        .map(|curve| format!("{} {}", curve.symbol.unwrap_or(' '), curve.name));
    let legend: Vec<String> = legend.collect();
    let legend = legend.chunks(4).map(|row| row.join("   ") + "\n");
    format!("\n{}{}", plot::text(&buffer), legend.collect::<String>())
}

/// Both panels, with 95 % intervals.
pub fn svg(report: &TextReport) -> String {
    plot::svg(&[divergence(report), agreement(report)], GRID)
}
