//! Two runs side by side: their texts with the first token that differs, their numbers, and the
//! layers that were decided otherwise.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::super::action::UiAction;
use super::super::app::App;
use super::super::dialogs::Against;
use super::super::diff::{self, Comparison, Totals, asked_otherwise, equal_tokens, speeds_compare};
use super::super::inside::PendingQuestion;
use super::super::layout::inner;
use super::super::run::Run;
use super::super::theme::Role;
use super::super::update::inside;
use super::super::widgets::bar;
use super::super::widgets::flow::{Glyph, flow, wrap};
use super::answer::TokenStyles;
use super::map::quoted;
use super::{cell, pane, put};
use crate::program::Action;
use crate::text::escape_controls;

/// Columns of the names of numbers, and of a number.
const NAME: u16 = 16;
const NUMBER: u16 = 18;

type Piece = (String, Style);

pub(in crate::tui) fn draw(app: &App, against: Against, scroll: usize, body: Rect, buffer: &mut Buffer) {
    let title = match against {
        Against::Previous => "Compare: the run before and this run",
        Against::Unmodified => "Compare: the unmodified model and this run",
        Against::Run(_) => "Compare: another run of the session and this run",
    };
    let keys = app.ui.keymap.keys_for(UiAction::Close, "overlay");
    let closes = keys.first().map_or(String::new(), |key| format!("{key} closes"));
    pane::dialog(app, body, title, &closes, buffer);
    let area = inner(body);
    let (Some(before), Some(after)) = (app.against(against), app.shown.as_ref()) else {
        let text = "the unmodified model is reading the prompt…";
        put(buffer, area, 0, 0, text, app.ui.theme.style(Role::Muted));
        return;
    };
    let comparison = Comparison::new(before, after);
    let foot = foot(app, &comparison, before, after, area.width);
    let texts_height = area
        .height
        .saturating_sub(foot.len() as u16 + 1)
        .max(area.height.min(4));
    let texts = Rect {
        height: texts_height,
        ..area
    };
    draw_texts(app, [before, after], &comparison, scroll, texts, buffer);
    let rule = "─".repeat(usize::from(area.width));
    put(buffer, area, 0, texts_height, &rule, app.ui.theme.style(Role::Border));
    for (y, line) in (texts_height + 1..area.height).zip(&foot) {
        let mut x = 0;
        for (text, style) in line {
            x += put(buffer, area, x, y, text, *style);
        }
    }
}

/// What a run is called here.
fn name(run: &Run, sign: &str) -> String {
    format!("{sign} {}", run.what())
}

/// Both texts, each in its half.
fn draw_texts(app: &App, runs: [&Run; 2], comparison: &Comparison, scroll: usize, area: Rect, buffer: &mut Buffer) {
    let half = area.width.saturating_sub(3) / 2;
    let columns = [0, half + 3].map(|x| Rect {
        x: area.x + x,
        width: half,
        ..area
    });
    let lines = [0, 1].map(|i| lines(runs[i], half));
    let height = usize::from(area.height.saturating_sub(1)).max(1);
    let end = lines[0].len().max(lines[1].len()).saturating_sub(height);
    let top = top(&lines, runs, comparison, height).saturating_add(scroll).min(end);
    for (i, column) in columns.into_iter().enumerate() {
        let role = if i == 0 { Role::Removed } else { Role::Added };
        put(
            buffer,
            column,
            0,
            0,
            &name(runs[i], ["A", "B"][i]),
            app.ui.theme.style(Role::Title),
        );
        let diverges = comparison.diverges.map(|d| d + runs[i].prompt_len());
        let styles = TokenStyles::new(app, runs[i]);
        for (y, line) in (1..column.height).zip(lines[i].iter().skip(top)) {
            let mut x = 0;
            for glyph in line {
                let style = match diverges == Some(glyph.key) {
                    true => app.ui.theme.style(role).patch(app.ui.theme.style(Role::Cursor)),
                    false => styles.plain(glyph.key),
                };
                x += put(buffer, column, x, y, &glyph.text, style);
            }
        }
    }
    for y in area.top()..area.bottom() {
        let x = area.x + half + 1;
        if x < area.right() {
            buffer[(x, y)].set_char('│').set_style(app.ui.theme.style(Role::Border));
        }
    }
}

/// The answer's lines; special tokens are left out.
fn lines(run: &Run, width: u16) -> Vec<Vec<Glyph<'_>>> {
    let tokens = (run.prompt_len()..run.tokens()).filter_map(|t| {
        let (text, special) = run.token(t)?;
        (!special).then_some((t, text))
    });
    flow(tokens, width, None)
}

/// The first line in sight, before scrolling: the texts' first, or so that where they part can be
/// seen.
fn top(lines: &[Vec<Vec<Glyph>>; 2], runs: [&Run; 2], comparison: &Comparison, height: usize) -> usize {
    let Some(diverges) = comparison.diverges else { return 0 };
    let row = |i: usize| {
        let token = diverges + runs[i].prompt_len();
        lines[i].iter().position(|line| line.iter().any(|g| g.key >= token))
    };
    match row(0).or(row(1)) {
        Some(row) if row >= height => row.saturating_sub(height / 2),
        _ => 0,
    }
}

fn foot(app: &App, comparison: &Comparison, before: &Run, after: &Run, width: u16) -> Vec<Vec<Piece>> {
    let mut rows = otherwise(app, before, after, width);
    rows.push(parting(app, comparison, before, after));
    rows.extend(numbers(app, comparison, before, after));
    rows.extend(apart(app, before, after, width));
    rows.extend(changes(app, [before, after], comparison, width));
    rows
}

/// Most lines of what was asked otherwise.
const OTHERWISE: usize = 3;

/// What was asked otherwise: it comes first, for it is what the rest follows from.
fn otherwise(app: &App, before: &Run, after: &Run, width: u16) -> Vec<Vec<Piece>> {
    let style = |role| app.ui.theme.style(role);
    let asked = asked_otherwise(before, after);
    let text = match asked.is_empty() {
        true => "nothing: both were asked the same".to_owned(),
        false => escape_controls(&asked.join(" · ")),
    };
    let lines = flow([(0, text.as_str())].into_iter(), width.saturating_sub(NAME), None);
    let mut names = std::iter::once("A → B").chain(std::iter::repeat(""));
    let line = |line: &Vec<Glyph>| {
        let text: String = line.iter().map(|g| g.text.as_ref()).collect();
        let name = format!("{:<w$}", names.next().unwrap_or_default(), w = usize::from(NAME));
        vec![(name, style(Role::Muted)), (text, style(Role::Pin))]
    };
    lines.iter().take(OTHERWISE).map(line).collect()
}

/// Where the texts part, in words.
fn parting(app: &App, comparison: &Comparison, before: &Run, after: &Run) -> Vec<Piece> {
    let text = |run: &Run, at: usize| match run.trace.steps.get(at) {
        Some(step) => format!("has {}", quoted(&step.text)),
        None => diff::end(run).to_owned(),
    };
    let sentence = match comparison.diverges {
        _ if !comparison.same_prompt => "≠ the prompts differ, so the texts and positions do too".to_owned(),
        None if before.is_running() || after.is_running() => "= the same text so far".to_owned(),
        None => "= the same text".to_owned(),
        Some(at) => format!(
            "≠ the texts part at token {}: A {}, B {}",
            at + 1,
            text(before, at),
            text(after, at)
        ),
    };
    vec![(sentence, app.ui.theme.style(Role::Accent))]
}

fn numbers(app: &App, comparison: &Comparison, before: &Run, after: &Run) -> Vec<Vec<Piece>> {
    let (a, b) = (&comparison.before, &comparison.after);
    let style = |role| app.ui.theme.style(role);
    let row = |name: &str, before: String, after: String, change: String| {
        vec![
            (format!("{name:<w$}", w = usize::from(NAME)), style(Role::Muted)),
            (format!("{before:<w$}", w = usize::from(NUMBER)), style(Role::Text)),
            (format!("{after:<w$}", w = usize::from(NUMBER)), style(Role::Text)),
            (change, style(Role::Accent)),
        ]
    };
    let percent = |x: f64, y: f64| {
        if x > 0.0 {
            format!("{:+.0} %", 100.0 * (y / x - 1.0))
        } else {
            String::new()
        }
    };
    let speed = |t: &Totals| t.tokens_per_second.map_or("-".into(), |s| format!("{s:.1}"));
    let shares = |t: &Totals| t.shares.map(|s| format!("{:.0}", 100.0 * s)).join("/") + " %";
    let change = a.tokens_per_second.zip(b.tokens_per_second);
    let speed_change = match change {
        Some((x, y)) if speeds_compare(before, after) => percent(x, y),
        Some(_) => "not comparable".to_owned(),
        None => String::new(),
    };
    let (first, later) = equal_tokens(before, after);
    let least = a.tokens.min(b.tokens);
    let equal = match least - first {
        0 => format!("all {first} that both have"),
        rest => format!("the first {first} of {least}, then {later} of {rest}"),
    };
    let depth_change = format!(
        "{:+.2} ({})",
        b.mean_depth - a.mean_depth,
        percent(a.mean_depth, b.mean_depth)
    );
    vec![
        row("", "A".into(), "B".into(), "B against A".into()),
        row(
            "mean depth",
            format!("{:.2}", a.mean_depth),
            format!("{:.2}", b.mean_depth),
            depth_change,
        ),
        row("tokens/s", speed(a), speed(b), speed_change),
        row(
            "tokens",
            a.tokens.to_string(),
            b.tokens.to_string(),
            format!("{:+}", b.tokens as i64 - a.tokens as i64),
        ),
        vec![
            (
                format!("{:<w$}", "same tokens", w = usize::from(NAME)),
                style(Role::Muted),
            ),
            (equal, style(Role::Text)),
        ],
        row("skip/once/twice", shares(a), shares(b), String::new()),
    ]
}

/// How far the next-token distributions lie apart, a bar a token; where that was not asked for, how to ask, or why that
/// cannot be.
fn apart(app: &App, before: &Run, after: &Run, width: u16) -> Vec<Vec<Piece>> {
    let style = |role| app.ui.theme.style(role);
    let named = |name: &str| (format!("{name:<w$}", w = usize::from(NAME)), style(Role::Muted));
    let wrapped = |name: &str, text: &str, role: Role| {
        let lines = wrap(text, width.saturating_sub(NAME)).into_iter().enumerate();
        let row = |(at, line)| vec![named(if at == 0 { name } else { "" }), (line, style(role))];
        lines.map(row).collect::<Vec<_>>()
    };
    let asked = app.apart.as_ref().filter(|a| a.runs == (before.id, after.id));
    let divergence = match asked.map(|a| &a.divergence) {
        Some(PendingQuestion::Here(divergence)) => divergence,
        Some(PendingQuestion::Waiting(_)) => return wrapped("KL by token", "running both again…", Role::Muted),
        Some(PendingQuestion::Refused(why)) => return wrapped("KL by token", &escape_controls(why), Role::Error),
        None => {
            let keys = app.ui.keymap.keys_for(UiAction::Divergence, "overlay");
            let hint = || keys.first().map_or(String::new(), |key| format!("{key} computes it"));
            let hint = inside::no_divergence(app, before, after).unwrap_or_else(hint);
            return wrapped("KL by token", &escape_controls(&hint), Role::Muted);
        }
    };
    let Some((at, greatest)) = divergence.greatest() else {
        return wrapped("KL by token", "no token in both", Role::Muted);
    };
    let facts = format!(
        "  A‖B: mean {:.3}, most {greatest:.2} nats at token {}",
        divergence.mean(),
        at + 1
    );
    let room = usize::from(width.saturating_sub(NAME))
        .saturating_sub(facts.chars().count())
        .max(1);
    // Where there are more tokens than columns, a column shows the greatest of its tokens.
    let each = divergence.by_token.len().div_ceil(room).max(1);
    let columns = divergence
        .by_token
        .chunks(each)
        .map(|c| c.iter().copied().fold(0.0, f32::max));
    let bar = |d: f32| match d {
        d if d > 0.0 => bar::vertical(f64::from(d / greatest), 0, 1),
        _ => ' ',
    };
    vec![vec![
        named("KL by token"),
        (columns.map(bar).collect(), style(Role::Disagree)),
        (facts, style(Role::Muted)),
    ]]
}

/// The prompt's programs layer by layer, and how often each layer was decided otherwise later.
fn changes(app: &App, runs: [&Run; 2], comparison: &Comparison, width: u16) -> Vec<Vec<Piece>> {
    let style = |role| app.ui.theme.style(role);
    let name = |text: &str| (format!("{text:<w$}", w = usize::from(NAME)), style(Role::Muted));
    if comparison.layers.is_empty() {
        return vec![vec![(
            "the models have different numbers of layers".to_owned(),
            style(Role::Muted),
        )]];
    }
    let room = usize::from(width.saturating_sub(NAME));
    let layers = &comparison.layers[..comparison.layers.len().min(room)];
    let cells = |action: fn(&super::super::diff::LayerChange) -> Action| {
        let piece = move |l| {
            let action = action(l);
            (
                cell::glyph(app, action).to_string(),
                cell::glyph_style(&app.ui.theme, action),
            )
        };
        layers.iter().map(piece)
    };
    let ruler: String = (0..layers.len())
        .map(|l| {
            if l % 10 == 0 {
                char::from_digit((l / 10 % 10) as u32, 10).unwrap_or(' ')
            } else {
                '╌'
            }
        })
        .collect();
    let token_changes = layers.iter().map(|l| match l.share {
        s if s > 0.0 => (bar::vertical(s, 0, 1).to_string(), style(Role::Disagree)),
        _ => (" ".to_owned(), Style::new()),
    });
    let prompt_changes: String = layers.iter().map(|l| if l.at_prompt() { '≠' } else { ' ' }).collect();
    let (changed, of) = (comparison.changed_at_prompt(), comparison.layers.len());
    let damped = match Comparison::damped_otherwise(runs[0], runs[1]) {
        0 => String::new(),
        n => format!(", {n} damped otherwise"),
    };
    let in_answer = comparison.layers.iter().filter(|layer| layer.share > 0.0).count();
    vec![
        std::iter::once(name("layer"))
            .chain([(ruler, style(Role::Muted))])
            .collect(),
        std::iter::once(name("A at prompt"))
            .chain(cells(|l| l.before))
            .collect(),
        std::iter::once(name("B at prompt")).chain(cells(|l| l.after)).collect(),
        vec![
            name("changed"),
            (prompt_changes, style(Role::Disagree)),
            (
                format!("  at the prompt {changed} of {of} layers{damped}"),
                style(Role::Muted),
            ),
        ],
        std::iter::once(name("in the answer"))
            .chain(token_changes)
            .chain([(
                format!("  how often changed, {in_answer} of {of} layers"),
                style(Role::Muted),
            )])
            .collect(),
    ]
}
