//! Whether the terminal is dark or light, for the theme `auto`.

use std::io::IsTerminal;
use std::time::Duration;

use terminal_colorsaurus::{QueryOptions, ThemeMode, theme_mode};

use super::theme::DEFAULT_THEME;

/// The theme name that asks the terminal.
pub const AUTO: &str = "auto";

/// The theme for light terminals.
const LIGHT_THEME: &str = "light";

/// How long an answer is waited for. Terminals that know the question, and those that only know the
/// one after it, answer within milliseconds; over SSH it takes as long as the way there and back.
const PATIENCE: Duration = Duration::from_millis(80);
const PATIENCE_REMOTE: Duration = Duration::from_millis(600);

/// The terminal's background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Background {
    /// Light text on a dark ground.
    Dark,
    /// Dark text on a light ground.
    Light,
}

/// The name of the theme to load: `name`, or what suits the terminal. To be called before the
/// terminal is taken, since the answer is read from it.
pub fn theme_name(name: &str) -> &str {
    if name != AUTO {
        return name;
    }
    let env = |name: &str| std::env::var(name).ok();
    let asked = || match std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        true => ask(env("SSH_CONNECTION").is_some() || env("SSH_TTY").is_some()),
        false => None,
    };
    match asked().or_else(|| from_colorfgbg(&env("COLORFGBG")?)) {
        Some(Background::Light) => LIGHT_THEME,
        Some(Background::Dark) | None => DEFAULT_THEME,
    }
}

/// Asks the terminal for its colours.
fn ask(remote: bool) -> Option<Background> {
    let mut options = QueryOptions::default();
    options.timeout = if remote { PATIENCE_REMOTE } else { PATIENCE };
    match theme_mode(options) {
        Ok(ThemeMode::Light) => Some(Background::Light),
        Ok(ThemeMode::Dark) => Some(Background::Dark),
        Err(error) => {
            tracing::debug!(%error, "the terminal does not say whether it is dark or light");
            None
        }
    }
}

/// The background in COLORFGBG, which rxvt, Konsole and others set: `15;0`, `0;default;15`. Of the
/// terminal's 16 colours, white and the bright ones but for grey are light.
fn from_colorfgbg(value: &str) -> Option<Background> {
    match value.rsplit(';').next()?.trim().parse::<u8>().ok()? {
        0..=6 | 8 => Some(Background::Dark),
        7 | 9..=15 => Some(Background::Light),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::theme::SHIPPED;

    #[test]
    fn colorfgbg_names_the_background_last() {
        for (value, expected) in [
            ("15;0", Some(Background::Dark)),
            ("0;15", Some(Background::Light)),
            ("0;default;7", Some(Background::Light)),
            ("7;8", Some(Background::Dark)),
            ("15;default", None),
            ("", None),
            ("1;99", None),
        ] {
            assert_eq!(from_colorfgbg(value), expected, "{value}");
        }
    }

    #[test]
    fn a_name_stays_and_both_choices_ship() {
        assert_eq!(theme_name("nord"), "nord");
        for name in [DEFAULT_THEME, LIGHT_THEME] {
            assert!(SHIPPED.iter().any(|(shipped, _)| *shipped == name));
        }
    }
}
