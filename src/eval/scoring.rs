//! How answers are judged, by the kind of question.

use super::generation::{GenerationSettings, default_new_tokens};
use super::multiple_choice::Scoring;
use super::tasks::{AnswerKind, Task};

/// What holds for all questions of an evaluation or a search.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ScoringConfig {
    /// Of choices; numbers and mathematics are always written.
    pub choices: Option<Scoring>,
    /// Most tokens of a written answer; by the kind of question if absent.
    pub max_new_tokens: Option<usize>,
    /// Whether answers are written, and letters scored, under the model's chat template.
    pub chat: bool,
}

impl ScoringConfig {
    /// How questions of a kind are judged, and where answers are written, how.
    pub fn of(&self, answers: AnswerKind, in_search: bool) -> (Scoring, Option<GenerationSettings>) {
        let scoring = match answers {
            AnswerKind::Choice => match self.choices.unwrap_or_default() {
                Scoring::Letter if self.chat => Scoring::ChatLetter,
                scoring => scoring,
            },
            AnswerKind::Number | AnswerKind::Math => Scoring::Generated,
        };
        let generation = (scoring == Scoring::Generated).then(|| GenerationSettings {
            answers,
            max_new_tokens: self
                .max_new_tokens
                .unwrap_or_else(|| default_new_tokens(answers, in_search)),
            chat: self.chat,
        });
        (scoring, generation)
    }

    /// The names of all scorings in use, joined by `+`.
    pub fn names(&self, tasks: &[Task]) -> String {
        let mut names = Vec::new();
        for name in tasks.iter().map(|t| self.of(t.kind(), false).0.name()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.join("+")
    }

    /// How answers are written in an evaluation, each way once.
    pub fn generations(&self, tasks: &[Task]) -> Vec<GenerationSettings> {
        let mut all = Vec::new();
        for generation in tasks.iter().filter_map(|t| self.of(t.kind(), false).1) {
            if !all.contains(&generation) {
                all.push(generation);
            }
        }
        all
    }
}
