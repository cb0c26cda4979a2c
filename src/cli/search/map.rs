//! `drllm-tui search map`: what running a block of layers twice does, for every block.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};

use crate::cli::UsageError;
use crate::cli::base_model::{ActivationsArg, BaseModelArgs};
use crate::cli::output::{Picture, check_named_once, print, print_json};
use crate::cli::progress::CommandProgress;
use crate::cli::run::stop_on_signals;
use crate::cli::scoring::ScoringArgs;
use crate::config::Config;
use crate::eval::parallel::for_each_ordered;
use crate::eval::{Question, Task};
use crate::files::{self, Readers};
use crate::model::Model;
use crate::program::Damping;
use crate::progress::Progress as Step;
use crate::search::loop_map::picture;
use crate::search::loop_map::records::{Done, FORMAT};
use crate::search::loop_map::{
    Cell, MapHeader, MapReport, MapWriter, Measure, QuestionScores, ReportSettings, TransferScores, score_question,
};
use crate::search::records::Existing;
use crate::text::counted;

/// Run every block of neighbouring layers twice, one at a time, and say on which questions that helps (the loop map).
#[derive(Args, Debug)]
pub struct MapArgs {
    /// Questions, JSON lines, as for the search
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Where scores go, a JSON line for each question
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Only the first N questions
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// The second time through a block adds a·(B(h) - h): a from -1 to 2, 1 is a plain repeat
    #[arg(long, value_name = "A", default_value = "1", allow_hyphen_values = true)]
    damping: Damping,
    /// Blocks of at most N layers; all of them if absent
    #[arg(long, value_name = "N")]
    longest: Option<usize>,
    /// By what cells are compared
    #[arg(long, value_enum, default_value_t)]
    measure: Measure,
    /// Cells that are listed, chosen on half of the questions to be tested on the other, and taken to --transfer, at most
    #[arg(long, value_name = "N", default_value_t = 10)]
    best: usize,
    /// Other questions, on which the cells that survive, or else the best ones, are run
    #[arg(long, value_name = "FILE", num_args = 1..)]
    transfer: Vec<PathBuf>,
    /// Questions of each file of --transfer; as many as of --data if absent
    #[arg(long, value_name = "N")]
    transfer_limit: Option<usize>,
    /// Of intervals and permutations
    #[arg(long, default_value_t = 42, value_parser = crate::cli::args::whole::<u64>)]
    seed: u64,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Draw the triangle of cells into FILE
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    scoring: ScoringArgs,
    /// Go on after the last whole line of --out; of a map that is done, print the report again
    #[arg(long)]
    resume: bool,
    /// Replace --out, and whatever stands at --svg
    #[arg(long, conflicts_with = "resume")]
    force: bool,
    #[command(flatten)]
    activations: ActivationsArg,
    #[command(flatten)]
    model: BaseModelArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    #[default]
    Text,
    Json,
}

/// Runs the command.
///
/// # Errors
/// [`UsageError`] for what the arguments got wrong, anything else for what failed or was stopped.
pub fn run(args: &MapArgs) -> Result<()> {
    args.check()?;
    let mut task = Task::load(&args.data)?;
    task.questions.truncate(args.limit.unwrap_or(usize::MAX));
    let limit = args.transfer_limit.unwrap_or(task.questions.len());
    let others = args.transfer.iter().map(|path| load_other(path, limit, &task));
    let others = others.collect::<Result<Vec<Task>>>()?;
    let mut tasks: Vec<Task> = others.clone();
    tasks.push(task.clone());
    args.scoring.check(&tasks)?;
    args.check_measure(&tasks)?;
    let existing = Existing::from_switches(args.resume, args.force);
    existing.check(&args.out)?;
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(&stop)?;
    let model = args.model.load(&stop)?;
    let header = args.header(&task, &model);
    let (writer, done) = MapWriter::open(&args.out, &header, &task.questions, existing)?;
    let mut mapping = Mapping {
        args,
        model: &model,
        header: &header,
        writer,
        threads: args.model.threads_for(&model),
        stop: &stop,
        progress: CommandProgress::new(),
    };
    let Done { questions, transfers } = done;
    let scores = mapping.questions(&task, questions)?;
    let mut report = MapReport::new(&header, &scores, args.report());
    for other in &others {
        let chosen = report.chosen_cells();
        let scores = mapping.transfer(other, &chosen, &transfers)?;
        report.add_transfer(&scores, args.seed);
    }
    mapping.progress.finish();
    if let Some(path) = &args.svg {
        let cannot = || format!("cannot draw the map into {}", path.display());
        files::write(path, report.svg().as_bytes(), Readers::All).with_context(cannot)?;
    }
    match args.format {
        Format::Text => print(&report.text(args.best)),
        Format::Json => print_json(&serde_json::to_value(&report)?, true),
    }
}

/// Other questions than those of the map.
fn load_other(path: &Path, limit: usize, map: &Task) -> Result<Task> {
    let mut other = Task::load(path)?;
    ensure!(
        other.sha256 != map.sha256,
        "{} is the file of --data: cells chosen on the very questions they are tested on prove nothing. Give --transfer \
         other questions",
        path.display()
    );
    let known = |question: &Question| map.questions.iter().any(|q| q.question == question.question);
    let before = other.questions.len();
    other.questions.retain(|question| !known(question));
    if other.questions.len() < before {
        let left_out = before - other.questions.len();
        crate::note!(
            "{}: {} left out that are in --data too",
            path.display(),
            counted(left_out, "question")
        );
    }
    ensure!(
        !other.questions.is_empty(),
        "{}: all its questions are in --data too; give --transfer others",
        path.display()
    );
    other.questions.truncate(limit);
    Ok(other)
}

/// A map under way.
struct Mapping<'a> {
    args: &'a MapArgs,
    model: &'a Model,
    header: &'a MapHeader,
    writer: MapWriter,
    threads: usize,
    stop: &'a AtomicBool,
    progress: CommandProgress,
}

impl Mapping<'_> {
    /// The scores of all questions of a task under some cells, of which the first are `done` already.
    fn score(
        &mut self,
        what: &str,
        task: &Task,
        cells: &[Cell],
        mut done: Vec<QuestionScores>,
        write: impl Fn(&mut MapWriter, &QuestionScores) -> Result<()>,
    ) -> Result<Vec<QuestionScores>> {
        let total = task.questions.len();
        done.truncate(total);
        self.progress.count(Step::new(what, done.len(), total));
        let (scoring, generation) = self.args.scoring.config().of(task.kind(), true);
        let judged = (scoring, generation.as_ref());
        let (model, stop, damping) = (self.model, self.stop, self.header.damping);
        let (writer, progress) = (&mut self.writer, &self.progress);
        let mut right = done.iter().filter(|scores| scores.standard.correct).count();
        for_each_ordered(
            done.len()..total,
            self.threads,
            stop,
            |index| {
                let question = &task.questions[index];
                score_question(model, question, judged, (cells, damping), stop, &mut |_, _| {})
            },
            |index, scores| {
                write(writer, &scores)?;
                right += usize::from(scores.standard.correct);
                done.push(scores);
                let note = &format!(", {} cells each, {right} right under the standard program", cells.len());
                progress.count(Step {
                    note,
                    ..Step::new(what, index + 1, total)
                });
                Ok(())
            },
        )?;
        if stop.load(Ordering::Relaxed) && done.len() < total {
            progress.finish();
            bail!(
                "stopped after {} of {total} questions of {}; continue with --resume",
                done.len(),
                crate::text::escape_controls(&task.name)
            );
        }
        Ok(done)
    }

    fn questions(&mut self, task: &Task, done: Vec<QuestionScores>) -> Result<Vec<QuestionScores>> {
        self.score("mapping", task, &self.header.cells(), done, |writer, scores| {
            writer.question(scores)
        })
    }

    /// What chosen cells come to on another task, of which some may be among `known`.
    fn transfer(&mut self, task: &Task, chosen: &[Cell], known: &[TransferScores]) -> Result<Vec<TransferScores>> {
        let of = |scores: &QuestionScores| TransferScores {
            task: task.name.clone(),
            data_sha256: task.sha256.clone(),
            chosen: chosen.to_vec(),
            scores: scores.clone(),
        };
        let same = known
            .iter()
            .filter(|t| t.data_sha256 == task.sha256 && t.chosen == chosen);
        let in_order = same
            .zip(&task.questions)
            .take_while(|(known, question)| known.scores.id == question.id);
        let done = in_order.map(|(known, _)| known.scores.clone()).collect();
        let scores = self.score("transfer", task, chosen, done, |writer, scores| {
            writer.transfer(&of(scores))
        })?;
        Ok(scores.iter().map(of).collect())
    }
}

impl MapArgs {
    /// Takes what the user configured where the command line says nothing.
    pub(super) fn configure(&mut self, config: &Config) {
        self.activations.configure(&mut self.model, config);
    }

    fn header(&self, task: &Task, model: &Model) -> MapHeader {
        let (scoring, generation) = self.scoring.config().of(task.kind(), true);
        MapHeader {
            format: FORMAT,
            task: task.name.clone(),
            data_sha256: task.sha256.clone(),
            model: model.info.name.clone(),
            model_sha256: model.info.sha256.clone(),
            layers: model.info.layers,
            exact: self.model.exact,
            activations: self.model.activations,
            scoring,
            generation,
            damping: self.damping,
            longest: self.longest.unwrap_or(usize::MAX).min(model.info.layers),
        }
    }

    fn report(&self) -> ReportSettings {
        ReportSettings {
            measure: self.measure,
            best: self.best,
            seed: self.seed,
        }
    }

    fn check(&self) -> Result<()> {
        let refused = |message: &str| Err(UsageError::new(message).into());
        if self.limit == Some(0) || self.transfer_limit == Some(0) {
            return refused("--limit and --transfer-limit are at least 1; leave them out to take all questions");
        }
        if self.longest == Some(0) {
            return refused("--longest is 0: expected at least 1; leave it out for blocks of all lengths");
        }
        if self.best == 0 {
            return refused("--best is 0: expected at least 1");
        }
        if self.transfer_limit.is_some() && self.transfer.is_empty() {
            return refused("--transfer-limit is about the questions of --transfer, which is not given");
        }
        let written: Vec<&PathBuf> = std::iter::once(&self.out).chain(&self.svg).collect();
        let model = self.model.files();
        let read = std::iter::once(&self.data).chain(&self.transfer).chain(&model);
        check_named_once(&written, &read.collect::<Vec<_>>())?;
        let picture = |path| Picture {
            path,
            option: "--svg",
            what: "the map",
            words: picture::TITLE,
        };
        let picture = self.svg.as_deref().map(picture);
        picture.map_or(Ok(()), |picture| picture.check(self.force))
    }

    /// Written answers are right or wrong, and nothing in between.
    fn check_measure(&self, tasks: &[Task]) -> Result<()> {
        let writes = |task: &&Task| self.scoring.config().of(task.kind(), true).1.is_some();
        if self.measure != Measure::Accuracy
            && let Some(task) = tasks.iter().find(writes)
        {
            return Err(UsageError::new(format!(
                "--measure {} is about choices that are scored, and the answers to {} are written: leave --measure out",
                self.measure.name(),
                crate::text::escape_controls(&task.name)
            ))
            .into());
        }
        Ok(())
    }
}
