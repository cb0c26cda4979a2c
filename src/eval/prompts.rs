//! What the model reads. Search, training and evaluation ask alike: routers are trained on the
//! prompt that their programs were found on.

use super::grading::letters::letter;
use super::{AnswerKind, GenerationSettings, Scoring};

/// The prompt of a question.
///
/// Scores of choices: `Question: …\nAnswer:`; of their letters: the choices stand before the last
/// line as `A. …`, and under a chat template below them what is asked for, as where the model writes the letter. For
/// answers that the model writes see [`GenerationSettings::prompt`].
pub fn prompt(question: &str, choices: &[String], scoring: Scoring, generation: Option<&GenerationSettings>) -> String {
    match (generation, scoring) {
        (Some(generation), _) => generation.prompt(question, choices),
        (None, Scoring::Letter | Scoring::Generated) => plain(&lettered(question, choices)),
        (None, Scoring::ChatLetter) => letter_asked_for(question, choices),
        (None, Scoring::Sum | Scoring::Token | Scoring::Char) => plain(question),
    }
}

/// `Question: …\nAnswer:`; a question that ends in `=` stands alone, since its answer is what comes next.
pub fn plain(question: &str) -> String {
    match question.trim_end().ends_with('=') {
        true => question.to_owned(),
        false => format!("Question: {question}\nAnswer:"),
    }
}

/// The question and below it its choices, each after its letter; there are at most 26.
pub fn lettered(question: &str, choices: &[String]) -> String {
    let lines = choices
        .iter()
        .enumerate()
        .filter_map(|(i, choice)| Some((letter(i)?, choice)));
    let lines: String = lines.map(|(letter, choice)| format!("\n{letter}. {choice}")).collect();
    format!("{question}{lines}")
}

fn letter_asked_for(question: &str, choices: &[String]) -> String {
    plain(&format!(
        "{}\nAnswer with the letter alone.",
        lettered(question, choices)
    ))
}

impl GenerationSettings {
    /// Zero-shot. Plain: `Question: …\nAnswer:`, for mathematics with a `\boxed{` behind it, as
    /// Dr.LLM begins the answers of base models. Under a chat template the box and the lone letter
    /// are asked for in words.
    pub fn prompt(&self, question: &str, choices: &[String]) -> String {
        let with = |instruction: &str| plain(&format!("{question}\n{instruction}"));
        match (self.answers, self.chat) {
            (AnswerKind::Number, _) => plain(question),
            (AnswerKind::Math, false) => plain(question) + " " + BOX,
            (AnswerKind::Math, true) => with("Put the final answer into \\boxed{}."),
            (AnswerKind::Choice, false) => plain(&lettered(question, choices)),
            (AnswerKind::Choice, true) => letter_asked_for(question, choices),
        }
    }

    /// What of the answer stands in the prompt already.
    pub fn begun(&self) -> &'static str {
        match (self.answers, self.chat) {
            (AnswerKind::Math, false) => BOX,
            _ => "",
        }
    }
}

const BOX: &str = "\\boxed{";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_as_documented() {
        let choices = ["red".to_owned(), "blue".to_owned()];
        let of = |scoring| prompt("Sky?", &choices, scoring, None);
        assert_eq!(of(Scoring::Sum), "Question: Sky?\nAnswer:");
        assert_eq!(plain("calc 3 + 4 ="), "calc 3 + 4 =");
        assert_eq!(of(Scoring::Letter), "Question: Sky?\nA. red\nB. blue\nAnswer:");
        let written = |answers, chat| {
            let generation = GenerationSettings {
                answers,
                max_new_tokens: 1,
                chat,
            };
            prompt("Sky?", &choices, Scoring::Generated, Some(&generation))
        };
        assert_eq!(written(AnswerKind::Choice, false), of(Scoring::Letter));
        let letter = "Question: Sky?\nA. red\nB. blue\nAnswer with the letter alone.\nAnswer:";
        assert_eq!(of(Scoring::ChatLetter), letter);
        assert_eq!(written(AnswerKind::Choice, true), letter);
        assert_eq!(written(AnswerKind::Number, false), "Question: Sky?\nAnswer:");
        assert_eq!(written(AnswerKind::Math, false), "Question: Sky?\nAnswer: \\boxed{");
        let asked = "Question: Sky?\nPut the final answer into \\boxed{}.\nAnswer:";
        assert_eq!(written(AnswerKind::Math, true), asked);
    }
}
