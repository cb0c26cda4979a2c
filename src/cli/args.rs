//! Arguments that several commands share.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use super::UsageError;
use crate::engine::LoadRequest;
use crate::files;
use crate::model::loopmoe::MOST_ITERATIONS;
use crate::model::{ActivationBits, KvBits};
use crate::program::Program;
use crate::trace::{ExcludedExpert, KvMode, Overrides, Pin, Sampling, Scope, Settings};

/// Which model, routers and device; shared by the screen and the commands.
#[derive(Args, Clone, Debug, Default)]
pub struct ModelArgs {
    /// Catalog name, GGUF file, Hugging Face folder or hub name; the default model if absent
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// Router checkpoint (safetensors), or `none`; those that ship for the model if absent
    #[arg(long, value_name = "FILE|built-in|verifier|dr-llm|none")]
    pub routers: Option<String>,
    /// auto, cpu, cuda:N or metal
    #[arg(long, value_name = "DEVICE", value_parser = device_name)]
    pub device: Option<String>,
    /// f32 arithmetic throughout
    #[arg(long)]
    pub exact: bool,
    /// Threads of matrix products; all cores if absent
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// How often the loop of a looped model runs, 1 to 8; as in its training if absent
    #[arg(long, value_name = "K", value_parser = iterations)]
    pub iterations: Option<usize>,
    /// Bits that activations are rounded to on the CPU, beside a scale for each 32 [default: 15]
    #[arg(long, value_enum, value_name = "BITS", conflicts_with = "exact")]
    pub activations: Option<ActivationBits>,
    /// Bits of a number of keys and values on the CPU [default: 16]
    #[arg(long, value_enum, value_name = "BITS")]
    pub kv_bits: Option<KvBits>,
}

impl ModelArgs {
    /// Writes what was given over `request`.
    pub fn apply(&self, request: &mut LoadRequest) {
        // Eight bits that were asked for here come before a configured `exact`.
        request.exact &= self.activations.is_none();
        request.model = self.model.clone().or(request.model.take());
        if let Some(routers) = self.routers.as_deref() {
            request.routers = routers.into();
        }
        if let Some(device) = &self.device {
            request.device.clone_from(device);
        }
        request.exact |= self.exact;
        request.threads = self.threads.or(request.threads);
        request.iterations = self.iterations.or(request.iterations);
        request.activations = self.activations.unwrap_or(request.activations);
        request.kv_bits = self.kv_bits.unwrap_or(request.kv_bits);
    }
}

/// Who decides about layers.
#[derive(Args, Clone, Debug, Default)]
pub struct DecideArgs {
    /// A file of overrides (docs/headless.md); what is given beside it wins over it
    #[arg(long, value_name = "FILE")]
    overrides: Option<PathBuf>,
    /// When routers decide: once at the prompt, or at every token
    #[arg(long, value_enum)]
    pub scope: Option<ScopeArg>,
    /// What a token leaves in a layer that it skips: nothing, or its key and value there; as the routers were made if
    /// absent
    #[arg(long, value_enum)]
    pub kv: Option<KvArg>,
    /// A fixed program, like '0-11 13-29', '0-6 7x2 8-29', '0-3 (4-6)x2 7-29' or, the second time damped, '0-6 7x2~0.5 8-29'
    #[arg(long)]
    program: Option<String>,
    /// -1 skip all, -0.5 the router itself, 0.5 execute all, 1 repeat all
    #[arg(long, allow_negative_numbers = true)]
    pub dial: Option<f64>,
    /// Greatest number of block executions of a token
    #[arg(long, value_parser = whole::<usize>)]
    pub budget: Option<usize>,
    /// Pin a layer, everywhere (7=skip) or at token positions (7@12-14=repeat, or damped: 7=repeat~0.5); may be repeated
    #[arg(long = "pin", value_name = "PIN")]
    pins: Vec<Pin>,
    /// Do without an expert of a looped mixture of experts: layer:expert, like 3:17; may be repeated
    #[arg(long = "exclude-expert", value_name = "LAYER:EXPERT")]
    excluded_experts: Vec<ExcludedExpert>,
    /// In scope prompt, don't ask routers at generated tokens
    #[arg(long)]
    pub no_shadow: bool,
}

/// How tokens are drawn.
#[derive(Args, Clone, Debug, Default)]
pub struct SampleArgs {
    /// Most tokens to generate
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    pub max_tokens: Option<usize>,
    /// Go on after the model's end token
    #[arg(long)]
    pub ignore_eos: bool,
    /// End the answer at this text; may be repeated
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// 0 is greedy
    #[arg(long)]
    pub temperature: Option<f64>,
    /// Draw from so many of the likeliest tokens only
    #[arg(long, value_parser = whole::<usize>)]
    pub top_k: Option<usize>,
    /// Draw from the likeliest tokens that together have this probability only
    #[arg(long)]
    pub top_p: Option<f64>,
    /// 1 changes nothing
    #[arg(long)]
    pub repetition_penalty: Option<f32>,
    /// Seed of the random draws
    #[arg(long, value_parser = whole::<u64>)]
    pub seed: Option<u64>,
}

/// When routers decide, as the command line names it.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ScopeArg {
    /// Once, at the prompt
    Prompt,
    /// At every token
    Token,
}

/// What tokens leave in layers that they skip, as the command line names it.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum KvArg {
    /// Nothing
    Ragged,
    /// The key and value of the state that passes the layer
    Fill,
}

/// What `--overrides` names, read once: it is parsed before the model is there, so that mistakes
/// show at once, and again when its layers are known.
pub struct OverridesFile {
    path: PathBuf,
    text: String,
}

impl OverridesFile {
    fn read(path: &Path) -> Result<OverridesFile> {
        let bytes =
            files::read(path, files::TEXT).with_context(|| format!("cannot read the overrides {}", path.display()))?;
        Ok(OverridesFile {
            path: path.to_owned(),
            text: String::from_utf8_lossy(&bytes).into_owned(),
        })
    }

    /// What it says, under its name.
    ///
    /// # Errors
    /// [`UsageError`] for a mistake in it.
    pub fn named(&self, layers: usize) -> Result<(String, Overrides)> {
        Ok((self.path.display().to_string(), self.parse(layers)?))
    }

    fn parse(&self, layers: usize) -> Result<Overrides> {
        let overrides = Overrides::parse(&self.text, layers);
        Ok(overrides.map_err(|e| UsageError::new(format!("{}: {e}", self.path.display())))?)
    }
}

impl DecideArgs {
    /// Reads the file of `--overrides`, if there is one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn file(&self) -> Result<Option<OverridesFile>> {
        self.overrides.as_deref().map(OverridesFile::read).transpose()
    }

    /// Writes over `settings` what `file` says and then what was given. `layers`: the model's, or
    /// [`crate::program::MOST_LAYERS`] while they are not known. `kv`: the KV mode in the scope that this settles, where
    /// neither names one.
    ///
    /// # Errors
    /// [`UsageError`] for a mistake in the file or the program.
    pub fn apply(
        &self,
        file: Option<&OverridesFile>,
        layers: usize,
        kv: impl FnOnce(Scope) -> KvMode,
        settings: &mut Settings,
    ) -> Result<()> {
        let mut named = self.kv.map(KvMode::from);
        if let Some(file) = file {
            let overrides = file.parse(layers)?;
            overrides.apply(settings);
            named = named.or(overrides.kv());
        }
        if let Some(text) = &self.program {
            let program = Program::parse(text, layers);
            let named = |e| UsageError::new(format!("--program '{}': {e}", text.escape_default()));
            settings.program = Some(program.map_err(named)?);
        }
        if let Some(scope) = self.scope {
            settings.scope = scope.into();
        }
        settings.kv = named.unwrap_or_else(|| kv(settings.scope));
        settings.dial = self.dial.unwrap_or(settings.dial);
        settings.budget = self.budget.or(settings.budget);
        settings.pins.extend(&self.pins);
        self.excluded_experts
            .iter()
            .for_each(|expert| settings.exclude(*expert));
        settings.shadow &= !self.no_shadow;
        Ok(())
    }
}

impl SampleArgs {
    /// Writes what was given over `settings`.
    pub fn apply(&self, settings: &mut Settings) {
        settings.max_tokens = self.max_tokens.unwrap_or(settings.max_tokens);
        settings.ignore_eos |= self.ignore_eos;
        settings.stop.extend(self.stop.iter().cloned());
        let sampling: &mut Sampling = &mut settings.sampling;
        sampling.temperature = self.temperature.unwrap_or(sampling.temperature);
        sampling.top_k = self.top_k.or(sampling.top_k);
        sampling.top_p = self.top_p.or(sampling.top_p);
        sampling.repetition_penalty = self.repetition_penalty.unwrap_or(sampling.repetition_penalty);
        sampling.seed = self.seed.unwrap_or(sampling.seed);
    }
}

impl From<ScopeArg> for Scope {
    fn from(scope: ScopeArg) -> Scope {
        match scope {
            ScopeArg::Prompt => Scope::Prompt,
            ScopeArg::Token => Scope::Token,
        }
    }
}

impl From<KvArg> for KvMode {
    fn from(kv: KvArg) -> KvMode {
        match kv {
            KvArg::Ragged => KvMode::Ragged,
            KvArg::Fill => KvMode::Fill,
        }
    }
}

/// A whole number that is not below 0, of any size that its type holds.
pub fn whole<N: FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| "expected a whole number from 0".to_owned())
}

/// How often a loop may run.
pub fn iterations(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|k| (1..=MOST_ITERATIONS).contains(k));
    number.ok_or_else(|| format!("expected a whole number from 1 to {MOST_ITERATIONS}"))
}

/// Threads.
pub fn threads(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|n| (1..=1024).contains(n));
    number.ok_or_else(|| "expected 1 to 1024".to_owned())
}

/// A device's name, as far as it can be right on any machine.
pub fn device_name(name: &str) -> Result<String, String> {
    let numbered = name.strip_prefix("cuda:").is_some_and(|n| n.parse::<usize>().is_ok());
    match name {
        "auto" | "cpu" | "cuda" | "metal" => Ok(name.to_owned()),
        _ if numbered => Ok(name.to_owned()),
        _ => Err("expected auto, cpu, cuda:N or metal".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bits_on_the_command_line_come_before_a_configured_exact() {
        let exact = |args: ModelArgs, configured: bool| {
            let mut request = LoadRequest {
                exact: configured,
                ..LoadRequest::default()
            };
            args.apply(&mut request);
            request.exact
        };
        let eight = ModelArgs {
            activations: Some(ActivationBits::Eight),
            ..ModelArgs::default()
        };
        assert!(exact(ModelArgs::default(), true) && !exact(eight, true));
        let given = ModelArgs {
            exact: true,
            ..ModelArgs::default()
        };
        assert!(exact(given, false) && !exact(ModelArgs::default(), false));
    }
}
