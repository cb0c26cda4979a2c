//! Questions about runs, answered between two tokens or two simulations.

use anyhow::Result;

use super::{Inbox, caught};
use crate::engine::events::{AskId, ENDED, InspectionRequest, InspectionResult, WorkerEvent};
use crate::engine::inspector::Inspector;
use crate::engine::prefix_cache::PrefixCache;
use crate::engine::sequence::Stopped;
use crate::model::{KvCache, Model};
use crate::router::Router;
use crate::trace::Trace;

/// Answers every question that has come meanwhile; `live` is the run under way and what it left so far.
pub(super) fn answer_waiting(
    inbox: &mut Inbox,
    (model, routers): (&Model, Option<&dyn Router>),
    kept: &mut PrefixCache,
    live: Option<(&Trace, &KvCache)>,
    emit: &dyn Fn(WorkerEvent),
) {
    while let Some((ask, question, stop)) = inbox.question() {
        let mut inspector = Inspector {
            model,
            routers,
            kept: &mut *kept,
            live,
            stop: &stop,
        };
        let answer = caught(|| answer(&mut inspector, &question));
        emit(answered(ask, answer));
    }
}

pub(super) fn answer(inspector: &mut Inspector, question: &InspectionRequest) -> Result<InspectionResult> {
    Ok(match question {
        InspectionRequest::Inspect {
            trace,
            position,
            top,
            follow,
            also,
        } => InspectionResult::Inspected(Box::new(inspector.inspect_following(
            trace,
            *position,
            *top,
            *follow,
            also.as_deref(),
        )?)),
        InspectionRequest::InspectRange { trace, positions, top } => {
            InspectionResult::InspectedRange(inspector.inspect_range(trace, positions.clone(), *top)?)
        }
        InspectionRequest::Flip {
            trace,
            layer,
            position,
            action,
            top,
            frozen,
        } => InspectionResult::Flipped(Box::new(
            inspector.flip(trace, *layer, *position, *action, *top, *frozen)?,
        )),
        InspectionRequest::Intervene {
            trace,
            layer,
            action,
            top,
        } => InspectionResult::Intervened(Box::new(inspector.intervene(trace, *layer, *action, *top)?)),
        InspectionRequest::Divergence { traces } => InspectionResult::Diverged(inspector.divergence(traces)?),
    })
}

pub(super) fn answered(ask: AskId, answer: Result<InspectionResult>) -> WorkerEvent {
    let answer = answer.unwrap_or_else(|e| {
        InspectionResult::Refused(match e.is::<Stopped>() {
            true => ENDED.to_owned(),
            false => format!("{e:#}"),
        })
    });
    WorkerEvent::Answered { ask, answer }
}
