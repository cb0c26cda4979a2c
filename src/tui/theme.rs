//! Themes: what every part of the screen looks like, on terminals with many colours, few or none.

pub mod file;
mod role;

use std::path::Path;

use palette::Srgb;
use ratatui::style::{Color, Modifier, Style};
use thiserror::Error;

use super::color::{self, ColorTier, ThemeColor};
use crate::config::ConfigError;
pub use file::{SHIPPED, ThemeInfo, list, source};
pub use role::Role;

/// The theme used when none is asked for or the one asked for is broken.
pub const DEFAULT_THEME: &str = "dark";

/// Steps of a ramp between two colours: more than the eye tells apart in a cell.
const RAMP: usize = 16;

/// Least contrast on 16-colour terminals before a foreground gives way to black or white. Their
/// colours vary, so this only prevents the unreadable.
const MIN_CONTRAST_16: f32 = 2.4;

/// How far a colour with confidence 1/3 is from the background (0) to itself (1).
const DIMMEST: f32 = 0.5;

/// The same for the filled cells of executed layers, at confidence 1/3 and at certainty: quiet enough that the holes
/// of skipped layers and the brightness of repeated ones are what the eye finds.
const FILL: (f32, f32) = (0.42, 0.54);

/// Roles whose cells are filled.
const FILLED: [Role; 3] = [Role::Execute, Role::Dial, Role::Budget];

/// Why a theme was refused.
#[derive(Debug, Error)]
pub enum ThemeError {
    /// Neither a file of the user's nor a theme that ships has this name.
    #[error("there is no theme '{}': {hint}", crate::text::escape_controls(name))]
    Unknown {
        /// As it was asked for; unescaped.
        name: String,
        /// The names there are, or the one that was probably meant.
        hint: String,
    },
    /// The theme's file cannot be read, or is wrong.
    #[error(transparent)]
    File(#[from] ConfigError),
}

/// How a role looks before the terminal is considered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// The glyphs' colour; absent: that of what lies below.
    pub fg: Option<ThemeColor>,
    /// The colour behind the glyphs; absent: that of what lies below.
    pub bg: Option<ThemeColor>,
    /// Bold, dim, underlined and such, all of them together.
    pub modifiers: Modifier,
}

/// A theme as one terminal can show it.
#[derive(Clone, Debug, PartialEq)]
pub struct Theme {
    name: String,
    tier: ColorTier,
    syntax: String,
    styles: [Style; Role::ALL.len()],
    /// For skip, execute and repeat, from the least to the greatest confidence.
    confidence: [[Style; RAMP]; 3],
    /// For [`FILLED`], from the least to the greatest confidence.
    fills: [[Style; RAMP]; FILLED.len()],
    depth: [Style; RAMP],
    text: Color,
    background: Color,
}

impl Theme {
    /// Loads a theme by name: from `user_dir` (NAME.toml) if it is there, else a shipped one.
    ///
    /// # Errors
    /// When there is no such theme or its file is wrong; the message has file, line and column.
    pub fn load(name: &str, user_dir: Option<&Path>, tier: ColorTier) -> Result<Theme, ThemeError> {
        let definition = file::load(name, user_dir)?;
        Ok(Theme::new(name, &definition, tier))
    }

    /// The shipped default, which always works: for when another cannot be loaded.
    pub fn fallback(tier: ColorTier) -> Theme {
        Theme::load(DEFAULT_THEME, None, tier).expect("the shipped themes are tested")
    }

    fn new(name: &str, definition: &file::Definition, tier: ColorTier) -> Theme {
        let look = |role| resolve(role, definition);
        let ground = look(Role::Background).bg;
        let style = |role: Role| compile(role, look(role), ground, tier);
        let ramp = |role| confidence_ramp(look(role), style(role), ground, tier);
        let fill = |role| fill_ramp(look(role), style(role), ground, tier);
        let (low, high) = (Role::DepthLow, Role::DepthHigh);
        Theme {
            name: name.to_owned(),
            tier,
            syntax: definition.syntax.clone(),
            styles: Role::ALL.map(style),
            confidence: [Role::Skip, Role::Execute, Role::Repeat].map(ramp),
            fills: FILLED.map(fill),
            depth: depth_ramp([look(low), look(high)], [style(low), style(high)], tier),
            text: style(Role::Text).fg.unwrap_or(Color::Reset),
            background: ground.map_or(Color::Reset, |c| c.on(tier)),
        }
    }

    /// Its name, as [`Theme::load`] takes it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many colours the terminal shows.
    pub fn tier(&self) -> ColorTier {
        self.tier
    }

    /// The name of the syntect theme for code.
    pub fn syntax(&self) -> &str {
        &self.syntax
    }

    /// What a role adds to what lies under it. Without colours: modifiers, and fg and bg reset.
    pub fn style(&self, role: Role) -> Style {
        self.styles[role as usize]
    }

    /// Ordinary text on the background: for the whole screen, before anything else is drawn.
    pub fn base(&self) -> Style {
        self.style(Role::Background).patch(self.style(Role::Text))
    }

    /// Skip, execute or repeat, the stronger the surer the router: `confidence` is the greatest of
    /// its three probabilities, 1/3 to 1. Other roles do not have a ramp and are as in [`Theme::style`].
    pub fn confidence(&self, role: Role, confidence: f32) -> Style {
        let ramp = match role {
            Role::Skip => &self.confidence[0],
            Role::Execute => &self.confidence[1],
            Role::Repeat => &self.confidence[2],
            other => return self.style(other),
        };
        ramp[step((confidence - 1.0 / 3.0) * 1.5)]
    }

    /// The cell of a layer that was executed once, decided by nobody in particular (`Role::Execute`), by the dial or by
    /// the budget: where colours can be mixed a plain field that is a little stronger where the router is surer, else
    /// the role's own style.
    pub fn fill(&self, role: Role, confidence: f32) -> Style {
        match FILLED.iter().position(|filled| *filled == role) {
            Some(at) => self.fills[at][step((confidence - 1.0 / 3.0) * 1.5)],
            None => self.style(role),
        }
    }

    /// The colour of the screen's background; `Reset` where the theme leaves it to the terminal.
    pub fn ground(&self) -> Color {
        self.background
    }

    /// Tints a token by its depth, from `t` = 0 for the least to 1 for the greatest.
    pub fn depth(&self, t: f32) -> Style {
        self.depth[step(t)]
    }

    /// A foreground for code: the colour asked for as the tier has it, or that of ordinary text
    /// where it would be hard to read on this background.
    pub fn foreground(&self, rgb: Srgb<u8>) -> Color {
        let color = ThemeColor::Rgb(rgb).on(self.tier);
        let pair = (color::approximate_rgb(color), color::approximate_rgb(self.background));
        match pair {
            (Some(fg), Some(bg)) if color::contrast(fg, bg) < 3.0 => self.text,
            _ => color,
        }
    }
}

/// The ramp's step for `t` in 0..=1; what is not a number counts as the least.
fn step(t: f32) -> usize {
    // `as` takes NaN to 0.
    (t.clamp(0.0, 1.0) * (RAMP - 1) as f32).round() as usize
}

/// A role's own look, or that of the nearest role above it that the theme defines.
fn resolve(role: Role, definition: &file::Definition) -> Look {
    let mut at = Some(role);
    while let Some(here) = at {
        if let Some(look) = definition.looks.get(&here) {
            return *look;
        }
        at = here.parent();
    }
    Look {
        modifiers: role.plain(),
        ..Look::default()
    }
}

/// A look on a tier; `ground` is the screen's background.
fn compile(role: Role, look: Look, ground: Option<ThemeColor>, tier: ColorTier) -> Style {
    if tier == ColorTier::None {
        return Style::new()
            .fg(Color::Reset)
            .bg(Color::Reset)
            .add_modifier(look.modifiers | role.plain());
    }
    let style = Style {
        fg: look.fg.map(|c| c.on(tier)),
        bg: look.bg.map(|c| c.on(tier)),
        ..Style::new()
    };
    let style = style.add_modifier(look.modifiers);
    match tier {
        ColorTier::Ansi16 => readable_16(style, ground),
        _ => style,
    }
}

/// With 16 colours two different ones may become the same or nearly so.
fn readable_16(style: Style, ground: Option<ThemeColor>) -> Style {
    let ground = ground.map_or(Color::Reset, |c| c.on(ColorTier::Ansi16));
    let under = color::approximate_rgb(style.bg.unwrap_or(ground));
    let (Some(fg), Some(bg)) = (style.fg.and_then(color::approximate_rgb), under) else {
        return style;
    };
    if color::contrast(fg, bg) >= MIN_CONTRAST_16 {
        return style;
    }
    let [black, white] = [Srgb::new(0, 0, 0), Srgb::new(255, 255, 255)];
    if color::contrast(black, bg) > color::contrast(white, bg) {
        style.fg(Color::Black)
    } else {
        style.fg(Color::White)
    }
}

/// From the dimmed to the full colour; by dim and bold where colours cannot be mixed.
fn confidence_ramp(look: Look, full: Style, ground: Option<ThemeColor>, tier: ColorTier) -> [Style; RAMP] {
    let ends = (look.fg.and_then(ThemeColor::rgb), ground.and_then(ThemeColor::rgb));
    std::array::from_fn(|i| {
        let t = i as f32 / (RAMP - 1) as f32;
        match ends {
            (Some(fg), Some(ground)) if tier >= ColorTier::Ansi256 => {
                let mixed = color::mix(ground, fg, DIMMEST + (1.0 - DIMMEST) * t);
                full.fg(ThemeColor::Rgb(mixed).on(tier))
            }
            _ => strength(full, t),
        }
    })
}

/// Foreground and background of one colour, so that every glyph of a block is a plain field.
fn fill_ramp(look: Look, full: Style, ground: Option<ThemeColor>, tier: ColorTier) -> [Style; RAMP] {
    let ends = (look.fg.and_then(ThemeColor::rgb), ground.and_then(ThemeColor::rgb));
    std::array::from_fn(|i| {
        let t = i as f32 / (RAMP - 1) as f32;
        match ends {
            (Some(fg), Some(ground)) if tier >= ColorTier::Ansi256 => {
                let mixed = color::mix(ground, fg, FILL.0 + (FILL.1 - FILL.0) * t);
                let mixed = ThemeColor::Rgb(mixed).on(tier);
                full.fg(mixed).bg(mixed)
            }
            _ => full,
        }
    })
}

/// From the colour of the least depth to that of the greatest; by dim and bold without colours.
fn depth_ramp(looks: [Look; 2], styles: [Style; 2], tier: ColorTier) -> [Style; RAMP] {
    let ends = looks.map(|look| look.fg.and_then(ThemeColor::rgb));
    std::array::from_fn(|i| {
        let t = i as f32 / (RAMP - 1) as f32;
        let nearer = styles[usize::from(t >= 0.5)];
        match (tier, ends) {
            (ColorTier::None, _) => strength(nearer, t),
            (ColorTier::Ansi256 | ColorTier::Truecolor, [Some(low), Some(high)]) => {
                nearer.fg(ThemeColor::Rgb(color::mix(low, high, t)).on(tier))
            }
            _ => nearer,
        }
    })
}

/// Dim, plain or bold, by thirds.
fn strength(style: Style, t: f32) -> Style {
    let style = style.remove_modifier(Modifier::BOLD | Modifier::DIM);
    match t {
        t if t < 1.0 / 3.0 => style.add_modifier(Modifier::DIM),
        t if t < 2.0 / 3.0 => style,
        _ => style.add_modifier(Modifier::BOLD),
    }
}

#[cfg(test)]
mod tests;
