//! What each position of the dial comes to, measured on held-out texts: depth, KL and agreement (spec §8).

use serde::{Deserialize, Serialize};

use crate::program::greatest_depth;

/// A table that depth routers carry, by the dial.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Texts it was measured on, which no router learned from.
    pub texts: usize,
    /// Tokens of them that were counted.
    pub tokens: usize,
    /// By ascending dial, and so by ascending depth.
    pub points: Vec<CalibrationPoint>,
}

/// What one position of the dial came to, as means over the counted tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibrationPoint {
    /// Position of the dial, −1 to 1.
    pub dial: f64,
    /// Block executions of a token.
    pub depth: f64,
    /// KL(full ‖ routed) of the next-token distributions, in nats.
    pub kl: f64,
    /// Share of tokens after which the likeliest next token is that of the full model, 0 to 1.
    pub agreement: f64,
}

impl CalibrationPoint {
    /// The point at `share` (0 to 1) of the way to another.
    fn towards(self, other: CalibrationPoint, share: f64) -> CalibrationPoint {
        let mix = |a: f64, b: f64| a + share * (b - a);
        CalibrationPoint {
            dial: mix(self.dial, other.dial),
            depth: mix(self.depth, other.depth),
            kl: mix(self.kl, other.kl),
            agreement: mix(self.agreement, other.agreement),
        }
    }
}

impl Calibration {
    /// Reads the JSON of a checkpoint's metadata, for a model of `layers` layers.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(json: &str, layers: usize) -> Result<Calibration, String> {
        let calibration: Calibration = serde_json::from_str(json).map_err(|e| e.to_string())?;
        calibration.check(layers)?;
        Ok(calibration)
    }

    fn check(&self, layers: usize) -> Result<(), String> {
        let most = greatest_depth(layers);
        if self.points.len() < 2 {
            return Err(format!("it has {} points, expected at least 2", self.points.len()));
        }
        for (i, point) in self.points.iter().enumerate() {
            let CalibrationPoint {
                dial,
                depth,
                kl,
                agreement,
            } = *point;
            let checks = [
                ((-1.0..=1.0).contains(&dial), "dial", dial, "-1 to 1".to_owned()),
                (
                    (0.0..=most as f64).contains(&depth),
                    "depth",
                    depth,
                    format!("0 to {most}, twice the layers"),
                ),
                (kl.is_finite() && kl >= 0.0, "kl", kl, "0 or more".to_owned()),
                (
                    (0.0..=1.0).contains(&agreement),
                    "agreement",
                    agreement,
                    "0 to 1".to_owned(),
                ),
            ];
            if let Some((_, what, value, expected)) = checks.into_iter().find(|(holds, ..)| !holds) {
                return Err(format!("{what} of point {i} is {value}, expected {expected}"));
            }
        }
        for (i, pair) in self.points.windows(2).enumerate() {
            let (from, to) = (pair[0], pair[1]);
            if to.dial <= from.dial || to.depth < from.depth {
                return Err(format!(
                    "from point {i} to the next the dial goes from {} to {} and the depth from {} to {}, expected \
                     both to rise",
                    from.dial, to.dial, from.depth, to.depth
                ));
            }
        }
        Ok(())
    }

    /// What is expected at a position of the dial, between the measured ones by a straight line; `None` outside the
    /// table, where nothing was measured.
    pub fn expected(&self, dial: f64) -> Option<CalibrationPoint> {
        self.between(dial, |point| point.dial)
    }

    /// The position of the dial at which a mean depth is expected; where several are, the one of least dial.
    ///
    /// # Errors
    /// A depth outside the table; the message names the range.
    pub fn dial_for(&self, depth: f64) -> Result<f64, String> {
        let found = self.between(depth, |point| point.depth);
        found.map(|point| point.dial).ok_or_else(|| match self.depths() {
            Some((least, most)) => format!(
                "a mean depth of {depth} is outside what was measured for these routers, {least:.1} to {most:.1}: choose \
                 one in between, or set the dial with --dial"
            ),
            None => "the calibration table of these routers is empty: set the dial with --dial".to_owned(),
        })
    }

    /// Least and greatest depth of the table.
    pub fn depths(&self) -> Option<(f64, f64)> {
        Some((self.points.first()?.depth, self.points.last()?.depth))
    }

    /// Least and greatest dial of the table.
    pub fn dials(&self) -> Option<(f64, f64)> {
        Some((self.points.first()?.dial, self.points.last()?.dial))
    }

    /// The point whose `key`, which ascends, is `value`.
    fn between(&self, value: f64, key: fn(&CalibrationPoint) -> f64) -> Option<CalibrationPoint> {
        let (from, to) = self.points.windows(2).find_map(|pair| {
            let inside = key(&pair[0]) <= value && value <= key(&pair[1]);
            inside.then_some((pair[0], pair[1]))
        })?;
        let span = key(&to) - key(&from);
        let share = if span > 0.0 { (value - key(&from)) / span } else { 0.0 };
        Some(from.towards(to, share))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = r#"{"texts": 64, "tokens": 6871, "points": [
        {"dial": -0.62, "depth": 24.0, "kl": 0.3, "agreement": 0.7},
        {"dial": -0.5, "depth": 26.0, "kl": 0.2, "agreement": 0.8},
        {"dial": -0.4, "depth": 26.0, "kl": 0.2, "agreement": 0.8},
        {"dial": -0.1, "depth": 29.0, "kl": 0.05, "agreement": 0.95}]}"#;

    #[test]
    fn lies_on_straight_lines_between_points() {
        let table = Calibration::parse(TABLE, 30).unwrap();
        let point = table.expected(-0.56).unwrap();
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(point.depth, 25.0) && close(point.kl, 0.25) && close(point.agreement, 0.75));
        assert_eq!(table.expected(-0.62).unwrap().depth, 24.0);
        assert_eq!(table.expected(-0.1).unwrap().agreement, 0.95);
        assert_eq!(
            (table.expected(-0.63), table.expected(0.0), table.expected(f64::NAN)),
            (None, None, None)
        );
        assert!(close(table.dial_for(25.0).unwrap(), -0.56));
        assert!(close(table.dial_for(26.0).unwrap(), -0.5), "of equal depths the first");
        assert!(close(table.dial_for(27.5).unwrap(), -0.25));
        for outside in [23.9, 29.1, f64::NAN] {
            let message = table.dial_for(outside).unwrap_err();
            assert!(
                message.contains("24.0 to 29.0") && message.contains("--dial"),
                "{message}"
            );
        }
        assert_eq!(Calibration::default().expected(-0.5), None);
        assert!(Calibration::default().dial_for(26.0).is_err());
    }

    #[test]
    fn damaged_tables_are_refused_with_what_is_wrong() {
        let refused = |from: &str, to: &str| {
            assert!(TABLE.contains(from));
            Calibration::parse(&TABLE.replacen(from, to, 1), 30).unwrap_err()
        };
        for (from, to, part) in [
            ("\"texts\": 64", "\"texts\": -1", "-1"),
            ("-0.62", "-1.62", "dial of point 0 is -1.62, expected -1 to 1"),
            ("24.0", "61", "depth of point 0 is 61, expected 0 to 60"),
            ("0.3,", "-0.3,", "kl of point 0 is -0.3"),
            ("0.95", "1.95", "agreement of point 3 is 1.95"),
            (
                "-0.5,",
                "-0.7,",
                "from point 0 to the next the dial goes from -0.62 to -0.7",
            ),
            ("29.0", "25.0", "the depth from 26 to 25"),
            ("\"kl\": 0.3,", "", "kl"),
            ("}]}", "}", "EOF"),
        ] {
            let message = refused(from, to);
            assert!(message.contains(part), "{message}");
        }
        let short = r#"{"texts":1,"tokens":1,"points":[]}"#;
        assert!(Calibration::parse(short, 30).unwrap_err().contains("0 points"));
    }
}
