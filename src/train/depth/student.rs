//! One text read by the frozen model: whole, as the teacher, and under the routers.

use anyhow::Result;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::routers::{DepthShape, RouterActivations};
use crate::eval::text::answers::Text;
use crate::eval::text::{Reading, routed};
use crate::model::Chunk;
use crate::model::gradient::{BlockActivations, FrozenModel, Past};

/// What the whole model makes of a text, once for all readings.
pub struct Teacher {
    /// What the prompt's tokens left in each layer.
    past: Vec<Past>,
    /// The answer's states that enter the first routed layer, (tokens, hidden_size).
    entering: Vec<f32>,
    /// Its states after the last layer, (tokens, hidden_size).
    leaving: Vec<f32>,
    prompt: usize,
    answer: usize,
}

/// How a text is read under the routers.
#[derive(Clone, Copy, Debug)]
pub struct Threshold<'a> {
    /// o: a layer is executed where its logit and noise are above.
    pub offset: f32,
    /// One a routed layer and token, layer by layer; none where there is no noise.
    pub noise: Option<&'a [f32]>,
}

/// What a token's share of the loss weighs.
#[derive(Clone, Copy, Debug)]
pub struct Weights {
    /// Of a token's KL.
    pub kl: f32,
    /// Of a layer that a token executes.
    pub layer: f32,
}

/// What a reading is to be learnt from.
pub struct Learning<'a> {
    pub weights: Weights,
    /// Of the random signs that the second derivative is estimated with.
    pub seed: u64,
    /// Added to.
    pub gradients: &'a mut [f32],
}

/// One routed layer of a reading.
struct Routed {
    router: RouterActivations,
    /// Logits less threshold, with noise.
    noisy: Vec<f32>,
    /// What the block added, (tokens, hidden_size).
    added: Vec<f32>,
}

impl Teacher {
    /// Reads a text whole.
    ///
    /// # Errors
    /// Those of the products.
    pub fn new(model: &FrozenModel, text: &Text) -> Result<Self> {
        let layers = model.decoder().config().layers;
        let (prompt, answer) = (text.prompt.len(), text.answer.len());
        let (of_prompt, of_answer) = (model.chunk(0, prompt)?, model.chunk(prompt, answer)?);
        let mut before = model.embed(&text.prompt)?;
        let mut states = model.embed(&text.answer)?;
        let (mut past, mut entering) = (Vec::with_capacity(layers), Vec::new());
        for layer in 0..layers {
            let (after, activations) = model.forward(layer, before, &of_prompt, &Past::default())?;
            before = after;
            past.push(activations.past(&Past::default()));
            if layer == routed(layers).start {
                entering.clone_from(&states);
            }
            states = model.forward(layer, states, &of_answer, &past[layer])?.0;
        }
        Ok(Teacher {
            past,
            entering,
            leaving: states,
            prompt,
            answer,
        })
    }

    /// Bytes of memory it takes.
    pub fn bytes(&self) -> usize {
        let past: usize = self.past.iter().map(Past::bytes).sum();
        past + 4 * (self.entering.len() + self.leaving.len())
    }

    /// Reads the text under the routers of these `parameters`, and adds the gradients of the loss by them where they are
    /// to learn.
    ///
    /// # Errors
    /// Those of the products.
    pub fn read(
        &self,
        model: &FrozenModel,
        shape: &DepthShape,
        parameters: &[f32],
        threshold: Threshold,
        learn: Option<Learning>,
    ) -> Result<Reading> {
        let layers = model.decoder().config().layers;
        let routed = routed(layers);
        let size = shape.hidden_size;
        let chunk = model.chunk(self.prompt, self.answer)?;
        let mut states = self.entering.clone();
        let mut depth = vec![layers - routed.len(); self.answer];
        let mut passes: Vec<(BlockActivations, Option<Routed>)> = Vec::new();
        for layer in routed.start..layers {
            let (after, activations) = model.forward(layer, states, &chunk, &self.past[layer])?;
            let entering = activations.entering();
            if !routed.contains(&layer) {
                states = after;
                passes.push((activations, None));
                continue;
            }
            let router = shape.forward(parameters, layer, entering);
            let from = (layer - routed.start) * self.answer;
            let noise = |token: usize| threshold.noise.map_or(0.0, |noise| noise[from + token]);
            let logits = router.logits.iter().enumerate();
            let noisy: Vec<f32> = logits.map(|(token, z)| z - threshold.offset + noise(token)).collect();
            let mut added = after;
            added.iter_mut().zip(entering).for_each(|(after, h)| *after -= h);
            states = entering.to_vec();
            for (token, z) in noisy.iter().enumerate() {
                if *z > 0.0 {
                    depth[token] += 1;
                    let row = token * size..(token + 1) * size;
                    states[row.clone()]
                        .iter_mut()
                        .zip(&added[row])
                        .for_each(|(h, added)| *h += added);
                }
            }
            if learn.is_some() {
                passes.push((activations, Some(Routed { router, noisy, added })));
            }
        }
        let mut reading = Reading {
            depth,
            ..Reading::default()
        };
        let mut each = |kl: f64, same: bool| {
            reading.kl.push(kl);
            reading.same.push(same);
        };
        let Some(learning) = learn else {
            model.kl(&self.leaving, &states, 0.0, None, &mut each)?;
            return Ok(reading);
        };
        let weights = learning.weights;
        let mut d = vec![0.0; states.len()];
        model.kl(&self.leaving, &states, weights.kl, Some(&mut d), &mut each)?;
        let mut curvature = vec![0.0; states.len()];
        let mut rng = ChaCha8Rng::seed_from_u64(learning.seed);
        model.curvature(&states, weights.kl.sqrt(), &mut || rng.random(), &mut curvature)?;
        for (layer, (activations, of_routers)) in (routed.start..layers).zip(passes).rev() {
            let block = Block {
                model,
                layer,
                activations: &activations,
                chunk: &chunk,
                past: &self.past[layer],
                first: layer == routed.start,
            };
            let Some(pass) = of_routers else {
                d = block.executed(&d)?;
                curvature = block.executed(&curvature)?;
                continue;
            };
            let d_logits = pass.d_logits(&d, &curvature, weights, size);
            block.gated(&pass.noisy, &mut curvature, size)?;
            block.gated(&pass.noisy, &mut d, size)?;
            let states = activations.entering();
            shape.backward(
                parameters,
                layer,
                states,
                &pass.router,
                &d_logits,
                learning.gradients,
                &mut d,
            );
        }
        Ok(reading)
    }
}

/// A block of a reading, to take gradients through.
struct Block<'a> {
    model: &'a FrozenModel<'a>,
    layer: usize,
    activations: &'a BlockActivations,
    chunk: &'a Chunk,
    past: &'a Past,
    /// Nothing is learnt before it.
    first: bool,
}

impl Block<'_> {
    fn backward(&self, d: &[f32], to: &mut [f32]) -> Result<()> {
        self.model
            .backward(self.layer, self.activations, d, self.chunk, self.past, to)
    }

    /// The gradient by the entering states from that by the leaving ones, of a block that every token executes.
    fn executed(&self, d: &[f32]) -> Result<Vec<f32>> {
        let mut to = vec![0.0; d.len()];
        self.backward(d, &mut to)?;
        Ok(to)
    }

    /// The same, in place, under gates: a skipped token's state goes on as it is, an executed one's gradient comes through
    /// the block.
    fn gated(&self, noisy: &[f32], d: &mut [f32], size: usize) -> Result<()> {
        let mut through = d.to_vec();
        for (token, z) in noisy.iter().enumerate() {
            let zeroed = if *z > 0.0 { &mut *d } else { &mut through };
            zeroed[token * size..(token + 1) * size].fill(0.0);
        }
        match self.first {
            true => Ok(()),
            false => self.backward(&through, d),
        }
    }
}

/// Above this a layer's worth counts no more, in nats of a token's KL: what is beyond is where the second derivative says
/// little, and no price comes near it.
const MOST_WORTH: f32 = 0.5;

impl Routed {
    /// The gradient of the logits, straight through the gates. That of a gate is the loss with the layer less the loss
    /// without it, to the second order: L(1) − L(0) = ⟨d, a⟩ − ½·aᵀHa where the layer was executed and ⟨d, a⟩ + ½·aᵀHa
    /// where it was skipped, with a what the block adds, d the loss's gradient by the state after it and H its second
    /// derivative; and the price of a layer. aᵀHa is on the mean the square of ⟨`curvature`, a⟩.
    ///
    /// By the gradient alone a layer would be worth nothing where all are executed, where KL has its minimum, and every
    /// logit would be drawn to the threshold.
    fn d_logits(&self, d: &[f32], curvature: &[f32], weights: Weights, size: usize) -> Vec<f32> {
        let most = weights.kl * MOST_WORTH;
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let rows = self.added.chunks_exact(size).zip(&self.noisy);
        let gradients = d.chunks_exact(size).zip(curvature.chunks_exact(size));
        rows.zip(gradients)
            .map(|((added, z), (d, curvature))| {
                let along = dot(curvature, added);
                let second = most * (1.0 - (-0.5 * along * along / most).exp());
                let first = dot(d, added);
                // Skipped, the gradient bounds what a single draw of the signs may say.
                let second = if *z > 0.0 {
                    -second
                } else {
                    second.min(0.5 * first.abs())
                };
                let sigmoid = 1.0 / (1.0 + (-z).exp());
                (first + weights.layer + second) * (sigmoid * (1.0 - sigmoid))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::packed_decoder;

    const LAYERS: usize = 5;

    /// A text of one routed token, whose gates nothing but its own next token depends on.
    fn text() -> Text {
        Text {
            prompt: vec![3, 14, 1, 9],
            answer: vec![2],
        }
    }

    /// Noise that lets every layer run but those of `skipped`.
    fn noise(skipped: &[usize]) -> Vec<f32> {
        let each = |layer| if skipped.contains(&layer) { -20.0 } else { 20.0 };
        routed(LAYERS).map(each).collect()
    }

    #[test]
    fn a_gate_learns_what_its_layer_is_worth() {
        let decoder = packed_decoder(LAYERS);
        let model = FrozenModel::new(&decoder).unwrap();
        let shape = DepthShape::new(LAYERS, decoder.config().hidden_size, 4);
        let parameters = shape.initial(7);
        let teacher = Teacher::new(&model, &text()).unwrap();
        let read = |noise: &[f32], learn: Option<Learning>| {
            let threshold = Threshold {
                offset: 0.0,
                noise: Some(noise),
            };
            teacher.read(&model, &shape, &parameters, threshold, learn).unwrap()
        };
        let kl = |skipped: &[usize]| read(&noise(skipped), None).kl[0];
        let price = 0.25f32;
        for skipped in [vec![], vec![2], vec![2, 3]] {
            // On the threshold the slope is at its greatest; a little beside it, to be sure of the side.
            let z = 2.0;
            let noise: Vec<f32> = noise(&skipped).iter().map(|n| n.signum() * 0.01 - z).collect();
            let draws = 400u16;
            let mut gradients = vec![0.0; parameters.len()];
            for seed in 0..draws {
                let learning = Learning {
                    weights: Weights { kl: 1.0, layer: price },
                    seed: seed.into(),
                    gradients: &mut gradients,
                };
                read(&noise, Some(learning));
            }
            let each = parameters.len() / routed(LAYERS).len();
            for (at, layer) in routed(LAYERS).enumerate() {
                let others: Vec<usize> = skipped.iter().copied().filter(|l| *l != layer).collect();
                let without: Vec<usize> = others.iter().copied().chain([layer]).collect();
                let worth = kl(&without) - kl(&others);
                // Of the bias, the last of a router's parameters.
                let mean = f64::from(gradients[(at + 1) * each - 1]) / f64::from(draws) / 0.25;
                let found = f64::from(price) - mean;
                // The second order is within a factor of what KL has come to when a whole layer is missing; the gradient
                // alone is 0 where all run.
                let ratio = found / worth;
                assert!((0.3..3.0).contains(&ratio), "{skipped:?} {layer}: {found} {worth}");
            }
        }
    }
}
