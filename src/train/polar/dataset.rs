//! From search records to what the predictor is to say.

use std::collections::HashSet;

use anyhow::{Result, ensure};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use super::PolarSettings;
use crate::program::Program;
use crate::program::segments::{self, Segment};
use crate::router::checkpoint::hex;
use crate::search::records::RecordFile;
use crate::trace::ModelInfo;
use crate::train::dataset::{check_file, id_hash};

/// A question with the programs that answer it rightly.
///
/// The loss of a program is linear in its targets, so those of all programs of a question are one target.
#[derive(Clone, Debug, PartialEq)]
pub struct ProgramExample {
    /// The question's.
    pub id: String,
    /// What the model read when the programs were found.
    pub prompt: String,
    /// Whether it read that under its chat template.
    pub chat: bool,
    /// For each layer the weight of the programs in which a segment begins there.
    pub boundaries: Vec<f32>,
    /// For each layer and action the weight of the programs in which a segment of that action begins there, each program's
    /// divided by its number of segments.
    pub operations: Vec<[f32; 3]>,
    /// All right programs that are learnt from.
    pub right: Vec<Program>,
    /// Their segments and weights, which come to 1.
    pub right_segments: Vec<(Vec<Segment>, f64)>,
    /// Those of programs that the search found wrong; their weights are those of right ones.
    pub wrong_segments: Vec<(Vec<Segment>, f64)>,
    /// Whether the search turned a wrong answer right.
    pub corrected: bool,
}

/// Examples, and what was left out.
#[derive(Clone, Debug, PartialEq)]
pub struct ProgramDataset {
    /// Of all files, in their order.
    pub examples: Vec<ProgramExample>,
    /// Layers of the model.
    pub layers: usize,
    /// Programs that are learnt from.
    pub programs: usize,
    /// Right programs that are no segments skipped, kept or run twice.
    pub no_parse: usize,
    /// Right programs beyond the greatest number for a question.
    pub beyond: usize,
    /// Questions without a right program that can be learnt from.
    pub unsolved: usize,
    /// Questions whose text was there before.
    pub duplicates: usize,
    /// Of ids and targets.
    pub sha256: String,
}

impl ProgramDataset {
    /// The examples of record files made on `model`.
    ///
    /// # Errors
    /// Records of another model or of different kinds, and records without a single program to learn from.
    pub fn new(files: &[RecordFile], model: &ModelInfo, settings: &PolarSettings) -> Result<ProgramDataset> {
        for file in files {
            check_file(file, &files[0], model)?;
        }
        let mut data = ProgramDataset {
            examples: Vec::new(),
            layers: model.layers,
            programs: 0,
            no_parse: 0,
            beyond: 0,
            unsolved: 0,
            duplicates: 0,
            sha256: String::new(),
        };
        let mut seen = HashSet::new();
        let mut hash = Sha256::new();
        for (header, record) in files.iter().flat_map(|f| f.examples.iter().map(|e| (&f.header, e))) {
            if !seen.insert(record.question.as_str()) {
                data.duplicates += 1;
                continue;
            }
            let right = record.right.iter().map(|scored| &scored.program);
            let mut parsed: Vec<(&Program, Vec<Segment>)> = right
                .filter_map(|program| Some((program, segments::parse(program, model.layers)?)))
                .collect();
            data.no_parse += record.right.len() - parsed.len();
            if parsed.is_empty() {
                data.unsolved += 1;
                continue;
            }
            if parsed.len() > settings.programs {
                data.beyond += parsed.len() - settings.programs;
                let mut rng = ChaCha8Rng::seed_from_u64(id_hash(settings.seed, &record.id));
                parsed.shuffle(&mut rng);
                parsed.truncate(settings.programs);
            }
            data.programs += parsed.len();
            let weights = weights(&parsed, model.layers, settings);
            let (boundaries, operations) = targets(&parsed, &weights, model.layers);
            hash.update(format!(
                "{}\t{:?}\n",
                record.id,
                parsed.iter().map(|p| p.0).collect::<Vec<_>>()
            ));
            let mut wrong = Vec::new();
            if settings.contrast > 0.0 {
                wrong = (record.wrong.iter())
                    .filter_map(|scored| segments::parse(&scored.program, model.layers))
                    .collect();
                if wrong.len() > settings.programs {
                    let mut rng = ChaCha8Rng::seed_from_u64(id_hash(settings.seed, &record.id));
                    rng.set_stream(1);
                    wrong.shuffle(&mut rng);
                    wrong.truncate(settings.programs);
                }
                hash.update(format!("{wrong:?}\n"));
            }
            // A wrong program counts as the greatest of the right ones.
            let weight = weights.iter().copied().fold(0.0, f64::max);
            data.examples.push(ProgramExample {
                id: record.id.clone(),
                prompt: record.prompt(header),
                chat: header.scoring.under_chat_template(header.generation.as_ref()),
                boundaries,
                operations,
                right: parsed.iter().map(|(program, _)| (*program).clone()).collect(),
                right_segments: parsed.into_iter().map(|(_, segments)| segments).zip(weights).collect(),
                wrong_segments: wrong.into_iter().map(|segments| (segments, weight)).collect(),
                corrected: record.corrected(),
            });
        }
        ensure!(
            !data.examples.is_empty(),
            "the records hold no question with a right program of segments ({} questions without one, {} programs that are \
             no segments of 1 to 4 layers skipped, kept or run twice): search more questions, with --edits segments",
            data.unsolved,
            data.no_parse
        );
        data.sha256 = hex(&hash.finalize());
        Ok(data)
    }
}

/// The weights of a question's programs: 1 each, that of the standard program less where a shorter one is right, more where
/// layers are left out and have a price; together 1.
fn weights(programs: &[(&Program, Vec<Segment>)], layers: usize, settings: &PolarSettings) -> Vec<f64> {
    let standard = Program::standard(layers);
    let shorter = programs.iter().any(|(program, _)| program.depth() < layers);
    let saved = |program: &Program| layers as f64 - program.depth() as f64;
    // Against the shortest one, so that no price is too large for a number.
    let most = programs
        .iter()
        .map(|(program, _)| saved(program))
        .fold(f64::MIN, f64::max);
    let weight = |program: &Program| {
        let weight = match shorter && *program == standard {
            true => settings.standard_weight,
            false => 1.0,
        };
        weight * (settings.layer_price * (saved(program) - most)).exp()
    };
    let weights: Vec<f64> = programs.iter().map(|(program, _)| weight(program)).collect();
    let sum: f64 = weights.iter().sum();
    weights
        .iter()
        .map(|weight| weight / sum.max(f64::MIN_POSITIVE))
        .collect()
}

/// The boundaries and operations of a question's programs, weighted, see [`ProgramExample`].
fn targets(programs: &[(&Program, Vec<Segment>)], weights: &[f64], layers: usize) -> (Vec<f32>, Vec<[f32; 3]>) {
    let (mut boundaries, mut operations) = (vec![0.0f64; layers], vec![[0.0f64; 3]; layers]);
    for ((_, parse), weight) in programs.iter().zip(weights) {
        for segment in parse {
            boundaries[segment.start] += weight;
            operations[segment.start][segment.action as usize] += weight / parse.len() as f64;
        }
    }
    (
        boundaries.into_iter().map(|x| x as f32).collect(),
        operations.into_iter().map(|row| row.map(|x| x as f32)).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Action;

    #[test]
    fn a_questions_programs_are_one_target_whose_loss_is_theirs() {
        let programs: Vec<Program> = ["0-5", "0-3", "0 (1-2)x2 3-5"]
            .iter()
            .map(|text| Program::parse(text, 6).unwrap())
            .collect();
        let parsed: Vec<(&Program, Vec<Segment>)> =
            programs.iter().map(|p| (p, segments::parse(p, 6).unwrap())).collect();
        let mut settings = PolarSettings::default();
        let found = weights(&parsed, 6, &settings);
        let expected = [0.3 / 2.3, 1.0 / 2.3, 1.0 / 2.3];
        assert!(
            found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12),
            "{found:?}"
        );
        assert_eq!(weights(&parsed[..1], 6, &settings), [1.0], "the standard one alone");
        settings.layer_price = 2f64.ln();
        let priced = weights(&parsed, 6, &settings);
        // Of 6, 4 and 8 layers.
        let expected_priced = [0.3 / 4.55, 4.0 / 4.55, 0.25 / 4.55];
        assert!(
            priced.iter().zip(expected_priced).all(|(a, b)| (a - b).abs() < 1e-12),
            "{priced:?}"
        );
        settings.layer_price = 1000.0;
        assert_eq!(weights(&parsed, 6, &settings), [0.0, 1.0, 0.0]);
        let (boundaries, operations) = targets(&parsed, &found, 6);
        assert!((boundaries[0] - 1.0).abs() < 1e-6, "all begin at layer 0");
        assert!((operations.iter().flatten().sum::<f32>() - 1.0).abs() < 1e-6);
        // The loss by program and by target, of any logits.
        let (z, y): (Vec<f64>, Vec<[f64; 3]>) = (0..6)
            .map(|l| {
                let x = |k: f64| (1.3 * l as f64 + k).sin();
                (x(0.0), [x(1.0), x(2.0), x(3.0)])
            })
            .unzip();
        let log_sum = |y: &[f64; 3]| y.iter().map(|y| y.exp()).sum::<f64>().ln();
        let bce = |z: f64, t: f64| (1.0 + z.exp()).ln() - t * z;
        let one = |parse: &[Segment]| {
            let begins = |l| f64::from(u8::from(parse.iter().any(|s| s.start == l)));
            let boundary = (1..6).map(|l| bce(z[l], begins(l))).sum::<f64>() / 5.0;
            let operation = |s: &Segment| log_sum(&y[s.start]) - y[s.start][s.action as usize];
            boundary + parse.iter().map(operation).sum::<f64>() / parse.len() as f64
        };
        let by_program: f64 = parsed.iter().zip(&expected).map(|((_, p), w)| w * one(p)).sum();
        let boundary = (1..6).map(|l| bce(z[l], f64::from(boundaries[l]))).sum::<f64>() / 5.0;
        let operation = |l: usize| {
            let at = |a: Action| f64::from(operations[l][a as usize]) * (log_sum(&y[l]) - y[l][a as usize]);
            Action::ALL.map(at).iter().sum::<f64>()
        };
        let by_target = boundary + (0..6).map(operation).sum::<f64>();
        assert!((by_program - by_target).abs() < 1e-6, "{by_program} {by_target}");
    }
}
