//! From samples of another codebase to records of questions that are known here.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Error, Result, bail, ensure};

use super::{Foreign, Sample};
use crate::eval::generation::default_new_tokens;
use crate::eval::grading::is_right;
use crate::eval::grading::letters::letter;
use crate::eval::{Answer, AnswerKind, GenerationSettings, Question, Scoring, Task};
use crate::model::ActivationBits;
use crate::program::Program;
use crate::search::mcts::target;
use crate::search::records::{ExampleRecord, FORMAT, Gold, RecordHeader, ScoredProgram};
use crate::search::{Edits, SearchSettings};
use crate::text::escape_controls;
use crate::trace::ModelInfo;

/// Characters of a question that a message quotes.
const QUOTED: usize = 60;

/// Records from another layout, and what is not among them.
#[derive(Debug)]
pub struct Imported {
    /// What holds for all of them.
    pub header: RecordHeader,
    /// In the order of the questions.
    pub examples: Vec<ExampleRecord>,
    /// Samples that cannot be used, each named, with the reason.
    pub damaged: Vec<Error>,
    /// Samples whose question another sample had before.
    pub repeated: usize,
    /// Programs of the samples used.
    pub programs: usize,
    /// Those of them that the edits asked for cannot lead to, and left out.
    pub no_vectors: usize,
    /// Whether some program runs the model's last layer.
    pub reaches_end: bool,
}

/// Matches the samples of `foreign` to the questions of `task` and makes them records of `model`.
/// Of `model` only name, sha256 and layers are used.
///
/// A sample belongs to the question of its id, else to the one whose text it holds, alone or in a
/// prompt; where several questions read alike, to the one whose choices the prompt names. What a
/// layout does not hold is left open: margins are none, the seed is 0, and the simulations of a
/// record are the programs known of it besides the standard one. Programs that `edits` cannot lead to
/// are left out.
pub fn import(foreign: Foreign, task: &Task, model: &ModelInfo, edits: Edits) -> Imported {
    let index = Index::new(&task.questions);
    let mut header = header(&foreign, task, model);
    header.settings.edits = edits;
    let mut imported = Imported {
        header,
        examples: Vec::new(),
        damaged: Vec::new(),
        repeated: 0,
        programs: 0,
        no_vectors: 0,
        reaches_end: false,
    };
    let mut records: HashMap<usize, ExampleRecord> = HashMap::new();
    for sample in foreign.samples {
        let found = sample.and_then(|sample| {
            let place = || sample.name.clone();
            let question = index.find(&sample).with_context(place)?;
            Ok((
                question,
                imported
                    .record(&task.questions[question], &sample)
                    .with_context(place)?,
            ))
        });
        match found {
            Err(error) => imported.damaged.push(error),
            Ok((question, _)) if records.contains_key(&question) => imported.repeated += 1,
            Ok((question, record)) => drop(records.insert(question, record)),
        }
    }
    let in_order = (0..task.questions.len()).filter_map(|question| records.remove(&question));
    imported.examples = in_order.collect();
    imported
}

fn header(foreign: &Foreign, task: &Task, model: &ModelInfo) -> RecordHeader {
    let stated = &foreign.settings;
    let known = SearchSettings::default();
    let answers = task.kind();
    // What the file does not say is taken as a search here would have it.
    let generation = (answers != AnswerKind::Choice).then(|| GenerationSettings {
        answers,
        max_new_tokens: default_new_tokens(answers, true),
        chat: false,
    });
    RecordHeader {
        format: FORMAT,
        task: task.name.clone(),
        data_sha256: task.sha256.clone(),
        model: model.name.clone(),
        model_sha256: model.sha256.clone(),
        layers: model.layers,
        exact: false,
        activations: ActivationBits::default(),
        scoring: if generation.is_some() {
            Scoring::Generated
        } else {
            Scoring::default()
        },
        generation,
        part: None,
        imported: Some(foreign.layout.name().to_owned()),
        settings: SearchSettings {
            simulations: stated.simulations.unwrap_or(0),
            seed: 0,
            exploration: stated.exploration.unwrap_or(known.exploration),
            length_penalty: stated.length_penalty.unwrap_or(known.length_penalty),
            random_child: stated.random_child.unwrap_or(known.random_child),
            ..known
        },
    }
}

impl Imported {
    fn record(&mut self, question: &Question, sample: &Sample) -> Result<ExampleRecord> {
        check_answer(question, sample)?;
        let layers = self.header.layers;
        let (right, wrong) = (distinct(&sample.right, layers)?, distinct(&sample.wrong, layers)?);
        if let Some(both) = right.iter().find(|program| wrong.contains(program)) {
            bail!("the program '{both}' stands among the right ones and among the wrong");
        }
        let standard = Program::standard(layers);
        let baseline = sample.baseline.unwrap_or_else(|| right.contains(&standard));
        ensure!(
            !(if baseline { &wrong } else { &right }).contains(&standard),
            "the standard program is {} by its score and not by the list it stands in",
            if baseline { "right" } else { "wrong" }
        );
        self.programs += right.len() + wrong.len();
        self.reaches_end |= right.iter().chain(&wrong).any(|p| p.layers().contains(&(layers - 1)));
        let [right, wrong] = [right, wrong].map(|programs| {
            let known = programs.len();
            let vectors = programs
                .into_iter()
                .filter(|p| self.header.settings.edits.reach(p, layers));
            let vectors: Vec<Program> = vectors.collect();
            self.no_vectors += known - vectors.len();
            vectors
        });
        let others = right.iter().chain(&wrong).filter(|p| **p != standard);
        let scored = |programs: &[Program]| {
            let scored = programs.iter().map(|program| ScoredProgram {
                program: program.clone(),
                margin: None,
            });
            scored.collect::<Vec<_>>()
        };
        Ok(ExampleRecord {
            id: question.id.clone(),
            task: self.header.task.clone(),
            question: question.question.clone(),
            choices: question.answer.choices().to_vec(),
            answer: Gold::from(&question.answer),
            model: self.header.model.clone(),
            baseline,
            best: target(right.iter()).cloned(),
            simulations: others.count(),
            right: scored(&right),
            wrong: scored(&wrong),
            seed: self.header.settings.seed,
        })
    }
}

/// The programs of a list, each once.
fn distinct(paths: &[Vec<usize>], layers: usize) -> Result<Vec<Program>> {
    let mut seen = HashSet::new();
    let mut programs = Vec::new();
    for path in paths {
        if let Some(layer) = path.iter().find(|layer| **layer >= layers) {
            bail!(
                "a program runs layer {layer}; the model has the layers 0 to {}",
                layers - 1
            );
        }
        if seen.insert(path) {
            programs.push(Program::from_layers(path.iter().copied()));
        }
    }
    Ok(programs)
}

/// Refuses a sample whose answer is another choice than the question's: its text, or its letter.
fn check_answer(question: &Question, sample: &Sample) -> Result<()> {
    let Some(answer) = &sample.answer else { return Ok(()) };
    let plain = answer.trim();
    let boxed = plain.strip_prefix("\\boxed{").and_then(|rest| rest.strip_suffix('}'));
    let given = boxed.unwrap_or(plain).trim();
    let (text, same) = match &question.answer {
        Answer::Choice { choices, right } => {
            let by_letter = letter(*right).is_some_and(|letter| given == letter.to_string());
            (choices[*right].trim(), given == choices[*right].trim() || by_letter)
        }
        Answer::Number(text) | Answer::Math(text) => (
            text.as_str(),
            is_right(&question.answer, &format!("\\boxed{{{given}}}")),
        ),
    };
    ensure!(
        same,
        "the answer is '{}' in the file and '{}' in the questions",
        quoted(answer),
        quoted(text)
    );
    Ok(())
}

/// Finds questions by id and by text.
struct Index<'a> {
    questions: &'a [Question],
    by_id: HashMap<&'a str, usize>,
    by_text: HashMap<&'a str, Vec<usize>>,
}

impl<'a> Index<'a> {
    fn new(questions: &'a [Question]) -> Self {
        let mut by_text: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, question) in questions.iter().enumerate() {
            by_text.entry(question.question.trim()).or_default().push(index);
        }
        Index {
            questions,
            by_id: questions.iter().enumerate().map(|(i, q)| (q.id.as_str(), i)).collect(),
            by_text,
        }
    }

    fn find(&self, sample: &Sample) -> Result<usize> {
        let by_id = sample.id.as_deref().and_then(|id| self.by_id.get(id)).copied();
        let Some(text) = &sample.question else {
            return by_id.context("neither its id nor its text is that of a question of --data");
        };
        let (questions, rest) = self.by_text(text);
        if let Some(question) = by_id.filter(|q| questions.contains(q)) {
            return Ok(question);
        }
        let named = |q: &usize| {
            self.questions[*q]
                .answer
                .choices()
                .iter()
                .all(|c| rest.contains(c.trim()))
        };
        let by_choices: Vec<usize> = questions.iter().copied().filter(named).collect();
        match (questions, &by_choices[..]) {
            (&[question], _) | (_, &[question]) => Ok(question),
            ([], _) => bail!("--data has no question '{}'", quoted(text)),
            (several, _) => bail!(
                "--data has {} questions '{}', and the choices do not tell which is meant",
                several.len(),
                quoted(text)
            ),
        }
    }

    /// The questions whose text a prompt begins with, up to the end of one of its lines, and the
    /// rest of the prompt.
    fn by_text<'t>(&self, prompt: &'t str) -> (&[usize], &'t str) {
        let text = prompt.trim();
        // The authors' long prompt begins with a stray quotation mark.
        let bare = text.strip_prefix('"').unwrap_or(text);
        let bare = bare.strip_prefix("Question:").unwrap_or(bare).trim_start();
        for text in [text, bare] {
            let ends = text.match_indices('\n').map(|(at, _)| at).rev();
            for end in std::iter::once(text.len()).chain(ends) {
                if let Some(found) = self.by_text.get(text[..end].trim()) {
                    return (found, &text[end..]);
                }
            }
        }
        (&[], "")
    }
}

/// The beginning of a text from a file, for a message.
fn quoted(text: &str) -> String {
    let mut chars = text.chars();
    let beginning: String = chars.by_ref().take(QUOTED).collect();
    let more = if chars.next().is_some() { "…" } else { "" };
    escape_controls(&beginning) + more
}
