//! Each test runs [`child`] in a pseudo-terminal of its own and looks at what was left of it.

use super::*;
use std::io::Read;
use std::process::Command;
use std::time::Duration;

use portable_pty::{CommandBuilder, PtySize, native_pty_system};
use ratatui::text::Line;

use crate::tui::color::ColorTier;
use crate::tui::theme::{Role, Theme};

const SCENARIO: &str = "DRLLM_TEST_TERM";
const LEAVE: &str = "\u{1b}[?1049l";
const ARGS: [&str; 4] = ["--exact", "tui::term::tests::child", "--ignored", "--nocapture"];

/// Not a test of its own: what the pseudo-terminals run.
#[test]
#[ignore = "run by the others"]
fn child() {
    let Ok(scenario) = std::env::var(SCENARIO) else { return };
    let mut session = match TerminalSession::enter(true) {
        Ok(session) => session,
        Err(error) => return println!("refused: {error}"),
    };
    let (tier, role) = match scenario.as_str() {
        "colour" => (ColorTier::Truecolor, Role::Error),
        _ => (ColorTier::None, Role::Cursor),
    };
    let line = Line::styled("drawn", Theme::fallback(tier).style(role));
    session.terminal.draw(|f| f.render_widget(line, f.area())).unwrap();
    match scenario.as_str() {
        "panic" => panic!("hostile \u{1b}[31mtext"),
        "worker-panic" => {
            assert!(thread::spawn(|| panic!("in the worker")).join().is_err());
            assert!(screen().is_some(), "the screen is still ours");
        }
        "twice" => {
            session.resume().unwrap();
            // No shell waits for this process, so it is not stopped.
            session.suspend().unwrap();
            let line = Line::raw("again");
            session.terminal.draw(|f| f.render_widget(line, f.area())).unwrap();
            restore();
        }
        "fault" => {
            give_back_on_faults();
            std::fs::write(std::env::var("DRLLM_TEST_READY").unwrap(), "ready").unwrap();
            thread::sleep(Duration::from_secs(20));
        }
        "flood" => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.unwrap();
            let signals = runtime.block_on(async { Signals::new() });
            std::fs::write(std::env::var("DRLLM_TEST_READY").unwrap(), "ready").unwrap();
            let failed = (0u64..).find_map(|i| {
                let line = Line::raw(format!("{i} {}", "x".repeat(70)));
                session
                    .redraw()
                    .and_then(|()| session.terminal.draw(|f| f.render_widget(line, f.area())).map(drop))
                    .err()
            });
            assert!(failed.is_some() && signals.is_ok());
            drop(session);
            std::fs::write(std::env::var("DRLLM_TEST_LEFT").unwrap(), "left").unwrap();
            std::process::exit(7);
        }
        "signal" => {
            let signal = wait_for_signal();
            drop(session);
            println!("left");
            std::process::exit(exit_code(signal).into());
        }
        _ => {}
    }
}

fn wait_for_signal() -> i32 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut signals = Signals::new().unwrap();
        // Not through println, whose line would move the screen.
        std::fs::write(std::env::var("DRLLM_TEST_READY").unwrap(), "ready").unwrap();
        loop {
            match tokio::time::timeout(Duration::from_secs(20), signals.next())
                .await
                .unwrap()
            {
                Interrupt::Terminate(signal) => return signal,
                Interrupt::Stop => std::fs::write(std::env::var("DRLLM_TEST_READY").unwrap(), "stop").unwrap(),
                Interrupt::Continued => {
                    std::fs::write(std::env::var("DRLLM_TEST_READY").unwrap(), "continued").unwrap()
                }
            }
        }
    })
}

struct Handled {
    code: u32,
    bytes: Vec<u8>,
}

impl Handled {
    /// The screen as it was just before the terminal was given back.
    fn before_leaving(&self) -> vt100::Parser {
        // The first of what `restore` sends.
        let text = String::from_utf8_lossy(&self.bytes);
        let end = text.rfind("\u{1b}[?1006l").expect("the mouse was let go");
        parsed(&text.as_bytes()[..end])
    }

    fn end(&self) -> vt100::Parser {
        let parser = parsed(&self.bytes);
        let screen = parser.screen();
        assert!(!screen.alternate_screen() && !screen.hide_cursor() && !screen.bracketed_paste());
        assert_eq!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::None);
        parser
    }

    /// What came after the terminal was given back.
    fn afterwards(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        text[text.rfind(LEAVE).expect("the alternate screen was left")..].to_owned()
    }
}

fn parsed(bytes: &[u8]) -> vt100::Parser {
    let mut parser = vt100::Parser::new(24, 80, 0);
    parser.process(bytes);
    parser
}

fn run(scenario: &str, signals: &[&str]) -> Handled {
    let pty = native_pty_system()
        .openpty(PtySize {
            rows: 24,
            cols: 80,
            ..PtySize::default()
        })
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ready = folder.path().join("ready");
    let mut command = CommandBuilder::new(std::env::current_exe().unwrap());
    command.args(ARGS);
    command.env(SCENARIO, scenario);
    command.env("DRLLM_TEST_READY", &ready);
    command.env("NO_COLOR", "1");
    command.env("TERM", "xterm-256color");
    command.env("RUST_BACKTRACE", "0");
    let mut child = pty.slave.spawn_command(command).unwrap();
    drop(pty.slave);
    let mut reader = pty.master.try_clone_reader().unwrap();
    let output = thread::spawn(move || {
        let mut bytes = Vec::new();
        // Linux ends a pseudo-terminal with EIO rather than with end of file.
        let _ = reader.read_to_end(&mut bytes);
        bytes
    });
    for signal in signals {
        wait_until(|| ready.exists());
        if matches!(*signal, "-CONT" | "-TSTP") {
            std::fs::remove_file(&ready).unwrap();
        }
        let pid = child.process_id().unwrap().to_string();
        assert!(Command::new("kill").args([*signal, &pid]).status().unwrap().success());
    }
    let code = child.wait().unwrap().exit_code();
    drop(pty.master);
    Handled {
        code,
        bytes: output.join().unwrap(),
    }
}

fn wait_until(done: impl Fn() -> bool) {
    for _ in 0..2000 {
        if done() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("the child did not come up within 20 seconds");
}

#[test]
fn without_colours_bold_and_reverse_still_arrive() {
    let outcome = run("draw", &[]);
    assert_eq!(outcome.code, 0);
    let parser = outcome.before_leaving();
    let screen = parser.screen();
    assert!(screen.alternate_screen() && screen.bracketed_paste() && screen.hide_cursor());
    assert_ne!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::None);
    let cell = screen.cell(0, 0).unwrap();
    assert_eq!(cell.contents(), "d");
    assert!(cell.bold() && cell.inverse());
    assert_eq!(
        (cell.fgcolor(), cell.bgcolor()),
        (vt100::Color::Default, vt100::Color::Default)
    );
    outcome.end();
}

/// The child runs under NO_COLOR, which crossterm would obey against the user's explicit choice.
#[test]
fn colours_asked_for_arrive_with_their_modifiers() {
    let outcome = run("colour", &[]);
    let parser = outcome.before_leaving();
    let cell = parser.screen().cell(0, 0).unwrap();
    assert!(cell.bold());
    assert_eq!(cell.fgcolor(), vt100::Color::Rgb(0xff, 0x7b, 0x82));
}

#[test]
fn a_panic_restores_the_terminal_before_its_message() {
    let outcome = run("panic", &[]);
    assert_ne!(outcome.code, 0);
    let end = outcome.end();
    let shown = end.screen().contents();
    assert!(shown.contains("hostile ␛[31mtext"), "{shown}");
    assert!(shown.contains("RUST_BACKTRACE=1"), "{shown}");
    assert!(!shown.contains("drawn"), "{shown}");
    // Raw mode is off: lines end in CR LF again.
    let after = outcome.afterwards();
    assert!(
        after.contains("\r\n") && !after.replace("\r\n", "").contains('\n'),
        "{after:?}"
    );
}

#[test]
fn a_workers_panic_leaves_the_screen_alone() {
    let outcome = run("worker-panic", &[]);
    assert_eq!(outcome.code, 0);
    assert!(outcome.before_leaving().screen().contents().starts_with("drawn"));
    let text = String::from_utf8_lossy(&outcome.bytes).into_owned();
    assert!(!text.contains("in the worker"), "{text:?}");
    outcome.end();
}

#[test]
fn restoring_twice_and_resuming_are_harmless() {
    let outcome = run("twice", &[]);
    assert_eq!(outcome.code, 0);
    outcome.end();
    assert_eq!(
        outcome
            .bytes
            .windows(LEAVE.len())
            .filter(|w| *w == LEAVE.as_bytes())
            .count(),
        3
    );
}

#[test]
fn signals_end_the_session_cleanly() {
    for (signals, number) in [
        (&["-TERM"][..], 15),
        (&["-HUP"], 1),
        (&["-INT"], 2),
        (&["-CONT", "-TERM"], 15),
        (&["-TSTP", "-TERM"], 15),
        (&["-QUIT"], 3),
        (&["-USR1"], 10),
        (&["-ALRM"], 14),
        (&["-RTMIN"], 34),
    ] {
        let outcome = run("signal", signals);
        assert_eq!(outcome.code, 128 + number, "{signals:?}");
        assert!(outcome.afterwards().contains("left\r\n"), "{signals:?}");
        outcome.end();
    }
}

/// A fault of the process itself: no event for the main loop, but the terminal is given back.
#[test]
fn faults_give_the_terminal_back() {
    for (signal, number) in [("-BUS", 7), ("-SEGV", 11), ("-ABRT", 6), ("-ILL", 4)] {
        let outcome = run("fault", &[signal]);
        assert_ne!(outcome.code, 0, "{number}");
        let end = outcome.end();
        assert!(!end.screen().contents().contains("drawn"), "{signal}");
        let said = end.screen().contents().contains("a file got shorter");
        assert_eq!(said, signal == "-BUS", "{}", end.screen().contents());
    }
}

#[test]
fn a_terminal_that_is_gone_or_takes_nothing_ends_in_order() {
    for frozen in [false, true] {
        let pty = native_pty_system().openpty(PtySize::default()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (ready, left) = (folder.path().join("ready"), folder.path().join("left"));
        let mut command = CommandBuilder::new(std::env::current_exe().unwrap());
        command.args(ARGS);
        command.env(SCENARIO, "flood");
        command.env("DRLLM_TEST_READY", &ready);
        command.env("DRLLM_TEST_LEFT", &left);
        let mut child = pty.slave.spawn_command(command).unwrap();
        drop(pty.slave);
        let mut reader = pty.master.try_clone_reader().unwrap();
        let mut first = [0; 512];
        assert!(reader.read(&mut first).unwrap() > 0);
        wait_until(|| ready.exists());
        // It draws on and on, and nobody reads.
        thread::sleep(Duration::from_millis(300));
        let kept = if frozen {
            let pid = child.process_id().unwrap().to_string();
            assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
            Some((pty.master, reader))
        } else {
            drop((pty.master, reader));
            None
        };
        wait_until(|| left.exists());
        drop(kept);
        assert_eq!(child.wait().unwrap().exit_code(), 7, "frozen: {frozen}");
    }
}

#[test]
fn a_pipe_is_refused_with_what_to_do() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(ARGS)
        .env(SCENARIO, "draw")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("refused: drllm-tui needs a terminal"), "{text}");
    assert!(text.contains("drllm-tui run") && !text.contains('\u{1b}'), "{text}");
}
