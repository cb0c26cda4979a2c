//! Curves and marks over two axes, drawn in the terminal and as SVG; squares over two axes as SVG.

mod heat;
mod svg;

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, LegendPosition, Widget};

pub use heat::{HeatCell, HeatMap};
pub use svg::{PanelGrid, svg};

/// Whether bytes are a picture of [`svg`] or a [`HeatMap`], as far as their beginning tells.
pub fn is_picture(bytes: &[u8]) -> bool {
    let mut lines = bytes.split(|&b| b == b'\n');
    let (first, second) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let ours = b" font-family=\"sans-serif\" font-size=\"12\">";
    first.starts_with(b"<svg xmlns=") && first.ends_with(ours) && second.starts_with(b"<rect width=\"100%\"")
}

/// One value, with its interval where it has one. With a note it has a mark in the SVG, which shows
/// the note to who points at it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlotPoint {
    /// On the horizontal axis.
    pub x: f64,
    /// On the vertical axis.
    pub y: f64,
    /// (low, high)
    pub interval: Option<(f64, f64)>,
    /// What the mark says; no mark if empty.
    pub note: String,
}

/// Where a curve's points are joined by a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// Marks alone.
    Never,
    /// The terminal shows the points alone.
    InSvg,
    /// In the terminal and in the SVG.
    Always,
}

/// Points that belong together.
pub struct Curve {
    /// In the legend.
    pub name: String,
    /// In the SVG.
    pub colour: &'static str,
    /// Whether a line joins the points.
    pub joined: Joined,
    /// At every point in the terminal.
    pub symbol: Option<char>,
    /// In the order in which a line joins them.
    pub points: Vec<PlotPoint>,
}

/// An axis: its name with the unit, and the decimals of its labels.
#[derive(Clone, Copy)]
pub struct Scale {
    /// With the unit.
    pub name: &'static str,
    /// Of the labels.
    pub decimals: usize,
}

/// Curves that share their axes.
pub struct Panel {
    /// Above the plot.
    pub title: String,
    /// The horizontal axis.
    pub x: Scale,
    /// The vertical axis.
    pub y: Scale,
    /// Later ones are drawn over earlier ones.
    pub curves: Vec<Curve>,
}

/// Least and greatest of finite values, apart from each other.
fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let none = (f64::INFINITY, f64::NEG_INFINITY);
    let (least, most) = values.fold(none, |(l, m), v| (l.min(v), m.max(v)));
    match least < most {
        true => (least, most),
        // A single value, or none.
        false if least.is_finite() => (least - 0.5, least + 0.5),
        false => (0.0, 1.0),
    }
}

impl Panel {
    fn points(&self) -> impl Iterator<Item = &PlotPoint> {
        self.curves.iter().flat_map(Curve::drawn)
    }

    fn x_bounds(&self) -> (f64, f64) {
        bounds(self.points().map(|p| p.x))
    }

    fn y_bounds(&self) -> (f64, f64) {
        bounds(self.points().map(|p| p.y))
    }

    /// Draws into a part of the terminal, under `title`.
    pub fn draw(&self, title: &str, area: Rect, buffer: &mut Buffer) {
        let (first, last) = self.x_bounds();
        let (low, high) = self.y_bounds();
        let data: Vec<Vec<(f64, f64)>> = self
            .curves
            .iter()
            .map(|c| c.points.iter().map(|p| (p.x, p.y)).collect())
            .collect();
        let lines = self
            .curves
            .iter()
            .zip(&data)
            .filter(|(c, _)| c.joined == Joined::Always);
        let lines = lines.map(|(_, data)| {
            let line = Dataset::default().marker(Marker::Braille);
            line.graph_type(GraphType::Line).data(data)
        });
        let symbols = self
            .curves
            .iter()
            .zip(&data)
            .filter_map(|(curve, data)| Some((curve.symbol?, data)));
        let symbols = symbols.map(|(symbol, data)| {
            let points = Dataset::default().marker(Marker::Custom(symbol));
            points.graph_type(GraphType::Scatter).data(data)
        });
        let axis = |scale: Scale, low: f64, high: f64| {
            let label = |value: f64| Line::from(format!("{value:.0$}", scale.decimals));
            Axis::default().bounds([low, high]).labels([label(low), label(high)])
        };
        let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
        Line::from(title).centered().render(head, buffer);
        // Symbols after lines, so that they stand on them.
        Chart::new(lines.chain(symbols).collect())
            .x_axis(axis(self.x, first, last))
            .y_axis(axis(self.y, low, high))
            .legend_position(None::<LegendPosition>)
            .render(body, buffer);
    }
}

/// The rows of a buffer as lines of text.
pub fn text(buffer: &Buffer) -> String {
    let rows = buffer.content.chunks(buffer.area.width.into());
    let text = rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>());
    text.map(|row| row.trim_end().to_owned() + "\n").collect()
}

impl Curve {
    /// The points that have a place.
    fn drawn(&self) -> impl Iterator<Item = &PlotPoint> {
        self.points.iter().filter(|p| p.x.is_finite() && p.y.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn panel(curves: Vec<Curve>) -> Panel {
        Panel {
            title: "a <b> & \u{1b}".into(),
            x: Scale {
                name: "depth",
                decimals: 1,
            },
            y: Scale {
                name: "accuracy, %",
                decimals: 1,
            },
            curves,
        }
    }

    pub(super) fn curve(symbol: char, joined: Joined, points: &[(f64, f64)]) -> Curve {
        let point = |&(x, y): &(f64, f64)| PlotPoint {
            x,
            y,
            interval: Some((y - 4.0, y + 3.0)),
            note: format!("{x} {y}"),
        };
        Curve {
            name: format!("curve {symbol}"),
            colour: "#0072b2",
            joined,
            symbol: Some(symbol),
            points: points.iter().map(point).collect(),
        }
    }

    #[test]
    fn symbols_stand_on_lines_in_the_terminal() {
        let panel = panel(vec![
            curve('d', Joined::Always, &[(10.0, 40.0), (20.0, 50.0)]),
            curve('r', Joined::Never, &[(15.0, 42.0)]),
        ]);
        let mut buffer = Buffer::empty(Rect::new(0, 0, 40, 10));
        panel.draw("the title", buffer.area, &mut buffer);
        let text = text(&buffer);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains("the title"), "{text}");
        assert!(lines[1].starts_with("50.0") && lines[1].ends_with('d'), "{text}");
        assert_eq!((text.matches('d').count(), text.matches('r').count()), (2, 1), "{text}");
        assert!(text.chars().any(|c| ('\u{2801}'..='\u{28ff}').contains(&c)), "{text}");
    }
}
