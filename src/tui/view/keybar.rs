//! The line at the bottom: the keys of the focused pane, from the keymap.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::super::action::UiAction::{self, *};
use super::super::app::{App, Focus, Overlay};
use super::super::search::{SearchField, SearchPage};
use super::super::theme::Role;
use super::put;

/// What is offered, the most useful first; neighbours with one label stand together.
fn offered(app: &App) -> &'static [UiAction] {
    match &app.overlay {
        Some(Overlay::Settings(dialog)) if dialog.edit.is_some() => return &[Accept, Close],
        Some(Overlay::Settings(_)) => return &[Accept, Toggle, Rerun, Close],
        Some(Overlay::Compare { .. }) => return &[Close, Up, Down, Divergence, Rerun],
        Some(Overlay::Inside(dialog)) if dialog.edit.is_some() => return &[Accept, Close],
        Some(Overlay::Inside(_)) => {
            return &[
                Close,
                Left,
                Right,
                Up,
                Down,
                FollowNext,
                FollowTyped,
                Flips,
                Branch,
                Force,
                Help,
            ];
        }
        Some(Overlay::Flips(_)) => return &[Accept, Toggle, Freeze, Branch, Inside, Close, Help, Up, Down],
        Some(Overlay::Next(_)) => return &[Accept, StepToken, PinSkip, PinExecute, PinRepeat, Up, Down, Close, Help],
        Some(Overlay::Force(_)) => return &[Accept, Close],
        Some(Overlay::Search(SearchPage::Form)) if app.search.form.field == SearchField::Answers => {
            return &[Search, NewLine, FocusNext, SearchExample, Close];
        }
        Some(Overlay::Search(SearchPage::Form)) => return &[Search, FocusNext, SearchExample, Accept, Close],
        Some(Overlay::Search(SearchPage::Watch)) if app.search.is_running() => {
            return &[
                Stop, Up, Down, FocusNext, Accept, Toggle, SearchSort, Follow, Close, Help,
            ];
        }
        Some(Overlay::Search(SearchPage::Watch)) => {
            return &[
                Accept,
                CopyProgram,
                Up,
                Down,
                FocusNext,
                Search,
                SearchSort,
                Toggle,
                Close,
                Help,
            ];
        }
        Some(Overlay::Training) => return &[Accept, Up, Down, CopyProgram, Close, Help],
        Some(Overlay::LoopMap(SearchPage::Form)) => return &[Accept, FocusNext, Close],
        Some(Overlay::LoopMap(SearchPage::Watch)) if app.loop_map.is_running() => {
            return &[
                Stop,
                Up,
                Down,
                Left,
                Right,
                LoopBest,
                Accept,
                LoopMeasure,
                Follow,
                Close,
                Help,
            ];
        }
        Some(Overlay::LoopMap(SearchPage::Watch)) => {
            return &[
                Accept,
                LoopBest,
                CopyProgram,
                Up,
                Down,
                Left,
                Right,
                LoopMeasure,
                LoopMap,
                Close,
                Help,
            ];
        }
        Some(Overlay::Candidates { .. }) => return &[Accept, Close, Up, Down, Help],
        Some(Overlay::Runs { .. }) => return &[Accept, Compare, Stats, Close, Up, Down, Help],
        Some(Overlay::Stats(dialog)) if dialog.edit.is_some() => return &[Accept, Close],
        Some(Overlay::Stats(_)) => return &[Close, Up, Down, PageLeft, PageRight, LoadPrompts, Toggle, Stop, Help],
        Some(Overlay::Help { .. }) => return &[Close, Up, Down],
        Some(Overlay::Overrides(list)) if list.edit.is_some() => return &[Accept, Close],
        Some(Overlay::Overrides(_)) => {
            return &[Toggle, Accept, Add, Remove, SaveOverrides, LoadOverrides, Close, Rerun];
        }
        Some(Overlay::Lessons { .. }) => return &[Accept, Up, Down, Close],
        Some(Overlay::Jump(_) | Overlay::Save(_)) => return &[Accept, Close],
        Some(Overlay::Palette(_)) => return &[Accept, Up, Down, Close],
        None => {}
    }
    let playing = app.shown.as_ref().is_some_and(|run| run.is_partway());
    match (app.focus, app.is_busy() || app.queued) {
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
