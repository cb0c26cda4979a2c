//! Recorded traces: those that ship, so that there is something to see before a model is there, and
//! those that the user opened.

use anyhow::Context;

use crate::model::catalog::BUILT_IN as BUILT_IN_MODEL;
use crate::trace::Trace;

/// A recorded trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// What lessons call it: the file's name without its end; empty where it is not built in.
    pub name: String,
    /// What it shows, in a few words; of a file its name.
    pub title: String,
    /// What was asked, if more than its token ids is known.
    pub prompt: Option<String>,
    /// Where its trace is.
    pub source: RecordingSource,
}

/// Where a recording is.
#[derive(Clone, Debug, PartialEq)]
pub enum RecordingSource {
    /// JSON lines in the program.
    BuiltIn(&'static str),
    /// A trace from a file of the user's.
    Opened(Box<Trace>),
}

impl Recording {
    /// A trace from a file of the user's.
    pub fn opened(title: String, trace: Trace) -> Recording {
        Recording {
            name: String::new(),
            title,
            prompt: None,
            source: RecordingSource::Opened(Box::new(trace)),
        }
    }

    /// # Errors
    /// When the text is no trace; of a built-in one a test makes sure that it is.
    pub fn trace(&self) -> anyhow::Result<Trace> {
        match &self.source {
            RecordingSource::BuiltIn(text) => {
                Trace::from_json_lines(text).with_context(|| format!("the recording '{}' cannot be read", self.title))
            }
            RecordingSource::Opened(trace) => Ok((**trace).clone()),
        }
    }
}

/// The recordings of this build, in the order they are shown beside the model of a name: those that were made with it
/// come first.
pub fn beside(model: Option<&str>) -> Vec<Recording> {
    let name = model.unwrap_or_default().to_ascii_lowercase();
    let own = match name.as_str() {
        name if name == BUILT_IN_MODEL || name.ends_with(".safetensors") => Some(BUILT_IN_MODEL),
        name if name.contains("qwen2.5-coder-0.5b") => Some("qwen"),
        _ => None,
    };
    let mut all = built_in();
    let first = own.and_then(|own| all.iter().position(|recording| recording.name.starts_with(own)));
    if let Some(first) = first {
        all.rotate_left(first);
    }
    all
}

/// The recordings of this build; those of the looped model, whose names begin with its, are the last.
pub fn built_in() -> Vec<Recording> {
    BUILT_IN
        .iter()
        .map(|(name, title, prompt, text)| Recording {
            name: (*name).to_owned(),
            title: (*title).to_owned(),
            prompt: Some((*prompt).to_owned()),
            source: RecordingSource::BuiltIn(text),
        })
        .collect()
}

/// Name, title, prompt and JSON lines, made by `drllm-tui run --json`.
const BUILT_IN: &[(&str, &str, &str, &str)] = &[
    (
        "sky-depth",
        "every token as shallow as it can be",
        "Why is the sky blue?",
        include_str!("../../assets/traces/sky-depth.trace.jsonl"),
    ),
    (
        "fox-depth",
        "a story, every token as shallow as it can be",
        "Write a short story about a fox and a lantern.",
        include_str!("../../assets/traces/fox-depth.trace.jsonl"),
    ),
    (
        "sky-24",
        "a budget of 24 layers a token",
        "Why is the sky blue?",
        include_str!("../../assets/traces/sky-24.trace.jsonl"),
    ),
    (
        "sky-budget",
        "the paper's routers, and a budget of 27 layers",
        "Why is the sky blue?",
        include_str!("../../assets/traces/sky-budget.trace.jsonl"),
    ),
    (
        "plants-raw",
        "the paper's routers, on a question like theirs",
        "Question: Which gas do plants take in for photosynthesis?\nAnswer:",
        include_str!("../../assets/traces/plants-raw.trace.jsonl"),
    ),
    (
        "france-pins",
        "two pins: a layer everywhere, a layer at five tokens",
        "What is the capital of France?",
        include_str!("../../assets/traces/france-pins.trace.jsonl"),
    ),
    (
        "qwen-code",
        "Qwen2.5-Coder: a program, every token as shallow as it can be",
        "Reverse a string in Python.",
        include_str!("../../assets/traces/qwen-code.trace.jsonl"),
    ),
    (
        "qwen-sum",
        "Qwen2.5-Coder: five programs that a predictor proposes for a sum",
        "Question: What is 12 + 5?\nAnswer:",
        include_str!("../../assets/traces/qwen-sum.trace.jsonl"),
    ),
    (
        "loopmoe-depth",
        "a looped model: each token as many executions as it needs",
        "sort 7 2 9 4 1 3 8 =",
        include_str!("../../assets/traces/loopmoe-depth.trace.jsonl"),
    ),
    (
        "loopmoe-sort",
        "a looped model: two of six layers run four times",
        "sort 7 2 9 4 1 3 8 =",
        include_str!("../../assets/traces/loopmoe-sort.trace.jsonl"),
    ),
    (
        "loopmoe-iterations",
        "a looped model: fewer iterations from token to token",
        "sort 7 2 9 4 1 3 8 =",
        include_str!("../../assets/traces/loopmoe-iterations.trace.jsonl"),
    ),
];

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::model::loopmoe;

    #[test]
    fn built_in_recordings_can_be_read() {
        for recording in built_in() {
            let trace = recording.trace().unwrap();
            assert!(!trace.steps.is_empty(), "{}", recording.title);
            let prompt = recording.prompt.unwrap_or_default();
            assert!(!prompt.trim().is_empty(), "{}", recording.title);
        }
        let predicted = built_in().into_iter().find(|recording| recording.name == "qwen-sum");
        let header = predicted.unwrap().trace().unwrap().header;
        assert_eq!(header.candidates.len(), 5);
        assert!(!header.boundaries.is_empty() && header.program == header.candidates[0].program);
    }

    #[test]
    fn a_model_opens_on_its_own_recordings() {
        for name in ["loopmoe", "LoopMoE", "mine.safetensors"] {
            assert_eq!(beside(Some(name))[0].name, "loopmoe-depth", "{name}");
        }
        for name in [
            "Qwen2.5-Coder-0.5B-Instruct",
            "./qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        ] {
            assert_eq!(beside(Some(name))[0].name, "qwen-code", "{name}");
        }
        for name in [None, Some("llama.gguf")] {
            assert_eq!(beside(name), built_in());
            assert_eq!(beside(name)[0].name, "sky-depth");
        }
        let sum = format!("{:x}", Sha256::digest(loopmoe::BUILT_IN));
        for recording in &beside(Some("loopmoe"))[..3] {
            let model = recording.trace().unwrap().header.model;
            assert_eq!(model.sha256, sum, "{}: made with other weights", recording.name);
        }
    }
}
