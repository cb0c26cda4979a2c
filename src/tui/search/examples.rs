//! The example questions that ship.

use serde::Deserialize;

const SHIPPED: &str = include_str!("../../../assets/questions.toml");

/// A question worth searching, and what its search shows.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    pub about: String,
    pub text: String,
    /// As they are typed: one a line, the right one marked.
    pub answers: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    question: Vec<Example>,
}

/// The examples, in the order of assets/questions.toml; there is at least one.
pub fn examples() -> Vec<Example> {
    let file: File = toml::from_str(SHIPPED).expect("the shipped questions are tested");
    file.question
}
