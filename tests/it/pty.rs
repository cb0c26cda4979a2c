//! The screen in a real pseudo-terminal, on the real model: what a person would do and see.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

/// Generous: machines that test are busy.
const PATIENCE: Duration = Duration::from_secs(60);

struct Screen {
    parser: Arc<Mutex<vt100::Parser>>,
    /// Everything the program wrote.
    written: Arc<Mutex<Vec<u8>>>,
    keys: Box<dyn Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    pty: Box<dyn MasterPty + Send>,
    /// Where the session is kept, unless the test has a place of its own.
    _state: tempfile::TempDir,
}

impl Screen {
    fn open(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let size = PtySize {
            rows: 40,
            cols: 120,
            pixel_width: 0,
            pixel_height: 0,
        };
        let pty = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_drllm-tui"));
        command.args(arguments);
        command.env("TERM", "xterm-256color");
        command.env_remove("NO_COLOR");
        let state = tempfile::tempdir().unwrap();
        command.env("DRLLM_STATE_DIR", state.path());
        for (name, value) in environment {
            command.env(name, value);
        }
        let child = pty.slave.spawn_command(command).unwrap();
        let mut reader = pty.master.try_clone_reader().unwrap();
        let parser = Arc::new(Mutex::new(vt100::Parser::new(40, 120, 0)));
        let shared = parser.clone();
        let written = Arc::new(Mutex::new(Vec::new()));
        let copy = written.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut bytes) {
                shared.lock().unwrap().process(&bytes[..n]);
                copy.lock().unwrap().extend_from_slice(&bytes[..n]);
            }
        });
        Screen {
            parser,
            written,
            keys: pty.master.take_writer().unwrap(),
            child,
            pty: pty.master,
            _state: state,
        }
    }

    fn text(&self) -> String {
        self.parser.lock().unwrap().screen().contents()
    }

    /// Waits until the screen holds `wanted`.
    fn until(&mut self, what: &str, wanted: impl Fn(&str) -> bool) {
        let start = Instant::now();
        while !wanted(&self.text()) {
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "{what}: the program ended with {ended:?}\n{}",
                self.text()
            );
            assert!(start.elapsed() < PATIENCE, "{what}: not seen in time\n{}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn sees(&mut self, wanted: &str) {
        self.until(wanted, |text| text.contains(wanted));
    }

    fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Waits for the end; the exit code. The terminal must be as it was.
    fn ends(&mut self) -> u32 {
        let start = Instant::now();
        let code = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status.exit_code();
            }
            assert!(start.elapsed() < PATIENCE, "the program does not end\n{}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        };
        std::thread::sleep(Duration::from_millis(100));
        let parser = self.parser.lock().unwrap();
        assert!(!parser.screen().alternate_screen(), "still in the alternate screen");
        assert!(!parser.screen().hide_cursor(), "the cursor is still hidden");
        assert!(!parser.screen().bracketed_paste(), "bracketed paste is still on");
        code
    }
}

#[test]
fn run_pin_rerun_compare_quit() {
    let mut screen = Screen::open(&["--max-tokens", "8", "--ignore-eos"], &[]);
    screen.sees("Tape: tokens × layers");
    screen.sees("the model is ready");
    // The prompt has the focus.
    screen.types("Why is the sky blue?\r");
    screen.sees("✓ 8 tokens");
    // Enter moved the focus to the map: pin the layer under the cursor to skip.
    screen.types("s");
    screen.sees("next: 1 pin");
    screen.types("r");
    let pinned = |text: &str| text.contains("✓ 8 tokens") && text.contains("skipped by your pin");
    screen.until("the rerun with the pin", pinned);
    screen.types("c");
    screen.sees("B against A");
    screen.sees(" of 30 layers");
    screen.types("\x1b");
    // Resizing is survived.
    screen
        .pty
        .resize(PtySize {
            rows: 12,
            cols: 40,
            pixel_width: 0,
            pixel_height: 0,
        })
        .unwrap();
    std::thread::sleep(Duration::from_millis(200));
    screen
        .pty
        .resize(PtySize {
            rows: 40,
            cols: 120,
            pixel_width: 0,
            pixel_height: 0,
        })
        .unwrap();
    std::thread::sleep(Duration::from_millis(200));
    screen.types("\x03");
    assert_eq!(screen.ends(), 0);
}

#[test]
fn look_inside_flip_branch_and_force() {
    let mut screen = Screen::open(&["--max-tokens", "8", "--ignore-eos"], &[]);
    screen.sees("the model is ready");
    screen.types("Why is the sky blue?\r");
    screen.sees("✓ 8 tokens");
    screen.types("hhI");
    screen.sees("KL to end");
    screen.sees("moved the state");
    screen.types("\x1b");
    screen.until("the dialog closes", |text| !text.contains("KL to end"));
    // The least confident decision, tried and carried out.
    screen.types("Fj");
    screen.sees("tries the alternative");
    screen.types("\r");
    screen.sees("as it ran");
    screen.types("R");
    screen.until("the rerun with the flip", |text| {
        text.contains("✓ 8 tokens") && !text.contains("as it ran")
    });
    // Another token in the place of the last one, and the tree that this makes.
    screen.types("T");
    screen.sees("choose what was likely");
    screen.types(" Purple\r");
    screen.until("the forced token", |text| {
        text.contains("✓ 8 tokens") && text.contains("Purple")
    });
    screen.types("w");
    screen.sees("Runs of this session");
    screen.sees("└ from token");
    screen.types("\x03");
    assert_eq!(screen.ends(), 0);
}

#[test]
fn a_run_is_held_stepped_and_let_go() {
    let mut screen = Screen::open(&["--max-tokens", "600", "--ignore-eos"], &[]);
    screen.sees("the model is ready");
    screen.types("Why is the sky blue?\r");
    // Any number of tokens: a frame shows many new ones.
    screen.until("the run is under way", |text| {
        text.contains(" running ") && running(text) > 0
    });
    screen.types(" ");
    screen.sees("held before the next token");
    std::thread::sleep(Duration::from_millis(500));
    let held = running(&screen.text());
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(running(&screen.text()), held, "a held run went on");
    // A question is answered meanwhile, and lets no token through.
    screen.types("I");
    screen.sees("KL to end");
    screen.types("\x1b");
    screen.until("the dialog closes", |text| !text.contains("KL to end"));
    assert_eq!(running(&screen.text()), held, "a question let the run go on");
    screen.types(".");
    screen.until("one more token", |text| running(text) == held + 1);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(running(&screen.text()), held + 1);
    screen.types(" ");
    screen.sees("✓ 600 tokens");
    screen.types("\x03");
    assert_eq!(screen.ends(), 0);
}

/// The number of tokens in `running 12/120` or `held 12/120`.
fn running(text: &str) -> usize {
    let after = |word: &str| text.split(word).nth(1);
    let rest = after(" running ").or_else(|| after(" held "));
    let rest = rest.expect("the status says how far the run is");
    rest.split('/').next().unwrap().parse().unwrap()
}

#[test]
fn a_lesson_is_started_by_name_and_left() {
    let mut screen = Screen::open(&["lesson", "program", "--model", "/nowhere/model.gguf"], &[]);
    screen.sees("Lesson: What a layer program is · 1 of 6");
    screen.types("lllll");
    screen.sees("✓ Go to a layer that was skipped");
    // F8, as xterm sends it.
    screen.types("\x1b[19~");
    screen.sees("2 of 6");
    screen.types("\x03");
    assert_eq!(screen.ends(), 0);
}

#[test]
fn a_copy_goes_to_the_terminals_clipboard() {
    let mut screen = Screen::open(&["--model", "/nowhere/model.gguf", "--reduced-motion"], &[]);
    screen.sees("Tape: tokens × layers");
    // The prompt has the focus.
    screen.types("\x1b");
    screen.sees("s skip");
    screen.types("yp");
    screen.sees("the token's program went to the terminal's clipboard");
    let written = screen.written.lock().unwrap().clone();
    let text = String::from_utf8_lossy(&written).into_owned();
    // "0-3 6 8-29"
    assert!(text.contains("\x1b]52;c;MC0zIDYgOC0yOQ=="), "no OSC 52");
    screen.types("\x03");
    assert_eq!(screen.ends(), 0);
}

#[test]
fn the_palette_finds_and_carries_out() {
    let mut screen = Screen::open(&["--model", "/nowhere/model.gguf"], &[]);
    screen.sees("Tape: tokens × layers");
    screen.types("\x10two pins");
    screen.sees("two pins: a layer everywhere");
    screen.types("\r");
    screen.sees("What is the capital of France?");
    screen.types("\x03");
    assert_eq!(screen.ends(), 0);
}

#[test]
fn a_signal_restores_the_terminal() {
    let mut screen = Screen::open(&[], &[]);
    screen.sees("Tape: tokens × layers");
    let pid = screen.child.process_id().unwrap().to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(screen.ends(), 128 + 15);
}

#[test]
fn without_a_model_the_recordings_stay() {
    let mut screen = Screen::open(&["--model", "/nowhere/model.gguf"], &[]);
    screen.sees("Tape: tokens × layers");
    screen.sees("/nowhere/model.gguf");
    screen.sees("recording");
    screen.types("\x03");
    assert_eq!(screen.ends(), 0);
}

#[test]
fn the_looped_model_runs_while_the_other_one_is_pulled() {
    // Takes connections and never says a word.
    let hub = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", hub.local_addr().unwrap());
    let cache = tempfile::tempdir().unwrap();
    let environment = [
        ("DRLLM_CACHE_DIR", cache.path().to_str().unwrap()),
        ("HF_ENDPOINT", &endpoint),
        // Nor is there a pip.
        ("PATH", "/nonexistent"),
    ];
    let mut screen = Screen::open(&["--reduced-motion"], &environment);
    screen.sees("until then prompts like 'sort 7 2 9 4 1 3 8 =' run");
    screen.types("Why is the sky blue?\r");
    // The prompt waits, and a problem of the looped model runs at once.
    screen.sees("loopmoe");
    screen.sees("waiting for the model");
    screen.sees("1 2 3 4 7 8 9");
    screen.types("/\x15copy c a d b =\r");
    screen.sees("c a d b .");
    screen.types("\x11");
    assert_eq!(screen.ends(), 0);
}

#[test]
fn opened_traces_are_shown_and_compared() {
    let folder = tempfile::tempdir().unwrap();
    let traces = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/traces");
    let copy = |from: &str, to: &str| {
        let path = folder.path().join(to);
        std::fs::copy(traces.join(from), &path).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let first = copy("sky-budget.trace.jsonl", "first.jsonl");
    let second = copy("france-pins.trace.jsonl", "second.jsonl");
    let mut screen = Screen::open(&["open", &first, &second, "--model", "/nowhere/model.gguf"], &[]);
    screen.sees("recording: first.jsonl");
    screen.sees("/nowhere/model.gguf");
    // From the prompt to the map.
    screen.types("\x1b");
    screen.sees("Enter edits");
    screen.types("n");
    screen.sees("recording: second.jsonl");
    // What is on the screen as a picture, and as the trace it came from.
    let picture = folder.path().join("second.svg");
    screen.types("E");
    screen.sees("Save the run");
    screen.types(&format!("\x15{}x\r", picture.display()));
    screen.sees("expected a name that ends in");
    screen.types("\x7f\r");
    screen.sees("the run is in ");
    assert!(std::fs::read_to_string(&picture).unwrap().starts_with("<?xml"));
    std::fs::write(&second, "").unwrap();
    screen.types(&format!("E\x15{second}\r"));
    screen.sees("is there already");
    screen.types("\r");
    screen.until("the dialog closes", |text| !text.contains("Save the run"));
    assert_eq!(
        std::fs::read_to_string(&second).unwrap(),
        std::fs::read_to_string(traces.join("france-pins.trace.jsonl")).unwrap()
    );
    screen.types("c");
    screen.sees("B against A");
    // Each is there once; the built-in ones come after them.
    screen.types("qn");
    screen.sees("recording: every token as");
    screen.types("\x03");
    assert_eq!(screen.ends(), 0);
}

#[test]
fn overrides_are_kept_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("half.overrides");
    std::fs::write(&path, "pin 7=skip\noff budget 20\n").unwrap();
    let named = path.to_str().unwrap();
    let mut screen = Screen::open(&["--overrides", named, "--model", "/nowhere/model.gguf"], &[]);
    screen.sees("/nowhere/model.gguf");
    screen.types("\x1b");
    screen.sees("Enter edits");
    screen.types("O");
    screen.sees("[on]  pin 7=skip");
    screen.sees("[off] budget 20");
    screen.types("npin 9=repeat\r");
    screen.sees("[on]  pin 9=repeat");
    screen.types("s\r");
    screen.sees("is there already");
    screen.types("\r");
    screen.sees("the overrides are in ");
    let text = "scope token\nkv fill\ndial -0.5\noff budget 20\npin 7=skip\npin 9=repeat\n";
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    std::fs::write(&path, "pin 11=execute\noff pin 12=skip\n").unwrap();
    screen.types("l\r");
    screen.sees("[on]  pin 11=execute");
    screen.sees("[off] pin 12=skip");
    screen.types("\x03");
    assert_eq!(screen.ends(), 0);
}

#[test]
fn a_search_is_watched_stopped_and_taken_over() {
    let mut screen = Screen::open(&["--max-tokens", "4", "--ignore-eos"], &[]);
    screen.sees("the model is ready");
    // F5 and F6, as xterm sends them.
    let (f5, f6) = ("\x1b[15~", "\x1b[17~");
    screen.types(f5);
    screen.sees("Search programs");
    screen.types(f5);
    screen.sees("no answer is given: type the choices");
    screen.types("* Air scatters blue light\r");
    screen.types(f5);
    screen.sees("add a wrong one on a line of its own");
    screen.types("Clouds are blue");
    screen.types(f5);
    screen.sees("Tree, ");
    // Another question with far too many simulations, ended at once.
    screen.types("n");
    screen.sees("[ Start ]");
    screen.types(f6);
    screen.types(f6);
    screen.sees("Which of these melts in a warm room?");
    screen.types("\x1b[Z\x1b[Z\x152000\r");
    screen.sees("of 2000 simulations, ");
    screen.types("x");
    screen.sees("stopped after");
    screen.sees("0-29 is right by");
    // To the shortest right program.
    screen.types("\tg");
    screen.sees("Programs, right and short first");
    screen.types("\r");
    screen.sees("is the program now: ");
    screen.sees("next: program");
    screen.types("r");
    screen.until("the rerun under the program", |text| {
        text.contains("✓ 4 tokens") && text.contains("fixed program")
    });
    screen.types("\x03");
    assert_eq!(screen.ends(), 0);
}

#[test]
fn a_session_is_kept_and_comes_back_when_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let environment = [("DRLLM_STATE_DIR", state.to_str().unwrap())];
    let mut screen = Screen::open(&["--max-tokens", "6", "--ignore-eos"], &environment);
    screen.sees("the model is ready");
    screen.types("Name a colour.\r");
    screen.sees("✓ 6 tokens");
    screen.types("s");
    screen.sees("next: 1 pin");
    screen.types("hhkk");
    screen.types("\x03");
    assert_eq!(screen.ends(), 0);

    // Never by itself.
    let plain = ["--model", "/nowhere/model.gguf", "--reduced-motion"];
    let mut screen = Screen::open(&plain, &environment);
    screen.sees("recording: every token as");
    // But by a key.
    screen.sees("/nowhere/model.gguf");
    screen.types("\x1b");
    screen.sees("Enter edits");
    screen.types("W");
    screen.sees("the last session is back");
    screen.sees("✓ 6 tokens");
    screen.types("\x03");
    assert_eq!(screen.ends(), 0);

    let mut screen = Screen::open(&[&plain[..], &["--restore"]].concat(), &environment);
    let back = |text: &str| text.contains("✓ 6 tokens") && text.contains("next: 1 pin");
    screen.until("the run, and what waits for the next one", back);
    screen.sees("Name a colour.");
    screen.types("w");
    screen.sees("6 tokens, options · routers built-in · 6 tokens · depth");
    screen.types("\x03");
    assert_eq!(screen.ends(), 0);
}

/// The window is closed: the terminal is gone, for standard error too, and SIGHUP comes with it.
#[test]
fn a_window_that_is_closed_keeps_the_session() {
    let folder = tempfile::tempdir().unwrap();
    let trace = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/example.trace.jsonl");
    for round in 0..3 {
        let state = folder.path().join(format!("state{round}"));
        let pty = native_pty_system().openpty(PtySize::default()).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_drllm-tui"));
        command.args(["--model", "/nowhere/model.gguf", "--trace", trace]);
        command.env("TERM", "xterm-256color");
        command.env("DRLLM_STATE_DIR", &state);
        let mut child = pty.slave.spawn_command(command).unwrap();
        drop(pty.slave);
        let mut reader = pty.master.try_clone_reader().unwrap();
        let (mut bytes, mut seen) = ([0; 4096], 0);
        // The first frame, or the middle of a later one.
        while seen < 3000 * (round + 1) {
            seen += reader.read(&mut bytes).unwrap();
        }
        drop((reader, pty.master));
        let start = Instant::now();
        let code = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status.exit_code();
            }
            assert!(start.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        };
        assert_eq!(code, 128 + 1);
        let session = std::fs::read_to_string(state.join("session.jsonl")).expect("the session is kept");
        assert!(session.lines().count() > 2);
    }
}

#[test]
fn a_session_of_a_later_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("session.jsonl");
    let later = "{\"format\":\"drllm-tui session\",\"version\":9,\"program\":\"3.0\"}\n";
    std::fs::write(&path, later).unwrap();
    let environment = [("DRLLM_STATE_DIR", folder.path().to_str().unwrap())];
    let mut screen = Screen::open(&["--restore"], &environment);
    let start = Instant::now();
    let code = loop {
        if let Some(status) = screen.child.try_wait().unwrap() {
            break status.exit_code();
        }
        assert!(start.elapsed() < PATIENCE, "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    };
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(code, 1);
    let text = screen.text().replace('\n', "");
    assert!(text.contains("is of version 9, written by drllm-tui 3.0"), "{text}");
    // Where the configuration asks, the screen opens all the same.
    let config = folder.path().join("config.toml");
    std::fs::write(&config, "session = \"restore\"\n").unwrap();
    let arguments = ["--config", config.to_str().unwrap(), "--model", "/nowhere/model.gguf"];
    let mut screen = Screen::open(&arguments, &environment);
    screen.sees("is of version 9");
    screen.types("\x03");
    assert_eq!(screen.ends(), 0);
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        later,
        "nothing of the user's took its place"
    );
}

#[test]
fn statistics_of_opened_traces_are_the_first_screen() {
    let traces = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/traces");
    let at = |name: &str| traces.join(name).to_str().unwrap().to_owned();
    let (first, second) = (at("sky-budget.trace.jsonl"), at("france-pins.trace.jsonl"));
    let arguments = ["open", &first, &second, "--stats", "--model", "/nowhere/model.gguf"];
    let mut screen = Screen::open(&arguments, &[]);
    screen.sees("Statistics of 2 runs");
    screen.sees("Layers: how often each was skipped");
    screen.types("q");
    screen.until("the dialog closes", |text| !text.contains("Statistics of"));
    screen.types("\x03");
    assert_eq!(screen.ends(), 0);
}

#[test]
fn a_file_of_prompts_runs_in_the_statistics() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("asked.txt");
    std::fs::write(&path, "Why is the sky blue?\nName a colour.\n").unwrap();
    let mut screen = Screen::open(&["--max-tokens", "4", "--ignore-eos"], &[]);
    screen.sees("the model is ready");
    // From the prompt to the answer.
    screen.types("\t");
    screen.sees("Enter edits");
    screen.types("AP");
    screen.sees("a file of prompts, one a line");
    screen.types(&format!("{}\r", path.display()));
    screen.sees("Statistics of 2 of 2 prompts");
    screen.sees("8 answer tokens");
    screen.types("\x03");
    assert_eq!(screen.ends(), 0);
}

#[test]
fn a_border_is_dragged_with_the_mouse() {
    let mut screen = Screen::open(&["--model", "/nowhere/model.gguf", "--reduced-motion"], &[]);
    screen.sees("Tape: tokens × layers");
    screen.sees("/nowhere/model.gguf");
    let column = |text: &str| {
        let line = text
            .lines()
            .find(|line| line.contains("Tape: tokens × layers"))
            .unwrap();
        let before = line.split("Tape: tokens × layers").next().unwrap();
        before.chars().count()
    };
    let before = column(&screen.text());
    // As xterm's SGR mode sends it: press, move, release; columns and rows count from 1.
    let border = before - 1;
    screen.types(&format!(
        "\x1b[<0;{border};20M\x1b[<32;{};20M\x1b[<0;{};20m",
        border - 8,
        border - 8
    ));
    screen.until("the border moves", |text| {
        text.contains("Tape: tokens × layers") && column(text) < before
    });
    screen.types("\x03");
    assert_eq!(screen.ends(), 0);
}
