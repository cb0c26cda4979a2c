//! A token through the whole decoder in one launch, by a kernel whose blocks stay on the GPU until it is done.
//!
//! A GPU that is told each product by itself waits for its host: some 25 launches a layer, and one more answer of a router
//! that the host must see before it can go on. Here routers, dial, budget and pins are settled on the device
//! (`decode.cu`), which the host tells what holds at the token ([`TokenRules`]), and hears from what was done
//! ([`TokenOutcome`]). The formulas are those of [`Block::forward`](super::block::Block::forward), which is what to read,
//! and what runs prompts, models that the kernel does not take, and everything where it is switched off.

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(all(test, target_os = "linux"))]
pub(crate) mod emulated;
mod plan;
#[cfg(all(test, target_os = "linux"))]
mod tests;

use std::ops::Range;
use std::sync::Mutex;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Result, Tensor, TensorId, bail};

use super::block::{Block, RmsNorm};
use super::decoder::Decoder;
use super::gpu::{Address, address, bytes, upload};
use super::kv::{KvCache, PassKv};
use super::linear::{Linear, Stored};
use super::rope::Rope;
use super::weights::Embedding;
use crate::program::{Action, Damping, greatest_depth};
use crate::trace::KvMode;
use plan::{
    LaunchPlan, Layer, MOST_HEAD, MOST_SPLITS, PHASES_A_LAYER, PassSlots, Rule, Storage, StoredMatrix, UNKNOWN,
};

/// How a GPU decodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DecodeKernel {
    /// A token in one launch.
    #[default]
    Whole,
    /// The same, with the next weights asked for before blocks wait for each other.
    Ahead,
    /// A launch for each phase, to the same bits: for measuring and for finding faults.
    Phases,
    /// Layer by layer, by candle's kernels.
    Off,
}

impl DecodeKernel {
    /// As `DRLLM_DECODE_KERNEL` says: `whole`, `ahead`, `phases` or `off`.
    #[cfg(feature = "cuda")]
    fn asked() -> Result<Self> {
        match std::env::var("DRLLM_DECODE_KERNEL").as_deref() {
            Ok("off") => Ok(DecodeKernel::Off),
            Ok("phases") => Ok(DecodeKernel::Phases),
            Ok("ahead") => Ok(DecodeKernel::Ahead),
            Ok("" | "whole") | Err(_) => Ok(DecodeKernel::Whole),
            Ok(other) => bail!(
                "DRLLM_DECODE_KERNEL is '{}': expected whole, ahead, phases or off",
                other.escape_default()
            ),
        }
    }
}

/// Starts the kernel.
pub trait Launch: Send + Sync {
    /// Blocks of a launch, which are all resident at once.
    fn blocks(&self) -> u32;

    /// Runs some phases of the plan at an address of the device.
    ///
    /// # Errors
    /// Those of the driver.
    fn launch(&self, plan: Address, phases: Range<u32>) -> Result<()>;
}

/// What holds at one token.
#[derive(Clone, Debug)]
pub struct TokenRules<'a> {
    /// The action of each layer that is settled; the router decides at the others.
    pub forced: Vec<Option<Action>>,
    /// Position of the dial.
    pub dial: f64,
    /// What the layers from a row on are worth with so many executions left, (layers + 1, budget + 1); none without a
    /// budget. See [`RunningBudget`](crate::router::policy::RunningBudget).
    pub budget: Option<&'a [Vec<f64>]>,
    /// Of the second execution, one a layer; empty where all are whole.
    pub dampings: Vec<Damping>,
}

/// What became of a token.
#[derive(Clone, Debug)]
pub struct TokenOutcome {
    /// (vocab_size), f32
    pub logits: Tensor,
    /// One a layer.
    pub actions: Vec<Action>,
    /// p(skip), p(execute), p(repeat) of each layer, where routers were asked.
    pub probabilities: Vec<[f32; 3]>,
}

/// Routers of all layers on the device, f32, each matrix row by row.
pub struct RouterTensors {
    /// (layers, width, hidden_size)
    pub w1: Tensor,
    /// (layers, width)
    pub b1: Tensor,
    /// (layers, 3, width)
    pub w2: Tensor,
    /// (layers, 3)
    pub b2: Tensor,
    /// Whether they read states of root mean square 1.
    pub rms: bool,
}

/// A token and what it comes after.
pub struct TokenRequest<'a> {
    /// In the vocabulary.
    pub id: u32,
    /// In the sequence, from 0.
    pub position: usize,
    /// What the tokens before it left; the token's own is added.
    pub cache: &'a mut KvCache,
    /// What the token leaves in layers that it does not run.
    pub mode: KvMode,
    /// Layers that the token before did not run.
    pub left_out: &'a [bool],
    /// What is settled beforehand.
    pub rules: &'a TokenRules<'a>,
    /// Asked at layers that are not settled; absent only where all are.
    pub routers: Option<&'a RouterTensors>,
}

/// A decoder as the kernel takes it. It reads weights that the decoder owns.
pub struct Persistent {
    launch: Box<dyn Launch>,
    kernel: DecodeKernel,
    layers: Vec<Layer>,
    /// All that no token changes.
    plan: LaunchPlan,
    rope: Rope,
    kv_type: DType,
    device: Device,
    /// (3 · layers) probabilities, (layers) actions and (layers + 1) of the budget, as integers.
    record: Tensor,
    /// Held while a token runs: scratch and record are one token's, and threads may have streams of their own.
    running: Mutex<()>,
    /// What the plan points to, beside the decoder's weights.
    _held: Vec<Tensor>,
    /// The layers on the device with the routers that were asked last.
    uploaded: Mutex<Option<(Option<TensorId>, Tensor)>>,
}

/// What is computed on in shared memory, in floats a block: states, heads or the feed-forward's inner values.
#[cfg(any(feature = "cuda", all(test, target_os = "linux")))]
fn shared_floats(decoder: &Decoder) -> usize {
    let config = decoder.config();
    let widest = (2 * config.hidden_size).max(config.heads * config.head_dim);
    widest.max(config.intermediate_size).next_multiple_of(4)
}

impl Persistent {
    /// For a decoder on a CUDA device. What it makes of a token was held against what the decoder's blocks make of it.
    ///
    /// # Errors
    /// Why the kernel does not run this model, or does not run here.
    #[cfg(feature = "cuda")]
    pub fn on_cuda(decoder: &Decoder) -> Result<Option<Self>> {
        let Device::Cuda(device) = decoder.device() else {
            return Ok(None);
        };
        let kernel = DecodeKernel::asked()?;
        // What was uploaded is there for every stream from now on.
        decoder.device().synchronize()?;
        let launch = cuda::CudaLaunch::new(device, shared_floats(decoder))?;
        let mut persistent = Persistent::new(decoder, Box::new(launch))?;
        persistent.kernel = kernel;
        if kernel != DecodeKernel::Off {
            persistent.check(decoder)?;
        }
        Ok(Some(persistent))
    }

    /// Whether a token's logits are those of the decoder's blocks, but for rounding.
    ///
    /// # Errors
    /// Names how far they are apart.
    #[cfg(any(feature = "cuda", all(test, target_os = "linux")))]
    pub(super) fn check(&self, decoder: &Decoder) -> Result<()> {
        // Candle rounds activations to 8 bits at GGUF's types, and states to 16 where weights have no more.
        let most = if self.kv_type == DType::F32 { 0.05 } else { 0.2 };
        let (id, layers) = (self.plan.embedding.rows / 2, self.layers.len());
        let whole = |error: anyhow::Error| candle_core::Error::msg(format!("{error:#}"));
        let chunk = decoder.chunk(&[0]).map_err(whole)?;
        let embedded = decoder.embed(&[id]).map_err(whole)?;
        let blocks = (0..layers).try_fold(embedded, |hidden, layer| {
            decoder.run_block(layer, &hidden, &chunk, None)
        })?;
        let expected = decoder.logits(&blocks)?.flatten_all()?;
        let outcome = self.token(TokenRequest {
            id,
            position: 0,
            cache: &mut KvCache::default(),
            mode: KvMode::Ragged,
            left_out: &[],
            rules: &TokenRules {
                forced: vec![Some(Action::Execute); layers],
                dial: 0.0,
                budget: None,
                dampings: Vec::new(),
            },
            routers: None,
        })?;
        let size = |x: &Tensor| x.sqr()?.sum_all()?.to_scalar::<f32>().map(f32::sqrt);
        let off = size(&(&outcome.logits - &expected)?)? / size(&expected)?;
        // What is no number is no less.
        if off.is_nan() || off > most {
            bail!("its logits are {off:.3} of their size from those of the layers run one by one");
        }
        Ok(())
    }

    /// Whether it is in use.
    pub(super) fn is_on(&self) -> bool {
        self.kernel != DecodeKernel::Off
    }

    pub(super) fn set(&mut self, kernel: DecodeKernel) {
        self.kernel = kernel;
    }

    /// For a decoder whose memory `launch` reads.
    ///
    /// # Errors
    /// Why the kernel does not run this model.
    pub fn new(decoder: &Decoder, launch: Box<dyn Launch>) -> Result<Self> {
        let config = decoder.config();
        let device = decoder.device().clone();
        let mut held = Vec::new();
        let mut scratch = |count: usize| -> Result<Address> {
            let made = Tensor::zeros(count, DType::F32, &device)?;
            let at = address(&made)?;
            held.push(made);
            Ok(at)
        };
        let (heads, kv_heads, head_dim) = (config.heads, config.kv_heads, config.head_dim);
        if !head_dim.is_multiple_of(32) || head_dim > MOST_HEAD || !heads.is_multiple_of(kv_heads) {
            bail!("its heads have {head_dim} values; the kernel takes 32 to {MOST_HEAD}, in steps of 32");
        }
        let blocks = decoder.blocks();
        let (Some((final_norm, head)), true) = (decoder.final_norm_and_head(), !blocks.is_empty()) else {
            bail!("the kernel runs no model of this architecture");
        };
        if !blocks.iter().all(Block::is_plain) || config.details.embedding_scale.is_some() {
            bail!("the kernel runs no model of this architecture");
        }
        let pieces = heads * (launch.blocks() as usize / heads).clamp(1, MOST_SPLITS);
        let layer_count = blocks.len();
        let plan = LaunchPlan {
            hidden: scratch(config.hidden_size)?,
            before: scratch(config.hidden_size)?,
            queries: scratch(2 * heads * head_dim)?,
            keys: scratch(4 * kv_heads * head_dim)?,
            partial: scratch(pieces * head_dim)?,
            greatest: scratch(pieces)?,
            sums: scratch(pieces)?,
            mlp: scratch(config.intermediate_size)?,
            layer_count: layer_count as u32,
            size: config.hidden_size as u32,
            heads: heads as u32,
            kv_heads: kv_heads as u32,
            head_dim: head_dim as u32,
            width: config.intermediate_size as u32,
            interleaved: decoder.rope_interleaved().into(),
            eps: config.rms_norm_eps as f32,
            scale: 1.0 / (head_dim as f32).sqrt(),
            embedding_scale: 1.0,
            ..LaunchPlan::default()
        };
        let final_gain = kept(&final_norm.gain, &mut held)?;
        let mut layers = Vec::with_capacity(layer_count);
        for block in blocks {
            let optional = |norm: &Option<RmsNorm>, held: &mut Vec<Tensor>| match norm {
                Some(norm) => kept(&norm.gain, held),
                None => Ok(0),
            };
            let attention = &block.attention;
            let [query, key, value] = attention.inputs.each.each_ref();
            let [gate, up] = block.mlp.inputs.each.each_ref();
            layers.push(Layer {
                query: matrix(query, &mut held)?,
                key: matrix(key, &mut held)?,
                value: matrix(value, &mut held)?,
                output: matrix(&attention.output, &mut held)?,
                gate: matrix(gate, &mut held)?,
                up: matrix(up, &mut held)?,
                down: matrix(&block.mlp.down, &mut held)?,
                attention_gain: kept(&block.attention_norm.gain, &mut held)?,
                mlp_gain: kept(&block.mlp_norm.gain, &mut held)?,
                query_gain: optional(&attention.query_norm, &mut held)?,
                key_gain: optional(&attention.key_norm, &mut held)?,
                ..Layer::default()
            });
        }
        let embedding = match decoder.embedding() {
            Some(Embedding::Dense(rows)) => of_floats(rows)?,
            Some(Embedding::Quantised(rows)) => of_blocks(rows)?,
            None => matrix(head, &mut held)?,
        };
        let record = Tensor::zeros(5 * layer_count + 1, DType::F32, &device)?;
        let probabilities = address(&record)?;
        let actions = probabilities + 4 * 3 * layer_count as Address;
        let kv_type = decoder.activation_type();
        let plan = LaunchPlan {
            probabilities,
            actions,
            left: actions + 4 * layer_count as Address,
            final_gain,
            embedding,
            head: matrix(head, &mut held)?,
            kv_storage: of_float_type(kv_type)? as u32,
            ..plan
        };
        Ok(Persistent {
            launch,
            kernel: DecodeKernel::Whole,
            layers,
            plan,
            rope: Rope::new(config, DType::F32, &device),
            kv_type,
            device,
            record,
            running: Mutex::new(()),
            _held: held,
            uploaded: Mutex::new(None),
        })
    }

    /// Runs a token, which leaves its keys and values in the cache.
    ///
    /// # Errors
    /// Those of the device; an id outside of the vocabulary.
    pub fn token(&self, request: TokenRequest) -> Result<TokenOutcome> {
        let TokenRequest {
            id,
            position,
            cache,
            mode,
            left_out,
            rules,
            routers,
        } = request;
        let _alone = self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (layers, fill) = (self.layers.len(), mode == KvMode::Fill);
        if id >= self.plan.embedding.rows {
            bail!(
                "token id {id} is outside the vocabulary of {}",
                self.plan.embedding.rows
            );
        }
        let mut passes = vec![PassSlots::default(); greatest_depth(layers)];
        let mut own_rules = vec![Rule::default(); layers];
        for layer in 0..layers {
            let forced = rules.forced[layer];
            if routers.is_none() && forced.is_none() {
                bail!("layer {layer} is not settled, and there are no routers to ask");
            }
            let most = forced.unwrap_or(Action::Repeat).executions();
            for n in 0..most.max(usize::from(fill)) {
                passes[2 * layer + n] = self.room(cache.pass(layer, n))?;
            }
            own_rules[layer] = Rule {
                forced: forced.map_or(UNKNOWN, |action| action as i32),
                queries: (!left_out.get(layer).copied().unwrap_or(false)).into(),
                step: rules.dampings.get(layer).map_or(1.0, |damping| damping.value() as f32),
                unused: 0,
            };
        }
        let logits = Tensor::zeros(self.plan.head.rows as usize, DType::F32, &self.device)?;
        let (cos, sin) = self.rope.tables(&[position as u32])?;
        let budget: Vec<f64> = rules
            .budget
            .iter()
            .flat_map(|rows| rows.iter().flatten())
            .copied()
            .collect();
        let tables = [bytes(&passes), bytes(&own_rules), bytes(&budget)];
        let at_token = upload(&tables.concat(), &self.device)?;
        let (width, units) = match routers {
            Some(routers) => (
                routers.w1.dims3()?.1,
                Some(Tensor::zeros(2 * routers.w1.dims3()?.1, DType::F32, &self.device)?),
            ),
            None => (0, None),
        };
        let of_layers = self.layers_with(routers)?;
        let passes_at = address(&at_token)?;
        let rules_at = passes_at + tables[0].len() as Address;
        let plan = LaunchPlan {
            dial: rules.dial,
            values: match rules.budget {
                Some(_) => rules_at + tables[1].len() as Address,
                None => 0,
            },
            budget: rules.budget.map_or(0, |rows| rows[0].len() as u32 - 1),
            layers: address(&of_layers)?,
            passes: passes_at,
            rules: rules_at,
            units: units.as_ref().map_or(Ok(0), address)?,
            logits: address(&logits)?,
            cos: address(&cos)?,
            sin: address(&sin)?,
            token: id,
            router_width: width as u32,
            fill: fill.into(),
            ask: routers.is_some().into(),
            rms: routers.is_some_and(|routers| routers.rms).into(),
            ahead: (self.kernel == DecodeKernel::Ahead).into(),
            ..self.plan
        };
        let plan = upload(bytes(&[plan]), &self.device)?;
        let phases = PHASES_A_LAYER * layers as u32 + 2;
        if self.kernel == DecodeKernel::Phases {
            for phase in 0..phases {
                self.launch.launch(address(&plan)?, phase..phase + 1)?;
            }
        } else {
            self.launch.launch(address(&plan)?, 0..phases)?;
        }
        // Waits for the device.
        let record = self.record.to_vec1::<f32>()?;
        let (probabilities, rest) = record.split_at(3 * layers);
        let actions: Option<Vec<Action>> = rest[..layers]
            .iter()
            .map(|bits| Action::ALL.get(bits.to_bits() as usize).copied())
            .collect();
        let Some(actions) = actions else {
            bail!("the GPU's decode kernel did not finish a token");
        };
        for (layer, action) in actions.iter().enumerate() {
            for n in 0..action.executions().max(usize::from(fill)) {
                cache.pass(layer, n).take_slot(position as u32);
            }
        }
        let probabilities = match routers {
            Some(_) => probabilities.chunks_exact(3).map(|p| [p[0], p[1], p[2]]).collect(),
            None => Vec::new(),
        };
        Ok(TokenOutcome {
            logits,
            actions,
            probabilities,
        })
    }

    /// A pass with room for one more token.
    fn room(&self, kv: &mut PassKv) -> Result<PassSlots> {
        let shape = (self.plan.kv_heads as usize, self.plan.head_dim as usize);
        let len = kv.len() as u32;
        let (keys, values) = kv.room(shape, self.kv_type, &self.device)?;
        Ok(PassSlots {
            keys: address(keys)?,
            values: address(values)?,
            len,
            capacity: keys.dims3()?.1 as u32,
        })
    }

    /// The layers on the device, with these routers.
    fn layers_with(&self, routers: Option<&RouterTensors>) -> Result<Tensor> {
        let key = routers.map(|routers| routers.w1.id());
        let mut uploaded = self.uploaded.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((_, layers)) = uploaded.as_ref().filter(|(held, _)| *held == key) {
            return Ok(layers.clone());
        }
        let mut layers = self.layers.clone();
        if let Some(routers) = routers {
            for (l, layer) in layers.iter_mut().enumerate() {
                let of = |tensor: &Tensor| address(&tensor.get(l)?);
                layer.router = StoredMatrix {
                    bias: of(&routers.b1)?,
                    ..of_floats(&routers.w1.get(l)?)?
                };
                layer.router_w2 = of(&routers.w2)?;
                layer.router_b2 = of(&routers.b2)?;
            }
        }
        let made = upload(bytes(&layers), &self.device)?;
        Ok(uploaded.insert((key, made)).1.clone())
    }
}

/// A tensor's values in f32 on its device, which are kept.
fn kept(tensor: &Tensor, held: &mut Vec<Tensor>) -> Result<Address> {
    let floats = tensor.to_dtype(DType::F32)?.contiguous()?;
    let at = address(&floats)?;
    held.push(floats);
    Ok(at)
}

fn matrix(linear: &Linear, held: &mut Vec<Tensor>) -> Result<StoredMatrix> {
    let stored = match linear.stored() {
        Some(Stored::Dense(rows)) => of_floats(rows)?,
        Some(Stored::Quantised(rows)) => of_blocks(rows)?,
        None => bail!("the kernel takes no weights that are packed for the CPU"),
    };
    Ok(StoredMatrix {
        bias: match &linear.bias {
            Some(bias) => kept(bias, held)?,
            None => 0,
        },
        ..stored
    })
}

fn of_float_type(dtype: DType) -> Result<Storage> {
    Ok(match dtype {
        DType::F32 => Storage::F32,
        DType::F16 => Storage::F16,
        DType::BF16 => Storage::Bf16,
        other => bail!("the kernel takes no {other:?}"),
    })
}

/// A dense matrix (rows, cols).
fn of_floats(rows: &Tensor) -> Result<StoredMatrix> {
    let (count, cols) = rows.dims2()?;
    let made = StoredMatrix {
        data: address(rows)?,
        bias: 0,
        storage: of_float_type(rows.dtype())?,
        rows: count as u32,
        cols: cols as u32,
        stride: (cols * rows.dtype().size_in_bytes()) as u32,
    };
    // Sixteen bytes are loaded at once.
    if !cols.is_multiple_of(8) || !made.data.is_multiple_of(16) {
        bail!("the kernel takes rows of a multiple of 8 floats, not of {cols}");
    }
    Ok(made)
}

/// A matrix in one of GGUF's types.
fn of_blocks(rows: &QTensor) -> Result<StoredMatrix> {
    let (count, cols) = rows.shape().dims2()?;
    let storage = match rows.dtype() {
        GgmlDType::F32 => Storage::F32,
        GgmlDType::F16 => Storage::F16,
        GgmlDType::BF16 => Storage::Bf16,
        GgmlDType::Q4_0 => Storage::Q4_0,
        GgmlDType::Q4_1 => Storage::Q4_1,
        GgmlDType::Q5_0 => Storage::Q5_0,
        GgmlDType::Q5_1 => Storage::Q5_1,
        GgmlDType::Q8_0 => Storage::Q8_0,
        GgmlDType::Q4K => Storage::Q4K,
        GgmlDType::Q5K => Storage::Q5K,
        GgmlDType::Q6K => Storage::Q6K,
        other => bail!("the kernel takes no {other:?}"),
    };
    let data = match rows.device() {
        Device::Cpu => rows.data()?.as_ptr() as Address,
        _ => rows.device_ptr()? as Address,
    };
    let block = rows.dtype().block_size();
    if !cols.is_multiple_of(block.max(8)) {
        bail!("the kernel takes rows of a multiple of {block} values, not of {cols}");
    }
    Ok(StoredMatrix {
        data,
        bias: 0,
        storage,
        rows: count as u32,
        cols: cols as u32,
        stride: (cols / block * rows.dtype().type_size()) as u32,
    })
}
