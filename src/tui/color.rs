//! Colours and what becomes of them on terminals that show fewer.

use std::io::IsTerminal;
use std::sync::LazyLock;

use palette::color_difference::{EuclideanDistance, Wcag21RelativeContrast};
use palette::{IntoColor, Mix, Oklab, Oklch, Srgb};
use ratatui::style::Color;

use crate::config::ColorChoice;

/// How many colours the terminal shows, from fewest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ColorTier {
    /// No colour at all: glyphs, bold, dim, underline and reverse only.
    None,
    /// The terminal's own 16 colours.
    Ansi16,
    /// The xterm palette; only its fixed part, 16 to 255, is used.
    Ansi256,
    /// 24-bit colours.
    Truecolor,
}

impl ColorTier {
    /// Every tier, from fewest colours.
    pub const ALL: [ColorTier; 4] = [
        ColorTier::None,
        ColorTier::Ansi16,
        ColorTier::Ansi256,
        ColorTier::Truecolor,
    ];

    /// The tier of this process's standard output.
    pub fn from_env(choice: ColorChoice) -> ColorTier {
        let env = |name: &str| std::env::var_os(name).map(|v| v.to_string_lossy().into_owned());
        ColorTier::detect(choice, env, std::io::stdout().is_terminal())
    }

    /// An explicit choice wins; then NO_COLOR (set and not empty, no-color.org), a pipe, COLORTERM,
    /// and last TERM and the variables by which some terminals make themselves known.
    pub fn detect(choice: ColorChoice, env: impl Fn(&str) -> Option<String>, is_terminal: bool) -> ColorTier {
        let is_set = |name: &str| env(name).is_some_and(|v| !v.is_empty());
        match choice {
            ColorChoice::Never => return ColorTier::None,
            ColorChoice::Ansi16 => return ColorTier::Ansi16,
            ColorChoice::Ansi256 => return ColorTier::Ansi256,
            ColorChoice::Truecolor => return ColorTier::Truecolor,
            ColorChoice::Auto => {}
        }
        let term = env("TERM").unwrap_or_default();
        if is_set("NO_COLOR") || !is_terminal || term == "dumb" {
            return ColorTier::None;
        }
        let colorterm = env("COLORTERM").unwrap_or_default().to_lowercase();
        if matches!(colorterm.as_str(), "truecolor" | "24bit") || is_set("WT_SESSION") {
            return ColorTier::Truecolor;
        }
        let knows_24bit = ["direct", "kitty", "alacritty", "ghostty", "wezterm", "foot"];
        let program = env("TERM_PROGRAM").unwrap_or_default();
        if knows_24bit.iter().any(|t| term.contains(t))
            || matches!(program.as_str(), "iTerm.app" | "vscode" | "WezTerm")
        {
            return ColorTier::Truecolor;
        }
        match term.as_str() {
            t if t.contains("256color") => ColorTier::Ansi256,
            "" if cfg!(windows) => ColorTier::Truecolor,
            "" => ColorTier::None,
            _ => ColorTier::Ansi16,
        }
    }
}

/// A colour as themes name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThemeColor {
    /// The terminal's own foreground or background.
    Default,
    /// One of the terminal's 16 colours, whatever it shows them as.
    Ansi(u8),
    /// Red, green and blue; the nearest colour where the terminal shows fewer.
    Rgb(Srgb<u8>),
}

/// Names of the terminal's own colours in the order of their numbers.
pub const ANSI_NAMES: [&str; 16] = [
    "black",
    "red",
    "green",
    "yellow",
    "blue",
    "magenta",
    "cyan",
    "gray",
    "dark-gray",
    "light-red",
    "light-green",
    "light-yellow",
    "light-blue",
    "light-magenta",
    "light-cyan",
    "white",
];

const ANSI_COLORS: [Color; 16] = [
    Color::Black,
    Color::Red,
    Color::Green,
    Color::Yellow,
    Color::Blue,
    Color::Magenta,
    Color::Cyan,
    Color::Gray,
    Color::DarkGray,
    Color::LightRed,
    Color::LightGreen,
    Color::LightYellow,
    Color::LightBlue,
    Color::LightMagenta,
    Color::LightCyan,
    Color::White,
];

/// What the 16 colours are on a VGA console. Terminals differ; this is for judging contrast only.
const ANSI_RGB: [[u8; 3]; 16] = [
    [0x00, 0x00, 0x00],
    [0xaa, 0x00, 0x00],
    [0x00, 0xaa, 0x00],
    [0xaa, 0x55, 0x00],
    [0x00, 0x00, 0xaa],
    [0xaa, 0x00, 0xaa],
    [0x00, 0xaa, 0xaa],
    [0xaa, 0xaa, 0xaa],
    [0x55, 0x55, 0x55],
    [0xff, 0x55, 0x55],
    [0x55, 0xff, 0x55],
    [0xff, 0xff, 0x55],
    [0x55, 0x55, 0xff],
    [0xff, 0x55, 0xff],
    [0x55, 0xff, 0xff],
    [0xff, 0xff, 0xff],
];

impl ThemeColor {
    /// `#rgb`, `#rrggbb`, `default` or one of [`ANSI_NAMES`].
    pub fn parse(text: &str) -> Option<ThemeColor> {
        if let Some(hex) = text.strip_prefix('#') {
            let digits = hex.bytes().all(|b| b.is_ascii_hexdigit());
            return digits.then(|| hex.parse().ok().map(ThemeColor::Rgb))?;
        }
        if text == "default" {
            return Some(ThemeColor::Default);
        }
        let number = ANSI_NAMES.iter().position(|name| *name == text)?;
        Some(ThemeColor::Ansi(number as u8))
    }

    /// The colour itself, where it does not depend on the terminal's settings.
    pub fn rgb(self) -> Option<Srgb<u8>> {
        match self {
            ThemeColor::Rgb(rgb) => Some(rgb),
            ThemeColor::Default | ThemeColor::Ansi(_) => None,
        }
    }

    /// The nearest colour the tier has.
    pub fn on(self, tier: ColorTier) -> Color {
        match (self, tier) {
            (_, ColorTier::None) | (ThemeColor::Default, _) => Color::Reset,
            (ThemeColor::Ansi(n), _) => ANSI_COLORS[usize::from(n) % 16],
            (ThemeColor::Rgb(rgb), ColorTier::Truecolor) => Color::Rgb(rgb.red, rgb.green, rgb.blue),
            (ThemeColor::Rgb(rgb), ColorTier::Ansi256) => Color::Indexed(nearest_256(rgb)),
            (ThemeColor::Rgb(rgb), ColorTier::Ansi16) => ANSI_COLORS[nearest_16(rgb)],
        }
    }
}

/// A terminal colour as red, green and blue, for judging contrast; nothing for `Reset`.
pub fn approximate_rgb(color: Color) -> Option<Srgb<u8>> {
    match color {
        Color::Reset => None,
        Color::Rgb(r, g, b) => Some(Srgb::new(r, g, b)),
        Color::Indexed(n) if n >= 16 => Some(xterm_rgb(n)),
        Color::Indexed(n) => Some(ANSI_RGB[usize::from(n)].into()),
        named => {
            let number = ANSI_COLORS.iter().position(|c| *c == named)?;
            Some(ANSI_RGB[number].into())
        }
    }
}

/// WCAG 2.1 contrast ratio, 1 to 21; 4.5 is asked of text, 3 of large text and graphics.
pub fn contrast(a: Srgb<u8>, b: Srgb<u8>) -> f32 {
    a.into_format::<f32>().relative_contrast(b.into_format())
}

/// From `a` (t = 0) to `b` (t = 1) along a straight line in Oklab, where equal steps look equal.
pub fn mix(a: Srgb<u8>, b: Srgb<u8>, t: f32) -> Srgb<u8> {
    let t = if t.is_nan() { 0.0 } else { t.clamp(0.0, 1.0) };
    let mixed: Srgb<f32> = oklab(a).mix(oklab(b), t).into_color();
    mixed.into_format()
}

fn oklab(rgb: Srgb<u8>) -> Oklab {
    rgb.into_format::<f32>().into_color()
}

/// Colours 16 to 231 are a cube of six steps a side, 232 to 255 greys.
fn xterm_rgb(index: u8) -> Srgb<u8> {
    const STEPS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    if index >= 232 {
        let grey = 8 + 10 * (index - 232);
        return Srgb::new(grey, grey, grey);
    }
    let cube = usize::from(index.saturating_sub(16));
    Srgb::new(STEPS[cube / 36], STEPS[cube / 6 % 6], STEPS[cube % 6])
}

/// The first 16 are left out: users set those as they like.
fn nearest_256(rgb: Srgb<u8>) -> u8 {
    static FIXED: LazyLock<Vec<(u8, Oklab)>> = LazyLock::new(|| (16..=255).map(|n| (n, oklab(xterm_rgb(n)))).collect());
    let wanted = oklab(rgb);
    let nearest = FIXED
        .iter()
        .min_by(|(_, a), (_, b)| wanted.distance_squared(*a).total_cmp(&wanted.distance_squared(*b)));
    nearest.map_or(16, |(n, _)| *n)
}

/// By hue rather than by distance, which turns every pastel into a grey.
fn nearest_16(rgb: Srgb<u8>) -> usize {
    let Oklch { l, chroma, hue, .. } = oklab(rgb).into_color();
    if chroma < 0.05 {
        return match l {
            l if l < 0.3 => 0,
            l if l < 0.6 => 8,
            l if l < 0.9 => 7,
            _ => 15,
        };
    }
    // Oklch hues in degrees of full red, yellow, green, cyan, blue and magenta.
    const HUES: [(f32, usize); 7] = [
        (29.0, 1),
        (110.0, 3),
        (142.0, 2),
        (195.0, 6),
        (264.0, 4),
        (328.0, 5),
        (389.0, 1),
    ];
    let degrees = hue.into_positive_degrees();
    let nearest = HUES
        .iter()
        .min_by(|(a, _), (b, _)| (a - degrees).abs().total_cmp(&(b - degrees).abs()));
    let plain = nearest.map_or(7, |(_, n)| *n);
    if l >= 0.65 { plain + 8 } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tier(choice: ColorChoice, vars: &[(&str, &str)]) -> ColorTier {
        let env = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        ColorTier::detect(choice, env, true)
    }

    #[test]
    fn the_environment_decides_unless_the_user_does() {
        use ColorChoice::*;
        for (choice, vars, expected) in [
            (Auto, &[("TERM", "xterm-256color")][..], ColorTier::Ansi256),
            (
                Auto,
                &[("TERM", "xterm-256color"), ("COLORTERM", "truecolor")],
                ColorTier::Truecolor,
            ),
            (
                Auto,
                &[("TERM", "xterm-256color"), ("COLORTERM", "24bit")],
                ColorTier::Truecolor,
            ),
            (Auto, &[("TERM", "xterm-kitty")], ColorTier::Truecolor),
            (Auto, &[("TERM", "xterm-direct")], ColorTier::Truecolor),
            (Auto, &[("TERM", "xterm")], ColorTier::Ansi16),
            (Auto, &[("TERM", "linux")], ColorTier::Ansi16),
            (Auto, &[("TERM", "dumb"), ("COLORTERM", "truecolor")], ColorTier::None),
            (Auto, &[("TERM", "xterm-256color"), ("NO_COLOR", "1")], ColorTier::None),
            (
                Auto,
                &[("TERM", "xterm-256color"), ("NO_COLOR", "")],
                ColorTier::Ansi256,
            ),
            (Truecolor, &[("TERM", "dumb"), ("NO_COLOR", "1")], ColorTier::Truecolor),
            (Ansi16, &[("COLORTERM", "truecolor")], ColorTier::Ansi16),
            (Never, &[("COLORTERM", "truecolor")], ColorTier::None),
        ] {
            assert_eq!(tier(choice, vars), expected, "{choice:?} {vars:?}");
        }
        let piped = ColorTier::detect(ColorChoice::Auto, |_| Some("truecolor".into()), false);
        assert_eq!(piped, ColorTier::None);
    }

    #[test]
    fn colours_parse() {
        let red = ThemeColor::Rgb(Srgb::new(255, 0, 0));
        assert_eq!(ThemeColor::parse("#ff0000"), Some(red));
        assert_eq!(ThemeColor::parse("#f00"), Some(red));
        assert_eq!(ThemeColor::parse("light-red"), Some(ThemeColor::Ansi(9)));
        assert_eq!(ThemeColor::parse("default"), Some(ThemeColor::Default));
        for bad in ["", "#", "#ff", "#ff000", "#ggg", "#é00", "ff0000", "Red", "rgb"] {
            assert_eq!(ThemeColor::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn downgrades_keep_the_hue() {
        let on = |hex: &str, tier| ThemeColor::parse(hex).unwrap().on(tier);
        for (hex, expected) in [
            ("#000000", Color::Black),
            ("#ffffff", Color::White),
            ("#7fb4ff", Color::LightBlue),
            ("#0000aa", Color::Blue),
            ("#ff6b74", Color::LightRed),
            ("#aa0022", Color::Red),
            ("#1b5e20", Color::Green),
            ("#c678dd", Color::LightMagenta),
            ("#808080", Color::DarkGray),
            ("#c0c0c0", Color::Gray),
        ] {
            assert_eq!(on(hex, ColorTier::Ansi16), expected, "{hex}");
        }
        assert_eq!(on("#ff0000", ColorTier::Ansi256), Color::Indexed(196));
        assert_eq!(on("#5f87af", ColorTier::Ansi256), Color::Indexed(67));
        assert_eq!(on("#767676", ColorTier::Ansi256), Color::Indexed(243));
        assert_eq!(on("#ff0000", ColorTier::None), Color::Reset);
        assert_eq!(on("red", ColorTier::Truecolor), Color::Red);
    }

    #[test]
    fn contrast_is_wcags() {
        let rgb = |hex: &str| hex.parse().unwrap();
        assert!((contrast(rgb("#000000"), rgb("#ffffff")) - 21.0).abs() < 0.01);
        // The usual example of the lightest grey that passes on white.
        assert!((contrast(rgb("#767676"), rgb("#ffffff")) - 4.54).abs() < 0.01);
    }

    proptest! {
        #[test]
        fn every_fixed_xterm_colour_maps_to_its_own_value(n in 16u8..=255) {
            prop_assert_eq!(xterm_rgb(nearest_256(xterm_rgb(n))), xterm_rgb(n));
        }

        #[test]
        fn any_text_and_any_colour_are_survived(text in "\\PC{0,9}", r: u8, g: u8, b: u8, t: f32) {
            let _ = ThemeColor::parse(&text);
            let color = ThemeColor::Rgb(Srgb::new(r, g, b));
            for tier in ColorTier::ALL {
                let _ = approximate_rgb(color.on(tier));
            }
            let _ = mix(Srgb::new(r, g, b), Srgb::new(b, r, g), t);
        }
    }
}
