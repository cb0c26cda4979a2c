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
}

/// Longest line that can be typed, in characters.
const MAX_LINE: usize = 512;

impl LineEdit {
    /// Begins with a text, the cursor at its end.
    pub fn new(text: String) -> LineEdit {
        LineEdit {
            at: text.chars().count(),
            text,
            error: None,
        }
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
        if self.at > 0 {
            self.at -= 1;
            self.delete();
        }
    }

    /// Deletes the character at the cursor.
    pub fn delete(&mut self) {
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

    /// Moves the cursor; beyond an end it stays there.
    pub fn move_to(&mut self, at: usize) {
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
        line.insert("x\u{1b}\n");
        assert_eq!((line.text.as_str(), line.at), ("日x本", 2));
        line.backspace();
        line.delete();
        line.delete();
        assert_eq!((line.text.as_str(), line.at), ("日", 1));
        line.insert(&"y".repeat(9999));
        assert_eq!(line.text.chars().count(), MAX_LINE);
    }
}
