//! Products with weights that are floats of 16 bits, row by row.

use std::ops::Range;

use super::attention::fetch;
use super::form::PackedType;
use super::pack::{AHEAD, PackedMatrix};
use super::vector::Vector;
use super::{Activations, LANES, Output};

/// Rows of activations, and of weights, that are multiplied together.
const TILE: usize = 4;

/// Some rows of `x` times one group of `weight`.
#[inline(always)]
pub(super) fn group<V: Vector>(
    isa: V::Isa,
    weight: &PackedMatrix,
    group: usize,
    x: &Activations,
    rows: Range<usize>,
    output: Output,
) {
    match weight.kind() {
        PackedType::BF16 => tiles::<V, true>(isa, weight, group, x, rows, output),
        _ => tiles::<V, false>(isa, weight, group, x, rows, output),
    }
}

#[inline(always)]
fn tiles<V: Vector, const BF16: bool>(
    isa: V::Isa,
    weight: &PackedMatrix,
    group: usize,
    x: &Activations,
    rows: Range<usize>,
    output: Output,
) {
    let mut row = rows.start;
    while row + TILE <= rows.end {
        tile::<V, BF16, TILE>(isa, weight, group, x, row, output);
        row += TILE;
    }
    while row < rows.end {
        tile::<V, BF16, 1>(isa, weight, group, x, row, output);
        row += 1;
    }
}

#[inline(always)]
fn tile<V: Vector, const BF16: bool, const ROWS: usize>(
    isa: V::Isa,
    weight: &PackedMatrix,
    group: usize,
    x: &Activations,
    first: usize,
    output: Output,
) {
    let mut values = [[0.0f32; LANES]; ROWS];
    for part in (0..LANES).step_by(TILE) {
        if group * LANES + part >= weight.rows() {
            break;
        }
        // Those past the last row are 0.
        let of_weights: [&[[[u8; 2]; LANES]]; TILE] = std::array::from_fn(|w| {
            weight
                .float_row(group * LANES + part + w)
                .as_chunks::<2>()
                .0
                .as_chunks()
                .0
        });
        let of_x: [&[[f32; LANES]]; ROWS] = std::array::from_fn(|r| x.row_floats(first + r).as_chunks().0);
        let mut sums = [[V::splat(isa, 0.0); TILE]; ROWS];
        for at in 0..x.cols() / LANES {
            let weights: [V; TILE] = std::array::from_fn(|w| {
                let weights = &of_weights[w][at];
                fetch(weights.as_ptr().wrapping_byte_add(AHEAD));
                V::load_16_bits::<BF16>(isa, weights)
            });
            for (sums, x) in sums.iter_mut().zip(&of_x) {
                let x = V::load(isa, &x[at]);
                for (sum, weights) in sums.iter_mut().zip(weights) {
                    *sum = weights.mul_add(x, *sum);
                }
            }
        }
        for (values, sums) in values.iter_mut().zip(sums) {
            for (value, sum) in values[part..].iter_mut().zip(sums) {
                *value = sum.sum();
            }
        }
    }
    for (row, values) in values.iter().enumerate() {
        output.write(first + row, group, values);
    }
}
