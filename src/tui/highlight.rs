//! Colours for code: the fenced blocks of Markdown in prompts and answers, as they stream in.

use std::ops::Range;
use std::sync::{Once, OnceLock};

use palette::Srgb;
use ratatui::style::{Modifier, Style};
use syntect::easy::HighlightLines;
use syntect::highlighting::{FontStyle, HighlightState, Theme as SyntaxTheme, ThemeSet};
use syntect::parsing::{ParseState, SyntaxReference, SyntaxSet};

use super::color::ColorTier;
use super::theme::{Role, Theme};

/// The syntect themes a theme file can name.
pub const SYNTAX_THEMES: [&str; 7] = [
    "InspiredGitHub",
    "Solarized (dark)",
    "Solarized (light)",
    "base16-eighties.dark",
    "base16-mocha.dark",
    "base16-ocean.dark",
    "base16-ocean.light",
];

/// Longer lines stay plain: the grammars' regular expressions are slow on them.
const MAX_LINE: usize = 1024;

/// What a block has beyond this many bytes stays plain.
const MAX_BLOCK: usize = 64 * 1024;

/// Names models give to languages that the grammars know by another, or have a near relative of.
const ALIASES: [(&str, &str); 9] = [
    ("typescript", "js"),
    ("ts", "js"),
    ("tsx", "js"),
    ("jsx", "js"),
    ("shell", "sh"),
    ("console", "sh"),
    ("golang", "go"),
    ("csharp", "cs"),
    ("python3", "py"),
];

/// A line's pieces, in order and without gaps: byte ranges of the whole text, without the newline.
pub type Spans = Vec<(Range<usize>, Style)>;

struct Assets {
    syntaxes: SyntaxSet,
    themes: ThemeSet,
}

static ASSETS: OnceLock<Assets> = OnceLock::new();

/// Unpacks the grammars on a thread of its own, once, so that no frame waits for it; code is plain
/// until then. `on_ready` is called on that thread when highlighting would change the picture.
pub fn preload(on_ready: impl FnOnce() + Send + 'static) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let load = || {
            ASSETS.get_or_init(|| Assets {
                syntaxes: SyntaxSet::load_defaults_newlines(),
                themes: ThemeSet::load_defaults(),
            });
            on_ready();
        };
        if let Err(error) = std::thread::Builder::new().name("grammars".into()).spawn(load) {
            tracing::warn!(%error, "code stays plain: no thread to load the grammars on");
        }
    });
}

/// Whether the grammars are there.
pub fn is_ready() -> bool {
    ASSETS.get().is_some()
}

/// Highlights one text that grows. Lines done are kept, so that each call costs what is new.
pub struct Highlighter {
    theme: Theme,
    fence: Style,
    blocks: Vec<Block>,
}

impl Highlighter {
    pub fn new(theme: &Theme) -> Highlighter {
        Highlighter {
            theme: theme.clone(),
            fence: theme.style(Role::Muted),
            blocks: Vec::new(),
        }
    }

    /// The pieces of every line of `text` (as `text.split('\n')` has them). Outside code, and in
    /// languages without a grammar, a line is one unstyled piece; empty lines have none.
    pub fn lines(&mut self, text: &str) -> Vec<Spans> {
        let mut lines = Vec::new();
        let mut open: Option<Fence<'_>> = None;
        let mut block = 0;
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let shown = start..start + line.trim_end_matches('\n').len();
            let content = &text[shown.clone()];
            let fence = Fence::of(content);
            let closes = open.zip(fence).is_some_and(|(open, fence)| fence.closes(open));
            lines.push(match open {
                Some(_) if closes => {
                    open = None;
                    block += 1;
                    whole(shown, self.fence)
                }
                Some(fence) => self.code(block, fence.language(), line, shown),
                None if fence.is_some() => {
                    open = fence;
                    self.start(block, content);
                    whole(shown, self.fence)
                }
                None => whole(shown, Style::new()),
            });
            start += line.len();
        }
        if text.is_empty() || text.ends_with('\n') {
            lines.push(Vec::new());
        }
        self.blocks.truncate(block + usize::from(open.is_some()));
        lines
    }

    /// Goes to a block's first line; what was done for another in its place is dropped.
    fn start(&mut self, block: usize, fence: &str) {
        match self.blocks.get_mut(block) {
            Some(known) if known.fence == fence => known.next = 0,
            _ => {
                self.blocks.truncate(block);
                self.blocks.push(Block::new(fence));
            }
        }
    }

    fn code(&mut self, block: usize, language: &str, line: &str, shown: Range<usize>) -> Spans {
        let Some(assets) = ASSETS.get() else {
            preload(|| {});
            return whole(shown, Style::new());
        };
        let pieces = self.blocks[block].line(assets, &self.theme, language, line);
        let at = |r: Range<usize>| (shown.start + r.start)..(shown.start + r.end).min(shown.end);
        let pieces = pieces.into_iter().map(|(range, style)| (at(range), style));
        pieces.filter(|(range, _)| !range.is_empty()).collect()
    }
}

fn whole(range: Range<usize>, style: Style) -> Spans {
    if range.is_empty() {
        Vec::new()
    } else {
        vec![(range, style)]
    }
}

/// The line that opens or closes a block of code (CommonMark 0.31, 4.5).
#[derive(Clone, Copy)]
struct Fence<'a> {
    mark: char,
    length: usize,
    info: &'a str,
}

impl<'a> Fence<'a> {
    fn of(line: &'a str) -> Option<Fence<'a>> {
        let rest = line.trim_start_matches(' ');
        let mark = rest.chars().next().filter(|c| matches!(c, '`' | '~'))?;
        let info = rest.trim_start_matches(mark);
        let length = rest.len() - info.len();
        let fence = line.len() - rest.len() <= 3 && length >= 3 && !(mark == '`' && info.contains('`'));
        fence.then_some(Fence {
            mark,
            length,
            info: info.trim(),
        })
    }

    fn closes(self, open: Fence<'_>) -> bool {
        self.mark == open.mark && self.length >= open.length && self.info.is_empty()
    }

    fn language(self) -> &'a str {
        let word = self.info.split([' ', ',', '{']).next().unwrap_or_default();
        let alias = ALIASES.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
        alias.map_or(word, |(_, known)| known)
    }
}

/// What has been done of a block: its whole lines, and the grammar's state after them.
struct Block {
    fence: String,
    done: Vec<(String, Spans)>,
    state: Option<(HighlightState, ParseState)>,
    /// Bytes in `done`.
    size: usize,
    /// The line that comes next in this pass over the text.
    next: usize,
}

impl Block {
    fn new(fence: &str) -> Block {
        Block {
            fence: fence.to_owned(),
            done: Vec::new(),
            state: None,
            size: 0,
            next: 0,
        }
    }

    /// The next line, with its newline if it has one; ranges are the line's own.
    fn line(&mut self, assets: &'static Assets, theme: &Theme, language: &str, line: &str) -> Spans {
        if let Some((text, spans)) = self.done.get(self.next) {
            if text == line {
                self.next += 1;
                return spans.clone();
            }
            // An edit: the state after the lines before it is not kept, so the block is done again.
            *self = self.again(assets, theme, language);
        }
        let spans = self.highlight(assets, theme, language, line);
        // A line without its end is still being written.
        if line.ends_with('\n') {
            self.size += line.len();
            self.done.push((line.to_owned(), spans.clone()));
            self.next += 1;
        }
        spans
    }

    /// This block up to the line that comes next, from its beginning.
    fn again(&self, assets: &'static Assets, theme: &Theme, language: &str) -> Block {
        let mut block = Block::new(&self.fence);
        for (line, _) in &self.done[..self.next] {
            block.line(assets, theme, language, line);
        }
        block
    }

    fn highlight(&mut self, assets: &'static Assets, theme: &Theme, language: &str, line: &str) -> Spans {
        let plain = vec![(0..line.len(), Style::new())];
        let Some(syntax) = assets.syntaxes.find_syntax_by_token(language) else {
            return plain;
        };
        let Some(colors) = assets.themes.themes.get(theme.syntax()) else {
            return plain;
        };
        if line.len() > MAX_LINE || self.size > MAX_BLOCK {
            return plain;
        }
        let (highlight, parse) = self.state.clone().unwrap_or_else(|| beginning(syntax, colors));
        let mut lines = HighlightLines::from_state(colors, highlight, parse);
        let Ok(pieces) = lines.highlight_line(line, &assets.syntaxes) else {
            return plain;
        };
        let mut end = 0;
        let spans = pieces.into_iter().map(|(style, piece)| {
            let start = end;
            end += piece.len();
            (start..end, converted(style, theme))
        });
        let spans = spans.collect();
        if line.ends_with('\n') {
            self.state = Some(lines.state());
        }
        spans
    }
}

fn beginning(syntax: &SyntaxReference, colors: &SyntaxTheme) -> (HighlightState, ParseState) {
    HighlightLines::new(syntax, colors).state()
}

/// The background is the screen's own.
fn converted(style: syntect::highlighting::Style, theme: &Theme) -> Style {
    let modifiers = [
        (FontStyle::BOLD, Modifier::BOLD),
        (FontStyle::ITALIC, Modifier::ITALIC),
        (FontStyle::UNDERLINE, Modifier::UNDERLINED),
    ];
    let set = modifiers.iter().filter(|(font, _)| style.font_style.contains(*font));
    let plain = set.fold(Style::new(), |s, (_, modifier)| s.add_modifier(*modifier));
    match theme.tier() {
        ColorTier::None => plain,
        _ => {
            let color = style.foreground;
            plain.fg(theme.foreground(Srgb::new(color.r, color.g, color.b)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ratatui::style::Color;
    use std::sync::mpsc;
    use std::time::Duration;

    fn ready() {
        preload(|| {});
        for _ in 0..1000 {
            if is_ready() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the grammars did not load within 10 seconds");
    }

    fn highlighter(tier: ColorTier) -> Highlighter {
        ready();
        Highlighter::new(&Theme::fallback(tier))
    }

    const ANSWER: &str =
        "Here:\n\n```rust\n/* a\n b */ fn main() {\n    let x = 1; // one\n}\n```\nand\n~~~ python\nif x: pass\n";

    fn colours(lines: &[Spans]) -> Vec<usize> {
        let colours = |line: &Spans| {
            line.iter()
                .filter_map(|(_, s)| s.fg)
                .collect::<std::collections::HashSet<_>>()
        };
        lines.iter().map(|line| colours(line).len()).collect()
    }

    #[test]
    fn code_is_coloured_and_text_is_not() {
        let lines = highlighter(ColorTier::Truecolor).lines(ANSWER);
        assert_eq!(lines.len(), ANSWER.split('\n').count());
        assert_eq!(lines[0], [(0..5, Style::new())]);
        assert!(lines[1].is_empty());
        let fence = Theme::fallback(ColorTier::Truecolor).style(Role::Muted);
        assert_eq!(lines[2], [(7..14, fence)]);
        let found = colours(&lines);
        assert_eq!(found[3], 1, "a comment that goes on over lines");
        assert!(found[4] >= 3 && found[5] >= 3, "{found:?}");
        assert_eq!(found[8], 0, "text again");
        assert!(found[10] >= 2, "an open block: {found:?}");
    }

    #[test]
    fn streaming_gives_what_the_whole_gives() {
        for tier in [ColorTier::Truecolor, ColorTier::Ansi16] {
            let mut streamed = highlighter(tier);
            for end in (0..=ANSWER.len()).filter(|end| ANSWER.is_char_boundary(*end)) {
                let part = &ANSWER[..end];
                assert_eq!(streamed.lines(part), highlighter(tier).lines(part), "{part}");
            }
            // An edit in the middle, and another text.
            for text in [
                ANSWER.replace("a\n", "a */\n"),
                ANSWER.replace("rust", "python"),
                String::new(),
            ] {
                assert_eq!(streamed.lines(&text), highlighter(tier).lines(&text), "{text}");
            }
        }
    }

    #[test]
    fn tiers_are_kept() {
        for (tier, allowed) in [
            (ColorTier::None, (|c| c == Color::Reset) as fn(Color) -> bool),
            (ColorTier::Ansi16, |c| !matches!(c, Color::Rgb(..) | Color::Indexed(_))),
            (ColorTier::Ansi256, |c| matches!(c, Color::Indexed(16..))),
        ] {
            let lines = highlighter(tier).lines(ANSWER);
            assert!(
                lines.iter().flatten().filter_map(|(_, s)| s.fg).all(allowed),
                "{tier:?}"
            );
        }
    }

    #[test]
    fn what_cannot_be_highlighted_is_plain() {
        let long = format!("```rust\nlet x = \"{}\";\nlet y = 1;\n```", "a".repeat(MAX_LINE));
        let unknown = "```klingon\nlet x = 1;\n```".to_owned();
        let indented = "    ```rust\n    let x = 1;".to_owned();
        let inline = "``` let x = `1` ```\nlet x = 1;".to_owned();
        for (text, line) in [(long.clone(), 1), (unknown, 1), (indented, 1), (inline, 1)] {
            let lines = highlighter(ColorTier::Truecolor).lines(&text);
            assert_eq!(lines[line].len(), 1, "{text}");
            assert_eq!(lines[line][0].1, Style::new());
        }
        let lines = highlighter(ColorTier::Truecolor).lines(&long);
        assert!(colours(&lines)[2] >= 2, "the line after a long one");
        let big = format!("```rust\n{}```", "let x = 1;\n".repeat(2 * MAX_BLOCK / 11));
        let lines = highlighter(ColorTier::Truecolor).lines(&big);
        assert!(colours(&lines)[1] >= 2);
        assert_eq!(colours(&lines)[lines.len() - 2], 0);
    }

    #[test]
    fn fences_close_by_their_like() {
        let text = "````md\n```\n~~~\n````\nafter";
        let mut known = highlighter(ColorTier::Truecolor);
        let lines = known.lines(text);
        assert_eq!(lines[3][0].1, known.fence);
        assert_eq!(lines[4][0].1, Style::new());
        for (info, language) in [("ts", "js"), ("Rust,ignore", "Rust"), ("c++ {.x}", "c++"), ("", "")] {
            let line = format!("```{info}");
            assert_eq!(Fence::of(&line).unwrap().language(), language);
        }
    }

    #[test]
    fn every_named_syntax_theme_exists() {
        ready();
        let assets = ASSETS.get().unwrap();
        let known: Vec<&str> = assets.themes.themes.keys().map(String::as_str).collect();
        assert_eq!(known, SYNTAX_THEMES);
        for (alias, name) in ALIASES {
            assert!(assets.syntaxes.find_syntax_by_token(name).is_some(), "{alias}");
        }
    }

    #[test]
    fn a_late_preload_is_harmless() {
        ready();
        let (sender, receiver) = mpsc::channel();
        preload(move || sender.send(()).unwrap_or_default());
        assert!(
            receiver.recv_timeout(Duration::from_secs(1)).is_err(),
            "grammars load once"
        );
    }

    proptest! {
        #[test]
        fn pieces_cover_every_line(parts in prop::collection::vec("```|~~~|```rust\n|\n|\\PC{0,9}|\t|\r|/\\*|\"", 0..20)) {
            let text = parts.concat();
            let lines = highlighter(ColorTier::Truecolor).lines(&text);
            let mut start = 0;
            prop_assert_eq!(lines.len(), text.split('\n').count());
            for (line, spans) in text.split('\n').zip(lines) {
                let mut at = start;
                for (range, _) in spans {
                    prop_assert_eq!(range.start, at);
                    prop_assert!(text.is_char_boundary(range.end));
                    at = range.end;
                }
                prop_assert_eq!(at, start + line.len());
                start = at + 1;
            }
        }
    }
}
