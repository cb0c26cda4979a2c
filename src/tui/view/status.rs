//! The line at the top: state, model, and everything that decides.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;

use super::super::action::UiAction;
use super::super::app::{App, Focus, ModelState};
use super::super::overrides::dial_meaning;
use super::super::run::{Origin, Progress, Run};
use super::super::theme::Role;
use super::put;
use crate::engine::{KvMode, NEUTRAL_DIAL, StopReason};
use crate::text::escape_controls;

/// Frames of the sign that something goes on, and how long one stands.
const SPINNER: [&str; 4] = ["◐", "◓", "◑", "◒"];
const FRAME: Duration = Duration::from_millis(160);

const BETWEEN: &str = " │ ";

/// A part of the line; the least important are left out first.
struct Part {
    text: String,
    role: Role,
    /// 0 stays longest.
    rank: u8,
}

pub(super) fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let bar = app.theme.style(Role::StatusBar);
    buffer.set_style(area, bar);
    let parts = fitting(parts(app), usize::from(area.width));
    let mut x = 1;
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            x += put(buffer, area, x, 0, BETWEEN, bar.patch(muted(app)));
        }
        x += put(buffer, area, x, 0, &part.text, bar.patch(on_bar(app, part.role)));
    }
}

/// A role's foreground and modifiers: the bar's background stays.
fn on_bar(app: &App, role: Role) -> Style {
    let mut style = app.theme.style(role);
    style.bg = None;
    if style.fg == Some(ratatui::style::Color::Reset) {
        style.fg = None;
    }
    style
}

fn muted(app: &App) -> Style {
    on_bar(app, Role::Muted)
}

/// Leaves out parts until the rest fits.
fn fitting(mut parts: Vec<Part>, width: usize) -> Vec<Part> {
    let used = |parts: &[Part]| {
        let text: usize = parts.iter().map(|p| Line::raw(p.text.as_str()).width()).sum();
        text + 2 + parts.len().saturating_sub(1) * BETWEEN.chars().count()
    };
    while used(&parts) > width && parts.len() > 1 {
        let worst = parts
            .iter()
            .enumerate()
            .max_by_key(|(_, p)| p.rank)
            .map_or(0, |(i, _)| i);
        parts.remove(worst);
    }
    parts
}

fn parts(app: &App) -> Vec<Part> {
    let part = |rank, role, text: String| Part { text, role, rank };
    let settings = &app.settings;
    let (state, role) = state(app);
    let mut parts = vec![part(0, role, state), part(2, Role::Text, model(app))];
    if let ModelState::Ready { routers, .. } = &app.model {
        let routers = routers.as_ref().map_or("none".into(), |r| escape_controls(&r.name));
        parts.push(part(7, Role::Text, format!("routers {routers}")));
    }
    parts.push(part(3, Role::Text, format!("scope {}", settings.scope)));
    if settings.kv != KvMode::default() {
        parts.push(part(6, Role::Text, format!("kv {}", settings.kv)));
    }
    let rank = |neutral| if neutral { 8 } else { 4 };
    parts.push(part(
        rank(settings.dial == NEUTRAL_DIAL),
        Role::Text,
        dial(settings.dial),
    ));
    let budget = settings.budget.map_or("no budget".into(), |b| format!("budget {b}"));
    parts.push(part(rank(settings.budget.is_none()), Role::Text, budget));
    if settings.program.is_some() {
        parts.push(part(3, Role::Pin, "fixed program".into()));
    }
    if let Some(run) = &app.shown {
        parts.push(part(
            4,
            Role::Text,
            format!("depth {:.1}/{}", run.mean_depth(), run.layers()),
        ));
        if let Some(speed) = run.tokens_per_second() {
            parts.push(part(5, Role::Text, format!("{speed:.1} tok/s")));
        }
    }
    let pending = app.pending();
    if !pending.is_empty() {
        let keys = app.keymap.keys_for(UiAction::Rerun, Focus::Map.context());
        let rerun = keys.first().map_or(String::new(), |key| format!(" · {key} reruns"));
        let text = format!("{} pending{rerun}", pending.join(", "));
        parts.insert(1, part(1, Role::Pin, text));
    }
    parts
}

fn dial(dial: f64) -> String {
    format!("dial {dial:.2} {}", dial_meaning(dial))
}

fn model(app: &App) -> String {
    match &app.model {
        ModelState::Loading { .. } => "model on its way".into(),
        ModelState::Missing(_) => "no model".into(),
        ModelState::Ready { info, device, .. } => {
            escape_controls(&format!("{} {} · {device}", info.name, info.quantisation))
        }
    }
}

/// A sign and words for what goes on.
fn state(app: &App) -> (String, Role) {
    let spinner = match app.reduced_motion {
        _ if app.held => "‖",
        true => "●",
        false => SPINNER[(app.now.as_millis() / FRAME.as_millis()) as usize % SPINNER.len()],
    };
    if let Some(starting) = &app.starting {
        let of = if starting.unmodified { " (unmodified model)" } else { "" };
        return (format!("{spinner} reading the prompt{of}"), Role::Accent);
    }
    if let Some(run) = app.unmodified.as_ref().filter(|r| r.is_running()) {
        return (format!("{spinner} unmodified model {}", count(run)), Role::Accent);
    }
    if app.queued {
        return (format!("{spinner} waiting for the model"), Role::Accent);
    }
    if let Some(watched) = app.search.watched.as_ref().filter(|w| w.is_running()) {
        let text = format!("{spinner} searching {}/{}", watched.done, watched.request.simulations);
        return (text, Role::Accent);
    }
    match &app.shown {
        Some(run) => run_state(run, spinner),
        None => ("○ nothing has run yet".into(), Role::Muted),
    }
}

fn count(run: &Run) -> String {
    format!("{}/{}", run.steps().len(), run.settings().max_tokens)
}

fn run_state(run: &Run, spinner: &str) -> (String, Role) {
    let (shown, all) = (run.steps().len(), run.trace.steps.len());
    match (&run.origin, &run.progress) {
        (Origin::Live, _) if run.is_playing() => (format!("▷ replay {shown}/{all}"), Role::Accent),
        (Origin::Recording(_), _) if run.is_playing() => (format!("▷ recording {shown}/{all}"), Role::Accent),
        (Origin::Recording(_), _) if shown < all => (format!("‖ recording {shown}/{all}"), Role::Accent),
        (Origin::Recording(_), _) => (format!("□ recording, {all} tokens"), Role::Accent),
        (_, Progress::Finished) if run.is_partway() => (format!("‖ replay {shown}/{all}"), Role::Accent),
        (_, Progress::Running) => (format!("{spinner} running {}", count(run)), Role::Accent),
        (_, Progress::Failed(_)) => (format!("✗ failed after {shown} tokens"), Role::Error),
        (_, Progress::Finished) => match run.trace.summary.as_ref().map(|s| s.stop) {
            Some(StopReason::Stopped) | None => (format!("■ stopped after {shown} tokens"), Role::Warning),
            Some(StopReason::MaxTokens) => (format!("✓ {shown} tokens, cut"), Role::Success),
            Some(_) => (format!("✓ {shown} tokens"), Role::Success),
        },
    }
}
