//! Sequences of a fixed length, packed with problems one behind the other. Sequence i of a seed is always the same, so
//! two models see the same data in the same order whatever their batches.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::eval::problems::{LmTask, Problem};
use crate::model::loopmoe::WordList;
use crate::model::loopmoe::words::START;

/// One sequence: what stands at each place, and how much the loss at the next token counts.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenSequence {
    /// One more than the model reads: the last is only a target.
    pub tokens: Vec<u32>,
    /// Of each target, `tokens[1..]`: whether it belongs to an answer.
    pub is_answer: Vec<bool>,
}

/// Streams of the seed below this are sequences; what is held out has streams from here on.
pub const HELD_OUT: u64 = 1 << 60;

/// The sequence at a place of the corpus. The last problem may be cut off.
pub fn sequence(words: &WordList, tasks: &[LmTask], context: usize, seed: u64, index: u64) -> TokenSequence {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(index);
    let id = |word: &str| words.id(word).expect("the tasks use words of the tokenizer alone");
    let mut tokens = vec![id(START)];
    let mut is_answer = Vec::new();
    while tokens.len() <= context {
        let problem = Problem::any(tasks, &mut rng);
        tokens.extend(problem.question.iter().chain(&problem.answer).map(|w| id(w)));
        is_answer.extend(problem.question.iter().map(|_| false));
        is_answer.extend(problem.answer.iter().map(|_| true));
    }
    tokens.truncate(context + 1);
    is_answer.truncate(context);
    TokenSequence { tokens, is_answer }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_full_and_know_their_answers() {
        let words = WordList::default();
        let made = sequence(&words, &LmTask::ALL, 64, 5, 7);
        assert_eq!((made.tokens.len(), made.is_answer.len()), (65, 64));
        assert_eq!(made, sequence(&words, &LmTask::ALL, 64, 5, 7));
        assert_ne!(made, sequence(&words, &LmTask::ALL, 64, 5, 8));
        assert_ne!(made, sequence(&words, &LmTask::ALL, 64, 6, 7));
        let one = sequence(&words, &[LmTask::Copy], 64, 5, 0);
        let text = words.decode(&one.tokens);
        let first = text.split('.').next().unwrap();
        let (question, answer) = first.split_once(" = ").unwrap();
        assert_eq!(question.strip_prefix("<s> copy ").unwrap(), answer.trim());
        // The first target of an answer is what follows `=`.
        let at = one.is_answer.iter().position(|is| *is).unwrap();
        assert_eq!(words.decode(&one.tokens[at..=at]), "=");
        let end = at + one.is_answer[at..].iter().position(|is| !is).unwrap();
        assert_eq!(words.decode(&one.tokens[end..=end]), ".");
    }
}
