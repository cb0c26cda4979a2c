use super::*;
use crate::train::rejection::Item;

const SIZE: usize = 6;

/// Questions of three choices of two rows each. The first hidden unit tells right rows from wrong ones, the others are
/// noise; scores favour a wrong choice; skipping costs 5 nats.
fn table(questions: usize) -> Table {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut table = Table {
        hidden_size: SIZE,
        later: vec![Vec::new()],
        costs: vec![3.0, 0.5, 0.1, -0.2],
        ..Table::default()
    };
    for q in 0..questions {
        let answer = q % 3;
        let from = table.choice.len();
        for choice in 0..3 {
            for _ in 0..2 {
                table.choice.push(choice);
                table.effect.push(-5.0);
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
        table.items.push(Item {
            id: q.to_string(),
            scores,
            answer,
            rows: from..table.choice.len(),
        });
    }
    table
}

fn settings() -> Rejection {
    Rejection {
        members: 2,
        member_width: 8,
        epochs: 30,
        batch: 16,
        learning_rate: 1e-2,
        dropout: 0.1,
        skip_logit: 0.0,
        ..Rejection::new(1, 2)
    }
}

#[test]
fn implausible_tokens_are_rejected_on_questions_not_seen() {
    let table = table(240);
    let (training, held_out): (Vec<usize>, Vec<usize>) = (0..240).partition(|q| q % 4 > 0);
    let fitted = fit(&table, &training, &held_out, &settings()).unwrap();
    let held_out = fitted.held_out.unwrap();
    assert_eq!((held_out.questions, held_out.base), (60, 0.0));
    assert!(held_out.accuracy > 0.95, "{held_out:?}");
    assert!((0.5..0.75).contains(&held_out.rejected), "{held_out:?}");
    assert!(held_out.ordinary_rejected < 0.05, "{held_out:?}");
    assert_eq!(fit(&table, &training, &[], &settings()).unwrap().judge, fitted.judge);
}

#[test]
fn followers_repeat_the_judge_and_leave_others_alone() {
    let table = table(900);
    let all: Vec<usize> = (0..900).collect();
    let fitted = fit(&table, &all, &[], &settings()).unwrap();
    assert_eq!((fitted.followers.len(), fitted.held_out), (1, None));
    let follower = &fitted.followers[0];
    let rows = 0..table.choice.len();
    let rejected: Vec<usize> = rows.filter(|&row| rejects(&fitted.judge, table.state(row))).collect();
    let followed = rejected
        .iter()
        .filter(|&&row| rejects(follower, table.state(row)))
        .count();
    assert!(
        followed * 100 >= rejected.len() * 97,
        "{followed} of {}",
        rejected.len()
    );
    assert!(table.later[0].chunks_exact(SIZE).all(|state| !rejects(follower, state)));
    let routers = settings().routers(&fitted, &table);
    let decides = |layer: usize| argmax(softmax(routers[layer].logits(table.state(rejected[0]))));
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
    for (found, wanted) in found.into_iter().zip([5.0, 7.0, 2.1, 2.0]) {
        assert!((found - wanted).abs() < 1e-3, "{found} instead of {wanted}");
    }
    // Scaling changes no decision.
    let rows = 0..table.choice.len();
    assert!(rows.clone().any(|row| rejects(&fitted.judge, table.state(row))));
    for row in rows {
        assert_eq!(
            rejects(&routers[1], table.state(row)),
            rejects(&fitted.judge, table.state(row))
        );
    }
}

#[test]
fn gradients_are_those_of_the_loss() {
    let table = table(4);
    let items = [0, 1, 2, 3];
    let plain = Rejection {
        dropout: 0.0,
        ..settings()
    };
    let scale = Scale::new(&table, &(0..table.choice.len()).collect::<Vec<_>>());
    let mut table = table;
    table.ordinary.clear();
    let loss = |logits: &[f32]| -> f64 {
        let mut logits = logits.chunks_exact(3).map(|z| softmax([z[0], z[1], z[2]])[0]);
        let of = |item: &Item| {
            let skip: Vec<f32> = logits.by_ref().take(item.rows.len()).collect();
            let scores = item_scores(&table, item, &skip);
            let exps: Vec<f64> = scores
                .iter()
                .map(|&s| (f64::from(s) / plain.temperature).exp())
                .collect();
            -(exps[item.answer] / exps.iter().sum::<f64>()).ln() / items.len() as f64
        };
        table.items.iter().map(of).sum()
    };
    let mut member = Member::new(&table, &plain, &scale, 0);
    let mut network = Descent::new(&plain, member.shape, member.initial.clone(), 1);
    let found = member.of_logits(&items, &mut network);
    let logits = network.logits().to_vec();
    for at in 0..logits.len() {
        let moved = |by: f32| {
            let mut logits = logits.clone();
            logits[at] += by;
            loss(&logits)
        };
        let expected = (moved(0.05) - moved(-0.05)) / 0.1;
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
