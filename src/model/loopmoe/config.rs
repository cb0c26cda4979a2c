//! Sizes of a LoopMoE model, and what of them cannot be.

use serde::{Deserialize, Serialize};

/// A size that cannot be, or two that do not fit each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the LoopMoE config's {field} is {found}: expected {expected}")]
pub struct LoopMoeConfigError {
    /// Its name in [`LoopMoeConfig`].
    pub field: &'static str,
    /// Its value.
    pub found: String,
    /// In words.
    pub expected: String,
}

/// Sizes of a model, by the names that DeepSeek-V3's config.json has where it has them.
///
/// `body_layers` = 0 makes the plain twin: every layer is its own and no layer runs twice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoopMoeConfig {
    /// Words that have an embedding, and rows of the head.
    pub vocab_size: usize,
    /// d
    pub hidden_size: usize,
    /// Layers before the loop; the first has a dense feed-forward.
    pub prefix_layers: usize,
    /// Layers that share their weights over the iterations.
    pub body_layers: usize,
    /// K, what the model was trained with.
    pub iterations: usize,
    /// Layers after the loop.
    pub suffix_layers: usize,
    /// Heads of the attention in every layer.
    pub num_attention_heads: usize,
    /// Width of the latents that queries are made of.
    pub q_lora_rank: usize,
    /// Width of the latents that keys and values are made of.
    pub kv_lora_rank: usize,
    /// Width of a head's query and key without position.
    pub qk_nope_head_dim: usize,
    /// Width of a head's query with RoPE, and of the one key with RoPE that all heads share.
    pub qk_rope_head_dim: usize,
    /// Width of a head's value.
    pub v_head_dim: usize,
    /// Base of RoPE's frequencies.
    pub rope_theta: f64,
    /// Width of the first layer's dense feed-forward.
    pub intermediate_size: usize,
    /// Width of one expert.
    pub moe_intermediate_size: usize,
    /// Experts of a layer that its router chooses from.
    pub n_routed_experts: usize,
    /// Experts of a layer that every token runs, as one feed-forward of their joint width.
    pub n_shared_experts: usize,
    /// Experts that a token runs of those that the router chooses from.
    pub num_experts_per_tok: usize,
    /// Width of IterAdaLN's condition; 0 gives the body plain pre-norms (the ablation "loop only").
    pub iter_condition_size: usize,
    /// Added to the mean square in RMS norms.
    pub rms_norm_eps: f64,
}

/// Most of any size; keeps products of sizes far from overflow.
const MOST: usize = 1 << 20;

/// Most iterations that a forward pass can be asked for.
pub const MOST_ITERATIONS: usize = 8;

/// One run of a layer: what a row of the explorer's map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LoopExecution {
    /// Among the layers with weights of their own: prefix, body, suffix.
    pub layer: usize,
    /// From 0; always 0 outside the body.
    pub iteration: usize,
}

/// Where in the model a layer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerPart {
    /// Before the loop.
    Prefix,
    /// In the loop.
    Body,
    /// After the loop.
    Suffix,
}

impl LoopMoeConfig {
    /// Layers with weights of their own.
    pub fn unique_layers(&self) -> usize {
        self.prefix_layers + self.body_layers + self.suffix_layers
    }

    /// Layer executions of a token at K iterations.
    pub fn depth(&self, iterations: usize) -> usize {
        self.prefix_layers + self.body_layers * iterations + self.suffix_layers
    }

    /// In which part a layer with weights of its own stands.
    pub fn part(&self, layer: usize) -> LayerPart {
        match layer {
            l if l < self.prefix_layers => LayerPart::Prefix,
            l if l < self.prefix_layers + self.body_layers => LayerPart::Body,
            _ => LayerPart::Suffix,
        }
    }

    /// Whether a layer's pre-norms are IterAdaLN.
    pub fn is_modulated(&self, layer: usize) -> bool {
        self.part(layer) == LayerPart::Body && self.iter_condition_size > 0
    }

    /// Whether a layer's feed-forward is dense: the first's alone.
    pub fn is_dense(&self, layer: usize) -> bool {
        layer == 0
    }

    /// What a token runs: the prefix, `iterations` times the body, the suffix.
    pub fn standard_path(&self, iterations: usize) -> Vec<LoopExecution> {
        let once = |layer| LoopExecution { layer, iteration: 0 };
        let body = self.prefix_layers..self.prefix_layers + self.body_layers;
        let mut path: Vec<LoopExecution> = (0..self.prefix_layers).map(once).collect();
        for iteration in 0..iterations {
            path.extend(body.clone().map(|layer| LoopExecution { layer, iteration }));
        }
        path.extend((body.end..self.unique_layers()).map(once));
        path
    }

    /// Width of a head's query and key.
    pub fn qk_head_dim(&self) -> usize {
        self.qk_nope_head_dim + self.qk_rope_head_dim
    }

    /// # Errors
    /// The first size that cannot be, with what was expected of it.
    pub fn check(&self) -> Result<(), LoopMoeConfigError> {
        let wrong = |field, found: String, expected: &str| {
            Err(LoopMoeConfigError {
                field,
                found,
                expected: expected.to_owned(),
            })
        };
        let at_least_one = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("prefix_layers", self.prefix_layers),
            ("iterations", self.iterations),
            ("num_attention_heads", self.num_attention_heads),
            ("q_lora_rank", self.q_lora_rank),
            ("kv_lora_rank", self.kv_lora_rank),
            ("qk_nope_head_dim", self.qk_nope_head_dim),
            ("qk_rope_head_dim", self.qk_rope_head_dim),
            ("v_head_dim", self.v_head_dim),
            ("intermediate_size", self.intermediate_size),
            ("moe_intermediate_size", self.moe_intermediate_size),
            ("n_routed_experts", self.n_routed_experts),
            ("n_shared_experts", self.n_shared_experts),
            ("num_experts_per_tok", self.num_experts_per_tok),
        ];
        for (field, found) in at_least_one {
            if !(1..=MOST).contains(&found) {
                return wrong(field, found.to_string(), &format!("1 to {MOST}"));
            }
        }
        for (field, found) in [("body_layers", self.body_layers), ("suffix_layers", self.suffix_layers)] {
            if found > 1024 {
                return wrong(field, found.to_string(), "0 to 1024");
            }
        }
        if self.prefix_layers > 1024 {
            return wrong("prefix_layers", self.prefix_layers.to_string(), "1 to 1024");
        }
        if self.iterations > MOST_ITERATIONS {
            return wrong("iterations", self.iterations.to_string(), "1 to 8");
        }
        if self.body_layers == 0 && self.iterations != 1 {
            return wrong(
                "iterations",
                self.iterations.to_string(),
                "1 where there is no body (body_layers = 0)",
            );
        }
        if !self.qk_rope_head_dim.is_multiple_of(2) {
            return wrong("qk_rope_head_dim", self.qk_rope_head_dim.to_string(), "an even number");
        }
        if !self.iter_condition_size.is_multiple_of(2) || self.iter_condition_size > MOST {
            return wrong(
                "iter_condition_size",
                self.iter_condition_size.to_string(),
                "an even number (0 switches IterAdaLN off)",
            );
        }
        if self.num_experts_per_tok > self.n_routed_experts {
            let expected = format!("at most n_routed_experts = {}", self.n_routed_experts);
            return wrong("num_experts_per_tok", self.num_experts_per_tok.to_string(), &expected);
        }
        if !(self.rms_norm_eps > 0.0 && self.rms_norm_eps < 0.1) {
            return wrong("rms_norm_eps", self.rms_norm_eps.to_string(), "above 0 and below 0.1");
        }
        if !(self.rope_theta > 1.0 && self.rope_theta.is_finite()) {
            return wrong("rope_theta", self.rope_theta.to_string(), "a finite number above 1");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::loopmoe::testing::tiny;

    #[test]
    fn the_path_is_prefix_then_loops_then_suffix() {
        let config = LoopMoeConfig {
            prefix_layers: 2,
            body_layers: 2,
            suffix_layers: 1,
            iterations: 3,
            ..tiny()
        };
        let path: Vec<(usize, usize)> = config.standard_path(2).iter().map(|e| (e.layer, e.iteration)).collect();
        assert_eq!(path, [(0, 0), (1, 0), (2, 0), (3, 0), (2, 1), (3, 1), (4, 0)]);
        assert_eq!((config.depth(2), config.unique_layers()), (7, 5));
        let parts: Vec<LayerPart> = (0..5).map(|l| config.part(l)).collect();
        assert_eq!(
            parts,
            [
                LayerPart::Prefix,
                LayerPart::Prefix,
                LayerPart::Body,
                LayerPart::Body,
                LayerPart::Suffix
            ]
        );
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        type Change = fn(&mut LoopMoeConfig);
        let cases: [(&str, Change); 8] = [
            ("hidden_size is 0: expected 1 to", |c| c.hidden_size = 0),
            ("iterations is 9: expected 1 to 8", |c| c.iterations = 9),
            ("iterations is 2: expected 1 where there is no body", |c| {
                c.body_layers = 0;
                c.iterations = 2;
            }),
            ("qk_rope_head_dim is 3: expected an even", |c| c.qk_rope_head_dim = 3),
            ("iter_condition_size is 5: expected an even", |c| {
                c.iter_condition_size = 5
            }),
            ("num_experts_per_tok is 99: expected at most n_routed_experts", |c| {
                c.num_experts_per_tok = 99;
            }),
            ("rms_norm_eps is NaN", |c| c.rms_norm_eps = f64::NAN),
            ("prefix_layers is 0", |c| c.prefix_layers = 0),
        ];
        tiny().check().unwrap();
        for (expected, change) in cases {
            let mut config = tiny();
            change(&mut config);
            let said = config.check().unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
        }
    }
}
