//! What the open runs have in common.
//!
//! ```text
//! ┏ Statistics of 3 runs ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ Esc closes, P prompts file ┓
//! ┃ Layers                                      Depth of answer tokens                        ┃
//! ┃ layer  skip  repeat  answers    prompts       24     12   8.0 %  ▇▇▇                      ┃
//! ┃    29   0.0    12.5  ▄▄▄▄▄▄▄█   ▄▄▄▄▄▄        25     40  26.7 %  ▇▇▇▇▇▇▇▇                 ┃
//! ┃                                             Confidence, calibration, programs …           ┃
//! ┗━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┛
//! ```

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;

use super::super::action::UiAction;
use super::super::app::App;
use super::super::layout::inner;
use super::super::override_list;
use super::super::overrides::plural;
use super::super::stats::{Counted, Of, PromptBatch, StatsDialog};
use super::super::theme::Role;
use super::super::widgets::bar;
use super::super::widgets::flow::{flow, wrap};
use super::{cell, line, pane, put};
use crate::program::Action;
use crate::text::escape_controls;
use crate::trace::aggregate::{AgreementReport, TraceStatistics};

/// From this inner width on there are two columns.
const TWO_COLUMNS: u16 = 120;

/// Columns between them.
const GAP: u16 = 4;

/// Columns of the bars of depths, confidences and shares.
const BAR: usize = 24;

/// Columns that a layer's numbers take.
const NUMBERS: u16 = 22;

/// Rows at the foot while a name is typed.
const FOOT: u16 = 4;

type Line = Vec<(String, Style)>;

/// Draws the dialog; where the cursor is while a name is typed.
pub(in crate::tui) fn draw(app: &App, dialog: &StatsDialog, body: Rect, buffer: &mut Buffer) -> Option<Position> {
    pane::dialog(app, body, &title(app, dialog), &keys(app), buffer);
    let area = inner(body);
    let foot = if dialog.edit.is_some() {
        FOOT.min(area.height)
    } else {
        0
    };
    let text = Rect {
        height: area.height - foot,
        ..area
    };
    match &dialog.counted {
        Some(counted) => columns(app, counted, dialog.scroll, text, buffer),
        None => {
            let none = "nothing to count yet: run a prompt, open traces, or run a file of prompts";
            let waiting = "the first prompt is under way…";
            let text_line = if batch(app, dialog).is_some() { waiting } else { none };
            put(buffer, text, 0, 0, text_line, app.ui.theme.style(Role::Muted));
        }
    }
    let edit = dialog.edit.as_ref()?;
    let foot = Rect {
        y: text.bottom(),
        height: foot,
        ..area
    };
    put(
        buffer,
        foot,
        0,
        0,
        &"─".repeat(usize::from(area.width)),
        app.ui.theme.style(Role::Border),
    );
    let typed = Rect {
        y: foot.y + 1.min(foot.height),
        height: foot.height.saturating_sub(1).min(1),
        ..foot
    };
    let cursor = line::draw(app, edit, typed, buffer);
    let changed: Vec<String> = override_list::active(&app.settings)
        .iter()
        .map(ToString::to_string)
        .collect();
    let under = match changed.is_empty() {
        true => "under the present settings".to_owned(),
        false => format!("under the overrides that are on: {}", changed.join(", ")),
    };
    let hint = format!("a file of prompts, one a line, or JSON lines with a prompt or question; they run {under}");
    let (text, role) = match &edit.error {
        Some(error) => (error.message.as_str(), Role::Error),
        None => (hint.as_str(), Role::Muted),
    };
    for (y, glyphs) in (2..foot.height).zip(flow([(0, text)].into_iter(), foot.width, None)) {
        let text: String = glyphs.iter().map(|g| g.text.as_ref()).collect();
        put(buffer, foot, 0, y, &text, app.ui.theme.style(role));
    }
    Some(cursor)
}

/// The file of prompts, if that is what is shown.
fn batch<'a>(app: &'a App, dialog: &StatsDialog) -> Option<&'a PromptBatch> {
    app.batch.as_ref().filter(|_| dialog.prompts)
}

fn title(app: &App, dialog: &StatsDialog) -> String {
    if let Some(batch) = batch(app, dialog) {
        let (done, all) = (batch.done, batch.prompts.len());
        let state = match (batch.run, done == all) {
            (Some(_), _) => ", running",
            (None, true) => "",
            (None, false) => ", stopped",
        };
        return format!("Statistics of {done} of {all} prompts{state}");
    }
    let Some(counted) = &dialog.counted else {
        return "Statistics".to_owned();
    };
    let n = counted.report.runs;
    let what = match counted.of {
        Of::Recordings => "recording",
        Of::Runs | Of::Prompts => "run",
    };
    format!("Statistics of {n} {what}{}", plural(n))
}

fn keys(app: &App) -> String {
    let key = |action| app.ui.keymap.keys_for(action, "overlay").into_iter().next();
    let said = |action, what: &str| key(action).map(|key| format!("{key} {what}"));
    let turn = match app.batch {
        Some(_) => said(UiAction::Toggle, "all runs or the file's"),
        None => None,
    };
    let closes = said(UiAction::Close, "closes");
    let parts = [closes, said(UiAction::LoadPrompts, "prompts file"), turn];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The lines where sections begin, in the column at the left, on the whole of the screen.
pub fn starts(app: &App, counted: &Counted) -> Vec<usize> {
    let width = inner(app.ui.area).width;
    let (left, _) = sections(app, counted, width);
    // A blank line stands before each.
    let starts = (1..).zip(&left).filter(|(_, line)| line.is_empty());
    starts.map(|(after, _)| after).collect()
}

/// The columns in `width`; the right one is empty where there is room for one.
fn sections(app: &App, counted: &Counted, width: u16) -> (Vec<Line>, Vec<Line>) {
    let wide = width >= TWO_COLUMNS;
    let width = column_width(width);
    let mut left = caption(app, counted, width);
    left.extend(layers(app, &counted.report, width));
    left.extend(decided_by(app, &counted.report));
    let mut right = numbers(app, &counted.report, width);
    if !wide {
        left.append(&mut right);
    }
    (left, right)
}

fn column_width(width: u16) -> u16 {
    match width >= TWO_COLUMNS {
        true => (width - GAP) / 2,
        false => width,
    }
}

/// One column of lines, or two where there is room; both scroll.
fn columns(app: &App, counted: &Counted, scroll: usize, area: Rect, buffer: &mut Buffer) {
    let width = column_width(area.width);
    let (left, right) = sections(app, counted, area.width);
    let end = left.len().max(right.len()).saturating_sub(usize::from(area.height));
    let top = scroll.min(end);
    for (x, lines) in [(0, left), (width + GAP, right)] {
        let column = Rect {
            x: area.x + x.min(area.width),
            width: width.min(area.width.saturating_sub(x)),
            ..area
        };
        for (y, line) in (0..area.height).zip(lines.iter().skip(top)) {
            let mut x = 0;
            for (text, style) in line {
                x += put(buffer, column, x, y, text, *style);
            }
        }
    }
}

/// Depths, confidences, calibration, programs.
fn numbers(app: &App, report: &TraceStatistics, width: u16) -> Vec<Line> {
    let mut lines = depths(app, report, width);
    lines.extend(confidence(app, report));
    for agreement in &report.agreement {
        lines.extend(calibration(app, agreement, width));
    }
    lines.extend(programs(app, report, width));
    lines
}

/// A paragraph in lines of `width` columns.
fn wrapped(text: &str, width: u16, style: Style) -> Vec<Line> {
    wrap(text, width).into_iter().map(|line| vec![(line, style)]).collect()
}

fn heading(app: &App, text: &str, width: u16) -> Vec<Line> {
    let mut lines = vec![Vec::new()];
    lines.extend(wrapped(text, width, app.ui.theme.style(Role::Title)));
    lines
}

fn caption(app: &App, counted: &Counted, width: u16) -> Vec<Line> {
    let report = &counted.report;
    let mut text = format!(
        "{}: {} prompt tokens, {} answer tokens",
        escape_controls(&report.model),
        report.prompt_tokens,
        report.answer_tokens
    );
    if counted.left_out > 0 {
        let n = counted.left_out;
        text += &format!("; {n} run{} of other models left out", plural(n));
    }
    wrapped(&text, width, app.ui.theme.style(Role::Text))
}

/// A layer a row, the last one at the top as in the map; how its bar is filled says how often it was
/// skipped, executed and repeated.
fn layers(app: &App, report: &TraceStatistics, width: u16) -> Vec<Line> {
    let room = usize::from(width.saturating_sub(NUMBERS + 3)).min(64);
    // Narrow screens keep the answers' bars.
    let (answers, prompts) = if room >= 30 {
        (room * 2 / 3, room / 3)
    } else {
        (room, 0)
    };
    let muted = app.ui.theme.style(Role::Muted);
    let mut lines = heading(app, "Layers: how often each was skipped and repeated, in %", width);
    let mut names = format!("layer    skip  repeat  {:answers$}", "answer tokens");
    if prompts > 0 {
        names += "  prompts";
    }
    lines.push(vec![(names, muted)]);
    let row = |name: String, at_answers: Option<[f64; 3]>, at_prompts: Option<[f64; 3]>| {
        let percent = |rate: fn([f64; 3]) -> f64| match at_answers.or(at_prompts) {
            Some(rates) => format!("{:>6.1}", 100.0 * rate(rates)),
            None => format!("{:>6}", "-"),
        };
        let numbers = format!("{name:>5}  {}  {}  ", percent(|r| r[0]), percent(|r| r[2]));
        let mut line = vec![(numbers, app.ui.theme.style(Role::Text))];
        line.extend(stacked(app, at_answers, answers));
        if prompts > 0 {
            line.push(("  ".to_owned(), muted));
            line.extend(stacked(app, at_prompts, prompts));
        }
        line
    };
    let each = report.layers.iter().rev();
    lines.extend(each.map(|l| row(l.layer.to_string(), l.answers, l.prompts)));
    lines.push(row("all".to_owned(), report.all_answers, report.all_prompts));
    lines
}

/// Shares of skip, execute and repeat in the glyphs of the map's cells: they need no colours. For a screen reader in per
/// cent.
fn stacked(app: &App, rates: Option<[f64; 3]>, width: usize) -> Line {
    let Some(rates) = rates else {
        return vec![(" ".repeat(width), app.ui.theme.style(Role::Text))];
    };
    if app.ui.screen_reader {
        let text = rates.map(|rate| format!("{:.0}", 100.0 * rate)).join("/") + " %";
        return vec![(format!("{text:<width$}"), app.ui.theme.style(Role::Text))];
    }
    let widths = bar::split(rates, width);
    let part = |action: Action| {
        let text = cell::glyph(app, action).to_string().repeat(widths[action.executions()]);
        (text, cell::glyph_style(&app.ui.theme, action))
    };
    Action::ALL.into_iter().map(part).collect()
}

/// A name, a count, its share of `all` and a bar relative to `most`.
fn counted(app: &App, name: &str, count: usize, all: usize, most: usize) -> Line {
    let share = 100.0 * count as f64 / all.max(1) as f64;
    let bar = bar::horizontal(count as f64 / most.max(1) as f64, BAR);
    vec![
        (
            format!("{name:>8}  {count:>8}  {share:>5.1} %  "),
            app.ui.theme.style(Role::Text),
        ),
        (bar, app.ui.theme.style(Role::Accent)),
    ]
}

fn decided_by(app: &App, report: &TraceStatistics) -> Vec<Line> {
    let counts: Vec<_> = report.decided_by.iter().filter(|n| n.count > 0).collect();
    let all: usize = counts.iter().map(|n| n.count).sum();
    if all == 0 {
        return Vec::new();
    }
    let mut lines = heading(app, "Who decided, over the cells of answer tokens", u16::MAX);
    lines.extend(counts.iter().map(|n| counted(app, &n.name, n.count, all, all)));
    lines
}

fn depths(app: &App, report: &TraceStatistics, width: u16) -> Vec<Line> {
    let Some(depth) = &report.depth else {
        return Vec::new();
    };
    let title = format!(
        "Depth of answer tokens: mean {:.2}, median {:.1}, {} to {}, of {} layers",
        depth.mean,
        depth.median,
        depth.least,
        depth.greatest,
        report.layers.len()
    );
    let most = depth.histogram.iter().map(|d| d.tokens).max().unwrap_or(1);
    let mut lines = heading(app, &title, width);
    let row = |d: &crate::trace::aggregate::DepthCount| {
        counted(app, &d.depth.to_string(), d.tokens, report.answer_tokens, most)
    };
    lines.extend(depth.histogram.iter().map(row));
    lines
}

fn confidence(app: &App, report: &TraceStatistics) -> Vec<Line> {
    let all: usize = report.confidence.iter().map(|b| b.decisions).sum();
    if all == 0 {
        return Vec::new();
    }
    let most = report.confidence.iter().map(|b| b.decisions).max().unwrap_or(1);
    let mut lines = heading(app, "Confidence of the routers", u16::MAX);
    let row = |b: &crate::trace::aggregate::ConfidenceBin| {
        counted(app, &format!("{:.1}-{:.1}", b.from, b.to), b.decisions, all, most)
    };
    lines.extend(report.confidence.iter().map(row));
    lines
}

/// Does a router say at the answer's tokens what it was sure of at the prompt?
fn calibration(app: &App, report: &AgreementReport, width: u16) -> Vec<Line> {
    let Some(error) = report.calibration_error else {
        return Vec::new();
    };
    let title = format!(
        "Calibration, scope {}: how often a router says at answer tokens what it said at the prompt; error {error:.3}",
        report.scope
    );
    let text = app.ui.theme.style(Role::Text);
    let mut lines = heading(app, &title, width);
    let names = format!("{:>8}  {:>8}  {:>9}  agreement", "", "pairs", "confident");
    lines.push(vec![(names, app.ui.theme.style(Role::Muted))]);
    for bin in report.bins.iter().filter(|bin| bin.pairs > 0) {
        let (confidence, agreement) = (bin.confidence.unwrap_or(0.0), bin.agreement.unwrap_or(0.0));
        let name = format!("{:.1}-{:.1}", bin.from, bin.to);
        let numbers = format!("{name:>8}  {:>8}  {confidence:>9.3}  {agreement:.3}  ", bin.pairs);
        lines.push(vec![
            (numbers, text),
            (bar::horizontal(agreement, BAR), app.ui.theme.style(Role::Accent)),
        ]);
    }
    let otherwise = format!(
        "{} of {} cells would be otherwise by their own router",
        report.cells_otherwise, report.cells_asked
    );
    lines.push(vec![(otherwise, app.ui.theme.style(Role::Muted))]);
    lines
}

fn programs(app: &App, report: &TraceStatistics, width: u16) -> Vec<Line> {
    let title = format!(
        "Most common programs: {} of {}",
        report.programs.len(),
        report.distinct_programs
    );
    let mut lines = heading(app, &title, width);
    let names = format!("{:>8}  {:>8}  {:>5}  program", "tokens", "prompts", "depth");
    lines.push(vec![(names, app.ui.theme.style(Role::Muted))]);
    for program in &report.programs {
        let text = match program.program.is_empty() {
            true => "(no layer)".to_owned(),
            false => program.program.to_string(),
        };
        let line = format!(
            "{:>8}  {:>8}  {:>5}  {text}",
            program.tokens, program.prompts, program.depth
        );
        lines.push(vec![(line, app.ui.theme.style(Role::Text))]);
    }
    lines
}
