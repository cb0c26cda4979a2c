use std::collections::HashMap;

use candle_core::Device;
use proptest::prelude::*;

use super::*;
use crate::program::segments::{self, Segment};
use crate::program::{Action, Program};
use crate::router::mlp::softmax;
use crate::router::policy::dial;
use crate::router::{RouterSet, load_router, read_router};
use crate::trace::{CandidateProgram, NEUTRAL_DIAL};

const SMALL: PredictorShape = PredictorShape {
    layers: 6,
    inputs: 12,
    width: 16,
};

/// The k-th number of the i-th tensor in tests/goldens/predictor.py.
fn number(tensor: usize, k: usize) -> f32 {
    (0.35 * (1.7 * k as f64 + 2.3 * tensor as f64 + 0.5).sin()) as f32
}

fn small() -> Predictor {
    let tensors = SMALL.tensors().into_iter().enumerate().map(|(i, (name, shape))| {
        let gain = if name.contains("norm") && name.ends_with("weight") {
            1.0
        } else {
            0.0
        };
        let size: usize = shape.iter().product();
        let values: Vec<f32> = (0..size).map(|k| number(i, k) + gain).collect();
        Tensor::from_vec(values, shape.as_slice(), &Device::Cpu).unwrap()
    });
    let network = Network::new(SMALL, tensors.collect()).unwrap();
    Predictor::new(network, 2, HashMap::new(), ("small", ""))
}

fn features(tokens: usize) -> Tensor {
    let values: Vec<f32> = (0..tokens * 12).map(|k| 3.0 * number(90, k)).collect();
    Tensor::from_vec(values, (tokens, 12), &Device::Cpu).unwrap()
}

#[test]
fn the_authors_sizes_have_the_authors_parameters() {
    let parameters = |layers| {
        PredictorShape {
            layers,
            inputs: 1024,
            width: network::WIDTH,
        }
        .parameters()
    };
    assert_eq!(
        (parameters(24), parameters(28), parameters(36)),
        (2_112_260, 2_113_284, 2_115_332)
    );
}

#[test]
fn the_forward_pass_is_numpys() {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/goldens/predictor.json")).unwrap();
    let logits = small().answer(&features(5)).unwrap();
    let close = |found: f32, expected: &serde_json::Value| {
        let expected = expected.as_f64().unwrap();
        assert!((f64::from(found) - expected).abs() < 2e-4, "{found} {expected}");
    };
    for layer in 0..6 {
        close(logits.boundaries[layer], &golden["boundaries"][layer]);
        for action in 0..3 {
            close(logits.operations[layer][action], &golden["operations"][layer][action]);
        }
    }
}

#[test]
fn padding_changes_nothing() {
    let alone = small().answer(&features(5)).unwrap();
    let padded = Tensor::cat(&[&features(5), &(features(3) * 7.0).unwrap()], 0).unwrap();
    let batch = Tensor::stack(&[padded, features(8)], 0).unwrap();
    let mut mask = vec![0.0; 16];
    mask[5..8].fill(network::MASKED);
    let mask = Tensor::from_vec(mask, (2, 8), &Device::Cpu).unwrap();
    let (boundaries, _) = small().network.forward(&batch, Some(&mask), None).unwrap();
    let rows = boundaries.to_vec2::<f32>().unwrap();
    for (a, b) in rows[0].iter().zip(&alone.boundaries) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
}

/// All programs of the two likeliest actions a segment, best first, by going through them.
fn brute_force(logits: &Logits, position: f64) -> Vec<CandidateProgram> {
    let starts: Vec<usize> = {
        let mut starts = vec![0];
        for layer in 1..logits.boundaries.len() {
            let long = layer - starts[starts.len() - 1] == segments::LONGEST;
            let likely = 1.0 / (1.0 + (-f64::from(logits.boundaries[layer])).exp()) >= 0.5;
            if likely || long {
                starts.push(layer);
            }
        }
        starts
    };
    let ends = starts[1..].iter().copied().chain([logits.boundaries.len()]);
    let cut: Vec<(usize, usize)> = starts.iter().copied().zip(ends).collect();
    let mut all = Vec::new();
    for choice in 0..1usize << cut.len() {
        let (mut parse, mut score) = (Vec::new(), 0.0);
        for (index, &(start, end)) in cut.iter().enumerate() {
            let probs = dial(softmax(logits.operations[start]), position);
            let mut actions = Action::ALL;
            actions.sort_by(|a, b| probs[*b as usize].total_cmp(&probs[*a as usize]));
            let action = actions[choice >> index & 1];
            score += f64::from(probs[action as usize]).max(1e-30).ln();
            parse.push(Segment {
                start,
                length: end - start,
                action,
            });
        }
        let program = segments::expand(&parse);
        all.push(CandidateProgram { program, score });
    }
    all.sort_by(|a, b| b.score.total_cmp(&a.score));
    all.truncate(decode::BEAM);
    all
}

/// Logits whose best program is this one.
fn saying(program: &Program, layers: usize) -> Option<Logits> {
    let parse = segments::parse(program, layers)?;
    let mut logits = Logits {
        boundaries: vec![-3.0; layers],
        operations: vec![[0.0, 0.1, -0.1]; layers],
    };
    for segment in parse {
        logits.boundaries[segment.start] = 2.0;
        logits.operations[segment.start][segment.action as usize] = 4.0;
    }
    Some(logits)
}

#[test]
fn every_program_of_six_layers_is_decoded_from_its_parse() {
    let mut cuts: Vec<Vec<Segment>> = vec![Vec::new()];
    let mut programs = std::collections::HashSet::new();
    while let Some(cut) = cuts.pop() {
        let start = cut.last().map_or(0, |s| s.start + s.length);
        if start == 6 {
            programs.insert(segments::expand(&cut));
            continue;
        }
        for length in 1..=segments::LONGEST.min(6 - start) {
            cuts.extend(Action::ALL.map(|action| [&cut[..], &[Segment { start, length, action }]].concat()));
        }
    }
    assert!(programs.len() > 1000);
    for program in &programs {
        let proposed = saying(program, 6).unwrap().propose(NEUTRAL_DIAL);
        assert_eq!(proposed.candidates[0].program, *program);
        assert_eq!(proposed.undialled, *program);
        assert_eq!(proposed.probs.len(), 6);
        assert_eq!(
            saying(program, 6).unwrap().propose(0.5).candidates[0].program,
            Program::standard(6)
        );
    }
}

proptest! {
    #[test]
    fn the_beam_is_the_best_of_all(
        boundaries in proptest::collection::vec(-3f32..3.0, 6),
        operations in proptest::collection::vec(proptest::array::uniform3(-3f32..3.0), 6),
        position in -1f64..1.0,
    ) {
        let logits = Logits { boundaries, operations };
        for position in [position, NEUTRAL_DIAL] {
            let (found, expected) = (logits.candidates(position), brute_force(&logits, position));
            prop_assert_eq!(found.len(), expected.len());
            for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                prop_assert!((found.score - expected.score).abs() < 1e-6, "{index}: {found:?} {expected:?}");
            }
            let programs: std::collections::HashSet<_> = found.iter().map(|c| &c.program).collect();
            prop_assert_eq!(programs.len(), found.len());
        }
    }
}

#[test]
fn the_checkpoint_keeps_it_and_what_does_not_fit_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.safetensors");
    let save = |predictor: &Predictor, entries: &[(&str, &str)]| {
        let entries = entries.iter().map(|(k, v)| (k.to_string(), v.to_string()));
        let mut predictor = predictor.clone();
        predictor.metadata.extend(entries);
        predictor.save(&path).unwrap();
        load_router(&path)
    };
    let loaded = save(&small(), &[(FEATURE_LAYER, "2"), ("base_model", "tiny")]).unwrap();
    assert!(loaded.proposes_programs() && loaded.info().is_predictor());
    assert_eq!(loaded.info().scope, Some(Scope::Prompt));
    let error = loaded.probabilities(0, &features(1), false).unwrap_err().to_string();
    assert!(error.contains("p.safetensors proposes whole programs"), "{error}");
    let (decoder, ids) = (crate::eval::testing::tiny_decoder(), [1, 2, 3]);
    let of_layers: &dyn Router = &crate::eval::testing::tiny_routers();
    assert!(of_layers.propose(&decoder, &ids, NEUTRAL_DIAL, &|| Ok(())).is_err());
    loaded.check("tiny", 6, 12).unwrap();
    let error = loaded.check("other", 30, 576).unwrap_err().to_string();
    assert!(
        error.contains("p.safetensors") && error.contains("6 layers") && error.contains("30 layers"),
        "{error}"
    );
    let error = RouterSet::load(&path).unwrap_err().to_string();
    assert!(
        error.contains("predicts whole programs, and routers of layers are needed"),
        "{error}"
    );
    let refused = |entries: &[(&str, &str)]| format!("{:#}", save(&small(), entries).err().unwrap());
    assert!(refused(&[]).contains("do not say by feature_layer"));
    assert!(refused(&[(FEATURE_LAYER, "7")]).contains("expected 0 (the embeddings) to 6"));
    let mut tensors = small().network.tensors().to_vec();
    tensors[0] = tensors[0].affine(f64::NAN, 0.0).unwrap();
    let damaged = Predictor {
        network: Network::new(SMALL, tensors).unwrap(),
        ..small()
    };
    let error = format!("{:#}", save(&damaged, &[(FEATURE_LAYER, "2")]).err().unwrap());
    assert!(
        error.contains("p.safetensors: q_proj.weight holds NaN at position 0"),
        "{error}"
    );
}

#[test]
fn a_tensor_of_another_shape_is_named() {
    use safetensors::Dtype;
    use safetensors::tensor::TensorView;
    let zeros = vec![0u8; 1 << 16];
    let bytes = |change: &str, shape: Option<Vec<usize>>| {
        let names = SMALL.tensors();
        let views = names.iter().filter_map(|(name, expected)| {
            let shape = match name == change {
                true => shape.clone()?,
                false => expected.clone(),
            };
            let size = 4 * shape.iter().product::<usize>();
            Some((
                name.as_str(),
                TensorView::new(Dtype::F32, shape, &zeros[..size]).unwrap(),
            ))
        });
        let metadata = HashMap::from([("feature_layer".to_owned(), "0".to_owned())]);
        safetensors::serialize(views.collect::<Vec<_>>(), Some(metadata)).unwrap()
    };
    let refused = |change, shape| format!("{:#}", read_router(&bytes(change, shape), "x").err().unwrap());
    assert!(read_router(&bytes("", None), "x").is_ok());
    assert!(refused("op_head.bias", Some(vec![4])).contains("op_head.bias has shape [4], expected [3]"));
    assert!(refused("op_head.bias", None).contains("x holds 34 tensors, a predictor has 35"));
    assert!(refused("q_proj.weight", Some(vec![16])).contains("q_proj.weight has shape [16]"));
    assert!(refused("q_proj.weight", Some(vec![18, 12])).contains("has shape"));
}
