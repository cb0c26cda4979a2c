//! The frozen model of the commands that search, train and evaluate.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use clap::Args;

use super::UsageError;
use super::progress::CommandProgress;
use crate::config::Config;
use crate::engine::{LoadRequest, RouterChoice, Unfit, load_model};
use crate::eval::parallel::default_threads;
use crate::model::catalog::{self, ModelLocation};
use crate::model::{ActivationBits, KvBits, Model, NoLoop};
use crate::text::escape_controls;

/// Says on standard error what a user should know of the model's files.
pub fn tell_notes(model: &Model) {
    for note in &model.notes {
        crate::note!("{}", escape_controls(note));
    }
    if let Some(looped) = model.info.looped
        && let Some(trained) = looped.trained
    {
        crate::note!(
            "the loop runs {} times, {trained} in training: routers that ship are for the latter and are not used",
            looped.iterations
        );
    }
}

/// Which configured keys a measuring command, whose activations have `activations` bits, leaves alone although they would
/// change its numbers; `None` where none does.
fn unheeded(config: &Config, activations: ActivationBits) -> Option<String> {
    let defaults = Config::default();
    let mut keys = Vec::new();
    if config.activations != activations {
        keys.push("activations");
    }
    if config.kv_bits == KvBits::Eight {
        keys.push("kv_bits");
    }
    if config.seed != defaults.seed {
        keys.push("seed");
    }
    (!keys.is_empty()).then(|| {
        format!(
            "config.toml sets {}, which this command leaves alone: it measures in one arithmetic and has seeds of its own",
            keys.join(" and ")
        )
    })
}

/// Questions worked on at once on a GPU, unless the user says otherwise.
const ON_A_GPU: usize = 64;

/// Which model, where, and over how many threads questions are spread.
#[derive(Args, Clone, Debug, Default)]
pub struct BaseModelArgs {
    /// Catalog name, GGUF file, Hugging Face folder or hub name; the default model if absent
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// auto, cpu, cuda:N or metal
    #[arg(long, value_name = "DEVICE", value_parser = super::args::device_name)]
    pub device: Option<String>,
    /// f32 arithmetic throughout
    #[arg(long)]
    pub exact: bool,
    /// Questions worked on at once, one thread each; all cores if absent, 64 on a CUDA device, where their layers run
    /// together. Changes no result on a CPU
    #[arg(long, value_name = "N", value_parser = super::args::threads)]
    threads: Option<usize>,
    /// How often the loop of a looped model runs, 1 to 8; as in its training if absent
    #[arg(long, value_name = "K", value_parser = super::args::iterations)]
    iterations: Option<usize>,
    /// As configured: threads of the CPU.
    #[arg(skip)]
    configured_threads: Option<usize>,
    /// Of the commands that have [`ActivationsArg`].
    #[arg(skip)]
    pub activations: ActivationBits,
}

/// The arithmetic of long searches.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct ActivationsArg {
    /// Bits that activations are rounded to on the CPU, beside a scale for each 32: 8 is a little faster, and records say
    /// which they were made with [default: 15]
    #[arg(long, value_enum, value_name = "BITS", conflicts_with = "exact")]
    activations: Option<ActivationBits>,
}

impl ActivationsArg {
    /// As [`BaseModelArgs::configure`]. Bits that were asked for here come before a configured `exact`.
    pub fn configure(self, model: &mut BaseModelArgs, config: &Config) {
        model.activations = self.activations.unwrap_or_default();
        let config = match self.activations {
            None => config,
            Some(bits) => &Config {
                exact: false,
                activations: bits,
                ..config.clone()
            },
        };
        model.configure(config);
    }
}

/// What loading or a run says of a request; a usage error where the model lacks what the command line names.
pub(super) fn as_usage(error: anyhow::Error) -> anyhow::Error {
    match error.is::<NoLoop>() || error.is::<Unfit>() {
        true => UsageError::new(error.to_string()).into(),
        false => error,
    }
}

impl BaseModelArgs {
    /// Takes model, device, exact and threads as configured, where the command line does not name them. Of configured keys
    /// that would change numbers and are of runs alone, a note says so.
    pub fn configure(&mut self, config: &Config) {
        self.model = self.model.take().or_else(|| config.model.clone());
        self.device = self.device.take().or_else(|| Some(config.device.clone()));
        self.exact |= config.exact;
        self.configured_threads = config.threads;
        if let Some(note) = unheeded(config, self.activations) {
            crate::note!("{note}");
        }
    }

    /// Files that the model is read from, as far as they are here.
    pub fn files(&self) -> Vec<PathBuf> {
        let Ok(Some(located)) = catalog::cached(self.model.as_deref()) else {
            return Vec::new();
        };
        match located.location {
            ModelLocation::Folder(folder) => {
                let entries = std::fs::read_dir(folder).into_iter().flatten();
                entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
            }
            ModelLocation::BuiltIn => Vec::new(),
            location => vec![location.path().to_path_buf()],
        }
    }

    /// Questions worked on at once on a model.
    pub fn threads_for(&self, model: &Model) -> usize {
        match self.threads {
            None if model.decoder.device().is_cuda() => ON_A_GPU,
            _ => self.threads(),
        }
    }

    /// Questions worked on at once, where the model is on the CPU.
    pub fn threads(&self) -> usize {
        self.threads.or(self.configured_threads).unwrap_or_else(default_threads)
    }

    /// Finds or pulls the model and loads it, with progress on standard error.
    pub fn load(&self, stop: &AtomicBool) -> Result<Model> {
        let request = LoadRequest {
            model: self.model.clone(),
            routers: RouterChoice::None,
            device: self.device.clone().unwrap_or_else(|| "auto".into()),
            exact: self.exact,
            threads: None,
            iterations: self.iterations,
            activations: self.activations,
            // As usual, so that records, outcomes and routers of one model mean one thing.
            ..LoadRequest::default()
        };
        let progress = CommandProgress::new();
        let model = load_model(
            &request,
            &mut |what, done, total| progress.bytes(what, done, total),
            &mut |what| progress.stage(what),
            stop,
        );
        progress.finish();
        let mut model = model.map_err(as_usage)?;
        if model.decoder.device().is_cuda() {
            model.decoder.run_sequences_together();
        }
        tell_notes(&model);
        Ok(model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(args: BaseModelArgs, config: &str) -> BaseModelArgs {
        let mut args = args;
        args.configure(&Config::parse("config.toml", config).unwrap());
        args
    }

    #[test]
    fn the_command_line_comes_before_the_file() {
        let file = "model = \"m\"\ndevice = \"cpu\"\nexact = true\nthreads = 3\n";
        let args = configured(BaseModelArgs::default(), file);
        assert_eq!(args.model.as_deref(), Some("m"));
        assert_eq!(args.device.as_deref(), Some("cpu"));
        assert!(args.exact);
        assert_eq!(args.threads(), 3);
        let given = BaseModelArgs {
            model: Some("n".into()),
            device: Some("auto".into()),
            threads: Some(2),
            ..BaseModelArgs::default()
        };
        let args = configured(given, file);
        assert_eq!(args.model.as_deref(), Some("n"));
        assert_eq!(args.device.as_deref(), Some("auto"));
        assert_eq!(args.threads(), 2);
        let args = configured(BaseModelArgs::default(), "");
        assert_eq!(
            (args.model, args.device.as_deref(), args.exact),
            (None, Some("auto"), false)
        );
    }

    #[test]
    fn bits_that_are_asked_for_come_before_configured_ones() {
        let of = |activations: Option<ActivationBits>, text: &str| {
            let mut model = BaseModelArgs::default();
            let config = Config::parse("config.toml", text).unwrap();
            ActivationsArg { activations }.configure(&mut model, &config);
            (model.exact, model.activations)
        };
        let (eight, fifteen) = (ActivationBits::Eight, ActivationBits::Fifteen);
        assert_eq!(of(Some(eight), "exact = true\n"), (false, eight));
        assert_eq!(of(None, "exact = true\n"), (true, fifteen));
        assert_eq!(of(None, "activations = 8\n"), (false, fifteen));
        let config = Config::parse("config.toml", "activations = 8\n").unwrap();
        assert_eq!(unheeded(&config, eight), None);
    }

    #[test]
    fn keys_of_runs_that_change_numbers_are_named() {
        let of = |text: &str| unheeded(&Config::parse("config.toml", text).unwrap(), ActivationBits::Fifteen);
        assert_eq!(of("model = \"m\"\nexact = true\ntemperature = 1.0\nseed = 42\n"), None);
        for key in ["activations = 8", "kv_bits = 8", "seed = 7"] {
            let note = of(key).unwrap();
            let name = key.split(' ').next().unwrap();
            assert!(note.contains(&format!("sets {name},")), "{note}");
        }
    }

    #[test]
    fn the_files_of_a_model_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("m.gguf");
        std::fs::write(&file, "GGUF").unwrap();
        let of = |model: &std::path::Path| {
            let args = BaseModelArgs {
                model: Some(model.display().to_string()),
                ..BaseModelArgs::default()
            };
            args.files()
        };
        assert_eq!(of(&file), std::slice::from_ref(&file));
        assert!(of(std::path::Path::new("/no/such/model.gguf")).is_empty());
    }
}
