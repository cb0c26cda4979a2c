//! Token verifiers: routers for scope `token` that judge how plausible each token of an answer is, and have an
//! implausible one skip a span of layers, which makes the rest of its answer less likely.
//!
//! A search asks which program answers a question rightly, and what it finds is mostly luck: the question's hidden
//! states say next to nothing about it (docs/results.md). The tokens of an *answer* do say whether it is plausible, as
//! verifiers of whole answers read it (Cobbe et al., arXiv 2110.14168). The router at the layer where some spans
//! `first..=last` begin is the verifier. For every token of a choice it says a penalty in nats, and the token skips the
//! span that costs about as much. What skipping a span costs is measured beforehand, and the verifier is trained by
//! cross-entropy over the choices of
//!
//! S_c = Σ_t ln p(t) + Σ_t Δ_t(a(h_t))
//!
//! with p under the standard program, h_t the state that enters layer `first` at the token before t, a(h_t) ≥ 0 the
//! penalty, and Δ_t(a) the measured change of ln p(t), between the spans that on average cost a little less and a little
//! more than a: Δ_t(c_k) is that of span k, c_k its mean, and between them Δ_t is linear. Text that is no answer to be
//! judged is taught penalties too small for any span: the questions themselves, and text that the model wrote.
//!
//! A token that skips enters the other layers of its span with the state that it had at the first one. Their routers,
//! the span routers, learn to tell such states from those of tokens that are at their depth, and which of them skip
//! their layer too.
//!
//! `effects` measures, `negatives` is the model's own text, `fit` trains, an `ensemble` of small networks is the
//! verifier, `span_routers` are those of the later layers; [`train`] goes through all of it and
//! [`VerifierSettings::routers`] spreads the result over the layers.

mod effects;
mod ensemble;
mod fit;
mod job;
mod negatives;
mod span_routers;

use serde::{Deserialize, Serialize};

pub use effects::{EffectTable, QuestionEffects};
pub use fit::{Fitted, VerifierReport, fit};
pub use job::{VerifierJob, train};

use crate::router::MlpRouter;

/// The numbers of such a training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VerifierSettings {
    /// The layer whose router is the verifier, from 0.
    pub first: usize,
    /// The last layers of the spans that a token that skips a span may leave out, ascending.
    pub lasts: Vec<usize>,
    /// Networks of different seeds whose logits are averaged: together they are the hidden layer of one router.
    pub members: usize,
    /// Hidden units of each member.
    pub member_width: usize,
    /// Times that all questions are learnt from.
    pub epochs: usize,
    /// Questions a step.
    pub batch: usize,
    /// Greatest learning rate, falling to 0 along half a cosine.
    pub learning_rate: f64,
    /// Of AdamW.
    pub weight_decay: f64,
    /// Share of the inputs that is dropped in training.
    pub dropout: f64,
    /// Scores are divided by this many nats before the softmax over the choices.
    pub temperature: f64,
    /// Weight in the loss of what the questions are punished with too much, in units of a penalty.
    pub ordinary: f64,
    /// The same of what the model wrote itself, and how many such texts there are.
    pub written: f64,
    /// How many texts the model writes for that.
    pub texts: usize,
    /// Share of the choices' tokens that no penalty is to reach: the penalty of the last of them is taken off all.
    pub spared: f64,
    /// Of the members' first parameters, the order of questions, dropout, and the texts.
    pub seed: u64,
}

impl VerifierSettings {
    /// `spared` as measured best.
    pub const DEFAULT_SPARED: f64 = 0.8;

    /// As measured best on held-out training questions, for spans of layers from `first` to each of `lasts`, ascending.
    pub fn new(first: usize, lasts: &[usize]) -> Self {
        VerifierSettings {
            first,
            lasts: lasts.to_vec(),
            members: 4,
            member_width: 32,
            epochs: 20,
            batch: 128,
            learning_rate: 1e-3,
            weight_decay: 0.1,
            dropout: 0.5,
            temperature: 30.0,
            ordinary: 1.0,
            written: 0.6,
            texts: 2000,
            spared: Self::DEFAULT_SPARED,
            seed: 42,
        }
    }

    /// The last layer of the longest span.
    ///
    /// # Panics
    /// Without spans.
    pub fn last(&self) -> usize {
        *self.lasts.last().expect("there is a span")
    }

    /// The first of the spans, counted from 0, that `layer` is in.
    fn span_of(&self, layer: usize) -> usize {
        self.lasts.partition_point(|&last| last < layer)
    }

    /// Learning rate and weight decay.
    fn rates(&self) -> (f64, f64) {
        (self.learning_rate, self.weight_decay)
    }

    /// Width of the routers' hidden layer.
    pub fn width(&self) -> usize {
        self.members * self.member_width
    }

    /// One router for each layer of the table: the verifier, its span routers, and at all other layers execute.
    ///
    /// Decisions are as fitted, but the logits are scaled so that on ordinary text the log-odds of execute against skip
    /// are, on average, 2 and what leaving the layer out costs in nats; at the verifier, whom the others follow, what a
    /// span costs. So a budget and the dial, which go by the probabilities, leave out the cheapest layers first.
    pub fn routers(&self, fitted: &Fitted, table: &EffectTable) -> Vec<MlpRouter> {
        let hidden_size = table.hidden_size;
        let skipped = table.span_costs().last().copied().unwrap_or_default();
        let router = |(layer, cost): (usize, &f64)| {
            let cost = if layer == self.first { f64::from(skipped) } else { *cost };
            let log_odds = LEAST_LOG_ODDS + cost.max(0.0) as f32;
            match layer.checked_sub(self.first) {
                Some(0) => scaled(&fitted.verifier, &table.ordinary, log_odds),
                Some(at) if layer <= self.last() => {
                    scaled(&fitted.span_routers[at - 1], &table.later[at - 1], log_odds)
                }
                _ => MlpRouter {
                    w1: vec![0.0; self.width() * hidden_size],
                    b1: vec![0.0; self.width()],
                    w2: vec![0.0; 3 * self.width()],
                    b2: vec![-log_odds, 0.0, NO_REPEAT],
                },
            }
        };
        table.costs.iter().enumerate().map(router).collect()
    }
}

/// ln p(execute)/p(skip) on ordinary text of a layer that costs nothing: p(execute) = 0.88.
const LEAST_LOG_ODDS: f32 = 2.0;

/// Logit of repeat beside one of 0 of execute.
const NO_REPEAT: f32 = -10.0;

/// The router with its log-odds of skip against execute scaled so that execute is above by `log_odds` on average over
/// the states, (n, d), and as they are where skip is above. Repeat, which nothing taught, is out of the question.
fn scaled(router: &MlpRouter, states: &[f32], log_odds: f32) -> MlpRouter {
    let width = router.b1.len();
    let states = states.chunks_exact(router.w1.len() / width);
    let of_state = |state: &[f32]| {
        let logits = router.logits(state);
        f64::from(logits[1] - logits[0])
    };
    let mean = states.clone().map(of_state).sum::<f64>() / states.len() as f64;
    let factor = if mean > 0.0 { log_odds / mean as f32 } else { 1.0 };
    let skip_less_execute = router.w2[..width].iter().zip(&router.w2[width..2 * width]);
    let mut w2: Vec<f32> = skip_less_execute
        .map(|(skip, execute)| factor * (skip - execute))
        .collect();
    w2.resize(3 * width, 0.0);
    MlpRouter {
        w2,
        b2: vec![factor * (router.b2[0] - router.b2[1]), 0.0, NO_REPEAT],
        ..router.clone()
    }
}
