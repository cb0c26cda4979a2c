//! The kernel on the CPU, for tests.

use std::ops::Range;
use std::sync::OnceLock;

use candle_core::Result;

use super::{Launch, shared_floats};
use crate::model::Decoder;
use crate::model::gpu::Address;
use crate::model::gpu::emulator::{Emulator, Order};

/// A GPU of few blocks and threads.
pub struct EmulatedDecode {
    pub blocks: u32,
    pub threads: u32,
    pub floats: u64,
    pub order: Order,
}

impl EmulatedDecode {
    pub fn new(decoder: &Decoder, blocks: u32, threads: u32) -> Self {
        EmulatedDecode {
            blocks,
            threads,
            floats: shared_floats(decoder) as u64,
            order: Order::Forwards,
        }
    }
}

impl Launch for EmulatedDecode {
    fn blocks(&self) -> u32 {
        self.blocks
    }

    fn launch(&self, plan: Address, phases: Range<u32>) -> Result<()> {
        static COMPILED: OnceLock<Emulator> = OnceLock::new();
        let emulator = COMPILED.get_or_init(|| Emulator::compile("src/model/persistent/emulator.c"));
        // SAFETY: the plan and what it points to are tensors in memory, which outlive the call.
        unsafe {
            emulator.launch(
                plan as *mut _,
                (phases.start, phases.end),
                (self.blocks, self.threads),
                self.floats,
                self.order,
            )
        }
    }
}
