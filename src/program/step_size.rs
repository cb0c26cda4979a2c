//! The step size of an execution: how much of what a block does to the hidden state is kept (spec §9).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a damping has to be, for messages.
pub const EXPECTED: &str = "a damping from -1 to 2 of at most three decimals, like 0.5";

const THOUSANDTHS: u32 = 1000;

/// a of a damped repeat, from −1 to 2 in thousandths: what comes after the first application of a block adds
/// a·(B(h) − h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Damping(i16);

impl Damping {
    /// a = 1: applied whole.
    pub const NONE: Damping = Damping(THOUSANDTHS as i16);
    /// a = 0.5.
    pub const HALF: Damping = Damping(THOUSANDTHS as i16 / 2);

    /// a.
    pub fn value(self) -> f64 {
        f64::from(self.0) / f64::from(THOUSANDTHS)
    }
}

impl Default for Damping {
    fn default() -> Self {
        Damping::NONE
    }
}

impl fmt::Display for Damping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.value().to_string())
    }
}

impl FromStr for Damping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || format!("expected {EXPECTED}, found '{}'", text.escape_default());
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (whole, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !is_number(whole) || !is_number(decimals) || decimals.len() > 3 {
            return Err(refused());
        }
        let whole: u32 = whole.parse().map_err(|_| refused())?;
        let decimals: u32 = format!("{decimals:0<3}").parse().map_err(|_| refused())?;
        let size = whole.saturating_mul(THOUSANDTHS).saturating_add(decimals);
        match (negative, i16::try_from(size)) {
            (true, Ok(size)) if size <= 1000 => Ok(Damping(-size)),
            (false, Ok(size)) if size <= 2000 => Ok(Damping(size)),
            _ => Err(refused()),
        }
    }
}

impl From<Damping> for String {
    fn from(damping: Damping) -> String {
        damping.to_string()
    }
}

impl TryFrom<String> for Damping {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// The step of one execution: h ← h + size·(B(h) − h). A damped repeat of K further applications takes K steps of a/K.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepSize {
    damping: Damping,
    steps: u16,
}

impl StepSize {
    /// h ← B(h).
    pub const WHOLE: StepSize = StepSize {
        damping: Damping::NONE,
        steps: 1,
    };

    /// One of `steps` steps that share a damping.
    pub fn new(damping: Damping, steps: u16) -> StepSize {
        let step = StepSize { damping, steps };
        // One form for one program: (7x3~2) is 7x3.
        if step.size() == 1.0 { StepSize::WHOLE } else { step }
    }

    /// Whether the block is applied as it is.
    pub fn is_whole(self) -> bool {
        self == StepSize::WHOLE
    }

    /// a/K.
    pub fn size(self) -> f64 {
        self.damping.value() / f64::from(self.steps.max(1))
    }

    /// a, and the number of steps that share it.
    pub(super) fn parts(self) -> (Damping, usize) {
        (self.damping, usize::from(self.steps.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dampings_are_read_and_printed() {
        for (text, value) in [
            ("0.5", 0.5),
            ("-1", -1.0),
            ("2", 2.0),
            ("0.125", 0.125),
            ("0", 0.0),
            ("-0.05", -0.05),
        ] {
            let damping: Damping = text.parse().unwrap();
            assert_eq!((damping.value(), damping.to_string()), (value, text.to_owned()));
        }
        for (text, printed) in [("1.0", "1"), ("0.50", "0.5"), ("-0", "0"), ("007.5e", "")] {
            let read = text.parse::<Damping>().map(|d| d.to_string());
            assert_eq!(read.unwrap_or_default(), printed);
        }
    }

    #[test]
    fn what_is_no_damping_says_what_would_be() {
        for text in [
            "",
            "-",
            ".",
            ".5",
            "5.",
            "2.001",
            "-1.001",
            "3",
            "nan",
            "inf",
            "1e-1",
            "0.1234",
            "+0.5",
            "0,5",
            "--1",
            "4294967296",
            "99999999999999999999",
            "0.5\u{1b}",
            "٣",
        ] {
            let error = text.parse::<Damping>().unwrap_err();
            assert!(error.contains("from -1 to 2") && !error.contains('\u{1b}'), "{error}");
        }
    }

    #[test]
    fn steps_share_a_damping_and_whole_ones_have_one_form() {
        let of = |text: &str, steps| StepSize::new(text.parse().unwrap(), steps);
        assert_eq!(of("0.5", 2).size(), 0.25);
        assert_eq!(of("2", 2), StepSize::WHOLE);
        assert_eq!(of("1", 1), StepSize::WHOLE);
        assert!(!of("1", 2).is_whole() && !of("0", 1).is_whole());
    }
}
