//! What the screens look like, at several sizes, with and without colours. Texts are snapshots of
//! the whole screen; one is of styles.

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use drllm::engine::{Command, RouterChoice, SearchEnd, WorkerEvent as Worker};
use drllm::program::Program;
use drllm::testing::fixture;
use drllm::tui::app::App;
use drllm::tui::color::ColorTier;
use drllm::tui::dialogs::Overlay;
use drllm::tui::files::FileReport;
use drllm::tui::job::{JobEvent, JobRequest};
use drllm::tui::recordings;
use drllm::tui::training::Size;
use drllm::tui::ui::Focus;
use drllm::tui::update::{UiEvent, update};
use drllm::tui::view::view;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;

/// Sizes that every screen should look right at.
const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];

fn draw(app: &mut App, (width, height): (u16, u16)) -> Buffer {
    update(app, UiEvent::Resize(width, height));
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view(app, frame)).unwrap();
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let mut out = String::new();
    for y in 0..buffer.area.height {
        let mut skip = 0;
        let mut line = String::new();
        for x in 0..buffer.area.width {
            let symbol = buffer[(x, y)].symbol();
            if skip == 0 {
                line.push_str(symbol);
                skip = unicode_width::UnicodeWidthStr::width(symbol).max(1);
            }
            skip -= 1;
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Snapshots of one state at every size.
fn snapshots(name: &str, app: &mut App) {
    for size in SIZES {
        let screen = text(&draw(app, size));
        insta::assert_snapshot!(format!("{name}_{}x{}", size.0, size.1), screen);
    }
}

fn key(app: &mut App, code: KeyCode) -> Vec<Command> {
    update(app, UiEvent::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

fn keys(app: &mut App, typed: &str) -> Vec<Command> {
    typed.chars().flat_map(|c| key(app, KeyCode::Char(c))).collect()
}

fn hear(app: &mut App, events: impl IntoIterator<Item = Worker>) {
    for event in events {
        update(app, UiEvent::Worker(event));
    }
}

/// The model is there and the recording was left for the map.
fn ready() -> App {
    let mut app = fixture::app();
    update(&mut app, UiEvent::Resize(120, 40));
    hear(&mut app, [fixture::loaded()]);
    key(&mut app, KeyCode::Esc);
    key(&mut app, KeyCode::Esc);
    app
}

/// Runs `trace` to its end.
fn ran(app: &mut App, trace: &drllm::trace::Trace) {
    keys(app, "r");
    let run = app.starting.as_ref().expect("a run was asked for").id;
    hear(app, fixture::events(run, trace));
}

#[test]
fn a_recording_while_the_model_is_pulled() {
    let mut app = fixture::app();
    app.prompt.suggest("Why is the sky blue?");
    hear(
        &mut app,
        [Worker::Pulling {
            what: "pulling SmolLM2-135M-Instruct from the Hugging Face hub".into(),
            done: 43 << 20,
            total: Some(98_362_432),
        }],
    );
    snapshots("start", &mut app);
}

#[test]
fn nothing_to_see_yet() {
    snapshots("empty", &mut fixture::empty(ColorTier::Truecolor));
}

#[test]
fn a_recording_where_there_is_no_model() {
    let mut app = fixture::app();
    app.prompt.set("Why is the sky blue?");
    let message = "SmolLM2-135M-Instruct could not be pulled: no network. Run `drllm-tui models pull` later, or give --model PATH";
    hear(&mut app, [Worker::LoadFailed(message.into())]);
    snapshots("no_model", &mut app);
}

#[test]
fn a_run_half_way() {
    let mut app = ready();
    app.prompt.set("Why is the sky blue?");
    keys(&mut app, "r");
    let run = app.starting.as_ref().unwrap().id;
    let events = fixture::events(run, &fixture::token_trace(3, 60));
    hear(&mut app, events.into_iter().take(34));
    snapshots("running", &mut app);
}

#[test]
fn pins_that_wait_for_the_next_run() {
    let mut app = ready();
    app.prompt.set("Why is the sky blue?");
    keys(&mut app, "gjjjs");
    keys(&mut app, "hhhhhhvhhhhjjd");
    keys(&mut app, "---");
    snapshots("pinned", &mut app);
}

#[test]
fn a_comparison_of_two_runs() {
    let mut app = ready();
    app.prompt.set("Why is the sky blue?");
    ran(&mut app, &fixture::trace(7, 60));
    let mut other = fixture::token_trace(9, 48);
    other.header.settings.pins = vec!["12=skip".parse().unwrap()];
    other.steps[14].id = 7;
    other.steps[14].text = "青".into();
    ran(&mut app, &other);
    keys(&mut app, "c");
    snapshots("compare", &mut app);
}

#[test]
fn programs_that_a_predictor_proposed() {
    let mut app = ready();
    app.prompt.set("Why is the sky blue?");
    keys(&mut app, "C");
    assert!(app.ui.overlay.is_none(), "nothing was proposed for a recording");
    ran(&mut app, &fixture::predicted_trace(7, 24));
    insta::assert_snapshot!("predicted_80x24", text(&draw(&mut app, (80, 24))));
    keys(&mut app, "Cj");
    insta::assert_snapshot!("candidates_80x24", text(&draw(&mut app, (80, 24))));
    let commands = key(&mut app, KeyCode::Enter);
    let run = match commands.as_slice() {
        [Command::Routers(_)] => app.starting.as_ref().unwrap().id,
        [Command::Generate { run, settings, .. }] => {
            assert_eq!(settings.program.as_ref().unwrap().to_string(), "0-29");
            *run
        }
        other => panic!("{other:?}"),
    };
    let mut other = fixture::trace(9, 20);
    other.header.settings.program = Some(drllm::program::Program::standard(30));
    hear(&mut app, fixture::events(run, &other));
    assert!(matches!(app.ui.overlay, Some(Overlay::Compare(_))));
    insta::assert_snapshot!("candidates_compared_80x24", text(&draw(&mut app, (80, 24))));
    key(&mut app, KeyCode::Esc);
    keys(&mut app, "C");
    assert!(
        app.ui.overlay.is_some(),
        "the candidates of the run before are still at hand"
    );
}

/// Routers are trained for a model that has none, beside the screen.
#[test]
fn depth_routers_for_a_model_of_ones_own() {
    let mut app = ready();
    let mut model = fixture::loaded();
    if let Worker::Loaded { model, routers, .. } = &mut model {
        model.name = "my-model-Q4_K_M.gguf".into();
        model.sha256 = "0123456789abcdef".into();
        *routers = None;
    }
    app.ui.notice = None;
    hear(&mut app, [model.clone()]);
    let said = text(&draw(&mut app, (200, 60)));
    assert!(
        said.contains("without routers") && said.contains("Y in the map trains routers for it"),
        "{said}"
    );
    let mut trace = fixture::trace(9, 20);
    trace.header.routers = None;
    for step in &mut trace.steps {
        step.decisions.iter_mut().for_each(|decision| decision.probs = None);
    }
    app.prompt.set("Why is the sky blue?");
    ran(&mut app, &trace);
    let said = text(&draw(&mut app, (200, 60)));
    assert!(said.contains("the run had none"), "{said}");

    app.training.model = Some("my model.gguf".into());
    keys(&mut app, "Y");
    let shown = |app: &mut App, size| {
        let screen = text(&draw(app, size));
        // Where the routers go depends on the machine.
        let lines = screen.lines().take_while(|line| !line.contains("the command"));
        lines.collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!("training_200x60", shown(&mut app, (200, 60)));
    key(&mut app, KeyCode::Down);
    key(&mut app, KeyCode::Up);
    assert!(key(&mut app, KeyCode::Enter).is_empty());
    let Some(JobRequest::Start { args, folder }) = app.job.take() else {
        panic!("{:?}", app.job);
    };
    assert!(folder.ends_with("routers"), "{}", folder.display());
    let args = args.join(" ");
    assert!(
        args.starts_with("train --method depth --model my model.gguf --texts 160"),
        "{args}"
    );
    assert!(
        args.ends_with("my-model-Q4_K_M-0123456789ab.quick.depth.safetensors --resume"),
        "{args}"
    );
    key(&mut app, KeyCode::Down);
    assert_eq!(app.training.size, Size::Quick, "not while it is under way");
    for line in [
        "answers 40/192: 0.50/s, 5 minutes left",
        "steps 7/80: 0.05/s, 24 minutes left; KL 0.412, 21.3 layers\u{1b}",
    ] {
        update(&mut app, UiEvent::Job(JobEvent::Line(line.into())));
    }
    insta::assert_snapshot!("training_running_80x24", shown(&mut app, (80, 24)));
    key(&mut app, KeyCode::Esc);
    for size in SIZES {
        assert!(
            text(&draw(&mut app, size)).contains("training routers: steps 7/80"),
            "{size:?}"
        );
    }

    keys(&mut app, "Y");
    key(&mut app, KeyCode::Enter);
    assert_eq!(app.job.take(), Some(JobRequest::Stop));
    key(&mut app, KeyCode::Enter);
    assert_eq!(app.job.take(), None, "it was asked to stop already");
    update(&mut app, UiEvent::Job(JobEvent::Ended { well: false }));
    assert!(shown(&mut app, (80, 24)).contains("stopped; what was done is kept"));
    key(&mut app, KeyCode::Enter);
    assert!(matches!(app.job.take(), Some(JobRequest::Start { .. })));
    update(
        &mut app,
        UiEvent::Job(JobEvent::Line("drllm-tui: no room on the disk".into())),
    );
    update(&mut app, UiEvent::Job(JobEvent::Ended { well: false }));
    let said = shown(&mut app, (80, 24));
    assert!(
        said.contains("failed") && said.contains("no room on the disk"),
        "{said}"
    );
    assert!(
        app.ui
            .notice
            .as_ref()
            .unwrap()
            .text
            .ends_with("were not trained: no room on the disk")
    );
    key(&mut app, KeyCode::Enter);
    let commands = update(&mut app, UiEvent::Job(JobEvent::Ended { well: true }));
    let [Command::Routers(RouterChoice::File(path))] = commands.as_slice() else {
        panic!("{commands:?}");
    };
    assert!(path.ends_with("my-model-Q4_K_M-0123456789ab.quick.depth.safetensors"));
    assert!(app.ui.overlay.is_none());
}

/// Presses keys; the worker answers what they ask.
fn asks(app: &mut App, typed: &str) {
    let commands = keys(app, typed);
    hear(app, fixture::answers(&commands));
}

/// A branch that keys started, run to its end.
fn branches(app: &mut App, typed: &str, seed: u64) {
    let commands = keys(app, typed);
    let [
        Command::Branch {
            run,
            kept,
            forced,
            settings,
        },
    ] = commands.as_slice()
    else {
        panic!("a branch was asked for, not {commands:?}")
    };
    hear(
        app,
        fixture::events(*run, &fixture::branched(kept, forced, settings, seed)),
    );
}

#[test]
fn inside_a_token() {
    let mut app = ready();
    app.ui.cursor.token = 26;
    asks(&mut app, "I");
    snapshots("inside", &mut app);
    // The wheel of layers turns under the cursor, and tokens pass.
    asks(&mut app, "gjjl");
    insta::assert_snapshot!("inside_top_80x24", text(&draw(&mut app, (80, 24))));
    let waiting = keys(&mut app, "h");
    assert_eq!(waiting.len(), 1);
    insta::assert_snapshot!("inside_waiting_80x24", text(&draw(&mut app, (80, 24))));
}

#[test]
fn positions_of_three_digits_are_not_cut() {
    let mut app = ready();
    ran(&mut app, &fixture::token_trace(3, 1100));
    for size in SIZES {
        for token in [150, 1050] {
            app.ui.cursor.token = token;
            app.ui.focus = Focus::Detail;
            app.ui.folded = Focus::Detail;
            let screen = text(&draw(&mut app, size));
            assert!(screen.contains(&format!("position {token}")), "{size:?}\n{screen}");
        }
    }
}

#[test]
fn a_token_followed_over_the_layers() {
    let mut app = ready();
    app.ui.cursor.token = 26;
    app.ui.cursor.layer = 20;
    asks(&mut app, "In");
    snapshots("inside_follow", &mut app);
    keys(&mut app, "/ moon");
    insta::assert_snapshot!("inside_follow_typed_80x24", text(&draw(&mut app, (80, 24))));
    let commands = key(&mut app, KeyCode::Enter);
    hear(&mut app, fixture::answers(&commands));
    insta::assert_snapshot!("inside_follow_moon_80x24", text(&draw(&mut app, (80, 24))));
}

/// Presses keys and answers what they ask, and what is asked then.
fn asks_on(app: &mut App, typed: &str) {
    let mut commands = keys(app, typed);
    while !commands.is_empty() {
        let answers = fixture::answers(&commands);
        commands = answers
            .into_iter()
            .flat_map(|answer| update(app, UiEvent::Worker(answer)))
            .collect();
    }
}

#[test]
fn the_map_as_a_logit_lens() {
    let mut app = ready();
    app.ui.cursor.token = 26;
    let first = keys(&mut app, "V");
    assert_eq!(first.len(), 1);
    key(&mut app, KeyCode::Esc);
    insta::assert_snapshot!("lens_waiting_80x24", text(&draw(&mut app, (80, 24))));
    for answer in fixture::answers(&first) {
        update(&mut app, UiEvent::Worker(answer));
    }
    for (width, height) in [(80, 24), (200, 60)] {
        update(&mut app, UiEvent::Resize(width, height));
        app.lens.clear();
        asks_on(&mut app, "hl");
        let screen = text(&draw(&mut app, (width, height)));
        insta::assert_snapshot!(format!("lens_{width}x{height}"), screen);
    }
    let mut missing = fixture::app();
    hear(&mut missing, [Worker::LoadFailed("no network".into())]);
    key(&mut missing, KeyCode::Esc);
    keys(&mut missing, "V");
    insta::assert_snapshot!("lens_no_model_80x24", text(&draw(&mut missing, (80, 24))));
}

#[test]
fn the_map_of_a_looped_models_experts() {
    let mut app = ready();
    app.open("looped".into(), None, fixture::looped_trace(3, 12));
    app.ui.cursor.token = 14;
    app.ui.cursor.layer = 6;
    for (width, height) in [(80, 24), (120, 40)] {
        update(&mut app, UiEvent::Resize(width, height));
        app.lens.clear();
        asks_on(&mut app, "VV");
        insta::assert_snapshot!(
            format!("experts_{width}x{height}"),
            text(&draw(&mut app, (width, height)))
        );
        asks_on(&mut app, "V");
        assert!(!app.ui.map.lens);
    }
    // A model without experts has none to show.
    asks_on(&mut app, "VV");
    app.open("plain".into(), None, fixture::trace(1, 12));
    asks_on(&mut app, "l");
    let plain = text(&draw(&mut app, (120, 40)));
    assert!(plain.contains("Logit lens") && !plain.contains("dense"), "{plain}");
    app.open("looped".into(), None, fixture::looped_trace(3, 12));
    app.ui.cursor.token = 14;
    app.ui.cursor.layer = 6;
    asks_on(&mut app, "V");
    // Inside a token the next run's exclusions are marked.
    asks_on(&mut app, "I");
    asks_on(&mut app, "e");
    let inside = text(&draw(&mut app, (120, 40)));
    assert!(inside.contains("Experts ✗17 (0.40) 2 (0.30)"), "{inside}");
}

#[test]
fn the_next_token_of_a_held_run_both_ways() {
    let mut app = ready();
    app.prompt.set("Why is the sky blue?");
    keys(&mut app, "r");
    let run = app.starting.as_ref().unwrap().id;
    let events = fixture::events(run, &fixture::token_trace(3, 60));
    hear(&mut app, events.into_iter().take(34));
    app.ui.cursor.layer = 12;
    keys(&mut app, " ");
    let asked = keys(&mut app, "N");
    insta::assert_snapshot!("next_waiting_80x24", text(&draw(&mut app, (80, 24))));
    hear(&mut app, fixture::answers(&asked));
    for (width, height) in [(80, 24), (200, 60)] {
        let screen = text(&draw(&mut app, (width, height)));
        insta::assert_snapshot!(format!("next_{width}x{height}"), screen);
    }
}

#[test]
fn the_unmodified_answer_under_the_routed_one() {
    let mut app = ready();
    app.prompt.set("Why is the sky blue?");
    ran(&mut app, &fixture::with_next(fixture::token_trace(9, 48)));
    key(&mut app, KeyCode::Esc);
    let commands = keys(&mut app, "U");
    let [Command::Generate { run, settings, .. }] = commands.as_slice() else {
        panic!("the unmodified model is asked for, not {commands:?}")
    };
    insta::assert_snapshot!("twin_waiting_80x24", text(&draw(&mut app, (80, 24))));
    let mut base = fixture::trace(7, 60);
    base.header.settings = (**settings).clone();
    base.steps[14].id = 7;
    base.steps[14].text = "青".into();
    hear(&mut app, fixture::events(*run, &base));
    app.ui.cursor.token = 26;
    key(&mut app, KeyCode::Esc);
    for (width, height) in [(80, 24), (200, 60)] {
        let screen = text(&draw(&mut app, (width, height)));
        insta::assert_snapshot!(format!("twin_{width}x{height}"), screen);
    }
    keys(&mut app, "Z");
    key(&mut app, KeyCode::Esc);
    for (width, height) in [(80, 24), (200, 60)] {
        let screen = text(&draw(&mut app, (width, height)));
        insta::assert_snapshot!(format!("twin_tape_{width}x{height}"), screen);
    }
}

#[test]
fn the_tape_says_what_comes_next_and_names_bytes() {
    let mut app = ready();
    app.prompt.set("Why is the sky blue?");
    ran(&mut app, &fixture::with_next(fixture::token_trace(9, 48)));
    keys(&mut app, "Z");
    key(&mut app, KeyCode::Esc);
    app.ui.cursor.token = 12 + 36;
    for (width, height) in [(80, 24), (200, 60)] {
        let screen = text(&draw(&mut app, (width, height)));
        assert!(screen.contains("<F0 9F>"), "{screen}");
        insta::assert_snapshot!(format!("tape_next_{width}x{height}"), screen);
    }
}

#[test]
fn inside_without_colours() {
    let mut plain = fixture::empty(ColorTier::None);
    plain.open("why the sky is blue".into(), None, fixture::trace(7, 60));
    hear(&mut plain, [fixture::loaded()]);
    key(&mut plain, KeyCode::Esc);
    key(&mut plain, KeyCode::Esc);
    asks(&mut plain, "I");
    let buffer = draw(&mut plain, (80, 24));
    let colourless =
        |c: &ratatui::buffer::Cell| c.fg == ratatui::style::Color::Reset && c.bg == ratatui::style::Color::Reset;
    assert!(buffer.content.iter().all(colourless));
    insta::assert_snapshot!(
        "inside_monochrome_80x24",
        format!("{}{}", text(&buffer), styles(&buffer))
    );
}

#[test]
fn a_flip_before_and_after_it_is_tried() {
    let mut app = ready();
    app.ui.cursor.token = 26;
    keys(&mut app, "F");
    insta::assert_snapshot!("flips_80x24", text(&draw(&mut app, (80, 24))));
    keys(&mut app, "jjj");
    let commands = key(&mut app, KeyCode::Enter);
    hear(&mut app, fixture::answers(&commands));
    snapshots("flip", &mut app);
}

#[test]
fn another_token_is_chosen() {
    let mut app = ready();
    app.ui.cursor.token = 26;
    asks(&mut app, "T");
    key(&mut app, KeyCode::Down);
    snapshots("force", &mut app);
}

#[test]
fn runs_and_their_branches() {
    let mut app = ready();
    app.prompt.set("Why is the sky blue?");
    ran(&mut app, &fixture::trace(3, 40));
    app.ui.cursor.token = 20;
    keys(&mut app, "s");
    branches(&mut app, "R", 5);
    app.ui.cursor.token = 24;
    keys(&mut app, "d");
    branches(&mut app, "R", 6);
    ran(&mut app, &fixture::token_trace(9, 30));
    keys(&mut app, "wk");
    snapshots("runs", &mut app);
    asks(&mut app, "cK");
    insta::assert_snapshot!("compare_apart_120x40", text(&draw(&mut app, (120, 40))));
}

#[test]
fn statistics_of_the_runs() {
    let mut app = ready();
    app.prompt.set("Why is the sky blue?");
    ran(&mut app, &fixture::trace(3, 40));
    ran(&mut app, &fixture::token_trace(9, 30));
    let mut other = fixture::trace(5, 20);
    other.header.model.sha256 = "another".into();
    ran(&mut app, &other);
    ran(&mut app, &fixture::token_trace(4, 50));
    keys(&mut app, "A");
    snapshots("stats", &mut app);
    for _ in 0..40 {
        key(&mut app, KeyCode::Down);
    }
    insta::assert_snapshot!("stats_scrolled_80x24", text(&draw(&mut app, (80, 24))));
    keys(&mut app, "Pnone.txt");
    update(
        &mut app,
        UiEvent::File(FileReport::Failed("cannot read none.txt: no such file".into())),
    );
    insta::assert_snapshot!("stats_mistake_80x24", text(&draw(&mut app, (80, 24))));
    update(
        &mut app,
        UiEvent::File(FileReport::Loaded {
            path: "/home/me/asked.txt".into(),
            text: "Why is the sky blue?\nWhy is grass green?".into(),
        }),
    );
    let run = app.starting.as_ref().expect("the first prompt is asked for").id;
    hear(&mut app, fixture::events(run, &fixture::trace(8, 12)));
    insta::assert_snapshot!("stats_prompts_80x24", text(&draw(&mut app, (80, 24))));
}

#[test]
fn statistics_without_colours() {
    let mut app = fixture::empty(ColorTier::None);
    app.open("one run".into(), None, fixture::token_trace(7, 60));
    app.recordings = vec![drllm::tui::recordings::Recording::opened(
        "a".into(),
        fixture::token_trace(7, 60),
    )];
    drllm::tui::update::open_stats(&mut app);
    let screen = text(&draw(&mut app, (80, 24)));
    // Skips, executions and repeats are told apart by their glyphs.
    for glyph in ['·', '▓', '█'] {
        assert!(
            screen.lines().skip(4).any(|line| line.contains(glyph)),
            "{glyph}\n{screen}"
        );
    }
    for cell in &draw(&mut app, (80, 24)).content {
        assert_eq!(
            (cell.fg, cell.bg),
            (ratatui::style::Color::Reset, ratatui::style::Color::Reset)
        );
    }
}

#[test]
fn the_help() {
    let mut app = ready();
    keys(&mut app, "?");
    snapshots("help", &mut app);
}

#[test]
fn the_command_palette() {
    let mut app = ready();
    keys(&mut app, "p");
    snapshots("palette", &mut app);
    keys(&mut app, "budget lower");
    let screen = text(&draw(&mut app, (80, 24)));
    insta::assert_snapshot!("palette_found_80x24", screen);
}

#[test]
fn settings_and_a_mistake_in_a_program() {
    let mut app = ready();
    keys(&mut app, "o");
    snapshots("settings", &mut app);
    key(&mut app, KeyCode::Esc);
    keys(&mut app, ":0-11 13-99");
    key(&mut app, KeyCode::Enter);
    snapshots("program_mistake", &mut app);
}

#[test]
fn an_error_stays_until_dismissed_and_the_prompt_is_kept() {
    let mut app = ready();
    app.prompt.set("def f(x):\n\treturn \u{1b}[2J");
    keys(&mut app, "r");
    let run = app.starting.as_ref().unwrap().id;
    let message = "the prompt has 9000 tokens and the model's context holds 8192: shorten it by 808 tokens";
    hear(
        &mut app,
        [Worker::Failed {
            run,
            message: message.into(),
        }],
    );
    snapshots("error", &mut app);
    key(&mut app, KeyCode::Esc);
    assert!(app.ui.notice.is_none());
    assert!(app.prompt.text().starts_with("def f(x):\n\treturn"));
}

#[test]
fn the_whole_sequence_with_its_special_tokens() {
    let mut app = ready();
    keys(&mut app, "i");
    snapshots("template", &mut app);
}

#[test]
fn other_views_of_the_map() {
    let mut app = ready();
    keys(&mut app, "m");
    let confidence = text(&draw(&mut app, (120, 40)));
    insta::assert_snapshot!("map_confidence_120x40", confidence);
    keys(&mut app, "mzz");
    let decided_by = text(&draw(&mut app, (120, 40)));
    insta::assert_snapshot!("map_decided_by_120x40", decided_by);
}

#[test]
fn tabs_of_a_narrow_screen() {
    let mut app = ready();
    for name in ["map", "answer", "detail", "prompt"] {
        let screen = text(&draw(&mut app, (60, 20)));
        insta::assert_snapshot!(format!("tab_{name}_60x20"), screen);
        key(&mut app, KeyCode::Tab);
    }
    let screen = text(&draw(&mut app, (40, 12)));
    insta::assert_snapshot!("smallest_40x12", screen);
}

#[test]
fn a_screen_that_is_too_small_says_so() {
    let mut app = ready();
    let screen = text(&draw(&mut app, (39, 5)));
    insta::assert_snapshot!("too_small_39x5", screen);
}

/// Distinct styles by letter, and the screen in those letters.
fn styles(buffer: &Buffer) -> String {
    let mut seen: Vec<String> = Vec::new();
    let mut map = String::new();
    for y in 0..buffer.area.height {
        for x in 0..buffer.area.width {
            let cell = &buffer[(x, y)];
            let style = format!("{:?} on {:?} {:?}", cell.fg, cell.bg, cell.modifier);
            let at = seen.iter().position(|s| *s == style).unwrap_or_else(|| {
                seen.push(style);
                seen.len() - 1
            });
            map.push(char::from_u32('A' as u32 + at as u32).unwrap());
        }
        map.push('\n');
    }
    let legend = seen
        .iter()
        .enumerate()
        .map(|(i, s)| format!("{} {s}\n", char::from_u32('A' as u32 + i as u32).unwrap()));
    legend.collect::<String>() + &map
}

#[test]
fn colours_and_none() {
    let mut app = ready();
    keys(&mut app, "hhhs");
    insta::assert_snapshot!("colours_80x24", styles(&draw(&mut app, (80, 24))));

    let mut plain = fixture::empty(ColorTier::None);
    plain.open("why the sky is blue".into(), None, fixture::trace(7, 60));
    key(&mut plain, KeyCode::Esc);
    keys(&mut plain, "hhhs");
    let buffer = draw(&mut plain, (80, 24));
    assert!(
        buffer
            .content
            .iter()
            .all(|c| c.fg == ratatui::style::Color::Reset && c.bg == ratatui::style::Color::Reset)
    );
    insta::assert_snapshot!("monochrome_80x24", format!("{}{}", text(&buffer), styles(&buffer)));
}

/// A recording under depth routers, with these routers loaded.
fn depths(tier: ColorTier) -> App {
    let mut app = fixture::empty(tier);
    let prompt = Some("Write a short story.".into());
    app.open("the depth of every token".into(), prompt, fixture::depth_trace(40));
    app.propose_prompt();
    update(&mut app, UiEvent::Resize(120, 40));
    hear(&mut app, [fixture::loaded_with(Some(fixture::depth_routers()))]);
    key(&mut app, KeyCode::Esc);
    key(&mut app, KeyCode::Esc);
    app
}

#[test]
fn depths_of_tokens_and_a_dial_in_layers() {
    let mut app = depths(ColorTier::Truecolor);
    keys(&mut app, "hhhh");
    snapshots("depths", &mut app);
    keys(&mut app, "]]");
    snapshots("depths_pending", &mut app);
    // What was measured is of the routers alone.
    app.settings.budget = Some(28);
    let capped = text(&draw(&mut app, SIZES[0]));
    assert!(capped.contains("routers alone 27.0 layers"), "{capped}");
    app.settings.budget = None;
    keys(&mut app, "Pzzz");
    insta::assert_snapshot!("depths_unfolded_120x40", text(&draw(&mut app, SIZES[1])));
    keys(&mut app, "D");
    snapshot_small("dial", &mut app);
    key(&mut app, KeyCode::Esc);
    keys(&mut app, "ojjj");
    snapshot_small("depths_settings", &mut app);
}

#[test]
fn depths_without_colours() {
    let mut app = depths(ColorTier::None);
    let buffer = draw(&mut app, SIZES[2]);
    insta::assert_snapshot!("depths_monochrome_200x60", text(&buffer));
}

#[test]
fn routers_that_differ_stand_apart() {
    let mut app = depths(ColorTier::Truecolor);
    keys(&mut app, "M");
    key(&mut app, KeyCode::Enter);
    hear(&mut app, [Worker::RoutersChanged(Some(fixture::routers()))]);
    snapshots("routers_pending", &mut app);
    let commands = keys(&mut app, "b");
    let [Command::Generate { run, settings, .. }] = commands.as_slice() else {
        panic!("{commands:?}")
    };
    let mut whole = fixture::depth_trace(44);
    whole.header.settings = (**settings).clone();
    whole.steps[17].id += 1;
    hear(&mut app, fixture::events(*run, &whole));
    snapshots("unmodified", &mut app);
}

#[test]
fn a_lesson_and_the_list_of_them() {
    let mut app = ready();
    app.lessons = drllm::tui::lesson::list(None);
    app.recordings = drllm::tui::recordings::built_in();
    key(&mut app, KeyCode::F(9));
    let screen = text(&draw(&mut app, (80, 24)));
    insta::assert_snapshot!("lessons_80x24", screen);
    key(&mut app, KeyCode::Enter);
    snapshots("lesson", &mut app);
    keys(&mut app, "kkkkk");
    let screen = text(&draw(&mut app, (80, 24)));
    insta::assert_snapshot!("lesson_done_80x24", screen);
}

#[test]
fn the_list_of_overrides() {
    let mut app = ready();
    app.settings.pins = vec!["7=skip".parse().unwrap(), "12@20-24=repeat".parse().unwrap()];
    app.settings.budget = Some(26);
    keys(&mut app, "O ");
    let screen = text(&draw(&mut app, (80, 24)));
    insta::assert_snapshot!("overrides_80x24", screen);
    keys(&mut app, "npin 99=skip");
    key(&mut app, KeyCode::Enter);
    let screen = text(&draw(&mut app, (80, 24)));
    insta::assert_snapshot!("overrides_mistake_80x24", screen);
    key(&mut app, KeyCode::Esc);
    keys(&mut app, "s");
    key(&mut app, KeyCode::Enter);
    let exists = FileReport::Exists("/home/me/experiments/run.overrides".into());
    update(&mut app, UiEvent::File(exists));
    let screen = text(&draw(&mut app, (80, 24)));
    insta::assert_snapshot!("overrides_save_80x24", screen);
}

#[test]
fn a_screen_for_screen_readers() {
    let mut app = ready();
    app.ui.screen_reader = true;
    keys(&mut app, "hhh");
    for size in SIZES {
        let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
        update(&mut app, UiEvent::Resize(size.0, size.1));
        terminal.draw(|frame| view(&app, frame)).unwrap();
        // The cursor is where the words are.
        terminal.backend_mut().assert_cursor_position((0, 1));
        let screen = text(terminal.backend().buffer());
        let drawn = screen.chars().find(|c| ('\u{2500}'..='\u{25ff}').contains(c));
        assert_eq!(drawn, None, "{screen}");
    }
    let screen = text(&draw(&mut app, (80, 24)));
    insta::assert_snapshot!("screen_reader_80x24", screen);
}

#[test]
fn a_trace_that_is_stepped_by_layer() {
    let mut app = ready();
    app.prompt.set("Why is the sky blue?");
    keys(&mut app, "J20");
    key(&mut app, KeyCode::Enter);
    keys(&mut app, ",J20");
    key(&mut app, KeyCode::Enter);
    keys(&mut app, ">}}}}}}}}}}");
    key(&mut app, KeyCode::Esc);
    snapshots("playback", &mut app);
    keys(&mut app, "J200");
    key(&mut app, KeyCode::Enter);
    let screen = text(&draw(&mut app, (80, 24)));
    insta::assert_snapshot!("jump_mistake_80x24", screen);
}

#[test]
fn a_recording_is_played_step_by_step() {
    let mut app = fixture::empty(ColorTier::Truecolor);
    app.ui.reduced_motion = false;
    app.open("why the sky is blue".into(), None, fixture::trace(7, 60));
    assert_eq!(app.shown.as_ref().unwrap().steps().len(), 0);
    assert!(app.is_animated());
    update(&mut app, UiEvent::Tick(Duration::from_secs(1)));
    let half = app.shown.as_ref().unwrap().steps().len();
    assert!(half > 5 && half < 60, "{half}");
    update(&mut app, UiEvent::Tick(Duration::from_secs(60)));
    assert_eq!(app.shown.as_ref().unwrap().steps().len(), 60);
    assert!(!app.is_animated());
}

/// A search of the second example half-way, then done.
#[test]
fn a_search_under_way_and_done() {
    let mut app = ready();
    keys(&mut app, "S");
    snapshot_small("search_form", &mut app);
    key(&mut app, KeyCode::F(6));
    key(&mut app, KeyCode::F(6));
    app.search.form.answers.set("an iron nail\nan ice cube");
    key(&mut app, KeyCode::F(5));
    snapshot_small("search_mistake", &mut app);
    for _ in 0..3 {
        key(&mut app, KeyCode::F(6));
    }
    let commands = key(&mut app, KeyCode::F(5));
    hear(&mut app, fixture::answers(&commands));
    snapshots("search", &mut app);
    keys(&mut app, "g");
    key(&mut app, KeyCode::Tab);
    snapshot_small("search_programs", &mut app);
    let [Command::Search { search, request }] = commands.as_slice() else {
        panic!("{commands:?}")
    };
    let steps = fixture::search_steps(request);
    hear(&mut app, fixture::searched(*search, &steps[request.simulations / 2..]));
    hear(&mut app, [fixture::search_ended(*search, SearchEnd::Done)]);
    snapshots("search_done", &mut app);
    app.ui.screen_reader = true;
    snapshot_small("search_screen_reader", &mut app);
}

/// A loop map part of the way, then done.
#[test]
fn a_loop_map_under_way_and_done() {
    let mut app = ready();
    keys(&mut app, "@");
    snapshot_small("loop_map_form", &mut app);
    key(&mut app, KeyCode::Up);
    keys(&mut app, "x");
    key(&mut app, KeyCode::Enter);
    snapshot_small("loop_map_mistake", &mut app);
    for text in ["0.5", "12"] {
        update(
            &mut app,
            UiEvent::Key(KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL)),
        );
        keys(&mut app, text);
        key(&mut app, KeyCode::Up);
    }
    let commands = key(&mut app, KeyCode::Enter);
    hear(&mut app, fixture::answers(&commands));
    snapshots("loop_map", &mut app);
    let [Command::LoopMap { map, request }] = commands.as_slice() else {
        panic!("{commands:?}")
    };
    let steps = fixture::map_steps(request);
    hear(&mut app, fixture::mapped(*map, &steps[steps.len() * 5 / 8..]));
    hear(&mut app, [fixture::map_ended(*map, SearchEnd::Done)]);
    snapshots("loop_map_done", &mut app);
    app.ui.screen_reader = true;
    snapshot_small("loop_map_screen_reader", &mut app);
}

#[test]
fn a_loop_map_without_colours() {
    let mut app = fixture::empty(ColorTier::None);
    hear(&mut app, [fixture::loaded()]);
    app.ui.focus = drllm::tui::ui::Focus::Map;
    keys(&mut app, "@");
    let commands = key(&mut app, KeyCode::Enter);
    hear(&mut app, fixture::answers(&commands));
    keys(&mut app, "jjl");
    let buffer = draw(&mut app, SIZES[0]);
    insta::assert_snapshot!(
        "loop_map_monochrome_80x24",
        format!("{}{}", text(&buffer), styles(&buffer))
    );
}

/// A snapshot of one state at the smallest usual size.
fn snapshot_small(name: &str, app: &mut App) {
    let screen = text(&draw(app, SIZES[0]));
    insta::assert_snapshot!(format!("{name}_80x24"), screen);
}

#[test]
fn a_search_without_colours() {
    let mut app = fixture::empty(ColorTier::None);
    hear(&mut app, [fixture::loaded()]);
    key(&mut app, KeyCode::F(5));
    let commands = key(&mut app, KeyCode::F(5));
    hear(&mut app, fixture::answers(&commands));
    let buffer = draw(&mut app, SIZES[0]);
    insta::assert_snapshot!(
        "search_monochrome_80x24",
        format!("{}{}", text(&buffer), styles(&buffer))
    );
}

#[test]
fn repeated_blocks_are_bracketed() {
    let mut app = fixture::app();
    let mut trace = fixture::trace(7, 6);
    let program = Program::parse("0-3 (4-6)x2 7 8x2 9-29", 30).unwrap();
    trace.header.program = program.clone();
    trace.steps.iter_mut().for_each(|step| step.program = program.clone());
    app.open("loops".into(), None, trace);
    app.ui.focus = Focus::Map;
    app.ui.map.tape = true;
    let tape = text(&draw(&mut app, (120, 40)));
    assert!(tape.contains("0   ├2┤   10   15"), "{tape}");
    app.ui.map.tape = false;
    let map = text(&draw(&mut app, (200, 60)));
    for row in ["╭ 6", "│ 5", "╰ 4"] {
        assert!(map.contains(row), "{row}: {map}");
    }
    let small = text(&draw(&mut app, (80, 24)));
    assert!(small.contains("╭ 6") && small.contains("╰ 4"), "{small}");
}

#[test]
fn tape() {
    let mut app = ready();
    app.open("a story".into(), None, fixture::depth_trace(40));
    app.ui.map.tape = true;
    snapshots("tape", &mut app);
}

#[test]
fn a_looped_model_has_its_iterations_bracketed() {
    let mut app = fixture::app();
    app.open("looped".into(), None, fixture::looped_trace(3, 12));
    app.ui.cursor.layer = 24;
    app.ui.map.tape = true;
    let tape = text(&draw(&mut app, (200, 60)));
    assert!(tape.contains("0 1─2─3─4─5─6─7─8─9─10"), "{tape}");
    assert!(tape.contains("Layer 2, iteration 12 of 13"), "{tape}");
    app.ui.map.tape = false;
    let map = text(&draw(&mut app, (200, 60)));
    assert!(
        map.contains("╰24") && map.contains("╭25") && map.contains(" 28"),
        "{map}"
    );
}

#[test]
fn the_looped_model_by_itself() {
    let mut app = fixture::app();
    let recording = recordings::beside(Some("loopmoe")).swap_remove(2);
    assert_eq!(recording.name, "loopmoe-iterations");
    app.open(
        recording.title.clone(),
        recording.prompt.clone(),
        recording.trace().unwrap(),
    );
    app.ui.map.tape = true;
    snapshots("looped", &mut app);
}
