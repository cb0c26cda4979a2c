use candle_core::Device;
use rand::{Rng, SeedableRng};

use super::*;
use crate::eval::testing::{HIDDEN, LAYERS, tiny_decoder, tiny_routers};
use crate::model::loopmoe::{self, Excluded, LatentCache, LoopMoe};
use crate::model::testing::packed_decoder;
use crate::router::{FastRouters, MlpRouter, RouterSet};

static GO_ON: AtomicBool = AtomicBool::new(false);

/// Routers that listen to the state, one a layer.
fn listening_routers(hidden_size: usize) -> RouterSet {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
    let width = 6;
    let mut random = |n: usize| (0..n).map(|_| rng.random_range(-0.7..0.7)).collect();
    let router = |_| MlpRouter {
        w1: random(width * hidden_size),
        b1: random(width),
        w2: random(3 * width),
        b2: random(3),
    };
    RouterSet {
        layers: (0..LAYERS).map(router).collect(),
        width,
        hidden_size,
        ..tiny_routers()
    }
}

#[test]
fn settled_tokens_run_as_those_settled_layer_by_layer() {
    use Action::{Execute, Repeat, Skip};
    let decoder = tiny_decoder();
    let on_cpu = listening_routers(HIDDEN);
    let mut beside = on_cpu.clone();
    beside.fast = FastRouters::beside(&on_cpu);
    let floats = |logits: Tensor| logits.to_vec1::<f32>().unwrap();
    for routers in [None, Some(&on_cpu), Some(&beside)] {
        let asked = routers.map(|routers| (routers as &dyn Router, 0.2));
        let mut settled = Sequence::new(&decoder, &GO_ON);
        settled
            .run_program(&[3, 1, 4, 1, 5], &Program::standard(LAYERS))
            .unwrap();
        let mut by_layer = settled.fork(settled.len()).unwrap();
        // The last one reads both passes of every layer.
        let tokens = [
            [Execute, Skip, Repeat, Execute],
            [Repeat, Repeat, Skip, Execute],
            [Repeat, Repeat, Repeat, Repeat],
        ];
        for (id, actions) in (10..).zip(tokens) {
            let mut expected = Vec::new();
            let logits = by_layer.run_layers(&[id], asked, |layer, wish| {
                expected.extend(wish);
                actions[layer].into()
            });
            let (found, wishes) = settled
                .run_settled(id, &actions.map(LayerActions::from), asked)
                .unwrap();
            assert_eq!(floats(found), floats(logits.unwrap()), "token {id}");
            assert_eq!(wishes.len(), expected.len());
            for (found, expected) in wishes.iter().zip(&expected) {
                for (found, expected) in found.dialled.iter().zip(expected.dialled) {
                    assert!((found - expected).abs() < 1e-5);
                }
            }
        }
        assert_eq!(settled.len(), by_layer.len());
        assert_eq!(settled.blocks_run(), by_layer.blocks_run() + LAYERS);
        for pass in (0..LAYERS).flat_map(|layer| [(layer, 0), (layer, 1)]) {
            let entries = settled.cache.pass(pass.0, pass.1).len();
            assert_eq!(entries, by_layer.cache.pass(pass.0, pass.1).len(), "pass {pass:?}");
        }
    }
}

/// In both KV modes; under fill a router that is asked beside its layer's keys and values hears the same, and
/// what is filled there is what a plain fill leaves.
#[test]
fn routers_asked_beside_their_layer_decide_as_those_asked_before() {
    KvMode::ALL.into_iter().for_each(asked_beside_as_before);
}

fn asked_beside_as_before(mode: KvMode) {
    use crate::trace::argmax;

    let decoder = packed_decoder(LAYERS);
    assert!(decoder.by_kernels());
    let routers = listening_routers(decoder.config().hidden_size);
    let asked: Option<(&dyn Router, f64)> = Some((&routers, -0.5));
    let mut beside = Sequence::new(&decoder, &GO_ON).with_kv(mode);
    let mut before = Sequence::new(&decoder, &GO_ON).with_kv(mode);
    // How often a layer was begun and left, and how often each action was taken.
    let (mut in_vain, mut taken) = (0, [0; 3]);
    for id in 0..60 {
        let run = |sequence: &mut Sequence| {
            let (mut wishes, mut actions) = (Vec::new(), Vec::new());
            let logits = sequence.run_layers(&[id], asked, |layer, wish| {
                let probs = wish.expect("the routers are asked").probs;
                // Small routers hardly change their mind, so the token has a say.
                let says = argmax(std::array::from_fn(|i| {
                    probs[i] + [0.0, 0.3][usize::from((id as usize + layer) % 3 == i)]
                }));
                wishes.push(probs);
                actions.push(says);
                says.into()
            });
            (logits.unwrap().to_vec1::<f32>().unwrap(), wishes, actions)
        };
        let likely: Vec<bool> = (0..LAYERS)
            .map(|l| !beside.left_out.get(l).copied().unwrap_or(false))
            .collect();
        let (found, expected) = match mode {
            KvMode::Ragged => {
                before.left_out = vec![true; LAYERS];
                (run(&mut beside), run(&mut before))
            }
            // Layers are always asked beside something, so the decisions that were taken run without routers.
            KvMode::Fill => {
                let found = run(&mut beside);
                let plain = before.run_layers(&[id], None, |layer, _| found.2[layer].into());
                let plain = plain.unwrap().to_vec1::<f32>().unwrap();
                (found.clone(), (plain, found.1, found.2))
            }
        };
        assert_eq!(found, expected, "token {id}");
        for (layer, action) in expected.2.iter().enumerate() {
            in_vain += usize::from(likely[layer] && *action == Action::Skip);
            taken[*action as usize] += 1;
        }
    }
    assert!(
        in_vain > 0 && taken.iter().all(|&n| n > 0),
        "{in_vain} in vain, {taken:?} taken"
    );
    assert_eq!(beside.blocks_run(), before.blocks_run());
    for pass in (0..LAYERS).flat_map(|layer| [(layer, 0), (layer, 1)]) {
        let [found, expected] = [&mut beside, &mut before].map(|s| s.cache.pass(pass.0, pass.1).len());
        assert_eq!(found, expected, "pass {pass:?}");
    }
}

fn floats(logits: Tensor) -> Vec<f32> {
    logits.flatten_all().unwrap().to_vec1().unwrap()
}

/// Actions that change from token to token, of every kind.
fn changing(layer: usize, token: usize) -> Action {
    [
        Action::Execute,
        Action::Skip,
        Action::Execute,
        Action::Repeat,
        Action::Skip,
    ][(2 * layer + 3 * token) % 5]
}

#[test]
fn all_that_run_under_fill_are_the_unmodified_model() {
    let decoders = [packed_decoder(LAYERS), tiny_decoder()];
    for decoder in &decoders {
        let mut plain = Sequence::new(decoder, &GO_ON);
        let mut filled = Sequence::new(decoder, &GO_ON).with_kv(KvMode::Fill);
        // The routers do not change that, asked beside their layer as they are here.
        let routers = listening_routers(decoder.config().hidden_size);
        for ids in [&[3, 1, 4][..], &[1], &[5], &[9]] {
            let expected = plain.run_program(ids, &Program::standard(LAYERS)).unwrap();
            let asked: Option<(&dyn Router, f64)> = Some((&routers, -0.5));
            let found = filled.run_layers(ids, asked, |_, _| Action::Execute.into());
            assert_eq!(floats(found.unwrap()), floats(expected));
        }
    }
}

#[test]
fn a_filled_layer_has_an_entry_of_every_token() {
    for decoder in [packed_decoder(LAYERS), tiny_decoder()] {
        let mut sequence = Sequence::new(&decoder, &GO_ON).with_kv(KvMode::Fill);
        let repeats = |layer: usize, tokens: usize| (0..tokens).filter(move |t| changing(layer, *t) == Action::Repeat);
        for (token, id) in [7, 2, 9, 4, 11, 3].into_iter().enumerate() {
            let run = sequence.run_layers(&[id], None, |layer, _| changing(layer, token).into());
            run.unwrap();
            for layer in 0..LAYERS {
                let entries = |n| sequence.cache.clone().pass(layer, n).len();
                assert_eq!(entries(0), token + 1, "layer {layer} after token {token}");
                assert_eq!(entries(1), repeats(layer, token + 1).count(), "(l, 1) is never filled");
            }
        }
        let fork = sequence.fork(4).unwrap();
        assert_eq!((fork.kv(), fork.len()), (KvMode::Fill, 4));
    }
}

/// A chunk whose rows do different things is what its tokens are one after the other, and so is a branch.
#[test]
fn rows_of_a_chunk_see_what_those_before_them_left() {
    for (decoder, within) in [(packed_decoder(LAYERS), 2e-3), (tiny_decoder(), 1e-4)] {
        for mode in KvMode::ALL {
            let ids = [7, 2, 9, 4, 11, 3, 8];
            let mut one_by_one = Sequence::new(&decoder, &GO_ON).with_kv(mode);
            let run = |sequence: &mut Sequence, token: usize| {
                let run = sequence.run_layers(&[ids[token]], None, |layer, _| changing(layer, token).into());
                floats(run.unwrap())
            };
            let expected: Vec<Vec<f32>> = (0..ids.len()).map(|token| run(&mut one_by_one, token)).collect();
            let rows = |from: usize, to: usize| {
                move |layer: usize| LayerActions {
                    rows: Some((from..to).map(|token| changing(layer, token)).collect()),
                    ..Action::Execute.into()
                }
            };
            let mut chunk = Sequence::new(&decoder, &GO_ON).with_kv(mode);
            let actions = rows(0, 3);
            let found = chunk.run_layers(&ids[..3], None, |layer, _| actions(layer)).unwrap();
            let near = |found: &[f32], expected: &[f32]| {
                let off = found
                    .iter()
                    .zip(expected)
                    .map(|(a, b)| (a - b).abs())
                    .fold(0.0, f32::max);
                assert!(off < within, "{mode}: {off}");
            };
            near(&floats(found), &expected[2]);
            let actions = rows(3, 7);
            let found = chunk
                .run_branches(&[&ids[3..]], None, |layer, _| actions(layer))
                .unwrap();
            for (row, expected) in expected[3..].iter().enumerate() {
                near(&floats(found.get(row).unwrap()), expected);
            }
            assert_eq!(chunk.len(), 3, "branches leave the sequence as it is");
        }
    }
}

#[test]
fn rows_are_replaced_in_place() {
    let all = Tensor::new(&[[0f32], [1.], [2.], [3.]], &Device::Cpu).unwrap();
    let some = Tensor::new(&[[10f32], [30.]], &Device::Cpu).unwrap();
    let mixed = with_rows(&all, &[1, 3], &some).unwrap();
    assert_eq!(
        mixed.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
        [0., 10., 2., 30.]
    );
}

/// A LoopMoE model of 2 + 2·3 + 1 executions.
fn looped_decoder() -> Decoder {
    Decoder::of_loopmoe(loopmoe_model(), 64).unwrap()
}

fn loopmoe_model() -> LoopMoe {
    loopmoe::testing::model(&loopmoe::testing::tiny(), 3)
}

#[test]
fn a_looped_model_runs_its_executions_as_layers() {
    let (decoder, model) = (looped_decoder(), loopmoe_model());
    let ids = [1, 5, 9, 2, 2, 12, 0];
    let path = loopmoe::testing::tiny().standard_path(3);
    // Executions by number; a repeated one has the iteration that it had before.
    let without = |layer, expert| vec![ExcludedExpert { layer, expert }];
    let excluded = [vec![], without(2, 1), without(4, 0)];
    let programs = ["0-8", "0-3 6-8", "0 2-4 4-8", "0-7"];
    for (program, excluded) in programs.into_iter().zip(excluded.iter().cycle()) {
        let experts: Excluded = excluded.iter().map(|of| (of.layer, of.expert)).collect();
        let program = Program::parse(program, 9).unwrap();
        let along: Vec<_> = program.layers().iter().map(|&layer| path[layer]).collect();
        let mut cache = LatentCache::default();
        let tokens = loopmoe::testing::ids(&ids);
        let expected = model.forward(&tokens, &along, &mut cache, &experts, &mut ()).unwrap();
        let expected: Vec<f32> = expected.get(0).unwrap().get(ids.len() - 1).unwrap().to_vec1().unwrap();
        for chunk in [1, 3, 7] {
            // What is excluded holds for copies too.
            let mut sequence = Sequence::new(&decoder, &GO_ON).excluding(excluded).fork(0).unwrap();
            let parts = ids
                .chunks(chunk)
                .map(|part| sequence.run_program(part, &program).unwrap());
            let logits: Vec<f32> = parts.last().unwrap().to_vec1().unwrap();
            for (found, expected) in logits.iter().zip(&expected) {
                assert!((found - expected).abs() < 2e-5, "{program}: {found} is not {expected}");
            }
        }
    }
}

#[test]
fn a_looped_model_without_kv_fill_forgets_what_was_skipped() {
    use Action::{Execute, Skip};
    let decoder = looped_decoder();
    let actions = [0, 1, 2, 3, 4, 5, 6, 7, 8].map(|layer| if layer == 4 { Skip } else { Execute }.into());
    let logits = [KvMode::Ragged, KvMode::Fill].map(|mode| {
        let mut sequence = Sequence::new(&decoder, &GO_ON).with_kv(mode);
        sequence.run_settled(3, &actions, None).unwrap();
        let (logits, _) = sequence
            .run_settled(5, &[Execute; 9].map(LayerActions::from), None)
            .unwrap();
        logits.to_vec1::<f32>().unwrap()
    });
    let far = logits[0]
        .iter()
        .zip(&logits[1])
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(far > 1e-3, "the second token sees what the first one left");
}

/// Decoders of packed kernels, plain blocks and the executions of a LoopMoE model.
fn all_kinds() -> [Decoder; 3] {
    [packed_decoder(LAYERS), tiny_decoder(), looped_decoder()]
}

/// `layer` of all rows of a chunk, h + size·(B(h) − h), by sums over the states' numbers.
fn damped_by_hand(decoder: &Decoder, layer: usize, hidden: &Tensor, size: f32) -> Tensor {
    let positions: Vec<u32> = (0..hidden.dims()[0] as u32).collect();
    let chunk = decoder.chunk(&positions).unwrap();
    let after = floats(decoder.run_block(layer, hidden, &chunk, None).unwrap());
    let before = floats(hidden.clone());
    let state: Vec<f32> = before.iter().zip(&after).map(|(h, b)| h + size * (b - h)).collect();
    Tensor::from_vec(state, hidden.dims(), hidden.device()).unwrap()
}

#[test]
fn a_damped_repeat_adds_a_part_of_what_the_block_adds() {
    let ids = [3, 1, 4, 1, 5];
    for decoder in &all_kinds() {
        let layers = decoder.config().layers;
        for (text, rest) in [
            ("0-1 2x2~0.5", vec![(2, 0.5)]),
            ("0-1 2x2~-1", vec![(2, -1.0)]),
            ("0-1 2x2~2", vec![(2, 2.0)]),
            ("0-1 2x2~0", vec![]),
            ("0-1 2x4~0.75", vec![(2, 0.25); 3]),
            ("0 (1-2)x2~0.3", vec![(1, 0.3), (2, 0.3)]),
            ("0 (1-2)x3~0.3", vec![(1, 0.15), (2, 0.15), (1, 0.15), (2, 0.15)]),
        ] {
            let program = Program::parse(text, layers).unwrap();
            let first = (0..3).map(|layer| (layer, 1.0));
            let expected = first
                .chain(rest)
                .fold(decoder.embed(&ids).unwrap(), |hidden, (layer, size)| {
                    damped_by_hand(decoder, layer, &hidden, size)
                });
            let expected = decoder.logits(&expected.narrow(0, ids.len() - 1, 1).unwrap()).unwrap();
            let mut sequence = Sequence::new(decoder, &GO_ON);
            let found = sequence.run_program(&ids, &program).unwrap();
            for (found, expected) in floats(found).iter().zip(floats(expected)) {
                assert!((found - expected).abs() < 2e-4, "{text}: {found} is not {expected}");
            }
        }
    }
}

/// So every step of the second time, too, sees what the tokens before left in its own pass.
#[test]
fn damped_repeats_are_the_same_token_by_token() {
    let ids = [3, 1, 4, 1, 5];
    for (decoder, within) in all_kinds().iter().zip([2e-3, 1e-4, 1e-4]) {
        let layers = decoder.config().layers;
        let program = Program::parse("0 (1-2)x2~0.5 3x3~-0.5", layers).unwrap();
        let whole = Sequence::new(decoder, &GO_ON).run_program(&ids, &program).unwrap();
        let mut sequence = Sequence::new(decoder, &GO_ON);
        let by_token = ids.map(|id| floats(sequence.run_program(&[id], &program).unwrap()));
        for (found, expected) in by_token[4].iter().zip(floats(whole)) {
            assert!((found - expected).abs() < within, "{found} is not {expected}");
        }
        assert_eq!(sequence.blocks_run(), ids.len() * program.depth());
        for (layer, n, entries) in [(0, 1, 0), (1, 1, 5), (2, 1, 5), (2, 2, 0), (3, 2, 5)] {
            assert_eq!(sequence.cache.pass(layer, n).len(), entries, "pass ({layer}, {n})");
        }
    }
}

#[test]
fn a_repeat_damped_by_one_is_the_repeat_to_the_bit() {
    let ids = [3, 1, 4, 1, 5];
    for decoder in &all_kinds() {
        let layers = decoder.config().layers;
        let run = |text: &str| {
            let program = Program::parse(text, layers).unwrap();
            floats(Sequence::new(decoder, &GO_ON).run_program(&ids, &program).unwrap())
        };
        assert_eq!(run("0-1 2x2~1 3"), run("0-1 2x2 3"));
        assert_eq!(run("0-1 2x3~2 3"), run("0-1 2x3 3"));
        assert_eq!(run("0 (1-2)x2~1 3"), run("0 (1-2)x2 3"));
        assert_ne!(run("0-1 2x2~0.999 3"), run("0-1 2x2 3"));
        let standard = run("0-3");
        let still = run("0-1 2x2~0 3");
        assert_eq!(still, standard, "a step of 0 stays where it is");
    }
}
