//! Exit by confidence: a token ends at the layer at which the logit lens, the final norm and head on the state there,
//! is sure. The layers after it are skipped.

use anyhow::Result;
use candle_core::Tensor;

use super::reading::{Reference, logits_of};
use super::{Text, routed};
use crate::engine::sequence::LayerActions;
use crate::model::gradient::likeliest;
use crate::model::{Decoder, kernel};
use crate::program::Action;

/// When a token ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Exit {
    /// Where the entropy of the lens is below so many nats.
    Entropy(f64),
    /// Where so many layers in a row have had the same likeliest token.
    Agreement(usize),
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exit::Entropy(nats) => write!(f, "entropy below {nats:.3}"),
            Exit::Agreement(layers) => write!(f, "{layers} layers agree"),
        }
    }
}

/// −Σ p ln p of a row of logits in nats: ln(vocab_size) − KL(p ‖ uniform). `scratch` is as long as the row.
fn entropy(logits: &[f32], scratch: &mut [f32]) -> f64 {
    scratch.fill(0.0);
    (logits.len() as f64).ln() - kernel::kl_backward(logits, scratch)
}

/// Layers before which a token may end: those of the second half. Before it the lens of a model whose embeddings are its
/// head says the token that was read, and is sure of it.
fn places(layers: usize) -> std::ops::Range<usize> {
    routed(layers).start.max(layers / 2).min(layers)..layers
}

/// Says for each token of a pass whether it goes on.
pub struct ExitRule<'a> {
    rule: Exit,
    decoder: &'a Decoder,
    /// The layers that a token ran, where it has ended.
    ended: Vec<Option<usize>>,
    /// The likeliest token at the layer before, and for how many layers it has been the same.
    runs: Vec<(usize, usize)>,
}

impl<'a> ExitRule<'a> {
    /// For some tokens.
    pub fn new(rule: Exit, decoder: &'a Decoder, tokens: usize) -> Self {
        ExitRule {
            rule,
            decoder,
            ended: vec![None; tokens],
            runs: vec![(usize::MAX, 0); tokens],
        }
    }

    /// What the tokens whose states (tokens, hidden_size) enter `layer` do there.
    pub fn decide(&mut self, layer: usize, states: &Tensor) -> Result<LayerActions> {
        let on: Vec<u32> = (0u32..)
            .zip(&self.ended)
            .filter_map(|(row, end)| end.is_none().then_some(row))
            .collect();
        if places(self.decoder.config().layers).contains(&layer) && !on.is_empty() {
            let index = Tensor::new(on.as_slice(), states.device())?;
            let logits = logits_of(self.decoder, &states.index_select(&index, 0)?)?;
            let vocab = self.decoder.config().vocab_size;
            let mut scratch = vec![0.0; vocab];
            for (&row, logits) in on.iter().zip(logits.chunks_exact(vocab)) {
                let row = row as usize;
                let ends = match self.rule {
                    Exit::Entropy(nats) => entropy(logits, &mut scratch) < nats,
                    Exit::Agreement(layers) => self.agree(row, likeliest(logits)) >= layers,
                };
                if ends {
                    self.ended[row] = Some(layer);
                }
            }
        }
        let action = |end: &Option<usize>| if end.is_some() { Action::Skip } else { Action::Execute };
        Ok(LayerActions {
            rows: Some(self.ended.iter().map(action).collect()),
            ..Action::Execute.into()
        })
    }

    /// For how many layers the lens of a token has said `top`, this one too.
    fn agree(&mut self, row: usize, top: usize) -> usize {
        let (last, times) = self.runs[row];
        let times = if last == top { times + 1 } else { 1 };
        self.runs[row] = (top, times);
        times
    }

    /// Layers that each token ran.
    pub fn depth(&self) -> Vec<usize> {
        let layers = self.decoder.config().layers;
        self.ended.iter().map(|end| end.unwrap_or(layers)).collect()
    }
}

/// What the lens says of tokens of the whole model, layer by layer: from it follows at what depth a rule would end them
/// if those before them ran every layer.
#[derive(Clone, Debug, Default)]
pub struct LensTable {
    layers: usize,
    /// For each token, entropy and likeliest token before each layer of [`places`].
    tokens: Vec<Vec<(f64, usize)>>,
}

impl LensTable {
    /// Reads the lens of the states (tokens, hidden_size) that enter the layers in turn.
    pub fn look(&mut self, decoder: &Decoder, layer: usize, states: &Tensor) -> Result<()> {
        self.layers = decoder.config().layers;
        if !places(self.layers).contains(&layer) {
            return Ok(());
        }
        self.tokens.resize(states.dims2()?.0, Vec::new());
        let vocab = decoder.config().vocab_size;
        let mut scratch = vec![0.0; vocab];
        for (logits, token) in logits_of(decoder, states)?.chunks_exact(vocab).zip(&mut self.tokens) {
            token.push((entropy(logits, &mut scratch), likeliest(logits)));
        }
        Ok(())
    }

    /// Adds the tokens of another table.
    pub fn extend(&mut self, other: LensTable) {
        self.layers = other.layers;
        self.tokens.extend(other.tokens);
    }

    /// Mean depth under a rule.
    pub fn depth(&self, rule: Exit) -> f64 {
        self.ends(rule).into_iter().sum::<usize>() as f64 / self.tokens.len().max(1) as f64
    }

    /// The layer before which a rule ends each token; the number of layers where it does not.
    pub fn ends(&self, rule: Exit) -> Vec<usize> {
        let first = places(self.layers).start;
        let of = |token: &Vec<(f64, usize)>| {
            let mut run = (usize::MAX, 0);
            let ends = |&(entropy, top): &(f64, usize)| match rule {
                Exit::Entropy(nats) => entropy < nats,
                Exit::Agreement(layers) => {
                    run = (top, if run.0 == top { run.1 + 1 } else { 1 });
                    run.1 >= layers
                }
            };
            token.iter().position(ends).map_or(self.layers, |at| first + at)
        };
        self.tokens.iter().map(of).collect()
    }

    /// The entropy below which tokens end at a mean depth, by bisection: a greater one ends them earlier.
    pub fn entropy_at(&self, depth: f64) -> Exit {
        let greatest = self.tokens.iter().flatten().map(|token| token.0).fold(0.0, f64::max);
        let (mut low, mut high) = (0.0, greatest + 1e-6);
        for _ in 0..40 {
            let middle = 0.5 * (low + high);
            match self.depth(Exit::Entropy(middle)) > depth {
                true => low = middle,
                false => high = middle,
            }
        }
        Exit::Entropy(high)
    }

    /// The number of layers whose agreement ends tokens nearest to a mean depth.
    pub fn agreement_at(&self, depth: f64) -> Exit {
        let rules = (2..=places(self.layers).len().max(2)).map(Exit::Agreement);
        let away = |rule: &Exit| (self.depth(*rule) - depth).abs();
        let nearest = rules.min_by(|a, b| away(a).total_cmp(&away(b)));
        nearest.expect("there is a rule of two layers at least")
    }
}

/// The lens on one text under the whole model.
///
/// # Errors
/// As [`Reference::new`].
pub fn lens<'a>(decoder: &'a Decoder, text: &'a Text, stop: &'a std::sync::atomic::AtomicBool) -> Result<LensTable> {
    let mut table = LensTable::default();
    Reference::new(decoder, text, stop, |layer, states| table.look(decoder, layer, states))?;
    Ok(table)
}

/// The lens at the last token of a prompt under the whole model.
///
/// # Errors
/// Those of the model.
pub fn lens_of_prompt(decoder: &Decoder, prompt: &[u32]) -> Result<LensTable> {
    let positions: Vec<u32> = (0..prompt.len() as u32).collect();
    let chunk = decoder.chunk(&positions)?;
    let mut hidden = decoder.embed(prompt)?;
    let mut table = LensTable::default();
    for layer in 0..decoder.config().layers {
        table.look(decoder, layer, &hidden.narrow(0, prompt.len() - 1, 1)?)?;
        hidden = decoder.run_block(layer, &hidden, &chunk, None)?;
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::testing::{LAYERS, question, tiny_decoder};
    use crate::eval::text::reading::tests::{GO_ON, text};
    use crate::trace::KvMode;

    #[test]
    fn entropy_follows_its_formula() {
        let logits: Vec<f32> = vec![0.0, 3f32.ln(), 0.0, f32::ln(5.0)];
        let p = [0.1f64, 0.3, 0.1, 0.5];
        let expected: f64 = p.iter().map(|p| -p * p.ln()).sum();
        assert!((entropy(&logits, &mut [9.0; 4]) - expected).abs() < 1e-5);
    }

    #[test]
    fn rules_end_tokens_where_the_lens_is_sure() {
        let (decoder, text) = (tiny_decoder(), text());
        let reference = Reference::new(&decoder, &text, &GO_ON, |_, _| Ok(())).unwrap();
        let depths = |rule| reference.exiting(rule, KvMode::Fill).unwrap().depth;
        assert_eq!(depths(Exit::Entropy(0.0)), [LAYERS; 8], "never sure");
        assert_eq!(depths(Exit::Entropy(99.0)), [2; 8], "always sure");
        assert_eq!(depths(Exit::Agreement(1)), [2; 8], "one layer agrees with itself");
        let whole = reference.exiting(Exit::Agreement(99), KvMode::Fill).unwrap();
        assert!(whole.kl.iter().all(|&kl| kl < 1e-6));
        let table = lens(&decoder, &text, &GO_ON).unwrap();
        // Of single tokens the table says what a run does.
        for rule in [Exit::Agreement(2), table.entropy_at(3.0)] {
            assert!(table.depth(rule) >= 2.0 && table.depth(rule) <= LAYERS as f64);
            let first = Text {
                answer: text.answer[..1].to_vec(),
                ..text.clone()
            };
            let one = Reference::new(&decoder, &first, &GO_ON, |_, _| Ok(())).unwrap();
            let of_table = lens(&decoder, &first, &GO_ON).unwrap().depth(rule);
            let found = one.exiting(rule, KvMode::Fill).unwrap().depth[0];
            assert_eq!(found as f64, of_table, "{rule}");
        }
    }

    #[test]
    fn a_prompt_is_looked_at_where_its_answer_begins() {
        let (decoder, ids) = (tiny_decoder(), question().prompt);
        let mut table = lens_of_prompt(&decoder, &ids).unwrap();
        table.extend(lens_of_prompt(&decoder, &ids[..2]).unwrap());
        assert_eq!(table.ends(Exit::Entropy(99.0)), [LAYERS / 2; 2]);
        assert_eq!(table.ends(Exit::Entropy(0.0)), [LAYERS; 2]);
        // The same as the lens of a text whose answer begins with that token.
        let text = Text {
            prompt: ids[..ids.len() - 1].to_vec(),
            answer: ids[ids.len() - 1..].to_vec(),
        };
        let as_text = lens(&decoder, &text, &GO_ON).unwrap();
        for rule in [Exit::Agreement(2), Exit::Entropy(table.tokens[0][0].0 + 1e-3)] {
            assert_eq!(table.ends(rule)[0], as_text.ends(rule)[0], "{rule}");
        }
    }

    #[test]
    fn thresholds_meet_a_depth() {
        // Token t is sure of itself from layer t on, of 12; the second half is looked at.
        let token = |t: usize| {
            let at = |layer: usize| {
                if layer < t {
                    (5.0, layer)
                } else {
                    (1.0 / layer as f64, 99)
                }
            };
            (6..12).map(at).collect()
        };
        let table = LensTable {
            layers: 12,
            tokens: (6..12).map(token).collect(),
        };
        for depth in [9.2, 10.0, 11.5] {
            let found = table.depth(table.entropy_at(depth));
            assert!(found <= depth && found > depth - 1.1, "{found} for {depth}");
        }
        assert_eq!(table.depth(Exit::Agreement(1)), 6.0);
        // 99 is the likeliest from t on, so that two layers agree at t + 1.
        let expected = (6..12).map(|t| t + 1).sum::<usize>() as f64 / 6.0;
        assert_eq!(table.depth(Exit::Agreement(2)), expected);
        assert_eq!(table.agreement_at(expected + 0.1), Exit::Agreement(2));
        assert_eq!(table.agreement_at(0.0), Exit::Agreement(2));
    }
}
