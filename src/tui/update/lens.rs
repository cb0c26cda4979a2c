//! The lens map: switching it on, and asking the worker for what is in sight.

use super::super::action::UiAction;
use super::super::app::{App, ModelState};
use super::super::lens::TOP;
use super::super::ui::{Focus, LensContents};
use super::{focus, inside};
use crate::engine::{AskId, Command, ENDED, InspectionRequest, InspectionResult};

/// Switches the lens map on or off; one that was stopped goes on.
pub(super) fn toggle(app: &mut App) {
    if app.ui.map.lens && (app.lens.stopped || app.lens.refused.is_some()) {
        (app.lens.stopped, app.lens.refused) = (false, None);
        return;
    }
    let Some(run) = &app.shown else {
        return app.info("there is nothing to look into yet: run a prompt, or open a recording");
    };
    if app.ui.map.lens && run.looped().is_some() && app.ui.map.lens_shows == LensContents::Words {
        app.ui.map.lens_shows = LensContents::Experts;
        return app.info("experts by execution: bright where others than in the last iteration");
    }
    app.ui.map.lens = !app.ui.map.lens;
    app.ui.map.lens_shows = LensContents::Words;
    app.ui.map.first_token = 0;
    (app.lens.stopped, app.lens.refused) = (false, None);
    if !app.ui.map.lens {
        return;
    }
    if app.ui.focus != Focus::Detail {
        focus(app, Focus::Map);
    }
    let problem = app.shown.as_ref().and_then(|run| inside::refusal(app, run));
    match (problem, &app.model) {
        (Some(_), ModelState::Loading { .. }) => app.info("the lens fills as soon as the model is ready"),
        (Some(problem), _) => app.error(problem),
        (None, _) if app.is_busy() && !app.held => {
            let key = key(app, UiAction::PlayPause);
            app.info(format!(
                "the lens fills when the run has ended, or is held: {key} holds it"
            ));
        }
        (None, _) => app.info("what each token would say if it stopped after that layer"),
    }
}

fn key(app: &App, action: UiAction) -> String {
    let keys = app.ui.keymap.keys_for(action, "grid");
    keys.into_iter().next().unwrap_or_default()
}

/// Stops filling; whether there was something to stop.
pub(super) fn stop(app: &mut App) -> bool {
    let filling = app.ui.map.lens && app.lens.is_asking();
    if filling {
        app.lens.stopped = true;
        let key = key(app, UiAction::Lens);
        app.info(format!("the lens stopped: {key} goes on"));
    }
    filling
}

/// Asks for what is missing, where nothing else is asked.
pub(super) fn ask(app: &mut App) -> Vec<Command> {
    let asks = app.ui.map.lens && app.ui.overlay.is_none() && !app.lens.is_asking() && !inside::is_asking(app);
    if !asks || app.lens_waits().is_some() {
        return Vec::new();
    }
    let (Some(positions), Some(run)) = (app.lens_wants(), &app.shown) else {
        return Vec::new();
    };
    let question = InspectionRequest::InspectRange {
        trace: Box::new(run.trace.first(positions.end)),
        positions,
        top: TOP,
    };
    let run = run.id;
    app.last_ask += 1;
    let ask = app.last_ask;
    app.lens.asks(ask, run);
    vec![Command::Ask { ask, question }]
}

/// Takes the answer to a question of the lens; any other comes back.
pub(super) fn hear(app: &mut App, ask: AskId, answer: InspectionResult) -> Option<InspectionResult> {
    let Some(run) = app.lens.answered(ask) else {
        return Some(answer);
    };
    match answer {
        InspectionResult::InspectedRange(inspections) => app.lens.keep(run, inspections),
        InspectionResult::Refused(why) if why != ENDED => app.lens.refused = Some(why),
        _ => {}
    }
    None
}
