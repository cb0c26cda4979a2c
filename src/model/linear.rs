//! A linear layer, in whichever form its weights are held.

use candle_core::quantized::{QMatMul, QTensor};
use candle_core::{DType, Device, Module, Result, Tensor};

use super::fused::floats;
use super::kernel::{self, PackedMatrix};
use super::weights::Embedding;

/// y = x · Wᵀ + b.
pub struct Linear {
    weight: Weight,
    /// (outputs)
    pub(super) bias: Option<Tensor>,
}

/// Linear layers of the same input, in one matrix or in several.
pub struct FusedLinear<const N: usize> {
    pub(super) each: [Linear; N],
    /// The layer of all their outputs in turn, whose matrix theirs are views of, and how many outputs each has.
    pub(super) fused: Option<(Linear, [usize; N])>,
}

/// The forms of a weight matrix (outputs, inputs).
pub enum Weight {
    /// Two to eight bits, or floats of 16, for this program's CPU kernels; f32 activations.
    Packed(PackedMatrix),
    /// Any GGUF type, by candle's kernels.
    Quantised(QMatMul),
    /// Floats in the activations' type.
    Dense(Tensor),
}

/// Weights as they lie in memory.
pub(super) enum Stored<'a> {
    Dense(&'a Tensor),
    Quantised(&'a QTensor),
}

impl Linear {
    /// `weight` is (outputs, inputs), `bias` (outputs).
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

    /// As [`PackedMatrix::round_activations`]; false where the weights are not packed.
    pub(super) fn round_activations(&mut self) -> bool {
        match &mut self.weight {
            Weight::Packed(packed) => packed.round_activations(),
            _ => false,
        }
    }

    /// The weights as candle stores them; `None` where they are packed for the CPU.
    pub(super) fn stored(&self) -> Option<Stored<'_>> {
        match &self.weight {
            Weight::Packed(_) => None,
            Weight::Quantised(QMatMul::QTensor(rows)) => Some(Stored::Quantised(rows)),
            Weight::Quantised(QMatMul::Tensor(rows) | QMatMul::TensorF16(rows)) | Weight::Dense(rows) => {
                Some(Stored::Dense(rows))
            }
        }
    }

    /// Whether the weights are held as floats.
    pub(super) fn is_dense(&self) -> bool {
        match &self.weight {
            Weight::Packed(packed) => packed.is_floats(),
            Weight::Quantised(QMatMul::QTensor(_)) => false,
            Weight::Dense(_) | Weight::Quantised(_) => true,
        }
    }

    /// The weights as they are multiplied, (outputs, inputs) row by row in f32, and the number of inputs.
    pub(super) fn floats(&self) -> Result<(Vec<f32>, usize)> {
        let dense = match &self.weight {
            Weight::Packed(packed) => {
                let mut values = Vec::with_capacity(packed.rows() * packed.cols());
                (0..packed.rows()).for_each(|row| packed.extend_with_row(row, &mut values));
                return Ok((values, packed.cols()));
            }
            Weight::Quantised(QMatMul::QTensor(weight)) => weight.dequantize(&Device::Cpu)?,
            Weight::Quantised(QMatMul::Tensor(weight) | QMatMul::TensorF16(weight)) | Weight::Dense(weight) => {
                weight.clone()
            }
        };
        let inputs = dense.dims2()?.1;
        Ok((dense.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?, inputs))
    }

    /// The weights as floats (outputs, inputs) where they are.
    pub(super) fn rows(&self) -> Result<Tensor> {
        match &self.weight {
            Weight::Packed(_) => candle_core::bail!("weights that are packed for the CPU are no tensor"),
            Weight::Quantised(QMatMul::QTensor(weight)) => weight.dequantize(&weight.device()),
            Weight::Quantised(QMatMul::Tensor(weight) | QMatMul::TensorF16(weight)) | Weight::Dense(weight) => {
                Ok(weight.clone())
            }
        }
    }

    /// How products with the weights are computed, in words.
    pub(super) fn how(&self) -> String {
        match &self.weight {
            Weight::Packed(_) => "packed kernels".to_owned(),
            Weight::Quantised(QMatMul::QTensor(weight)) => format!("general path, {:?}", weight.dtype()),
            Weight::Quantised(QMatMul::Tensor(weight) | QMatMul::TensorF16(weight)) | Weight::Dense(weight) => {
                format!("floats of {} bits", 8 * weight.dtype().size_in_bytes())
            }
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

impl<const N: usize> FusedLinear<N> {
    /// Layers of one input, each with a matrix of its own.
    pub fn new(each: [Linear; N]) -> Self {
        FusedLinear { each, fused: None }
    }

    /// Dense layers in one matrix (all outputs, inputs), whose rows are those of the layers in turn; `parts` are each
    /// one's number of outputs and bias. One token then takes one product, which a GPU starts sooner than several.
    pub fn fused(matrix: Tensor, parts: [(usize, Option<Tensor>); N]) -> Result<Self> {
        let outputs = parts.each_ref().map(|(outputs, _)| *outputs);
        let bias = |(outputs, bias): &(usize, Option<Tensor>)| match bias {
            Some(bias) => Ok(bias.clone()),
            None => Tensor::zeros(*outputs, matrix.dtype(), matrix.device()),
        };
        let biases = match parts.iter().any(|(_, bias)| bias.is_some()) {
            true => Some(Tensor::cat(&parts.iter().map(bias).collect::<Result<Vec<_>>>()?, 0)?),
            false => None,
        };
        let mut each = Vec::with_capacity(N);
        let mut from = 0;
        for (outputs, bias) in parts {
            each.push(Linear::new(Weight::Dense(matrix.narrow(0, from, outputs)?), bias));
            from += outputs;
        }
        Ok(FusedLinear {
            each: each.try_into().ok().expect("one layer a part"),
            fused: Some((Linear::new(Weight::Dense(matrix), biases), outputs)),
        })
    }

    /// (tokens, inputs) → (tokens, all outputs in turn), where the layers have one matrix.
    pub(super) fn together(&self, x: &Tensor) -> Result<Option<Tensor>> {
        self.fused.as_ref().map(|(fused, _)| fused.forward(x)).transpose()
    }

    /// (tokens, inputs) → each layer's (tokens, outputs)
    pub fn forward(&self, x: &Tensor) -> Result<[Tensor; N]> {
        let Some((fused, outputs)) = self.fused.as_ref().filter(|_| x.dims()[0] == 1) else {
            // Of several tokens the fused outputs would not lie together.
            return Linear::forward_all(self.each.each_ref(), x);
        };
        let all = fused.forward(x)?;
        let mut each = Vec::with_capacity(N);
        let mut from = 0;
        for &outputs in outputs {
            each.push(all.narrow(1, from, outputs)?);
            from += outputs;
        }
        Ok(each.try_into().expect("one output a layer"))
    }
}

fn packed_products<const N: usize>(weights: [&PackedMatrix; N], x: &Tensor) -> Result<Vec<Tensor>> {
    let tokens = x.dims2()?.0;
    let x = x.contiguous()?;
    let activations = weights[0].activations(&floats(&x)?[..]);
    let products = kernel::matmul(weights, &activations);
    let shaped = products.into_iter().zip(weights);
    shaped
        .map(|(y, w)| Tensor::from_vec(y, (tokens, w.rows()), &Device::Cpu))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fused_layers_are_views_of_one_matrix_and_give_what_each_gives() {
        let matrix = Tensor::randn(0f32, 1.0, (9, 4), &Device::Cpu).unwrap();
        let bias = Tensor::randn(0f32, 1.0, 3, &Device::Cpu).unwrap();
        let parts = || [(4, None), (3, Some(bias.clone())), (2, None)];
        let fused = FusedLinear::fused(matrix.clone(), parts()).unwrap();
        let mut from = 0;
        let copies = parts().map(|(outputs, bias)| {
            let rows = matrix.narrow(0, from, outputs).unwrap().force_contiguous().unwrap();
            from += outputs;
            Linear::new(Weight::Dense(rows), bias)
        });
        let apart = FusedLinear::new(copies);
        let starts = fused.each.each_ref().map(|layer| match &layer.weight {
            Weight::Dense(rows) => rows.layout().start_offset(),
            _ => panic!("dense weights were expected"),
        });
        assert_eq!(starts, [0, 4 * 4, 7 * 4]);
        for tokens in [1, 2] {
            let x = Tensor::randn(0f32, 1.0, (tokens, 4), &Device::Cpu).unwrap();
            let (found, expected) = (fused.forward(&x).unwrap(), apart.forward(&x).unwrap());
            for (found, expected) in found.iter().zip(&expected) {
                assert!(found.is_contiguous());
                let off = (found - expected).unwrap().abs().unwrap().max_all().unwrap();
                assert!(off.to_scalar::<f32>().unwrap() < 1e-5);
            }
            // One product for one token: its outputs are parts of one tensor.
            assert_eq!(found[1].layout().start_offset() > 0, tokens == 1);
            let together = fused.together(&x).unwrap().unwrap();
            assert_eq!(together.dims(), [tokens, 9]);
            let off = (together.narrow(1, 4, 3).unwrap() - &expected[1])
                .unwrap()
                .abs()
                .unwrap();
            assert!(off.max_all().unwrap().to_scalar::<f32>().unwrap() < 1e-5);
            assert!(apart.together(&x).unwrap().is_none());
        }
    }
}
