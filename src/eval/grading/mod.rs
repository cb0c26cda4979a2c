//! Whether a generated answer is right.
//!
//! `letters` reads the letter of a choice; numbers and mathematics are the crate `math_grading`'s.

pub mod letters;

#[cfg(test)]
mod tests;

use math_grading::{Verdict, numbers};

use super::tasks::Answer;

/// Whether `written`, all that the model wrote, gives the right `answer`.
///
/// - A choice: `written` is its letter and nothing else, see [`letters::read`].
/// - A number: the one after the last `####`, else the last one, see [`numbers::read`].
/// - Mathematics: the contents of the last `\boxed{…}`, see [`math_grading::grade`]; without a box
///   the answer is wrong. Only mathematics may be not understood.
pub fn grade(answer: &Answer, written: &str) -> Verdict {
    let right = match answer {
        Answer::Choice { choices, right } => letters::read(written, choices.len()) == Some(*right),
        Answer::Number(gold) => numbers::read(gold).is_some_and(|gold| numbers::read(written) == Some(gold)),
        Answer::Math(gold) => return math_grading::grade(gold, written),
    };
    if right { Verdict::Right } else { Verdict::Wrong }
}

/// What [`grade`] reads in `written`, the same text for answers that are the same by their letter or number; none where it
/// reads nothing. Mathematics is taken as it stands in its box.
pub fn reading(answer: &Answer, written: &str) -> Option<String> {
    match answer {
        Answer::Choice { choices, .. } => letters::read(written, choices.len()).map(|choice| choice.to_string()),
        Answer::Number(_) => numbers::read(written).map(|number| format!("{number:?}")),
        Answer::Math(_) => math_grading::boxed::last(written).map(|inside| inside.trim().to_owned()),
    }
}

/// Whether [`grade`] finds the answer right.
pub fn is_right(answer: &Answer, written: &str) -> bool {
    grade(answer, written) == Verdict::Right
}
