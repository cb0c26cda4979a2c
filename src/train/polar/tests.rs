use std::sync::atomic::AtomicBool;

use half::f16;

use super::trainer::{PolarEpochReport, PolarEvent, testing};
use super::*;
use crate::program::Program;
use crate::program::segments;
use crate::router::predictor::PredictorShape;

const LAYERS: usize = 6;
const SIZE: usize = 8;

/// Questions of two kinds, told apart by the sign of their features; layer 2 is left out for one, repeated for the other.
fn toy(count: usize) -> (ProgramDataset, Features) {
    let mut examples = Vec::new();
    let mut questions = Vec::new();
    for index in 0..count {
        let (kind, tokens) = (index % 2, 3 + index % 4);
        let program = Program::parse(["0-1 3-5", "0-1 2x2 3-5"][kind], LAYERS).unwrap();
        let parse = segments::parse(&program, LAYERS).unwrap();
        let mut boundaries = vec![0.0; LAYERS];
        let mut operations = vec![[0.0; 3]; LAYERS];
        for segment in &parse {
            boundaries[segment.start] = 1.0;
            operations[segment.start][segment.action as usize] = 1.0 / parse.len() as f32;
        }
        examples.push(ProgramExample {
            id: format!("q{index}"),
            prompt: String::new(),
            chat: false,
            boundaries,
            operations,
            right: vec![program],
            right_segments: vec![(parse, 1.0)],
            wrong_segments: vec![(
                segments::parse(
                    &Program::parse(["0-1 2x2 3-5", "0-1 3-5"][kind], LAYERS).unwrap(),
                    LAYERS,
                )
                .unwrap(),
                1.0,
            )],
            corrected: false,
        });
        let sign = if kind == 0 { 1.0 } else { -1.0 };
        let value = |k: usize| f16::from_f32(sign + 0.5 * ((k + index) as f32).sin());
        questions.push((0..tokens * SIZE).map(value).collect());
    }
    let data = ProgramDataset {
        programs: count,
        examples,
        layers: LAYERS,
        no_parse: 0,
        beyond: 0,
        unsolved: 0,
        duplicates: 0,
        sha256: "toy".into(),
    };
    (data, Features::new(questions, SIZE))
}

fn settings(epochs: usize) -> PolarSettings {
    PolarSettings {
        epochs,
        width: 64,
        learning_rate: 2e-3,
        batch: 8,
        validation: 0.25,
        ..PolarSettings::default()
    }
}

fn run<'a>(
    (data, features): &'a (ProgramDataset, Features),
    settings: &'a PolarSettings,
    state: Option<&'a std::path::Path>,
    stop: &'a AtomicBool,
) -> PolarRun<'a> {
    PolarRun {
        data,
        features,
        settings,
        model_sha256: "model",
        exact: false,
        state,
        stop,
    }
}

#[test]
fn gradients_are_the_slopes_of_the_loss() {
    for (targets, contrast) in [
        (ProgramTargets::Each, 0.0),
        (ProgramTargets::Each, 0.7),
        (ProgramTargets::Set, 0.0),
        (ProgramTargets::Set, 0.7),
    ] {
        slopes(&PolarSettings {
            targets,
            contrast,
            ..settings(1)
        });
    }
}

fn slopes(settings: &PolarSettings) {
    let toy = toy(6);
    let stop = AtomicBool::new(false);
    let run = run(&toy, settings, None, &stop);
    let shape = PredictorShape {
        layers: LAYERS,
        inputs: SIZE,
        width: 16,
    };
    let parameters = testing::initial_of(shape);
    // The same draws of dropout at every call, so that the loss is a function of the parameters.
    let (_, gradients) = run.gradients_of(shape, &parameters, &[0, 1, 4]);
    let mut from = 0;
    for (name, dims) in shape.tensors() {
        let size: usize = dims.iter().product();
        let of_tensor = &gradients[from..from + size];
        let steepest = (0..size)
            .max_by(|&a, &b| of_tensor[a].abs().total_cmp(&of_tensor[b].abs()))
            .unwrap();
        let at = |change: f32| {
            let mut parameters = parameters.clone();
            parameters[from + steepest] += change;
            run.gradients_of(shape, &parameters, &[0, 1, 4]).0
        };
        let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
        let found = f64::from(of_tensor[steepest]);
        assert!(
            (slope - found).abs() < 2e-3 + 0.05 * found.abs(),
            "{name}: {found}, measured {slope}"
        );
        from += size;
    }
}

#[test]
fn it_learns_and_a_stopped_training_ends_in_the_same_bytes() {
    let toy = toy(64);
    let (settings, stop) = (settings(24), AtomicBool::new(false));
    let mut reports: Vec<PolarEpochReport> = Vec::new();
    let whole = run(&toy, &settings, None, &stop).train(&mut |event| {
        if let PolarEvent::Epoch(report) = event {
            reports.push(report.clone());
        }
        Ok(())
    });
    let whole = whole.unwrap().unwrap();
    let last = &reports[23].validation;
    assert!(last.known_first > 0.9, "{last:?}");
    assert!(last.loss < 0.6 * reports[0].validation.loss);
    assert_eq!(last.standard, 0.0);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.state");
    let stopping = AtomicBool::new(false);
    let stopped = run(&toy, &settings, Some(&path), &stopping).train(&mut |event| {
        if matches!(event, PolarEvent::Epoch(report) if report.epoch == 5) {
            stopping.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(())
    });
    assert!(stopped.unwrap().is_none());
    let mut told = 0;
    let resumed = run(&toy, &settings, Some(&path), &stop).train(&mut |event| {
        told += usize::from(matches!(event, PolarEvent::Epoch(_)));
        Ok(())
    });
    let resumed = resumed.unwrap().unwrap();
    assert_eq!(told, 24, "the epochs before are told again");
    assert_eq!(resumed.network.values().unwrap(), whole.network.values().unwrap());
    assert_eq!(resumed.best, whole.best);

    let other = PolarSettings {
        seed: 43,
        ..settings.clone()
    };
    let error = run(&toy, &other, Some(&path), &stop)
        .train(&mut |_| Ok(()))
        .err()
        .unwrap();
    assert!(error.to_string().contains("seed = 42, this one has 43"), "{error}");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = run(&toy, &settings, Some(&path), &stop)
        .train(&mut |_| Ok(()))
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("damaged; begin anew with --force"),
        "{error}"
    );
}

/// Questions with several right programs: one that is right for all of a kind, and one that only they have; the standard
/// program is wrong. What each of them is learnt from goes by the mean of both, the set by the common one.
#[test]
fn of_a_set_the_common_program_is_named_and_contrast_keeps_off_wrong_ones() {
    let (mut data, features) = toy(64);
    let parse = |text: &str| segments::parse(&Program::parse(text, LAYERS).unwrap(), LAYERS).unwrap();
    for (index, example) in data.examples.iter_mut().enumerate() {
        let own = ["0-4", "0-2 4-5", "0 2-5", "0-3 5"][index / 2 % 4];
        let common = example.right_segments[0].0.clone();
        example.right_segments = vec![(common, 0.5), (parse(own), 0.5)];
        example.right.push(Program::parse(own, LAYERS).unwrap());
        example.wrong_segments.push((parse("0-5"), 0.5));
    }
    let toy = (data, features);
    let stop = AtomicBool::new(false);
    for contrast in [0.0, 1.0] {
        let settings = PolarSettings {
            targets: ProgramTargets::Set,
            contrast,
            ..settings(24)
        };
        let trained = run(&toy, &settings, None, &stop).train(&mut |_| Ok(()));
        let last = trained.unwrap().unwrap().best.validation;
        assert!(last.known_first > 0.9 && last.standard < 0.1, "{contrast}: {last:?}");
        assert!(
            last.depth > 5.4,
            "{contrast}: the common ones are of 5 and 7 layers: {last:?}"
        );
    }
}

#[test]
fn one_question_is_too_few() {
    let toy = toy(1);
    let (settings, stop) = (settings(1), AtomicBool::new(false));
    let error = run(&toy, &settings, None, &stop)
        .train(&mut |_| Ok(()))
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("too few") && error.contains("search more questions"),
        "{error}"
    );
}
