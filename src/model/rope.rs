//! Rotary position embedding: tables of cosines and sines at absolute positions.

use std::sync::Mutex;

use candle_core::{DType, Device, Result, Tensor};

use super::config::{ModelConfig, RopeScaling};

/// The fewest positions that the tables have.
const FEWEST_POSITIONS: usize = 256;

/// A model's rotary embedding.
pub struct Rope {
    /// (head_dim / 2)
    inverse_frequencies: Vec<f64>,
    /// Cosines and sines of the positions from 0 on, each (positions, head_dim / 2), on the device, so that tokens
    /// upload none. Twice as many are made when one beyond them is asked for.
    tables: Mutex<Option<(Tensor, Tensor)>>,
    interleaved: bool,
    dtype: DType,
    device: Device,
    /// That of layers which see a window only, where it is another one.
    local: Option<Box<Rope>>,
}

impl Rope {
    /// `dtype` is that of the activations.
    pub fn new(config: &ModelConfig, dtype: DType, device: &Device) -> Self {
        let local = config
            .details
            .sliding
            .as_ref()
            .and_then(|sliding| sliding.rope.as_ref());
        let local = local.map(|(theta, scaling)| Box::new(Self::of(config, *theta, scaling, dtype, device)));
        Rope {
            local,
            ..Self::of(config, config.rope_theta, &config.rope_scaling, dtype, device)
        }
    }

    fn of(config: &ModelConfig, theta: f64, scaling: &RopeScaling, dtype: DType, device: &Device) -> Self {
        let plain = (0..config.head_dim / 2).map(|i| 1.0 / theta.powf(2.0 * i as f64 / config.head_dim as f64));
        let inverse_frequencies = match scaling {
            RopeScaling::None => plain.collect(),
            RopeScaling::Linear(factor) => plain.map(|f| f / factor).collect(),
            RopeScaling::Factors(factors) => plain.zip(factors).map(|(f, &d)| f / f64::from(d)).collect(),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_context,
            } => {
                let original = *original_context as f64;
                let scale = |f: f64| llama3(f, *factor, *low_freq_factor, *high_freq_factor, original);
                plain.map(scale).collect()
            }
        };
        Rope {
            inverse_frequencies,
            tables: Mutex::new(None),
            interleaved: config.rope_interleaved,
            dtype,
            device: device.clone(),
            local: None,
        }
    }

    /// That of layers which see a window only, where it is another one.
    pub(super) fn local(&self) -> Option<&Rope> {
        self.local.as_deref()
    }

    /// Whether the pairs that turn are neighbours.
    pub fn interleaved(&self) -> bool {
        self.interleaved
    }

    /// Cosines and sines at `positions`, each (tokens, head_dim / 2).
    pub fn tables(&self, positions: &[u32]) -> Result<(Tensor, Tensor)> {
        let end = positions.iter().max().map_or(0, |&last| last as usize + 1);
        let (cos, sin) = self.up_to(end)?;
        let in_turn = positions.windows(2).all(|pair| pair[1] == pair[0] + 1);
        if let (Some(&first), true) = (positions.first(), in_turn) {
            let rows = |table: Tensor| table.narrow(0, first as usize, positions.len());
            return Ok((rows(cos)?, rows(sin)?));
        }
        let rows = Tensor::new(positions, &self.device)?;
        Ok((cos.index_select(&rows, 0)?, sin.index_select(&rows, 0)?))
    }

    /// The tables of the positions below `end`, and perhaps of some more.
    fn up_to(&self, end: usize) -> Result<(Tensor, Tensor)> {
        let mut tables = self.tables.lock().expect("nothing panics while it holds the tables");
        if let Some((cos, sin)) = tables.as_ref().filter(|(cos, _)| cos.dims()[0] >= end) {
            return Ok((cos.clone(), sin.clone()));
        }
        let positions = end.next_power_of_two().max(FEWEST_POSITIONS);
        let made = (self.table(positions, f64::cos)?, self.table(positions, f64::sin)?);
        Ok(tables.insert(made).clone())
    }

    fn table(&self, positions: usize, of: fn(f64) -> f64) -> Result<Tensor> {
        let frequencies = &self.inverse_frequencies;
        let values = (0..positions).flat_map(|p| frequencies.iter().map(move |f| of(p as f64 * f) as f32));
        let shape = (positions, frequencies.len());
        Tensor::from_vec(values.collect(), shape, &self.device)?.to_dtype(self.dtype)
    }

    /// Turns `x` (1, heads, tokens, head_dim) by the tables of its tokens.
    pub fn apply(&self, x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
        if self.interleaved {
            candle_nn::rotary_emb::rope_i(x, cos, sin)
        } else {
            candle_nn::rotary_emb::rope(x, cos, sin)
        }
    }
}

/// Llama 3.1's scaling of one inverse frequency: wavelengths beyond the original context are
/// stretched by `factor`, short ones kept, those between interpolated.
fn llama3(frequency: f64, factor: f64, low: f64, high: f64, original_context: f64) -> f64 {
    let wavelength = 2.0 * std::f64::consts::PI / frequency;
    let smooth = ((original_context / wavelength - low) / (high - low)).clamp(0.0, 1.0);
    (1.0 - smooth) * frequency / factor + smooth * frequency
}

#[cfg(test)]
impl Rope {
    /// Frequencies as Llama 2 has them, on the CPU.
    pub(super) fn plain(head_dim: usize, dtype: DType) -> Self {
        let frequency = |i: usize| 10_000f64.powf(-2.0 * i as f64 / head_dim as f64);
        Rope {
            inverse_frequencies: (0..head_dim / 2).map(frequency).collect(),
            tables: Mutex::new(None),
            interleaved: false,
            dtype,
            device: Device::Cpu,
            local: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_hold_the_angles_of_any_positions() {
        let rope = Rope::plain(8, DType::F32);
        let expected = |positions: &[u32], of: fn(f64) -> f64| -> Vec<Vec<f32>> {
            let angles = |&p: &u32| {
                rope.inverse_frequencies
                    .iter()
                    .map(|f| f64::from(p) * f)
                    .collect::<Vec<_>>()
            };
            let row = |p: &u32| angles(p).into_iter().map(|angle| of(angle) as f32).collect();
            positions.iter().map(row).collect()
        };
        for positions in [&[0][..], &[5, 6, 7], &[3, 3, 4], &[9, 2], &[255, 256], &[700], &[1]] {
            let (cos, sin) = rope.tables(positions).unwrap();
            assert_eq!(
                cos.to_vec2::<f32>().unwrap(),
                expected(positions, f64::cos),
                "{positions:?}"
            );
            assert_eq!(
                sin.to_vec2::<f32>().unwrap(),
                expected(positions, f64::sin),
                "{positions:?}"
            );
        }
    }

    #[test]
    fn tables_are_kept_and_grow_by_doubling() {
        let rope = Rope::plain(8, DType::F32);
        let held = || {
            rope.tables
                .lock()
                .unwrap()
                .as_ref()
                .map(|(cos, _)| (cos.dims()[0], cos.id()))
        };
        let mut sizes = Vec::new();
        for position in [0, 255, 256, 300, 511, 512, 5] {
            let before = held();
            rope.tables(&[position]).unwrap();
            sizes.push(held().unwrap().0);
            let grew = before.is_none_or(|(size, _)| position as usize >= size);
            assert_eq!(before != held(), grew, "position {position}");
        }
        assert_eq!(sizes, [256, 256, 512, 512, 512, 1024, 1024]);
    }

    #[test]
    fn llama3_scales_only_long_wavelengths() {
        let scale = |f| llama3(f, 32.0, 1.0, 4.0, 8192.0);
        assert_eq!(scale(1.0), 1.0);
        let slow = 2.0 * std::f64::consts::PI / 20_000.0;
        assert!((scale(slow) - slow / 32.0).abs() < 1e-12);
        // Wavelength 8192/2: smooth = (2 - 1) / (4 - 1) = 1/3.
        let middle = 2.0 * std::f64::consts::PI / 4096.0;
        assert!((scale(middle) - (middle * 2.0 / 3.0 / 32.0 + middle / 3.0)).abs() < 1e-12);
    }
}
