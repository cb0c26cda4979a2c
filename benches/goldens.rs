//! Holds the program against numbers of an independent implementation:
//! `cargo bench --bench goldens -- DIR [DEVICE]`, DIR holding smollm2-135m.json and
//! routers.safetensors. Prints the greatest deviations; fails beyond the bounds of exact mode.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, ensure};
use candle_core::Tensor;
use drllm::engine::decide::DecisionPolicy;
use drllm::engine::sequence::Sequence;
use drllm::engine::{LoadRequest, load_model};
use drllm::program::Program;
use drllm::router::RouterSet;
use drllm::trace::{Scope, Settings};
use serde_json::Value;

#[derive(Default)]
struct Deviation {
    /// Greatest difference of a logit, relative to the standard deviation of the logits.
    logits: f32,
    probabilities: f32,
    actions: usize,
    tokens: usize,
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1).filter(|a| a != "--bench");
    let Some(folder) = args.next().map(PathBuf::from) else {
        println!("goldens: no folder given, nothing to compare with");
        return Ok(());
    };
    let device = args.next().unwrap_or_else(|| "cpu".into());
    let text = std::fs::read_to_string(folder.join("smollm2-135m.json")).context("no golden numbers there")?;
    let goldens: Value = serde_json::from_str(&text)?;
    let routers = RouterSet::load(&folder.join("routers.safetensors"))?;
    for exact in [true, false] {
        let request = LoadRequest {
            device: device.clone(),
            model: std::env::var("DRLLM_MODEL").ok(),
            exact,
            ..LoadRequest::default()
        };
        let model = load_model(&request, &mut |_, _, _| {}, &mut |_| {}, &AtomicBool::new(false))?;
        let mut worst = Deviation::default();
        let cases = goldens["cases"].as_array().context("no cases")?;
        for case in cases {
            compare(&model.decoder, &routers, case, &mut worst)?;
        }
        println!(
            "{} exact={exact}: {} cases, logits within {:.1e} of their spread, probabilities within {:.1e}, {} other \
             actions, {} other greedy tokens",
            model.device_name(),
            cases.len(),
            worst.logits,
            worst.probabilities,
            worst.actions,
            worst.tokens
        );
        if exact {
            ensure!(
                worst.logits < 1e-3 && worst.probabilities < if device == "cpu" { 1e-4 } else { 5e-4 },
                "beyond the bounds of exact mode"
            );
            ensure!(
                worst.actions + worst.tokens == 0,
                "decisions or tokens differ in exact mode"
            );
        }
    }
    Ok(())
}

fn compare(decoder: &drllm::model::Decoder, routers: &RouterSet, case: &Value, worst: &mut Deviation) -> Result<()> {
    let stop = AtomicBool::new(false);
    let mut sequence = Sequence::new(decoder, &stop);
    let layers = decoder.config().layers;
    let mut settings = Settings::default();
    match case["kind"].as_str().unwrap_or_default() {
        "forward" => {
            let logits = sequence.run_program(&ids(&case["ids"]), &program(&case["program"]))?;
            worst.logits(&logits, &case["last"])?;
        }
        "continuation" => {
            for step in array(&case["steps"]) {
                let logits = sequence.run_program(&ids(&step["ids"]), &program(&step["program"]))?;
                worst.logits(&logits, &step["last"])?;
            }
        }
        "routed, scope token" => {
            settings.scope = Scope::Token;
            let mut policy = DecisionPolicy::new(&settings, Some(routers), layers)?;
            for (i, step) in array(&case["steps"]).iter().enumerate() {
                let ids = ids(&step["ids"]);
                let routed = match i {
                    0 => policy.prompt(&mut sequence, &ids)?,
                    _ => policy.token(&mut sequence, ids[0])?,
                };
                worst.logits(&routed.logits, &step["last"])?;
                for (layer, decision) in routed.decisions.iter().enumerate() {
                    worst.actions += usize::from(step["actions"][layer] != decision.action.executions());
                    for (class, p) in decision.probs.unwrap_or_default().iter().enumerate() {
                        let expected = step["probs"][layer][class].as_f64().unwrap_or(f64::NAN) as f32;
                        worst.probabilities = worst.probabilities.max((p - expected).abs());
                    }
                }
            }
        }
        "routed, scope prompt" => {
            let mut policy = DecisionPolicy::new(&settings, Some(routers), layers)?;
            let mut routed = policy.prompt(&mut sequence, &ids(&case["ids"]))?;
            for (layer, decision) in routed.decisions.iter().enumerate() {
                worst.actions += usize::from(case["actions"][layer] != decision.action.executions());
            }
            for expected in ids(&case["greedy"]) {
                let id = routed.logits.argmax(0)?.to_scalar::<u32>()?;
                worst.tokens += usize::from(id != expected);
                routed = policy.token(&mut sequence, id)?;
            }
            worst.logits(&routed.logits, &case["last"])?;
        }
        other => anyhow::bail!("a case of unknown kind '{other}'"),
    }
    Ok(())
}

impl Deviation {
    fn logits(&mut self, logits: &Tensor, expected: &Value) -> Result<()> {
        let logits: Vec<f32> = logits.to_vec1()?;
        let n = logits.len() as f32;
        let mean = logits.iter().sum::<f32>() / n;
        let spread = (logits.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / n).sqrt();
        for pair in array(&expected["top"]).iter().chain(array(&expected["probe"])) {
            let id = pair[0].as_u64().context("no id")? as usize;
            let value = pair[1].as_f64().context("no logit")? as f32;
            self.logits = self.logits.max((logits[id] - value).abs() / spread);
        }
        Ok(())
    }
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn ids(value: &Value) -> Vec<u32> {
    array(value)
        .iter()
        .filter_map(Value::as_u64)
        .map(|id| id as u32)
        .collect()
}

fn program(value: &Value) -> Program {
    Program::from_layers(ids(value).into_iter().map(|l| l as usize))
}
