//! The predictor's arithmetic: question tokens → layers → logits.
//!
//! token features → linear to the width; learned layer embeddings attend to them; two encoder layers over the layers (norm
//! after each part, ReLU), as PyTorch's `TransformerEncoderLayer` is by default; a boundary logit and three operation logits
//! a layer.

use anyhow::{Result, ensure};
use candle_core::{D, Tensor};
use candle_nn::ops::softmax;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Width of the network.
pub const WIDTH: usize = 256;
/// Attention heads.
pub const HEADS: usize = 4;
/// Encoder layers over the model's layers.
pub const BLOCKS: usize = 2;
/// Width of an encoder layer's feed-forward part, in widths.
pub const FEED_FORWARD: usize = 4;
/// Of everything in training.
pub const DROPOUT: f64 = 0.1;
/// Of the norms.
const EPS: f64 = 1e-5;
/// Added to the scores of tokens that pad a batch.
pub const MASKED: f32 = -1e9;

/// The sizes that decide all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PredictorShape {
    /// Layers of the model whose programs are predicted.
    pub layers: usize,
    /// Size of the token features.
    pub inputs: usize,
    /// Width of the network, [`WIDTH`] as a rule; a multiple of [`HEADS`].
    pub width: usize,
}

impl PredictorShape {
    /// Names, as in the authors' code, and shapes of the tensors, in the order of [`Network::new`].
    pub fn tensors(self) -> Vec<(String, Vec<usize>)> {
        let PredictorShape { layers, inputs, width } = self;
        let inner = FEED_FORWARD * width;
        let mut all = vec![
            ("q_proj.weight".to_owned(), vec![width, inputs]),
            ("q_proj.bias".into(), vec![width]),
            ("layer_embedding.weight".into(), vec![layers, width]),
        ];
        let attention = |name: &str| {
            [
                (format!("{name}.in_proj_weight"), vec![3 * width, width]),
                (format!("{name}.in_proj_bias"), vec![3 * width]),
                (format!("{name}.out_proj.weight"), vec![width, width]),
                (format!("{name}.out_proj.bias"), vec![width]),
            ]
        };
        all.extend(attention("cross_attn"));
        for block in 0..BLOCKS {
            let name = format!("layer_encoder.layers.{block}");
            all.extend(attention(&format!("{name}.self_attn")));
            all.extend([
                (format!("{name}.linear1.weight"), vec![inner, width]),
                (format!("{name}.linear1.bias"), vec![inner]),
                (format!("{name}.linear2.weight"), vec![width, inner]),
                (format!("{name}.linear2.bias"), vec![width]),
                (format!("{name}.norm1.weight"), vec![width]),
                (format!("{name}.norm1.bias"), vec![width]),
                (format!("{name}.norm2.weight"), vec![width]),
                (format!("{name}.norm2.bias"), vec![width]),
            ]);
        }
        all.extend([
            ("seg_head.weight".into(), vec![1, width]),
            ("seg_head.bias".into(), vec![1]),
            ("op_head.weight".into(), vec![3, width]),
            ("op_head.bias".into(), vec![3]),
        ]);
        all
    }

    /// Numbers in all tensors.
    pub fn parameters(self) -> usize {
        let sizes = self.tensors().into_iter();
        sizes.map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }
}

/// Attention of PyTorch's `MultiheadAttention`.
#[derive(Clone, Debug)]
struct Attention {
    in_weight: Tensor,
    in_bias: Tensor,
    out: Linear,
}

#[derive(Clone, Debug)]
struct Linear {
    weight: Tensor,
    bias: Tensor,
}

#[derive(Clone, Debug)]
struct Encoder {
    attention: Attention,
    inner: Linear,
    outer: Linear,
    norms: [Linear; 2],
}

/// The network with its tensors, in f32 on the CPU. Gradients flow through it where they are variables.
#[derive(Clone, Debug)]
pub struct Network {
    /// Sizes of its tensors.
    pub shape: PredictorShape,
    tensors: Vec<Tensor>,
    projection: Linear,
    embedding: Tensor,
    cross: Attention,
    encoders: Vec<Encoder>,
    boundary: Linear,
    operation: Linear,
}

impl PartialEq for Network {
    fn eq(&self, other: &Self) -> bool {
        self.shape == other.shape && self.values().ok() == other.values().ok()
    }
}

impl Network {
    /// # Errors
    /// Another number of tensors than [`PredictorShape::tensors`] names, or other shapes.
    pub fn new(shape: PredictorShape, tensors: Vec<Tensor>) -> Result<Self> {
        let expected = shape.tensors();
        ensure!(
            shape.width.is_multiple_of(HEADS) && shape.layers > 0,
            "a predictor of width {} for {} layers: the width has to be a multiple of {HEADS}",
            shape.width,
            shape.layers
        );
        let fits = tensors.len() == expected.len() && tensors.iter().zip(&expected).all(|(t, (_, s))| t.dims() == s);
        ensure!(fits, "the tensors are not those of a predictor of this shape");
        let mut next = tensors.iter().cloned();
        let mut take = || next.next().expect("their number was checked");
        let linear = |take: &mut dyn FnMut() -> Tensor| Linear {
            weight: take(),
            bias: take(),
        };
        let attention = |take: &mut dyn FnMut() -> Tensor| Attention {
            in_weight: take(),
            in_bias: take(),
            out: linear(take),
        };
        let projection = linear(&mut take);
        let embedding = take();
        let cross = attention(&mut take);
        let encoder = |_| Encoder {
            attention: attention(&mut take),
            inner: linear(&mut take),
            outer: linear(&mut take),
            norms: [linear(&mut take), linear(&mut take)],
        };
        let encoders = (0..BLOCKS).map(encoder).collect();
        let (boundary, operation) = (linear(&mut take), linear(&mut take));
        Ok(Network {
            shape,
            projection,
            embedding,
            cross,
            encoders,
            boundary,
            operation,
            tensors,
        })
    }

    /// The tensors in the order of [`PredictorShape::tensors`].
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// All numbers, one tensor after the other.
    pub fn values(&self) -> Result<Vec<f32>> {
        let mut values = Vec::with_capacity(self.shape.parameters());
        for tensor in &self.tensors {
            values.extend(tensor.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(values)
    }

    /// Logits of questions (questions, tokens, inputs): boundaries (questions, layers) and operations (questions, layers,
    /// 3). `mask` (questions, tokens) is added to the scores of their tokens, and `dropout` draws what is left out in
    /// training.
    ///
    /// # Errors
    /// Features of another size.
    pub fn forward(
        &self,
        features: &Tensor,
        mask: Option<&Tensor>,
        mut dropout: Option<&mut ChaCha8Rng>,
    ) -> Result<(Tensor, Tensor)> {
        let (questions, tokens, inputs) = features.dims3()?;
        let PredictorShape { layers, width, .. } = self.shape;
        ensure!(
            inputs == self.shape.inputs && tokens > 0,
            "the predictor reads {} numbers a token, there are {inputs} of {tokens} tokens",
            self.shape.inputs
        );
        let read = self.projection.forward(features)?;
        let asking = self
            .embedding
            .unsqueeze(0)?
            .broadcast_as((questions, layers, width))?
            .contiguous()?;
        let mut x = self.cross.forward(&asking, &read, mask, &mut dropout)?;
        for encoder in &self.encoders {
            x = encoder.forward(&x, &mut dropout)?;
        }
        Ok((
            self.boundary.forward(&x)?.squeeze(D::Minus1)?,
            self.operation.forward(&x)?,
        ))
    }
}

impl Linear {
    /// x·Wᵀ + b over the last dimension.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (rows, inputs) = (x.elem_count() / x.dim(D::Minus1)?, x.dim(D::Minus1)?);
        let flat = x
            .reshape((rows, inputs))?
            .matmul(&self.weight.t()?)?
            .broadcast_add(&self.bias)?;
        let mut shape = x.dims().to_vec();
        *shape.last_mut().expect("x has a last dimension") = self.weight.dim(0)?;
        Ok(flat.reshape(shape)?)
    }

    /// The norm with this gain and bias.
    fn norm(&self, x: &Tensor) -> Result<Tensor> {
        let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
        let normed = centred.broadcast_div(&(variance + EPS)?.sqrt()?)?;
        Ok(normed.broadcast_mul(&self.weight)?.broadcast_add(&self.bias)?)
    }
}

impl Attention {
    /// `asking` (questions, n, width) attends to `read` (questions, tokens, width).
    fn forward(
        &self,
        asking: &Tensor,
        read: &Tensor,
        mask: Option<&Tensor>,
        dropout: &mut Option<&mut ChaCha8Rng>,
    ) -> Result<Tensor> {
        let (questions, n, width) = asking.dims3()?;
        let tokens = read.dim(1)?;
        let part = |index: usize, x: &Tensor, rows: usize| -> Result<Tensor> {
            let linear = Linear {
                weight: self.in_weight.narrow(0, index * width, width)?,
                bias: self.in_bias.narrow(0, index * width, width)?,
            };
            let heads = linear.forward(x)?.reshape((questions, rows, HEADS, width / HEADS))?;
            Ok(heads.transpose(1, 2)?.contiguous()?)
        };
        let (q, k, v) = (part(0, asking, n)?, part(1, read, tokens)?, part(2, read, tokens)?);
        let scale = 1.0 / ((width / HEADS) as f64).sqrt();
        let mut scores = (q.matmul(&k.transpose(2, 3)?.contiguous()?)? * scale)?;
        if let Some(mask) = mask {
            scores = scores.broadcast_add(&mask.reshape((questions, 1, 1, tokens))?)?;
        }
        let weights = drop_out(&softmax(&scores, D::Minus1)?, dropout)?;
        let heads = weights.matmul(&v)?.transpose(1, 2)?.contiguous()?;
        self.out.forward(&heads.reshape((questions, n, width))?)
    }
}

impl Encoder {
    fn forward(&self, x: &Tensor, dropout: &mut Option<&mut ChaCha8Rng>) -> Result<Tensor> {
        let attended = self.attention.forward(x, x, None, dropout)?;
        let x = self.norms[0].norm(&(x + drop_out(&attended, dropout)?)?)?;
        let inner = drop_out(&self.inner.forward(&x)?.relu()?, dropout)?;
        let fed = self.outer.forward(&inner)?;
        self.norms[1].norm(&(&x + drop_out(&fed, dropout)?)?)
    }
}

/// Leaves out a share [`DROPOUT`] of `x` and scales the rest, where there is something to draw by.
fn drop_out(x: &Tensor, dropout: &mut Option<&mut ChaCha8Rng>) -> Result<Tensor> {
    let Some(rng) = dropout else { return Ok(x.clone()) };
    let kept = (1.0 / (1.0 - DROPOUT)) as f32;
    let limit = (DROPOUT * f64::from(u32::MAX)) as u32;
    let mask: Vec<f32> = (0..x.elem_count())
        .map(|_| if rng.random::<u32>() < limit { 0.0 } else { kept })
        .collect();
    Ok((x * Tensor::from_vec(mask, x.dims(), x.device())?)?)
}
