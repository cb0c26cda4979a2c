//! Whatever is pressed, pasted, clicked and resized: the screen is drawn without a panic, and no
//! control character reaches it.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use drllm::engine::{Command, SearchEnd, WorkerEvent as Worker};
use drllm::testing::fixture;
use drllm::tui::action::UiAction;
use drllm::tui::app::App;
use drllm::tui::color::ColorTier;
use drllm::tui::dialogs::Overlay;
use drllm::tui::files::{FileReport, FileRequest};
use drllm::tui::keymap::KeyAction;
use drllm::tui::session::Session;
use drllm::tui::update::{UiEvent, update};
use drllm::tui::view::view;
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

#[derive(Clone, Debug)]
enum Deed {
    Key(KeyCode, KeyModifiers),
    Paste(String),
    Mouse(MouseEventKind, u16, u16),
    Resize(u16, u16),
    Tick(u64),
    /// The worker goes on with the run it was asked for, by so many events.
    Work(usize),
    Fail,
    /// An action of the table, by way of the palette.
    Action(usize),
}

fn deed() -> impl Strategy<Value = Deed> {
    let letters = "hjklgG0$sedavX+-[]t:BDufmzrxcboinp /?q0123456789xr(),.<>{}JOyapIIFFTRRwwKSSSnfAAPWEE";
    let key = prop_oneof![
        6 => prop::sample::select(letters.chars().collect::<Vec<_>>()).prop_map(KeyCode::Char),
        1 => any::<char>().prop_map(KeyCode::Char),
        3 => prop::sample::select(vec![
            KeyCode::Tab, KeyCode::BackTab, KeyCode::Esc, KeyCode::Enter, KeyCode::Up, KeyCode::Down, KeyCode::Left,
            KeyCode::Right, KeyCode::Home, KeyCode::End, KeyCode::PageUp, KeyCode::PageDown, KeyCode::Backspace,
            KeyCode::Delete, KeyCode::F(1), KeyCode::F(2), KeyCode::F(3), KeyCode::F(5), KeyCode::F(5), KeyCode::F(6),
            KeyCode::Left, KeyCode::Up,
        ]),
    ];
    let modifiers = prop::sample::select(vec![
        KeyModifiers::NONE,
        KeyModifiers::NONE,
        KeyModifiers::NONE,
        KeyModifiers::CONTROL,
        KeyModifiers::ALT,
    ]);
    let mouse = prop::sample::select(vec![
        MouseEventKind::Down(MouseButton::Left),
        MouseEventKind::Drag(MouseButton::Left),
        MouseEventKind::Up(MouseButton::Left),
        MouseEventKind::ScrollUp,
        MouseEventKind::ScrollDown,
    ]);
    prop_oneof![
        10 => (key, modifiers).prop_map(|(code, modifiers)| Deed::Key(code, modifiers)),
        1 => any::<String>().prop_map(Deed::Paste),
        3 => (mouse, 0u16..210, 0u16..70).prop_map(|(kind, x, y)| Deed::Mouse(kind, x, y)),
        3 => (0u16..210, 0u16..70).prop_map(|(w, h)| Deed::Resize(w, h)),
        1 => (0u64..20_000).prop_map(Deed::Tick),
        3 => (1usize..40).prop_map(Deed::Work),
        1 => Just(Deed::Fail),
        6 => (0..UiAction::ALL.len()).prop_map(Deed::Action),
    ]
}

/// A worker that answers with synthetic traces.
#[derive(Default)]
struct Worked {
    run: u64,
    /// A search that has not ended.
    search: Option<u64>,
    /// A loop map that has not ended.
    map: Option<u64>,
    events: std::collections::VecDeque<Worker>,
}

impl Worked {
    fn take(&mut self, commands: Vec<Command>) {
        for command in commands {
            let ended = match command {
                Command::Ask { .. } => None,
                _ => self.search.take(),
            };
            if let Some(search) = ended {
                let end = fixture::search_ended(search, SearchEnd::Stopped);
                self.events = vec![end].into();
            }
            let ended = match command {
                Command::Ask { .. } => None,
                _ => self.map.take(),
            };
            if let Some(map) = ended {
                self.events.push_back(fixture::map_ended(map, SearchEnd::Stopped));
            }
            let (run, trace) = match command {
                Command::Generate { run, settings, .. } => {
                    let mut trace = fixture::token_trace(run, 40);
                    trace.header.settings = *settings;
                    (run, trace)
                }
                Command::Branch {
                    run,
                    kept,
                    forced,
                    settings,
                } => (run, fixture::branched(&kept, &forced, &settings, run)),
                Command::Ask { ask, question } => {
                    let event = fixture::answered(ask, fixture::answer(&question));
                    self.events.push_front(event);
                    continue;
                }
                Command::Search { search, request } => {
                    let steps = fixture::search_steps(&request);
                    self.events.extend(fixture::searched(search, &steps));
                    self.events.push_back(fixture::search_ended(search, SearchEnd::Done));
                    self.search = Some(search);
                    continue;
                }
                Command::LoopMap { map, request } => {
                    let steps = fixture::map_steps(&request);
                    self.events.extend(fixture::mapped(map, &steps[..steps.len().min(500)]));
                    self.events.push_back(fixture::map_ended(map, SearchEnd::Stopped));
                    self.map = Some(map);
                    continue;
                }
                _ => continue,
            };
            self.run = run;
            self.events.extend(fixture::events(run, &trace));
        }
    }
}

fn perform(app: &mut App, worker: &mut Worked, deed: Deed) {
    let event = match deed {
        Deed::Key(code, modifiers) => UiEvent::Key(KeyEvent::new(code, modifiers)),
        Deed::Paste(text) => UiEvent::Paste(text),
        Deed::Mouse(kind, column, row) => UiEvent::Mouse(MouseEvent {
            kind,
            column,
            row,
            modifiers: KeyModifiers::NONE,
        }),
        Deed::Resize(width, height) => UiEvent::Resize(width, height),
        Deed::Tick(ms) => UiEvent::Tick(app.ui.now + std::time::Duration::from_millis(ms)),
        Deed::Action(at) => {
            let name = UiAction::ALL[at].name();
            let control = KeyEvent::new(KeyCode::Char('p'), KeyModifiers::CONTROL);
            let open = |app: &App| matches!(app.ui.overlay, Some(Overlay::Palette(_)));
            if !open(app) {
                update(app, UiEvent::Key(control));
            }
            if open(app) {
                update(
                    app,
                    UiEvent::Key(KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL)),
                );
                update(app, UiEvent::Paste(name.to_owned()));
                let commands = update(app, UiEvent::Key(KeyEvent::from(KeyCode::Enter)));
                worker.take(commands);
            }
            return;
        }
        Deed::Work(n) => {
            for _ in 0..n {
                let Some(event) = worker.events.pop_front() else { break };
                update(app, UiEvent::Worker(event));
            }
            return;
        }
        Deed::Fail => UiEvent::Worker(Worker::Failed {
            run: worker.run,
            message: "a message \u{1b}[2J that is hostile".into(),
        }),
    };
    let commands = update(app, event);
    worker.take(commands);
    if let Some(request) = app.file.take() {
        let report = answered(app, request);
        update(app, UiEvent::File(report));
    }
}

/// Files with anything in them, in the place of a disk.
fn answered(app: &App, request: FileRequest) -> FileReport {
    match request {
        FileRequest::Session => {
            let session = Session::of(app).ok_or("nothing \u{1b}[2J was kept".to_owned());
            FileReport::Session(session.map(Box::new))
        }
        FileRequest::Save {
            path, replace: true, ..
        } => FileReport::Saved(path),
        FileRequest::Save { path, .. } => FileReport::Exists(path),
        FileRequest::Load { path } if path.len() % 2 == 0 => FileReport::Loaded {
            path,
            text: "pin 7=skip\noff budget 20\noff pin 9=repeat\n".into(),
        },
        FileRequest::Load { path } => FileReport::Loaded {
            text: format!("{path} \u{1b}[2J\u{202e}日本"),
            path,
        },
    }
}

/// What holds whatever was done.
fn assert_valid(app: &App) {
    let (layers, tokens) = (app.layers(), app.shown.as_ref().map_or(0, |run| run.tokens()));
    assert!(
        app.ui.cursor.layer < layers.max(1) && app.ui.cursor.token < tokens.max(1),
        "{:?}",
        app.ui.cursor
    );
    assert!(app.ui.map.first_token <= app.ui.cursor.token.max(tokens) && app.ui.map.first_layer <= layers);
    for run in [&app.shown, &app.previous, &app.unmodified].into_iter().flatten() {
        assert!(run.steps().len() <= run.trace.steps.len());
        assert!(run.layers_shown().is_none_or(|n| (1..run.layers()).contains(&n)));
        assert_eq!(run.tally().counts.len(), run.layers());
    }
    assert!(app.held <= app.is_busy(), "nothing runs that could be held");
    app.settings.check_alone().unwrap();
    match &app.ui.overlay {
        Some(Overlay::Palette(palette)) => assert!(palette.row < palette.found.len().max(1)),
        Some(Overlay::Lessons(dialog)) => assert!(dialog.row < app.lessons.len().max(1)),
        Some(Overlay::Overrides(list)) => {
            let rows = drllm::tui::override_list::rows(&app.settings, &app.off);
            assert!(list.row < rows.len().max(1));
        }
        Some(Overlay::Flips(dialog)) => assert!(dialog.row < dialog.rows.len()),
        Some(Overlay::Search(_)) => {
            if let Some(watched) = &app.search.watched {
                assert!(watched.selected < watched.nodes.len().max(1));
                let own = drllm::tui::search::rows(watched)
                    .iter()
                    .filter(|row| !row.again)
                    .count();
                assert!(own <= watched.nodes.len());
                let visits = watched.nodes.first().map_or(0, |root| root.visits as usize);
                assert!(watched.nodes.is_empty() || visits == watched.done + 1);
            }
        }
        Some(Overlay::Stats(dialog)) => {
            let counted = dialog.counted.as_ref();
            assert!(counted.is_none_or(|counted| counted.report.runs > 0));
        }
        Some(Overlay::Candidates(dialog)) => assert!(dialog.row < app.candidates().len().max(1)),
        Some(Overlay::Runs(dialog)) => assert!(dialog.row < app.runs().count().max(1)),
        Some(Overlay::Settings(dialog)) => assert!(dialog.row < drllm::tui::settings::SettingsField::ALL.len()),
        _ => {}
    }
    if let Some(batch) = &app.batch {
        assert!(batch.done <= batch.prompts.len());
        assert!(
            batch.run.is_none() || app.is_busy(),
            "nothing runs that would go on with the file"
        );
    }
    if let Some(tour) = &app.tour {
        assert!(tour.of(app).is_some(), "{tour:?}");
    }
    assert!(
        app.clipboard
            .as_ref()
            .is_none_or(|text| text.len() <= drllm::tui::clipboard::MAX_BYTES)
    );
}

fn draw(app: &App, width: u16, height: u16) {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view(app, frame)).unwrap();
    for cell in &terminal.backend().buffer().content {
        assert!(!cell.symbol().contains(char::is_control), "{:?}", cell.symbol());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn nothing_panics(deeds in prop::collection::vec(deed(), 1..80), plain in any::<bool>()) {
        let mut app = fixture::empty(if plain { ColorTier::None } else { ColorTier::Truecolor });
        app.recordings = drllm::tui::recordings::built_in();
        app.lessons = drllm::tui::lesson::list(None);
        let mut worker = Worked::default();
        update(&mut app, UiEvent::Worker(fixture::loaded()));
        for deed in deeds {
            perform(&mut app, &mut worker, deed);
            assert_valid(&app);
            draw(&app, app.ui.area.width, app.ui.area.height);
            (app.quit, app.suspend, app.clipboard) = (false, false, None);
        }
    }
}

#[test]
fn every_small_size_is_drawn() {
    let mut app = fixture::app();
    app.ui.screen_reader = true;
    update(&mut app, UiEvent::Worker(fixture::loaded()));
    let overlays = [
        "", "?", "o", ":", "c", "I", "F", "T", "w", "p", ",J", ",}}", "O", "On", "ya", "S", "S5", "S65", "S\t", "A",
        "AP", "E", "Ex",
    ];
    for keys in overlays {
        update(&mut app, UiEvent::Key(KeyEvent::from(KeyCode::Esc)));
        update(&mut app, UiEvent::Key(KeyEvent::from(KeyCode::Esc)));
        app.previous = app.shown.clone();
        for key in keys.chars() {
            let code = match key {
                '5' | '6' => KeyCode::F(key as u8 - b'0'),
                '\t' => KeyCode::Tab,
                key => KeyCode::Char(key),
            };
            let asked = update(&mut app, UiEvent::Key(KeyEvent::from(code)));
            for answer in fixture::answers(&asked) {
                update(&mut app, UiEvent::Worker(answer));
            }
        }
        for width in (0..130).step_by(7) {
            for height in 0..50 {
                // A resize may be drawn before it is heard of.
                draw(&app, width, height);
                update(&mut app, UiEvent::Resize(width, height));
                draw(&app, width, height);
            }
        }
        update(&mut app, UiEvent::Key(KeyEvent::from(KeyCode::Esc)));
    }
}

/// Only what is in sight is computed: a long answer of a deep model does not slow a frame down
/// beyond use. (No timing here; benches/ has it. This draws what would otherwise not be drawn.)
#[test]
fn long_traces_are_drawn() {
    let mut app = fixture::empty(ColorTier::Truecolor);
    app.open("long".into(), None, fixture::token_trace(1, 2000));
    for (width, height) in [(80, 24), (200, 60)] {
        update(&mut app, UiEvent::Resize(width, height));
        draw(&app, width, height);
    }
    assert_eq!(app.ui.cursor.token, 2011);
}
