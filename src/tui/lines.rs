//! Where the lines of an answer begin, kept up with it as it grows: only what is in sight is laid out.

use super::run::Run;
use super::widgets::flow::{Start, lay};
use crate::engine::RunId;

/// What the lines depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    run: RunId,
    width: u16,
    template: bool,
}

/// The beginnings of the lines of one run's text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineStarts {
    key: Option<Key>,
    /// At least one once a run was followed.
    starts: Vec<Start>,
    /// Tokens laid out, prompt included.
    tokens: usize,
}

impl LineStarts {
    /// The lines of `run` in `width` columns, without help.
    pub fn of(run: &Run, template: bool, width: u16) -> LineStarts {
        let mut lines = LineStarts::default();
        lines.follow(run, template, width);
        lines
    }

    /// Whether these are the lines of just that.
    pub fn fits(&self, run: &Run, template: bool, width: u16) -> bool {
        self.key == Some(Key::of(run, template, width)) && self.tokens == run.tokens()
    }

    /// Lays out what is new since the last call, or all where it is another text.
    pub fn follow(&mut self, run: &Run, template: bool, width: u16) {
        let key = Key::of(run, template, width);
        let tokens = run.tokens();
        if self.key != Some(key) {
            let first = if template { 0 } else { run.prompt_len() };
            (self.key, self.starts, self.tokens) = (Some(key), vec![(first, 0)], first);
        }
        if tokens < self.tokens {
            // Where the last line begins may be owed to what is gone.
            self.starts.retain(|start| start.0 < tokens);
            self.starts.pop();
            if self.starts.is_empty() {
                self.key = None;
                return self.follow(run, template, width);
            }
        } else if tokens == self.tokens {
            return;
        }
        let last = self.starts.pop().unwrap_or_default();
        let rest = lay(pieces(run, template, last.0), width, None, last, usize::MAX);
        self.starts.extend(rest.starts);
        self.tokens = tokens;
    }

    /// Lines of the text.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether no text has been followed yet.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Where line `line` begins.
    pub fn start(&self, line: usize) -> Start {
        self.starts.get(line).copied().unwrap_or_default()
    }

    /// The line that `token` ends on; of one that is not drawn, where it would be.
    pub fn row_of(&self, run: &Run, token: usize) -> usize {
        let bytes = run.token(token).map_or(0, |(text, _)| text.len());
        let before = |start: &Start| *start < (token, bytes.max(1));
        self.starts.partition_point(before).saturating_sub(1)
    }
}

impl Key {
    fn of(run: &Run, template: bool, width: u16) -> Key {
        Key {
            run: run.id,
            width,
            template,
        }
    }
}

/// The texts that are drawn, from token `first` on.
pub fn pieces(run: &Run, template: bool, first: usize) -> impl Iterator<Item = (usize, &str)> {
    (first..run.tokens()).filter_map(move |token| {
        let (text, special) = run.token(token)?;
        (template || !special).then_some((token, text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture;
    use crate::tui::playback::Playback;
    use proptest::prelude::*;

    /// A token is on the line that its last glyph is on, were its line breaks drawn.
    #[test]
    fn a_token_is_on_the_line_it_ends_on() {
        let mut app = fixture::empty(crate::tui::color::ColorTier::None);
        // 33 tokens end with two line breaks.
        for (tokens, width) in [(60, 9), (60, 30), (60, 78), (33, 78)] {
            app.open("t".into(), None, fixture::trace(1, tokens));
            let run = app.shown.as_mut().unwrap();
            run.playback = None;
            let lines = LineStarts::of(run, false, width);
            for token in run.prompt_len()..run.tokens() {
                let marked = lay(
                    pieces(run, false, run.prompt_len()),
                    width,
                    Some(token),
                    (0, 0),
                    usize::MAX,
                );
                let on = |line: &Vec<crate::tui::widgets::flow::Glyph>| line.iter().any(|g| g.key == token);
                // The line break stands for some spaces.
                let Some(row) = marked.lines.iter().rposition(on) else {
                    continue;
                };
                // A line break's sign that found no room stands on a line by itself.
                let full = |row: usize| marked.lines[row].iter().map(|g| g.width).sum::<u16>() == width;
                let by_itself = row > 0 && marked.lines[row].len() == 1 && marked.lines[row][0].text == "⏎";
                let row = if by_itself && full(row - 1) { row - 1 } else { row };
                let text = run.token(token).unwrap().0;
                assert_eq!(lines.row_of(run, token), row, "token {token} {text:?} at {width}");
            }
        }
    }

    proptest! {
        /// Growing and shrinking by playback comes to the same as laying out anew.
        #[test]
        fn following_is_laying_out_anew(shown in prop::collection::vec(0usize..80, 1..12), width in 2u16..60, template in any::<bool>()) {
            let mut app = fixture::empty(crate::tui::color::ColorTier::None);
            app.open("t".into(), None, fixture::trace(1, 80));
            let run = app.shown.as_mut().unwrap();
            let mut lines = LineStarts::default();
            for shown in shown {
                run.playback = Some(Playback::at(shown));
                lines.follow(run, template, width);
                prop_assert!(lines.fits(run, template, width));
                prop_assert_eq!(&lines, &LineStarts::of(run, template, width), "{} tokens", shown);
            }
        }
    }
}
