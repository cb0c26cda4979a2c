//! Smoothing factors of a layer's keys, from its weights.
//!
//! Where keys are kept in eight bits, all channels of a head share a scale, and in some models (Qwen2 by its biases) a few
//! channels are many times as large as the others. So keys are divided by a factor for each channel before they are rounded,
//! and queries multiplied by it: the scores are those of before. As in SmoothQuant (arXiv 2211.10438) the factor is a power of
//! the channel's size. The size is taken from the weights, so nothing depends on what was run before.

use super::block::Block;
use super::fused::floats;

/// Of .5, .65, .75 and 1 this loses least: KL .0010, .0006, .0005 and .0016 nats on Qwen2.5-Coder-0.5B, .0166 without factors (480
/// tokens, by transformers with keys rounded likewise).
const POWER: f32 = 0.75;
/// No size counts as smaller, as a share of the greatest of its head.
const LEAST: f32 = 1e-3;

/// Factors of the channels of a block's keys, (kv_heads · head_dim); `None` where the CPU kernels do not run it. The two
/// channels that RoPE turns into each other have the same. `interleaved`: those are neighbours.
pub(super) fn of_block(block: &Block, interleaved: bool) -> Option<Vec<f32>> {
    let attention = &block.attention;
    let [_, key, _] = &attention.inputs.each;
    let weights = key.packed()?;
    // Mean squares, inputs being normalised: the weights' share and the bias's.
    let squares: Vec<f32> = match &attention.key_norm {
        Some(norm) => {
            let gain = floats(&norm.gain).ok()?;
            let squares = gain.iter().map(|gain| gain * gain).cycle();
            squares.take(weights.rows()).collect()
        }
        None => {
            let gain = floats(&block.attention_norm.gain).ok()?;
            let mut row = Vec::with_capacity(weights.cols());
            let mut of_row = |at: usize| -> f32 {
                row.clear();
                weights.extend_with_row(at, &mut row);
                row.iter().zip(&*gain).map(|(w, gain)| (w * gain).powi(2)).sum()
            };
            let mut squares: Vec<f32> = (0..weights.rows()).map(&mut of_row).collect();
            if let Some(bias) = &key.bias {
                squares
                    .iter_mut()
                    .zip(&*floats(bias).ok()?)
                    .for_each(|(square, bias)| *square += bias * bias);
            }
            squares
        }
    };
    Some(factors(&squares, attention.head_dim, interleaved))
}

/// Factors of channels from their mean squares.
fn factors(squares: &[f32], head_dim: usize, interleaved: bool) -> Vec<f32> {
    let of_pair = |at: usize| {
        let (head, channel) = (at - at % head_dim, at % head_dim);
        let other = match interleaved {
            true => channel ^ 1,
            false => (channel + head_dim / 2) % head_dim,
        };
        (squares[head + channel] + squares[head + other]).sqrt()
    };
    let mut factors: Vec<f32> = (0..squares.len()).map(of_pair).collect();
    for head in factors.chunks_exact_mut(head_dim) {
        let greatest = head.iter().copied().fold(0.0, f32::max);
        // Of a head whose weights are all 0, or no numbers, nothing is told.
        let told = greatest > 0.0 && greatest.is_finite();
        for factor in head {
            *factor = if told {
                (*factor / greatest).max(LEAST).powf(POWER)
            } else {
                1.0
            };
        }
    }
    factors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_that_turn_share_a_size_and_nothing_is_divided_by_zero() {
        let squares = [16.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(
            factors(&squares, 4, false)[..4],
            factors(&[0.0, 1.0, 16.0, 0.0], 4, false)
        );
        let halves = factors(&squares, 4, false);
        assert_eq!((halves[0], halves[2]), (1.0, 1.0));
        assert!((halves[1] - 0.25f32.powf(POWER)).abs() < 1e-6 && halves[1] == halves[3]);
        assert_eq!(halves[4..], [1.0; 4]);
        let neighbours = factors(&squares, 4, true);
        assert!(neighbours[0] == neighbours[1] && neighbours[2] == neighbours[3] && neighbours[0] > neighbours[2]);
        assert_eq!(factors(&[f32::NAN, 1.0], 2, true), [1.0; 2]);
        assert_eq!(factors(&[f32::INFINITY, 1.0, 1.0, 0.0], 2, true)[..2], [1.0; 2]);
        assert!(factors(&[1e20, 0.0, 0.0, 0.0], 4, true)[2] >= LEAST.powf(POWER));
    }
}
