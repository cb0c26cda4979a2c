//! Colours of the code in a text, kept with the state so that drawing needs no work and no change.

use std::ops::Range;

use ratatui::style::Style;

use super::highlight::{Highlighter, settled};
use super::run::Run;
use super::theme::Theme;
use crate::engine::RunId;

/// Styles of the fenced code of one text.
pub struct Code {
    highlighter: Highlighter,
    /// What may still change: from the last block's fence, or the last line, on.
    tail: String,
    /// Where it begins in the whole text, in bytes.
    begins: usize,
    /// Byte ranges of the whole text with a look of their own, in order.
    styled: Vec<(Range<usize>, Style)>,
    /// How many of them are before the tail.
    kept: usize,
    /// The run that is followed, and how many of its steps.
    run: Option<(RunId, usize)>,
    /// The text that is followed, where it is no run's.
    text: String,
}

impl Code {
    /// Follows no text yet.
    pub fn new(theme: &Theme) -> Code {
        Code {
            highlighter: Highlighter::new(theme),
            tail: String::new(),
            begins: 0,
            styled: Vec::new(),
            kept: 0,
            run: None,
            text: String::new(),
        }
    }

    /// Follows a text that grew or became another; `anew` where the grammars have become ready.
    pub fn follow(&mut self, text: &str, anew: bool) {
        if self.text == text && self.run.is_none() && !anew {
            return;
        }
        self.clear();
        self.text.push_str(text);
        self.tail.push_str(text);
        self.highlight();
    }

    /// Follows the answer of a run: what is done costs nothing again. `anew` as in [`Code::follow`].
    pub fn follow_run(&mut self, run: &Run, anew: bool) {
        let steps = run.steps();
        let known = match self.run {
            Some((id, known)) if id == run.id && known <= steps.len() && !anew => known,
            _ => {
                self.clear();
                0
            }
        };
        self.run = Some((run.id, steps.len()));
        if known < steps.len() {
            self.tail.extend(steps[known..].iter().map(|s| s.text.as_str()));
            self.highlight();
        }
    }

    fn clear(&mut self) {
        self.tail.clear();
        self.text.clear();
        self.styled.clear();
        (self.begins, self.kept, self.run) = (0, 0, None);
    }

    /// Highlights the tail, and leaves of it what may still change.
    fn highlight(&mut self) {
        self.styled.truncate(self.kept);
        // Most texts have no code.
        if self.tail.contains("```") || self.tail.contains("~~~") {
            let at = self.begins;
            let lines = self.highlighter.lines(&self.tail).into_iter().flatten();
            let styled = lines.filter(|(_, style)| *style != Style::new());
            let moved = styled.map(|(range, style)| (at + range.start..at + range.end, style));
            self.styled.extend(moved);
        }
        let done = settled(&self.tail);
        if done > 0 {
            self.begins += done;
            self.tail.drain(..done);
            let begins = self.begins;
            self.kept = self.styled.partition_point(|(range, _)| range.end <= begins);
            self.highlighter.restart();
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
    use crate::tui::playback::Playback;

    #[test]
    fn fences_are_found_by_byte_and_forgotten_with_their_text() {
        let mut code = Code::new(&fixture::app().ui.theme);
        let text = "héllo\n```\nx\n```\nend";
        code.follow(text, false);
        let fence = text.find("```").unwrap();
        assert!(code.style(fence).is_some());
        assert_eq!(code.style(fence - 1), None);
        assert_eq!(code.style(text.len() - 1), None);
        code.follow("plain", false);
        assert_eq!(code.style(2), None);
    }

    /// Token by token, back and on again: the same colours as from the whole text, and little is
    /// looked at again.
    #[test]
    fn a_run_that_grows_has_the_colours_of_its_text() {
        crate::tui::highlight::preload(|| {});
        while !crate::tui::highlight::is_ready() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let mut app = fixture::app();
        app.open("t".into(), None, fixture::trace(1, 150));
        let run = app.shown.as_mut().unwrap();
        let text: String = run.trace.steps.iter().map(|s| s.text.as_str()).collect();
        let mut whole = Code::new(&app.ui.theme);
        whole.follow(&text, false);
        let mut grown = Code::new(&app.ui.theme);
        for shown in (0..=150).chain([70, 71, 30, 150]) {
            run.playback = Some(Playback::at(shown));
            grown.follow_run(run, false);
        }
        assert!(text.contains("```"));
        for byte in 0..text.len() {
            assert_eq!(grown.style(byte), whole.style(byte), "byte {byte}");
        }
        // Only the last line is looked at again.
        assert_eq!(Some(grown.tail.as_str()), text.rsplit('\n').next());
    }
}
