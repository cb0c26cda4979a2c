//! Scores of a question's choices under a program.
//!
//! Each choice is scored by the log-likelihood of its text after the question, as evaluation
//! harnesses do for models that cannot follow letter prompts. No KV cache is needed: the question's
//! tokens and every choice's stand in one chunk in which a choice sees the question and itself, so
//! one pass scores all choices.

use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::grading::letters::letter;
use super::tasks::{Answer, Question};
use super::{GenerationSettings, prompts};
use crate::model::{Chunk, Decoder, Model, logsumexp, stepped};
use crate::program::{Program, StepSize};
use crate::text::escape_controls;

/// How the log-likelihoods of a choice's tokens become its score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Scoring {
    /// Their sum.
    #[default]
    Sum,
    /// Their sum over the number of tokens.
    Token,
    /// Their sum over the number of characters of the choice.
    Char,
    /// The choices stand in the question after letters, and the letters are scored.
    Letter,
    /// As [`Scoring::Letter`], under the model's chat template: the letter is what the assistant begins with. Of
    /// `--score letter --chat`.
    #[value(skip)]
    #[serde(rename = "chat-letter")]
    ChatLetter,
    /// None: the model writes its answer, which is graded.
    Generated,
}

impl Scoring {
    /// As `--score` and reports write it.
    pub fn name(self) -> &'static str {
        match self {
            Scoring::Sum => "sum",
            Scoring::Token => "token",
            Scoring::Char => "char",
            Scoring::Letter => "letter",
            Scoring::ChatLetter => "chat-letter",
            Scoring::Generated => "generated",
        }
    }

    /// Whether the choices stand in the prompt.
    pub fn reads_choices(self) -> bool {
        matches!(self, Scoring::Letter | Scoring::ChatLetter | Scoring::Generated)
    }

    /// Whether the question is a user's message under the model's chat template.
    pub fn under_chat_template(self, generation: Option<&GenerationSettings>) -> bool {
        self == Scoring::ChatLetter || generation.is_some_and(|g| g.chat)
    }
}

/// A question as token ids. Prompt and choice are encoded together, with a space between them; the
/// choice's tokens are what is left without as many as the prompt has by itself. So evaluation
/// harnesses do it, and the prompt's tokens are the same for every choice.
#[derive(Clone, Debug, PartialEq)]
pub struct EncodedQuestion {
    /// Of `Question: …\nAnswer:`.
    pub prompt: Vec<u32>,
    /// Of each choice, after a space.
    pub choices: Vec<Vec<u32>>,
    /// Characters of each choice.
    chars: Vec<usize>,
    answer: usize,
}

impl EncodedQuestion {
    /// Encodes a question by a model's tokenizer, the prompt with the begin token where the model
    /// wants one, without the chat template. For [`Scoring::Letter`] the choices stand in the
    /// prompt, and what is scored after it are ` A`, ` B`, …; for [`Scoring::ChatLetter`] `A`, `B`, … after the
    /// chat template.
    ///
    /// # Errors
    /// Names the question where it does not fit the model's context or a part has no tokens; a chat template that the
    /// model does not have.
    pub fn for_model(question: &Question, model: &Model, scoring: Scoring) -> Result<Self> {
        let under_template = scoring == Scoring::ChatLetter;
        if under_template {
            model.expect_chat_template()?;
        }
        let text = prompts::prompt(&question.question, question.answer.choices(), scoring, None);
        let text = model.prompt_text(&text, !under_template)?;
        let question = match scoring {
            Scoring::Letter | Scoring::ChatLetter => &with_letters(question)?,
            _ => question,
        };
        let prompt = model.tokenizer.encode_prompt(&text)?;
        let length = prompt.len();
        Self::new(question, model.decoder.config().context, prompt, |choice| {
            let choice = if under_template { choice.trim_start() } else { choice };
            let mut whole = model.tokenizer.encode_prompt(&format!("{text}{choice}"))?;
            whole.drain(..length.min(whole.len()));
            Ok(whole)
        })
    }

    /// As [`EncodedQuestion::for_model`], from a prompt that is encoded already; `encode` gives the tokens of a choice,
    /// before which stands a space.
    pub fn new(
        question: &Question,
        context: usize,
        prompt: Vec<u32>,
        encode: impl Fn(&str) -> Result<Vec<u32>>,
    ) -> Result<Self> {
        let id = || escape_controls(&question.id);
        let Answer::Choice { choices: texts, right } = &question.answer else {
            bail!("question {} has no choices to score", id());
        };
        let choices = texts.iter().map(|choice| encode(&format!(" {choice}")));
        let choices = choices.collect::<Result<Vec<_>>>()?;
        ensure!(!prompt.is_empty(), "question {}: its prompt has no tokens", id());
        ensure!(
            choices.iter().all(|c| !c.is_empty()),
            "question {}: a choice has no tokens",
            id()
        );
        let longest = prompt.len() + choices.iter().map(Vec::len).max().unwrap_or(0);
        ensure!(
            longest <= context,
            "question {} has {longest} tokens, the model's context is {context}; leave it out of the file",
            id()
        );
        Ok(EncodedQuestion {
            prompt,
            choices,
            chars: texts.iter().map(|c| c.chars().count()).collect(),
            answer: *right,
        })
    }

    /// The right choice.
    pub fn answer(&self) -> usize {
        self.answer
    }

    /// The score of the choices, given the log-probability of each choice's tokens.
    pub fn score(&self, log_probs: &[Vec<f64>], scoring: Scoring) -> ChoiceScore {
        let score = |(index, tokens): (usize, &Vec<f64>)| {
            let sum: f64 = tokens.iter().sum();
            match scoring {
                Scoring::Sum | Scoring::Letter | Scoring::ChatLetter | Scoring::Generated => sum,
                Scoring::Token => sum / tokens.len() as f64,
                Scoring::Char => sum / self.chars[index] as f64,
            }
        };
        ChoiceScore::new(log_probs.iter().enumerate().map(score).collect(), self.answer)
    }
}

/// The question with letters as its choices.
fn with_letters(question: &Question) -> Result<Question> {
    let choices = question.answer.choices();
    let letters: Option<Vec<String>> = (0..choices.len()).map(|i| Some(letter(i)?.into())).collect();
    let letters = letters.with_context(|| {
        format!(
            "question {} has {} choices; letters go to Z, leave it out of the file or score the choices' texts",
            escape_controls(&question.id),
            choices.len()
        )
    })?;
    let answer = match &question.answer {
        Answer::Choice { right, .. } => Answer::Choice {
            choices: letters,
            right: *right,
        },
        other => other.clone(),
    };
    Ok(Question {
        id: question.id.clone(),
        question: question.question.clone(),
        answer,
    })
}

/// What a question came to under one program.
#[derive(Clone, Debug, PartialEq)]
pub struct ChoiceScore {
    /// One a choice; the greatest is the model's answer.
    pub scores: Vec<f64>,
    /// Whether the right choice scored above every other.
    pub correct: bool,
    /// The right choice's score less the best other's; not above 0 where the answer is wrong.
    pub margin: f64,
}

impl ChoiceScore {
    /// The choice with the greatest score; of equals the first.
    pub fn best(&self) -> usize {
        let better = |best: usize, i: usize| if self.scores[i] > self.scores[best] { i } else { best };
        (1..self.scores.len()).fold(0, better)
    }

    /// The probability of the best choice among all, by their scores.
    pub fn confidence(&self) -> f64 {
        let best = self.scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        1.0 / self.scores.iter().map(|score| (score - best).exp()).sum::<f64>()
    }

    /// A tie is no right answer; neither is a score that is no number.
    fn new(scores: Vec<f64>, answer: usize) -> ChoiceScore {
        let others = scores.iter().enumerate().filter(|(i, _)| *i != answer);
        let best_other = others.map(|(_, s)| *s).fold(f64::NEG_INFINITY, f64::max);
        let margin = scores[answer] - best_other;
        ChoiceScore {
            correct: margin > 0.0,
            margin,
            scores,
        }
    }
}

/// A question laid out for one decoder: `[question; choice 1; choice 2; …]` as one chunk.
pub struct ChoiceScorer<'a> {
    decoder: &'a Decoder,
    question: &'a EncodedQuestion,
    ids: Vec<u32>,
    chunk: Chunk,
    /// Rows whose logits are needed, ascending.
    rows: Vec<u32>,
    /// For each choice, for each of its tokens: (index into `rows`, token id).
    targets: Vec<Vec<(usize, u32)>>,
}

impl<'a> ChoiceScorer<'a> {
    /// Lays a question out.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(decoder: &'a Decoder, question: &'a EncodedQuestion) -> Result<Self> {
        let layout = Layout::new(question);
        let chunk = decoder.chunk_with_visibility(&layout.positions, &|i, j| layout.sees(i, j))?;
        let mut rows: Vec<u32> = layout.targets.iter().flatten().map(|&(row, _)| row as u32).collect();
        rows.sort_unstable();
        rows.dedup();
        let index = |row: usize| rows.partition_point(|&r| (r as usize) < row);
        let targets = layout
            .targets
            .iter()
            .map(|t| t.iter().map(|&(row, id)| (index(row), id)).collect());
        Ok(ChoiceScorer {
            decoder,
            question,
            ids: layout.ids,
            targets: targets.collect(),
            rows,
            chunk,
        })
    }

    /// Rows of the hidden states that belong to the question: the first ones.
    pub fn prompt_rows(&self) -> Range<usize> {
        0..self.question.prompt.len()
    }

    /// Hidden states before the first block: (tokens, hidden_size).
    pub fn embed(&self) -> Result<Tensor> {
        self.decoder.embed(&self.ids)
    }

    /// One execution of a block over question and choices.
    pub fn run_block(&self, layer: usize, hidden: &Tensor) -> Result<Tensor> {
        Ok(self.decoder.run_block(layer, hidden, &self.chunk, None)?)
    }

    /// As [`Self::run_block`], as a step of some size.
    pub fn take_step(&self, layer: usize, step: StepSize, hidden: &Tensor) -> Result<Tensor> {
        Ok(stepped(hidden, self.run_block(layer, hidden)?, step)?)
    }

    /// The log-probabilities of each choice's tokens by the hidden states after the last block.
    pub fn log_probs(&self, hidden: &Tensor) -> Result<Vec<Vec<f64>>> {
        let rows = Tensor::new(self.rows.as_slice(), hidden.device())?;
        let logits = self.decoder.logits(&hidden.index_select(&rows, 0)?)?;
        let logits = logits.to_vec2::<f32>()?;
        let normalisers: Vec<f64> = logits.iter().map(|row| logsumexp(row)).collect();
        let log_prob = |&(row, id): &(usize, u32)| f64::from(logits[row][id as usize]) - normalisers[row];
        Ok(self.targets.iter().map(|t| t.iter().map(log_prob).collect()).collect())
    }

    /// The score by the hidden states after the last block.
    pub fn finish(&self, hidden: &Tensor, scoring: Scoring) -> Result<ChoiceScore> {
        Ok(self.question.score(&self.log_probs(hidden)?, scoring))
    }

    /// The score under a program, from the embeddings on.
    pub fn run(&self, program: &Program, scoring: Scoring) -> Result<ChoiceScore> {
        let mut hidden = self.embed()?;
        for execution in program.passes() {
            hidden = self.take_step(execution.layer, execution.step, &hidden)?;
        }
        self.finish(&hidden, scoring)
    }
}

/// Where each row of the chunk stands and which row predicts which token.
struct Layout {
    ids: Vec<u32>,
    /// A choice's positions go on after the question's.
    positions: Vec<u32>,
    /// The choice a row belongs to; none for the question's.
    owner: Vec<Option<usize>>,
    /// For each choice, for each of its tokens: (row that predicts it, token id).
    targets: Vec<Vec<(usize, u32)>>,
}

impl Layout {
    fn new(question: &EncodedQuestion) -> Layout {
        let prompt = question.prompt.len();
        let mut layout = Layout {
            ids: question.prompt.clone(),
            positions: (0..prompt as u32).collect(),
            owner: vec![None; prompt],
            targets: Vec::new(),
        };
        for (choice, tokens) in question.choices.iter().enumerate() {
            // The question's last row predicts the first token; the last token predicts nothing
            // that is asked for, so it needs no row.
            let mut targets = vec![(prompt - 1, tokens[0])];
            for (offset, pair) in tokens.windows(2).enumerate() {
                targets.push((layout.ids.len(), pair[1]));
                layout.ids.push(pair[0]);
                layout.positions.push((prompt + offset) as u32);
                layout.owner.push(Some(choice));
            }
            layout.targets.push(targets);
        }
        layout
    }

    /// Whether row i sees row j: the question and its own choice, up to itself.
    fn sees(&self, i: usize, j: usize) -> bool {
        j <= i && (self.owner[j].is_none() || self.owner[j] == self.owner[i])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::testing::{question, tiny_decoder};

    #[test]
    fn scores_normalise_as_named_and_ties_are_wrong() {
        let question = EncodedQuestion {
            prompt: vec![1],
            choices: vec![vec![1, 2], vec![3]],
            chars: vec![8, 2],
            answer: 0,
        };
        let log_probs = [vec![-1.0, -3.0], vec![-3.0]];
        assert_eq!(question.score(&log_probs, Scoring::Sum).scores, [-4.0, -3.0]);
        assert!(!question.score(&log_probs, Scoring::Sum).correct);
        let by_token = question.score(&log_probs, Scoring::Token);
        assert_eq!((by_token.scores, by_token.margin), (vec![-2.0, -3.0], 1.0));
        assert_eq!(question.score(&log_probs, Scoring::Char).scores, [-0.5, -1.5]);
        assert!(!ChoiceScore::new(vec![1.0, 1.0], 0).correct);
        assert!(!ChoiceScore::new(vec![f64::NAN, 1.0], 0).correct);
    }

    #[test]
    fn letters_take_the_place_of_the_choices() {
        let choices = |count: usize| Question {
            id: "q".into(),
            question: "Sky?".into(),
            answer: Answer::Choice {
                choices: (0..count).map(|i| format!("c{i}")).collect(),
                right: 1,
            },
        };
        assert_eq!(with_letters(&choices(2)).unwrap().answer.choices(), ["A", "B"]);
        let refused = with_letters(&choices(27)).unwrap_err().to_string();
        assert!(refused.contains("27 choices"), "{refused}");
    }

    #[test]
    fn one_chunk_scores_as_each_choice_by_itself() {
        let decoder = tiny_decoder();
        let question = question();
        let program = Program::from_layers([0, 1, 1, 3]);
        let together = ChoiceScorer::new(&decoder, &question).unwrap();
        let together = together.run(&program, Scoring::Sum).unwrap();
        for (choice, tokens) in question.choices.iter().enumerate() {
            let ids: Vec<u32> = question.prompt.iter().chain(tokens).copied().collect();
            let positions: Vec<u32> = (0..ids.len() as u32).collect();
            let chunk = decoder.chunk(&positions).unwrap();
            let mut hidden = decoder.embed(&ids).unwrap();
            for &layer in program.layers() {
                hidden = decoder.run_block(layer, &hidden, &chunk, None).unwrap();
            }
            let logits = decoder.logits(&hidden).unwrap().to_vec2::<f32>().unwrap();
            let start = question.prompt.len() - 1;
            let predicted = tokens.iter().enumerate();
            let alone: f64 = predicted
                .map(|(k, &id)| f64::from(logits[start + k][id as usize]) - logsumexp(&logits[start + k]))
                .sum();
            assert!(
                (alone - together.scores[choice]).abs() < 1e-4,
                "choice {choice}: {alone} alone, {} together",
                together.scores[choice]
            );
        }
    }

    #[test]
    fn what_does_not_fit_the_context_is_named() {
        let question = Question {
            id: "long\u{1b}".into(),
            question: "Q".into(),
            answer: Answer::Choice {
                choices: vec!["a".into(), "b".into()],
                right: 0,
            },
        };
        let encode = |text: &str| Ok(text.bytes().map(u32::from).collect());
        let prompt: Vec<u32> = encode(&question.prompt()).unwrap();
        assert!(EncodedQuestion::new(&question, 21, prompt.clone(), encode).is_ok());
        let error = EncodedQuestion::new(&question, 20, prompt, encode)
            .unwrap_err()
            .to_string();
        assert!(error.contains("question long␛ has 21 tokens"), "{error}");
    }
}
