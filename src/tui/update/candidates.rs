//! The programs that a predictor proposed: choosing one, and running it beside the run on the screen.

use super::super::app::App;
use super::super::dialogs::Overlay;
use super::super::dialogs::{Against, CandidatesDialog, CompareDialog};
use super::requests;
use crate::engine::Command;
use crate::trace::Settings;

/// Opens the list at the program that ran.
pub(in crate::tui) fn open(app: &mut App) {
    let candidates = app.candidates();
    if candidates.is_empty() {
        app.info(
            "no programs were proposed for this run: load a predictor (train --method polar) as the routers and run the \
             prompt again",
        );
        return;
    }
    let ran = app.shown.as_ref().map(|run| &run.trace.header.program);
    let row = candidates.iter().position(|c| Some(&c.program) == ran).unwrap_or(0);
    app.ui.overlay = Some(CandidatesDialog { row }.into());
}

/// Runs a program on the prompt of the run on the screen, and shows both beside each other.
pub(in crate::tui) fn run(app: &mut App, row: usize) -> (Option<Overlay>, Vec<Command>) {
    let (Some(shown), Some(candidate)) = (&app.shown, app.candidates().get(row)) else {
        return (None, Vec::new());
    };
    let (program, against) = (candidate.program.clone(), Against::Run(shown.id));
    if program == shown.trace.header.program {
        app.info("this program is the one on the screen: choose another one to compare it with");
        return (Some(CandidatesDialog { row }.into()), Vec::new());
    }
    if shown.is_running() {
        app.info("wait for the run to end, or stop it, then run another program");
        return (Some(CandidatesDialog { row }.into()), Vec::new());
    }
    let settings = Settings {
        program: Some(program),
        pins: Vec::new(),
        budget: None,
        ..shown.settings().clone()
    };
    let commands = requests::rerun_with(app, settings);
    // Where it could not be asked for, the reason is on the screen.
    let overlay = (!commands.is_empty()).then(|| CompareDialog { against, scroll: 0 }.into());
    (overlay, commands)
}
