//! Depth routers by self-distillation, for scope `token`: each token as shallow as it can be without changing what the
//! model says (docs/results.md).
//!
//! The model writes answers to prompts ([`texts`]). It is then its own teacher: the same frozen weights read each answer
//! again, and at every token a router may leave a layer out. With z_l the router of layer l, h_l the state that enters
//! the layer and B_l the layer's block, a routed token goes on with
//!
//! h_{l+1} = h_l + g·(B_l(h_l) − h_l),  g = \[z_l(h_l) + ν·logistic noise > o\]
//!
//! where g is hard in the forward pass and has the slope of a sigmoid (straight-through, arXiv 1308.3432) times what the
//! gate changes in the loss to the second order; keys and values are computed of every state (KV fill). The loss is the mean over the answers' tokens of KL(full ‖ routed) in nats
//! and a price for each executed layer. Each text is read at a threshold o of its own and pays λ·eᵒ a layer, so that one
//! set of routers serves all depths: the threshold is the dial.
//!
//! Prompt tokens run every layer. `student` is the routed pass over one text, forward and backward, `routers` the
//! routers' own arithmetic, `trainer` the loop, `state` what a stopped training goes on from.

pub mod calibrate;
pub mod curves;
pub mod routers;
pub mod state;
mod student;
pub mod texts;
pub mod trainer;

use serde::{Deserialize, Serialize};

pub use student::Teacher;
pub use texts::Texts;
pub use trainer::{DepthStepReport, TrainedDepth, train};

/// The numbers of a training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DepthSettings {
    /// Texts to train on.
    pub texts: usize,
    /// Texts held out, of other prompts, for the calibration.
    pub held_out: usize,
    /// Most tokens of a prompt; longer ones are passed over.
    pub prompt_tokens: usize,
    /// Most tokens of an answer.
    pub answer_tokens: usize,
    /// At which the answers are drawn.
    pub temperature: f64,
    /// Of the training.
    pub steps: usize,
    /// Texts a step.
    pub batch: usize,
    /// Width of the routers' hidden layer.
    pub width: usize,
    /// Greatest learning rate, falling to 0 along half a cosine.
    pub learning_rate: f64,
    /// Steps of linear warm-up.
    pub warm_up: usize,
    /// λ, the price of a layer in nats at the neutral dial.
    pub price: f64,
    /// Thresholds are drawn from −spread..spread; 0 trains for one depth alone.
    pub spread: f64,
    /// ν, the scale of the logistic noise on the logits; it falls to a fifth along the training.
    pub noise: f64,
    /// Mean depth at the neutral dial, as a share of the layers.
    pub neutral_share: f64,
    /// Of the texts, of the routers' first parameters, and of the training.
    pub seed: u64,
}

impl Default for DepthSettings {
    fn default() -> Self {
        DepthSettings {
            texts: 960,
            held_out: 96,
            prompt_tokens: 96,
            answer_tokens: 112,
            temperature: 0.7,
            steps: 360,
            batch: 16,
            width: 64,
            learning_rate: 2e-3,
            warm_up: 20,
            price: 0.05,
            spread: 1.2,
            noise: 0.5,
            neutral_share: 0.87,
            seed: 42,
        }
    }
}
