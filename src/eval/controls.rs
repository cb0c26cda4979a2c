//! What routers must beat: programs of the same depth that nobody learnt.

use std::collections::HashMap;

use anyhow::Result;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use crate::model::Decoder;
use crate::program::Program;

/// A rule that leaves layers out until a depth is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Layers drawn anew for every question.
    Random,
    /// The last layers: what is there goes to the final norm.
    EarlyExit,
    /// The layers of least block influence (ShortGPT, arXiv 2403.03853), the least first.
    BlockInfluence(Vec<usize>),
    /// The layers whose removal cost least on training questions, one after the other; as many of
    /// them as the depth asks for.
    Removal(Vec<usize>),
    /// Each question, by its id, ends at the layer at which the logit lens at the last token of its prompt is sure, by this
    /// rule.
    Exit(&'static str, HashMap<String, usize>),
}

impl Control {
    /// Of [`Control::Random`]'s rows.
    pub const RANDOM: &'static str = "random layers";
    /// Of [`Control::EarlyExit`]'s rows.
    pub const EARLY_EXIT: &'static str = "early exit";
    /// Of [`Control::BlockInfluence`]'s rows.
    pub const BLOCK_INFLUENCE: &'static str = "block influence";
    /// Of [`Control::Removal`]'s rows.
    pub const REMOVAL: &'static str = "static removal";
    /// Of rows whose questions end where the logit lens has little entropy.
    pub const ENTROPY: &'static str = "exit by entropy";
    /// Of rows whose questions end where the logit lens has said the same for some layers.
    pub const AGREEMENT: &'static str = "exit by agreement";
    /// A block of neighbouring layers that every question runs twice: the best one of training questions.
    pub const LOOP: &'static str = "best loop block";
    /// The same, the second time damped.
    pub const DAMPED_LOOP: &'static str = "best damped loop";

    /// As reports write it.
    pub fn name(&self) -> &'static str {
        match self {
            Control::Random => Control::RANDOM,
            Control::EarlyExit => Control::EARLY_EXIT,
            Control::BlockInfluence(_) => Control::BLOCK_INFLUENCE,
            Control::Removal(_) => Control::REMOVAL,
            Control::Exit(name, _) => name,
        }
    }

    /// The program for one question, at a mean depth of `depth` ≤ `layers` over many: a depth between
    /// two whole ones is met by drawing one of them. The same at every run.
    pub fn program(&self, layers: usize, depth: f64, question: &str) -> Program {
        if let Control::Exit(_, ends) = self {
            let end = ends.get(question).copied().unwrap_or(layers);
            return Program::from_layers(0..end.min(layers));
        }
        let mut rng = ChaCha8Rng::from_seed(Sha256::digest(question).into());
        let whole = (depth.floor() as usize).min(layers);
        let more = usize::from(rng.random_bool(depth.fract().clamp(0.0, 1.0)));
        let skipped = layers - (whole + more).min(layers);
        let mut order: Vec<usize> = match self {
            Control::Random => (0..layers).collect(),
            Control::EarlyExit => (0..layers).rev().collect(),
            Control::BlockInfluence(order) | Control::Removal(order) => order.clone(),
            Control::Exit(..) => unreachable!("has its own layers"),
        };
        if *self == Control::Random {
            order.shuffle(&mut rng);
        }
        Program::from_layers((0..layers).filter(|layer| !order[..skipped].contains(layer)))
    }
}

/// The layers in the order of their block influence, the least first: 1 − cos(h, B(h)), meaned
/// over the tokens of the prompts (ShortGPT, arXiv 2403.03853 §3.2).
pub fn by_influence(decoder: &Decoder, prompts: &[Vec<u32>]) -> Result<Vec<usize>> {
    let layers = decoder.config().layers;
    let (mut sums, mut tokens) = (vec![0f64; layers], 0);
    for prompt in prompts {
        let positions: Vec<u32> = (0..prompt.len() as u32).collect();
        let chunk = decoder.chunk(&positions)?;
        let mut hidden = decoder.embed(prompt)?;
        for (layer, sum) in sums.iter_mut().enumerate() {
            let after = decoder.run_block(layer, &hidden, &chunk, None)?;
            let rows = |t: &candle_core::Tensor| t.to_dtype(candle_core::DType::F32)?.to_vec2::<f32>();
            let pairs = rows(&hidden)?.into_iter().zip(rows(&after)?);
            *sum += pairs.map(|(before, after)| 1.0 - cosine(&before, &after)).sum::<f64>();
            hidden = after;
        }
        tokens += positions.len();
    }
    let influence: Vec<f64> = sums.iter().map(|sum| sum / tokens.max(1) as f64).collect();
    let mut order: Vec<usize> = (0..layers).collect();
    order.sort_by(|&a, &b| influence[a].total_cmp(&influence[b]));
    Ok(order)
}

pub(super) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::testing::{LAYERS, question, tiny_decoder};

    #[test]
    fn controls_meet_the_depth_they_are_given() {
        let influence = Control::BlockInfluence(vec![3, 1, 0, 2, 4, 5]);
        let at = |control: &Control, depth| control.program(6, depth, "q").layers().to_vec();
        assert_eq!(at(&Control::EarlyExit, 4.0), [0, 1, 2, 3]);
        assert_eq!(at(&influence, 4.0), [0, 2, 4, 5]);
        // Only as many layers are known as the depth asks for.
        let removal = Control::Removal(vec![5, 1]);
        assert_eq!(at(&removal, 5.0), [0, 1, 2, 3, 4]);
        for control in [Control::Random, Control::EarlyExit, influence, removal] {
            let depths = (0..400).map(|q| control.program(6, 4.25, &q.to_string()).depth());
            let mean = depths.sum::<usize>() as f64 / 400.0;
            assert!((4.15..4.35).contains(&mean), "{control:?}: {mean}");
            assert_eq!(control.program(6, 9.0, "q"), Program::standard(6));
        }
        let exit = Control::Exit(Control::ENTROPY, HashMap::from([("q".to_owned(), 4)]));
        assert_eq!(at(&exit, 5.0), [0, 1, 2, 3], "the layer is the question's own");
        assert_eq!(exit.program(6, 5.0, "another"), Program::standard(6));
        let distinct: std::collections::HashSet<_> = (0..50)
            .map(|q| Control::Random.program(6, 3.0, &q.to_string()))
            .collect();
        assert!(distinct.len() > 5, "every question draws its own");
    }

    #[test]
    fn influence_is_that_of_the_hidden_states() {
        let decoder = tiny_decoder();
        let mut order = by_influence(&decoder, &[question().prompt]).unwrap();
        order.sort_unstable();
        assert_eq!(order, (0..LAYERS).collect::<Vec<_>>());
        assert!((cosine(&[1.0, 0.0], &[1.0, 1.0]) - 0.5f64.sqrt()).abs() < 1e-9);
        assert!((cosine(&[1.0, 2.0], &[2.0, 4.0]) - 1.0).abs() < 1e-9);
    }
}
