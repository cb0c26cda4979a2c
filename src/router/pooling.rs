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

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn pooled(tokens: usize, windows: usize) -> Vec<f32> {
        let hidden = Tensor::arange(0f32, tokens as f32, &Device::Cpu)
            .unwrap()
            .reshape((tokens, 1))
            .unwrap();
        pool_windows(&hidden, windows)
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1()
            .unwrap()
    }

    #[test]
    fn windows_are_means_and_the_tail_is_dropped() {
        assert_eq!(pooled(7, 3), [0.5, 2.5, 4.5]);
        assert_eq!(pooled(2, 8), [0.0, 1.0]);
        assert_eq!(pooled(8, 8), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        assert_eq!(pooled(5, 1), [2.0]);
    }
}
