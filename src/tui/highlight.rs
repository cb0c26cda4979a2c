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
    /// Begins with no text, in the theme's colours.
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

    /// Forgets the blocks: another text follows.
    pub fn restart(&mut self) {
        self.blocks.clear();
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

/// The byte of `text` up to which nothing that follows can change what is code: the beginning of the
/// block that is open, else of the last line.
pub fn settled(text: &str) -> usize {
    let mut open: Option<(Fence<'_>, usize)> = None;
    let mut start = 0;
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let fence = Fence::of(line.trim_end_matches('\n'));
        open = match (open, fence) {
            (Some((open, _)), Some(fence)) if fence.closes(open) => None,
            (None, Some(fence)) => Some((fence, start)),
            (open, _) => open,
        };
        start += line.len();
    }
    open.map_or(start, |(_, at)| at)
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
mod tests;
