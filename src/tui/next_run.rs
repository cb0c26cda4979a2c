//! What the next run will be: its settings and its routers, and what of them differs from the run on the screen.
//!
//! A recording is gone on with as it was made: opening one takes over what decided in it (scope, KV, dial, budget, pins,
//! program), and where its prompt is run again, how its tokens were drawn and its routers too. Another prompt runs under
//! the settings from before. What the user changes meanwhile holds for both.

use super::action::UiAction;
use super::app::{App, ModelState};
use super::dial;
use super::overrides;
use super::run::Run;
use super::ui::Focus;
use crate::engine::{Command, RouterChoice};
use crate::trace::{Calibration, ModelInfo, NEUTRAL_DIAL, Pin, RouterInfo, Settings};

/// Routers that are to be loaded before something is done.
#[derive(Clone, Debug, PartialEq)]
pub struct WantedRouters {
    /// What is looked for; absent where a run had no routers.
    pub routers: Option<RouterInfo>,
    /// Where they may be, the next one last.
    pub choices: Vec<RouterChoice>,
    /// The choice under way.
    pub trying: RouterChoice,
    /// What is done then.
    pub then: Vec<Command>,
    /// What was loaded; comes back where none of the choices is right.
    pub before: RouterChoice,
}

impl WantedRouters {
    /// Where routers of this name, or of none, may be: those that ship go by several names, so all of them are tried.
    pub fn choices(routers: Option<&RouterInfo>) -> Vec<RouterChoice> {
        let Some(routers) = routers else {
            return vec![RouterChoice::None];
        };
        let named = RouterChoice::from(routers.name.as_str());
        let mut choices: Vec<RouterChoice> = SHIPPED.into_iter().filter(|choice| *choice != named).collect();
        choices.reverse();
        if SHIPPED.contains(&named) {
            choices.push(named);
        }
        choices
    }
}

/// The choices of routers that ship.
pub const SHIPPED: [RouterChoice; 3] = [RouterChoice::BuiltIn, RouterChoice::DrLlm, RouterChoice::Verifier];

/// What routers are called.
pub fn name(routers: Option<&RouterInfo>) -> &str {
    routers.map_or("none", |routers| &routers.name)
}

/// Whether both are the same routers, or none.
pub fn same(a: Option<&RouterInfo>, b: Option<&RouterInfo>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.is_same(b),
        (a, b) => a.is_none() && b.is_none(),
    }
}

/// `settings` with what decides taken from `from`.
fn deciding(settings: &Settings, from: &Settings) -> Settings {
    Settings {
        scope: from.scope,
        kv: from.kv,
        dial: from.dial,
        budget: from.budget,
        pins: from.pins.clone(),
        excluded_experts: from.excluded_experts.clone(),
        program: from.program.clone(),
        shadow: from.shadow,
        ..settings.clone()
    }
}

impl App {
    /// The settings of the run on the screen; of the next one where there is none.
    pub fn settled(&self) -> &Settings {
        self.shown.as_ref().map_or(&self.settings, Run::settings)
    }

    /// The recording on the screen, if its settings were taken over.
    pub fn taken_over(&self) -> Option<&Run> {
        self.shown.as_ref().filter(|run| self.continues && run.is_recording())
    }

    /// The recording on the screen, if the next run goes on with it.
    pub fn continued(&self) -> Option<&Run> {
        self.taken_over().filter(|_| self.repeats_prompt())
    }

    /// Leaves the recording on the screen for another prompt: from here on the settings are the user's.
    pub fn leave_recording(&mut self) {
        if self.taken_over().is_some() && !self.repeats_prompt() {
            self.settings = self.next_settings();
            (self.own, self.continues) = (None, false);
        }
    }

    /// Why the model cannot go on with what a run of `made_with` left, and what helps; unescaped. `None` where it can.
    pub fn cannot_go_on(&self, made_with: &ModelInfo) -> Option<String> {
        if self.ready().is_none() && self.meanwhile.as_ref().is_some_and(|model| model.is_same(made_with)) {
            return Some(format!(
                "{} only runs prompts while another model is awaited: --model {} opens it with everything",
                made_with.name, made_with.name
            ));
        }
        match &self.model {
            ModelState::Loading { .. } => Some("the model is on its way: ask again when it is ready".to_owned()),
            ModelState::Missing(_) => Some("there is no model for this".to_owned()),
            ModelState::Ready { info, .. } if info.is_same(made_with) => None,
            ModelState::Ready { info, .. } => Some(match (info.looped, made_with.looped) {
                (Some(now), Some(then)) if info.sha256 == made_with.sha256 => {
                    let key = |action| {
                        let keys = self.ui.keymap.keys_for(action, Focus::Map.context());
                        keys.into_iter().next().unwrap_or_else(|| "the palette".to_owned())
                    };
                    format!(
                        "this run's loop ran {} times, now it runs {}: {} and {} in the map change that",
                        then.iterations,
                        now.iterations,
                        key(UiAction::MoreIterations),
                        key(UiAction::FewerIterations)
                    )
                }
                _ => format!(
                    "this run was made with the model {}, {} is loaded: load the former with --model",
                    made_with.name, info.name
                ),
            }),
        }
    }

    /// Why what is asked of the model about a run of `made_with` has no answer yet: it waits for the model, or cannot be;
    /// unescaped.
    pub fn waits_for_model(&self, made_with: &ModelInfo) -> Option<String> {
        let meanwhile = self.meanwhile.as_ref().is_some_and(|model| model.is_same(made_with));
        match &self.model {
            ModelState::Loading { .. } if !meanwhile => Some("waits for the model".to_owned()),
            ModelState::Missing(_) if !meanwhile => Some("needs the model, which is missing".to_owned()),
            _ => self.cannot_go_on(made_with),
        }
    }

    /// Takes over what decided in the recording on the screen. One of another model is shown alone: what an earlier one had
    /// taken over goes, for the next run is the user's own.
    pub fn take_over(&mut self) {
        let Some(run) = self.shown.as_ref().filter(|run| run.is_recording()) else {
            return;
        };
        let model = &run.trace.header.model;
        if self.ready().is_some_and(|ready| !ready.is_same(model)) {
            self.continues |= self.own.is_some();
            return self.give_back();
        }
        let settings = deciding(&self.settings, run.settings());
        if self.own.is_none() {
            self.own = Some(self.settings.clone());
        }
        self.settings = settings;
        self.continues = true;
    }

    /// Goes back to the settings from before a recording was opened.
    pub fn give_back(&mut self) {
        if !std::mem::take(&mut self.continues) {
            return;
        }
        if let Some(own) = self.own.take() {
            self.settings = deciding(&self.settings, &own);
        }
    }

    /// Whether the next run asks what the one on the screen was asked.
    pub fn repeats_prompt(&self) -> bool {
        let asked = |run: &Run| self.prompt.is_blank() || run.prompt_text() == Some(self.prompt.text());
        self.shown.as_ref().is_some_and(asked)
    }

    /// The settings of the next run.
    pub fn next_settings(&self) -> Settings {
        let mut next = self.settings.clone();
        let (Some(run), Some(own)) = (&self.shown, &self.own) else {
            return next;
        };
        // What the user has changed since stays: fields that still are as one of the two had them are taken from the other.
        macro_rules! untouched {
            ($from:expr, $to:expr; $($field:ident),+) => {
                $(if next.$field == $from.$field { next.$field = $to.$field.clone(); })+
            };
        }
        let was = run.settings();
        if self.repeats_prompt() {
            untouched!(own, was; max_tokens, ignore_eos, stop, raw, sampling);
        } else if self.taken_over().is_some() {
            untouched!(was, own; scope, kv, dial, budget, pins, program, shadow);
        }
        next
    }

    /// The pins of the next run.
    pub fn next_pins(&self) -> &[Pin] {
        let (Some(run), Some(own)) = (self.taken_over(), &self.own) else {
            return &self.settings.pins;
        };
        let untouched = self.settings.pins == run.settings().pins && self.settings.pins != own.pins;
        match untouched && !self.repeats_prompt() {
            true => &own.pins,
            false => &self.settings.pins,
        }
    }

    /// The routers that decide in the next run, or that there are none; `None` while that is not known.
    pub fn next_routers(&self) -> Option<Option<&RouterInfo>> {
        if let Some(run) = self.continued() {
            return Some(run.trace.header.routers.as_ref());
        }
        match &self.model {
            ModelState::Ready { routers, .. } => Some(routers.as_ref()),
            _ => None,
        }
    }

    /// What each position of the dial comes to in the next run, where that was measured.
    pub fn calibration(&self) -> Option<&Calibration> {
        dial::calibration(&self.next_settings(), self.next_routers()?)
    }

    /// What the next run would do otherwise than the one on the screen, in words.
    pub fn pending(&self) -> Vec<String> {
        let Some(run) = &self.shown else { return Vec::new() };
        let next = self.next_settings();
        let mut pending = overrides::changes(run.settings(), &next);
        let was = run.trace.header.routers.as_ref();
        if let Some(routers) = self.next_routers()
            && next.program.is_none()
            && !same(was, routers)
        {
            pending.insert(0, format!("routers {}", name(routers)));
        }
        let (ready, model) = (self.ready(), &run.trace.header.model);
        if let Some(ready) = ready.filter(|ready| !ready.is_same(model)) {
            pending.insert(0, format!("model {}", ready.title()));
        }
        pending
    }

    /// Takes every override back: pins, program, budget and dial; scope and KV are those that the routers were made for.
    pub fn clear_overrides(&mut self) {
        overrides::clear(&mut self.settings);
        let made = self.next_routers().flatten().map(|routers| (routers.scope, routers.kv));
        let (scope, kv) = made.unwrap_or_default();
        self.settings.scope = scope.unwrap_or(self.start.scope);
        self.settings.kv = kv.unwrap_or(self.start.kv);
        self.off.clear();
    }

    /// The settings that routers were made for, when the user chose them.
    pub fn suit(&mut self, routers: Option<&RouterInfo>) {
        self.continues = false;
        self.own = None;
        let Some(routers) = routers else { return };
        self.settings.scope = routers.scope.unwrap_or_default();
        self.settings.kv = routers.kv.unwrap_or_default();
        self.settings.dial = NEUTRAL_DIAL;
        (self.start.scope, self.start.kv) = (self.settings.scope, self.settings.kv);
    }
}
