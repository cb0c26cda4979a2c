use super::*;
use crate::router::mlp::softmax;
use crate::train::RouterExample;
use crate::train::features::FeatureWriter;
use crate::train::features::tests::key;
use crate::train::loss::LossKind;
use crate::train::settings::RouterInput;
use tempfile::TempDir;

const LAYERS: usize = 3;
const SIZE: usize = 4;

/// Examples whose second layer is to be skipped where the windows' first value is positive and
/// repeated where it is negative; the others execute.
struct Learnable {
    data: RouterDataset,
    features: FeatureFile,
    folder: TempDir,
}

fn learnable(count: usize) -> Learnable {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = FeatureWriter::open(folder.path(), key(count, LAYERS, 2, SIZE)).unwrap();
    let mut examples = Vec::new();
    for i in 0..count {
        let sign = if i % 2 == 0 { 1.0f32 } else { -1.0 };
        let value = |layer: usize, k: usize| match k % SIZE {
            // The embeddings say nothing of it.
            0 if layer == 0 => 0.0,
            0 => sign,
            _ => ((i * 31 + k * 17 + layer * 7) % 13) as f32 / 13.0 - 0.5,
        };
        let entering = (0..LAYERS).map(|layer| (0..2 * SIZE).map(|k| value(layer, k)).collect());
        writer.push(&entering.collect::<Vec<_>>()).unwrap();
        let second = if sign > 0.0 { Action::Skip } else { Action::Repeat };
        let target = vec![Action::Execute, second, Action::Execute];
        examples.push(RouterExample::new(format!("e{i}"), format!("q{i}"), target, false));
    }
    let data = RouterDataset {
        examples,
        unsolved: 0,
        duplicates: 0,
        thinned: 0,
        sha256: "d".into(),
    };
    Learnable {
        data,
        features: writer.finish().unwrap(),
        folder,
    }
}

impl Learnable {
    fn job<'a>(&'a self, settings: &'a TrainSettings) -> TrainingJob<'a> {
        TrainingJob {
            data: &self.data,
            features: &self.features,
            settings,
            threads: 2,
            state: None,
        }
    }
}

fn settings() -> TrainSettings {
    TrainSettings {
        epochs: 12,
        learning_rate: 1e-2,
        width: 8,
        validation: 0.2,
        ..TrainSettings::default()
    }
}

fn run(job: &TrainingJob) -> (TrainedRouters, Vec<EpochReport>) {
    let mut reports = Vec::new();
    let result = train(job, &AtomicBool::new(false), &mut |event| {
        if let TrainEvent::Epoch(report) = event {
            reports.push(report.clone());
        }
        Ok(())
    });
    (result.unwrap().unwrap(), reports)
}

#[test]
fn it_learns_what_can_be_learnt_and_keeps_the_best_epoch() {
    let place = learnable(200);
    for standardise in [false, true] {
        let settings = TrainSettings {
            standardise,
            ..settings()
        };
        let (trained, reports) = run(&place.job(&settings));
        assert_eq!(reports.len(), 12);
        assert!(trained.best.validation.macro_f1 > 0.99, "{:?}", trained.best);
        let best = reports.iter().map(|r| r.validation.macro_f1).fold(0.0, f64::max);
        assert_eq!(trained.best.validation.macro_f1, best);
        assert!(reports[11].train_loss < 0.3 * reports[0].train_loss);
        // Two skips and two repeats in four: the mean depth is that of the targets.
        let metrics = trained.best.validation;
        assert!((metrics.mean_predicted_depth - metrics.mean_target_depth).abs() < 0.05);
        let counts = trained.plan.class_counts;
        assert_eq!(counts[1], 2 * trained.plan.train_examples);
        assert_eq!(counts[0] + counts[2], trained.plan.train_examples);
        assert_eq!(trained.plan.parameters, LAYERS * (8 * 4 + 8 + 3 * 8 + 3));
        // The checkpoint reads hidden states as they are.
        let routers = trained.routers().unwrap();
        for (x, wanted) in [(1.0, Action::Skip), (-1.0, Action::Repeat)] {
            assert_eq!(argmax(routers[1].logits(&[x, 0.1, 0.0, 0.2])), wanted);
        }
    }
}

#[test]
fn every_loss_and_depth_learns_it_and_blind_routers_do_not() {
    let place = learnable(200);
    let f1 = |settings: TrainSettings| run(&place.job(&settings)).0.best.validation.macro_f1;
    for loss in [LossKind::Focal, LossKind::Weighted, LossKind::Plain] {
        assert!(f1(TrainSettings { loss, ..settings() }) > 0.99, "{loss:?}");
    }
    for linear_layers in [1, 3, 4] {
        let settings = TrainSettings {
            linear_layers,
            ..settings()
        };
        assert!(f1(settings.clone()) > 0.99, "{linear_layers}");
        let error = run(&place.job(&settings)).0.routers().unwrap_err().to_string();
        assert!(error.contains("two linear layers"), "{error}");
    }
    let input = RouterInput::Embeddings;
    assert!(f1(TrainSettings { input, ..settings() }) < 0.9);
}

#[test]
fn soft_targets_and_weights_teach() {
    let mut place = learnable(200);
    for example in &mut place.data.examples {
        // More than half of what the first layer is to do is to repeat; the third layer is left out.
        example.targets[0] = [0.0, 0.3, 0.7];
        example.weights[2] = 0.0;
    }
    // Plain, so that rarity does not count.
    let settings = TrainSettings {
        loss: LossKind::Plain,
        ..settings()
    };
    let (trained, _) = run(&place.job(&settings));
    let [first, _, third] = &trained.routers().unwrap()[..] else {
        panic!()
    };
    let [skip, execute, repeat] = softmax(first.logits(&[0.0, 0.1, 0.0, 0.2]));
    assert!(repeat > execute && execute > skip, "{skip} {execute} {repeat}");
    let moved: f32 = third.b2.iter().map(|b| b.abs()).sum();
    assert_eq!(moved, 0.0, "a bias that begins at 0 and learns nothing stays there");
}

#[test]
fn the_same_seed_gives_the_same_routers_whatever_the_threads() {
    let place = learnable(200);
    let short = TrainSettings {
        epochs: 2,
        ..settings()
    };
    let (first, reports) = run(&place.job(&short));
    let single = TrainingJob {
        threads: 1,
        ..place.job(&short)
    };
    let (second, again) = run(&single);
    assert_eq!(
        (first.routers().unwrap() == second.routers().unwrap(), reports),
        (true, again)
    );
    let reseeded = TrainSettings { seed: 1, ..short };
    assert_ne!(
        run(&place.job(&reseeded)).0.routers().unwrap(),
        first.routers().unwrap()
    );
}

#[test]
fn a_stopped_training_goes_on_to_the_same_routers() {
    let place = learnable(100);
    let settings = TrainSettings {
        epochs: 6,
        ..settings()
    };
    let (whole, reports) = run(&place.job(&settings));
    let path = place.folder.path().join("r.state");
    let with_state = TrainingJob {
        state: Some(&path),
        ..place.job(&settings)
    };
    let stop = AtomicBool::new(false);
    let stopped = train(&with_state, &stop, &mut |event| {
        if matches!(event, TrainEvent::Epoch(report) if report.epoch == 3) {
            stop.store(true, Ordering::Relaxed);
        }
        Ok(())
    });
    assert!(stopped.unwrap().is_none());
    let (resumed, told) = run(&with_state);
    assert_eq!(told, reports);
    assert_eq!(resumed.routers().unwrap(), whole.routers().unwrap());

    let other = TrainSettings {
        learning_rate: 0.02,
        ..settings.clone()
    };
    let refused = |settings: &TrainSettings| {
        let job = TrainingJob {
            state: Some(&path),
            ..place.job(settings)
        };
        let result = train(&job, &AtomicBool::new(false), &mut |_| Ok(()));
        result.err().unwrap().to_string()
    };
    let error = refused(&other);
    assert!(
        error.contains("r.state is of a training with learning_rate = 0.01, this one has 0.02"),
        "{error}"
    );
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(refused(&settings).contains("r.state is no state of a training, or damaged"));
}

#[test]
fn patience_ends_it_early() {
    let place = learnable(100);
    let settings = TrainSettings {
        patience: Some(2),
        ..settings()
    };
    let (trained, reports) = run(&place.job(&settings));
    assert!(reports.len() < 12);
    assert_eq!(reports.len(), trained.best.epoch + 2);
}

#[test]
fn too_few_examples_and_stopping() {
    let settings = settings();
    let few = learnable(1);
    let stop = AtomicBool::new(false);
    let error = train(&few.job(&settings), &stop, &mut |_| Ok(())).err().unwrap();
    assert!(error.to_string().contains("1 examples are too few"), "{error}");
    let place = learnable(50);
    stop.store(true, Ordering::Relaxed);
    let stopped = train(&place.job(&settings), &stop, &mut |_| Ok(()));
    assert!(stopped.unwrap().is_none());
}
