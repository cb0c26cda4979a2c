//! All layers' routers as batched tensors, for training.

use anyhow::Result;
use candle_core::{Device, Tensor, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::features::Moments;
use crate::router::MlpRouter;

/// L routers at once: z = W₂·gelu(W₁·x + b₁) + b₂ (tanh approximation), meaned over an example's
/// windows.
pub struct RouterNetwork {
    /// (L, d, r)
    w1: Var,
    /// (L, 1, r)
    b1: Var,
    /// (L, r, 3)
    w2: Var,
    /// (L, 1, 3)
    b2: Var,
}

impl RouterNetwork {
    /// Xavier-uniform weights, zero biases.
    pub fn new(layers: usize, hidden_size: usize, width: usize, seed: u64) -> Result<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut xavier = |inputs: usize, outputs: usize| -> Result<Var> {
            let bound = (6.0 / (inputs + outputs) as f32).sqrt();
            let values: Vec<f32> = (0..layers * inputs * outputs)
                .map(|_| rng.random_range(-bound..bound))
                .collect();
            let tensor = Tensor::from_vec(values, (layers, inputs, outputs), &Device::Cpu)?;
            Ok(Var::from_tensor(&tensor)?)
        };
        let (w1, w2) = (xavier(hidden_size, width)?, xavier(width, 3)?);
        let zeros = |size: usize| Var::zeros((layers, 1, size), candle_core::DType::F32, &Device::Cpu);
        Ok(RouterNetwork {
            w1,
            b1: zeros(width)?,
            w2,
            b2: zeros(3)?,
        })
    }

    pub fn variables(&self) -> Vec<Var> {
        [&self.w1, &self.b1, &self.w2, &self.b2].map(Var::clone).into()
    }

    /// Logits (L, B, 3) of a batch of B examples: windows (L, B·W, d), weights (1, B, W, 1).
    ///
    /// The second layer is linear, so the mean over windows may be taken before it: that is the
    /// mean of the windows' logits.
    pub fn forward(&self, windows: &Tensor, weights: &Tensor) -> candle_core::Result<Tensor> {
        let (layers, rows, _) = windows.dims3()?;
        let (_, examples, per_example, _) = weights.dims4()?;
        debug_assert_eq!(rows, examples * per_example);
        let inner = windows.matmul(&self.w1)?.broadcast_add(&self.b1)?.gelu()?;
        let width = inner.dims()[2];
        let mean = inner
            .reshape((layers, examples, per_example, width))?
            .broadcast_mul(weights)?
            .sum(2)?;
        mean.matmul(&self.w2)?.broadcast_add(&self.b2)
    }

    /// The routers as they are kept on disk. They read hidden states as they are; where the network
    /// was trained on standardised ones, that is folded into the first layer:
    /// W₁·(x − μ)/σ + b₁ = (W₁/σ)·x + (b₁ − (W₁/σ)·μ).
    pub fn routers(&self, moments: Option<&Moments>) -> Result<Vec<MlpRouter>> {
        let rows = |weight: &Var| -> Result<Vec<Vec<f32>>> {
            let transposed = weight.transpose(1, 2)?.flatten_from(1)?;
            Ok(transposed.to_vec2()?)
        };
        let biases = |bias: &Var| -> Result<Vec<Vec<f32>>> { Ok(bias.squeeze(1)?.to_vec2()?) };
        let parts = rows(&self.w1)?
            .into_iter()
            .zip(biases(&self.b1)?)
            .zip(rows(&self.w2)?)
            .zip(biases(&self.b2)?);
        let mut routers: Vec<MlpRouter> = parts.map(|(((w1, b1), w2), b2)| MlpRouter { w1, b1, w2, b2 }).collect();
        if let Some(moments) = moments {
            let size = self.w1.dims()[1];
            let of_layers = moments
                .mean
                .chunks_exact(size)
                .zip(moments.deviation.chunks_exact(size));
            for (router, (mean, deviation)) in routers.iter_mut().zip(of_layers) {
                fold(router, mean, deviation);
            }
        }
        Ok(routers)
    }
}

/// Makes a router of (x − mean)/deviation one of x.
fn fold(router: &mut MlpRouter, mean: &[f32], deviation: &[f32]) {
    for (row, bias) in router.w1.chunks_exact_mut(mean.len()).zip(&mut router.b1) {
        let mut shift = 0f64;
        for (w, (mean, deviation)) in row.iter_mut().zip(mean.iter().zip(deviation)) {
            *w /= deviation;
            shift += f64::from(*w) * f64::from(*mean);
        }
        *bias = (f64::from(*bias) - shift) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::mlp::softmax;
    use crate::train::Features;

    #[test]
    fn the_batch_says_what_each_router_says() {
        let (layers, size, windows) = (3, 5, 4);
        let network = RouterNetwork::new(layers, size, 6, 1).unwrap();
        // Biases that are not zero, so that they count.
        network.b1.set(&network.b1.affine(0.0, 0.3).unwrap()).unwrap();
        network.b2.set(&network.b2.affine(0.0, -0.2).unwrap()).unwrap();
        let mut features = Features::new(layers, windows, size);
        let values = |count: usize, shift: f32| -> Vec<Tensor> {
            let of_layer = |layer: usize| {
                let value = |i: usize| (((i * 7 + layer) % 11) as f32 - 5.0) / 8.0 + shift;
                let values: Vec<f32> = (0..count * size).map(value).collect();
                Tensor::from_vec(values, (count, size), &Device::Cpu).unwrap()
            };
            (0..layers).map(of_layer).collect()
        };
        let examples = [values(4, 0.0), values(2, 0.5)];
        for example in &examples {
            features.push(example).unwrap();
        }
        for standardised in [false, true] {
            if standardised {
                features.standardise(&[0, 1]);
            }
            let (batch, weights) = features.batch(&[0, 1]).unwrap();
            let logits = network.forward(&batch, &weights).unwrap().to_vec3::<f32>().unwrap();
            let routers = network.routers(features.moments()).unwrap();
            for (layer, router) in routers.iter().enumerate() {
                for (slot, example) in examples.iter().enumerate() {
                    let expected = router.probabilities(&example[layer]).unwrap();
                    let found = softmax(std::array::from_fn(|c| logits[layer][slot][c]));
                    for (found, expected) in found.iter().zip(expected) {
                        assert!((found - expected).abs() < 1e-5, "layer {layer} example {slot}");
                    }
                }
            }
        }
    }
}
