//! What lies over the panes: a dialog a module, with its state, its keys and what they do, how it is drawn, and what it says
//! in words.
//!
//! A new one is a module here that implements [`Dialog`], and its name in the list below.

mod candidates;
mod compare;
mod flips;
mod force;
mod help;
mod inside;
mod jump;
mod lessons;
mod loop_map;
mod next;
mod overrides;
mod palette;
mod runs;
mod save;
mod search;
mod settings;
mod stats;
mod training;

use crossterm::event::KeyEvent;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

pub use self::candidates::CandidatesDialog;
pub use self::compare::{Against, CompareDialog};
pub use self::help::HelpDialog;
pub use self::jump::JumpDialog;
pub use self::lessons::LessonsDialog;
pub use self::loop_map::LoopMapDialog;
pub use self::runs::RunsDialog;
pub use self::search::SearchDialog;
pub use self::training::TrainingDialog;
use super::action::UiAction;
use super::app::App;
use super::describe::quoted;
use super::files::FileReport;
use super::inside::{FlipDialog, ForceDialog, InsideDialog, NextDialog};
use super::layout::Screen;
use super::line_edit::LineEdit;
use super::override_list::OverrideList;
use super::palette::Palette;
use super::save::SaveDialog;
use super::settings::SettingsDialog;
use super::stats::StatsDialog;
use crate::engine::{AskId, Command, InspectionResult};
use crate::text::escape_controls;

/// Something that lies over the panes and has the keys.
pub trait Dialog {
    /// The keymap's context of its keys.
    fn context(&self, _app: &App) -> &'static str {
        "overlay"
    }

    /// What the bar at the bottom offers, the most useful first, each with what it does here.
    fn keys(&self, app: &App) -> Vec<Offer>;

    /// What an action does; the dialog is gone unless it is in the outcome.
    fn handle(self, app: &mut App, action: UiAction) -> Handled
    where
        Self: Sized;

    /// The line that is typed into at present.
    fn field(&mut self) -> Option<&mut LineEdit> {
        None
    }

    /// A key without an action.
    fn key(&mut self, _app: &mut App, key: KeyEvent) {
        if let Some(field) = self.field() {
            field.key(key);
        }
    }

    /// Text from the clipboard.
    fn paste(&mut self, _app: &mut App, text: &str) {
        if let Some(field) = self.field() {
            field.insert(text);
        }
    }

    /// The mouse's wheel, in lines; negative ones are up.
    fn scroll(&mut self, _app: &mut App, _lines: isize) {}

    /// What came of a file that it asked for.
    fn report(self, app: &mut App, report: FileReport) -> Handled
    where
        Self: Sized + Into<Overlay>,
    {
        let _ = (app, report);
        stays(self)
    }

    /// Whether it waits for the worker's answer to a question.
    fn is_asking(&self) -> bool {
        false
    }

    /// The worker's answer to the question `ask`, which may be another dialog's.
    fn answer(&mut self, _app: &App, _ask: AskId, _answer: InspectionResult) {}

    /// Draws it over `place`; where the terminal's cursor belongs, if anything is typed.
    fn draw(&self, app: &App, place: DialogArea, buffer: &mut Buffer) -> Option<Position>;

    /// It in a line of words: its name first, then the entry that is selected.
    fn words(&self, app: &App) -> String;
}

/// An action that the bar at the bottom offers, and what it does here. Neighbours of one label stand together.
pub type Offer = (UiAction, &'static str);

/// The dialog that stays, or another one in its place, and what is asked of the worker.
pub type Handled = (Option<Overlay>, Vec<Command>);

/// Where dialogs lie.
#[derive(Clone, Copy, Debug)]
pub struct DialogArea<'a> {
    /// All panes and bars.
    pub screen: &'a Screen,
    /// Between the line at the top and the keys.
    pub body: Rect,
}

macro_rules! dialogs {
    ($($(#[doc = $doc:literal])+ $name:ident($dialog:ty),)+) => {
        /// What lies over the panes.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(clippy::large_enum_variant, reason = "there is one, in the screen's state")]
        pub enum Overlay { $($(#[doc = $doc])+ $name($dialog),)+ }

        $(impl From<$dialog> for Overlay {
            fn from(dialog: $dialog) -> Overlay {
                Overlay::$name(dialog)
            }
        })+

        impl Overlay {
            /// How many kinds there are.
            #[cfg(test)]
            pub const KINDS: usize = [$(stringify!($name)),+].len();

            /// The dialog, to look at.
            pub fn dialog(&self) -> &dyn Dialog {
                match self { $(Overlay::$name(dialog) => dialog,)+ }
            }

            /// The dialog, to change.
            pub fn dialog_mut(&mut self) -> &mut dyn Dialog {
                match self { $(Overlay::$name(dialog) => dialog,)+ }
            }

            /// As [`Dialog::handle`].
            pub fn handle(self, app: &mut App, action: UiAction) -> Handled {
                match self { $(Overlay::$name(dialog) => dialog.handle(app, action),)+ }
            }

            /// As [`Dialog::report`].
            pub fn report(self, app: &mut App, report: FileReport) -> Handled {
                match self { $(Overlay::$name(dialog) => dialog.report(app, report),)+ }
            }
        }
    };
}

dialogs! {
    /// What the screen shows and what the keys do.
    Help(HelpDialog),
    /// The settings of the next run.
    Settings(SettingsDialog),
    /// Another run beside the one on the screen.
    Compare(CompareDialog),
    /// Everything that can be done, found by typing a part of it.
    Palette(Palette),
    /// The overrides, those that are switched off among them.
    Overrides(OverrideList),
    /// The place in the answer to go to, as it is typed.
    Jump(JumpDialog),
    /// The name of the file to write the run to, as it is typed.
    Save(SaveDialog),
    /// The lessons there are.
    Lessons(LessonsDialog),
    /// What one token was after each layer.
    Inside(InsideDialog),
    /// The decisions of a run that could be flipped.
    Flips(FlipDialog),
    /// The tokens that could stand at a position instead.
    Force(ForceDialog),
    /// The next token of a run that is held, with one layer taken otherwise.
    Next(NextDialog),
    /// The runs of this session and their branches.
    Runs(RunsDialog),
    /// The programs that a predictor proposed.
    Candidates(CandidatesDialog),
    /// The training of depth routers.
    Training(TrainingDialog),
    /// The search of programs for one question.
    Search(SearchDialog),
    /// The loop map: every block of layers twice.
    LoopMap(LoopMapDialog),
    /// What many runs have in common.
    Stats(StatsDialog),
}

/// Lines that a page moves.
pub(super) const PAGE: usize = 10;

/// What the keys do while a line is typed.
const TYPED: [Offer; 2] = [(UiAction::Accept, "accept"), (UiAction::Close, "cancel")];

/// The dialog goes on.
fn stays(dialog: impl Into<Overlay>) -> Handled {
    (Some(dialog.into()), Vec::new())
}

/// The dialog is closed.
fn closed() -> Handled {
    (None, Vec::new())
}

/// The help in the dialog's place.
fn help() -> Handled {
    stays(HelpDialog { scroll: 0 })
}

/// What `open` makes of the screen when a dialog calls it.
fn opened(app: &mut App, open: impl FnOnce(&mut App) -> Vec<Command>) -> Handled {
    app.ui.overlay = None;
    let commands = open(app);
    (app.ui.overlay.take(), commands)
}

/// The new row of a list whose last one is `last`, by the keys that move in it.
fn moved(row: usize, last: usize, action: UiAction) -> usize {
    let to = match action {
        UiAction::Up => row.saturating_sub(1),
        UiAction::Down => row.saturating_add(1),
        UiAction::PageLeft => row.saturating_sub(PAGE),
        UiAction::PageRight => row.saturating_add(PAGE),
        UiAction::TopLayer => 0,
        UiAction::BottomLayer => last,
        _ => row,
    };
    to.min(last)
}

/// The new place of a scrolled text; `None` closes it. The view stops at the text's end.
fn scrolled(at: usize, action: UiAction) -> Option<usize> {
    match action {
        UiAction::Close | UiAction::Dismiss => None,
        action => Some(moved(at, usize::MAX / 2, action)),
    }
}

/// A field that is typed into, and why what stands there was refused, in words.
fn typing(what: &str, edit: &LineEdit) -> String {
    let text = escape_controls(&edit.text);
    let typed = match text.is_empty() {
        true => format!("{what}: nothing typed yet"),
        false if edit.is_selected() => format!("{what}: {text}, selected: typing replaces it"),
        false => format!("{what}: typed {text}"),
    };
    match &edit.error {
        Some(error) => format!("{typed}; refused: {}", escape_controls(&error.message)),
        None => typed,
    }
}
