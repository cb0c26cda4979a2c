//! A lesson under way: the step it is at, and whether its task is done.

use super::{Check, Lesson, LessonStep, LessonTask, Listed, file};
use crate::engine::RunId;
use crate::program::Program;
use crate::text::escape_controls;
use crate::tui::action::UiAction;
use crate::tui::app::App;
use crate::tui::layout;
use crate::tui::run::{Origin, RunProgress};
use crate::tui::widgets::flow::wrap;

/// Guesses of tokens, shallow or deep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guesses {
    /// The run they are of.
    pub run: RunId,
    /// Guesses in all.
    pub made: usize,
    /// Those that were right.
    pub right: usize,
    /// Right ones in a row, the last one among them.
    pub streak: usize,
}

impl Guesses {
    /// Counts one more guess.
    pub fn count(&mut self, right: bool) {
        self.made += 1;
        self.right += usize::from(right);
        self.streak = if right { self.streak + 1 } else { 0 };
    }
}

/// A lesson under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tour {
    /// Index into [`App::lessons`].
    pub lesson: usize,
    /// Index into [`Lesson::steps`].
    pub step: usize,
    /// Page of the step's text, where there is no room for all of it.
    pub page: usize,
    /// The step's task was done.
    pub done: bool,
    /// The action that the task asks for was carried out.
    pub acted: bool,
    /// Something was done since the step began.
    pub touched: bool,
    /// What was guessed since the step began.
    pub guesses: Guesses,
    /// The last run that was asked for before the step began.
    pub runs: RunId,
}

impl Tour {
    /// A step's beginning.
    pub fn at(lesson: usize, step: usize, runs: RunId) -> Tour {
        Tour {
            lesson,
            step,
            page: 0,
            done: false,
            acted: false,
            touched: false,
            guesses: Guesses::default(),
            runs,
        }
    }

    /// The lesson and the step; `None` where the lesson is not there any more.
    pub fn of<'a>(&self, app: &'a App) -> Option<(&'a Lesson, &'a LessonStep)> {
        match app.lessons.get(self.lesson)? {
            Listed::Usable(lesson) => Some((lesson, lesson.steps.get(self.step)?)),
            Listed::Broken { .. } => None,
        }
    }

    /// Whether the check of the step's task holds.
    pub fn holds(&self, app: &App, check: &Check) -> bool {
        let cursor = app.ui.cursor;
        let run = app.shown.as_ref();
        let decision = run.and_then(|run| run.decision(cursor.layer, cursor.token));
        let token = run.and_then(|run| (cursor.token + 1).checked_sub(run.prompt_len()));
        let ran = run.is_some_and(|run| {
            run.id > self.runs && run.origin == Origin::Live && run.progress == RunProgress::Finished
        });
        let settings = match ran {
            // What was set for the run counts, not what was changed since.
            true => run.map_or(&app.settings, |run| run.settings()),
            false => &app.settings,
        };
        check.action.is_none_or(|_| self.acted)
            && check
                .cell
                .is_none_or(|cell| decision.as_ref().is_some_and(|d| d.action == cell))
            && check.by.is_none_or(|by| decision.as_ref().is_some_and(|d| d.by == by))
            && check.layer.is_none_or(|layer| cursor.layer == layer)
            && check.token.is_none_or(|asked| token == Some(asked))
            && check.pins.is_none_or(|pins| settings.pins.len() >= pins)
            && (!check.program || settings.program.as_ref().is_some_and(is_edited))
            && check
                .budget
                .is_none_or(|most| settings.budget.is_some_and(|b| b <= most))
            && check
                .depth
                .is_none_or(|most| run.is_some_and(|run| run.mean_depth() <= most))
            && (!check.ran || ran)
            && check.guesses.is_none_or(|least| self.guesses.made >= least)
            && check.streak.is_none_or(|least| self.guesses.streak >= least)
    }
}

/// Whether a program is more than a run of layers from the first on.
fn is_edited(program: &Program) -> bool {
    program.layers().iter().enumerate().any(|(at, layer)| at != *layer)
}

/// What the lesson's pane shows.
pub struct LessonPage {
    pub lines: Vec<String>,
    /// The task, and whether it is done.
    pub task: Vec<String>,
    pub done: bool,
    /// This page, and how many there are.
    pub page: usize,
    pub pages: usize,
}

/// Rows of the pane's border.
const BORDER: u16 = 2;

/// The step's text, as it is shown in a pane of `width` columns on a screen of `rows`.
pub fn page(app: &App, width: u16, rows: u16) -> Option<LessonPage> {
    let tour = app.tour.as_ref()?;
    let (_, step) = tour.of(app)?;
    let width = width.saturating_sub(4);
    let text = wrap(&with_keys(app, &step.text), width);
    let task = match &step.task {
        Some(task) => wrap(&words(app, task, step.model, tour.done), width),
        None => Vec::new(),
    };
    // A pane never takes more than two fifths of the screen.
    let most = usize::from((rows * 2 / 5).saturating_sub(BORDER)).max(1);
    let room = most.saturating_sub(task.len()).max(1);
    let pages = text.len().div_ceil(room).max(1);
    let page = tour.page.min(pages - 1);
    let lines = text.into_iter().skip(page * room).take(room).collect();
    Some(LessonPage {
        lines,
        task,
        done: tour.done,
        page,
        pages,
    })
}

/// Rows of the lesson's pane.
pub fn height(app: &App, width: u16, rows: u16) -> u16 {
    page(app, width, rows).map_or(0, |page| (page.lines.len() + page.task.len()) as u16 + BORDER)
}

fn words(app: &App, task: &LessonTask, model: bool, done: bool) -> String {
    let what = with_keys(app, &task.what) + &score(app, task);
    match (done, model && app.ready().is_none()) {
        (true, _) => format!("✓ {what}"),
        (false, false) => format!("▸ {what}"),
        (false, true) => format!("▸ {what} (This needs a model, which is not there yet; the step can be left out.)"),
    }
}

/// What was guessed so far, and the next word, where the task is to guess.
fn score(app: &App, task: &LessonTask) -> String {
    let (Some(tour), Some(run)) = (&app.tour, &app.shown) else {
        return String::new();
    };
    if task.check.guesses.is_none() && task.check.streak.is_none() {
        return String::new();
    }
    let next = run.trace.steps.get(run.steps().len());
    let next = next.map_or("none, all are there".to_owned(), |step| {
        format!("\"{}\"", escape_controls(&step.text))
    });
    let Guesses { made, right, .. } = tour.guesses;
    format!(" {right} of {made} right, next: {next}")
}

fn with_keys(app: &App, text: &str) -> String {
    file::with_keys(text, |action| {
        let contexts = ["grid", "prompt", "global", "search-form", "overlay"];
        let keys = contexts.iter().map(|context| app.ui.keymap.keys_for(action, context));
        let key = keys.into_iter().find_map(|keys| keys.into_iter().next());
        key.unwrap_or_else(|| format!("\"{}\" in the palette", action.label()))
    })
}

/// Pages of the step on the screen as it is.
pub fn pages(app: &App) -> usize {
    match layout::Screen::new(app, app.ui.area) {
        Some(_) => page(app, app.ui.area.width, app.ui.area.height).map_or(1, |page| page.pages),
        None => 1,
    }
}

/// Whether an action is one that moves through the lesson itself.
pub fn is_own(action: UiAction) -> bool {
    matches!(
        action,
        UiAction::Lessons | UiAction::LessonNext | UiAction::LessonPrevious | UiAction::LessonLeave
    )
}
