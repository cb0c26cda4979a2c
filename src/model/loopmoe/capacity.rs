//! Capacity balancing (arXiv 2606.04438 §3): sizes of a looped model that match a plain one in total parameters, in
//! FLOPs a token, and in the ratio of active attention to active feed-forward parameters.
//!
//! A loop uses its attention weights K times but has them once, while a token may meet other experts at each iteration:
//! at equal FLOPs the ratio of active attention to active experts falls. The paper's remedy is wider latents of
//! attention and narrower experts, then more routed experts until the totals agree. Which way the ranks go here follows
//! from the sizes: what IterAdaLN and wider routers cost in FLOPs is counted, and in a small model it is much.

use super::config::{LayerPart, LoopMoeConfig};
use super::parameters::{Parameter, parameters};

/// What a model has and does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Capacity {
    /// All weights, selection bias excepted.
    pub parameters: usize,
    /// Of the forward pass of one token whose context is `context`/2 tokens long, the mean over a sequence of `context`.
    pub flops: f64,
    /// Distinct attention weights that a token uses.
    pub attention: f64,
    /// Distinct feed-forward weights that a token uses.
    pub feed_forward: f64,
    /// Floats that a token leaves in the cache.
    pub cache: usize,
}

impl Capacity {
    /// Of a model whose tokens meet `distinct` of the K·k choices of a body layer as distinct experts, from 1/K to 1; see
    /// [`independent`].
    pub fn of(config: &LoopMoeConfig, distinct: f64, context: usize) -> Self {
        let layer_attention = attention(config) as f64;
        let expert = (3 * config.hidden_size * config.moe_intermediate_size) as f64;
        let (each, shared) = (config.num_experts_per_tok as f64, config.n_shared_experts as f64);
        let dense = (3 * config.hidden_size * config.intermediate_size) as f64;
        let gate = (config.hidden_size * config.n_routed_experts) as f64;
        // A key costs a product of latent + rope for its score and one of latent for its value, in every head.
        let width = 2 * config.kv_lora_rank + config.qk_rope_head_dim;
        let keys = (config.num_attention_heads * width) as f64 * context as f64 / 2.0;
        let mut products = (config.hidden_size * config.vocab_size) as f64;
        let mut feed_forward = 0.0;
        for layer in 0..config.unique_layers() {
            let runs = if config.part(layer) == LayerPart::Body {
                config.iterations as f64
            } else {
                1.0
            };
            let (active, met) = match config.is_dense(layer) {
                true => (dense, dense),
                false => {
                    let choices = if runs > 1.0 { each * runs * distinct } else { each };
                    ((each + shared) * expert + gate, (choices + shared) * expert)
                }
            };
            products += runs * (layer_attention + keys + active);
            feed_forward += met;
            if config.is_modulated(layer) {
                products += runs * modulation(config) as f64;
            }
        }
        let learned = parameters(config);
        Capacity {
            parameters: learned.iter().filter(|p| p.learns()).map(Parameter::count).sum(),
            flops: 2.0 * products,
            attention: layer_attention * config.unique_layers() as f64,
            feed_forward,
            cache: config.depth(config.iterations) * (config.kv_lora_rank + config.qk_rope_head_dim),
        }
    }

    /// ρ: active attention over active feed-forward weights.
    pub fn ratio(&self) -> f64 {
        self.attention / self.feed_forward
    }

    /// How far this is from `other`, as shares of it: parameters, FLOPs, ratio.
    pub fn deviations(&self, other: &Capacity) -> [f64; 3] {
        [
            self.parameters as f64 / other.parameters as f64 - 1.0,
            self.flops / other.flops - 1.0,
            self.ratio() / other.ratio() - 1.0,
        ]
    }
}

/// The share of distinct experts among the K·k choices of a token that picks anew each time: (E/(K·k))·(1 − (1 − k/E)^K).
/// A trained loop picks the same ones more often; its share is measured.
pub fn independent(config: &LoopMoeConfig) -> f64 {
    let (experts, each) = (config.n_routed_experts as f64, config.num_experts_per_tok as f64);
    let iterations = config.iterations as f64;
    experts / (iterations * each) * (1.0 - (1.0 - each / experts).powf(iterations))
}

/// The matrices of one layer's attention.
fn attention(config: &LoopMoeConfig) -> usize {
    let (d, heads) = (config.hidden_size, config.num_attention_heads);
    let queries = config.q_lora_rank * (d + heads * config.qk_head_dim());
    let latents = d * (config.kv_lora_rank + config.qk_rope_head_dim);
    let keys_and_values = config.kv_lora_rank * heads * (config.qk_nope_head_dim + config.v_head_dim);
    queries + latents + keys_and_values + d * heads * config.v_head_dim
}

/// The matrices of both IterAdaLN of a layer.
fn modulation(config: &LoopMoeConfig) -> usize {
    let (d, c) = (config.hidden_size, config.iter_condition_size);
    2 * (c * d + c * c) + c * (2 * d + 1) + c * 2 * d
}

/// What a step of the search may change a size by.
const RANK_STEP: usize = 4;
const WIDTH_STEP: usize = 1;

/// A looped model with the sizes of `template` but for its latents' ranks, its experts' width and number, which are those
/// that come closest to `plain`: the greatest of the three deviations is least. Among as good ones, both ranks change alike.
pub fn balance(plain: &LoopMoeConfig, template: &LoopMoeConfig, distinct: f64, context: usize) -> LoopMoeConfig {
    let target = Capacity::of(plain, 1.0, context);
    let mut best: Option<(f64, LoopMoeConfig)> = None;
    for q in (plain.q_lora_rank / 2..=2 * plain.q_lora_rank).step_by(RANK_STEP) {
        for kv in (plain.kv_lora_rank / 2..=2 * plain.kv_lora_rank).step_by(RANK_STEP) {
            let grown = |now: usize, before: usize| (now as f64 / before as f64).ln();
            let apart = (grown(q, plain.q_lora_rank) - grown(kv, plain.kv_lora_rank)).abs();
            let narrowest = (plain.moe_intermediate_size / 2).max(1);
            for width in (narrowest..=plain.moe_intermediate_size).step_by(WIDTH_STEP) {
                let config = LoopMoeConfig {
                    q_lora_rank: q,
                    kv_lora_rank: kv,
                    moe_intermediate_size: width,
                    ..template.clone()
                };
                let config = with_parameters(config, target.parameters);
                let deviations = Capacity::of(&config, distinct, context).deviations(&target);
                let worst = deviations.iter().map(|d| d.abs()).fold(0.0, f64::max);
                let cost = worst + 0.01 * apart;
                if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                    best = Some((cost, config));
                }
            }
        }
    }
    best.expect("the ranges hold the plain model's own sizes").1
}

/// As many routed experts as bring the parameters closest to `total`, and a dense feed-forward as wide as a token's
/// experts together.
fn with_parameters(mut config: LoopMoeConfig, total: usize) -> LoopMoeConfig {
    config.intermediate_size = config.moe_intermediate_size * (config.num_experts_per_tok + config.n_shared_experts);
    config.n_routed_experts = config.num_experts_per_tok;
    let least = Capacity::of(&config, 1.0, 0).parameters;
    let mixtures = config.unique_layers() - 1;
    let each = mixtures * config.hidden_size * (3 * config.moe_intermediate_size + 1);
    config.n_routed_experts += (total.saturating_sub(least) as f64 / each as f64).round() as usize;
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::lm::settings::Preset;

    #[test]
    fn the_sizes_of_a_preset_match_its_twin() {
        for preset in [Preset::Small, Preset::Tiny] {
            let (plain, looped) = (preset.plain(), preset.looped());
            assert_eq!(
                (plain.unique_layers(), plain.depth(1)),
                (2 * looped.unique_layers(), looped.depth(4))
            );
            let context = preset.context();
            let target = Capacity::of(&plain, 1.0, context);
            let found = Capacity::of(&looped, preset.distinct(), context);
            let most = if preset == Preset::Small { 0.015 } else { 0.06 };
            for deviation in found.deviations(&target) {
                assert!(deviation.abs() < most, "{preset:?}: {:?}", found.deviations(&target));
            }
            assert!(looped.moe_intermediate_size < plain.moe_intermediate_size);
            assert!(looped.n_routed_experts > plain.n_routed_experts);
            // Without the search the ratio is off, which is what the paper sets out from.
            let naive = LoopMoeConfig {
                prefix_layers: looped.prefix_layers,
                body_layers: looped.body_layers,
                suffix_layers: looped.suffix_layers,
                iterations: looped.iterations,
                ..plain.clone()
            };
            let naive = Capacity::of(&naive, preset.distinct(), context);
            assert!(naive.deviations(&target)[2] < -0.05, "{:?}", naive.deviations(&target));
        }
    }

    #[test]
    fn capacities_by_hand() {
        let config = LoopMoeConfig {
            vocab_size: 5,
            hidden_size: 4,
            prefix_layers: 1,
            body_layers: 1,
            iterations: 2,
            suffix_layers: 0,
            num_attention_heads: 2,
            q_lora_rank: 3,
            kv_lora_rank: 2,
            qk_nope_head_dim: 2,
            qk_rope_head_dim: 2,
            v_head_dim: 1,
            intermediate_size: 6,
            moe_intermediate_size: 2,
            n_routed_experts: 4,
            n_shared_experts: 1,
            num_experts_per_tok: 2,
            iter_condition_size: 0,
            ..crate::model::loopmoe::testing::tiny()
        };
        // Attention: 3·4 + 8·3 + 4·4 + 6·2 + 4·2 = 72; an expert 3·4·2 = 24; dense 72; gate 16.
        let found = Capacity::of(&config, 0.75, 10);
        assert_eq!(found.attention, 144.0);
        // Dense, one shared, and 0.75·4 routed.
        assert_eq!(found.feed_forward, 72.0 + 24.0 + 3.0 * 24.0);
        // Head 20; layer 0: 72 + 2·6·5 + 72; body twice: 72 + 60 + 3·24 + 16.
        assert_eq!(found.flops, 2.0 * (20.0 + 204.0 + 2.0 * 220.0));
        // Embedding and head 40, norms 4 + 2·(16 + 3 + 2), weights 144 + 72 + 5·24 + 16.
        assert_eq!(found.parameters, 40 + 46 + 352);
        assert_eq!(found.cache, 3 * 4);
        assert!((independent(&config) - (1.0 - 0.25)).abs() < 1e-12);
    }
}
