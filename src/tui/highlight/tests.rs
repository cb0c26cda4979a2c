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
