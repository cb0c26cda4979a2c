//! The numbers of a training.

use serde::{Deserialize, Serialize};

use crate::eval::problems::LmTask;
use crate::model::loopmoe::capacity::balance;
use crate::model::loopmoe::{LoopMoeConfig, WordList};

/// What a training is made of: with the same settings it ends in the same bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LmSettings {
    /// Sizes of the model.
    pub model: LoopMoeConfig,
    /// Kinds of problems that sequences are made of.
    pub tasks: Vec<LmTask>,
    /// Of the first parameters and of the problems.
    pub seed: u64,
    /// Of the training.
    pub steps: usize,
    /// Sequences a step.
    pub batch: usize,
    /// Sequences whose gradients are computed together; a step's groups are spread over threads. Experts' loads are
    /// counted over the step, the balance loss over a group.
    pub group: usize,
    /// Tokens of a sequence.
    pub context: usize,
    /// Greatest learning rate, after the warm-up.
    pub learning_rate: f64,
    /// At the end of the cosine.
    pub least_rate: f64,
    /// Steps of linear warm-up.
    pub warm_up: usize,
    /// Of matrices.
    pub weight_decay: f64,
    /// Greatest norm of a step's gradient.
    pub clip: f64,
    /// What a token of a question counts in the loss, where one of an answer counts 1.
    pub question_weight: f64,
    /// Of the balance loss.
    pub balance_loss: f64,
    /// How far the selection bias moves after a step.
    pub bias_step: f64,
}

impl LmSettings {
    /// The learning rate of a step, counted from 0: linear warm-up, then half a cosine.
    pub fn rate(&self, step: usize) -> f64 {
        if step < self.warm_up {
            return self.learning_rate * (step + 1) as f64 / self.warm_up as f64;
        }
        let rest = (self.steps - self.warm_up).max(1) as f64;
        let done = ((step - self.warm_up) as f64 / rest).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
        self.least_rate + (self.learning_rate - self.least_rate) * cosine
    }
}

/// Sizes and numbers that go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Preset {
    /// About 4 million weights, depth 12: the model that ships
    Small,
    /// The same shape in a few minutes, to see the whole path work
    Tiny,
}

impl Preset {
    /// The plain twin: 12 layers of their own.
    pub fn plain(self) -> LoopMoeConfig {
        let small = LoopMoeConfig {
            vocab_size: WordList::default().count(),
            hidden_size: 128,
            prefix_layers: 12,
            body_layers: 0,
            iterations: 1,
            suffix_layers: 0,
            num_attention_heads: 4,
            q_lora_rank: 64,
            kv_lora_rank: 48,
            qk_nope_head_dim: 16,
            qk_rope_head_dim: 16,
            v_head_dim: 32,
            rope_theta: 10_000.0,
            intermediate_size: 192,
            moe_intermediate_size: 32,
            n_routed_experts: 22,
            n_shared_experts: 2,
            num_experts_per_tok: 4,
            iter_condition_size: 0,
            rms_norm_eps: 1e-6,
        };
        match self {
            Preset::Small => small,
            Preset::Tiny => LoopMoeConfig {
                hidden_size: 48,
                num_attention_heads: 2,
                q_lora_rank: 32,
                kv_lora_rank: 24,
                intermediate_size: 72,
                moe_intermediate_size: 12,
                n_routed_experts: 12,
                ..small
            },
        }
    }

    /// The looped model, its sizes balanced against the twin's.
    pub fn looped(self) -> LoopMoeConfig {
        let plain = self.plain();
        let template = LoopMoeConfig {
            prefix_layers: 2,
            body_layers: 2,
            iterations: 4,
            suffix_layers: 2,
            iter_condition_size: plain.hidden_size / 8,
            ..plain.clone()
        };
        balance(&plain, &template, self.distinct(), self.context())
    }

    /// The looped model with the twin's own sizes: the ablation without balancing.
    pub fn unbalanced(self) -> LoopMoeConfig {
        let (plain, looped) = (self.plain(), self.looped());
        LoopMoeConfig {
            prefix_layers: looped.prefix_layers,
            body_layers: looped.body_layers,
            iterations: looped.iterations,
            suffix_layers: looped.suffix_layers,
            iter_condition_size: looped.iter_condition_size,
            ..plain
        }
    }

    /// The share of distinct experts among a token's K·k choices, for the balancing; measured in a pilot, see
    /// docs/loopmoe.md.
    pub fn distinct(self) -> f64 {
        0.45
    }

    /// Tokens of a sequence.
    pub fn context(self) -> usize {
        64
    }

    /// The training of a model of this preset's size.
    pub fn settings(self, model: LoopMoeConfig) -> LmSettings {
        let small = LmSettings {
            model,
            tasks: LmTask::ALL.to_vec(),
            seed: 42,
            steps: 10_000,
            batch: 32,
            group: 16,
            context: self.context(),
            learning_rate: 2e-3,
            least_rate: 2e-5,
            warm_up: 200,
            weight_decay: 0.1,
            clip: 1.0,
            question_weight: 0.1,
            balance_loss: 1e-3,
            bias_step: 1e-3,
        };
        match self {
            Preset::Small => small,
            Preset::Tiny => LmSettings {
                steps: 600,
                batch: 16,
                group: 8,
                learning_rate: 4e-3,
                warm_up: 50,
                ..small
            },
        }
    }
}
