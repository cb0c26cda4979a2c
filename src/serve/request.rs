//! The body of a completions request, checked field by field. What this program does not compute is refused, never
//! ignored.

use serde::Deserialize;
use serde_json::Value;

use super::{ServeError, ServeLimits};
use crate::engine::Prompt;
use crate::text::escape_controls;
use crate::trace::Sampling;

/// Likeliest tokens that may be asked for at each position.
const MOST_LOGPROBS: usize = 20;
/// Texts that end an answer, and bytes of each.
const MOST_STOPS: usize = 16;
const MOST_STOP_BYTES: usize = 256;
/// Tokens after each prompt, where the request names no number.
const DEFAULT_MAX_TOKENS: usize = 16;

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct CompletionRequest {
    /// What runs the model, see [`super::method_name`].
    pub model: String,
    /// Each has an answer of its own.
    pub prompts: Vec<Prompt>,
    /// Most tokens that are generated after each prompt.
    pub max_tokens: usize,
    /// The prompt stands in the answer, with its log-probabilities where they are asked for.
    pub echo: bool,
    /// How many likeliest tokens are named at each position; none: no log-probabilities.
    pub logprobs: Option<usize>,
    /// Of an echoed text, how many tokens are the prompt; those after it are routed as an answer's.
    pub prompt_tokens: Option<usize>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Texts that end an answer.
    pub stop: Vec<String>,
    /// Goes on after an end token.
    pub ignore_eos: bool,
    /// Server-sent events, a token each.
    pub stream: bool,
}

/// The fields as they come. Those that OpenAI's interface has besides are named, so that they are refused in other words
/// than a misspelt one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    model: Option<String>,
    prompt: Option<Value>,
    max_tokens: Option<usize>,
    echo: Option<bool>,
    logprobs: Option<usize>,
    prompt_tokens: Option<usize>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<usize>,
    repetition_penalty: Option<f32>,
    seed: Option<u64>,
    stop: Option<Value>,
    ignore_eos: Option<bool>,
    stream: Option<bool>,
    /// Who asks; nothing depends on it.
    #[serde(rename = "user")]
    _user: Option<String>,
    n: Option<u64>,
    best_of: Option<u64>,
    suffix: Option<String>,
    presence_penalty: Option<f64>,
    frequency_penalty: Option<f64>,
    logit_bias: Option<Value>,
}

impl CompletionRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// 400, with the field and what it may be.
    pub fn parse(body: &[u8], limits: &ServeLimits) -> Result<CompletionRequest, ServeError> {
        let body: Body = read_json(body)?;
        body.refuse_what_is_not_computed()?;
        let needed = |field, what: &str| ServeError::field(field, format!("it is missing: expected {what}"));
        let model = body
            .model
            .ok_or_else(|| needed("model", "a name that GET /v1/models lists"))?;
        let prompt = body
            .prompt
            .ok_or_else(|| needed("prompt", "a text, token ids, or a list of either"))?;
        let prompts = prompts(prompt, limits)?;
        let max_tokens = body.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS.min(limits.max_tokens));
        if max_tokens > limits.max_tokens {
            let most = limits.max_tokens;
            let message = format!("it is {max_tokens}, this server generates at most {most} (serve --max-tokens)");
            return Err(ServeError::field("max_tokens", message));
        }
        if let Some(count) = body.logprobs.filter(|&count| count > MOST_LOGPROBS) {
            let message = format!("it is {count}, at most {MOST_LOGPROBS} tokens are named at each position");
            return Err(ServeError::field("logprobs", message));
        }
        let echo = body.echo.unwrap_or(false);
        if body.prompt_tokens.is_some() && !(echo && body.logprobs.is_some()) {
            let message = "it says where the answer begins in a text that is scored; give echo and logprobs with it";
            return Err(ServeError::field("prompt_tokens", message));
        }
        let sampling = Sampling {
            temperature: body.temperature.unwrap_or(1.0),
            top_k: body.top_k,
            top_p: body.top_p,
            repetition_penalty: body.repetition_penalty.unwrap_or(1.0),
            seed: body.seed.unwrap_or_else(rand::random),
        };
        let stream = body.stream.unwrap_or(false);
        if stream && (echo || prompts.len() > 1) {
            let message = "one prompt is streamed at a time, and without echo; leave stream out";
            return Err(ServeError::field("stream", message));
        }
        Ok(CompletionRequest {
            model,
            prompts,
            max_tokens,
            echo,
            logprobs: body.logprobs,
            prompt_tokens: body.prompt_tokens,
            sampling,
            stop: stops(body.stop)?,
            ignore_eos: body.ignore_eos.unwrap_or(false),
            stream,
        })
    }
}

impl Body {
    fn refuse_what_is_not_computed(&self) -> Result<(), ServeError> {
        let other = |number: Option<u64>| number.is_some_and(|n| n != 1);
        let penalty = |number: Option<f64>| number.is_some_and(|n| n != 0.0);
        let bias = match &self.logit_bias {
            None | Some(Value::Null) => false,
            Some(Value::Object(map)) => !map.is_empty(),
            Some(_) => true,
        };
        let refused = [
            ("n", other(self.n), "1; ask again with another seed for another answer"),
            ("best_of", other(self.best_of), "1"),
            (
                "suffix",
                self.suffix.as_ref().is_some_and(|s| !s.is_empty()),
                "none: text is continued, not filled in",
            ),
            (
                "presence_penalty",
                penalty(self.presence_penalty),
                "0; there is repetition_penalty",
            ),
            (
                "frequency_penalty",
                penalty(self.frequency_penalty),
                "0; there is repetition_penalty",
            ),
            ("logit_bias", bias, "none"),
        ];
        match refused.into_iter().find(|(_, asked, _)| *asked) {
            Some((field, _, allowed)) => Err(ServeError::field(
                field,
                format!("this server computes no other value than {allowed}"),
            )),
            None => Ok(()),
        }
    }
}

/// A JSON body of known fields.
///
/// # Errors
/// 400, with what is wrong and where.
pub fn read_json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ServeError> {
    serde_json::from_slice(body).map_err(|e| {
        let reason: String = escape_controls(&e.to_string()).chars().take(300).collect();
        ServeError::new(
            400,
            format!("the request's body: {reason}; expected one JSON object, as docs/serve.md has it"),
        )
    })
}

/// A text, a list of texts, token ids, or a list of such lists.
fn prompts(value: Value, limits: &ServeLimits) -> Result<Vec<Prompt>, ServeError> {
    let wrong = || {
        ServeError::field(
            "prompt",
            "expected a text, token ids, or a list of texts or of lists of token ids",
        )
    };
    let ids = |list: Vec<Value>| {
        let id = |value: Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        list.into_iter().map(id).collect::<Option<Vec<u32>>>().ok_or_else(wrong)
    };
    let prompts = match value {
        Value::String(text) => vec![Prompt::Text(text)],
        Value::Array(list) if list.first().is_some_and(Value::is_number) => vec![Prompt::Ids(ids(list)?)],
        Value::Array(list) => {
            let (count, most) = (list.len(), limits.prompts);
            if count > most {
                let message = format!("it has {count} prompts, this server takes at most {most} in a request");
                return Err(ServeError::field("prompt", message));
            }
            let one = |value| match value {
                Value::String(text) => Ok(Prompt::Text(text)),
                Value::Array(list) => Ok(Prompt::Ids(ids(list)?)),
                _ => Err(wrong()),
            };
            list.into_iter().map(one).collect::<Result<_, _>>()?
        }
        _ => return Err(wrong()),
    };
    let empty = |prompt: &Prompt| match prompt {
        Prompt::Text(text) => text.is_empty(),
        Prompt::Ids(ids) => ids.is_empty(),
    };
    match prompts.is_empty() || prompts.iter().any(empty) {
        true => Err(ServeError::field(
            "prompt",
            "it is empty: there is nothing to go on from",
        )),
        false => Ok(prompts),
    }
}

fn stops(value: Option<Value>) -> Result<Vec<String>, ServeError> {
    let texts = match value {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(text)) => vec![Value::String(text)],
        Some(Value::Array(texts)) => texts,
        Some(_) => vec![Value::Null],
    };
    let text = |value: &Value| {
        let text = value
            .as_str()
            .filter(|text| (1..=MOST_STOP_BYTES).contains(&text.len()));
        text.map(str::to_owned)
    };
    let read: Option<Vec<String>> = texts.iter().map(text).collect();
    let message = || format!("expected a text of 1 to {MOST_STOP_BYTES} bytes, or at most {MOST_STOPS} of them");
    read.filter(|texts| texts.len() <= MOST_STOPS)
        .ok_or_else(|| ServeError::field("stop", message()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(body: Value) -> Result<CompletionRequest, ServeError> {
        CompletionRequest::parse(body.to_string().as_bytes(), &ServeLimits::default())
    }

    #[test]
    fn what_an_evaluation_harness_sends_is_read() {
        let scored = read(json!({
            "model": "drllm:none", "prompt": [[1, 2], [3]], "temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234,
            "echo": true,
        }))
        .unwrap();
        assert_eq!(scored.prompts, [Prompt::Ids(vec![1, 2]), Prompt::Ids(vec![3])]);
        assert_eq!((scored.max_tokens, scored.echo, scored.logprobs), (1, true, Some(1)));
        assert_eq!((scored.sampling.temperature, scored.sampling.seed), (0.0, 1234));
        let written = read(json!({
            "model": "m", "prompt": "Once", "max_tokens": 9, "temperature": 0.0, "stop": ["\n", "Q:"], "seed": 1,
        }))
        .unwrap();
        assert_eq!(written.prompts, [Prompt::Text("Once".into())]);
        assert_eq!(written.stop, ["\n", "Q:"]);
        let least =
            read(json!({"model": "m", "prompt": ["a", "b"], "n": 1, "suffix": null, "logit_bias": {}})).unwrap();
        assert_eq!(
            (least.prompts.len(), least.max_tokens, least.sampling.temperature),
            (2, 16, 1.0)
        );
    }

    #[test]
    fn every_other_value_is_refused_by_its_field() {
        let with = |field: &str, value: Value| {
            let mut body = json!({"model": "m", "prompt": "p"});
            body[field] = value;
            read(body).unwrap_err()
        };
        for (field, value) in [
            ("prompt", json!("")),
            ("prompt", json!([])),
            ("prompt", json!(["a", ""])),
            ("prompt", json!(["a", [1, []]])),
            ("prompt", json!([1, -2])),
            ("prompt", json!([1.5])),
            ("prompt", json!([1, "a"])),
            ("prompt", json!([5_000_000_000_u64])),
            ("prompt", json!({"text": "a"})),
            ("prompt", json!(7)),
            ("prompt", json!(vec!["a"; 65])),
            ("max_tokens", json!(1025)),
            ("logprobs", json!(21)),
            ("prompt_tokens", json!(1)),
            ("stop", json!("")),
            ("stop", json!(7)),
            ("stop", json!(["a", 7])),
            ("stop", json!("x".repeat(257))),
            ("stop", json!(vec!["a"; 17])),
            ("n", json!(2)),
            ("best_of", json!(3)),
            ("suffix", json!("end")),
            ("presence_penalty", json!(0.5)),
            ("frequency_penalty", json!(-1)),
            ("logit_bias", json!({"50256": -100})),
        ] {
            let error = with(field, value.clone());
            assert_eq!(
                (error.status, error.field),
                (400, Some(field)),
                "{field} = {value}: {error}"
            );
        }
        for (field, value, said) in [
            ("max_tokens", json!(-1), "invalid value"),
            ("max_tokens", json!("many"), "invalid type"),
            ("echo", json!("yes"), "invalid type"),
            ("temprature", json!(1), "unknown field `temprature`"),
            ("model", json!(["m"]), "invalid type"),
        ] {
            let error = with(field, value);
            assert!(error.status == 400 && error.message.contains(said), "{field}: {error}");
        }
        for body in [
            "",
            "{",
            "[]",
            "null",
            "{\"model\": \"m\"}",
            "{\"prompt\": \"p\"}",
            "\u{1b}",
            &"[".repeat(100_000),
        ] {
            let error = CompletionRequest::parse(body.as_bytes(), &ServeLimits::default()).unwrap_err();
            assert!(error.status == 400 && !error.message.contains('\u{1b}'), "{error}");
        }
        let streamed = read(json!({"model": "m", "prompt": ["a", "b"], "stream": true})).unwrap_err();
        assert_eq!(streamed.field, Some("stream"));
    }
}
