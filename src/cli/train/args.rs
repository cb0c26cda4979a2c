//! The arguments of `drllm-tui train`, and what of them cannot be.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args};

use super::ways::{OPTIONS, Way};
use crate::cli::UsageError;
use crate::cli::base_model::BaseModelArgs;
use crate::cli::output::check_named_once;
use crate::config::Config;
use crate::eval::report::ReportFormat;
use crate::files::{self, Claim, Readers, Whole};
use crate::plot;
use crate::router::checkpoint::DEFAULT_WINDOWS;
use crate::router::predictor::network::HEADS;
use crate::train::TrainSettings;
use crate::train::ablation::Group;
use crate::train::depth::DepthSettings;
use crate::train::loss::LossKind;
use crate::train::polar::{PolarSettings, ProgramTargets};
use crate::train::settings::RouterInput;
use crate::train::state::is_state;
use crate::train::verifier::VerifierSettings;

/// Train routers on the records of a search.
#[derive(Args, Debug)]
pub struct TrainArgs {
    /// Records of `drllm-tui search`; several files are taken together
    #[arg(long, value_name = "FILE", required_unless_present_any = ["data", "method"], num_args = 1..)]
    pub records: Vec<PathBuf>,
    /// Another way than layer routers from the records of a search
    #[arg(long, value_enum, conflicts_with_all = ["data", "ablate"])]
    pub method: Option<TrainMethod>,
    /// Taken with `--method depth` alone.
    #[command(flatten)]
    pub depth: DepthArgs,
    /// Taken with `--method polar` alone.
    #[command(flatten)]
    pub polar: PolarArgs,
    /// Questions with choices to learn from instead of records: a token verifier, for scope `token`
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["records", "ablate"], requires = "verifier_spans")]
    pub data: Vec<PathBuf>,
    /// The spans of layers that an implausible token may skip, like '17-23,17-27': the router of their first layer is the
    /// verifier, which judges every token of a choice and has it skip the span that costs enough
    #[arg(
        long,
        alias = "reject",
        value_name = "LAYERS",
        value_delimiter = ',',
        requires = "data"
    )]
    pub verifier_spans: Vec<String>,
    /// Leave damaged lines of the records out and name them
    #[arg(long, conflicts_with = "verifier_spans")]
    pub skip_damaged: bool,
    /// Where the routers go (safetensors)
    #[arg(long, value_name = "FILE", required_unless_present = "ablate")]
    pub out: Option<PathBuf>,
    /// Times that all examples are learnt from [default: 25, and 10 with --method polar]
    #[arg(long, value_name = "N", conflicts_with = "verifier_spans")]
    epochs: Option<usize>,
    /// Stop after N epochs in a row without a better one
    #[arg(long, value_name = "N", conflicts_with = "verifier_spans")]
    patience: Option<usize>,
    /// Greatest learning rate [default: 0.001; 0.002 with --method depth, 0.0005 with --method polar]
    #[arg(long, conflicts_with = "verifier_spans")]
    pub lr: Option<f64>,
    /// Examples, texts or questions a step [default: 16]
    #[arg(long, value_name = "N", conflicts_with = "verifier_spans")]
    pub batch: Option<usize>,
    /// Seed of everything that is drawn: what is held out, the weights at the start, the order of the examples
    #[arg(long, default_value_t = TrainSettings::default().seed, value_parser = crate::cli::args::whole::<u64>)]
    pub seed: u64,
    /// Share of the examples held out to choose the best epoch by; with --verifier-spans only to report on, and 0 holds none
    #[arg(long, value_name = "SHARE", default_value_t = TrainSettings::default().validation)]
    pub validation: f64,
    /// Windows of the pooling, W
    #[arg(long, value_name = "W", default_value_t = DEFAULT_WINDOWS)]
    pub windows: usize,
    /// Width of the routers' hidden layer, r [default: 128; 64 with --method depth, 256 with --method polar]
    #[arg(long, value_name = "R", conflicts_with = "verifier_spans")]
    width: Option<usize>,
    /// Linear layers of a router; only 2 can be saved
    #[arg(long, value_name = "N", default_value_t = TrainSettings::default().linear_layers, conflicts_with = "verifier_spans")]
    linear_layers: usize,
    /// What a router reads; only the state can be saved
    #[arg(long, value_enum, default_value_t, conflicts_with = "verifier_spans")]
    input: RouterInput,
    #[arg(long, value_enum, default_value_t, conflicts_with = "verifier_spans")]
    loss: LossKind,
    /// γ of the focal loss; 0 is weighted cross-entropy
    #[arg(long, default_value_t = TrainSettings::default().gamma, conflicts_with = "verifier_spans")]
    gamma: f64,
    /// Train on hidden states as they are, not standardised ones; the checkpoint reads them as they
    /// are in either case
    #[arg(long, conflicts_with = "verifier_spans")]
    raw: bool,
    // The default, and the name of what `--raw` switches off.
    #[arg(long, hide = true, conflicts_with_all = ["raw", "verifier_spans"])]
    standardise: bool,
    /// With --verifier-spans: share of the choices' tokens that no penalty is to reach. Choose it on held-out questions
    #[arg(long, value_name = "SHARE", default_value_t = VerifierSettings::DEFAULT_SPARED, requires = "data")]
    pub spare: f64,
    /// Least share of examples that the search turned from wrong to right; others are left out
    #[arg(long, value_name = "SHARE", default_value_t = 0.3, conflicts_with = "verifier_spans")]
    pub corrected_share: f64,
    /// Write the metrics of every epoch here, as JSON lines
    #[arg(long, value_name = "FILE", conflicts_with = "verifier_spans")]
    pub metrics: Option<PathBuf>,
    /// Draw the curves of loss and F1 here
    #[arg(long, value_name = "FILE.svg", conflicts_with = "verifier_spans")]
    pub curves: Option<PathBuf>,
    /// Where features are kept between trainings; in the cache folder if absent
    #[arg(long, value_name = "DIR", conflicts_with = "verifier_spans")]
    pub features: Option<PathBuf>,
    /// Go on with a training that was stopped
    #[arg(long, conflicts_with = "verifier_spans")]
    pub resume: bool,
    /// Replace files that exist
    #[arg(long)]
    pub force: bool,
    /// Train once for each change of these (all if none is named) and print a table, saving nothing
    #[arg(long, value_enum, value_name = "WHAT", value_delimiter = ',', num_args = 0.., require_equals = true)]
    #[arg(conflicts_with_all = ["out", "metrics", "curves", "resume"])]
    pub ablate: Option<Vec<Group>>,
    /// Of the table of --ablate
    #[arg(long, value_enum, default_value_t, requires = "ablate")]
    pub format: ReportFormat,
    /// The base model that the routers are for.
    #[command(flatten)]
    pub model: BaseModelArgs,
    /// The options that the command line names, by the names of their fields.
    #[arg(skip)]
    given: Vec<String>,
}

/// How routers are made, other than from records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TrainMethod {
    /// Depth routers: each token of an answer as shallow as it can be without changing what the model says, from prompts
    /// and the model alone
    Depth,
    /// A predictor of whole programs (PoLar), from the records of `search --edits segments`: it reads the question once and
    /// says which segments of layers are skipped or run twice
    Polar,
}

/// The numbers of a training of a predictor.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Of --method polar")]
pub struct PolarArgs {
    /// Layers of the model that a question runs through before it is read; 0 are its embeddings [default: 4]
    #[arg(long, value_name = "K", requires = "method")]
    feature_layer: Option<usize>,
    /// Right programs of a question that are learnt from, at most [default: 50]
    #[arg(long, value_name = "N", requires = "method")]
    programs_a_question: Option<usize>,
    /// Weight of the standard program where a shorter one is right; 1 for every other program [default: 0.3]
    #[arg(long, value_name = "WEIGHT", requires = "method")]
    standard_weight: Option<f64>,
    /// What leaving a layer out is worth, in nats: for each one a right program weighs e^NATS times as much [default: 0]
    #[arg(long, value_name = "NATS", requires = "method")]
    layer_price: Option<f64>,
    /// What of a question's right programs is learnt: each of them, or that it is one of them [default: each]
    #[arg(long, value_name = "TARGETS", value_enum, requires = "method")]
    targets: Option<ProgramTargets>,
    /// Weight of the contrast with programs that the search found wrong: of how little of the likelihood of all that were
    /// tried is with the right ones [default: 0]
    #[arg(long, value_name = "WEIGHT", requires = "method")]
    contrast: Option<f64>,
}

/// The numbers of a training of depth routers.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Of --method depth")]
pub struct DepthArgs {
    /// Prompts that the model answers: text files of one a line, or JSON lines with a field 'prompt' or 'question'; those
    /// that ship if absent
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "method")]
    pub prompts: Vec<PathBuf>,
    /// Begin with these depth routers instead of new ones
    #[arg(long, value_name = "FILE", requires = "method")]
    pub from: Option<PathBuf>,
    /// Answers to train on [default: 960]
    #[arg(long, value_name = "N", requires = "method")]
    texts: Option<usize>,
    /// Answers to other prompts that calibrate the dial [default: 96]
    #[arg(long, value_name = "N", requires = "method")]
    held_out: Option<usize>,
    /// Most tokens of an answer [default: 112]
    #[arg(long, value_name = "N", requires = "method")]
    answer_tokens: Option<usize>,
    #[arg(
        long,
        value_name = "N",
        requires = "method",
        help = "Steps of the training [default: 360]"
    )]
    steps: Option<usize>,
    /// What a layer costs at the neutral dial, in nats of KL a token [default: 0.05]
    #[arg(long, value_name = "NATS", requires = "method")]
    price: Option<f64>,
    /// The dial's range in training, in logits either way; 0 trains for one depth [default: 1.2]
    #[arg(long, value_name = "LOGITS", requires = "method")]
    spread: Option<f64>,
    /// Mean depth at the neutral dial, as a share of the layers [default: 0.87]
    #[arg(long, value_name = "SHARE", requires = "method")]
    neutral: Option<f64>,
    /// Scale of the logistic noise on the logits in training [default: 0.5]
    #[arg(long, value_name = "LOGITS", requires = "method")]
    noise: Option<f64>,
}

impl TrainArgs {
    /// The numbers of the training.
    ///
    /// # Errors
    /// [`UsageError`]s that name the argument.
    pub fn settings(&self) -> Result<TrainSettings> {
        let ranges = [
            ("--epochs", self.epochs.unwrap_or(1) as f64, 1.0, 100_000.0),
            ("--patience", self.patience.unwrap_or(1) as f64, 1.0, 100_000.0),
            ("--batch", self.batch.unwrap_or(1) as f64, 1.0, 65_536.0),
            ("--windows", self.windows as f64, 1.0, 4096.0),
            ("--width", self.width.unwrap_or(1) as f64, 1.0, 65_536.0),
            ("--linear-layers", self.linear_layers as f64, 1.0, 4.0),
            ("--lr", self.lr.unwrap_or(1e-3), 1e-12, 10.0),
            ("--gamma", self.gamma, 0.0, 10.0),
            (
                "--validation",
                self.validation,
                if self.verifier_spans.is_empty() { 0.001 } else { 0.0 },
                0.9,
            ),
            ("--spare", self.spare, 0.0, 1.0),
            ("--corrected-share", self.corrected_share, 0.0, 1.0),
        ];
        for (name, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(UsageError::new(format!("{name} is {value}: expected {least} to {most}")).into());
            }
        }
        let defaults = TrainSettings::default();
        let settings = TrainSettings {
            epochs: self.epochs.unwrap_or(defaults.epochs),
            learning_rate: self.lr.unwrap_or(defaults.learning_rate),
            batch: self.batch.unwrap_or(defaults.batch),
            width: self.width(),
            linear_layers: self.linear_layers,
            input: self.input,
            loss: self.loss,
            gamma: self.gamma,
            standardise: !self.raw,
            validation: self.validation,
            patience: self.patience,
            seed: self.seed,
            ..TrainSettings::default()
        };
        if self.ablate.is_none() {
            settings
                .check_can_be_saved()
                .map_err(|e| UsageError::new(e.to_string()))?;
        }
        Ok(settings)
    }

    /// Width of the routers' hidden layer.
    pub fn width(&self) -> usize {
        self.width.unwrap_or(match self.method {
            Some(TrainMethod::Depth) => DepthSettings::default().width,
            Some(TrainMethod::Polar) => PolarSettings::default().width,
            None => TrainSettings::default().width,
        })
    }

    /// The numbers of a training of depth routers.
    ///
    /// # Errors
    /// [`UsageError`]s that name the argument.
    pub fn depth_settings(&self) -> Result<DepthSettings> {
        let given = &self.depth;
        let defaults = DepthSettings::default();
        let settings = DepthSettings {
            texts: given.texts.unwrap_or(defaults.texts),
            held_out: given.held_out.unwrap_or(defaults.held_out),
            answer_tokens: given.answer_tokens.unwrap_or(defaults.answer_tokens),
            steps: given.steps.unwrap_or(defaults.steps),
            price: given.price.unwrap_or(defaults.price),
            spread: given.spread.unwrap_or(defaults.spread),
            noise: given.noise.unwrap_or(defaults.noise),
            neutral_share: given.neutral.unwrap_or(defaults.neutral_share),
            batch: self.batch.unwrap_or(defaults.batch),
            width: self.width(),
            learning_rate: self.lr.unwrap_or(defaults.learning_rate),
            seed: self.seed,
            ..defaults
        };
        let ranges = [
            ("--texts", settings.texts as f64, 1.0, 1e6),
            ("--held-out", settings.held_out as f64, 1.0, 1e5),
            ("--answer-tokens", settings.answer_tokens as f64, 8.0, 4096.0),
            ("--steps", settings.steps as f64, 1.0, 1e6),
            ("--price", settings.price, 1e-6, 100.0),
            ("--spread", settings.spread, 0.0, 5.0),
            ("--noise", settings.noise, 0.0, 10.0),
            ("--neutral", settings.neutral_share, 0.1, 1.0),
            ("--batch", settings.batch as f64, 1.0, 4096.0),
            ("--width", settings.width as f64, 1.0, 4096.0),
            ("--lr", settings.learning_rate, 1e-12, 10.0),
        ];
        for (name, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(UsageError::new(format!("{name} is {value}: expected {least} to {most}")).into());
            }
        }
        Ok(settings)
    }

    /// Whether it works on many questions or texts at once, each on a thread of its own.
    pub fn takes_texts_apart(&self) -> bool {
        self.method != Some(TrainMethod::Polar)
    }

    /// The numbers of a training of a predictor for a model of `layers` layers.
    ///
    /// # Errors
    /// [`UsageError`]s that name the argument.
    pub fn polar_settings(&self, layers: usize) -> Result<PolarSettings> {
        let (given, defaults) = (&self.polar, PolarSettings::default());
        let settings = PolarSettings {
            epochs: self.epochs.unwrap_or(defaults.epochs),
            learning_rate: self.lr.unwrap_or(defaults.learning_rate),
            batch: self.batch.unwrap_or(defaults.batch),
            width: self.width(),
            feature_layer: given.feature_layer.unwrap_or(defaults.feature_layer.min(layers)),
            programs: given.programs_a_question.unwrap_or(defaults.programs),
            standard_weight: given.standard_weight.unwrap_or(defaults.standard_weight),
            layer_price: given.layer_price.unwrap_or(defaults.layer_price),
            targets: given.targets.unwrap_or(defaults.targets),
            contrast: given.contrast.unwrap_or(defaults.contrast),
            validation: self.validation,
            seed: self.seed,
            ..defaults
        };
        let ranges = [
            ("--width", settings.width as f64, 4.0, 4096.0),
            ("--feature-layer", settings.feature_layer as f64, 0.0, layers as f64),
            ("--programs-a-question", settings.programs as f64, 1.0, 1e6),
            ("--standard-weight", settings.standard_weight, 0.0, 100.0),
            ("--layer-price", settings.layer_price, 0.0, 100.0),
            ("--contrast", settings.contrast, 0.0, 100.0),
        ];
        for (name, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(UsageError::new(format!("{name} is {value}: expected {least} to {most}")).into());
            }
        }
        if !settings.width.is_multiple_of(HEADS) {
            let message = format!("--width is {}: expected a multiple of {HEADS}", settings.width);
            return Err(UsageError::new(message).into());
        }
        Ok(settings)
    }

    /// Takes what the user configured where the command line says nothing.
    pub fn configure(&mut self, config: &Config) {
        self.model.configure(config);
    }

    /// Remembers which options the command line names.
    pub fn note_given(&mut self, matches: &ArgMatches) {
        let typed = |id: &&clap::Id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine);
        self.given = matches.ids().filter(typed).map(|id| id.as_str().to_owned()).collect();
    }

    /// Refuses records that a training does not read, their absence where it does, and options of others.
    ///
    /// # Errors
    /// [`UsageError`]s that say what to do.
    // Not by clap: it waives what an option requires where that conflicts with another one.
    pub fn check_method(&self) -> Result<()> {
        let way = self.way();
        let no_records = self.records.is_empty();
        let message = match way {
            Way::Depth if !no_records => {
                "--method depth learns from --prompts, not from --records: leave one of the two out"
            }
            Way::Verifier if !no_records => {
                "--verifier-spans learns from the questions of --data, not from --records: leave one of the two out"
            }
            Way::Verifier if self.data.is_empty() => {
                "--verifier-spans learns from questions with choices: give them by --data"
            }
            Way::Verifier if self.verifier_spans.is_empty() => {
                "--data are the questions of --verifier-spans: say which spans of layers may be skipped, like 17-27"
            }
            Way::Polar if no_records => {
                "--method polar learns from the records of a search: give them by --records, as `drllm-tui search --edits \
                 segments` writes them"
            }
            _ => return self.check_options(way),
        };
        Err(UsageError::new(message).into())
    }

    /// How routers are made here.
    fn way(&self) -> Way {
        match self.method {
            Some(TrainMethod::Depth) => Way::Depth,
            Some(TrainMethod::Polar) => Way::Polar,
            None if !self.data.is_empty() || !self.verifier_spans.is_empty() => Way::Verifier,
            None => Way::Records,
        }
    }

    /// Refuses options that a way to train does not read.
    fn check_options(&self, way: Way) -> Result<()> {
        let given = |name: &str| self.given.iter().any(|given| given == name);
        let mut unread = OPTIONS.iter().filter(|(_, ways)| !ways.contains(&way));
        if let Some((name, ways)) = unread.find(|(name, _)| given(name)) {
            let option = format!("--{}", name.replace('_', "-"));
            let message = match ways {
                [of @ (Way::Depth | Way::Polar)] => {
                    format!(
                        "{option} is an option of {}: leave it out, or choose that method",
                        of.name()
                    )
                }
                _ => format!("{option} has no effect with {}: leave it out", way.name()),
            };
            return Err(UsageError::new(message).into());
        }
        if given("format") && self.ablate.is_none() {
            return Err(
                UsageError::new("--format is of the table of --ablate: leave it out, or ask for --ablate").into(),
            );
        }
        Ok(())
    }

    /// Keeps other trainings from the same `--out`, for as long as what is returned lives.
    ///
    /// # Errors
    /// Where one is under way.
    pub fn claim(&self) -> Result<Option<Claim>> {
        self.out.as_deref().map(claim).transpose()
    }

    /// Refuses places that cannot be written, and what would be overwritten, before hours of work go
    /// into it.
    pub fn check_places(&self) -> Result<()> {
        let Some(out) = &self.out else { return Ok(()) };
        let written = [Some(out), self.metrics.as_ref(), self.curves.as_ref()];
        let written: Vec<&PathBuf> = written.into_iter().flatten().collect();
        let model = self.model.files();
        let read = self.records.iter().chain(&self.data).chain(&model);
        let read = read.chain(&self.depth.prompts).chain(&self.depth.from);
        check_named_once(&written, &read.collect::<Vec<_>>())?;
        let state = state_path(out);
        files::sweep_beside(&state);
        if files::stands(&state) && !self.resume {
            let foreign = !is_state(&state);
            if foreign {
                bail!(
                    "{} is no state of a training, and one would be written there; move it away or choose another --out",
                    state.display()
                );
            }
        }
        if files::stands(&state) && !self.resume && !self.force {
            bail!(
                "{} was left by a training that was stopped; go on with --resume or begin anew with --force",
                state.display()
            );
        }
        // Under --resume routers that are there may be those of this very training: see `is_finished`.
        if files::stands(out) && !self.force && !self.resume {
            bail!("{} exists already; replace it with --force", out.display());
        }
        let told = [self.metrics.as_deref(), self.curves.as_deref()];
        check_told(told, self.resume, self.force)?;
        written.into_iter().try_for_each(|path| check_writable(path))
    }
}

/// Refuses to replace files of metrics and curves: without `force` all, and on `resume` those that no training wrote.
pub fn check_told([metrics, curves]: [Option<&Path>; 2], resume: bool, force: bool) -> Result<()> {
    let is_metrics: fn(&[u8]) -> bool = |text| {
        let first = text.split(|&b| b == b'\n').next().unwrap_or_default();
        let first: Option<serde_json::Value> = serde_json::from_slice(first).ok();
        first.is_some_and(|line| line.get("train_examples").or(line.get("step")).is_some())
    };
    for (path, own) in [(metrics, is_metrics), (curves, plot::is_picture)] {
        let Some(path) = path.filter(|path| files::stands(path) && !force) else {
            continue;
        };
        if !resume {
            bail!("{} exists already; replace it with --force", path.display());
        }
        let there = files::read(path, files::DATA).with_context(|| format!("cannot read {}", path.display()))?;
        if !there.is_empty() && !own(&there) {
            bail!(
                "{} was not written by a training, so --resume leaves it alone; name another file, or replace it with \
                 --force",
                path.display()
            );
        }
    }
    Ok(())
}

/// Keeps other trainings from writing `out`, for as long as what is returned lives.
///
/// # Errors
/// Where one is under way.
pub fn claim(out: &Path) -> Result<Claim> {
    let claimed =
        files::claim(out).with_context(|| format!("cannot write {}; choose another folder", out.display()))?;
    let Some(claim) = claimed else {
        bail!(
            "{} is being written by another training; wait for it or choose another --out",
            out.display()
        );
    };
    if !claim.is_sure() {
        crate::note!(
            "{}: the file system there knows no locks; see to it that no other training writes this file",
            out.display()
        );
    }
    Ok(claim)
}

/// Where a training's state lies, beside its routers.
pub fn state_path(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_os_string();
    name.push(".state");
    out.with_file_name(name)
}

fn check_writable(path: &Path) -> Result<()> {
    if path.is_dir() {
        bail!("{} is a folder; name a file in it", path.display());
    }
    let written = Whole::new(path, Readers::All);
    written
        .map(drop)
        .with_context(|| format!("cannot write {}; choose another folder", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::FromArgMatches;

    fn command() -> clap::Command {
        TrainArgs::augment_args(clap::Command::new("train"))
    }

    fn checked(line: &str) -> Result<()> {
        let matches = command().try_get_matches_from(line.split(' '))?;
        let mut args = TrainArgs::from_arg_matches(&matches)?;
        args.note_given(&matches);
        args.check_method()
    }

    #[test]
    fn every_option_is_known_to_be_read() {
        // Read by all of them, or checked by themselves.
        let all = [
            "records",
            "data",
            "method",
            "out",
            "seed",
            "force",
            "model",
            "device",
            "exact",
            "threads",
            "iterations",
        ];
        for argument in command().get_arguments() {
            let id = argument.get_id().as_str();
            let known = OPTIONS.iter().any(|(name, _)| *name == id) || all.contains(&id);
            assert!(known, "{id}: which trainings read it?");
        }
        for (name, _) in OPTIONS {
            let mut arguments = command()
                .get_arguments()
                .map(|a| a.get_id().to_string())
                .collect::<Vec<_>>();
            arguments.retain(|id| id == name);
            assert_eq!(arguments.len(), 1, "{name}");
        }
    }

    #[test]
    fn options_without_effect_are_refused() {
        let depth = "train --method depth --out r";
        let polar = "train --method polar --records s.jsonl --out r";
        let records = "train --records s.jsonl --out r";
        let verifier = "train --data q.jsonl --verifier-spans 3-5 --out r";
        for (line, options) in [
            (
                depth,
                "--epochs 3,--patience 2,--validation 0.2,--windows 4,--linear-layers 2,--loss focal,--gamma 1,--raw,\
                 --skip-damaged,--corrected-share 0.2,--features f,--input state,--feature-layer 3,--contrast 1,\
                 --verifier-spans 3-5,--spare 0.5,--format json,--standardise",
            ),
            (
                polar,
                "--loss focal,--gamma 1,--raw,--windows 4,--linear-layers 2,--corrected-share 0.2,--patience 2,--features f,\
                 --texts 5,--noise 0.1,--prompts p.txt,--spare 0.5,--format json,--verifier-spans 3-5",
            ),
            (
                records,
                "--texts 5,--contrast 1,--spare 0.5,--verifier-spans 3-5,--format json",
            ),
            (
                verifier,
                "--texts 5,--contrast 1,--epochs 3,--loss focal,--features f,--format json",
            ),
        ] {
            checked(line).unwrap();
            for option in options.split(',') {
                let line = format!("{line} {option}");
                let error = checked(&line).expect_err(&line);
                let is_usage = error.is::<UsageError>() || error.is::<clap::Error>();
                assert!(is_usage, "{line}: {error}");
                let name = option.split(' ').next().unwrap();
                assert!(error.to_string().contains(name), "{line}: {error}");
            }
        }
        let both = checked("train --records s.jsonl --verifier-spans 3-5 --out r").unwrap_err();
        assert!(both.to_string().contains("--data, not from --records"), "{both}");
    }

    #[test]
    fn options_that_are_read_are_taken() {
        for line in [
            "train --method depth --out r --texts 5 --lr 0.1 --batch 2 --width 8 --seed 3 --metrics m --curves c --resume",
            "train --method polar --records s --out r --epochs 3 --validation 0.2 --contrast 1 --skip-damaged --force",
            "train --records s --out r --loss focal --gamma 1 --windows 4 --patience 2 --features f --corrected-share 0",
            "train --records s --ablate --format json",
            "train --data q --verifier-spans 3-5 --out r --spare 0.9 --windows 4 --validation 0 --seed 3",
        ] {
            checked(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn one_training_at_a_time_writes_its_routers() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("r.safetensors");
        let held = claim(&out).unwrap();
        let error = claim(&out).unwrap_err().to_string();
        assert!(error.contains("is being written by another training"), "{error}");
        drop(held);
        assert!(claim(&out).is_ok());
    }
}
