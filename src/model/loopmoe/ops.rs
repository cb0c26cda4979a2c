//! What candle has no operation with a gradient for, or only a slow one: norms, the causal softmax, the inner of SwiGLU,
//! and the products of an expert's rows with its own matrix.
//!
//! On the CPU each is one pass with its slope written out; on other devices the same is made of candle's operations.
//! Everything is summed in an order that depends on shapes alone, so that one seed gives one set of bits.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, D, DType, Layout, Result, Shape, Tensor, bail};

use crate::model::kernel::dense::{Matrix, product};

fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("a LoopMoE operation was given a tensor that is not contiguous");
    };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}

/// x / sqrt(mean(x²) + ε) over the last dimension: RMSNorm without a gain.
pub fn rms_normalise(x: &Tensor, eps: f64) -> Result<Tensor> {
    if x.device().is_cpu() && x.dtype() == DType::F32 {
        return x.contiguous()?.apply_op1(RmsNormalise { eps: eps as f32 });
    }
    let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    x.broadcast_div(&scale)
}

struct RmsNormalise {
    eps: f32,
}

impl RmsNormalise {
    /// 1 / sqrt(mean(x²) + ε)
    fn inverse(&self, row: &[f32]) -> f32 {
        let square: f32 = row.iter().map(|x| x * x).sum();
        1.0 / (square / row.len() as f32 + self.eps).sqrt()
    }
}

impl CustomOp1 for RmsNormalise {
    fn name(&self) -> &'static str {
        "rms-normalise"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = floats(storage, layout)?;
        let width = layout.dims().last().copied().unwrap_or(1);
        let mut out = Vec::with_capacity(x.len());
        for row in x.chunks_exact(width) {
            let inverse = self.inverse(row);
            out.extend(row.iter().map(|x| x * inverse));
        }
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    /// With y = x·s, s = (mean(x²) + ε)^(−1/2): ∂L/∂x = s·(g − y·mean(g·y)).
    fn bwd(&self, x: &Tensor, y: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let width = x.dim(D::Minus1)?;
        let (xs, ys, mut gs) = (values(x)?, values(y)?, values(g)?);
        let rows = gs
            .chunks_exact_mut(width)
            .zip(xs.chunks_exact(width))
            .zip(ys.chunks_exact(width));
        for ((g, x), y) in rows {
            let inverse = self.inverse(x);
            let along: f32 = g.iter().zip(y).map(|(g, y)| g * y).sum::<f32>() / width as f32;
            g.iter_mut().zip(y).for_each(|(g, y)| *g = inverse * (*g - y * along));
        }
        Ok(Some(Tensor::from_vec(gs, x.shape(), x.device())?))
    }
}

/// RMSNorm: [`rms_normalise`] times a gain (width).
pub fn rms_norm(x: &Tensor, gain: &Tensor, eps: f64) -> Result<Tensor> {
    if x.device().is_cpu() && x.dtype() == DType::F32 {
        return x
            .contiguous()?
            .apply_op2(gain, RmsNorm(RmsNormalise { eps: eps as f32 }));
    }
    rms_normalise(x, eps)?.broadcast_mul(gain)
}

struct RmsNorm(RmsNormalise);

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        gain: &CpuStorage,
        gain_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, gain) = (floats(x, x_layout)?, floats(gain, gain_layout)?);
        let mut out = Vec::with_capacity(x.len());
        for row in x.chunks_exact(gain.len()) {
            let inverse = self.0.inverse(row);
            out.extend(row.iter().zip(gain).map(|(x, gain)| x * inverse * gain));
        }
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }

    /// With y = x·s before the gain w: ∂L/∂w = Σ g·y over rows, and ∂L/∂x as of y with g·w.
    fn bwd(&self, x: &Tensor, gain: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (xs, gains, mut gs) = (values(x)?, values(gain)?, values(g)?);
        let width = gains.len();
        let mut by_gain = vec![0.0; width];
        let mut y = vec![0.0; width];
        for (g, x) in gs.chunks_exact_mut(width).zip(xs.chunks_exact(width)) {
            let inverse = self.0.inverse(x);
            let mut along = 0.0;
            for i in 0..width {
                y[i] = x[i] * inverse;
                by_gain[i] += g[i] * y[i];
                g[i] *= gains[i];
                along += g[i] * y[i];
            }
            along /= width as f32;
            g.iter_mut().zip(&y).for_each(|(g, y)| *g = inverse * (*g - y * along));
        }
        let by_x = Tensor::from_vec(gs, x.shape(), x.device())?;
        Ok((Some(by_x), Some(Tensor::from_vec(by_gain, width, x.device())?)))
    }
}

/// x + bias (width) in each row.
pub fn add_bias(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() && x.dtype() == DType::F32 {
        return x.contiguous()?.apply_op2(bias, AddBias);
    }
    x.broadcast_add(bias)
}

struct AddBias;

impl CustomOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add-bias"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, bias) = (floats(x, x_layout)?, floats(bias, bias_layout)?);
        let rows = x.chunks_exact(bias.len());
        let out = rows.flat_map(|row| row.iter().zip(bias).map(|(x, bias)| x + bias));
        Ok((CpuStorage::F32(out.collect()), x_layout.shape().clone()))
    }

    /// candle's own sum over rows takes a division for every element.
    fn bwd(&self, _: &Tensor, bias: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut sums = vec![0.0; bias.elem_count()];
        for row in values(g)?.chunks_exact(sums.len()) {
            sums.iter_mut().zip(row).for_each(|(sum, g)| *sum += g);
        }
        let by_bias = Tensor::from_vec(sums, bias.shape(), bias.device())?;
        Ok((Some(g.clone()), Some(by_bias)))
    }
}

/// silu(a) ⊙ b, the inner of SwiGLU.
pub fn silu_product(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.device().is_cpu() && a.dtype() == DType::F32 {
        return a.contiguous()?.apply_op2(&b.contiguous()?, SiluProduct);
    }
    a.silu()? * b
}

struct SiluProduct;

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

impl CustomOp2 for SiluProduct {
    fn name(&self) -> &'static str {
        "silu-product"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (a, b) = (floats(a, a_layout)?, floats(b, b_layout)?);
        let out = a.iter().zip(b).map(|(a, b)| a * sigmoid(*a) * b).collect();
        Ok((CpuStorage::F32(out), a_layout.shape().clone()))
    }

    /// silu'(a) = s·(1 + a·(1 − s)) with s = sigmoid(a).
    fn bwd(&self, a: &Tensor, b: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (mut by_a, mut by_b, g) = (values(a)?, values(b)?, values(g)?);
        for ((a, b), g) in by_a.iter_mut().zip(&mut by_b).zip(&g) {
            let s = sigmoid(*a);
            let (value, slope) = (*a * s, s * (1.0 + *a * (1.0 - s)));
            *a = g * *b * slope;
            *b = g * value;
        }
        let of = |values, like: &Tensor| Tensor::from_vec(values, like.shape(), like.device());
        Ok((Some(of(by_a, a)?), Some(of(by_b, b)?)))
    }
}

/// Softmax over the last dimension of scores (batch, tokens·heads, keys), times `scale`, in which the rows of token t
/// see the keys up to `past` + t.
pub fn causal_softmax(scores: &Tensor, scale: f64, heads: usize, past: usize) -> Result<Tensor> {
    let op = CausalSoftmax {
        scale: scale as f32,
        heads,
        past,
    };
    if scores.device().is_cpu() && scores.dtype() == DType::F32 {
        return scores.contiguous()?.apply_op1(op);
    }
    let (_, rows, keys) = scores.dims3()?;
    let mask = (0..rows).flat_map(|row| (0..keys).map(move |key| (row, key)));
    let mask = mask.map(|(row, key)| if key < op.seen(row) { 0.0 } else { f32::NEG_INFINITY });
    let mask = Tensor::from_vec(mask.collect::<Vec<f32>>(), (1, rows, keys), scores.device())?;
    let mask = mask.to_dtype(scores.dtype())?;
    candle_nn::ops::softmax(&(scores * scale)?.broadcast_add(&mask)?, D::Minus1)
}

struct CausalSoftmax {
    scale: f32,
    heads: usize,
    past: usize,
}

impl CausalSoftmax {
    /// How many keys a row sees.
    fn seen(&self, row: usize) -> usize {
        self.past + row / self.heads + 1
    }
}

impl CustomOp1 for CausalSoftmax {
    fn name(&self) -> &'static str {
        "causal-softmax"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let scores = floats(storage, layout)?;
        let (_, rows, keys) = layout.shape().dims3()?;
        let mut out = vec![0.0; scores.len()];
        for (at, (out, row)) in out.chunks_exact_mut(keys).zip(scores.chunks_exact(keys)).enumerate() {
            let seen = self.seen(at % rows).min(keys);
            let (out, row) = (&mut out[..seen], &row[..seen]);
            let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut sum = 0.0;
            for (out, x) in out.iter_mut().zip(row) {
                *out = ((x - most) * self.scale).exp();
                sum += *out;
            }
            out.iter_mut().for_each(|p| *p /= sum);
        }
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    /// ∂L/∂s = scale·p·(g − Σ g·p); where p is 0 behind the mask, so is the slope.
    fn bwd(&self, scores: &Tensor, p: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let (_, rows, keys) = scores.dims3()?;
        let (p, mut g) = (values(p)?, values(g)?);
        for (at, (g, p)) in g.chunks_exact_mut(keys).zip(p.chunks_exact(keys)).enumerate() {
            let seen = self.seen(at % rows).min(keys);
            let along: f32 = g[..seen].iter().zip(p).map(|(g, p)| g * p).sum();
            g[..seen]
                .iter_mut()
                .zip(p)
                .for_each(|(g, p)| *g = self.scale * p * (*g - along));
            g[seen..].fill(0.0);
        }
        Ok(Some(Tensor::from_vec(g, scores.shape(), scores.device())?))
    }
}

/// Rows of x (rows, in), sorted by expert, each times its expert's matrix of w (experts, out, in): (rows, out). Expert e
/// has the rows `ends[e − 1]..ends[e]`.
pub fn expert_product(x: &Tensor, w: &Tensor, ends: &[usize]) -> Result<Tensor> {
    if x.device().is_cpu() && x.dtype() == DType::F32 {
        let op = ExpertProduct { ends: ends.to_vec() };
        return x.contiguous()?.apply_op2(&w.contiguous()?, op);
    }
    let mut parts = Vec::new();
    for (expert, rows) in ranges(ends) {
        parts.push(x.narrow(0, rows.start, rows.len())?.matmul(&w.get(expert)?.t()?)?);
    }
    Tensor::cat(&parts, 0)
}

/// The experts that have rows, with these.
fn ranges(ends: &[usize]) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> {
    let start = |expert: usize| expert.checked_sub(1).map_or(0, |before| ends[before]);
    let all = (0..ends.len()).map(move |expert| (expert, start(expert)..ends[expert]));
    all.filter(|(_, rows)| !rows.is_empty())
}

struct ExpertProduct {
    ends: Vec<usize>,
}

impl CustomOp2 for ExpertProduct {
    fn name(&self) -> &'static str {
        "expert-product"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, w) = (floats(x, x_layout)?, floats(w, w_layout)?);
        let (rows, inner) = x_layout.shape().dims2()?;
        let (_, out, _) = w_layout.shape().dims3()?;
        let mut y = vec![0.0; rows * out];
        for (expert, part) in ranges(&self.ends) {
            let a = Matrix::new(&x[part.start * inner..part.end * inner], part.len(), inner);
            let b = Matrix::new(&w[expert * out * inner..][..out * inner], out, inner).t();
            product(&mut y[part.start * out..part.end * out], a, b, false);
        }
        Ok((CpuStorage::F32(y), (rows, out).into()))
    }

    /// Per expert: ∂L/∂x = g·W and ∂L/∂W = gᵀ·x.
    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let ((rows, inner), (experts, out, _)) = (x.dims2()?, w.dims3()?);
        let (xs, ws, gs) = (values(x)?, values(w)?, values(g)?);
        let (mut by_x, mut by_w) = (vec![0.0; rows * inner], vec![0.0; experts * out * inner]);
        for (expert, part) in ranges(&self.ends) {
            let g = Matrix::new(&gs[part.start * out..part.end * out], part.len(), out);
            let x = Matrix::new(&xs[part.start * inner..part.end * inner], part.len(), inner);
            let w = Matrix::new(&ws[expert * out * inner..][..out * inner], out, inner);
            product(&mut by_x[part.start * inner..part.end * inner], g, w, false);
            product(&mut by_w[expert * out * inner..][..out * inner], g.t(), x, false);
        }
        let by_x = Tensor::from_vec(by_x, x.shape(), x.device())?;
        Ok((Some(by_x), Some(Tensor::from_vec(by_w, w.shape(), w.device())?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn numbers(count: usize, step: f32) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * step + 0.3).sin() * 1.5).collect()
    }

    /// The slopes of Σ wᵢ·f(x)ᵢ by autograd against central differences.
    fn check(shape: &[usize], f: &dyn Fn(&Tensor) -> Tensor) {
        let count: usize = shape.iter().product();
        let start = numbers(count, 0.9);
        let tensor = |values: &[f32]| Tensor::from_vec(values.to_vec(), shape, &Device::Cpu).unwrap();
        let loss = |x: &Tensor| {
            let y = f(x);
            let weights = Tensor::from_vec(numbers(y.elem_count(), 0.37), y.shape(), &Device::Cpu).unwrap();
            (y * weights).unwrap().sum_all().unwrap()
        };
        let var = Var::from_tensor(&tensor(&start)).unwrap();
        let gradients = loss(var.as_tensor()).backward().unwrap();
        let slopes = values(gradients.get(&var).unwrap()).unwrap();
        for at in 0..count {
            let moved = |by: f32| {
                let mut moved = start.clone();
                moved[at] += by;
                f64::from(loss(&tensor(&moved)).to_scalar::<f32>().unwrap())
            };
            let expected = (moved(1e-2) - moved(-1e-2)) / 2e-2;
            assert!(
                (f64::from(slopes[at]) - expected).abs() < 2e-3,
                "{at}: {} {expected}",
                slopes[at]
            );
        }
        assert!(slopes.iter().any(|s| s.abs() > 1e-2));
    }

    #[test]
    fn slopes_against_finite_differences() {
        check(&[3, 5], &|x| rms_normalise(x, 1e-5).unwrap());
        let row = Tensor::from_vec(numbers(5, 0.8), 5, &Device::Cpu).unwrap();
        let rows = Tensor::from_vec(numbers(15, 0.8), (3, 5), &Device::Cpu).unwrap();
        check(&[3, 5], &|x| rms_norm(x, &row, 1e-5).unwrap());
        check(&[5], &|gain| rms_norm(&rows, gain, 1e-5).unwrap());
        check(&[3, 5], &|x| add_bias(x, &row).unwrap());
        check(&[5], &|bias| add_bias(&rows, bias).unwrap());
        check(&[3, 5], &|a| silu_product(a, &rows).unwrap());
        check(&[3, 5], &|b| silu_product(&rows, b).unwrap());
        check(&[1, 6, 4], &|x| causal_softmax(x, 0.7, 2, 1).unwrap());
        let w = Tensor::from_vec(numbers(24, 0.5), (3, 2, 4), &Device::Cpu).unwrap();
        let x = Tensor::from_vec(numbers(20, 0.5), (5, 4), &Device::Cpu).unwrap();
        let ends = [2, 2, 5];
        check(&[5, 4], &|x| expert_product(x, &w, &ends).unwrap());
        check(&[3, 2, 4], &|w| expert_product(&x, w, &ends).unwrap());
    }

    #[test]
    fn rows_see_what_came_before_them() {
        let scores = Tensor::zeros((1, 4, 5), DType::F32, &Device::Cpu).unwrap();
        let p = values(&causal_softmax(&scores, 1.0, 2, 2).unwrap()).unwrap();
        let third = 1.0f32 / 3.0;
        for row in 0..2 {
            assert_eq!(p[row * 5..][..5], [third, third, third, 0.0, 0.0]);
            assert_eq!(p[(2 + row) * 5..][..5], [0.25, 0.25, 0.25, 0.25, 0.0]);
        }
    }
}
