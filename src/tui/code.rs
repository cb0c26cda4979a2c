//! Colours of the code in a text, kept with the state so that drawing needs no work and no change.

use std::ops::Range;

use ratatui::style::Style;

use super::highlight::Highlighter;
use super::theme::Theme;

/// Styles of the fenced code of one text.
pub struct Code {
    highlighter: Highlighter,
    text: String,
    /// Byte ranges with a look of their own, in order.
    styled: Vec<(Range<usize>, Style)>,
}

impl Code {
    pub fn new(theme: &Theme) -> Code {
        Code {
            highlighter: Highlighter::new(theme),
            text: String::new(),
            styled: Vec::new(),
        }
    }

    /// Follows a text that grew or became another; `anew` where the grammars have become ready.
    pub fn follow(&mut self, text: &str, anew: bool) {
        if self.text == text && !anew {
            return;
        }
        self.text.clear();
        self.text.push_str(text);
        // Most texts have no code.
        self.styled.clear();
        if text.contains("```") || text.contains("~~~") {
            let lines = self.highlighter.lines(text).into_iter().flatten();
            self.styled.extend(lines.filter(|(_, style)| *style != Style::new()));
        }
    }

    /// The look of the code at a byte of the text; `None` outside of code.
    pub fn style(&self, byte: usize) -> Option<Style> {
        let after = self.styled.partition_point(|(range, _)| range.start <= byte);
        let (range, style) = self.styled.get(after.checked_sub(1)?)?;
        range.contains(&byte).then_some(*style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture;

    #[test]
    fn fences_are_found_by_byte_and_forgotten_with_their_text() {
        let mut code = Code::new(&fixture::app().theme);
        let text = "héllo\n```\nx\n```\nend";
        code.follow(text, false);
        let fence = text.find("```").unwrap();
        assert!(code.style(fence).is_some());
        assert_eq!(code.style(fence - 1), None);
        assert_eq!(code.style(text.len() - 1), None);
        code.follow("plain", false);
        assert_eq!(code.style(2), None);
    }
}
