//! Watching a search, by its keys and by what the worker says.

use super::*;
use crate::engine::{SearchEnd, SearchRequest};
use crate::tui::app::ModelState;
use crate::tui::dialogs::{Overlay, SearchDialog};
use crate::tui::search::{Pane, SearchField, SearchPage, SearchProgress, Sort, Watched};

const FORM: Option<Overlay> = Some(Overlay::Search(SearchDialog(SearchPage::Form)));
const WATCH: Option<Overlay> = Some(Overlay::Search(SearchDialog(SearchPage::Watch)));

fn watched(app: &App) -> &Watched {
    app.search.watched.as_ref().expect("a search was begun")
}

/// The one search that was asked for.
fn searched(commands: &[Command]) -> (u64, SearchRequest) {
    match commands {
        [Command::Search { search, request }] => (*search, (**request).clone()),
        other => panic!("expected one search, got {other:?}"),
    }
}

/// The second example is searched to its end.
fn done() -> App {
    let mut app = ready();
    keys(&mut app, "S");
    key(&mut app, KeyCode::F(6));
    key(&mut app, KeyCode::F(6));
    let (id, request) = searched(&key(&mut app, KeyCode::F(5)));
    hear(&mut app, fixture::searched(id, &fixture::search_steps(&request)));
    hear(&mut app, [fixture::search_ended(id, SearchEnd::Done)]);
    app
}

#[test]
fn a_question_is_typed_and_searched() {
    let mut app = ready();
    keys(&mut app, "S");
    assert_eq!((&app.ui.overlay, app.context()), (&FORM, "search-form"));
    assert_eq!(app.search.form.question.text(), "Hello");
    // Letters that are keys elsewhere are typed here; Enter goes to the next line.
    keys(&mut app, "* joy");
    key(&mut app, KeyCode::Enter);
    keys(&mut app, "Squid");
    assert_eq!(app.search.form.answers.text(), "* joy\nSquid");
    key(&mut app, KeyCode::Tab);
    assert_eq!(app.search.form.field, SearchField::Simulations);
    ctrl(&mut app, 'u');
    update(&mut app, UiEvent::Paste("12".into()));
    key(&mut app, KeyCode::Down);
    ctrl(&mut app, 'u');
    keys(&mut app, "7");
    let (id, request) = searched(&key(&mut app, KeyCode::Enter));
    assert_eq!(
        (request.question.as_str(), request.simulations, request.seed),
        ("Hello", 12, 7)
    );
    assert_eq!(request.expected.text(), "joy");
    assert_eq!((&app.ui.overlay, app.context()), (&WATCH, "search"));
    assert!(watched(&app).is_running());
    let steps = fixture::search_steps(&request);
    hear(&mut app, fixture::searched(id, &steps[..5]));
    // What an older search says is not heard.
    hear(&mut app, fixture::searched(id - 1, &steps[5..]));
    assert_eq!((watched(&app).done, watched(&app).nodes[0].visits), (4, 5));
    assert_eq!(keys(&mut app, "x"), [Command::Stop]);
    hear(&mut app, [fixture::search_ended(id, SearchEnd::Stopped)]);
    assert_eq!(watched(&app).progress, SearchProgress::Stopped);
    hear(&mut app, fixture::searched(id, &steps[5..]));
    assert_eq!(watched(&app).done, 4);
    // It stays when the dialog is closed, and the form when another question is asked.
    key(&mut app, KeyCode::Esc);
    assert_eq!(app.ui.overlay, None);
    key(&mut app, KeyCode::F(5));
    assert_eq!(app.ui.overlay, WATCH);
    keys(&mut app, "n");
    assert_eq!(app.ui.overlay, FORM);
    assert_eq!(app.search.form.answers.text(), "* joy\nSquid");
    let (second, _) = searched(&key(&mut app, KeyCode::F(5)));
    assert_eq!(second, id + 1);
}

#[test]
fn what_cannot_be_searched_says_what_to_do() {
    let mut app = ready();
    keys(&mut app, "S");
    for (answers, field, message) in [
        ("", SearchField::Answers, "no answer is given"),
        ("* one", SearchField::Answers, "one choice only"),
        ("one\ntwo", SearchField::Answers, "put * before it"),
    ] {
        app.search.form.answers.set(answers);
        app.search.form.field = SearchField::Seed;
        assert_eq!(key(&mut app, KeyCode::F(5)), []);
        let error = app.search.form.error.clone().unwrap();
        assert!(error.contains(message), "{error}");
        assert_eq!((&app.ui.overlay, app.search.form.field), (&FORM, field));
    }
    // What is typed then takes the message away.
    keys(&mut app, "x");
    assert_eq!(app.search.form.error, None);
    app.search.form.answers.set("* one\ntwo");
    app.model = ModelState::Loading {
        what: "pulling".into(),
        bytes: None,
    };
    assert_eq!(key(&mut app, KeyCode::F(5)), []);
    assert!(app.search.form.error.as_ref().unwrap().contains("on its way"));
    app.model = ModelState::Missing("no network".into());
    assert_eq!(key(&mut app, KeyCode::F(5)), []);
    assert!(
        app.search
            .form
            .error
            .as_ref()
            .unwrap()
            .contains("its search is recorded")
    );
}

#[test]
fn the_selection_goes_through_tree_and_list() {
    let mut app = done();
    let best = watched(&app).best().expect("the toy finds right programs");
    assert_eq!(
        (watched(&app).selected, &watched(&app).progress),
        (best, &SearchProgress::Done)
    );
    keys(&mut app, "g");
    assert_eq!(watched(&app).selected, 0);
    keys(&mut app, "l");
    let child = watched(&app).selected;
    assert_eq!(watched(&app).nodes[child].parent, Some(0));
    // The root's children are folded away and come back.
    keys(&mut app, "gh");
    assert!(watched(&app).folded.contains(&0));
    keys(&mut app, "j");
    assert_eq!(watched(&app).selected, 0, "there is no other line");
    keys(&mut app, " j");
    assert_eq!(watched(&app).selected, child);
    keys(&mut app, "h");
    keys(&mut app, "h");
    assert_eq!(watched(&app).selected, 0, "to the parent");
    key(&mut app, KeyCode::Tab);
    assert_eq!(
        (watched(&app).pane, watched(&app).sort),
        (Pane::Programs, Sort::Shortest)
    );
    keys(&mut app, "g");
    let first = &watched(&app).nodes[watched(&app).selected];
    let shortest = watched(&app)
        .nodes
        .iter()
        .filter(|n| n.correct)
        .map(|n| n.program.depth())
        .min();
    assert_eq!((first.correct, Some(first.program.depth())), (true, shortest));
    keys(&mut app, "sg");
    assert_eq!(watched(&app).selected, watched(&app).nodes.len() - 1, "the newest");
    keys(&mut app, "sG");
    let least = watched(&app).nodes.iter().map(|n| n.margin).fold(f64::MAX, f64::min);
    assert_eq!(watched(&app).nodes[watched(&app).selected].margin, least);
    key(&mut app, KeyCode::PageUp);
    assert_ne!(watched(&app).nodes[watched(&app).selected].margin, least);
    // In the tree it is seen wherever the list went to.
    let node = watched(&app).selected;
    key(&mut app, KeyCode::BackTab);
    let seen = crate::tui::search::rows(watched(&app));
    assert!(seen.iter().any(|row| row.node == node && !row.again));
}

#[test]
fn every_program_stands_in_the_tree_once() {
    let app = done();
    let rows = crate::tui::search::rows(watched(&app));
    let mut own: Vec<usize> = rows.iter().filter(|row| !row.again).map(|row| row.node).collect();
    own.sort_unstable();
    assert_eq!(own, (0..watched(&app).nodes.len()).collect::<Vec<_>>());
    let edges: usize = watched(&app).nodes.iter().map(|n| n.children.len()).sum();
    assert_eq!(rows.len(), edges + 1);
    let change = |after: &str| {
        let program = |text| crate::program::Program::parse(text, 30).unwrap();
        crate::tui::search::change(&program("0-3 4x2 5-29"), &program(after))
    };
    assert_eq!(change("0-11 14-29"), "skip 12 13, once 4");
    assert_eq!(change("0-3 4x2 5 6x2 7-29"), "repeat 6");
    assert_eq!(change("0-3 6-29"), "skip 4 5");
}

#[test]
fn the_selection_follows_until_it_is_moved() {
    let mut app = ready();
    app.ui.reduced_motion = false;
    keys(&mut app, "S");
    key(&mut app, KeyCode::F(6));
    let (id, request) = searched(&key(&mut app, KeyCode::F(5)));
    let steps = fixture::search_steps(&request);
    let events = fixture::searched(id, &steps);
    hear(&mut app, events[..4].to_vec());
    assert_eq!(watched(&app).selected, watched(&app).nodes.len() - 1);
    keys(&mut app, "g");
    hear(&mut app, events[4..6].to_vec());
    assert_eq!(watched(&app).selected, 0);
    keys(&mut app, "f");
    hear(&mut app, events[6..8].to_vec());
    assert_eq!(watched(&app).selected, watched(&app).nodes.len() - 1);
    // Closed, it goes on, and its end is said.
    key(&mut app, KeyCode::Esc);
    assert!(app.is_animated());
    hear(&mut app, events[8..].to_vec());
    hear(&mut app, [fixture::search_ended(id, SearchEnd::Done)]);
    assert!(app.ui.notice.as_ref().unwrap().text.contains("the search is done"));
}

#[test]
fn a_program_is_taken_over_and_copied() {
    let mut app = done();
    app.settings.program = Some(crate::program::Program::standard(30));
    focus(&mut app, Focus::Prompt);
    let best = watched(&app).best().unwrap();
    let program = watched(&app).nodes[best].program.clone();
    keys(&mut app, "y");
    assert_eq!(app.clipboard, Some(program.to_string()));
    key(&mut app, KeyCode::Enter);
    assert_eq!((&app.ui.overlay, app.ui.focus), (&None, Focus::Map));
    assert_eq!(app.settings.program.as_ref(), Some(&program));
    assert_eq!(app.off.len(), 1, "what it replaced is switched off");
    // The question comes with it; what was typed before is in the history.
    assert_eq!(app.prompt.text(), "Which of these melts in a warm room?");
    assert_eq!(app.prompt.history().last(), Some("Hello"));
    assert!(app.ui.notice.as_ref().unwrap().text.contains("r runs the question"));
    let (_, prompt, settings) = asked(&keys(&mut app, "r"));
    assert_eq!(prompt, Prompt::Text("Which of these melts in a warm room?".into()));
    assert_eq!(settings.program, Some(program));
}

#[test]
fn a_program_over_the_budget_is_not_taken_over() {
    let mut app = done();
    app.settings.budget = Some(3);
    key(&mut app, KeyCode::Enter);
    assert_eq!((&app.ui.overlay, &app.settings.program), (&WATCH, &None));
    assert!(app.ui.notice.as_ref().unwrap().text.contains("over the budget of 3"));
}

#[test]
fn without_a_model_the_examples_are_recorded() {
    let mut app = fixture::empty(crate::tui::color::ColorTier::None);
    app.ui.reduced_motion = false;
    app.model = ModelState::Missing("no network".into());
    update(&mut app, UiEvent::Resize(80, 24));
    key(&mut app, KeyCode::F(5));
    assert_eq!(app.search.form.example, Some(0), "there is no prompt to begin with");
    assert_eq!(key(&mut app, KeyCode::F(5)), []);
    let total = crate::tui::search::recorded(&crate::tui::search::examples()[0]).unwrap();
    let end = total.back().unwrap();
    assert!(watched(&app).is_running() && watched(&app).done < end.simulation);
    assert!(app.is_animated());
    update(&mut app, UiEvent::Tick(Duration::from_secs_f64(end.ms / 1e3 + 0.1)));
    assert_eq!(
        (&watched(&app).progress, watched(&app).done),
        (&SearchProgress::Done, end.simulation)
    );
    assert!(watched(&app).best().is_some());
    // Stopped half-way it stays there.
    keys(&mut app, "n");
    key(&mut app, KeyCode::F(5));
    assert!(watched(&app).is_running());
    assert_eq!(keys(&mut app, "x"), []);
    assert_eq!(watched(&app).progress, SearchProgress::Stopped);
    // Where nothing is to move it is there at once.
    app.ui.reduced_motion = true;
    keys(&mut app, "n");
    key(&mut app, KeyCode::F(5));
    assert_eq!(watched(&app).progress, SearchProgress::Done);
}

#[test]
fn recorded_searches_are_whole() {
    for example in crate::tui::search::examples() {
        let steps = crate::tui::search::recorded(&example).unwrap();
        let mut app = ready();
        keys(&mut app, "S");
        app.search.form.question.set(&example.text);
        app.search.form.answers.set(&example.answers);
        let (id, request) = searched(&key(&mut app, KeyCode::F(5)));
        let numbers: Vec<usize> = steps.iter().map(|step| step.simulation).collect();
        assert_eq!(numbers, (0..steps.len()).collect::<Vec<_>>(), "{}", example.name);
        assert!(steps.len() > 5 && steps.len() <= request.simulations + 1);
        let steps: Vec<_> = steps.into();
        hear(&mut app, fixture::searched(id, &steps));
        assert_eq!(watched(&app).layers(), 30);
        assert!(watched(&app).best().is_some_and(|best| best > 0), "{}", example.name);
    }
}
