use crossterm::event::{KeyCode, KeyEvent};

use super::*;
use crate::engine::{Command, WorkerEvent as Worker};
use crate::tui::files::{FileReport, FileRequest};
use crate::tui::fixture;
use crate::tui::update::{UiEvent, update};

fn keys(app: &mut App, typed: &str) -> Vec<Command> {
    let press = |c| UiEvent::Key(KeyEvent::from(KeyCode::Char(c)));
    typed.chars().flat_map(|c| update(app, press(c))).collect()
}

/// A recording, a run of it with a pin, and a branch; an override that is off, prompts, a selection.
fn used() -> App {
    let mut app = fixture::app();
    update(&mut app, UiEvent::Resize(120, 40));
    update(&mut app, UiEvent::Worker(fixture::loaded()));
    app.recordings = vec![Recording::opened("mine.jsonl".into(), fixture::trace(3, 9))];
    app.ui.focus = Focus::Map;
    app.prompt.set("Why is the sky blue?");
    app.prompt.remember();
    app.prompt.set("And at night?\nReally?");
    for (prepare, seed) in [("s", 1), ("d", 2)] {
        keys(&mut app, prepare);
        let asked = keys(&mut app, "r");
        let [Command::Generate { run, settings, .. }] = asked.as_slice() else {
            panic!("{asked:?}")
        };
        let mut trace = fixture::token_trace(seed, 20);
        trace.header.settings = (**settings).clone();
        for event in fixture::events(*run, &trace) {
            update(&mut app, UiEvent::Worker(event));
        }
    }
    app.ui.cursor = Cursor { layer: 7, token: 20 };
    let branch = keys(&mut app, "R");
    let [
        Command::Branch {
            run,
            kept,
            forced,
            settings,
        },
    ] = branch.as_slice()
    else {
        panic!("{branch:?}")
    };
    for event in fixture::events(*run, &fixture::branched(kept, forced, settings, 5)) {
        update(&mut app, UiEvent::Worker(event));
    }
    keys(&mut app, "+++O ");
    update(&mut app, UiEvent::Key(KeyEvent::from(KeyCode::Esc)));
    keys(&mut app, "mmi");
    (app.ui.cursor, app.ui.follow) = (Cursor { layer: 4, token: 18 }, false);
    app.ui.panes.left = Some(40);
    app
}

/// What must be the same, whatever the runs are numbered.
fn told(app: &App) -> String {
    let of = |run: &Run| {
        (
            run.what(),
            run.trace.clone(),
            run.prompt.clone(),
            run.parent.map(|p| p.at),
        )
    };
    let runs: Vec<_> = crate::tui::history::tree(app.runs())
        .into_iter()
        .map(|(depth, run)| (depth, of(run)))
        .collect();
    let shown = app.shown.as_ref().map(of);
    let history: Vec<&str> = app.prompt.history().collect();
    format!(
        "{runs:?} {shown:?} {history:?} {:?} {:?}",
        (
            &app.settings,
            app.settled(),
            app.off.len(),
            app.ui.cursor,
            app.ui.follow,
            app.ui.focus,
            app.ui.map.mode
        ),
        (
            app.prompt.text(),
            app.ui.template,
            app.ui.panes,
            &app.previous.as_ref().map(of)
        )
    )
}

fn kept(app: &App) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/session.jsonl");
    write(&path, &Session::of(app).expect("there is something to keep")).unwrap();
    (folder, path)
}

#[test]
fn a_session_comes_back_as_it_was() {
    let mut app = used();
    assert_eq!(app.runs().count(), 4);
    app.load.model = Some("Cargo.toml".to_owned());
    app.load.iterations = Some(3);
    app.routers = crate::engine::RouterChoice::File("Cargo.lock".into());
    (app.load.exact, app.load.kv_bits) = (true, crate::model::KvBits::Eight);
    let (_folder, path) = kept(&app);
    let session = read(&path).unwrap();
    let here = std::env::current_dir().unwrap().join("Cargo.toml");
    assert_eq!(
        session.state.model.as_deref(),
        here.to_str(),
        "wherever the next start is"
    );
    assert_eq!(session.state.iterations, Some(3));
    let lock = std::env::current_dir().unwrap().join("Cargo.lock");
    assert_eq!(session.state.routers.as_deref(), lock.to_str());
    assert_eq!(
        (session.state.exact, session.state.kv_bits),
        (Some(true), Some(crate::model::KvBits::Eight))
    );
    let mut again = fixture::empty(crate::tui::color::ColorTier::Truecolor);
    update(&mut again, UiEvent::Resize(120, 40));
    again.settings = session.state.settings.clone();
    session.restore(&mut again);
    assert_eq!(told(&again), told(&app));
    assert_eq!(again.off, app.off);
    assert_eq!(again.recordings, app.recordings);
    // Once more, into what is there: new numbers, everything stays in the tree, traces stand there once.
    let request = {
        update(&mut again, UiEvent::Worker(fixture::loaded()));
        keys(&mut again, "W");
        again.file.take()
    };
    assert_eq!(request, Some(FileRequest::Session));
    let report = FileReport::Session(Ok(Box::new(read(&path).unwrap())));
    update(&mut again, UiEvent::File(report));
    assert_eq!(again.recordings.len(), 1);
    assert_eq!(again.runs().filter(|run| !run.is_recording()).count(), 6);
    assert!(
        again
            .ui
            .notice
            .as_ref()
            .unwrap()
            .text
            .contains("the last session is back: 4 runs")
    );
    let ids: std::collections::BTreeSet<_> = again.runs().map(|run| run.id).collect();
    assert_eq!((ids.len(), ids.last()), (again.runs().count(), Some(&again.last_run)));
}

#[test]
fn a_run_under_way_is_kept_as_far_as_it_is_and_not_disturbed() {
    let mut app = used();
    let asked = keys(&mut app, "r");
    let [Command::Generate { run, .. }] = asked.as_slice() else {
        panic!("{asked:?}")
    };
    let events = fixture::events(*run, &fixture::trace(4, 9));
    for event in events.into_iter().take(6) {
        update(&mut app, UiEvent::Worker(event));
    }
    keys(&mut app, "W");
    assert_eq!(app.file, None);
    assert!(app.ui.notice.as_ref().unwrap().text.contains("a run is under way"));
    let (_folder, path) = kept(&app);
    let mut again = fixture::empty(crate::tui::color::ColorTier::None);
    read(&path).unwrap().restore(&mut again);
    let shown = again.shown.as_ref().unwrap();
    assert_eq!((shown.trace.steps.len(), shown.is_running()), (5, false));
    assert!(!again.is_busy());
    let failed = Worker::Failed {
        run: 5,
        message: "late".into(),
    };
    update(&mut again, UiEvent::Worker(failed));
    assert_eq!(again.ui.notice, None);
}

#[test]
fn a_damaged_run_costs_no_other() {
    let (_folder, path) = kept(&used());
    let text = std::fs::read_to_string(&path).unwrap();
    let entries = text.lines().count() - 2;
    for (text, said) in [
        (text.replacen("\"id\":1", "\"id\":-1", 1), "line 3: "),
        (text[..text.len() - 40].to_owned(), "line "),
        (
            text.replacen("\\\"position\\\":13", "\\\"position\\\":14", 1),
            "position 14 where 13 follows",
        ),
        (text.replacen("\\\"probs\\\":[", "\\\"probs\\\":[null,", 1), "invalid"),
    ] {
        std::fs::write(&path, text).unwrap();
        let session = read(&path).unwrap();
        assert_eq!(session.runs.len() + session.opened.len(), entries - 1, "{said}");
        let [damaged] = session.damaged.as_slice() else {
            panic!("{:?}", session.damaged)
        };
        assert!(damaged.contains(said), "{damaged}");
        let mut again = fixture::empty(crate::tui::color::ColorTier::None);
        update(&mut again, UiEvent::File(FileReport::Session(Ok(Box::new(session)))));
        let notice = again.ui.notice.unwrap().text;
        assert!(
            notice.contains("1 of the session's runs and traces are damaged"),
            "{notice}"
        );
    }
}

#[test]
fn what_does_not_fit_is_left_out_and_the_rest_comes_back() {
    let app = used();
    let session = Session::of(&app).unwrap();
    let (whole, left_out) = file::to_text(&session, usize::MAX);
    assert_eq!(left_out, 0);
    let (most, left_out) = file::to_text(&session, whole.len() - 1);
    assert_eq!((left_out, most.lines().count()), (1, whole.lines().count() - 1));
    let (none, left_out) = file::to_text(&session, 0);
    assert_eq!(
        (left_out, none.lines().count()),
        (session.runs.len() + session.opened.len(), 2)
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("session.jsonl");
    for text in [most, none] {
        std::fs::write(&path, text).unwrap();
        let mut again = fixture::empty(crate::tui::color::ColorTier::None);
        read(&path).unwrap().restore(&mut again);
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(write(&path, &session).unwrap(), 0);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn nothing_is_kept_where_nothing_was_done() {
    let mut app = fixture::app();
    app.recordings = crate::tui::recordings::built_in();
    assert_eq!(Session::of(&app), None);
    app.recordings.push(Recording::opened("a".into(), fixture::trace(1, 2)));
    assert!(Session::of(&app).is_some());
}

#[test]
fn a_session_that_cannot_come_back_is_refused_with_what_to_do() {
    let (_folder, path) = kept(&used());
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let refused = |text: &str| {
        std::fs::write(&path, text).unwrap();
        read(&path).unwrap_err().to_string()
    };
    let damaged = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        refused(&text.replacen(from, to, 1))
    };
    let message = damaged("\"version\":1", "\"version\":2");
    assert!(
        message.contains("is of version 2") && message.contains("start without it"),
        "{message}"
    );
    assert!(damaged("drllm-tui session", "another format").contains("line 1: it is no session"));
    assert!(damaged("\"dial\":-0.5", "\"dial\":7.5").contains("line 2: the dial is 7.5"));
    assert!(damaged("\"iterations\":null", "\"iterations\":9").contains("line 2: iterations is 9: expected 1 to 8"));
    assert!(damaged("\"overrides\":\"", "\"overrides\":\"pin 7=jump\\n").contains("line 2: line 1"));
    assert!(damaged("\"id\":1", "\"id\":2").contains("the same number"));
    assert!(damaged("\"id\":1", "\"id\":99999999999").contains("none that this program gives"));
    for (text, said) in [
        ("", "line 1: the file is empty"),
        ("[]\n", "line 1: "),
        (lines[0], "line 2: it ends here"),
    ] {
        let message = refused(text);
        assert!(message.contains(said) && message.contains("move it away"), "{message}");
    }
    std::fs::remove_file(&path).unwrap();
    let absent = read(&path).unwrap_err();
    assert!(matches!(&absent, SessionError::Absent(_)) && absent.to_string().contains("there is no session yet"));
    let folder = read(path.parent().unwrap()).unwrap_err().to_string();
    assert!(folder.contains("not a regular file"), "{folder}");
    let mut app = fixture::app();
    update(&mut app, UiEvent::File(FileReport::Session(Err(absent.to_string()))));
    assert!(app.ui.notice.as_ref().unwrap().text.contains("no session yet"));
}
