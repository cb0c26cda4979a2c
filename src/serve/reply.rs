//! The form of answers: OpenAI's completions, their log-probabilities, errors.

use serde_json::{Map, Value, json};

use super::ServeError;
use super::score::ScoredToken;
use crate::model::{StreamDecoder, Tokenizer};
use crate::trace::ModelInfo;

/// What stands for a probability of 0, whose logarithm JSON has no number for.
const IMPOSSIBLE: f64 = -9999.0;

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// An end token, or one of the texts of `stop`.
    Stop,
    /// `max_tokens`, or the model's context.
    Length,
}

impl Finish {
    /// The interface's `finish_reason`.
    pub fn name(self) -> &'static str {
        match self {
            Finish::Stop => "stop",
            Finish::Length => "length",
        }
    }
}

/// One prompt's answer.
pub struct Choice {
    /// Which of the request's prompts it answers, from 0.
    pub index: usize,
    /// The generated text, after the prompt's where it is echoed.
    pub text: String,
    /// Why the answer ended.
    pub finish: Finish,
    /// Of the prompt's tokens, where it is echoed, then of the generated ones; none where they are not asked for.
    pub tokens: Option<Vec<ScoredToken>>,
    /// Block executions of a token in the mean.
    pub depth: f64,
}

impl Choice {
    /// An entry of the interface's `choices`.
    pub fn to_json(&self, tokenizer: &Tokenizer) -> Value {
        let logprobs = self.tokens.as_ref().map(|tokens| logprobs(tokens, tokenizer));
        json!({
            "index": self.index,
            "text": self.text,
            "logprobs": logprobs,
            "finish_reason": self.finish.name(),
            "mean_depth": self.depth,
        })
    }
}

/// The lists that stand beside a text, an entry a token.
fn logprobs(tokens: &[ScoredToken], tokenizer: &Tokenizer) -> Value {
    let number = |log_prob: f64| log_prob.max(IMPOSSIBLE);
    let mut stream = StreamDecoder::from_start(tokenizer);
    let mut offset = 0;
    let offsets: Vec<usize> = tokens
        .iter()
        .map(|token| {
            let here = offset;
            offset += stream.push(token.id).chars().count();
            here
        })
        .collect();
    let top = |token: &ScoredToken| {
        let mut names = Map::new();
        for &(id, log_prob) in &token.top {
            // Two tokens may have one text: the likelier one, which comes first, stays.
            names.entry(piece(tokenizer, id)).or_insert(number(log_prob).into());
        }
        token.log_prob.map(|_| Value::Object(names))
    };
    json!({
        "tokens": tokens.iter().map(|token| piece(tokenizer, token.id)).collect::<Vec<_>>(),
        "token_logprobs": tokens.iter().map(|token| token.log_prob.map(number)).collect::<Vec<_>>(),
        "top_logprobs": tokens.iter().map(top).collect::<Vec<_>>(),
        "text_offset": offsets,
    })
}

/// A token's text; of a part of a character the bytes, as OpenAI writes them.
fn piece(tokenizer: &Tokenizer, id: u32) -> String {
    match tokenizer.part_of_character(id) {
        Some(bytes) => {
            let hex: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            format!("bytes:{hex}")
        }
        None => tokenizer.decode_piece(id),
    }
}

/// The list of `/v1/models`.
pub fn models(names: &[String], model: &ModelInfo) -> Value {
    let created = chrono::Utc::now().timestamp();
    let one = |name: &String| {
        json!({
            "id": name, "object": "model", "created": created, "owned_by": "drllm-tui", "root": model.name,
            "max_model_len": model.context, "layers": model.layers,
        })
    };
    json!({"object": "list", "data": names.iter().map(one).collect::<Vec<_>>()})
}

/// The answer of `/health`.
pub fn health(model: &ModelInfo) -> Value {
    json!({
        "status": "ok",
        "model": model.name,
        "sha256": model.sha256,
        "layers": model.layers,
        "version": env!("CARGO_PKG_VERSION"),
    })
}

/// The answer of `/tokenizer_info`, as vLLM has it.
pub fn tokenizer(tokenizer: &Tokenizer) -> Value {
    let text = |id: Option<u32>| id.map(|id| tokenizer.decode_piece(id));
    json!({
        "eos_token": text(tokenizer.eos_ids().first().copied()),
        "bos_token": text(tokenizer.bos()),
        "pad_token": null,
        "chat_template": null,
    })
}

/// What stands around choices.
pub struct Envelope {
    /// `cmpl-` and a number that counts the answers of this process from 1.
    pub id: String,
    /// Seconds since 1970.
    pub created: i64,
    /// As the request named it.
    pub model: String,
}

impl Envelope {
    /// A whole answer; `usage`: tokens of the prompts, and generated ones.
    pub fn completion(&self, choices: &[Choice], usage: (usize, usize), tokenizer: &Tokenizer) -> Value {
        let mut answer = self.around(choices.iter().map(|choice| choice.to_json(tokenizer)).collect());
        let (prompt, generated) = usage;
        answer["usage"] = json!({
            "prompt_tokens": prompt,
            "completion_tokens": generated,
            "total_tokens": prompt + generated,
        });
        answer
    }

    /// A piece of an answer that comes a token at a time.
    pub fn piece(&self, text: &str, finish: Option<Finish>) -> Value {
        let choice = json!({
            "index": 0, "text": text, "logprobs": null, "finish_reason": finish.map(Finish::name),
        });
        self.around(vec![choice])
    }

    fn around(&self, choices: Vec<Value>) -> Value {
        json!({
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        })
    }
}

impl ServeError {
    /// The body of the interface's error answers.
    pub fn to_json(&self) -> Value {
        json!({
            "error": {"message": self.message, "type": self.kind, "param": self.field, "code": self.status},
        })
    }
}

/// Text that is given away as it comes, but for an end that may turn out to be the beginning of a stop text.
pub struct StopCutter<'a> {
    stops: &'a [String],
    text: String,
    /// Bytes given away.
    given: usize,
}

impl<'a> StopCutter<'a> {
    /// Begins a text that ends before the first of these stop texts.
    pub fn new(stops: &'a [String]) -> Self {
        StopCutter {
            stops,
            text: String::new(),
            given: 0,
        }
    }

    /// Adds text; what can be given away now, and whether a stop text was met, after which nothing more comes.
    pub fn push(&mut self, text: &str) -> (String, bool) {
        self.text += text;
        let met = self.stops.iter().filter_map(|stop| self.text.find(stop.as_str())).min();
        let end = met.unwrap_or_else(|| self.text.len() - self.held());
        let piece = self.text.get(self.given..end).unwrap_or_default().to_owned();
        self.given = self.given.max(end);
        (piece, met.is_some())
    }

    /// What was held back, when the answer has ended otherwise.
    pub fn finish(&mut self) -> String {
        let rest = self.text[self.given..].to_owned();
        self.given = self.text.len();
        rest
    }

    /// Bytes at the end that begin a stop text.
    fn held(&self) -> usize {
        let of = |stop: &String| {
            let ends = stop.char_indices().map(|(at, _)| at).filter(|&at| at > 0);
            ends.filter(|&at| self.text.ends_with(&stop[..at])).max().unwrap_or(0)
        };
        self.stops.iter().map(of).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_text_is_cut_wherever_tokens_part_it() {
        let stops = ["\n\nQ".to_owned(), "END".to_owned()];
        let cut = |pieces: &[&str]| {
            let mut cutter = StopCutter::new(&stops);
            let mut given = String::new();
            for piece in pieces {
                let (text, met) = cutter.push(piece);
                given += &text;
                assert!(["\n\nQ", "END"].iter().all(|stop| !given.contains(stop)));
                if met {
                    return (given, true);
                }
            }
            given += &cutter.finish();
            (given, false)
        };
        assert_eq!(cut(&["a\n", "\n", "Q: b"]), ("a".into(), true));
        assert_eq!(cut(&["a\n", "\n", "b"]), ("a\n\nb".into(), false));
        assert_eq!(cut(&["E", "N", "N", "END", "x"]), ("ENN".into(), true));
        assert_eq!(cut(&["EN"]), ("EN".into(), false));
        assert_eq!(cut(&["é\n\nQ END"]), ("é".into(), true));
    }
}
