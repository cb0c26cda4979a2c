//! What the kernels are told: the structs of prefill.cu, field by field.

use crate::model::gpu::{Address, Plain};

/// Of [`Tile::table`]: each row sees itself and those before it.
pub const NONE: u32 = u32::MAX;
/// The greatest head, in values, that prefill.cu has room for.
pub const MOST_SIZE: usize = 128;
/// Heads of 16 bits whose code was compiled.
pub const HALF_SIZES: [usize; 4] = [32, 64, 96, 128];
/// Threads of a block, of attention and of gates.
#[cfg(feature = "cuda")]
pub const THREADS: [u32; 2] = [128, 256];

/// Floats, by their number in prefill.cu.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum FloatType {
    #[default]
    F32,
    F16,
    Bf16,
}

impl FloatType {
    /// Rows of a head that a block takes.
    pub fn rows(self) -> usize {
        match self {
            FloatType::F32 => 32,
            FloatType::F16 | FloatType::Bf16 => 64,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Tile {
    pub first: u32,
    pub rows: u32,
    pub from: u32,
    pub entries: u32,
    pub own: u32,
    pub row: u32,
    pub table: u32,
    pub width: u32,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct AttentionPlan {
    pub queries: Address,
    pub keys: Address,
    pub values: Address,
    pub mixed: Address,
    pub query_stride: u64,
    pub key_stride: u64,
    pub tiles: Address,
    pub seen: Address,
    pub heads: u32,
    pub kv_heads: u32,
    pub size: u32,
    pub float_type: FloatType,
    pub scale: f32,
    pub unused: u32,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct GatePlan {
    pub both: Address,
    pub out: Address,
    pub rows: u64,
    pub width: u32,
    pub float_type: FloatType,
    pub gelu: u32,
    pub unused: u32,
}

impl Plain for Tile {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_struct_has_bytes_between_its_fields() {
        assert_eq!(size_of::<Tile>(), 8 * 4);
        assert_eq!(size_of::<AttentionPlan>(), 8 * 8 + 6 * 4);
        assert_eq!(size_of::<GatePlan>(), 3 * 8 + 4 * 4);
    }
}
