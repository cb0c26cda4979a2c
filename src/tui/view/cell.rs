//! What one cell of the map looks like. Skips are the figure: a layer that was executed is a quiet filled cell, a
//! skipped one a hole in the field with a dot, a repeated one bright. Every state has a glyph of its own, so that
//! colours may be missing: `·` skipped, `▓` run once, `█` run twice, capital letters are pins, small letters pins that
//! wait for the next run, a cell with a corner missing means that the token's own router disagrees. For a screen reader
//! a cell is a letter or a digit: how often the layer ran.

use ratatui::style::{Color, Modifier, Style};

use super::super::app::App;
use super::super::overrides::PinChange;
use super::super::run::Run;
use super::super::theme::{Role, Theme};
use super::super::ui::MapMode;
use crate::program::Action;
use crate::trace::{DecidedBy, Decision, NEUTRAL_DIAL, Scope};

/// The role of an action.
pub(super) fn role(action: Action) -> Role {
    match action {
        Action::Skip => Role::Skip,
        Action::Execute => Role::Execute,
        Action::Repeat => Role::Repeat,
    }
}

/// How an action is drawn: the fuller, the more is executed. For a screen reader the number of executions.
pub(super) fn glyph(app: &App, action: Action) -> char {
    match action {
        _ if app.ui.screen_reader => digit(action),
        _ => block(action),
    }
}

/// [`glyph`] on a screen that is looked at.
pub(super) fn block(action: Action) -> char {
    match action {
        Action::Skip => '·',
        Action::Execute => '▓',
        Action::Repeat => '█',
    }
}

fn digit(action: Action) -> char {
    match action {
        Action::Skip => '0',
        Action::Execute => '1',
        Action::Repeat => '2',
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
    decision.map_or(Look::NONE, |decision| look_of(app, run, &decision, layer, token))
}

/// As [`look`], of a cell whose decision is known.
pub(super) fn look_of(app: &App, run: &Run, decision: &Decision, layer: usize, token: usize) -> Look {
    let cell = settled(app, run, decision);
    let cell = if app.ui.screen_reader {
        read_out(cell, decision)
    } else {
        cell
    };
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

/// A cell for a screen reader: one letter or digit, whatever its width. That the router disagrees is in the words of the
/// cell that is selected.
fn read_out(cell: Look, decision: &Decision) -> Look {
    let glyph = match cell.glyph.is_alphanumeric() || cell.glyph == '-' {
        true => cell.glyph,
        false => digit(decision.action),
    };
    Look {
        glyph,
        field: ' ',
        ..cell
    }
}

fn settled(app: &App, run: &Run, decision: &Decision) -> Look {
    let (theme, mode) = (&app.ui.theme, app.ui.map.mode);
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
        Action::Execute => (block(action), theme.fill(by.unwrap_or(Role::Execute), confidence)),
        Action::Repeat => (block(action), strong),
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
        MapMode::Decisions if action == Action::Skip => (block(action), field_style),
        MapMode::Decisions => (field, field_style),
        MapMode::Confidence => (decile(decision), sign(theme.style(role(action)))),
        MapMode::DecidedBy => (who(run, decision.by), sign(theme.style(by.unwrap_or(role(action))))),
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

/// Who decided, in a letter: `n` where no router was asked and no program was set.
fn who(run: &Run, by: DecidedBy) -> char {
    match by {
        DecidedBy::Program if run.settings().program.is_some() => 'f',
        DecidedBy::Program => 'n',
        DecidedBy::Router => 'r',
        DecidedBy::Predictor => 'p',
        DecidedBy::Dial => 'd',
        DecidedBy::Budget => 'b',
        DecidedBy::Pin => 'P',
    }
}

/// A glyph, how it looks, and what it means.
type Entry = (String, Style, &'static str);

/// Glyph, style and meaning of what the map shows in its present mode; `stacked` where a line of it is two layers.
pub(super) fn legend(app: &App, stacked: bool) -> Vec<Entry> {
    match app.ui.map.mode {
        _ if app.ui.map.lens => super::lens::legend(app),
        MapMode::Decisions => {
            let actions = if stacked { of_two_layers(app) } else { of_a_layer(app) };
            actions.into_iter().chain(overruled(app)).collect()
        }
        MapMode::Confidence => {
            let theme = &app.ui.theme;
            let meaning = match stacked {
                true => "the router's confidence in tenths, the lesser of two layers",
                false => "the router's confidence in tenths",
            };
            vec![
                ("3-9".to_owned(), theme.style(Role::Text), meaning),
                ("-".to_owned(), theme.style(Role::Muted), "no router asked"),
            ]
        }
        MapMode::DecidedBy => deciders(app),
    }
}

fn action_entry(app: &App, action: Action, meaning: &'static str) -> Entry {
    let style = match action {
        Action::Execute => app.ui.theme.fill(Role::Execute, 1.0),
        action => app.ui.theme.confidence(role(action), 1.0),
    };
    (glyph(app, action).to_string(), style, meaning)
}

/// What a cell of one layer means.
fn of_a_layer(app: &App) -> Vec<Entry> {
    let theme = &app.ui.theme;
    let mut entries = vec![
        action_entry(app, Action::Skip, "skipped"),
        action_entry(app, Action::Execute, "once"),
        action_entry(app, Action::Repeat, "twice"),
        ("SER".to_owned(), theme.style(Role::Pin), "pin"),
        ("ser".to_owned(), waiting(theme), "waiting pin"),
    ];
    if !app.ui.screen_reader {
        entries.push((":▙▛".to_owned(), theme.style(Role::Disagree), "router disagrees"));
    }
    entries
}

/// What a cell of two layers means, what matters most first; of the rarer signs only those that this run can have.
fn of_two_layers(app: &App) -> Vec<Entry> {
    let theme = &app.ui.theme;
    let ran = glyph_style(theme, Action::Execute);
    let mut entries = vec![
        ("▀".to_owned(), ran, "lower skipped"),
        ("▄".to_owned(), ran, "upper skipped"),
        action_entry(app, Action::Skip, "both"),
        action_entry(app, Action::Execute, "once"),
    ];
    let Some(run) = &app.shown else { return entries };
    if run.share_of(Action::Repeat) > 0.0 {
        entries.push(action_entry(app, Action::Repeat, "twice"));
    }
    if run.trace.header.routers.is_some() && run.settings().scope == Scope::Prompt {
        entries.push(("▙▛▌▘▖".to_owned(), theme.style(Role::Disagree), "router differs"));
    }
    if !run.settings().pins.is_empty() {
        entries.push(("SER".to_owned(), theme.style(Role::Pin), "pin"));
    }
    if app.settled().pins != app.next_settings().pins {
        entries.push(("ser".to_owned(), waiting(theme), "waiting pin"));
    }
    if run.share_of(Action::Repeat) > 0.0 {
        entries.push(("2".to_owned(), theme.confidence(Role::Repeat, 1.0), "one twice"));
    }
    entries
}

/// Whose decisions have a colour of their own, where they decided something.
fn overruled(app: &App) -> Vec<Entry> {
    let theme = &app.ui.theme;
    let settings = app.shown.as_ref().map(Run::settings);
    let mut entries = Vec::new();
    // Without blocks there are no colours to tell apart.
    let Some(settings) = settings.filter(|_| !app.ui.screen_reader) else {
        return entries;
    };
    if settings.dial != NEUTRAL_DIAL {
        entries.push(("▓".to_owned(), theme.fill(Role::Dial, 1.0), "dial"));
    }
    if settings.budget.is_some() {
        entries.push(("▓".to_owned(), theme.fill(Role::Budget, 1.0), "budget"));
    }
    entries
}

fn deciders(app: &App) -> Vec<Entry> {
    let Some(run) = &app.shown else { return Vec::new() };
    let by = |by, role, meaning| (who(run, by).to_string(), app.ui.theme.style(role), meaning);
    vec![
        match run.settings().program.is_some() {
            true => by(DecidedBy::Program, Role::Text, "fixed program"),
            false => by(DecidedBy::Program, Role::Text, "no router asked"),
        },
        match run.candidates().is_empty() {
            true => by(DecidedBy::Router, Role::Text, "router"),
            false => by(DecidedBy::Predictor, Role::Text, "predictor"),
        },
        by(DecidedBy::Dial, Role::Dial, "dial"),
        by(DecidedBy::Budget, Role::Budget, "budget"),
        by(DecidedBy::Pin, Role::Pin, "pin"),
    ]
}
