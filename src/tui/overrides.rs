//! The user's overrides: pins by layer and range, and what they change about the next run.

use crate::program::{Action, Damping};
use crate::trace::{NEUTRAL_DIAL, Pin, Settings, pin_at};

/// What a cell's pin will be in the next run, where it is not what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinChange {
    /// Its second execution is damped, if it is a repeat.
    To(Action, Damping),
    /// Nothing is pinned there any more.
    Off,
}

/// See [`PinChange`]; `None` where nothing changes.
pub fn pin_change(before: &[Pin], after: &[Pin], layer: usize, position: usize) -> Option<PinChange> {
    let of = |pins| pin_at(pins, layer, position).map(|pin| (pin.action, pin.damping));
    let (before, after) = (of(before), of(after));
    (before != after).then(|| after.map_or(PinChange::Off, |(action, damping)| PinChange::To(action, damping)))
}

/// Pins `layer` at `positions` (everywhere if absent) to `action`, or takes the pins there off.
/// `context` is the number of positions there can be: the part of a whole-layer pin that stays
/// beyond a range ends there.
pub fn set(
    pins: &mut Vec<Pin>,
    layer: usize,
    positions: Option<(usize, usize)>,
    action: Option<Action>,
    context: usize,
) {
    let Some((from, to)) = positions else {
        pins.retain(|pin| pin.layer != layer);
        pins.extend(action.map(|action| Pin {
            layer,
            positions: None,
            action,
            damping: Damping::NONE,
        }));
        return;
    };
    match action {
        // The last pin holds, so a whole-layer pin may stay under it.
        Some(action) => {
            pins.retain(|pin| pin.layer != layer || !within(pin, from, to));
            pins.push(Pin {
                layer,
                positions: Some((from, to)),
                action,
                damping: Damping::NONE,
            });
        }
        None => {
            let cut = |pin: &Pin| match pin.layer == layer {
                true => without(*pin, from, to, context),
                false => vec![*pin],
            };
            *pins = pins.iter().flat_map(cut).collect();
        }
    }
}

/// As [`set`], to a repeat whose second execution is damped.
pub fn set_damped(
    pins: &mut Vec<Pin>,
    layer: usize,
    positions: Option<(usize, usize)>,
    damping: Damping,
    context: usize,
) {
    set(pins, layer, positions, Some(Action::Repeat), context);
    if let Some(pin) = pins.last_mut() {
        pin.damping = damping;
    }
}

/// The damping that follows on one, from none over a half to a quarter and back.
pub fn next_damping(damping: Option<Damping>) -> Damping {
    let damping = damping.map(|damping| damping.value());
    let next = match damping {
        None => "0.5",
        Some(a) if a > 0.5 => "0.5",
        Some(a) if a > 0.25 => "0.25",
        Some(_) => "1",
    };
    next.parse().expect("a damping")
}

/// Whether a pin holds nowhere outside the range.
fn within(pin: &Pin, from: usize, to: usize) -> bool {
    pin.positions.is_some_and(|(a, b)| from <= a && b <= to)
}

/// What is left of a pin when the range is taken out.
fn without(pin: Pin, from: usize, to: usize, context: usize) -> Vec<Pin> {
    let (start, end) = pin.positions.unwrap_or((0, context.saturating_sub(1)));
    if end < from || to < start {
        return vec![pin];
    }
    let part = |from: usize, to: usize| Pin {
        positions: Some((from, to)),
        ..pin
    };
    let before = (start < from).then(|| part(start, from - 1));
    let after = (to < end).then(|| part(to + 1, end));
    before.into_iter().chain(after).collect()
}

/// Takes every override back: pins, excluded experts, program, budget and dial.
pub fn clear(settings: &mut Settings) {
    settings.pins.clear();
    settings.excluded_experts.clear();
    settings.program = None;
    settings.budget = None;
    settings.dial = NEUTRAL_DIAL;
}

/// `settings` with every layer executed once.
pub fn unmodified(settings: &Settings, layers: usize) -> Settings {
    let mut plain = settings.clone();
    clear(&mut plain);
    plain.program = Some(crate::program::Program::standard(layers));
    plain
}

/// A phrase for each override that `after` has otherwise than `before`.
pub fn changes(before: &Settings, after: &Settings) -> Vec<String> {
    let mut out = Vec::new();
    let count = after.pins.iter().filter(|p| !before.pins.contains(p)).count();
    let gone = before.pins.iter().filter(|p| !after.pins.contains(p)).count();
    match (count, gone) {
        (0, 0) => {}
        (0, n) => out.push(format!("{n} pin{} off", plural(n))),
        (n, _) => out.push(format!("{n} pin{}", plural(n))),
    }
    if before.excluded_experts != after.excluded_experts {
        out.push(match after.excluded_experts.len() {
            0 => "all experts".into(),
            n => format!("{n} expert{} excluded", plural(n)),
        });
    }
    if before.program != after.program {
        out.push(after.program.as_ref().map_or("no program".into(), |_| "program".into()));
    }
    if before.budget != after.budget {
        out.push(after.budget.map_or("no budget".into(), |b| format!("budget {b}")));
    }
    if before.dial != after.dial {
        out.push(format!("dial {:.2}", after.dial));
    }
    if before.scope != after.scope {
        out.push(format!("scope {}", after.scope));
    }
    if before.kv != after.kv {
        out.push(format!("kv {}", after.kv));
    }
    if before.sampling != after.sampling {
        out.push("sampling".into());
    }
    if before.max_tokens != after.max_tokens {
        out.push(format!("{} tokens", after.max_tokens));
    }
    if (before.raw, before.ignore_eos, before.shadow) != (after.raw, after.ignore_eos, after.shadow) {
        out.push("options".into());
    }
    out
}

/// `s` unless there is one.
pub fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

/// What a position of the dial does, in words.
pub fn dial_meaning(dial: f64) -> &'static str {
    match dial {
        d if d <= -1.0 => "skip all",
        d if d < NEUTRAL_DIAL => "towards skip",
        d if d == NEUTRAL_DIAL => "router",
        d if d < 0.5 => "towards execute",
        0.5 => "execute all",
        d if d < 1.0 => "towards repeat",
        _ => "repeat all",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::pinned;
    use proptest::prelude::*;

    fn text(pins: &[Pin]) -> Vec<String> {
        pins.iter().map(Pin::to_string).collect()
    }

    #[test]
    fn a_layer_pin_replaces_what_stood_there() {
        let mut pins = vec!["7@3=skip".parse().unwrap(), "8=skip".parse().unwrap()];
        set(&mut pins, 7, None, Some(Action::Repeat), 100);
        assert_eq!(text(&pins), ["8=skip", "7=repeat"]);
        set(&mut pins, 8, None, None, 100);
        assert_eq!(text(&pins), ["7=repeat"]);
    }

    #[test]
    fn auto_cuts_a_range_out() {
        let mut pins = vec!["7=skip".parse().unwrap()];
        set(&mut pins, 7, Some((10, 12)), None, 100);
        assert_eq!(text(&pins), ["7@0-9=skip", "7@13-99=skip"]);
        set(&mut pins, 7, Some((0, 99)), None, 100);
        assert_eq!(text(&pins), [""; 0]);
    }

    #[test]
    fn changes_are_named() {
        let before = Settings::default();
        let mut after = before.clone();
        assert!(changes(&before, &after).is_empty());
        after.pins = vec!["7=skip".parse().unwrap()];
        after.budget = Some(24);
        after.dial = 0.0;
        assert_eq!(changes(&before, &after), ["1 pin", "budget 24", "dial 0.00"]);
        assert_eq!(changes(&after, &before), ["1 pin off", "no budget", "dial -0.50"]);
        clear(&mut after);
        assert_eq!(after, before);
    }

    proptest! {
        /// Whatever the edits, the policy sees at every cell what the last edit there said.
        #[test]
        fn the_last_edit_holds(edits in prop::collection::vec((0usize..2, any::<bool>(), 0usize..20, 0usize..20, 0usize..4), 1..12)) {
            let mut pins = Vec::new();
            let mut cells = [[None; 20]; 2];
            for (layer, whole, a, b, action) in edits {
                let action = Action::ALL.get(action).copied();
                let positions = (!whole).then_some((a.min(b), a.max(b)));
                set(&mut pins, layer, positions, action, 20);
                let (from, to) = positions.unwrap_or((0, 19));
                cells[layer][from..=to].fill(action);
            }
            for (layer, row) in cells.iter().enumerate() {
                for (position, expected) in row.iter().enumerate() {
                    prop_assert_eq!(pinned(&pins, layer, position), *expected, "layer {} position {}", layer, position);
                }
            }
        }
    }
}
