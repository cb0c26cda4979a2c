//! The settings dialog: every setting of a run, shown and typed as text.

use super::app::App;
use super::dial;
use super::line_edit::LineEdit;
use super::next_run;
use crate::program::{Program, ProgramError, greatest_depth};
use crate::trace::{Calibration, KvMode, NEUTRAL_DIAL, Scope, Settings};

/// One setting of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingsField {
    /// Not one of [`Settings`]: they are loaded at once.
    Routers,
    /// [`Settings::scope`].
    Scope,
    /// [`Settings::kv`].
    Kv,
    /// [`Settings::dial`], or a mean depth where the dial was measured.
    Dial,
    /// [`Settings::budget`]; empty for none.
    Budget,
    /// [`Settings::program`]; empty for none.
    Program,
    /// [`Settings::max_tokens`].
    MaxTokens,
    /// `temperature` of [`Settings::sampling`].
    Temperature,
    /// `top_k` of [`Settings::sampling`]; empty for all tokens.
    TopK,
    /// `top_p` of [`Settings::sampling`]; empty for all tokens.
    TopP,
    /// `repetition_penalty` of [`Settings::sampling`].
    RepetitionPenalty,
    /// `seed` of [`Settings::sampling`].
    Seed,
    /// [`Settings::shadow`], on or off.
    Shadow,
    /// [`Settings::raw`], on or off.
    Raw,
    /// [`Settings::ignore_eos`], on or off.
    IgnoreEos,
}

/// Why a typed value was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The character it is about, from 1, if any.
    pub column: Option<usize>,
    /// What is wrong, and what was expected.
    pub message: String,
}

impl SettingsField {
    /// Every field, in the order of the dialog.
    pub const ALL: [SettingsField; 15] = [
        SettingsField::Routers,
        SettingsField::Scope,
        SettingsField::Kv,
        SettingsField::Dial,
        SettingsField::Budget,
        SettingsField::Program,
        SettingsField::MaxTokens,
        SettingsField::Temperature,
        SettingsField::TopK,
        SettingsField::TopP,
        SettingsField::RepetitionPenalty,
        SettingsField::Seed,
        SettingsField::Shadow,
        SettingsField::Raw,
        SettingsField::IgnoreEos,
    ];

    /// What the dialog calls it.
    pub fn name(self) -> &'static str {
        match self {
            SettingsField::Routers => "routers",
            SettingsField::Scope => "scope",
            SettingsField::Kv => "kv",
            SettingsField::Dial => "dial",
            SettingsField::Budget => "budget",
            SettingsField::Program => "program",
            SettingsField::MaxTokens => "max tokens",
            SettingsField::Temperature => "temperature",
            SettingsField::TopK => "top-k",
            SettingsField::TopP => "top-p",
            SettingsField::RepetitionPenalty => "repetition penalty",
            SettingsField::Seed => "seed",
            SettingsField::Shadow => "shadow routing",
            SettingsField::Raw => "raw prompt",
            SettingsField::IgnoreEos => "ignore end token",
        }
    }

    /// What it does and what is allowed.
    pub fn hint(self) -> &'static str {
        match self {
            SettingsField::Routers => "built-in, dr-llm, verifier, none, or the path of a checkpoint: loaded at once",
            SettingsField::Scope => "prompt: routers decide once, for the whole answer. token: at every token",
            SettingsField::Kv => {
                "what a token leaves in a layer that it skips. ragged: nothing. fill: its key and value there"
            }
            SettingsField::Dial => {
                "-1 skip all, -0.5 the routers themselves, 0.5 execute all, 1 repeat all; or, where it was measured, a mean \
                 depth: a number over 1"
            }
            SettingsField::Budget => "the most block executions a token may take; empty for none",
            SettingsField::Program => "fixed, instead of routers: 0-11 13-29, 7x2, (4-6)x2, 7x2~0.5; empty: none",
            SettingsField::MaxTokens => "the answer ends after this many tokens",
            SettingsField::Temperature => "0 always takes the likeliest token",
            SettingsField::TopK => "draw among this many likeliest tokens; empty for all",
            SettingsField::TopP => "draw among the likeliest tokens of this probability; empty for all",
            SettingsField::RepetitionPenalty => "over 1 makes repetition less likely; 1 changes nothing",
            SettingsField::Seed => "the same seed draws the same tokens",
            SettingsField::Shadow => "in scope prompt, ask the routers at every token what they would have done",
            SettingsField::Raw => "the prompt as it is, without the chat template",
            SettingsField::IgnoreEos => "go on after the model's end token",
        }
    }

    /// The value as it would be typed.
    pub fn value(self, settings: &Settings) -> String {
        let optional = |value: Option<String>| value.unwrap_or_default();
        let sampling = &settings.sampling;
        match self {
            SettingsField::Routers => String::new(),
            SettingsField::Scope => settings.scope.to_string(),
            SettingsField::Kv => settings.kv.to_string(),
            SettingsField::Dial => settings.dial.to_string(),
            SettingsField::Budget => optional(settings.budget.map(|b| b.to_string())),
            SettingsField::Program => optional(settings.program.as_ref().map(Program::to_string)),
            SettingsField::MaxTokens => settings.max_tokens.to_string(),
            SettingsField::Temperature => sampling.temperature.to_string(),
            SettingsField::TopK => optional(sampling.top_k.map(|k| k.to_string())),
            SettingsField::TopP => optional(sampling.top_p.map(|p| p.to_string())),
            SettingsField::RepetitionPenalty => sampling.repetition_penalty.to_string(),
            SettingsField::Seed => sampling.seed.to_string(),
            SettingsField::Shadow => on_off(settings.shadow),
            SettingsField::Raw => on_off(settings.raw),
            SettingsField::IgnoreEos => on_off(settings.ignore_eos),
        }
    }

    /// The value as it is shown.
    pub fn shown(self, app: &App) -> String {
        match (self, app.continued()) {
            (SettingsField::Routers, None) => app.routers.to_string(),
            (SettingsField::Routers, Some(run)) => next_run::name(run.trace.header.routers.as_ref()).to_owned(),
            (SettingsField::Dial, _) => rounded(app.settings.dial),
            (field, _) => field.value(&app.next_settings()),
        }
    }

    /// Whether the next run has it otherwise than the one on the screen.
    pub fn is_pending(self, app: &App) -> bool {
        let was = app.shown.as_ref().map(|run| run.trace.header.routers.as_ref());
        match (self, was, app.next_routers()) {
            (SettingsField::Routers, Some(was), Some(next)) => !next_run::same(was, next),
            (field, ..) => field.value(&app.next_settings()) != field.value(app.settled()),
        }
    }

    /// Takes a typed value; `layers` are the model's, where they are known, and `calibration` says what depths the dial
    /// comes to.
    ///
    /// # Errors
    /// When it is malformed or out of range. Nothing has changed then.
    pub fn set(
        self,
        settings: &mut Settings,
        text: &str,
        layers: Option<usize>,
        calibration: Option<&Calibration>,
    ) -> Result<(), FieldError> {
        let mut changed = settings.clone();
        match self {
            SettingsField::Dial => {
                let refused = |message| FieldError { column: None, message };
                changed.dial = dial::parse(text.trim(), calibration).map_err(refused)?;
            }
            _ => self.assign(&mut changed, text.trim(), text, layers)?,
        }
        // What depends on the model is checked when it is there.
        let refused = |message| FieldError { column: None, message };
        changed.check(layers.unwrap_or(usize::MAX / 4)).map_err(refused)?;
        *settings = changed;
        Ok(())
    }

    fn assign(self, s: &mut Settings, text: &str, typed: &str, layers: Option<usize>) -> Result<(), FieldError> {
        match self {
            SettingsField::Scope => {
                s.scope = match text {
                    "prompt" => Scope::Prompt,
                    "token" => Scope::Token,
                    _ => return Err(self.refuse(text, "prompt or token")),
                }
            }
            SettingsField::Kv => {
                let known = KvMode::ALL.into_iter().find(|mode| mode.name() == text);
                s.kv = known.ok_or_else(|| self.refuse(text, "ragged or fill"))?;
            }
            // These two are no plain settings.
            SettingsField::Routers | SettingsField::Dial => {}
            SettingsField::Budget => s.budget = self.optional(text, "a number of block executions, or nothing")?,
            SettingsField::Program if text.is_empty() => s.program = None,
            SettingsField::Program => {
                let program = Program::parse(typed, layers.unwrap_or(4096)).map_err(|e| FieldError {
                    column: Some(column(&e)),
                    message: e.to_string(),
                })?;
                s.program = Some(program);
            }
            SettingsField::MaxTokens => {
                s.max_tokens = self.parse(text, "a whole number from 1")?;
                if s.max_tokens == 0 {
                    return Err(self.refuse(text, "a whole number from 1"));
                }
            }
            SettingsField::Temperature => s.sampling.temperature = self.parse(text, "0 or more")?,
            SettingsField::TopK => s.sampling.top_k = self.optional(text, "a whole number from 1, or nothing")?,
            SettingsField::TopP => s.sampling.top_p = self.optional(text, "a number over 0, at most 1, or nothing")?,
            SettingsField::RepetitionPenalty => s.sampling.repetition_penalty = self.parse(text, "a number over 0")?,
            SettingsField::Seed => s.sampling.seed = self.parse(text, "a whole number")?,
            SettingsField::Shadow => s.shadow = self.switch(text)?,
            SettingsField::Raw => s.raw = self.switch(text)?,
            SettingsField::IgnoreEos => s.ignore_eos = self.switch(text)?,
        }
        Ok(())
    }

    /// Whether it has two values.
    pub fn is_switch(self) -> bool {
        self.toggle(&mut Settings::default())
    }

    /// Switches a setting that has two values; whether it is one.
    pub fn toggle(self, settings: &mut Settings) -> bool {
        match self {
            SettingsField::Scope => settings.scope = other(settings.scope),
            SettingsField::Kv => {
                settings.kv = match settings.kv {
                    KvMode::Ragged => KvMode::Fill,
                    KvMode::Fill => KvMode::Ragged,
                }
            }
            SettingsField::Shadow => settings.shadow = !settings.shadow,
            SettingsField::Raw => settings.raw = !settings.raw,
            SettingsField::IgnoreEos => settings.ignore_eos = !settings.ignore_eos,
            _ => return false,
        }
        true
    }

    fn parse<T: std::str::FromStr>(self, text: &str, expected: &str) -> Result<T, FieldError> {
        text.parse().map_err(|_| self.refuse(text, expected))
    }

    fn optional<T: std::str::FromStr>(self, text: &str, expected: &str) -> Result<Option<T>, FieldError> {
        match text {
            "" | "none" => Ok(None),
            text => self.parse(text, expected).map(Some),
        }
    }

    fn switch(self, text: &str) -> Result<bool, FieldError> {
        match text {
            "on" | "yes" | "true" => Ok(true),
            "off" | "no" | "false" => Ok(false),
            _ => Err(self.refuse(text, "on or off")),
        }
    }

    fn refuse(self, text: &str, expected: &str) -> FieldError {
        FieldError {
            column: None,
            message: format!(
                "the {} is '{}': expected {expected}",
                self.name(),
                text.escape_default()
            ),
        }
    }
}

/// A dial in three decimals at most: steps of half a layer have many.
pub fn rounded(dial: f64) -> String {
    ((dial * 1000.0).round() / 1000.0).to_string()
}

fn on_off(on: bool) -> String {
    if on { "on" } else { "off" }.to_owned()
}

/// The scope that `scope` is not.
pub fn other(scope: Scope) -> Scope {
    match scope {
        Scope::Prompt => Scope::Token,
        Scope::Token => Scope::Prompt,
    }
}

pub(super) fn column(error: &ProgramError) -> usize {
    match error {
        ProgramError::Syntax { column, .. }
        | ProgramError::UnknownLayer { column, .. }
        | ProgramError::Backwards { column, .. }
        | ProgramError::TooLong { column, .. } => *column,
    }
}

/// A budget one layer up or down: beyond twice the model's layers there is none. The first one is a layer below
/// `deepest`, the depth of the deepest token there is, or below the model's layers.
pub fn step_budget(budget: Option<usize>, up: bool, layers: usize, deepest: Option<usize>) -> Option<usize> {
    match (budget, up) {
        (None, true) => None,
        (None, false) => Some(deepest.unwrap_or(layers).saturating_sub(1).max(1)),
        (Some(b), true) => Some(b + 1).filter(|b| *b <= greatest_depth(layers)),
        (Some(b), false) => Some(b.saturating_sub(1).max(1)),
    }
}

/// The dial a twentieth further, without leaving its range or gathering rounding errors.
pub fn step_dial(dial: f64, up: bool) -> f64 {
    let steps = (dial * 20.0).round() + if up { 1.0 } else { -1.0 };
    (steps / 20.0).clamp(-1.0, 1.0)
}

/// The dialog's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsDialog {
    /// Index into [`SettingsField::ALL`].
    pub row: usize,
    /// The value of the selected field, while it is typed.
    pub edit: Option<LineEdit>,
    /// Opened for one field: accepting it closes the dialog.
    pub single: bool,
}

impl SettingsDialog {
    /// Opened on one field with its value, ready to type.
    pub fn editing(field: SettingsField, value: String) -> SettingsDialog {
        SettingsDialog {
            row: SettingsField::ALL.iter().position(|f| *f == field).unwrap_or(0),
            edit: Some(LineEdit::new(value)),
            single: true,
        }
    }

    /// The field of the selected row.
    pub fn field(&self) -> SettingsField {
        SettingsField::ALL[self.row.min(SettingsField::ALL.len() - 1)]
    }
}

/// Whether a setting is not at its neutral value.
pub fn is_set(field: SettingsField, settings: &Settings) -> bool {
    match field {
        SettingsField::Dial => settings.dial != NEUTRAL_DIAL,
        SettingsField::Budget => settings.budget.is_some(),
        SettingsField::Program => settings.program.is_some(),
        _ => field.value(settings) != field.value(&Settings::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_as_they_are_shown() {
        let settings = Settings {
            budget: Some(25),
            program: Some(Program::parse("0-11 13-29", 30).unwrap()),
            ..Settings::default()
        };
        for field in SettingsField::ALL {
            let mut copy = settings.clone();
            field
                .set(&mut copy, &field.value(&settings), Some(30), None)
                .map_err(|e| e.message)
                .unwrap_or(());
            // A program deeper than the budget is refused, everything else comes back as it was.
            if !matches!(field, SettingsField::Budget | SettingsField::Program) {
                assert_eq!(field.value(&copy), field.value(&settings), "{}", field.name());
            }
        }
    }

    #[test]
    fn wrong_values_change_nothing_and_say_why() {
        let mut settings = Settings::default();
        for (field, text, part) in [
            (SettingsField::Budget, "0", "1 to 60"),
            (SettingsField::Budget, "many", "number of block executions"),
            (SettingsField::Dial, "2", "-1 (skip all)"),
            (SettingsField::Program, "0-11 13-99", "column 9"),
            (SettingsField::MaxTokens, "0", "from 1"),
            (SettingsField::Scope, "layer", "prompt or token"),
            (SettingsField::Seed, "-1", "whole number"),
            (SettingsField::TopP, "0", "top-p"),
            (SettingsField::Raw, "maybe", "on or off"),
        ] {
            let error = field.set(&mut settings, text, Some(30), None).unwrap_err();
            assert!(error.message.contains(part), "{}: {}", field.name(), error.message);
        }
        assert_eq!(settings, Settings::default());
        let error = SettingsField::Program
            .set(&mut settings, "  0-3 y", Some(30), None)
            .unwrap_err();
        assert_eq!(error.column, Some(7));
    }

    #[test]
    fn budget_and_dial_step_within_their_ranges() {
        assert_eq!(step_budget(None, false, 30, None), Some(29));
        assert_eq!(step_budget(None, false, 30, Some(27)), Some(26));
        assert_eq!(step_budget(None, true, 30, Some(27)), None);
        assert_eq!(step_budget(Some(1), false, 30, None), Some(1));
        assert_eq!(step_budget(Some(60), true, 30, None), None);
        let up = (0..40).fold(-1.0, |dial, _| step_dial(dial, true));
        assert_eq!(up, 1.0);
        assert_eq!(step_dial(-0.55, true), NEUTRAL_DIAL);
        assert_eq!(step_dial(-1.0, false), -1.0);
    }
}
