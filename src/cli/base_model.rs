//! The frozen model of the commands that search, train and evaluate.

use std::sync::atomic::AtomicBool;

use anyhow::Result;
use clap::Args;

use super::progress::CommandProgress;
use crate::engine::{LoadRequest, RouterChoice, load_model};
use crate::eval::parallel::default_threads;
use crate::model::Model;
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
}

impl BaseModelArgs {
    /// Questions worked on at once on a model.
    pub fn threads_for(&self, model: &Model) -> usize {
        match self.threads {
            None if model.decoder.device().is_cuda() => ON_A_GPU,
            _ => self.threads(),
        }
    }

    /// Questions worked on at once, where the model is on the CPU.
    pub fn threads(&self) -> usize {
        self.threads.unwrap_or_else(default_threads)
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
        let mut model = model?;
        if model.decoder.device().is_cuda() {
            model.decoder.run_sequences_together();
        }
        tell_notes(&model);
        Ok(model)
    }
}
