//! Every dialog in a line of words: its name first, then the entry that is selected.

use super::super::action::UiAction;
use super::super::app::{Against, App, Overlay};
use super::super::diff::Comparison;
use super::super::history;
use super::super::inside::{FlipDialog, ForceDialog, InsideDialog, NextDialog, PendingQuestion};
use super::super::lesson::Listed;
use super::super::line_edit::LineEdit;
use super::super::override_list::{self, EditPurpose, OverrideList};
use super::super::overrides::plural;
use super::super::palette::Palette;
use super::super::run::Run;
use super::super::search::{self, SearchPage};
use super::super::settings::SettingsDialog;
use super::super::stats::{Of, StatsDialog};
use super::super::training::TrainingState;
use crate::engine::Stage;
use crate::engine::flip::all_else;
use crate::text::escape_controls;

pub(super) fn dialog(app: &App, overlay: &Overlay) -> String {
    match overlay {
        Overlay::Help { scroll } => help(app, *scroll),
        Overlay::Settings(dialog) => settings(app, dialog),
        Overlay::Compare { against, .. } => compare(app, *against),
        Overlay::Palette(palette) => command(palette),
        Overlay::Overrides(list) => overrides(app, list),
        Overlay::Jump(edit) => typing("jump: the number of a token, or a share like 50%", edit),
        Overlay::Save(dialog) => typing("save the run, the file to write", &dialog.edit),
        Overlay::Lessons { row } => lesson(app, *row),
        Overlay::Inside(dialog) => match &dialog.edit {
            Some(edit) => typing("follow the next token, its text", edit),
            None => inside(app, dialog),
        },
        Overlay::Flips(dialog) => flip(app, dialog),
        Overlay::Force(dialog) => force(app, dialog),
        Overlay::Runs { row } => run(app, *row),
        Overlay::Next(dialog) => next(app, dialog),
        Overlay::Candidates { row } => candidate(app, *row),
        Overlay::Training => training(app),
        Overlay::Search(page) => searched(app, *page),
        Overlay::LoopMap(page) => super::loop_map::dialog(&app.loop_map, *page),
        Overlay::Stats(dialog) => stats(app, dialog),
    }
}

/// A field that is typed into, and why what stands there was refused.
fn typing(what: &str, edit: &LineEdit) -> String {
    let text = escape_controls(&edit.text);
    let typed = match text.is_empty() {
        true => format!("{what}: nothing typed yet"),
        false => format!("{what}: typed {text}"),
    };
    match &edit.error {
        Some(error) => format!("{typed}; refused: {}", escape_controls(&error.message)),
        None => typed,
    }
}

fn candidate(app: &App, row: usize) -> String {
    let candidates = app.candidates();
    match candidates.get(row) {
        Some(candidate) => format!(
            "predicted program {} of {}: score {:.2}, depth {}, {}",
            row + 1,
            candidates.len(),
            candidate.score,
            candidate.program.depth(),
            candidate.program
        ),
        None => "predicted programs: there are none".to_owned(),
    }
}

fn training(app: &App) -> String {
    let training = &app.training;
    let state = match training.state {
        TrainingState::Idle => "not begun",
        TrainingState::Running => "under way",
        TrainingState::Stopping => "stopping",
        TrainingState::Stopped => "stopped, what was done is kept",
        TrainingState::Failed => "failed",
        TrainingState::Trained => "trained",
    };
    let said = training
        .lines
        .back()
        .map_or(String::new(), |line| format!("; {}", escape_controls(line)));
    format!(
        "training of depth routers, {}: {}; {state}{said}",
        training.size.name(),
        training.size.describe()
    )
}

fn searched(app: &App, page: SearchPage) -> String {
    search::describe(&app.search, page).unwrap_or_else(|| "search: nothing tried yet".to_owned())
}

fn help(app: &App, scroll: usize) -> String {
    let key = |action| app.keymap.keys_for(action, "overlay").into_iter().next();
    let key = |action| key(action).unwrap_or_else(|| "no key".to_owned());
    let (down, close) = (key(UiAction::Down), key(UiAction::Close));
    let place = match scroll {
        0 => "from its beginning".to_owned(),
        n => format!("scrolled by {n}"),
    };
    format!("help: what the screen shows and what the keys do, {place}; {down} scrolls, {close} closes")
}

fn settings(app: &App, dialog: &SettingsDialog) -> String {
    let field = dialog.field();
    if let Some(edit) = &dialog.edit {
        return typing(&format!("setting {}", field.name()), edit);
    }
    let value = field.shown(app);
    let value = if value.is_empty() { "none".to_owned() } else { value };
    format!("setting {}: {value}", field.name())
}

fn compare(app: &App, against: Against) -> String {
    let (Some(before), Some(after)) = (app.against(against), app.shown.as_ref()) else {
        return "comparison: the other run is under way".to_owned();
    };
    let comparison = Comparison::new(before, after);
    let parts = match comparison.diverges {
        Some(token) => format!("their answers part at token {}", token + 1),
        None => "their answers are the same".to_owned(),
    };
    let apart = app.apart.as_ref().filter(|a| a.runs == (before.id, after.id));
    let apart = match apart.and_then(|apart| apart.divergence.here()) {
        Some(divergence) => format!("; mean KL {:.4} nats", divergence.mean()),
        None => String::new(),
    };
    format!(
        "comparison of A, {}, depth {:.1}, with B, {}, depth {:.1}: {parts}{apart}",
        escape_controls(&before.what()),
        comparison.before.mean_depth,
        escape_controls(&after.what()),
        comparison.after.mean_depth
    )
}

fn command(palette: &Palette) -> String {
    match palette.found.get(palette.row) {
        Some(found) => {
            let entry = &palette.entries[found.entry];
            let (n, all) = (palette.row + 1, palette.found.len());
            format!("command {n} of {all}: {} {}", entry.text, entry.keys)
        }
        None => format!("commands: nothing matches {}", escape_controls(&palette.edit.text)),
    }
}

fn overrides(app: &App, list: &OverrideList) -> String {
    if let Some(edit) = &list.edit {
        let what = match list.purpose {
            EditPurpose::Row => "override, edited",
            EditPurpose::Add => "one more override",
            EditPurpose::Save { .. } => "overrides, the file to write",
            EditPurpose::Load => "overrides, the file to read",
        };
        return typing(what, edit);
    }
    let rows = override_list::rows(&app.settings, &app.off);
    match rows.get(list.row) {
        Some((what, on)) => {
            let (n, all) = (list.row + 1, rows.len());
            format!("override {n} of {all}: {what}, {}", if *on { "on" } else { "off" })
        }
        None => "overrides: none, the routers decide".to_owned(),
    }
}

fn lesson(app: &App, row: usize) -> String {
    match app.lessons.get(row) {
        Some(Listed::Usable(lesson)) => format!("lesson {}: {}", lesson.title, lesson.summary),
        Some(Listed::Broken { name, message }) => format!("lesson {name} cannot be used: {message}"),
        None => "lessons: there are none".to_owned(),
    }
}

/// A token's text between quotes.
fn quoted(text: &str) -> String {
    match text {
        "" => "part of a character".to_owned(),
        text => format!("\"{}\"", escape_controls(text)),
    }
}

/// Where a token is, and its text.
fn token(run: Option<&Run>, position: usize) -> String {
    let Some(run) = run else {
        return format!("position {position}");
    };
    let text = run
        .token(position)
        .map_or(String::new(), |(text, _)| format!(" {}", quoted(text)));
    format!("{}{text}", run.place(position))
}

/// Why there is nothing to tell of an answer yet.
fn pending<T>(asked: &PendingQuestion<T>) -> String {
    match asked {
        PendingQuestion::Refused(why) => escape_controls(why),
        PendingQuestion::Waiting(_) | PendingQuestion::Here(_) => "computing".to_owned(),
    }
}

fn inside(app: &App, dialog: &InsideDialog) -> String {
    let token = token(app.shown.as_ref(), dialog.position);
    let Some(inspection) = dialog.inspection.here() else {
        return format!("inside {token}: {}", pending(&dialog.inspection));
    };
    let layer = app.cursor.layer;
    let of_layer = |stage: &&Stage| stage.block.is_some_and(|(l, _)| l == layer);
    let Some(stage) = inspection.stages.iter().rfind(of_layer) else {
        return format!("inside {token}: layer {layer} is not in the program");
    };
    let says = match stage.lens.top.first() {
        Some(top) => format!("would say {} with {:.2}", quoted(&top.text), top.probability),
        None => "would say nothing".to_owned(),
    };
    let moved = match stage.moved {
        Some(moved) => format!(", turned {:.3}, moved {:.3}", moved.turn, moved.step),
        None => String::new(),
    };
    let skipped = if stage.carried_out { "" } else { ", skipped," };
    let at = inspection.stages.iter().rposition(|stage| of_layer(&stage));
    let followed = dialog.followed().zip(at).map_or(String::new(), |(followed, at)| {
        let standing = followed.at[at];
        format!(
            ", {} with {:.3}, rank {}",
            quoted(&followed.token.text),
            standing.probability,
            standing.rank
        )
    });
    format!(
        "inside {token}: layer {layer}{skipped} {says}, KL to end {:.2}{moved}{followed}",
        stage.kl
    )
}

fn flip(app: &App, dialog: &FlipDialog) -> String {
    let Some(row) = dialog.selected() else {
        return "flips: there is nothing to flip".to_owned();
    };
    let (n, all) = (dialog.row + 1, dialog.rows.len());
    let margin = row.margin.map_or(String::new(), |m| format!(", margin {m:.3}"));
    let came = match &dialog.flip {
        None => String::new(),
        Some(PendingQuestion::Here(flip)) => {
            let next = flip.shifts.iter().max_by(|a, b| a.after.total_cmp(&b.after));
            let next = next.map_or(String::new(), |s| {
                format!(
                    ", likeliest then {} with {:.2}, before {:.2}",
                    quoted(&s.text),
                    s.after,
                    s.before
                )
            });
            let note = flip
                .note
                .as_ref()
                .map_or(String::new(), |note| format!(", {}", escape_controls(note)));
            format!(
                "; flipped: KL {:.4} nats{next}, {}{note}",
                flip.kl,
                all_else(flip.frozen)
            )
        }
        Some(asked) => format!("; {}", pending(asked)),
    };
    let token = token(app.shown.as_ref(), row.position);
    format!(
        "flip {n} of {all}: layer {}, {token}, {} to {}{margin}{came}",
        row.layer, row.from, row.to
    )
}

fn force(app: &App, dialog: &ForceDialog) -> String {
    let place = format!("another token for {}", token(app.shown.as_ref(), dialog.position));
    if !dialog.edit.text.is_empty() || dialog.edit.error.is_some() {
        return typing(&place, &dialog.edit);
    }
    let Some(inspection) = dialog.before.here() else {
        return format!("{place}: {}", pending(&dialog.before));
    };
    let top = &inspection.next.top;
    match top.get(dialog.row) {
        Some(candidate) => {
            let text = quoted(&candidate.text);
            let (n, all) = (dialog.row + 1, top.len());
            format!(
                "{place}: candidate {n} of {all}, {text} with {:.2}",
                candidate.probability
            )
        }
        None => format!("{place}: type its text"),
    }
}

fn next(app: &App, dialog: &NextDialog) -> String {
    let place = format!("the next token, layer {} to {}", app.cursor.layer, dialog.action);
    let Some(intervention) = dialog.intervention.here() else {
        return format!("{place}: {}", pending(&dialog.intervention));
    };
    let flip = &intervention.flip;
    let likeliest = flip.shifts.iter().max_by(|a, b| a.after.total_cmp(&b.after));
    let then = likeliest.map_or(String::new(), |shift| {
        format!(
            ", then likeliest {} with {:.2}, as decided {:.2}",
            quoted(&shift.text),
            shift.after,
            shift.before
        )
    });
    format!(
        "{place}, decided {}: token {}, KL {:.4} nats{then}",
        flip.from,
        quoted(&intervention.token.text),
        flip.kl
    )
}

fn run(app: &App, row: usize) -> String {
    let tree = history::tree(app.runs());
    let Some((_, run)) = tree.get(row.min(tree.len().saturating_sub(1))) else {
        return "runs: there are none yet".to_owned();
    };
    let parent = run
        .parent
        .and_then(|parent| tree.iter().position(|(_, other)| other.id == parent.run));
    let branch = parent.map_or(String::new(), |at| format!(", a branch of run {}", at + 1));
    let here = app.shown.as_ref().is_some_and(|shown| shown.id == run.id);
    let tokens = run.trace.steps.len();
    format!(
        "run {} of {}: {}, {tokens} token{}, depth {:.1}{branch}{}",
        row.min(tree.len() - 1) + 1,
        tree.len(),
        escape_controls(&run.what()),
        plural(tokens),
        run.mean_depth(),
        if here { ", on the screen" } else { "" }
    )
}

fn stats(app: &App, dialog: &StatsDialog) -> String {
    if let Some(edit) = &dialog.edit {
        return typing("statistics, a file of prompts", edit);
    }
    let progress = app.batch.as_ref().filter(|_| dialog.prompts);
    let progress = progress.map(|batch| format!("{} of {} prompts", batch.done, batch.prompts.len()));
    let Some(counted) = &dialog.counted else {
        return format!(
            "statistics: {}",
            progress.unwrap_or_else(|| "nothing to count yet".to_owned())
        );
    };
    let report = &counted.report;
    let n = report.runs;
    let what = progress.unwrap_or_else(|| match counted.of {
        Of::Recordings => format!("{n} recording{}", plural(n)),
        Of::Runs | Of::Prompts => format!("{n} run{}", plural(n)),
    });
    let rates = report
        .all_answers
        .or(report.all_prompts)
        .map_or(String::new(), |[skip, execute, repeat]| {
            let percent = |rate: f64| 100.0 * rate;
            format!(
                ": skipped {:.1} %, executed {:.1} %, repeated {:.1} %",
                percent(skip),
                percent(execute),
                percent(repeat)
            )
        });
    let depth = report.depth.as_ref().map_or(String::new(), |depth| {
        format!(", depth {:.1} of {}", depth.mean, report.layers.len())
    });
    format!(
        "statistics of {what} of {}{rates}{depth}",
        escape_controls(&report.model)
    )
}
