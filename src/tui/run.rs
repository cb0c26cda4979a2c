//! One run as the screen knows it: a trace that grows, or a recording that plays.

use std::time::Duration;

use super::history::Parent;
use crate::engine::{Decision, Header, RunId, Settings, Step, Trace};
use crate::program::Action;

/// Shortest and longest time a step of a recording stands before the next one.
const PACE: (Duration, Duration) = (Duration::from_millis(25), Duration::from_millis(160));

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
pub enum Progress {
    Running,
    Finished,
    Failed(String),
}

/// Recordings show their steps one by one.
#[derive(Clone, Debug, PartialEq)]
pub struct Playback {
    /// Steps shown so far.
    pub shown: usize,
    pub playing: bool,
    /// When the next step is due.
    due: Duration,
}

/// A run with the trace it has made so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub id: RunId,
    pub origin: Origin,
    pub trace: Trace,
    pub progress: Progress,
    pub playback: Option<Playback>,
    /// What the user typed; absent where only token ids are known.
    pub prompt: Option<String>,
    /// The run it goes on from.
    pub parent: Option<Parent>,
}

impl Run {
    /// A run that has just started.
    pub fn started(id: RunId, origin: Origin, prompt: Option<String>, header: Header) -> Run {
        Run {
            id,
            origin,
            trace: Trace::new(header),
            progress: Progress::Running,
            playback: None,
            prompt,
            parent: None,
        }
    }

    /// A recording, to be played from `now` on, or shown whole where nothing should move.
    pub fn recording(title: String, prompt: Option<String>, trace: Trace, now: Option<Duration>) -> Run {
        Run {
            id: 0,
            origin: Origin::Recording(title),
            playback: now.map(|now| Playback {
                shown: 0,
                playing: true,
                due: now + PACE.1,
            }),
            trace,
            progress: Progress::Finished,
            prompt,
            parent: None,
        }
    }

    /// The steps to be shown: all, but for a recording that is being played.
    pub fn steps(&self) -> &[Step] {
        let shown = self.playback.as_ref().map_or(usize::MAX, |p| p.shown);
        &self.trace.steps[..shown.min(self.trace.steps.len())]
    }

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

    pub fn layers(&self) -> usize {
        self.trace.layers()
    }

    /// The step of the token at `position`, unless it belongs to the prompt.
    pub fn step(&self, position: usize) -> Option<&Step> {
        self.steps().get(position.checked_sub(self.prompt_len())?)
    }

    /// What was decided at a layer for the token at `position`. Prompt tokens share one program,
    /// but for pins of single tokens.
    pub fn decision(&self, layer: usize, position: usize) -> Option<Decision> {
        match position < self.prompt_len() {
            true => self.trace.header.decision(layer, position),
            false => self.step(position)?.decisions.get(layer).cloned(),
        }
    }

    /// Text and specialness of the token at `position`; unescaped.
    pub fn token(&self, position: usize) -> Option<(&str, bool)> {
        match self.trace.header.prompt.get(position) {
            Some(token) => Some((&token.text, token.special)),
            None => self.step(position).map(|s| (s.text.as_str(), s.special)),
        }
    }

    /// Block executions of the token at `position`.
    pub fn depth(&self, position: usize) -> Option<usize> {
        let prompt = self.trace.header.depth(position);
        prompt.or_else(|| self.step(position).map(|s| s.depth))
    }

    /// Least and greatest depth of all tokens shown.
    pub fn depth_range(&self) -> Option<(usize, usize)> {
        let depths = (0..self.tokens()).filter_map(|t| self.depth(t));
        depths.fold(None, |range, d| {
            let (low, high) = range.unwrap_or((d, d));
            Some((low.min(d), high.max(d)))
        })
    }

    /// Mean depth of the generated tokens shown; of the prompt before the first one.
    pub fn mean_depth(&self) -> f64 {
        match self.steps() {
            [] => self.trace.header.program.depth() as f64,
            steps => steps.iter().map(|s| s.depth as f64).sum::<f64>() / steps.len() as f64,
        }
    }

    /// For each layer how many of the generated tokens shown skipped, executed and repeated it;
    /// the prompt's one program before the first token.
    pub fn layer_counts(&self) -> Vec<[usize; 3]> {
        let mut counts = vec![[0; 3]; self.layers()];
        let mut add = |decisions: &[Decision]| {
            for (count, decision) in counts.iter_mut().zip(decisions) {
                count[decision.action.executions()] += 1;
            }
        };
        match self.steps() {
            [] => add(&self.trace.header.decisions),
            steps => steps.iter().for_each(|s| add(&s.decisions)),
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

    pub fn settings(&self) -> &Settings {
        &self.trace.header.settings
    }

    pub fn is_recording(&self) -> bool {
        matches!(self.origin, Origin::Recording(_))
    }

    pub fn is_running(&self) -> bool {
        self.progress == Progress::Running
    }

    pub fn is_playing(&self) -> bool {
        self.playback.as_ref().is_some_and(|p| p.playing)
    }

    /// Shows the steps that are due at `now`; whether any was.
    pub fn advance(&mut self, now: Duration) -> bool {
        let before = self.steps().len();
        let steps = &self.trace.steps;
        if let Some(playback) = self.playback.as_mut().filter(|p| p.playing) {
            while playback.due <= now && playback.shown < steps.len() {
                let ms = steps[playback.shown].ms.clamp(0.0, 60_000.0);
                playback.due += Duration::from_secs_f64(ms / 1000.0).clamp(PACE.0, PACE.1);
                playback.shown += 1;
            }
            playback.playing = playback.shown < steps.len();
        }
        self.steps().len() > before
    }

    /// Pauses or resumes a recording; one that is at its end begins again.
    pub fn play_pause(&mut self, now: Duration) {
        let end = self.trace.steps.len();
        let playback = self.playback.get_or_insert(Playback {
            shown: end,
            playing: false,
            due: now,
        });
        playback.playing = !playback.playing;
        playback.due = now + PACE.0;
        if playback.playing && playback.shown >= end {
            playback.shown = 0;
        }
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
