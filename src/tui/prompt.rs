//! The prompt editor: several lines, a history, a limit.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui_textarea::{CursorMove, TextArea};

use super::widgets::flow::{Glyph, flow};

/// Longest prompt that can be typed or pasted, in bytes. Far more than any context holds.
pub const MAX_BYTES: usize = 64 * 1024;

/// Most prompts that the history keeps.
const MAX_HISTORY: usize = 200;

/// The prompt as it is edited.
#[derive(Clone, Debug, Default)]
pub struct PromptEditor {
    text: TextArea<'static>,
    history: Vec<String>,
    /// The entry of the history that is shown, and what was typed before.
    browsing: Option<(usize, String)>,
}

/// The editor's text as it is drawn.
pub struct Drawn<'a> {
    /// Wrapped to the width; the key of a glyph is its byte in the text.
    pub lines: Vec<Vec<Glyph<'a>>>,
    /// Line and column of the cursor.
    pub cursor: (usize, u16),
}

impl PromptEditor {
    /// The whole text; lines are separated by `\n`.
    pub fn text(&self) -> String {
        self.text.lines().join("\n")
    }

    /// Whether there is nothing but white space.
    pub fn is_blank(&self) -> bool {
        self.text.lines().iter().all(|l| l.trim().is_empty())
    }

    /// Whether everything is selected, so that typing replaces it.
    pub fn is_selected(&self) -> bool {
        self.text.is_selecting()
    }

    fn bytes(&self) -> usize {
        self.text.lines().iter().map(|l| l.len() + 1).sum::<usize>() - 1
    }

    /// Replaces the text; what is over the limit is cut.
    pub fn set(&mut self, text: &str) {
        self.text = TextArea::new(cut(text, MAX_BYTES).split('\n').map(plain_line).collect());
        self.text.move_cursor(CursorMove::Bottom);
        self.text.move_cursor(CursorMove::End);
    }

    /// Proposes a text: the first thing typed replaces it.
    pub fn suggest(&mut self, text: &str) {
        self.set(text);
        self.text.select_all();
    }

    /// Types a key that has no other meaning.
    ///
    /// # Errors
    /// When the prompt is full.
    pub fn key(&mut self, key: KeyEvent) -> Result<(), String> {
        let inserts = matches!(key.code, KeyCode::Char(_) | KeyCode::Enter | KeyCode::Tab)
            && !key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT);
        if inserts && self.bytes() >= MAX_BYTES && !self.text.is_selecting() {
            return Err(format!(
                "the prompt is full: {} KiB is the most it can hold",
                MAX_BYTES / 1024
            ));
        }
        if self.text.is_selecting() && matches!(key.code, KeyCode::Left | KeyCode::Right | KeyCode::End | KeyCode::Home)
        {
            self.text.cancel_selection();
        }
        self.text.input(key);
        Ok(())
    }

    /// Inserts what was pasted.
    ///
    /// # Errors
    /// When it had to be cut; as much as fits is in the prompt then.
    pub fn paste(&mut self, pasted: &str) -> Result<(), String> {
        let start = cut(pasted, MAX_BYTES + 1);
        // Terminals send line ends of pasted text as carriage returns.
        let lines = start.replace("\r\n", "\n").replace('\r', "\n");
        let used = if self.text.is_selecting() { 0 } else { self.bytes() };
        let fits = cut(&lines, MAX_BYTES.saturating_sub(used));
        self.text.insert_str(fits);
        match start.len() == pasted.len() && fits.len() == lines.len() {
            true => Ok(()),
            false => Err(format!(
                "the pasted text is too long and was cut: a prompt holds at most {} KiB",
                MAX_BYTES / 1024
            )),
        }
    }

    /// Begins a new line at the cursor, unless the prompt is full.
    pub fn new_line(&mut self) {
        if self.bytes() < MAX_BYTES {
            self.text.insert_newline();
        }
    }

    /// Deletes the text; the history stays.
    pub fn clear(&mut self) {
        self.browsing = None;
        self.set("");
    }

    /// Remembers the text in the history.
    pub fn remember(&mut self) {
        let text = self.text();
        self.text.cancel_selection();
        self.browsing = None;
        if self.history.last() != Some(&text) {
            self.history.push(text);
        }
        if self.history.len() > MAX_HISTORY {
            self.history.remove(0);
        }
    }

    /// Puts back what was typed and the prompts that were run, the oldest first.
    pub fn restore(&mut self, text: &str, history: Vec<String>) {
        self.set(text);
        self.browsing = None;
        let older = history.len().saturating_sub(MAX_HISTORY);
        let kept = history.into_iter().skip(older);
        self.history = kept.map(|prompt| cut(&prompt, MAX_BYTES).to_owned()).collect();
    }

    /// The prompts that were run, the oldest first.
    pub fn history(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.history.iter().map(String::as_str)
    }

    /// Shows the entry of the history before, or after, the one shown; what was typed comes last.
    pub fn browse(&mut self, back: bool) {
        let newest = self.history.len();
        let (at, draft) = self.browsing.take().unwrap_or_else(|| (newest, self.text()));
        let to = if back {
            at.saturating_sub(1)
        } else {
            (at + 1).min(newest)
        };
        match self.history.get(to).cloned() {
            Some(entry) => {
                self.set(&entry);
                self.browsing = Some((to, draft));
            }
            None => self.set(&draft),
        }
    }

    /// Whether the cursor is on the first, or the last, line: there the arrows browse the history.
    pub fn at_edge(&self, up: bool) -> bool {
        let row = self.text.cursor().0;
        row == if up { 0 } else { self.text.lines().len() - 1 }
    }

    /// The text laid out in lines of `width` columns. Keys of glyphs are byte offsets in the text.
    pub fn draw(&self, width: u16) -> Drawn<'_> {
        let (row, column) = (self.text.cursor().0, self.text.cursor().1);
        let mut lines = Vec::new();
        let mut cursor = (0, 0);
        let mut start = 0;
        for (at, text) in self.text.lines().iter().enumerate() {
            // A piece a character, so that every place of the cursor has a glyph.
            let pieces = text
                .char_indices()
                .map(|(i, c)| (start + i, &text[i..i + c.len_utf8()]));
            let drawn = flow(pieces, width, None);
            if at == row {
                let byte = text.char_indices().nth(column).map_or(text.len(), |(i, _)| i);
                cursor = place(&drawn, start + byte, lines.len(), width);
            }
            lines.extend(drawn);
            start += text.len() + 1;
        }
        if cursor.0 == lines.len() {
            lines.push(Vec::new());
        }
        Drawn { lines, cursor }
    }
}

/// Where the cursor before byte `at` is drawn.
fn place(lines: &[Vec<Glyph>], at: usize, above: usize, width: u16) -> (usize, u16) {
    for (row, line) in lines.iter().enumerate() {
        let mut x = 0;
        for glyph in line {
            if glyph.key >= at {
                return (above + row, x);
            }
            x += glyph.width;
        }
    }
    let last = lines.len() - 1;
    let x: u16 = lines[last].iter().map(|g| g.width).sum();
    if x >= width {
        (above + last + 1, 0)
    } else {
        (above + last, x)
    }
}

/// The start of `text`, at most `bytes` long.
fn cut(text: &str, bytes: usize) -> &str {
    &text[..floor_boundary(text, bytes)]
}

fn floor_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len()))
        .rev()
        .find(|i| text.is_char_boundary(*i))
        .unwrap_or(0)
}

fn plain_line(line: &str) -> String {
    line.strip_suffix('\r').unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(editor: &mut PromptEditor, text: &str) {
        for c in text.chars() {
            editor.key(KeyEvent::from(KeyCode::Char(c))).unwrap();
        }
    }

    #[test]
    fn a_suggestion_is_replaced_by_typing_and_kept_by_moving() {
        let mut editor = PromptEditor::default();
        editor.suggest("Why is the sky blue?");
        assert!(editor.is_selected());
        typed(&mut editor, "Hi");
        assert_eq!(editor.text(), "Hi");
        editor.suggest("Why?");
        editor.key(KeyEvent::from(KeyCode::End)).unwrap();
        typed(&mut editor, "!");
        assert_eq!(editor.text(), "Why?!");
    }

    #[test]
    fn the_history_keeps_what_was_being_typed() {
        let mut editor = PromptEditor::default();
        for text in ["one", "two"] {
            editor.set(text);
            editor.remember();
        }
        editor.set("draft");
        editor.browse(true);
        assert_eq!(editor.text(), "two");
        editor.browse(true);
        editor.browse(true);
        assert_eq!(editor.text(), "one");
        editor.browse(false);
        editor.browse(false);
        assert_eq!(editor.text(), "draft");
        editor.browse(false);
        assert_eq!(editor.text(), "draft");
    }

    #[test]
    fn pasted_megabytes_are_cut() {
        let mut editor = PromptEditor::default();
        let message = editor.paste(&"日".repeat(1 << 20)).unwrap_err();
        assert!(message.contains("64 KiB"), "{message}");
        assert!(editor.text().len() <= MAX_BYTES && editor.text().len() > MAX_BYTES - 3);
        assert!(editor.key(KeyEvent::from(KeyCode::Char('日'))).is_ok());
        while editor.bytes() < MAX_BYTES {
            typed(&mut editor, "x");
        }
        assert!(editor.key(KeyEvent::from(KeyCode::Char('x'))).is_err());
        assert!(editor.paste("a\r\nb").is_err());
        editor.clear();
        editor.paste("a\r\nb\rc").unwrap();
        assert_eq!(editor.text(), "a\nb\nc");
    }

    #[test]
    fn the_cursor_is_where_the_text_is() {
        let mut editor = PromptEditor::default();
        assert_eq!(editor.draw(10).cursor, (0, 0));
        editor.set("日本\nab\u{1b}");
        let drawn = editor.draw(10);
        assert_eq!(drawn.cursor, (1, 3));
        assert_eq!(drawn.lines[1][2].text, "␛");
        editor.key(KeyEvent::from(KeyCode::Up)).unwrap();
        assert_eq!(editor.draw(10).cursor, (0, 2));
        editor.set("abcd");
        assert_eq!(editor.draw(4).cursor, (1, 0));
        assert_eq!(editor.draw(4).lines.len(), 2);
    }
}
