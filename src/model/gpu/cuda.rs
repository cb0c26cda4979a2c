//! Addresses on a CUDA device.

use candle_core::cuda_backend::cudarc::driver::DevicePtr;
use candle_core::cuda_backend::{CudaStorage, CudaStorageSlice};
use candle_core::{Result, bail};

use super::Address;

/// Where the first value lies. Nothing is waited for: what a kernel reads was made by the thread that launches it, on its
/// stream, or before the device was waited for.
pub fn address(values: &CudaStorage) -> Result<Address> {
    let stream = values.device.cuda_stream();
    Ok(match &values.slice {
        CudaStorageSlice::F32(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::F16(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::BF16(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::I64(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::U8(slice) => slice.device_ptr(&stream).0,
        _ => bail!(
            "the kernel takes no {:?}",
            candle_core::backend::BackendStorage::dtype(values)
        ),
    })
}
