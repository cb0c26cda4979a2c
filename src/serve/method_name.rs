//! What runs the model, named in a request's `model`: `drllm:0-14 17-29`, `drllm:built-in depth 26`, `drllm:none`.

use std::path::Path;

use super::ServeError;
use crate::engine::{RouterChoice, kv_of, scope_of};
use crate::program::Program;
use crate::text::escape_controls;
use crate::trace::{ModelInfo, NEUTRAL_DIAL, Settings};

/// What all names begin with.
pub const PREFIX: &str = "drllm:";
/// Longer names are quoted in part.
const QUOTED: usize = 80;

/// What a name stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedMethod {
    /// What decides, unless the settings have a program.
    pub routers: RouterChoice,
    /// Scope, KV mode, dial, budget and program; nothing of how tokens are drawn.
    pub settings: Settings,
    /// A mean depth, which the routers' own table turns into a dial.
    pub depth: Option<f64>,
}

/// Names without a program that a server with these routers answers to.
pub fn names(own: bool, shipped: &[RouterChoice]) -> Vec<String> {
    let mut names = vec![format!("{PREFIX}none")];
    names.extend(shipped.iter().map(|choice| format!("{PREFIX}{choice}")));
    names.extend(own.then(|| format!("{PREFIX}routers")));
    names
}

/// Reads a name, for a model; `own` is the checkpoint that the server was started with, `drllm:routers`.
///
/// # Errors
/// 404 for a name that stands for nothing, 400 for a mistake in a program or a number.
pub fn parse(name: &str, model: &ModelInfo, own: Option<&Path>) -> Result<NamedMethod, ServeError> {
    if name == model.name {
        return Ok(method(RouterChoice::None, None));
    }
    let shown: String = escape_controls(&name.chars().take(QUOTED).collect::<String>());
    let unknown = || ServeError {
        field: Some("model"),
        ..ServeError::new(
            404,
            format!(
                "there is no model '{shown}': expected {PREFIX}none (the unmodified model), {PREFIX}PROGRAM with the layers \
                 that run, like '{PREFIX}0-14 17-29', or routers, like {PREFIX}built-in; GET /v1/models lists the names"
            ),
        )
    };
    let rest = name.strip_prefix(PREFIX).map(str::trim).filter(|rest| !rest.is_empty());
    let rest = rest.ok_or_else(unknown)?;
    let (first, options) = rest.split_once(' ').unwrap_or((rest, ""));
    let choice = match first {
        "none" if options.is_empty() => return Ok(method(RouterChoice::None, None)),
        "built-in" => RouterChoice::BuiltIn,
        "verifier" => RouterChoice::Verifier,
        "dr-llm" => RouterChoice::DrLlm,
        "routers" => match own {
            Some(path) => RouterChoice::File(path.to_path_buf()),
            None => {
                let message = format!("'{shown}' needs a server that was started with --routers FILE");
                return Err(ServeError::field("model", message));
            }
        },
        _ if first.starts_with(|c: char| c.is_ascii_digit() || c == '(') => {
            let program = Program::parse(rest, model.layers);
            let program = program.map_err(|e| ServeError::field("model", format!("the program of '{shown}': {e}")))?;
            return Ok(method(RouterChoice::None, Some(program)));
        }
        _ => return Err(unknown()),
    };
    let mut method = method(choice, None);
    let words: Vec<&str> = options.split_whitespace().collect();
    for pair in words.chunks(2) {
        let wrong = || {
            let message =
                format!("the options of '{shown}': expected depth, dial or budget, each with a number behind it");
            ServeError::field("model", message)
        };
        let [option, number] = pair else { return Err(wrong()) };
        match *option {
            "depth" => {
                let depth = number.parse().ok().filter(|depth: &f64| depth.is_finite());
                method.depth = Some(depth.ok_or_else(wrong)?);
            }
            "dial" => method.settings.dial = number.parse().map_err(|_| wrong())?,
            "budget" => method.settings.budget = Some(number.parse().map_err(|_| wrong())?),
            _ => return Err(wrong()),
        }
    }
    if method.depth.is_some() && method.settings.dial != NEUTRAL_DIAL {
        let message = format!("'{shown}' has a depth and a dial, which both say how much is skipped; give one");
        return Err(ServeError::field("model", message));
    }
    let checked = method.settings.check(model.layers);
    checked.map_err(|e| ServeError::field("model", format!("'{shown}': {e}")))?;
    Ok(method)
}

fn method(routers: RouterChoice, program: Option<Program>) -> NamedMethod {
    let scope = scope_of(&routers);
    let settings = Settings {
        scope,
        kv: kv_of(&routers, scope),
        program,
        shadow: false,
        raw: true,
        ..Settings::default()
    };
    NamedMethod {
        routers,
        settings,
        depth: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str) -> Result<NamedMethod, ServeError> {
        let model = ModelInfo {
            name: "tiny".into(),
            layers: 30,
            ..ModelInfo::default()
        };
        parse(name, &model, None)
    }

    #[test]
    fn names_stand_for_programs_and_routers() {
        for base in ["drllm:none", "tiny", "drllm: none"] {
            let method = read(base).unwrap();
            assert_eq!(
                (&method.routers, &method.settings.program),
                (&RouterChoice::None, &None)
            );
        }
        let program = read("drllm:0-14 (17-20)x2 29").unwrap().settings.program.unwrap();
        assert_eq!(program.to_string(), "0-14 (17-20)x2 29");
        let routed = read("drllm:built-in depth 26.5 budget 28").unwrap();
        assert_eq!((routed.depth, routed.settings.budget), (Some(26.5), Some(28)));
        assert_eq!(routed.settings.scope, crate::trace::Scope::Token);
        assert_eq!(read("drllm:verifier dial -0.4").unwrap().settings.dial, -0.4);
        assert_eq!(
            names(true, &[RouterChoice::BuiltIn]),
            ["drllm:none", "drllm:built-in", "drllm:routers"]
        );
    }

    #[test]
    fn other_names_are_refused_in_words() {
        let long = "x".repeat(9999);
        for (name, status, said) in [
            ("gpt-4", 404, "no model 'gpt-4'"),
            ("", 404, "no model ''"),
            ("drllm:", 404, "GET /v1/models"),
            ("drllm:\u{1b}[31m", 404, "␛[31m"),
            (&*long, 404, "xxx"),
            ("drllm:0-30", 400, "no layer 30"),
            ("drllm:0-1 none", 400, "column 5"),
            ("drllm:routers", 400, "started with --routers"),
            ("drllm:built-in depth", 400, "expected depth, dial or budget"),
            ("drllm:built-in depth x", 400, "expected depth, dial or budget"),
            ("drllm:built-in depth nan", 400, "expected depth, dial or budget"),
            ("drllm:built-in warp 9", 400, "expected depth, dial or budget"),
            ("drllm:built-in dial 7", 400, "the dial is 7"),
            ("drllm:built-in dial nan", 400, "the dial is NaN"),
            ("drllm:built-in budget 61", 400, "1 to 60"),
            ("drllm:built-in depth 26 dial 0", 400, "give one"),
        ] {
            let error = read(name).unwrap_err();
            assert_eq!((error.status, error.field), (status, Some("model")), "{name}: {error}");
            assert!(
                error.message.contains(said) && error.message.len() < 400,
                "{name}: {error}"
            );
        }
    }
}
