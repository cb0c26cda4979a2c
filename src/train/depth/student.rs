//! One text read by the frozen model: whole, as the teacher, and under the routers.

use anyhow::Result;

use super::routed;
use super::routers::{Activations as RouterActivations, Shape};
use super::texts::Text;
use crate::model::gradient::{Activations, FrozenModel, Past};

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

/// What a reading comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// Of each token of the answer: KL(full ‖ routed) of what comes next, in nats.
    pub kl: Vec<f64>,
    /// Whether the same token is likeliest.
    pub same: Vec<bool>,
    /// Layers that each token ran.
    pub depth: Vec<usize>,
}

impl Reading {
    pub fn tokens(&self) -> usize {
        self.kl.len()
    }
}

/// What a token's share of the loss weighs.
#[derive(Clone, Copy, Debug)]
pub struct Weights {
    /// Of a token's KL.
    pub kl: f32,
    /// Of a layer that a token executes.
    pub layer: f32,
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

    /// Reads the text under the routers; where `weights` are given, adds the gradients of the loss by the routers'
    /// `parameters` to `gradients`.
    ///
    /// # Errors
    /// Those of the products.
    pub fn read(
        &self,
        model: &FrozenModel,
        shape: &Shape,
        parameters: &[f32],
        threshold: Threshold,
        learn: Option<(Weights, &mut [f32])>,
    ) -> Result<Reading> {
        let layers = model.decoder().config().layers;
        let routed = routed(layers);
        let size = shape.hidden_size;
        let chunk = model.chunk(self.prompt, self.answer)?;
        let mut states = self.entering.clone();
        let mut depth = vec![layers - routed.len(); self.answer];
        let mut passes: Vec<(Activations, Option<Routed>)> = Vec::new();
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
        let Some((weights, gradients)) = learn else {
            model.kl(&self.leaving, &states, 0.0, None, &mut each)?;
            return Ok(reading);
        };
        let mut d = vec![0.0; states.len()];
        model.kl(&self.leaving, &states, weights.kl, Some(&mut d), &mut each)?;
        for (layer, (activations, of_routers)) in (routed.start..layers).zip(passes).rev() {
            let past = &self.past[layer];
            let Some(pass) = of_routers else {
                let mut to = vec![0.0; d.len()];
                model.backward(layer, &activations, &d, &chunk, past, &mut to)?;
                d = to;
                continue;
            };
            let d_logits = pass.d_logits(&d, weights.layer, size);
            // A skipped token's state goes on as it is; an executed one's gradient comes through the block.
            let mut through = d.clone();
            for (token, z) in pass.noisy.iter().enumerate() {
                let zeroed = if *z > 0.0 { &mut d } else { &mut through };
                zeroed[token * size..(token + 1) * size].fill(0.0);
            }
            if layer > routed.start {
                model.backward(layer, &activations, &through, &chunk, past, &mut d)?;
            }
            let states = activations.entering();
            shape.backward(parameters, layer, states, &pass.router, &d_logits, gradients, &mut d);
        }
        Ok(reading)
    }
}

impl Routed {
    /// The gradient of the logits, straight through the gates: that of a gate is what the block adds along the
    /// gradient `d` of the state after it, and the price of a layer.
    fn d_logits(&self, d: &[f32], price: f32, size: usize) -> Vec<f32> {
        let rows = d.chunks_exact(size).zip(self.added.chunks_exact(size));
        let of_gates = rows.map(|(d, added)| d.iter().zip(added).map(|(d, added)| d * added).sum::<f32>() + price);
        let slopes = self.noisy.iter().map(|z| {
            let sigmoid = 1.0 / (1.0 + (-z).exp());
            sigmoid * (1.0 - sigmoid)
        });
        of_gates.zip(slopes).map(|(d, slope)| d * slope).collect()
    }
}
