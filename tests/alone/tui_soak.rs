//! A long session: nothing grows but the trace, and a frame costs the same at its end as at its
//! beginning. Work is counted in allocations, which do not depend on how busy the machine is.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use drllm::engine::WorkerEvent as Worker;
use drllm::testing::fixture;
use drllm::trace::{Step, Trace};
use drllm::tui::app::App;
use drllm::tui::color::ColorTier;
use drllm::tui::update::{UiEvent, update};
use drllm::tui::view::view;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

/// The system's allocator, counting what this thread asks of it.
struct Counting;

thread_local! {
    static BYTES: Cell<isize> = const { Cell::new(0) };
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // Not while the thread ends.
    let _ = BYTES.try_with(|b| b.set(b.get() + bytes));
    let _ = CALLS.try_with(|c| c.set(c.get() + usize::from(bytes > 0)));
}

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps to the contract of `alloc`, which is the same there.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: `at` came from `alloc` above with this layout, so from the system's allocator.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `f` allocates and keeps, in bytes, and how often it allocates.
fn measure<T>(f: impl FnOnce() -> T) -> (T, isize, usize) {
    let (bytes, calls) = (BYTES.get(), CALLS.get());
    let value = f();
    (value, BYTES.get() - bytes, CALLS.get() - calls)
}

const TOKENS: usize = 20_000;

/// The nth step of an endless answer.
fn step(trace: &Trace, n: usize) -> Step {
    Step {
        position: trace.header.prompt.len() + n,
        ..trace.steps[n % trace.steps.len()].clone()
    }
}

fn frame(terminal: &mut Terminal<TestBackend>, app: &App) -> usize {
    measure(|| terminal.draw(|frame| view(app, frame)).unwrap()).2
}

#[test]
fn twenty_thousand_tokens() {
    let sample = fixture::token_trace(5, 240);
    // What the trace alone takes.
    let (alone, trace_bytes, _) = measure(|| {
        let mut trace = Trace::new(sample.header.clone());
        trace.steps.extend((0..TOKENS).map(|n| step(&sample, n)));
        trace
    });
    drop(alone);

    let mut app = fixture::empty(ColorTier::Truecolor);
    update(&mut app, UiEvent::Resize(200, 60));
    update(&mut app, UiEvent::Worker(fixture::loaded()));
    app.prompt.set("Go on.");
    let run = match update(&mut app, UiEvent::Key(crossterm::event::KeyCode::Enter.into())).as_slice() {
        [drllm::engine::Command::Generate { run, .. }] => *run,
        other => panic!("{other:?}"),
    };
    let header = Box::new(sample.header.clone());
    update(&mut app, UiEvent::Worker(Worker::Started { run, header }));
    let mut terminal = Terminal::new(TestBackend::new(200, 60)).unwrap();

    let before = BYTES.get();
    let (mut early, mut early_updates) = (0, 0);
    for n in 0..TOKENS {
        let step = Box::new(step(&sample, n));
        let ((), _, updates) = measure(|| {
            update(&mut app, UiEvent::Worker(Worker::Stepped { run, step }));
        });
        if n == 600 {
            (early, early_updates) = (frame(&mut terminal, &app), updates);
        } else if n % 1000 == 600 {
            // The same tokens are in sight as then.
            let frame = frame(&mut terminal, &app);
            assert!(
                frame <= early + early / 4,
                "token {n}: {frame} allocations a frame, {early} before"
            );
            assert!(
                updates <= 2 * early_updates + 40,
                "token {n}: {updates} allocations, {early_updates} before"
            );
        }
    }
    let grown = BYTES.get() - before;
    // Vectors may have twice the room they need; a token has an entry in a few indexes besides.
    let allowed = 2 * trace_bytes + 64 * TOKENS as isize + (4 << 20);
    assert!(grown < allowed, "{grown} bytes for a trace of {trace_bytes}");
    assert_eq!(app.shown.as_ref().unwrap().steps().len(), TOKENS);

    // Nor does looking around, or hours of frames, add anything.
    let before = BYTES.get();
    for n in 0..2000u64 {
        let keys = ['h', 'k', 'H', 'L', 'j', 'l', 'm', ','];
        let key = keys[n as usize % keys.len()];
        update(&mut app, UiEvent::Key(crossterm::event::KeyCode::Char(key).into()));
        update(&mut app, UiEvent::Tick(std::time::Duration::from_secs(n)));
        if n % 100 == 0 {
            frame(&mut terminal, &app);
        }
    }
    let grown = BYTES.get() - before;
    assert!(grown < 1 << 20, "{grown} bytes by looking around");
}
