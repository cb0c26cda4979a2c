//! How features are scaled: for the disk, and for the routers.

/// Mean and standard deviation of hidden units.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// One a unit.
    pub mean: Vec<f32>,
    /// Above 0; 1 for units that do not vary.
    pub deviation: Vec<f32>,
}

impl Moments {
    /// Those that leave `units` as they are.
    pub fn identity(units: usize) -> Self {
        Moments {
            mean: vec![0.0; units],
            deviation: vec![1.0; units],
        }
    }
}

/// Sums from which moments come.
pub(super) struct Sums {
    sums: Vec<f64>,
    squares: Vec<f64>,
    counts: Vec<u32>,
    /// Subtracted before squaring: without it the squares of units far from 0 lose what varies.
    origins: Vec<f32>,
}

impl Sums {
    pub fn new(units: usize) -> Self {
        Sums {
            sums: vec![0.0; units],
            squares: vec![0.0; units],
            counts: vec![0; units],
            origins: vec![0.0; units],
        }
    }

    /// Adds `values` to the units from `first` on.
    pub fn add(&mut self, first: usize, values: &[f32]) {
        for (i, &x) in values.iter().enumerate() {
            let unit = first + i;
            if self.counts[unit] == 0 {
                self.origins[unit] = x;
            }
            let x = f64::from(x) - f64::from(self.origins[unit]);
            self.sums[unit] += x;
            self.squares[unit] += x * x;
            self.counts[unit] += 1;
        }
    }

    pub fn moments(&self) -> Moments {
        let of = |unit: usize| {
            let n = f64::from(self.counts[unit].max(1));
            let shifted = self.sums[unit] / n;
            let mean = shifted + f64::from(self.origins[unit]);
            let variance = (self.squares[unit] / n - shifted * shifted).max(0.0);
            // Less is rounding: such a unit is the same for every question.
            let varies = variance > 1e-10 * (1.0 + mean * mean);
            (mean as f32, if varies { variance.sqrt() as f32 } else { 1.0 })
        };
        let (mean, deviation) = (0..self.sums.len()).map(of).unzip();
        Moments { mean, deviation }
    }
}

/// From what is on the disk to what routers read, for each window and hidden unit: v·scale + shift.
pub struct Scaling {
    /// (W, hidden_size)
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
}

impl Scaling {
    /// `stored`: (W, hidden_size), what the values on the disk were scaled by. `moments`:
    /// (hidden_size), what routers want them scaled by.
    pub(super) fn new(stored: (&[f32], &[f32]), moments: &Moments) -> Self {
        let size = moments.mean.len();
        let of = |(i, (mean, deviation)): (usize, (&f32, &f32))| {
            let (to_mean, to_deviation) = (moments.mean[i % size], f64::from(moments.deviation[i % size]));
            let shift = (f64::from(*mean) - f64::from(to_mean)) / to_deviation;
            ((f64::from(*deviation) / to_deviation) as f32, shift as f32)
        };
        let (scale, shift) = stored.0.iter().zip(stored.1).enumerate().map(of).unzip();
        Scaling { scale, shift }
    }
}
