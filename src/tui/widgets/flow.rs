//! Text of tokens or characters laid out in lines: wrapped between words, control characters made
//! visible, every glyph remembering where it came from.

use std::borrow::Cow;

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use crate::text::escape_controls;

/// What a tab looks like.
const TAB: &str = "    ";

/// One grapheme, or one escaped control character, as it is drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glyph<'a> {
    /// Which piece it belongs to.
    pub key: usize,
    /// The byte of the piece that it begins at.
    pub at: usize,
    /// As it is drawn: tabs are spaces, control characters escaped.
    pub text: Cow<'a, str>,
    /// Terminal columns.
    pub width: u16,
}

/// Where a line begins: the key of a piece, and a byte of it.
pub type Start = (usize, usize);

/// Lines laid out, and where each of them begins.
pub struct Laid<'a> {
    /// Line breaks have no glyph.
    pub lines: Vec<Vec<Glyph<'a>>>,
    /// One for each line.
    pub starts: Vec<Start>,
    /// Whether the text ended before the limit of lines.
    pub whole: bool,
}

/// Lays `pieces` (key, text) out in lines of `width` columns. Line breaks have no glyph, and
/// neither has an empty piece, but for the piece `marked`, which is to be seen (`⏎`, `◌`).
/// There is at least one line.
pub fn flow<'a>(
    pieces: impl Iterator<Item = (usize, &'a str)>,
    width: u16,
    marked: Option<usize>,
) -> Vec<Vec<Glyph<'a>>> {
    lay(pieces, width, marked, (0, 0), usize::MAX).lines
}

/// As [`flow`], from byte `from.1` of the piece `from.0` on, which is the first one, and with no more
/// than `most` lines. Beginning where a line began gives the same lines as the whole text.
pub fn lay<'a>(
    pieces: impl Iterator<Item = (usize, &'a str)>,
    width: u16,
    marked: Option<usize>,
    from: Start,
    most: usize,
) -> Laid<'a> {
    let mut lines = Lines {
        done: Vec::new(),
        starts: vec![from],
        line: Vec::new(),
        columns: 0,
        after_space: 0,
        // Room for a wide character, so that every line takes at least one.
        width: width.max(2),
    };
    for (key, text) in pieces {
        let begin = if key == from.0 { from.1.min(text.len()) } else { 0 };
        if lines.done.len() >= most {
            return lines.cut(most);
        }
        let marked = marked == Some(key);
        if text.is_empty() && marked {
            lines.push(key, 0, 0, Cow::Borrowed("◌"), 1);
        }
        for (at, grapheme) in text[begin..].grapheme_indices(true) {
            let at = begin + at;
            let end = at + grapheme.len();
            match grapheme {
                "\n" | "\r\n" => {
                    if marked {
                        lines.push(key, at, end, Cow::Borrowed("⏎"), 1);
                    }
                    lines.end_line((key, end));
                }
                grapheme => {
                    let drawn = visible(grapheme);
                    let width = drawn.width() as u16;
                    lines.push(key, at, end, drawn, width);
                }
            }
        }
    }
    lines.done.push(std::mem::take(&mut lines.line));
    if lines.done.len() > most {
        return lines.cut(most);
    }
    Laid {
        lines: lines.done,
        starts: lines.starts,
        whole: true,
    }
}

fn visible(grapheme: &str) -> Cow<'_, str> {
    match grapheme {
        "\t" => Cow::Borrowed(TAB),
        // Almost all text is plain; only what may need escaping is copied.
        g if g.is_ascii() && !g.as_bytes()[0].is_ascii_control() => Cow::Borrowed(g),
        g => Cow::Owned(escape_controls(g)),
    }
}

struct Lines<'a> {
    done: Vec<Vec<Glyph<'a>>>,
    /// Of the lines done and of the one in work.
    starts: Vec<Start>,
    line: Vec<Glyph<'a>>,
    columns: u16,
    /// Glyphs of the line up to and with its last space.
    after_space: usize,
    width: u16,
}

impl<'a> Lines<'a> {
    /// The first `most` lines.
    fn cut(mut self, most: usize) -> Laid<'a> {
        self.done.truncate(most);
        self.starts.truncate(most);
        Laid {
            lines: self.done,
            starts: self.starts,
            whole: false,
        }
    }

    /// Adds what stands at bytes `at..end` of the piece `key`.
    fn push(&mut self, key: usize, at: usize, end: usize, text: Cow<'a, str>, width: u16) {
        if width == 0 {
            // A combining mark by itself joins what stands before it, which may be another token's.
            if let Some(last) = self.line.last_mut() {
                last.text.to_mut().push_str(&text);
            }
            return;
        }
        let space = text.trim().is_empty();
        // What is wider than a whole line stands on one by itself.
        if self.columns > 0 && self.columns + width > self.width {
            if space && width == 1 {
                // The line break stands for the space.
                self.end_line((key, end));
                return;
            }
            self.wrap((key, at));
            // What the wrap carried over may leave no room either.
            if self.columns + width > self.width && !self.line.is_empty() {
                self.end_line((key, at));
            }
        }
        self.columns += width;
        self.line.push(Glyph { key, at, text, width });
        if space {
            self.after_space = self.line.len();
        }
    }

    /// Ends the line after its last space, or here, at `here`, where it has none.
    fn wrap(&mut self, here: Start) {
        let at = match self.after_space {
            0 => self.line.len(),
            at => at,
        };
        let rest = self.line.split_off(at);
        self.end_line(rest.first().map_or(here, |g| (g.key, g.at)));
        self.columns = rest.iter().map(|g| g.width).sum();
        self.line = rest;
    }

    /// The next line begins at `next`.
    fn end_line(&mut self, next: Start) {
        self.starts.push(next);
        self.done.push(std::mem::take(&mut self.line));
        self.columns = 0;
        self.after_space = 0;
    }
}

/// A paragraph as lines of `width` columns.
pub fn wrap(text: &str, width: u16) -> Vec<String> {
    let lines = flow([(0, text)].into_iter(), width, None);
    let text = |line: &Vec<Glyph>| line.iter().map(|glyph| glyph.text.as_ref()).collect();
    lines.iter().map(text).collect()
}

/// `text` on one line: escaped and cut to `width` columns, with `…` where something is missing.
pub fn fit(text: &str, width: usize) -> String {
    let escaped = escape_controls(text);
    if escaped.width() <= width {
        return escaped;
    }
    let mut out = String::new();
    let mut columns = 0;
    for grapheme in escaped.graphemes(true) {
        columns += grapheme.width();
        if columns + 1 > width {
            break;
        }
        out.push_str(grapheme);
    }
    if width > 0 {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(pieces: &[&str], width: u16) -> Vec<String> {
        let lines = flow(pieces.iter().copied().enumerate(), width, None);
        let text = |line: &Vec<Glyph>| line.iter().map(|g| g.text.as_ref()).collect();
        lines.iter().map(text).collect()
    }

    #[test]
    fn words_stay_whole() {
        assert_eq!(
            lines(&["The", " sky", " is", " bl", "ue."], 10),
            ["The sky is", "blue."]
        );
        assert_eq!(lines(&["abcdefghij", "klm no"], 5), ["abcde", "fghij", "klm ", "no"]);
        assert_eq!(lines(&["a\n\nb\n"], 5), ["a", "", "b", ""]);
        assert_eq!(lines(&[], 5), [""]);
    }

    proptest! {
        /// From wherever a line begins the rest is laid out as it is in the whole.
        #[test]
        fn every_line_can_be_begun_at(pieces in prop::collection::vec("([a-c]{0,6} ?|\n|日|e\u{301}|\u{301}|\t|  ){0,3}", 0..20), width in 1u16..12) {
            let all = || pieces.iter().map(String::as_str).enumerate();
            let whole = lay(all(), width, None, (0, 0), usize::MAX);
            prop_assert_eq!(whole.starts.len(), whole.lines.len());
            for (n, start) in whole.starts.iter().enumerate() {
                // A mark by itself at a line's beginning has joined the line before.
                if pieces.get(start.0).is_some_and(|p| p[start.1..].starts_with('\u{301}')) {
                    continue;
                }
                let part = lay(all().skip(start.0), width, None, *start, 3);
                let end = (n + 3).min(whole.lines.len());
                prop_assert_eq!(&part.lines[..], &whole.lines[n..end], "line {} of {:?}", n, pieces);
                prop_assert_eq!(&part.starts[..], &whole.starts[n..end]);
            }
        }
    }

    #[test]
    fn wide_combining_and_control_characters() {
        assert_eq!(lines(&["日本語", "です"], 4), ["日本", "語で", "す"]);
        assert_eq!(lines(&["e", "\u{301}a"], 4), ["e\u{301}a"]);
        assert_eq!(lines(&["\u{1b}[2J\t\u{202e}"], 40), ["␛[2J    \\u{202e}"]);
        assert_eq!(lines(&["日"], 1), ["日"]);
    }

    #[test]
    fn a_marked_piece_can_be_seen() {
        let glyphs =
            |pieces: &[&'static str], marked| flow(pieces.iter().copied().enumerate(), 9, Some(marked)).concat();
        assert_eq!(glyphs(&["a", "", "b"], 1)[1].text, "◌");
        assert_eq!(glyphs(&["a", "\n", "b"], 1)[1].text, "⏎");
        assert_eq!(glyphs(&["a", "\n", "b"], 0).len(), 2);
    }

    #[test]
    fn what_is_too_long_is_cut() {
        assert_eq!(fit("日本語", 6), "日本語");
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(fit("a\nb", 9), "a⏎b");
        assert_eq!(fit("abc", 0), "");
    }

    proptest! {
        #[test]
        fn no_line_is_too_wide_and_no_control_gets_through(text in "\\PC{0,20}|[\\x00-\\x20a-z日é😀]{0,60}", width in 0u16..30) {
            for line in flow([(0, text.as_str())].into_iter(), width, Some(0)) {
                // An escaped control is one glyph and may be wider than a narrow line.
                let columns: u16 = line.iter().map(|g| g.width).sum();
                prop_assert!(columns <= width.max(2) || line.len() == 1);
                prop_assert!(line.iter().all(|g| !g.text.contains(char::is_control)));
            }
        }
    }
}
