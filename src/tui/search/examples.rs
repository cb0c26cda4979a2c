//! The example questions that ship, and their searches as they were recorded.

use std::collections::VecDeque;

use serde::Deserialize;

use crate::engine::SearchStep;

const SHIPPED: &str = include_str!("../../../assets/questions.toml");

/// By name, with the default model and the settings that a form begins with.
const RECORDED: [(&str, &str); 3] = [
    ("season", include_str!("../../../assets/searches/season.jsonl")),
    ("ice", include_str!("../../../assets/searches/ice.jsonl")),
    ("legs", include_str!("../../../assets/searches/legs.jsonl")),
];

/// A question worth searching, and what its search shows.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExampleQuestion {
    /// Of its recording.
    pub name: String,
    /// The architecture whose models it is for; absent where it is for any model of a language.
    #[serde(default)]
    architecture: Option<String>,
    /// What its search shows, in a few words.
    pub about: String,
    /// The question.
    pub text: String,
    /// As they are typed: one a line, the right one marked.
    pub answers: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    question: Vec<ExampleQuestion>,
}

/// The examples for a model of a language, in the order of assets/questions.toml; there is at least one.
pub fn examples() -> Vec<ExampleQuestion> {
    examples_for(None)
}

/// The examples for models of an architecture that knows no language, or for any other.
pub fn examples_for(architecture: Option<&str>) -> Vec<ExampleQuestion> {
    let file: File = toml::from_str(SHIPPED).expect("the shipped questions are tested");
    let of = |architecture: Option<&str>| -> Vec<ExampleQuestion> {
        let own = |example: &&ExampleQuestion| example.architecture.as_deref() == architecture;
        file.question.iter().filter(own).cloned().collect()
    };
    let own = of(architecture);
    if own.is_empty() { of(None) } else { own }
}

/// The recorded search of an example: what its simulations came to.
pub fn recorded(example: &ExampleQuestion) -> Option<VecDeque<SearchStep>> {
    let (_, lines) = RECORDED.iter().find(|(name, _)| *name == example.name)?;
    let step = |line| serde_json::from_str(line).expect("the shipped searches are tested");
    Some(lines.lines().map(step).collect())
}
