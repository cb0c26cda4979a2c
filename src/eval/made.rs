//! Questions that the program makes: as many as wanted, seeded, with exact answers and a difficulty.

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::problems::{LmTask, Problem};
use super::tasks::{Answer, Question};

/// A kind of question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum MadeKind {
    /// For language models: sums and differences of numbers from 1 to 20, four choices; difficulty: terms
    Chain,
    /// For LoopMoE: +, - and * from left to right, modulo 10; difficulty: operations
    Calc,
    /// For LoopMoE: a variable whose value is found over other variables; difficulty: assignments to follow
    Where,
}

/// The greatest number in a chain.
const MOST: i64 = 20;
/// Choices of a chain.
const CHOICES: usize = 4;

impl MadeKind {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            MadeKind::Chain => "chain",
            MadeKind::Calc => "calc",
            MadeKind::Where => "where",
        }
    }

    /// The greatest difficulty that there is.
    pub fn hardest(self) -> usize {
        match self {
            MadeKind::Chain => 20,
            MadeKind::Calc => LmTask::Calc.hardest(),
            MadeKind::Where => LmTask::Where.hardest(),
        }
    }

    /// `count` questions of a difficulty from 1 to [`Self::hardest`]. Each has a generator of its own, so that fewer
    /// are the beginning of more.
    pub fn questions(self, difficulty: usize, count: usize, seed: u64) -> Vec<Question> {
        let one = |number: usize| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(((self as u64) << 48) | ((difficulty as u64) << 40) | number as u64);
            let id = format!("{}-{difficulty}-{number}", self.name());
            match self {
                MadeKind::Chain => chain(id, difficulty, &mut rng),
                MadeKind::Calc => number_question(id, Problem::new(LmTask::Calc, difficulty, &mut rng)),
                MadeKind::Where => number_question(id, Problem::new(LmTask::Where, difficulty, &mut rng)),
            }
        };
        (0..count).map(one).collect()
    }
}

/// A problem whose answer is one digit.
fn number_question(id: String, problem: Problem) -> Question {
    Question {
        id,
        question: problem.question.join(" "),
        answer: Answer::Number(problem.answer[0].to_owned()),
    }
}

/// `What is 7 + 12 - 5?`, beside its value three others: what slips lead to, or near it.
fn chain(id: String, terms: usize, rng: &mut ChaCha8Rng) -> Question {
    let mut number = || rng.random_range(1..=MOST);
    let mut terms: Vec<i64> = (0..terms).map(|_| number()).collect();
    for term in &mut terms[1..] {
        if rng.random_bool(0.5) {
            *term = -*term;
        }
    }
    let mut text = terms[0].to_string();
    for term in &terms[1..] {
        let sign = if *term < 0 { '-' } else { '+' };
        text += &format!(" {sign} {}", term.abs());
    }
    let value: i64 = terms.iter().sum();
    let slip = terms[rng.random_range(0..terms.len())];
    let mut slips = vec![
        value - slip,
        value - 2 * slip,
        value + 1,
        value - 1,
        value + 10,
        value - 10,
    ];
    slips.shuffle(rng);
    let mut values = vec![value];
    for slip in slips {
        if values.len() < CHOICES && !values.contains(&slip) {
            values.push(slip);
        }
    }
    values.shuffle(rng);
    Question {
        id,
        question: format!("What is {text}?"),
        answer: Answer::Choice {
            right: values.iter().position(|v| *v == value).expect("the value is a choice"),
            choices: values.iter().map(i64::to_string).collect(),
        },
    }
}

/// The line of a question in a file that [`super::Task::load`] reads.
pub fn line(question: &Question) -> String {
    let line = match &question.answer {
        Answer::Choice { choices, right } => serde_json::json!({
            "id": question.id, "question": question.question, "choices": choices, "answer": right
        }),
        Answer::Number(number) => serde_json::json!({
            "id": question.id, "question": question.question, "answer": format!("#### {number}")
        }),
        Answer::Math(answer) => serde_json::json!({
            "id": question.id, "problem": question.question, "gt_ans": answer
        }),
    };
    format!("{line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_are_right_and_differ_in_their_choices() {
        for difficulty in 1..=20 {
            let questions = MadeKind::Chain.questions(difficulty, 50, 1);
            assert_eq!(questions[..20], MadeKind::Chain.questions(difficulty, 20, 1));
            assert_ne!(questions, MadeKind::Chain.questions(difficulty, 50, 2));
            for question in questions {
                let text = question
                    .question
                    .strip_prefix("What is ")
                    .unwrap()
                    .strip_suffix('?')
                    .unwrap();
                let words: Vec<&str> = text.split(' ').collect();
                assert_eq!(words.len(), 2 * difficulty - 1);
                let value = words[1..]
                    .chunks(2)
                    .fold(words[0].parse::<i64>().unwrap(), |value, pair| {
                        let number: i64 = pair[1].parse().unwrap();
                        if pair[0] == "+" { value + number } else { value - number }
                    });
                assert_eq!(question.answer.text(), value.to_string());
                let choices = question.answer.choices();
                let different: std::collections::HashSet<_> = choices.iter().collect();
                assert_eq!((choices.len(), different.len()), (CHOICES, CHOICES), "{choices:?}");
            }
        }
    }

    #[test]
    fn a_line_is_read_as_the_question_that_it_is() {
        for kind in [MadeKind::Chain, MadeKind::Calc, MadeKind::Where] {
            for difficulty in [1, kind.hardest()] {
                for question in kind.questions(difficulty, 10, 7) {
                    assert_eq!(Question::parse(&line(&question)).unwrap(), question);
                }
            }
        }
        let math = Question {
            id: "m".into(),
            question: "Half?".into(),
            answer: Answer::Math("\\frac12".into()),
        };
        assert_eq!(Question::parse(&line(&math)).unwrap(), math);
    }
}
