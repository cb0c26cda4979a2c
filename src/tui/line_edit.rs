//! A field of one line.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::settings::FieldError;

/// A line of text being typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineEdit {
    /// What is typed so far.
    pub text: String,
    /// The cursor, in characters from the start.
    pub at: usize,
    /// Why it was refused, until it is changed.
    pub error: Option<FieldError>,
    /// Whether the whole text is selected, so that what is typed takes its place.
    selected: bool,
}

/// Longest line that can be typed, in characters.
const MAX_LINE: usize = 512;

impl LineEdit {
    /// Begins with a text that is selected, the cursor at its end.
    pub fn new(text: String) -> LineEdit {
        let mut edit = LineEdit {
            text,
            ..LineEdit::default()
        };
        edit.select();
        edit
    }

    /// Selects the whole text, the cursor at its end.
    pub fn select(&mut self) {
        self.move_to(usize::MAX);
        self.selected = !self.text.is_empty();
    }

    /// Whether what is typed takes the place of the whole text.
    pub fn is_selected(&self) -> bool {
        self.selected
    }

    /// The cursor in bytes.
    fn byte(&self) -> usize {
        self.text
            .char_indices()
            .nth(self.at)
            .map_or(self.text.len(), |(i, _)| i)
    }

    /// Inserts what can be typed on one line; what does not fit is left out.
    pub fn insert(&mut self, text: &str) {
        let types = text.chars().any(|c| !c.is_control());
        if self.selected && types {
            self.clear();
        }
        let room = MAX_LINE.saturating_sub(self.text.chars().count());
        let plain: String = text.chars().filter(|c| !c.is_control()).take(room).collect();
        self.text.insert_str(self.byte(), &plain);
        self.at += plain.chars().count();
        self.error = None;
    }

    /// Says what is wrong with what was typed.
    pub fn refuse(&mut self, message: String) {
        self.error = Some(FieldError { column: None, message });
    }

    /// Deletes the character before the cursor.
    pub fn backspace(&mut self) {
        self.selected = false;
        if self.at > 0 {
            self.at -= 1;
            self.delete();
        }
    }

    /// Deletes the character at the cursor.
    pub fn delete(&mut self) {
        self.selected = false;
        if self.byte() < self.text.len() {
            self.text.remove(self.byte());
            self.error = None;
        }
    }

    /// Deletes the whole line.
    pub fn clear(&mut self) {
        *self = LineEdit::default();
    }

    /// Types a key that has no other meaning.
    pub fn key(&mut self, key: KeyEvent) {
        let control = key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT);
        match key.code {
            KeyCode::Char('u') if control => self.clear(),
            KeyCode::Char(c) if !control => self.insert(c.encode_utf8(&mut [0; 4])),
            KeyCode::Backspace => self.backspace(),
            KeyCode::Delete => self.delete(),
            KeyCode::Left => self.move_to(self.at.saturating_sub(1)),
            KeyCode::Right => self.move_to(self.at + 1),
            KeyCode::Home => self.move_to(0),
            KeyCode::End => self.move_to(usize::MAX),
            _ => {}
        }
    }

    /// Moves the cursor; beyond an end it stays there. Nothing is selected then.
    pub fn move_to(&mut self, at: usize) {
        self.selected = false;
        self.at = at.min(self.text.chars().count());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_edited_by_characters() {
        let mut line = LineEdit::new("日本".into());
        line.move_to(1);
        assert!(!line.is_selected());
        line.insert("x\u{1b}\n");
        assert_eq!((line.text.as_str(), line.at), ("日x本", 2));
        line.backspace();
        line.delete();
        line.delete();
        assert_eq!((line.text.as_str(), line.at), ("日", 1));
        line.insert(&"y".repeat(9999));
        assert_eq!(line.text.chars().count(), MAX_LINE);
    }

    #[test]
    fn what_is_typed_takes_the_place_of_a_text_that_was_offered() {
        let after = |codes: &[KeyCode]| {
            let mut line = LineEdit::new("-0.5".into());
            assert!(line.is_selected());
            codes
                .iter()
                .for_each(|code| line.key(KeyEvent::new(*code, KeyModifiers::NONE)));
            line.text
        };
        let [two, six] = ['2', '6'].map(KeyCode::Char);
        assert_eq!(after(&[two, six]), "26");
        for (key, text) in [
            (KeyCode::Left, "-0.25"),
            (KeyCode::Right, "-0.52"),
            (KeyCode::Home, "2-0.5"),
            (KeyCode::End, "-0.52"),
            (KeyCode::Backspace, "-0.2"),
            (KeyCode::Delete, "-0.52"),
        ] {
            assert_eq!(after(&[key, two]), text, "{key:?}");
        }
        let mut line = LineEdit::new("a.svg".into());
        line.insert("\n");
        assert_eq!(line.text, "a.svg", "nothing was typed");
        line.insert("b.html");
        assert_eq!((line.text.as_str(), line.is_selected()), ("b.html", false));
        line.select();
        assert!(line.is_selected());
        line.clear();
        assert!(!line.is_selected() && !LineEdit::new(String::new()).is_selected());
    }
}
