use std::sync::atomic::AtomicBool;

use super::*;
use crate::engine::decide::DecisionPolicy;
use crate::engine::sequence::Sequence;
use crate::eval::testing::{HIDDEN, LAYERS, tiny_decoder};
use crate::router::Predictor;
use crate::router::predictor::{FEATURE_LAYER, Network, PredictorShape};

static GO_ON: AtomicBool = AtomicBool::new(false);

/// A predictor of the tiny decoder that says the same of every question and every layer: a segment, with these logits of its
/// actions.
fn predictor(operations: [f32; 3]) -> Predictor {
    let shape = PredictorShape {
        layers: LAYERS,
        inputs: HIDDEN,
        width: 16,
    };
    let tensors = shape.tensors().into_iter().map(|(name, dims)| {
        let zeros = candle_core::Tensor::zeros(dims.as_slice(), candle_core::DType::F32, &candle_core::Device::Cpu);
        let mut tensor = zeros.unwrap();
        if name == "op_head.bias" {
            tensor = candle_core::Tensor::new(&operations, tensor.device()).unwrap();
        }
        tensor
    });
    let metadata = [(FEATURE_LAYER.to_owned(), "1".to_owned())].into();
    let network = Network::new(shape, tensors.collect()).unwrap();
    Predictor::new(network, 1, metadata, ("tiny", ""))
}

fn candidate(text: &str, score: f64) -> CandidateProgram {
    CandidateProgram {
        program: Program::parse(text, LAYERS).unwrap(),
        score,
    }
}

fn proposed() -> ProposedPrograms {
    ProposedPrograms {
        candidates: vec![
            candidate("0 (1-2)x2 3", -0.5),
            candidate("0-3", -0.9),
            candidate("0 3", -1.4),
        ],
        undialled: Program::parse("0 (1-2)x2 3", LAYERS).unwrap(),
        probs: vec![[0.1, 0.8, 0.1], [0.2, 0.3, 0.5], [0.2, 0.3, 0.5], [0.3, 0.6, 0.1]],
        boundaries: vec![0.2, 0.9, 0.1, 0.7],
    }
}

fn settled(change: impl Fn(&mut Settings)) -> (String, Vec<DecidedBy>) {
    let mut settings = Settings::default();
    change(&mut settings);
    let settled = settle(proposed(), &settings, LAYERS).unwrap();
    (
        settled.program.to_string(),
        settled.decisions.iter().map(|d| d.by).collect(),
    )
}

#[test]
fn the_best_program_runs_and_pins_and_budget_change_it() {
    use DecidedBy::{Budget, Pin, Predictor};
    assert_eq!(settled(|_| {}), ("0 (1-2)x2 3".into(), vec![Predictor; 4]));
    let pinned = settled(|s| s.pins = vec!["1=execute".parse().unwrap(), "3=skip".parse().unwrap()]);
    assert_eq!(pinned, ("0-1 2x2".into(), vec![Predictor, Pin, Predictor, Pin]));
    let budget = settled(|s| s.budget = Some(4));
    assert_eq!(budget, ("0-3".into(), vec![Predictor, Budget, Budget, Predictor]));
    // None of the three has depth 1: the layers that are likeliest to be skipped go.
    assert_eq!(settled(|s| s.budget = Some(1)).0, "0");
    let both = settled(|s| {
        s.budget = Some(3);
        s.pins = vec!["1=repeat".parse().unwrap()];
    });
    assert_eq!(both.0, "0 1x2", "no candidate with the pin has depth 3");
    assert_eq!(both.1[1], Pin);
}

#[test]
fn the_dial_is_named_where_it_changed_a_layer() {
    let mut settings = Settings {
        dial: 0.3,
        ..Settings::default()
    };
    let dialled = ProposedPrograms {
        candidates: vec![candidate("0-3", -0.1)],
        ..proposed()
    };
    let by = |settings: &Settings| {
        let settled = settle(dialled.clone(), settings, LAYERS).unwrap();
        settled.decisions.iter().map(|d| d.by).collect::<Vec<_>>()
    };
    use DecidedBy::{Dial, Predictor};
    assert_eq!(by(&settings), [Predictor, Dial, Dial, Predictor]);
    settings.dial = NEUTRAL_DIAL;
    assert_eq!(by(&settings), [Predictor; 4]);
}

#[test]
fn a_run_follows_the_program_and_keeps_it() {
    let decoder = tiny_decoder();
    // All boundaries are as likely as not: each layer is a segment, repeated.
    let routers = predictor([0.0, 1.0, 2.0]);
    let settings = Settings::default();
    let mut policy = DecisionPolicy::new(&settings, Some(&routers), LAYERS).unwrap();
    let mut sequence = Sequence::new(&decoder, &GO_ON);
    let prompt = policy.prompt(&mut sequence, &[3, 1, 4]).unwrap();
    assert_eq!(prompt.program.to_string(), "0x2 1x2 2x2 3x2");
    assert!(
        prompt
            .decisions
            .iter()
            .all(|d| d.by == DecidedBy::Predictor && !d.disagrees())
    );
    assert_eq!(policy.candidates().len(), 5);
    let token = policy.token(&mut sequence, 5).unwrap();
    assert_eq!(token.program, prompt.program);
    assert!(token.decisions.iter().all(|d| d.shadow.is_none() && d.probs.is_some()));
    // The same program, given: the same numbers.
    let given = Settings {
        program: Some(prompt.program.clone()),
        ..Settings::default()
    };
    let mut fixed = DecisionPolicy::new(&given, None, LAYERS).unwrap();
    let mut sequence = Sequence::new(&decoder, &GO_ON);
    let expected = fixed.prompt(&mut sequence, &[3, 1, 4]).unwrap();
    let values = |t: &Tensor| t.to_vec1::<f32>().unwrap();
    assert_eq!(values(&prompt.logits), values(&expected.logits));
    assert_eq!(
        values(&token.logits),
        values(&fixed.token(&mut sequence, 5).unwrap().logits)
    );
}

#[test]
fn settings_that_need_several_programs_are_refused() {
    let routers = predictor([0.0, 1.0, 0.0]);
    let refused = |change: &dyn Fn(&mut Settings)| {
        let mut settings = Settings::default();
        change(&mut settings);
        DecisionPolicy::new(&settings, Some(&routers), LAYERS)
            .err()
            .unwrap()
            .to_string()
    };
    assert!(refused(&|s| s.scope = Scope::Token).contains("choose scope prompt"));
    let error = refused(&|s| s.pins = vec!["1@2-3=skip".parse().unwrap()]);
    assert!(
        error.contains("1@2-3=skip") && error.contains("pin the layer at every token"),
        "{error}"
    );
}
