//! `drllm-tui config`: the defaults, as files to start one's own from, and where those belong.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;

use super::output::NO_OUTPUT;
use crate::config::{DEFAULT_CONFIG, FILE_NAME};
use crate::text::{escape_controls, escape_controls_multiline};
use crate::tui::keymap::DEFAULT_KEYMAP;
use crate::tui::lesson::LESSONS_DIR;
use crate::tui::theme;

/// The folder of the user's themes, beside the config file.
pub const THEMES_DIR: &str = "themes";

/// Print the annotated default configuration, or one of its parts.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(multiple = false)]
pub struct ConfigArgs {
    /// Print the default keys, as they can stand in config.toml
    #[arg(long)]
    pub keymap: bool,
    /// List the themes
    #[arg(long)]
    pub themes: bool,
    /// Print a theme's TOML, as a start for one's own
    #[arg(long, value_name = "NAME")]
    pub theme: Option<String>,
    /// Print where the configuration is looked for
    #[arg(long)]
    pub path: bool,
}

/// Prints to standard output what `args` ask for; a reader that stops early is no error.
///
/// # Errors
/// For a theme that does not exist or cannot be read, and when standard output does not take it.
pub fn run(args: &ConfigArgs, config_dir: &Path) -> anyhow::Result<()> {
    let text = text(args, config_dir)?;
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context(NO_OUTPUT),
    }
}

fn text(args: &ConfigArgs, config_dir: &Path) -> anyhow::Result<String> {
    let themes_dir = config_dir.join(THEMES_DIR);
    if args.keymap {
        return Ok(keymap_as_config());
    }
    if args.themes {
        return Ok(list_of_themes(&themes_dir));
    }
    if let Some(name) = &args.theme {
        let (_, toml) = theme::source(name, Some(&themes_dir))?;
        return Ok(escape_controls_multiline(&toml));
    }
    if args.path {
        return Ok(places(config_dir, &themes_dir));
    }
    Ok(DEFAULT_CONFIG.to_owned())
}

/// The keymap's tables are those of a config file without `keys.` before their names.
fn keymap_as_config() -> String {
    let lines = DEFAULT_KEYMAP.lines().map(|line| match line.strip_prefix('[') {
        Some(rest) => format!("[keys.{rest}\n"),
        None => format!("{line}\n"),
    });
    lines.collect()
}

fn list_of_themes(themes_dir: &Path) -> String {
    let themes = theme::list(Some(themes_dir));
    let width = themes.iter().map(|t| t.name.chars().count()).max().unwrap_or_default();
    let line = |t: &theme::ThemeInfo| {
        let origin = t
            .path
            .as_ref()
            .map_or("shipped".to_owned(), |p| p.display().to_string());
        format!("{:width$}  {}\n", escape_controls(&t.name), escape_controls(&origin))
    };
    themes.iter().map(line).collect()
}

fn places(config_dir: &Path, themes_dir: &Path) -> String {
    let line = |what: &str, path: &Path| {
        let state = if path.exists() { "" } else { " (not there yet)" };
        format!("{what:8}{}{state}\n", escape_controls(&path.display().to_string()))
    };
    line("config", &config_dir.join(FILE_NAME))
        + &line("themes", themes_dir)
        + &line("lessons", &config_dir.join(LESSONS_DIR))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, FromArgMatches};

    use crate::config::{Config, ConfigSource};
    use crate::tui::theme::{DEFAULT_THEME, Theme};

    fn parse(args: &[&str]) -> Result<ConfigArgs, clap::Error> {
        let command = ConfigArgs::augment_args(clap::Command::new("config"));
        let matches = command.try_get_matches_from([&["config"], args].concat())?;
        ConfigArgs::from_arg_matches(&matches)
    }

    fn shown(args: &[&str], dir: &Path) -> String {
        text(&parse(args).unwrap(), dir).unwrap()
    }

    #[test]
    fn without_options_the_default_config_is_printed() {
        let printed = shown(&[], Path::new("nowhere"));
        assert_eq!(Config::parse("printed", &printed).unwrap(), Config::default());
        assert!(parse(&["--keymap", "--themes"]).is_err());
    }

    #[test]
    fn the_printed_keymap_is_the_default_and_can_stand_in_a_config() {
        let keys = Config::parse("printed", &shown(&["--keymap"], Path::new("nowhere")))
            .unwrap()
            .keys;
        let default = ConfigSource {
            name: "assets/keymap.toml",
            text: DEFAULT_KEYMAP,
        };
        let table = default.parse().unwrap();
        let expected = crate::config::bindings(default, table.get_ref()).unwrap();
        let plain = |b: &crate::config::KeyBinding| (b.context.clone(), b.key.clone(), b.action.clone());
        assert!(!keys.is_empty());
        assert_eq!(
            keys.iter().map(plain).collect::<Vec<_>>(),
            expected.iter().map(plain).collect::<Vec<_>>()
        );
    }

    #[test]
    fn themes_are_listed_and_printed() {
        let dir = tempfile::tempdir().unwrap();
        let themes = dir.path().join(THEMES_DIR);
        std::fs::create_dir(&themes).unwrap();
        std::fs::write(themes.join("my\u{1b}own.toml"), "inherits = 'light'").unwrap();
        let listed = shown(&["--themes"], dir.path());
        assert!(listed.contains("my␛own") && !listed.contains('\u{1b}'), "{listed}");
        assert!(
            listed.lines().any(|l| l.starts_with("dark ") && l.ends_with("shipped")),
            "{listed}"
        );

        let printed = shown(&["--theme", DEFAULT_THEME], dir.path());
        std::fs::write(themes.join("copy.toml"), printed).unwrap();
        let tier = crate::tui::color::ColorTier::Truecolor;
        let copy = Theme::load("copy", Some(&themes), tier).unwrap();
        let role = crate::tui::theme::Role::Repeat;
        assert_eq!(copy.style(role), Theme::fallback(tier).style(role));

        let unknown = text(&parse(&["--theme", "drak"]).unwrap(), dir.path()).unwrap_err();
        assert!(unknown.to_string().contains("did you mean 'dark'?"), "{unknown}");
    }

    #[test]
    fn places_say_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE_NAME), "").unwrap();
        let shown = shown(&["--path"], dir.path());
        let lines: Vec<_> = shown.lines().collect();
        assert!(
            lines[0].starts_with("config  ") && lines[0].ends_with("config.toml"),
            "{shown}"
        );
        assert!(lines[1].ends_with("themes (not there yet)"), "{shown}");
    }
}
