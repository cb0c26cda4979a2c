//! The curves of a training: in the terminal and as SVG.

use std::fmt::Write;

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, LegendPosition, Widget};

use crate::train::trainer::EpochReport;

/// Of the drawing in the terminal.
const COLUMNS: u16 = 78;
const ROWS: u16 = 12;

type Points = Vec<(f64, f64)>;

struct Curve {
    name: &'static str,
    colour: &'static str,
    points: Points,
}

/// Curves that share their axes.
struct Panel {
    title: &'static str,
    curves: Vec<Curve>,
}

fn panels(reports: &[EpochReport]) -> [Panel; 2] {
    let points = |value: &dyn Fn(&EpochReport) -> Option<f64>| -> Points {
        let points = reports.iter().filter_map(|r| Some((r.epoch as f64, value(r)?)));
        points.collect()
    };
    let curve = |name, colour, value: &dyn Fn(&EpochReport) -> Option<f64>| Curve {
        name,
        colour,
        points: points(value),
    };
    let loss = vec![
        curve("training", "#8a8a8a", &|r| Some(r.train_loss)),
        curve("held out", "#0072b2", &|r| Some(r.validation.loss)),
    ];
    let f1 = vec![
        curve("macro", "#0072b2", &|r| Some(r.validation.macro_f1)),
        curve("skip", "#d55e00", &|r| r.validation.f1_skip),
        curve("execute", "#8a8a8a", &|r| r.validation.f1_execute),
        curve("repeat", "#009e73", &|r| r.validation.f1_repeat),
    ];
    [
        Panel {
            title: "loss",
            curves: loss,
        },
        Panel {
            title: "F1 on held-out examples",
            curves: f1,
        },
    ]
}

impl Panel {
    /// ((first, last epoch), (least, greatest value)), neither empty.
    fn bounds(&self) -> ((f64, f64), (f64, f64)) {
        let around = |of: fn(&(f64, f64)) -> f64| {
            let values = || {
                self.curves
                    .iter()
                    .flat_map(|c| &c.points)
                    .map(of)
                    .filter(|v| v.is_finite())
            };
            let (least, most) = (
                values().fold(f64::INFINITY, f64::min),
                values().fold(f64::NEG_INFINITY, f64::max),
            );
            match least < most {
                true => (least, most),
                // A single epoch, or none.
                false if least.is_finite() => (least - 0.5, least + 0.5),
                false => (0.0, 1.0),
            }
        };
        (around(|p| p.0), around(|p| p.1))
    }
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
    f1.title = "macro-F1";
    f1.curves.truncate(1);
    draw(&loss, "· training  ⠒ held-out loss", left, &mut buffer);
    draw(&f1, "held-out macro-F1", right, &mut buffer);
    let rows = buffer.content.chunks(COLUMNS.into());
    let text = rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>());
    text.map(|row| row.trim_end().to_owned() + "\n").collect()
}

fn draw(panel: &Panel, title: &str, area: Rect, buffer: &mut Buffer) {
    let ((first, last), (low, high)) = panel.bounds();
    let count = panel.curves.len();
    let datasets = panel.curves.iter().enumerate().map(|(i, curve)| {
        // The last one is the one that matters.
        let (marker, kind) = match i + 1 == count {
            true => (Marker::Braille, GraphType::Line),
            false => (Marker::Dot, GraphType::Scatter),
        };
        Dataset::default().marker(marker).graph_type(kind).data(&curve.points)
    });
    let label = |value: f64| Line::from(format!("{value:.3}"));
    let y = Axis::default().bounds([low, high]).labels([label(low), label(high)]);
    let epoch = |value: f64| Line::from(format!("{value:.0}"));
    let x = Axis::default()
        .bounds([first, last])
        .labels([epoch(first), epoch(last)]);
    let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    Line::from(title).centered().render(head, buffer);
    Chart::new(datasets.collect())
        .x_axis(x)
        .y_axis(y)
        .legend_position(None::<LegendPosition>)
        .render(body, buffer);
}

/// Size of one panel in the SVG, with its margins.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 280.0;
const MARGIN: f64 = 48.0;

/// Loss and F1 over epochs, side by side.
pub fn svg(reports: &[EpochReport]) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        2.0 * WIDTH
    );
    for (index, panel) in panels(reports).iter().enumerate() {
        let _ = write!(
            svg,
            "<g transform=\"translate({} 0)\">\n{}</g>\n",
            index as f64 * WIDTH,
            svg_panel(panel)
        );
    }
    svg + "</svg>\n"
}

fn svg_panel(panel: &Panel) -> String {
    let ((first, last), (low, high)) = panel.bounds();
    let x = |epoch: f64| MARGIN + (epoch - first) / (last - first) * (WIDTH - 2.0 * MARGIN);
    let y = |value: f64| HEIGHT - MARGIN - (value - low) / (high - low) * (HEIGHT - 2.0 * MARGIN);
    let (right, bottom) = (WIDTH - MARGIN, HEIGHT - MARGIN);
    let mut svg = format!(
        "<text x=\"{MARGIN}\" y=\"20\" font-weight=\"bold\">{}</text>\n\
         <path d=\"M{MARGIN} {MARGIN}V{bottom}H{right}\" fill=\"none\" stroke=\"black\"/>\n",
        panel.title
    );
    for value in [low, high] {
        let (x, y) = (MARGIN - 4.0, y(value) + 4.0);
        let _ = writeln!(
            svg,
            "<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{value:.3}</text>"
        );
    }
    for epoch in [first, last] {
        let (x, y) = (x(epoch), bottom + 16.0);
        let _ = writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{epoch:.0}</text>"
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">epoch</text>",
        WIDTH / 2.0,
        bottom + 32.0
    );
    for (index, curve) in panel.curves.iter().enumerate() {
        let drawn = curve.points.iter().filter(|(_, value)| value.is_finite());
        let points: Vec<String> = drawn.map(|&(e, v)| format!("{:.1},{:.1}", x(e), y(v))).collect();
        let (name, colour, at) = (curve.name, curve.colour, MARGIN + 76.0 * index as f64);
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n\
             <path d=\"M{at} 34h16\" stroke=\"{colour}\" stroke-width=\"2\"/><text x=\"{}\" y=\"38\">{name}</text>",
            points.join(" "),
            at + 20.0
        );
    }
    svg
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
        // Held-out loss: from its greatest, at the top left, down.
        assert!(lines[1].contains("points=\"48.0,48.0 "), "{}", lines[1]);
        assert!(!svg.contains("NaN") && !self::svg(&reports(1)).contains("NaN"));
        assert!(!self::svg(&[]).contains("inf"));
    }
}
