//! Draws the screen on a recorded trace as SVG: `cargo run --release --example picture -- TRACE PROMPT
//! OUT.svg [THEME] [WIDTHxHEIGHT]`. The README's picture is made this way.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use drllm::engine::Trace;
use drllm::tui::app::App;
use drllm::tui::color::ColorTier;
use drllm::tui::keymap::Keymap;
use drllm::tui::theme::Theme;
use drllm::tui::update::{Event, update};
use drllm::tui::view::view;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};

/// Size of a cell in pixels.
const CELL: (f32, f32) = (8.4, 18.0);

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [trace, prompt, out, rest @ ..] = args.as_slice() else {
        anyhow::bail!("expected TRACE PROMPT OUT.svg [THEME] [WIDTHxHEIGHT]");
    };
    let theme = rest.first().map_or("dark", String::as_str);
    let size = rest.get(1).map_or("120x40", String::as_str);
    let (width, height) = size.split_once('x').context("expected a size like 120x40")?;
    let (width, height): (u16, u16) = (width.parse()?, height.parse()?);
    let trace = Trace::from_json_lines(&std::fs::read_to_string(Path::new(trace))?)?;
    let theme = Theme::load(theme, None, ColorTier::Truecolor)?;
    let mut app = App::new(theme, Keymap::with_defaults(&[])?, trace.header.settings.clone());
    app.reduced_motion = true;
    update(&mut app, Event::Resize(width, height));
    let (model, routers) = (trace.header.model.clone(), trace.header.routers.clone());
    let device = trace.header.device.clone();
    app.open("a recorded run".into(), Some(prompt.clone()), trace);
    let loaded = drllm::engine::Event::Loaded {
        model,
        routers,
        device,
        chat: true,
        note: None,
    };
    update(&mut app, Event::Worker(loaded));
    app.prompt.paste(prompt).map_err(anyhow::Error::msg)?;
    let mut terminal = Terminal::new(TestBackend::new(width, height))?;
    terminal.draw(|frame| view(&app, frame))?;
    let buffer = terminal.backend().buffer();
    let mut svg = String::new();
    let (w, h) = (f32::from(width) * CELL.0, f32::from(height) * CELL.1);
    writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w} {h}\" font-family=\"DejaVu Sans Mono, Menlo, \
         Consolas, monospace\" font-size=\"14\">\n<rect width=\"{w}\" height=\"{h}\" fill=\"{}\"/>",
        hex(app.theme.base().bg.unwrap_or(Color::Black), "#101418")
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
    std::fs::write(out, svg).with_context(|| format!("cannot write {out}"))
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
    let block = matches!(first.symbol(), "█" | "▄" | "▀");
    let alike = |cell: &Cell| {
        let same = match block {
            true => cell.symbol() == first.symbol(),
            false => !matches!(cell.symbol(), "█" | "▄" | "▀"),
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
        Some('█') => filled(0.0, 1.0, &run.fg)?,
        Some('▄') => filled(0.5, 0.5, &run.fg)?,
        Some('▀') => filled(0.0, 0.5, &run.fg)?,
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
