//! Whatever is pressed, pasted, clicked and resized: the screen is drawn without a panic, and no
//! control character reaches it.

mod fixture;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use drllm::engine::{Command, Event as Worker};
use drllm::tui::app::App;
use drllm::tui::color::ColorTier;
use drllm::tui::update::{Event, update};
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
}

fn deed() -> impl Strategy<Value = Deed> {
    let letters = "hjklgG0$sedavX+-[]t:BDufmzrxcboinp /?q0123456789xr(),.<>{}JOyap";
    let key = prop_oneof![
        6 => prop::sample::select(letters.chars().collect::<Vec<_>>()).prop_map(KeyCode::Char),
        1 => any::<char>().prop_map(KeyCode::Char),
        3 => prop::sample::select(vec![
            KeyCode::Tab, KeyCode::BackTab, KeyCode::Esc, KeyCode::Enter, KeyCode::Up, KeyCode::Down, KeyCode::Left,
            KeyCode::Right, KeyCode::Home, KeyCode::End, KeyCode::PageUp, KeyCode::PageDown, KeyCode::Backspace,
            KeyCode::Delete, KeyCode::F(1), KeyCode::F(2), KeyCode::F(3),
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
    ]
}

/// A worker that answers with synthetic traces.
#[derive(Default)]
struct Worked {
    run: u64,
    events: std::collections::VecDeque<Worker>,
}

impl Worked {
    fn take(&mut self, commands: Vec<Command>) {
        for command in commands {
            if let Command::Generate { run, settings, .. } = command {
                let mut trace = fixture::token_trace(run, 40);
                trace.header.settings = *settings;
                self.run = run;
                self.events = fixture::events(run, &trace).into();
            }
        }
    }
}

fn perform(app: &mut App, worker: &mut Worked, deed: Deed) {
    let event = match deed {
        Deed::Key(code, modifiers) => Event::Key(KeyEvent::new(code, modifiers)),
        Deed::Paste(text) => Event::Paste(text),
        Deed::Mouse(kind, column, row) => Event::Mouse(MouseEvent {
            kind,
            column,
            row,
            modifiers: KeyModifiers::NONE,
        }),
        Deed::Resize(width, height) => Event::Resize(width, height),
        Deed::Tick(ms) => Event::Tick(app.now + std::time::Duration::from_millis(ms)),
        Deed::Work(n) => {
            for _ in 0..n {
                let Some(event) = worker.events.pop_front() else { break };
                update(app, Event::Worker(event));
            }
            return;
        }
        Deed::Fail => Event::Worker(Worker::Failed {
            run: worker.run,
            message: "a message \u{1b}[2J that is hostile".into(),
        }),
    };
    let commands = update(app, event);
    worker.take(commands);
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
        let mut worker = Worked::default();
        update(&mut app, Event::Worker(fixture::loaded()));
        for deed in deeds {
            perform(&mut app, &mut worker, deed);
            draw(&app, app.area.width, app.area.height);
            app.quit = false;
        }
        prop_assert!(app.shown.is_none() || app.cursor.layer < app.layers());
    }
}

#[test]
fn every_small_size_is_drawn() {
    let mut app = fixture::app();
    app.screen_reader = true;
    update(&mut app, Event::Worker(fixture::loaded()));
    let overlays = ["", "?", "o", ":", "c", "p", ",J", ",}}", "O", "On", "ya"];
    for keys in overlays {
        update(&mut app, Event::Key(KeyEvent::from(KeyCode::Esc)));
        update(&mut app, Event::Key(KeyEvent::from(KeyCode::Esc)));
        app.previous = app.shown.clone();
        for key in keys.chars() {
            update(&mut app, Event::Key(KeyEvent::from(KeyCode::Char(key))));
        }
        for width in (0..130).step_by(7) {
            for height in 0..50 {
                // A resize may be drawn before it is heard of.
                draw(&app, width, height);
                update(&mut app, Event::Resize(width, height));
                draw(&app, width, height);
            }
        }
        update(&mut app, Event::Key(KeyEvent::from(KeyCode::Esc)));
    }
}

/// Only what is in sight is computed: a long answer of a deep model does not slow a frame down
/// beyond use. (No timing here; benches/ has it. This draws what would otherwise not be drawn.)
#[test]
fn long_traces_are_drawn() {
    let mut app = fixture::empty(ColorTier::Truecolor);
    app.open("long".into(), None, fixture::token_trace(1, 2000));
    for (width, height) in [(80, 24), (200, 60)] {
        update(&mut app, Event::Resize(width, height));
        draw(&app, width, height);
    }
    assert_eq!(app.cursor.token, 2011);
}
