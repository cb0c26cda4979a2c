//! What a run is asked to do: the same for the command line, the screen and a trace's header.

use serde::{Deserialize, Serialize};

use super::excluded_expert::ExcludedExpert;
use super::kv_mode::KvMode;
use super::pin::Pin;
use super::scope::Scope;
use crate::program::{Program, greatest_depth};

/// The dial's neutral position: the router's own distribution (spec §3).
pub const NEUTRAL_DIAL: f64 = -0.5;

/// The least temperature but 0.
const LEAST_TEMPERATURE: f64 = 1e-6;

/// The least repetition penalty: by less the quotients may be no numbers.
pub const LEAST_PENALTY: f32 = 1e-3;

/// How the next token is drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// 0 is greedy.
    pub temperature: f64,
    /// Only so many of the likeliest tokens are drawn from.
    pub top_k: Option<usize>,
    /// Only the likeliest tokens that together have this probability are drawn from.
    pub top_p: Option<f64>,
    /// 1 leaves the logits as they are.
    pub repetition_penalty: f32,
    /// Of the random draws.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling {
            temperature: 0.0,
            top_k: None,
            top_p: None,
            repetition_penalty: 1.0,
            seed: 42,
        }
    }
}

/// Everything about a run but its prompt, model and routers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// When routers decide.
    pub scope: Scope,
    /// What tokens leave in layers that they do not run.
    pub kv: KvMode,
    /// −1 skip all … −0.5 the router … 0.5 execute all … 1 repeat all.
    pub dial: f64,
    /// Greatest depth of a token, if any.
    pub budget: Option<usize>,
    /// The user's decisions; of several on a cell the last one holds.
    pub pins: Vec<Pin>,
    /// Experts that no token may go to, in a model that has such.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excluded_experts: Vec<ExcludedExpert>,
    /// A program in the place of routers.
    pub program: Option<Program>,
    /// In scope `prompt`, ask the routers at every generated token too and record what they would do.
    pub shadow: bool,
    /// Most tokens of the answer.
    pub max_tokens: usize,
    /// Goes on after an end token.
    pub ignore_eos: bool,
    /// Texts that end the generation.
    pub stop: Vec<String>,
    /// The prompt as it is, without the chat template.
    pub raw: bool,
    /// How tokens are drawn.
    #[serde(flatten)]
    pub sampling: Sampling,
    /// Report this many greatest logits with every step.
    pub logits: usize,
    /// Report the logits of these ids with every step.
    pub probe: Vec<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            scope: Scope::Prompt,
            kv: KvMode::Ragged,
            dial: NEUTRAL_DIAL,
            budget: None,
            pins: Vec::new(),
            excluded_experts: Vec::new(),
            program: None,
            shadow: true,
            max_tokens: 128,
            ignore_eos: false,
            stop: Vec::new(),
            raw: false,
            sampling: Sampling::default(),
            logits: 0,
            probe: Vec::new(),
        }
    }
}

impl Settings {
    /// Does without an expert.
    pub fn exclude(&mut self, expert: ExcludedExpert) {
        if !self.excluded_experts.contains(&expert) {
            self.excluded_experts.push(expert);
        }
    }

    /// Checks what no model is needed for.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn check_alone(&self) -> Result<(), String> {
        if !(-1.0..=1.0).contains(&self.dial) {
            return Err(format!(
                "the dial is {}: expected -1 (skip all) to 1 (repeat all), -0.5 is the router itself",
                self.dial
            ));
        }
        if self.budget == Some(0) {
            return Err("the budget is 0: expected 1 to twice the model's layers".into());
        }
        let sampling = &self.sampling;
        let temperature = sampling.temperature;
        // Logits are divided by it; by less the quotients are no numbers any more.
        if !(temperature == 0.0 || temperature.is_finite() && temperature >= LEAST_TEMPERATURE) {
            return Err(format!(
                "the temperature is {}: expected 0 (greedy), or {LEAST_TEMPERATURE} or more",
                sampling.temperature
            ));
        }
        if sampling.top_p.is_some_and(|p| !(p > 0.0 && p <= 1.0)) {
            return Err(format!(
                "top-p is {}: expected more than 0, at most 1",
                sampling.top_p.unwrap_or_default()
            ));
        }
        if sampling.top_k == Some(0) {
            return Err("top-k is 0: expected at least 1; leave it out to consider all tokens".into());
        }
        // Logits are divided by it, too.
        if !(sampling.repetition_penalty.is_finite() && sampling.repetition_penalty >= LEAST_PENALTY) {
            return Err(format!(
                "the repetition penalty is {}: expected {LEAST_PENALTY} or more, 1 changes nothing",
                sampling.repetition_penalty
            ));
        }
        Ok(())
    }

    /// Checks what can be checked once the model's `layers` are known; what depends on routers
    /// and prompt is checked when the run starts.
    ///
    /// # Errors
    /// A sentence that names the setting, the value and what is allowed.
    pub fn check(&self, layers: usize) -> Result<(), String> {
        if let Some(budget) = self.budget
            && (budget == 0 || budget > greatest_depth(layers))
        {
            return Err(format!(
                "the budget is {budget}: expected 1 to {} block executions (twice the model's {layers} layers)",
                greatest_depth(layers)
            ));
        }
        self.check_alone()?;
        for pin in &self.pins {
            if pin.layer >= layers {
                return Err(format!(
                    "pin '{pin}': there is no layer {}; this model has layers 0-{}",
                    pin.layer,
                    layers - 1
                ));
            }
        }
        if let Some(program) = &self.program {
            if let Some(layer) = program.layers().iter().find(|&&l| l >= layers) {
                return Err(format!(
                    "the program runs layer {layer}; this model has layers 0-{}",
                    layers - 1
                ));
            }
            if program.depth() > greatest_depth(layers) {
                return Err(format!(
                    "the program has {} block executions; at most {} are allowed",
                    program.depth(),
                    greatest_depth(layers)
                ));
            }
            if self.budget.is_some_and(|b| program.depth() > b) {
                return Err(format!(
                    "the program has depth {}, over the budget of {}: shorten it or raise the budget",
                    program.depth(),
                    self.budget.unwrap_or_default()
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_of_range_settings_are_refused() {
        let with = |change: fn(&mut Settings)| {
            let mut s = Settings::default();
            change(&mut s);
            s.check(30).unwrap_err()
        };
        assert!(with(|s| s.dial = 1.5).contains("the dial is 1.5"));
        assert!(with(|s| s.dial = f64::NAN).contains("the dial"));
        assert!(with(|s| s.budget = Some(0)).contains("1 to 60"));
        assert!(with(|s| s.budget = Some(61)).contains("1 to 60"));
        assert!(with(|s| s.pins = vec!["30=skip".parse().unwrap()]).contains("layers 0-29"));
        assert!(with(|s| s.sampling.temperature = -1.0).contains("temperature"));
        assert!(with(|s| s.sampling.top_p = Some(0.0)).contains("top-p"));
        assert!(Settings::default().check(30).is_ok());
    }
}
