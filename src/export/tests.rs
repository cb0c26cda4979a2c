use super::*;
use crate::program::Program;
use crate::tui::fixture;

/// A run whose texts would like to be obeyed.
fn hostile() -> Trace {
    let mut trace = fixture::trace(7, 3);
    let text = "</title></svg><script>alert(1)</script>\u{1b}[2J\u{202e}\"'&\u{ffff}\0=1+1";
    trace.header.model.name = text.into();
    trace.header.prompt[0].text = text.into();
    trace.steps[1].text = text.into();
    trace
}

const ALL: [Format; 6] = [
    Format::Svg,
    Format::Html,
    Format::Csv,
    Format::Json,
    Format::Text,
    Format::Overrides,
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
        if let Format::Svg | Format::Html = format {
            assert!(!document.contains("<script") && !document.contains("<b>"), "{format:?}");
            assert_eq!(document.matches("</svg>").count(), 1);
            assert!(document.contains("&lt;script&gt;"));
        }
    }
    let rows = export(&hostile(), "", Format::Csv);
    assert!(
        rows.lines()
            .skip(1)
            .all(|row| row.split(',').nth(3).unwrap().starts_with('"'))
    );
}

#[test]
fn pictures_stand_alone_and_are_well_formed() {
    let trace = fixture::trace(7, 20);
    for format in [Format::Svg, Format::Html] {
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

#[test]
fn pins_and_disagreement_are_marked() {
    let mut trace = fixture::trace(7, 2);
    for step in &mut trace.steps {
        for decision in &mut step.decisions {
            decision.shadow = Some(decision.action);
        }
    }
    let marks = |trace: &Trace| {
        let svg = export(trace, "t", Format::Svg);
        let text = export(trace, "t", Format::Text);
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
    let csv = export(&trace, "t", Format::Csv);
    assert_eq!(csv.lines().count(), 1 + trace.tokens() * trace.layers());
    let columns = csv.lines().next().unwrap().split(',').count();
    assert!(
        csv.lines()
            .filter(|l| l.contains(",\"\"\"user\"\"\""))
            .all(|l| l.split(',').count() == columns)
    );

    let json: serde_json::Value = serde_json::from_str(&export(&trace, "t", Format::Json)).unwrap();
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
    assert!(!export(&trace, "t", Format::Text).contains("confidence, in"));
    trace.header.prompt.clear();
    for format in ALL {
        export(&trace, "t", format);
    }
}

#[test]
fn a_branch_is_said_to_be_one() {
    let mut trace = fixture::trace(7, 3);
    trace.header.branch = Some(BranchPoint { at: 21, forced: 1 });
    for format in [Format::Svg, Format::Html, Format::Text] {
        let document = export(&trace, "t", format);
        assert!(document.contains("a branch from position 21"), "{format:?}");
    }
    let json: serde_json::Value = serde_json::from_str(&export(&trace, "t", Format::Json)).unwrap();
    assert_eq!(json["branch"]["at"], 21);
    let overrides = export(&trace, "t", Format::Overrides);
    assert!(overrides.starts_with("# a branch: before position 21 "), "{overrides}");
    let read = Overrides::parse(&overrides, trace.layers()).unwrap();
    assert_eq!(read.to_string(), overrides);
}
