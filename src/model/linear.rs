//! A linear layer, in whichever form its weights are held.

use candle_core::quantized::QMatMul;
use candle_core::{Device, Module, Result, Tensor};

use super::fused::floats;
use super::kernel::{self, Activations, PackedMatrix};
use super::weights::Embedding;

/// y = x · Wᵀ + b.
pub struct Linear {
    weight: Weight,
    /// (outputs)
    pub(super) bias: Option<Tensor>,
}

/// The forms of a weight matrix (outputs, inputs).
pub enum Weight {
    /// Four or eight bits for this program's CPU kernels; f32 activations.
    Packed(PackedMatrix),
    /// Any GGUF type, by candle's kernels.
    Quantised(QMatMul),
    /// Floats in the activations' type.
    Dense(Tensor),
}

impl Linear {
    pub fn new(weight: Weight, bias: Option<Tensor>) -> Self {
        Linear { weight, bias }
    }

    /// The weights, where they are packed.
    pub(super) fn packed(&self) -> Option<&PackedMatrix> {
        match &self.weight {
            Weight::Packed(packed) => Some(packed),
            _ => None,
        }
    }

    /// Bytes of the weights, without the bias.
    pub(super) fn bytes(&self) -> usize {
        match &self.weight {
            Weight::Packed(packed) => packed.bytes(),
            Weight::Quantised(QMatMul::QTensor(weight)) => weight.storage_size_in_bytes(),
            Weight::Quantised(QMatMul::Tensor(weight) | QMatMul::TensorF16(weight)) | Weight::Dense(weight) => {
                weight.elem_count() * weight.dtype().size_in_bytes()
            }
        }
    }

    /// The weights as embeddings, a row a token, which share their memory; `None` where they are packed.
    pub(super) fn embedding(&self) -> Option<Embedding> {
        match &self.weight {
            Weight::Dense(rows) => Some(Embedding::Dense(rows.clone())),
            Weight::Quantised(QMatMul::QTensor(rows)) => Some(Embedding::Quantised(rows.clone())),
            Weight::Quantised(_) | Weight::Packed(_) => None,
        }
    }

    /// (tokens, inputs) → (tokens, outputs)
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let [y] = Self::forward_all([self], x)?;
        Ok(y)
    }

    /// Several layers on the same input; packed ones share its preparation and the threads.
    pub fn forward_all<const N: usize>(layers: [&Linear; N], x: &Tensor) -> Result<[Tensor; N]> {
        let packed = layers.map(Linear::packed);
        let outputs = if packed.iter().all(Option::is_some) {
            packed_products(packed.map(|p| p.expect("all are packed")), x)?
        } else {
            let mut outputs = Vec::with_capacity(N);
            for layer in layers {
                outputs.push(layer.product(x)?);
            }
            outputs
        };
        let mut biased = Vec::with_capacity(N);
        for (layer, y) in layers.iter().zip(outputs) {
            biased.push(match &layer.bias {
                Some(bias) => y.broadcast_add(bias)?,
                None => y,
            });
        }
        Ok(biased.try_into().expect("one output a layer"))
    }

    fn product(&self, x: &Tensor) -> Result<Tensor> {
        match &self.weight {
            Weight::Packed(p) => Ok(packed_products([p], x)?.remove(0)),
            Weight::Quantised(q) => q.forward(x),
            Weight::Dense(w) => x.matmul(&w.t()?),
        }
    }
}

fn packed_products<const N: usize>(weights: [&PackedMatrix; N], x: &Tensor) -> Result<Vec<Tensor>> {
    let (tokens, inputs) = x.dims2()?;
    let x = x.contiguous()?;
    let activations = Activations::new(&floats(&x)?, inputs);
    let products = kernel::matmul(weights, &activations);
    let shaped = products.into_iter().zip(weights);
    shaped
        .map(|(y, w)| Tensor::from_vec(y, (tokens, w.rows()), &Device::Cpu))
        .collect()
}
