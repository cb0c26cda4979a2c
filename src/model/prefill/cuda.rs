//! The kernels on a CUDA device.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaFunction, DeviceRepr, LaunchConfig, PushKernelArg};
use candle_core::{CudaDevice, Result, bail};

use super::LaunchPrefill;
use super::plan::{AttentionPlan, FloatType, GatePlan, THREADS};

mod ptx {
    include!(concat!(env!("OUT_DIR"), "/prefill_ptx.rs"));
}

// SAFETY: plain numbers, field by field those of prefill.cu.
unsafe impl DeviceRepr for AttentionPlan {}
// SAFETY: as above.
unsafe impl DeviceRepr for GatePlan {}

pub struct CudaPrefill {
    device: CudaDevice,
    halves: CudaFunction,
    floats: CudaFunction,
    gates: CudaFunction,
}

impl CudaPrefill {
    pub fn new(device: &CudaDevice) -> Result<Self> {
        let function = |name: &str| -> Result<CudaFunction> {
            Ok(device
                .get_or_load_custom_func(name, "drllm_prefill", ptx::PREFILL)?
                .into_cuda_function())
        };
        Ok(CudaPrefill {
            halves: function("attend_halves")?,
            floats: function("attend_floats")?,
            gates: function("gate_rows")?,
            device: device.clone(),
        })
    }

    fn launch<T: DeviceRepr>(&self, function: &CudaFunction, plan: T, blocks: u32, threads: u32) -> Result<()> {
        let stream = self.device.cuda_stream();
        let mut arguments = stream.launch_builder(function);
        arguments.arg(&plan);
        let config = LaunchConfig {
            grid_dim: (blocks, 1, 1),
            block_dim: (threads, 1, 1),
            shared_mem_bytes: 0,
        };
        // SAFETY: the argument is the function's; what it points to are tensors of this device that were made by this thread,
        // on its stream, or before the device was waited for, and are freed by it in the stream's order.
        unsafe { arguments.launch(config) }.w()?;
        Ok(())
    }
}

impl LaunchPrefill for CudaPrefill {
    fn attend(&self, plan: AttentionPlan, blocks: u32) -> Result<()> {
        let function = match plan.float_type {
            FloatType::F32 => &self.floats,
            FloatType::F16 | FloatType::Bf16 => &self.halves,
        };
        self.launch(function, plan, blocks, THREADS[0])
    }

    fn gate(&self, plan: GatePlan) -> Result<()> {
        let pairs = plan.rows * u64::from(plan.width / 2);
        let Ok(blocks) = u32::try_from(pairs.div_ceil(u64::from(THREADS[1])).min(1 << 20)) else {
            bail!("more gates than a launch has threads");
        };
        self.launch(&self.gates, plan, blocks.max(1), THREADS[1])
    }
}
