//! What the device can do at most, and time on it.

use std::time::Instant;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};

use super::median;

pub struct Limits {
    /// Bytes a second to and from its memory.
    pub bytes: f64,
    /// Multiplications and additions a second in large products.
    pub flops: f64,
}

const WARM: usize = 3;
const TIMES: usize = 15;

impl Limits {
    /// Copies 1 GiB and multiplies in `dtype`; medians.
    pub fn measure(device: &Device, dtype: DType) -> Result<Limits> {
        let side = if device.is_cpu() { 512 } else { 8192 };
        let a = Tensor::randn(0f32, 1.0, (side, side), device)?.to_dtype(dtype)?;
        let product = several(|| Ok(timed(device, || Ok(a.matmul(&a).map(drop)?))?.0))?;
        Ok(Limits {
            bytes: copied(device)?,
            flops: 2.0 * (side as f64).powi(3) / product,
        })
    }
}

/// Bytes a second, read and written, of a copy within the device's memory.
fn copied(device: &Device) -> Result<f64> {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = device {
        return on_cuda(device);
    }
    let bytes = 16 << 20;
    let data = Tensor::zeros(bytes, DType::U8, device)?;
    let target = data.copy()?;
    let seconds = several(|| Ok(timed(device, || Ok(target.slice_set(&data, 0, 0)?))?.0))?;
    Ok(2.0 * bytes as f64 / seconds)
}

/// By the driver's own copy, timed by the device's events: what a launch takes on the host does not count.
#[cfg(feature = "cuda")]
fn on_cuda(device: &candle_core::CudaDevice) -> Result<f64> {
    use candle_core::cuda_backend::cudarc::driver::sys::CUevent_flags;
    let bytes = 1 << 30;
    let stream = device.cuda_stream();
    let data = stream.alloc_zeros::<u8>(bytes)?;
    let mut target = stream.alloc_zeros::<u8>(bytes)?;
    let seconds = several(|| {
        let start = stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT))?;
        stream.memcpy_dtod(&data, &mut target)?;
        let end = stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT))?;
        Ok(f64::from(start.elapsed_ms(&end)?) / 1e3)
    })?;
    Ok(2.0 * bytes as f64 / seconds)
}

/// The median of several times, the first ones not counted.
fn several(mut once: impl FnMut() -> Result<f64>) -> Result<f64> {
    let all = (0..WARM + TIMES).map(|_| once()).collect::<Result<Vec<f64>>>()?;
    Ok(median(&all[WARM..]))
}

/// Seconds until the device has done it.
pub fn timed<T>(device: &Device, work: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    device.synchronize()?;
    let start = Instant::now();
    let done = work()?;
    device.synchronize()?;
    Ok((start.elapsed().as_secs_f64(), done))
}
