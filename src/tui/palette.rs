//! The command palette: everything that can be done, found by typing a part of it.

use nucleo_matcher::pattern::{CaseMatching, Normalization, Pattern};
use nucleo_matcher::{Config, Matcher, Utf32Str};

use super::action::UiAction;
use super::app::App;
use super::keymap::KeyAction;
use super::lesson::Listed;
use super::line_edit::LineEdit;
use super::prompts;
use crate::engine::RouterChoice;
use crate::text::escape_controls;

/// Characters of a prompt that are shown and searched.
const PROMPT_CHARS: usize = 200;

/// Actions that only mean something in a dialog, or while a prompt is typed.
const LEFT_OUT: [&str; 2] = ["Dialogs", "Prompt"];

/// What an entry of the palette does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Carries out an action.
    Action(UiAction),
    /// Puts the prompt into the editor.
    Prompt(String),
    /// Opens the recording of this index.
    Recording(usize),
    /// Begins the lesson of this index.
    Lesson(usize),
    /// Loads these routers.
    Routers(RouterChoice),
}

/// One line of the palette.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaletteEntry {
    /// What is done when the line is chosen.
    pub target: Target,
    /// What it does; on one line.
    pub text: String,
    /// Its name in keymaps, or what kind of entry it is.
    pub name: String,
    /// Its keys where the palette was opened, and elsewhere if there are none.
    pub keys: String,
}

impl PaletteEntry {
    /// What is searched: everything that is shown, in the order it is shown.
    fn haystack(&self) -> String {
        format!("{} {} {}", self.text, self.name, self.keys)
    }
}

/// An entry that matches, and which graphemes of its text do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundEntries {
    /// Index into [`Palette::entries`].
    pub entry: usize,
    /// In order.
    pub marks: Vec<u32>,
}

/// The palette's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Palette {
    /// All lines: actions in the order of the help, then routers, lessons, recordings and prompts.
    pub entries: Vec<PaletteEntry>,
    /// What is searched for.
    pub edit: LineEdit,
    /// What matches, the best first.
    pub found: Vec<FoundEntries>,
    /// Index into `found`.
    pub row: usize,
}

impl Palette {
    /// Everything that can be done in the keymap context `context`.
    pub fn new(app: &App, context: &str) -> Palette {
        let mut palette = Palette {
            entries: entries(app, context),
            edit: LineEdit::default(),
            found: Vec::new(),
            row: 0,
        };
        palette.search();
        palette
    }

    /// Finds again, after the line has changed. Words may stand in any order.
    pub fn search(&mut self) {
        let mut matcher = Matcher::new(Config::DEFAULT);
        let pattern = Pattern::parse(&self.edit.text, CaseMatching::Smart, Normalization::Smart);
        let mut scored = Vec::new();
        let mut buffer = Vec::new();
        for (entry, candidate) in self.entries.iter().enumerate() {
            let haystack = candidate.haystack();
            let mut marks = Vec::new();
            let text = Utf32Str::new(&haystack, &mut buffer);
            if let Some(score) = pattern.indices(text, &mut matcher, &mut marks) {
                marks.sort_unstable();
                marks.dedup();
                scored.push((score, FoundEntries { entry, marks }));
            }
        }
        // Equals stay in the order of the help.
        scored.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
        self.found = scored.into_iter().map(|(_, found)| found).collect();
        self.row = 0;
    }

    /// Moves the selection by `lines`, within what was found.
    pub fn move_by(&mut self, lines: isize) {
        let last = self.found.len().saturating_sub(1);
        self.row = self.row.saturating_add_signed(lines).min(last);
    }

    /// The selected entry's target.
    pub fn target(&self) -> Option<&Target> {
        Some(&self.entries[self.found.get(self.row)?.entry].target)
    }
}

fn entries(app: &App, context: &str) -> Vec<PaletteEntry> {
    let useful = |action: &&UiAction| **action != UiAction::Palette && !LEFT_OUT.contains(&action.group());
    let action = |action: &UiAction| PaletteEntry {
        target: Target::Action(*action),
        text: action.description().to_owned(),
        name: action.name().to_owned(),
        keys: keys(app, *action, context),
    };
    let recording = |(at, recording): (usize, &super::recordings::Recording)| PaletteEntry {
        target: Target::Recording(at),
        text: one_line(&recording.title),
        name: "recording".to_owned(),
        keys: String::new(),
    };
    let lesson = |(at, listed): (usize, &Listed)| match listed {
        Listed::Usable(lesson) => Some(PaletteEntry {
            target: Target::Lesson(at),
            text: one_line(&lesson.title),
            name: "lesson".to_owned(),
            keys: String::new(),
        }),
        Listed::Broken { .. } => None,
    };
    let routers = [
        (RouterChoice::BuiltIn, "the best ones that ship for the model"),
        (RouterChoice::DrLlm, "those of the paper's recipe"),
        (RouterChoice::Verifier, "those that judge each token of an answer"),
        (RouterChoice::None, "every layer is executed"),
    ];
    let routers = routers.map(|(choice, about)| PaletteEntry {
        text: format!("Load the routers {choice}: {about}"),
        target: Target::Routers(choice),
        name: "routers".to_owned(),
        keys: String::new(),
    });
    let prompt = |text: &str, name: String| PaletteEntry {
        target: Target::Prompt(text.to_owned()),
        text: one_line(text),
        name,
        keys: String::new(),
    };
    let actions = UiAction::ALL.iter().filter(useful).map(action);
    let recordings = app.recordings.iter().enumerate().map(recording);
    let lessons = app.lessons.iter().enumerate().filter_map(lesson);
    let earlier = app
        .prompt
        .history()
        .rev()
        .map(|text| prompt(text, "earlier prompt".into()));
    let examples = prompts::examples(app.ready().map_or("", |model| &model.architecture));
    let examples = examples
        .iter()
        .map(|e| prompt(&e.text, format!("example: {}", one_line(&e.about))));
    actions
        .chain(routers)
        .chain(lessons)
        .chain(recordings)
        .chain(earlier)
        .chain(examples)
        .collect()
}

/// The keys of an action where the palette was opened, else in the map.
fn keys(app: &App, action: UiAction, context: &str) -> String {
    let here = app.ui.keymap.keys_for(action, context);
    let found = if here.is_empty() {
        app.ui.keymap.keys_for(action, "grid")
    } else {
        here
    };
    found.into_iter().take(2).collect::<Vec<_>>().join(" ")
}

/// The beginning of a text, with everything visible that would break the line.
fn one_line(text: &str) -> String {
    let short: String = text.chars().take(PROMPT_CHARS).collect();
    escape_controls(short.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture;

    fn typed(palette: &mut Palette, text: &str) -> Option<Target> {
        palette.edit = LineEdit::new(text.to_owned());
        palette.search();
        palette.target().cloned()
    }

    #[test]
    fn actions_are_found_by_name_description_and_key() {
        let app = fixture::app();
        let mut palette = Palette::new(&app, "grid");
        for (text, action) in [
            ("rerun", UiAction::Rerun),
            ("pin skip", UiAction::PinSkip),
            ("skip pin", UiAction::PinSkip),
            ("unmodifed", UiAction::Baseline),
            ("who decided", UiAction::MapMode),
        ] {
            assert_eq!(typed(&mut palette, text), Some(Target::Action(action)), "{text}");
        }
        assert_eq!(typed(&mut palette, "zzzqqq"), None);
        palette.move_by(5);
        assert_eq!(palette.row, 0);
    }

    #[test]
    fn everything_stands_there_until_something_is_typed() {
        let mut app = fixture::app();
        app.recordings = crate::tui::recordings::built_in();
        app.prompt.set("my\nprompt \u{1b}[2J");
        app.prompt.remember();
        let palette = Palette::new(&app, "grid");
        assert_eq!(palette.found.len(), palette.entries.len());
        let has = |target: &Target| palette.entries.iter().any(|e| e.target == *target);
        for action in UiAction::ALL {
            let offered = !LEFT_OUT.contains(&action.group()) && *action != UiAction::Palette;
            assert_eq!(has(&Target::Action(*action)), offered, "{}", action.name());
        }
        assert!(has(&Target::Prompt("Why is the sky blue?".into())) && has(&Target::Recording(0)));
        let own = palette.entries.iter().find(|e| e.name == "earlier prompt").unwrap();
        assert_eq!(own.text, "my⏎prompt ␛[2J");
    }

    #[test]
    fn marks_are_graphemes_of_what_is_shown() {
        let mut app = fixture::app();
        app.prompt.set("日本語 cafe\u{301} sky");
        app.prompt.remember();
        let mut palette = Palette::new(&app, "grid");
        typed(&mut palette, "語sky");
        let found = &palette.found[0];
        assert_eq!(palette.entries[found.entry].name, "earlier prompt");
        assert_eq!(found.marks, [2, 9, 10, 11]);
    }
}
