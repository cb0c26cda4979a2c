//! A model in memory: decoder, tokenizer, chat template.

use std::borrow::Cow;

use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device};

use super::catalog::{Located, ModelLocation};
use super::chat::{ChatRole, ChatTemplate, Message};
use super::decoder::Decoder;
use super::kernel::KvBits;
use super::loopmoe::{self, LoopMoe, file::LoopMoeFile};
use super::tokenizer::Tokenizer;
use super::weights::{LoadOptions, WeightSource};
use super::{ModelConfig, gguf};
use crate::guard;
use crate::text::escape_controls;
use crate::trace::{Arithmetic, Loop, ModelInfo};

/// Everything that runs a prompt but the routers.
pub struct Model {
    /// The weights.
    pub decoder: Decoder,
    /// Its vocabulary, and how it splits text.
    pub tokenizer: Tokenizer,
    /// Absent for base models: prompts are fed as they are.
    pub chat: Option<ChatTemplate>,
    /// What traces say of it.
    pub info: ModelInfo,
    /// What a user should know of the model's files, in sentences.
    pub notes: Vec<String>,
}

/// Why eight bits change nothing under `exact`.
const BY_EXACT: &str = "exact = true or --exact computes in f32 throughout; leave that out for eight bits";

/// A number of iterations for a model without a loop. Holds the model's name.
#[derive(Debug, thiserror::Error)]
#[error("{0} has no loop: --iterations is for looped models")]
pub struct NoLoop(pub String);

impl Model {
    /// Loads a model that was found on disk; `sha256` is its sum. `stage` hears what is being done.
    pub fn load(
        located: &Located,
        sha256: String,
        device: &Device,
        exact: bool,
        stage: &mut dyn FnMut(&str),
    ) -> Result<Self> {
        stage(&format!("reading {}", located.name));
        match &located.location {
            ModelLocation::LoopMoe(path) => {
                return Self::of_loopmoe(located, loopmoe::file::load(path, device)?, sha256);
            }
            ModelLocation::BuiltIn => {
                let file = loopmoe::file::parse(loopmoe::BUILT_IN, device).context("the built-in model is damaged")?;
                return Self::of_loopmoe(located, file, sha256);
            }
            _ => {}
        }
        let placement = |dense: bool| LoadOptions {
            device: device.clone(),
            dtype: if dense && !exact && !device.is_cpu() {
                DType::BF16
            } else {
                DType::F32
            },
            exact,
            fused: !device.is_cpu(),
        };
        let (config, fields, source, place, tokenizer, chat);
        match &located.location {
            ModelLocation::Gguf(path) => {
                let file = gguf::open(path)?;
                (config, fields) =
                    ModelConfig::from_metadata(&file.content).with_context(|| format!("in {}", path.display()))?;
                tokenizer = Tokenizer::from_gguf(&file)?;
                chat = ChatTemplate::from_gguf(&file)?;
                source = WeightSource::Gguf(Box::new(file));
                place = placement(false);
            }
            ModelLocation::Folder(path) => {
                (config, fields) = ModelConfig::from_folder(&path.join("config.json"))?;
                tokenizer = Tokenizer::from_folder(path)?;
                chat = ChatTemplate::from_folder(path)?;
                source = WeightSource::open_folder(path)?;
                place = placement(true);
            }
            ModelLocation::LoopMoe(_) | ModelLocation::BuiltIn => unreachable!("loaded above"),
        }
        ensure!(
            tokenizer.own_size() <= config.vocab_size,
            "the tokenizer of {} has {} tokens, the model's vocabulary {}: they don't belong together",
            located.name,
            tokenizer.own_size(),
            config.vocab_size
        );
        let mut notes = fields.warnings();
        notes.extend(tensor_notes(&config, &source));
        let layers = config.layers;
        let mut progress = |layer: usize| stage(&format!("loading {}: layer {layer} of {layers}", located.name));
        let loaded = guard::catch(|| Decoder::load(config, &source, place, &mut progress));
        let place = || format!("cannot load {}", located.location.path().display());
        let decoder = loaded.map_err(anyhow::Error::from).flatten().with_context(place)?;
        notes.extend_from_slice(decoder.gpu_notes());
        let config = decoder.config();
        let info = ModelInfo {
            name: located.name.clone(),
            sha256,
            architecture: config.architecture.name().into(),
            layers: config.layers,
            hidden_size: config.hidden_size,
            vocab_size: config.vocab_size,
            context: config.context,
            quantisation: source.quantisation(),
            looped: None,
            kv_bits: None,
            arithmetic: if exact { Arithmetic::Exact } else { Arithmetic::Usual },
        };
        Ok(Model {
            decoder,
            tokenizer,
            chat,
            info,
            notes,
        })
    }

    /// The same model with activations rounded to eight bits before products; a note says where that changes nothing.
    pub fn with_eight_bit_activations(mut self) -> Self {
        match self.decoder.round_activations() {
            arithmetic @ (Arithmetic::EightBits | Arithmetic::EightBitsInPart) => self.info.arithmetic = arithmetic,
            _ if self.info.arithmetic == Arithmetic::Exact => {
                self.notes
                    .push(format!("activations are not rounded to 8 bits: {BY_EXACT}"));
            }
            Arithmetic::Usual | Arithmetic::Exact => self.notes.push(
                "activations are not rounded to 8 bits: that is for weights in blocks of 32 (Q4_0 to Q8_0, IQ4_NL) on the CPU, and this \
                 model runs without such (K-quants keep 15 bits)"
                    .to_owned(),
            ),
        }
        self
    }

    /// The same model with keys and values kept in eight bits; a note says where that changes nothing.
    pub fn with_eight_bit_kv(mut self) -> Self {
        match self.decoder.set_kv_bits(KvBits::Eight) {
            true => self.info.kv_bits = Some(8),
            false if self.info.arithmetic == Arithmetic::Exact => {
                self.notes
                    .push(format!("keys and values are not kept in 8 bits: {BY_EXACT}"));
            }
            false => self.notes.push(
                "keys and values are not kept in 8 bits: that is for blocks that run by the CPU kernels, and this model has none"
                    .to_owned(),
            ),
        }
        self
    }

    /// The same model with another number of iterations of its loop than in training.
    ///
    /// # Errors
    /// A number out of range, and a model without a loop.
    pub fn with_iterations(mut self, iterations: usize) -> Result<Self> {
        let Some(trained) = self.info.looped.map(|looped| looped.iterations) else {
            bail!(NoLoop(self.info.name));
        };
        if iterations == trained {
            return Ok(self);
        }
        self.decoder = self.decoder.with_iterations(iterations)?;
        self.info.layers = self.decoder.config().layers;
        let looped = self
            .decoder
            .loopmoe()
            .and_then(|executions| loop_of(executions.model()));
        let trained = Some(trained);
        self.info.looped = looped.map(|looped| Loop { trained, ..looped });
        Ok(self)
    }

    fn of_loopmoe(located: &Located, file: LoopMoeFile, sha256: String) -> Result<Self> {
        let context = file.context();
        let looped = loop_of(&file.model);
        let decoder = Decoder::of_loopmoe(file.model, context)?;
        let config = decoder.config();
        let info = ModelInfo {
            name: located.name.clone(),
            sha256,
            architecture: config.architecture.name().into(),
            layers: config.layers,
            hidden_size: config.hidden_size,
            vocab_size: config.vocab_size,
            context,
            quantisation: file.stored.into(),
            kv_bits: None,
            arithmetic: Arithmetic::Usual,
            looped,
        };
        Ok(Model {
            decoder,
            tokenizer: Tokenizer::from_words(file.words),
            chat: Some(ChatTemplate::of_problems()),
            info,
            notes: Vec::new(),
        })
    }

    /// The ids of a prompt: under the chat template as a user's message, or `raw` as it is (with
    /// the model's begin token where it wants one).
    pub fn prompt_ids(&self, text: &str, raw: bool) -> Result<Vec<u32>> {
        Ok(self.tokenizer.encode_prompt(&self.prompt_text(text, raw)?)?)
    }

    /// A prompt as text: under the chat template as a user's message, or `raw` as it is.
    pub fn prompt_text<'a>(&self, text: &'a str, raw: bool) -> Result<Cow<'a, str>> {
        match &self.chat {
            Some(template) if !raw => {
                let (bos, eos) = self.tokenizer.bos_eos_texts();
                Ok(template
                    .render(&[Message::new(ChatRole::User, text)], &bos, &eos)?
                    .into())
            }
            _ => Ok(text.into()),
        }
    }

    /// # Errors
    /// The model has no chat template.
    pub fn expect_chat_template(&self) -> Result<()> {
        ensure!(
            self.chat.is_some(),
            "{} has no chat template; leave out --chat",
            escape_controls(&self.info.name)
        );
        Ok(())
    }

    /// `cpu`, `cuda:0`, `metal`.
    pub fn device_name(&self) -> String {
        match self.decoder.device().location() {
            candle_core::DeviceLocation::Cpu => "cpu".into(),
            candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
            candle_core::DeviceLocation::Metal { .. } => "metal".into(),
        }
    }
}

fn loop_of(model: &LoopMoe) -> Option<Loop> {
    let own = model.config();
    (own.body_layers > 0).then_some(Loop {
        first: own.prefix_layers,
        layers: own.body_layers,
        iterations: own.iterations,
        trained: None,
    })
}

/// What a user should know of a model's tensors.
pub(super) fn tensor_notes(config: &ModelConfig, source: &WeightSource) -> Vec<String> {
    let mut notes = Vec::new();
    if !config.tied_embeddings && !source.has("output.weight") {
        notes.push(
            "the model has no head of its own though its config asks for one: its embeddings are the head".into(),
        );
    }
    let unread = source.unread(config);
    if !unread.is_empty() {
        notes.push(format!(
            "the model has tensors that this program does not use: {}; its numbers here are wrong if they belong to it",
            unread.join(", ")
        ));
    }
    notes
}

/// The device of a name: `auto` takes the first GPU this program was built for and finds.
///
/// # Errors
/// Unknown names, and devices that are not there or not built in.
pub fn device(name: &str) -> Result<Device> {
    Ok(device_or_note(name)?.0)
}

/// As [`device`], with what a user should know where `auto` finds a GPU that it cannot use.
///
/// # Errors
/// As there.
pub fn device_or_note(name: &str) -> Result<(Device, Option<String>)> {
    let not_built = |feature: &str| {
        format!("this program was built without {feature}: build it with `cargo build --release --features {feature}`")
    };
    if let Some(number) = name.strip_prefix("cuda") {
        let number = match number.strip_prefix(':') {
            Some(n) => n
                .parse()
                .with_context(|| format!("--device {name}: expected cuda:N with a number N"))?,
            None if number.is_empty() => 0,
            None => bail!("--device {name}: expected auto, cpu, cuda:N or metal"),
        };
        ensure!(cfg!(feature = "cuda"), not_built("cuda"));
        let device = cuda(number).with_context(|| format!("cannot use the GPU cuda:{number}"))?;
        return Ok((device, None));
    }
    match name {
        "cpu" => Ok((Device::Cpu, None)),
        "metal" => {
            ensure!(cfg!(feature = "metal"), not_built("metal"));
            Ok((Device::new_metal(0).context("cannot use the Metal device")?, None))
        }
        "auto" => {
            let gpu = match (cfg!(feature = "cuda"), cfg!(feature = "metal")) {
                (true, _) => cuda(0).map(Some),
                (_, true) => Device::new_metal(0).map(Some).map_err(Into::into),
                _ => Ok(None),
            };
            match gpu {
                Ok(gpu) => Ok((gpu.unwrap_or(Device::Cpu), None)),
                Err(why) => Ok((Device::Cpu, Some(format!("no GPU is used: {why:#}")))),
            }
        }
        other => bail!(
            "--device {}: expected auto, cpu, cuda:N or metal",
            other.escape_default()
        ),
    }
}

/// A CUDA device, whose libraries are loaded first.
fn cuda(number: usize) -> Result<Device> {
    #[cfg(feature = "cuda")]
    super::cuda_libraries::load().map_err(anyhow::Error::msg)?;
    // A driver that does not suit the libraries may be met by a panic.
    let made = guard::catch(|| Device::new_cuda(number))?;
    // Behind its first line stands where in the program it was.
    made.map_err(|error| anyhow::anyhow!("{}", error.to_string().lines().next().unwrap_or_default().to_owned()))
}
