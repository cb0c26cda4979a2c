//! Playing a trace that is there: how many of its tokens, and of the newest one's layers, are shown.

use std::fmt;
use std::time::Duration;

use ratatui::layout::Rect;

use crate::trace::Step;

/// Shortest and longest time a token stands before the next one, at speed 1.
const PACE: (Duration, Duration) = (Duration::from_millis(25), Duration::from_millis(160));

/// Where the position bar begins in its row, and what is left for the speed behind it.
const BAR_FROM: u16 = 30;
const BAR_TO: u16 = 10;

/// How fast recordings play, in powers of two of their own pace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Speed(i8);

impl Speed {
    /// From a sixteenth to 64 times.
    const RANGE: (i8, i8) = (-4, 6);

    /// Twice as fast, or half as fast, within the range.
    pub fn changed(self, faster: bool) -> Speed {
        let power = if faster { self.0 + 1 } else { self.0 - 1 };
        Speed(power.clamp(Speed::RANGE.0, Speed::RANGE.1))
    }

    /// Times the pace of the recording.
    pub fn factor(self) -> f64 {
        f64::from(self.0).exp2()
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0.. => write!(f, "×{}", 1u32 << self.0),
            _ => write!(f, "×1/{}", 1u32 << -self.0),
        }
    }
}

/// Where in a trace the playback is.
#[derive(Clone, Debug, PartialEq)]
pub struct Playback {
    /// Tokens shown so far.
    pub shown: usize,
    /// Layers shown of the newest of them; all if absent.
    pub layers: Option<usize>,
    /// Tokens come by themselves.
    pub playing: bool,
    /// When the next token is due.
    due: Duration,
}

impl Playback {
    /// Plays from before the first token.
    pub fn start(now: Duration) -> Playback {
        Playback {
            shown: 0,
            layers: None,
            playing: true,
            due: now + PACE.1,
        }
    }

    /// Stands at token `shown`.
    pub fn at(shown: usize) -> Playback {
        Playback {
            shown,
            layers: None,
            playing: false,
            due: Duration::ZERO,
        }
    }

    /// Shows the tokens that are due at `now`.
    pub fn advance(&mut self, steps: &[Step], now: Duration, speed: Speed) {
        if !self.playing {
            return;
        }
        while self.due <= now && self.shown < steps.len() {
            let ms = steps[self.shown].ms.clamp(0.0, 60_000.0);
            let pace = Duration::from_secs_f64(ms / 1000.0).clamp(PACE.0, PACE.1);
            self.due += pace.div_f64(speed.factor());
            self.shown += 1;
        }
        self.playing = self.shown < steps.len();
    }

    /// Pauses or goes on; at the end it begins again.
    pub fn play_pause(&mut self, end: usize, now: Duration) {
        self.playing = !self.playing;
        self.due = now + PACE.0;
        if self.playing {
            self.layers = None;
            if self.shown >= end {
                self.shown = 0;
            }
        }
    }

    /// One token on or back, and stays there.
    pub fn step_token(&mut self, end: usize, forward: bool) {
        self.playing = false;
        match (forward, self.layers.take()) {
            // The token whose layers are being shown comes first.
            (true, Some(_)) => {}
            (true, None) => self.shown = (self.shown + 1).min(end),
            (false, _) => self.shown = self.shown.saturating_sub(1),
        }
    }

    /// One layer on or back, of `layers`, and stays there.
    pub fn step_layer(&mut self, end: usize, layers: usize, forward: bool) {
        self.playing = false;
        self.layers = match (forward, self.layers) {
            (true, None) if self.shown < end => {
                self.shown += 1;
                Some(1)
            }
            (true, None) => None,
            (true, Some(n)) => Some(n + 1),
            (false, None) if self.shown == 0 => None,
            (false, None) => Some(layers.saturating_sub(1)),
            (false, Some(0 | 1)) => {
                self.shown = self.shown.saturating_sub(1);
                None
            }
            (false, Some(n)) => Some(n - 1),
        };
        // All of them is the token as a whole.
        self.layers = self.layers.filter(|n| (1..layers).contains(n));
    }

    /// Goes to where `shown` tokens are shown, of `end`.
    pub fn seek(&mut self, shown: usize, end: usize) {
        self.layers = None;
        self.shown = shown.min(end);
        self.playing &= self.shown < end;
    }
}

/// The position bar in the playback's row.
pub fn bar(row: Rect) -> Rect {
    let from = BAR_FROM.min(row.width);
    Rect {
        x: row.x + from,
        width: row.width.saturating_sub(from + BAR_TO),
        ..row
    }
}

/// The number of tokens shown at column `x` of the bar, of `end`.
pub fn scrub(bar: Rect, x: u16, end: usize) -> usize {
    let last = usize::from(bar.width.saturating_sub(1)).max(1);
    let at = usize::from(x.saturating_sub(bar.x)).min(last);
    (at * end + last / 2) / last
}

/// A place typed by the user: a number of a token from 1, or a percentage.
///
/// # Errors
/// Says what is expected.
pub fn place(text: &str, end: usize) -> Result<usize, String> {
    let refuse = || {
        let text = text.trim().escape_default();
        format!("'{text}' is no place in this trace: expected 0 to {end}, or 0% to 100%")
    };
    let text = text.trim();
    let shown = match text.strip_suffix('%') {
        Some(percent) => {
            let share: f64 = percent.trim().parse().map_err(|_| refuse())?;
            let inside = (0.0..=100.0).contains(&share);
            inside.then(|| (share / 100.0 * end as f64).round() as usize)
        }
        None => text.parse().ok(),
    };
    shown.filter(|n| *n <= end).ok_or_else(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_doubles_and_halves_within_its_range() {
        let fast = (0..20).fold(Speed::default(), |s, _| s.changed(true));
        let slow = (0..20).fold(Speed::default(), |s, _| s.changed(false));
        assert_eq!((fast.to_string().as_str(), fast.factor()), ("×64", 64.0));
        assert_eq!((slow.to_string().as_str(), slow.factor()), ("×1/16", 0.0625));
        assert_eq!(slow.changed(true).to_string(), "×1/8");
    }

    #[test]
    fn layers_and_tokens_step_both_ways() {
        let mut at = Playback::at(1);
        let mut seen = Vec::new();
        for _ in 0..5 {
            at.step_layer(2, 3, true);
            seen.push((at.shown, at.layers));
        }
        assert_eq!(seen, [(2, Some(1)), (2, Some(2)), (2, None), (2, None), (2, None)]);
        seen.clear();
        for _ in 0..7 {
            at.step_layer(2, 3, false);
            seen.push((at.shown, at.layers));
        }
        let back = [
            (2, Some(2)),
            (2, Some(1)),
            (1, None),
            (1, Some(2)),
            (1, Some(1)),
            (0, None),
            (0, None),
        ];
        assert_eq!(seen, back);
        at.step_layer(2, 3, true);
        at.step_token(2, true);
        assert_eq!((at.shown, at.layers), (1, None));
        at.step_layer(2, 3, true);
        at.step_token(2, false);
        assert_eq!((at.shown, at.layers), (1, None));
    }

    #[test]
    fn places_are_numbers_or_shares() {
        assert_eq!(
            (place("7", 42), place(" 50 %", 42), place("0", 42)),
            (Ok(7), Ok(21), Ok(0))
        );
        for wrong in ["43", "-1", "101%", "x", "", "NaN%"] {
            assert!(place(wrong, 42).unwrap_err().contains("0 to 42"), "{wrong}");
        }
        let bar = Rect::new(10, 0, 21, 1);
        assert_eq!(
            [scrub(bar, 10, 40), scrub(bar, 20, 40), scrub(bar, 30, 40)],
            [0, 20, 40]
        );
        assert_eq!(scrub(Rect::new(0, 0, 0, 1), 9, 40), 40);
    }
}
