//! What every action does while no dialog is open.

use super::super::action::UiAction;
use super::super::app::App;
use super::super::clipboard;
use super::super::dial;
use super::super::dialogs::{Against, CompareDialog, HelpDialog, Overlay};
use super::super::files::FileRequest;
use super::super::keymap::KeyAction;
use super::super::layout::{Screen, TABS};
use super::super::override_list::OverrideList;
use super::super::overrides;
use super::super::panes;
use super::super::run::Run;
use super::super::save::SaveDialog;
use super::super::settings::{SettingsDialog, SettingsField, other, step_budget, step_dial};
use super::super::tape::Tape;
use super::super::transcript::Transcript;
use super::super::ui::{Cursor, Focus};
use super::{
    candidates, focus, grid, guess, inside, intervene, lens, lessons, loop_map, palette, play, requests, search,
    select_token, stats, tape, training, twin,
};
use crate::engine::Command;
use crate::model::loopmoe::MOST_ITERATIONS;
use crate::program::{Action, Damping};
use crate::trace::{Loop, NEUTRAL_DIAL, pin_at};

/// Tokens that a page moves in the answer.
const ANSWER_PAGE: usize = 20;

pub(in crate::tui) fn act(app: &mut App, action: UiAction) -> Vec<Command> {
    use UiAction::*;
    if action.group() == "Decide" || action == Settings {
        app.leave_recording();
    }
    match action {
        Run => return requests::run(app, false),
        Rerun => return requests::run(app, true),
        Stop => return requests::stop(app),
        Baseline => return requests::unmodified(app),
        NextRecording => return requests::next_recording(app),
        Branch => return inside::branch(app),
        Force => return inside::open_force(app),
        Inside => return inside::open(app),
        Lens => lens::toggle(app),
        Intervene => return intervene::open(app),
        Flips => return inside::open_flips(app),
        Candidates => candidates::open(app),
        Runs => inside::open_runs(app),
        Search => search::open(app),
        LoopMap => loop_map::open(app),
        Stats => stats::open(app),
        TrainRouters => training::open(app),
        SaveRun if app.shown.is_some() => app.ui.overlay = Some(Overlay::Save(SaveDialog::default())),
        SaveRun => app.info("there is no run to save yet"),
        RestoreSession if app.is_busy() => {
            app.info("a run is under way: wait for its end, or stop it, then bring the session back");
        }
        RestoreSession => app.file = Some(FileRequest::Session),
        // Two traces that were opened together.
        Compare if app.previous.is_none() && app.recordings.len() == 2 => {
            let commands = requests::next_recording(app);
            compare(app);
            return commands;
        }
        Compare => compare(app),
        Divergence => {
            compare(app);
            if let Some(Overlay::Compare(CompareDialog { against, .. })) = app.ui.overlay {
                return inside::diverge(app, against);
            }
        }
        Settings => app.ui.overlay = Some(Overlay::Settings(SettingsDialog::default())),
        PlayPause | StepToken | StepBack | StepLayer | StepLayerBack | PlaySlower | PlayFaster | JumpToken => {
            return play::act(app, action);
        }
        PinSkip => pin(app, Some(Action::Skip)),
        PinExecute => pin(app, Some(Action::Execute)),
        PinRepeat => pin(app, Some(Action::Repeat)),
        PinDamped => pin_damped(app),
        PinAuto => pin(app, None),
        EndLoop => end_loop(app),
        MoreIterations | FewerIterations => return turn_iterations(app, action == MoreIterations),
        Mark => {
            app.ui.mark = if app.ui.mark.is_some() {
                None
            } else {
                Some(app.ui.cursor)
            }
        }
        Overrides => app.ui.overlay = Some(Overlay::Overrides(OverrideList::default())),
        ClearPins => {
            app.clear_overrides();
            app.info(format!(
                "all overrides are cleared: the routers decide, in scope {}",
                app.settings.scope
            ));
        }
        BudgetMore | BudgetLess => {
            turn_budget(app, action == BudgetMore);
        }
        DialMore | DialLess => turn_dial(app, action == DialMore),
        ToggleScope => app.settings.scope = other(app.settings.scope),
        EditProgram => edit(app, SettingsField::Program),
        EditBudget => edit(app, SettingsField::Budget),
        EditDial => edit(app, SettingsField::Dial),
        EditRouters => edit(app, SettingsField::Routers),
        Left | Right | Up | Down | PageLeft | PageRight | FirstToken | LastToken | TopLayer | BottomLayer => {
            move_cursor(app, action);
        }
        NextUncertain => next_uncertain(app),
        Follow => {
            app.ui.follow = !app.ui.follow;
            if app.ui.follow {
                select_token(app, usize::MAX);
            }
        }
        FocusNext => turn_focus(app, 1),
        FocusPrevious => turn_focus(app, Focus::ALL.len() - 1),
        FocusPrompt => focus(app, Focus::Prompt),
        PaneWider | PaneNarrower | PaneTaller | PaneShorter => resize(app, action),
        PanesReset => app.ui.panes = panes::Panes::default(),
        MapMode if app.ui.map.lens => {
            app.ui.map.lens = false;
            app.info(format!("the map shows {} again", app.ui.map.mode.title()));
        }
        MapMode => app.ui.map.mode = app.ui.map.mode.next(),
        Tape => {
            app.ui.map.tape = !app.ui.map.tape || app.ui.map.lens;
            app.ui.map.lens = false;
            app.info(match app.ui.map.tape {
                true => "the tape: a line a token, its layers from left to right",
                false => "the map: a column a token, its layers from bottom to top",
            });
        }
        Zoom if app.ui.map.lens => app.ui.map.lens_zoom = app.ui.map.lens_zoom.next(),
        Zoom => app.ui.map.zoom = Some(grid(app).map_or(1, |g| g.cell) % 3 + 1),
        FoldPrompt if app.ui.map.lens => app.info("the lens shows every token of the prompt: only the map folds them"),
        FoldPrompt => match grid(app) {
            Some(grid) => {
                app.ui.map.fold = Some(!grid.folded);
                app.ui.map.first_token = 0;
            }
            None => app.info("the prompt is folded where the map is: go there with Tab"),
        },
        Twin => twin::toggle(app),
        GuessShallow | GuessDeep => guess::guess(app, action == GuessDeep),
        Template => app.ui.template = !app.ui.template,
        Palette => palette::open(app),
        Lessons | LessonNext | LessonPrevious | LessonLeave => return lessons::act(app, action),
        CopyAnswer | CopyProgram | CopyCell => match clipboard::copy(app, action) {
            Ok(copied) => {
                app.clipboard = Some(copied.text);
                app.info(copied.message);
            }
            Err(message) => app.info(message),
        },
        Help => app.ui.overlay = Some(Overlay::Help(HelpDialog { scroll: 0 })),
        Dismiss => dismiss(app),
        NewLine => app.prompt.new_line(),
        HistoryPrevious => app.prompt.browse(true),
        HistoryNext => app.prompt.browse(false),
        ClearPrompt => app.prompt.clear(),
        Suspend => app.suspend = true,
        Quit => app.quit = true,
        Interrupt => return requests::interrupt(app),
        // In dialogs only.
        Accept | Toggle | Freeze | FollowNext | FollowTyped | ExcludeExpert | Add | SearchExample | SearchSort
        | LoopBest | LoopMeasure | Remove | SaveOverrides | LoadOverrides | LoadPrompts | Close => {}
    }
    Vec::new()
}

fn compare(app: &mut App) {
    match (&app.previous, &app.shown) {
        (Some(_), Some(_)) => {
            app.ui.overlay = Some(Overlay::Compare(CompareDialog {
                against: Against::Previous,
                scroll: 0,
            }));
        }
        _ => app.info("there is one run only: change something and rerun, then compare"),
    }
}

fn pin(app: &mut App, action: Option<Action>) {
    if app.layers() == 0 {
        return app.info("there is no layer to pin yet: run a prompt first");
    }
    if has_other_iterations(app) {
        return;
    }
    let (layers, positions) = app.selection();
    let context = app.ready().map_or(usize::MAX / 2, |m| m.context);
    for layer in layers {
        overrides::set(&mut app.settings.pins, layer, positions, action, context);
    }
    app.ui.mark = None;
}

/// Pins the layer, or the marked cells, to a damped repeat: by a half, then by a quarter, then to a whole one.
fn pin_damped(app: &mut App) {
    if app.layers() == 0 {
        return app.info("there is no layer to pin yet: run a prompt first");
    }
    if has_other_iterations(app) {
        return;
    }
    let (layers, positions) = app.selection();
    let context = app.ready().map_or(usize::MAX / 2, |m| m.context);
    let (layer, token) = (app.ui.cursor.layer, app.ui.cursor.token);
    let repeated = pin_at(app.next_pins(), layer, token).filter(|pin| pin.action == Action::Repeat);
    let damping = repeated.map(|pin| pin.damping);
    let damping = overrides::next_damping(damping);
    for layer in layers {
        overrides::set_damped(&mut app.settings.pins, layer, positions, damping, context);
    }
    app.ui.mark = None;
    app.info(match damping {
        Damping::NONE => "the next run: the second execution whole".to_owned(),
        damping => format!("the next run: of what the second execution adds, {damping} times as much"),
    });
}

/// Pins the iterations behind the cursor's to be skipped, of all tokens or the marked ones; at the last iteration it takes
/// the pins off the loop.
fn end_loop(app: &mut App) {
    let Some(looped) = app.looped() else {
        return app.info("no loop to end: only a looped model has one (--model loopmoe)");
    };
    let Some(iteration) = looped.execution(app.ui.cursor.layer).1 else {
        return app.info("move to a layer of the loop first: it ends after the iteration at the cursor");
    };
    if has_other_iterations(app) {
        return;
    }
    let shown = app.shown.as_ref().map(|run| &run.trace.header.model);
    if app
        .ready()
        .is_some_and(|model| shown.is_none_or(|shown| !model.is_same(shown)))
    {
        return app.info("this run is of another model than the loaded one: start with --model loopmoe");
    }
    let positions = app.ui.mark.and(app.selection().1);
    let context = app.ready().map_or(usize::MAX / 2, |m| m.context);
    let end = looped.iteration(iteration).end;
    for layer in looped.first..looped.end() {
        let action = (layer >= end).then_some(Action::Skip);
        overrides::set(&mut app.settings.pins, layer, positions, action, context);
    }
    app.ui.mark = None;
    let all = looped.iterations;
    let count = match iteration == all {
        true => format!("all {all}"),
        false => format!("{iteration} of {all}"),
    };
    let tokens = if positions.is_some() {
        " at the marked tokens"
    } else {
        ""
    };
    app.info(format!("the next run: {count} iterations{tokens}"));
}

/// Says so where the run on the screen had another number of iterations than the next one will have, so that its
/// executions are not those of the next one.
fn has_other_iterations(app: &mut App) -> bool {
    let shown = app.shown.as_ref().map(|run| &run.trace.header.model);
    let differs = match (app.ready(), shown) {
        (Some(ready), Some(shown)) => ready.sha256 == shown.sha256 && !ready.is_same(shown),
        _ => false,
    };
    if differs {
        let keys = app.ui.keymap.keys_for(UiAction::Rerun, "grid");
        let again = keys.first().map_or("rerun", String::as_str);
        app.info(format!(
            "this run had another number of iterations: {again} runs it again first"
        ));
    }
    differs
}

/// Loads the looped model with one iteration more or less. Pins stay at their layers and iterations; a program goes.
fn turn_iterations(app: &mut App, more: bool) -> Vec<Command> {
    // A key that comes before the last one is carried out goes on from it.
    let loaded = app.ready().and_then(|model| model.looped);
    let Some(looped) = app.asked_loop.or(loaded) else {
        app.info("no loop: only a looped model has iterations (--model loopmoe)");
        return Vec::new();
    };
    if app.is_busy() {
        app.info("a run is under way: wait for its end, or stop it, then change the number of iterations");
        return Vec::new();
    }
    let iterations = match more {
        true => (looped.iterations + 1).min(MOST_ITERATIONS),
        false => (looped.iterations - 1).max(1),
    };
    if iterations == looped.iterations {
        app.info(match more {
            true => format!("the loop runs {iterations} times already, which is the most"),
            false => "the loop runs once already, which is the least".to_owned(),
        });
        return Vec::new();
    }
    if app.taken_over().is_some() {
        app.give_back();
    }
    let turned = Loop { iterations, ..looped };
    app.settings
        .pins
        .retain_mut(|pin| match moved(pin.layer, looped, turned) {
            Some(layer) => {
                pin.layer = layer;
                true
            }
            None => false,
        });
    app.settings.program = None;
    app.off.clear();
    app.asked_loop = Some(turned);
    app.load.iterations = Some(iterations);
    app.load.routers = app.routers.clone();
    vec![Command::Load(app.load.clone())]
}

/// Where an execution stands when the loop runs more or less often; `None` of an iteration that is no more.
fn moved(layer: usize, from: Loop, to: Loop) -> Option<usize> {
    match layer {
        layer if layer >= from.end() => Some(layer - from.end() + to.end()),
        layer => (layer < to.end()).then_some(layer),
    }
}

/// One step of the dial: half a layer where its positions were measured.
pub(in crate::tui) fn turn_dial(app: &mut App, up: bool) {
    let stepped = match app.calibration() {
        Some(table) => dial::step(table, app.settings.dial, up),
        None => Ok(step_dial(app.settings.dial, up)),
    };
    match stepped {
        Ok(dial) => app.settings.dial = dial,
        Err(message) => return app.info(message),
    }
    if app.calibration().is_none() && app.settings.dial != NEUTRAL_DIAL {
        let dial = app.settings.dial;
        app.info(format!(
            "the next run: dial {dial:.2}; what that comes to was not measured for these routers in this scope, and one step \
             may do nothing or break the answer: rerun, then compare with the unmodified model"
        ));
    }
}

/// One step of the budget. The first step down is one below the deepest token of the run on the screen, so that it
/// changes something.
pub(in crate::tui) fn turn_budget(app: &mut App, up: bool) {
    let layers = app.model_layers().unwrap_or(0);
    let before = app.settings.budget;
    let deepest = app
        .shown
        .as_ref()
        .and_then(|run| run.depth_range())
        .map(|(_, deepest)| deepest);
    app.settings.budget = step_budget(app.settings.budget, up, layers, deepest);
    match (before, app.settings.budget) {
        (_, Some(budget)) => {
            let deepest = deepest.map_or(String::new(), |deepest| format!("; this run's deepest has {deepest}"));
            app.info(format!("the next run: at most {budget} layers a token{deepest}"));
        }
        (None, None) => app.info("there is no budget to raise: tokens may be as deep as the routers have them"),
        (Some(_), None) => app.info(format!(
            "no budget any more: twice the model's {layers} layers cap nothing"
        )),
    }
}

fn edit(app: &mut App, field: SettingsField) {
    app.ui.overlay = Some(Overlay::Settings(SettingsDialog::editing(field, field.shown(app))));
}

/// As [`move_cursor`]: tokens lie below each other, layers beside each other.
fn move_on_tape(app: &mut App, action: UiAction, tape: &Tape) {
    let Cursor { layer, token } = app.ui.cursor;
    match action {
        UiAction::Up | UiAction::Down => select_token(app, tape.line_away(token, action == UiAction::Down)),
        UiAction::Left => app.ui.cursor.layer = layer.saturating_sub(1),
        UiAction::Right => app.ui.cursor.layer = layer + 1,
        UiAction::PageLeft => select_token(app, token.saturating_sub(tape.capacity())),
        UiAction::PageRight => select_token(app, token + tape.capacity()),
        UiAction::FirstToken => select_token(app, 0),
        UiAction::LastToken => select_token(app, usize::MAX),
        UiAction::TopLayer => app.ui.cursor.layer = app.layers().saturating_sub(1),
        UiAction::BottomLayer => app.ui.cursor.layer = 0,
        _ => {}
    }
}

fn move_cursor(app: &mut App, action: UiAction) {
    let in_answer = app.ui.focus == Focus::Answer;
    if let Some(tape) = tape(app).filter(|_| !in_answer) {
        return move_on_tape(app, action, &tape);
    }
    let Cursor { layer, token } = app.ui.cursor;
    let page = match grid(app) {
        Some(grid) if !in_answer => grid.capacity(),
        _ => ANSWER_PAGE,
    };
    match action {
        UiAction::Left => select_token(app, token.saturating_sub(1)),
        UiAction::Right => select_token(app, token + 1),
        UiAction::PageLeft => select_token(app, token.saturating_sub(page)),
        UiAction::PageRight => select_token(app, token + page),
        UiAction::FirstToken => select_token(app, 0),
        UiAction::LastToken => select_token(app, usize::MAX),
        UiAction::Up | UiAction::Down if in_answer => {
            if let Some(token) = Transcript::on_screen(app).and_then(|t| t.line_away(token, action == UiAction::Down)) {
                select_token(app, token);
            }
        }
        UiAction::Up => app.ui.cursor.layer = layer + 1,
        UiAction::Down => app.ui.cursor.layer = layer.saturating_sub(1),
        UiAction::TopLayer => app.ui.cursor.layer = app.layers().saturating_sub(1),
        UiAction::BottomLayer => app.ui.cursor.layer = 0,
        _ => {}
    }
}

/// Goes to the least confident decision at the cursor's token, from there to the next one.
fn next_uncertain(app: &mut App) {
    let Some(run) = &app.shown else { return };
    let margin = |layer| Some((layer, run.decision(layer, app.ui.cursor.token)?.margin()?));
    let mut layers: Vec<(usize, f32)> = (0..run.layers()).filter_map(margin).collect();
    layers.sort_by(|a, b| a.1.total_cmp(&b.1));
    if layers.is_empty() {
        return app.info("no router was asked here, so there is no confidence to compare");
    }
    let visited = layers
        .get(app.ui.unsure)
        .is_some_and(|(layer, _)| *layer == app.ui.cursor.layer);
    app.ui.unsure = if visited { (app.ui.unsure + 1) % layers.len() } else { 0 };
    app.ui.cursor.layer = layers[app.ui.unsure].0;
}

fn resize(app: &mut App, action: UiAction) {
    let wide = matches!(action, UiAction::PaneWider | UiAction::PaneNarrower);
    let larger = matches!(action, UiAction::PaneWider | UiAction::PaneTaller);
    if !panes::grow(app, wide, larger) {
        let beside = if wide { "beside" } else { "over or under" };
        app.info(format!("no pane is {beside} this one that would give way"));
    }
}

fn turn_focus(app: &mut App, by: usize) {
    // Where there are tabs, in their order.
    let has_tabs = Screen::new(app, app.ui.area).is_some_and(|screen| screen.tabs.is_some());
    let [map, answer, detail] = TABS;
    let order = match has_tabs {
        true => [Focus::Prompt, map, answer, detail],
        false => Focus::ALL,
    };
    let at = order.iter().position(|f| *f == app.ui.focus).unwrap_or(0);
    focus(app, order[(at + by) % order.len()]);
}

/// One thing at a time: a message, the mark; from the prompt it leads to the map.
fn dismiss(app: &mut App) {
    if app.ui.notice.take().is_some() || app.ui.mark.take().is_some() {
        return;
    }
    if app.ui.focus == Focus::Prompt && app.shown.as_ref().is_some_and(|run: &Run| run.layers() > 0) {
        focus(app, Focus::Map);
    }
}
