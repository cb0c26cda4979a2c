//! Weights by name, from a GGUF file or from safetensors.

use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::safetensors::MmapedSafetensors;
use candle_core::{DType, Device, Tensor};

use super::gguf::GgufFile;
use super::kernel::PackedMatrix;
use super::linear::{Linear, Linears, Weight};
use crate::files;

/// Where weights come from. Names are GGUF's: `blk.7.attn_q`.
pub enum WeightSource {
    Gguf(Box<GgufFile>),
    Safetensors(Box<MmapedSafetensors>),
    /// Random weights of any shape and norms of ones, made where they are asked for: for benchmarks.
    Random {
        tied_embeddings: bool,
    },
}

/// How weights are held.
#[derive(Clone, Debug)]
pub struct Placement {
    pub device: Device,
    /// Type of activations and of dense weights.
    pub dtype: DType,
    /// Dequantise everything to `dtype`.
    pub exact: bool,
    /// One matrix for dense layers of the same input, see [`Linears::joined`]: for GPUs.
    pub joined: bool,
}

/// The token embeddings.
pub enum Embedding {
    Quantised(Arc<QTensor>),
    Dense(Tensor),
}

impl WeightSource {
    /// Opens the safetensors files of a Hugging Face folder: one, or those its index names.
    pub fn open_folder(folder: &Path) -> Result<Self> {
        let single = folder.join("model.safetensors");
        let index = folder.join("model.safetensors.index.json");
        let files = if index.is_file() {
            let text =
                files::read_text(&index, files::TEXT).with_context(|| format!("cannot read {}", index.display()))?;
            let json: serde_json::Value =
                serde_json::from_str(&text).with_context(|| format!("{} is damaged", index.display()))?;
            let map = json["weight_map"].as_object();
            let map = map.with_context(|| format!("{} has no 'weight_map'", index.display()))?;
            let mut names: Vec<&str> = map.values().filter_map(|v| v.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            for name in &names {
                ensure!(
                    crate::paths::is_plain_name(name),
                    "{} names a file outside its folder: '{}'",
                    index.display(),
                    name.escape_default()
                );
            }
            names.iter().map(|name| folder.join(name)).collect()
        } else if single.is_file() {
            vec![single]
        } else {
            bail!(
                "{} holds neither model.safetensors nor model.safetensors.index.json",
                folder.display()
            )
        };
        for file in &files {
            ensure!(file.is_file(), "the weights file {} is missing", file.display());
        }
        // SAFETY: the files are mapped read-only; changing a model's file while it runs is outside
        // what the program supports, as for every reader of safetensors.
        let tensors = unsafe { MmapedSafetensors::multi(&files) };
        let tensors = tensors.with_context(|| format!("cannot read the weights in {}", folder.display()))?;
        Ok(WeightSource::Safetensors(Box::new(tensors)))
    }

    /// The type that most of the weights are held in, as GGUF names it.
    pub fn commonest_type(&self) -> String {
        match self {
            WeightSource::Gguf(file) => {
                let infos = file.content.tensor_infos.values();
                commonest(infos.map(|i| (format!("{:?}", i.ggml_dtype), i.shape.elem_count())))
            }
            WeightSource::Safetensors(tensors) => {
                let tensors = tensors.tensors();
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
            WeightSource::Safetensors(tensors) => tensors.get(&hf_name(name)).is_ok(),
            WeightSource::Random { tied_embeddings } => {
                name.ends_with(".weight")
                    && name != "rope_freqs.weight"
                    && (name != "output.weight" || !tied_embeddings)
            }
        }
    }

    /// A tensor as floats, with the shape it must have.
    pub fn floats(&self, name: &str, shape: &[usize], place: &Placement) -> Result<Tensor> {
        let tensor = match self {
            WeightSource::Gguf(file) => quantised(file, name, &place.device)?.dequantize(&place.device)?,
            WeightSource::Safetensors(tensors) => {
                let name = hf_name(name);
                let tensor = tensors.load(&name, &place.device);
                tensor.with_context(|| format!("the weights have no tensor '{name}'"))?
            }
            WeightSource::Random { .. } if shape.len() == 1 => Tensor::ones(shape, place.dtype, &place.device)?,
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
    pub fn linear(&self, name: &str, outputs: usize, inputs: usize, place: &Placement) -> Result<Linear> {
        let weight = self.matrix(&format!("{name}.weight"), outputs, inputs, place)?;
        Ok(Linear::new(weight, self.bias(name, outputs, place)?))
    }

    /// Linear layers of the same input, by name and number of outputs.
    pub fn linears<const N: usize>(
        &self,
        parts: [(&str, usize); N],
        inputs: usize,
        place: &Placement,
    ) -> Result<Linears<N>> {
        let dense = |(name, _): &(&str, usize)| self.is_dense(&format!("{name}.weight"), place);
        if !place.joined || !parts.iter().all(dense) {
            let mut each = Vec::with_capacity(N);
            for (name, outputs) in parts {
                each.push(self.linear(name, outputs, inputs, place)?);
            }
            return Ok(Linears::new(each.try_into().ok().expect("one layer a part")));
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
        Ok(Linears::joined(matrix, biases.try_into().expect("one bias a part"))?)
    }

    fn bias(&self, name: &str, outputs: usize, place: &Placement) -> Result<Option<Tensor>> {
        let name = format!("{name}.bias");
        match self.has(&name) {
            true => Ok(Some(self.floats(&name, &[outputs], place)?)),
            false => Ok(None),
        }
    }

    /// Whether a matrix is held as floats.
    fn is_dense(&self, name: &str, place: &Placement) -> bool {
        let WeightSource::Gguf(file) = self else {
            return true;
        };
        let info = file.content.tensor_infos.get(name);
        let float = |dtype| matches!(dtype, GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16);
        place.exact || info.is_some_and(|info| float(info.ggml_dtype))
    }

    fn matrix(&self, name: &str, outputs: usize, inputs: usize, place: &Placement) -> Result<Weight> {
        let WeightSource::Gguf(file) = self else {
            return Ok(Weight::Dense(self.floats(name, &[outputs, inputs], place)?));
        };
        let info = file.content.tensor_infos.get(name);
        let info = info.with_context(|| format!("the file has no tensor '{name}'"))?;
        ensure!(
            info.shape.dims() == [outputs, inputs],
            "tensor '{name}' has shape {:?}, the model's metadata asks for [{outputs}, {inputs}]",
            info.shape.dims()
        );
        if self.is_dense(name, place) {
            return Ok(Weight::Dense(self.floats(name, &[outputs, inputs], place)?));
        }
        if place.device.is_cpu() {
            let bytes = file.tensor_bytes(name);
            let bytes = bytes.with_context(|| format!("tensor '{name}' lies past the file's end"))?;
            if let Some(packed) = PackedMatrix::new(bytes, info.ggml_dtype, outputs, inputs, &file.arena) {
                return Ok(Weight::Packed(packed));
            }
        }
        let tensor = quantised(file, name, &place.device)?;
        Ok(Weight::Quantised(QMatMul::from_qtensor(tensor)?))
    }

    /// The token embeddings (vocab, hidden).
    pub fn embedding(&self, vocab: usize, hidden: usize, place: &Placement) -> Result<Embedding> {
        let name = "token_embd.weight";
        match self {
            WeightSource::Gguf(file) if !place.exact => {
                let tensor = quantised(file, name, &place.device)?;
                ensure!(
                    tensor.shape().dims() == [vocab, hidden],
                    "tensor '{name}' has another shape"
                );
                Ok(Embedding::Quantised(Arc::new(tensor)))
            }
            _ => Ok(Embedding::Dense(self.floats(name, &[vocab, hidden], place)?)),
        }
    }
}

impl Embedding {
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

fn quantised(file: &GgufFile, name: &str, device: &Device) -> Result<QTensor> {
    let info = file.content.tensor_infos.get(name);
    let info = info.with_context(|| format!("the file has no tensor '{name}'"))?;
    let mut reader = Cursor::new(&file.mmap[..]);
    let tensor = info.read(&mut reader, file.content.tensor_data_offset, device);
    tensor.with_context(|| format!("cannot read tensor '{name}' of {}", file.path.display()))
}

/// The Hugging Face name of a GGUF tensor name.
fn hf_name(name: &str) -> String {
    let Some(rest) = name.strip_prefix("blk.") else {
        return match name {
            "token_embd.weight" => "model.embed_tokens.weight".into(),
            "output_norm.weight" => "model.norm.weight".into(),
            "output.weight" => "lm_head.weight".into(),
            other => other.into(),
        };
    };
    let (layer, part) = rest.split_once('.').unwrap_or((rest, ""));
    let (module, suffix) = part.rsplit_once('.').unwrap_or((part, ""));
    let module = match module {
        "attn_norm" => "input_layernorm",
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_output" => "self_attn.o_proj",
        "attn_q_norm" => "self_attn.q_norm",
        "attn_k_norm" => "self_attn.k_norm",
        "ffn_norm" => "post_attention_layernorm",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        other => other,
    };
    format!("model.layers.{layer}.{module}.{suffix}")
}
