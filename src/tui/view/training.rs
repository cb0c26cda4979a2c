//! The training of depth routers: what is done, how far it is, and the command for later.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::super::action::UiAction;
use super::super::app::App;
use super::super::layout::inner;
use super::super::theme::Role;
use super::super::training::{Size, TrainingState, shell};
use super::super::widgets::flow::{fit, wrap};
use super::{pane, put};
use crate::text::escape_controls;

/// What the training is, before it is begun.
const ABOUT: &str = "a small network at each layer learns which tokens can do without it, from answers that this model \
    writes itself (drllm-tui train --method depth).";

/// What they are good for, where the model has none.
const FIRST: &str = "Then the map has something to show: easy tokens skip layers, hard ones run them, and the dial sets how \
    many.";

/// Where some are loaded.
const ALREADY: &str = "Routers are loaded already; those that are trained here take their place when they are done. The \
    ones that ship stay `built-in`.";

/// What goes on meanwhile.
const MEANWHILE: &str = "The model can be used meanwhile, more slowly: both share the cores. Leaving the explorer stops \
    the training; it goes on from there when it is started again.";

pub(in crate::tui) fn draw(app: &App, body: Rect, buffer: &mut Buffer) {
    let training = &app.training;
    let name = app.ready().map_or(String::new(), |model| escape_controls(&model.name));
    let key = |action| {
        app.ui
            .keymap
            .keys_for(action, "overlay")
            .into_iter()
            .next()
            .unwrap_or_default()
    };
    let accept = key(UiAction::Accept);
    let remark = match training.state {
        TrainingState::Running => format!("{accept} stops"),
        TrainingState::Stopping => "stopping".to_owned(),
        TrainingState::Stopped => format!("{accept} goes on"),
        TrainingState::Idle | TrainingState::Failed | TrainingState::Trained => format!("{accept} starts"),
    };
    pane::dialog(app, body, "Train depth routers", &remark, buffer);
    let area = inner(body);
    let style = |role| app.ui.theme.style(role);
    let mut page = Page { area, y: 0, buffer };
    if training.is_running() {
        page.text(
            &format!("For {name}, {}: {}.", training.size.name(), training.size.describe()),
            style(Role::Text),
        );
    } else {
        let has_some = app.next_routers().is_some_and(|routers| routers.is_some());
        let then = if has_some { ALREADY } else { FIRST };
        page.text(&format!("For {name}: {ABOUT} {then}"), style(Role::Text));
        page.y += 1;
        for size in Size::ALL {
            let here = size == training.size;
            let mark = if here { "▸" } else { " " };
            let line = format!("{mark} {:<6} {}", size.name(), size.describe());
            page.line(&line, style(if here { Role::Accent } else { Role::Text }));
        }
    }
    page.y += 1;
    page.text(MEANWHILE, style(Role::Muted));
    page.y += 1;
    let (words, role) = match training.state {
        TrainingState::Idle => ("not begun", Role::Muted),
        TrainingState::Running => ("under way", Role::Accent),
        TrainingState::Stopping => ("stopping: the item in work is finished first", Role::Warning),
        TrainingState::Stopped => ("stopped; what was done is kept", Role::Warning),
        TrainingState::Failed => ("failed", Role::Error),
        TrainingState::Trained => ("trained", Role::Success),
    };
    page.line(words, style(role));
    let command = app.ready().and_then(|model| training.command(model).ok());
    let command = command.map_or(String::new(), |(args, _)| escape_controls(&shell(&args)));
    let below = wrap(&command, area.width).len() as u16 + 2;
    // What is said goes before the command where there is no room for both.
    let left = area.height.saturating_sub(page.y);
    let said = training.lines.len().min(usize::from(left));
    let (below, said) = match left.checked_sub(below) {
        Some(room) if usize::from(room) >= said.min(3) => (below, said.min(usize::from(room))),
        _ => (0, said),
    };
    for line in training.lines.iter().skip(training.lines.len() - said) {
        page.line(
            &escape_controls(line.trim_start_matches("drllm-tui: ")),
            style(Role::Text),
        );
    }
    if below > 0 {
        page.y = page.y.max(area.height.saturating_sub(below)) + 1;
        page.line(
            &format!("the command ({} copies it)", key(UiAction::CopyProgram)),
            style(Role::Muted),
        );
        page.text(&command, style(Role::Text));
    }
}

/// A dialog filled from the top.
struct Page<'a> {
    area: Rect,
    y: u16,
    buffer: &'a mut Buffer,
}

impl Page<'_> {
    fn line(&mut self, text: &str, style: Style) {
        put(
            self.buffer,
            self.area,
            0,
            self.y,
            &fit(text, usize::from(self.area.width)),
            style,
        );
        self.y += 1;
    }

    fn text(&mut self, text: &str, style: Style) {
        for line in wrap(text, self.area.width) {
            self.line(&line, style);
        }
    }
}
