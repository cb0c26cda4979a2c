//! What one cell of the map looks like. Every state has a glyph of its own, so that colours may be
//! missing: `·` skipped, `▄` run once, `█` run twice, capital letters are pins, small letters pins
//! that wait for the next run, notched glyphs mean that the token's own router disagrees.

use ratatui::style::{Modifier, Style};

use super::super::app::{App, MapMode};
use super::super::overrides::PinChange;
use super::super::run::Run;
use super::super::theme::{Role, Theme};
use crate::engine::{DecidedBy, Decision, NEUTRAL_DIAL};
use crate::program::Action;

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
        Action::Execute => '▄',
        Action::Repeat => '█',
    }
}

/// As [`glyph`], where router and dial would have done otherwise.
fn disagreeing(action: Action) -> char {
    match action {
        Action::Skip => ':',
        Action::Execute => '▞',
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

/// A pin that the next run will do without.
const UNPINNED: char = 'a';

/// Glyph and style of the cell of `layer` at `token`.
pub(super) fn look(app: &App, run: &Run, layer: usize, token: usize) -> (char, Style) {
    let Some(decision) = run.decision(layer, token) else {
        return (' ', Style::new());
    };
    match app.pin_change(layer, token) {
        Some(change) => (pending(change), waiting(&app.theme)),
        None => settled(&app.theme, app.map.mode, &decision),
    }
}

fn pending(change: PinChange) -> char {
    match change {
        PinChange::To(action) => letter(action, false),
        PinChange::Off => UNPINNED,
    }
}

/// How something looks that waits for the next run.
pub(super) fn waiting(theme: &Theme) -> Style {
    theme.style(Role::Pin).add_modifier(Modifier::ITALIC)
}

fn settled(theme: &Theme, mode: MapMode, decision: &Decision) -> (char, Style) {
    let action = decision.action;
    let own = theme.confidence(role(action), decision.confidence().unwrap_or(1.0));
    let by = match decision.by {
        DecidedBy::Program | DecidedBy::Router => Style::new(),
        DecidedBy::Dial => theme.style(Role::Dial),
        DecidedBy::Budget => theme.style(Role::Budget),
        DecidedBy::Pin => theme.style(Role::Pin),
    };
    match mode {
        MapMode::Decisions if decision.by == DecidedBy::Pin => (letter(action, true), own.patch(by)),
        MapMode::Decisions if decision.disagrees() => {
            (disagreeing(action), own.patch(by).patch(theme.style(Role::Disagree)))
        }
        MapMode::Decisions => (glyph(action), own.patch(by)),
        MapMode::Confidence => (decile(decision), own),
        MapMode::DecidedBy => (who(decision.by), own.patch(by)),
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
        DecidedBy::Dial => 'd',
        DecidedBy::Budget => 'b',
        DecidedBy::Pin => 'P',
    }
}

/// A cell `width` columns wide: blocks leave half a column free, so that columns can be told apart.
pub(super) fn widen(glyph: char, width: u16) -> String {
    let (body, end) = match glyph {
        '▄' => ('▄', '▖'),
        '█' => ('█', '▌'),
        '▞' => ('▞', '▖'),
        '▛' => ('▛', '▌'),
        _ => (' ', ' '),
    };
    let mut text = String::from(glyph);
    for column in 1..width {
        text.push(if column + 1 == width { end } else { body });
    }
    text
}

/// Glyph, style and meaning of what the map shows in its present mode.
pub(super) fn legend(app: &App) -> Vec<(String, Style, &'static str)> {
    let theme = &app.theme;
    let action = |a| (glyph(a).to_string(), theme.confidence(role(a), 1.0));
    let entry = |(glyph, style): (String, Style), meaning| (glyph, style, meaning);
    let by = |by, role, meaning| (who(by).to_string(), theme.style(role), meaning);
    match app.map.mode {
        MapMode::Decisions => {
            let mut entries = vec![
                entry(action(Action::Skip), "skipped"),
                entry(action(Action::Execute), "once"),
                entry(action(Action::Repeat), "twice"),
                ("SER".to_owned(), theme.style(Role::Pin), "pin"),
                ("ser".to_owned(), waiting(theme), "waiting pin"),
                (":▞▛".to_owned(), theme.style(Role::Disagree), "router disagrees"),
            ];
            // Only where they decided something there is something to tell apart.
            let settings = app.shown.as_ref().map(Run::settings);
            if settings.is_some_and(|s| s.dial != NEUTRAL_DIAL) {
                entries.push(("▄".to_owned(), theme.style(Role::Dial), "dial"));
            }
            if settings.is_some_and(|s| s.budget.is_some()) {
                entries.push(("▄".to_owned(), theme.style(Role::Budget), "budget"));
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
            by(DecidedBy::Router, Role::Text, "router"),
            by(DecidedBy::Dial, Role::Dial, "dial"),
            by(DecidedBy::Budget, Role::Budget, "budget"),
            by(DecidedBy::Pin, Role::Pin, "pin"),
        ],
    }
}
