//! The program in a pseudo-terminal, as a person has it: `cargo bench --bench terminal`.
//!
//! Needs the default model. Prints how long the first frame takes after the start, how long a key takes
//! to show its effect while the model decodes, how fast the model decodes with the screen open and
//! without it, in turn, and the CPU time of ten idle seconds. `-- first`, `key`, `speed` or `idle`
//! measures one of them; a number after it says how often.

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("this benchmark reads /proc: it runs on Linux");
}

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<()> {
    linux::main()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::{Read, Write};
    use std::path::Path;
    use std::process::Command;
    use std::sync::{Arc, Condvar, Mutex};
    use std::time::{Duration, Instant};

    use anyhow::{Context, Result, bail, ensure};
    use drllm::trace::Trace;
    use drllm::tui::session;
    use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

    const PROGRAM: &str = env!("CARGO_BIN_EXE_drllm-tui");

    const PATIENCE: Duration = Duration::from_secs(120);

    const PROMPT: &str = "Tell a long story about a lighthouse and the people who keep its light.";

    /// Tokens of a run whose speed is measured.
    const TOKENS: usize = 256;

    /// What a terminal answers when it is asked for its colours and for its kind.
    const ANSWER: &[u8] = b"\x1b]10;rgb:d8d8/dede/e9e9\x1b\\\x1b]11;rgb:1515/1717/1c1c\x1b\\\x1b[?62;22c";

    pub fn main() -> Result<()> {
        let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
        let what = arguments.first().map_or("all", String::as_str);
        let times = |usual: usize| arguments.get(1).map_or(Ok(usual), |n| n.parse());
        match what {
            "first" => first_frame(times(20)?),
            "key" => key(times(100)?),
            "speed" => speed(times(7)?),
            "idle" => idle(times(1)?),
            "all" => {
                first_frame(20)?;
                key(100)?;
                speed(7)?;
                idle(1)
            }
            other => bail!("unknown measurement {other}: expected first, key, speed or idle"),
        }
    }

    /// What the program wrote so far, and when the last of it came.
    struct Seen {
        parser: vt100::Parser,
        frames: usize,
        last: Instant,
        ended: bool,
    }

    struct Screen {
        seen: Arc<(Mutex<Seen>, Condvar)>,
        keys: Arc<Mutex<Box<dyn Write + Send>>>,
        child: Box<dyn Child + Send + Sync>,
        started: Instant,
        state: tempfile::TempDir,
        _pty: Box<dyn MasterPty + Send>,
    }

    impl Screen {
        fn open(arguments: &[&str]) -> Result<Screen> {
            let size = PtySize {
                rows: 40,
                cols: 120,
                pixel_width: 0,
                pixel_height: 0,
            };
            let pty = native_pty_system().openpty(size)?;
            let state = tempfile::tempdir()?;
            let mut command = CommandBuilder::new(PROGRAM);
            command.args(arguments);
            command.env("TERM", "xterm-256color");
            command.env_remove("NO_COLOR");
            command.env("DRLLM_STATE_DIR", state.path());
            let reader = pty.master.try_clone_reader()?;
            let keys = Arc::new(Mutex::new(pty.master.take_writer()?));
            let seen = Arc::new((
                Mutex::new(Seen {
                    parser: vt100::Parser::new(40, 120, 0),
                    frames: 0,
                    last: Instant::now(),
                    ended: false,
                }),
                Condvar::new(),
            ));
            let (shared, answers) = (seen.clone(), keys.clone());
            std::thread::spawn(move || listen(reader, &shared, &answers));
            let started = Instant::now();
            let child = pty.slave.spawn_command(command)?;
            Ok(Screen {
                seen,
                keys,
                child,
                started,
                state,
                _pty: pty.master,
            })
        }

        fn types(&self, keys: &str) -> Result<()> {
            let mut writer = self.keys.lock().expect("nobody panics with it");
            writer.write_all(keys.as_bytes())?;
            Ok(writer.flush()?)
        }

        /// Waits for a state of the screen; when what made it came.
        fn until(&self, what: &str, wanted: impl Fn(&Seen) -> bool) -> Result<Instant> {
            let (seen, changed) = &*self.seen;
            let seen = seen.lock().expect("nobody panics with it");
            let waiting = |seen: &mut Seen| !wanted(seen) && !seen.ended;
            let (seen, late) = changed
                .wait_timeout_while(seen, PATIENCE, waiting)
                .expect("nobody panics with it");
            let text = seen.parser.screen().contents();
            ensure!(
                !late.timed_out() && !seen.ended,
                "{what} was not seen; the screen:\n{text}"
            );
            Ok(seen.last)
        }

        fn sees(&self, wanted: &str) -> Result<Instant> {
            self.until(wanted, |seen| seen.parser.screen().contents().contains(wanted))
        }

        fn frames(&self) -> usize {
            self.seen.0.lock().expect("nobody panics with it").frames
        }

        fn quit(&mut self) -> Result<()> {
            self.types("\x11")?;
            let status = self.child.wait()?;
            ensure!(status.success(), "the program ended with {status:?}");
            Ok(())
        }
    }

    /// Follows what is written, answers the program's questions to the terminal, counts frames.
    fn listen(mut reader: Box<dyn Read + Send>, shared: &(Mutex<Seen>, Condvar), keys: &Mutex<Box<dyn Write + Send>>) {
        let mut bytes = [0; 65536];
        loop {
            let n = reader.read(&mut bytes).unwrap_or(0);
            let now = Instant::now();
            let mut seen = shared.0.lock().expect("nobody panics with it");
            let chunk = &bytes[..n];
            let count = |wanted: &[u8]| chunk.windows(wanted.len()).filter(|w| *w == wanted).count();
            if count(b"\x1b[c") > 0 {
                let mut keys = keys.lock().expect("nobody panics with it");
                // The program is gone where this fails.
                let _ = keys.write_all(ANSWER).and_then(|()| keys.flush());
            }
            seen.parser.process(chunk);
            seen.frames += count(b"\x1b[?2026l");
            (seen.last, seen.ended) = (now, n == 0);
            shared.1.notify_all();
            if n == 0 {
                return;
            }
        }
    }

    /// Times in milliseconds: the median and what nearly all stay under.
    fn report(what: &str, bound: &str, mut times: Vec<Duration>) {
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1e3;
        let n = times.len();
        println!(
            "{what}: median {:.1} ms, 90th percentile {:.1} ms, most {:.1} ms, of {n} (at most {bound} is wanted)",
            at(0.5),
            at(0.9),
            at(1.0)
        );
    }

    /// From the start of the process to the end of its first frame; the model is read behind it.
    fn first_frame(times: usize) -> Result<()> {
        let mut took = Vec::new();
        for _ in 0..times {
            let mut screen = Screen::open(&[])?;
            let at = screen.until("the first frame", |seen| seen.frames > 0)?;
            took.push(at - screen.started);
            let text = screen
                .seen
                .0
                .lock()
                .expect("nobody panics with it")
                .parser
                .screen()
                .contents();
            ensure!(
                text.contains("Tape: tokens × layers"),
                "the first frame is not the screen:\n{text}"
            );
            screen.quit()?;
        }
        report("first frame after the start", "100 ms", took);
        Ok(())
    }

    /// From a key to the end of the frame that shows what it did, while tokens come.
    fn key(times: usize) -> Result<()> {
        let mut screen = Screen::open(&["--prompt", PROMPT, "--max-tokens", "6000", "--ignore-eos"])?;
        screen.sees(" running 2")?;
        screen.types("\x1b")?;
        let mut took = Vec::new();
        for n in 0..times {
            // At any time between two frames and two tokens.
            std::thread::sleep(Duration::from_millis(120 + (n as u64 * 37) % 101));
            let open = n % 2 == 0;
            let start = Instant::now();
            screen.types(if open { "?" } else { "\x1b" })?;
            let shown = |seen: &Seen| seen.parser.screen().contents().contains("What am I seeing?") == open;
            let at = screen.until("the help", shown)?;
            took.push(at.saturating_duration_since(start));
        }
        screen
            .sees(" running ")
            .context("the run ended before the keys: none of this counts")?;
        screen.quit()?;
        report("a key shows its effect while the model decodes", "16 ms", took);
        Ok(())
    }

    /// Decoding without a screen and with one, in turn.
    fn speed(times: usize) -> Result<()> {
        let tokens = TOKENS.to_string();
        let settings = ["--max-tokens", &tokens, "--ignore-eos"];
        let (mut bare, mut open) = (Vec::new(), Vec::new());
        for n in 0..times {
            // Each goes first as often as the other.
            for screen in [n % 2 == 0, n % 2 == 1] {
                match screen {
                    true => open.push(on_screen(&settings)?),
                    false => bare.push(headless(&settings)?),
                }
            }
            println!(
                "decode, round {}: {:.1} tokens/s without a screen, {:.1} with it",
                n + 1,
                bare[n],
                open[n]
            );
        }
        let mut ratios: Vec<f64> = open.iter().zip(&bare).map(|(open, bare)| open / bare).collect();
        let (open, bare, ratio) = (median(&mut open), median(&mut bare), median(&mut ratios));
        println!(
            "decoding with the screen open: {open:.1} against {bare:.1} tokens/s (medians), median ratio {:.1} % \
             (at least 98 % is wanted)",
            100.0 * ratio
        );
        Ok(())
    }

    fn median(values: &mut [f64]) -> f64 {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }

    fn headless(settings: &[&str]) -> Result<f64> {
        let run = Command::new(PROGRAM)
            .args(["run", PROMPT, "--json"])
            .args(settings)
            .output()?;
        let failure = String::from_utf8_lossy(&run.stderr);
        ensure!(run.status.success(), "the run failed: {failure}");
        decode_speed(&Trace::from_json_lines(&String::from_utf8(run.stdout)?)?)
    }

    /// The speed that the run had is in the session that is kept.
    fn on_screen(settings: &[&str]) -> Result<f64> {
        let mut screen = Screen::open(&[&["--prompt", PROMPT][..], settings].concat())?;
        screen.sees(&format!("✓ {TOKENS} tokens"))?;
        screen.quit()?;
        let path: &Path = &screen.state.path().join("session.jsonl");
        let session = session::read(path)?;
        let (_, trace) = session.runs.last().context("the session has no run")?;
        decode_speed(trace)
    }

    fn decode_speed(trace: &Trace) -> Result<f64> {
        let summary = trace.summary.as_ref().context("the run did not end")?;
        ensure!(
            summary.tokens == TOKENS,
            "{} tokens instead of {TOKENS}",
            summary.tokens
        );
        Ok(summary.decode_tokens_per_second)
    }

    /// CPU time of ten seconds in which nothing happens: the model is there, the recording was played
    /// and the message about the model has faded.
    fn idle(times: usize) -> Result<()> {
        const SPAN: Duration = Duration::from_secs(10);
        for _ in 0..times {
            let mut screen = Screen::open(&[])?;
            screen.sees("the model is ready")?;
            std::thread::sleep(Duration::from_secs(15));
            let pid = screen.child.process_id().context("the program has no process id")?;
            let (before, frames) = (cpu_time(pid)?, screen.frames());
            std::thread::sleep(SPAN);
            let (used, frames) = (cpu_time(pid)? - before, screen.frames() - frames);
            screen.quit()?;
            println!(
                "idle: {:.1} ms of CPU time in {} s, {:.3} % of a core; {frames} frames drawn",
                used.as_secs_f64() * 1e3,
                SPAN.as_secs(),
                100.0 * used.as_secs_f64() / SPAN.as_secs_f64()
            );
        }
        Ok(())
    }

    /// CPU time of all threads of a process.
    fn cpu_time(pid: u32) -> Result<Duration> {
        let mut nanoseconds = 0;
        for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            let first = text.split_whitespace().next().context("schedstat is empty")?;
            nanoseconds += first.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanoseconds))
    }
}
