//! The curves of a training: in the terminal and as SVG.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};

use crate::plot::{self, Curve, Joined, Panel, PanelGrid, PlotPoint, Scale};
use crate::train::trainer::EpochReport;

/// Of the drawing in the terminal.
const COLUMNS: u16 = 78;
const ROWS: u16 = 12;

/// Of the SVG.
const GRID: PanelGrid = PanelGrid {
    width: 420.0,
    height: 280.0,
    across: 2,
    legend_columns: 4,
};

fn panels(reports: &[EpochReport]) -> [Panel; 2] {
    let points = |value: &dyn Fn(&EpochReport) -> Option<f64>| -> Vec<PlotPoint> {
        let point = |r: &EpochReport| {
            Some(PlotPoint {
                x: r.epoch as f64,
                y: value(r)?,
                ..PlotPoint::default()
            })
        };
        reports.iter().filter_map(point).collect()
    };
    // In the terminal the curve that matters is a line, the others dots.
    let curve = |name: &str, colour, symbol: Option<char>, value: &dyn Fn(&EpochReport) -> Option<f64>| Curve {
        name: name.into(),
        colour,
        joined: if symbol.is_some() {
            Joined::InSvg
        } else {
            Joined::Always
        },
        symbol,
        points: points(value),
    };
    let dot = Some('•');
    let loss = vec![
        curve("training", "#8a8a8a", dot, &|r| Some(r.train_loss)),
        curve("held out", "#0072b2", None, &|r| Some(r.validation.loss)),
    ];
    let f1 = vec![
        curve("macro", "#0072b2", None, &|r| Some(r.validation.macro_f1)),
        curve("skip", "#d55e00", dot, &|r| r.validation.f1_skip),
        curve("execute", "#8a8a8a", dot, &|r| r.validation.f1_execute),
        curve("repeat", "#009e73", dot, &|r| r.validation.f1_repeat),
    ];
    let panel = |title: &str, name, curves| Panel {
        title: title.into(),
        x: Scale {
            name: "epoch",
            decimals: 0,
        },
        y: Scale { name, decimals: 3 },
        curves,
    };
    [panel("loss", "loss", loss), panel("F1 on held-out examples", "F1", f1)]
}

/// Loss and macro-F1 over epochs, as lines of text.
pub fn terminal(reports: &[EpochReport]) -> String {
    if reports.len() < 2 {
        return String::new();
    }
    let area = Rect::new(0, 0, COLUMNS, ROWS);
    let mut buffer = Buffer::empty(area);
    let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).spacing(2).areas(area);
    let [loss, mut f1] = panels(reports);
    f1.curves.truncate(1);
    loss.draw("• training  ⠒ held-out loss", left, &mut buffer);
    f1.draw("held-out macro-F1", right, &mut buffer);
    plot::text(&buffer)
}

/// Loss and F1 over epochs, side by side.
pub fn svg(reports: &[EpochReport]) -> String {
    plot::svg(&panels(reports), GRID)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Metrics;

    fn reports(epochs: usize) -> Vec<EpochReport> {
        let report = |epoch: usize| EpochReport {
            epoch,
            steps: epoch,
            learning_rate: 1e-3,
            train_loss: 1.0 / epoch as f64,
            validation: Metrics {
                loss: 1.25 / epoch as f64,
                macro_f1: 0.25 + 0.05 * epoch as f64,
                f1_skip: (epoch > 2).then_some(0.5),
                ..Metrics::default()
            },
            best: true,
        };
        (1..=epochs).map(report).collect()
    }

    #[test]
    fn the_terminal_shows_both_curves_with_their_bounds() {
        let text = terminal(&reports(10));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), ROWS as usize);
        assert!(
            lines[0].contains("held-out loss") && lines[0].contains("macro-F1"),
            "{text}"
        );
        for bound in ["1.250", "0.100", "0.750", "0.300", "10"] {
            assert!(text.contains(bound), "{bound}: {text}");
        }
        assert!(
            text.contains('•') && text.chars().any(|c| ('\u{2801}'..='\u{28ff}').contains(&c)),
            "{text}"
        );
        assert!(lines.iter().all(|line| line.chars().count() <= COLUMNS as usize));
        assert_eq!(terminal(&reports(1)), "", "one point is no curve");
    }

    #[test]
    fn the_svg_has_a_line_for_each_curve_within_its_panel() {
        let svg = svg(&reports(10));
        let lines: Vec<&str> = svg.lines().filter(|l| l.starts_with("<polyline")).collect();
        assert_eq!(lines.len(), 6);
        let points = |line: &str| line.split('"').nth(1).unwrap().split_whitespace().count();
        assert_eq!(
            lines.iter().map(|l| points(l)).collect::<Vec<_>>(),
            [10, 10, 10, 8, 0, 0]
        );
        // Held-out loss goes down from the left, which is lower in the picture.
        let heights = lines[1].split('"').nth(1).unwrap().split_whitespace();
        let heights: Vec<f64> = heights.map(|p| p.split(',').nth(1).unwrap().parse().unwrap()).collect();
        assert!(heights.is_sorted(), "{}", lines[1]);
        assert!(!svg.contains("NaN") && !self::svg(&reports(1)).contains("NaN"));
        assert!(!self::svg(&[]).contains("inf"));
    }
}
