use super::*;
use crossterm::event::{KeyCode, KeyModifiers};
use proptest::prelude::*;

use crate::config::Config;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Quit,
    Run,
    PinSkip,
    Top,
    Help,
}

impl KeyAction for Act {
    fn all() -> &'static [Act] {
        &[Act::Quit, Act::Run, Act::PinSkip, Act::Top, Act::Help]
    }
    fn name(self) -> &'static str {
        match self {
            Act::Quit => "quit",
            Act::Run => "run",
            Act::PinSkip => "pin-skip",
            Act::Top => "top",
            Act::Help => "help",
        }
    }
    fn description(self) -> &'static str {
        self.name()
    }
    fn group(self) -> &'static str {
        "all"
    }
}

const SAMPLE: &str = r#"
[global]
"ctrl-c" = "quit"
"q" = "quit"
"g" = "help"
[grid]
"s" = "pin-skip"
"g g" = "top"
[prompt]
"ctrl-s" = "run"
[overlay]
"#;

fn source(text: &str) -> ConfigSource<'_> {
    ConfigSource {
        name: "keymap.toml",
        text,
    }
}

fn keymap(user: &str) -> Keymap<Act> {
    Keymap::new(source(SAMPLE), &differences(user)).unwrap()
}

fn differences(user: &str) -> Vec<KeyBinding> {
    Config::parse("config.toml", user).unwrap().keys
}

fn refused(user: &str) -> String {
    Keymap::<Act>::new(source(SAMPLE), &differences(user))
        .unwrap_err()
        .to_string()
}

fn event(c: char) -> KeyEvent {
    KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE)
}

#[test]
fn a_context_comes_before_the_global_one() {
    let map = keymap("");
    assert_eq!(map.lookup("grid", event('s')), Some(Act::PinSkip));
    assert_eq!(map.lookup("prompt", event('s')), None);
    assert_eq!(map.lookup("grid", event('q')), Some(Act::Quit));
    assert_eq!(map.lookup("no-such-context", event('q')), Some(Act::Quit));
    let ctrl_s = KeyEvent::new(KeyCode::Char('s'), KeyModifiers::CONTROL);
    assert_eq!(map.lookup("prompt", ctrl_s), Some(Act::Run));
    let release = KeyEvent::new_with_kind(KeyCode::Char('q'), KeyModifiers::NONE, KeyEventKind::Release);
    assert_eq!(map.lookup("grid", release), None);
}

#[test]
fn two_keys_in_a_row() {
    let map = keymap("");
    let mut pending = None;
    assert_eq!(map.press(&mut pending, "grid", event('g')), Lookup::Prefix);
    assert_eq!(map.press(&mut pending, "grid", event('g')), Lookup::Action(Act::Top));
    assert_eq!(pending, None);
    // What continues nothing counts on its own.
    assert_eq!(map.press(&mut pending, "grid", event('g')), Lookup::Prefix);
    assert_eq!(
        map.press(&mut pending, "grid", event('s')),
        Lookup::Action(Act::PinSkip)
    );
    assert_eq!(map.press(&mut pending, "grid", event('g')), Lookup::Prefix);
    assert_eq!(map.press(&mut pending, "grid", event('z')), Lookup::Nothing);
    // Elsewhere the key is global and has one meaning.
    assert_eq!(map.press(&mut pending, "prompt", event('g')), Lookup::Action(Act::Help));
    assert_eq!(map.lookup("grid", event('g')), None);
}

#[test]
fn the_users_differences_win() {
    let map = keymap(
        "[keys.grid]\n'g' = 'run'\n'x' = 'pin-skip'\n's' = 'none'\n'q' = 'none'\n[keys.global]\n'ctrl-c' = 'none'",
    );
    assert_eq!(map.lookup("grid", event('g')), Some(Act::Run), "in place of 'g g'");
    assert_eq!(map.lookup("grid", event('x')), Some(Act::PinSkip));
    assert_eq!(map.lookup("grid", event('s')), None);
    assert_eq!(map.lookup("grid", event('q')), None, "hidden here");
    assert_eq!(map.lookup("prompt", event('q')), Some(Act::Quit), "but not there");
    assert_eq!(map.keys_for(Act::Quit, "grid"), Vec::<String>::new());
    assert_eq!(map.keys_for(Act::Quit, "overlay"), ["q"]);
    assert_eq!(map.unbound(), [Act::Top]);
}

#[test]
fn keys_of_an_action() {
    let map = keymap("[keys.grid]\n'ctrl-q' = 'quit'");
    assert_eq!(map.keys_for(Act::Quit, "grid"), ["Ctrl-q", "Ctrl-c", "q"]);
    assert_eq!(map.keys_for(Act::Quit, "global"), ["Ctrl-c", "q"]);
    assert_eq!(map.keys_for(Act::Top, "grid"), ["gg"]);
    assert_eq!(map.keys_for(Act::Help, "grid"), Vec::<String>::new(), "hidden by 'g g'");
    let help = map.help("prompt");
    assert_eq!(help[0], (Act::Quit, vec!["Ctrl-c".to_owned(), "q".to_owned()]));
    assert_eq!(
        help.iter().map(|(a, _)| *a).collect::<Vec<_>>(),
        [Act::Quit, Act::Run, Act::Help]
    );
    assert_eq!(
        map.contexts().collect::<Vec<_>>(),
        ["global", "grid", "prompt", "overlay"]
    );
}

#[test]
fn errors_name_file_line_column_and_the_nearest_name() {
    for (user, expected) in [
        (
            "[keys.grid]\n's' = 'pin-skp'",
            "config.toml:2:1: unknown action 'pin-skp': did you mean 'pin-skip'?",
        ),
        (
            "[keys.gird]\n's' = 'run'",
            "config.toml:2:1: unknown context 'gird': did you mean 'grid'?",
        ),
        (
            "[keys.grid]\n'ctrl+s' = 'run'",
            "config.toml:2:1: unknown key 'ctrl+s': did you mean 'ctrl-s'?",
        ),
        (
            "[keys.grid]\n'G' = 'run'\n'shift-g' = 'top'",
            "config.toml:3:1: 'shift-g' is bound already, as 'G' on line 2 of [grid]; keep one of them",
        ),
        (
            "[keys.grid]\n'z' = 'run'\n'z z' = 'top'",
            "config.toml:3:1: 'z z' begins with 'z', which is bound on line 2 of [grid]; keep one of them",
        ),
        (
            "[keys.grid]\n'z z' = 'run'\n'z' = 'top'",
            "config.toml:3:1: 'z' cannot do something and begin 'z z' on line 2 of [grid]; keep one of them",
        ),
    ] {
        assert_eq!(refused(user), expected);
    }
    let own = Keymap::<Act>::new(source("[grid]\na = 'run'\nb = 'rum'"), &[]).unwrap_err();
    assert_eq!(
        own.to_string(),
        "keymap.toml:3:1: unknown action 'rum': did you mean 'run'?"
    );
    assert!(Keymap::<Act>::new(source("a = 'run'"), &[]).is_err());
}

proptest! {
    #[test]
    fn arbitrary_keymaps_never_panic(text in "(\\PC|\n){0,120}", key in "\\PC{0,8}", action in "[a-z-]{0,9}") {
        let _ = Keymap::<Act>::new(source(&text), &[]);
        let difference = KeyBinding { context: "grid".into(), key, action, place: Place::default() };
        let _ = Keymap::<Act>::new(source(SAMPLE), &[difference]);
    }
}
