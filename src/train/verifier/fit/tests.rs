use super::*;
use crate::program::Action;
use crate::router::mlp::softmax;
use crate::trace::argmax;

const SIZE: usize = 6;

/// Questions of three choices of two rows each. The first hidden unit tells right rows from wrong ones, the others are
/// noise; scores favour a wrong choice; leaving out layer 1 costs half a nat, layers 1 and 2 cost 2.
fn table(questions: usize) -> EffectTable {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut table = EffectTable {
        hidden_size: SIZE,
        spans: 2,
        later: vec![Vec::new()],
        costs: vec![3.0, 0.5, 0.1, -0.2],
        ..EffectTable::default()
    };
    for q in 0..questions {
        let answer = q % 3;
        let from = table.choice.len();
        for choice in 0..3 {
            for _ in 0..2 {
                table.choice.push(choice);
                table.effects.extend([-0.5, -2.0]);
                let sign = if choice == answer { -1.0 } else { 1.0 };
                table.states.push(sign + rng.random_range(-0.2f32..0.2));
                table.states.extend((1..SIZE).map(|_| rng.random_range(-1.0f32..1.0)));
            }
        }
        // Ordinary text stands where right answers do; at the later layer all states are far away.
        table.ordinary.push(-1.0);
        table.ordinary.extend((1..SIZE).map(|_| rng.random_range(-1.0f32..1.0)));
        table.later[0].extend((0..SIZE).map(|_| rng.random_range(3.0f32..5.0)));
        let mut scores = vec![-10.0; 3];
        scores[(answer + 1) % 3] = -8.0;
        table.items.push(QuestionEffects {
            id: q.to_string(),
            scores,
            answer,
            rows: from..table.choice.len(),
        });
    }
    table
}

fn settings() -> VerifierSettings {
    VerifierSettings {
        members: 2,
        member_width: 8,
        epochs: 30,
        batch: 16,
        learning_rate: 1e-2,
        dropout: 0.1,
        spared: 0.3,
        temperature: 10.0,
        ..VerifierSettings::new(1, &[1, 2])
    }
}

fn skips(router: &MlpRouter, state: &[f32]) -> bool {
    argmax(softmax(router.logits(state))) == Action::Skip
}

#[test]
fn implausible_tokens_skip_on_questions_not_seen() {
    let table = table(240);
    let (training, held_out): (Vec<usize>, Vec<usize>) = (0..240).partition(|q| q % 4 > 0);
    let fitted = fit(&table, &training, &held_out, &settings()).unwrap();
    let held_out = fitted.held_out.unwrap();
    assert_eq!((held_out.questions, held_out.base), (60, 0.0));
    assert!(held_out.accuracy > 0.95, "{held_out:?}");
    let skipped = held_out.skipped.iter().sum::<f64>();
    assert!((0.5..0.75).contains(&skipped), "{held_out:?}");
    assert_eq!(held_out.layers, held_out.skipped[0] + 2.0 * held_out.skipped[1]);
    assert!(held_out.ordinary_skipped < 0.05, "{held_out:?}");
    assert_eq!(
        fit(&table, &training, &[], &settings()).unwrap().verifier,
        fitted.verifier
    );
}

#[test]
fn span_routers_repeat_the_verifier_and_leave_others_alone() {
    let mut table = table(900);
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    // Some are more implausible than others.
    for state in table.states.chunks_exact_mut(SIZE).filter(|state| state[0] > 0.0) {
        state[0] *= rng.random_range(0.2f32..2.0);
    }
    let settings = VerifierSettings {
        spared: 0.4,
        ..settings()
    };
    let all: Vec<usize> = (0..900).collect();
    let fitted = fit(&table, &all, &[], &settings).unwrap();
    assert_eq!(fitted.span_routers.len(), 1);
    assert!(fitted.held_out.is_none());
    let span_router = &fitted.span_routers[0];
    let shares = fitted.training.skipped.clone();
    assert!(shares.iter().all(|&share| share > 0.02), "{shares:?}");
    let (mut skipped, mut wrong) = ([0, 0], 0);
    let rows: Vec<usize> = (0..table.choice.len())
        .filter(|&row| skips(&fitted.verifier, table.state(row)))
        .collect();
    let margin = |row: usize| {
        let says = fitted.verifier.logits(table.state(row));
        says[0] - says[1]
    };
    // What the verifier says of the tokens that leave out the longer span is above what it says of the others.
    let mut margins: Vec<f32> = rows.iter().map(|&row| margin(row)).collect();
    margins.sort_unstable_by(f32::total_cmp);
    let longer = (shares[1] * table.choice.len() as f64).round() as usize;
    let threshold = margins[margins.len() - longer];
    for &row in &rows {
        let wanted = margin(row) >= threshold;
        let found = skips(span_router, table.state(row));
        skipped[usize::from(wanted)] += 1;
        wrong += usize::from(found != wanted);
    }
    assert!(skipped[0] > 100 && skipped[1] > 100, "{skipped:?}");
    assert!(wrong * 100 <= rows.len() * 3, "{wrong} of {}", rows.len());
    let skipped = [rows
        .into_iter()
        .max_by(|&a, &b| margin(a).total_cmp(&margin(b)))
        .unwrap()];
    assert!(
        table.later[0]
            .chunks_exact(SIZE)
            .all(|state| !skips(span_router, state))
    );
    let routers = settings.routers(&fitted, &table);
    let decides = |layer: usize| argmax(softmax(routers[layer].logits(table.state(skipped[0]))));
    assert_eq!([0, 1, 2, 3].map(decides), {
        use Action::{Execute, Skip};
        [Execute, Skip, Skip, Execute]
    });
}

#[test]
fn probabilities_say_what_a_layer_costs() {
    let table = table(240);
    let all: Vec<usize> = (0..240).collect();
    let fitted = fit(&table, &all, &[], &settings()).unwrap();
    let routers = settings().routers(&fitted, &table);
    let log_odds = |layer: usize, states: &[f32]| {
        let of_state = |state: &[f32]| {
            let logits = routers[layer].logits(state);
            logits[1] - logits[0]
        };
        let states = states.chunks_exact(SIZE);
        states.clone().map(of_state).sum::<f32>() / states.len() as f32
    };
    let found = [
        log_odds(0, &table.ordinary),
        log_odds(1, &table.ordinary),
        log_odds(2, &table.later[0]),
        log_odds(3, &table.ordinary),
    ];
    for (found, wanted) in found.into_iter().zip([5.0, 4.0, 2.1, 2.0]) {
        assert!((found - wanted).abs() < 1e-3, "{found} instead of {wanted}");
    }
    // Scaling changes no decision.
    let rows = 0..table.choice.len();
    assert!(rows.clone().any(|row| skips(&fitted.verifier, table.state(row))));
    for row in rows {
        assert_eq!(
            skips(&routers[1], table.state(row)),
            skips(&fitted.verifier, table.state(row))
        );
    }
}

#[test]
fn gradients_are_those_of_the_loss() {
    let table = table(4);
    let items = [0, 1, 2, 3];
    let plain = VerifierSettings {
        dropout: 0.0,
        ..settings()
    };
    let scale = Scale::new(&table, &(0..table.choice.len()).collect::<Vec<_>>());
    let mut table = table;
    table.ordinary.clear();
    let costs = table.span_costs();
    assert_eq!(costs, [0.5, 2.0]);
    let loss = |logits: &[f32]| -> f64 {
        let mut said = logits.chunks_exact(3).map(|z| z[0]);
        let of = |item: &QuestionEffects| {
            let effects = item.rows.clone().map(|row| {
                between(
                    penalty(said.next().unwrap(), unit(&costs)),
                    &costs,
                    table.effects_of(row),
                )
                .0
            });
            let scores = item_scores(&table, item, effects);
            let exps: Vec<f64> = scores
                .iter()
                .map(|&s| (f64::from(s) / plain.temperature).exp())
                .collect();
            -(exps[item.answer] / exps.iter().sum::<f64>()).ln() / items.len() as f64
        };
        table.items.iter().map(of).sum()
    };
    let mut member = Member::new(&table, &plain, &scale, &costs, 0);
    let mut network = Descent::new(plain.rates(), member.shape, member.initial.clone(), 1);
    let found = member.of_logits(&items, &mut network);
    let logits = network.logits().to_vec();
    for at in 0..logits.len() {
        let moved = |by: f32| {
            let mut logits = logits.clone();
            logits[at] += by;
            loss(&logits)
        };
        let expected = (moved(0.01) - moved(-0.01)) / 0.02;
        assert!(
            (f64::from(found[at]) - expected).abs() < 1e-4,
            "{at}: {} {expected}",
            found[at]
        );
    }
    assert!(found.iter().any(|g| g.abs() > 1e-3), "gradients that can differ");
}

#[test]
fn a_table_without_tokens_is_refused() {
    let mut table = table(1);
    table.items[0].rows = 0..0;
    assert!(
        fit(&table, &[0], &[], &settings())
            .unwrap_err()
            .to_string()
            .contains("two tokens")
    );
}

#[test]
fn between_two_spans_the_effect_is_linear() {
    let (costs, effects) = ([2.0, 6.0], [-1.0, -9.0]);
    for (penalty, effect, slope) in [
        (0.0, 0.0, -0.5),
        (1.0, -0.5, -0.5),
        (2.0, -1.0, -2.0),
        (4.0, -5.0, -2.0),
        (6.0, -9.0, 0.0),
        (60.0, -9.0, 0.0),
    ] {
        assert_eq!(between(penalty, &costs, &effects), (effect, slope), "{penalty}");
    }
}

#[test]
fn a_share_of_values_is_not_above_their_quantile() {
    let values = [3.0, 1.0, 2.0, 4.0];
    assert_eq!(
        [0.25, 0.5, 0.6, 1.0].map(|q| quantile(&values, q)),
        [1.0, 2.0, 3.0, 4.0]
    );
    assert_eq!(quantile(&values, 0.0), f32::NEG_INFINITY);
    assert_eq!(quantile(&[], 0.5), f32::NEG_INFINITY);
}

#[test]
fn costs_ascend() {
    let mut table = table(2);
    table
        .effects
        .chunks_exact_mut(2)
        .for_each(|effects| effects.copy_from_slice(&[1.0, -0.15]));
    assert_eq!(table.span_costs(), [0.1, 0.2]);
}

#[test]
fn a_verifier_says_what_its_thresholds_mean() {
    let table = table(60);
    let all: Vec<usize> = (0..60).collect();
    let report = fit(&table, &all, &[], &settings()).unwrap().training;
    // What is not spared, 70 %, is skipped but for what half the shortest span's cost takes off.
    assert!((0.55..0.7).contains(&report.skipped.iter().sum()), "{report:?}");
    let most = VerifierSettings {
        spared: 1.0,
        ..settings()
    };
    let report = fit(&table, &all, &[], &most).unwrap().training;
    assert_eq!((report.skipped, report.layers), (vec![0.0, 0.0], 0.0));
    assert_eq!(report.accuracy, report.base);
}
