//! Where the program keeps its files.
//!
//! Every folder is found in the same order: its own variable (`DRLLM_CACHE_DIR`, …), the XDG
//! variable (on every system, macOS too), then the system's convention.

use directories::ProjectDirs;
use std::path::PathBuf;

const APPLICATION: &str = "drllm-tui";

/// No folder can be named, because neither a home folder nor an override is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no {what} folder: the home folder is unknown; set HOME, or {variable} to a folder that can be written")]
pub struct NoHome {
    what: &'static str,
    variable: &'static str,
}

/// One of the four folders: what it is for, its variables, and the system's own place for it.
struct Folder {
    what: &'static str,
    variable: &'static str,
    xdg: &'static str,
    native: fn(&ProjectDirs) -> PathBuf,
}

const CACHE: Folder = Folder {
    what: "cache",
    variable: "DRLLM_CACHE_DIR",
    xdg: "XDG_CACHE_HOME",
    native: |dirs| dirs.cache_dir().to_path_buf(),
};
const CONFIG: Folder = Folder {
    what: "configuration",
    variable: "DRLLM_CONFIG_DIR",
    xdg: "XDG_CONFIG_HOME",
    native: |dirs| dirs.config_dir().to_path_buf(),
};
const DATA: Folder = Folder {
    what: "data",
    variable: "DRLLM_DATA_DIR",
    xdg: "XDG_DATA_HOME",
    native: |dirs| dirs.data_dir().to_path_buf(),
};
const STATE: Folder = Folder {
    what: "state",
    variable: "DRLLM_STATE_DIR",
    xdg: "XDG_STATE_HOME",
    // Only Linux has a state folder of its own.
    native: |dirs| {
        dirs.state_dir()
            .map_or_else(|| dirs.data_local_dir().join("state"), PathBuf::from)
    },
};

/// What can be fetched or computed again: pulled models, remembered check sums.
pub fn cache_dir() -> Result<PathBuf, NoHome> {
    CACHE.find(|name| std::env::var_os(name).map(PathBuf::from))
}

/// What the user writes: config.toml, keymap.toml, themes.
pub fn config_dir() -> Result<PathBuf, NoHome> {
    CONFIG.find(|name| std::env::var_os(name).map(PathBuf::from))
}

/// What the user made and would miss: recorded traces, trained routers.
pub fn data_dir() -> Result<PathBuf, NoHome> {
    DATA.find(|name| std::env::var_os(name).map(PathBuf::from))
}

/// What survives a restart but nobody would miss: logs, the prompt history.
pub fn state_dir() -> Result<PathBuf, NoHome> {
    STATE.find(|name| std::env::var_os(name).map(PathBuf::from))
}

/// Whether a name from a file or a server is that of a file in a folder, on every system: no path, no
/// drive, nothing that leads elsewhere.
pub fn is_plain_name(name: &str) -> bool {
    let hostile = |c: char| c.is_control() || matches!(c, '/' | '\\' | ':');
    !matches!(name, "" | "." | "..") && name.len() <= 255 && !name.contains(hostile)
}

impl Folder {
    fn find(&self, variable: impl Fn(&str) -> Option<PathBuf>) -> Result<PathBuf, NoHome> {
        if let Some(dir) = variable(self.variable).filter(|dir| !dir.as_os_str().is_empty()) {
            return Ok(dir);
        }
        // The XDG specification: relative paths in its variables are to be ignored.
        if let Some(dir) = variable(self.xdg).filter(|dir| dir.is_absolute()) {
            return Ok(dir.join(APPLICATION));
        }
        match ProjectDirs::from("", "", APPLICATION) {
            Some(dirs) => Ok((self.native)(&dirs)),
            None => Err(NoHome {
                what: self.what,
                variable: self.variable,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(folder: &Folder, variables: &[(&str, &str)]) -> PathBuf {
        folder
            .find(|name| {
                variables
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, value)| value.into())
            })
            .unwrap()
    }

    #[test]
    fn own_variable_beats_xdg_beats_the_system() {
        let both = [("DRLLM_CACHE_DIR", "here"), ("XDG_CACHE_HOME", "/xdg")];
        assert_eq!(with(&CACHE, &both), PathBuf::from("here"));
        assert_eq!(with(&CACHE, &both[1..]), PathBuf::from("/xdg/drllm-tui"));
        assert_eq!(with(&STATE, &[("XDG_STATE_HOME", "/s")]), PathBuf::from("/s/drllm-tui"));
    }

    #[test]
    fn empty_and_relative_values_are_ignored() {
        let native = with(&CONFIG, &[]);
        assert!(native.ends_with(APPLICATION), "{}", native.display());
        assert_eq!(
            with(&CONFIG, &[("DRLLM_CONFIG_DIR", ""), ("XDG_CONFIG_HOME", "relative")]),
            native
        );
    }

    #[test]
    fn names_are_no_paths() {
        for name in ["model.safetensors", "..a", "a..b", "ü b"] {
            assert!(is_plain_name(name), "{name}");
        }
        for name in ["", ".", "..", "a/b", "../a", "/a", "a\\b", "C:a", "a\0", "a\nb"] {
            assert!(!is_plain_name(name), "{name}");
        }
    }

    #[test]
    fn folders_differ() {
        let all = [&CACHE, &CONFIG, &DATA, &STATE].map(|folder| with(folder, &[]));
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b), "{all:?}");
        }
    }
}
