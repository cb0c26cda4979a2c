//! Carrying an evaluation out: questions under variants, and what follows from their outcomes.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;

use super::controls::by_influence;
use super::outcomes::{FORMAT, TaskHeader};
use super::parallel::for_each_ordered;
use super::report::{EvaluationRow, SelectorFit};
use super::selector::{Selector, SelectorQuestion};
use super::text::exits::{LensTable, lens_of_prompt};
use super::{
    Control, GenerationSettings, Outcome, OutcomeFile, OutcomeHeader, Pick, PreparedQuestion, Question, Runs, Scoring,
    ScoringConfig, Task, Variant, Variants, prompts,
};
use crate::engine::sequence::Stopped;
use crate::model::Model;
use crate::progress::{Progress, Tell};
use crate::router::Router;

/// Questions whose prompts block influence is measured on; their answers are not looked at.
const CALIBRATION: usize = 64;

/// The evaluation was stopped before its end; its outcomes so far are on the disk, where they are kept.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the evaluation was stopped")]
pub struct Interrupted;

/// Removes layers down to a mean depth, by what an evaluation of other questions says.
pub type LayerRemover<'c> = &'c mut dyn FnMut(f64, &mut Evaluation) -> Result<Control>;

/// Which controls are measured beside the variants.
pub struct Controls<'c> {
    /// Those that need no training.
    pub untrained: bool,
    /// At these depths; those of the routers if empty.
    pub depths: &'c [f64],
    /// Those that other questions miss least.
    pub removal: Option<LayerRemover<'c>>,
}

/// Questions of some tasks, answered by a model.
pub struct Evaluation<'a> {
    /// What answers.
    pub model: &'a Model,
    /// Those that variants ask; absent where all variants run fixed programs.
    pub routers: Option<&'a dyn Router>,
    /// How answers are judged.
    pub scoring: ScoringConfig,
    /// Questions worked on at once. Changes no result.
    pub threads: usize,
    /// Ends the evaluation with [`Interrupted`].
    pub stop: &'a AtomicBool,
    /// Which of a predictor's programs counts for [`Pick::Selected`]; see [`Evaluation::fit_selector`].
    pub selector: Option<Selector>,
    /// Where outcomes are kept, and what a former run left there.
    pub outcomes: Option<OutcomeFile>,
    /// Hears how many questions are answered.
    pub tell: Tell<'a>,
}

/// What fitting a selector is called in progress lines.
const SELECTOR: &str = "selector";

/// What the model reads of a question before it answers, as token ids.
fn prompt_ids(
    model: &Model,
    question: &Question,
    scoring: Scoring,
    generation: Option<&GenerationSettings>,
) -> Result<Vec<u32>> {
    let text = prompts::prompt(&question.question, question.answer.choices(), scoring, generation);
    model.prompt_ids(&text, !scoring.under_chat_template(generation))
}

impl Evaluation<'_> {
    /// The rows of all tasks: the variants, then controls at their depths.
    ///
    /// # Errors
    /// [`Interrupted`], outcomes that cannot be written, and those of the model.
    pub fn measure(
        &mut self,
        tasks: &[Task],
        variants: &Variants,
        mut controls: Controls,
    ) -> Result<Vec<EvaluationRow>> {
        let mut measured = Vec::new();
        for task in tasks {
            let (rows, base) = self.rows(task, &variants.all, None)?;
            let controlled = rows.iter().filter(|row| variants.is_controlled(row));
            let depths: Vec<f64> = match controls.depths {
                [] => controlled.map(|row| row.mean_depth).collect(),
                depths => depths.to_vec(),
            };
            measured.extend(rows);
            let at_depths = self.controls(task, &depths, &mut controls)?;
            if !at_depths.is_empty() {
                measured.extend(self.rows(task, &at_depths, Some(base))?.0);
            }
        }
        if let Some(file) = self.outcomes.take() {
            file.finish()?;
        }
        Ok(measured)
    }

    /// What the outcomes depend on; `training` are the tasks that a static program is sought on, `selector` those that a
    /// selector is fitted on.
    pub fn header(
        model: &Model,
        routers: Option<&dyn Router>,
        (scoring, exact): (ScoringConfig, bool),
        (tasks, training, selector): (&[Task], &[Task], &[Task]),
        variants: &Variants,
        controls: &Controls,
    ) -> OutcomeHeader {
        let header = |task: &Task| {
            let (scoring, generation) = scoring.of(task.kind(), false);
            TaskHeader::new(task, scoring, generation)
        };
        OutcomeHeader {
            format: FORMAT,
            model: model.info.name.clone(),
            model_sha256: model.info.sha256.clone(),
            layers: model.info.layers,
            exact,
            device: model.device_name(),
            routers_sha256: routers.map(|r| r.info().sha256.clone()),
            tasks: tasks.iter().map(header).collect(),
            methods: variants.all.iter().map(|v| v.name.clone()).collect(),
            controls: controls.untrained,
            control_depth: controls.depths.to_vec(),
            training: training.iter().map(header).collect(),
            selector: selector.iter().map(header).collect(),
        }
    }

    /// Fits the selector on all questions of `tasks`, under the programs that the predictor proposes for each; how many
    /// questions, and on how many of them some proposed program is right.
    ///
    /// # Errors
    /// [`Interrupted`], outcomes that cannot be written, and those of the model.
    pub fn fit_selector(&mut self, tasks: &[Task]) -> Result<SelectorFit> {
        let questions: Vec<&Question> = tasks.iter().flat_map(|t| &t.questions).collect();
        let ids: Vec<&str> = questions.iter().map(|q| q.id.as_str()).collect();
        let file = &mut self.outcomes;
        let mut shown = match file {
            Some(file) => file.take_selector(&ids)?,
            None => Vec::new(),
        };
        let total = questions.len();
        let tell = &mut *self.tell;
        tell(Progress::new(SELECTOR, shown.len(), total));
        let (model, routers, scoring, stop) = (self.model, self.routers, self.scoring, self.stop);
        let settings = Variant::candidates(Pick::Any).settings;
        for_each_ordered(
            shown.len()..total,
            self.threads,
            stop,
            |index| {
                let question = questions[index];
                let (scoring, generation) = scoring.of(question.answer.kind(), false);
                let asked = PreparedQuestion::new(question, model, scoring, generation.as_ref())?;
                let ids = prompt_ids(model, question, scoring, generation.as_ref())?;
                match asked.known_candidates((model, routers), &settings, &ids, stop) {
                    Err(e) if e.is::<Stopped>() => Ok(None),
                    candidates => Ok(Some(SelectorQuestion {
                        question: question.id.clone(),
                        candidates: candidates?,
                    })),
                }
            },
            |index, one| {
                if let Some(file) = file {
                    file.write_selector(&one)?;
                }
                shown.push(one);
                tell(Progress::new(SELECTOR, index + 1, total));
                Ok(())
            },
        )?;
        self.check_stopped()?;
        let selector = Selector::fit(&shown);
        self.selector = Some(selector);
        Ok(SelectorFit::new(selector, &shown))
    }

    /// Controls at each depth that saves something.
    fn controls(&mut self, task: &Task, depths: &[f64], controls: &mut Controls) -> Result<Vec<Variant>> {
        let layers = self.model.info.layers;
        let mut depths: Vec<f64> = depths.iter().map(|d| (d * 100.0).round() / 100.0).collect();
        depths.retain(|&d| d < layers as f64);
        depths.dedup();
        let least = depths.iter().copied().fold(f64::INFINITY, f64::min);
        let (mut kinds, mut exits) = (Vec::new(), Vec::new());
        if controls.untrained && !depths.is_empty() {
            let prompts = self.prompts(&task.questions[..task.questions.len().min(CALIBRATION)])?;
            let order = by_influence(&self.model.decoder, &prompts)?;
            kinds.extend([Control::Random, Control::EarlyExit, Control::BlockInfluence(order)]);
            let lens = self.lens(task)?;
            for &depth in &depths {
                for (name, rule) in [
                    (Control::ENTROPY, lens.entropy_at(depth)),
                    (Control::AGREEMENT, lens.agreement_at(depth)),
                ] {
                    let ids = task.questions.iter().map(|question| question.id.clone());
                    let ends = ids.zip(lens.ends(rule)).collect();
                    exits.push(Variant::control(Control::Exit(name, ends), depth));
                }
            }
        }
        if let Some(removal) = &mut controls.removal
            && !depths.is_empty()
        {
            kinds.push(removal(least, self)?);
        }
        let at = |&depth: &f64| kinds.iter().map(move |kind| Variant::control(kind.clone(), depth));
        Ok(depths.iter().flat_map(at).chain(exits).collect())
    }

    /// The logit lens where the answers of a task's questions begin.
    fn lens(&mut self, task: &Task) -> Result<LensTable> {
        let prompts = self.prompts(&task.questions)?;
        let (decoder, total) = (&self.model.decoder, prompts.len());
        let what = format!("{}, logit lens", task.name);
        let mut all = LensTable::default();
        let tell = &mut *self.tell;
        tell(Progress::new(&what, 0, total));
        for_each_ordered(
            0..total,
            self.threads,
            self.stop,
            |index| lens_of_prompt(decoder, &prompts[index]).map(Some),
            |index, one| {
                all.extend(one);
                tell(Progress::new(&what, index + 1, total));
                Ok(())
            },
        )?;
        self.check_stopped()?;
        Ok(all)
    }

    /// What the model reads of each question before it answers, as token ids.
    fn prompts(&self, questions: &[Question]) -> Result<Vec<Vec<u32>>> {
        let prompt = |q: &Question| {
            let (scoring, generation) = self.scoring.of(q.answer.kind(), false);
            prompt_ids(self.model, q, scoring, generation.as_ref())
        };
        questions.iter().map(prompt).collect()
    }

    /// A row for each variant, against base's outcomes: the first variant's, where none are given.
    fn rows(
        &mut self,
        task: &Task,
        variants: &[Variant],
        base: Option<Vec<Outcome>>,
    ) -> Result<(Vec<EvaluationRow>, Vec<Outcome>)> {
        let outcomes = self.outcomes(task, variants)?;
        let first_is_base = base.is_none();
        let base = base.unwrap_or_else(|| outcomes[0].clone());
        let rows = variants
            .iter()
            .zip(&outcomes)
            .enumerate()
            .map(|(index, (variant, outcomes))| {
                let against = (index > 0 || !first_is_base).then_some(base.as_slice());
                EvaluationRow::new(&task.name, variant, outcomes, against)
            });
        Ok((rows.collect(), base))
    }

    /// For each variant, the outcomes of all questions: those a former run left, then new ones.
    fn outcomes(&mut self, task: &Task, variants: &[Variant]) -> Result<Vec<Vec<Outcome>>> {
        let names: Vec<&str> = variants.iter().map(|v| v.name.as_str()).collect();
        let file = &mut self.outcomes;
        let done = match file {
            Some(file) => file.take(task, &names)?,
            None => Vec::new(),
        };
        // By question, so that what is encoded once serves all variants.
        let mut outcomes: Vec<Vec<Outcome>> = vec![Vec::new(); variants.len()];
        let mut add = |answers: Vec<Outcome>| {
            for (all, outcome) in outcomes.iter_mut().zip(answers) {
                all.push(outcome);
            }
            let right = outcomes.iter().map(|of| of.iter().filter(|o| o.correct).count());
            let named = names.iter().zip(right).map(|(name, right)| format!("{name} {right}"));
            named.collect::<Vec<_>>().join(", ")
        };
        let (first, total) = (done.len(), task.questions.len());
        done.into_iter().for_each(|answers| drop(add(answers)));
        let tell = &mut *self.tell;
        tell(Progress::new(&task.name, first, total));
        let (scoring, generation) = self.scoring.of(task.kind(), false);
        let (model, routers, stop) = (self.model, self.routers, self.stop);
        let selector = self.selector.as_ref();
        for_each_ordered(
            first..total,
            self.threads,
            stop,
            |index| {
                let question = &task.questions[index];
                let asked = PreparedQuestion::new(question, model, scoring, generation.as_ref())?;
                let ids = |index: usize| prompt_ids(model, &task.questions[index], scoring, generation.as_ref());
                let mut runs = Runs::new();
                let mut one = |v: &Variant| {
                    let settings = v.settings_of(&question.id, model.info.layers);
                    let Some(pick) = v.pick else {
                        return asked.answer(model, routers, &settings, stop);
                    };
                    let ids = match pick {
                        Pick::FirstOfAnother | Pick::AnyOfAnother => ids((index + 1) % total)?,
                        Pick::Any | Pick::Surest | Pick::Vote | Pick::Selected => ids(index)?,
                    };
                    asked.answer_by_candidates((model, routers), &settings, (pick, &ids, selector), &mut runs, stop)
                };
                match variants.iter().map(&mut one).collect::<Result<Vec<_>>>() {
                    // Stopped in the middle of an answer: as if it had not begun.
                    Err(e) if e.is::<Stopped>() => Ok(None),
                    answers => answers.map(Some),
                }
            },
            |index, answers| {
                if let Some(file) = file {
                    file.write(task, &task.questions[index], &names, &answers)?;
                }
                let right = add(answers);
                let note = &format!(", right: {right}");
                tell(Progress {
                    note,
                    ..Progress::new(&task.name, index + 1, total)
                });
                Ok(())
            },
        )?;
        self.check_stopped()?;
        Ok(outcomes)
    }

    /// # Errors
    /// [`Interrupted`] once the flag is up.
    pub fn check_stopped(&self) -> Result<()> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(Interrupted.into()),
            false => Ok(()),
        }
    }
}
