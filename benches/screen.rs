//! How long a frame and an event take on a long answer of a deep model: `cargo bench --bench screen`.
//!
//! 4,096 tokens × 64 layers on a terminal of 200 × 60: 1,000 frames while the cursor moves, and the
//! events of a run that grows. Prints the median, the 99th percentile and the greatest time.

use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent};
use drllm::engine::WorkerEvent as Worker;
use drllm::program::{Action, Program};
use drllm::trace::{DecidedBy, Decision, Header, ModelInfo, PromptToken, SCHEMA, Settings, Step, Trace};
use drllm::tui::action::UiAction;
use drllm::tui::app::App;
use drllm::tui::color::ColorTier;
use drllm::tui::keymap::Keymap;
use drllm::tui::theme::Theme;
use drllm::tui::update::{UiEvent, update};
use drllm::tui::view::view;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

const TOKENS: usize = 4096;
const LAYERS: usize = 64;
const FRAMES: usize = 1000;

const WORDS: [&str; 12] = [
    " layers", " that", " run", ".", "\n", " twice", " 日本", " or", " not", ",", " at", " all",
];

fn main() -> anyhow::Result<()> {
    let trace = trace();
    let keymap = Keymap::<UiAction>::with_defaults(&[])?;
    let mut app = App::new(
        Theme::load("dark", None, ColorTier::Truecolor)?,
        keymap,
        Settings::default(),
    );
    app.ui.reduced_motion = true;
    update(&mut app, UiEvent::Resize(200, 60));
    app.open("long".into(), Some("Go on.".into()), trace.clone());
    update(&mut app, UiEvent::Key(KeyEvent::from(KeyCode::Esc)));
    let mut terminal = Terminal::new(TestBackend::new(200, 60))?;
    let (mut frames, mut keys) = (Vec::new(), Vec::new());
    for n in 0..FRAMES {
        let key = ['h', 'h', 'H', 'k', 'j', 'L', 'm', 'l'][n % 8];
        let start = Instant::now();
        update(&mut app, UiEvent::Key(KeyEvent::from(KeyCode::Char(key))));
        keys.push(start.elapsed());
        let start = Instant::now();
        terminal.draw(|frame| view(&app, frame))?;
        frames.push(start.elapsed());
    }
    report("frame", frames);
    report("key", keys);

    let mut live = App::new(
        Theme::load("dark", None, ColorTier::Truecolor)?,
        Keymap::<UiAction>::with_defaults(&[])?,
        Settings::default(),
    );
    live.ui.reduced_motion = true;
    update(&mut live, UiEvent::Resize(200, 60));
    live.open("long".into(), None, Trace::new(trace.header.clone()));
    let run = live.shown.as_mut().expect("it was opened");
    run.progress = drllm::tui::run::RunProgress::Running;
    let run = run.id;
    let mut steps = Vec::new();
    for step in trace.steps {
        let start = Instant::now();
        let step = Box::new(step);
        update(&mut live, UiEvent::Worker(Worker::Stepped { run, step }));
        steps.push(start.elapsed());
    }
    let heard = live.shown.as_ref().map_or(0, |run| run.steps().len());
    anyhow::ensure!(heard == TOKENS, "the screen has {heard} of {TOKENS} tokens");
    report("token", steps);
    Ok(())
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let (median, high, most) = (at(0.5), at(0.99), at(1.0));
    println!("{what:>6}: median {median:.3} ms, 99th percentile {high:.3} ms, most {most:.3} ms");
}

/// Decisions that differ from token to token, without a random generator.
fn decisions(token: usize) -> Vec<Decision> {
    let decision = |layer: usize| {
        let n = (token * 31 + layer * 17) % 97;
        let action = Action::ALL[if n < 12 {
            0
        } else if n < 90 {
            1
        } else {
            2
        }];
        let p = 0.4 + (n % 50) as f32 / 100.0;
        let mut probs = [(1.0 - p) / 2.0; 3];
        probs[action.executions()] = p;
        Decision {
            action,
            by: DecidedBy::Router,
            probs: Some(probs),
            shadow: Some(Action::ALL[(n + layer) % 3]),
        }
    };
    (0..LAYERS).map(decision).collect()
}

fn trace() -> Trace {
    let program = |d: &[Decision]| Program::from_actions(&d.iter().map(|d| d.action).collect::<Vec<_>>());
    let prompt = (0..24).map(|id| PromptToken {
        id,
        text: " word".into(),
        ..PromptToken::default()
    });
    let first = decisions(0);
    let mut trace = Trace::new(Header {
        schema: SCHEMA,
        version: "0.1.0".into(),
        model: ModelInfo {
            name: "deep".into(),
            sha256: String::new(),
            architecture: "llama".into(),
            layers: LAYERS,
            hidden_size: 5120,
            vocab_size: 49152,
            context: 8192,
            quantisation: "Q4_K".into(),
            kv_bits: None,
            arithmetic: drllm::trace::Arithmetic::default(),
            looped: None,
        },
        device: "cpu".into(),
        routers: None,
        settings: Settings {
            max_tokens: TOKENS,
            ..Settings::default()
        },
        prompt: prompt.collect(),
        program: program(&first),
        decisions: first,
        candidates: Vec::new(),
        boundaries: Vec::new(),
        budget_exact: None,
        prefill_ms: 100.0,
        logits: None,
        next: Vec::new(),
        branch: None,
    });
    for n in 0..TOKENS {
        let decisions = decisions(n + 1);
        let program = program(&decisions);
        trace.steps.push(Step {
            id: n as u32,
            text: WORDS[n % WORDS.len()].into(),
            special: false,
            position: 24 + n,
            depth: program.depth(),
            program,
            decisions,
            ms: 30.0,
            logits: None,
            next: Vec::new(),
            bytes: Vec::new(),
        });
    }
    trace
}
