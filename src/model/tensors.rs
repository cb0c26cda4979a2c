//! Tensors of a Hugging Face folder, by Hugging Face names, as floats.
//!
//! Weights of eight bits are multiplied with the scales that stand beside them: one for a tensor, one for each row, or one
//! for each block of a matrix. What a weight has beside it in a form that is not read is refused by name.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use candle_core::safetensors::{Load, MmapedSafetensors};
use candle_core::{DType, Device, Tensor};
use half::f16;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::folder;
use super::kernel::Arena;

/// Rows and columns of a block with a scale of its own, unless config.json says otherwise.
const BLOCK: [usize; 2] = [128, 128];
/// Scales of weights by their module's name; all are multiplied with.
const SCALES: [&str; 2] = ["weight_scale", "weight_scale_inv"];
/// Scales of activations, keys and values, which are not quantised here.
const OF_ACTIVATIONS: [&str; 5] = ["input_scale", "output_scale", "k_scale", "v_scale", "q_scale"];

/// The safetensors files of a folder.
pub struct FolderTensors {
    files: MmapedSafetensors,
    names: BTreeSet<String>,
    /// Before the names of a decoder's tensors: `model.`.
    prefix: &'static str,
    block: [usize; 2],
    /// For what is packed from them.
    arena: Arena,
}

impl FolderTensors {
    /// Opens the safetensors files of a folder: one, or those its index names.
    pub fn open(path: &Path) -> Result<Self> {
        let files = folder::weight_files(path)?;
        // SAFETY: the files are mapped read-only; changing a model's file while it runs is outside
        // what the program supports, as for every reader of safetensors.
        let files = unsafe { MmapedSafetensors::multi(&files) };
        let files = files.with_context(|| format!("cannot read the weights in {}", path.display()))?;
        let names: BTreeSet<String> = files.tensors().into_iter().map(|(name, _)| name).collect();
        // The text part of a model of text and pictures, and a model saved without its head.
        let prefixes = ["model.", "language_model.model.", "model.language_model.", ""];
        let known = prefixes
            .into_iter()
            .find(|p| names.contains(&format!("{p}embed_tokens.weight")));
        Ok(FolderTensors {
            files,
            names,
            prefix: known.unwrap_or("model."),
            block: block(path)?,
            arena: Arena::default(),
        })
    }

    /// The folder's name of a tensor with a GGUF name, `blk.7.attn_q.weight`.
    pub fn named(&self, name: &str) -> String {
        let prefix = self.prefix;
        let Some(rest) = name.strip_prefix("blk.") else {
            return match name {
                "token_embd.weight" => format!("{prefix}embed_tokens.weight"),
                "output_norm.weight" => format!("{prefix}norm.weight"),
                "output.weight" if prefix == "language_model.model." => "language_model.lm_head.weight".into(),
                "output.weight" => "lm_head.weight".into(),
                other => other.into(),
            };
        };
        let (layer, part) = rest.split_once('.').unwrap_or((rest, ""));
        let (module, suffix) = part.rsplit_once('.').unwrap_or((part, ""));
        let between = "pre_feedforward_layernorm";
        let module = match module {
            "attn_norm" => "input_layernorm",
            "attn_q" => "self_attn.q_proj",
            "attn_k" => "self_attn.k_proj",
            "attn_v" => "self_attn.v_proj",
            "attn_output" => "self_attn.o_proj",
            "attn_q_norm" => "self_attn.q_norm",
            "attn_k_norm" => "self_attn.k_norm",
            "post_attention_norm" => "post_attention_layernorm",
            // Where attention has a norm of its own behind it, this is another one.
            "ffn_norm" if self.names.contains(&format!("{prefix}layers.{layer}.{between}.weight")) => between,
            "ffn_norm" => "post_attention_layernorm",
            "ffn_gate" => "mlp.gate_proj",
            "ffn_up" => "mlp.up_proj",
            "ffn_down" => "mlp.down_proj",
            "post_ffw_norm" => "post_feedforward_layernorm",
            other => other,
        };
        format!("{prefix}layers.{layer}.{module}.{suffix}")
    }

    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    /// Whether a weight has scales beside it, or what may be some: it is not what its bytes say.
    pub fn has_scale(&self, name: &str) -> bool {
        !matches!(self.scale(name), Ok(None))
    }

    pub fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    pub fn tensors(&self) -> Vec<(String, TensorView<'_>)> {
        self.files.tensors()
    }

    /// The view of a tensor as it is stored.
    pub fn get(&self, name: &str) -> Result<TensorView<'_>> {
        ensure!(self.has(name), "the weights have no tensor '{}'", name.escape_default());
        Ok(self.files.get(name)?)
    }

    /// A tensor as floats, in the type that it is stored in; where that is not of floats of at least 16 bits, in f32.
    pub fn load(&self, name: &str, device: &Device) -> Result<Tensor> {
        let view = self.get(name)?;
        let scale = self.scale(name)?;
        let stored = match view.dtype() {
            Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64 if scale.is_none() => return Ok(view.load(device)?),
            Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64 => bail!(
                "tensor '{name}' is of {:?} and yet has scales ('{}') beside it, which this program does not read",
                view.dtype(),
                scale.unwrap_or_default()
            ),
            Dtype::F8_E4M3 => {
                let tensor = view.load(&Device::Cpu)?;
                tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?
            }
            // Its bits are the upper ones of a float of 16.
            Dtype::F8_E5M2 => {
                let float = |&byte: &u8| f16::from_bits(u16::from(byte) << 8).to_f32();
                view.data().iter().map(float).collect()
            }
            Dtype::I8 if scale.is_some() => view.data().iter().map(|&byte| f32::from(byte as i8)).collect(),
            other => bail!(
                "tensor '{name}' is of type {other:?}, which this program does not read{}; supported are F32, F16, BF16, \
                 and F8_E4M3, F8_E5M2 and I8 with scales; a GGUF file of the same model works",
                if other == Dtype::I8 {
                    " without scales beside it"
                } else {
                    ""
                }
            ),
        };
        let mut values: Vec<f32> = stored;
        if let Some(scale) = scale {
            self.multiply(&mut values, name, view.shape(), &scale)?;
        }
        Ok(Tensor::from_vec(values, view.shape(), device)?)
    }

    /// The name of the scales beside a weight.
    fn scale(&self, name: &str) -> Result<Option<String>> {
        let Some(module) = name.strip_suffix("weight") else {
            return Ok(None);
        };
        let mut scale = None;
        let beside = self.names.range(module.to_owned()..);
        for other in beside.take_while(|other| other.starts_with(module)) {
            let part = &other[module.len()..];
            match part {
                "weight" | "bias" => {}
                _ if OF_ACTIVATIONS.contains(&part) => {}
                _ if SCALES.contains(&part) && scale.is_none() => scale = Some(other.clone()),
                "weight_zero_point" if self.is_zero(other)? => {}
                // Which blocks the scales are for says config.json too.
                "weight_shape" => {}
                _ => bail!(
                    "the weights have a tensor '{}', which belongs to '{name}' and which this program does not read: the \
                     numbers would be wrong without it",
                    other.escape_default()
                ),
            }
        }
        Ok(scale)
    }

    fn is_zero(&self, name: &str) -> Result<bool> {
        Ok(self.get(name)?.data().iter().all(|&byte| byte == 0))
    }

    /// Multiplies a tensor of `shape`, row by row, with its scales.
    fn multiply(&self, values: &mut [f32], name: &str, shape: &[usize], scale: &str) -> Result<()> {
        let view = self.get(scale)?;
        let float = matches!(view.dtype(), Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64);
        ensure!(
            float,
            "the scales '{scale}' are of type {:?}, which this program does not read",
            view.dtype()
        );
        let scales = view
            .load(&Device::Cpu)?
            .to_dtype(DType::F32)?
            .flatten_all()?
            .to_vec1::<f32>()?;
        let (rows, columns) = match *shape {
            [rows, columns] => (rows, columns),
            [columns] => (1, columns),
            _ => bail!("tensor '{name}' has scales and the shape {shape:?}; expected a matrix"),
        };
        let blocks = [0, 1].map(|side| [rows, columns][side].div_ceil(self.block[side]));
        let [tall, wide] = match *view.shape() {
            [] | [1] | [1, 1] => [rows, columns],
            [count] | [count, 1] if count == rows => [1, columns],
            [down, across] if [down, across] == blocks => self.block,
            ref other => bail!(
                "the scales '{scale}' have the shape {other:?} for '{name}' of {shape:?}; expected one scale, one a row, or \
                 one a block of {} x {}",
                self.block[0],
                self.block[1]
            ),
        };
        let across = columns.div_ceil(wide.max(1));
        for (at, row) in values.chunks_exact_mut(columns.max(1)).enumerate() {
            for (block, part) in row.chunks_mut(wide.max(1)).enumerate() {
                let scale = scales[at / tall * across + block];
                part.iter_mut().for_each(|value| *value *= scale);
            }
        }
        Ok(())
    }
}

/// The size of the blocks that have a scale, as config.json has it.
fn block(folder: &Path) -> Result<[usize; 2]> {
    let config = folder::json(folder, folder::CONFIG).map_err(anyhow::Error::msg)?;
    let quantisation = &config["quantization_config"];
    let own = &quantisation["weight_block_size"];
    let grouped = &quantisation["config_groups"]["group_0"]["weights"]["block_structure"];
    match [own, grouped].into_iter().find(|value| !value.is_null()) {
        None => Ok(BLOCK),
        Some(value) => {
            let sides: Option<Vec<usize>> = value
                .as_array()
                .map(|sides| sides.iter().filter_map(|side| Some(side.as_u64()? as usize)).collect());
            match sides.as_deref() {
                Some(&[tall, wide]) if tall > 0 && wide > 0 => Ok([tall, wide]),
                _ => bail!("config.json: 'quantization_config.weight_block_size' is no pair of numbers above 0"),
            }
        }
    }
}
