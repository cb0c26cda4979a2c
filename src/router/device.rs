//! Routers on a GPU, beside the hidden states that they read.

use candle_core::{Device, Result, Tensor};

use super::input_norm::InputNorm;
use super::mlp::{MlpRouter, softmax};
use crate::model::persistent::RouterTensors;

/// All routers of a set as tensors of a device, f32.
pub(super) struct DeviceRouters {
    /// (layers, hidden_size, width)
    w1: Tensor,
    /// (layers, 1, width)
    b1: Tensor,
    /// (layers, width, 3)
    w2: Tensor,
    /// (layers, 1, 3)
    b2: Tensor,
    input_norm: InputNorm,
}

impl DeviceRouters {
    pub fn new(routers: &[MlpRouter], input_norm: InputNorm, device: &Device) -> Result<Self> {
        let rows = RouterTensors::new(routers, input_norm == InputNorm::Rms, device)?;
        Ok(DeviceRouters {
            w1: rows.w1.transpose(1, 2)?.contiguous()?,
            b1: rows.b1.unsqueeze(1)?,
            w2: rows.w2.transpose(1, 2)?.contiguous()?,
            b2: rows.b2.unsqueeze(1)?,
            input_norm,
        })
    }

    pub fn device(&self) -> &Device {
        self.w1.device()
    }

    /// What the routers of `count` layers from `first` on say of windows of their own, (count, n, hidden_size): the
    /// softmax of the mean of the windows' logits. Waits for the device once.
    pub fn probabilities(&self, first: usize, windows: &Tensor) -> Result<Vec<[f32; 3]>> {
        let logits = self.logits(first, windows)?.mean(1)?;
        Ok(probabilities(logits.to_vec2::<f32>()?))
    }

    /// What the router of `layer` says of each of some states (n, hidden_size).
    pub fn row_probabilities(&self, layer: usize, states: &Tensor) -> Result<Vec<[f32; 3]>> {
        let logits = self.logits(layer, &states.unsqueeze(0)?)?.squeeze(0)?;
        Ok(probabilities(logits.to_vec2::<f32>()?))
    }

    /// (count, n, 3)
    fn logits(&self, first: usize, windows: &Tensor) -> Result<Tensor> {
        let count = windows.dims3()?.0;
        let of_layers = |tensor: &Tensor| tensor.narrow(0, first, count);
        let windows = self.input_norm.forward(windows)?.contiguous()?;
        let inner = windows
            .matmul(&of_layers(&self.w1)?)?
            .broadcast_add(&of_layers(&self.b1)?)?;
        // candle's `gelu` is the tanh approximation.
        let inner = inner.gelu()?;
        inner
            .matmul(&of_layers(&self.w2)?)?
            .broadcast_add(&of_layers(&self.b2)?)
    }
}

impl RouterTensors {
    /// Of one router a layer.
    pub(super) fn new(routers: &[MlpRouter], rms: bool, device: &Device) -> Result<Self> {
        let (layers, width) = (routers.len(), routers[0].b1.len());
        let size = routers[0].w1.len() / width;
        let stacked =
            |part: &dyn Fn(&MlpRouter) -> &[f32]| -> Vec<f32> { routers.iter().flat_map(part).copied().collect() };
        Ok(RouterTensors {
            w1: Tensor::from_vec(stacked(&|r| &r.w1), (layers, width, size), device)?,
            b1: Tensor::from_vec(stacked(&|r| &r.b1), (layers, width), device)?,
            w2: Tensor::from_vec(stacked(&|r| &r.w2), (layers, 3, width), device)?,
            b2: Tensor::from_vec(stacked(&|r| &r.b2), (layers, 3), device)?,
            rms,
        })
    }
}

fn probabilities(logits: Vec<Vec<f32>>) -> Vec<[f32; 3]> {
    let rows = logits.into_iter().map(|z| softmax([z[0], z[1], z[2]]));
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};

    #[test]
    fn says_what_the_routers_say_one_by_one() {
        let (layers, size, width) = (3, 12, 5);
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(4);
        let mut random = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.random_range(-1.0..1.0)).collect() };
        let routers: Vec<MlpRouter> = (0..layers)
            .map(|_| MlpRouter {
                w1: random(width * size),
                b1: random(width),
                w2: random(3 * width),
                b2: random(3),
            })
            .collect();
        let on_device = DeviceRouters::new(&routers, InputNorm::None, &Device::Cpu).unwrap();
        let states = Tensor::from_vec(random(layers * 2 * size), (layers, 2, size), &Device::Cpu).unwrap();
        let all = on_device.probabilities(0, &states).unwrap();
        let close = |a: [f32; 3], b: [f32; 3]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
        for (layer, router) in routers.iter().enumerate() {
            let windows = states.get(layer).unwrap();
            let expected = router.probabilities(&windows).unwrap();
            assert!(close(all[layer], expected), "layer {layer}: {:?}", all[layer]);
            let alone = on_device.probabilities(layer, &windows.unsqueeze(0).unwrap()).unwrap();
            assert!(close(alone[0], expected));
            let rows = on_device.row_probabilities(layer, &windows).unwrap();
            for (row, found) in rows.into_iter().enumerate() {
                let state = windows.get(row).unwrap().to_vec1::<f32>().unwrap();
                assert!(close(found, softmax(router.logits(&state))));
            }
        }
    }
}
