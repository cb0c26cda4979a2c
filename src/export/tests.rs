use super::*;
use crate::program::Program;
use crate::testing::fixture;

/// A run whose texts would like to be obeyed.
fn hostile() -> Trace {
    let mut trace = fixture::trace(7, 3);
    let text = "</title></svg><script>alert(1)</script>\u{1b}[2J\u{202e}\"'&\u{ffff}\0=1+1";
    trace.header.model.name = text.into();
    trace.header.prompt[0].text = text.into();
    trace.steps[1].text = text.into();
    trace
}

const ALL: [ExportFormat; 7] = [
    ExportFormat::Svg,
    ExportFormat::Tape,
    ExportFormat::Html,
    ExportFormat::Csv,
    ExportFormat::Json,
    ExportFormat::Text,
    ExportFormat::Overrides,
];

#[test]
fn hostile_text_is_shown_and_not_obeyed() {
    for format in ALL {
        let document = export(&hostile(), "<b>\u{1b}", format);
        let control = |c: char| c.is_control() && c != '\n';
        assert!(
            !document.contains(control) && !document.contains('\u{202e}'),
            "{format:?}"
        );
        if let ExportFormat::Svg | ExportFormat::Tape | ExportFormat::Html = format {
            // The page has two of its own: the run as data, and what replays it.
            let scripts = if format == ExportFormat::Html { 2 } else { 0 };
            assert_eq!(document.matches("<script").count(), scripts, "{format:?}");
            assert!(!document.contains("<b>"), "{format:?}");
            assert_eq!(document.matches("</svg>").count(), 1);
            assert!(document.contains("&lt;script&gt;"));
        }
    }
    let rows = export(&hostile(), "", ExportFormat::Csv);
    assert!(
        rows.lines()
            .skip(1)
            .all(|row| row.split(',').nth(3).unwrap().starts_with('"'))
    );
}

#[test]
fn pictures_stand_alone_and_are_well_formed() {
    let trace = fixture::trace(7, 20);
    for format in [ExportFormat::Svg, ExportFormat::Html] {
        let document = export(&trace, "t", format);
        let links = document.replace("http://www.w3.org/2000/svg", "");
        assert!(!links.contains("://"), "{format:?} points elsewhere");
        assert!(document.contains("prefers-color-scheme:dark"));
        // Every cell has its shape and its title.
        assert_eq!(document.matches("<use ").count(), trace.tokens() * trace.layers());
        assert_eq!(document.matches("<use ").count(), document.matches("</use>").count());
        for element in ["g", "title", "text", "defs"] {
            let opened =
                document.matches(&format!("<{element}>")).count() + document.matches(&format!("<{element} ")).count();
            assert_eq!(
                opened,
                document.matches(&format!("</{element}>")).count(),
                "{format:?} {element}"
            );
        }
    }
}

/// The content of the page's script element that begins with `begin`.
fn script<'a>(page: &'a str, begin: &str) -> &'a str {
    let from = page.find(begin).unwrap() + begin.len();
    &page[from..from + page[from..].find("</script>").unwrap()]
}

#[test]
fn a_page_runs_its_own_script_and_no_other() {
    use base64::Engine;
    use sha2::{Digest, Sha256};
    let page = export(&hostile(), "t", ExportFormat::Html);
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(script(&page, "<script>")));
    let policy = format!("script-src 'sha256-{hash}'\"");
    assert!(page.contains(&policy), "{policy} is not in the page");
    assert!(!script(&page, "<script>").contains("innerHTML"));
}

#[test]
fn a_page_carries_the_run_that_it_replays() {
    let mut trace = fixture::token_trace(7, 5);
    trace.steps[1].text = "</script><script>alert(1)</script>".into();
    let page = export(&trace, "t", ExportFormat::Html);
    let data = script(&page, "<script type=\"application/json\" id=\"run\">");
    let run: serde_json::Value = serde_json::from_str(data).unwrap();
    assert_eq!(run["layers"], trace.layers());
    let tokens = run["tokens"].as_array().unwrap();
    assert_eq!(tokens.len(), trace.steps.len());
    let prompt = trace.header.prompt.len();
    for (at, token) in tokens.iter().enumerate() {
        assert_eq!(token["text"], trace.steps[at].text);
        assert_eq!(token["depth"], trace.steps[at].depth);
        let actions = token["actions"].as_str().unwrap();
        for (layer, ran) in actions.chars().enumerate() {
            let decision = trace.decision(layer, prompt + at).unwrap();
            assert_eq!(ran.to_digit(10).unwrap() as usize, decision.action.executions());
            assert_eq!(token["by"][layer], decision.by.name());
        }
        assert_eq!(actions.len(), trace.layers());
    }
}

#[test]
fn a_tape_has_a_line_a_token_that_comes_in_turn() {
    let trace = fixture::token_trace(7, 40);
    let tape = export(&trace, "t", ExportFormat::Tape);
    assert_eq!(tape.matches("<g class=\"line ").count(), 40);
    let comes = |token: usize| {
        let from = tape.find(&format!("@keyframes a{token}{{")).unwrap();
        let times: Vec<f64> = tape[from..]
            .split('%')
            .take(2)
            .map(|part| {
                let number = part.rsplit(['{', '}']).next().unwrap();
                number.parse().unwrap()
            })
            .collect();
        times[1]
    };
    assert!((2..40).all(|token| comes(token) > comes(token - 1)));
    // 24 lines are seen; at the end, and where nothing may move, those are the last ones.
    assert!(tape.contains(".all{transform:translateY(-320px)"));
    // A long answer stays a small picture: its end.
    let long = export(&fixture::token_trace(7, 1000), "t", ExportFormat::Tape);
    assert_eq!(long.matches("<g class=\"line ").count(), 400);
    assert!(long.len() < 2 << 20, "{} bytes", long.len());
}

#[test]
fn pins_and_disagreement_are_marked() {
    let mut trace = fixture::trace(7, 2);
    for step in &mut trace.steps {
        for decision in &mut step.decisions {
            decision.shadow = Some(decision.action);
        }
    }
    let marks = |trace: &Trace| {
        let svg = export(trace, "t", ExportFormat::Svg);
        let text = export(trace, "t", ExportFormat::Text);
        let map = &text[text.find("\n saved ").unwrap()..text.find("confidence, in").unwrap()];
        let drawn = [
            svg.matches("class=\"pin\" ").count(),
            svg.matches("class=\"other\" ").count(),
        ];
        (
            drawn,
            map.matches(['S', 'E', 'R']).count(),
            map.matches([':', '▙', '▛']).count(),
        )
    };
    assert_eq!(marks(&trace), ([0, 0], 0, 0));
    trace.header.prompt[3].pinned = vec![(4, Action::Repeat)];
    trace.steps[0].decisions[2].by = DecidedBy::Pin;
    let decision = &mut trace.steps[1].decisions[5];
    decision.shadow = Some(match decision.action {
        Action::Repeat => Action::Skip,
        _ => Action::Repeat,
    });
    // The prompt's router did not want the pinned repetition either.
    let shared = &trace.header.decisions[4];
    let against = usize::from(shared.shadow != Some(Action::Repeat));
    assert_eq!(marks(&trace), ([2, 1 + against], 2, 1));
}

#[test]
fn tables_have_every_cell() {
    let mut trace = fixture::token_trace(7, 5);
    trace.header.prompt[3].pinned = vec![(4, Action::Repeat)];
    let csv = export(&trace, "t", ExportFormat::Csv);
    assert_eq!(csv.lines().count(), 1 + trace.tokens() * trace.layers());
    let columns = csv.lines().next().unwrap().split(',').count();
    assert!(
        csv.lines()
            .filter(|l| l.contains(",\"\"\"user\"\"\""))
            .all(|l| l.split(',').count() == columns)
    );

    let json: serde_json::Value = serde_json::from_str(&export(&trace, "t", ExportFormat::Json)).unwrap();
    let tokens = json["tokens"].as_array().unwrap();
    assert_eq!(tokens.len(), trace.tokens());
    for (position, token) in tokens.iter().enumerate() {
        assert_eq!(token["depth"], trace.depth(position).unwrap());
        let program: Program = serde_json::from_value(token["program"].clone()).unwrap();
        assert_eq!(program.depth(), trace.depth(position).unwrap(), "token {position}");
        let decisions: Vec<Decision> = serde_json::from_value(token["decisions"].clone()).unwrap();
        assert_eq!(decisions[4], trace.decision(4, position).unwrap());
    }
}

#[test]
fn a_run_without_answer_or_routers_can_be_exported() {
    let mut trace = fixture::trace(7, 0);
    trace.summary = None;
    trace.header.routers = None;
    for decision in &mut trace.header.decisions {
        (decision.probs, decision.shadow) = (None, None);
    }
    for format in ALL {
        let document = export(&trace, "t", format);
        assert!(document.ends_with('\n') && !document.contains("NaN"), "{format:?}");
    }
    assert!(!export(&trace, "t", ExportFormat::Text).contains("confidence, in"));
    trace.header.prompt.clear();
    for format in ALL {
        export(&trace, "t", format);
    }
}

#[test]
fn a_branch_is_said_to_be_one() {
    let mut trace = fixture::trace(7, 3);
    trace.header.branch = Some(BranchPoint { at: 21, forced: 1 });
    for format in [ExportFormat::Svg, ExportFormat::Html, ExportFormat::Text] {
        let document = export(&trace, "t", format);
        assert!(document.contains("a branch from position 21"), "{format:?}");
    }
    let json: serde_json::Value = serde_json::from_str(&export(&trace, "t", ExportFormat::Json)).unwrap();
    assert_eq!(json["branch"]["at"], 21);
    let overrides = export(&trace, "t", ExportFormat::Overrides);
    assert!(overrides.starts_with("# a branch: before position 21 "), "{overrides}");
    let read = Overrides::parse(&overrides, trace.layers()).unwrap();
    assert_eq!(read.to_string(), overrides);
}
