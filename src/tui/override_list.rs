//! Overrides as a list: each can be edited, switched off and on again, taken out.

use std::fmt;

use super::line_edit::LineEdit;
use super::settings::{Field, FieldError};
use crate::engine::{NEUTRAL_DIAL, Pin, Settings};
use crate::program::Program;

/// One thing that is decided otherwise. Its text is that of override files: `pin 7=skip`,
/// `budget 26`, `dial -0.4`, `program 0-11 13-29`.
#[derive(Clone, Debug, PartialEq)]
pub enum Override {
    Pin(Pin),
    Program(Program),
    Budget(usize),
    Dial(f64),
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Override::Pin(pin) => write!(f, "pin {pin}"),
            Override::Program(program) => write!(f, "program {program}"),
            Override::Budget(budget) => write!(f, "budget {budget}"),
            Override::Dial(dial) => write!(f, "dial {dial}"),
        }
    }
}

/// An override that is switched off, and where it stood among those of its kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Off {
    pub what: Override,
    at: usize,
}

/// The overrides that hold: pins in their order (the last one on a cell holds), program, budget, dial.
pub fn active(settings: &Settings) -> Vec<Override> {
    let pins = settings.pins.iter().copied().map(Override::Pin);
    let program = settings.program.clone().map(Override::Program);
    let budget = settings.budget.map(Override::Budget);
    let dial = (settings.dial != NEUTRAL_DIAL).then_some(Override::Dial(settings.dial));
    pins.chain(program).chain(budget).chain(dial).collect()
}

/// A row of the list: what it says, and whether it holds.
pub fn rows(settings: &Settings, off: &[Off]) -> Vec<(Override, bool)> {
    let on = active(settings).into_iter().map(|what| (what, true));
    on.chain(off.iter().map(|off| (off.what.clone(), false))).collect()
}

/// Switches the row off or on; the row it is at then. Of program, budget and dial one can hold: what
/// stood in the way is switched off.
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
    let what = parse(text, layers)?;
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
    left.extend(put(&mut changed, what.clone(), at));
    let refused = |message| FieldError { column: None, message };
    changed.check(layers.unwrap_or(usize::MAX / 4)).map_err(refused)?;
    (*settings, *off) = (changed, left);
    Ok(active(settings).iter().position(|other| *other == what).unwrap_or(0))
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
        Override::Dial(dial) => {
            let before = std::mem::replace(&mut settings.dial, dial);
            (before != NEUTRAL_DIAL).then_some(Override::Dial(before))
        }
    };
    before.map(|what| Off { what, at: 0 })
}

fn parse(text: &str, layers: Option<usize>) -> Result<Override, FieldError> {
    const EXPECTED: &str = "expected pin 7=skip, program 0-11 13-29, budget 26 or dial -0.4";
    let text = text.trim();
    let (word, value) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let column = Some(text.chars().count() - value.chars().count() + 1);
    let mut settings = Settings::default();
    let mut field = |field: Field| {
        field.set(&mut settings, value, layers).map_err(|error| FieldError {
            column: error.column.zip(column).map(|(inner, before)| inner + before - 1),
            ..error
        })
    };
    let missing = |what: &str| FieldError {
        column: None,
        message: format!("the {what} is missing: {EXPECTED}"),
    };
    match word {
        "pin" => {
            let pin: Pin = value.parse().map_err(|message| FieldError { column, message })?;
            Ok(Override::Pin(pin))
        }
        "program" => {
            field(Field::Program)?;
            settings.program.map(Override::Program).ok_or_else(|| missing(word))
        }
        "budget" => {
            field(Field::Budget)?;
            settings.budget.map(Override::Budget).ok_or_else(|| missing(word))
        }
        "dial" => {
            field(Field::Dial)?;
            Ok(Override::Dial(settings.dial))
        }
        _ => Err(FieldError {
            column: Some(1),
            message: format!("'{}' is no override: {EXPECTED}", word.escape_default()),
        }),
    }
}

/// The list's dialog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OverrideList {
    pub row: usize,
    /// What is typed: for the row, or for a new override.
    pub edit: Option<LineEdit>,
    pub adding: bool,
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
            ("pni 7=skip", "'pni' is no override: expected pin", Some(1)),
            ("pin 7=jump", "jump", Some(5)),
            ("pin 99=skip", "99", None),
            ("budget many", "budget", None),
            ("budget 999", "budget", None),
            ("budget", "missing", None),
            ("program 0-11 13-99", "column", Some(17)),
            ("", "no override", Some(1)),
        ] {
            let error = accept(&mut settings, &mut off, None, text, Some(30)).unwrap_err();
            assert!(error.message.contains(part), "{text}: {}", error.message);
            assert_eq!(error.column, column, "{text}: {}", error.message);
            assert_eq!((&settings, &off), (&before.0, &before.1));
        }
    }

    proptest! {
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
