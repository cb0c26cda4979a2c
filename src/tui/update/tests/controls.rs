//! Keys that change overrides, views and settings.

use super::*;
use crate::program::Program;
use crate::trace::{Loop, NEUTRAL_DIAL, Scope};
use crate::tui::dialogs::{HelpDialog, Overlay};
use crate::tui::files::{FileReport, FileRequest};
use crate::tui::settings::SettingsField;
use crate::tui::ui::{Cursor, MapMode};

#[test]
fn pins_hold_for_a_layer_or_for_marked_cells() {
    let mut app = ready();
    app.ui.cursor = Cursor { layer: 7, token: 20 };
    keys(&mut app, "s");
    assert_eq!(app.settings.pins, ["7=skip".parse().unwrap()]);
    assert_eq!(app.pending(), ["1 pin"]);
    keys(&mut app, "vkllld");
    let expected = ["7=skip", "7@20-23=repeat", "8@20-23=repeat"].map(|p| p.parse().unwrap());
    assert_eq!(app.settings.pins, expected);
    assert_eq!(app.ui.mark, None);
    keys(&mut app, "je");
    assert_eq!(app.settings.pins.last().unwrap().to_string(), "7=execute");
    assert_eq!(app.settings.pins.len(), 2);
    keys(&mut app, "a");
    assert_eq!(app.settings.pins, ["8@20-23=repeat".parse().unwrap()]);
    keys(&mut app, "X");
    assert_eq!(app.settings, Settings::default());
}

#[test]
fn a_loop_ends_after_the_iteration_at_the_cursor() {
    let mut app = ready();
    keys(&mut app, "K");
    assert!(
        app.ui.notice.as_ref().unwrap().text.contains("no loop to end"),
        "{}",
        app.ui.notice.as_ref().unwrap().text
    );
    app.open("looped".into(), None, fixture::looped_trace(3, 8));
    app.ui.cursor = Cursor { layer: 1, token: 20 };
    keys(&mut app, "K");
    assert!(
        app.ui
            .notice
            .as_ref()
            .unwrap()
            .text
            .contains("move to a layer of the loop")
    );
    assert_eq!(app.settings.pins, []);
    // Layer 25 is the second of iteration 12; 26 and 27 are iteration 13, 28 comes after the loop.
    app.ui.cursor.layer = 25;
    keys(&mut app, "K");
    assert_eq!(app.settings.pins, ["26=skip", "27=skip"].map(|p| p.parse().unwrap()));
    assert!(app.ui.notice.as_ref().unwrap().text.contains("12 of 13 iterations"));
    app.ui.cursor.layer = 26;
    keys(&mut app, "K");
    assert_eq!(app.settings.pins, [], "the last iteration runs them all");
    app.ui.cursor.layer = 23;
    app.ui.cursor.token = 16;
    keys(&mut app, "vlK");
    assert_eq!(app.settings.pins.len(), 4);
    assert_eq!(app.settings.pins[0].to_string(), "24@16-17=skip");
    assert_eq!(
        app.ui.notice.as_ref().unwrap().text,
        "the next run: 11 of 13 iterations at the marked tokens"
    );
}

#[test]
fn a_looped_model_is_loaded_with_more_iterations() {
    let mut app = ready();
    keys(&mut app, "*");
    assert!(app.ui.notice.as_ref().unwrap().text.contains("no loop"));
    let looped = fixture::looped_trace(3, 8);
    let loaded = |iterations: usize| {
        let mut model = looped.header.model.clone();
        let own = model.looped.unwrap();
        model.looped = Some(Loop {
            iterations,
            trained: (iterations != 5).then_some(5),
            ..own
        });
        model.layers = 4 + 2 * iterations;
        engine::WorkerEvent::Loaded {
            model: Box::new(model),
            routers: None,
            device: "cpu".into(),
            chat: true,
            note: None,
        }
    };
    hear(&mut app, [loaded(5)]);
    let model = app.ready().unwrap().clone();
    app.shown.as_mut().unwrap().trace.header.model = model;
    app.ui.cursor.layer = 3;
    keys(&mut app, "s");
    assert_eq!(app.settings.pins.len(), 1);
    let asked = |commands: Vec<Command>| match &commands[..] {
        [Command::Load(request)] => request.iterations,
        other => panic!("{other:?}"),
    };
    assert_eq!(asked(keys(&mut app, "*")), Some(6));
    assert_eq!(app.settings.pins.len(), 1, "the pin stays at its layer and iteration");
    hear(&mut app, [loaded(6)]);
    let notice = &app.ui.notice.as_ref().unwrap().text;
    assert!(
        notice.contains("runs 6 times, 5 in training, so without routers"),
        "{notice}"
    );
    // What ran before cannot be looked into by the model as it is now.
    app.open("looped".into(), None, looped.clone());
    for refused in ["K", "s", "~"] {
        app.ui.notice = None;
        keys(&mut app, refused);
        assert!(
            app.ui
                .notice
                .as_ref()
                .unwrap()
                .text
                .contains("another number of iterations"),
            "{refused}"
        );
    }
    assert_eq!(app.settings.pins.len(), 1);
    keys(&mut app, "b");
    let notice = &app.ui.notice.as_ref().unwrap().text;
    assert!(
        notice.contains("loop ran 13 times, now it runs 6: * and % in the map"),
        "{notice}"
    );
    assert_eq!(asked(keys(&mut app, "%")), Some(5));
    // A key that comes before or while the model is loaded counts too.
    assert_eq!(asked(keys(&mut app, "%")), Some(4));
    hear(&mut app, [engine::WorkerEvent::Loading("reading".into())]);
    assert_eq!(asked(keys(&mut app, "%")), Some(3));
    for iterations in [2, 1] {
        assert_eq!(asked(keys(&mut app, "%")), Some(iterations));
    }
    hear(&mut app, [loaded(1)]);
    assert_eq!(keys(&mut app, "%"), []);
    assert!(app.ui.notice.as_ref().unwrap().text.contains("which is the least"));
}

#[test]
fn the_model_of_the_program_runs_until_the_other_one_is_there() {
    let mut app = fixture::app();
    update(&mut app, UiEvent::Resize(120, 40));
    let start = app.settings.clone();
    hear(
        &mut app,
        [engine::WorkerEvent::Meanwhile(Box::new(
            fixture::looped_trace(1, 4).header.model,
        ))],
    );
    let problem = Prompt::Text("sort 7 2 9 4 1 3 8 =".into());
    // A prompt in words waits, and a problem runs meanwhile, as the program was started.
    app.prompt.set("Why is the sky blue?");
    focus(&mut app, Focus::Map);
    let (run, prompt, settings) = asked(&keys(&mut app, "r"));
    assert_eq!((prompt, settings, app.queued), (problem, start, true));
    let mut trace = fixture::looped_trace(1, 4);
    trace.header.settings = app.settings.clone();
    trace.header.model.sha256 = "5678".into();
    hear(&mut app, fixture::events(run, &trace));
    // One that it has the words of runs at once.
    app.queued = false;
    app.prompt.set("copy 3 1 4 =");
    let (run, prompt, _) = asked(&keys(&mut app, "r"));
    assert_eq!((prompt, app.queued), (Prompt::Text("copy 3 1 4 =".into()), false));
    hear(&mut app, fixture::events(run, &trace));
    // Also where the other one never comes.
    hear(&mut app, [engine::WorkerEvent::LoadFailed("no network".into())]);
    let (run, _, _) = asked(&keys(&mut app, "r"));
    hear(&mut app, fixture::events(run, &trace));
    app.prompt.set("Hello");
    assert_eq!(keys(&mut app, "r"), []);
    assert!(
        app.ui
            .notice
            .as_ref()
            .unwrap()
            .text
            .contains("'Hello' is none of the 53 words")
    );
    for looks in ["I", "b"] {
        keys(&mut app, looks);
        key(&mut app, KeyCode::Esc);
    }
    // From then on the other one runs everything.
    hear(&mut app, [fixture::loaded()]);
    assert!(app.ui.notice.as_ref().unwrap().text.contains("type a question"));
    app.prompt.set("copy 3 1 4 =");
    assert_eq!(app.ready().unwrap().layers, 30);
    assert_eq!(app.meanwhile, None);
}

#[test]
fn budget_dial_and_scope_by_keys() {
    let mut app = ready();
    keys(&mut app, "---+");
    assert_eq!(app.settings.budget, Some(29));
    keys(&mut app, "]]][");
    assert_eq!(app.settings.dial, -0.4);
    keys(&mut app, "[[");
    assert_eq!(app.settings.dial, NEUTRAL_DIAL);
    keys(&mut app, "t");
    assert_eq!(app.settings.scope, Scope::Token);
    keys(&mut app, "t");
    assert_eq!(app.settings.scope, Scope::Prompt);
}

#[test]
fn programs_budgets_and_dials_are_typed() {
    let mut app = ready();
    keys(&mut app, ":0-11 13-99");
    key(&mut app, KeyCode::Enter);
    let Some(Overlay::Settings(dialog)) = &app.ui.overlay else {
        panic!("a mistake closed the dialog")
    };
    let edit = dialog.edit.as_ref().unwrap();
    assert_eq!((edit.at, edit.error.as_ref().unwrap().column), (8, Some(9)));
    assert_eq!(app.settings.program, None);
    key(&mut app, KeyCode::End);
    key(&mut app, KeyCode::Backspace);
    key(&mut app, KeyCode::Backspace);
    keys(&mut app, "29");
    key(&mut app, KeyCode::Enter);
    assert_eq!(app.ui.overlay, None);
    assert_eq!(app.settings.program, Some(Program::parse("0-11 13-29", 30).unwrap()));
    keys(&mut app, "B31");
    key(&mut app, KeyCode::Enter);
    assert_eq!(app.settings.budget, Some(31));
    keys(&mut app, "D");
    ctrl(&mut app, 'u');
    keys(&mut app, "0.25");
    key(&mut app, KeyCode::Enter);
    assert_eq!(app.settings.dial, 0.25);
    keys(&mut app, "D9");
    key(&mut app, KeyCode::Esc);
    assert_eq!((app.settings.dial, &app.ui.overlay), (0.25, &None));
}

#[test]
fn what_is_typed_takes_the_place_of_the_value_that_stands_there() {
    let typed = |app: &mut App, keys_: &str| {
        keys(app, keys_);
        key(app, KeyCode::Enter)
    };
    let mut app = ready();
    typed(&mut app, "B20");
    typed(&mut app, "B18");
    assert_eq!(app.settings.budget, Some(18));
    typed(&mut app, "D0.25");
    typed(&mut app, "D-0.75");
    assert_eq!(app.settings.dial, -0.75);
    // A key that moves keeps it.
    keys(&mut app, "D");
    key(&mut app, KeyCode::Backspace);
    typed(&mut app, "0");
    assert_eq!(app.settings.dial, -0.7);
    typed(&mut app, "D99");
    assert!(app.ui.overlay.is_some(), "99 is no dial");
    key(&mut app, KeyCode::Esc);
    assert_eq!(app.settings.dial, -0.7);
    let file = crate::engine::RouterChoice::File("foo".into());
    assert_eq!(typed(&mut app, "Mfoo"), [Command::Routers(file)]);
    typed(&mut app, "E/x.svg");
    let Some(FileRequest::Save { path, .. }) = &app.file else {
        panic!("{:?}", app.file)
    };
    assert_eq!(path, "/x.svg");
    key(&mut app, KeyCode::Esc);
    // Pasted text too, and in the list of settings.
    keys(&mut app, "o");
    for _ in 0..6 {
        key(&mut app, KeyCode::Down);
    }
    for tokens in [7, 12] {
        key(&mut app, KeyCode::Enter);
        let screen = super::notices::words(&super::notices::rows(&mut app, (80, 24)));
        assert!(screen.contains("selected: typing replaces it"), "{screen}");
        update(&mut app, UiEvent::Paste(tokens.to_string()));
        key(&mut app, KeyCode::Enter);
        assert_eq!(app.settings.max_tokens, tokens);
    }
}

#[test]
fn the_settings_dialog_edits_and_switches() {
    let mut app = ready();
    keys(&mut app, "oj ");
    assert_eq!(app.settings.scope, Scope::Token);
    key(&mut app, KeyCode::Down);
    keys(&mut app, " ");
    assert_eq!(app.settings.kv, crate::trace::KvMode::Fill);
    for _ in 0..4 {
        key(&mut app, KeyCode::Down);
    }
    key(&mut app, KeyCode::Enter);
    assert_eq!(app.context(), "command");
    ctrl(&mut app, 'u');
    update(&mut app, UiEvent::Paste("7\n".into()));
    key(&mut app, KeyCode::Enter);
    assert_eq!(app.settings.max_tokens, 7);
    keys(&mut app, "G");
    key(&mut app, KeyCode::Enter);
    assert!(app.settings.ignore_eos);
    keys(&mut app, "gjjj");
    let Some(Overlay::Settings(dialog)) = &app.ui.overlay else {
        panic!("closed")
    };
    assert_eq!(dialog.field(), SettingsField::Dial);
    keys(&mut app, "q");
    assert_eq!(app.ui.overlay, None);
    assert!(!app.quit);
}

#[test]
fn the_cursor_moves_and_stays_on_the_map() {
    let mut app = ready();
    app.ui.map.fold = Some(false);
    app.ui.cursor = Cursor { layer: 3, token: 20 };
    keys(&mut app, "hkkl");
    assert_eq!(app.ui.cursor, Cursor { layer: 5, token: 20 });
    assert!(!app.ui.follow);
    keys(&mut app, "g");
    assert_eq!(app.ui.cursor.layer, 29);
    keys(&mut app, "kG");
    assert_eq!(app.ui.cursor.layer, 0);
    keys(&mut app, "j0");
    assert_eq!(app.ui.cursor, Cursor { layer: 0, token: 0 });
    assert_eq!(app.ui.map.first_token, 0);
    keys(&mut app, "h$");
    assert_eq!(app.ui.cursor.token, 71);
    assert!(app.ui.follow);
    keys(&mut app, "H");
    assert!(app.ui.cursor.token < 40);
    keys(&mut app, "LL");
    assert_eq!(app.ui.cursor.token, 71);
    keys(&mut app, "hhf");
    assert!(app.ui.follow && app.ui.cursor.token == 71);
    keys(&mut app, "f");
    assert!(!app.ui.follow);
}

#[test]
fn unsure_decisions_come_first() {
    let mut app = ready();
    keys(&mut app, "u");
    let margin = |app: &App| {
        let run = app.shown.as_ref().unwrap();
        run.decision(app.ui.cursor.layer, app.ui.cursor.token)
            .unwrap()
            .margin()
            .unwrap()
    };
    let first = margin(&app);
    keys(&mut app, "u");
    let second = margin(&app);
    assert!(first <= second);
    let run = app.shown.as_ref().unwrap();
    let least = (0..30).map(|l| run.decision(l, app.ui.cursor.token).unwrap().margin().unwrap());
    assert_eq!(first, least.fold(1.0, f32::min));
}

#[test]
fn views_change_without_changing_the_run() {
    let mut app = ready();
    keys(&mut app, "m");
    assert_eq!(app.ui.map.mode, MapMode::Confidence);
    keys(&mut app, "mm");
    assert_eq!(app.ui.map.mode, MapMode::Decisions);
    keys(&mut app, "z");
    assert_eq!(app.ui.map.zoom, Some(2));
    keys(&mut app, "zz");
    assert_eq!(app.ui.map.zoom, Some(1));
    keys(&mut app, "i");
    assert!(app.ui.template);
    keys(&mut app, "?");
    assert_eq!(app.ui.overlay, Some(Overlay::Help(HelpDialog { scroll: 0 })));
    keys(&mut app, "jjk");
    assert_eq!(app.ui.overlay, Some(Overlay::Help(HelpDialog { scroll: 1 })));
    keys(&mut app, "?");
    assert_eq!(app.ui.overlay, None);
    assert!(app.pending().is_empty());
}

#[test]
fn a_letter_without_a_meaning_is_told() {
    let mut app = ready();
    let told = |app: &mut App, letter: &str| {
        app.ui.notice = None;
        keys(app, letter);
        app.ui.notice.as_ref().map(|notice| notice.text.clone())
    };
    assert_eq!(
        told(&mut app, "Q").as_deref(),
        Some("Q does nothing here: ? shows the keys")
    );
    assert_eq!(told(&mut app, "y"), None);
    assert_eq!(told(&mut app, "z"), None, "what follows a prefix is not read by itself");
    focus(&mut app, Focus::Answer);
    let of_the_map = told(&mut app, "Z").unwrap();
    assert!(of_the_map.starts_with("Z (tape/map) is a key of the "), "{of_the_map}");
    focus(&mut app, Focus::Prompt);
    assert_eq!(told(&mut app, "Q"), None);
}

#[test]
fn tab_goes_around_and_q_is_typed_in_the_prompt() {
    let mut app = ready();
    let mut seen = Vec::new();
    for _ in 0..4 {
        key(&mut app, KeyCode::Tab);
        seen.push(app.ui.focus);
    }
    assert_eq!(seen, [Focus::Detail, Focus::Prompt, Focus::Answer, Focus::Map]);
    key(&mut app, KeyCode::BackTab);
    assert_eq!(app.ui.focus, Focus::Answer);
    // On a narrow screen in the order of its tabs.
    update(&mut app, UiEvent::Resize(80, 24));
    focus(&mut app, Focus::Prompt);
    for pane in [Focus::Map, Focus::Answer, Focus::Detail, Focus::Prompt] {
        key(&mut app, KeyCode::Tab);
        assert_eq!(app.ui.focus, pane);
    }
    update(&mut app, UiEvent::Resize(120, 40));
    focus(&mut app, Focus::Answer);
    keys(&mut app, "/q");
    assert_eq!(
        (app.ui.focus, app.prompt.text().as_str(), app.quit),
        (Focus::Prompt, "Helloq", false)
    );
    key(&mut app, KeyCode::Esc);
    assert_eq!(app.ui.focus, Focus::Map);
    keys(&mut app, "q");
    assert!(app.quit);
    let mut app = ready();
    ctrl(&mut app, 'z');
    assert!(app.suspend && !app.quit);
    keys(&mut app, "o");
    ctrl(&mut app, 'c');
    assert!(app.quit);
}

#[test]
fn the_prompt_is_edited_and_remembered() {
    let mut app = ready();
    ran(&mut app, 1, 2);
    focus(&mut app, Focus::Prompt);
    ctrl(&mut app, 'u');
    keys(&mut app, "a");
    update(&mut app, UiEvent::Key(KeyEvent::new(KeyCode::Enter, KeyModifiers::ALT)));
    keys(&mut app, "b");
    assert_eq!(app.prompt.text(), "a\nb");
    alt(&mut app, 'p');
    assert_eq!(app.prompt.text(), "Hello");
    alt(&mut app, 'n');
    assert_eq!(app.prompt.text(), "a\nb");
    key(&mut app, KeyCode::Up);
    key(&mut app, KeyCode::Up);
    assert_eq!(app.prompt.text(), "Hello");
    update(&mut app, UiEvent::Paste("x".repeat(1 << 20)));
    assert!(app.ui.notice.as_ref().unwrap().text.contains("too long"));
    assert!(app.prompt.text().starts_with("Hellox"));
}

#[test]
fn nothing_can_be_done_wrong_without_a_run() {
    for action in UiAction::ALL {
        let mut app = fixture::empty(crate::tui::color::ColorTier::None);
        act::act(&mut app, *action);
        scroll_into_view(&mut app);
        if app.ui.overlay.is_some() {
            UiAction::ALL.iter().for_each(|a| drop(dialog::act(&mut app, *a)));
        }
    }
}

#[test]
fn copies_are_on_their_way_and_said() {
    let mut app = ready();
    for (typed, what) in [
        ("ya", "the answer"),
        ("yp", "the token's program"),
        ("yc", "the selected cell"),
    ] {
        keys(&mut app, typed);
        assert!(!app.clipboard.take().unwrap().is_empty(), "{what}");
        assert!(app.ui.notice.as_ref().unwrap().text.starts_with(what));
    }
    app.shown = None;
    keys(&mut app, "ya");
    assert_eq!(app.clipboard, None);
    assert!(app.ui.notice.as_ref().unwrap().text.contains("nothing to copy"));
}

#[test]
fn a_screen_reader_hears_what_is_selected() {
    let mut app = ready();
    app.ui.screen_reader = true;
    let screen = Screen::new(&app, app.ui.area).unwrap();
    assert!(screen.spoken.is_some_and(|row| row.y == 1 && row.height >= 1));
    keys(&mut app, "o");
    let said = crate::tui::describe::selected(&app).unwrap();
    assert_eq!(said, "setting routers: built-in");
    keys(&mut app, "qp");
    keys(&mut app, "quit");
    let said = crate::tui::describe::selected(&app).unwrap();
    assert!(said.starts_with("command 1 of ") && said.contains("Quit"), "{said}");
}

#[test]
fn overrides_are_switched_edited_added_and_taken_out() {
    let mut app = ready();
    app.settings.pins = vec!["7=skip".parse().unwrap(), "9@20-23=repeat".parse().unwrap()];
    app.settings.budget = Some(26);
    keys(&mut app, "O ");
    assert_eq!(app.settings.pins.len(), 1);
    assert_eq!(app.off.len(), 1);
    // The row follows what was switched.
    keys(&mut app, " ");
    assert_eq!(app.settings.pins[0].to_string(), "7=skip");
    keys(&mut app, "gj");
    key(&mut app, KeyCode::Enter);
    assert_eq!(app.context(), "command");
    ctrl(&mut app, 'u');
    keys(&mut app, "pin 99=skip");
    key(&mut app, KeyCode::Enter);
    let Some(Overlay::Overrides(list)) = &app.ui.overlay else {
        panic!("closed")
    };
    assert!(list.edit.as_ref().unwrap().error.is_some());
    ctrl(&mut app, 'u');
    update(&mut app, UiEvent::Paste("pin 10=execute".into()));
    key(&mut app, KeyCode::Enter);
    assert_eq!(app.settings.pins[1].to_string(), "10=execute");
    keys(&mut app, "ndial 0.25");
    key(&mut app, KeyCode::Enter);
    assert_eq!(app.settings.dial, 0.25);
    keys(&mut app, "gd");
    assert_eq!(app.settings.pins, ["10=execute".parse().unwrap()]);
    keys(&mut app, "n");
    key(&mut app, KeyCode::Esc);
    assert_eq!(app.context(), "overrides");
    keys(&mut app, "q");
    assert_eq!((app.ui.overlay.clone(), app.quit), (None, false));
    keys(&mut app, "O ");
    keys(&mut app, "qX");
    assert_eq!((app.settings.clone(), app.off.len()), (Settings::default(), 0));
}

#[test]
fn overrides_are_saved_and_loaded_by_name() {
    let mut app = ready();
    app.settings.pins = vec!["7=skip".parse().unwrap(), "9@20-23=repeat".parse().unwrap()];
    keys(&mut app, "O s");
    ctrl(&mut app, 'u');
    keys(&mut app, " half.overrides");
    key(&mut app, KeyCode::Enter);
    let text = "scope prompt\nkv ragged\ndial -0.5\noff pin 7=skip\npin 9@20-23=repeat\n";
    let save = |replace| {
        Some(FileRequest::Save {
            path: "half.overrides".into(),
            text: text.into(),
            replace,
        })
    };
    assert_eq!(app.file.take(), save(false));
    let exists = || UiEvent::File(FileReport::Exists("/x/half.overrides".into()));
    let mistake = |app: &App| match &app.ui.overlay {
        Some(Overlay::Overrides(list)) => list.edit.as_ref().and_then(|e| e.error.clone()).map(|e| e.message),
        other => panic!("{other:?}"),
    };
    update(&mut app, exists());
    assert!(mistake(&app).unwrap().contains("/x/half.overrides is there already"));
    // Another name is asked about anew, the same one is meant.
    keys(&mut app, "2");
    key(&mut app, KeyCode::Enter);
    assert!(matches!(
        app.file.take(),
        Some(FileRequest::Save { replace: false, .. })
    ));
    update(&mut app, exists());
    key(&mut app, KeyCode::Backspace);
    key(&mut app, KeyCode::Enter);
    assert_eq!(app.file.take(), save(false));
    update(&mut app, exists());
    key(&mut app, KeyCode::Enter);
    assert_eq!(app.file.take(), save(true));
    update(&mut app, UiEvent::File(FileReport::Saved("/x/half.overrides".into())));
    assert_eq!((app.context(), mistake(&app)), ("overrides", None));
    assert!(app.ui.notice.as_ref().unwrap().text.contains("/x/half.overrides"));

    keys(&mut app, "qXOl");
    key(&mut app, KeyCode::Enter);
    assert_eq!(
        app.file.take(),
        Some(FileRequest::Load {
            path: "half.overrides".into()
        })
    );
    let loaded = |text: &str| {
        UiEvent::File(FileReport::Loaded {
            path: "/x/half.overrides".into(),
            text: text.into(),
        })
    };
    update(&mut app, loaded("pin 7=jump"));
    assert!(
        mistake(&app)
            .unwrap()
            .starts_with("/x/half.overrides: line 1, column 5: ")
    );
    assert!(app.settings.pins.is_empty());
    update(&mut app, loaded(text));
    assert_eq!(app.settings.pins, ["9@20-23=repeat".parse().unwrap()]);
    assert_eq!((app.off.len(), app.context()), (1, "overrides"));
    keys(&mut app, "l");
    ctrl(&mut app, 'u');
    key(&mut app, KeyCode::Enter);
    assert!(mistake(&app).unwrap().contains("the name of a file"));
    assert_eq!(app.file, None);
}

#[test]
fn a_dial_without_a_table_says_that_nothing_was_measured() {
    let mut app = ready();
    keys(&mut app, "[");
    let said = app.ui.notice.take().unwrap().text;
    assert!(
        said.starts_with("the next run: dial -0.55; what that comes to was not measured"),
        "{said}"
    );
    keys(&mut app, "]");
    assert_eq!((app.ui.notice, app.settings.dial), (None, NEUTRAL_DIAL));
}

#[test]
fn a_repeat_is_pinned_damped() {
    let mut app = ready();
    app.ui.cursor = Cursor { layer: 7, token: 20 };
    let pins = |app: &App| app.settings.pins.iter().map(ToString::to_string).collect::<Vec<_>>();
    keys(&mut app, "~");
    assert_eq!(pins(&app), ["7=repeat~0.5"]);
    keys(&mut app, "~");
    assert_eq!(pins(&app), ["7=repeat~0.25"]);
    keys(&mut app, "~");
    assert_eq!(pins(&app), ["7=repeat"]);
    let change = app.pin_change(7, 20);
    keys(&mut app, "vl~");
    assert_eq!(pins(&app), ["7=repeat", "7@20-21=repeat~0.5"]);
    assert_ne!(app.pin_change(7, 20), change, "a change of the damping is one");
    keys(&mut app, "s");
    assert_eq!(pins(&app), ["7=skip"], "nothing of it is left");
}
