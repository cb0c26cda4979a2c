//! The line at the bottom: the keys of the focused pane, from the keymap.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::super::action::UiAction::{self, *};
use super::super::app::App;
use super::super::theme::Role;
use super::super::ui::Focus;
use super::put;

/// What is offered in the panes, the most useful first.
fn offered(app: &App) -> &'static [UiAction] {
    let playing = app.shown.as_ref().is_some_and(|run| run.is_partway());
    match (app.ui.focus, app.is_busy() || app.queued) {
        (Focus::Prompt, true) => &[Stop, FocusNext, Help, Palette, NewLine, Settings, HistoryPrevious, Quit],
        (Focus::Prompt, false) => &[
            Run,
            FocusNext,
            Help,
            Palette,
            NextRecording,
            NewLine,
            Settings,
            HistoryPrevious,
            ClearPrompt,
            Quit,
        ],
        (_, true) => &[
            Stop, PlayPause, StepToken, Intervene, PinSkip, PinExecute, PinRepeat, PinAuto, Follow, Template, Help,
            FocusNext, Quit,
        ],
        (_, false) if playing => &[
            PlayPause,
            StepBack,
            StepToken,
            StepLayerBack,
            StepLayer,
            PlaySlower,
            PlayFaster,
            JumpToken,
            NextRecording,
            FocusPrompt,
            PinSkip,
            PinExecute,
            PinRepeat,
            Palette,
            Help,
            Quit,
        ],
        (Focus::Answer, false) => &[
            Rerun,
            Baseline,
            Compare,
            Inside,
            Branch,
            Force,
            Template,
            Palette,
            Help,
            FocusNext,
            FocusPrompt,
            Settings,
            NextRecording,
            Quit,
        ],
        (_, false) => &[
            PinSkip,
            PinExecute,
            PinRepeat,
            PinAuto,
            Rerun,
            Help,
            Palette,
            Baseline,
            Compare,
            Inside,
            Lens,
            Twin,
            Flips,
            Branch,
            BudgetLess,
            BudgetMore,
            DialLess,
            DialMore,
            Mark,
            MapMode,
            Settings,
            ToggleScope,
            EditProgram,
            Overrides,
            ClearPins,
            FocusNext,
            Quit,
        ],
    }
}

pub(super) fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let context = app.context();
    let mut groups: Vec<(Vec<String>, &str)> = Vec::new();
    let offers = match &app.ui.overlay {
        Some(overlay) => overlay.dialog().keys(app),
        None => {
            let proposed = app.ui.focus != Focus::Prompt && !app.is_busy() && !app.candidates().is_empty();
            let first = proposed.then_some(Candidates);
            let all = first.iter().chain(offered(app));
            all.map(|action| (*action, action.label())).collect()
        }
    };
    for (action, what) in offers {
        let Some(key) = app.ui.keymap.keys_for(action, context).into_iter().next() else {
            continue;
        };
        // Neighbours that do the same stand together.
        match groups.last_mut() {
            Some((keys, label)) if *label == what => keys.push(key),
            _ => groups.push((vec![key], what)),
        }
    }
    let (key_style, text_style) = (
        app.ui.theme.style(Role::KeyBarKey),
        app.ui.theme.style(Role::KeyBarText),
    );
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
