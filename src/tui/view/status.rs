//! The line at the top: state, model, and everything that decides.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;

use super::super::action::UiAction;
use super::super::app::{App, ModelState};
use super::super::dial;
use super::super::next_run;
use super::super::overrides::{self, dial_meaning, plural};
use super::super::run::{Origin, Run, RunProgress};
use super::super::theme::Role;
use super::super::ui::Focus;
use super::super::widgets::flow::fit;
use super::put;
use crate::text::escape_controls;
use crate::trace::{KvMode, NEUTRAL_DIAL, StopReason};

/// Frames of the sign that something goes on, and how long one stands.
const SPINNER: [&str; 4] = ["◐", "◓", "◑", "◒"];
const FRAME: Duration = Duration::from_millis(160);

const BETWEEN: &str = " │ ";

/// From this width on the dial's slider stands in the line.
const WIDTH_WITH_SLIDER: u16 = 150;

/// From this width on speed, a neutral dial and the KV cache go before the model's full name does.
const WIDE: usize = 100;

/// Columns of the slider.
const SLIDER: usize = 26;

/// A part of the line; the least important are left out first.
struct Part {
    text: String,
    /// Where there is little room.
    short: Option<String>,
    role: Role,
    /// 0 stays longest.
    rank: u8,
}

/// Parts of this rank are cut rather than left out.
const KEPT: u8 = 1;

pub(super) fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let bar = app.ui.theme.style(Role::StatusBar);
    buffer.set_style(area, bar);
    let parts = fitting(parts(app, area.width), usize::from(area.width));
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
    let mut style = app.ui.theme.style(role);
    style.bg = None;
    if style.fg == Some(ratatui::style::Color::Reset) {
        style.fg = None;
    }
    style
}

fn muted(app: &App) -> Style {
    on_bar(app, Role::Muted)
}

/// Shortens parts, the least important ones first, then leaves some out, until the rest fits.
fn fitting(mut parts: Vec<Part>, width: usize) -> Vec<Part> {
    let used = |parts: &[Part]| {
        let text: usize = parts.iter().map(|p| Line::raw(p.text.as_str()).width()).sum();
        text + 2 + parts.len().saturating_sub(1) * BETWEEN.chars().count()
    };
    // The wider the line, the more of what matters less is left out so that the rest is said at length.
    let spare = match width {
        _ if width >= usize::from(WIDTH_WITH_SLIDER) => 4,
        _ if width >= WIDE => 7,
        _ => u8::MAX,
    };
    drop_parts(&mut parts, spare, |parts| used(parts) > width);
    while used(&parts) > width {
        let long = parts.iter_mut().filter(|part| part.short.is_some());
        let Some(part) = long.max_by_key(|part| part.rank) else {
            break;
        };
        part.text = part.short.take().unwrap_or_default();
    }
    drop_parts(&mut parts, KEPT + 1, |parts| used(parts) > width);
    parts
}

/// Shortens or leaves out parts of this rank and more, the greatest first, while they are too many.
fn drop_parts(parts: &mut Vec<Part>, from: u8, too_many: impl Fn(&[Part]) -> bool) {
    while too_many(parts) {
        let worst = parts.iter().enumerate().filter(|(_, p)| p.rank >= from);
        let Some((worst, _)) = worst.max_by_key(|(_, p)| p.rank) else {
            break;
        };
        match parts[worst].short.take() {
            Some(short) => parts[worst].text = short,
            None => drop(parts.remove(worst)),
        }
    }
}

/// Everything but the state and what is pending speaks of one run: the one that is starting, else the one on the
/// screen, else the next.
fn parts(app: &App, width: u16) -> Vec<Part> {
    let part = |rank, role, text: String| Part {
        text,
        short: None,
        role,
        rank,
    };
    let starting = app.starting.as_ref().filter(|starting| !starting.unmodified);
    let run = app.shown.as_ref().filter(|_| starting.is_none());
    let own = app.next_settings();
    let settings = match (starting, run) {
        (Some(starting), _) => &starting.settings,
        (None, Some(run)) => run.settings(),
        (None, None) => &own,
    };
    let (state, role) = state(app);
    let mut parts = vec![part(0, role, state)];
    parts.extend(next(app, width));
    parts.push(Part {
        text: model(app, run),
        short: Some(model_name(app, run)),
        role: Role::Text,
        rank: 4,
    });
    match &app.model {
        ModelState::Loading { .. } => parts.push(part(6, Role::Text, "model on its way".into())),
        ModelState::Missing(_) => parts.push(part(6, Role::Warning, "no model".into())),
        ModelState::Ready { .. } => {}
    }
    let routers = match (run, &app.wanted) {
        (Some(run), _) => Some(run.trace.header.routers.as_ref()),
        (None, Some(wanted)) => Some(wanted.routers.as_ref()),
        (None, None) => app.next_routers(),
    };
    if settings.program.is_some() {
        parts.push(part(3, Role::Pin, "fixed program".into()));
    } else {
        if let Some(routers) = routers {
            let name = escape_controls(next_run::name(routers));
            parts.push(part(6, Role::Text, format!("routers {name}")));
        }
        parts.push(part(5, Role::Text, format!("scope {}", settings.scope)));
        let rank = if settings.dial == NEUTRAL_DIAL { 9 } else { 6 };
        parts.push(part(rank, Role::Text, dial(settings.dial)));
    }
    if settings.kv != KvMode::default() {
        parts.push(part(8, Role::Text, format!("kv {}", settings.kv)));
    }
    if let Some(budget) = settings.budget {
        parts.push(part(3, Role::Budget, format!("budget {budget}")));
    }
    match settings.pins.len() {
        0 => {}
        n => parts.push(part(3, Role::Pin, format!("{n} pin{}", plural(n)))),
    }
    match settings.excluded_experts.len() {
        0 => {}
        n => parts.push(part(2, Role::Pin, format!("{n} expert{} excluded", plural(n)))),
    }
    // Where nothing else goes on, the state says it.
    if let Some(text) = training(app).filter(|_| app.is_busy() || app.search.is_running()) {
        parts.push(part(6, Role::Accent, text));
    }
    if let Some(run) = run {
        let (text, short) = dial::came_to(run);
        parts.push(Part {
            text,
            short: Some(short),
            role: Role::Text,
            rank: 2,
        });
        if let Some(speed) = run.tokens_per_second() {
            parts.push(part(7, Role::Text, format!("{speed:.1} tok/s")));
        }
    }
    parts
}

/// What the next run has otherwise, if anything.
fn next(app: &App, width: u16) -> Option<Part> {
    // A run that starts has it.
    let pending = match &app.starting {
        Some(starting) if !starting.unmodified => overrides::changes(&starting.settings, &app.next_settings()),
        _ => app.pending(),
    };
    if pending.is_empty() {
        return None;
    }
    let keys = app.ui.keymap.keys_for(UiAction::Rerun, Focus::Map.context());
    let rerun = keys.first().map_or(String::new(), |key| format!(" · {key} reruns"));
    let settings = app.next_settings();
    let (table, at) = (app.calibration(), settings.dial);
    let alone = if dial::is_alone(&settings) {
        ""
    } else {
        "routers alone "
    };
    let dialled = |short: bool| {
        let describe = |item: &String| match table.filter(|_| item.starts_with("dial ")) {
            Some(table) if short => format!("{alone}{}", dial::short(table, at)),
            Some(table) => {
                let slider = dial::slider(table, at, SLIDER).filter(|_| width >= WIDTH_WITH_SLIDER);
                let slider = slider.map_or(String::new(), |slider| format!(" {slider}"));
                format!("{item}{slider} {alone}{}", dial::words(table, at))
            }
            None => item.clone(),
        };
        pending.iter().map(describe).collect::<Vec<_>>().join(", ")
    };
    Some(Part {
        text: format!("next: {}{rerun}", dialled(false)),
        short: Some(format!("next: {}", dialled(true))),
        role: Role::Pin,
        rank: KEPT,
    })
}

fn dial(dial: f64) -> String {
    format!("dial {dial:.2} {}", dial_meaning(dial))
}

/// Columns of the model's name in short.
const NAME: usize = 15;

/// [`model`] in short: its name alone, or the beginning of it.
fn model_name(app: &App, run: Option<&Run>) -> String {
    let loaded = match &app.model {
        ModelState::Ready { info, .. } => Some(info),
        _ => None,
    };
    let model = run.map(|run| &run.trace.header.model).or(loaded);
    model.map_or("no run".to_owned(), |model| fit(&model.name, NAME))
}

/// The model of the run, else the one that is loaded.
fn model(app: &App, run: Option<&Run>) -> String {
    let run = run.map(|run| (&run.trace.header.model, &run.trace.header.device));
    let loaded = match &app.model {
        ModelState::Ready { info, device, .. } => Some((info, device)),
        _ => None,
    };
    match run.or(loaded) {
        Some((model, device)) => escape_controls(&format!("{} {} · {device}", model.title(), model.quantisation)),
        None => "no run".into(),
    }
}

/// A sign and words for what goes on.
fn state(app: &App) -> (String, Role) {
    let spinner = match app.ui.reduced_motion {
        _ if app.held => "‖",
        true => "●",
        false => SPINNER[(app.ui.now.as_millis() / FRAME.as_millis()) as usize % SPINNER.len()],
    };
    if let Some(wanted) = &app.wanted {
        let name = escape_controls(next_run::name(wanted.routers.as_ref()));
        return (format!("{spinner} loading the routers {name}"), Role::Accent);
    }
    if let Some(starting) = &app.starting {
        let of = if starting.unmodified { " (unmodified model)" } else { "" };
        let done = starting.reading.filter(|(done, of)| 0 < *done && *done < *of);
        let done = done.map_or(String::new(), |(done, of)| format!(", {} %", 100 * done / of));
        return (format!("{spinner} reading the prompt{of}{done}"), Role::Accent);
    }
    if let Some(run) = app.unmodified.as_ref().filter(|r| r.is_running()) {
        let held = if app.held { ", held" } else { "" };
        return (format!("{spinner} unmodified model {}{held}", count(run)), Role::Accent);
    }
    if app.queued {
        return (format!("{spinner} waiting for the model"), Role::Accent);
    }
    if let Some(watched) = app.search.watched.as_ref().filter(|w| w.is_running()) {
        let text = format!("{spinner} searching {}/{}", watched.done, watched.request.simulations);
        return (text, Role::Accent);
    }
    if let Some(text) = training(app) {
        return (format!("{spinner} {text}"), Role::Accent);
    }
    match &app.shown {
        Some(run) if app.held && run.is_running() => (format!("‖ held {}", count(run)), Role::Accent),
        Some(run) => run_state(run, spinner),
        None => ("○ nothing has run yet".into(), Role::Muted),
    }
}

/// How far the training of routers is that goes on beside the screen.
fn training(app: &App) -> Option<String> {
    let progress = app
        .training
        .progress()
        .map_or(String::new(), |progress| format!(": {progress}"));
    let text = format!("training routers{}", escape_controls(&progress));
    app.training.is_running().then_some(text)
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
        (_, RunProgress::Finished) if run.is_partway() => (format!("‖ replay {shown}/{all}"), Role::Accent),
        (_, RunProgress::Running) => (format!("{spinner} running {}", count(run)), Role::Accent),
        (_, RunProgress::Failed(_)) => (format!("✗ failed after {shown} tokens"), Role::Error),
        (_, RunProgress::Finished) => match run.trace.summary.as_ref().map(|s| s.stop) {
            Some(StopReason::Stopped) | None => (format!("■ stopped after {shown} tokens"), Role::Warning),
            Some(StopReason::MaxTokens) => (format!("✓ {shown} token{}, cut", plural(shown)), Role::Success),
            Some(_) => (format!("✓ {shown} token{}", plural(shown)), Role::Success),
        },
    }
}
