//! The arithmetic of training on slices: products, GELU with its slope, AdamW.
//!
//! Every function works on one thread and adds in an order that depends on shapes alone, so that
//! training gives the same bits however many threads share the layers.

pub use crate::model::kernel::dense::{Matrix, product};

/// Compiles a function's body a second time for AVX2 and takes that where the CPU has it. Nothing
/// is fused, so both give the same bits.
macro_rules! vectorised {
    ($(#[$doc:meta])* $vis:vis fn $name:ident / $avx2:ident / $body:ident($($arg:ident: $type:ty),* $(,)?) $block:block) => {
        $(#[$doc])*
        $vis fn $name($($arg: $type),*) {
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!("avx2") {
                // SAFETY: the CPU was just seen to have AVX2.
                return unsafe { $avx2($($arg),*) };
            }
            $body($($arg),*)
        }

        /// # Safety
        /// The CPU must have AVX2.
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2")]
        unsafe fn $avx2($($arg: $type),*) {
            $body($($arg),*)
        }

        #[inline(always)]
        fn $body($($arg: $type),*) $block
    };
}

vectorised! {
    /// x ← x·scale + shift, where `scale` and `shift` repeat over x.
    pub fn scale_and_shift / scale_and_shift_avx2 / scale_and_shift_body(x: &mut [f32], scale: &[f32], shift: &[f32]) {
        for row in x.chunks_mut(scale.len()) {
            for (x, (scale, shift)) in row.iter_mut().zip(scale.iter().zip(shift)) {
                *x = *x * scale + shift;
            }
        }
    }
}

vectorised! {
    /// Adds `bias` to each row of x.
    pub fn add_bias / add_bias_avx2 / add_bias_body(x: &mut [f32], bias: &[f32]) {
        for row in x.chunks_exact_mut(bias.len()) {
            for (x, bias) in row.iter_mut().zip(bias) {
                *x += bias;
            }
        }
    }
}

vectorised! {
    /// Adds each row of x to `sums`.
    pub fn add_rows / add_rows_avx2 / add_rows_body(sums: &mut [f32], x: &[f32]) {
        for row in x.chunks_exact(sums.len()) {
            for (sum, x) in sums.iter_mut().zip(row) {
                *sum += x;
            }
        }
    }
}

vectorised! {
    /// x ← x·y
    pub fn multiply / multiply_avx2 / multiply_body(x: &mut [f32], y: &[f32]) {
        for (x, y) in x.iter_mut().zip(y) {
            *x *= y;
        }
    }
}

vectorised! {
    /// x ← gelu(x) by its tanh approximation (arXiv 1606.08415), and gelu'(x) into `slope`.
    pub fn gelu / gelu_avx2 / gelu_body(x: &mut [f32], slope: &mut [f32]) {
        const A: f32 = 0.797_884_6; // √(2/π)
        const B: f32 = 0.044_715;
        for (x, slope) in x.iter_mut().zip(slope) {
            let square = *x * *x;
            let t = tanh(A * *x * (1.0 + B * square));
            *slope = 0.5 * (1.0 + t) + 0.5 * *x * (1.0 - t * t) * A * (1.0 + 3.0 * B * square);
            *x *= 0.5 * (1.0 + t);
        }
    }
}

/// tanh to within 5e-7: the rational function that Eigen uses, exact ±1 to f32 beyond its bounds.
#[inline(always)]
fn tanh(x: f32) -> f32 {
    let x = x.clamp(-7.905_311, 7.905_311);
    let s = x * x;
    let mut p = -2.760_768_5e-16;
    for coefficient in [
        2.000_188e-13,
        -8.604_672e-11,
        5.122_297_1e-8,
        1.485_722_4e-5,
        6.372_619_3e-4,
        4.893_525e-3,
    ] {
        p = p * s + coefficient;
    }
    let mut q = 1.198_258_4e-6;
    for coefficient in [1.185_347_1e-4, 2.268_434_6e-3, 4.893_525e-3] {
        q = q * s + coefficient;
    }
    x * p / q
}

/// The numbers of one step of AdamW.
#[derive(Clone, Copy)]
pub struct AdamStep {
    /// Learning rate of the step.
    pub rate: f32,
    /// 1 − rate·weight decay
    keep: f32,
    /// 1/(1 − β₁ᵗ) and 1/(1 − β₂ᵗ)
    correct: [f32; 2],
    /// β₁ and β₂
    betas: [f32; 2],
}

const BETA_1: f32 = 0.9;
const BETA_2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

impl AdamStep {
    /// Step `t`, counted from 1.
    pub fn new(t: usize, rate: f64, weight_decay: f64) -> Self {
        AdamStep::with_betas(t, rate, weight_decay, [BETA_1, BETA_2])
    }

    /// As [`AdamStep::new`], with other decays of the moments than 0.9 and 0.999.
    pub fn with_betas(t: usize, rate: f64, weight_decay: f64, betas: [f32; 2]) -> Self {
        let correct = |beta: f32| (1.0 / (1.0 - f64::from(beta).powf(t as f64))) as f32;
        AdamStep {
            rate: rate as f32,
            keep: (1.0 - rate * weight_decay) as f32,
            correct: betas.map(correct),
            betas,
        }
    }
}

vectorised! {
    /// One step of AdamW (Loshchilov & Hutter, arXiv 1711.05101): θ ← θ·(1 − ηλ) − η·m̂/(√v̂ + ε).
    pub fn adam_w / adam_w_avx2 / adam_w_body(
        parameters: &mut [f32],
        gradients: &[f32],
        first: &mut [f32],
        second: &mut [f32],
        step: AdamStep,
    ) {
        let [correct_1, correct_2] = step.correct;
        let [beta_1, beta_2] = step.betas;
        let moments = first.iter_mut().zip(second);
        for ((p, g), (m, v)) in parameters.iter_mut().zip(gradients).zip(moments) {
            *m = beta_1 * *m + (1.0 - beta_1) * g;
            *v = beta_2 * *v + (1.0 - beta_2) * (g * g);
            *p = *p * step.keep - step.rate * (*m * correct_1) / ((*v * correct_2).sqrt() + EPSILON);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Tensor, Var};
    use candle_nn::{AdamW, Optimizer, ParamsAdamW};

    #[test]
    fn products_of_matrices_and_their_transposes() {
        // a (2, 3), b (3, 2)
        let (a, b) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 0.0, 0.0, 1.0, 2.0, 2.0]);
        let mut out = [10.0; 4];
        product(&mut out, Matrix::new(&a, 2, 3), Matrix::new(&b, 3, 2), false);
        assert_eq!(out, [7.0, 8.0, 16.0, 17.0]);
        product(&mut out, Matrix::new(&b, 3, 2).t(), Matrix::new(&a, 2, 3).t(), true);
        assert_eq!(out, [14.0, 24.0, 24.0, 34.0]);
    }

    #[test]
    fn what_runs_on_this_machine_gives_the_bits_of_the_plain_bodies() {
        let of = |count: usize, step: f32| -> Vec<f32> { (0..count).map(|i| (i as f32 * step).sin() * 3.0).collect() };
        let (x, row, other) = (of(37 * 5, 0.7), of(37, 0.3), of(37, 1.1));
        let same = |name: &str, by: &dyn Fn(&mut [f32]), body: &dyn Fn(&mut [f32])| {
            let (mut found, mut expected) = (x.clone(), x.clone());
            by(&mut found);
            body(&mut expected);
            assert_ne!(expected, x, "{name} does nothing");
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&found), bits(&expected), "{name}");
        };
        same("scale_and_shift", &|x| scale_and_shift(x, &row, &other), &|x| {
            scale_and_shift_body(x, &row, &other)
        });
        same("add_bias", &|x| add_bias(x, &row), &|x| add_bias_body(x, &row));
        same("add_rows", &|x| add_rows(&mut x[..37], &of(74, 0.2)), &|x| {
            add_rows_body(&mut x[..37], &of(74, 0.2))
        });
        same("multiply", &|x| multiply(&mut x[..37], &row), &|x| {
            multiply_body(&mut x[..37], &row)
        });
        let left = 37;
        same(
            "gelu",
            &|x| {
                let (x, slope) = x.split_at_mut(left);
                gelu(x, slope)
            },
            &|x| {
                let (x, slope) = x.split_at_mut(left);
                gelu_body(x, slope)
            },
        );
        let step = AdamStep::new(3, 0.01, 0.1);
        type Run<'a> = &'a dyn Fn(&mut [f32], &mut [f32], &mut [f32]);
        let moments = |x: &mut [f32], run: Run| {
            let (parameters, rest) = x.split_at_mut(left);
            let (first, rest) = rest.split_at_mut(left);
            let second = &mut rest[..37];
            second.iter_mut().for_each(|v| *v = v.abs());
            run(parameters, first, second);
        };
        same(
            "adam_w",
            &|x| moments(x, &|p, m, v| adam_w(p, &row, m, v, step)),
            &|x| moments(x, &|p, m, v| adam_w_body(p, &row, m, v, step)),
        );
    }

    #[test]
    fn gelu_and_its_slope() {
        let exact = |x: f64| {
            let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
            0.5 * x * (1.0 + u.tanh())
        };
        let points: Vec<f32> = (-3000..=3000).map(|i| i as f32 / 200.0).collect();
        let (mut values, mut slopes) = (points.clone(), vec![0.0; points.len()]);
        gelu(&mut values, &mut slopes);
        for ((x, value), slope) in points.iter().map(|x| f64::from(*x)).zip(&values).zip(&slopes) {
            let bound = 1e-6 * (1.0 + x.abs());
            assert!((f64::from(*value) - exact(x)).abs() < bound, "gelu({x}) = {value}");
            let expected = (exact(x + 1e-5) - exact(x - 1e-5)) / 2e-5;
            assert!((f64::from(*slope) - expected).abs() < 1e-5, "gelu'({x}) = {slope}");
        }
    }

    #[test]
    fn adam_w_is_candles() {
        let start: Vec<f32> = (0..37).map(|i| (i as f32 - 18.0) / 7.0).collect();
        let var = Var::from_tensor(&Tensor::new(&start[..], &Device::Cpu).unwrap()).unwrap();
        let params = ParamsAdamW {
            lr: 0.01,
            weight_decay: 0.1,
            ..ParamsAdamW::default()
        };
        let mut theirs = AdamW::new(vec![var.clone()], params).unwrap();
        let (mut ours, mut first, mut second) = (start.clone(), vec![0.0; 37], vec![0.0; 37]);
        for t in 1..=20 {
            // The gradient of Σ x³/3.
            let gradients: Vec<f32> = ours.iter().map(|x| x * x).collect();
            adam_w(
                &mut ours,
                &gradients,
                &mut first,
                &mut second,
                AdamStep::new(t, 0.01, 0.1),
            );
            let loss = var
                .powf(3.0)
                .unwrap()
                .sum_all()
                .unwrap()
                .affine(1.0 / 3.0, 0.0)
                .unwrap();
            theirs.backward_step(&loss).unwrap();
        }
        for (ours, theirs) in ours.iter().zip(var.to_vec1::<f32>().unwrap()) {
            assert!((ours - theirs).abs() < 1e-4, "{ours} {theirs}");
        }
        assert!(ours.iter().zip(&start).all(|(a, b)| a != b || *b == 0.0));
    }
}
