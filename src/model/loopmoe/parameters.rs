//! Names, shapes and first values of a model's weights.

use candle_core::{Device, Result, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::config::LoopMoeConfig;

/// What a parameter begins as, and whether weight decay holds for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initialisation {
    /// Normal with this standard deviation; decays.
    Normal(f64),
    /// Gains of norms.
    Ones,
    /// Biases, and what shall change nothing at the start.
    Zeros,
    /// The routers' selection bias, which is nudged towards balance and has no gradient.
    Bias,
}

/// One weight of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// In a file, like `model.norm.weight`.
    pub name: String,
    /// As safetensors have it: of a matrix (outputs, inputs).
    pub shape: Vec<usize>,
    /// What it begins as.
    pub start: Initialisation,
}

impl Parameter {
    /// How many numbers it has.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it learns by gradients.
    pub fn learns(&self) -> bool {
        self.start != Initialisation::Bias
    }
}

/// The standard deviation of weights at the start, DeepSeek-V3's.
const DEVIATION: f64 = 0.02;

struct List(Vec<Parameter>);

impl List {
    fn add(&mut self, name: impl Into<String>, shape: &[usize], start: Initialisation) {
        let (name, shape) = (name.into(), shape.to_vec());
        self.0.push(Parameter { name, shape, start });
    }

    /// A matrix (out, in). Its deviation is that of a layer of this width where 0.02 would drown a small model.
    fn matrix(&mut self, name: impl Into<String>, shape: &[usize]) {
        let inner = shape.last().copied().unwrap_or(1) as f64;
        self.add(name, shape, Initialisation::Normal(DEVIATION.max(0.5 / inner.sqrt())));
    }

    fn attention(&mut self, config: &LoopMoeConfig, at: &str) {
        let (d, heads) = (config.hidden_size, config.num_attention_heads);
        let (q, kv) = (config.q_lora_rank, config.kv_lora_rank);
        self.matrix(format!("{at}.q_a_proj.weight"), &[q, d]);
        self.add(format!("{at}.q_a_layernorm.weight"), &[q], Initialisation::Ones);
        self.matrix(format!("{at}.q_b_proj.weight"), &[heads * config.qk_head_dim(), q]);
        self.matrix(
            format!("{at}.kv_a_proj_with_mqa.weight"),
            &[kv + config.qk_rope_head_dim, d],
        );
        self.add(format!("{at}.kv_a_layernorm.weight"), &[kv], Initialisation::Ones);
        let keys_and_values = heads * (config.qk_nope_head_dim + config.v_head_dim);
        self.matrix(format!("{at}.kv_b_proj.weight"), &[keys_and_values, kv]);
        self.matrix(format!("{at}.o_proj.weight"), &[d, heads * config.v_head_dim]);
    }

    fn swiglu(&mut self, at: &str, d: usize, width: usize) {
        self.matrix(format!("{at}.gate_proj.weight"), &[width, d]);
        self.matrix(format!("{at}.up_proj.weight"), &[width, d]);
        self.matrix(format!("{at}.down_proj.weight"), &[d, width]);
    }

    fn feed_forward(&mut self, config: &LoopMoeConfig, layer: usize, at: &str) {
        let (d, width, experts) = (
            config.hidden_size,
            config.moe_intermediate_size,
            config.n_routed_experts,
        );
        if config.is_dense(layer) {
            return self.swiglu(at, d, config.intermediate_size);
        }
        self.matrix(format!("{at}.gate.weight"), &[experts, d]);
        self.add(
            format!("{at}.gate.e_score_correction_bias"),
            &[experts],
            Initialisation::Bias,
        );
        self.matrix(format!("{at}.experts.gate_proj.weight"), &[experts, width, d]);
        self.matrix(format!("{at}.experts.up_proj.weight"), &[experts, width, d]);
        self.matrix(format!("{at}.experts.down_proj.weight"), &[experts, d, width]);
        self.swiglu(&format!("{at}.shared_experts"), d, width * config.n_shared_experts);
    }

    /// Linear(d → c), then Linear(c → c), SiLU, Linear(c → `out`), the last 0.
    fn iter_adaln(&mut self, config: &LoopMoeConfig, at: &str, out: usize) {
        let (d, c) = (config.hidden_size, config.iter_condition_size);
        self.matrix(format!("{at}.proj.weight"), &[c, d]);
        self.add(format!("{at}.proj.bias"), &[c], Initialisation::Zeros);
        self.matrix(format!("{at}.mlp.0.weight"), &[c, c]);
        self.add(format!("{at}.mlp.0.bias"), &[c], Initialisation::Zeros);
        self.add(format!("{at}.mlp.2.weight"), &[out, c], Initialisation::Zeros);
        self.add(format!("{at}.mlp.2.bias"), &[out], Initialisation::Zeros);
    }
}

/// All weights of a model, in the order of the file and of a training's state.
pub fn parameters(config: &LoopMoeConfig) -> Vec<Parameter> {
    let (d, c) = (config.hidden_size, config.iter_condition_size);
    let mut list = List(Vec::new());
    list.add(
        "model.embed_tokens.weight",
        &[config.vocab_size, d],
        Initialisation::Normal(1.0 / (d as f64).sqrt()),
    );
    if config.body_layers > 0 && c > 0 {
        for part in [0, 2] {
            list.matrix(format!("model.iter_mlp.{part}.weight"), &[c, c]);
            list.add(format!("model.iter_mlp.{part}.bias"), &[c], Initialisation::Zeros);
        }
    }
    for layer in 0..config.unique_layers() {
        let at = format!("model.layers.{layer}");
        if config.is_modulated(layer) {
            list.iter_adaln(config, &format!("{at}.iter_adaln_attn"), 2 * d + 1);
            list.iter_adaln(config, &format!("{at}.iter_adaln_moe"), 2 * d);
        } else {
            list.add(format!("{at}.input_layernorm.weight"), &[d], Initialisation::Ones);
            list.add(
                format!("{at}.pre_feedforward_layernorm.weight"),
                &[d],
                Initialisation::Ones,
            );
        }
        list.attention(config, &format!("{at}.self_attn"));
        list.add(
            format!("{at}.post_attention_layernorm.weight"),
            &[d],
            Initialisation::Ones,
        );
        list.feed_forward(config, layer, &format!("{at}.mlp"));
        list.add(
            format!("{at}.post_feedforward_layernorm.weight"),
            &[d],
            Initialisation::Ones,
        );
    }
    list.add("model.norm.weight", &[d], Initialisation::Ones);
    list.matrix("lm_head.weight", &[config.vocab_size, d]);
    list.0
}

/// The first values of a weight; the `index`-th of a model draws from a stream of its own.
pub fn first_values(parameter: &Parameter, index: usize, seed: u64) -> Vec<f32> {
    let count = parameter.count();
    match parameter.start {
        Initialisation::Ones => vec![1.0; count],
        Initialisation::Zeros | Initialisation::Bias => vec![0.0; count],
        Initialisation::Normal(deviation) => {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream((1 << 40) + index as u64);
            (0..count).map(|_| (deviation * normal(&mut rng)) as f32).collect()
        }
    }
}

/// A number of the standard normal distribution (Box and Muller 1958).
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let u: f64 = 1.0 - rng.random::<f64>();
    let v: f64 = rng.random();
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// The tensors of a new model, by name and in order.
///
/// # Errors
/// A device that is full.
pub fn first_tensors(config: &LoopMoeConfig, seed: u64, device: &Device) -> Result<Vec<(String, Tensor)>> {
    let list = parameters(config);
    let tensors = list.into_iter().enumerate().map(|(index, parameter)| {
        let values = first_values(&parameter, index, seed);
        Ok((parameter.name, Tensor::from_vec(values, parameter.shape, device)?))
    });
    tensors.collect()
}
