//! `drllm-tui` without a subcommand: the screen.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use super::UsageError;
use super::args::{DecideArgs, ModelArgs, SampleArgs};
use super::config::THEMES_DIR;
use super::trace_file::read_trace;
use crate::config::{ColorChoice, Config, SessionChoice, ViewChoice};
use crate::engine::{LoadRequest, RouterChoice};
use crate::program::MOST_LAYERS;
use crate::trace::Trace;
use crate::tui::background;
use crate::tui::color::ColorTier;
use crate::tui::keymap::Keymap;
use crate::tui::lesson::{self, LESSONS_DIR};
use crate::tui::session::{self, Session, SessionError};
use crate::tui::theme::Theme;
use crate::tui::{self, TuiOptions};

/// Arguments of the screen.
#[derive(Args, Clone, Debug, Default)]
pub struct ExploreArgs {
    /// A prompt that runs as soon as the model is loaded
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Open a recorded trace (JSON lines of `run --json`); may be repeated, see `drllm-tui open`
    #[arg(long = "trace", value_name = "FILE")]
    traces: Vec<PathBuf>,
    /// Bring back the session that was kept when the explorer was quit last: runs, settings, prompts
    #[arg(long)]
    restore: bool,
    /// Begin with what the opened traces have in common: layers, depths, confidences, programs
    #[arg(long)]
    stats: bool,
    /// A theme that ships or one of your own (`drllm-tui config --themes`), or auto
    #[arg(long, value_name = "NAME")]
    theme: Option<String>,
    /// No spinners; recordings are shown whole
    #[arg(long)]
    reduced_motion: bool,
    /// The selected cell in a line of words, no borders and block characters
    #[arg(long)]
    screen_reader: bool,
    /// Colours of the terminal
    #[arg(long, value_enum)]
    color: Option<ColorChoice>,
    /// The model to load, with its routers and device.
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    decide: DecideArgs,
    #[command(flatten)]
    sample: SampleArgs,
}

/// Open traces in the explorer: the first is shown, `n` goes to the next one, `c` compares the two.
#[derive(Args, Clone, Debug)]
pub struct OpenArgs {
    /// Traces (JSON lines of `run --json`)
    #[arg(value_name = "TRACE", required = true)]
    files: Vec<PathBuf>,
    /// What the explorer begins with; its traces come before those of `files`.
    #[command(flatten)]
    pub explore: ExploreArgs,
}

impl From<OpenArgs> for ExploreArgs {
    fn from(open: OpenArgs) -> ExploreArgs {
        let mut explore = open.explore;
        explore.traces.extend(open.files);
        explore
    }
}

/// Opens the screen and stays until the user quits; the exit code.
///
/// # Errors
/// [`UsageError`] for what arguments or keymap got wrong; otherwise when there is no terminal.
pub fn run(args: ExploreArgs, config: &Config, config_dir: &Path) -> Result<u8> {
    open(args, config, config_dir, None)
}

/// As [`run`], with the lesson of this index among those of [`lesson::list`].
///
/// # Errors
/// As [`run`].
pub fn open(args: ExploreArgs, config: &Config, config_dir: &Path, lesson: Option<usize>) -> Result<u8> {
    let (session, session_warning) = session(&args, config, lesson)?;
    let load = load_request(&args.model, config, session.as_ref());
    let mut settings = match &session {
        Some(session) => session.state.settings.clone(),
        None => config.settings(&load.routers),
    };
    // The model's layers are not known yet; what depends on them is checked when a run starts.
    let overrides = args.decide.file()?;
    let kept = session.as_ref().map(|session| session.state.settings.kv);
    let kv = |scope| kept.unwrap_or_else(|| config.kv_in(&load.routers, scope));
    args.decide.apply(overrides.as_ref(), MOST_LAYERS, kv, &mut settings)?;
    let overrides = overrides.map(|file| file.named(MOST_LAYERS)).transpose()?;
    args.sample.apply(&mut settings);
    settings.check_alone().map_err(UsageError::new)?;
    let default = Config::default().settings(&RouterChoice::default());
    let own_settings = session.is_some() || load.routers != RouterChoice::default() || settings != default;
    let tier = ColorTier::from_env(args.color.unwrap_or(config.color));
    let name = args.theme.as_deref().unwrap_or(&config.theme);
    let (theme, theme_warning) =
        match Theme::load(background::theme_name(name), Some(&config_dir.join(THEMES_DIR)), tier) {
            Ok(theme) => (theme, None),
            Err(e) => (Theme::fallback(tier), Some(e.to_string())),
        };
    let (keymap, key_warning) = match Keymap::with_defaults(&config.keys) {
        Ok(keymap) => (keymap, None),
        Err(e) => (Keymap::with_defaults(&[])?, Some(e.to_string())),
    };
    let traces = args.traces.iter().map(|path| titled(path)).collect::<Result<_>>()?;
    let options = TuiOptions {
        load,
        settings,
        own_settings,
        overrides,
        prompt: args.prompt,
        traces,
        session,
        keep_session: config.session != SessionChoice::Off,
        stats: args.stats,
        theme,
        keymap,
        mouse: config.mouse,
        tape: config.view == ViewChoice::Tape,
        reduced_motion: config.reduced_motion || args.reduced_motion,
        screen_reader: config.screen_reader || args.screen_reader,
        lessons: lesson::list(Some(&config_dir.join(LESSONS_DIR))),
        lesson,
        warning: theme_warning.or(key_warning).or(session_warning),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(tui::run(options))
}

/// What to load: by the arguments, else as the session that comes back had it, else as configured. Where another model is
/// asked for, the session's routers and arithmetic are not taken.
fn load_request(args: &ModelArgs, config: &Config, session: Option<&Session>) -> LoadRequest {
    let mut load = config.load_request();
    if let Some(state) = session.map(|session| &session.state).filter(|_| args.model.is_none()) {
        load.model = state.model.clone().or(load.model);
        load.iterations = state.iterations;
        if let Some(routers) = state.routers.as_deref() {
            load.routers = routers.into();
        }
        load.exact = state.exact.unwrap_or(load.exact);
        load.activations = state.activations.unwrap_or(load.activations);
        load.kv_bits = state.kv_bits.unwrap_or(load.kv_bits);
    }
    args.apply(&mut load);
    load
}

/// The session to bring back: asked for it must be there; where only the configuration wants it, a
/// plain start goes on without it and says why.
fn session(args: &ExploreArgs, config: &Config, lesson: Option<usize>) -> Result<(Option<Session>, Option<String>)> {
    let read = || -> Result<Session> { Ok(session::read(&session::path()?)?) };
    if args.restore {
        return Ok((Some(read()?), None));
    }
    let plain = args.traces.is_empty() && args.prompt.is_none() && lesson.is_none();
    if config.session != SessionChoice::Restore || !plain {
        return Ok((None, None));
    }
    match read() {
        Ok(session) => Ok((Some(session), None)),
        Err(e) if matches!(e.downcast_ref(), Some(SessionError::Absent(_))) => Ok((None, None)),
        Err(e) => Ok((None, Some(format!("{e:#}")))),
    }
}

fn titled(path: &Path) -> Result<(String, Trace)> {
    let name = path.file_name().unwrap_or(path.as_os_str());
    Ok((name.to_string_lossy().into_owned(), read_trace(path)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::RouterChoice;
    use crate::model::KvBits;
    use crate::tui::session::SessionState;

    #[test]
    fn a_session_comes_back_with_its_model_unless_another_is_asked_for() {
        let mut state = SessionState::default();
        state.model = Some("loopmoe".to_owned());
        state.iterations = Some(3);
        state.routers = Some("dr-llm".to_owned());
        state.exact = Some(true);
        state.kv_bits = Some(KvBits::Eight);
        let session = Session {
            state,
            runs: Vec::new(),
            opened: Vec::new(),
            damaged: Vec::new(),
        };
        let asked = |model: Option<&str>, iterations, session| {
            let args = ModelArgs {
                model: model.map(str::to_owned),
                iterations,
                ..ModelArgs::default()
            };
            let load = load_request(&args, &Config::default(), session);
            (load.model, load.iterations)
        };
        let named = |name: &str| Some(name.to_owned());
        assert_eq!(asked(None, None, Some(&session)), (named("loopmoe"), Some(3)));
        assert_eq!(asked(None, Some(5), Some(&session)), (named("loopmoe"), Some(5)));
        assert_eq!(asked(Some("other"), None, Some(&session)), (named("other"), None));
        assert_eq!(asked(None, None, None), (None, None));

        let arithmetic = |args: ModelArgs| {
            let load = load_request(&args, &Config::default(), Some(&session));
            (load.routers, load.exact, load.kv_bits)
        };
        let of_session = (RouterChoice::DrLlm, true, KvBits::Eight);
        assert_eq!(arithmetic(ModelArgs::default()), of_session);
        let args = ModelArgs {
            routers: Some("none".to_owned()),
            kv_bits: Some(KvBits::Sixteen),
            ..ModelArgs::default()
        };
        assert_eq!(arithmetic(args), (RouterChoice::None, true, KvBits::Sixteen));
        let other = ModelArgs {
            model: named("other"),
            ..ModelArgs::default()
        };
        assert_eq!(arithmetic(other), (RouterChoice::BuiltIn, false, KvBits::Sixteen));
    }
}
