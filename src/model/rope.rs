//! Rotary position embedding: tables of cosines and sines at absolute positions.

use candle_core::{DType, Device, Result, Tensor};

use super::config::{ModelConfig, RopeScaling};

/// Inverse frequencies of a model's RoPE, (head_dim / 2).
pub struct Rope {
    inverse_frequencies: Vec<f64>,
    interleaved: bool,
    dtype: DType,
    device: Device,
}

impl Rope {
    /// `dtype` is that of the activations.
    pub fn new(config: &ModelConfig, dtype: DType, device: &Device) -> Self {
        let plain =
            (0..config.head_dim / 2).map(|i| 1.0 / config.rope_theta.powf(2.0 * i as f64 / config.head_dim as f64));
        let inverse_frequencies = match &config.rope_scaling {
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
            interleaved: config.rope_interleaved,
            dtype,
            device: device.clone(),
        }
    }

    /// Whether the pairs that turn are neighbours.
    pub fn interleaved(&self) -> bool {
        self.interleaved
    }

    /// Cosines and sines at `positions`, each (tokens, head_dim / 2).
    pub fn tables(&self, positions: &[u32]) -> Result<(Tensor, Tensor)> {
        let shape = (positions.len(), self.inverse_frequencies.len());
        let table = |of: fn(f64) -> f64| -> Result<Tensor> {
            let angles = positions.iter().flat_map(|&p| {
                self.inverse_frequencies
                    .iter()
                    .map(move |f| of(f64::from(p) * f) as f32)
            });
            Tensor::from_vec(angles.collect(), shape, &self.device)?.to_dtype(self.dtype)
        };
        Ok((table(f64::cos)?, table(f64::sin)?))
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
            interleaved: false,
            dtype,
            device: Device::Cpu,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
