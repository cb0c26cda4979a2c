//! `drllm-tui search` without a subcommand: the search itself.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::{Args, ValueEnum};

use super::{array, export};
use crate::cli::UsageError;
use crate::cli::base_model::{ActivationsArg, BaseModelArgs};
use crate::cli::output::{check_folder, check_named_once, refuse_existing};
use crate::cli::progress::CommandProgress;
use crate::cli::run::stop_on_signals;
use crate::cli::scoring::ScoringArgs;
use crate::config::Config;
use crate::eval::Task;
use crate::eval::parallel::for_each_ordered;
use crate::files;
use crate::model::Model;
use crate::program::{Program, segments};
use crate::progress::Progress as Step;
use crate::search::evaluator::DEFAULT_CACHE_BYTES;
use crate::search::exchange::{self, Layout};
use crate::search::records::{Existing, FORMAT, SearchShard, read_records};
use crate::search::{Edits, ExampleRecord, RecordHeader, RecordWriter, SearchSettings, Shard, search_question};
use crate::text::counted;

/// Arguments of a search.
#[derive(Args, Debug)]
pub struct SearchRunArgs {
    /// Questions, JSON lines: choices (plain, AI2's ARC), numbers (GSM8K) or mathematics (MATH, DART)
    // Not `PathBuf`: with a subcommand there is none, and clap asks for it only without.
    #[arg(long, value_name = "FILE", required = true)]
    data: Option<PathBuf>,
    /// Where records go, a JSON line for each question; {shard} in it becomes i-of-n
    #[arg(long, value_name = "FILE", required = true)]
    out: Option<PathBuf>,
    /// Search one of n equal parts of the questions: i/n with i from 0 to n-1 (question k, from 0,
    /// is in part k mod n), or all. Taken from a Slurm array or an indexed Kubernetes Job if absent
    #[arg(long, value_name = "i/n")]
    shard: Option<Shard>,
    /// Programs tried for a question, at most
    #[arg(long, value_name = "N", default_value_t = SearchSettings::default().simulations)]
    simulations: usize,
    /// What the search changes in a program from one step to the next
    #[arg(long, value_enum, default_value_t)]
    edits: Edits,
    /// Search no tree: run the programs of this file, one a line, on every question
    #[arg(long, value_name = "FILE", conflicts_with_all = ["simulations", "stop_at_saving", "edits"])]
    programs: Option<PathBuf>,
    /// Only the first N questions
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[arg(long, default_value_t = SearchSettings::default().seed, value_parser = crate::cli::args::whole::<u64>)]
    seed: u64,
    /// End a question once a right program saves K layers
    #[arg(long, value_name = "K")]
    stop_at_saving: Option<usize>,
    #[command(flatten)]
    scoring: ScoringArgs,
    /// Write the records in another codebase's layout too, once all are there: polar=FILE or drllm=FILE; may be repeated
    #[arg(long, value_name = "LAYOUT=FILE")]
    export: Vec<ExportTarget>,
    /// Go on after the last whole record of --out
    #[arg(long)]
    resume: bool,
    /// Replace --out and what --export names
    #[arg(long, conflicts_with = "resume")]
    force: bool,
    /// Hidden states kept for each question in work, in MiB, on a CUDA device at most 8 GiB for all; less is slower, the
    /// results are the same
    #[arg(long, value_name = "MIB", default_value_t = DEFAULT_CACHE_BYTES >> 20)]
    cache: usize,
    #[command(flatten)]
    activations: ActivationsArg,
    #[command(flatten)]
    model: BaseModelArgs,
}

/// Bytes of hidden states of all questions that are kept on a GPU at most.
const ON_A_GPU: usize = 8 << 30;

/// Runs the command.
///
/// # Errors
/// [`UsageError`] for what the arguments got wrong, anything else for what failed or was stopped.
pub fn run(args: SearchRunArgs) -> Result<()> {
    let (Some(data), Some(out)) = (&args.data, &args.out) else {
        return Err(UsageError::new("search needs --data and --out").into());
    };
    args.settings()?;
    let (shard, out) = place(args.shard, out)?;
    let mut task = Task::load(data)?;
    task.questions.truncate(args.limit.unwrap_or(usize::MAX));
    args.scoring.check(std::slice::from_ref(&task))?;
    let questions = task.questions.len();
    task.questions = shard.take(task.questions);
    let existing = Existing::from_switches(args.resume, args.force);
    existing.check(&out)?;
    args.check_exports(shard, &out)?;
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(&stop)?;
    let model = args.model.load(&stop)?;
    let header = RecordHeader {
        part: (!shard.is_all()).then_some(SearchShard { shard, questions }),
        ..args.header(&task, &model)?
    };
    let (mut writer, done) = RecordWriter::open(&out, &header, &task.questions, existing)?;
    let total = task.questions.len();
    let mut tally = Tally::default();
    done.iter().for_each(|record| tally.add(record, header.layers));
    let progress = CommandProgress::new();
    progress.count(Step::new("searching", done.len().min(total), total));
    let threads = args.model.threads_for(&model);
    let cache = match model.decoder.device().is_cuda() {
        true => (args.cache << 20).min(ON_A_GPU / threads),
        false => args.cache << 20,
    };
    for_each_ordered(
        done.len()..total.max(done.len()),
        threads,
        &stop,
        |index| {
            let judged = (header.scoring, header.generation.as_ref());
            search_question(&model, &task.questions[index], judged, &header.settings, cache, &stop)
        },
        |index, result| {
            let record = ExampleRecord::new(&task.questions[index], &header, &result);
            writer.write(&record)?;
            tally.add(&record, header.layers);
            tally.evaluations += result.evaluated.len();
            let note = &format!(", {tally}");
            progress.count(Step {
                note,
                ..Step::new("searching", index + 1, total)
            });
            Ok(())
        },
    )?;
    progress.finish();
    if stop.load(Ordering::Relaxed) && tally.questions < total {
        bail!(
            "stopped after {} of {total} questions; continue with --resume",
            tally.questions
        );
    }
    let questions = match header.part {
        Some(part) => format!("{} of {}", tally.questions, counted(part.questions, "question")),
        None => counted(tally.questions, "question"),
    };
    crate::note!("{questions} in {}: {tally}", out.display());
    if !args.export.is_empty() {
        let records = read_records(&out)?;
        for target in &args.export {
            export::write(&records, target.layout, &target.path)?;
        }
    }
    Ok(())
}

/// Where records go in another layout.
#[derive(Clone, Debug)]
struct ExportTarget {
    layout: Layout,
    path: PathBuf,
}

impl ExportTarget {
    /// Refuses, before anything is searched, a folder that is not there and a file that may not be replaced: without
    /// `force` every one, and on `resume` those that are no such export.
    fn check(&self, force: bool, resume: bool) -> Result<()> {
        let path = &self.path;
        check_folder(path).with_context(|| format!("cannot export to {}", path.display()))?;
        if force || !files::stands(path) {
            return Ok(());
        }
        if !resume {
            return refuse_existing(path, false);
        }
        let there = files::read(path, files::DATA).with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(
            exchange::is_export(&there, self.layout),
            "{} was not written by --export {}=FILE, so --resume leaves it alone; name another file",
            path.display(),
            self.layout.name()
        );
        Ok(())
    }
}

impl FromStr for ExportTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (layout, path) = text.split_once('=').unwrap_or((text, ""));
        let known = Layout::value_variants().iter().find(|known| known.name() == layout);
        match known.filter(|_| !path.is_empty()) {
            Some(&layout) => Ok(ExportTarget {
                layout,
                path: path.into(),
            }),
            None => Err("expected polar=FILE or drllm=FILE".to_owned()),
        }
    }
}

/// The programs of a file, one a line.
fn read_programs(path: &Path, layers: usize) -> Result<Vec<Program>> {
    let text =
        files::read_text(path, files::TEXT).with_context(|| format!("cannot read the programs {}", path.display()))?;
    let mut programs = Vec::new();
    let lines = text.trim_start_matches('\u{feff}').lines().enumerate();
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let place = || format!("{}, line {}", path.display(), number + 1);
        let program = Program::parse(line.trim(), layers).map_err(|e| anyhow!("{}: {e}", place()))?;
        ensure!(
            Edits::value_variants()
                .iter()
                .any(|edits| edits.reach(&program, layers)),
            "{}: '{program}' is none that a search reaches: each layer at most twice, in order, a repeated segment of at most \
             {} layers, none damped",
            place(),
            segments::LONGEST
        );
        ensure!(
            !programs.contains(&program),
            "{}: '{program}' stands there twice",
            place()
        );
        programs.push(program);
    }
    ensure!(
        !programs.is_empty(),
        "{} holds no program; expected one a line",
        path.display()
    );
    Ok(programs)
}

/// What stands in --out for the shard's name.
const PLACEHOLDER: &str = "{shard}";

/// Settles which shard this is and where its records go.
fn place(given: Option<Shard>, out: &Path) -> Result<(Shard, PathBuf)> {
    let found = match given {
        Some(_) => None,
        None => array::from_environment(|name| std::env::var(name).ok())?,
    };
    let shard = match (&found, given) {
        (Some(found), _) => found.shard,
        (None, given) => given.unwrap_or(Shard::ALL),
    };
    let name = format!("{}-of-{}", shard.index(), shard.of());
    let named = with_shard(out, &name);
    if let Some(found) = &found {
        crate::note!("shard {shard}: {}", found.place);
        if !shard.is_all() && named.is_none() {
            return Err(UsageError::new(format!(
                "--out {} is the same for every shard: write {PLACEHOLDER} into it, like records-{PLACEHOLDER}.jsonl, \
                 choose with --shard i/n, or search all questions with --shard all",
                out.display()
            ))
            .into());
        }
    }
    Ok((shard, named.unwrap_or_else(|| out.to_path_buf())))
}

/// A path, which need not be text, with a shard's name in it; nothing where it has no place for one.
fn with_shard(out: &Path, name: &str) -> Option<PathBuf> {
    let replaced = |part: &OsStr| -> Option<OsString> {
        if let Some(text) = part.to_str() {
            return text
                .contains(PLACEHOLDER)
                .then(|| text.replace(PLACEHOLDER, name).into());
        }
        #[cfg(unix)]
        {
            use std::os::unix::ffi::{OsStrExt, OsStringExt};
            let bytes = part.as_bytes();
            let at = bytes
                .windows(PLACEHOLDER.len())
                .position(|b| b == PLACEHOLDER.as_bytes())?;
            let end = at + PLACEHOLDER.len();
            Some(OsString::from_vec(
                [&bytes[..at], name.as_bytes(), &bytes[end..]].concat(),
            ))
        }
        #[cfg(not(unix))]
        None
    };
    replaced(out.as_os_str()).map(PathBuf::from)
}

impl SearchRunArgs {
    /// Takes what the user configured where the command line says nothing.
    pub(super) fn configure(&mut self, config: &Config) {
        self.activations.configure(&mut self.model, config);
    }

    /// The header of a whole search.
    fn header(&self, task: &Task, model: &Model) -> Result<RecordHeader> {
        let mut settings = self.settings()?;
        if let Some(path) = &self.programs {
            settings.programs = read_programs(path, model.info.layers)?;
            let is_reached = |program: &Program| settings.edits.reach(program, model.info.layers);
            if !settings.programs.iter().all(is_reached) {
                settings.edits = Edits::Segments;
            }
            settings.simulations = settings.programs.len();
        }
        let (scoring, generation) = self.scoring.config().of(task.kind(), true);
        Ok(RecordHeader {
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
            part: None,
            imported: None,
            settings,
        })
    }

    /// Refuses files that may not be written before anything is searched.
    fn check_exports(&self, shard: Shard, out: &Path) -> Result<()> {
        if !self.export.is_empty() && !shard.is_all() {
            return Err(UsageError::new(
                "--export is of a whole search, and this is a shard: put the shards together with `search merge`, then use \
                 `search export`",
            )
            .into());
        }
        let out = out.to_path_buf();
        let written: Vec<&PathBuf> = self.export.iter().map(|target| &target.path).chain([&out]).collect();
        let model = self.model.files();
        let read: Vec<&PathBuf> = self.data.iter().chain(&self.programs).chain(&model).collect();
        check_named_once(&written, &read)?;
        self.export
            .iter()
            .try_for_each(|target| target.check(self.force, self.resume))
    }

    fn settings(&self) -> Result<SearchSettings> {
        let refused = |message: &str| Err(UsageError::new(message).into());
        if self.simulations == 0 {
            return refused("--simulations is 0: expected at least 1");
        }
        if self.limit == Some(0) {
            return refused("--limit is 0: expected at least 1; leave it out to search all questions");
        }
        if self.stop_at_saving == Some(0) {
            return refused("--stop-at-saving is 0: expected at least 1; leave it out to use all simulations");
        }
        if self.cache > 1 << 20 {
            return refused("--cache is in MiB: expected at most 1048576");
        }
        Ok(SearchSettings {
            simulations: self.simulations,
            seed: self.seed,
            stop_at_saving: self.stop_at_saving,
            edits: self.edits,
            ..SearchSettings::default()
        })
    }
}

/// What the records so far come to.
#[derive(Default)]
struct Tally {
    questions: usize,
    right: usize,
    corrected: usize,
    shortened: usize,
    /// Of this run.
    evaluations: usize,
}

impl Tally {
    fn add(&mut self, record: &ExampleRecord, layers: usize) {
        self.questions += 1;
        self.right += usize::from(record.baseline);
        self.corrected += usize::from(record.corrected());
        self.shortened += usize::from(record.baseline && record.saved(layers).is_some());
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} right from the start ({} of them shortened), {} of {} wrong ones corrected, {} programs run",
            self.right,
            self.shortened,
            self.corrected,
            self.questions - self.right,
            self.evaluations
        )
    }
}
