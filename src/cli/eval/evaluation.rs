//! Carrying an evaluation out: questions under methods, and what follows from their outcomes.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};

use super::training::Training;
use crate::cli::counter::Counter;
use crate::cli::scoring::ScoringArgs;
use crate::engine::sequence::Stopped;
use crate::eval::controls::by_influence;
use crate::eval::parallel::for_each_ordered;
use crate::eval::report::Row;
use crate::eval::{Asked, Control, Method, Outcome, OutcomeFile, Question, Task, prompts};
use crate::model::Model;
use crate::router::RouterSet;

/// Questions whose prompts block influence is measured on; their answers are not looked at.
const CALIBRATION: usize = 64;

pub(super) struct Evaluation<'a> {
    pub model: &'a Model,
    pub routers: Option<&'a RouterSet>,
    pub scoring: &'a ScoringArgs,
    pub threads: usize,
    pub stop: &'a AtomicBool,
    /// Where outcomes are kept, and what a former run left there.
    pub outcomes: Option<OutcomeFile>,
}

impl Evaluation<'_> {
    /// Controls at each depth that saves something: those that need no training if `untrained`, and
    /// greedy removal where there are training questions.
    pub fn controls(
        &mut self,
        task: &Task,
        depths: &[f64],
        untrained: bool,
        training: Option<&mut Training>,
    ) -> Result<Vec<Method>> {
        let layers = self.model.info.layers;
        let mut depths: Vec<f64> = depths.iter().map(|d| (d * 100.0).round() / 100.0).collect();
        depths.retain(|&d| d < layers as f64);
        depths.dedup();
        let least = depths.iter().copied().fold(f64::INFINITY, f64::min);
        let mut kinds = Vec::new();
        if untrained && !depths.is_empty() {
            let prompts = self.prompts(&task.questions[..task.questions.len().min(CALIBRATION)])?;
            let order = by_influence(&self.model.decoder, &prompts)?;
            kinds.extend([Control::Random, Control::EarlyExit, Control::BlockInfluence(order)]);
        }
        if let Some(training) = training
            && !depths.is_empty()
        {
            kinds.push(training.removal(least, self)?);
        }
        let at = |&depth: &f64| kinds.iter().map(move |kind| Method::control(kind.clone(), depth));
        Ok(depths.iter().flat_map(at).collect())
    }

    /// What the model reads of each question before it answers, as token ids.
    fn prompts(&self, questions: &[Question]) -> Result<Vec<Vec<u32>>> {
        let prompt = |q: &Question| {
            let (scoring, generation) = self.scoring.of(q.answer.kind(), false);
            let text = prompts::prompt(&q.question, q.answer.choices(), scoring, generation.as_ref());
            self.model.prompt_ids(&text, !generation.is_some_and(|g| g.chat))
        };
        questions.iter().map(prompt).collect()
    }

    /// A row for each method, against base's outcomes: the first method's, where none are given.
    pub fn rows(
        &mut self,
        task: &Task,
        methods: &[Method],
        base: Option<Vec<Outcome>>,
    ) -> Result<(Vec<Row>, Vec<Outcome>)> {
        let outcomes = self.outcomes(task, methods)?;
        let first_is_base = base.is_none();
        let base = base.unwrap_or_else(|| outcomes[0].clone());
        let rows = methods
            .iter()
            .zip(&outcomes)
            .enumerate()
            .map(|(index, (method, outcomes))| {
                let against = (index > 0 || !first_is_base).then_some(base.as_slice());
                Row::new(&task.name, method, outcomes, against)
            });
        Ok((rows.collect(), base))
    }

    /// For each method, the outcomes of all questions: those a former run left, then new ones.
    fn outcomes(&mut self, task: &Task, methods: &[Method]) -> Result<Vec<Vec<Outcome>>> {
        let names: Vec<&str> = methods.iter().map(|m| m.name.as_str()).collect();
        let file = &mut self.outcomes;
        let done = match file {
            Some(file) => file.take(task, &names)?,
            None => Vec::new(),
        };
        // By question, so that what is encoded once serves all methods.
        let mut outcomes: Vec<Vec<Outcome>> = vec![Vec::new(); methods.len()];
        let mut add = |answers: Vec<Outcome>| {
            for (all, outcome) in outcomes.iter_mut().zip(answers) {
                all.push(outcome);
            }
            let right = outcomes.iter().map(|of| of.iter().filter(|o| o.correct).count());
            right.map(|n| n.to_string()).collect::<Vec<_>>().join(" ")
        };
        let (first, total) = (done.len(), task.questions.len());
        done.into_iter().for_each(|answers| drop(add(answers)));
        let mut counter = Counter::new(&task.name, first, total);
        let (scoring, generation) = self.scoring.of(task.kind(), false);
        let (model, routers, stop) = (self.model, self.routers, self.stop);
        for_each_ordered(
            first..total,
            self.threads,
            stop,
            |index| {
                let question = &task.questions[index];
                let asked = Asked::new(question, model, scoring, generation.as_ref())?;
                let one = |m: &Method| {
                    let settings = m.settings_of(&question.id, model.info.layers);
                    asked.answer(model, routers, &settings, stop)
                };
                match methods.iter().map(one).collect::<Result<Vec<_>>>() {
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
                counter.done(index + 1, &format!(", right: {right}"));
                Ok(())
            },
        )?;
        counter.finish();
        self.check_stopped()?;
        Ok(outcomes)
    }

    /// Ends a command that was stopped.
    pub fn check_stopped(&self) -> Result<()> {
        match (self.stop.load(Ordering::Relaxed), &self.outcomes) {
            (false, _) => Ok(()),
            (true, Some(_)) => bail!("stopped; continue with --resume"),
            (true, None) => bail!("stopped; nothing was reported. With --outcomes FILE an evaluation can be continued"),
        }
    }
}
