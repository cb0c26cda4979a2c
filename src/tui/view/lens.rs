//! The map as a logit lens: in each cell the token that the layer would say, executions of a repeated layer side by
//! side, and a mark where the token that the run says in the end stands from there on. In a LoopMoE model the same map has
//! the experts of each execution instead, and how many of them the iteration before had chosen too.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::widgets::{Clear, Widget};
use unicode_width::UnicodeWidthStr;

use super::super::app::App;
use super::super::grid::{Column, Grid};
use super::super::run::Run;
use super::super::theme::Role;
use super::super::ui::LensContents;
use super::super::widgets::flow::{fit, wrap};
use super::tape::one_line;
use super::{cell, pane, put};
use crate::engine::{Inspection, Stage};
use crate::program::Action;
use crate::text::escape_controls;

/// From here on up, what the run says in the end; there already.
const SETTLES: char = '◆';
const SETTLED: char = '=';
const SKIPPED: char = '·';

/// Of the experts of an execution the last iteration that ran had all, some, or none.
const ALL_KEPT: char = '=';
const SOME_KEPT: char = '~';
const NONE_KEPT: char = '≠';

pub(super) fn title(app: &App) -> &'static str {
    match app.lens_contents() {
        LensContents::Words => "Logit lens: layers × tokens",
        LensContents::Experts => "Experts: executions × tokens",
    }
}

/// How far it is, or why it stands still, where the border of a pane of this width has room for that.
pub(super) fn remark(app: &App, width: u16) -> String {
    let (done, all) = app.lens_progress().unwrap_or_default();
    match standstill(app) {
        _ if done == all && all > 0 => String::new(),
        Some(why) if has_room(app, &why, width) => why,
        _ => format!("{done} of {all} tokens"),
    }
}

/// Why it stands still; escaped.
fn standstill(app: &App) -> Option<String> {
    app.lens_waits().map(|why| escape_controls(&why))
}

/// Whether the border of a pane of this width holds a remark beside the title.
fn has_room(app: &App, remark: &str, width: u16) -> bool {
    pane::remark_room(title(app), width) >= remark.width()
}

/// Why it stands still, over cells that know nothing yet, where the border is too short for it: at the top, or at the
/// bottom where the cursor is at the top.
pub(super) fn reason(app: &App, grid: &Grid, width: u16, buffer: &mut Buffer) {
    let (done, all) = app.lens_progress().unwrap_or_default();
    let why = standstill(app).filter(|why| (done < all || all == 0) && !has_room(app, why, width));
    let Some(why) = why else { return };
    let lines = wrap(&why, grid.cells.width);
    let height = (lines.len() as u16).min(grid.cells.height);
    let cursor = grid.rows().find(|(layer, _)| *layer == app.ui.cursor.layer);
    let top = match cursor {
        Some((_, y)) if y < grid.cells.top() + height => grid.cells.bottom() - height,
        _ => grid.cells.top(),
    };
    let area = Rect {
        y: top,
        height,
        ..grid.cells
    };
    Clear.render(area.intersection(buffer.area), buffer);
    buffer.set_style(area.intersection(buffer.area), app.ui.theme.base());
    for (y, line) in (0..height).zip(&lines) {
        put(buffer, area, 0, y, line, app.ui.theme.style(Role::Warning));
    }
}

/// Glyph, style and meaning of what the cells show.
pub(super) fn legend(app: &App) -> Vec<(String, Style, &'static str)> {
    if app.lens_contents() == LensContents::Experts {
        let kept = |share: f32| kept(app, Some(share));
        return vec![
            (
                NONE_KEPT.to_string(),
                kept(0.0).1,
                "none of the last iteration's experts",
            ),
            (SOME_KEPT.to_string(), kept(0.5).1, "some"),
            (ALL_KEPT.to_string(), kept(1.0).1, "all"),
            (format!("{SKIPPED}3"), app.ui.theme.style(Role::Muted), "skipped"),
        ];
    }
    vec![
        (SETTLES.to_string(), settles(app), "final token from here on"),
        (SETTLED.to_string(), app.ui.theme.style(Role::Execute), "and above"),
        (format!("{SKIPPED}a"), app.ui.theme.style(Role::Muted), "skipped"),
        ("a→b".to_owned(), app.ui.theme.style(Role::Text), "1st, 2nd run"),
    ]
}

fn settles(app: &App) -> Style {
    app.ui.theme.style(Role::Accent).add_modifier(Modifier::BOLD)
}

pub(super) fn cells(app: &App, run: &Run, grid: &Grid, buffer: &mut Buffer) {
    let (layers, positions) = app.selection();
    let marked = |layer: usize, token: usize| {
        let range = positions.filter(|_| app.ui.mark.is_some());
        layers.contains(&layer) && range.is_some_and(|(from, to)| (from..=to).contains(&token))
    };
    for Column { token, x, width } in grid.columns(app.ui.cursor.token) {
        let said = app.lens.of(run.id, token);
        let from = said.and_then(Inspection::settles);
        for (layer, y) in grid.rows() {
            let area = Rect::new(x, y, width.saturating_sub(1), 1);
            let over = match layer == app.ui.cursor.layer && token == app.ui.cursor.token {
                true => app.ui.theme.style(Role::Cursor),
                false if marked(layer, token) => app.ui.theme.style(Role::Selection),
                false => Style::new(),
            };
            let (sign, text, style) = match said {
                Some(said) if app.lens_contents() == LensContents::Experts => {
                    gone_to(app, said, layer, usize::from(area.width.saturating_sub(1)))
                }
                Some(said) => said_by(app, said, from, layer, usize::from(area.width.saturating_sub(1))),
                None => (' ', unknown(app, run, layer, token), app.ui.theme.style(Role::Muted)),
            };
            buffer.set_style(area.intersection(buffer.area), over);
            put(buffer, area, 0, 0, &sign.to_string(), style.patch(over));
            put(buffer, area, 1, 0, &text, style.patch(over));
        }
    }
    if let Some(x) = grid.separator() {
        for y in grid.cells.top()..grid.cells.bottom() {
            buffer[(x, y)].set_char('│').set_style(app.ui.theme.style(Role::Border));
        }
    }
}

/// Until it is known what the lens says: what the layer did.
fn unknown(app: &App, run: &Run, layer: usize, token: usize) -> String {
    let action = run.decision(layer, token).map(|decision| decision.action);
    match action {
        Some(Action::Skip) => cell::glyph(app, Action::Skip).to_string(),
        Some(_) if app.lens_waits().is_none() => "…".to_owned(),
        Some(action) => cell::glyph(app, action).to_string(),
        None => String::new(),
    }
}

/// A layer's sign, what it says in `width` columns, and how that looks.
fn said_by(app: &App, said: &Inspection, from: Option<usize>, layer: usize, width: usize) -> (char, String, Style) {
    let at: Vec<usize> = said.of_layer(layer).collect();
    let stages: Vec<&Stage> = at.iter().map(|&at| &said.stages[at]).collect();
    let Some(&last) = at.last() else {
        return (' ', String::new(), Style::new());
    };
    let carried_out = said.stages[last].carried_out;
    let (sign, style) = match from {
        _ if !carried_out => (SKIPPED, app.ui.theme.style(Role::Muted)),
        Some(from) if at.contains(&from) => (SETTLES, settles(app)),
        Some(from) if last > from => (SETTLED, app.ui.theme.style(Role::Execute)),
        _ => (' ', app.ui.theme.style(Role::Text)),
    };
    (sign, texts(&stages, width), style)
}

/// Sign and style of the share of experts (Jaccard) that the last iteration that ran had chosen too; none where none ran.
fn kept(app: &App, share: Option<f32>) -> (char, Style) {
    let theme = &app.ui.theme;
    match share {
        None => (' ', theme.style(Role::Text)),
        Some(0.0) => (NONE_KEPT, theme.style(Role::Accent).add_modifier(Modifier::BOLD)),
        Some(1.0) => (ALL_KEPT, theme.style(Role::Muted)),
        Some(_) => (SOME_KEPT, theme.style(Role::Execute)),
    }
}

/// The experts that an execution went to, the one of the greatest weight first, and how they compare with the last
/// iteration that ran.
fn gone_to(app: &App, said: &Inspection, layer: usize, width: usize) -> (char, String, Style) {
    let Some(stage) = said.of_layer(layer).last().map(|at| &said.stages[at]) else {
        return (' ', String::new(), Style::new());
    };
    let Some(own) = stage.experts.as_ref().filter(|own| !own.experts.is_empty()) else {
        return (' ', fit("dense", width), app.ui.theme.style(Role::Muted));
    };
    let names: Vec<String> = own.experts.iter().map(|(expert, _)| expert.to_string()).collect();
    let text = whole(&names, width);
    if !stage.carried_out {
        return (SKIPPED, text, app.ui.theme.style(Role::Muted));
    }
    let (sign, style) = kept(
        app,
        super::inside::before(app, said, stage).and_then(|before| own.jaccard(before)),
    );
    (sign, text, style)
}

/// As many names as fit, none cut, with a sign for those that do not.
fn whole(names: &[String], width: usize) -> String {
    let all = names.join(" ");
    if all.width() <= width {
        return all;
    }
    let mut text = String::new();
    for name in names {
        if text.width() + name.width() + 2 > width {
            break;
        }
        text += name;
        text.push(' ');
    }
    text + "…"
}

/// What the executions of a layer say: `word`, `word×2`, `one→two`.
fn texts(stages: &[&Stage], width: usize) -> String {
    let words: Vec<String> = stages.iter().map(|stage| word(stage)).collect();
    match words.as_slice() {
        [] => String::new(),
        [word] => fit(word, width),
        [first, rest @ ..] if rest.iter().all(|word| word == first) => {
            let times = format!("×{}", words.len());
            fit(first, width.saturating_sub(times.width())) + &times
        }
        words => {
            let arrows = words.len() - 1;
            let each = width.saturating_sub(arrows) / words.len();
            let cut: Vec<String> = words.iter().map(|word| fit(word, each.max(1))).collect();
            fit(&cut.join("→"), width)
        }
    }
}

fn word(stage: &Stage) -> String {
    stage.lens.top.first().map_or(String::new(), |c| one_line(&c.text))
}

/// What the lens says at the cursor, for a detail of so many columns: a text and its role.
pub(super) fn facts(app: &App, width: u16) -> Vec<(String, Role)> {
    let Some(said) = app.lens_at(app.ui.cursor.token) else {
        let why = standstill(app).unwrap_or_else(|| "not computed yet".to_owned());
        let lines = wrap(&format!("lens: {why}"), width);
        return lines.into_iter().map(|line| (line, Role::Muted)).collect();
    };
    let mut rows = Vec::new();
    let at: Vec<usize> = said.of_layer(app.ui.cursor.layer).collect();
    for &at in &at {
        let stage = &said.stages[at];
        let top: Vec<String> = stage.lens.top.iter().map(super::inside::named).collect();
        let n = stage.block.map_or(0, |(_, n)| n);
        let name = match (stage.carried_out, n) {
            (false, _) => "would say".to_owned(),
            (true, 0) => "says".to_owned(),
            (true, n) => format!("then, {}×,", n + 1),
        };
        rows.push((format!("{name} {}", top.join(" ")), Role::Text));
        if let Some(since) = stage.since {
            let other = if since.other_token {
                "another token"
            } else {
                "the same token"
            };
            rows.push((
                format!("  {other}, KL {:.3} nats, cosine {:.3}", since.kl, since.cosine),
                Role::Muted,
            ));
        }
    }
    let stage = at.last().map(|&at| &said.stages[at]);
    if let Some((stage, own)) = stage.and_then(|stage| Some((stage, stage.experts.as_ref()?)))
        && !own.experts.is_empty()
    {
        let names: Vec<String> = own
            .experts
            .iter()
            .map(|(expert, weight)| format!("{expert} ({weight:.2})"))
            .collect();
        rows.push((format!("experts {}", names.join(" ")), Role::Text));
        if let Some(shared) = super::inside::before(app, said, stage).and_then(|before| own.jaccard(before)) {
            rows.push((
                format!("  Jaccard {shared:.2} with the last iteration that ran"),
                Role::Muted,
            ));
        }
    }
    if let Some(stage) = stage {
        rows.push((
            format!("KL to end {:.2}, entropy {:.2} nats", stage.kl, stage.lens.entropy),
            Role::Muted,
        ));
    }
    rows.push(match settles_at(said) {
        Some(place) => (format!("{SETTLES} the final token from {place} on"), Role::Accent),
        None => (String::new(), Role::Muted),
    });
    rows
}

/// Where the final token stands from there on, in words.
pub(super) fn settles_at(said: &Inspection) -> Option<String> {
    Some(stage_name(&said.stages[said.settles()?]))
}

/// A stage in words.
pub(super) fn stage_name(stage: &Stage) -> String {
    match stage.block {
        None => "the embedding".to_owned(),
        Some((layer, 0)) => format!("layer {layer}"),
        Some((layer, n)) => format!("execution {} of layer {layer}", n + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Distribution;
    use crate::trace::Candidate;

    fn stage(text: &str) -> Stage {
        Stage {
            block: Some((3, 0)),
            carried_out: true,
            lens: Distribution {
                top: vec![Candidate {
                    id: 1,
                    text: text.into(),
                    probability: 0.5,
                }],
                entropy: 1.0,
            },
            kl: 0.0,
            moved: None,
            since: None,
            experts: None,
        }
    }

    #[test]
    fn executions_of_a_layer_stand_side_by_side() {
        let (moon, sun, line) = (stage(" moonlight"), stage(" sun"), stage("\n\u{1b}"));
        assert_eq!(texts(&[&moon], 7), "moonli…");
        assert_eq!(texts(&[&sun, &sun], 7), "sun×2");
        assert_eq!(texts(&[&sun, &moon], 7), "sun→mo…");
        assert_eq!(texts(&[&line], 7), "⏎");
        assert_eq!(texts(&[], 7), "");
    }
}
