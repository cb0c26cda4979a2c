//! Weights by name, from a GGUF file or from safetensors.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{DType, Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::ModelConfig;
use super::gguf::{self, GgufFile};
use super::kernel::PackedMatrix;
use super::linear::{FusedLinear, Linear, Weight};
use super::tensors::FolderTensors;

/// Where weights come from. Names are GGUF's: `blk.7.attn_q`.
pub enum WeightSource {
    /// A file, or a model that is split into several.
    Gguf(Box<GgufFile>),
    /// A Hugging Face folder.
    Safetensors(Box<FolderTensors>),
    /// Random weights of any shape and norms of ones, made where they are asked for: for benchmarks and tests. On the CPU they
    /// are the same at every call.
    Random {
        /// Whether there is no tensor of the head.
        tied_embeddings: bool,
    },
}

/// Random values of standard deviation 0.02 that follow from a tensor's name.
fn random(name: &str, shape: &[usize]) -> Result<Tensor> {
    let mut hasher = std::hash::DefaultHasher::new();
    name.hash(&mut hasher);
    let mut rng = ChaCha8Rng::seed_from_u64(hasher.finish());
    // Uniform values of that deviation lie within √3 times as much.
    let bound = 0.02 * 3f32.sqrt();
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|_| rng.random_range(-bound..bound))
        .collect();
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

/// How weights are held.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Where they go.
    pub device: Device,
    /// Type of activations and of dense weights.
    pub dtype: DType,
    /// Dequantise everything to `dtype`.
    pub exact: bool,
    /// One matrix for dense layers of the same input, see [`FusedLinear::fused`]: for GPUs.
    pub fused: bool,
}

/// The token embeddings.
pub enum Embedding {
    /// As they stand in the file, each row dequantised where it is asked for.
    Quantised(Arc<QTensor>),
    /// (vocab_size, hidden_size), in the activations' type.
    Dense(Tensor),
}

impl WeightSource {
    /// Opens the safetensors files of a Hugging Face folder: one, or those its index names.
    pub fn open_folder(folder: &Path) -> Result<Self> {
        Ok(WeightSource::Safetensors(Box::new(FolderTensors::open(folder)?)))
    }

    /// The size a tensor has in a dimension, counted from the last one backwards; none when there is no such tensor.
    fn last_dimension(&self, name: &str) -> Option<usize> {
        match self {
            WeightSource::Gguf(file) => file.content.tensor_infos.get(name)?.shape.dims().last().copied(),
            WeightSource::Safetensors(tensors) => tensors.get(&tensors.named(name)).ok()?.shape().last().copied(),
            WeightSource::Random { .. } => None,
        }
    }

    /// Tensors inside of blocks that belong to no part of `config`'s architecture, each once for all layers with `*` for
    /// the layer's number: what a model computes with them is not computed here.
    pub fn unread(&self, config: &ModelConfig) -> Vec<String> {
        let linear = [
            "attn_q",
            "attn_k",
            "attn_v",
            "attn_output",
            "ffn_gate",
            "ffn_up",
            "ffn_down",
        ];
        let mut norms = vec!["attn_norm", "ffn_norm"];
        if config.architecture.has_head_norms() {
            norms.extend(["attn_q_norm", "attn_k_norm"]);
        }
        if config.architecture.has_post_norms() {
            norms.extend(["post_attention_norm", "post_ffw_norm"]);
        }
        let mut read = BTreeSet::new();
        for layer in 0..config.layers {
            let weights = linear
                .iter()
                .chain(&norms)
                .map(|part| format!("blk.{layer}.{part}.weight"));
            let biases = linear.iter().map(|part| format!("blk.{layer}.{part}.bias"));
            read.extend(weights.chain(biases));
        }
        match self {
            WeightSource::Gguf(file) => {
                let names = file.content.tensor_infos.keys().map(String::as_str);
                strays(names, "blk.", config.layers, |name| {
                    read.contains(name) || name.contains("attn_rot")
                })
            }
            WeightSource::Safetensors(tensors) => {
                let read: BTreeSet<String> = read.iter().map(|name| tensors.named(name)).collect();
                // What is beside a weight was read with it, or refused.
                let beside = |name: &str| {
                    let module = name.rsplit_once('.').map_or(name, |(module, _)| module);
                    read.contains(&format!("{module}.weight"))
                };
                let layers = tensors.named("blk.0.");
                let layers = layers.split_once("layers.").map_or("", |(before, _)| before);
                strays(tensors.names(), &format!("{layers}layers."), config.layers, |name| {
                    read.contains(name) || name.contains("rotary_emb") || beside(name) && !name.ends_with(".bias")
                })
            }
            WeightSource::Random { .. } => Vec::new(),
        }
    }

    /// What the weights are held in: the mix that a GGUF file names of itself (`Q4_K_M`) where it has tensors of that type,
    /// else the type of most of the weights, as GGUF names it.
    pub fn quantisation(&self) -> String {
        match self {
            WeightSource::Gguf(file) => {
                let infos = file.content.tensor_infos.iter();
                let sizes = infos.map(|(name, info)| (file.type_name(name, info), info.shape.elem_count()));
                let sizes: Vec<_> = sizes.collect();
                let named = file.integer("general.file_type").and_then(gguf::file_type_name);
                let is_there = |mix: &&str| sizes.iter().any(|(name, _)| gguf::is_mix_of(mix, name));
                named
                    .filter(is_there)
                    .map_or_else(|| commonest(sizes.iter().cloned()), str::to_owned)
            }
            WeightSource::Safetensors(files) => {
                let tensors = files.tensors();
                let sizes = tensors
                    .iter()
                    .map(|(_, t)| (format!("{:?}", t.dtype()), t.shape().iter().product()));
                commonest(sizes)
            }
            WeightSource::Random { .. } => "random".to_owned(),
        }
    }

    /// Whether there is a tensor of this name, `.weight` or `.bias` included.
    pub fn has(&self, name: &str) -> bool {
        match self {
            WeightSource::Gguf(file) => file.content.tensor_infos.contains_key(name),
            WeightSource::Safetensors(tensors) => tensors.has(&tensors.named(name)),
            WeightSource::Random { tied_embeddings } => {
                name.ends_with(".weight")
                    && name != "rope_freqs.weight"
                    && (name != "output.weight" || !tied_embeddings)
            }
        }
    }

    /// A tensor as floats, with the shape it must have.
    pub fn floats(&self, name: &str, shape: &[usize], place: &LoadOptions) -> Result<Tensor> {
        let tensor = match self {
            WeightSource::Gguf(file) => file.quantised(name, &place.device)?.dequantize(&place.device)?,
            WeightSource::Safetensors(tensors) => tensors.load(&tensors.named(name), &place.device)?,
            WeightSource::Random { .. } if shape.len() == 1 => Tensor::ones(shape, place.dtype, &place.device)?,
            WeightSource::Random { .. } if place.device.is_cpu() => random(name, shape)?,
            WeightSource::Random { .. } => Tensor::randn(0f32, 0.02, shape, &place.device)?,
        };
        ensure!(
            tensor.dims() == shape,
            "tensor '{name}' has shape {:?}, the model's config asks for {shape:?}",
            tensor.dims()
        );
        Ok(tensor.to_dtype(place.dtype)?)
    }

    /// A linear layer (outputs, inputs), with its bias where there is one.
    pub fn linear(&self, name: &str, outputs: usize, inputs: usize, place: &LoadOptions) -> Result<Linear> {
        let weight = self.matrix(&format!("{name}.weight"), outputs, inputs, place)?;
        Ok(Linear::new(weight, self.bias(name, outputs, place)?))
    }

    /// Linear layers of the same input, by name and number of outputs.
    pub fn linears<const N: usize>(
        &self,
        parts: [(&str, usize); N],
        inputs: usize,
        place: &LoadOptions,
    ) -> Result<FusedLinear<N>> {
        let dense = |(name, _): &(&str, usize)| self.is_dense(&format!("{name}.weight"), place);
        if !place.fused || !parts.iter().all(dense) {
            let mut each = Vec::with_capacity(N);
            for (name, outputs) in parts {
                each.push(self.linear(name, outputs, inputs, place)?);
            }
            return Ok(FusedLinear::new(each.try_into().ok().expect("one layer a part")));
        }
        let outputs = parts.iter().map(|(_, outputs)| outputs).sum::<usize>();
        let matrix = Tensor::zeros((outputs, inputs), place.dtype, &place.device)?;
        let mut biases = Vec::with_capacity(N);
        let mut from = 0;
        for (name, outputs) in parts {
            // Copied one by one, so that no two are held twice.
            let rows = self.floats(&format!("{name}.weight"), &[outputs, inputs], place)?;
            matrix.slice_set(&rows, 0, from)?;
            biases.push((outputs, self.bias(name, outputs, place)?));
            from += outputs;
        }
        Ok(FusedLinear::fused(matrix, biases.try_into().expect("one bias a part"))?)
    }

    fn bias(&self, name: &str, outputs: usize, place: &LoadOptions) -> Result<Option<Tensor>> {
        let name = format!("{name}.bias");
        match self.has(&name) {
            true => Ok(Some(self.floats(&name, &[outputs], place)?)),
            false => Ok(None),
        }
    }

    /// Whether a matrix is held as floats.
    fn is_dense(&self, name: &str, place: &LoadOptions) -> bool {
        let WeightSource::Gguf(file) = self else {
            return true;
        };
        let info = file.content.tensor_infos.get(name);
        let float = |dtype| matches!(dtype, GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16);
        place.exact || info.is_some_and(|info| float(info.ggml_dtype))
    }

    fn matrix(&self, name: &str, outputs: usize, inputs: usize, place: &LoadOptions) -> Result<Weight> {
        let by_kernels = place.device.is_cpu() && !place.exact;
        let file = match self {
            WeightSource::Gguf(file) => file,
            WeightSource::Safetensors(files) if by_kernels => {
                return match packed(files, name, outputs, inputs) {
                    Some(packed) => Ok(Weight::Packed(packed)),
                    None => Ok(Weight::Dense(self.floats(name, &[outputs, inputs], place)?)),
                };
            }
            _ => return Ok(Weight::Dense(self.floats(name, &[outputs, inputs], place)?)),
        };
        let info = file.content.tensor_infos.get(name);
        let info = info.with_context(|| format!("the file has no tensor '{name}'"))?;
        ensure!(
            info.shape.dims() == [outputs, inputs],
            "tensor '{name}' has shape {:?}, the model's metadata asks for [{outputs}, {inputs}]",
            info.shape.dims()
        );
        if by_kernels {
            let bytes = file.tensor_bytes(name);
            let bytes = bytes.with_context(|| format!("tensor '{name}' lies past the file's end"))?;
            let packed = file.packed_type(name);
            let packed = packed.and_then(|kind| PackedMatrix::of_type(bytes, kind, outputs, inputs, &file.arena));
            if let Some(packed) = packed {
                return Ok(Weight::Packed(packed));
            }
        }
        if self.is_dense(name, place) {
            return Ok(Weight::Dense(self.floats(name, &[outputs, inputs], place)?));
        }
        let tensor = file.quantised(name, &place.device)?;
        Ok(Weight::Quantised(QMatMul::from_qtensor(tensor)?))
    }

    /// The token embeddings (vocab, hidden).
    pub fn embedding(&self, vocab: usize, hidden: usize, place: &LoadOptions) -> Result<Embedding> {
        let name = "token_embd.weight";
        match self {
            WeightSource::Gguf(file) if !place.exact => {
                let tensor = file.quantised(name, &place.device)?;
                ensure!(
                    tensor.shape().dims() == [vocab, hidden],
                    "tensor '{name}' has another shape"
                );
                Ok(Embedding::Quantised(Arc::new(tensor)))
            }
            // On the CPU only the rows asked for become f32.
            WeightSource::Safetensors(files) if !place.exact && place.device.is_cpu() => {
                let stored = files
                    .get(&files.named(name))
                    .ok()
                    .and_then(|t| t.dtype().try_into().ok());
                let place = LoadOptions {
                    dtype: stored
                        .filter(|t| matches!(t, DType::F16 | DType::BF16))
                        .unwrap_or(place.dtype),
                    ..place.clone()
                };
                Ok(Embedding::Dense(self.floats(name, &[vocab, hidden], &place)?))
            }
            _ => Ok(Embedding::Dense(self.floats(name, &[vocab, hidden], place)?)),
        }
    }
}

impl Embedding {
    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        match self {
            Embedding::Quantised(table) => table.storage_size_in_bytes(),
            Embedding::Dense(table) => table.elem_count() * table.dtype().size_in_bytes(),
        }
    }

    /// (tokens, hidden), f32 where the embeddings are quantised.
    pub fn lookup(&self, ids: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Embedding::Quantised(table) => table.embedding(ids),
            Embedding::Dense(table) => table.index_select(ids, 0),
        }
    }
}

/// The name with the greatest sum of sizes.
fn commonest(sizes: impl Iterator<Item = (String, usize)>) -> String {
    let mut sums = std::collections::BTreeMap::<String, usize>::new();
    for (name, size) in sizes {
        *sums.entry(name).or_default() += size;
    }
    sums.into_iter()
        .max_by_key(|(_, size)| *size)
        .map(|(name, _)| name)
        .unwrap_or_default()
}

/// A matrix of 16-bit floats for the CPU kernels; `None` where it is something else.
fn packed(tensors: &FolderTensors, name: &str, outputs: usize, inputs: usize) -> Option<PackedMatrix> {
    let name = tensors.named(name);
    let tensor = tensors.get(&name).ok().filter(|_| !tensors.has_scale(&name))?;
    let dtype = match tensor.dtype().try_into().ok()? {
        DType::F16 => GgmlDType::F16,
        DType::BF16 => GgmlDType::BF16,
        _ => return None,
    };
    let fits = tensor.shape() == [outputs, inputs];
    fits.then(|| PackedMatrix::new(tensor.data(), dtype, outputs, inputs, tensors.arena()))?
}

/// The names within the layers of a model that are not `read`, with `*` for the layer's number; `before` stands before it.
fn strays<'a>(
    names: impl Iterator<Item = &'a str>,
    before: &str,
    layers: usize,
    read: impl Fn(&str) -> bool,
) -> Vec<String> {
    let stray = |name: &'a str| {
        let (number, part) = name.strip_prefix(before)?.split_once('.')?;
        let within = number.parse::<usize>().is_ok_and(|number| number < layers);
        (within && !read(name)).then(|| format!("{before}*.{}", part.escape_default()))
    };
    names.filter_map(stray).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The size of a head in a Hugging Face folder whose model normalises heads; none when it cannot be told.
pub(super) fn head_size(folder: &Path) -> Option<usize> {
    let source = WeightSource::open_folder(folder).ok()?;
    source.last_dimension("blk.0.attn_k_norm.weight")
}
