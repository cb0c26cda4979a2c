//! What the device can do at most, and time on it.

use std::time::Instant;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};

pub struct Limits {
    /// Bytes a second to and from its memory.
    pub bytes: f64,
    /// Multiplications and additions a second in large products.
    pub flops: f64,
}

impl Limits {
    /// Copies and multiplies in `dtype`.
    pub fn measure(device: &Device, dtype: DType) -> Result<Limits> {
        let small = device.is_cpu();
        let elements = if small { 1 << 22 } else { 1 << 29 };
        let data = Tensor::zeros(elements, dtype, device)?;
        // Into memory that is there already: making some anew is no copying.
        let target = data.copy()?;
        let moved = (2 * elements * dtype.size_in_bytes()) as f64;
        let seconds = best(device, || target.slice_set(&data, 0, 0))?;
        let side = if small { 512 } else { 8192 };
        let a = Tensor::randn(0f32, 1.0, (side, side), device)?.to_dtype(dtype)?;
        let product = best(device, || a.matmul(&a).map(drop))?;
        Ok(Limits {
            bytes: moved / seconds,
            flops: 2.0 * (side as f64).powi(3) / product,
        })
    }
}

/// The least seconds of ten times, the device's work included.
fn best(device: &Device, work: impl Fn() -> candle_core::Result<()>) -> Result<f64> {
    let mut least = f64::INFINITY;
    for _ in 0..10 {
        least = least.min(timed(device, || Ok(work()?))?.0);
    }
    Ok(least)
}

/// Seconds until the device has done it.
pub fn timed<T>(device: &Device, work: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    device.synchronize()?;
    let start = Instant::now();
    let done = work()?;
    device.synchronize()?;
    Ok((start.elapsed().as_secs_f64(), done))
}
