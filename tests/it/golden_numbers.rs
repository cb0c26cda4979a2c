//! Logits of an independent float32 implementation, for the default model (tests/goldens).

use std::sync::atomic::AtomicBool;

use crate::common;
use candle_core::Tensor;
use drllm::engine::sequence::Sequence;
use drllm::program::Program;
use serde_json::Value;

fn ids(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_u64().unwrap() as u32)
        .collect()
}

/// The greatest deviation of a logit, relative to the standard deviation of all.
fn deviation(logits: &Tensor, last: &Value) -> f32 {
    let logits: Vec<f32> = logits.to_vec1().unwrap();
    let n = logits.len() as f32;
    let mean = logits.iter().sum::<f32>() / n;
    let spread = (logits.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / n).sqrt();
    let pairs = ["top", "probe"].iter().flat_map(|k| last[*k].as_array().unwrap());
    let difference = |pair: &Value| {
        let expected = pair[1].as_f64().unwrap() as f32;
        (logits[pair[0].as_u64().unwrap() as usize] - expected).abs() / spread
    };
    let greatest = pairs.map(difference).fold(0.0, f32::max);
    let sum = logits.iter().map(|x| f64::from(*x).exp()).sum::<f64>().ln();
    assert!((sum - last["logsumexp"].as_f64().unwrap()).abs() < 1e-2);
    greatest
}

#[test]
fn programs_and_cached_continuations_agree_with_float32() {
    let goldens: Value = serde_json::from_str(include_str!("../goldens/forward.json")).unwrap();
    let model = common::exact_model();
    assert_eq!(model.info.sha256, goldens["model_sha256"].as_str().unwrap());
    let cases = goldens["cases"].as_array().unwrap();
    assert!(cases.len() >= 18);
    for case in cases {
        let stop = AtomicBool::new(false);
        let mut sequence = Sequence::new(&model.decoder, &stop);
        let steps = match case["steps"].as_array() {
            Some(steps) => steps.clone(),
            None => vec![case.clone()],
        };
        for step in steps {
            let program = Program::from_layers(ids(&step["program"]).into_iter().map(|l| l as usize));
            let logits = sequence.run_program(&ids(&step["ids"]), &program).unwrap();
            let off = deviation(&logits, &step["last"]);
            assert!(off < 1e-3, "{} '{program}': {off} of the spread", case["name"]);
        }
    }
}

#[test]
fn the_fast_mode_stays_close_to_the_exact_one() {
    let text = "Question: A robe takes 2 bolts of blue fiber and half that much white fiber. How many bolts in total \
                does it take? Answer: It takes 2/2=1 bolt of white fiber, so the total amount of fabric is 3 bolts. \
                Question: Why do leaves turn red in autumn? Answer: The green pigment breaks down and others show.";
    let log_probabilities = |model: &drllm::model::Model| -> Vec<Vec<f32>> {
        let ids = model.tokenizer.encode(text).unwrap();
        let positions: Vec<u32> = (0..ids.len() as u32).collect();
        let chunk = model.decoder.chunk(&positions).unwrap();
        let mut hidden = model.decoder.embed(&ids).unwrap();
        for layer in 0..model.decoder.config().layers {
            hidden = model.decoder.run_block(layer, &hidden, &chunk, None).unwrap();
        }
        let logits = model.decoder.logits(&hidden).unwrap();
        candle_nn::ops::log_softmax(&logits, 1).unwrap().to_vec2().unwrap()
    };
    let exact = log_probabilities(common::exact_model());
    let fast = log_probabilities(common::fast_model());
    let divergence: f64 = exact
        .iter()
        .zip(&fast)
        .flat_map(|(p, q)| p.iter().zip(q))
        .map(|(p, q)| f64::from(p.exp()) * f64::from(p - q))
        .sum();
    let mean = divergence / exact.len() as f64;
    assert!(mean < 1e-4, "mean KL {mean} nats");
}
