//! What the user configured: `config.toml`, over the defaults and under the command line.

pub mod source;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::DeTable;

use crate::engine::{LoadRequest, RouterChoice, kv_of, scope_of};
use crate::model::{ActivationBits, KvBits};
use crate::trace::{KvMode, LEAST_PENALTY, NEUTRAL_DIAL, Sampling, Scope, Settings};
pub use source::{ConfigError, ConfigSource, Place};

/// The annotated default config, as `drllm-tui config` prints it.
pub const DEFAULT_CONFIG: &str = include_str!("../assets/config.toml");

/// The config file's name in the config folder.
pub const FILE_NAME: &str = "config.toml";

/// How much colour to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ColorChoice {
    /// What the terminal says it can show; none under NO_COLOR or in a pipe.
    #[default]
    Auto,
    /// No colours; every state still has its glyph.
    Never,
    /// The terminal's own 16 colours.
    #[serde(rename = "16")]
    #[value(name = "16")]
    Ansi16,
    /// The fixed palette of 256 colours.
    #[serde(rename = "256")]
    #[value(name = "256")]
    Ansi256,
    /// 24-bit colours.
    Truecolor,
}

/// What becomes of a session when the screen is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionChoice {
    /// Nothing is written.
    Off,
    /// Kept, and brought back when asked for.
    #[default]
    Keep,
    /// Kept, and brought back at the next start.
    Restore,
}

/// What the pane of layers and tokens begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ViewChoice {
    /// A line a token, its layers from first to last.
    #[default]
    Tape,
    /// A row a layer, a column a token.
    Map,
}

/// One line of a keymap: in `context`, `key` does `action` (names as written, not yet checked).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyBinding {
    /// The table it stands in, `[keys.CONTEXT]`.
    pub context: String,
    /// One key, or two in a row.
    pub key: String,
    /// The action's name in kebab-case, or `none`, which frees the key.
    pub action: String,
    /// Where the key is written.
    pub place: Place,
}

/// Everything `config.toml` can say, with defaults for what it does not.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// A shipped theme, one in the folder themes/ beside the config file, or `auto`: dark or light as
    /// the terminal is.
    pub theme: String,
    /// How many colours the screen has.
    pub color: ColorChoice,
    /// Whether the mouse selects and scrolls.
    pub mouse: bool,
    /// Whether the explorer begins with the tape or the map.
    pub view: ViewChoice,
    /// No spinners, no easing.
    pub reduced_motion: bool,
    /// The selected cell in words, no borders and block characters.
    pub screen_reader: bool,
    /// What becomes of the session: runs, settings, prompts.
    pub session: SessionChoice,
    /// A catalog name, a file, a folder or a hub name; the catalog's default if absent.
    pub model: Option<String>,
    /// Those that decide: shipped ones, a checkpoint or none.
    #[serde(deserialize_with = "router_choice")]
    pub routers: RouterChoice,
    /// `auto`, `cpu`, `cuda:N`, `metal`.
    pub device: String,
    /// f32 arithmetic throughout.
    pub exact: bool,
    /// Bits that activations are rounded to on the CPU.
    #[serde(deserialize_with = "activation_bits")]
    pub activations: ActivationBits,
    /// Bits of a number of keys and values on the CPU.
    #[serde(deserialize_with = "kv_bits")]
    pub kv_bits: KvBits,
    /// Threads for the CPU, 1 to 1024; one a core if absent.
    pub threads: Option<usize>,
    /// Absent: the one that the routers were made for.
    pub scope: Option<Scope>,
    /// Absent: the one that the routers were made for.
    pub kv: Option<KvMode>,
    /// −1 skip all … −0.5 the router … 0.5 execute all … 1 repeat all.
    pub dial: f64,
    /// Most block executions of a token, at least 1; no budget if absent.
    pub budget: Option<usize>,
    /// Most tokens of an answer, at least 1.
    pub max_tokens: usize,
    /// 0 is greedy.
    pub temperature: f64,
    /// Only so many of the likeliest tokens are drawn from, at least 1; all if absent.
    pub top_k: Option<usize>,
    /// Only the likeliest tokens that together have this probability are drawn from: over 0, at most 1; all if absent.
    pub top_p: Option<f64>,
    /// At least [`LEAST_PENALTY`]; 1 leaves the logits as they are.
    pub repetition_penalty: f32,
    /// Of the random draws.
    pub seed: u64,
    /// In scope `prompt`, ask the routers at every generated token too and record what they would do.
    pub shadow: bool,
    /// `[keys.CONTEXT]`: differences from the default keymap.
    #[serde(skip)]
    pub keys: Vec<KeyBinding>,
}

/// The keys `config.toml` may have.
pub const KEYS: [&str; 26] = [
    "theme",
    "color",
    "mouse",
    "view",
    "reduced_motion",
    "screen_reader",
    "session",
    "model",
    "routers",
    "device",
    "exact",
    "activations",
    "kv_bits",
    "threads",
    "scope",
    "kv",
    "dial",
    "budget",
    "max_tokens",
    "temperature",
    "top_k",
    "top_p",
    "repetition_penalty",
    "seed",
    "shadow",
    "keys",
];

impl Default for Config {
    fn default() -> Self {
        let run = Settings::default();
        Config {
            theme: "auto".to_owned(),
            color: ColorChoice::Auto,
            mouse: true,
            view: ViewChoice::Tape,
            reduced_motion: false,
            screen_reader: false,
            session: SessionChoice::Keep,
            model: None,
            routers: RouterChoice::BuiltIn,
            device: "auto".to_owned(),
            exact: false,
            activations: ActivationBits::default(),
            kv_bits: KvBits::default(),
            threads: None,
            scope: None,
            kv: None,
            dial: NEUTRAL_DIAL,
            budget: run.budget,
            max_tokens: run.max_tokens,
            temperature: run.sampling.temperature,
            top_k: run.sampling.top_k,
            top_p: run.sampling.top_p,
            repetition_penalty: run.sampling.repetition_penalty,
            seed: run.sampling.seed,
            shadow: run.shadow,
            keys: Vec::new(),
        }
    }
}

impl Config {
    /// Reads `explicit` (`--config`), or `config.toml` in `config_dir` if there is one.
    ///
    /// # Errors
    /// When the explicit file is missing, and when a file cannot be read or says something unknown
    /// or out of range; the message has file, line and column.
    pub fn load(explicit: Option<&Path>, config_dir: &Path) -> Result<Config, ConfigError> {
        let path = explicit.map_or_else(|| config_dir.join(FILE_NAME), Path::to_owned);
        if explicit.is_none() && !crate::files::stands(&path) {
            return Ok(Config::default());
        }
        let text = source::read_text(&path)?;
        let mut config = Config::parse(&path.display().to_string(), &text)?;
        config.resolve_paths(path.parent().unwrap_or(Path::new("")));
        Ok(config)
    }

    /// Parses a config text; `name` stands in errors.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(name: &str, text: &str) -> Result<Config, ConfigError> {
        let source = ConfigSource { name, text };
        let mut table = source.parse()?;
        for key in table.get_ref().keys() {
            let word = key.get_ref().as_ref();
            if !KEYS.contains(&word) {
                let hint = source::suggestion(word, KEYS);
                return Err(source.error(key.span(), format!("unknown key '{word}': {hint}")));
            }
        }
        let keys = match table.get_mut().remove("keys") {
            Some(value) => bindings(source, source.table("keys", &value)?)?,
            None => Vec::new(),
        };
        let written = table.clone();
        let mut config = Config::deserialize(toml::Deserializer::from(table)).map_err(|e| source.toml_error(&e))?;
        config.check(source, &written)?;
        config.keys = keys;
        Ok(config)
    }

    /// Refuses values that no model allows; what depends on the model is checked when a run starts.
    fn check(&self, source: ConfigSource<'_>, written: &Spanned<DeTable<'_>>) -> Result<(), ConfigError> {
        let positive = |x: Option<usize>| x != Some(0);
        let checks = [
            (
                "theme",
                !self.theme.is_empty(),
                "expected a theme's name; `drllm-tui config --themes` lists them",
            ),
            ("device", is_device(&self.device), "expected auto, cpu, cuda:N or metal"),
            (
                "threads",
                self.threads.is_none_or(|n| (1..=1024).contains(&n)),
                "expected 1 to 1024; leave it out for one a core",
            ),
            (
                "dial",
                (-1.0..=1.0).contains(&self.dial),
                "expected -1 (skip all) to 1 (repeat all); -0.5 is the router itself",
            ),
            (
                "budget",
                positive(self.budget),
                "expected at least 1 block execution; leave it out for no budget",
            ),
            ("max_tokens", self.max_tokens > 0, "expected at least 1"),
            (
                "temperature",
                self.temperature.is_finite() && self.temperature >= 0.0,
                "expected 0 (greedy) or more",
            ),
            (
                "top_k",
                positive(self.top_k),
                "expected at least 1; leave it out to consider all tokens",
            ),
            (
                "top_p",
                self.top_p.is_none_or(|p| p > 0.0 && p <= 1.0),
                "expected more than 0, at most 1",
            ),
            (
                "repetition_penalty",
                self.repetition_penalty.is_finite() && self.repetition_penalty >= LEAST_PENALTY,
                "expected 0.001 or more; 1 changes nothing",
            ),
        ];
        let Some((key, _, expected)) = checks.into_iter().find(|(_, holds, _)| !holds) else {
            return Ok(());
        };
        let span = written.get_ref().get(key).map_or(0..0, Spanned::span);
        let value = source.text.get(span.clone()).unwrap_or_default();
        Err(source.error(span, format!("{key} is {value}: {expected}")))
    }

    /// Files named in a config are relative to it, wherever the program was started; `~/` is home.
    fn resolve_paths(&mut self, folder: &Path) {
        if let RouterChoice::File(path) = &mut self.routers {
            *path = resolve(folder, path);
        }
        // Without a leading dot or tilde a model may be a catalog's or a hub's name.
        if let Some(model) = &mut self.model
            && (model.starts_with("./") || model.starts_with("../") || model.starts_with("~/"))
        {
            *model = resolve(folder, Path::new(model)).display().to_string();
        }
    }

    /// The settings of a run under some routers as configured, without pins or program.
    pub fn settings(&self, routers: &RouterChoice) -> Settings {
        let scope = self.scope.unwrap_or_else(|| scope_of(routers));
        Settings {
            scope,
            kv: self.kv_in(routers, scope),
            dial: self.dial,
            budget: self.budget,
            shadow: self.shadow,
            max_tokens: self.max_tokens,
            sampling: Sampling {
                temperature: self.temperature,
                top_k: self.top_k,
                top_p: self.top_p,
                repetition_penalty: self.repetition_penalty,
                seed: self.seed,
            },
            ..Settings::default()
        }
    }

    /// What skipped layers are left with under some routers in a scope.
    pub fn kv_in(&self, routers: &RouterChoice, scope: Scope) -> KvMode {
        self.kv.unwrap_or_else(|| kv_of(routers, scope))
    }

    /// The model to load as configured.
    pub fn load_request(&self) -> LoadRequest {
        LoadRequest {
            model: self.model.clone(),
            routers: self.routers.clone(),
            device: self.device.clone(),
            exact: self.exact,
            threads: self.threads,
            iterations: None,
            activations: self.activations,
            kv_bits: self.kv_bits,
        }
    }
}

/// Reads a keymap's tables, `[context]` with `"key" = "action"`, in the order written.
///
/// # Errors
/// When an entry is not of that form.
pub fn bindings(source: ConfigSource<'_>, contexts: &DeTable<'_>) -> Result<Vec<KeyBinding>, ConfigError> {
    let mut found = Vec::new();
    for (context, table) in contexts {
        for (key, action) in source.table(context.get_ref(), table)? {
            found.push(KeyBinding {
                context: context.get_ref().to_string(),
                key: key.get_ref().to_string(),
                action: source.string(key.get_ref(), action)?.to_owned(),
                place: source.place(key.span().start),
            });
        }
    }
    Ok(found)
}

fn router_choice<'de, D: serde::Deserializer<'de>>(d: D) -> Result<RouterChoice, D::Error> {
    Ok(match String::deserialize(d)?.as_str() {
        "" => {
            return Err(serde::de::Error::custom(
                "expected built-in, verifier, dr-llm, none or a file",
            ));
        }
        routers => routers.into(),
    })
}

fn activation_bits<'de, D: serde::Deserializer<'de>>(d: D) -> Result<ActivationBits, D::Error> {
    match u8::deserialize(d)? {
        8 => Ok(ActivationBits::Eight),
        15 => Ok(ActivationBits::Fifteen),
        other => Err(serde::de::Error::custom(format!("{other} bits; expected 8 or 15"))),
    }
}

fn kv_bits<'de, D: serde::Deserializer<'de>>(d: D) -> Result<KvBits, D::Error> {
    match u8::deserialize(d)? {
        8 => Ok(KvBits::Eight),
        16 => Ok(KvBits::Sixteen),
        other => Err(serde::de::Error::custom(format!("{other} bits; expected 8 or 16"))),
    }
}

fn is_device(name: &str) -> bool {
    matches!(name, "auto" | "cpu" | "cuda" | "metal")
        || name.strip_prefix("cuda:").is_some_and(|n| n.parse::<usize>().is_ok())
}

/// A path written by the user: `~` is the home folder, other relative paths begin at `folder`.
pub fn resolve(folder: &Path, path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), directories::BaseDirs::new()) {
        (Ok(rest), Some(home)) => home.home_dir().join(rest),
        _ => folder.join(path),
    }
}

#[cfg(test)]
mod tests;
