//! What becomes of a state before a router reads it.

use candle_core::{D, DType, Result, Tensor};

use super::mlp::dot;

/// Added to the mean square, so that a state of zeros stays one.
const EPS: f32 = 1e-5;

/// How routers have their input: a pooled window, or one token's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InputNorm {
    /// As it is.
    #[default]
    None,
    /// x / rms(x) with rms(x) = √(mean(x²) + 10⁻⁵), without a gain (spec §8): states grow by orders of magnitude from
    /// layer to layer.
    Rms,
}

impl InputNorm {
    /// All of them.
    pub const ALL: [InputNorm; 2] = [InputNorm::None, InputNorm::Rms];

    /// As the metadata of checkpoints write it.
    pub fn name(self) -> &'static str {
        match self {
            InputNorm::None => "none",
            InputNorm::Rms => "rms",
        }
    }

    /// What a state (hidden_size) is multiplied with.
    pub(super) fn scale(self, state: &[f32]) -> f32 {
        match self {
            InputNorm::None => 1.0,
            InputNorm::Rms => (dot(state, state) / state.len() as f32 + EPS).sqrt().recip(),
        }
    }

    /// The states of the last dimension of `x` in f32, on its device.
    pub(super) fn forward(self, x: &Tensor) -> Result<Tensor> {
        let x = x.to_dtype(DType::F32)?;
        match self {
            InputNorm::None => Ok(x),
            InputNorm::Rms => {
                let mean = x.sqr()?.mean_keepdim(D::Minus1)?;
                x.broadcast_div(&(mean + f64::from(EPS))?.sqrt()?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn states_come_to_a_root_mean_square_of_one() {
        let state = [3.0f32, -4.0, 0.0, 1e-3];
        let tensor = Tensor::new(&[state, [0.0; 4]], &Device::Cpu).unwrap();
        let rows = InputNorm::Rms.forward(&tensor).unwrap().to_vec2::<f32>().unwrap();
        // mean(x²) = 6.25 (and 2.5e-7), so 3 becomes 3 / 2.5.
        assert!((rows[0][0] - 1.2).abs() < 1e-5 && (rows[0][1] + 1.6).abs() < 1e-5);
        assert_eq!(rows[1], [0.0; 4]);
        let scale = InputNorm::Rms.scale(&state);
        assert!(state.iter().zip(&rows[0]).all(|(x, y)| (x * scale - y).abs() < 1e-6));
        let same = InputNorm::None.forward(&tensor).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(
            (same[0].as_slice(), InputNorm::None.scale(&state)),
            (state.as_slice(), 1.0)
        );
    }
}
