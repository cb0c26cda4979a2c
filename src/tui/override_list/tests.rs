use super::*;
use proptest::prelude::*;

fn list(settings: &Settings, off: &[Off]) -> Vec<String> {
    let sign = |on| if on { '+' } else { '-' };
    rows(settings, off)
        .iter()
        .map(|(what, on)| format!("{}{what}", sign(*on)))
        .collect()
}

fn some() -> Settings {
    Settings {
        pins: vec!["7=skip".parse().unwrap(), "7@12-14=repeat".parse().unwrap()],
        budget: Some(26),
        dial: -0.4,
        ..Settings::default()
    }
}

#[test]
fn what_is_switched_off_comes_back_to_its_place() {
    let (mut settings, mut off) = (some(), Vec::new());
    let before = settings.clone();
    assert_eq!(toggle(&mut settings, &mut off, 0), 3);
    assert_eq!(
        list(&settings, &off),
        ["+pin 7@12-14=repeat", "+budget 26", "+dial -0.4", "-pin 7=skip"]
    );
    assert_eq!(toggle(&mut settings, &mut off, 1), 3);
    assert_eq!((settings.budget, settings.pins.len()), (None, 1));
    toggle(&mut settings, &mut off, 3);
    assert_eq!(toggle(&mut settings, &mut off, 3), 0);
    assert_eq!((settings, off), (before, vec![]));
}

#[test]
fn a_budget_takes_the_place_of_another() {
    let (mut settings, mut off) = (some(), Vec::new());
    accept(&mut settings, &mut off, None, "budget 20", Some(30)).unwrap();
    assert_eq!(settings.budget, Some(20));
    assert_eq!(list(&settings, &off).last().unwrap(), "-budget 26");
    toggle(&mut settings, &mut off, 4);
    assert_eq!(
        (settings.budget, list(&settings, &off).last().unwrap().as_str()),
        (Some(26), "-budget 20")
    );
}

#[test]
fn edits_replace_and_mistakes_change_nothing() {
    let (mut settings, mut off) = (some(), Vec::new());
    assert_eq!(
        accept(&mut settings, &mut off, Some(0), " pin 8=execute ", Some(30)),
        Ok(0)
    );
    assert_eq!(settings.pins[0].to_string(), "8=execute");
    toggle(&mut settings, &mut off, 0);
    accept(&mut settings, &mut off, Some(3), "pin 9=skip", Some(30)).unwrap();
    assert_eq!(list(&settings, &off)[3], "-pin 9=skip");
    let before = (settings.clone(), off.clone());
    for (text, part, column) in [
        ("pni 7=skip", "pin or exclude, found 'pni'", Some(1)),
        (" pin 7=jump", "jump", Some(6)),
        ("pin 99=skip", "no layer 99", Some(5)),
        ("budget many", "found 'many'", Some(8)),
        ("budget 999", "twice the model's layers", Some(8)),
        ("budget", "found the end of the line", Some(7)),
        ("# budget 20", "no override", Some(1)),
        ("program 0-11 13-99", "column", Some(17)),
        ("", "no override", Some(1)),
    ] {
        let error = accept(&mut settings, &mut off, None, text, Some(30)).unwrap_err();
        assert!(error.message.contains(part), "{text}: {}", error.message);
        assert_eq!(error.column, column, "{text}: {}", error.message);
        assert_eq!((&settings, &off), (&before.0, &before.1));
    }
}

#[test]
fn a_line_of_a_file_can_be_typed_whole() {
    let (mut settings, mut off) = (some(), Vec::new());
    assert_eq!(
        accept(&mut settings, &mut off, None, "off seed 7  # later", None),
        Ok(4)
    );
    assert_eq!(accept(&mut settings, &mut off, None, "scope token", None), Ok(4));
    assert_eq!(list(&settings, &off)[4..], ["+scope token", "-seed 7"]);
    assert_eq!(toggle(&mut settings, &mut off, 5), 5);
    assert_eq!((settings.scope, settings.sampling.seed), (Scope::Token, 7));
    toggle(&mut settings, &mut off, 4);
    toggle(&mut settings, &mut off, 4);
    assert_eq!(
        (settings.scope, settings.sampling.seed),
        (Scope::Prompt, neutral_seed())
    );
}

#[test]
fn a_file_keeps_what_is_off_at_its_place() {
    let (mut settings, mut off) = (some(), Vec::new());
    toggle(&mut settings, &mut off, 0);
    toggle(&mut settings, &mut off, 1);
    let text = "scope prompt\nkv ragged\ndial -0.4\noff budget 26\noff pin 7=skip\npin 7@12-14=repeat\n";
    assert_eq!(to_file(&settings, &off).to_string(), text);
    let mut loaded = (Settings::default(), Vec::new());
    loaded.0.sampling.seed = 5;
    loaded.0.budget = Some(3);
    load(&mut loaded.0, &mut loaded.1, text, Some(30)).unwrap();
    assert_eq!(loaded.0.sampling.seed, 5, "the file does not name it");
    assert_eq!((loaded.0.budget, loaded.0.pins.len()), (None, 1));
    // The pin that is switched on again stands under the other one.
    let rows = list(&loaded.0, &loaded.1);
    toggle(
        &mut loaded.0,
        &mut loaded.1,
        rows.iter().position(|row| row == "-pin 7=skip").unwrap(),
    );
    assert_eq!(loaded.0.pins, some().pins);
}

#[test]
fn a_bad_file_changes_nothing() {
    let (mut settings, mut off) = (some(), Vec::new());
    toggle(&mut settings, &mut off, 1);
    let before = (settings.clone(), off.clone());
    let trace = format!("{{\"type\":\"header\",{}", "\"x\":1,".repeat(1000));
    for (text, part) in [
        ("scope token\npin 7=jump", "line 2, column 5"),
        ("pin 30=skip", "no layer 30; this model has layers 0-29"),
        ("budget 20\nbudget 21", "line 1 says this already"),
        ("program 0-40", "line 1, column"),
        (&trace, "expected scope, kv, dial, budget"),
    ] {
        let message = load(&mut settings, &mut off, text, Some(30)).unwrap_err();
        assert!(message.contains(part) && message.chars().count() < 200, "{message}");
        assert_eq!((&settings, &off), (&before.0, &before.1));
    }
}

proptest! {
    /// A list that was saved is the same list when it is loaded, and is saved as the same text.
    #[test]
    fn files_hold_the_whole_list(switched in prop::collection::vec(0usize..9, 0..20), seed in 0u64..3) {
        let (mut settings, mut off) = (some(), Vec::new());
        settings.pins.push("9=execute".parse().unwrap());
        settings.pins.push("9@3=skip".parse().unwrap());
        settings.scope = Scope::Token;
        settings.sampling.seed = seed;
        for row in switched {
            toggle(&mut settings, &mut off, row);
        }
        let text = to_file(&settings, &off).to_string();
        let (mut loaded, mut kept) = (Settings::default(), Vec::new());
        load(&mut loaded, &mut kept, &text, Some(30)).unwrap();
        prop_assert_eq!(&loaded, &settings);
        prop_assert_eq!(kept.len(), off.len());
        prop_assert_eq!(to_file(&loaded, &kept).to_string(), text);
    }

    /// Whatever is switched, the same overrides are in the list, and twice the same row is as before.
    #[test]
    fn nothing_is_lost_by_switching(rows in prop::collection::vec(0usize..6, 0..20)) {
        let (mut settings, mut off) = (some(), Vec::new());
        let names = |settings: &Settings, off: &[Off]| {
            let mut names: Vec<String> = list(settings, off).iter().map(|row| row[1..].to_owned()).collect();
            names.sort();
            names
        };
        let before = names(&settings, &off);
        for row in rows {
            let at = toggle(&mut settings, &mut off, row);
            prop_assert!(row >= before.len() || at < before.len());
            prop_assert_eq!(names(&settings, &off), before.clone());
        }
    }
}
