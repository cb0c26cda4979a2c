//! The static baseline: the one best program of training questions, and the layers that are missed least there.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::evaluator::DEFAULT_CACHE_BYTES;
use super::ranking::ranking;
use super::records::{ExampleRecord, read_records};
use super::{SearchSettings, StaticSearch, search_question};
use crate::eval::evaluation::Evaluation;
use crate::eval::parallel::for_each_ordered;
use crate::eval::report::StaticChoice;
use crate::eval::{Control, Question, Task};
use crate::model::Model;
use crate::program::{Damping, Program};
use crate::progress::Progress;

/// Layers of a block that is run twice, at most.
const LONGEST_LOOP: usize = 4;

/// What makes two questions the same one: the text, and the choices in any order.
type Same = (String, Vec<String>);

fn same(question: &str, choices: &[String]) -> Same {
    let mut choices = choices.to_vec();
    choices.sort_unstable();
    (question.to_owned(), choices)
}

fn all_same(tasks: &[Task]) -> HashSet<Same> {
    let questions = tasks.iter().flat_map(|t| &t.questions);
    questions.map(|q| same(&q.question, q.answer.choices())).collect()
}

/// Refuses training on a file that is measured on.
fn check_apart(path: &Path, sha256: &str, option: &str, tests: &[Task]) -> Result<()> {
    ensure!(
        tests.iter().all(|test| test.sha256 != sha256),
        "{} was made of a file that is among --data: what is chosen on the very questions it is measured on proves \
         nothing. Give {option} other questions",
        path.display()
    );
    Ok(())
}

fn tell_left_out(path: &Path, left_out: usize) {
    if left_out > 0 {
        crate::note!(
            "{}: {left_out} questions left out that are among --data too",
            path.display()
        );
    }
}

/// Training questions: of each file, named by `option`, the first `limit`, less those that are also among `tests`.
///
/// # Errors
/// As [`Task::load`]; a file that is among `tests` by its contents, or has no other question.
pub fn load(option: &str, paths: &[PathBuf], limit: Option<usize>, tests: &[Task]) -> Result<Vec<Task>> {
    let tested = all_same(tests);
    let load = |path: &PathBuf| {
        let mut task = Task::load(path)?;
        check_apart(path, &task.sha256, option, tests)?;
        task.questions.truncate(limit.unwrap_or(usize::MAX));
        let before = task.questions.len();
        task.questions
            .retain(|q| !tested.contains(&same(&q.question, q.answer.choices())));
        tell_left_out(path, before - task.questions.len());
        ensure!(
            !task.questions.is_empty(),
            "{}: all its questions are among --data too; give {option} others",
            path.display()
        );
        Ok(task)
    };
    paths.iter().map(load).collect()
}

/// The best program of those that were run on every question of some records.
///
/// # Errors
/// As [`read_records`]; records of another model, or of questions that are among `tests`; records
/// without programs that were run on every question.
pub fn of_records(paths: &[PathBuf], tests: &[Task], model: &Model) -> Result<StaticChoice> {
    let tested = all_same(tests);
    let mut files = paths
        .iter()
        .map(|path| read_records(path))
        .collect::<Result<Vec<_>>>()?;
    for file in &mut files {
        check_apart(&file.path, &file.header.data_sha256, "--static-records", tests)?;
        ensure!(
            file.header.model_sha256 == model.info.sha256 && file.header.layers == model.info.layers,
            "{} holds records of {} ({}, {} layers), this model is {} ({}, {}); search with this one",
            file.path.display(),
            crate::text::escape_controls(&file.header.model),
            file.header.model_sha256.get(..12).unwrap_or_default(),
            file.header.layers,
            model.info.name,
            model.info.sha256.get(..12).unwrap_or_default(),
            model.info.layers
        );
        let before = file.examples.len();
        file.examples
            .retain(|e| !tested.contains(&same(&e.question, &e.choices)));
        tell_left_out(&file.path, before - file.examples.len());
    }
    let examples: Vec<&ExampleRecord> = files.iter().flat_map(|f| &f.examples).collect();
    let ranking = ranking(&examples);
    ensure!(
        ranking.len() > 1 && !examples.is_empty(),
        "no program but the standard one was run on every question of {}; `drllm-tui search --programs FILE` makes \
         such records",
        paths
            .iter()
            .map(|p| p.display().to_string())
            .collect::<Vec<_>>()
            .join(", ")
    );
    let (program, stats) = &ranking[0];
    Ok(StaticChoice {
        program: (*program).clone(),
        tried: ranking.len(),
        questions: examples.len(),
        correct: stats.right,
        base: examples.iter().filter(|e| e.baseline).count(),
    })
}

/// Training questions, and what was tried on them.
pub struct StaticBaseline {
    tasks: Vec<Task>,
    search: StaticSearch,
}

impl StaticBaseline {
    /// For a model of `layers` layers.
    pub fn new(tasks: Vec<Task>, layers: usize) -> StaticBaseline {
        StaticBaseline {
            tasks,
            search: StaticSearch::new(layers),
        }
    }

    /// The training questions.
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// Searches the best static program.
    pub fn best(&mut self, evaluation: &mut Evaluation) -> Result<StaticChoice> {
        let tasks = &self.tasks;
        let mut run = |round: &str, programs: &[Program]| run_round(evaluation, tasks, round, programs);
        let program = self.search.best(&mut run)?;
        let right = |program: &Program| self.search.right(program).unwrap_or_default();
        Ok(StaticChoice {
            tried: self.search.tried(),
            questions: tasks.iter().map(|t| t.questions.len()).sum(),
            correct: right(&program),
            base: right(&Program::standard(evaluation.model.info.layers)),
            program,
        })
    }

    /// The block of at most four layers that is best to run twice, whole or with the second time damped by a
    /// half; of equal ones the shallower, then the earlier.
    pub fn best_loop(&mut self, damping: Damping, evaluation: &mut Evaluation) -> Result<Program> {
        let layers = evaluation.model.info.layers;
        let blocks = (1..=LONGEST_LOOP).flat_map(|length| {
            let starts = 0..(layers + 1).saturating_sub(length);
            starts.map(move |first| Program::repeating(layers, first..=first + length - 1, damping))
        });
        let programs: Vec<Program> = blocks.collect();
        let round = if damping == Damping::NONE {
            "loops"
        } else {
            "damped loops"
        };
        let right = run_round(evaluation, &self.tasks, round, &programs)?;
        let best = programs
            .into_iter()
            .zip(right)
            .reduce(|a, b| if b.1 > a.1 { b } else { a });
        let (program, _) = best.context("the model has no layer to run twice")?;
        Ok(program)
    }

    /// Layers removed greedily, as many as a mean depth of `depth` asks for.
    pub fn removal(&mut self, depth: f64, evaluation: &mut Evaluation) -> Result<Control> {
        let tasks = &self.tasks;
        let mut run = |round: &str, programs: &[Program]| run_round(evaluation, tasks, round, programs);
        let order = self.search.removal(depth.max(0.0).floor() as usize, &mut run)?;
        Ok(Control::Removal(order))
    }
}

/// Right answers of each of `programs` on all questions of `tasks`: what a former run left of this round, then the rest.
fn run_round(evaluation: &mut Evaluation, tasks: &[Task], round: &str, programs: &[Program]) -> Result<Vec<usize>> {
    let questions: Vec<&Question> = tasks.iter().flat_map(|t| &t.questions).collect();
    let ids: Vec<&str> = questions.iter().map(|q| q.id.as_str()).collect();
    let file = &mut evaluation.outcomes;
    let done = match file {
        Some(file) => file.take_training(round, &ids, programs)?,
        None => Vec::new(),
    };
    let mut right = vec![0; programs.len()];
    let mut add = |found: &[Program]| {
        for (count, program) in right.iter_mut().zip(programs) {
            *count += usize::from(found.contains(program));
        }
    };
    done.iter().for_each(|found| add(found));
    let total = questions.len();
    let what = format!("static, {round}: {} programs", programs.len());
    let tell = &mut *evaluation.tell;
    tell(Progress::new(&what, done.len(), total));
    let (model, scoring, stop) = (evaluation.model, evaluation.scoring, evaluation.stop);
    let settings = SearchSettings {
        programs: programs.to_vec(),
        ..SearchSettings::default()
    };
    for_each_ordered(
        done.len()..total,
        evaluation.threads,
        stop,
        |index| {
            let (scoring, generation) = scoring.of(questions[index].answer.kind(), false);
            let judged = (scoring, generation.as_ref());
            search_question(model, questions[index], judged, &settings, DEFAULT_CACHE_BYTES, stop)
        },
        |index, result| {
            // The standard program is run too, whether it is asked for or not.
            let found = result.right().map(|(program, _)| program);
            let found: Vec<Program> = found.filter(|p| programs.contains(p)).cloned().collect();
            if let Some(file) = file {
                file.write_training(round, ids[index], &found)?;
            }
            add(&found);
            tell(Progress::new(&what, index + 1, total));
            Ok(())
        },
    )?;
    evaluation.check_stopped()?;
    Ok(right)
}
