//! What kernels of this program share: addresses of tensors, structs as bytes, and the device that they are written for
//! (`device.h`), for which a CPU stands in in the tests (`emulator.h`).

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(all(test, target_os = "linux"))]
pub(crate) mod emulator;

use candle_core::{CpuStorage, Device, Result, Storage, Tensor, bail};

/// An address on the device, or in memory where the kernel is emulated; 0 for nothing.
pub type Address = u64;

/// Structs of plain numbers without padding, which are sent as they lie.
pub trait Plain: Copy {}

impl Plain for f64 {}

/// The bytes of some structs.
pub fn bytes<T: Plain>(all: &[T]) -> &[u8] {
    // SAFETY: `Plain` types are plain numbers without padding, and u8 takes any address.
    unsafe { std::slice::from_raw_parts(all.as_ptr().cast(), std::mem::size_of_val(all)) }
}

/// Bytes as a tensor of the device, aligned to eight of them.
pub fn upload(bytes: &[u8], device: &Device) -> Result<Tensor> {
    let words: Vec<i64> = bytes
        .chunks(8)
        .map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            i64::from_le_bytes(word)
        })
        .collect();
    let count = words.len();
    Tensor::from_vec(words, count, device)
}

/// Where the values of a contiguous tensor lie.
pub fn address(tensor: &Tensor) -> Result<Address> {
    if !tensor.is_contiguous() {
        bail!("the kernel takes contiguous tensors");
    }
    start(tensor)
}

/// Where the first value of a tensor lies, whatever its strides.
pub fn start(tensor: &Tensor) -> Result<Address> {
    let (storage, layout) = tensor.storage_and_layout();
    let from = (layout.start_offset() * tensor.dtype().size_in_bytes()) as Address;
    let at = match &*storage {
        Storage::Cpu(values) => {
            let at = match values {
                CpuStorage::F32(values) => values.as_ptr() as Address,
                CpuStorage::F16(values) => values.as_ptr() as Address,
                CpuStorage::BF16(values) => values.as_ptr() as Address,
                CpuStorage::I64(values) => values.as_ptr() as Address,
                CpuStorage::U8(values) => values.as_ptr() as Address,
                _ => bail!("the kernel takes no {:?}", tensor.dtype()),
            };
            Some(at)
        }
        #[cfg(feature = "cuda")]
        Storage::Cuda(values) => Some(cuda::address(values)?),
        _ => None,
    };
    match at {
        Some(at) => Ok(at + from),
        None => bail!("the kernel does not run on {:?}", tensor.device().location()),
    }
}
