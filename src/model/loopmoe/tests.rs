//! The forward pass against itself: cached and whole, with paths of all kinds, with IterAdaLN off, and its gradients.

use candle_core::{DType, Device, Tensor, Var};

use super::testing::{ids, model, stirred, tiny};
use super::*;
use crate::train::lm::balance::Balance;

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn logits(model: &LoopMoe, tokens: &[u32], path: &[LoopExecution], chunk: usize) -> Vec<f32> {
    let mut cache = LatentCache::default();
    let mut all = Vec::new();
    for part in tokens.chunks(chunk) {
        let run = model.forward(&ids(part), path, &mut cache, &Excluded::new(), &mut ());
        all.extend(floats(&run.unwrap()));
    }
    assert_eq!(cache.tokens(), tokens.len());
    all
}

fn far(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn chunks_and_single_tokens_give_what_the_whole_gives() {
    let config = tiny();
    let model = model(&config, 1);
    let tokens = [1, 5, 9, 2, 2, 12, 0];
    let mut odd = config.standard_path(3);
    // An execution twice in a row, and one left out.
    odd.insert(3, odd[2]);
    odd.remove(5);
    let mut paths: Vec<Vec<LoopExecution>> = (1..=MOST_ITERATIONS).map(|k| config.standard_path(k)).collect();
    paths.push(odd);
    for path in &paths {
        let whole = logits(&model, &tokens, path, 7);
        assert!(far(&logits(&model, &tokens, path, 1), &whole) < 2e-5);
        assert!(far(&logits(&model, &tokens, path, 3), &whole) < 2e-5);
    }
    let ends: Vec<Vec<f32>> = paths.iter().map(|path| logits(&model, &tokens, path, 7)).collect();
    for pair in ends.windows(2) {
        assert!(far(&pair[0], &pair[1]) > 1e-3, "another path, other logits");
    }
}

#[test]
fn every_pass_has_latents_of_its_own_and_those_that_did_not_run_leave_none() {
    let config = tiny();
    let model = model(&config, 1);
    let full = config.standard_path(2);
    let short = config.standard_path(1);
    let mut cache = LatentCache::default();
    for (tokens, path) in [(&[1, 2][..], &full), (&[3], &short), (&[4], &full)] {
        model
            .forward(&ids(tokens), path, &mut cache, &Excluded::new(), &mut ())
            .unwrap();
    }
    let at = |layer, iteration| {
        cache.tokens_at(Pass {
            execution: LoopExecution { layer, iteration },
            occurrence: 0,
        })
    };
    assert_eq!(
        [at(0, 0), at(2, 0), at(2, 1), at(3, 1), at(4, 0), at(4, 1)],
        [4, 4, 3, 3, 4, 0]
    );
    assert_eq!(cache.tokens(), 4);
}

#[test]
fn later_tokens_change_nothing_before_them() {
    let config = tiny();
    let (model, path) = (model(&config, 1), config.standard_path(3));
    let (a, b) = (
        logits(&model, &[1, 2, 3, 4], &path, 4),
        logits(&model, &[1, 2, 3, 9], &path, 4),
    );
    let v = config.vocab_size;
    assert!(far(&a[..3 * v], &b[..3 * v]) < 1e-6);
    assert!(far(&a[3 * v..], &b[3 * v..]) > 1e-3);
}

/// The weights with those of some names replaced by 0 or 1.
fn replaced(weights: Vec<(String, Tensor)>, value: impl Fn(&str) -> Option<f64>) -> Vec<(String, Tensor)> {
    let change = |(name, tensor): (String, Tensor)| match value(&name) {
        Some(value) => (name, (tensor.zeros_like().unwrap() + value).unwrap()),
        None => (name, tensor),
    };
    weights.into_iter().map(change).collect()
}

#[test]
fn at_the_start_attention_is_off_in_the_body_and_the_experts_are_plain() {
    let config = tiny();
    let weights = stirred(&config, 4);
    let start = replaced(weights.clone(), |name| {
        (name.contains("iter_adaln") && name.contains("mlp.2")).then_some(0.0)
    });
    let path = config.standard_path(3);
    let tokens = [1, 5, 9, 2];
    let found = logits(&LoopMoe::new(&config, start.clone()).unwrap(), &tokens, &path, 4);
    // The same without IterAdaLN: no attention in the body (its output is 0, and so is the norm's of it), gains of 1.
    let body = |name: &str| {
        ["model.layers.2.", "model.layers.3."]
            .iter()
            .any(|at| name.starts_with(at))
    };
    let mut plain = replaced(start, |name| (body(name) && name.contains("o_proj")).then_some(0.0));
    for layer in [2, 3] {
        for norm in ["input_layernorm", "pre_feedforward_layernorm"] {
            let ones = Tensor::ones(config.hidden_size, DType::F32, &Device::Cpu).unwrap();
            plain.push((format!("model.layers.{layer}.{norm}.weight"), ones));
        }
    }
    let without = LoopMoeConfig {
        iter_condition_size: 0,
        ..config.clone()
    };
    let expected = logits(&LoopMoe::new(&without, plain).unwrap(), &tokens, &path, 4);
    assert!(far(&found, &expected) < 1e-5);
    let stirred = logits(&LoopMoe::new(&config, weights).unwrap(), &tokens, &path, 4);
    assert!(far(&stirred, &expected) > 1e-2, "otherwise both matter");
}

#[test]
fn excluded_experts_are_chosen_by_no_token() {
    let config = tiny();
    let model = model(&config, 1);
    let path = config.standard_path(3);
    let tokens = ids(&[1, 5, 9, 2, 7, 8]);
    let run = |excluded: &Excluded| {
        let mut chosen = std::collections::BTreeSet::new();
        let mut look = |seen: &Seen| {
            let layer = seen.pass.execution.layer;
            let experts = seen.routing.map_or(&[][..], |routing| &routing.chosen);
            chosen.extend(experts.iter().map(|&e| (layer, e as usize)));
            Ok(())
        };
        let out = model.forward(&tokens, &path, &mut LatentCache::default(), excluded, &mut look);
        out.map(|logits| (floats(&logits), chosen))
    };
    let (before, chosen) = run(&Excluded::new()).unwrap();
    let two: Excluded = [2, 3]
        .map(|layer| *chosen.iter().find(|(l, _)| *l == layer).unwrap())
        .into();
    let (after, left) = run(&two).unwrap();
    assert!(two.iter().all(|e| !left.contains(e)) && far(&before, &after) > 1e-4);
    let all: Excluded = (0..5).map(|expert| (2, expert)).collect();
    let said = run(&all).unwrap_err().to_string();
    assert!(said.contains("layer 2 has 1 experts left, a token needs 2"), "{said}");
    let said = run(&Excluded::from([(3, 99)])).unwrap_err().to_string();
    assert!(said.contains("layer 3 has 6 experts, no expert 99"), "{said}");
}

#[test]
fn paths_that_the_model_lacks_are_refused() {
    let config = tiny();
    let model = model(&config, 1);
    for (layer, iteration, part) in [
        (5, 0, "names layer 5: the model has 5"),
        (0, 1, "iteration 2 of layer 0: expected 1 to 1"),
        (2, 8, "iteration 9 of layer 2: expected 1 to 8"),
    ] {
        let path = [LoopExecution { layer, iteration }];
        let run = model.forward(
            &ids(&[1]),
            &path,
            &mut LatentCache::default(),
            &Excluded::new(),
            &mut (),
        );
        let said = run.unwrap_err().to_string();
        assert!(said.contains(part), "{said}");
    }
    let mut weights = stirred(&config, 1);
    weights.retain(|(name, _)| name != "lm_head.weight");
    let said = LoopMoe::new(&config, weights).err().unwrap().to_string();
    assert!(said.contains("no tensor 'lm_head.weight'"), "{said}");
}

/// The loss of a training step: of weighted logits, and the balance loss.
fn loss(config: &LoopMoeConfig, weights: Vec<(String, Tensor)>) -> Tensor {
    let model = LoopMoe::new(config, weights).unwrap();
    let tokens = Tensor::from_slice(&[1u32, 5, 9, 2, 7, 8], (2, 3), &Device::Cpu).unwrap();
    let mut balance = Balance::default();
    let path = config.standard_path(3);
    let run = model.forward(
        &tokens,
        &path,
        &mut LatentCache::default(),
        &Excluded::new(),
        &mut balance,
    );
    let logits = run.unwrap();
    let shares: Vec<f32> = (0..logits.elem_count()).map(|i| (i as f32 * 0.7).sin()).collect();
    let shares = Tensor::from_vec(shares, logits.shape(), &Device::Cpu).unwrap();
    let shares = shares.to_dtype(logits.dtype()).unwrap();
    let balance = balance.loss().unwrap().unwrap().to_dtype(logits.dtype()).unwrap();
    ((logits * shares).unwrap().sum_all().unwrap() + balance).unwrap()
}

/// Autograd in f32, through the operations with slopes of their own, against central differences in f64, whose forward
/// pass is made of candle's operations alone.
#[test]
fn gradients_against_finite_differences() {
    let config = tiny();
    let weights = stirred(&config, 6);
    let variables: Vec<(String, Var)> = weights
        .iter()
        .map(|(name, tensor)| (name.clone(), Var::from_tensor(tensor).unwrap()))
        .collect();
    let of = variables.iter().map(|(name, v)| (name.clone(), v.as_tensor().clone()));
    let gradients = loss(&config, of.collect()).backward().unwrap();
    let doubles: Vec<(String, Tensor)> = weights
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.to_dtype(DType::F64).unwrap()))
        .collect();
    let mut checked = 0;
    for (at, (name, variable)) in variables.iter().enumerate() {
        if name.ends_with("e_score_correction_bias") {
            continue;
        }
        let gradient = floats(gradients.get(variable.as_tensor()).expect(name));
        // The element of the greatest slope, and another.
        let steepest = (0..gradient.len()).max_by(|&a, &b| gradient[a].abs().total_cmp(&gradient[b].abs()));
        for element in [steepest.unwrap(), gradient.len() / 2] {
            let moved = |by: f64| {
                let mut all = doubles.clone();
                let mut values: Vec<f64> = all[at].1.flatten_all().unwrap().to_vec1().unwrap();
                values[element] += by;
                all[at].1 = Tensor::from_vec(values, all[at].1.shape(), &Device::Cpu).unwrap();
                loss(&config, all).to_scalar::<f64>().unwrap()
            };
            let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            let found = f64::from(gradient[element]);
            assert!(
                (found - expected).abs() < 2e-3 * (1.0 + expected.abs()),
                "{name} {element}: {found} {expected}"
            );
            checked += usize::from(expected.abs() > 1e-3);
        }
    }
    assert!(
        checked > variables.len(),
        "{checked} slopes of {} weights are not 0",
        variables.len()
    );
}
