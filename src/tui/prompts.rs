//! The example prompts that ship.

use serde::Deserialize;

const SHIPPED: &str = include_str!("../../assets/prompts.toml");

/// A prompt worth running, and what it shows.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExamplePrompt {
    /// What it shows, in a few words.
    pub about: String,
    /// The prompt.
    pub text: String,
    /// The architecture whose models it is for; absent where it is for any model of a language.
    #[serde(default)]
    architecture: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    prompt: Vec<ExamplePrompt>,
}

/// The example prompts for models of an architecture, in the order of assets/prompts.toml.
pub fn examples(architecture: &str) -> Vec<ExamplePrompt> {
    let file: File = toml::from_str(SHIPPED).expect("the shipped prompts are tested");
    let own = |e: &ExamplePrompt| e.architecture.as_deref() == Some(architecture);
    let (own, others): (Vec<ExamplePrompt>, Vec<ExamplePrompt>) = file.prompt.into_iter().partition(own);
    match own.is_empty() {
        true => others.into_iter().filter(|e| e.architecture.is_none()).collect(),
        false => own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::loopmoe::WordList;

    #[test]
    fn shipped_prompts_differ_and_say_what_they_show() {
        let [any, loopmoe] = ["llama", "loopmoe"].map(examples);
        assert!(any.len() >= 8 && loopmoe.len() >= 7);
        let problem = |e: &ExamplePrompt| WordList::default().encode(&e.text).is_ok();
        assert!(loopmoe.iter().all(problem) && !any.iter().any(problem));
        let examples = [any, loopmoe].concat();
        for (i, example) in examples.iter().enumerate() {
            assert!(!example.text.trim().is_empty() && !example.about.trim().is_empty());
            assert!(examples[..i].iter().all(|other| other.text != example.text));
        }
    }
}
