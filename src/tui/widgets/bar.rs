//! Bars from block characters.

/// Lower eighths of a cell, from none to all.
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Left eighths of a cell, from none to all.
const LEFT_EIGHTHS: [char; 9] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

/// A horizontal bar of `width` cells, filled to `share` (0 to 1) by eighths of a cell.
pub fn horizontal(share: f64, width: usize) -> String {
    let filled = (share.clamp(0.0, 1.0) * (width * 8) as f64).round() as usize;
    (0..width)
        .map(|cell| LEFT_EIGHTHS[filled.saturating_sub(cell * 8).min(8)])
        .collect()
}

/// The glyph of row `row` (0 is the lowest) of a column `rows` high that is filled to `share`.
/// A share of 0 still shows its lowest eighth: there is something, however little.
pub fn vertical(share: f64, row: usize, rows: usize) -> char {
    let filled = (share.clamp(0.0, 1.0) * (rows * 8) as f64).round().max(1.0) as usize;
    EIGHTHS[filled.saturating_sub(row * 8).min(8)]
}

/// The lower eighths of a cell.
pub fn lower(eighths: usize) -> char {
    EIGHTHS[eighths.min(8)]
}

/// Eighths of row `row` (0 is the highest) of a column `rows` high that hangs down by `share`. More than nothing
/// shows at least one.
pub fn hanging(share: f64, row: usize, rows: usize) -> usize {
    let least = if share > 0.0 { 1.0 } else { 0.0 };
    let filled = (share.clamp(0.0, 1.0) * (rows * 8) as f64).round().max(least) as usize;
    filled.saturating_sub(row * 8).min(8)
}

/// Splits `width` cells among `shares` (which sum to 1). What is more than nothing gets at least
/// one cell where there are enough.
pub fn split(shares: [f64; 3], width: usize) -> [usize; 3] {
    let mut cells = shares.map(|s| match s {
        s if s <= 0.0 => 0,
        s => ((s * width as f64).round() as usize).max(1),
    });
    // Rounding is settled with the largest part.
    let largest = (0..3).max_by(|a, b| shares[*a].total_cmp(&shares[*b])).unwrap_or(1);
    let others: usize = (0..3).filter(|i| *i != largest).map(|i| cells[i]).sum();
    cells[largest] = width.saturating_sub(others);
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_fill_by_eighths() {
        assert_eq!(horizontal(0.0, 3), "   ");
        assert_eq!(horizontal(0.5, 3), "█▌ ");
        assert_eq!(horizontal(1.0, 3), "███");
        assert_eq!(horizontal(f64::NAN, 2), "  ");
        assert_eq!([vertical(0.0, 0, 2), vertical(0.0, 1, 2)], ['▁', ' ']);
        assert_eq!([vertical(0.75, 0, 2), vertical(0.75, 1, 2)], ['█', '▄']);
    }

    #[test]
    fn bars_hang_by_eighths() {
        assert_eq!(
            [hanging(0.0, 0, 2), hanging(0.001, 0, 2), hanging(0.25, 0, 2)],
            [0, 1, 4]
        );
        assert_eq!(
            [hanging(0.75, 0, 2), hanging(0.75, 1, 2), hanging(7.0, 1, 2)],
            [8, 4, 8]
        );
        assert_eq!(hanging(f64::NAN, 0, 2), 0);
    }

    #[test]
    fn shares_get_their_cells() {
        assert_eq!(split([0.0, 1.0, 0.0], 8), [0, 8, 0]);
        assert_eq!(split([0.01, 0.98, 0.01], 8), [1, 6, 1]);
        assert_eq!(split([0.5, 0.25, 0.25], 8), [4, 2, 2]);
    }
}
