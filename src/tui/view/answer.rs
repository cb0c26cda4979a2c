//! The answer: every token selectable and tinted by its depth.

use std::borrow::Cow;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::super::app::App;
use super::super::diff::first_difference;
use super::super::overrides::plural;
use super::super::run::{Origin, Run};
use super::super::tally::Tally;
use super::super::theme::Role;
use super::super::transcript::Transcript;
use super::super::ui::Focus;
use super::pane::InSight;
use super::{pane, put, twin};
use crate::text::escape_controls;

pub(super) fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let focused = app.ui.focus == Focus::Answer;
    let Some(run) = &app.shown else {
        pane::frame(app, area, focused, "Answer", "", buffer);
        let hint = "the answer appears here, token by token";
        put(
            buffer,
            super::super::layout::inner(area),
            0,
            0,
            hint,
            app.ui.theme.style(Role::Muted),
        );
        return;
    };
    let transcript = Transcript::new(app, run, area);
    let remark = remark(app, run, &transcript);
    pane::frame_line(app, area, focused, &title(app, run), remark, buffer);
    let at = InSight {
        first: transcript.top,
        seen: transcript.visible().count(),
        all: transcript.len,
    };
    pane::position_mark(app, area, true, at, buffer);
    let styles = TokenStyles::new(app, run);
    let base = app.unmodified.as_ref().filter(|_| app.ui.twin);
    let parts = base.and_then(|base| first_difference(base, run));
    let parts = parts.map(|n| run.prompt_len() + n);
    for (y, line) in transcript.visible() {
        let mut x = transcript.area.x;
        for glyph in line {
            let room = transcript.area.right().saturating_sub(x);
            let style = match Some(glyph.key) == parts {
                true => styles.of(glyph.key, glyph.at).patch(twin::marked(app, Role::Added)),
                false => styles.of(glyph.key, glyph.at),
            };
            buffer.set_stringn(x, y, &glyph.text, usize::from(room), style);
            x = x.saturating_add(glyph.width).min(transcript.area.right());
        }
    }
    if run.is_running() || run.is_playing() {
        write_caret(app, &transcript, buffer);
    }
}

fn title(app: &App, run: &Run) -> String {
    let name = if app.ui.template { "Prompt and answer" } else { "Answer" };
    match &run.origin {
        Origin::Recording(title) => format!("{name} · recording: {}", escape_controls(title)),
        _ => name.to_owned(),
    }
}

/// What the tint means, in its own colours, and what is out of sight.
fn remark(app: &App, run: &Run, transcript: &Transcript) -> Line<'static> {
    let muted = app.ui.theme.style(Role::Muted);
    let below = transcript
        .len
        .saturating_sub(transcript.top + usize::from(transcript.area.height));
    let hidden = match (transcript.top, below) {
        (0, 0) => String::new(),
        (above, 0) => format!("{above} line{} above", plural(above)),
        (0, below) => format!("{below} line{} below", plural(below)),
        (above, below) => format!("{above} above, {below} below"),
    };
    let mut spans = Vec::new();
    if let Some((low, high)) = run.answer_range().filter(|(low, high)| low < high) {
        spans.push(Span::styled("tint: ", muted));
        spans.push(Span::styled(format!("{low}"), app.ui.theme.depth(0.0)));
        spans.push(Span::styled(" to ", muted));
        spans.push(Span::styled(format!("{high} layers"), app.ui.theme.depth(1.0)));
    }
    if !spans.is_empty() && !hidden.is_empty() {
        spans.push(Span::styled(" · ", muted));
    }
    if !hidden.is_empty() {
        spans.push(Span::styled(hidden, muted));
    }
    Line::from(spans)
}

/// A block where the next token will be.
fn write_caret(app: &App, transcript: &Transcript, buffer: &mut Buffer) {
    let Some((y, line)) = transcript.visible().last() else {
        return;
    };
    let x = transcript.area.x + line.iter().map(|g| g.width).sum::<u16>();
    let at_end = transcript.top + usize::from(y - transcript.area.y) + 1 == transcript.len;
    if at_end && x < transcript.area.right() {
        put(
            buffer,
            transcript.area,
            x - transcript.area.x,
            y - transcript.area.y,
            "▌",
            app.ui.theme.style(Role::Accent),
        );
    }
}

/// Styles of tokens by depth; the range of depths is computed once.
pub(super) struct TokenStyles<'a> {
    app: &'a App,
    run: &'a Run,
    /// Of the answer: the tint says how deep a token is among the run's own.
    range: (usize, usize),
    tally: Cow<'a, Tally>,
}

impl<'a> TokenStyles<'a> {
    pub(super) fn new(app: &'a App, run: &'a Run) -> Self {
        let tally = run.tally();
        TokenStyles {
            app,
            run,
            range: tally.answer.unwrap_or((0, 0)),
            tally,
        }
    }

    /// The style of a token of the run on the screen, `at` bytes from its start: code has its own
    /// colours.
    fn of(&self, token: usize, at: usize) -> Style {
        let at_step = token.checked_sub(self.run.prompt_len());
        let start = at_step.and_then(|n| self.tally.starts.get(n));
        let code = start.and_then(|start| self.app.ui.answer_code.style(start + at));
        let style = self.plain(token).patch(code.unwrap_or_default());
        match token == self.app.ui.cursor.token {
            true => style.patch(self.app.ui.theme.style(Role::Cursor)),
            false => style,
        }
    }

    /// Without selection and code: the tint of the token's depth.
    pub(super) fn plain(&self, token: usize) -> Style {
        let theme = &self.app.ui.theme;
        if self.run.token(token).is_some_and(|(_, special)| special) {
            return theme.style(Role::SpecialToken);
        }
        if token < self.run.prompt_len() {
            return theme.style(Role::Muted);
        }
        let (low, high) = self.range;
        match (self.run.depth(token), high - low) {
            (Some(_), 0) | (None, _) => theme.style(Role::Text),
            (Some(depth), range) => theme.depth(depth.saturating_sub(low) as f32 / range as f32),
        }
    }
}
