//! Questions about runs, answered between two tokens or two simulations.

use anyhow::Result;

use super::{Inbox, caught};
use crate::engine::events::{Answer, AskId, ENDED, Event, Question};
use crate::engine::inspector::Inspector;
use crate::engine::prefix_cache::PrefixCache;
use crate::engine::sequence::Stopped;
use crate::engine::trace::Trace;
use crate::model::{KvCache, Model};
use crate::router::Router;

/// Answers every question that has come meanwhile; `live` is the run under way and what it left so far.
pub(super) fn answer_waiting(
    inbox: &mut Inbox,
    (model, routers): (&Model, Option<&dyn Router>),
    kept: &mut PrefixCache,
    live: Option<(&Trace, &KvCache)>,
    emit: &dyn Fn(Event),
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

pub(super) fn answer(inspector: &mut Inspector, question: &Question) -> Result<Answer> {
    Ok(match question {
        Question::Inspect { trace, position, top } => {
            Answer::Inspected(Box::new(inspector.inspect(trace, *position, *top)?))
        }
        Question::InspectRange { trace, positions, top } => {
            Answer::InspectedRange(inspector.inspect_range(trace, positions.clone(), *top)?)
        }
        Question::Flip {
            trace,
            layer,
            position,
            action,
            top,
            frozen,
        } => Answer::Flipped(Box::new(
            inspector.flip(trace, *layer, *position, *action, *top, *frozen)?,
        )),
        Question::Intervene {
            trace,
            layer,
            action,
            top,
        } => Answer::Intervened(Box::new(inspector.intervene(trace, *layer, *action, *top)?)),
        Question::Divergence { traces } => Answer::Diverged(inspector.divergence(traces)?),
    })
}

pub(super) fn answered(ask: AskId, answer: Result<Answer>) -> Event {
    let answer = answer.unwrap_or_else(|e| {
        Answer::Refused(match e.is::<Stopped>() {
            true => ENDED.to_owned(),
            false => format!("{e:#}"),
        })
    });
    Event::Answered { ask, answer }
}
