//! Routers laid out for the CPU kernels, for models whose own weights have few bits.
//!
//! A router is read for every token, and in f32 thirty of them are as large as a tenth of a small
//! model. Here their weights take eight bits and both threads share the product; units that cannot
//! change with the state are settled once, so that a router that says the same of every state costs
//! nothing.

use std::sync::OnceLock;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};

use super::checkpoint::{RouterSet, check_fit};
use super::device::DeviceRouters;
use super::input_norm::InputNorm;
use super::mlp::{MlpRouter, dot, gelu, softmax};
use super::pooling::{pool_rows, pool_windows};
use super::router::Router;
use crate::model::fused::floats;
use crate::model::kernel::{self, Activations, Arena, PackedMatrix};
use crate::model::persistent::RouterTensors;
use crate::trace::RouterInfo;

/// The routers of a set in the forms that are asked: for the CPU kernels, and on a GPU. Each is made when the first
/// router is asked there. A clone makes its own, so clone a set before changing its routers.
#[derive(Default)]
pub struct FastRouters {
    kernels: OnceLock<Vec<Option<FastRouter>>>,
    device: OnceLock<DeviceRouters>,
    rows: OnceLock<RouterTensors>,
}

impl Clone for FastRouters {
    fn clone(&self) -> Self {
        FastRouters::default()
    }
}

impl PartialEq for FastRouters {
    /// They follow from the routers, which are compared themselves.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl std::fmt::Debug for FastRouters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FastRouters")
    }
}

impl Router for RouterSet {
    fn info(&self) -> &RouterInfo {
        &self.info
    }

    fn check(&self, model: &str, layers: usize, hidden_size: usize) -> Result<()> {
        let made_for = (self.layers.len(), self.hidden_size);
        check_fit(&self.info, &self.metadata, made_for, model, (layers, hidden_size))
    }

    /// The states are pooled in windows.
    fn probabilities(&self, layer: usize, hidden: &Tensor, fast: bool) -> Result<[f32; 3]> {
        if let Some(routers) = self.on_device(hidden.device())? {
            let windows = pool_windows(hidden, self.windows)?.unsqueeze(0)?;
            return Ok(routers.probabilities(layer, &windows)?[0]);
        }
        let Some(router) = self.fast_router(layer, fast) else {
            let windows = pool_windows(hidden, self.windows)?;
            return Ok(self.layers[layer].probabilities(&self.input_norm.forward(&windows)?)?);
        };
        if router.hidden.is_none() {
            return Ok(softmax(router.constant));
        }
        let rows = hidden.dims2()?.0;
        let hidden = hidden.contiguous()?;
        let states = floats(&hidden)?;
        let logits = if rows <= self.windows {
            router.logits(&states, rows)
        } else {
            router.logits(&pool_rows(&states, rows, self.windows), self.windows)
        };
        let mean = |class: usize| logits.iter().map(|l| l[class]).sum::<f32>() / logits.len() as f32;
        Ok(softmax(std::array::from_fn(mean)))
    }

    /// Of fast routers only; `None` where the answer depends on no state.
    fn question(&self, layer: usize, hidden: &Tensor) -> Result<Option<RouterQuery<'_>>> {
        let router = self.fast_router(layer, true);
        let Some((router, units)) = router.and_then(|router| Some((router, router.hidden.as_ref()?))) else {
            return Ok(None);
        };
        let state = hidden.contiguous()?;
        drop(floats(&state)?);
        Ok(Some(RouterQuery {
            router,
            groups: 2 * units.w1.groups(),
            state,
        }))
    }

    /// On a GPU it waits for the device once.
    fn all_probabilities(&self, entering: &[Tensor], fast: bool) -> Result<Vec<[f32; 3]>> {
        if let Some(first) = entering.first()
            && let Some(routers) = self.on_device(first.device())?
        {
            return Ok(routers.probabilities(0, &Tensor::stack(entering, 0)?)?);
        }
        let each = entering.iter().enumerate();
        each.map(|(layer, hidden)| self.probabilities(layer, hidden, fast))
            .collect()
    }

    fn row_probabilities(&self, layer: usize, hidden: &Tensor, fast: bool) -> Result<Vec<[f32; 3]>> {
        if let Some(routers) = self.on_device(hidden.device())? {
            return Ok(routers.row_probabilities(layer, hidden)?);
        }
        let rows = hidden.dims2()?.0;
        let hidden = hidden.to_dtype(DType::F32)?.contiguous()?;
        let logits: Vec<[f32; 3]> = match self.fast_router(layer, fast) {
            Some(router) => router.logits(&floats(&hidden)?, rows),
            None => {
                let states = self.input_norm.forward(&hidden)?.to_vec2::<f32>()?;
                states.iter().map(|state| self.layers[layer].logits(state)).collect()
            }
        };
        Ok(logits.into_iter().map(softmax).collect())
    }

    fn is_asked_at_once(&self, device: &Device) -> Result<bool> {
        Ok(self.on_device(device)?.is_some())
    }

    fn layer_tensors(&self, device: &Device) -> Result<Option<&RouterTensors>> {
        if self.fast.rows.get().is_none() {
            let made = RouterTensors::new(&self.layers, self.input_norm == InputNorm::Rms, device)?;
            // Each thread has a stream of its own.
            device.synchronize()?;
            // Another thread may have been first; then its are as good.
            let _ = self.fast.rows.set(made);
        }
        let beside = |routers: &&RouterTensors| routers.w1.device().same_device(device);
        Ok(self.fast.rows.get().filter(beside))
    }

    fn constant(&self, layer: usize) -> Option<[f32; 3]> {
        self.layers.get(layer)?.constant()
    }
}

impl RouterSet {
    fn fast_router(&self, layer: usize, fast: bool) -> Option<&FastRouter> {
        if !fast {
            return None;
        }
        let all = || {
            let arena = Arena::default();
            self.layers
                .iter()
                .map(|router| FastRouter::new(router, self.input_norm, &arena))
                .collect()
        };
        self.fast.kernels.get_or_init(all)[layer].as_ref()
    }

    /// The routers on `device`, where that is not the CPU.
    fn on_device(&self, device: &Device) -> Result<Option<&DeviceRouters>> {
        if !device.is_cpu() && self.fast.device.get().is_none() {
            let made = DeviceRouters::new(&self.layers, self.input_norm, device)?;
            // Each thread has a stream of its own.
            device.synchronize()?;
            // Another thread may have been first; then its are as good.
            let _ = self.fast.device.set(made);
        }
        let beside = |routers: &&DeviceRouters| routers.device().same_device(device);
        Ok(self.fast.device.get().filter(beside))
    }
}

#[cfg(test)]
impl FastRouters {
    /// Those of `set` as tensors of the CPU, which are then asked as those on a GPU are.
    pub(crate) fn beside(set: &RouterSet) -> Self {
        let made = DeviceRouters::new(&set.layers, set.input_norm, &candle_core::Device::Cpu);
        FastRouters {
            kernels: OnceLock::new(),
            device: OnceLock::from(made.unwrap()),
            rows: OnceLock::new(),
        }
    }
}

/// A router and a state that it has not been asked of.
pub struct RouterQuery<'a> {
    router: &'a FastRouter,
    /// How long it takes, see [`Self::groups`]: one group of eight bits reads as much as two of four.
    groups: usize,
    /// (1, hidden_size)
    state: Tensor,
}

impl RouterQuery<'_> {
    /// p(skip), p(execute), p(repeat)
    pub fn answer(&self) -> [f32; 3] {
        let state = floats(&self.state).expect("`question` saw floats");
        softmax(self.router.logits(&state, 1)[0])
    }

    /// How long that takes, in groups of 16 rows of a product.
    pub fn groups(&self) -> usize {
        self.groups
    }
}

/// The same function as an [`MlpRouter`], but for rounding.
struct FastRouter {
    /// The logits, but for what the hidden units add that depend on the state.
    constant: [f32; 3],
    hidden: Option<Hidden>,
}

/// The units that depend on the state.
struct Hidden {
    input_norm: InputNorm,
    /// What a state is multiplied with first, (hidden_size). Columns of very different sizes meet
    /// in `w1`, small weights with large states; with these all columns are as large as each other,
    /// and the bits of a weight are worth the same in all.
    scales: Vec<f32>,
    /// (units, hidden_size), each column divided by its scale
    w1: PackedMatrix,
    /// (units)
    b1: Vec<f32>,
    /// (3, units), row by row
    w2: Vec<f32>,
}

impl FastRouter {
    /// `None` for sizes of hidden states that the kernels do not take.
    fn new(router: &MlpRouter, input_norm: InputNorm, arena: &Arena) -> Option<FastRouter> {
        let width = router.b1.len();
        let size = router.w1.len() / width;
        let row = |unit: usize| &router.w1[unit * size..(unit + 1) * size];
        let weight = |class: usize, unit: usize| router.w2[class * width + unit];
        let zero = |values: &[f32]| values.iter().all(|v| *v == 0.0);
        let heard = |unit: &usize| (0..3).any(|class| weight(class, *unit) != 0.0);
        let (fixed, moving): (Vec<usize>, Vec<usize>) = (0..width).filter(heard).partition(|unit| zero(row(*unit)));
        let settled = |class: usize| -> f32 {
            let of = |unit: &usize| weight(class, *unit) * gelu(router.b1[*unit]);
            router.b2[class] + fixed.iter().map(of).sum::<f32>()
        };
        let constant = std::array::from_fn(settled);
        if moving.is_empty() {
            return Some(FastRouter { constant, hidden: None });
        }
        let mut scales = vec![0.0f32; size];
        for unit in &moving {
            for (scale, w) in scales.iter_mut().zip(row(*unit)) {
                *scale = scale.max(w.abs());
            }
        }
        let divided = |unit: &usize| {
            let columns = row(*unit).iter().zip(&scales);
            columns.map(|(w, scale)| if *scale > 0.0 { w / scale } else { 0.0 })
        };
        let w1: Vec<f32> = moving.iter().flat_map(divided).collect();
        let w2 = (0..3).flat_map(|class| moving.iter().map(move |unit| weight(class, *unit)));
        let hidden = Hidden {
            input_norm,
            w1: PackedMatrix::from_floats(&w1, moving.len(), size, arena)?,
            b1: moving.iter().map(|unit| router.b1[*unit]).collect(),
            w2: w2.collect(),
            scales,
        };
        Some(FastRouter {
            constant,
            hidden: Some(hidden),
        })
    }

    /// The logits of each of some states (rows, hidden_size).
    fn logits(&self, states: &[f32], rows: usize) -> Vec<[f32; 3]> {
        let Some(hidden) = &self.hidden else {
            return vec![self.constant; rows];
        };
        let units = hidden.b1.len();
        let inner = hidden.inner(states);
        let logits = |inner: &[f32]| -> [f32; 3] {
            std::array::from_fn(|class| {
                self.constant[class] + dot(&hidden.w2[class * units..(class + 1) * units], inner)
            })
        };
        inner.chunks_exact(units).map(logits).collect()
    }
}

impl Hidden {
    /// gelu(W₁·x + b₁) of each state, (rows, units).
    fn inner(&self, states: &[f32]) -> Vec<f32> {
        // Small and rarely read, so they come from memory; they come while the product is computed.
        kernel::fetch(&self.b1);
        kernel::fetch(&self.w2);
        let size = self.scales.len();
        let mut scaled = Vec::with_capacity(states.len());
        for state in states.chunks_exact(size) {
            let norm = self.input_norm.scale(state);
            scaled.extend(state.iter().zip(&self.scales).map(|(x, scale)| x * norm * scale));
        }
        let [mut inner] = kernel::matmul([&self.w1], &Activations::new(scaled, size));
        for row in inner.chunks_exact_mut(self.b1.len()) {
            row.iter_mut().zip(&self.b1).for_each(|(x, bias)| *x += bias);
        }
        kernel::gelu(&mut inner);
        inner
    }
}

#[cfg(test)]
mod tests;
