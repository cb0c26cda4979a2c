//! Evaluation, training and the static baseline as a program that uses the library calls them, without the command line.

use std::sync::atomic::AtomicBool;

use drllm::engine::{LoadRequest, load_model};
use drllm::eval::evaluation::Controls;
use drllm::eval::{Evaluation, ScoringConfig, Task, Variant, Variants};
use drllm::model::Model;
use drllm::program::Program;
use drllm::search::StaticBaseline;
use drllm::testing::tiny_model;
use drllm::train::VerifierSettings;
use drllm::train::verifier::{self, VerifierJob};
use tempfile::TempDir;

static GO: AtomicBool = AtomicBool::new(false);

fn model(folder: &TempDir) -> Model {
    tiny_model::write(folder.path(), 7);
    let request = LoadRequest {
        model: Some(folder.path().display().to_string()),
        device: "cpu".into(),
        ..LoadRequest::default()
    };
    load_model(&request, &mut |_, _, _| {}, &mut |_| {}, &GO).unwrap()
}

/// Questions of three choices.
fn task(folder: &TempDir, name: &str) -> Task {
    let question = |i: usize| {
        let answer = i % 3;
        format!(
            r#"{{"id": "{name}{i}", "question": "What is {i} in {name}?", "choices": ["x{i}", "word", "{i}"], "answer": {answer}}}"#
        )
    };
    let path = folder.path().join(name).with_extension("jsonl");
    std::fs::write(&path, (0..12).map(question).collect::<Vec<_>>().join("\n")).unwrap();
    Task::load(&path).unwrap()
}

#[test]
fn an_evaluation_measures_programs_and_the_best_of_other_questions() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(&folder);
    let layers = model.info.layers;
    let (tested, training) = (task(&folder, "tested"), task(&folder, "training"));
    let mut steps = Vec::new();
    let mut evaluation = Evaluation {
        model: &model,
        routers: None,
        scoring: ScoringConfig::default(),
        threads: 2,
        stop: &GO,
        selector: None,
        outcomes: None,
        tell: &mut |step| steps.push((step.what.to_owned(), step.done, step.total)),
    };
    let mut variants = Variants::new(layers);
    variants
        .all
        .push(Variant::program(Program::parse("0 2-3", layers).unwrap()));
    let mut baseline = StaticBaseline::new(vec![training], layers);
    let best = baseline.best(&mut evaluation).unwrap();
    assert!(best.correct >= best.base && best.tried > 2 * layers, "{best}");
    variants.all.push(Variant::static_program(best.program));
    let controls = Controls {
        untrained: true,
        depths: &[3.0],
        removal: None,
    };
    let rows = evaluation.measure(&[tested], &variants, controls).unwrap();
    let depths: Vec<f64> = rows.iter().map(|row| row.mean_depth).collect();
    assert_eq!((rows.len(), &depths[..2]), (8, [4.0, 3.0].as_slice()), "{rows:?}");
    assert!(rows.iter().all(|row| row.questions == 12) && rows[0].p.is_none() && rows[1].p.is_some());
    assert!(steps.contains(&("tested".to_owned(), 12, 12)), "{steps:?}");
}

#[test]
fn a_verifier_is_trained_and_saved() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(&folder);
    let settings = VerifierSettings {
        texts: 40,
        epochs: 2,
        ..VerifierSettings::new(1, &[1, 2])
    };
    let tasks = [task(&folder, "questions")];
    let job = VerifierJob {
        model: &model,
        tasks: &tasks,
        settings: &settings,
        windows: 8,
        validation: 0.0,
        threads: 2,
        stop: &GO,
    };
    let (routers, fitted) = verifier::train(&job, &mut |_| {}).unwrap().unwrap();
    assert_eq!((routers.layers.len(), fitted.training.questions), (4, 12));
    routers.save(&folder.path().join("v.safetensors")).unwrap();
    // Stopped, there is nothing to save.
    let stop = &AtomicBool::new(true);
    assert!(
        verifier::train(&VerifierJob { stop, ..job }, &mut |_| {})
            .unwrap()
            .is_none()
    );
}
