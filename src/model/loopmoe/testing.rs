//! A tiny model for tests.

use candle_core::{Device, Tensor};

use super::config::LoopMoeConfig;
use super::decoder::LoopMoe;
use super::parameters::first_tensors;

/// Sizes with which everything is there and nothing is equal by chance.
pub fn tiny() -> LoopMoeConfig {
    LoopMoeConfig {
        vocab_size: 13,
        hidden_size: 12,
        prefix_layers: 2,
        body_layers: 2,
        iterations: 3,
        suffix_layers: 1,
        num_attention_heads: 3,
        q_lora_rank: 7,
        kv_lora_rank: 5,
        qk_nope_head_dim: 4,
        qk_rope_head_dim: 2,
        v_head_dim: 3,
        rope_theta: 10_000.0,
        intermediate_size: 9,
        moe_intermediate_size: 4,
        n_routed_experts: 6,
        n_shared_experts: 2,
        num_experts_per_tok: 2,
        iter_condition_size: 6,
        rms_norm_eps: 1e-5,
    }
}

/// The weights of a new model, those that begin as 0 or 1 moved away from it.
pub fn stirred(config: &LoopMoeConfig, seed: u64) -> Vec<(String, Tensor)> {
    let tensors = first_tensors(config, seed, &Device::Cpu).unwrap();
    let stir = |(at, (name, tensor)): (usize, (String, Tensor))| {
        let count = tensor.elem_count();
        let noise: Vec<f32> = (0..count)
            .map(|i| 0.3 * ((i * 7 + at * 13) as f32 * 0.61).sin())
            .collect();
        let noise = Tensor::from_vec(noise, tensor.shape(), &Device::Cpu).unwrap();
        (name, (tensor + noise).unwrap())
    };
    tensors.into_iter().enumerate().map(stir).collect()
}

/// A model of [`stirred`] weights.
pub fn model(config: &LoopMoeConfig, seed: u64) -> LoopMoe {
    LoopMoe::new(config, stirred(config, seed)).unwrap()
}

/// Token ids (1, tokens).
pub fn ids(tokens: &[u32]) -> Tensor {
    Tensor::from_slice(tokens, (1, tokens.len()), &Device::Cpu).unwrap()
}
