//! Overrides as a list: each can be edited, switched off and on again, taken out.

use super::line_edit::LineEdit;
use super::overrides;
use super::settings::{FieldError, column};
use crate::engine::overrides::{Item, Line, Override, OverridesError};
use crate::engine::{NEUTRAL_DIAL, Overrides, Sampling, Scope, Settings};
use crate::program::MOST_LAYERS;

/// Layers that pass every check, while the model's are not known.
const ANY_LAYERS: usize = usize::MAX / 4;

/// An override that is switched off, and where it stood among those of its kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Off {
    pub what: Override,
    at: usize,
}

/// The overrides that hold: pins in their order (the last one on a cell holds), program, budget, dial,
/// scope, seed.
pub fn active(settings: &Settings) -> Vec<Override> {
    let pins = settings.pins.iter().copied().map(Override::Pin);
    let program = settings.program.clone().map(Override::Program);
    let budget = settings.budget.map(Override::Budget);
    let dial = (settings.dial != NEUTRAL_DIAL).then_some(Override::Dial(settings.dial));
    let scope = (settings.scope != Scope::default()).then_some(Override::Scope(settings.scope));
    let seed = settings.sampling.seed;
    let seed = (seed != neutral_seed()).then_some(Override::Seed(seed));
    let one = [program, budget, dial, scope, seed];
    pins.chain(one.into_iter().flatten()).collect()
}

/// A row of the list: what it says, and whether it holds.
pub fn rows(settings: &Settings, off: &[Off]) -> Vec<(Override, bool)> {
    let on = active(settings).into_iter().map(|what| (what, true));
    on.chain(off.iter().map(|off| (off.what.clone(), false))).collect()
}

/// Switches the row off or on; the row it is at then. Of everything but pins one can hold: what stood in
/// the way is switched off.
pub fn toggle(settings: &mut Settings, off: &mut Vec<Off>, row: usize) -> usize {
    let on = active(settings).len();
    if row < on {
        let taken = take(settings, row);
        off.extend(taken);
        return on - 1 + off.len() - 1;
    }
    if row - on >= off.len() {
        return row;
    }
    let Off { what, at } = off.remove(row - on);
    off.extend(put(settings, what.clone(), at));
    active(settings).iter().position(|other| *other == what).unwrap_or(0)
}

/// Takes the row out.
pub fn remove(settings: &mut Settings, off: &mut Vec<Off>, row: usize) {
    let on = active(settings).len();
    if row < on {
        take(settings, row);
    } else if row - on < off.len() {
        off.remove(row - on);
    }
}

/// Takes what was typed into the place of `row`, or as a new override; the row it is at.
///
/// # Errors
/// When it is no override, or the model cannot have it. Nothing has changed then.
pub fn accept(
    settings: &mut Settings,
    off: &mut Vec<Off>,
    row: Option<usize>,
    text: &str,
    layers: Option<usize>,
) -> Result<usize, FieldError> {
    let Item { what, on: holds, .. } = parse(text, layers)?;
    let (mut changed, mut left) = (settings.clone(), off.clone());
    let on = active(&changed).len();
    let edited = row.filter(|row| *row >= on && row - on < left.len());
    if let Some(row) = edited {
        // It stays switched off.
        left[row - on].what = what;
        *off = left;
        return Ok(row);
    }
    let at = match row {
        Some(row) => take(&mut changed, row).map_or(usize::MAX, |off| off.at),
        None => usize::MAX,
    };
    match holds {
        true => left.extend(put(&mut changed, what.clone(), at)),
        false => left.push(Off { what: what.clone(), at }),
    }
    let refused = |message| FieldError { column: None, message };
    changed.check(layers.unwrap_or(ANY_LAYERS)).map_err(refused)?;
    (*settings, *off) = (changed, left);
    let row = rows(settings, off)
        .iter()
        .rposition(|row| *row == (what.clone(), holds));
    Ok(row.unwrap_or(0))
}

/// Takes an override that holds out of the settings.
fn take(settings: &mut Settings, row: usize) -> Option<Off> {
    let what = active(settings).into_iter().nth(row)?;
    let at = match &what {
        Override::Pin(_) => {
            settings.pins.remove(row);
            row
        }
        Override::Program(_) => {
            settings.program = None;
            0
        }
        Override::Budget(_) => {
            settings.budget = None;
            0
        }
        Override::Dial(_) => {
            settings.dial = NEUTRAL_DIAL;
            0
        }
        Override::Scope(_) => {
            settings.scope = Scope::default();
            0
        }
        Override::Seed(_) => {
            settings.sampling.seed = neutral_seed();
            0
        }
    };
    Some(Off { what, at })
}

/// Lets an override hold, a pin at its place in their order; what it replaces.
fn put(settings: &mut Settings, what: Override, at: usize) -> Option<Off> {
    let before = match what {
        Override::Pin(pin) => {
            settings.pins.insert(at.min(settings.pins.len()), pin);
            None
        }
        Override::Program(program) => settings.program.replace(program).map(Override::Program),
        Override::Budget(budget) => settings.budget.replace(budget).map(Override::Budget),
        Override::Dial(dial) => replaced(&mut settings.dial, dial, NEUTRAL_DIAL).map(Override::Dial),
        Override::Scope(scope) => replaced(&mut settings.scope, scope, Scope::default()).map(Override::Scope),
        Override::Seed(seed) => replaced(&mut settings.sampling.seed, seed, neutral_seed()).map(Override::Seed),
    };
    before.map(|what| Off { what, at: 0 })
}

/// Sets a value; the one before, unless it is the one without an override.
fn replaced<T: PartialEq>(place: &mut T, value: T, neutral: T) -> Option<T> {
    Some(std::mem::replace(place, value)).filter(|before| *before != neutral)
}

/// The seed without an override.
fn neutral_seed() -> u64 {
    Sampling::default().seed
}

/// Reads one override, written as a line of an override file.
fn parse(text: &str, layers: Option<usize>) -> Result<Item, FieldError> {
    let file = Overrides::parse(text, layers.unwrap_or(MOST_LAYERS)).map_err(|error| match error {
        OverridesError::Item { column, message, .. } => FieldError {
            column: Some(column),
            message,
        },
        OverridesError::Program { error, .. } => FieldError {
            column: Some(column(&error)),
            message: error.to_string(),
        },
    })?;
    match file.lines.into_iter().next() {
        Some(Line::Item(item)) => Ok(item),
        _ => Err(FieldError {
            column: Some(1),
            message: "this is no override: expected one like pin 7=skip, budget 26 or dial -0.4".to_owned(),
        }),
    }
}

/// The list as an override file: what holds, and as `off` lines what is switched off. Scope and dial are
/// always in it, so that it says the same wherever it is read.
pub fn to_file(settings: &Settings, off: &[Off]) -> Overrides {
    let is_pin = |what: &Override| matches!(what, Override::Pin(_));
    let line = |what: &Override, on| {
        Line::Item(Item {
            what: what.clone(),
            on,
            note: String::new(),
        })
    };
    let on = settings.pins.iter().map(|pin| line(&Override::Pin(*pin), true));
    let mut pins: Vec<Line> = on.collect();
    // In the order in which they would be switched on again, so that each finds its place.
    for off in off.iter().rev().filter(|off| is_pin(&off.what)) {
        pins.insert(off.at.min(pins.len()), line(&off.what, false));
    }
    let mut others = settings.clone();
    others.pins.clear();
    let mut file = Overrides::from(&others);
    let seed = Override::Seed(settings.sampling.seed);
    if settings.sampling.seed != neutral_seed() && !file.active().any(|what| *what == seed) {
        file.lines.push(line(&seed, true));
    }
    let off = off.iter().filter(|off| !is_pin(&off.what));
    file.lines.extend(off.map(|off| line(&off.what, false)));
    file.lines.extend(pins);
    file
}

/// What a file keeps without carrying it out.
pub fn off(file: &Overrides) -> Vec<Off> {
    let mut pins = 0;
    let mut out = Vec::new();
    for line in &file.lines {
        match line {
            Line::Item(item) if !item.on => out.push(Off {
                what: item.what.clone(),
                at: pins,
            }),
            Line::Item(item) if matches!(item.what, Override::Pin(_)) => pins += 1,
            _ => {}
        }
    }
    out
}

/// Puts what a file says in the place of pins, program, budget, dial and everything switched off; scope
/// and seed stay where it does not name them.
///
/// # Errors
/// When the text is no override file, or the model cannot have it. Nothing has changed then.
pub fn load(settings: &mut Settings, off: &mut Vec<Off>, text: &str, layers: Option<usize>) -> Result<(), String> {
    let file = Overrides::parse(text, layers.unwrap_or(MOST_LAYERS)).map_err(|e| e.to_string())?;
    let mut changed = settings.clone();
    overrides::clear(&mut changed);
    file.apply(&mut changed);
    changed.check(layers.unwrap_or(ANY_LAYERS))?;
    (*settings, *off) = (changed, self::off(&file));
    Ok(())
}

/// What is typed in the dialog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// The override of the selected row.
    #[default]
    Row,
    /// One more override.
    Add,
    /// The name of a file to write; the name of one that is there already and may be replaced when it is
    /// accepted again.
    Save { existing: Option<String> },
    /// The name of a file to read.
    Load,
}

/// The list's dialog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OverrideList {
    pub row: usize,
    /// What is typed.
    pub edit: Option<LineEdit>,
    pub purpose: Purpose,
}

#[cfg(test)]
mod tests {
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
            ("pni 7=skip", "seed or pin, found 'pni'", Some(1)),
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
        let text = "scope prompt\ndial -0.4\noff budget 26\noff pin 7=skip\npin 7@12-14=repeat\n";
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
            (&trace, "expected scope, dial, budget"),
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
}
