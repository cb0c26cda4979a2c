//! The user's decisions.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::program::Action;
use crate::program::step_size::{self, Damping};

/// A user's decision for a layer, everywhere or at some positions. Text form `7=skip`,
/// `7@12-14=repeat`, `7@12=execute`; `7=repeat~0.5` damps the second execution (spec §9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pin {
    /// From 0 at the lowest.
    pub layer: usize,
    /// First and last position (from 0 at the prompt's first token), or every position.
    pub positions: Option<(usize, usize)>,
    /// What it does there.
    pub action: Action,
    /// Of the second execution of a repeat; [`Damping::NONE`] with every other action.
    pub damping: Damping,
}

impl Pin {
    /// Whether the pin holds at `position`.
    pub fn covers(&self, position: usize) -> bool {
        self.positions.is_none_or(|(from, to)| (from..=to).contains(&position))
    }

    /// The positions as a range, `0..=usize::MAX` where it holds everywhere.
    pub fn range(&self) -> RangeInclusive<usize> {
        let (from, to) = self.positions.unwrap_or((0, usize::MAX));
        from..=to
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.positions {
            None => write!(f, "{}={}", self.layer, self.action)?,
            Some((from, to)) if from == to => write!(f, "{}@{from}={}", self.layer, self.action)?,
            Some((from, to)) => write!(f, "{}@{from}-{to}={}", self.layer, self.action)?,
        }
        match self.damping {
            Damping::NONE => Ok(()),
            damping => write!(f, "~{damping}"),
        }
    }
}

impl FromStr for Pin {
    type Err = String;

    fn from_str(text: &str) -> Result<Pin, String> {
        let usage = || {
            format!(
                "'{}' is no pin: expected LAYER=ACTION or LAYER@FROM-TO=ACTION, like 7=skip or 7@12-14=repeat",
                text.escape_default()
            )
        };
        let (place, action) = text.split_once('=').ok_or_else(usage)?;
        let (action, damping) = match action.split_once('~') {
            None => (action, Damping::NONE),
            Some((action, damping)) => (
                action,
                damping.trim().parse().map_err(|_| {
                    format!(
                        "'{}' is no damping: expected {}",
                        damping.escape_default(),
                        step_size::EXPECTED
                    )
                })?,
            ),
        };
        let action = action.trim().parse()?;
        if damping != Damping::NONE && action != Action::Repeat {
            return Err(format!(
                "'{}' damps nothing: only a repeat has a second execution, like 7=repeat~0.5",
                text.escape_default()
            ));
        }
        let number = |s: &str| s.trim().parse::<usize>().map_err(|_| usage());
        let (layer, positions) = match place.split_once('@') {
            None => (number(place)?, None),
            Some((layer, range)) => {
                let (from, to) = range.split_once('-').unwrap_or((range, range));
                (number(layer)?, Some((number(from)?, number(to)?)))
            }
        };
        match positions {
            Some((from, to)) if from > to => Err(format!("the positions {from}-{to} of pin '{text}' run backwards")),
            _ => Ok(Pin {
                layer,
                positions,
                action,
                damping,
            }),
        }
    }
}

impl Serialize for Pin {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pin {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The pin that holds at a layer for the token at `position`: of several the last one.
pub fn pin_at(pins: &[Pin], layer: usize, position: usize) -> Option<&Pin> {
    let holds = |pin: &&Pin| pin.layer == layer && pin.covers(position);
    pins.iter().rev().find(holds)
}

/// The action of the pin that holds there, see [`pin_at`].
pub fn pinned(pins: &[Pin], layer: usize, position: usize) -> Option<Action> {
    pin_at(pins, layer, position).map(|pin| pin.action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_round_trip() {
        for text in [
            "7=skip",
            "7@12-14=repeat",
            "0@3=execute",
            "7=repeat~0.5",
            "7@3-9=repeat~-0.25",
        ] {
            assert_eq!(text.parse::<Pin>().unwrap().to_string(), text);
        }
        assert_eq!("7=repeat~1".parse(), "7=repeat".parse::<Pin>(), "a whole step");
        for (text, part) in [
            ("7", "is no pin"),
            ("7=jump", "unknown action"),
            ("x=skip", "is no pin"),
            ("7@9-3=skip", "run backwards"),
            ("7@-3=skip", "is no pin"),
            ("7=skip~0.5", "damps nothing"),
            ("7=repeat~3", "is no damping: expected a damping from -1 to 2"),
            ("7=repeat~", "is no damping"),
        ] {
            assert!(text.parse::<Pin>().unwrap_err().contains(part), "{text}");
        }
    }

    #[test]
    fn the_last_pin_holds() {
        let pins: Vec<Pin> = ["7=skip", "7@3-5=repeat", "7@5=execute"]
            .map(|p| p.parse().unwrap())
            .into();
        assert_eq!(pinned(&pins, 7, 2), Some(Action::Skip));
        assert_eq!(pinned(&pins, 7, 4), Some(Action::Repeat));
        assert_eq!(pinned(&pins, 7, 5), Some(Action::Execute));
        assert_eq!(pinned(&pins, 8, 5), None);
    }
}
