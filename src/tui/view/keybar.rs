//! The line at the bottom: the keys of the focused pane, from the keymap.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::super::action::UiAction::{self, *};
use super::super::app::{App, Focus, Overlay};
use super::super::theme::Role;
use super::put;

/// What is offered, the most useful first; actions with one label stand together.
fn offered(app: &App) -> &'static [UiAction] {
    match (&app.overlay, app.focus) {
        (Some(Overlay::Settings(dialog)), _) if dialog.edit.is_some() => &[Accept, Close],
        (Some(Overlay::Settings(_)), _) => &[Accept, Toggle, Rerun, Close],
        (Some(Overlay::Compare { .. }), _) => &[Close, Up, Down, Rerun],
        (Some(Overlay::Help { .. }), _) => &[Close, Up, Down],
        (None, Focus::Prompt) => &[
            Run,
            FocusNext,
            Help,
            NewLine,
            Settings,
            Stop,
            HistoryPrevious,
            NextRecording,
            Quit,
        ],
        (None, Focus::Answer) if app.is_busy() => &[Stop, Template, Follow, FocusNext, Help, Quit],
        (None, Focus::Answer) => &[
            Rerun,
            Baseline,
            Compare,
            Template,
            Help,
            FocusNext,
            FocusPrompt,
            Settings,
            NextRecording,
            Quit,
        ],
        (None, _) if app.is_busy() => &[
            Stop, PinSkip, PinExecute, PinRepeat, PinAuto, Follow, Help, FocusNext, Quit,
        ],
        (None, _) => &[
            PinSkip,
            PinExecute,
            PinRepeat,
            PinAuto,
            Rerun,
            Help,
            Baseline,
            Compare,
            BudgetLess,
            BudgetMore,
            DialLess,
            DialMore,
            Mark,
            MapMode,
            Settings,
            ToggleScope,
            EditProgram,
            ClearPins,
            FocusNext,
            Quit,
        ],
    }
}

pub(super) fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let context = app.context();
    let mut groups: Vec<(Vec<String>, &str)> = Vec::new();
    for action in offered(app) {
        let Some(key) = app.keymap.keys_for(*action, context).into_iter().next() else {
            continue;
        };
        match groups.last_mut() {
            Some((keys, label)) if *label == action.label() => keys.push(key),
            _ => groups.push((vec![key], action.label())),
        }
    }
    let (key_style, text_style) = (app.theme.style(Role::KeyBarKey), app.theme.style(Role::KeyBarText));
    let mut x = 1;
    for (keys, label) in groups {
        let keys = keys.join("/");
        let width = ratatui::text::Line::raw(keys.as_str()).width() + label.len() + 1;
        if usize::from(x) + width > usize::from(area.width) {
            break;
        }
        x += put(buffer, area, x, 0, &keys, key_style);
        x += put(buffer, area, x + 1, 0, label, text_style) + 3;
    }
}
