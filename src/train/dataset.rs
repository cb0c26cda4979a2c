//! From search records to training examples.

use std::collections::HashSet;

use anyhow::{Result, ensure};
use sha2::{Digest, Sha256};

use crate::program::{Action, Program};
use crate::router::checkpoint::hex;
use crate::search::records::RecordFile;
use crate::text::escape_controls;
use crate::trace::ModelInfo;

/// A question and the actions its routers should take.
#[derive(Clone, Debug, PartialEq)]
pub struct RouterExample {
    /// The question's.
    pub id: String,
    /// What the model read when the target was found.
    pub prompt: String,
    /// Whether it read that under its chat template.
    pub chat: bool,
    /// The actions that are carried out while features are computed (teacher forcing), one a layer.
    pub target: Vec<Action>,
    /// What the routers are to say: shares of skip, execute and repeat, one distribution a layer.
    pub targets: Vec<[f32; 3]>,
    /// How much each layer's decision counts in the loss: 1 as a rule, 0 leaves it out.
    pub weights: Vec<f32>,
    /// Whether the search turned a wrong answer right.
    pub corrected: bool,
}

impl RouterExample {
    /// An example whose routers are to say what is carried out, its prompt as it is.
    pub fn new(id: String, prompt: String, target: Vec<Action>, corrected: bool) -> Self {
        RouterExample {
            id,
            prompt,
            chat: false,
            targets: target.iter().map(|&action| one_hot(action)).collect(),
            weights: vec![1.0; target.len()],
            target,
            corrected,
        }
    }

    /// Whether routers learn exactly what is carried out.
    fn is_plain(&self) -> bool {
        let hard = self.target.iter().map(|&action| one_hot(action));
        hard.eq(self.targets.iter().copied()) && self.weights.iter().all(|&w| w == 1.0)
    }
}

fn one_hot(action: Action) -> [f32; 3] {
    std::array::from_fn(|class| f32::from(u8::from(class == action as usize)))
}

/// Examples, and what was left out.
#[derive(Clone, Debug, PartialEq)]
pub struct RouterDataset {
    /// Of all files, in their order.
    pub examples: Vec<RouterExample>,
    /// Questions without any right program.
    pub unsolved: usize,
    /// Questions whose text was there before.
    pub duplicates: usize,
    /// Examples that were right from the start, left out so that enough were corrected.
    pub thinned: usize,
    /// Of ids and targets.
    pub sha256: String,
}

impl RouterDataset {
    /// The examples of record files made on `model`.
    ///
    /// At least the share `corrected_share` of the examples turned from wrong to right, as the
    /// authors fill a quota; where there are fewer, examples that were right from the start are
    /// left out by the order of their hash under `seed`.
    ///
    /// # Errors
    /// Records of another model, records made with other settings than the first file's, and
    /// records without a single target.
    pub fn new(files: &[RecordFile], model: &ModelInfo, corrected_share: f64, seed: u64) -> Result<RouterDataset> {
        for file in files {
            check_file(file, &files[0], model)?;
        }
        let mut data = RouterDataset {
            examples: Vec::new(),
            unsolved: 0,
            duplicates: 0,
            thinned: 0,
            sha256: String::new(),
        };
        let mut seen = HashSet::new();
        for (header, record) in files.iter().flat_map(|f| f.examples.iter().map(|e| (&f.header, e))) {
            let target = record.best.as_ref().and_then(|best| best.to_actions(model.layers));
            if !seen.insert(record.question.as_str()) {
                data.duplicates += 1;
            } else if let Some(target) = target {
                let example = RouterExample::new(record.id.clone(), record.prompt(header), target, record.corrected());
                data.examples.push(RouterExample {
                    chat: header.scoring.under_chat_template(header.generation.as_ref()),
                    ..example
                });
            } else {
                data.unsolved += 1;
            }
        }
        ensure!(
            !data.examples.is_empty(),
            "the records hold no question with a right program: search more questions"
        );
        data.thin(corrected_share, seed);
        data.sha256 = data.hash();
        Ok(data)
    }

    fn thin(&mut self, corrected_share: f64, seed: u64) {
        let corrected = self.examples.iter().filter(|e| e.corrected).count();
        // Without a single corrected example no share can be reached.
        if corrected == 0 || corrected_share <= 0.0 {
            return;
        }
        let keep = (corrected as f64 * (1.0 - corrected_share) / corrected_share).floor() as usize;
        // By their places: questions of different files may have one id.
        let mut others: Vec<usize> = (0..self.examples.len())
            .filter(|&at| !self.examples[at].corrected)
            .collect();
        if others.len() <= keep {
            return;
        }
        others.sort_by_cached_key(|&at| id_hash(seed, &self.examples[at].id));
        let dropped: HashSet<usize> = others.drain(keep..).collect();
        self.thinned = dropped.len();
        let mut at = 0..;
        self.examples
            .retain(|_| !dropped.contains(&at.next().expect("examples are counted")));
    }

    fn hash(&self) -> String {
        let mut hash = Sha256::new();
        for example in &self.examples {
            let target = Program::from_actions(&example.target);
            hash.update(format!("{}\t{target}\n", example.id));
            if !example.is_plain() {
                let goals = example.targets.iter().flatten().chain(&example.weights);
                goals.for_each(|x| hash.update(x.to_le_bytes()));
            }
        }
        hex(&hash.finalize())
    }

    /// Indices of the training and of the validation examples. An example's side depends on `seed`
    /// and its id alone, so more data moves none across.
    pub fn split(&self, validation: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
        (0..self.examples.len()).partition(|&i| !is_held_out(&self.examples[i].id, validation, seed))
    }
}

/// Whether the question of this id is among the share `validation` that is held out under `seed`.
pub fn is_held_out(id: &str, validation: f64, seed: u64) -> bool {
    (id_hash(seed, id) as f64) < validation * u64::MAX as f64
}

/// The first 64 bits of a hash of seed and id: the same at every run and in every file.
pub(super) fn id_hash(seed: u64, id: &str) -> u64 {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(id.as_bytes());
    let bytes: [u8; 8] = hash.finalize()[..8].try_into().expect("a sha256 has 32 bytes");
    u64::from_le_bytes(bytes)
}

/// Whether records are of `model`, and of the kind of the first file's.
///
/// # Errors
/// The first difference, with both files.
pub(super) fn check_file(file: &RecordFile, first: &RecordFile, model: &ModelInfo) -> Result<()> {
    let header = &file.header;
    ensure!(
        header.model_sha256 == model.sha256 && header.layers == model.layers,
        "{} holds records of {} ({} layers, sha256 {}); the loaded model is {} ({} layers, sha256 {}). Search this \
         model, or choose the other with --model",
        file.path.display(),
        escape_controls(&header.model),
        header.layers,
        escape_controls(&header.model_sha256),
        model.name,
        model.layers,
        model.sha256
    );
    // Tasks may differ between files, and so may how they were seeded; what a record means may not.
    let mut comparable = header.clone();
    comparable.task.clone_from(&first.header.task);
    comparable.data_sha256.clone_from(&first.header.data_sha256);
    comparable.settings.seed = first.header.settings.seed;
    comparable.model.clone_from(&first.header.model);
    if let Some((field, here, there)) = comparable.difference(&first.header) {
        anyhow::bail!(
            "{} was made with {field} = {here}, {} with {there}; train on records of one kind",
            file.path.display(),
            first.path.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::records::tests::header;
    use crate::search::records::{ExampleRecord, Gold, ScoredProgram};

    fn model() -> ModelInfo {
        ModelInfo {
            name: "model".into(),
            sha256: "m".into(),
            layers: 4,
            ..ModelInfo::default()
        }
    }

    /// One record for each of (id, was it right from the start, best program).
    fn file(records: &[(&str, bool, Option<&str>)]) -> RecordFile {
        let record = |&(id, baseline, best): &(&str, bool, Option<&str>)| {
            let best = best.map(|text| Program::parse(text, 4).unwrap());
            let right = best.iter().map(|program| ScoredProgram {
                program: program.clone(),
                margin: Some(1.0),
            });
            ExampleRecord {
                id: id.into(),
                task: "tiny".into(),
                question: format!("question {id}"),
                choices: vec!["a".into(), "b".into()],
                answer: Gold::Index(0),
                model: "model".into(),
                baseline,
                right: right.collect(),
                best,
                wrong: Vec::new(),
                simulations: 1,
                seed: 42,
            }
        };
        RecordFile {
            path: "r.jsonl".into(),
            header: header(),
            examples: records.iter().map(record).collect(),
        }
    }

    #[test]
    fn questions_of_one_id_in_different_files_are_thinned_apart() {
        let ids: Vec<String> = (0..6).map(|i| format!("q{i}")).collect();
        let right: Vec<_> = ids.iter().map(|id| (id.as_str(), true, Some("0-2"))).collect();
        let mut files = [file(&right), file(&right)];
        for example in &mut files[1].examples {
            example.question.push_str(" of another file");
        }
        files[0].examples[0].baseline = false;
        files[0].examples[1].baseline = false;
        // 2 corrected of a share of 0.3 leave room for 4 of the 10 others.
        let data = RouterDataset::new(&files, &model(), 0.3, 42).unwrap();
        assert_eq!((data.examples.len(), data.thinned), (2 + 4, 6));
    }

    #[test]
    fn targets_count_executions_and_each_question_counts_once() {
        let files = [
            file(&[("a", false, Some("0 2x2 3")), ("b", false, None)]),
            file(&[("a", true, Some("0-3")), ("c", true, Some("0-2"))]),
        ];
        let data = RouterDataset::new(&files, &model(), 0.3, 42).unwrap();
        use Action::{Execute, Repeat, Skip};
        assert_eq!(data.examples[0].target, [Execute, Skip, Repeat, Execute]);
        let (execute, skip, repeat) = ([0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]);
        assert_eq!(data.examples[0].targets, [execute, skip, repeat, execute]);
        assert_eq!(data.examples[0].weights, [1.0; 4]);
        let ids: Vec<&str> = data.examples.iter().map(|e| e.id.as_str()).collect();
        assert_eq!((ids, data.unsolved, data.duplicates), (vec!["a", "c"], 1, 1));
    }

    #[test]
    fn the_hash_is_of_soft_targets_too() {
        let mut data = RouterDataset::new(&[file(&[("a", false, Some("0 2x2 3"))])], &model(), 0.3, 42).unwrap();
        let hard = data.hash();
        data.examples[0].targets[1] = [0.5, 0.5, 0.0];
        let soft = data.hash();
        data.examples[0].weights[3] = 0.0;
        assert!(hard != soft && soft != data.hash());
    }

    #[test]
    fn the_share_of_corrected_examples_is_kept() {
        let ids: Vec<String> = (0..20).map(|i| format!("r{i}")).collect();
        let mut records: Vec<_> = ids.iter().map(|id| (id.as_str(), true, Some("0-2"))).collect();
        records.extend([("x", false, Some("0 2-3")), ("y", false, Some("0-1 3"))]);
        let data = RouterDataset::new(&[file(&records)], &model(), 0.25, 42).unwrap();
        assert_eq!((data.examples.len(), data.thinned), (8, 14));
        assert_eq!(data.examples.iter().filter(|e| e.corrected).count(), 2);
        assert_eq!(RouterDataset::new(&[file(&records)], &model(), 0.25, 42).unwrap(), data);
        assert_ne!(RouterDataset::new(&[file(&records)], &model(), 0.25, 43).unwrap(), data);
    }

    #[test]
    fn an_examples_side_depends_on_its_id_alone() {
        let ids: Vec<String> = (0..400).map(|i| format!("r{i}")).collect();
        let records: Vec<_> = ids.iter().map(|id| (id.as_str(), true, Some("0-2"))).collect();
        let all = RouterDataset::new(&[file(&records)], &model(), 0.0, 42).unwrap();
        let half = RouterDataset::new(&[file(&records[..200])], &model(), 0.0, 42).unwrap();
        let (_, in_all) = all.split(0.1, 42);
        let (_, in_half) = half.split(0.1, 42);
        assert!((20..60).contains(&in_all.len()), "{} of 400 validate", in_all.len());
        assert_eq!(
            in_all.iter().filter(|&&i| i < 200).copied().collect::<Vec<_>>(),
            in_half
        );
    }

    #[test]
    fn foreign_and_mixed_records_are_refused_by_name() {
        let refused = |change: fn(&mut RecordFile)| {
            let good = file(&[("a", false, Some("0 2-3"))]);
            let mut other = good.clone();
            other.path = "other.jsonl".into();
            change(&mut other);
            RouterDataset::new(&[good, other], &model(), 0.3, 42)
                .unwrap_err()
                .to_string()
        };
        let error = refused(|f| f.header.model_sha256 = "x".into());
        assert!(error.contains("other.jsonl holds records of model"), "{error}");
        let error = refused(|f| f.header.settings.simulations = 9);
        assert!(error.contains("other.jsonl was made with simulations = 9"), "{error}");
        let none = RouterDataset::new(&[file(&[("a", false, None)])], &model(), 0.3, 42);
        assert!(
            none.unwrap_err()
                .to_string()
                .contains("no question with a right program")
        );
    }
}
