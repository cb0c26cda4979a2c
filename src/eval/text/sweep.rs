//! All policies on all texts.

use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};

use super::exits::Exit;
use super::programs::{SeedPurpose, random, random_of, share_at, shuffled, without};
use super::reading::Reference;
use super::removal::{RemovalOrder, observe, remove};
use super::{PolicyPoint, TextMethod};
use super::{Reading, Text, routed};
use crate::engine::sequence::Stopped;
use crate::eval::parallel::for_each_ordered;
use crate::model::Decoder;
use crate::progress::{Progress, Tell};
use crate::router::Router;
use crate::trace::{CalibrationPoint, KvMode};

/// Tokens of the answers that the static controls are chosen on: each candidate layer costs a pass over all.
const STATIC_TOKENS: usize = 64;

/// Depths at which tokens exit by a rule: the lens is asked at every layer, which takes several times as long as the
/// layers.
const EXITS: usize = 3;

/// What a measurement needs beside its texts.
pub struct TextSweep<'a> {
    /// The model's blocks.
    pub decoder: &'a Decoder,
    /// Absent where only the static controls are chosen; [`sweep`] refuses that.
    pub routers: Option<&'a dyn Router>,
    /// What tokens leave in layers that they skip.
    pub kv: KvMode,
    /// Texts read at once. Changes no result.
    pub threads: usize,
    /// Ends the measurement.
    pub stop: &'a AtomicBool,
    /// Of random layers, of shuffled programs, and of the intervals of what is written.
    pub seed: u64,
}

/// A position of the dial that is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DialPosition {
    /// −1 to 1.
    pub dial: f64,
    /// The mean depth that it was chosen for, if it was.
    pub depth: Option<f64>,
    /// What the routers' calibration says of it; absent where nothing was measured.
    pub expected: Option<CalibrationPoint>,
}

/// What all policies came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweep {
    /// One a method and setting.
    pub points: Vec<PolicyPoint>,
    /// How the static programs were chosen, where controls were asked for.
    pub removal: Option<RemovalOrder>,
    /// The layers that block influence leaves out, in turn.
    pub influence: Vec<usize>,
}

/// Calls `work` for each of `count` texts, on several threads. `None` where it was stopped.
pub(super) fn each<T: Send>(
    job: &TextSweep,
    count: usize,
    what: &str,
    tell: Tell,
    work: impl Fn(usize) -> Result<T> + Sync,
) -> Result<Option<Vec<T>>> {
    let mut all = Vec::with_capacity(count);
    tell(Progress::new(what, 0, count));
    let one = |index: usize| match work(index) {
        Err(e) if e.is::<Stopped>() => Ok(None),
        found => found.map(Some),
    };
    for_each_ordered(0..count, job.threads, job.stop, one, |index, found| {
        all.push(found);
        tell(Progress::new(what, index + 1, count));
        Ok(())
    })?;
    Ok((all.len() == count).then_some(all))
}

/// Measures the routers at some positions of the dial and, where there are texts to choose them on, the controls.
/// `None` where it was stopped.
///
/// # Errors
/// Those of the model, and a job without routers.
pub fn sweep(
    job: &TextSweep,
    texts: &[Text],
    asked: &[DialPosition],
    training: Option<&[Text]>,
    tell: Tell,
) -> Result<Option<Sweep>> {
    let Some(mut points) = routers(job, texts, asked, training.is_some(), tell)? else {
        return Ok(None);
    };
    let mut sweep = Sweep {
        points: vec![full(job.decoder.config().layers, texts)],
        removal: None,
        influence: Vec::new(),
    };
    if let Some(training) = training {
        let depths: Vec<f64> = points
            .iter()
            .filter(|p| p.method == TextMethod::Routers)
            .map(PolicyPoint::depth)
            .collect();
        let Some(choice) = choose(job, training, &depths, tell)? else {
            return Ok(None);
        };
        let Some(controls) = controls(job, texts, &choice.policies, tell)? else {
            return Ok(None);
        };
        points.extend(controls);
        (sweep.removal, sweep.influence) = (Some(choice.removal), choice.influence);
    }
    sweep.points.extend(points);
    Ok(Some(sweep))
}

/// The whole model, which is nothing apart from itself.
fn full(layers: usize, texts: &[Text]) -> PolicyPoint {
    let reading = |text: &Text| Reading {
        kl: vec![0.0; text.answer.len()],
        same: vec![true; text.answer.len()],
        depth: vec![layers; text.answer.len()],
    };
    PolicyPoint {
        method: TextMethod::Full,
        setting: "every layer".into(),
        asked: None,
        readings: texts.iter().map(reading).collect(),
    }
}

/// The routers at each position of the dial; with `controls` their programs shuffled, and ragged caches.
fn routers(
    job: &TextSweep,
    texts: &[Text],
    asked: &[DialPosition],
    controls: bool,
    tell: Tell,
) -> Result<Option<Vec<PolicyPoint>>> {
    let routers = job.routers.context("a measurement of routers needs some")?;
    let mut methods = vec![TextMethod::Routers];
    if controls {
        methods.push(TextMethod::Shuffled);
        // Routers that were asked for with ragged caches have them already.
        methods.extend((job.kv == KvMode::Fill).then_some(TextMethod::Ragged));
    }
    let one = |index: usize| {
        let reference = Reference::new(job.decoder, &texts[index], job.stop, |_, _| Ok(()))?;
        let mut readings = Vec::with_capacity(asked.len() * methods.len());
        for (point, at) in asked.iter().enumerate() {
            let (reading, programs) = reference.routed(routers, at.dial, job.kv)?;
            readings.push(reading);
            for method in &methods[1..] {
                readings.push(match method {
                    TextMethod::Ragged => reference.routed(routers, at.dial, KvMode::Ragged)?.0,
                    _ => {
                        let mut rng = random_of(job.seed, SeedPurpose::Shuffle, point, index);
                        reference.under(&shuffled(&programs, &mut rng), job.kv)?
                    }
                });
            }
        }
        Ok(readings)
    };
    let Some(readings) = each(job, texts.len(), "routers", tell, one)? else {
        return Ok(None);
    };
    let mut points: Vec<PolicyPoint> = Vec::new();
    for at in asked {
        points.extend(methods.iter().map(|&method| PolicyPoint {
            method,
            setting: setting(at),
            asked: Some(*at),
            readings: Vec::with_capacity(texts.len()),
        }));
    }
    add(&mut points, readings);
    Ok(Some(points))
}

fn setting(at: &DialPosition) -> String {
    match at.depth {
        Some(depth) => format!("depth {depth}, dial {:.3}", at.dial),
        None => format!("dial {}", at.dial),
    }
}

/// Hands the readings of each text to the points that they are of.
fn add(points: &mut [PolicyPoint], readings: Vec<Vec<Reading>>) {
    for of_text in readings {
        for (point, reading) in points.iter_mut().zip(of_text) {
            point.readings.push(reading);
        }
    }
}

/// A control that is measured.
enum Policy {
    /// These layers are left out.
    Without(TextMethod, Vec<usize>),
    /// Layers are left out with this probability.
    Random(f64),
    Exit(Exit),
}

impl Policy {
    fn method(&self) -> TextMethod {
        match self {
            Policy::Without(method, _) => *method,
            Policy::Random(_) => TextMethod::Random,
            Policy::Exit(Exit::Entropy(_)) => TextMethod::Entropy,
            Policy::Exit(Exit::Agreement(_)) => TextMethod::Agreement,
        }
    }

    fn setting(&self) -> String {
        match self {
            Policy::Without(_, layers) => {
                let mut layers = layers.clone();
                layers.sort_unstable();
                let layers: Vec<String> = layers.iter().map(ToString::to_string).collect();
                format!("without {}", layers.join(" "))
            }
            Policy::Random(share) => format!("each skipped at {:.1} %", 100.0 * share),
            Policy::Exit(rule) => rule.to_string(),
        }
    }
}

/// Most layers that the static controls leave out: a quarter, and seven at least.
fn most_removed(layers: usize) -> usize {
    (layers / 4).max(7).min(routed(layers).len())
}

/// Controls, and how the static ones came about.
struct Choice {
    policies: Vec<Policy>,
    removal: RemovalOrder,
    influence: Vec<usize>,
}

/// The controls for the mean depths of the routers, chosen on texts that are not measured on.
fn choose(job: &TextSweep, training: &[Text], depths: &[f64], tell: Tell) -> Result<Option<Choice>> {
    let layers = job.decoder.config().layers;
    let short = |text: &Text| Text {
        prompt: text.prompt.clone(),
        answer: text.answer[..text.answer.len().min(STATIC_TOKENS)].to_vec(),
    };
    let training: Vec<Text> = training.iter().map(short).collect();
    let least = depths.iter().copied().fold(layers as f64, f64::min);
    let count = ((layers as f64 - least).ceil() as usize).clamp(1, most_removed(layers).max(1));
    let Some(observed) = observe(job, &training, tell)? else {
        return Ok(None);
    };
    let Some(removal) = remove(job, &training, count, tell)? else {
        return Ok(None);
    };
    let influence: Vec<usize> = observed.by_influence.iter().copied().take(count).collect();
    let first = |method, order: &[usize]| {
        let of = |count| Policy::Without(method, order[..count].to_vec());
        (1..=order.len()).map(of).collect::<Vec<_>>()
    };
    let mut policies = first(TextMethod::Static, &removal.order);
    policies.extend(first(TextMethod::Influence, &influence));
    policies.extend(depths.iter().map(|&depth| Policy::Random(share_at(layers, depth))));
    let exits = spread(depths, EXITS);
    let mut rules: Vec<Exit> = exits.iter().map(|&depth| observed.lens.entropy_at(depth)).collect();
    rules.extend(exits.iter().map(|&depth| observed.lens.agreement_at(depth)));
    rules.dedup();
    policies.extend(rules.into_iter().map(Policy::Exit));
    Ok(Some(Choice {
        policies,
        removal,
        influence,
    }))
}

/// Up to `count` of some depths, the least and the greatest among them.
fn spread(depths: &[f64], count: usize) -> Vec<f64> {
    let mut depths = depths.to_vec();
    depths.sort_by(|a, b| b.total_cmp(a));
    depths.dedup();
    let count = count.min(depths.len());
    let at = |i: usize| depths[i * (depths.len() - 1) / (count - 1).max(1)];
    (0..count).map(at).collect()
}

fn controls(job: &TextSweep, texts: &[Text], policies: &[Policy], tell: Tell) -> Result<Option<Vec<PolicyPoint>>> {
    let layers = job.decoder.config().layers;
    let one = |index: usize| {
        let reference = Reference::new(job.decoder, &texts[index], job.stop, |_, _| Ok(()))?;
        let tokens = reference.tokens();
        let read = |(point, policy): (usize, &Policy)| match policy {
            Policy::Without(_, skipped) => reference.under(&without(layers, skipped, tokens), job.kv),
            Policy::Random(share) => {
                let mut rng = random_of(job.seed, SeedPurpose::Random, point, index);
                reference.under(&random(layers, *share, tokens, &mut rng), job.kv)
            }
            Policy::Exit(rule) => reference.exiting(*rule, job.kv),
        };
        policies.iter().enumerate().map(read).collect::<Result<Vec<_>>>()
    };
    let Some(readings) = each(job, texts.len(), "controls", tell, one)? else {
        return Ok(None);
    };
    let point = |policy: &Policy| PolicyPoint {
        method: policy.method(),
        setting: policy.setting(),
        asked: None,
        readings: Vec::with_capacity(texts.len()),
    };
    let mut points: Vec<PolicyPoint> = policies.iter().map(point).collect();
    add(&mut points, readings);
    Ok(Some(points))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::testing::{LAYERS, tiny_decoder, tiny_routers};
    use crate::eval::text::reading::tests::{GO_ON, text};

    #[test]
    fn every_control_is_measured_whatever_the_threads() {
        let (decoder, routers) = (tiny_decoder(), tiny_routers());
        let texts: Vec<Text> = (0..3)
            .map(|i| Text {
                answer: text().answer[i..].to_vec(),
                ..text()
            })
            .collect();
        let asked = [-0.6, -0.5].map(|dial| DialPosition {
            dial,
            depth: None,
            expected: None,
        });
        let at = |threads, training: Option<&[Text]>| {
            let job = TextSweep {
                decoder: &decoder,
                routers: Some(&routers),
                kv: KvMode::Fill,
                threads,
                stop: &GO_ON,
                seed: 3,
            };
            sweep(&job, &texts, &asked, training, &mut |_| {}).unwrap().unwrap()
        };
        let found = at(2, Some(&texts[..2]));
        assert_eq!(found, at(1, Some(&texts[..2])));
        for method in TextMethod::ALL {
            let points: Vec<&PolicyPoint> = found.points.iter().filter(|p| p.method == method).collect();
            assert!(!points.is_empty(), "{method}");
            for point in points {
                let tokens: Vec<usize> = point.readings.iter().map(Reading::tokens).collect();
                assert_eq!(tokens, [8, 7, 6], "{method}");
            }
        }
        let depths = |method| {
            let of = found.points.iter().filter(|p| p.method == method);
            of.map(PolicyPoint::depth).collect::<Vec<_>>()
        };
        assert_eq!(depths(TextMethod::Routers), depths(TextMethod::Shuffled));
        assert_eq!(depths(TextMethod::Full), [LAYERS as f64]);
        assert_eq!(depths(TextMethod::Static), [LAYERS as f64 - 1.0]);
        assert_eq!(found.removal.as_ref().map(|r| r.order.len()), Some(1));
        let plain = at(2, None);
        let methods: Vec<TextMethod> = plain.points.iter().map(|p| p.method).collect();
        assert_eq!(methods, [TextMethod::Full, TextMethod::Routers, TextMethod::Routers]);
    }

    #[test]
    fn stopped_it_reports_nothing() {
        static STOPPED: AtomicBool = AtomicBool::new(true);
        let (decoder, routers) = (tiny_decoder(), tiny_routers());
        let job = TextSweep {
            decoder: &decoder,
            routers: Some(&routers),
            kv: KvMode::Fill,
            threads: 1,
            stop: &STOPPED,
            seed: 3,
        };
        let asked = DialPosition {
            dial: -0.5,
            depth: None,
            expected: None,
        };
        assert_eq!(sweep(&job, &[text()], &[asked], None, &mut |_| {}).unwrap(), None);
    }

    #[test]
    fn exits_are_spread_over_the_depths() {
        assert_eq!(spread(&[24.0, 29.0, 28.0, 27.0, 25.0, 26.0], 3), [29.0, 27.0, 24.0]);
        assert_eq!(spread(&[5.0, 5.0], 4), [5.0]);
        assert_eq!(spread(&[], 4), [0.0; 0]);
    }

    #[test]
    fn static_controls_leave_out_a_quarter() {
        assert_eq!(most_removed(30), 7);
        assert_eq!(most_removed(48), 12);
        assert_eq!(most_removed(4), 1);
    }
}
