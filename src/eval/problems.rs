//! The corpus: problems that the program makes, as many as wanted, each with a difficulty that can exceed what a
//! training saw.

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::model::loopmoe::words::END;

/// A kind of problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LmTask {
    /// A chain of +, − and ·, from left to right, modulo 10; difficulty: operations
    Calc,
    /// A variable whose value is found over other variables; difficulty: assignments to follow
    Where,
    /// Steps on a grid of 10 × 10 whose edges meet; difficulty: steps
    Walk,
    /// Letters in the order that shuffled rules a < b give; difficulty: letters less one
    Order,
    /// The brackets that are missing; difficulty: how many
    Close,
    /// The same letters again; difficulty: letters
    Copy,
    /// Digits in ascending order; difficulty: digits
    Sort,
}

impl LmTask {
    /// All kinds of problems.
    pub const ALL: [LmTask; 7] = [
        LmTask::Calc,
        LmTask::Where,
        LmTask::Walk,
        LmTask::Order,
        LmTask::Close,
        LmTask::Copy,
        LmTask::Sort,
    ];

    /// The first word of its questions.
    pub fn name(self) -> &'static str {
        match self {
            LmTask::Calc => "calc",
            LmTask::Where => "where",
            LmTask::Walk => "walk",
            LmTask::Order => "order",
            LmTask::Close => "close",
            LmTask::Copy => "copy",
            LmTask::Sort => "sort",
        }
    }

    /// The greatest difficulty that a training sees.
    pub fn trained(self) -> usize {
        match self {
            LmTask::Calc => 6,
            LmTask::Where | LmTask::Order => 5,
            LmTask::Walk | LmTask::Close | LmTask::Copy | LmTask::Sort => 8,
        }
    }

    /// The greatest difficulty there is: problems stay within the positions that a training of 64 tokens sees.
    pub fn hardest(self) -> usize {
        match self {
            LmTask::Calc => 12,
            LmTask::Where | LmTask::Order => 10,
            LmTask::Walk | LmTask::Close | LmTask::Copy | LmTask::Sort => 16,
        }
    }
}

/// A problem as words: `question` ends in `=`, `answer` in `.`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which kind.
    pub task: LmTask,
    /// From 1 to [`LmTask::hardest`], in the task's own unit.
    pub difficulty: usize,
    /// The task's name, the problem, and `=`.
    pub question: Vec<&'static str>,
    /// What is right, and `.`.
    pub answer: Vec<&'static str>,
}

const DIGITS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
const LETTERS: [&str; 16] = [
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p",
];
const STEPS: [&str; 4] = ["up", "down", "left", "right"];
const BRACKETS: [[&str; 2]; 3] = [["(", ")"], ["[", "]"], ["{", "}"]];
/// Assignments of a look-up that lead nowhere.
const DISTRACTORS: usize = 2;

impl Problem {
    /// A random problem of a difficulty from 1 to [`LmTask::hardest`].
    pub fn new(task: LmTask, difficulty: usize, rng: &mut ChaCha8Rng) -> Self {
        let n = difficulty.clamp(1, task.hardest());
        let mut question = vec![task.name()];
        let mut answer = match task {
            LmTask::Calc => calc(n, rng, &mut question),
            LmTask::Where => look_up(n, rng, &mut question),
            LmTask::Walk => walk(n, rng, &mut question),
            LmTask::Order => order(n, rng, &mut question),
            LmTask::Close => close(n, rng, &mut question),
            LmTask::Copy => copy(n, rng, &mut question),
            LmTask::Sort => sort(n, rng, &mut question),
        };
        question.push("=");
        answer.push(END);
        Problem {
            task,
            difficulty: n,
            question,
            answer,
        }
    }

    /// A problem of any kind and of any difficulty that trainings see.
    pub fn any(tasks: &[LmTask], rng: &mut ChaCha8Rng) -> Self {
        let task = tasks[rng.random_range(0..tasks.len())];
        let difficulty = rng.random_range(1..=task.trained());
        Problem::new(task, difficulty, rng)
    }
}

fn digit(rng: &mut ChaCha8Rng) -> usize {
    rng.random_range(0..10)
}

type Words = Vec<&'static str>;

fn calc(n: usize, rng: &mut ChaCha8Rng, question: &mut Words) -> Words {
    let mut value = digit(rng);
    question.push(DIGITS[value]);
    for _ in 0..n {
        let by = digit(rng);
        let (sign, next) = match rng.random_range(0..3) {
            0 => ("+", value + by),
            1 => ("-", value + 10 - by),
            _ => ("*", value * by),
        };
        question.extend([sign, DIGITS[by]]);
        value = next % 10;
    }
    vec![DIGITS[value]]
}

fn look_up(n: usize, rng: &mut ChaCha8Rng, question: &mut Words) -> Words {
    let mut letters = LETTERS;
    letters.shuffle(rng);
    let value = DIGITS[digit(rng)];
    let chain = &letters[..n];
    let mut assignments: Vec<[&str; 2]> = chain.windows(2).map(|pair| [pair[0], pair[1]]).collect();
    assignments.push([chain[n - 1], value]);
    for &other in &letters[n..n + DISTRACTORS] {
        // To a digit, or into the chain behind its head.
        let to = match rng.random_range(0..2) {
            0 => DIGITS[digit(rng)],
            _ => chain[rng.random_range(0..n)],
        };
        assignments.push([other, to]);
    }
    assignments.shuffle(rng);
    for [name, to] in assignments {
        question.extend([name, "=", to, ","]);
    }
    question.pop();
    question.extend([";", chain[0]]);
    vec![value]
}

fn walk(n: usize, rng: &mut ChaCha8Rng, question: &mut Words) -> Words {
    let (mut x, mut y) = (digit(rng), digit(rng));
    question.extend([DIGITS[x], DIGITS[y], ":"]);
    for _ in 0..n {
        let step = rng.random_range(0..4);
        question.push(STEPS[step]);
        match step {
            0 => y = (y + 1) % 10,
            1 => y = (y + 9) % 10,
            2 => x = (x + 9) % 10,
            _ => x = (x + 1) % 10,
        }
    }
    vec![DIGITS[x], DIGITS[y]]
}

fn order(n: usize, rng: &mut ChaCha8Rng, question: &mut Words) -> Words {
    let mut letters = LETTERS;
    letters.shuffle(rng);
    let sorted = &letters[..n + 1];
    let mut rules: Vec<[&str; 2]> = sorted.windows(2).map(|pair| [pair[0], pair[1]]).collect();
    rules.shuffle(rng);
    for [less, more] in rules {
        question.extend([less, "<", more, ","]);
    }
    question.pop();
    sorted.to_vec()
}

fn close(n: usize, rng: &mut ChaCha8Rng, question: &mut Words) -> Words {
    let mut open: Vec<[&str; 2]> = Vec::new();
    // Brackets that are closed again on the way.
    let mut passing = rng.random_range(0..=n.div_ceil(2));
    while open.len() < n + passing {
        if passing > 0 && !open.is_empty() && rng.random_range(0..3) == 0 {
            question.push(open.pop().expect("one is open")[1]);
            passing -= 1;
            continue;
        }
        let bracket = BRACKETS[rng.random_range(0..3)];
        question.push(bracket[0]);
        open.push(bracket);
    }
    while open.len() > n {
        question.push(open.pop().expect("more than n are open")[1]);
    }
    open.iter().rev().map(|bracket| bracket[1]).collect()
}

fn copy(n: usize, rng: &mut ChaCha8Rng, question: &mut Words) -> Words {
    let letters: Words = (0..n).map(|_| LETTERS[rng.random_range(0..LETTERS.len())]).collect();
    question.extend(&letters);
    letters
}

fn sort(n: usize, rng: &mut ChaCha8Rng, question: &mut Words) -> Words {
    let mut digits: Vec<usize> = (0..n).map(|_| digit(rng)).collect();
    question.extend(digits.iter().map(|&d| DIGITS[d]));
    digits.sort_unstable();
    digits.iter().map(|&d| DIGITS[d]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::loopmoe::WordList;
    use rand::SeedableRng;

    fn solve(problem: &Problem) -> Vec<String> {
        let q = &problem.question[1..problem.question.len() - 1];
        let number = |word: &str| word.parse::<i64>().unwrap();
        let strings = |words: Vec<&str>| words.into_iter().map(str::to_owned).collect::<Vec<String>>();
        match problem.task {
            LmTask::Calc => {
                let step = |value: i64, pair: &[&str]| match pair[0] {
                    "+" => value + number(pair[1]),
                    "-" => value - number(pair[1]),
                    _ => value * number(pair[1]),
                };
                let value = q[1..].chunks(2).fold(number(q[0]), step);
                vec![value.rem_euclid(10).to_string()]
            }
            LmTask::Where => {
                let (all, mut at) = (&q[..q.len() - 2], q[q.len() - 1]);
                while at.parse::<i64>().is_err() {
                    at = all.split(|w| *w == ",").find(|a| a[0] == at).unwrap()[2];
                }
                vec![at.to_owned()]
            }
            LmTask::Walk => {
                let count = |word: &str| q[3..].iter().filter(|w| **w == word).count() as i64;
                let x = number(q[0]) + count("right") - count("left");
                let y = number(q[1]) + count("up") - count("down");
                vec![x.rem_euclid(10).to_string(), y.rem_euclid(10).to_string()]
            }
            LmTask::Order => {
                let rules: Vec<&[&str]> = q.split(|w| *w == ",").collect();
                let mut sorted = vec![rules.iter().find(|r| rules.iter().all(|o| o[2] != r[0])).unwrap()[0]];
                while let Some(rule) = rules.iter().find(|r| r[0] == *sorted.last().unwrap()) {
                    sorted.push(rule[2]);
                }
                strings(sorted)
            }
            LmTask::Close => {
                let mut missing = Vec::new();
                for &word in q {
                    match BRACKETS.iter().find(|b| b[0] == word) {
                        Some(bracket) => missing.push(bracket[1]),
                        None => assert_eq!(missing.pop(), Some(word), "{q:?}"),
                    }
                }
                missing.reverse();
                strings(missing)
            }
            LmTask::Copy => strings(q.to_vec()),
            LmTask::Sort => {
                let mut digits = q.to_vec();
                digits.sort_unstable();
                strings(digits)
            }
        }
    }

    #[test]
    fn answers_are_right_and_fit_at_every_difficulty() {
        let words = WordList::default();
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for task in LmTask::ALL {
            for difficulty in 1..=task.hardest() {
                for _ in 0..30 {
                    let problem = Problem::new(task, difficulty, &mut rng);
                    let mut expected = solve(&problem);
                    expected.push(END.to_owned());
                    assert_eq!(problem.answer, expected, "{:?}", problem.question);
                    assert_eq!(problem.difficulty, difficulty);
                    let text = [&problem.question[..], &problem.answer].concat().join(" ");
                    let ids = words.encode(&text).unwrap();
                    assert!(ids.len() < 64, "{} of {text}", ids.len());
                }
            }
        }
    }

    #[test]
    fn one_seed_gives_one_corpus() {
        let make = |seed| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            (0..200)
                .map(|_| Problem::any(&LmTask::ALL, &mut rng))
                .collect::<Vec<_>>()
        };
        assert_eq!(make(1), make(1));
        assert_ne!(make(1), make(2));
        for task in LmTask::ALL {
            let of = make(1).into_iter().filter(|p| p.task == task).map(|p| p.difficulty);
            let of: std::collections::BTreeSet<usize> = of.collect();
            assert!(
                of.len() > 3 && of.iter().all(|d| (1..=task.trained()).contains(d)),
                "{task:?} {of:?}"
            );
        }
    }
}
