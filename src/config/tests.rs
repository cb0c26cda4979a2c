use super::*;
use crate::trace::KvMode;
use proptest::prelude::*;

fn refused(text: &str) -> String {
    Config::parse("config.toml", text).unwrap_err().to_string()
}

#[test]
fn the_annotated_default_is_the_default() {
    assert_eq!(
        Config::parse("assets/config.toml", DEFAULT_CONFIG).unwrap(),
        Config::default()
    );
}

/// `# key = value` lines are examples of what has no default; they must parse too, and with
/// the other lines name every key.
#[test]
fn the_annotated_default_shows_every_key() {
    let shown: String = DEFAULT_CONFIG
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.contains(" = ") || rest.starts_with('[') => rest,
            _ => line,
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    let config = Config::parse("shown", &shown).unwrap();
    assert!(config.budget.is_some() && !config.keys.is_empty());
    let table = DeTable::parse(&shown).unwrap();
    for key in KEYS {
        assert!(
            table.get_ref().contains_key(key),
            "{key} is missing in assets/config.toml"
        );
    }
}

#[test]
fn the_docs_name_every_key_and_its_default() {
    let docs = include_str!("../../docs/keys-and-config.md");
    let table = DEFAULT_CONFIG.parse::<toml::Table>().unwrap();
    for key in KEYS.into_iter().filter(|key| *key != "keys") {
        let row = docs.lines().find(|line| line.starts_with(&format!("| `{key}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/keys-and-config.md lacks {key}"));
        if let Some(default) = table.get(key) {
            assert!(
                row.ends_with(&format!(" `{default}` |")),
                "{row}: the default is {default}"
            );
        }
    }
}

#[test]
fn values_reach_settings_and_load_request() {
    let config = Config::parse(
        "c",
        "scope = 'token'\ndial = 0.25\nbudget = 40\nseed = 7\ntop_p = 0.9\nrouters = 'none'\nthreads = 3\ncolor = '256'\n\
         temperature = 1",
    )
    .unwrap();
    let settings = config.settings(&RouterChoice::BuiltIn);
    assert_eq!(
        (settings.scope, settings.dial, settings.budget),
        (Scope::Token, 0.25, Some(40))
    );
    assert_eq!((settings.sampling.seed, settings.sampling.top_p), (7, Some(0.9)));
    assert_eq!(settings.sampling.temperature, 1.0, "whole numbers are numbers");
    let load = config.load_request();
    assert_eq!((load.routers, load.threads), (RouterChoice::None, Some(3)));
    assert_eq!(config.color, ColorChoice::Ansi256);
    let of = |routers: &RouterChoice| Config::default().settings(routers);
    assert_eq!(of(&RouterChoice::DrLlm), Settings::default());
    let token = Settings {
        scope: Scope::Token,
        kv: KvMode::Fill,
        ..Settings::default()
    };
    assert_eq!(
        of(&RouterChoice::BuiltIn),
        token,
        "the scope that the best routers were made for"
    );
}

#[test]
fn errors_name_line_column_and_the_nearest_key() {
    assert_eq!(
        refused("theme = 'light'\nmax_token = 4"),
        "config.toml:2:1: unknown key 'max_token': did you mean 'max_tokens'?"
    );
    assert_eq!(
        refused("\ndial = 1.5"),
        "config.toml:2:8: dial is 1.5: expected -1 (skip all) to 1 (repeat all); -0.5 is the router itself"
    );
    for (text, part) in [
        ("dial = nan", "config.toml:1:8: dial is nan"),
        ("budget = 0", "budget is 0"),
        ("budget = -3", "config.toml:1:10: "),
        ("theme = 3", "config.toml:1:9: "),
        ("scope = 'word'", "token"),
        ("color = 'red'", "truecolor"),
        ("device = 'gpu'", "expected auto, cpu, cuda:N or metal"),
        ("top_p = 0.0", "top_p is 0.0"),
        ("temperature = inf", "temperature is inf"),
        ("threads = 0", "threads is 0"),
        ("keys = 3", "'keys' is of type integer: expected a table"),
        ("[keys.grid]\ns = 3", "config.toml:2:5: 's' is of type integer"),
        ("[keys]\ns = 'x'", "'s' is of type string: expected a table"),
        ("seed = -1", "config.toml:1:8: "),
        ("x", "config.toml:1:2: "),
        ("seed = 1\nseed = 2", "config.toml:2:1: "),
    ] {
        let message = refused(text);
        assert!(message.contains(part), "{text}: {message}");
    }
}

#[test]
fn key_bindings_keep_their_place() {
    let config = Config::parse(
        "c",
        "[keys.grid]\n\"s\" = \"pin-skip\"\n[keys.global]\n'ctrl-q' = 'none'",
    )
    .unwrap();
    let shown: Vec<_> = config
        .keys
        .iter()
        .map(|b| format!("{} {} {} {}", b.place, b.context, b.key, b.action))
        .collect();
    assert_eq!(shown, ["c:2:1 grid s pin-skip", "c:4:1 global ctrl-q none"]);
}

#[test]
fn a_missing_file_is_the_default_unless_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Config::load(None, dir.path()).unwrap(), Config::default());
    let asked = dir.path().join("mine.toml");
    let message = Config::load(Some(&asked), dir.path()).unwrap_err().to_string();
    assert!(
        message.starts_with("cannot read ") && message.contains("mine.toml"),
        "{message}"
    );
    std::fs::write(dir.path().join(FILE_NAME), "seed = 9").unwrap();
    assert_eq!(Config::load(None, dir.path()).unwrap().seed, 9);
}

#[test]
fn files_are_relative_to_the_config() {
    let dir = tempfile::tempdir().unwrap();
    let load = |text: &str| {
        std::fs::write(dir.path().join(FILE_NAME), text).unwrap();
        Config::load(None, dir.path()).unwrap()
    };
    let config = load("routers = 'r.safetensors'\nmodel = './m.gguf'");
    assert_eq!(config.routers, RouterChoice::File(dir.path().join("r.safetensors")));
    assert_eq!(config.model, Some(dir.path().join("./m.gguf").display().to_string()));
    let config = load("routers = '/r.safetensors'\nmodel = 'owner/name'");
    assert_eq!(config.routers, RouterChoice::File("/r.safetensors".into()));
    assert_eq!(config.model.as_deref(), Some("owner/name"));
    assert!(!load("model = '~/m.gguf'").model.unwrap().contains('~'));
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "(\\PC|\n){0,200}", key in "[a-z_]{1,12}", value in "\\PC{0,20}") {
        let _ = Config::parse("fuzz", &text);
        let _ = Config::parse("fuzz", &format!("{key} = {value}"));
        for key in KEYS {
            let _ = Config::parse("fuzz", &format!("{key} = {value}"));
        }
    }
}
