//! What stands on the screen, held against the run that it stands beside.

use crossterm::event::{KeyCode, KeyEvent};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::super::describe;
use super::super::grid::Grid;
use super::super::layout::inner;
use super::super::tape::{DEPTH, Tape, TapeRow};
use super::super::ui::MapMode;
use super::super::update::{UiEvent, update};
use super::super::widgets::flow::wrap;
use super::*;
use crate::program::{Action, Program};
use crate::trace::{Decision, Trace};
use crate::tui::fixture;
use crate::tui::ui::Focus;

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];

fn drawn(app: &mut App, (width, height): (u16, u16)) -> Buffer {
    update(app, UiEvent::Resize(width, height));
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view(app, frame)).unwrap();
    terminal.backend().buffer().clone()
}

fn row(buffer: &Buffer, area: Rect, y: u16) -> String {
    (area.left()..area.right()).map(|x| buffer[(x, y)].symbol()).collect()
}

/// The words of an area, its lines joined.
fn words(buffer: &Buffer, area: Rect) -> String {
    let lines = (area.top()..area.bottom()).map(|y| row(buffer, area, y));
    let text = lines.collect::<Vec<_>>().join(" ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn keys(app: &mut App, typed: &str) {
    for c in typed.chars() {
        update(app, UiEvent::Key(KeyEvent::from(KeyCode::Char(c))));
    }
}

/// A screen with a finished run of `trace`, the map in focus.
fn showing(trace: Trace) -> App {
    let mut app = fixture::app();
    update(&mut app, UiEvent::Worker(fixture::loaded()));
    app.open("a run".into(), None, trace);
    (app.ui.focus, app.ui.folded, app.ui.notice) = (Focus::Map, Focus::Map, None);
    app
}

fn screen(app: &App) -> Screen {
    Screen::new(app, app.ui.area).unwrap()
}

/// The words of the detail.
fn detail(app: &mut App, size: (u16, u16)) -> String {
    (app.ui.focus, app.ui.folded) = (Focus::Detail, Focus::Detail);
    let buffer = drawn(app, size);
    let pane = screen(app).detail.unwrap();
    words(&buffer, inner(pane))
}

fn digit(decision: &Decision) -> &'static str {
    ["0", "1", "2"][decision.action.executions()]
}

#[test]
fn a_screen_reader_hears_of_the_tape_how_often_layers_ran() {
    for trace in [
        fixture::trace(7, 60),
        fixture::token_trace(3, 60),
        fixture::depth_trace(44),
    ] {
        let mut app = showing(trace);
        app.ui.screen_reader = true;
        app.ui.map.tape = true;
        for size in SIZES {
            let buffer = drawn(&mut app, size);
            let run = app.shown.as_ref().unwrap();
            let tape = Tape::new(&app, run, screen(&app).map.unwrap());
            assert!(tape.rows().count() > 3);
            for (line, y) in tape.rows() {
                let token = match line {
                    TapeRow::Prompt => 0,
                    TapeRow::Token(position) => position,
                };
                for (layer, x) in tape.columns() {
                    let cell = row(&buffer, Rect::new(x, y, tape.cell, 1), y);
                    let decision = run.decision(layer, token).unwrap();
                    assert_eq!(cell.trim(), digit(&decision), "{size:?}, token {token}, layer {layer}");
                }
                let numbers = row(&buffer, Rect::new(tape.end(), y, DEPTH + tape.bar, 1), y);
                let (depth, all) = (run.depth(token).unwrap(), run.layers());
                let saved = match tape.bar > 0 && depth != all {
                    true => format!("{depth} {}", all as i64 - depth as i64),
                    false => depth.to_string(),
                };
                assert_eq!(numbers.split_whitespace().collect::<Vec<_>>().join(" "), saved);
            }
        }
    }
}

#[test]
fn a_screen_reader_hears_of_the_map_how_often_layers_ran() {
    let mut app = showing(fixture::token_trace(3, 60));
    app.ui.screen_reader = true;
    for size in SIZES {
        let buffer = drawn(&mut app, size);
        let run = app.shown.as_ref().unwrap();
        let grid = Grid::new(&app, run, screen(&app).map.unwrap());
        for (layers, y) in grid.lines() {
            assert_eq!(layers.len(), 1, "two layers have no one digit");
            for column in grid.columns(app.ui.cursor.token) {
                let cell = row(&buffer, Rect::new(column.x, y, column.width, 1), y);
                let decision = run.decision(layers.start, column.token).unwrap();
                assert_eq!(cell.trim(), digit(&decision), "{size:?}, {column:?}");
            }
        }
        let legend = words(&buffer, screen(&app).notice);
        assert!(legend.contains("0 skipped 1 once 2 twice"), "{legend}");
        assert!(!legend.contains("disagrees"), "no cell says so: {legend}");
    }
}

#[test]
fn dialogs_leave_a_screen_reader_its_words_and_the_digits_beside_them() {
    for typed in ["O", "o", "w", "F", "?", "i", "p", "C"] {
        let mut app = showing(fixture::token_trace(3, 60));
        app.ui.screen_reader = true;
        app.ui.map.tape = true;
        let before = drawn(&mut app, (200, 60));
        let tape = Tape::new(&app, app.shown.as_ref().unwrap(), screen(&app).map.unwrap());
        keys(&mut app, typed);
        for size in [(80, 24), (120, 40), (200, 60)] {
            let buffer = drawn(&mut app, size);
            let said = wrap(&describe::selected(&app).unwrap(), size.0);
            let area = screen(&app).spoken.unwrap();
            for (y, line) in (area.y..area.bottom()).zip(&said) {
                assert_eq!(row(&buffer, area, y).trim_end(), line.trim_end(), "{typed} at {size:?}");
            }
            let all = words(&buffer, buffer.area);
            assert!(
                !all.contains(" 0 routers") && !all.contains("22222222"),
                "{typed}: {all}"
            );
        }
        let after = drawn(&mut app, (200, 60));
        if typed == "O" && screen(&app).spoken.unwrap().height == 1 {
            let (_, y) = tape.rows().last().unwrap();
            assert_eq!(row(&after, tape.area, y), row(&before, tape.area, y));
        }
    }
}

#[test]
fn a_message_is_read_to_its_end() {
    let message = "same text for 16 tokens, then \" Earth\" became \" sky\"; depth 26.9 → 30.0 (program by routers depth → every \
                   layer, max tokens 64 → 128)";
    for size in SIZES {
        let mut app = showing(fixture::trace(7, 60));
        app.info(message);
        let buffer = drawn(&mut app, size);
        let said = words(&buffer, screen(&app).notice);
        assert!(said.contains(message), "{size:?}: {said}");
    }
}

#[test]
fn a_held_run_says_how_it_goes_on_at_every_width() {
    let mut app = showing(fixture::trace(7, 60));
    app.held = true;
    for (size, tries) in [((40, 24), false), ((60, 24), true), ((80, 24), true), ((120, 40), true)] {
        let buffer = drawn(&mut app, size);
        let said = words(&buffer, screen(&app).playback.unwrap());
        assert!(said.ends_with("goes on"), "{said}");
        assert_eq!(said.contains("tries a layer"), tries, "{said}");
    }
}

#[test]
fn what_the_detail_says_is_not_cut() {
    let mut app = showing(fixture::trace(7, 60));
    let run = app.shown.as_ref().unwrap();
    let token = run.prompt_len() + 3;
    let layer = (0..30).find(|layer| run.decision(*layer, token).unwrap().disagrees());
    (app.ui.cursor.layer, app.ui.cursor.token) = (layer.unwrap(), token);
    let said = detail(&mut app, (120, 40));
    assert!(said.contains("the prompt's program is frozen"), "{said}");
    assert!(said.contains("more lines in a taller pane"), "{said}");
    let said = detail(&mut app, (200, 60));
    assert!(said.contains("seed") && !said.contains("more lines"), "{said}");
    assert!(
        said.contains("router entropy") && said.contains("nats") && !said.contains(" bit"),
        "{said}"
    );
}

#[test]
fn the_hint_under_the_overrides_is_read_to_its_end() {
    let mut app = showing(fixture::trace(7, 60));
    keys(&mut app, "O");
    let buffer = drawn(&mut app, (80, 24));
    let all = words(&buffer, buffer.area).replace(['┃', '│'], " ");
    let all = all.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(all.contains("the next run has what is on"), "{all}");
}

/// A layer that ran because nothing was asked is not the doing of a program.
#[test]
fn a_fixed_program_is_named_only_where_one_was_set() {
    let mut bare = fixture::depth_trace(20);
    bare.header.routers = None;
    let mut fixed = bare.clone();
    fixed.header.settings.program = Some(Program::standard(30));
    for (trace, said, letter) in [
        (
            fixture::depth_trace(20),
            "no router is asked at the prompt, they decide at the answer",
            "n no router asked",
        ),
        (bare, "the run has no routers", "n no router asked"),
        (fixed, "by the fixed program", "f fixed program"),
    ] {
        let is_fixed = trace.header.settings.program.is_some();
        let mut app = showing(trace);
        (app.ui.cursor.layer, app.ui.cursor.token) = (5, 2);
        let found = detail(&mut app, (200, 60));
        assert!(found.contains(said), "{found}");
        assert_eq!(found.contains("fixed program"), is_fixed, "{found}");
        assert!(describe::cell(&app).unwrap().contains(said));
        app.ui.map.mode = MapMode::DecidedBy;
        let buffer = drawn(&mut app, (120, 40));
        let legend = words(&buffer, screen(&app).notice);
        assert!(legend.contains(letter), "{legend}");
        let run = app.shown.as_ref().unwrap();
        let look = cell::look(&app, run, 5, 2);
        assert_eq!(look.glyph, letter.chars().next().unwrap());
    }
}

#[test]
fn the_legend_is_that_of_the_map_beside_it() {
    let mut app = showing(fixture::depth_trace(44));
    for (size, stacked) in [((80, 24), true), ((120, 40), false), ((200, 60), false)] {
        let buffer = drawn(&mut app, size);
        let run = app.shown.as_ref().unwrap();
        let grid = Grid::new(&app, run, screen(&app).map.unwrap());
        assert_eq!(grid.stacked > 1, stacked, "{size:?}");
        let legend = words(&buffer, screen(&app).notice);
        assert_eq!(
            legend.contains("▀ lower skipped ▄ upper skipped · both ▓ once"),
            stacked,
            "{legend}"
        );
        assert_eq!(legend.contains("· skipped ▓ once █ twice"), !stacked, "{legend}");
        assert!(!legend.contains('…'), "{legend}");
    }
}

/// Without colours, too, the signs of two layers say which of them were skipped.
#[test]
fn half_blocks_are_where_one_of_two_layers_is_skipped() {
    for trace in [
        fixture::depth_trace(44),
        fixture::trace(7, 60),
        fixture::token_trace(3, 60),
    ] {
        let mut app = showing(trace);
        let buffer = drawn(&mut app, (80, 24));
        let run = app.shown.as_ref().unwrap();
        let grid = Grid::new(&app, run, screen(&app).map.unwrap());
        assert_eq!(grid.stacked, 2);
        let cursor = app.ui.cursor;
        for (layers, y) in grid.lines() {
            for column in grid.columns(cursor.token).filter(|column| column.token != cursor.token) {
                let skips = |layer: usize| run.decision(layer, column.token).unwrap().action == Action::Skip;
                let signs = match (skips(layers.start), skips(layers.end - 1)) {
                    (true, true) => "·:",
                    (true, false) => "▀▘",
                    (false, true) => "▄▖",
                    (false, false) => "▓█2▙▛▌",
                };
                let sign = buffer[(column.x, y)].symbol();
                assert!(
                    signs.contains(sign),
                    "{sign} for {layers:?} at {}, not of {signs}",
                    column.token
                );
            }
        }
    }
}

#[test]
fn a_line_end_has_one_sign() {
    let mut trace = fixture::with_next(fixture::trace(7, 40));
    for step in &mut trace.steps {
        step.text = "\n".into();
    }
    let mut app = showing(trace);
    for tape in [true, false] {
        app.ui.map.tape = tape;
        let buffer = drawn(&mut app, (200, 60));
        let all = words(&buffer, buffer.area);
        assert!(all.contains("\"⏎\"") && !all.contains('␊'), "{all}");
    }
}

#[test]
fn the_line_at_the_top_names_the_model() {
    let mut app = showing(fixture::trace(7, 60));
    for size in SIZES {
        let buffer = drawn(&mut app, size);
        let line = words(&buffer, screen(&app).status);
        assert!(line.contains("SmolLM2-135M"), "{size:?}: {line}");
        assert!(line.contains("depth"), "{size:?}: {line}");
    }
    // What is asked of the next run goes first.
    app.settings.budget = Some(24);
    let buffer = drawn(&mut app, (80, 24));
    let line = words(&buffer, screen(&app).status);
    assert!(line.contains("next: ") && line.contains("SmolLM2"), "{line}");
}
