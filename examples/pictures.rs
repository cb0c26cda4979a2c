//! The pictures of the documentation, drawn from the traces that ship: `cargo run --release --example
//! pictures` writes them into docs/, or into the folder that is named.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use crossterm::event::{KeyCode, KeyEvent};
use drllm::export::{ExportFormat, export};
use drllm::trace::Trace;
use drllm::tui::app::App;
use drllm::tui::color::ColorTier;
use drllm::tui::keymap::Keymap;
use drllm::tui::recordings;
use drllm::tui::theme::Theme;
use drllm::tui::update::{UiEvent, update};
use drllm::tui::view::view;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};

/// Size of a cell in pixels.
const CELL: (f32, f32) = (8.4, 18.0);

/// A picture of the documentation: recorded traces are opened one after the other, then keys are typed.
pub struct Picture {
    pub name: &'static str,
    /// Files in assets/traces, and what was asked.
    traces: &'static [(&'static str, &'static str)],
    theme: &'static str,
    size: (u16, u16),
    keys: &'static str,
}

/// All of them.
pub const PICTURES: &[Picture] = &[
    Picture {
        name: "screen",
        traces: &[("sky-depth", "Why is the sky blue?")],
        theme: "dark",
        size: (120, 40),
        keys: "",
    },
    Picture {
        name: "statistics",
        traces: &[("sky-depth", "Why is the sky blue?")],
        theme: "dark",
        size: (140, 44),
        keys: "\u{1b}A",
    },
    Picture {
        name: "compare",
        traces: &[
            ("sky-budget", "Why is the sky blue?"),
            ("france-pins", "What is the capital of France?"),
        ],
        theme: "light",
        size: (120, 40),
        keys: "\u{1b}c",
    },
];

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "docs".to_owned());
    for picture in PICTURES {
        let out = Path::new(&folder).join(picture.name).with_extension("svg");
        let svg = draw_picture(picture).with_context(|| format!("the picture {}", picture.name))?;
        std::fs::write(&out, svg).with_context(|| format!("cannot write {}", out.display()))?;
    }
    let out = Path::new(&folder).join("tape.svg");
    std::fs::write(&out, draw_tape()?).with_context(|| format!("cannot write {}", out.display()))
}

/// A story as it came, moving.
pub fn draw_tape() -> Result<String> {
    let recordings = recordings::built_in();
    let story = recordings.iter().find(|recording| recording.name == "fox-depth");
    let trace = story.context("there is no recording fox-depth")?.trace()?;
    let title = "A story, token by token, with the layers that each token ran";
    Ok(export(&trace, title, ExportFormat::Tape))
}

/// The screen as SVG.
pub fn draw_picture(picture: &Picture) -> Result<String> {
    let (width, height) = picture.size;
    let theme = Theme::load(picture.theme, None, ColorTier::Truecolor)?;
    let recordings = recordings::built_in();
    let mut app = None;
    for (name, prompt) in picture.traces {
        let recording = recordings.iter().find(|recording| recording.name == *name);
        let recording = recording.with_context(|| format!("there is no recording {name}"))?;
        let trace = recording.trace()?;
        let app = match &mut app {
            None => app.insert(screen(&theme, &trace, picture.size)?),
            Some(app) => app,
        };
        // The one before is there to be compared.
        app.previous = app.shown.take();
        app.open(recording.title.clone(), Some((*prompt).to_owned()), trace);
        app.prompt.set(prompt);
    }
    let mut app = app.context("a picture shows at least one trace")?;
    app.recordings = recordings;
    // What was opened comes into view.
    update(&mut app, UiEvent::Resize(width, height));
    for key in picture.keys.chars() {
        let code = if key == '\u{1b}' {
            KeyCode::Esc
        } else {
            KeyCode::Char(key)
        };
        update(&mut app, UiEvent::Key(KeyEvent::from(code)));
    }
    let mut terminal = Terminal::new(TestBackend::new(width, height))?;
    terminal.draw(|frame| view(&app, frame))?;
    svg(terminal.backend().buffer(), app.ui.theme.base().bg)
}

/// An empty screen on which the model of `trace` is loaded.
fn screen(theme: &Theme, trace: &Trace, (width, height): (u16, u16)) -> Result<App> {
    let settings = trace.header.settings.clone();
    let mut app = App::new(theme.clone(), Keymap::with_defaults(&[])?, settings);
    app.ui.reduced_motion = true;
    update(&mut app, UiEvent::Resize(width, height));
    let loaded = drllm::engine::WorkerEvent::Loaded {
        model: Box::new(trace.header.model.clone()),
        routers: trace.header.routers.clone(),
        device: trace.header.device.clone(),
        chat: true,
        note: None,
    };
    update(&mut app, UiEvent::Worker(loaded));
    app.ui.notice = None;
    Ok(app)
}

fn svg(buffer: &Buffer, background: Option<Color>) -> Result<String> {
    let (width, height) = (buffer.area.width, buffer.area.height);
    let mut svg = String::new();
    let (w, h) = (f32::from(width) * CELL.0, f32::from(height) * CELL.1);
    writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w} {h}\" font-family=\"DejaVu Sans Mono, Menlo, \
         Consolas, monospace\" font-size=\"14\">\n<rect width=\"{w}\" height=\"{h}\" fill=\"{}\"/>",
        hex(background.unwrap_or(Color::Black), "#101418")
    )?;
    for y in 0..height {
        let mut x = 0;
        while x < width {
            let run = run(buffer, x, y);
            draw(&mut svg, &run, f32::from(x), f32::from(y))?;
            x += run.cells;
        }
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

/// Neighbouring cells that look alike.
struct Run {
    cells: u16,
    text: String,
    fg: String,
    bg: String,
    bold: bool,
}

/// The run that begins at a cell. Block elements run with their like only.
fn run(buffer: &Buffer, x: u16, y: u16) -> Run {
    let look = |cell: &Cell| (cell.fg, cell.bg, cell.modifier);
    let first = &buffer[(x, y)];
    let block = matches!(first.symbol(), "█" | "▓" | "▄" | "▀" | "▙" | "▛");
    let alike = |cell: &Cell| {
        let same = match block {
            true => cell.symbol() == first.symbol(),
            false => !matches!(cell.symbol(), "█" | "▓" | "▄" | "▀" | "▙" | "▛"),
        };
        same && look(cell) == look(first)
    };
    let end = (x..buffer.area.width)
        .find(|&x| !alike(&buffer[(x, y)]))
        .unwrap_or(buffer.area.width);
    let (fg, bg) = (hex(first.fg, "#d8dee9"), hex(first.bg, "none"));
    let (fg, bg) = match (first.modifier.contains(Modifier::REVERSED), bg.as_str()) {
        (false, _) => (fg, bg),
        (true, "none") => ("#101418".into(), fg),
        (true, _) => (bg, fg),
    };
    Run {
        cells: end - x,
        text: (x..end).map(|x| buffer[(x, y)].symbol()).collect(),
        fg,
        bg,
        bold: first.modifier.contains(Modifier::BOLD),
    }
}

fn draw(svg: &mut String, run: &Run, x: f32, y: f32) -> Result<()> {
    let (x, y) = (x * CELL.0, y * CELL.1);
    let (w, h) = (f32::from(run.cells) * CELL.0, CELL.1);
    let mut filled = |from: f32, height: f32, colour: &str| {
        let (y, height) = (y + from * h, height * h);
        writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
        )
    };
    if run.bg != "none" {
        filled(0.0, 1.0, &run.bg)?;
    }
    // Block elements are drawn: fonts leave gaps between them.
    match run.text.chars().next() {
        Some('█' | '▓') => filled(0.0, 1.0, &run.fg)?,
        Some('▄') => filled(0.5, 0.5, &run.fg)?,
        Some('▀') => filled(0.0, 0.5, &run.fg)?,
        Some(corner @ ('▙' | '▛')) => {
            filled(if corner == '▙' { 0.5 } else { 0.0 }, 0.5, &run.fg)?;
            for cell in 0..run.cells {
                let x = x + f32::from(cell) * CELL.0;
                writeln!(
                    svg,
                    "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{h:.1}\" fill=\"{}\"/>",
                    CELL.0 / 2.0,
                    run.fg
                )?;
            }
        }
        _ if run.text.trim().is_empty() => {}
        _ => {
            let bold = if run.bold { " font-weight=\"bold\"" } else { "" };
            let text = run.text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            let (base, fg) = (y + 0.76 * h, &run.fg);
            writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{base:.1}\" fill=\"{fg}\" textLength=\"{w:.1}\" \
                 xml:space=\"preserve\"{bold}>{text}</text>"
            )?;
        }
    }
    Ok(())
}

fn hex(color: Color, default: &str) -> String {
    match color {
        Color::Rgb(r, g, b) => format!("#{r:02x}{g:02x}{b:02x}"),
        _ => default.into(),
    }
}
