//! Guessing whether the next token of a trace is shallow or deep, then seeing it.

use super::super::action::UiAction;
use super::super::app::App;
use super::select_token;
use crate::text::escape_controls;

/// Guesses the next token of the trace on the screen and shows it. Shallow is below the mean depth of the whole answer,
/// deep above it.
pub(super) fn guess(app: &mut App, deep: bool) {
    let busy = app.is_busy();
    let back = app
        .ui
        .keymap
        .keys_for(UiAction::StepBack, "grid")
        .into_iter()
        .next()
        .unwrap_or_default();
    let Some(run) = app.shown.as_mut().filter(|run| !run.trace.steps.is_empty() && !busy) else {
        return app.info(match busy {
            true => "a run under way is not guessed: wait for its end, or open a recording",
            false => "there is nothing to guess: open a recording, or run a prompt",
        });
    };
    let depths: Vec<usize> = run.trace.steps.iter().map(|step| step.depth).collect();
    if depths.iter().all(|depth| *depth == depths[0]) {
        let depth = depths[0];
        return app.info(format!(
            "every token of this run has the depth {depth}: there is nothing to guess"
        ));
    }
    let mean = run.trace.mean_depth();
    let next = run.steps().len();
    let (layers, id) = (run.layers(), run.id);
    let Some(&depth) = depths.get(next) else {
        return app.info(format!(
            "every token is there already: {back} takes tokens back, then guess"
        ));
    };
    let (playback, end) = run.playback_mut();
    playback.seek(next + 1, end);
    playback.playing = false;
    let word = run
        .label(run.prompt_len() + next)
        .map_or(String::new(), |(text, _)| text);
    let right = match (depth as f64).total_cmp(&mean) {
        std::cmp::Ordering::Less => !deep,
        std::cmp::Ordering::Equal => true,
        std::cmp::Ordering::Greater => deep,
    };
    if app.guesses.run != id {
        app.guesses = super::super::lesson::Guesses {
            run: id,
            ..Default::default()
        };
    }
    app.guesses.count(right);
    if let Some(tour) = &mut app.tour {
        tour.guesses.count(right);
    }
    let (made, hits) = (app.guesses.made, app.guesses.right);
    app.info(format!(
        "\"{}\" ran {depth} of {layers} layers, the mean is {mean:.1}: {}; {hits} of {made} right",
        escape_controls(&word),
        if right { "right" } else { "wrong" }
    ));
    select_token(app, usize::MAX);
}
