//! What the kernel is told: the structs of decode.cu, field by field.

use crate::model::gpu::{Address, Plain};

/// The greatest head, in values, that decode.cu has room for.
pub const MOST_HEAD: usize = 256;
/// The most threads of a block that it has room for.
#[cfg(feature = "cuda")]
pub const MOST_THREADS: u32 = 512;
/// The most pieces that attention over a pass is cut into.
pub const MOST_SPLITS: usize = 64;
/// Phases of a layer; one comes before the first layer and one behind the last.
pub const PHASES_A_LAYER: u32 = 11;
/// Of [`Rule::forced`]: the router decides.
pub const UNKNOWN: i32 = -1;

/// How a matrix is stored, in the order of decode.cu.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Storage {
    #[default]
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
}

/// (rows, cols), row by row, each of `stride` bytes.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct StoredMatrix {
    pub data: Address,
    pub bias: Address,
    pub storage: Storage,
    pub rows: u32,
    pub cols: u32,
    pub stride: u32,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Layer {
    pub query: StoredMatrix,
    pub key: StoredMatrix,
    pub value: StoredMatrix,
    pub output: StoredMatrix,
    pub gate: StoredMatrix,
    pub up: StoredMatrix,
    pub down: StoredMatrix,
    /// The router's first matrix.
    pub router: StoredMatrix,
    pub attention_gain: Address,
    pub mlp_gain: Address,
    pub query_gain: Address,
    pub key_gain: Address,
    pub router_w2: Address,
    pub router_b2: Address,
}

/// Keys and values of a pass, each (kv_heads, capacity, head_dim).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct PassSlots {
    pub keys: Address,
    pub values: Address,
    pub len: u32,
    pub capacity: u32,
}

/// What holds at a layer beside what its router says.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Rule {
    /// The action, or [`UNKNOWN`].
    pub forced: i32,
    /// Whether the queries are among the products that do not wait for the router.
    pub queries: u32,
    /// Step size of the second execution.
    pub step: f32,
    pub unused: u32,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct LaunchPlan {
    pub dial: f64,
    /// (layers + 1, budget + 1) in f64, or 0.
    pub values: Address,
    pub layers: Address,
    pub passes: Address,
    pub rules: Address,
    pub hidden: Address,
    pub before: Address,
    pub queries: Address,
    pub keys: Address,
    pub units: Address,
    pub partial: Address,
    pub greatest: Address,
    pub sums: Address,
    pub mlp: Address,
    pub probabilities: Address,
    pub actions: Address,
    pub left: Address,
    pub logits: Address,
    pub cos: Address,
    pub sin: Address,
    pub final_gain: Address,
    pub embedding: StoredMatrix,
    pub head: StoredMatrix,
    pub token: u32,
    pub layer_count: u32,
    pub size: u32,
    pub heads: u32,
    pub kv_heads: u32,
    pub head_dim: u32,
    pub width: u32,
    pub router_width: u32,
    pub interleaved: u32,
    pub fill: u32,
    pub ask: u32,
    pub rms: u32,
    pub kv_storage: u32,
    pub budget: u32,
    pub eps: f32,
    pub scale: f32,
    pub embedding_scale: f32,
    /// Whether blocks ask for the next weights before they wait.
    pub ahead: u32,
    pub unused: u32,
    /// Grows as blocks come to barriers; 0 at a launch.
    pub barrier: u32,
}

impl Plain for Layer {}
impl Plain for PassSlots {}
impl Plain for Rule {}
impl Plain for LaunchPlan {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_struct_has_bytes_between_its_fields() {
        // What the fields take; the tests of the kernel would read past or beside them otherwise.
        assert_eq!(size_of::<StoredMatrix>(), 2 * 8 + 4 * 4);
        assert_eq!(size_of::<Layer>(), 8 * 32 + 6 * 8);
        assert_eq!(size_of::<PassSlots>(), 24);
        assert_eq!(size_of::<Rule>(), 16);
        assert_eq!(size_of::<LaunchPlan>(), 21 * 8 + 2 * 32 + 20 * 4);
    }
}
