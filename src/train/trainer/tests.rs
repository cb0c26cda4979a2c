use super::*;

const LAYERS: usize = 3;
const SIZE: usize = 4;

/// Examples whose second layer is to be skipped where the windows' first value is positive and
/// repeated where it is negative; the others execute.
fn learnable(count: usize) -> (Dataset, Features) {
    let mut features = Features::new(LAYERS, 2, SIZE);
    let mut examples = Vec::new();
    for i in 0..count {
        let sign = if i % 2 == 0 { 1.0f32 } else { -1.0 };
        let entering: Vec<Tensor> = (0..LAYERS)
            .map(|layer| {
                let value = |k: usize| match k % SIZE {
                    0 => sign,
                    _ => ((i * 31 + k * 17 + layer * 7) % 13) as f32 / 13.0 - 0.5,
                };
                let values: Vec<f32> = (0..2 * SIZE).map(value).collect();
                Tensor::from_vec(values, (2, SIZE), &Device::Cpu).unwrap()
            })
            .collect();
        features.push(&entering).unwrap();
        let second = if sign > 0.0 { Action::Skip } else { Action::Repeat };
        examples.push(Example {
            id: format!("e{i}"),
            prompt: format!("q{i}"),
            chat: false,
            target: vec![Action::Execute, second, Action::Execute],
            corrected: false,
        });
    }
    let data = Dataset {
        examples,
        unsolved: 0,
        duplicates: 0,
        thinned: 0,
        sha256: "d".into(),
    };
    (data, features)
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

fn trained(settings: &TrainSettings) -> (Trained, Vec<EpochReport>) {
    let (data, mut features) = learnable(200);
    let mut reports = Vec::new();
    let result = train(&data, &mut features, settings, &AtomicBool::new(false), &mut |event| {
        if let TrainEvent::Epoch(report) = event {
            reports.push(report.clone());
        }
        Ok(())
    });
    (result.unwrap().unwrap(), reports)
}

#[test]
fn it_learns_what_can_be_learnt_and_keeps_the_best_epoch() {
    let (trained, reports) = trained(&settings());
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
}

#[test]
fn the_same_seed_gives_the_same_routers() {
    let short = TrainSettings {
        epochs: 2,
        ..settings()
    };
    let (first, reports) = trained(&short);
    let (second, again) = trained(&short);
    assert_eq!((first.routers == second.routers, reports), (true, again));
    let reseeded = TrainSettings { seed: 1, ..short };
    assert_ne!(trained(&reseeded).0.routers, first.routers);
}

#[test]
fn standardised_inputs_learn_as_well() {
    let standardised = TrainSettings {
        standardise: true,
        ..settings()
    };
    assert!(trained(&standardised).0.best.validation.macro_f1 > 0.99);
}

#[test]
fn the_learning_rate_warms_up_and_falls_along_a_cosine() {
    let (data, _) = learnable(200);
    let indices: Vec<usize> = (0..160).collect();
    let settings = TrainSettings {
        learning_rate: 1.0,
        ..TrainSettings::default()
    };
    let plan = plan(&data, &indices, &[], &settings);
    assert_eq!(
        (plan.steps, plan.warm_up_steps),
        (250, 50),
        "500 steps are more than a fifth"
    );
    let rate = |step| learning_rate(&plan, step);
    assert!((rate(0) - 0.02).abs() < 1e-12 && (rate(49) - 1.0).abs() < 1e-12);
    assert!((rate(50) - 1.0).abs() < 1e-12 && (rate(150) - 0.5).abs() < 1e-12);
    assert!(rate(249) > 0.0 && rate(249) < 0.001);
}

#[test]
fn too_few_examples_and_stopping() {
    let (data, mut features) = learnable(1);
    let stop = AtomicBool::new(false);
    let error = train(&data, &mut features, &settings(), &stop, &mut |_| Ok(()))
        .err()
        .unwrap();
    assert!(error.to_string().contains("1 examples are too few"), "{error}");
    let (data, mut features) = learnable(50);
    stop.store(true, Ordering::Relaxed);
    let stopped = train(&data, &mut features, &settings(), &stop, &mut |_| Ok(()));
    assert!(stopped.unwrap().is_none());
}
