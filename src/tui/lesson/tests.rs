use super::*;
use crate::tui::fixture;
use crate::tui::recordings;

fn refused(text: &str) -> String {
    parse("t", "t.toml", text, None).unwrap_err().to_string()
}

const HEAD: &str = "title = 'T'\nsummary = 'S'\n";

#[test]
fn shipped_lessons_are_whole() {
    let lessons = list(None);
    assert_eq!(lessons.len(), 8);
    for lesson in &lessons {
        let Listed::Usable(lesson) = lesson else {
            panic!("{} is broken", lesson.name())
        };
        assert!(!lesson.title.is_empty() && !lesson.summary.is_empty());
        assert!(lesson.steps.iter().any(|s| s.task.is_some()), "{}", lesson.name);
        // Something can be seen and done before there is a model.
        let first = &lesson.steps[0];
        assert!(first.show.is_some() && !first.model, "{}", lesson.name);
    }
}

/// On the smallest usual terminal no step takes more than two pages.
#[test]
fn shipped_texts_fit_a_small_terminal() {
    let mut app = fixture::app();
    app.lessons = list(None);
    for lesson in 0..app.lessons.len() {
        let mut step = 0;
        loop {
            let tour = Tour::at(lesson, step, 0);
            let Some((of, _)) = tour.of(&app) else { break };
            let name = of.name.clone();
            app.tour = Some(tour);
            let page = page(&app, 80, 24).unwrap();
            assert!(page.pages <= 2, "{name}, step {}: {} pages", step + 1, page.pages);
            assert!(height(&app, 80, 24) <= 9, "{name}, step {}", step + 1);
            step += 1;
        }
    }
}

#[test]
fn mistakes_are_named_with_their_place() {
    for (text, expected) in [
        ("title = 'T'", "t.toml:1:1: missing field `summary`"),
        ("", "t.toml:1:1: missing field `title`"),
        ("[[stepp]]", "unknown field `stepp`"),
        (
            "[[step]]\ntext = 'x'\nrecording = 'zzzz'",
            "t.toml:5:13: there is no recording 'zzzz': expected one of sky-depth,",
        ),
        (
            "[[step]]\ntext = 'press {rerunn}'",
            "t.toml:4:8: in '{rerunn}': unknown action 'rerunn': did you mean 'rerun'?",
        ),
        (
            "[[step]]\ntext = 'x'\nfocus = 'mapp'",
            "t.toml:5:9: there is no pane 'mapp': did you mean 'map'?",
        ),
        ("[[step]]\ntext = 'x'\ntask = 'do'", "t.toml:5:8: a task needs a check"),
        (
            "[[step]]\ntext = 'x'\ndone = { ran = true }",
            "t.toml:5:8: done = { … } needs a task",
        ),
        (
            "[[step]]\ntext = 'x'\ntask = 'do'\ndone = { }",
            "t.toml:6:8: done says nothing",
        ),
        (
            "[[step]]\ntext = 'x'\ntask = 'do'\ndone = { cell = 'skipp' }",
            "t.toml:6:17: unknown variant `skipp`",
        ),
        ("[[step]]\ntext = 'x'\ntoken = 0", "t.toml:5:9: token is 0"),
        (
            "[[step]]\ntext = 'x'\ntrace = 'no.jsonl'",
            "t.toml:5:9: the trace no.jsonl cannot be used",
        ),
        (
            "[[step]]\ntext = 3",
            "t.toml:4:8: invalid type: integer `3`, expected a string",
        ),
    ] {
        let whole = if text.starts_with("[[") {
            format!("{HEAD}{text}")
        } else {
            text.to_owned()
        };
        let message = refused(&whole);
        assert!(message.contains(expected), "{message}\n  expected {expected}");
    }
    assert!(refused(HEAD).contains("no steps"));
    let both = "[[step]]\ntext = 'x'\nrecording = 'sky-budget'\ntrace = 'x'";
    assert!(refused(&format!("{HEAD}{both}")).contains("t.toml:3:1: a step opens a recording or a trace, not both"));
}

#[test]
fn keys_stand_in_for_actions_and_other_braces_stay() {
    let text = "{rerun} {x y} {} { {pin-skip}. {";
    assert_eq!(
        file::with_keys(text, |a| format!("<{}>", a.label())),
        "<rerun> {x y} {} { <skip>. {"
    );
}

#[test]
fn users_lessons_replace_shipped_ones_and_broken_ones_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let trace = fixture::trace(1, 3).to_json_lines();
    write("mine.jsonl", &trace);
    write("own.toml", &format!("{HEAD}[[step]]\ntext = 'x'\ntrace = 'mine.jsonl'"));
    write("1-program.toml", &format!("{HEAD}[[step]]\ntext = 'x'"));
    write("bad.toml", "title = ");
    write("notes.txt", "no lesson");
    write("cut.jsonl", "{}");
    write("cut.toml", &format!("{HEAD}[[step]]\ntext = 'x'\ntrace = 'cut.jsonl'"));
    let lessons = list(Some(dir.path()));
    let names: Vec<_> = lessons.iter().map(Listed::name).collect();
    assert_eq!(
        names,
        [
            "2-easy-and-hard",
            "3-override",
            "4-budget",
            "5-training",
            "6-guess",
            "7-loops",
            "8-predictor",
            "1-program",
            "bad",
            "cut",
            "own"
        ]
    );
    let message = |name: &str| match lessons.iter().find(|l| l.name() == name).unwrap() {
        Listed::Broken { message, .. } => message.clone(),
        Listed::Usable(_) => panic!("{name} is usable"),
    };
    assert!(message("bad").contains("bad.toml:1:"), "{}", message("bad"));
    assert!(
        message("cut").contains("cut.toml:5:9") && message("cut").contains("line 1"),
        "{}",
        message("cut")
    );
    let Listed::Usable(own) = &lessons[10] else {
        panic!("own is broken")
    };
    let name = "mine.jsonl".to_owned();
    assert_eq!(own.steps[0].show, Some(Show::Trace { name, text: trace }));
    assert_eq!(find(&lessons, "override"), Ok(1));
    let by_number = find(&lessons, "7").map(|at| lessons[at].name().to_owned());
    assert_eq!(by_number, Ok("7-loops".to_owned()));
    assert!(find(&lessons, "bad").unwrap_err().contains("cannot be used"));
    assert!(find(&lessons, "overide").unwrap_err().contains("did you mean"));
}

#[test]
fn the_docs_name_every_key_of_a_lesson_file_and_every_recording() {
    let docs = include_str!("../../../docs/lessons.md");
    let keys = [
        "title",
        "summary",
        "text",
        "recording",
        "trace",
        "prompt",
        "focus",
        "tape",
        "layer",
        "token",
        "clear",
        "model",
        "task",
        "done",
        "action",
        "cell",
        "by",
        "pins",
        "program",
        "budget",
        "depth",
        "ran",
        "shown",
        "guesses",
        "streak",
    ];
    for key in keys
        .into_iter()
        .map(str::to_owned)
        .chain(recordings::built_in().into_iter().map(|r| r.name))
    {
        assert!(docs.contains(&format!("`{key}`")), "docs/lessons.md lacks {key}");
    }
}
