//! What one cell of the map looks like. Skips are the figure: a layer that was executed is a quiet filled cell, a
//! skipped one a hole in the field with a dot, a repeated one bright. Every state has a glyph of its own, so that
//! colours may be missing: `·` skipped, `▓` run once, `█` run twice, capital letters are pins, small letters pins that
//! wait for the next run, a cell with a corner missing means that the token's own router disagrees.

use ratatui::style::{Color, Modifier, Style};

use super::super::app::App;
use super::super::overrides::PinChange;
use super::super::run::Run;
use super::super::theme::{Role, Theme};
use super::super::ui::MapMode;
use crate::program::Action;
use crate::trace::{DecidedBy, Decision, NEUTRAL_DIAL};

/// The role of an action.
pub(super) fn role(action: Action) -> Role {
    match action {
        Action::Skip => Role::Skip,
        Action::Execute => Role::Execute,
        Action::Repeat => Role::Repeat,
    }
}

/// How an action is drawn: the fuller, the more is executed.
pub(super) fn glyph(action: Action) -> char {
    match action {
        Action::Skip => '·',
        Action::Execute => '▓',
        Action::Repeat => '█',
    }
}

/// How [`glyph`] looks by itself.
pub(super) fn glyph_style(theme: &Theme, action: Action) -> Style {
    match action {
        Action::Execute => theme.fill(Role::Execute, 1.0),
        action => theme.style(role(action)),
    }
}

/// As [`glyph`], where router and dial would have done otherwise.
fn disagreeing(action: Action) -> char {
    match action {
        Action::Skip => ':',
        Action::Execute => '▙',
        Action::Repeat => '▛',
    }
}

/// A pin's letter: capital when it was carried out, small while it waits for the next run.
pub(super) fn letter(action: Action, settled: bool) -> char {
    match (action, settled) {
        (Action::Skip, true) => 'S',
        (Action::Execute, true) => 'E',
        (Action::Repeat, true) => 'R',
        (Action::Skip, false) => 's',
        (Action::Execute, false) => 'e',
        (Action::Repeat, false) => 'r',
    }
}

/// One cell of the map.
pub(super) struct Look {
    pub glyph: char,
    pub style: Style,
    /// What stands beside the glyph where a cell is wider.
    pub field: char,
    pub field_style: Style,
}

impl Look {
    pub(super) const NONE: Look = Look {
        glyph: ' ',
        style: Style::new(),
        field: ' ',
        field_style: Style::new(),
    };

    /// Glyphs and styles of the cell's columns: its own glyph in the middle, or left of it.
    pub fn columns(&self, width: u16) -> impl Iterator<Item = (char, Style)> + '_ {
        let own = width.saturating_sub(1) / 2;
        (0..width).map(move |column| match column == own {
            true => (self.glyph, self.style),
            false => (self.field, self.field_style),
        })
    }
}

/// The cell of `layer` at `token`.
pub(super) fn look(app: &App, run: &Run, layer: usize, token: usize) -> Look {
    let decision = run.decision(layer, token);
    decision.map_or(Look::NONE, |decision| look_of(app, &decision, layer, token))
}

/// As [`look`], of a cell whose decision is known.
pub(super) fn look_of(app: &App, decision: &Decision, layer: usize, token: usize) -> Look {
    let cell = settled(&app.ui.theme, app.ui.map.mode, decision);
    match app.pin_change(layer, token) {
        Some(change) => Look {
            glyph: pending(change, decision.action),
            style: on(&cell.field_style, waiting(&app.ui.theme)),
            ..cell
        },
        None => cell,
    }
}

/// A sign on a field: the field's background stays.
fn on(field: &Style, sign: Style) -> Style {
    Style { bg: field.bg, ..sign }
}

/// The letter of what the next run will have pinned; of what it will not have any more the one that this run had.
fn pending(change: PinChange, was: Action) -> char {
    match change {
        PinChange::To(action, _) => letter(action, false),
        PinChange::Off => letter(was, true),
    }
}

/// How something looks that waits for the next run.
pub(super) fn waiting(theme: &Theme) -> Style {
    theme.style(Role::Pin).add_modifier(Modifier::ITALIC)
}

fn settled(theme: &Theme, mode: MapMode, decision: &Decision) -> Look {
    let action = decision.action;
    let confidence = decision.confidence().unwrap_or(1.0);
    let by = match decision.by {
        DecidedBy::Program | DecidedBy::Router | DecidedBy::Predictor | DecidedBy::Pin => None,
        DecidedBy::Dial => Some(Role::Dial),
        DecidedBy::Budget => Some(Role::Budget),
    };
    let strong = match by {
        Some(role) => theme.style(role),
        None => theme.confidence(role(action), confidence),
    };
    let (field, field_style) = match action {
        Action::Skip => (' ', Style { bg: None, ..strong }),
        Action::Execute => (glyph(action), theme.fill(by.unwrap_or(Role::Execute), confidence)),
        Action::Repeat => (glyph(action), strong),
    };
    // Signs on a bright field are dark.
    let sign = |style: Style| match action {
        Action::Repeat => theme.style(Role::Cursor).patch(Style {
            fg: None,
            bg: strong.fg,
            ..style
        }),
        _ => on(&field_style, style),
    };
    let (glyph, style) = match mode {
        MapMode::Decisions if decision.by == DecidedBy::Pin => (letter(action, true), sign(theme.style(Role::Pin))),
        MapMode::Decisions if decision.disagrees() => {
            let other = theme.style(Role::Disagree);
            // The missing corner has the colour of disagreement.
            let style = match (action, field_style.fg) {
                (Action::Skip, _) | (_, None | Some(Color::Reset)) => other,
                (_, Some(fill)) => Style::new().fg(fill).bg(other.fg.unwrap_or_default()),
            };
            (disagreeing(action), style)
        }
        MapMode::Decisions if action == Action::Skip => (glyph(action), field_style),
        MapMode::Decisions => (field, field_style),
        MapMode::Confidence => (decile(decision), sign(theme.style(role(action)))),
        MapMode::DecidedBy => (who(decision.by), sign(theme.style(by.unwrap_or(role(action))))),
    };
    Look {
        glyph,
        style,
        field,
        field_style,
    }
}

/// Confidence in tenths; `-` where no router was asked.
fn decile(decision: &Decision) -> char {
    let tenths = decision.confidence().map(|c| (c * 10.0).clamp(0.0, 9.0) as u32);
    tenths.and_then(|t| char::from_digit(t, 10)).unwrap_or('-')
}

fn who(by: DecidedBy) -> char {
    match by {
        DecidedBy::Program => '·',
        DecidedBy::Router => 'r',
        DecidedBy::Predictor => 'p',
        DecidedBy::Dial => 'd',
        DecidedBy::Budget => 'b',
        DecidedBy::Pin => 'P',
    }
}

/// Glyph, style and meaning of what the map shows in its present mode.
pub(super) fn legend(app: &App) -> Vec<(String, Style, &'static str)> {
    if app.ui.map.lens {
        return super::lens::legend(app);
    }
    let theme = &app.ui.theme;
    let action = |a| match a {
        Action::Execute => (glyph(a).to_string(), theme.fill(Role::Execute, 1.0)),
        a => (glyph(a).to_string(), theme.confidence(role(a), 1.0)),
    };
    let entry = |(glyph, style): (String, Style), meaning| (glyph, style, meaning);
    let by = |by, role, meaning| (who(by).to_string(), theme.style(role), meaning);
    match app.ui.map.mode {
        MapMode::Decisions => {
            let mut entries = vec![
                entry(action(Action::Skip), "skipped"),
                entry(action(Action::Execute), "once"),
                entry(action(Action::Repeat), "twice"),
                ("SER".to_owned(), theme.style(Role::Pin), "pin"),
                ("ser".to_owned(), waiting(theme), "waiting pin"),
                (":▙▛".to_owned(), theme.style(Role::Disagree), "router disagrees"),
            ];
            // Only where they decided something there is something to tell apart.
            let settings = app.shown.as_ref().map(Run::settings);
            if settings.is_some_and(|s| s.dial != NEUTRAL_DIAL) {
                entries.push(("▓".to_owned(), theme.fill(Role::Dial, 1.0), "dial"));
            }
            if settings.is_some_and(|s| s.budget.is_some()) {
                entries.push(("▓".to_owned(), theme.fill(Role::Budget, 1.0), "budget"));
            }
            entries
        }
        MapMode::Confidence => vec![
            (
                "3-9".to_owned(),
                theme.style(Role::Text),
                "the router's confidence in tenths",
            ),
            ("-".to_owned(), theme.style(Role::Muted), "no router asked"),
        ],
        MapMode::DecidedBy => vec![
            by(DecidedBy::Program, Role::Text, "fixed program"),
            match app.shown.as_ref().is_some_and(|run| !run.candidates().is_empty()) {
                true => by(DecidedBy::Predictor, Role::Text, "predictor"),
                false => by(DecidedBy::Router, Role::Text, "router"),
            },
            by(DecidedBy::Dial, Role::Dial, "dial"),
            by(DecidedBy::Budget, Role::Budget, "budget"),
            by(DecidedBy::Pin, Role::Pin, "pin"),
        ],
    }
}
