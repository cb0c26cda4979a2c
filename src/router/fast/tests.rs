use std::collections::HashMap;

use candle_core::{Device, Tensor};
use rand::{Rng, SeedableRng};

use super::*;
use crate::trace::RouterInfo;

/// Routers of hidden states whose columns differ by 10⁴ in size, as those of real models do.
fn routers(count: usize, width: usize) -> RouterSet {
    let size = 64;
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(9);
    let mut random = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.random_range(-0.3..0.3)).collect() };
    let layers = (0..count).map(|_| {
        let mut w1 = random(width * size);
        w1.iter_mut().enumerate().for_each(|(i, w)| *w /= column(i % size));
        MlpRouter {
            w1,
            b1: random(width),
            w2: random(3 * width),
            b2: random(3),
        }
    });
    RouterSet {
        layers: layers.collect(),
        windows: 4,
        width,
        hidden_size: size,
        input_norm: InputNorm::None,
        metadata: HashMap::new(),
        info: RouterInfo::default(),
        fast: FastRouters::default(),
    }
}

fn column(column: usize) -> f32 {
    [1.0, 0.1, 1000.0, 3.0][column % 4]
}

fn states(rows: usize) -> Tensor {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(rows as u64);
    let states = (0..rows * 64).map(|i| rng.random_range(-2.0..2.0) * column(i % 64));
    Tensor::from_vec(states.collect::<Vec<f32>>(), (rows, 64), &Device::Cpu).unwrap()
}

fn close(a: [f32; 3], b: [f32; 3]) -> bool {
    a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-2)
}

#[test]
fn all_at_once_say_what_they_say_one_by_one() {
    let mut routers = routers(4, 40);
    routers.layers[2].w1.fill(0.0);
    let entering: Vec<Tensor> = (1..=4).map(|seed| states(seed).narrow(0, 0, 1).unwrap()).collect();
    for fast in [true, false] {
        let all = routers.all_probabilities(&entering, fast).unwrap();
        let each = entering.iter().enumerate();
        let each: Vec<_> = each.map(|(l, h)| routers.probabilities(l, h, fast).unwrap()).collect();
        assert_eq!(all, each);
        assert_ne!(all[0], all[1]);
    }
}

#[test]
fn says_what_the_routers_say_in_f32() {
    let routers = routers(2, 40);
    for rows in [1, 3, 4, 9, 70] {
        let states = states(rows);
        for layer in 0..2 {
            let found = routers.probabilities(layer, &states, true).unwrap();
            let exact = routers.probabilities(layer, &states, false).unwrap();
            assert!(close(found, exact), "{rows} rows: {found:?} for {exact:?}");
            let found = routers.row_probabilities(layer, &states, true).unwrap();
            let exact = routers.row_probabilities(layer, &states, false).unwrap();
            assert_eq!(found.len(), rows);
            assert!(found.iter().zip(&exact).all(|(a, b)| close(*a, *b)));
        }
    }
}

#[test]
fn normalised_states_are_heard_in_every_form() {
    let mut set = routers(3, 40);
    set.input_norm = InputNorm::Rms;
    // Weights of a size that suits states of a root mean square of one.
    for router in &mut set.layers {
        router.w1.iter_mut().enumerate().for_each(|(i, w)| *w *= column(i % 64));
    }
    let mut beside = set.clone();
    beside.fast = FastRouters::beside(&set);
    let mut plain = set.clone();
    plain.input_norm = InputNorm::None;
    for rows in [1, 4, 9] {
        let (states, longer) = (states(rows), (states(rows) * 8.0).unwrap());
        for layer in 0..3 {
            let exact = set.probabilities(layer, &states, false).unwrap();
            let normed: Vec<f32> = pool_windows(&states, 4).unwrap().to_vec2::<f32>().unwrap().concat();
            let windows = Tensor::from_vec(normed, (rows.min(4), 64), &Device::Cpu).unwrap();
            let windows = InputNorm::Rms.forward(&windows).unwrap();
            assert!(
                close(exact, plain.probabilities(layer, &windows, false).unwrap()),
                "after pooling"
            );
            for (found, exact) in [
                (set.probabilities(layer, &states, true).unwrap(), exact),
                (beside.probabilities(layer, &states, true).unwrap(), exact),
                // The length of a state does not matter.
                (set.probabilities(layer, &longer, true).unwrap(), exact),
            ] {
                assert!(close(found, exact), "{rows} rows: {found:?} for {exact:?}");
            }
            let each = set.row_probabilities(layer, &states, false).unwrap();
            for other in [
                set.row_probabilities(layer, &states, true).unwrap(),
                beside.row_probabilities(layer, &states, true).unwrap(),
            ] {
                assert!(other.iter().zip(&each).all(|(a, b)| close(*a, *b)));
            }
            if rows == 1 {
                let asked = set.question(layer, &states).unwrap().unwrap();
                assert!(close(asked.answer(), exact));
            }
        }
    }
}

#[test]
fn units_that_cannot_change_are_settled_once() {
    let mut set = routers(3, 40);
    // Nobody hears any unit; no unit hears the state; one unit of each kind.
    set.layers[0].w2.fill(0.0);
    set.layers[1].w1.fill(0.0);
    set.layers[2].w1[..64].fill(0.0);
    for class in 0..3 {
        set.layers[2].w2[class * 40 + 1] = 0.0;
    }
    let states = states(6);
    for layer in 0..3 {
        let found = set.probabilities(layer, &states, true).unwrap();
        assert!(
            close(found, set.probabilities(layer, &states, false).unwrap()),
            "layer {layer}"
        );
    }
    let units = |layer| {
        set.fast_router(layer, true)
            .unwrap()
            .hidden
            .as_ref()
            .map(|h| h.b1.len())
    };
    assert_eq!([units(0), units(1), units(2)], [None, None, Some(38)]);
}

#[test]
fn sizes_that_the_kernels_do_not_take_run_in_f32() {
    let mut set = routers(1, 8);
    set.layers[0].w1.truncate(8 * 33);
    set.hidden_size = 33;
    let states = Tensor::ones((2, 33), candle_core::DType::F32, &Device::Cpu).unwrap();
    assert!(set.fast_router(0, true).is_none());
    let exact = set.probabilities(0, &states, false).unwrap();
    assert_eq!(set.probabilities(0, &states, true).unwrap(), exact);
}

#[test]
fn those_beside_the_states_are_asked_there() {
    let expected = routers(4, 40);
    let mut set = expected.clone();
    set.fast = FastRouters::beside(&expected);
    // Whoever asked these instead would hear something else.
    set.layers.reverse();
    let near = |a: [f32; 3], b: [f32; 3]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
    for dtype in [DType::F32, DType::BF16] {
        for rows in [1, 3, 4, 9, 70] {
            let states = states(rows).to_dtype(dtype).unwrap();
            for layer in 0..4 {
                for fast in [true, false] {
                    let found = set.probabilities(layer, &states, fast).unwrap();
                    let exact = expected.probabilities(layer, &states, false).unwrap();
                    assert!(near(found, exact), "{rows} rows: {found:?} for {exact:?}");
                    let found = set.row_probabilities(layer, &states, fast).unwrap();
                    let exact = expected.row_probabilities(layer, &states, false).unwrap();
                    assert_eq!(found.len(), rows);
                    assert!(found.iter().zip(&exact).all(|(a, b)| near(*a, *b)));
                }
            }
        }
        let entering = [5, 6, 7, 8].map(|seed| states(seed).narrow(0, 0, 1).unwrap().to_dtype(dtype).unwrap());
        let found = set.all_probabilities(&entering, true).unwrap();
        let exact = expected.all_probabilities(&entering, false).unwrap();
        assert_eq!(found.len(), 4);
        assert!(
            found.iter().zip(&exact).all(|(a, b)| near(*a, *b)),
            "{found:?} for {exact:?}"
        );
    }
}
