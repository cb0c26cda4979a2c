//! A training of a token verifier from questions to its checkpoint.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use sha2::{Digest, Sha256};

use super::{EffectTable, Fitted, VerifierSettings, fit};
use crate::engine::SCOPE;
use crate::eval::{Question, Task};
use crate::model::Model;
use crate::progress::{Progress, Tell};
use crate::router::checkpoint::hex;
use crate::router::{InputNorm, RouterSet};
use crate::trace::Scope;
use crate::train::checkpoint;
use crate::train::dataset::is_held_out;

/// What a verifier is trained on.
pub struct VerifierJob<'a> {
    /// What is verified, and what measures the spans.
    pub model: &'a Model,
    /// Questions with choices.
    pub tasks: &'a [Task],
    /// The numbers of the training.
    pub settings: &'a VerifierSettings,
    /// Windows of the prompt that the routers read.
    pub windows: usize,
    /// Share of the questions held out to report on.
    pub validation: f64,
    /// Changes no result.
    pub threads: usize,
    /// Ends the training.
    pub stop: &'a AtomicBool,
}

/// Measures what the spans cost, has the model write text, fits; `None` where it was stopped.
///
/// # Errors
/// Those of the model and of [`fit`].
pub fn train(job: &VerifierJob, tell: Tell) -> Result<Option<(RouterSet, Fitted)>> {
    let (model, settings) = (job.model, job.settings);
    let questions: Vec<Question> = job.tasks.iter().flat_map(|t| t.questions.iter().cloned()).collect();
    let count = questions.len();
    tell(Progress::new("questions", 0, count));
    let (windows, threads, stop) = (job.windows, job.threads, job.stop);
    let measured = EffectTable::measure(model, &questions, settings, windows, threads, stop, |done| {
        tell(Progress::new("questions", done, count));
    })?;
    let Some(mut table) = measured else { return Ok(None) };
    let held_out = |&i: &usize| is_held_out(&table.items[i].id, job.validation, settings.seed);
    let (held_out, training): (Vec<usize>, Vec<usize>) = (0..table.items.len()).partition(held_out);
    // Before minutes of writing.
    fit::rows(&table, &training)?;
    let what = "texts of the model's own";
    tell(Progress::new(what, 0, settings.texts));
    let whole = table.write(model, settings, threads, stop, |done| {
        tell(Progress::new(what, done, settings.texts));
    })?;
    if !whole {
        return Ok(None);
    }
    let fitted = fit(&table, &training, &held_out, settings)?;
    let layers = settings.routers(&fitted, &table);
    let size = (windows, settings.width());
    let routers = checkpoint::routers(layers, size, InputNorm::None, job.metadata(), model);
    Ok(Some((routers, fitted)))
}

impl VerifierJob<'_> {
    fn metadata(&self) -> HashMap<String, String> {
        let settings = self.settings;
        let spans = settings.lasts.iter().map(|last| format!("{}-{last}", settings.first));
        let data: Vec<&str> = self.tasks.iter().map(|t| t.sha256.as_str()).collect();
        let entries = [
            ("format", "1".to_owned()),
            ("windows", self.windows.to_string()),
            ("width", settings.width().to_string()),
            ("data_sha256", hex(&Sha256::digest(data.concat()))),
            (SCOPE, Scope::Token.to_string()),
            ("seed", settings.seed.to_string()),
            // The name of the first version, which files keep.
            ("reject", spans.collect::<Vec<_>>().join(",")),
            ("spare", settings.spared.to_string()),
            ("validation", self.validation.to_string()),
        ];
        let entries = entries.map(|(key, value)| (key.to_owned(), value));
        entries.into_iter().chain(checkpoint::base_model(self.model)).collect()
    }
}
