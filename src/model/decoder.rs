//! The frozen decoder, one block at a time: embed, run a block, final logits.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, Tensor};

use super::batch::BlockBatch;
use super::block::{Attention, Block, Mlp, RmsNorm};
use super::chunk::Chunk;
use super::config::{ModelConfig, RopeScaling};
use super::fused::{self, Overlapped};
use super::kernel::KvBits;
use super::key_smoothing;
use super::kv::PassKv;
use super::linear::Linear;
use super::loopmoe::executions::Executions;
use super::loopmoe::{self, LoopMoe};
use super::persistent::{DecodeKernel, Persistent};
use super::prefill::PrefillKernels;
use super::rope::Rope;
use super::weights::{Embedding, LoadOptions, WeightSource};
use crate::trace::Arithmetic;

/// Embeddings, blocks and head. Knows nothing of programs or routers.
pub struct Decoder {
    config: ModelConfig,
    place: LoadOptions,
    rope: Rope,
    network: Network,
    persistent: Option<Persistent>,
    gpu_notes: Vec<String>,
    batch: Option<BlockBatch>,
}

enum Network {
    Blocks(Blocks),
    LoopMoe(Box<Executions>),
}

/// Llama and its kind.
struct Blocks {
    /// `None` where the rows of the head are the embeddings and can be read there.
    embedding: Option<Embedding>,
    blocks: Vec<Block>,
    final_norm: RmsNorm,
    head: Linear,
}

impl Decoder {
    /// Loads all weights; `progress` hears of each block.
    ///
    /// # Errors
    /// Names the tensor that is missing, damaged or of another shape.
    pub fn load(
        mut config: ModelConfig,
        source: &WeightSource,
        place: LoadOptions,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Self> {
        if source.has("rope_freqs.weight") {
            let factors = source.floats("rope_freqs.weight", &[config.head_dim / 2], &place)?;
            config.rope_scaling = RopeScaling::Factors(factors.to_dtype(DType::F32)?.to_vec1()?);
        }
        keep_freed_memory();
        let mut blocks = Vec::with_capacity(config.layers);
        for layer in 0..config.layers {
            blocks.push(block(&config, source, layer, &place).with_context(|| format!("layer {layer}"))?);
            progress(layer + 1);
        }
        let (vocab, hidden) = (config.vocab_size, config.hidden_size);
        let head = if source.has("output.weight") {
            "output"
        } else {
            "token_embd"
        };
        let tied = head == "token_embd";
        let head = source.linear(head, vocab, hidden, &place)?;
        let shared = if tied { head.embedding() } else { None };
        let embedding = match shared {
            None if tied && head.packed().is_some() => None,
            None => Some(source.embedding(vocab, hidden, &place)?),
            shared => shared,
        };
        #[cfg_attr(not(feature = "cuda"), expect(unused_mut))]
        let mut decoder = Decoder {
            network: Network::Blocks(Blocks {
                embedding,
                blocks,
                final_norm: norm(&config, source, "output_norm", hidden, &place)?,
                head,
            }),
            rope: Rope::new(&config, place.dtype, &place.device),
            config,
            place,
            persistent: None,
            gpu_notes: Vec::new(),
            batch: None,
        };
        #[cfg(feature = "cuda")]
        decoder.find_gpu_kernels()?;
        Ok(decoder)
    }

    /// Those that run here and give what candle's give; of others a note.
    #[cfg(feature = "cuda")]
    fn find_gpu_kernels(&mut self) -> Result<()> {
        match Persistent::on_cuda(self) {
            Ok(persistent) => self.persistent = persistent,
            Err(why) => {
                // A kernel that ended by a fault has left the device unusable.
                self.place.device.synchronize()?;
                self.gpu_notes.push(format!(
                    "tokens run layer by layer on this GPU, not in one launch: {why}"
                ));
            }
        }
        if self.place.exact {
            return Ok(());
        }
        match PrefillKernels::on_cuda(self) {
            Ok(Some(kernels)) => self.set_prefill_kernels(Some(Arc::new(kernels))),
            Ok(None) => {}
            Err(why) => {
                self.place.device.synchronize()?;
                self.gpu_notes
                    .push(format!("prompts run by slower kernels on this GPU: {why}"));
            }
        }
        Ok(())
    }

    /// Chooses what several tokens attend and gate by, where blocks do not run by the CPU kernels; `None` for candle's
    /// operations.
    pub fn set_prefill_kernels(&mut self, kernels: Option<Arc<PrefillKernels>>) {
        let (size, dtype) = (self.config.head_dim, self.place.dtype);
        let Network::Blocks(own) = &mut self.network else {
            return;
        };
        for block in &mut own.blocks {
            block.attention.kernels = kernels.clone().filter(|kernels| kernels.attends(size, dtype));
            block.mlp.kernels.clone_from(&kernels);
        }
    }

    /// What several tokens attend and gate by, where that is not by candle's operations.
    pub fn prefill_kernels(&self) -> Option<Arc<PrefillKernels>> {
        self.of_blocks()?.blocks.first()?.mlp.kernels.clone()
    }

    /// Has blocks of several sequences, each a thread's own, run in one where threads ask at the same time: what
    /// [`Self::run_block`] runs without earlier entries. Sums may then come in another order. False where that does not
    /// help, and nothing changed.
    pub fn run_sequences_together(&mut self) -> bool {
        if self.loopmoe().is_some() || self.by_kernels() {
            return false;
        }
        self.batch = Some(BlockBatch::default());
        true
    }

    /// The executions of a LoopMoE model, whose positions are good for `context` tokens.
    ///
    /// # Errors
    /// Those of the device.
    pub fn of_loopmoe(model: LoopMoe, context: usize) -> Result<Self> {
        let device = model.device().clone();
        let executions = Executions::new(model)?;
        let config = executions.config(context);
        Ok(Decoder {
            rope: Rope::new(&config, DType::F32, &device),
            config,
            place: LoadOptions {
                device,
                dtype: DType::F32,
                exact: true,
                fused: false,
            },
            network: Network::LoopMoe(Box::new(executions)),
            persistent: None,
            gpu_notes: Vec::new(),
            batch: None,
        })
    }

    /// The same weights with another number of iterations of the loop than in training.
    ///
    /// # Errors
    /// A number out of range, and a model without a loop.
    pub fn with_iterations(self, iterations: usize) -> Result<Self> {
        match self.network {
            Network::LoopMoe(executions) => Self::of_loopmoe(
                executions.into_model().with_iterations(iterations)?,
                self.config.context,
            ),
            Network::Blocks(_) => anyhow::bail!("the model has no loop, so it has no iterations"),
        }
    }

    /// Rounds activations to eight bits before products with the blocks' packed weights, at every token; those of the head
    /// stay as they are. What the arithmetic is then: as usual where no weights are packed in blocks of 32.
    pub fn round_activations(&mut self) -> Arithmetic {
        let Network::Blocks(own) = &mut self.network else {
            return Arithmetic::Usual;
        };
        let linears = own.blocks.iter_mut().flat_map(Block::linears_mut);
        Arithmetic::of_rounded(linears.map(Linear::round_activations))
    }

    /// Keeps keys and values in numbers of `bits` from now on, in blocks that run by the CPU kernels. False where there are
    /// none, and nothing changed.
    pub fn set_kv_bits(&mut self, bits: KvBits) -> bool {
        let Network::Blocks(own) = &mut self.network else {
            return false;
        };
        let interleaved = self.rope.interleaved();
        let mut any = false;
        for block in own.blocks.iter_mut().filter(|block| block.is_by_kernels()) {
            let smoothing = match bits {
                KvBits::Eight => key_smoothing::of_block(block, interleaved),
                KvBits::Sixteen => None,
            };
            block.attention.kv_bits = bits;
            block.attention.key_smoothing = smoothing.unwrap_or_default();
            any = true;
        }
        any
    }

    /// The LoopMoE model whose executions are the layers; `None` of any other model.
    pub fn loopmoe(&self) -> Option<&Executions> {
        match &self.network {
            Network::LoopMoe(executions) => Some(executions),
            Network::Blocks(_) => None,
        }
    }

    fn of_blocks(&self) -> Option<&Blocks> {
        match &self.network {
            Network::Blocks(blocks) => Some(blocks),
            Network::LoopMoe(_) => None,
        }
    }

    /// Shape and constants.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Whether all blocks run through the CPU kernels, whose weights have few bits.
    pub fn by_kernels(&self) -> bool {
        self.of_blocks()
            .is_some_and(|own| own.blocks.iter().all(Block::is_by_kernels))
    }

    /// Bytes of the matrices that every token reads: those of the blocks and the head. Of a LoopMoE model all weights count,
    /// each once.
    pub fn bytes_a_token(&self) -> usize {
        match &self.network {
            Network::Blocks(own) => own.blocks.iter().map(Block::bytes).sum::<usize>() + own.head.bytes(),
            Network::LoopMoe(executions) => executions.bytes(),
        }
    }

    /// How products with the matrices of blocks and head are computed, in words: how many matrices, and their bytes. The
    /// way that takes most bytes first.
    pub fn ways(&self) -> Vec<(String, usize, usize)> {
        let own = match &self.network {
            Network::Blocks(own) => own,
            Network::LoopMoe(executions) => {
                return vec![("F32".into(), executions.matrices(), executions.bytes())];
            }
        };
        let blocks = own.blocks.iter().flat_map(Block::linears);
        let mut ways: Vec<(String, usize, usize)> = Vec::new();
        for linear in blocks.chain([&own.head]) {
            let how = linear.how();
            let at = ways.iter().position(|(known, ..)| *known == how);
            let at = at.unwrap_or_else(|| {
                ways.push((how, 0, 0));
                ways.len() - 1
            });
            ways[at].1 += 1;
            ways[at].2 += linear.bytes();
        }
        ways.sort_by_key(|(_, _, bytes)| std::cmp::Reverse(*bytes));
        ways
    }

    /// How many blocks run through the CPU kernels whole.
    pub fn blocks_by_kernels(&self) -> usize {
        self.blocks().iter().filter(|block| block.is_by_kernels()).count()
    }

    /// Bytes of the weights in memory, without norms and biases.
    pub fn bytes(&self) -> usize {
        let Some(own) = self.of_blocks() else {
            return self.bytes_a_token();
        };
        // A head that is the embeddings shares their memory.
        let shared = own.head.embedding().is_some() && self.config.tied_embeddings;
        let embedding = own.embedding.as_ref().filter(|_| !shared);
        self.bytes_a_token() + embedding.map_or(0, Embedding::bytes)
    }

    /// Bytes of the keys and values that a token leaves in all layers, each run once.
    pub fn kv_bytes_a_token(&self) -> Result<usize> {
        const TOKENS: usize = 64;
        let positions: Vec<u32> = (0..TOKENS as u32).collect();
        let hidden = Tensor::ones((TOKENS, self.config.hidden_size), self.place.dtype, &self.place.device)?;
        let mut kv = PassKv::default();
        self.fill_kv(0, &hidden, &self.chunk(&positions)?, &mut kv)?;
        // Buffers are made for twice as many.
        let held = kv.fork(TOKENS)?.bytes();
        Ok(held.div_ceil(TOKENS) * self.config.layers)
    }

    /// Where weights and activations are.
    pub fn device(&self) -> &Device {
        &self.place.device
    }

    /// The blocks of Llama and its kind; none of a LoopMoE model.
    pub(super) fn blocks(&self) -> &[Block] {
        self.of_blocks().map_or(&[], |own| &own.blocks)
    }

    pub(super) fn final_norm_and_head(&self) -> Option<(&RmsNorm, &Linear)> {
        self.of_blocks().map(|own| (&own.final_norm, &own.head))
    }

    pub(super) fn embedding(&self) -> Option<&Embedding> {
        self.of_blocks()?.embedding.as_ref()
    }

    /// Of hidden states, keys and values, where blocks do not run by the CPU kernels.
    pub(super) fn activation_type(&self) -> DType {
        self.place.dtype
    }

    /// What runs a token in one launch, where that can be.
    pub fn persistent(&self) -> Option<&Persistent> {
        self.persistent.as_ref().filter(|persistent| persistent.is_on())
    }

    /// Chooses how a GPU decodes; without one, or where the kernel does not run, it changes nothing.
    pub fn set_decode_kernel(&mut self, kernel: DecodeKernel) {
        if let Some(persistent) = &mut self.persistent {
            persistent.set(kernel);
        }
    }

    /// Why kernels of this program do not run on a GPU, where they do not.
    pub fn gpu_notes(&self) -> &[String] {
        &self.gpu_notes
    }

    /// As it is, whose tokens run by a kernel that `launch` starts.
    #[cfg(all(test, target_os = "linux"))]
    pub(crate) fn with_persistent(mut self, launch: Box<dyn super::persistent::Launch>) -> Self {
        self.persistent = Some(Persistent::new(&self, launch).unwrap());
        self
    }

    pub(super) fn rope_interleaved(&self) -> bool {
        self.rope.interleaved()
    }

    /// Hidden states before the first block: (tokens, hidden_size).
    ///
    /// # Errors
    /// Ids outside the vocabulary are refused.
    pub fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        let vocab = self.config.vocab_size;
        if let Some(id) = ids.iter().find(|&&id| id as usize >= vocab) {
            bail!(
                "token id {id} is outside the vocabulary of {vocab}: the model's tokenizer (tokenizer.json, \
                 tokenizer_config.json, added_tokens.json) has more tokens than the model"
            );
        }
        let own = match &self.network {
            Network::Blocks(own) => own,
            Network::LoopMoe(executions) => return Ok(executions.embed(&Tensor::new(ids, &self.place.device)?)?),
        };
        let hidden = match (&own.embedding, own.head.packed()) {
            (None, Some(rows)) => {
                let mut hidden = Vec::with_capacity(ids.len() * rows.cols());
                ids.iter()
                    .for_each(|&id| rows.extend_with_row(id as usize, &mut hidden));
                Tensor::from_vec(hidden, (ids.len(), rows.cols()), &self.place.device)?
            }
            (Some(embedding), _) => embedding.lookup(&Tensor::new(ids, &self.place.device)?)?,
            (None, None) => unreachable!("embeddings are left out only beside a packed head"),
        };
        let hidden = hidden.to_dtype(self.place.dtype)?;
        match self.config.details.embedding_scale {
            Some(scale) => Ok((hidden * scale)?),
            None => Ok(hidden),
        }
    }

    /// Tokens at `positions`, each seeing itself and those before it in the list.
    pub fn chunk(&self, positions: &[u32]) -> Result<Chunk> {
        Ok(Chunk::causal(positions, &self.rope)?)
    }

    /// Tokens at `positions` where token i sees token j if `visible(i, j)`.
    pub fn chunk_with_visibility(&self, positions: &[u32], visible: &dyn Fn(usize, usize) -> bool) -> Result<Chunk> {
        Ok(Chunk::with_visibility(positions, visible, &self.rope)?)
    }

    /// One execution of a block over (tokens, hidden_size). With `kv` the tokens also see the
    /// pass's earlier entries and leave theirs.
    pub fn run_block(
        &self,
        layer: usize,
        hidden: &Tensor,
        chunk: &Chunk,
        kv: Option<&mut PassKv>,
    ) -> candle_core::Result<Tensor> {
        self.run_block_with(layer, hidden, chunk, kv, (&loopmoe::Excluded::new(), &mut ()))
    }

    /// As [`Self::run_block`], with experts of a LoopMoE model that no token may go to, and an observer of what such a model
    /// does; of other models it sees nothing.
    pub fn run_block_with(
        &self,
        layer: usize,
        hidden: &Tensor,
        chunk: &Chunk,
        kv: Option<&mut PassKv>,
        (excluded, observer): (&loopmoe::Excluded, &mut dyn loopmoe::ExecutionObserver),
    ) -> candle_core::Result<Tensor> {
        match &self.network {
            Network::Blocks(own) => match (&self.batch, kv) {
                (Some(batch), None) => batch.run(layer, hidden, chunk, &|layer, hidden, chunk| {
                    own.blocks[layer].forward(hidden, chunk, &self.rope, None)
                }),
                (_, kv) => own.blocks[layer].forward(hidden, chunk, &self.rope, kv),
            },
            Network::LoopMoe(executions) => executions.run(layer, hidden, chunk, kv, (excluded, observer)),
        }
    }

    /// Leaves in a pass of a layer the keys and values of (tokens, hidden_size) that do not run it: those of its
    /// attention norm, products, head norm and RoPE, as [`Self::run_block`] would leave them.
    pub fn fill_kv(&self, layer: usize, hidden: &Tensor, chunk: &Chunk, kv: &mut PassKv) -> candle_core::Result<()> {
        match &self.network {
            Network::Blocks(own) => own.blocks[layer].fill_kv(hidden, chunk, &self.rope, kv),
            Network::LoopMoe(executions) => executions.fill(layer, hidden, chunk, kv),
        }
    }

    /// As [`Self::run_block`] of a block that runs [by the kernels](Self::by_kernels), with something `beside` its first
    /// products that may have it left: then `None`, and of it is kept what [`Overlapped::mode`] says.
    pub(crate) fn run_block_beside(
        &self,
        layer: usize,
        hidden: &Tensor,
        chunk: &Chunk,
        kv: &mut PassKv,
        beside: Overlapped,
    ) -> candle_core::Result<Option<Tensor>> {
        fused::forward(&self.blocks()[layer], hidden, chunk, &self.rope, Some(kv), Some(beside))
    }

    /// Final norm and head: (tokens, hidden_size) → (tokens, vocab_size), f32.
    pub fn logits(&self, hidden: &Tensor) -> candle_core::Result<Tensor> {
        let own = match &self.network {
            Network::Blocks(own) => own,
            Network::LoopMoe(executions) => return executions.logits(hidden),
        };
        // Not by candle's norm, whose own threads would have to be woken for it.
        if let Some(logits) = fused::logits(&own.final_norm, &own.head, hidden)? {
            return Ok(logits);
        }
        let normed = own.final_norm.forward(hidden)?;
        own.head.forward(&normed)?.to_dtype(DType::F32)
    }
}

/// Has glibc keep freed memory of a chunk's size for the next product instead of giving it back to the system, from
/// which it comes page by page (prefill of 512 tokens took 1.15 times as long). glibc learns that from one large
/// buffer that is freed, see `M_MMAP_THRESHOLD` in mallopt(3). Elsewhere it does nothing.
fn keep_freed_memory() {
    const LARGEST_LEARNT: usize = 30 << 20;
    drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGEST_LEARNT)));
}

fn norm(config: &ModelConfig, source: &WeightSource, name: &str, size: usize, place: &LoadOptions) -> Result<RmsNorm> {
    let mut gain = source.floats(&format!("{name}.weight"), &[size], place)?;
    if config.architecture.has_gains_less_one() && matches!(source, WeightSource::Safetensors(_)) {
        gain = (gain + 1.0)?;
    }
    Ok(RmsNorm::new(gain, config.rms_norm_eps, !place.exact))
}

fn block(config: &ModelConfig, source: &WeightSource, layer: usize, place: &LoadOptions) -> Result<Block> {
    let name = |part: &str| format!("blk.{layer}.{part}");
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    let linear = |part: &str, outputs, inputs| source.linear(&name(part), outputs, inputs, place);
    let [query, key, value, gate, up] = ["attn_q", "attn_k", "attn_v", "ffn_gate", "ffn_up"].map(name);
    let head_norm = |part: &str| match config.architecture.has_head_norms() {
        true => norm(config, source, &name(part), config.head_dim, place).map(Some),
        false => Ok(None),
    };
    let post_norm = |part: &str| norm(config, source, &name(part), hidden, place);
    let post_norms = match config.architecture.has_post_norms() {
        true => Some([post_norm("post_attention_norm")?, post_norm("post_ffw_norm")?]),
        false => None,
    };
    Ok(Block::new(
        norm(config, source, &name("attn_norm"), hidden, place)?,
        Attention::new(
            config,
            layer,
            source.linears([(&query, queries), (&key, keys), (&value, keys)], hidden, place)?,
            linear("attn_output", hidden, queries)?,
            [head_norm("attn_q_norm")?, head_norm("attn_k_norm")?],
        ),
        norm(config, source, &name("ffn_norm"), hidden, place)?,
        Mlp {
            inputs: source.linears([(&gate, inner), (&up, inner)], hidden, place)?,
            down: linear("ffn_down", hidden, inner)?,
            activation: config.details.activation,
            kernels: None,
        },
        post_norms,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::{packed_decoder, small_config};

    fn cpu() -> LoadOptions {
        LoadOptions {
            device: Device::Cpu,
            dtype: DType::F32,
            exact: false,
            fused: false,
        }
    }

    #[test]
    fn tied_embeddings_and_head_are_one_tensor() {
        for tied_embeddings in [true, false] {
            let source = WeightSource::Random { tied_embeddings };
            let decoder = Decoder::load(small_config(), &source, cpu(), &mut |_| {}).unwrap();
            let own = decoder.of_blocks().unwrap();
            let (Some(Embedding::Dense(rows)), Some(Embedding::Dense(head))) = (&own.embedding, own.head.embedding())
            else {
                panic!("dense weights were expected");
            };
            assert_eq!(rows.id() == head.id(), tied_embeddings);
            // A block: queries and output, keys and values, gate, up and down; the head.
            let block = 2 * 32 * 32 + 2 * 16 * 32 + 3 * 48 * 32;
            assert_eq!(decoder.bytes_a_token(), 4 * (3 * block + 64 * 32));
            let expected = rows.narrow(0, 3, 1).unwrap().to_vec2::<f32>().unwrap();
            assert_eq!(decoder.embed(&[3]).unwrap().to_vec2::<f32>().unwrap(), expected);
        }
    }

    #[test]
    fn eight_bits_are_near_and_do_not_depend_on_the_chunk() {
        let ids: Vec<u32> = (0..24).map(|i| (i * 7) % 64).collect();
        let run = |decoder: &Decoder, apart: bool| -> Vec<Vec<f32>> {
            let mut kv: Vec<PassKv> = (0..decoder.config().layers).map(|_| PassKv::default()).collect();
            let chunks: Vec<&[u32]> = if apart { ids.chunks(1).collect() } else { vec![&ids] };
            let mut logits = Vec::new();
            let mut first = 0;
            for chunk_ids in chunks {
                let positions: Vec<u32> = (first..first + chunk_ids.len() as u32).collect();
                first += chunk_ids.len() as u32;
                let chunk = decoder.chunk(&positions).unwrap();
                let mut hidden = decoder.embed(chunk_ids).unwrap();
                for (layer, kv) in kv.iter_mut().enumerate() {
                    hidden = decoder.run_block(layer, &hidden, &chunk, Some(kv)).unwrap();
                }
                logits.extend(decoder.logits(&hidden).unwrap().to_vec2::<f32>().unwrap());
            }
            logits
        };
        let plain = packed_decoder(3);
        let mut rounded = packed_decoder(3);
        assert_eq!(rounded.round_activations(), Arithmetic::EightBits);
        let (whole, apart, full) = (run(&rounded, false), run(&rounded, true), run(&plain, false));
        let off = |a: &[Vec<f32>], b: &[Vec<f32>]| {
            let pairs = a.iter().flatten().zip(b.iter().flatten());
            pairs.map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max)
        };
        let size = full.iter().flatten().fold(0.0f32, |most, z| most.max(z.abs()));
        assert!(off(&whole, &apart) < 1e-4 * size, "{} of {size}", off(&whole, &apart));
        let rounding = off(&whole, &full) / size;
        assert!(rounding > 1e-4 && rounding < 0.1, "{rounding}");
        let mut eight = packed_decoder(3);
        assert!(eight.set_kv_bits(KvBits::Eight));
        let (whole, apart) = (run(&eight, false), run(&eight, true));
        assert!(
            off(&whole, &apart) < 1e-4 * size,
            "keys and values: {}",
            off(&whole, &apart)
        );
        let rounding = off(&whole, &full) / size;
        assert!(rounding > 1e-6 && rounding < 0.1, "keys and values: {rounding}");
        assert!(
            eight
                .blocks()
                .iter()
                .all(|block| !block.attention.key_smoothing.is_empty())
        );
        eight.set_kv_bits(KvBits::Sixteen);
        assert_eq!(run(&eight, false), full);
        // A few large channels, as Qwen2's biases make, cost little where keys are smoothed.
        let biased = |bits: KvBits, smoothed: bool| {
            let mut decoder = packed_decoder(3);
            let (kv_heads, head_dim) = (decoder.config().kv_heads, decoder.config().head_dim);
            let Network::Blocks(own) = &mut decoder.network else {
                unreachable!("a model of blocks");
            };
            for block in &mut own.blocks {
                let mut bias = vec![0.0f32; kv_heads * head_dim];
                bias.iter_mut().step_by(head_dim).for_each(|bias| *bias = 40.0);
                block.attention.inputs.each[1].bias = Some(Tensor::new(bias, &Device::Cpu).unwrap());
            }
            assert!(decoder.set_kv_bits(bits));
            let Network::Blocks(own) = &mut decoder.network else {
                unreachable!("a model of blocks");
            };
            if !smoothed {
                own.blocks
                    .iter_mut()
                    .for_each(|block| block.attention.key_smoothing.clear());
            }
            run(&decoder, false)
        };
        let full = biased(KvBits::Sixteen, true);
        let [smoothed, plain] = [true, false].map(|smoothed| off(&biased(KvBits::Eight, smoothed), &full));
        assert!(smoothed * 3.0 < plain, "{smoothed} against {plain}");
        let source = WeightSource::Random { tied_embeddings: true };
        let mut dense = Decoder::load(small_config(), &source, cpu(), &mut |_| {}).unwrap();
        assert!(
            dense.round_activations() == Arithmetic::Usual && !dense.set_kv_bits(KvBits::Eight),
            "nothing there is packed"
        );
    }

    #[test]
    fn layers_of_the_same_input_are_fused_where_asked() {
        let source = WeightSource::Random { tied_embeddings: true };
        for fused in [false, true] {
            let place = LoadOptions { fused, ..cpu() };
            let decoder = Decoder::load(small_config(), &source, place, &mut |_| {}).unwrap();
            for block in decoder.blocks() {
                assert_eq!(block.attention.inputs.fused.is_some(), fused);
                assert_eq!(block.mlp.inputs.fused.is_some(), fused);
            }
        }
    }
}
