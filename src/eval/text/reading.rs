//! One text read by the whole model, and again under a policy.

use std::sync::atomic::AtomicBool;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};

use super::exits::{Exit, ExitRule};
use super::{Reading, Text};
use crate::engine::decide::DecisionPolicy;
use crate::engine::sequence::{LayerActions, Sequence};
use crate::model::gradient::likeliest;
use crate::model::{Decoder, kernel, logsumexp};
use crate::program::{Action, Program};
use crate::router::Router;
use crate::trace::{KvMode, Scope, Settings};

/// What the whole model makes of a text.
pub struct Reference<'a> {
    text: &'a Text,
    decoder: &'a Decoder,
    /// After the prompt, whose tokens run every layer under any policy.
    sequence: Sequence<'a>,
    /// After the prompt, (vocab_size).
    first: Vec<f32>,
    /// After each token of the answer, (tokens, vocab_size).
    logits: Vec<f32>,
    likeliest: Vec<usize>,
}

impl<'a> Reference<'a> {
    /// Reads a text of at least one token each of prompt and answer. `look` sees the answer's states (tokens,
    /// hidden_size) that enter each layer, and at last, with the number of layers, those that leave the last.
    ///
    /// # Errors
    /// Those of the model, and [`Stopped`](crate::engine::sequence::Stopped).
    pub fn new(
        decoder: &'a Decoder,
        text: &'a Text,
        stop: &'a AtomicBool,
        mut look: impl FnMut(usize, &Tensor) -> Result<()>,
    ) -> Result<Self> {
        let layers = decoder.config().layers;
        let mut sequence = Sequence::new(decoder, stop);
        let first = sequence.run_program(&text.prompt, &Program::standard(layers))?;
        let states = sequence.run_states(0, decoder.embed(&text.answer)?, |layer, states| {
            look(layer, states)?;
            Ok(Action::Execute.into())
        })?;
        look(layers, &states)?;
        let logits = logits_of(decoder, &states)?;
        let likeliest = logits.chunks_exact(decoder.config().vocab_size).map(likeliest);
        Ok(Reference {
            text,
            decoder,
            first: floats(&first)?,
            likeliest: likeliest.collect(),
            logits,
            sequence,
        })
    }

    /// Tokens of the answer.
    pub fn tokens(&self) -> usize {
        self.text.answer.len()
    }

    /// −Σ ln p(token | all before), in nats, over the answer.
    pub fn surprise(&self) -> f64 {
        let rows = self.logits.chunks_exact(self.decoder.config().vocab_size);
        let rows = std::iter::once(self.first.as_slice()).chain(rows);
        let of = |(logits, &id): (&[f32], &u32)| logsumexp(logits) - f64::from(logits[id as usize]);
        rows.zip(&self.text.answer).map(of).sum()
    }

    /// How far `logits` (tokens, vocab_size) of tokens that ran `depth` layers each are from the whole model's.
    pub fn compare(&self, mut logits: Vec<f32>, depth: Vec<usize>) -> Reading {
        let vocab = self.decoder.config().vocab_size;
        let mut reading = Reading {
            depth,
            ..Reading::default()
        };
        let full = self.logits.chunks_exact(vocab).zip(&self.likeliest);
        for ((full, &top), routed) in full.zip(logits.chunks_exact_mut(vocab)) {
            reading.same.push(likeliest(routed) == top);
            reading.kl.push(kernel::kl_backward(full, routed));
        }
        reading
    }

    /// The answer under programs: the actions of each token, one a layer.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn under(&self, programs: &[Vec<Action>], kv: KvMode) -> Result<Reading> {
        let states = self.run(kv, |layer, _| Ok(rows_of(programs, layer)))?;
        let depth = programs.iter().map(|actions| depth_of(actions)).collect();
        Ok(self.compare(logits_of(self.decoder, &states)?, depth))
    }

    /// The answer under routers in scope `token` as the engine runs them, and what each token did.
    ///
    /// # Errors
    /// As [`Self::new`], and settings that contradict the routers.
    pub fn routed(&self, routers: &dyn Router, dial: f64, kv: KvMode) -> Result<(Reading, Vec<Vec<Action>>)> {
        let settings = Settings {
            scope: Scope::Token,
            kv,
            dial,
            ..Settings::default()
        };
        let policy = DecisionPolicy::new(&settings, Some(routers), self.decoder.config().layers)?;
        let mut sequence = self.sequence.fork(self.sequence.len())?.with_kv(kv);
        let (logits, actions) = policy.branches(&mut sequence, &[&self.text.answer])?;
        let depth = actions.iter().map(|actions| depth_of(actions)).collect();
        Ok((self.compare(floats(&logits)?, depth), actions))
    }

    /// The answer where each token ends at the first layer at which `rule` says so: what is there goes to the final norm.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn exiting(&self, rule: Exit, kv: KvMode) -> Result<Reading> {
        let mut watch = ExitRule::new(rule, self.decoder, self.tokens());
        let states = self.run(kv, |layer, states| watch.decide(layer, states))?;
        Ok(self.compare(logits_of(self.decoder, &states)?, watch.depth()))
    }

    /// The answer's states after the last layer where `decide(layer, states)` says what its tokens do.
    pub(super) fn run(&self, kv: KvMode, decide: impl FnMut(usize, &Tensor) -> Result<LayerActions>) -> Result<Tensor> {
        let states = self.decoder.embed(&self.text.answer)?;
        self.from(0, states, kv, decide)
    }

    /// As [`Self::run`], from the states that enter layer `first` on.
    pub(super) fn from(
        &self,
        first: usize,
        states: Tensor,
        kv: KvMode,
        decide: impl FnMut(usize, &Tensor) -> Result<LayerActions>,
    ) -> Result<Tensor> {
        let sequence = self.sequence.fork(self.sequence.len())?.with_kv(kv);
        sequence.run_states(first, states, decide)
    }
}

/// What the tokens of some programs do at a layer.
fn rows_of(programs: &[Vec<Action>], layer: usize) -> LayerActions {
    LayerActions {
        rows: Some(programs.iter().map(|actions| actions[layer]).collect()),
        ..Action::Execute.into()
    }
}

/// Block executions.
fn depth_of(actions: &[Action]) -> usize {
    actions.iter().map(|action| action.executions()).sum()
}

/// Logits of states after the last layer: (tokens, hidden_size) → (tokens, vocab_size), row by row.
pub(super) fn logits_of(decoder: &Decoder, states: &Tensor) -> Result<Vec<f32>> {
    floats(&decoder.logits(states)?)
}

fn floats(tensor: &Tensor) -> Result<Vec<f32>> {
    let tensor = tensor.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
    Ok(tensor.flatten_all()?.to_vec1()?)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::eval::testing::{LAYERS, tiny_decoder, tiny_routers};
    use crate::model::testing::packed_decoder;

    pub static GO_ON: AtomicBool = AtomicBool::new(false);

    pub fn text() -> Text {
        Text {
            prompt: vec![7, 3, 11, 5],
            answer: vec![2, 40, 31, 8, 9, 1, 60, 22],
        }
    }

    fn all(action: Action, text: &Text) -> Vec<Vec<Action>> {
        vec![vec![action; LAYERS]; text.answer.len()]
    }

    #[test]
    fn a_policy_that_executes_everything_changes_nothing() {
        for decoder in [tiny_decoder(), packed_decoder(LAYERS)] {
            let text = text();
            let reference = Reference::new(&decoder, &text, &GO_ON, |_, _| Ok(())).unwrap();
            let reading = reference.under(&all(Action::Execute, &text), KvMode::Fill).unwrap();
            assert!(reading.kl.iter().all(|&kl| kl < 1e-6), "{:?}", reading.kl);
            assert!(reading.same.iter().all(|&same| same));
            assert_eq!(reading.depth, [LAYERS; 8]);
            let mut programs = all(Action::Execute, &text);
            programs[3][2] = Action::Skip;
            let reading = reference.under(&programs, KvMode::Fill).unwrap();
            assert!(reading.kl[..3].iter().all(|&kl| kl < 1e-6), "nothing goes back in time");
            assert!(reading.kl[3] > 1e-4);
            assert_eq!(reading.depth[2..5], [LAYERS, LAYERS - 1, LAYERS]);
        }
    }

    #[test]
    fn kl_follows_its_formula() {
        let (decoder, text) = (tiny_decoder(), text());
        let reference = Reference::new(&decoder, &text, &GO_ON, |_, _| Ok(())).unwrap();
        let other: Vec<f32> = reference
            .logits
            .iter()
            .enumerate()
            .map(|(i, z)| z * 0.5 + (i % 7) as f32)
            .collect();
        let reading = reference.compare(other.clone(), vec![LAYERS; 8]);
        let vocab = decoder.config().vocab_size;
        let log_softmax = |z: &[f32]| -> Vec<f64> {
            let sum: f64 = z.iter().map(|&z| f64::from(z).exp()).sum();
            z.iter().map(|&z| f64::from(z) - sum.ln()).collect()
        };
        let rows = reference.logits.chunks(vocab).zip(other.chunks(vocab));
        for ((full, other), kl) in rows.zip(&reading.kl) {
            let (p, q) = (log_softmax(full), log_softmax(other));
            let expected: f64 = p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum();
            assert!(
                (kl - expected).abs() < 1e-4 * (1.0 + expected),
                "{kl} is not {expected}"
            );
        }
    }

    #[test]
    fn surprise_is_that_of_the_tokens_one_by_one() {
        let (decoder, text) = (tiny_decoder(), text());
        let reference = Reference::new(&decoder, &text, &GO_ON, |_, _| Ok(())).unwrap();
        let standard = Program::standard(LAYERS);
        let mut sequence = Sequence::new(&decoder, &GO_ON);
        let mut logits = sequence.run_program(&text.prompt, &standard).unwrap();
        let mut expected = 0.0;
        for &id in &text.answer {
            let z: Vec<f32> = logits.to_vec1().unwrap();
            expected += logsumexp(&z) - f64::from(z[id as usize]);
            logits = sequence.run_program(&[id], &standard).unwrap();
        }
        assert!((reference.surprise() - expected).abs() < 1e-3);
    }

    #[test]
    fn routers_read_as_the_engine_generates() {
        for kv in KvMode::ALL {
            let (decoder, text, routers) = (tiny_decoder(), text(), tiny_routers());
            let reference = Reference::new(&decoder, &text, &GO_ON, |_, _| Ok(())).unwrap();
            let (reading, actions) = reference.routed(&routers, -0.5, kv).unwrap();
            // Layer 1 is skipped, layer 2 repeated.
            let expected = [Action::Execute, Action::Skip, Action::Repeat, Action::Execute];
            assert_eq!(actions, vec![expected.to_vec(); 8]);
            assert_eq!(reading.depth, [LAYERS; 8]);
            let again = reference.under(&actions, kv).unwrap();
            for (found, expected) in reading.kl.iter().zip(&again.kl) {
                assert!((found - expected).abs() < 1e-4, "{kv}");
            }
        }
    }
}
