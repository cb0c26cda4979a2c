//! Matrix products of weights of two to eight bits, or floats of 16, with f32 activations on the CPU.
//!
//! Weights of GGUF's block types are repacked at load: the rows go into groups of 16 (one vector lane each), and every block
//! of 32 columns holds unsigned quants with four neighbouring columns of a row side by side, as the `vpdpbusd` instruction
//! (AVX-512 VNNI) multiplies them. Quants of two and four bits share bytes, and what a type has beyond those are planes of
//! one bit. Before them stand the scales of the 16 rows as the file has them. The packed form is no larger than the file's
//! and a tenth, gives the file's weights to the bit, and serves prefill and decode (`form.rs`, `pack.rs`). Floats of 16 bits
//! stay rows of such and are multiplied in f32 (`halves.rs`).
//!
//! Activations are split per block of 32 columns, or super-block of 256 where the weights have such, into two signed bytes,
//! x ≈ s·(128·hi + lo), which is 15-bit fixed point: the integer dot products are exact and the result differs from f32
//! arithmetic by about 1e-5 of the block's greatest activation (llama.cpp's 8-bit activations: 4e-3).
//!
//! One weight is w = d·q + m with q unsigned, so a row's product with a run of columns of the same scale is
//! d·s·(128·⟨q, hi⟩ + ⟨q, lo⟩) + m·s·Σ(128·hi + lo). In a super-block d = D·i with a whole number i for each run, so
//! that the first part is D·s·(128·Σ i·⟨q, hi⟩ + Σ i·⟨q, lo⟩), whole numbers up to the end of the super-block.

mod activations;
#[cfg(target_arch = "x86_64")]
mod amx;
mod arena;
mod attention;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod dense;
mod form;
mod gradient;
mod halves;
mod pack;
mod pool;
mod portable;
mod rows;
mod vector;

pub use activations::Activations;
pub use arena::Arena;
pub use attention::{AttentionMask, KeyValues, KvBits, greatest};
pub use form::{IQ4_NL_BLOCK, PackedType, iq4_nl_as_q8_0};
pub use pack::{ActivationBits, PackedMatrix};
pub use vector::across;

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use activations::{Bytes, Scales, SuperBytes, SuperScales};
use attention::Attend;
use vector::Lanes;
#[cfg(target_arch = "x86_64")]
use vector::{Avx512, Zmm};

/// Columns of a block.
const BLOCK: usize = 32;
/// Columns of a super-block.
const SUPER_BLOCK: usize = 256;
/// Rows of a group, one vector lane each.
const LANES: usize = 16;
/// Activation rows that a weight group is multiplied with before the next group: few enough for
/// their bytes to stay in the cache.
const ROWS: usize = 64;
/// Products of fewer multiplications than this stay on one thread: handing out work costs more.
const PARALLEL_FROM: usize = 1 << 18;
/// A multiplication of attention takes as long as so many of a product: it waits for keys and values.
const WAITS: usize = 4;
/// A product with fewer rows than this takes as long as with so many: it waits for the weights.
const ROWS_A_READ: usize = 4;

/// y = x · Wᵀ for several matrices and the same activations. Returns for each matrix its
/// (rows of x, rows of W) values, row by row.
pub fn matmul<const N: usize>(weights: [&PackedMatrix; N], x: &Activations) -> [Vec<f32>; N] {
    matmul_beside(weights, x, None)
}

/// Something that one of the threads does while products are shared out.
#[derive(Clone, Copy)]
pub struct OverlappedTask<'a> {
    pub run: &'a (dyn Fn() + Sync),
    /// The groups of 16 rows that the others multiply meanwhile.
    pub groups: usize,
}

/// As [`matmul`], and a task.
pub fn matmul_beside<const N: usize>(
    weights: [&PackedMatrix; N],
    x: &Activations,
    task: Option<OverlappedTask>,
) -> [Vec<f32>; N] {
    let mut outputs = weights.map(|w| vec![0.0f32; x.rows() * w.rows()]);
    let kernel = Kernel::detect();
    weights.iter().for_each(|weight| x.split_for(weight.kind()));
    let rows_at_once = kernel.rows_at_once(&weights);
    let targets: [Output; N] = std::array::from_fn(|i| {
        assert_eq!(
            weights[i].cols(),
            x.cols(),
            "the matrix and the activations differ in width"
        );
        Output {
            slots: Slots::new(&mut outputs[i]),
            stride: weights[i].rows(),
        }
    });
    // The task is the first item, and some empty ones behind it are the others' head start.
    let before = task.map_or(0, |task| task.groups.max(1));
    let items = before + weights.iter().map(|w| w.groups()).sum::<usize>();
    let run = |range: Range<usize>| {
        if let Some(task) = task.filter(|_| range.start == 0) {
            (task.run)();
        }
        for from in (0..x.rows()).step_by(rows_at_once) {
            let rows = from..(from + rows_at_once).min(x.rows());
            let mut first = before;
            for (weight, output) in weights.iter().zip(targets) {
                let end = first + weight.groups();
                for group in range.start.max(first)..range.end.min(end) {
                    kernel.group(weight, group - first, x, rows.clone(), output);
                }
                first = end;
            }
        }
    };
    parallel(items, items * LANES * x.cols() * x.rows().max(ROWS_A_READ), &run);
    outputs
}

/// Switches AMX (Intel's matrix instructions) on, as it is where the processor has it, or off: results are the same to the
/// bit. For measuring. Returns whether it is on.
pub fn use_amx(on: bool) -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        amx::want(on);
        Kernel::detect() == Kernel::Amx
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = on;
        false
    }
}

/// Asks for some floats to be brought from memory.
pub fn fetch(floats: &[f32]) {
    floats.chunks(16).for_each(|line| attention::fetch(line.as_ptr()));
}

/// Runs `run` over the parts of `0..items`, which together take about `work` multiplications, on
/// the threads at hand.
fn parallel(items: usize, work: usize, run: &(dyn Fn(Range<usize>) + Sync)) {
    if work < PARALLEL_FROM {
        run(0..items);
    } else if rayon::current_thread_index().is_some() {
        // Several sequences are under way, one a thread: share this work only with idle ones.
        let size = items.div_ceil(4 * rayon::current_num_threads());
        let starts = (0..items).into_par_iter().step_by(size);
        starts.for_each(|from| run(from..(from + size).min(items)));
    } else {
        pool::share(items, run);
    }
}

/// Calls `run` for each of some parts, which together take about `work` multiplications, on the threads at hand.
fn for_each_part<T: Send>(parts: impl Iterator<Item = T>, work: usize, run: impl Fn(&mut T) + Sync) {
    if work < PARALLEL_FROM {
        return parts.for_each(|mut part| run(&mut part));
    }
    let parts: Vec<Mutex<T>> = parts.map(Mutex::new).collect();
    parallel(parts.len(), work, &|range| {
        for part in &parts[range] {
            run(&mut part.lock().unwrap_or_else(PoisonError::into_inner));
        }
    });
}

/// A vector that several tasks write, each its own elements.
#[derive(Clone, Copy)]
struct Slots {
    start: *mut f32,
    len: usize,
}

// SAFETY: the pointer is into a vector that outlives the tasks that write it, no two tasks write
// the same element (each has weight groups, or query rows, of its own, and those have elements of
// their own), and `write` is the only access.
unsafe impl Send for Slots {}
// SAFETY: as above.
unsafe impl Sync for Slots {}

impl Slots {
    fn new(values: &mut [f32]) -> Self {
        Slots {
            start: values.as_mut_ptr(),
            len: values.len(),
        }
    }

    #[inline(always)]
    fn write(self, at: usize, values: &[f32]) {
        assert!(
            at <= self.len && values.len() <= self.len - at,
            "element {at} is outside the result"
        );
        // SAFETY: `at + values.len() <= len` was just checked, the vector is live, and by the
        // argument at `impl Send` no other task touches these elements.
        let out = unsafe { std::slice::from_raw_parts_mut(self.start.add(at), values.len()) };
        out.copy_from_slice(values);
    }
}

/// Where a group's results go: columns `16·group..` of every row of a (rows, stride) matrix.
#[derive(Clone, Copy)]
struct Output {
    slots: Slots,
    stride: usize,
}

impl Output {
    /// Writes the 16 values of `group` for row `row`; columns past the last are dropped.
    #[inline(always)]
    fn write(&self, row: usize, group: usize, values: &[f32; LANES]) {
        let from = group * LANES;
        let to = row * self.stride + from;
        match self.stride - from {
            LANES.. => self.slots.write(to, values),
            count => self.slots.write(to, &values[..count]),
        }
    }
}

/// Defines a function that runs `$body` compiled for the instruction set at hand, with `V` as its
/// [`vector::Vector`], `ISA` as the witness of its instruction set, and `FUSED` for whether it multiplies and adds at once.
macro_rules! dispatched {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $out:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $type),*) $(-> $out)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma")]
            unsafe fn avx512($($arg: $type),*) $(-> $out)? {
                #[allow(dead_code)]
                type V = Zmm;
                // SAFETY: this function runs only where the processor has AVX-512 F.
                #[allow(dead_code)]
                const ISA: Avx512 = unsafe { Avx512::new() };
                #[allow(dead_code)]
                const FUSED: bool = true;
                $body
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2($($arg: $type),*) $(-> $out)? {
                #[allow(dead_code)]
                type V = Lanes<true>;
                #[allow(dead_code)]
                const ISA: () = ();
                #[allow(dead_code)]
                const FUSED: bool = true;
                $body
            }
            fn portable($($arg: $type),*) $(-> $out)? {
                #[allow(dead_code)]
                type V = Lanes<false>;
                #[allow(dead_code)]
                const ISA: () = ();
                #[allow(dead_code)]
                const FUSED: bool = false;
                $body
            }
            match Kernel::detect() {
                // SAFETY: `detect` gives this kernel only where the CPU has these instructions.
                #[cfg(target_arch = "x86_64")]
                Kernel::Avx512Vnni | Kernel::Amx => unsafe { avx512($($arg),*) },
                // SAFETY: likewise.
                #[cfg(target_arch = "x86_64")]
                Kernel::Avx2 => unsafe { avx2($($arg),*) },
                Kernel::Portable => portable($($arg),*),
            }
        }
    };
}

dispatched! {
    fn split(x: &[f32], cols: usize, bytes: &mut [Bytes], scales: &mut [Scales]) {
        activations::split::<V, false>(ISA, x, cols, bytes, scales)
    }
}

dispatched! {
    fn split_coarse(x: &[f32], cols: usize, bytes: &mut [Bytes], scales: &mut [Scales]) {
        activations::split::<V, true>(ISA, x, cols, bytes, scales)
    }
}

dispatched! {
    fn split_super(x: &[f32], cols: usize, bytes: &mut [SuperBytes], scales: &mut [SuperScales]) {
        activations::split_super::<V>(ISA, x, cols, bytes, scales)
    }
}

dispatched! {
    fn attend_part(attend: &Attend, items: Range<usize>, output: Slots) {
        attend.run::<V, FUSED>(ISA, items, output)
    }
}

dispatched! {
    /// Root-mean-square norm of rows with a gain a column, into `out`.
    pub fn rms_norm(x: &[f32], gain: &[f32], eps: f32, out: &mut [f32]) {
        rows::rms_norm(x, gain, eps, out)
    }
}

dispatched! {
    /// Turns heads by their tokens' angles, see [`rows::rotate`].
    pub fn rotate(x: &mut [f32], cos: &[f32], sin: &[f32], half: usize, interleaved: bool, scale: f32) {
        rows::rotate(x, cos, sin, half, interleaved, scale)
    }
}

dispatched! {
    fn silu_times(gate: &mut [f32], up: &[f32]) {
        rows::silu_times::<FUSED>(gate, up)
    }
}

dispatched! {
    fn gelu_times(gate: &mut [f32], up: &[f32]) {
        rows::gelu_times::<FUSED>(gate, up)
    }
}

/// What the gates of a feed-forward go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gates {
    /// x · σ(x)
    Silu,
    /// GELU by its tanh approximation.
    GeluTanh,
}

/// gate ← activation(gate) · up
pub fn gate_times(gates: Gates, gate: &mut [f32], up: &[f32]) {
    /// Values of a part, and multiplications that take as long as one of them.
    const PART: usize = 4096;
    const WORK: usize = 32;
    let work = gate.len() * WORK;
    let parts = gate.chunks_mut(PART).zip(up.chunks(PART));
    for_each_part(parts, work, |(gate, up)| match gates {
        Gates::Silu => silu_times(gate, up),
        Gates::GeluTanh => gelu_times(gate, up),
    });
}

dispatched! {
    /// x ← gelu(x), by its tanh approximation.
    pub fn gelu(x: &mut [f32]) {
        rows::gelu::<FUSED>(x)
    }
}

dispatched! {
    /// ln Σ exp of one row of logits.
    pub fn logsumexp(logits: &[f32]) -> f64 {
        rows::logsumexp::<FUSED>(logits)
    }
}

dispatched! {
    /// Softmax of each row over what it may see, see [`gradient::softmax_causal`].
    pub fn softmax_causal(x: &mut [f32], width: usize, past: usize) {
        gradient::softmax_causal::<FUSED>(x, width, past)
    }
}

dispatched! {
    /// Gradient of a softmax, see [`gradient::softmax_backward`].
    pub fn softmax_backward(p: &[f32], d: &mut [f32], width: usize) {
        gradient::softmax_backward(p, d, width)
    }
}

dispatched! {
    /// Gradient of the root-mean-square norm, see [`gradient::rms_norm_backward`].
    pub fn rms_norm_backward(x: &[f32], gain: &[f32], eps: f32, d: &[f32], to: &mut [f32]) {
        gradient::rms_norm_backward(x, gain, eps, d, to)
    }
}

dispatched! {
    /// Gradient of [`gate_times`], see [`gradient::gate_times_backward`].
    pub fn gate_times_backward(gates: Gates, gate: &[f32], up: &[f32], d: &[f32], inner: usize, to: &mut [f32]) {
        match gates {
            Gates::Silu => gradient::gate_times_backward(gradient::silu::<FUSED>, gate, up, d, inner, to),
            Gates::GeluTanh => gradient::gate_times_backward(gradient::gelu::<FUSED>, gate, up, d, inner, to),
        }
    }
}

dispatched! {
    /// KL(p ‖ q) of two rows of logits and its gradient, see [`gradient::kl_backward`].
    pub fn kl_backward(teacher: &[f32], student: &mut [f32]) -> f64 {
        gradient::kl_backward::<FUSED>(teacher, student)
    }
}

/// Attention of a chunk's queries (tokens, heads · head_dim), turned and scaled by 1/√head_dim, over
/// `entries`, of which the last `tokens` are the chunk's own. With windows `before` says for each token how many of the
/// entries stand before its own, under [`AttentionMask::Custom`] none of them the chunk's; without, it is empty. Returns (tokens, heads · head_dim).
pub fn attention(
    queries: &[f32],
    entries: &KeyValues,
    (mask, before): (AttentionMask, &[usize]),
    tokens: usize,
    heads: usize,
) -> Vec<f32> {
    let mut mixed = vec![0.0; queries.len()];
    let attend = Attend::new(queries, entries, mask, before, tokens, heads);
    let mut partials = vec![0.0; attend.partials()];
    let output = Slots::new(if partials.is_empty() { &mut mixed } else { &mut partials });
    parallel(attend.items(), attend.work() * WAITS, &|items| {
        attend_part(&attend, items, output)
    });
    if !partials.is_empty() {
        attend.join(&partials, &mut mixed);
    }
    mixed
}

/// The instruction set the products run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kernel {
    /// AVX-512 with VNNI, and for several rows AMX.
    #[cfg(target_arch = "x86_64")]
    Amx,
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
            // The AVX-512 functions switch on AVX2 and FMA too.
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vnni");
            match (avx2, avx512) {
                (true, true) if amx::is_on() => return Kernel::Amx,
                (true, true) => return Kernel::Avx512Vnni,
                (true, false) => return Kernel::Avx2,
                (false, _) => {}
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
            if let Kernel::Avx512Vnni | Kernel::Amx = Kernel::detect() {
                kernels.push(Kernel::Avx512Vnni);
            }
            if Kernel::detect() == Kernel::Amx {
                kernels.push(Kernel::Amx);
            }
        }
        kernels
    }

    /// Activation rows that a group of some weights is multiplied with before the next one.
    fn rows_at_once(self, weights: &[&PackedMatrix]) -> usize {
        #[cfg(target_arch = "x86_64")]
        if self == Kernel::Amx {
            return weights
                .iter()
                .map(|weight| amx::rows_at_once(weight))
                .min()
                .unwrap_or(ROWS);
        }
        let _ = weights;
        ROWS
    }

    /// Some rows of `x` times one group of `weight`.
    fn group(self, weight: &PackedMatrix, group: usize, x: &Activations, rows: Range<usize>, output: Output) {
        match self {
            // SAFETY: `detect` and `available` give this kernel only where the CPU has AVX-512 F, BW and VNNI, and AMX.
            #[cfg(target_arch = "x86_64")]
            Kernel::Amx if amx::pays(weight.kind(), rows.len()) => unsafe {
                amx::group(weight, group, x, rows, output)
            },
            // SAFETY: `detect` and `available` give these kernels only where the CPU has AVX-512 F, BW
            // and VNNI.
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512Vnni | Kernel::Amx => unsafe { avx512::group(weight, group, x, rows, output) },
            // SAFETY: likewise for AVX2 and FMA.
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => unsafe { portable::group_avx2(weight, group, x, rows, output) },
            Kernel::Portable => portable::group(weight, group, x, rows, output),
        }
    }
}

#[cfg(test)]
mod rows_tests;
#[cfg(test)]
mod tests;
