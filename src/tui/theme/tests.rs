use super::*;
use palette::{FromColor, LinSrgb, Oklab, color_difference::EuclideanDistance};
use proptest::prelude::*;

use crate::tui::color::{approximate_rgb, contrast};

fn shipped(name: &str, tier: ColorTier) -> Theme {
    Theme::load(name, None, tier).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// A role's foreground and the background it stands on.
fn pair(theme: &Theme, role: Role) -> (Srgb<u8>, Srgb<u8>) {
    on_ground(theme, theme.style(role))
}

fn on_ground(theme: &Theme, style: Style) -> (Srgb<u8>, Srgb<u8>) {
    let style = theme.base().patch(style);
    let rgb = |color: Option<Color>| approximate_rgb(color.unwrap()).expect("shipped themes set their colours");
    (rgb(style.fg), rgb(style.bg))
}

/// The least contrast a role may have: WCAG 2.1 AA for text and, where nothing is read, graphics.
fn asked(role: Role) -> f32 {
    match role {
        Role::Border => 1.5,
        Role::Muted | Role::BorderFocused | Role::Gauge | Role::Chart => 3.0,
        _ => 4.5,
    }
}

#[test]
fn shipped_themes_can_be_read() {
    for (name, _) in SHIPPED {
        for tier in [ColorTier::Truecolor, ColorTier::Ansi256, ColorTier::Ansi16] {
            let theme = shipped(name, tier);
            for role in Role::ALL {
                let asked = match tier {
                    ColorTier::Truecolor => asked(role),
                    ColorTier::Ansi256 => asked(role) * 0.9,
                    _ => asked(role).min(MIN_CONTRAST_16),
                };
                let (fg, bg) = pair(&theme, role);
                let found = contrast(fg, bg);
                assert!(
                    found >= asked,
                    "{name}, {tier:?}, {}: {found} under {asked}",
                    role.name()
                );
            }
        }
    }
}

#[test]
fn tinted_tokens_can_be_read_and_unsure_decisions_seen() {
    for (name, _) in SHIPPED {
        let theme = shipped(name, ColorTier::Truecolor);
        for i in 0..=10 {
            let t = i as f32 / 10.0;
            let (fg, bg) = on_ground(&theme, theme.depth(t));
            assert!(contrast(fg, bg) >= 4.5, "{name}: depth {t}: {}", contrast(fg, bg));
        }
        for role in [Role::Skip, Role::Execute, Role::Repeat] {
            let at = |p| {
                let (fg, bg) = on_ground(&theme, theme.confidence(role, p));
                contrast(fg, bg)
            };
            assert!(at(1.0 / 3.0) >= 1.6, "{name}: {}: {}", role.name(), at(1.0 / 3.0));
            assert!(at(1.0 / 3.0) + 1.0 < at(1.0), "{name}: {}", role.name());
            assert!(at(0.5) < at(0.8) && at(0.8) < at(1.0), "{name}: {}", role.name());
        }
    }
}

#[test]
fn skips_are_holes_in_a_quiet_field() {
    for (name, _) in SHIPPED {
        for tier in [ColorTier::Truecolor, ColorTier::Ansi256] {
            let theme = shipped(name, tier);
            let ground = approximate_rgb(theme.ground()).unwrap();
            for role in FILLED {
                let at = |p| {
                    let style = theme.fill(role, p);
                    assert_eq!(style.fg, style.bg, "{name}: a plain field");
                    approximate_rgb(style.fg.unwrap()).unwrap()
                };
                let (unsure, sure) = (at(1.0 / 3.0), at(1.0));
                let hole = contrast(unsure, ground);
                assert!(hole >= 1.7, "{name}, {tier:?}, {}: {hole}", role.name());
                let step = contrast(unsure, sure);
                assert!(step <= 1.9, "{name}, {tier:?}, {}: {step} is not subtle", role.name());
                let (repeat, _) = pair(&theme, Role::Repeat);
                let bright = contrast(repeat, sure);
                assert!(bright >= 1.5, "{name}, {tier:?}, {}: repeats at {bright}", role.name());
            }
            let field = approximate_rgb(theme.fill(Role::Execute, 1.0).fg.unwrap()).unwrap();
            let (pin, _) = pair(&theme, Role::Pin);
            let letter = contrast(pin, field);
            assert!(letter >= 1.5, "{name}, {tier:?}: pins at {letter}");
        }
    }
}

#[test]
fn high_contrast_is_high() {
    let theme = shipped("high-contrast", ColorTier::Truecolor);
    for role in Role::ALL {
        let (fg, bg) = pair(&theme, role);
        assert!(contrast(fg, bg) >= 7.0, "{}: {}", role.name(), contrast(fg, bg));
    }
}

/// Machado, Oliveira and Fernandes (2009), full protanopia, deuteranopia and tritanopia, for linear
/// RGB.
const DEFICIENCIES: [[[f32; 3]; 3]; 3] = [
    [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
];

fn seen_with(matrix: &[[f32; 3]; 3], color: Srgb<u8>) -> Oklab {
    let c: LinSrgb<f32> = color.into_linear();
    let row = |r: [f32; 3]| (r[0] * c.red + r[1] * c.green + r[2] * c.blue).clamp(0.0, 1.0);
    Oklab::from_color(LinSrgb::new(row(matrix[0]), row(matrix[1]), row(matrix[2])))
}

#[test]
fn the_colorblind_theme_keeps_decisions_apart() {
    let theme = shipped("colorblind", ColorTier::Truecolor);
    let pairs = [
        (Role::Skip, Role::Execute),
        (Role::Skip, Role::Repeat),
        (Role::Execute, Role::Repeat),
        (Role::Added, Role::Removed),
        (Role::DepthLow, Role::DepthHigh),
        (Role::Success, Role::Error),
    ];
    for (number, matrix) in DEFICIENCIES.iter().enumerate() {
        for (a, b) in pairs {
            let seen = [a, b].map(|role| seen_with(matrix, pair(&theme, role).0));
            let distance = seen[0].distance(seen[1]);
            assert!(
                distance >= 0.1,
                "deficiency {number}: {} {}: {distance}",
                a.name(),
                b.name()
            );
        }
    }
}

#[test]
fn decisions_differ_in_every_tier() {
    for (name, _) in SHIPPED {
        for tier in ColorTier::ALL {
            let theme = shipped(name, tier);
            let [skip, execute, repeat] = [Role::Skip, Role::Execute, Role::Repeat].map(|r| theme.style(r));
            assert!(
                skip != execute && execute != repeat && skip != repeat,
                "{name}, {tier:?}"
            );
            assert_ne!(
                theme.style(Role::Selection),
                theme.style(Role::Text),
                "{name}, {tier:?}"
            );
        }
    }
}

/// crossterm 0.29 answers any colour but `Reset` under NO_COLOR with a reset that also wipes bold
/// and reverse, so nothing else may be left in this tier.
#[test]
fn without_colours_only_modifiers_are_left() {
    for (name, _) in SHIPPED {
        let theme = shipped(name, ColorTier::None);
        let reset = |style: Style| {
            assert_eq!((style.fg, style.bg), (Some(Color::Reset), Some(Color::Reset)), "{name}");
            style.add_modifier
        };
        for role in Role::ALL {
            assert!(
                reset(theme.style(role)).contains(role.plain()),
                "{name}: {}",
                role.name()
            );
        }
        let at = |p| reset(theme.confidence(Role::Repeat, p));
        assert_eq!(
            [at(0.34), at(0.7), at(0.99)],
            [Modifier::DIM, Modifier::empty(), Modifier::BOLD]
        );
        assert_eq!(reset(theme.depth(0.0)), Modifier::DIM);
        assert_eq!(reset(theme.depth(1.0)), Modifier::BOLD);
        assert_eq!(theme.foreground(Srgb::new(255, 0, 0)), Color::Reset);
    }
}

#[test]
fn ramps_survive_what_is_no_confidence() {
    let theme = Theme::fallback(ColorTier::Truecolor);
    for x in [f32::NAN, f32::INFINITY, -7.0, 0.0] {
        let _ = (theme.confidence(Role::Skip, x), theme.depth(x));
    }
    assert_eq!(theme.depth(f32::NAN), theme.depth(0.0));
    assert_eq!(theme.confidence(Role::Repeat, 1.0), theme.style(Role::Repeat));
    assert_eq!(theme.confidence(Role::Pin, 0.4), theme.style(Role::Pin));
}

#[test]
fn code_stays_readable() {
    let theme = Theme::fallback(ColorTier::Truecolor);
    assert_eq!(theme.foreground(Srgb::new(0x20, 0x20, 0x20)), theme.text);
    assert_eq!(theme.foreground(Srgb::new(0xff, 0xcc, 0)), Color::Rgb(0xff, 0xcc, 0));
}

#[test]
fn the_docs_name_every_role_and_its_parent() {
    let docs = include_str!("../../../docs/themes.md");
    for role in Role::ALL {
        let row = docs
            .lines()
            .find(|line| line.starts_with(&format!("| `{}` |", role.name())));
        let row = row.unwrap_or_else(|| panic!("docs/themes.md lacks {}", role.name()));
        let parent = role
            .parent()
            .map_or("| |".to_owned(), |p| format!("| `{}` |", p.name()));
        assert!(row.ends_with(&parent), "{row}: expected {parent}");
    }
    for name in SHIPPED
        .map(|(name, _)| name)
        .into_iter()
        .chain(crate::tui::highlight::SYNTAX_THEMES)
    {
        assert!(docs.contains(&format!("`{name}`")), "docs/themes.md lacks {name}");
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(files: &[(&str, &str)]) -> Folder {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(format!("{name}.toml")), text).unwrap();
        }
        Folder(dir)
    }

    fn load(&self, name: &str) -> Result<Theme, ThemeError> {
        Theme::load(name, Some(self.0.path()), ColorTier::Truecolor)
    }

    /// The message without the folder.
    fn refused(&self, name: &str) -> String {
        let message = self.load(name).unwrap_err().to_string();
        message.replace(&format!("{}/", self.0.path().display()), "")
    }
}

#[test]
fn user_themes_override_and_inherit() {
    let folder = Folder::with(&[
        ("dark", "inherits = 'dark'\n[roles]\nskip = '#010203'"),
        (
            "mine",
            "inherits = 'dark'\n[palette]\namber = '#0a0b0c'\n[roles]\npin = { fg = 'red', modifiers = ['italic'] }",
        ),
        ("bare", "[roles]\naccent = 'light-blue'"),
    ]);
    let dark = folder.load("dark").unwrap();
    assert_eq!(dark.style(Role::Skip).fg, Some(Color::Rgb(1, 2, 3)));
    let shipped_dark = shipped("dark", ColorTier::Truecolor);
    assert_eq!(dark.style(Role::Execute), shipped_dark.style(Role::Execute));

    let mine = folder.load("mine").unwrap();
    assert_eq!(
        mine.style(Role::Skip).fg,
        Some(Color::Rgb(1, 2, 3)),
        "from the user's dark"
    );
    assert_eq!(
        mine.style(Role::Repeat).fg,
        Some(Color::Rgb(10, 11, 12)),
        "an inherited role, my palette"
    );
    assert_eq!(mine.style(Role::Pin).add_modifier, Modifier::ITALIC);
    assert_eq!(
        mine.style(Role::Pin).fg,
        Some(Color::Rgb(0xff, 0x7b, 0x82)),
        "a palette name before an ANSI one"
    );

    let bare = folder.load("bare").unwrap();
    assert_eq!(
        bare.style(Role::Gauge).fg,
        Some(Color::LightBlue),
        "from the parent role"
    );
    assert_eq!(
        bare.style(Role::Selection),
        Style::new().add_modifier(Modifier::REVERSED)
    );
    assert_eq!(bare.base(), Style::new());

    let listed = list(Some(folder.0.path()));
    let names: Vec<_> = listed.iter().map(|t| (t.name.as_str(), t.path.is_some())).collect();
    assert!(names.contains(&("mine", true)) && names.contains(&("dark", true)) && names.contains(&("nord", false)));
    assert_eq!(names.iter().filter(|(name, _)| *name == "dark").count(), 1);
}

#[test]
fn errors_name_file_line_and_the_nearest_name() {
    for (text, expected) in [
        (
            "[roles]\nskipp = 'red'",
            "t.toml:2:1: unknown role 'skipp': did you mean 'skip'?",
        ),
        (
            "[palette]\nsea = '#00f'\n[roles]\nskip = { fg = 'see' }",
            "t.toml:4:15: unknown colour 'see': did you mean 'sea'?",
        ),
        (
            "[roles]\nskip = '#12345'",
            "t.toml:2:8: '#12345' is no colour: expected #rgb or #rrggbb",
        ),
        (
            "[palette]\nx = 'bleu'",
            "t.toml:2:5: 'bleu' is no colour: did you mean 'blue'?, or write #rrggbb",
        ),
        (
            "inherit = 'dark'",
            "t.toml:1:1: unknown key 'inherit': did you mean 'inherits'?",
        ),
        (
            "inherits = 'drak'",
            "t.toml:1:12: cannot inherit: there is no theme 'drak': did you mean 'dark'?",
        ),
        ("inherits = 't'", "t.toml:1:12: cannot inherit: there is no theme 't': "),
        (
            "syntax = 'base16-ocean'",
            "t.toml:1:10: unknown syntax theme 'base16-ocean': did you mean 'base16-ocean.dark'?",
        ),
        (
            "[roles]\nskip = { fg = 'red', modifiers = ['bolt'] }",
            "t.toml:2:35: unknown modifier 'bolt': did you mean 'bold'?",
        ),
        (
            "[roles]\nskip = { fgg = 'red' }",
            "t.toml:2:10: unknown key 'fgg': did you mean 'fg'?",
        ),
        (
            "[roles]\nskip = 3",
            "t.toml:2:8: 'skip' is of type integer: expected a colour in quotes or { fg, bg, modifiers }",
        ),
    ] {
        let message = Folder::with(&[("t", text)]).refused("t");
        assert!(message.starts_with(expected), "{message}\n  expected {expected}");
    }
    let cycle = Folder::with(&[("a", "inherits = 'b'"), ("b", "\ninherits = 'a'")]);
    assert!(
        cycle.refused("a").starts_with("b.toml:2:12: "),
        "{}",
        cycle.refused("a")
    );
    // A colour that only an inheriting theme lacks is reported where it is written.
    let chain = Folder::with(&[("a", "inherits = 'b'"), ("b", "[roles]\nskip = 'nowhere'")]);
    assert!(chain.refused("a").starts_with("b.toml:2:8: unknown colour 'nowhere'"));
    let unknown = Folder::with(&[]).refused("drk");
    assert_eq!(unknown, "there is no theme 'drk': did you mean 'dark'?");
    assert!(Folder::with(&[]).load("../dark").is_err());
}

proptest! {
    #[test]
    fn arbitrary_files_never_panic(text in "(\\PC|\n){0,120}", word in "\\PC{0,12}") {
        let folder = Folder::with(&[
            ("a", &text),
            ("b", &format!("inherits = '{word}'\n[palette]\nx = '{word}'\n[roles]\nskip = {{ fg = '{word}' }}")),
        ]);
        let _ = (folder.load("a"), folder.load("b"), folder.load(&word));
    }
}
