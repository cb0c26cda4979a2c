use super::*;
use crate::program::Program;
use crate::testing::fixture;
use crate::trace::{Candidate, CandidateProgram, Loop};

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
            assert!(document.contains("&lt;script&gt;"));
        }
        if let ExportFormat::Svg | ExportFormat::Tape = format {
            assert_eq!(document.matches("</svg>").count(), 1);
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
    for format in [ExportFormat::Svg, ExportFormat::Tape, ExportFormat::Html] {
        let document = export(&trace, "t", format);
        let links = document.replace("http://www.w3.org/2000/svg", "");
        assert!(!links.contains("://"), "{format:?} points elsewhere");
        assert!(links.replace(' ', "").contains("prefers-color-scheme:dark"));
    }
    // Every cell has its shape and its title.
    let map = export(&trace, "t", ExportFormat::Svg);
    assert_eq!(map.matches("<use ").count(), trace.tokens() * trace.layers());
    assert_eq!(map.matches("<title>layer ").count(), trace.tokens() * trace.layers());
    for format in [ExportFormat::Svg, ExportFormat::Tape] {
        let document = export(&hostile(), "a & b < c", format);
        let parsed = roxmltree::Document::parse(&document).unwrap_or_else(|e| panic!("{format:?}: {e}"));
        let title = parsed.descendants().find(|node| node.has_tag_name("title")).unwrap();
        assert_eq!(title.text(), Some("a & b < c"), "{format:?}");
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
    let policy = format!("default-src 'none'; script-src 'sha256-{hash}';");
    assert!(page.contains(&policy), "{policy} is not in the page");
    // Neither script nor style of a text's own would be run: nothing is allowed but by hash.
    assert!(!page.contains("unsafe-inline"));
    assert!(!script(&page, "<script>").contains("innerHTML"));
}

/// The run that a page carries.
fn data(page: &str) -> serde_json::Value {
    serde_json::from_str(script(page, "<script type=\"application/json\" id=\"run\">")).unwrap()
}

#[test]
fn a_page_carries_the_run_that_it_replays() {
    let mut trace = fixture::token_trace(7, 5);
    trace.steps[1].text = "</script><script>alert(1)</script>".into();
    trace.header.prompt[3].pinned = vec![(4, Action::Repeat)];
    let after = |text: &str, probability| Candidate {
        id: 1,
        text: text.into(),
        probability,
    };
    trace.steps[2].next = vec![after(" moon", 0.7512), after("\u{202e}", 0.1)];
    let run = data(&export(&trace, "t", ExportFormat::Html));
    assert_eq!(run["layers"], trace.layers());
    assert_eq!(run["prompt"]["tokens"][3]["pinned"], serde_json::json!([[4, 2]]));
    let tokens = run["tokens"].as_array().unwrap();
    assert_eq!(tokens.len(), trace.steps.len());
    let prompt = trace.header.prompt.len();
    let all = |position: usize| match position.checked_sub(prompt) {
        None => (&run["prompt"]["tokens"][position], &run["prompt"]["decisions"]),
        Some(step) => (&tokens[step], &tokens[step]["decisions"]),
    };
    for position in 0..trace.tokens() {
        let (token, decisions) = all(position);
        assert_eq!(token["text"], trace.token(position).unwrap().1);
        assert_eq!(token["depth"], trace.depth(position).unwrap());
        let digits = |field: &str| decisions[field].as_str().unwrap().as_bytes().to_vec();
        let (actions, by, shadow) = (digits("actions"), digits("by"), digits("shadow"));
        assert_eq!(actions.len(), trace.layers());
        for layer in 0..trace.layers() {
            // A pin of one token stands with the token.
            if (position, layer) == (3, 4) {
                continue;
            }
            let decision = trace.decision(layer, position).unwrap();
            assert_eq!(usize::from(actions[layer] - b'0'), decision.action.executions());
            assert_eq!(run["deciders"][usize::from(by[layer] - b'0')], decision.by.name());
            let other = decision.shadow.map_or(b'-', |s| b'0' + s.executions() as u8);
            assert_eq!(shadow[layer], other);
            let skip = decision.probs.map(|p| (p[0] * 1e3).round() as u64);
            assert_eq!(decisions["probabilities"][layer][0].as_u64(), skip);
        }
    }
    let programs = tokens.iter().map(|token| token["program"].as_str().unwrap());
    assert!(programs.eq(trace.steps.iter().map(|step| step.program.to_string())));
    assert_eq!(run["hasNext"], true);
    assert_eq!(tokens[2]["next"][0], serde_json::json!([" moon", 0.7512]));
    assert!(!tokens[2]["next"][1][0].as_str().unwrap().contains('\u{202e}'));
    assert_eq!(
        data(&export(&fixture::trace(7, 2), "t", ExportFormat::Html))["hasNext"],
        false
    );
}

#[test]
fn a_page_says_what_was_asked_and_proposed() {
    let mut trace = fixture::trace(7, 2);
    trace.header.settings.stop = vec!["<i>".into()];
    trace.header.candidates = ["0-29", "0-9 12-29"]
        .map(|program| CandidateProgram {
            program: Program::parse(program, 30).unwrap(),
            score: -1.5,
        })
        .to_vec();
    trace.header.program = Program::parse("0-9 12-29", 30).unwrap();
    let page = export(&trace, "t", ExportFormat::Html);
    assert!(page.contains("<th scope=\"row\">settings stop<td>[&quot;&lt;i&gt;&quot;]</tr>"));
    assert!(page.contains("<tr><td class=\"number\">-1.50<td class=\"number\">30<td>0-29<td></tr>"));
    assert!(page.contains("<tr><td class=\"number\">-1.50<td class=\"number\">28<td>0-9 12-29<td>ran</tr>"));
    trace.header.candidates.clear();
    assert!(!export(&trace, "t", ExportFormat::Html).contains("id=\"candidates\""));
    trace.header.model.looped = Some(Loop {
        first: 2,
        layers: 2,
        iterations: 13,
        trained: None,
    });
    let looped = &data(&export(&trace, "t", ExportFormat::Html))["loop"];
    assert_eq!(looped, &serde_json::json!({"first": 2, "layers": 2, "iterations": 13}));
}

#[test]
fn a_page_of_a_long_answer_stays_small() {
    let page = export(&fixture::token_trace(7, 2000), "t", ExportFormat::Html);
    assert!(page.len() < 3 << 20, "{} bytes", page.len());
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
    // The mark of the newest line goes with them.
    let mark = &tape[tape.find("@keyframes now{").unwrap()..];
    let mark = &mark[..mark.find("}}").unwrap()];
    assert_eq!(mark.matches("translateY").count(), 39);
    assert!(mark.ends_with("translateY(780px)"), "{mark}");
    // 24 lines are seen; at the end, and where nothing may move, those are the last ones.
    assert!(tape.contains(".all{transform:translateY(-320px)"));
    // A long answer stays a small picture: its end.
    let long = export(&fixture::token_trace(7, 1000), "t", ExportFormat::Tape);
    assert_eq!(long.matches("<g class=\"line ").count(), 400);
    assert!(long.len() < 2 << 20, "{} bytes", long.len());
}

#[test]
fn the_lines_of_a_tape_are_what_the_trace_says() {
    let mut trace = fixture::token_trace(7, 30);
    for (step, likeliest) in trace
        .steps
        .iter_mut()
        .zip([" moon", "\n", " extraordinary"].iter().cycle())
    {
        step.next = vec![Candidate {
            id: 1,
            text: (*likeliest).into(),
            probability: 0.256,
        }];
    }
    let tape = export(&trace, "t", ExportFormat::Tape);
    let document = roxmltree::Document::parse(&tape).unwrap();
    let class = |node: &roxmltree::Node| node.attribute("class").unwrap_or_default().to_owned();
    let lines: Vec<_> = document
        .descendants()
        .filter(|node| class(node).starts_with("line "))
        .collect();
    assert_eq!(lines.len(), trace.steps.len());
    for (at, (line, step)) in lines.iter().zip(&trace.steps).enumerate() {
        let texts: Vec<&str> = line.children().filter_map(|node| node.text()).collect();
        let word = step.text.trim();
        let word = if word.is_empty() { texts[0] } else { word };
        let next = ["moon", "⏎", "extraord…"][at % 3];
        assert_eq!(texts, [word, &step.depth.to_string(), next, "0.26"]);
        for action in Action::ALL {
            let cells = step.decisions.iter().filter(|d| d.action == action).count();
            let name = ["skip", "execute", "repeat"][action.executions()];
            let drawn = line.children().find(|node| class(node) == name);
            let drawn = drawn.map_or(0, |node| node.attribute("d").unwrap().matches('M').count());
            assert_eq!(drawn, cells, "token {at}, {name}");
        }
    }
    // Where there are no next tokens there is no column for them.
    trace.steps.iter_mut().for_each(|step| step.next.clear());
    let without = export(&trace, "t", ExportFormat::Tape);
    assert!(tape.contains(">next</text>") && !without.contains(">next</text>"));
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
