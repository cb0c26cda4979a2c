//! Whether a generated answer is right.
//!
//! `letters` reads the letter of a choice, `numbers` the number an answer ends with, `boxed` the
//! contents of the last `\boxed{…}`. What stands in the box is compared as mathematics: `tokens`
//! cuts LaTeX or plain text into tokens, `values` makes of them lists, intervals, relations and
//! expressions, `expression` parses one expression, `normal` brings it into an exact normal form,
//! and `compare` compares two of them, by numbers where there is no normal form.
//!
//! Answers come from a model and are hostile: length, number of tokens and depth of nesting are
//! bounded everywhere, and what is beyond a bound is compared as text.

pub mod boxed;
mod compare;
mod expression;
pub mod letters;
mod normal;
pub mod numbers;
mod rational;
mod tokens;
mod values;

#[cfg(test)]
mod tests;

pub use compare::same_value;

use super::tasks::Answer;

/// Whether `written`, all that the model wrote, gives the right `answer`.
///
/// - A choice: `written` is its letter and nothing else, see [`letters::read`].
/// - A number: the one after the last `####`, else the last one, see [`numbers::read`].
/// - Mathematics: the contents of the last `\boxed{…}`; without a box the answer is wrong.
pub fn is_right(answer: &Answer, written: &str) -> bool {
    match answer {
        Answer::Choice { choices, right } => letters::read(written, choices.len()) == Some(*right),
        Answer::Number(gold) => match (numbers::read(gold), numbers::read(written)) {
            (Some(gold), Some(found)) => gold == found,
            _ => false,
        },
        Answer::Math(gold) => boxed::last(written).is_some_and(|found| same_value(gold, found)),
    }
}
