//! Panels as SVG, complete in itself.

use std::fmt::Write;

use super::{Curve, Joined, Panel, PlotPoint, bounds};

/// Margins of a panel.
const LEFT: f64 = 56.0;
const RIGHT: f64 = 16.0;
const BOTTOM: f64 = 44.0;
/// Above the plot: the title, then rows of the legend.
const TITLE: f64 = 28.0;
const LEGEND_ROW: f64 = 16.0;

/// Panels in the picture: their size, how many stand side by side, and columns of their legends.
#[derive(Clone, Copy)]
pub struct PanelGrid {
    /// Of a panel, in pixels.
    pub width: f64,
    /// Of a panel, in pixels.
    pub height: f64,
    /// Panels side by side.
    pub across: usize,
    /// Names in a row of a legend.
    pub legend_columns: usize,
}

/// A picture of all panels.
pub fn svg(panels: &[Panel], grid: PanelGrid) -> String {
    let rows = panels.len().div_ceil(grid.across).max(1);
    let (width, height) = (grid.width * grid.across as f64, grid.height * rows as f64);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (index, panel) in panels.iter().enumerate() {
        let (x, y) = ((index % grid.across) as f64, (index / grid.across) as f64);
        let _ = writeln!(
            svg,
            "<g transform=\"translate({} {})\">\n{}</g>",
            x * grid.width,
            y * grid.height,
            panel.svg(grid)
        );
    }
    svg + "</svg>\n"
}

/// Where values stand in a panel.
struct Plot {
    right: f64,
    top: f64,
    bottom: f64,
    /// Ticks of the axes; the first and the last are their ends.
    xs: Vec<f64>,
    ys: Vec<f64>,
}

impl Plot {
    fn x(&self, value: f64) -> f64 {
        LEFT + (value - self.xs[0]) / (self.xs[self.xs.len() - 1] - self.xs[0]) * (self.right - LEFT)
    }

    fn y(&self, value: f64) -> f64 {
        self.bottom - (value - self.ys[0]) / (self.ys[self.ys.len() - 1] - self.ys[0]) * (self.bottom - self.top)
    }
}

impl Panel {
    fn svg(&self, grid: PanelGrid) -> String {
        let legend_rows = self.curves.len().div_ceil(grid.legend_columns) as f64;
        let ends = |p: &PlotPoint| [p.y, p.interval.map_or(p.y, |i| i.0), p.interval.map_or(p.y, |i| i.1)];
        let plot = Plot {
            right: grid.width - RIGHT,
            top: TITLE + LEGEND_ROW * legend_rows + 10.0,
            bottom: grid.height - BOTTOM,
            xs: ticks(self.x_bounds()),
            ys: ticks(bounds(self.points().flat_map(ends))),
        };
        let title = escape(&self.title);
        let curves: String = self.curves.iter().map(|curve| curve.svg(&plot)).collect();
        format!(
            "<text x=\"{LEFT}\" y=\"18\" font-weight=\"bold\">{title}</text>\n{}{curves}{}",
            self.axes(&plot),
            self.legend(&plot, grid.legend_columns)
        )
    }

    fn axes(&self, plot: &Plot) -> String {
        let &Plot { right, top, bottom, .. } = plot;
        let mut svg = format!("<path d=\"M{LEFT} {top}V{bottom}H{right}\" fill=\"none\" stroke=\"black\"/>\n");
        for &value in &plot.xs {
            let (at, below, label) = (plot.x(value), bottom + 16.0, tick_label(value, &plot.xs));
            let _ = writeln!(
                svg,
                "<path d=\"M{at:.1} {bottom}v4\" stroke=\"black\"/><text x=\"{at:.1}\" y=\"{below}\" \
                 text-anchor=\"middle\">{label}</text>"
            );
        }
        for &value in &plot.ys {
            let (at, before, label) = (plot.y(value), LEFT - 6.0, tick_label(value, &plot.ys));
            let _ = writeln!(
                svg,
                "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#dddddd\"/><text x=\"{before}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{label}</text>",
                at + 4.0
            );
        }
        let (x, y) = (escape(self.x.name), escape(self.y.name));
        let (across, below) = ((LEFT + right) / 2.0, bottom + 36.0);
        let _ = writeln!(
            svg,
            "<text x=\"{across:.1}\" y=\"{below}\" text-anchor=\"middle\">{x}</text>\n\
             <text transform=\"translate(14 {:.1}) rotate(-90)\" text-anchor=\"middle\">{y}</text>",
            (top + bottom) / 2.0
        );
        svg
    }

    fn legend(&self, plot: &Plot, columns: usize) -> String {
        let mut svg = String::new();
        let width = (plot.right - LEFT) / columns as f64;
        for (index, curve) in self.curves.iter().enumerate() {
            let at = LEFT + width * (index % columns) as f64;
            let row = TITLE + LEGEND_ROW * (index / columns) as f64 + 4.0;
            let sample = match curve.joined {
                Joined::Never => curve.mark(at + 8.0, row),
                _ => format!(
                    "<path d=\"M{at:.1} {row}h16\" stroke=\"{}\" stroke-width=\"2\"/>",
                    curve.colour
                ),
            };
            let (text, name) = (at + 20.0, escape(&curve.name));
            let _ = writeln!(svg, "{sample}<text x=\"{text:.1}\" y=\"{}\">{name}</text>", row + 4.0);
        }
        svg
    }
}

impl Curve {
    /// Intervals, then the line, then marks.
    fn svg(&self, plot: &Plot) -> String {
        let (mut svg, colour) = (String::new(), self.colour);
        let intervals = self.drawn().filter_map(|p| Some((plot.x(p.x), p.interval?)));
        for (x, (low, high)) in intervals {
            let (low, high) = (plot.y(low), plot.y(high));
            let _ = writeln!(
                svg,
                "<path d=\"M{x:.1} {low:.1}V{high:.1}\" stroke=\"{colour}\" opacity=\"0.45\"/>"
            );
        }
        if self.joined != Joined::Never {
            let points = self.drawn().map(|p| format!("{:.1},{:.1}", plot.x(p.x), plot.y(p.y)));
            let points = points.collect::<Vec<_>>().join(" ");
            let _ = writeln!(
                svg,
                "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"
            );
        }
        for point in self.drawn().filter(|p| !p.note.is_empty()) {
            let (mark, note) = (self.mark(plot.x(point.x), plot.y(point.y)), escape(&point.note));
            let _ = writeln!(svg, "<g><title>{note}</title>{mark}</g>");
        }
        svg
    }

    /// A circle on a line, a square by itself.
    fn mark(&self, x: f64, y: f64) -> String {
        let colour = self.colour;
        match self.joined {
            Joined::Never => format!(
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"7\" height=\"7\" fill=\"{colour}\"/>",
                x - 3.5,
                y - 3.5
            ),
            _ => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>"),
        }
    }
}

/// Round values at equal distances from at most `low` to at least `high`; four to eight of them.
fn ticks((low, high): (f64, f64)) -> Vec<f64> {
    let raw = (high - low) / 5.0;
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= raw);
    let step = step.unwrap_or(10.0 * power);
    // A bound that is a multiple of the step but for rounding is one.
    let (first, last) = ((low / step + 1e-9).floor(), (high / step - 1e-9).ceil());
    (0..=(last - first) as usize)
        .map(|i| (first + i as f64) * step)
        .collect()
}

/// A tick with as many decimals as the distance of the ticks needs.
fn tick_label(value: f64, ticks: &[f64]) -> String {
    let decimals = (-(ticks[1] - ticks[0]).log10().floor()).max(0.0) as usize;
    // No "-0".
    let rounded = format!("{value:.decimals$}");
    match rounded.parse() {
        Ok(0.0) => format!("{:.decimals$}", 0.0),
        _ => rounded,
    }
}

/// Text in XML. Control characters, which XML knows not, become visible forms.
pub(super) fn escape(text: &str) -> String {
    let text = crate::text::escape_controls(text);
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::tests::{curve, panel};

    const GRID: PanelGrid = PanelGrid {
        width: 400.0,
        height: 300.0,
        across: 1,
        legend_columns: 2,
    };

    #[test]
    fn ticks_are_round_and_hold_the_bounds() {
        assert_eq!(ticks((0.0, 1.0)), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(ticks((25.93, 31.0)), [24.0, 26.0, 28.0, 30.0, 32.0]);
        for (low, high) in [(0.1, 0.7), (-3.0, 4.0), (49.4, 50.6), (1e-4, 3e-4), (5.0, 5000.0)] {
            let ticks = ticks((low, high));
            assert!((3..=9).contains(&ticks.len()), "{ticks:?}");
            assert!(ticks[0] <= low && ticks[ticks.len() - 1] >= high, "{ticks:?}");
        }
        assert_eq!(tick_label(0.6000000000000001, &[0.0, 0.2]), "0.6");
        assert_eq!(tick_label(-1e-17, &[0.0, 0.2]), "0.0");
        assert_eq!(tick_label(24.0, &[24.0, 26.0]), "24");
    }

    #[test]
    fn the_svg_has_lines_intervals_and_marks_within_the_plot() {
        let joined = curve('d', Joined::Always, &[(10.0, 40.0), (20.0, 50.0), (f64::NAN, 1.0)]);
        let svg = svg(&[panel(vec![joined, curve('r', Joined::Never, &[(15.0, 42.0)])])], GRID);
        assert!(svg.contains("a &lt;b&gt; &amp; ␛"), "{svg}");
        assert_eq!(svg.matches("<polyline").count(), 1);
        assert_eq!(svg.matches("opacity").count(), 3, "an interval a point");
        assert_eq!((svg.matches("<circle").count(), svg.matches("<rect x").count()), (2, 2));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        // 36 to 53 is drawn from 35 to 55, 10 to 20 from left to right.
        assert!(svg.contains(">35<") && svg.contains(">55<"), "{svg}");
        assert!(svg.contains("points=\"56.0,"), "{svg}");
        assert!(svg.contains(" 384.0,"), "{svg}");
    }
}
