//! Theme files: a palette, roles that name its colours, and a theme to inherit the rest from.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use ratatui::style::Modifier;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Look, Role, ThemeError};
use crate::config::source::{self as toml_source, suggestion};
use crate::config::{ConfigError, ConfigSource, Place};
use crate::files;
use crate::tui::color::{ANSI_NAMES, ThemeColor};

/// The themes inside the binary: name, file, TOML.
pub const SHIPPED: [(&str, &str); 10] = [
    ("dark", include_str!("../../../themes/dark.toml")),
    ("light", include_str!("../../../themes/light.toml")),
    ("high-contrast", include_str!("../../../themes/high-contrast.toml")),
    ("colorblind", include_str!("../../../themes/colorblind.toml")),
    ("gruvbox", include_str!("../../../themes/gruvbox.toml")),
    ("nord", include_str!("../../../themes/nord.toml")),
    ("dracula", include_str!("../../../themes/dracula.toml")),
    ("solarized-light", include_str!("../../../themes/solarized-light.toml")),
    ("tokyo-night", include_str!("../../../themes/tokyo-night.toml")),
    ("catppuccin", include_str!("../../../themes/catppuccin.toml")),
];

/// Code's colours where neither a theme nor those it inherits from name a syntect theme.
const DEFAULT_SYNTAX: &str = "base16-ocean.dark";

const MODIFIERS: [(&str, Modifier); 6] = [
    ("bold", Modifier::BOLD),
    ("dim", Modifier::DIM),
    ("italic", Modifier::ITALIC),
    ("underlined", Modifier::UNDERLINED),
    ("reversed", Modifier::REVERSED),
    ("crossed-out", Modifier::CROSSED_OUT),
];

/// A theme with everything it inherits, its colours looked up.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// Of the roles that the theme, or one it inherits from, names.
    pub looks: HashMap<Role, Look>,
    /// The name of the syntect theme for code.
    pub syntax: String,
}

/// A theme to choose from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThemeInfo {
    /// As [`super::Theme::load`] takes it.
    pub name: String,
    /// The user's file; a shipped theme has none.
    pub path: Option<PathBuf>,
}

/// The user's themes and the shipped ones they do not replace, by name.
pub fn list(user_dir: Option<&Path>) -> Vec<ThemeInfo> {
    let files = user_dir
        .and_then(|dir| std::fs::read_dir(dir).ok())
        .into_iter()
        .flatten();
    let mut themes: Vec<ThemeInfo> = files
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .filter_map(|path| {
            let name = path.file_stem()?.to_str()?.to_owned();
            Some(ThemeInfo { name, path: Some(path) })
        })
        .collect();
    for (name, _) in SHIPPED {
        if themes.iter().all(|t| t.name != name) {
            let name = name.to_owned();
            themes.push(ThemeInfo { name, path: None });
        }
    }
    themes.sort_by(|a, b| a.name.cmp(&b.name));
    themes
}

/// A theme's file name and TOML.
///
/// # Errors
/// When there is no such theme or its file cannot be read.
pub fn source(name: &str, user_dir: Option<&Path>) -> Result<(String, String), ThemeError> {
    if let Some(path) = user_file(name, user_dir) {
        return Ok((path.display().to_string(), toml_source::read_text(&path)?));
    }
    if let Some((name, text)) = SHIPPED.iter().find(|(shipped, _)| *shipped == name) {
        return Ok((format!("themes/{name}.toml"), (*text).to_owned()));
    }
    let known = list(user_dir);
    Err(ThemeError::Unknown {
        name: name.to_owned(),
        hint: suggestion(name, known.iter().map(|t| t.name.as_str())),
    })
}

/// The user's file for a theme; names with a path in them have none.
fn user_file(name: &str, user_dir: Option<&Path>) -> Option<PathBuf> {
    let plain = !name.is_empty() && !name.contains(['/', '\\', '\0']) && name != "..";
    let path = user_dir.filter(|_| plain)?.join(format!("{name}.toml"));
    files::stands(&path).then_some(path)
}

/// Reads a theme and all it inherits from.
///
/// # Errors
/// As [`super::Theme::load`].
pub(super) fn load(name: &str, user_dir: Option<&Path>) -> Result<Definition, ThemeError> {
    let (file, text) = source(name, user_dir)?;
    let mut seen = HashSet::from([file.clone()]);
    let mut layers = vec![Layer::parse(ConfigSource {
        name: &file,
        text: &text,
    })?];
    while let Some((parent, place)) = layers[layers.len() - 1].inherits.clone() {
        // A user's "dark" may build on the shipped "dark".
        let own = user_file(&parent, user_dir).is_some_and(|path| !seen.contains(&path.display().to_string()));
        let found = source(&parent, user_dir.filter(|_| own));
        let (file, text) = found.map_err(|e| content(&place, format!("cannot inherit: {e}")))?;
        if !seen.insert(file.clone()) {
            return Err(content(&place, format!("'{parent}' inherits from itself")).into());
        }
        layers.push(Layer::parse(ConfigSource {
            name: &file,
            text: &text,
        })?);
    }
    merge(layers)
}

/// Lays themes over each other, the first on top, and looks their colours up in the joint palette.
fn merge(layers: Vec<Layer>) -> Result<Definition, ThemeError> {
    let mut palette = HashMap::new();
    let mut written: HashMap<Role, Written> = HashMap::new();
    let mut syntax = None;
    for layer in layers.into_iter().rev() {
        palette.extend(layer.palette);
        written.extend(layer.roles);
        syntax = layer.syntax.or(syntax);
    }
    let color = |name: Option<(String, Place)>| name.map(|(name, place)| look_up(&name, &place, &palette)).transpose();
    let looks = written.into_iter().map(|(role, w)| {
        let (fg, bg) = (color(w.fg)?, color(w.bg)?);
        let modifiers = w.modifiers;
        Ok((role, Look { fg, bg, modifiers }))
    });
    Ok(Definition {
        looks: looks.collect::<Result<_, ConfigError>>()?,
        syntax: syntax.unwrap_or_else(|| DEFAULT_SYNTAX.to_owned()),
    })
}

fn look_up(name: &str, place: &Place, palette: &HashMap<String, ThemeColor>) -> Result<ThemeColor, ConfigError> {
    if let Some(color) = palette.get(name).copied().or_else(|| ThemeColor::parse(name)) {
        return Ok(color);
    }
    if name.starts_with('#') {
        return Err(content(
            place,
            format!("'{name}' is no colour: expected #rgb or #rrggbb"),
        ));
    }
    let mut known: Vec<&str> = palette.keys().map(String::as_str).collect();
    known.sort_unstable();
    known.extend(ANSI_NAMES);
    known.push("default");
    Err(content(
        place,
        format!("unknown colour '{name}': {}", suggestion(name, known)),
    ))
}

fn content(place: &Place, message: String) -> ConfigError {
    ConfigError::Content {
        place: place.clone(),
        message: crate::text::escape_controls(&message),
    }
}

/// One file.
#[derive(Default)]
struct Layer {
    inherits: Option<(String, Place)>,
    syntax: Option<String>,
    palette: HashMap<String, ThemeColor>,
    roles: HashMap<Role, Written>,
}

/// A role as written: colours are names yet.
#[derive(Default)]
struct Written {
    fg: Option<(String, Place)>,
    bg: Option<(String, Place)>,
    modifiers: Modifier,
}

impl Layer {
    fn parse(source: ConfigSource<'_>) -> Result<Layer, ConfigError> {
        let mut layer = Layer::default();
        for (key, value) in source.parse()?.get_ref() {
            match key.get_ref().as_ref() {
                "inherits" => layer.inherits = Some(text(source, key, value)?),
                "syntax" => layer.syntax = Some(syntax(source, key, value)?),
                "palette" => layer.palette = palette(source, source.table("palette", value)?)?,
                "roles" => layer.roles = roles(source, source.table("roles", value)?)?,
                other => {
                    let hint = suggestion(other, ["inherits", "syntax", "palette", "roles"]);
                    return Err(source.error(key.span(), format!("unknown key '{other}': {hint}")));
                }
            }
        }
        Ok(layer)
    }
}

type Key<'i> = Spanned<std::borrow::Cow<'i, str>>;

fn text(source: ConfigSource<'_>, key: &Key<'_>, value: &Spanned<DeValue<'_>>) -> Result<(String, Place), ConfigError> {
    let text = source.string(key.get_ref(), value)?;
    Ok((text.to_owned(), source.place(value.span().start)))
}

fn syntax(source: ConfigSource<'_>, key: &Key<'_>, value: &Spanned<DeValue<'_>>) -> Result<String, ConfigError> {
    let name = source.string(key.get_ref(), value)?;
    if !crate::tui::highlight::SYNTAX_THEMES.contains(&name) {
        let hint = suggestion(name, crate::tui::highlight::SYNTAX_THEMES);
        return Err(source.error(value.span(), format!("unknown syntax theme '{name}': {hint}")));
    }
    Ok(name.to_owned())
}

fn palette(source: ConfigSource<'_>, table: &DeTable<'_>) -> Result<HashMap<String, ThemeColor>, ConfigError> {
    table
        .iter()
        .map(|(key, value)| {
            let (name, _) = text(source, key, value)?;
            let color = ThemeColor::parse(&name).ok_or_else(|| {
                let known = ANSI_NAMES.into_iter().chain(["default"]);
                let hint = match name.starts_with('#') {
                    true => "expected #rgb or #rrggbb".to_owned(),
                    false => format!("{}, or write #rrggbb", suggestion(&name, known)),
                };
                source.error(value.span(), format!("'{name}' is no colour: {hint}"))
            })?;
            Ok((key.get_ref().to_string(), color))
        })
        .collect()
}

fn roles(source: ConfigSource<'_>, table: &DeTable<'_>) -> Result<HashMap<Role, Written>, ConfigError> {
    table
        .iter()
        .map(|(key, value)| {
            let name = key.get_ref().as_ref();
            let role = Role::ALL.into_iter().find(|r| r.name() == name).ok_or_else(|| {
                let hint = suggestion(name, Role::ALL.map(Role::name));
                source.error(key.span(), format!("unknown role '{name}': {hint}"))
            })?;
            Ok((role, written(source, key, value)?))
        })
        .collect()
}

/// `"colour"` for the foreground alone, or `{ fg, bg, modifiers }`.
fn written(source: ConfigSource<'_>, key: &Key<'_>, value: &Spanned<DeValue<'_>>) -> Result<Written, ConfigError> {
    let mut written = Written::default();
    if value.get_ref().is_str() {
        written.fg = Some(text(source, key, value)?);
        return Ok(written);
    }
    if !value.get_ref().is_table() {
        let message = format!(
            "'{}' is of type {}: expected a colour in quotes or {{ fg, bg, modifiers }}",
            key.get_ref(),
            value.get_ref().type_str()
        );
        return Err(source.error(value.span(), message));
    }
    for (part, value) in source.table(key.get_ref(), value)? {
        match part.get_ref().as_ref() {
            "fg" => written.fg = Some(text(source, part, value)?),
            "bg" => written.bg = Some(text(source, part, value)?),
            "modifiers" => written.modifiers = modifiers(source, value)?,
            other => {
                let hint = suggestion(other, ["fg", "bg", "modifiers"]);
                return Err(source.error(part.span(), format!("unknown key '{other}': {hint}")));
            }
        }
    }
    Ok(written)
}

fn modifiers(source: ConfigSource<'_>, value: &Spanned<DeValue<'_>>) -> Result<Modifier, ConfigError> {
    let Some(names) = value.get_ref().as_array() else {
        let found = value.get_ref().type_str();
        return Err(source.error(
            value.span(),
            format!("'modifiers' is of type {found}: expected a list like [\"bold\"]"),
        ));
    };
    let mut all = Modifier::empty();
    for value in names.iter() {
        let name = source.string("modifiers", value)?;
        let found = MODIFIERS.iter().find(|(known, _)| *known == name).ok_or_else(|| {
            let hint = suggestion(name, MODIFIERS.map(|(known, _)| known));
            source.error(value.span(), format!("unknown modifier '{name}': {hint}"))
        })?;
        all |= found.1;
    }
    Ok(all)
}
