use super::*;
use crate::program::{Action, Damping};
use proptest::prelude::*;

const FILE: &str = "\
# half the depth
scope token
kv fill
dial -0.4
budget 26
off program 0-11 13-29
seed 7
pin 7=skip  # the seventh goes
off pin 12@40-60=repeat
pin 12@3=execute
";

fn parse(text: &str) -> Overrides {
    Overrides::parse(text, 30).unwrap()
}

#[test]
fn a_file_is_read_applied_and_written_again() {
    let overrides = parse(FILE);
    assert_eq!(overrides.to_string(), FILE);
    let mut settings = Settings::default();
    overrides.apply(&mut settings);
    assert_eq!(
        (settings.scope, settings.kv, settings.dial, settings.budget),
        (Scope::Token, KvMode::Fill, -0.4, Some(26))
    );
    assert_eq!((settings.program, settings.sampling.seed), (None, 7));
    let pins: Vec<String> = settings.pins.iter().map(Pin::to_string).collect();
    assert_eq!(pins, ["7=skip", "12@3=execute"]);
}

#[test]
fn space_line_ends_and_a_mark_of_bytes_do_not_matter() {
    let loose = parse("\u{feff}  off\tpin   7=skip#no\r\n\r\n\tdial  0.5 \n#\n");
    assert_eq!(loose.to_string(), "off pin 7=skip  # no\ndial 0.5\n#\n");
}

#[test]
fn settings_make_a_file_that_gives_them_back() {
    let mut settings = Settings::default();
    assert_eq!(
        Overrides::from(&settings).to_string(),
        "scope prompt\nkv ragged\ndial -0.5\n"
    );
    parse(FILE).apply(&mut settings);
    settings.sampling.temperature = 0.8;
    settings.program = Some(Program::default());
    let text = Overrides::from(&settings).to_string();
    let mut again = Settings::default();
    again.sampling.temperature = 0.8;
    parse(&text).apply(&mut again);
    assert_eq!(again, settings, "{text}");
}

#[test]
fn mistakes_name_line_column_and_what_was_expected() {
    let error = |text: &str| Overrides::parse(text, 30).unwrap_err().to_string();
    for (text, expected) in [
        (
            "\nbugdet 3",
            "line 2, column 1: expected scope, kv, dial, budget, program, seed, pin or exclude, found 'bugdet'",
        ),
        (
            "  off",
            "line 1, column 6: expected scope, kv, dial, budget, program, seed, pin or exclude, found the end of the line",
        ),
        ("dial 2", "line 1, column 6: expected a number from -1"),
        ("dial nan", "line 1, column 6: expected a number from -1"),
        ("budget 0", "line 1, column 8: expected a number of block executions"),
        ("budget 61", "line 1, column 8: expected a number of block executions"),
        ("scope  all", "line 1, column 8: expected prompt or token, found 'all'"),
        ("seed -1", "line 1, column 6: expected a whole number from 0 on"),
        (
            "seed",
            "line 1, column 5: expected a whole number from 0 on, found the end of the line",
        ),
        ("pin 7=jump", "line 1, column 5: unknown action 'jump'"),
        (
            "pin 30=skip",
            "line 1, column 5: there is no layer 30; this model has layers 0-29",
        ),
        ("program 0-11 13-30", "line 1, column 17: there is no layer 30"),
        ("off program 0-5 x", "line 1, column 17: expected a layer number"),
        ("dial 0\n# a\n dial 1", "line 3, column 2: line 1 says this already"),
        ("pin 7=skip\u{1b}", "line 1, column 5: unknown action"),
    ] {
        let message = error(text);
        assert!(message.starts_with(expected), "{text:?}: {message}");
        assert!(!message.contains('\u{1b}'), "{message}");
    }
    assert_eq!(parse("dial 0\noff dial 1").active().count(), 1);
}

fn any_override() -> impl Strategy<Value = Override> {
    let pin = (0usize..30, any::<Option<(u16, u16)>>(), 0usize..3).prop_map(|(layer, range, action)| {
        Override::Pin(Pin {
            layer,
            positions: range.map(|(a, b)| (a.min(b).into(), a.max(b).into())),
            action: Action::ALL[action],
            damping: Damping::NONE,
        })
    });
    prop_oneof![
        Just(Override::Scope(Scope::Token)),
        Just(Override::Kv(KvMode::Fill)),
        (-1.0f64..=1.0).prop_map(Override::Dial),
        (1usize..=60).prop_map(Override::Budget),
        any::<u64>().prop_map(Override::Seed),
        (0usize..6, 0usize..40).prop_map(|(layer, expert)| Override::ExcludeExpert(ExcludedExpert { layer, expert })),
        proptest::collection::vec(0usize..30, 0..40).prop_map(|l| Override::Program(Program::from_layers(l))),
        pin,
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(items in proptest::collection::vec((any_override(), "[a-z# é]{0,9}"), 0..8)) {
        let line = |(what, note): (Override, String)| {
            let on = what.may_be_many();
            OverrideLine::Item(OverrideItem { what, on, note: note.trim().to_owned() })
        };
        let overrides = Overrides { lines: items.into_iter().map(line).collect() };
        prop_assert_eq!(parse(&overrides.to_string()), overrides);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(off |pin |program |dial |#|\\PC|\n){0,12}") {
        if let Ok(overrides) = Overrides::parse(&text, 30) {
            let written = overrides.to_string();
            prop_assert_eq!(parse(&written).to_string(), written);
        }
    }
}
