//! A loop map for the eye: the triangle of cells in letters and as SVG, and the tables beneath it.

use std::fmt::Write;

use super::report::{Difference, MapReport, SMALL_P, Shade};
use super::{Cell, Measure};
use crate::plot::{HeatCell, HeatMap};
use crate::text::{counted, escape_controls};

/// What stands for a cell.
pub fn symbol(shade: Shade) -> char {
    match shade {
        Shade::Survives => '*',
        Shade::Gains => '+',
        Shade::Unclear => '·',
        Shade::Loses(quarter) => ['░', '▒', '▓', '█'][quarter.min(3)],
    }
}

/// What the symbols mean.
pub const LEGEND: [&str; 2] = [
    "* better on the other half too, + interval above 0, · interval holds 0,",
    "░▒▓█ interval below 0, by quarters of the greatest loss",
];

/// Most layers whose cells are two columns wide.
const WIDE: usize = 36;

/// How a block is named in a sentence.
pub fn block(cell: Cell) -> String {
    match cell.length() {
        1 => format!("layer {}", cell.first),
        _ => format!("layers {cell}"),
    }
}

/// `+1.7 (-0.3 to +3.7)`, or the mean alone.
pub fn interval(measure: Measure, difference: Difference) -> String {
    let mean = measure.signed(difference.mean);
    match difference.interval {
        Some((low, high)) => format!("{mean} ({} to {})", measure.signed(low), measure.signed(high)),
        None => mean,
    }
}

/// The triangle: a row for each first layer, a column for each last one.
pub fn triangle(layers: usize, cells: &[Cell], shades: &[Shade]) -> String {
    let step = if layers <= WIDE { 2 } else { 1 };
    let mut numbers = String::new();
    for column in (0..layers).step_by(5) {
        let _ = write!(numbers, "{:<width$}", column, width = 5 * step);
    }
    let mut text = format!("  first\\last  {}\n", numbers.trim_end());
    for first in 0..layers {
        let mut row = vec![' '; layers * step];
        for (cell, shade) in cells.iter().zip(shades).filter(|(cell, _)| cell.first == first) {
            row[cell.last * step] = symbol(*shade);
        }
        let row: String = row.into_iter().collect();
        let _ = writeln!(text, "  {first:>10}  {}", row.trim_end());
    }
    text
}

/// What the title of the picture begins with.
pub const TITLE: &str = "Loop map of";

impl MapReport {
    /// The report as text, with the `best` cells.
    pub fn text(&self, best: usize) -> String {
        let measure = self.measure;
        let cells: Vec<Cell> = self.cells.iter().map(|cell| cell.cell).collect();
        let damped = match self.damping == 1.0 {
            true => String::new(),
            false => format!(", the second time damped by {}", self.damping),
        };
        let mut text = format!(
            "Every block of layers run twice{damped}: {}, {}, {} question{}\nStandard program: {} {}. Cells: its \
             difference to that, by {}\n\n",
            escape_controls(&self.model),
            escape_controls(&self.task),
            self.questions,
            if self.questions == 1 { "" } else { "s" },
            measure.name(),
            measure.mean(self.standard()),
            measure.name()
        );
        text += &triangle(self.layers, &cells, &self.shades());
        let _ = writeln!(text, "\n  {}\n  {}\n", LEGEND[0], LEGEND[1]);
        text += &self.table(best);
        let _ = writeln!(text, "\n{}", self.verdict());
        if !self.transfers.is_empty() {
            let _ = write!(text, "\n{}", self.transfer_table());
        }
        text
    }

    fn table(&self, best: usize) -> String {
        let measure = self.measure;
        let mut text = format!(
            "  {:<8} {:>5} {:>6} {:>26} {:>6} {:>6} {:>6}   {:>8} {:>8} {:>6}\n",
            "block",
            "depth",
            "acc %",
            format!("{} (95 %)", measure.unit()),
            "fixed",
            "broken",
            "p",
            "half A",
            "half B",
            "p of B"
        );
        for &at in self.best().iter().take(best) {
            let cell = &self.cells[at];
            let star = if cell.survives { '*' } else { ' ' };
            let halves = match cell.halves {
                Some(halves) => format!(
                    "   {:>8} {:>8} {:>6.3}",
                    measure.signed(halves.chosen_on),
                    measure.signed(halves.tested_on),
                    halves.p
                ),
                None => String::new(),
            };
            let _ = writeln!(
                text,
                "{star} {:<8} {:>5} {:>6.1} {:>26} {:>6} {:>6} {:>6.3}{halves}",
                cell.cell.to_string(),
                cell.program.depth(),
                100.0 * cell.accuracy,
                interval(measure, cell.difference),
                cell.fixed,
                cell.broken,
                cell.p
            );
        }
        text
    }

    /// What came of it, in words.
    pub fn verdict(&self) -> String {
        let chosen = self.cells.iter().filter(|cell| cell.halves.is_some()).count();
        let survive = self.cells.iter().filter(|cell| cell.survives).count();
        let corrected = self
            .cells
            .iter()
            .filter(|cell| cell.p <= SMALL_P && cell.difference.mean > 0.0);
        let worse = self
            .cells
            .iter()
            .filter(|cell| cell.p <= SMALL_P && cell.difference.mean < 0.0);
        format!(
            "{survive} of {chosen} cells chosen on half A (every second question) are better on half B (the others), p \
             corrected\nfor those chosen. On all questions, p corrected for all {} cells (max-T permutation): {} better, \
             {} worse.",
            self.cells.len(),
            corrected.count(),
            worse.count()
        )
    }

    fn transfer_table(&self) -> String {
        let measure = self.measure;
        let names = ["chosen for surviving", "chosen as the best here, none survives"];
        let name = names[usize::from(!self.chosen.iter().all(|&at| self.cells[at].survives))];
        let mut text = format!(
            "Transfer of {}, {name}: {} (95 %), p\n",
            counted(self.chosen.len(), "cell"),
            measure.unit()
        );
        for transfer in &self.transfers {
            let _ = writeln!(
                text,
                "  {}, {}, standard program {}",
                escape_controls(&transfer.task),
                counted(transfer.questions, "question"),
                measure.mean(transfer.standard)
            );
            for (&at, cell) in self.chosen.iter().zip(&transfer.cells) {
                let _ = writeln!(
                    text,
                    "    {:<8} {:>26} {:>6.3}",
                    self.cells[at].cell.to_string(),
                    interval(measure, cell.difference),
                    cell.p
                );
            }
        }
        text
    }

    /// The triangle as SVG.
    pub fn svg(&self) -> String {
        let measure = self.measure;
        let cell = |cell: &super::report::CellReport| HeatCell {
            x: cell.cell.last,
            y: cell.cell.first,
            value: cell.difference.mean,
            starred: cell.survives,
            note: format!(
                "{}: {} {}, accuracy {:.1} %, p {:.3}",
                block(cell.cell),
                interval(measure, cell.difference),
                measure.unit(),
                100.0 * cell.accuracy,
                cell.p
            ),
        };
        let means = || self.cells.iter().map(|cell| cell.difference.mean);
        let map = HeatMap {
            title: format!(
                "{TITLE} {}, {} of {}",
                self.model,
                counted(self.questions, "question"),
                self.task
            ),
            legend: format!(
                "{}: blue up to {} {unit}, red down to {} {unit}; ★ better on the other half too",
                measure.name(),
                measure.signed(means().fold(0.0, f64::max)),
                measure.signed(means().fold(0.0, f64::min)),
                unit = measure.unit()
            ),
            x: "last layer of the block that runs twice",
            y: "first layer",
            cells: self.cells.iter().map(cell).collect(),
        };
        map.svg()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_triangle_has_a_row_for_each_first_layer() {
        let cells = Cell::all(6, 6);
        let mut shades = vec![Shade::Unclear; cells.len()];
        shades[0] = Shade::Survives;
        shades[5] = Shade::Loses(3);
        shades[6] = Shade::Gains;
        let text = triangle(6, &cells, &shades);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "  first\\last  0         5");
        assert_eq!(lines[1], "           0  * · · · · █");
        assert_eq!(lines[2], "           1    + · · · ·");
        assert_eq!(lines[6], "           5            ·");
        assert!(
            triangle(64, &Cell::all(64, 64), &vec![Shade::Unclear; 2080])
                .lines()
                .all(|l| l.chars().count() <= 80)
        );
    }
}
