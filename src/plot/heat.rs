//! Values over two whole numbers as a picture of coloured squares.

use std::fmt::Write;

use super::svg::escape;

/// Sizes in pixels: a square, the margins around all of them.
const SQUARE: f64 = 18.0;
const LEFT: f64 = 64.0;
const TOP: f64 = 64.0;
const RIGHT: f64 = 24.0;
const BOTTOM: f64 = 32.0;

/// Red, green and blue of the greatest value and of the least.
const GREATEST: [f64; 3] = [33.0, 102.0, 172.0];
const LEAST: [f64; 3] = [178.0, 24.0, 43.0];

/// One square.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatCell {
    /// Its column.
    pub x: usize,
    /// Its row, from the top.
    pub y: usize,
    /// White at 0.
    pub value: f64,
    /// Whether a star stands in it.
    pub starred: bool,
    /// What it says to who points at it.
    pub note: String,
}

/// Squares in columns and rows that are counted from 0; where none is, nothing is drawn.
pub struct HeatMap {
    /// Above the squares.
    pub title: String,
    /// Below the title: what the colours mean.
    pub legend: String,
    /// Of the columns.
    pub x: &'static str,
    /// Of the rows.
    pub y: &'static str,
    /// The squares.
    pub cells: Vec<HeatCell>,
}

impl HeatMap {
    /// The picture. Values above 0 are as blue as they are near to the greatest, those below as red as they are near to
    /// the least.
    pub fn svg(&self) -> String {
        let count = |of: fn(&HeatCell) -> usize| self.cells.iter().map(|cell| of(cell) + 1).max().unwrap_or(0);
        let (columns, rows) = (count(|cell| cell.x), count(|cell| cell.y));
        let (across, down) = (columns as f64 * SQUARE, rows as f64 * SQUARE);
        let (width, height) = ((LEFT + across + RIGHT).max(520.0), TOP + down + BOTTOM);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"16\" y=\"20\" font-weight=\"bold\">{}</text>\n<text x=\"16\" y=\"38\">{}</text>\n",
            escape(&self.title),
            escape(&self.legend)
        );
        let most = self.cells.iter().map(|cell| cell.value).fold(0.0, f64::max);
        let least = self.cells.iter().map(|cell| cell.value).fold(0.0, f64::min);
        for cell in &self.cells {
            let (x, y) = (LEFT + cell.x as f64 * SQUARE, TOP + cell.y as f64 * SQUARE);
            let colour = match cell.value > 0.0 {
                true => colour(GREATEST, cell.value / most),
                false => colour(LEAST, cell.value / least),
            };
            let star = match cell.starred {
                true => format!(
                    "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">★</text>",
                    x + SQUARE / 2.0,
                    y + SQUARE - 4.0
                ),
                false => String::new(),
            };
            let _ = writeln!(
                svg,
                "<g><title>{}</title><rect x=\"{x}\" y=\"{y}\" width=\"{SQUARE}\" height=\"{SQUARE}\" fill=\"{colour}\" \
                 stroke=\"#cccccc\"/>{star}</g>",
                escape(&cell.note)
            );
        }
        for column in (0..columns).step_by(5) {
            let x = LEFT + (column as f64 + 0.5) * SQUARE;
            let _ = writeln!(
                svg,
                "<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{column}</text>",
                TOP - 6.0
            );
        }
        for row in (0..rows).step_by(5) {
            let y = TOP + row as f64 * SQUARE + SQUARE - 5.0;
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{y}\" text-anchor=\"end\">{row}</text>",
                LEFT - 6.0
            );
        }
        let (below, middle) = (TOP + down + 20.0, TOP + down / 2.0);
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{below}\" text-anchor=\"middle\">{}</text>\n\
             <text transform=\"translate(20 {middle}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n</svg>",
            LEFT + across / 2.0,
            escape(self.x),
            escape(self.y)
        );
        svg
    }
}

/// White at share 0, `full` at 1; white where nothing is to be shared.
fn colour(full: [f64; 3], share: f64) -> String {
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    let [red, green, blue] = full.map(|part| (255.0 + (part - 255.0) * share).round() as u8);
    format!("#{red:02x}{green:02x}{blue:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_are_coloured_by_their_values() {
        let cell = |x: usize, y: usize, value: f64, starred: bool| HeatCell {
            x,
            y,
            value,
            starred,
            note: format!("<{x}> & {value}"),
        };
        let map = HeatMap {
            title: "a < b".into(),
            legend: "blue: more".into(),
            x: "last",
            y: "first",
            cells: vec![
                cell(0, 0, 2.0, true),
                cell(1, 0, 1.0, false),
                cell(1, 1, -4.0, false),
                cell(5, 5, 0.0, false),
            ],
        };
        let svg = map.svg();
        assert_eq!(svg.matches("<title>").count(), 4);
        assert_eq!(svg.matches('★').count(), 1);
        for colour in ["#2166ac", "#90b3d6", "#b2182b", "#ffffff"] {
            assert!(svg.contains(colour), "{colour}: {svg}");
        }
        assert!(svg.contains("a &lt; b") && svg.contains("&lt;0&gt; &amp; 2") && !svg.contains("<0>"));
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    }
}
