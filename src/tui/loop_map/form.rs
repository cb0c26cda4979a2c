//! What is to be mapped, as it is typed: the questions, how many, the damping.

use std::path::PathBuf;

use crossterm::event::{KeyCode, KeyEvent};

use crate::engine::loop_map::LoopMapRequest;
use crate::program::Damping;
use crate::tui::line_edit::LineEdit;

/// Most questions of a map that is watched: a longer one is for the command line.
pub const MOST_QUESTIONS: usize = 100;

/// Questions that ship.
const SHIPPED: usize = 24;

/// What has the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The file of questions.
    File,
    /// How many questions are asked.
    Questions,
    /// The damping of the second time.
    Damping,
    /// The line that begins the map.
    Start,
}

impl Field {
    /// In the order of the Tab key.
    pub const ALL: [Field; 4] = [Field::File, Field::Questions, Field::Damping, Field::Start];
}

/// The form.
#[derive(Clone, Debug)]
pub struct LoopMapForm {
    /// A path; empty for the questions that ship.
    pub file: LineEdit,
    /// A number from 1 to `MOST_QUESTIONS`.
    pub questions: LineEdit,
    /// A number from −1 to 2; 1 damps nothing.
    pub damping: LineEdit,
    /// Where the keys go.
    pub field: Field,
    /// Why the map cannot begin.
    pub error: Option<String>,
}

impl Default for LoopMapForm {
    fn default() -> LoopMapForm {
        LoopMapForm {
            file: LineEdit::default(),
            questions: LineEdit::new(SHIPPED.to_string()),
            damping: LineEdit::new(Damping::NONE.to_string()),
            field: Field::Start,
            error: None,
        }
    }
}

impl LoopMapForm {
    /// Goes `by` fields on.
    pub fn turn(&mut self, by: usize) {
        let at = Field::ALL.iter().position(|f| *f == self.field).unwrap_or(0);
        self.field = Field::ALL[(at + by) % Field::ALL.len()];
        if let Some(edit) = self.edit() {
            edit.select();
        }
    }

    /// Goes a field back.
    pub fn turn_back(&mut self) {
        self.turn(Field::ALL.len() - 1);
    }

    /// The line of the field that has the keys.
    pub fn edit(&mut self) -> Option<&mut LineEdit> {
        match self.field {
            Field::File => Some(&mut self.file),
            Field::Questions => Some(&mut self.questions),
            Field::Damping => Some(&mut self.damping),
            Field::Start => None,
        }
    }

    /// Types a key that has no other meaning.
    pub fn key(&mut self, key: KeyEvent) {
        match key.code {
            KeyCode::Up => return self.turn_back(),
            KeyCode::Down => return self.turn(1),
            _ => {}
        }
        self.error = None;
        if let Some(edit) = self.edit() {
            edit.key(key);
        }
    }

    /// Inserts what was pasted.
    pub fn paste(&mut self, text: &str) {
        self.error = None;
        if let Some(edit) = self.edit() {
            edit.insert(text);
        }
    }

    /// What is to be mapped.
    ///
    /// # Errors
    /// The field that is wrong, and what to do.
    pub fn request(&self) -> Result<LoopMapRequest, (Field, String)> {
        let file = self.file.text.trim();
        let limit = self.questions.text.trim().parse();
        let limit = limit.ok().filter(|n| (1..=MOST_QUESTIONS).contains(n)).ok_or_else(|| {
            let message = format!(
                "questions: expected a number from 1 to {MOST_QUESTIONS}; `drllm-tui search map` takes more of them"
            );
            (Field::Questions, message)
        })?;
        let damping = self.damping.text.trim().parse();
        let damping = damping.map_err(|error| (Field::Damping, format!("damping: {error}")))?;
        Ok(LoopMapRequest {
            data: (!file.is_empty()).then(|| PathBuf::from(file)),
            limit,
            damping,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_says_what_to_do() {
        let mut form = LoopMapForm::default();
        let request = form.request().unwrap();
        assert_eq!((request.data, request.limit), (None, SHIPPED));
        assert_eq!(
            crate::search::loop_map::watch::shipped().unwrap().len(),
            SHIPPED,
            "all of them at first"
        );
        for (text, fits) in [("0", false), ("101", false), ("-3", false), ("x", false), ("100", true)] {
            form.questions = LineEdit::new(text.into());
            assert_eq!(form.request().is_ok(), fits, "{text}");
        }
        for (text, fits) in [("0.5", true), ("2.1", false), ("nan", false), (" -1 ", true)] {
            form.damping = LineEdit::new(text.into());
            match form.request() {
                Ok(_) => assert!(fits, "{text}"),
                Err((field, message)) => {
                    assert!(!fits && field == Field::Damping);
                    assert!(message.contains("damping from -1 to 2"), "{message}");
                }
            }
        }
        form.file.insert("  q.jsonl ");
        form.damping = LineEdit::new("0.5".into());
        assert_eq!(form.request().unwrap().data, Some(PathBuf::from("q.jsonl")));
    }
}
