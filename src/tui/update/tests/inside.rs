//! Looks inside, flips, branches and the tree of runs.

use super::*;
use crate::engine::{AskId, InspectionRequest, InspectionResult};
use crate::program::Action;
use crate::trace::{ExcludedExpert, Trace};
use crate::tui::dialogs::{Against, CompareDialog, Overlay, RunsDialog};
use crate::tui::history::Parent;
use crate::tui::inside::{FOLLOWED, PendingQuestion};
use crate::tui::run::RunProgress;
use crate::tui::ui::Cursor;

/// The one question that was asked.
fn question(commands: &[Command]) -> (AskId, InspectionRequest) {
    match commands {
        [Command::Ask { ask, question }] => (*ask, question.clone()),
        other => panic!("expected one question, got {other:?}"),
    }
}

/// Presses keys; the worker answers what they ask.
fn asks(app: &mut App, typed: &str) {
    let commands = keys(app, typed);
    hear(app, fixture::answers(&commands));
}

/// The one branch that was asked for: its id, what is kept, what is forced, its settings.
fn branch(commands: &[Command]) -> (u64, Trace, Prompt, Settings) {
    match commands {
        [
            Command::Branch {
                run,
                kept,
                forced,
                settings,
            },
        ] => (*run, (**kept).clone(), forced.clone(), (**settings).clone()),
        other => panic!("expected one branch, got {other:?}"),
    }
}

/// Carries a branch out.
fn branched(app: &mut App, commands: &[Command]) -> u64 {
    let (run, kept, forced, settings) = branch(commands);
    hear(
        app,
        fixture::events(run, &fixture::branched(&kept, &forced, &settings, run)),
    );
    run
}

fn at(layer: usize, token: usize) -> App {
    let mut app = ready();
    app.ui.cursor = Cursor { layer, token };
    app
}

#[test]
fn inside_asks_about_the_token_at_the_cursor_and_follows_it() {
    let mut app = at(5, 20);
    let (ask, asked) = question(&keys(&mut app, "I"));
    let InspectionRequest::Inspect { trace, position, .. } = &asked else {
        panic!("{asked:?}")
    };
    // No more of the trace than is needed.
    assert_eq!((*position, trace.steps.len()), (20, 9));
    // Another layer asks nothing anew; another token does, and the answer to the first is dropped.
    assert_eq!(keys(&mut app, "k"), []);
    assert_eq!(app.ui.cursor.layer, 6);
    let (second, _) = question(&keys(&mut app, "l"));
    assert_eq!(app.ui.cursor.token, 21);
    hear(&mut app, [fixture::answered(ask, fixture::answer(&asked))]);
    let waiting = |app: &App| match &app.ui.overlay {
        Some(Overlay::Inside(dialog)) => matches!(dialog.inspection, PendingQuestion::Waiting(_)),
        other => panic!("{other:?}"),
    };
    assert!(waiting(&app));
    hear(&mut app, [fixture::answered(second, fixture::answer(&asked))]);
    assert!(!waiting(&app));
    // What takes long is ended like a run.
    question(&keys(&mut app, "l"));
    assert_eq!(keys(&mut app, "x"), [Command::Stop]);
    key(&mut app, KeyCode::Esc);
    assert_eq!(app.ui.overlay, None);
    assert_eq!(keys(&mut app, "x"), []);
}

#[test]
fn a_looped_models_experts_are_excluded_one_after_the_other() {
    let mut app = ready();
    app.open("looped".into(), None, fixture::looped_trace(3, 12));
    app.ui.cursor = Cursor { layer: 6, token: 14 };
    asks(&mut app, "I");
    let used = |app: &App| match &app.ui.overlay {
        Some(Overlay::Inside(dialog)) => {
            let inspection = dialog.inspection.here().unwrap();
            let at = inspection.of_layer(6).last().unwrap();
            inspection.stages[at].experts.clone().unwrap().experts
        }
        other => panic!("{other:?}"),
    };
    let (layer, _) = app.shown.as_ref().unwrap().looped().unwrap().execution(6);
    let expected: Vec<ExcludedExpert> = used(&app)
        .iter()
        .map(|&(expert, _)| ExcludedExpert { layer, expert })
        .collect();
    let said = |app: &App| app.ui.notice.as_ref().unwrap().text.clone();
    assert_eq!(keys(&mut app, "e"), []);
    assert!(said(&app).contains(&format!("without expert {} of layer {layer}", expected[0].expert)));
    keys(&mut app, "eee");
    assert_eq!(app.settings.excluded_experts, expected);
    keys(&mut app, "e");
    assert!(said(&app).contains("excluded already"));
    // What the last iteration that ran had is compared with, not what a skipped one would have had.
    let inspection = match &app.ui.overlay {
        Some(Overlay::Inside(dialog)) => dialog.inspection.here().unwrap().as_ref().clone(),
        other => panic!("{other:?}"),
    };
    let first = |layer: usize| inspection.of_layer(layer).next().unwrap();
    let before = |inspection: &crate::engine::Inspection| {
        crate::tui::view::inside::before(&app, inspection, &inspection.stages[first(6)]).cloned()
    };
    let mut skipped = inspection.clone();
    for (layer, ran) in [(4, false), (2, true)] {
        skipped.stages[first(layer)].carried_out = ran;
    }
    assert_eq!(before(&skipped), inspection.stages[first(2)].experts);
    skipped.stages[first(4)].carried_out = true;
    assert_eq!(before(&skipped), inspection.stages[first(4)].experts);
    // The list of overrides has them, and takes them back.
    key(&mut app, KeyCode::Esc);
    keys(&mut app, "Odd");
    assert_eq!(app.settings.excluded_experts, expected[2..]);
    // One that cannot be is refused while it is typed.
    keys(&mut app, "nexclude 99:1");
    key(&mut app, KeyCode::Enter);
    assert_eq!(app.settings.excluded_experts, expected[2..]);
    // No other model has experts.
    let mut app = at(5, 20);
    asks(&mut app, "Ie");
    assert!(said(&app).contains("only a looped model"));
    assert!(app.settings.excluded_experts.is_empty());
}

#[test]
fn a_token_is_followed_from_token_to_token() {
    let dialog = |app: &App| match &app.ui.overlay {
        Some(Overlay::Inside(dialog)) => dialog.clone(),
        other => panic!("{other:?}"),
    };
    let followed = |app: &App| dialog(app).followed().map(|followed| followed.token.text.clone());
    let likely = |app: &App, n: usize| Some(dialog(app).inspection.here().unwrap().next.top[n].text.clone());
    let mut app = at(5, 20);
    asks(&mut app, "I");
    assert_eq!(followed(&app), None);
    for n in 0..FOLLOWED {
        assert_eq!(keys(&mut app, "n"), []);
        assert_eq!(followed(&app), likely(&app, n));
    }
    keys(&mut app, "n");
    assert_eq!(followed(&app), None, "after the last one none");
    keys(&mut app, "nn");
    asks(&mut app, "l");
    assert_eq!(
        followed(&app),
        likely(&app, 1),
        "the second likeliest of the next token"
    );
    // Letters are typed; what is typed stays with the dialog.
    keys(&mut app, "/");
    assert_eq!(app.context(), "command");
    keys(&mut app, " moon");
    key(&mut app, KeyCode::Esc);
    assert_eq!((followed(&app), dialog(&app).edit), (likely(&app, 1), None));
    keys(&mut app, "/ moon");
    let commands = key(&mut app, KeyCode::Enter);
    let (_, InspectionRequest::Inspect { also, position, .. }) = question(&commands) else {
        panic!("{commands:?}")
    };
    assert_eq!((also.as_deref(), position), (Some(" moon"), 21));
    hear(&mut app, fixture::answers(&commands));
    assert_eq!(followed(&app).as_deref(), Some(" moon"));
    asks(&mut app, "h");
    assert_eq!(followed(&app).as_deref(), Some(" moon"));
    let said = crate::tui::describe::selected(&app).unwrap();
    assert!(
        said.contains("\" moon\" with 0.0") && said.contains(", rank "),
        "{said}"
    );
    // Nothing typed: the likely ones alone.
    keys(&mut app, "/");
    let commands = key(&mut app, KeyCode::Enter);
    assert!(matches!(
        question(&commands).1,
        InspectionRequest::Inspect { also: None, .. }
    ));
}

#[test]
fn what_cannot_be_asked_is_said_and_nothing_is_sent() {
    let refused = |app: &mut App| {
        assert_eq!(keys(app, "I"), []);
        match app.ui.overlay.take() {
            Some(Overlay::Inside(dialog)) => match dialog.inspection {
                PendingQuestion::Refused(why) => why,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    };
    let mut app = at(5, 20);
    app.shown.as_mut().unwrap().trace.header.model.sha256 = "other".into();
    assert!(refused(&mut app).contains("load the former"));
    assert_eq!(keys(&mut app, "R"), []);
    assert!(app.ui.notice.as_ref().unwrap().text.contains("load the former"));
    let mut app = fixture::app();
    focus(&mut app, Focus::Map);
    assert!(refused(&mut app).contains("on its way"));
    let mut app = fixture::empty(crate::tui::color::ColorTier::None);
    focus(&mut app, Focus::Map);
    for asking in ["I", "F", "T", "R", "w"] {
        app.ui.notice = None;
        assert_eq!(keys(&mut app, asking), []);
        assert!(app.ui.notice.is_some() && app.ui.overlay.is_none(), "{asking}");
    }
    // The worker's refusal stands in the dialog.
    let mut app = at(5, 20);
    let (ask, _) = question(&keys(&mut app, "I"));
    hear(
        &mut app,
        [fixture::answered(ask, InspectionResult::Refused("stopped".into()))],
    );
    assert!(
        matches!(&app.ui.overlay, Some(Overlay::Inside(d)) if d.inspection == PendingQuestion::Refused("stopped".into()))
    );
}

#[test]
fn questions_leave_the_run_under_way_alone() {
    let mut app = ready();
    let (run, ..) = asked(&keys(&mut app, "r"));
    let events = fixture::events(run, &fixture::trace(1, 20));
    hear(&mut app, events[..8].iter().cloned());
    question(&keys(&mut app, "I"));
    hear(&mut app, events[8..].iter().cloned());
    assert_eq!(app.shown.as_ref().unwrap().progress, RunProgress::Finished);
    assert_eq!(app.shown.as_ref().unwrap().steps().len(), 20);
}

#[test]
fn a_branch_keeps_what_stands_before_the_cursor() {
    let mut app = at(7, 20);
    keys(&mut app, "s");
    let there = app.shown.as_ref().unwrap().step(20).unwrap().id;
    let parent = app.shown.as_ref().unwrap().id;
    let commands = keys(&mut app, "R");
    let (_, kept, forced, settings) = branch(&commands);
    assert_eq!((kept.steps.len(), forced), (8, Prompt::Ids(vec![there])));
    assert_eq!(settings.pins, ["7=skip".parse().unwrap()]);
    let run = branched(&mut app, &commands);
    let shown = app.shown.as_ref().unwrap();
    assert_eq!((shown.id, shown.parent), (run, Some(Parent { run: parent, at: 20 })));
    assert_eq!(shown.steps().len(), 20);
    assert_eq!(app.previous.as_ref().unwrap().id, parent);
    assert!(app.pending().is_empty(), "{:?}", app.pending());
    // The prompt is one piece.
    app.ui.cursor.token = 3;
    assert_eq!(keys(&mut app, "R"), []);
    assert!(app.ui.notice.as_ref().unwrap().text.contains("token of the answer"));
    // What the settings do not allow is not sent.
    app.ui.cursor.token = 20;
    app.settings.budget = Some(999);
    assert_eq!(keys(&mut app, "R"), []);
    assert!(app.ui.notice.as_ref().unwrap().text.contains("budget is 999"));
}

#[test]
fn a_branch_that_cannot_start_leaves_the_run_on_the_screen() {
    let mut app = at(7, 20);
    let before = app.shown.as_ref().unwrap().id;
    let (run, ..) = branch(&keys(&mut app, "R"));
    assert!(app.is_busy());
    let message = "the branch begins at token 9 of the answer".to_owned();
    hear(&mut app, [engine::WorkerEvent::Failed { run, message }]);
    assert!(!app.is_busy());
    assert_eq!(app.shown.as_ref().unwrap().id, before);
    assert!(app.ui.notice.as_ref().unwrap().text.contains("branch begins"));
}

#[test]
fn another_token_is_chosen_or_typed() {
    let mut app = at(7, 20);
    let commands = keys(&mut app, "T");
    assert!(matches!(
        question(&commands).1,
        InspectionRequest::Inspect { position: 19, .. }
    ));
    // Nothing to choose from yet.
    assert_eq!(key(&mut app, KeyCode::Enter), []);
    assert!(matches!(&app.ui.overlay, Some(Overlay::Force(d)) if d.edit.error.is_some()));
    hear(&mut app, fixture::answers(&commands));
    key(&mut app, KeyCode::Down);
    key(&mut app, KeyCode::Down);
    key(&mut app, KeyCode::Up);
    let Some(Overlay::Force(dialog)) = &app.ui.overlay else {
        panic!("the dialog stays open")
    };
    let chosen = dialog.before.here().unwrap().next.top[dialog.row].id;
    let commands = key(&mut app, KeyCode::Enter);
    assert_eq!(branch(&commands).2, Prompt::Ids(vec![chosen]));
    assert_eq!(app.ui.overlay, None);
    branched(&mut app, &commands);
    app.ui.cursor.token = 22;
    asks(&mut app, "T");
    keys(&mut app, " Rlex");
    key(&mut app, KeyCode::Backspace);
    update(&mut app, UiEvent::Paste("q\u{1b}[".into()));
    let (_, kept, forced, _) = branch(&key(&mut app, KeyCode::Enter));
    assert_eq!((kept.steps.len(), forced), (10, Prompt::Text(" Rleq[".into())));
    // The prompt's tokens are edited, not forced.
    let mut app = at(7, 4);
    assert_eq!(keys(&mut app, "T"), []);
    assert!(app.ui.notice.as_ref().unwrap().text.contains("editing the prompt"));
}

#[test]
fn flips_are_tried_turned_and_carried_out() {
    let mut app = at(7, 20);
    keys(&mut app, "F");
    let selected = |app: &App| match &app.ui.overlay {
        Some(Overlay::Flips(dialog)) => (dialog.rows[dialog.row], dialog.flip.clone()),
        other => panic!("{other:?}"),
    };
    let (here, flip) = selected(&app);
    assert_eq!((here.layer, here.position, flip), (7, 20, None));
    let commands = key(&mut app, KeyCode::Enter);
    let asked = question(&commands).1;
    let InspectionRequest::Flip {
        layer,
        position,
        action,
        ..
    } = asked
    else {
        panic!("{asked:?}")
    };
    assert_eq!((layer, position, action), (7, 20, here.to));
    hear(&mut app, fixture::answers(&commands));
    assert!(matches!(selected(&app).1, Some(PendingQuestion::Here(_))));
    // What was tried is tried again with everything else as it ran, and back.
    for frozen in [true, false] {
        let commands = keys(&mut app, "f");
        let InspectionRequest::Flip { frozen: asked, .. } = question(&commands).1 else {
            panic!("{commands:?}")
        };
        assert_eq!(asked, frozen);
        hear(&mut app, fixture::answers(&commands));
        let flip = selected(&app).1;
        assert_eq!(flip.as_ref().and_then(PendingQuestion::here).unwrap().frozen, frozen);
    }
    keys(&mut app, " ");
    assert!(selected(&app).0.to != here.to && selected(&app).1.is_none());
    // The map's cursor goes with the selection.
    keys(&mut app, "jj");
    let (row, _) = selected(&app);
    assert_eq!(
        app.ui.cursor,
        Cursor {
            layer: row.layer,
            token: row.position
        }
    );
    let commands = keys(&mut app, "R");
    let (_, kept, _, settings) = branch(&commands);
    assert_eq!(kept.steps.len(), row.position - 12);
    assert_eq!(
        settings.pins,
        [format!("{}@{}={}", row.layer, row.position, row.to).parse().unwrap()]
    );
    branched(&mut app, &commands);
    assert!(app.ui.overlay.is_none() && app.pending().is_empty());
}

#[test]
fn a_flip_at_the_prompt_runs_the_prompt_again() {
    let mut app = at(7, 3);
    keys(&mut app, "F");
    let (_, prompt, settings) = asked(&keys(&mut app, "R"));
    assert_eq!(prompt, Prompt::Ids((1..=12).collect()));
    assert_eq!((settings.pins.len(), settings.pins[0].positions), (1, None));
    assert_ne!(settings.pins[0].action, Action::Execute);
}

#[test]
fn any_run_is_opened_and_any_two_are_compared() {
    let mut app = ready();
    let recording = app.shown.as_ref().unwrap().id;
    let first = ran(&mut app, 1, 20);
    app.ui.cursor.token = 16;
    let commands = keys(&mut app, "sR");
    let branch = branched(&mut app, &commands);
    let third = ran(&mut app, 2, 10);
    let ids: Vec<u64> = app.runs().map(|r| r.id).collect();
    assert_eq!(ids, [recording, first, branch, third]);
    keys(&mut app, "w");
    assert!(matches!(app.ui.overlay, Some(Overlay::Runs(RunsDialog { row: 3 }))));
    keys(&mut app, "kk");
    key(&mut app, KeyCode::Enter);
    assert_eq!((app.shown.as_ref().unwrap().id, &app.ui.overlay), (first, &None));
    assert_eq!(app.previous.as_ref().unwrap().id, third);
    assert_eq!(app.runs().count(), 4);
    keys(&mut app, "wjc");
    let against = Against::Run(branch);
    assert_eq!(
        app.ui.overlay,
        Some(Overlay::Compare(CompareDialog { against, scroll: 0 }))
    );
    assert_eq!(app.against(against).unwrap().id, branch);
    // How far they lie apart is asked for by a key.
    let commands = keys(&mut app, "K");
    let asked = question(&commands).1;
    let InspectionRequest::Divergence { traces } = asked else {
        panic!("{asked:?}")
    };
    assert_eq!((traces[0].steps.len(), traces[1].steps.len()), (16, 20));
    hear(&mut app, fixture::answers(&commands));
    let apart = app.apart.as_ref().unwrap();
    assert_eq!(
        (apart.runs, apart.divergence.here().unwrap().by_token.len()),
        ((branch, first), 16)
    );
    key(&mut app, KeyCode::Esc);
    // The run on the screen is not compared with itself.
    keys(&mut app, "wc");
    assert!(matches!(app.ui.overlay, Some(Overlay::Runs(_))));
    assert!(app.ui.notice.as_ref().unwrap().text.contains("select another"));
}

#[test]
fn no_run_is_opened_while_one_is_under_way() {
    let mut app = ready();
    ran(&mut app, 1, 20);
    let second = ran(&mut app, 2, 10);
    asked(&keys(&mut app, "r"));
    keys(&mut app, "wk");
    key(&mut app, KeyCode::Enter);
    assert_eq!(app.shown.as_ref().unwrap().id, second);
    assert!(app.ui.notice.as_ref().unwrap().text.contains("under way"));
}

#[test]
fn a_recording_with_branches_is_remembered() {
    let mut app = at(7, 20);
    let recording = app.shown.as_ref().unwrap().id;
    let commands = keys(&mut app, "R");
    branched(&mut app, &commands);
    ran(&mut app, 1, 5);
    ran(&mut app, 2, 5);
    assert!(app.run(recording).is_some_and(|run| run.is_recording()));
    app.reopen(recording);
    assert!(app.shown.as_ref().unwrap().is_recording());
}

#[test]
fn the_palette_reaches_the_comparison_and_loses_neither_text_nor_run() {
    let mut app = ready();
    let first = ran(&mut app, 1, 10);
    let second = ran(&mut app, 2, 10);
    ctrl(&mut app, 'p');
    keys(&mut app, "divergence");
    let commands = key(&mut app, KeyCode::Enter);
    assert!(matches!(question(&commands).1, InspectionRequest::Divergence { .. }));
    let against = Against::Previous;
    assert_eq!(
        app.ui.overlay,
        Some(Overlay::Compare(CompareDialog { against, scroll: 0 }))
    );
    key(&mut app, KeyCode::Esc);
    // Not over a token that is being typed.
    asks(&mut app, "T");
    keys(&mut app, " Purple");
    ctrl(&mut app, 'p');
    assert!(matches!(&app.ui.overlay, Some(Overlay::Force(dialog)) if dialog.edit.text == " Purple"));
    key(&mut app, KeyCode::Esc);
    app.recordings = crate::tui::recordings::built_in();
    ctrl(&mut app, 'p');
    keys(&mut app, "two pins");
    key(&mut app, KeyCode::Enter);
    assert!(app.shown.as_ref().unwrap().is_recording());
    let known: Vec<u64> = app.runs().map(|run| run.id).collect();
    assert!(known.contains(&first) && known.contains(&second), "{known:?}");
}
