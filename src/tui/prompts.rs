//! The example prompts that ship.

use serde::Deserialize;

const SHIPPED: &str = include_str!("../../assets/prompts.toml");

/// A prompt worth running, and what it shows.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    pub about: String,
    pub text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    prompt: Vec<Example>,
}

/// The example prompts, in the order of assets/prompts.toml.
pub fn examples() -> Vec<Example> {
    let file: File = toml::from_str(SHIPPED).expect("the shipped prompts are tested");
    file.prompt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_prompts_differ_and_say_what_they_show() {
        let examples = examples();
        assert!(examples.len() >= 8);
        for (i, example) in examples.iter().enumerate() {
            assert!(!example.text.trim().is_empty() && !example.about.trim().is_empty());
            assert!(examples[..i].iter().all(|other| other.text != example.text));
        }
    }
}
