//! Transposes of frozen weights.

use anyhow::Result;
use candle_core::Tensor;

use super::rows_of;
use crate::model::kernel::dense::{Matrix, product};
use crate::model::kernel::{self, Activations, Arena, PackedMatrix};
use crate::model::linear::Linear;

/// The transpose of the matrices of some linear layers of the same input, stacked: (inputs, all outputs).
pub(super) struct Transposed {
    weights: Weights,
    rows: usize,
    columns: usize,
}

enum Weights {
    /// Eight bits a weight.
    Packed(PackedMatrix),
    /// Row by row.
    Dense(Vec<f32>),
    /// The matrices as they are, (all outputs, inputs), where the model is.
    OnDevice(Tensor),
}

impl Transposed {
    /// Packed where the layers' own weights are of few bits and the sizes allow it.
    pub fn new(layers: &[&Linear], arena: &Arena) -> Result<Self> {
        let mut matrices = Vec::with_capacity(layers.len());
        for layer in layers {
            matrices.push(layer.floats()?);
        }
        let rows = matrices.first().map_or(0, |(_, inputs)| *inputs);
        let columns: usize = matrices.iter().map(|(values, _)| values.len() / rows.max(1)).sum();
        let mut values = vec![0.0; rows * columns];
        let mut from = 0;
        for (matrix, _) in &matrices {
            for (output, row) in matrix.chunks_exact(rows).enumerate() {
                for (input, w) in row.iter().enumerate() {
                    values[input * columns + from + output] = *w;
                }
            }
            from += matrix.len() / rows;
        }
        let few_bits = layers.iter().all(|layer| !layer.is_dense());
        let packed = few_bits.then(|| PackedMatrix::from_floats(&values, rows, columns, arena));
        let weights = match packed.flatten() {
            Some(packed) => Weights::Packed(packed),
            None => Weights::Dense(values),
        };
        Ok(Transposed { weights, rows, columns })
    }

    /// On the layers' own device, which multiplies by the matrices themselves.
    pub fn on_device(layers: &[&Linear]) -> Result<Self> {
        let matrices = layers
            .iter()
            .map(|layer| layer.rows())
            .collect::<candle_core::Result<Vec<_>>>()?;
        let matrix = match matrices.as_slice() {
            [one] => one.clone(),
            several => Tensor::cat(several, 0)?,
        };
        let (columns, rows) = matrix.dims2()?;
        Ok(Transposed {
            weights: Weights::OnDevice(matrix),
            rows,
            columns,
        })
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// d (n, all outputs) → (n, inputs), row by row.
    pub fn product(&self, d: &[f32]) -> Result<Vec<f32>> {
        Ok(match &self.weights {
            Weights::OnDevice(matrix) => {
                let d = Tensor::from_slice(d, (d.len() / self.columns, self.columns), matrix.device())?;
                rows_of(&d.to_dtype(matrix.dtype())?.matmul(matrix)?)?
            }
            Weights::Packed(packed) => {
                let [products] = kernel::matmul([packed], &Activations::coarse(d, self.columns));
                products
            }
            Weights::Dense(values) => {
                let n = d.len() / self.columns;
                let mut products = vec![0.0; n * self.rows];
                let weights = Matrix::new(values, self.rows, self.columns);
                product(&mut products, Matrix::new(d, n, self.columns), weights.t(), false);
                products
            }
        })
    }
}
