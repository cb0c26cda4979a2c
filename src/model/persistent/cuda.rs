//! The kernel on a CUDA device.

use std::ops::Range;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::sys::{CUdevice_attribute, CUfunction_attribute};
use candle_core::cuda_backend::cudarc::driver::{CudaFunction, LaunchConfig, PushKernelArg};
use candle_core::{CudaDevice, Result, bail};

use super::Launch;
use super::plan::MOST_THREADS;
use crate::model::gpu::Address;

mod ptx {
    include!(concat!(env!("OUT_DIR"), "/decode_ptx.rs"));
}

pub struct CudaLaunch {
    function: CudaFunction,
    device: CudaDevice,
    blocks: u32,
    shared_bytes: u32,
}

impl CudaLaunch {
    /// A block on each multiprocessor, with so many floats of shared memory beside its own.
    pub fn new(device: &CudaDevice, shared_floats: usize) -> Result<Self> {
        let function = device
            .get_or_load_custom_func("decode_token", "drllm_decode", ptx::DECODE)?
            .into_cuda_function();
        let shared_bytes = (4 * shared_floats) as u32;
        let stream = device.cuda_stream();
        let attribute = |which| stream.context().attribute(which).w();
        if attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH)? == 0 {
            bail!("this GPU has no cooperative launches");
        }
        let most = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)? as u32;
        let fixed = function
            .get_attribute(CUfunction_attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES)
            .w()? as u32;
        if fixed + shared_bytes > most {
            bail!(
                "the kernel needs {} bytes of shared memory a block, and the GPU has {most}",
                fixed + shared_bytes
            );
        }
        function
            .set_attribute(
                CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                shared_bytes as i32,
            )
            .w()?;
        let blocks = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)? as u32;
        Ok(CudaLaunch {
            function,
            device: device.clone(),
            blocks,
            shared_bytes,
        })
    }
}

impl Launch for CudaLaunch {
    fn blocks(&self) -> u32 {
        self.blocks
    }

    fn launch(&self, plan: Address, phases: Range<u32>) -> Result<()> {
        let stream = self.device.cuda_stream();
        let mut arguments = stream.launch_builder(&self.function);
        arguments.arg(&plan).arg(&phases.start).arg(&phases.end);
        let config = LaunchConfig {
            grid_dim: (self.blocks, 1, 1),
            block_dim: (MOST_THREADS, 1, 1),
            shared_mem_bytes: self.shared_bytes,
        };
        // SAFETY: the arguments are those of `decode_token`; the plan and what it points to are tensors of this device that
        // were made by this thread, on its stream, or before the device was waited for, and live until the record is read.
        unsafe { arguments.launch_cooperative(config) }.w()?;
        Ok(())
    }
}
