use candle_core::Tensor;

use crate::model::testing::{decoder_of_file, gemma_file};
use crate::model::{Chunk, Decoder, PassKv};

/// What the tokens of some chunks, one after the other, make of every block, beside or behind the entries of those before.
fn states(decoder: &Decoder, chunks: &[Chunk], keep: bool) -> Vec<Vec<f32>> {
    let mut found = Vec::new();
    for layer in 0..decoder.config().layers {
        let mut kv = PassKv::default();
        for chunk in chunks {
            let positions = chunk.positions();
            let value = |(row, p): (usize, &u32)| {
                let p = *p as usize;
                let of = move |c: usize| ((row * 7 + c * 3 + p * 5 + layer) as f32 * 0.37).sin();
                (0..decoder.config().hidden_size).map(of)
            };
            let rows: Vec<f32> = positions.iter().enumerate().flat_map(value).collect();
            let shape = (positions.len(), decoder.config().hidden_size);
            let hidden = Tensor::from_vec(rows, shape, decoder.device()).unwrap();
            let out = decoder
                .run_block(layer, &hidden, chunk, keep.then_some(&mut kv))
                .unwrap();
            found.push(out.flatten_all().unwrap().to_vec1().unwrap());
        }
    }
    found
}

#[test]
fn blocks_with_windows_and_post_norms_are_those_of_the_general_path() {
    let (bytes, config) = gemma_file();
    let exact = decoder_of_file(&bytes, config.clone(), true);
    let packed = decoder_of_file(&bytes, config.clone(), false);
    assert!(packed.by_kernels() && !exact.by_kernels());
    // Two choices behind a question whose first tokens are before their windows; each sees the question and itself.
    let branch = |token: usize| if token < 6 { 0 } else { 1 + (token - 6) / 3 };
    let sees = |i: usize, j: usize| j <= i && (branch(j) == 0 || branch(i) == branch(j));
    let chunks = |decoder: &Decoder| {
        let plain = |positions: &[u32]| decoder.chunk(positions).unwrap();
        let branches = |first: u32| {
            let positions: Vec<u32> = [0, 1, 2, 3, 4, 5, 6, 7, 8, 6, 7, 8].map(|p| first + p).to_vec();
            decoder.chunk_with_visibility(&positions, &sees).unwrap()
        };
        [
            (vec![plain(&[0, 1, 2])], false),
            (vec![plain(&(0..40).collect::<Vec<u32>>())], false),
            (vec![branches(0)], false),
            (
                vec![plain(&(0..9).collect::<Vec<u32>>()), plain(&[9, 10, 11]), plain(&[12])],
                true,
            ),
            // Tokens between did not run these layers.
            (
                vec![plain(&[0, 1, 2, 7, 8]), plain(&[9]), plain(&[30]), plain(&[31])],
                true,
            ),
            (vec![plain(&(0..7).collect::<Vec<u32>>()), branches(7)], true),
        ]
    };
    let cases = chunks(&packed).into_iter().zip(chunks(&exact)).enumerate();
    for (case, ((of_packed, keep), (of_exact, _))) in cases {
        let (found, expected) = (states(&packed, &of_packed, keep), states(&exact, &of_exact, keep));
        for (part, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let off = found
                .iter()
                .zip(expected)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            assert!(off < 2e-3, "case {case}, part {part}: {off}");
        }
    }
    // The windows do hide something.
    let mut open = config;
    open.details.sliding = None;
    let open = decoder_of_file(&bytes, open, false);
    let of = |decoder: &Decoder| states(decoder, &[decoder.chunk(&[0, 1, 2, 3, 4, 5]).unwrap()], false).swap_remove(0);
    let (windowed, open) = (of(&packed), of(&open));
    assert!(windowed.iter().zip(&open).any(|(a, b)| (a - b).abs() > 1e-2));
}
