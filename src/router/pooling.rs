//! Windowed mean pooling of the hidden states that enter a layer (Dr.LLM, arXiv 2510.12773 §3).

use candle_core::{DType, Result, Tensor};

/// Pools hidden states (tokens, hidden_size) to (n, hidden_size), f32, with n = min(windows, tokens):
/// n windows of ⌊tokens/n⌋ consecutive tokens from the start, each averaged; the tokens left over
/// at the end are dropped.
pub fn pool_windows(hidden: &Tensor, windows: usize) -> Result<Tensor> {
    let (tokens, size) = hidden.dims2()?;
    let n = windows.min(tokens);
    let hidden = hidden.to_dtype(DType::F32)?;
    if n == tokens {
        return Ok(hidden);
    }
    let span = tokens / n;
    hidden.narrow(0, 0, n * span)?.reshape((n, span, size))?.mean(1)
}

/// As [`pool_windows`] for the floats of `states`: `rows` of them, and n rows in the result.
pub(super) fn pool_rows(states: &[f32], rows: usize, windows: usize) -> Vec<f32> {
    let size = states.len() / rows;
    let n = windows.min(rows);
    let span = rows / n;
    let mut pooled = vec![0.0f32; n * size];
    for (mean, window) in pooled.chunks_exact_mut(size).zip(states.chunks_exact(span * size)) {
        for state in window.chunks_exact(size) {
            mean.iter_mut().zip(state).for_each(|(mean, x)| *mean += x);
        }
        mean.iter_mut().for_each(|mean| *mean /= span as f32);
    }
    pooled
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn pooled(tokens: usize, windows: usize) -> Vec<f32> {
        let hidden = Tensor::arange(0f32, tokens as f32, &Device::Cpu)
            .unwrap()
            .reshape((tokens, 1))
            .unwrap();
        let pooled = pool_windows(&hidden, windows).unwrap().flatten_all().unwrap();
        let pooled = pooled.to_vec1::<f32>().unwrap();
        let floats = hidden.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(pool_rows(&floats, tokens, windows), pooled);
        pooled
    }

    #[test]
    fn windows_are_means_and_the_tail_is_dropped() {
        assert_eq!(pooled(7, 3), [0.5, 2.5, 4.5]);
        assert_eq!(pooled(2, 8), [0.0, 1.0]);
        assert_eq!(pooled(8, 8), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        assert_eq!(pooled(5, 1), [2.0]);
    }
}
