//! Overrides as a list: each can be edited, switched off and on again, taken out.

use super::line_edit::LineEdit;
use super::overrides;
use super::settings::{FieldError, column};
use crate::program::MOST_LAYERS;
use crate::trace::overrides::{Override, OverrideItem, OverrideLine, OverridesError};
use crate::trace::{KvMode, NEUTRAL_DIAL, Overrides, Sampling, Scope, Settings};

/// Layers that pass every check, while the model's are not known.
const ANY_LAYERS: usize = usize::MAX / 4;

/// An override that is switched off, and where it stood among those of its kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Off {
    /// The override.
    pub what: Override,
    at: usize,
}

/// The overrides that hold: pins in their order (the last one on a cell holds), excluded experts, program, budget, dial,
/// scope, KV mode, seed.
pub fn active(settings: &Settings) -> Vec<Override> {
    let pins = settings.pins.iter().copied().map(Override::Pin);
    let experts = settings.excluded_experts.iter().copied().map(Override::ExcludeExpert);
    let program = settings.program.clone().map(Override::Program);
    let budget = settings.budget.map(Override::Budget);
    let dial = (settings.dial != NEUTRAL_DIAL).then_some(Override::Dial(settings.dial));
    let scope = (settings.scope != Scope::default()).then_some(Override::Scope(settings.scope));
    let kv = (settings.kv != KvMode::default()).then_some(Override::Kv(settings.kv));
    let seed = settings.sampling.seed;
    let seed = (seed != neutral_seed()).then_some(Override::Seed(seed));
    let one = [program, budget, dial, scope, kv, seed];
    pins.chain(experts).chain(one.into_iter().flatten()).collect()
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
    let OverrideItem { what, on: holds, .. } = parse(text, layers)?;
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
        Override::ExcludeExpert(_) => {
            let at = row - settings.pins.len();
            settings.excluded_experts.remove(at);
            at
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
        Override::Kv(_) => {
            settings.kv = KvMode::default();
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
        Override::ExcludeExpert(expert) => {
            let experts = &mut settings.excluded_experts;
            experts.insert(at.min(experts.len()), expert);
            None
        }
        Override::Program(program) => settings.program.replace(program).map(Override::Program),
        Override::Budget(budget) => settings.budget.replace(budget).map(Override::Budget),
        Override::Dial(dial) => replaced(&mut settings.dial, dial, NEUTRAL_DIAL).map(Override::Dial),
        Override::Scope(scope) => replaced(&mut settings.scope, scope, Scope::default()).map(Override::Scope),
        Override::Kv(kv) => replaced(&mut settings.kv, kv, KvMode::default()).map(Override::Kv),
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
fn parse(text: &str, layers: Option<usize>) -> Result<OverrideItem, FieldError> {
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
        Some(OverrideLine::Item(item)) => Ok(item),
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
        OverrideLine::Item(OverrideItem {
            what: what.clone(),
            on,
            note: String::new(),
        })
    };
    let on = settings.pins.iter().map(|pin| line(&Override::Pin(*pin), true));
    let mut pins: Vec<OverrideLine> = on.collect();
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
            OverrideLine::Item(item) if !item.on => out.push(Off {
                what: item.what.clone(),
                at: pins,
            }),
            OverrideLine::Item(item) if matches!(item.what, Override::Pin(_)) => pins += 1,
            _ => {}
        }
    }
    out
}

/// Puts what a file says in the place of pins, program, budget, dial and everything switched off; scope,
/// KV mode and seed stay where it does not name them.
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
pub enum EditPurpose {
    /// The override of the selected row.
    #[default]
    Row,
    /// One more override.
    Add,
    /// The name of a file to write.
    Save {
        /// The name of a file that is there already and may be replaced when it is accepted again.
        existing: Option<String>,
    },
    /// The name of a file to read.
    Load,
}

/// The list's dialog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OverrideList {
    /// The selected line of [`rows`].
    pub row: usize,
    /// What is typed.
    pub edit: Option<LineEdit>,
    /// What the line that is typed is for.
    pub purpose: EditPurpose,
}

#[cfg(test)]
mod tests;
