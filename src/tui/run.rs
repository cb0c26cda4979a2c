//! One run as the screen knows it: a trace that grows, or a recording that plays.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::history::Parent;
use super::overrides;
use super::playback::{Playback, Speed};
use super::tally::{self, Tally};
use crate::engine::RunId;
use crate::program::{Action, Damping, segments};
use crate::text::{bytes_in_words, escape_controls};
use crate::trace::{Candidate, CandidateProgram, Decision, Header, Loop, PromptRouting, Scope, Settings, Step, Trace};

/// Steps whose times make the speed shown while a run is under way.
const RECENT: usize = 16;

/// Where a run comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// Recorded earlier; the title says what it shows.
    Recording(String),
    /// Computed in this session.
    Live,
    /// Computed with every layer executed once, for comparison.
    Unmodified,
}

/// How far a run is.
#[derive(Clone, Debug, PartialEq)]
pub enum RunProgress {
    /// More tokens are to come.
    Running,
    /// It ended or was stopped.
    Finished,
    /// It broke off, and why.
    Failed(String),
}

/// A run with the trace it has made so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Of this run alone in the session; what the worker says of it carries the same number.
    pub id: RunId,
    /// Where it comes from.
    pub origin: Origin,
    /// What was recorded of it so far; of a recording all of it.
    pub trace: Trace,
    /// How far the run is; a recording has finished.
    pub progress: RunProgress,
    /// How far the trace is played; absent where it is shown whole.
    pub playback: Option<Playback>,
    /// What the user typed; absent where only token ids are known.
    pub prompt: Option<String>,
    /// The run it goes on from.
    pub parent: Option<Parent>,
    tally: Tally,
}

impl Run {
    /// A run that has just started.
    pub fn started(id: RunId, origin: Origin, prompt: Option<String>, header: Header) -> Run {
        Run {
            id,
            origin,
            trace: Trace::new(header),
            progress: RunProgress::Running,
            playback: None,
            prompt,
            parent: None,
            tally: Tally::default(),
        }
    }

    /// A recording, to be played from `now` on, or shown whole where nothing should move.
    pub fn recording(title: String, prompt: Option<String>, trace: Trace, now: Option<Duration>) -> Run {
        Run {
            id: 0,
            origin: Origin::Recording(title),
            playback: now.map(Playback::start),
            trace,
            progress: RunProgress::Finished,
            prompt,
            parent: None,
            tally: Tally::default(),
        }
    }

    /// A run of an earlier session, whole.
    pub fn restored(id: RunId, origin: Origin, prompt: Option<String>, parent: Option<Parent>, trace: Trace) -> Run {
        Run {
            id,
            origin,
            trace,
            progress: RunProgress::Finished,
            playback: None,
            prompt,
            parent,
            tally: Tally::default(),
        }
    }

    /// The steps to be shown: all, but for a trace that is being played.
    pub fn steps(&self) -> &[Step] {
        let shown = self.playback.as_ref().map_or(usize::MAX, |p| p.shown);
        &self.trace.steps[..shown.min(self.trace.steps.len())]
    }

    /// The steps of which every layer is shown.
    pub fn complete(&self) -> &[Step] {
        let steps = self.steps();
        match self.layers_shown() {
            Some(_) => &steps[..steps.len().saturating_sub(1)],
            None => steps,
        }
    }

    /// Layers shown of the newest token, where not all of them are.
    pub fn layers_shown(&self) -> Option<usize> {
        self.playback
            .as_ref()
            .filter(|p| p.shown <= self.trace.steps.len())?
            .layers
    }

    /// Counts what is new, so that drawing need not.
    pub fn follow(&mut self) {
        let mut tally = std::mem::take(&mut self.tally);
        tally.follow(&self.trace.header, self.complete());
        self.tally = tally;
    }

    /// The sums over what is shown.
    pub fn tally(&self) -> Cow<'_, Tally> {
        let steps = self.complete();
        if !steps.is_empty() && self.tally.steps == steps.len() {
            return Cow::Borrowed(&self.tally);
        }
        let mut tally = Tally::default();
        tally.follow(&self.trace.header, steps);
        Cow::Owned(tally)
    }

    /// What was asked: as it was typed where that is known, else the user's part of the chat template.
    pub fn prompt_text(&self) -> Option<String> {
        let prompt = &self.trace.header.prompt;
        if self.prompt.is_some() {
            return self.prompt.clone();
        }
        if self.settings().raw {
            return Some(prompt.iter().map(|token| token.text.as_str()).collect());
        }
        let user = |at: &usize| prompt[*at].special && prompt.get(*at + 1).is_some_and(|t| t.text == "user");
        let begin = (0..prompt.len()).rev().find(user)? + 3;
        let part = prompt.get(begin..)?.iter().take_while(|token| !token.special);
        let text: String = part.map(|token| token.text.as_str()).collect();
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// Tokens of the prompt.
    pub fn prompt_len(&self) -> usize {
        self.trace.header.prompt.len()
    }

    /// Columns of the map: tokens of the prompt and those shown.
    pub fn tokens(&self) -> usize {
        self.prompt_len() + self.steps().len()
    }

    /// Tokens there will be at most: those of a recording, or those a run may come to.
    pub fn most_tokens(&self) -> usize {
        let limit = if self.is_recording() {
            0
        } else {
            self.settings().max_tokens
        };
        self.prompt_len() + self.trace.steps.len().max(limit)
    }

    /// Layers of the model; of a looped one its executions.
    pub fn layers(&self) -> usize {
        self.trace.layers()
    }

    /// The loop whose executions some of the layers are.
    pub fn looped(&self) -> Option<Loop> {
        self.trace.header.model.looped
    }

    /// What a layer is called: `Layer 4`, of a looped model `Layer 2, iteration 2 of 4 (execution 4)`.
    pub fn layer_name(&self, layer: usize) -> String {
        let Some(looped) = self.looped() else {
            return format!("Layer {layer}");
        };
        match looped.execution(layer) {
            (own, Some(iteration)) => {
                format!(
                    "Layer {own}, iteration {iteration} of {} (execution {layer})",
                    looped.iterations
                )
            }
            (own, None) => format!("Layer {own} (execution {layer})"),
        }
    }

    /// The step of the token at `position`, unless it belongs to the prompt.
    pub fn step(&self, position: usize) -> Option<&Step> {
        self.steps().get(position.checked_sub(self.prompt_len())?)
    }

    /// What was decided at a layer for the token at `position`. Prompt tokens share one program,
    /// but for pins of single tokens.
    pub fn decision(&self, layer: usize, position: usize) -> Option<Decision> {
        if position < self.prompt_len() {
            return self.trace.header.decision(layer, position);
        }
        let step = self.step(position)?;
        let hidden = self.layers_shown().is_some_and(|n| layer >= n) && position + 1 == self.tokens();
        step.decisions.get(layer).filter(|_| !hidden).cloned()
    }

    /// Text and specialness of the token at `position`; unescaped.
    pub fn token(&self, position: usize) -> Option<(&str, bool)> {
        match self.trace.header.prompt.get(position) {
            Some(token) => Some((&token.text, token.special)),
            None => self.step(position).map(|s| (s.text.as_str(), s.special)),
        }
    }

    /// How the token at `position` is called where it is told apart, and whether it is special; escaped. A part of a
    /// character is its bytes, where they are known; empty where they are not.
    pub fn label(&self, position: usize) -> Option<(String, bool)> {
        let (text, special) = self.token(position)?;
        let bytes = match self.trace.header.prompt.get(position) {
            Some(token) => &token.bytes,
            None => &self.step(position)?.bytes,
        };
        // The token that completes a character is called by it.
        let part = !bytes.is_empty() && (text.is_empty() || text.contains('\u{fffd}'));
        Some(match part {
            true => (bytes_in_words(bytes), special),
            false => (escape_controls(text), special),
        })
    }

    /// Where a position is, in words: `token 3` of the answer, or `prompt token 5`; both count from 1.
    pub fn place(&self, position: usize) -> String {
        match position.checked_sub(self.prompt_len()) {
            None => format!("prompt token {}", position + 1),
            Some(n) => format!("token {}", n + 1),
        }
    }

    /// The likeliest tokens after the one at `position`, as far as the run says; none in the middle of the prompt.
    pub fn next(&self, position: usize) -> &[Candidate] {
        let header = &self.trace.header;
        match self.step(position) {
            Some(step) => &step.next,
            None if position + 1 == header.prompt.len() => &header.next,
            None => &[],
        }
    }

    /// Block executions of the token at `position`; absent while not all its layers are shown.
    pub fn depth(&self, position: usize) -> Option<usize> {
        match position.checked_sub(self.prompt_len()) {
            None => self.trace.header.depth(position),
            Some(n) => self.complete().get(n).map(|s| s.depth),
        }
    }

    /// Least and greatest depth of all tokens shown.
    pub fn depth_range(&self) -> Option<(usize, usize)> {
        self.tally().range
    }

    /// Least and greatest depth of the generated tokens shown.
    pub fn answer_range(&self) -> Option<(usize, usize)> {
        self.tally().answer
    }

    /// Whether the prompt ran every layer because the routers decide on the answer's tokens only (spec §8).
    pub fn leaves_prompt_whole(&self) -> bool {
        let settings = self.settings();
        let routing = self.trace.header.routers.as_ref().and_then(|routers| routers.prompt);
        settings.scope == Scope::Token && settings.program.is_none() && routing == Some(PromptRouting::Full)
    }

    /// The damping of a layer's second execution at `position`, in a program that runs layers in order.
    pub fn damping(&self, layer: usize, position: usize) -> Damping {
        let step = self.step(position).map(|step| &step.program);
        let program = step.unwrap_or(&self.trace.header.program);
        if !program.is_damped() {
            return Damping::NONE;
        }
        let damped = program.to_damped_actions(self.layers());
        damped.map_or(Damping::NONE, |(_, dampings)| dampings[layer])
    }

    /// Blocks of several layers that the program at `position` runs more than once in a row, and how often.
    pub fn loops(&self, position: usize) -> Vec<(RangeInclusive<usize>, usize)> {
        let step = self.step(position).map(|step| &step.program);
        let program = step.unwrap_or(&self.trace.header.program);
        let items = program.items().into_iter();
        let loops = items.filter(|item| item.times > 1 && item.layers.start() < item.layers.end());
        loops.map(|item| (item.layers, item.times)).collect()
    }

    /// How a generated token's depth ranks among those shown, in words; nothing where all are equal.
    pub fn rank(&self, position: usize) -> Option<String> {
        let depth = self.step(position).and(self.depth(position))?;
        let (low, high) = self.answer_range().filter(|(low, high)| low < high)?;
        let steps = self.complete();
        let of = steps.len();
        Some(match depth {
            d if d == low => format!("shallowest of {of}"),
            d if d == high => format!("deepest of {of}"),
            d => {
                let shallower = steps.iter().filter(|step| step.depth < d).count();
                format!("{} shallowest of {of}", ordinal(shallower + 1))
            }
        })
    }

    /// Mean depth of the generated tokens shown; of the prompt before the first one.
    pub fn mean_depth(&self) -> f64 {
        let tally = self.tally();
        match tally.steps {
            0 => self.trace.header.program.depth() as f64,
            n => tally.depth as f64 / n as f64,
        }
    }

    /// For each layer how many of the generated tokens shown skipped, executed and repeated it;
    /// the prompt's one program before the first token.
    pub fn layer_counts(&self) -> Vec<[usize; 3]> {
        let mut counts = self.tally().counts.clone();
        if self.complete().is_empty() {
            tally::count(&mut counts, &self.trace.header.decisions);
        }
        counts
    }

    /// Generated tokens per second: the summary's when there is one, else of the latest steps.
    pub fn tokens_per_second(&self) -> Option<f64> {
        if let (Some(summary), None) = (&self.trace.summary, self.playback.as_ref().filter(|p| p.playing)) {
            return Some(summary.decode_tokens_per_second).filter(|s| *s > 0.0);
        }
        let steps = self.steps();
        let recent = &steps[steps.len().saturating_sub(RECENT)..];
        let ms: f64 = recent.iter().map(|s| s.ms).sum();
        (ms > 0.0).then(|| recent.len() as f64 * 1000.0 / ms)
    }

    /// What it is, in a few words; unescaped.
    pub fn what(&self) -> String {
        let what = match &self.origin {
            Origin::Recording(title) => format!("recording: {title}"),
            Origin::Unmodified => "unmodified model".to_owned(),
            Origin::Live => match overrides::changes(&Default::default(), self.settings()) {
                changes if !changes.is_empty() => changes.join(", "),
                _ if self.trace.header.routers.is_none() => "no routers".to_owned(),
                _ => "routers alone".to_owned(),
            },
        };
        match self.trace.header.branch {
            Some(branch) => format!("from {}: {what}", self.place(branch.at)),
            None => what,
        }
    }

    /// The settings it was asked with.
    pub fn settings(&self) -> &Settings {
        &self.trace.header.settings
    }

    /// The programs that a predictor proposed for the prompt, best first.
    pub fn candidates(&self) -> &[CandidateProgram] {
        &self.trace.header.candidates
    }

    /// First layers and lengths of the segments of the programs that a predictor proposed; none where there was none.
    pub fn segments(&self) -> Vec<(usize, usize)> {
        segments::between(self.trace.header.boundaries.iter().copied())
    }

    /// Whether it was recorded earlier.
    pub fn is_recording(&self) -> bool {
        matches!(self.origin, Origin::Recording(_))
    }

    /// Whether more tokens are to come from the worker.
    pub fn is_running(&self) -> bool {
        self.progress == RunProgress::Running
    }

    /// Whether tokens of the trace come on the screen by themselves.
    pub fn is_playing(&self) -> bool {
        self.playback.as_ref().is_some_and(|p| p.playing)
    }

    /// Whether a trace is being played and has not come to its end.
    pub fn is_partway(&self) -> bool {
        let end = self.trace.steps.len();
        let partway = |p: &Playback| p.shown < end || p.layers.is_some();
        self.playback.as_ref().is_some_and(partway)
    }

    /// Shows the steps that are due at `now`; whether any was.
    pub fn advance(&mut self, now: Duration, speed: Speed) -> bool {
        let before = self.steps().len();
        if let Some(playback) = &mut self.playback {
            playback.advance(&self.trace.steps, now, speed);
        }
        self.steps().len() > before
    }

    /// The playback of a trace that is there, standing at its end until it is moved; and that end.
    pub fn playback_mut(&mut self) -> (&mut Playback, usize) {
        let end = self.trace.steps.len();
        (self.playback.get_or_insert(Playback::at(end)), end)
    }

    /// Share of a layer's three actions, in the order skip, execute, repeat.
    pub fn shares(counts: [usize; 3]) -> [f64; 3] {
        let total = counts.iter().sum::<usize>().max(1) as f64;
        counts.map(|n| n as f64 / total)
    }

    /// How often an action stands in the generated tokens shown, over all layers, 0 to 1.
    pub fn share_of(&self, action: Action) -> f64 {
        let totals = self.layer_counts().into_iter().fold([0; 3], |mut sum, counts| {
            (0..3).for_each(|i| sum[i] += counts[i]);
            sum
        });
        Run::shares(totals)[action.executions()]
    }
}

/// `1st`, `2nd`, `3rd`, `4th` …
fn ordinal(n: usize) -> String {
    let end = match (n % 100, n % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    format!("{n}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture;

    #[test]
    fn tokens_rank_by_depth_within_their_answer() {
        let trace = fixture::depth_trace(40);
        let run = Run::recording("a".into(), None, trace, None);
        let ranks: Vec<String> = (run.prompt_len()..run.tokens()).filter_map(|t| run.rank(t)).collect();
        assert_eq!(ranks.len(), 40);
        assert!(ranks.iter().any(|r| r == "shallowest of 40"), "{ranks:?}");
        assert!(ranks.iter().any(|r| r == "deepest of 40") && ranks.iter().any(|r| r.contains("th shallowest of 40")));
        assert_eq!(run.rank(0), None, "of the prompt");
        assert!(run.leaves_prompt_whole());
        let flat = Run::recording("a".into(), None, fixture::trace(7, 9), None);
        assert_eq!(flat.rank(flat.prompt_len()), None, "all tokens have one depth");
        assert!(!flat.leaves_prompt_whole());
        let words = [1, 2, 3, 4, 11, 12, 13, 21, 112].map(ordinal);
        assert_eq!(
            words,
            ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "112th"]
        );
    }
}
