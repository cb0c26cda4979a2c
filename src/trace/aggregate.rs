//! What many runs of one model have in common: rates, depths, confidences, programs.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use thiserror::Error;

use crate::program::Program;
use crate::trace::{DecidedBy, Decision, ModelInfo, Trace, argmax};

/// Bins of the confidence, a tenth wide: a greatest of three probabilities is 1/3 at least.
pub const BINS: usize = 7;
const LOWEST_BIN: usize = 3;

/// A run of another model than those before.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "a run of {found} ({found_layers} layers, sha256 {found_sha256}) among runs of {expected} ({expected_layers} layers, \
     sha256 {expected_sha256}): statistics are those of one model, take its runs alone"
)]
pub struct OtherModel {
    /// The model of the runs before.
    pub expected: String,
    /// Its number of layers.
    pub expected_layers: usize,
    /// The sha256 of its file.
    pub expected_sha256: String,
    /// The model of this run.
    pub found: String,
    /// Its number of layers.
    pub found_layers: usize,
    /// The sha256 of its file.
    pub found_sha256: String,
}

/// Counts over runs; add runs one by one and ask for a [`TraceStatistics`] at any time.
#[derive(Clone, Debug)]
pub struct Aggregate {
    model: ModelInfo,
    runs: usize,
    prompt_tokens: usize,
    answer_tokens: usize,
    routers: BTreeMap<String, usize>,
    scopes: BTreeMap<&'static str, usize>,
    /// For each layer how often it was skipped, executed, repeated: at prompts, one decision a run;
    /// at answer tokens.
    at_prompts: Vec<[usize; 3]>,
    at_answers: Vec<[usize; 3]>,
    /// Cells of answer tokens, by [`DecidedBy`].
    decided_by: [usize; DecidedBy::ALL.len()],
    /// Tokens by depth.
    depths: BTreeMap<usize, usize>,
    confidence: [usize; BINS],
    agreement: BTreeMap<&'static str, Agreement>,
    programs: HashMap<Program, (usize, usize)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bin {
    pairs: usize,
    agreed: usize,
    /// Sum over the pairs.
    confidence: f64,
}

/// Counts of one scope.
#[derive(Clone, Debug, Default)]
struct Agreement {
    bins: [Bin; BINS],
    /// Answer cells at which a router was asked, and those where router and dial would have done
    /// otherwise.
    asked: usize,
    otherwise: usize,
}

impl Aggregate {
    /// Nothing yet, of runs of `model`.
    pub fn new(model: ModelInfo) -> Aggregate {
        let layers = model.layers;
        Aggregate {
            model,
            runs: 0,
            prompt_tokens: 0,
            answer_tokens: 0,
            routers: BTreeMap::new(),
            scopes: BTreeMap::new(),
            at_prompts: vec![[0; 3]; layers],
            at_answers: vec![[0; 3]; layers],
            decided_by: [0; DecidedBy::ALL.len()],
            depths: BTreeMap::new(),
            confidence: [0; BINS],
            agreement: BTreeMap::new(),
            programs: HashMap::new(),
        }
    }

    /// Counts a run; of a branch what it computed itself: the prompt and the tokens before it are those of another run.
    ///
    /// # Errors
    /// [`OtherModel`]; nothing is counted then.
    pub fn add(&mut self, trace: &Trace) -> Result<(), OtherModel> {
        let (model, found) = (&self.model, &trace.header.model);
        if (model.layers, &model.sha256) != (found.layers, &found.sha256) {
            return Err(OtherModel {
                expected: model.name.clone(),
                expected_layers: model.layers,
                expected_sha256: model.sha256.clone(),
                found: found.name.clone(),
                found_layers: found.layers,
                found_sha256: found.sha256.clone(),
            });
        }
        let header = &trace.header;
        self.runs += 1;
        let kept = header
            .branch
            .map(|branch| branch.at.saturating_sub(header.prompt.len()));
        let steps = &trace.steps[kept.unwrap_or(0).min(trace.steps.len())..];
        self.answer_tokens += steps.len();
        let routers = header.routers.as_ref().map_or("none", |r| &r.name);
        *self.routers.entry(routers.to_owned()).or_default() += 1;
        *self.scopes.entry(header.settings.scope.name()).or_default() += 1;
        if kept.is_none() {
            self.prompt_tokens += header.prompt.len();
            count_actions(&mut self.at_prompts, &header.decisions);
            self.count_confidence(&header.decisions);
            self.programs.entry(header.program.clone()).or_default().0 += 1;
        }
        for step in steps {
            count_actions(&mut self.at_answers, &step.decisions);
            self.count_confidence(&step.decisions);
            *self.depths.entry(step.depth).or_default() += 1;
            self.programs.entry(step.program.clone()).or_default().1 += 1;
            for decision in &step.decisions {
                self.decided_by[decision.by as usize] += 1;
            }
        }
        let agreement = self.agreement.entry(header.settings.scope.name()).or_default();
        for step in steps {
            agreement.count(&header.decisions, &step.decisions);
        }
        Ok(())
    }

    fn count_confidence(&mut self, decisions: &[Decision]) {
        for confidence in decisions.iter().filter_map(Decision::confidence) {
            self.confidence[bin(confidence)] += 1;
        }
    }

    /// What was counted, with the `programs` most common programs.
    pub fn report(&self, programs: usize) -> TraceStatistics {
        let layer = |layer| LayerRates {
            layer,
            prompts: rates(self.at_prompts[layer]),
            answers: rates(self.at_answers[layer]),
        };
        let sum = |counts: &[[usize; 3]]| {
            let add = |sum: [usize; 3], c: &[usize; 3]| std::array::from_fn(|i| sum[i] + c[i]);
            rates(counts.iter().fold([0; 3], add))
        };
        let mut common: Vec<ProgramCount> = self.programs.iter().map(ProgramCount::new).collect();
        common.sort_by(|a, b| {
            let rank = |p: &ProgramCount| std::cmp::Reverse((p.tokens, p.prompts));
            rank(a).cmp(&rank(b)).then_with(|| a.program.cmp(&b.program))
        });
        let distinct_programs = common.len();
        common.truncate(programs);
        let named = |(name, &count): (&str, &usize)| NamedCount {
            name: name.to_owned(),
            count,
        };
        TraceStatistics {
            model: self.model.name.clone(),
            model_sha256: self.model.sha256.clone(),
            runs: self.runs,
            prompt_tokens: self.prompt_tokens,
            answer_tokens: self.answer_tokens,
            routers: self.routers.iter().map(|(n, c)| named((n, c))).collect(),
            scopes: self.scopes.iter().map(|(n, c)| named((n, c))).collect(),
            decided_by: DecidedBy::ALL
                .iter()
                .zip(&self.decided_by)
                .map(|(by, c)| named((by.name(), c)))
                .collect(),
            layers: (0..self.model.layers).map(layer).collect(),
            all_prompts: sum(&self.at_prompts),
            all_answers: sum(&self.at_answers),
            depth: Depths::new(&self.depths),
            confidence: (0..BINS)
                .map(|b| ConfidenceBin {
                    from: edge(b),
                    to: edge(b + 1),
                    decisions: self.confidence[b],
                })
                .collect(),
            agreement: self.agreement.iter().map(|(scope, a)| a.report(scope)).collect(),
            distinct_programs,
            programs: common,
        }
    }
}

impl Agreement {
    /// Holds what the routers said at an answer token against what they had said at the prompt.
    fn count(&mut self, prompt: &[Decision], token: &[Decision]) {
        for (before, now) in prompt.iter().zip(token) {
            let Some(probs) = now.probs else { continue };
            self.asked += 1;
            self.otherwise += usize::from(now.disagrees());
            let Some(confidence) = before.confidence() else {
                continue;
            };
            let bin = &mut self.bins[bin(confidence)];
            bin.pairs += 1;
            bin.agreed += usize::from(before.probs.map(argmax) == Some(argmax(probs)));
            bin.confidence += f64::from(confidence);
        }
    }

    fn report(&self, scope: &'static str) -> AgreementReport {
        let pairs: usize = self.bins.iter().map(|b| b.pairs).sum();
        let agreed: usize = self.bins.iter().map(|b| b.agreed).sum();
        let confidence: f64 = self.bins.iter().map(|b| b.confidence).sum();
        let bins: Vec<AgreementBin> = (0..BINS)
            .map(|b| AgreementBin {
                from: edge(b),
                to: edge(b + 1),
                pairs: self.bins[b].pairs,
                confidence: mean(self.bins[b].confidence, self.bins[b].pairs),
                agreement: mean(self.bins[b].agreed as f64, self.bins[b].pairs),
            })
            .collect();
        let gap = |b: &AgreementBin| Some(b.pairs as f64 * (b.confidence? - b.agreement?).abs());
        AgreementReport {
            scope,
            pairs,
            confidence: mean(confidence, pairs),
            agreement: mean(agreed as f64, pairs),
            calibration_error: mean(bins.iter().filter_map(gap).sum(), pairs),
            cells_asked: self.asked,
            cells_otherwise: self.otherwise,
            bins,
        }
    }
}

fn count_actions(counts: &mut [[usize; 3]], decisions: &[Decision]) {
    for (count, decision) in counts.iter_mut().zip(decisions) {
        count[decision.action.executions()] += 1;
    }
}

fn bin(confidence: f32) -> usize {
    ((confidence * 10.0) as usize).clamp(LOWEST_BIN, LOWEST_BIN + BINS - 1) - LOWEST_BIN
}

/// The lower edge of a bin.
fn edge(bin: usize) -> f64 {
    (bin + LOWEST_BIN) as f64 / 10.0
}

fn mean(sum: f64, n: usize) -> Option<f64> {
    (n > 0).then(|| sum / n as f64)
}

fn rates(counts: [usize; 3]) -> Option<[f64; 3]> {
    let all: usize = counts.iter().sum();
    (all > 0).then(|| counts.map(|n| n as f64 / all as f64))
}

/// What runs have in common. Rates are 0 to 1, in the order skip, execute, repeat; absent where
/// nothing was counted. Defined in docs/headless.md.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TraceStatistics {
    /// The model of all runs.
    pub model: String,
    /// The sha256 of its file.
    pub model_sha256: String,
    /// Runs counted.
    pub runs: usize,
    /// Tokens of all prompts.
    pub prompt_tokens: usize,
    /// Tokens of all answers; of a branch those that it computed.
    pub answer_tokens: usize,
    /// Runs by router and by scope.
    pub routers: Vec<NamedCount>,
    /// See `routers`.
    pub scopes: Vec<NamedCount>,
    /// Cells of answer tokens by who settled them.
    pub decided_by: Vec<NamedCount>,
    /// One a layer.
    pub layers: Vec<LayerRates>,
    /// Over all layers.
    pub all_prompts: Option<[f64; 3]>,
    /// See `all_prompts`.
    pub all_answers: Option<[f64; 3]>,
    /// Absent where there are no answer tokens.
    pub depth: Option<Depths>,
    /// Of all decisions that routers made, at prompts and at answer tokens.
    pub confidence: Vec<ConfidenceBin>,
    /// One a scope that was met.
    pub agreement: Vec<AgreementReport>,
    /// Programs that differ, of prompts and answer tokens.
    pub distinct_programs: usize,
    /// The commonest ones, the commonest first.
    pub programs: Vec<ProgramCount>,
}

/// Something counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamedCount {
    /// What was counted.
    pub name: String,
    /// How often it was met.
    pub count: usize,
}

/// How often a layer's actions were carried out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerRates {
    /// From 0 at the lowest.
    pub layer: usize,
    /// Over runs.
    pub prompts: Option<[f64; 3]>,
    /// Over answer tokens.
    pub answers: Option<[f64; 3]>,
}

/// Depths of answer tokens.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Depths {
    /// Block executions a token.
    pub mean: f64,
    /// Block executions.
    pub median: f64,
    /// Block executions.
    pub least: usize,
    /// Block executions.
    pub greatest: usize,
    /// Ascending.
    pub histogram: Vec<DepthCount>,
}

/// Tokens of one depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DepthCount {
    /// Block executions.
    pub depth: usize,
    /// Answer tokens of that depth.
    pub tokens: usize,
}

impl Depths {
    fn new(counts: &BTreeMap<usize, usize>) -> Option<Depths> {
        let tokens: usize = counts.values().sum();
        let nth = |n: usize| {
            let mut before = 0;
            let found = counts.iter().find(|&(_, &count)| {
                before += count;
                before > n
            });
            found.map_or(0.0, |(&depth, _)| depth as f64)
        };
        let (least, greatest) = (*counts.keys().next()?, *counts.keys().next_back()?);
        let sum: f64 = counts.iter().map(|(&d, &n)| d as f64 * n as f64).sum();
        Some(Depths {
            mean: sum / tokens as f64,
            median: (nth((tokens - 1) / 2) + nth(tokens / 2)) / 2.0,
            least,
            greatest,
            histogram: counts
                .iter()
                .map(|(&depth, &tokens)| DepthCount { depth, tokens })
                .collect(),
        })
    }
}

/// Decisions whose confidence is in [from, to); the last bin has its upper edge too.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ConfidenceBin {
    /// Lower edge, a probability.
    pub from: f64,
    /// Upper edge.
    pub to: f64,
    /// How many lie between.
    pub decisions: usize,
}

/// How far the routers' prompt-time decisions are what they say later, in runs of one scope.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AgreementReport {
    /// The scope of these runs.
    pub scope: &'static str,
    /// Layers × answer tokens at which the layer's router was asked at the prompt and at the token.
    pub pairs: usize,
    /// Mean confidence at the prompt, over pairs.
    pub confidence: Option<f64>,
    /// Share of pairs where the likeliest action is the same.
    pub agreement: Option<f64>,
    /// Mean over pairs of |confidence − agreement| of their bin.
    pub calibration_error: Option<f64>,
    /// Cells of answer tokens where a router was asked, and of those the ones where router and dial
    /// would have done something else than was carried out.
    pub cells_asked: usize,
    /// See `cells_asked`.
    pub cells_otherwise: usize,
    /// Ascending, [`BINS`] of them.
    pub bins: Vec<AgreementBin>,
}

/// Pairs by the confidence at the prompt.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AgreementBin {
    /// Lower edge, a probability.
    pub from: f64,
    /// Upper edge.
    pub to: f64,
    /// How many lie between.
    pub pairs: usize,
    /// Mean confidence at the prompt; absent without pairs.
    pub confidence: Option<f64>,
    /// Share where the likeliest action is the same; absent without pairs.
    pub agreement: Option<f64>,
}

/// How often a program ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProgramCount {
    /// The program.
    pub program: Program,
    /// Its block executions.
    pub depth: usize,
    /// Prompts and answer tokens that ran it.
    pub prompts: usize,
    /// See `prompts`.
    pub tokens: usize,
}

impl ProgramCount {
    fn new((program, &(prompts, tokens)): (&Program, &(usize, usize))) -> ProgramCount {
        ProgramCount {
            depth: program.depth(),
            program: program.clone(),
            prompts,
            tokens,
        }
    }
}

#[cfg(test)]
mod tests;
