//! Matrix products of 4- and 8-bit weights with f32 activations on the CPU.
//!
//! Weights of GGUF's 32-column block types are repacked at load: the rows go into groups of 16 (one
//! vector lane each), and every block holds its 16 scales, 16 offsets and the unsigned quants with
//! four neighbouring columns of a row side by side, as the `vpdpbusd` instruction (AVX-512 VNNI)
//! multiplies them. The packed form is no larger than the file's and serves prefill and decode.
//!
//! Activations are split per 32-column block into two signed bytes, x ≈ s·(128·hi + lo), which is
//! 15-bit fixed point: the integer dot products are exact and the result differs from f32 arithmetic
//! by about 1e-5 of the block's greatest activation (llama.cpp's 8-bit activations: 4e-3).
//!
//! One weight is w = d·q + m with q unsigned, so a row's product with a block is
//! d·s·(128·⟨q, hi⟩ + ⟨q, lo⟩) + m·Σx.

mod activations;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod pack;
mod pool;
mod portable;

pub use activations::Activations;
pub use pack::PackedMatrix;

use rayon::prelude::*;

/// Columns of a block.
const BLOCK: usize = 32;
/// Rows of a group, one vector lane each.
const LANES: usize = 16;
/// Activation rows that go over a weight group together, its quants unpacked once.
const TILE: usize = 4;
/// Products of fewer multiplications than this stay on one thread: handing out work costs more.
const PARALLEL_FROM: usize = 1 << 18;

/// y = x · Wᵀ for several matrices and the same activations. Returns for each matrix its
/// (rows of x, rows of W) values, row by row.
pub fn matmul<const N: usize>(weights: [&PackedMatrix; N], x: &Activations) -> [Vec<f32>; N] {
    let mut outputs = weights.map(|w| vec![0.0f32; x.rows() * w.rows()]);
    let kernel = Kernel::detect();
    let targets: [Output; N] = std::array::from_fn(|i| {
        assert_eq!(
            weights[i].cols(),
            x.cols(),
            "the matrix and the activations differ in width"
        );
        Output {
            start: outputs[i].as_mut_ptr(),
            len: outputs[i].len(),
            stride: weights[i].rows(),
        }
    });
    let groups: usize = weights.iter().map(|w| w.groups()).sum();
    let run = |range: std::ops::Range<usize>| {
        let mut first = 0;
        for (weight, output) in weights.iter().zip(targets) {
            let end = first + weight.groups();
            for group in range.start.max(first)..range.end.min(end) {
                kernel.group(weight, group - first, x, output);
            }
            first = end;
        }
    };
    let work = groups * LANES * x.cols() * x.rows();
    if work < PARALLEL_FROM {
        run(0..groups);
    } else if rayon::current_thread_index().is_some() {
        // Several sequences are under way, one a thread: share this product only with idle ones.
        let size = groups.div_ceil(4 * rayon::current_num_threads());
        let starts = (0..groups).into_par_iter().step_by(size);
        starts.for_each(|from| run(from..(from + size).min(groups)));
    } else {
        pool::share(groups, &run);
    }
    outputs
}

/// Where a group's results go: columns `16·group..` of every row of a (rows, stride) matrix.
#[derive(Clone, Copy)]
struct Output {
    start: *mut f32,
    len: usize,
    stride: usize,
}

// SAFETY: the pointer is into a vector that outlives the tasks of `matmul`, and no two tasks write
// the same element: each has weight groups of its own, a group has output columns of its own, and
// `write` is the only access.
unsafe impl Send for Output {}
// SAFETY: as above.
unsafe impl Sync for Output {}

impl Output {
    /// Writes the 16 values of `group` for row `row`; columns past the last are dropped.
    #[inline(always)]
    fn write(&self, row: usize, group: usize, values: &[f32; LANES]) {
        let from = group * LANES;
        let count = LANES.min(self.stride - from);
        let at = row * self.stride + from;
        assert!(at + count <= self.len, "output row {row} group {group} is outside");
        // SAFETY: `at + count <= len` was just checked, the vector is live, and by the argument at
        // `impl Send` no other task touches these elements.
        let out = unsafe { std::slice::from_raw_parts_mut(self.start.add(at), count) };
        out.copy_from_slice(&values[..count]);
    }
}

/// The instruction set the products run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kernel {
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Kernel {
    fn detect() -> Kernel {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vnni")
            {
                return Kernel::Avx512Vnni;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Kernel::Avx2;
            }
        }
        Kernel::Portable
    }

    /// All kernels this machine can run, for tests.
    #[cfg(test)]
    fn available() -> Vec<Kernel> {
        let mut kernels = vec![Kernel::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                kernels.push(Kernel::Avx2);
            }
            if Kernel::detect() == Kernel::Avx512Vnni {
                kernels.push(Kernel::Avx512Vnni);
            }
        }
        kernels
    }

    /// All rows of `x` times one group of `weight`.
    fn group(self, weight: &PackedMatrix, group: usize, x: &Activations, output: Output) {
        match self {
            // SAFETY: `detect` and `available` give this kernel only where the CPU has AVX-512 F, BW
            // and VNNI.
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512Vnni => unsafe { avx512::group(weight, group, x, output) },
            // SAFETY: likewise for AVX2 and FMA.
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => unsafe { portable::group_avx2(weight, group, x, output) },
            Kernel::Portable => portable::group(weight, group, x, output),
        }
    }
}

#[cfg(test)]
mod tests;
