//! Cells of a map with two layers a line: a half block a layer, in the colour that its cell has elsewhere.
//!
//! ```text
//! ·  both skipped   ▀  the lower one skipped   ▄  the upper one skipped   ▓ █ 2  both once, both twice, one of them twice
//! ```
//!
//! Each sign has its meaning without colours: two layers that ran in different colours are not two half blocks, except
//! under the cursor and the mark. What needs a sign (a pin, a confidence, who decided) takes
//! the whole cell, and of two signs the more telling one is shown. A corner is missing where the router disagrees, in the
//! layer's half; a skipped half has the colour of disagreement, and two skipped ones are `:`.

use std::ops::Range;

use ratatui::style::{Color, Style};

use super::super::app::App;
use super::super::run::Run;
use super::super::theme::{Role, Theme};
use super::super::ui::MapMode;
use super::cell::{self, Look};
use crate::program::Action;
use crate::trace::DecidedBy;

/// What one layer's half is drawn from.
struct Half {
    look: Look,
    action: Option<Action>,
    disagrees: bool,
    /// The colour of the cursor or of the mark, where one of them lies on this half alone.
    over: Option<Color>,
}

impl Half {
    fn new(app: &App, run: &Run, layer: usize, token: usize, over: Option<Color>) -> Half {
        let decision = run.decision(layer, token);
        let asked = decision
            .as_ref()
            .filter(|d| app.ui.map.mode == MapMode::Decisions && d.by != DecidedBy::Pin);
        Half {
            look: decision
                .as_ref()
                .map_or(Look::NONE, |decision| cell::look_of(app, run, decision, layer, token)),
            action: decision.as_ref().map(|d| d.action),
            disagrees: asked.is_some_and(|d| d.disagrees()),
            over,
        }
    }

    /// The character that says more than a fill.
    fn sign(&self) -> Option<char> {
        let glyph = self.look.glyph;
        (self.action.is_some() && (glyph.is_alphanumeric() || glyph == '-')).then_some(glyph)
    }

    /// Whether something is drawn in this half, and in which colour, where there are colours.
    fn fill(&self, theme: &Theme) -> Option<Option<Color>> {
        match (self.over, self.action) {
            (Some(over), _) => Some(Some(over)),
            (None, None) => None,
            (None, Some(Action::Skip)) if self.disagrees => theme.fill(Role::Disagree, 0.5).fg.map(Some),
            (None, Some(Action::Skip)) => None,
            (None, Some(_)) => Some(self.look.field_style.fg),
        }
    }
}

/// The cell of a line's layers at `token`. `over` is how a layer looks that the cursor or the mark is on.
pub(super) fn look(app: &App, run: &Run, layers: Range<usize>, token: usize, over: impl Fn(usize) -> Style) -> Look {
    let styles = [layers.start, layers.end - 1].map(&over);
    let same = styles[0] == styles[1];
    // One half alone is marked by its colour; where there are no colours, the whole cell is.
    let colour_of = |style: Style| style.bg.filter(|bg| *bg != Color::Reset);
    let own = |style: Style| if same { None } else { colour_of(style) };
    let lower = Half::new(app, run, layers.start, token, own(styles[0]));
    let upper = (layers.len() > 1).then(|| Half::new(app, run, layers.start + 1, token, own(styles[1])));
    let look = pair(&app.ui.theme, app.ui.map.mode, upper, lower);
    let patch = match same {
        true => styles[0],
        false => styles
            .into_iter()
            .find(|style| colour_of(*style).is_none() && *style != Style::new())
            .unwrap_or_default(),
    };
    Look {
        style: look.style.patch(patch),
        field_style: look.field_style.patch(patch),
        ..look
    }
}

fn pair(theme: &Theme, mode: MapMode, upper: Option<Half>, lower: Half) -> Look {
    let signs = [upper.as_ref(), Some(&lower)].map(|half| half.filter(|h| h.sign().is_some()));
    let telling = signs.into_iter().flatten().min_by_key(|half| rank(mode, half.sign()));
    let fills = (upper.as_ref().and_then(|h| h.fill(theme)), lower.fill(theme));
    let skipped = |half: &Half| half.action == Some(Action::Skip);
    let twice = |half: &Half| half.action == Some(Action::Repeat);
    let upper_twice = upper.as_ref().is_some_and(twice);
    let lies_on_one = lower.over.is_some() || upper.as_ref().is_some_and(|half| half.over.is_some());
    let both_skipped = skipped(&lower) && upper.as_ref().is_none_or(skipped);
    let unlike = lower.disagrees || upper.as_ref().is_some_and(|half| half.disagrees);
    let (field, field_style) = match fills {
        (Some(above), Some(below)) if above != below && lies_on_one => ('▀', on(above, below)),
        _ if both_skipped && !lies_on_one && unlike => (':', theme.style(Role::Disagree)),
        _ if both_skipped && !lies_on_one => (cell::block(Action::Skip), cell::glyph_style(theme, Action::Skip)),
        (None, None) => (' ', Style::new()),
        (Some(fill), None) => ('▀', colour(fill)),
        (None, Some(fill)) => ('▄', colour(fill)),
        (Some(above), Some(below)) if skipped(&lower) => ('▀', on(above, below)),
        (Some(above), Some(below)) if upper.as_ref().is_some_and(skipped) => ('▄', on(below, above)),
        (Some(above), Some(below)) => match (upper_twice, twice(&lower)) {
            (true, true) => (cell::block(Action::Repeat), on(above, below)),
            (false, false) => (cell::block(Action::Execute), on(above, below)),
            (true, false) => ('2', on(above, below)),
            (false, true) => ('2', on(below, above)),
        },
    };
    if let Some(half) = telling {
        let both = matches!(fills, (Some(_), Some(_)));
        let bg = if both {
            half.look.style.bg.or(half.look.field_style.fg)
        } else {
            None
        };
        let style = Style { bg, ..half.look.style };
        return Look {
            glyph: half.look.glyph,
            style,
            field,
            field_style,
        };
    }
    let disagrees = |half: &Half| half.disagrees && !skipped(half) && half.over.is_none();
    let corner = match (upper.as_ref().is_some_and(disagrees), disagrees(&lower)) {
        (true, true) => Some('▌'),
        (true, false) => Some('▙'),
        (false, true) => Some('▛'),
        (false, false) => None,
    };
    let upper_ran = upper.as_ref().is_some_and(|half| !skipped(half));
    let (glyph, style) = match (corner, fills) {
        (Some(corner), (Some(fill), Some(_))) if upper_ran && !skipped(&lower) => (corner, with_corner(theme, fill)),
        (Some(_), _) => {
            // Beside a skipped half only the half itself is left.
            let half = if upper_ran { '▘' } else { '▖' };
            (
                half,
                Style {
                    bg: None,
                    ..theme.style(Role::Disagree)
                },
            )
        }
        (None, _) => (field, field_style),
    };
    Look {
        glyph,
        style,
        field,
        field_style,
    }
}

/// A fill whose missing corner has the colour of disagreement.
fn with_corner(theme: &Theme, fill: Option<Color>) -> Style {
    let other = theme.style(Role::Disagree);
    match (fill, other.fg) {
        (Some(fill), Some(other)) => Style::new().fg(fill).bg(other),
        _ => other,
    }
}

/// A colour, on another one where they differ.
fn on(fill: Option<Color>, other: Option<Color>) -> Style {
    Style {
        bg: other.filter(|_| other != fill),
        ..colour(fill)
    }
}

fn colour(fill: Option<Color>) -> Style {
    fill.map_or_else(Style::new, |fill| Style::new().fg(fill))
}

/// The order in which signs are shown: pins, the lesser confidence, who overruled the router.
fn rank(mode: MapMode, sign: Option<char>) -> usize {
    let order = match mode {
        MapMode::Decisions => "serSER",
        MapMode::Confidence => "0123456789-",
        MapMode::DecidedBy => "PsebdprfnSER",
    };
    let sign = sign.and_then(|sign| order.find(sign));
    sign.unwrap_or(order.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::color::ColorTier;

    fn half(action: Action, fill: Option<Color>) -> Half {
        let field_style = colour(fill);
        Half {
            look: Look {
                glyph: cell::block(action),
                style: field_style,
                field: cell::block(action),
                field_style,
            },
            action: Some(action),
            disagrees: false,
            over: None,
        }
    }

    #[test]
    fn a_half_is_there_if_its_layer_ran() {
        use Action::{Execute, Repeat, Skip};
        let theme = Theme::fallback(ColorTier::Truecolor);
        let (quiet, bright) = (Some(Color::Rgb(1, 2, 3)), Some(Color::Rgb(200, 200, 9)));
        let drawn = |upper, lower| {
            let fill = |action| if action == Repeat { bright } else { quiet };
            let look = pair(
                &theme,
                MapMode::Decisions,
                Some(half(upper, fill(upper))),
                half(lower, fill(lower)),
            );
            (look.glyph, look.style.fg, look.style.bg)
        };
        assert_eq!(drawn(Skip, Skip).0, '·');
        assert_eq!(drawn(Execute, Skip), ('▀', quiet, None));
        assert_eq!(drawn(Skip, Execute), ('▄', quiet, None));
        assert_eq!(drawn(Execute, Execute), ('▓', quiet, None));
        // Half blocks are for skips: without colours they could not be told from these.
        assert_eq!(drawn(Execute, Repeat), ('2', bright, quiet));
        assert_eq!(drawn(Repeat, Execute), ('2', bright, quiet));
        assert_eq!(drawn(Repeat, Repeat), ('█', bright, None));
    }

    #[test]
    fn without_colours_a_repeated_half_is_told() {
        use Action::{Execute, Repeat};
        let theme = Theme::fallback(ColorTier::None);
        let drawn = |upper, lower| pair(&theme, MapMode::Decisions, Some(half(upper, None)), half(lower, None)).glyph;
        assert_eq!(
            [drawn(Execute, Execute), drawn(Repeat, Execute), drawn(Repeat, Repeat)],
            ['▓', '2', '█']
        );
    }

    #[test]
    fn a_pin_takes_the_cell_of_both() {
        let theme = Theme::fallback(ColorTier::Truecolor);
        let fill = Some(Color::Rgb(1, 2, 3));
        let mut pinned = half(Action::Execute, fill);
        pinned.look.glyph = 'E';
        let look = pair(&theme, MapMode::Decisions, Some(half(Action::Execute, fill)), pinned);
        assert_eq!((look.glyph, look.style.bg, look.field), ('E', fill, '▓'));
    }

    #[test]
    fn a_skipped_half_that_the_router_disagrees_with_is_no_hole() {
        let theme = Theme::fallback(ColorTier::Truecolor);
        let mut skipped = half(Action::Skip, None);
        skipped.disagrees = true;
        let fill = Some(Color::Rgb(1, 2, 3));
        let look = pair(&theme, MapMode::Decisions, Some(skipped), half(Action::Execute, fill));
        assert_eq!((look.glyph, look.style.fg), ('▄', fill));
        assert_eq!(look.style.bg, theme.fill(Role::Disagree, 0.5).fg);
        let mut ran = half(Action::Execute, fill);
        ran.disagrees = true;
        let look = pair(&theme, MapMode::Decisions, Some(half(Action::Execute, fill)), ran);
        assert_eq!((look.glyph, look.style.bg), ('▛', theme.style(Role::Disagree).fg));
    }

    #[test]
    fn the_more_telling_sign_is_shown() {
        assert!(rank(MapMode::Confidence, Some('3')) < rank(MapMode::Confidence, Some('7')));
        assert!(rank(MapMode::Confidence, Some('9')) < rank(MapMode::Confidence, Some('-')));
        assert!(rank(MapMode::DecidedBy, Some('b')) < rank(MapMode::DecidedBy, Some('r')));
    }
}
